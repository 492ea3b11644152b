"""How long answers took: read from a stored run, summed up with bounds, held against another's pair by pair.

An answer's time is that of the attempt that answered: queueing, retries and waits between them are not in it. What
took long and gave nothing does not vanish all the same: no answer through the candidate's fault is slower than every
bound, and so is an answer that a timed-out attempt came before; any other attempt that failed after longer than the
answer took counts in its place. An answer from the journal has no time: nobody waited for it. No answer through no
fault of the candidate (network, key, rate limit) is lost: it may have been fast or slow.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from aigate.core.columns import NO_RESPONSE, OUTPUT, AnswerColumns, fault_codes, outcome_codes
from aigate.core.response import FaultKind
from aigate.core.run import Run
from aigate.stats.quantiles import quantile_ranks, samples_to_bound

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "MEASURES",
    "QUANTILES",
    "SLOWER_THAN_ANY",
    "LatencySummary",
    "Measure",
    "QuantileTime",
    "Timing",
    "Timings",
    "log_ratios",
    "quantile_name",
    "seconds_of",
    "summarise",
    "timings_of",
]

Measure = Literal["latency", "ttft"]

MEASURES: Mapping[Measure, str] = {"latency": "latency", "ttft": "time to first token"}
"""What can be measured, in words."""
QUANTILES = (0.50, 0.95, 0.99)
LEVEL = 0.90  # two-sided: each bound alone holds with 95 %
SHORTEST_S = 1e-6  # clocks tell no less apart; a ratio needs a number above 0
SLOWER_THAN_ANY = math.inf


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one answer took.

    Attributes:
        sample_id: Of which sample.
        unit: The sample's group, or itself.
        seconds: Infinite where it was slower than can be told: no answer came, or an attempt before it timed out.
    """

    sample_id: str
    unit: str
    seconds: float


@dataclass(frozen=True)
class Timings:
    """What a run tells of how long its answers took.

    Attributes:
        of: What was timed.
        times: One per answer that was timed, or that is known to have been slow.
        lost: Sample ids of answers that did not come, through no fault of the candidate: fast or slow, nobody knows.
        journaled: Answers that were taken from the journal.
        unmeasured: Other answers without a time.
    """

    of: Measure
    times: tuple[Timing, ...]
    lost: tuple[str, ...] = ()
    journaled: int = 0
    unmeasured: int = 0

    @property
    def seconds(self) -> tuple[float, ...]:
        """The times alone."""
        return tuple(timing.seconds for timing in self.times)

    @property
    def left_out(self) -> float:
        """Share of the answers that say nothing of time, in [0, 1]; 0 without any."""
        silent = self.journaled + self.unmeasured
        asked = len(self.times) + len(self.lost) + silent
        return silent / asked if asked else 0.0

    def by_sample(self) -> Mapping[str, list[float]]:
        """The times of each sample."""
        found: dict[str, list[float]] = {}
        for timing in self.times:
            found.setdefault(timing.sample_id, []).append(timing.seconds)
        return found


def timings_of(run: Run, of: Measure = "latency") -> Timings:
    """What a run tells of how long its answers took; what was never asked is left out."""
    import numpy as np

    found, columns = _Told.of(run, of), run.columns
    sample = np.repeat(np.arange(len(columns)), np.diff(columns.starts))
    ids, unit = columns.samples.ids, columns.samples.unit
    return Timings(
        of,
        tuple(
            Timing(ids[row], unit(row), seconds)
            for row, seconds in zip(sample[found.rows].tolist(), found.seconds.tolist(), strict=True)
        ),
        tuple(ids[row] for row in sample[found.lost].tolist()),
        found.journaled,
        found.unmeasured,
    )


def seconds_of(run: Run, of: Measure = "latency") -> Sequence[float]:
    """The times of `timings_of` alone."""
    seconds: list[float] = _Told.of(run, of).seconds.tolist()
    return seconds


@dataclass(frozen=True, slots=True)
class _Told:
    """The rows of results that tell a time, the times, and the rows of those that were lost."""

    rows: NDArray[np.intp]
    seconds: NDArray[np.float64]
    lost: NDArray[np.intp]
    journaled: int
    unmeasured: int

    @classmethod
    def of(cls, run: Run, of: Measure) -> _Told:
        import numpy as np

        answers = run.columns.answers
        kinds = np.array(answers.kinds)
        asked = (kinds != NO_RESPONSE) & ~np.isin(np.array(answers.outcomes), _NOT_RUN)
        lost = asked & np.isin(kinds, _LOST)
        kept = np.array(answers.journaled.codes) >= 0
        told = asked & ~lost & ~kept
        seconds = _seconds(answers, of, float((run.header.load or {}).get("timeout_s", math.inf)))
        timed = told & ~np.isnan(seconds)
        return cls(
            np.flatnonzero(timed),
            seconds[timed],
            np.flatnonzero(lost),
            int((asked & ~lost & kept).sum()),
            int((told & ~timed).sum()),
        )


def _seconds(answers: AnswerColumns, of: Measure, timeout_s: float) -> NDArray[np.float64]:
    """How long each took; NaN where nobody knows. What a filter withheld came back, and was not timed."""
    import numpy as np

    kinds = np.array(answers.kinds)
    found, failed = (_numbers(answers, name) for name in (f"{of}_s", "longest_failed_s"))
    failed = np.where(np.isnan(failed), 0.0, failed)
    found = np.where(~np.isnan(found) & (failed >= timeout_s), SLOWER_THAN_ANY, np.maximum(found, failed))
    found = np.where(kinds > OUTPUT, SLOWER_THAN_ANY, found)
    return np.where(kinds == _WITHHELD, math.nan, found)


def _numbers(answers: AnswerColumns, name: str) -> NDArray[np.float64]:
    import numpy as np

    told = answers.numbers.get(name)
    return np.full(len(answers), math.nan) if told is None else np.array(told)


_LOST = fault_codes(lambda kind: not kind.candidate_fault)
(_WITHHELD,) = fault_codes(FaultKind.CONTENT_FILTER.__eq__)
_NOT_RUN = outcome_codes(lambda outcome: outcome.not_run)


@dataclass(frozen=True, slots=True)
class QuantileTime:
    """A quantile of the times, with bounds that hold for every distribution.

    Attributes:
        quantile: Between 0 and 1.
        seconds: The quantile; infinite where calls without an answer reach it.
        low: Lower bound; None where there are too few times for one.
        high: Upper bound; None where there are too few times for one, infinite as `seconds`.
        needed: Times that an upper bound needs.
    """

    quantile: float
    seconds: float
    low: float | None
    high: float | None
    needed: int

    @property
    def name(self) -> str:
        """For example p99."""
        return quantile_name(self.quantile)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: `seconds`, `low` and `high` are null where no answer reaches them; `needed` tells too few apart."""
        return {
            "seconds": _finite(self.seconds),
            "low": None if self.low is None else _finite(self.low),
            "high": None if self.high is None else _finite(self.high),
            "bounded": self.high is not None,
            "needed": self.needed,
        }


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """How long answers took, on the whole.

    Attributes:
        of: What was timed.
        seconds: Every time, in the order given; infinite for a call that gave no answer.
        level: Two-sided confidence of the intervals; 0.90: each bound alone holds with 95 %.
        quantiles: p50, p95 and p99 unless others were asked for; none where there are no times.
    """

    of: str
    seconds: tuple[float, ...]
    level: float
    quantiles: tuple[QuantileTime, ...]

    def __getitem__(self, quantile: float) -> QuantileTime:
        return next(found for found in self.quantiles if found.quantile == quantile)

    @property
    def answered(self) -> tuple[float, ...]:
        """The times of answers that came."""
        return tuple(filter(math.isfinite, self.seconds))

    @property
    def needs(self) -> tuple[str, ...]:
        """Which quantiles so few times do not bound, one sentence each."""
        short = [found for found in self.quantiles if found.high is None]
        return tuple(f"needs at least {found.needed} samples to bound {found.name}" for found in short)

    def to_dict(self) -> dict[str, Any]:
        """As JSON: a quantile by its name, in seconds, with bounds. The times themselves are in `seconds` only."""
        came = self.answered
        return {
            "of": self.of,
            "n": len(self.seconds),
            "no_answer": len(self.seconds) - len(came),
            "mean": math.fsum(came) / len(came) if came else None,
            "min": min(came, default=None),
            "max": max(came, default=None),
            "level": self.level,
            **{found.name: found.to_dict() for found in self.quantiles},
            "needs": list(self.needs),
        }


def summarise(
    seconds: Iterable[float],
    *,
    of: str = "latency",
    quantiles: Sequence[float] = QUANTILES,
    level: float = LEVEL,
) -> LatencySummary:
    """Quantiles of times, with intervals by order statistics: they hold for every distribution of independent times.

    Args:
        seconds: The times, 0 or more; infinite where no answer came.
        of: What was timed, in a word.
        quantiles: Which quantiles, each between 0 and 1.
        level: Two-sided confidence of the intervals, between 0 and 1.

    Raises:
        ValueError: A quantile or level outside (0, 1), or a time that is negative or no number.

    >>> found = summarise([0.1 * n for n in range(1, 101)])
    >>> found[0.5].seconds, found[0.99].high, found.needs
    (5.0, None, ('needs at least 299 samples to bound p99',))
    """
    times = tuple(map(float, seconds))
    if not all(map((0.0).__le__, times)):
        wrong = [time for time in times if not time >= 0.0]
        raise ValueError(f"seconds: got {wrong[0]}, expected 0 or more")
    ordered = sorted(times)
    found = tuple(_quantile_time(ordered, quantile, level) for quantile in quantiles) if ordered else ()
    return LatencySummary(of, times, level, found)


def _quantile_time(ordered: Sequence[float], quantile: float, level: float) -> QuantileTime:
    ranks = quantile_ranks(len(ordered), quantile, level=level)
    low, high = (None if rank is None else ordered[rank - 1] for rank in (ranks.low, ranks.high))
    needed = samples_to_bound(quantile, level=(1.0 + level) / 2.0)
    return QuantileTime(quantile, ordered[ranks.estimate - 1], low, high, needed)


def quantile_name(quantile: float) -> str:
    """p99 for 0.99."""
    return f"p{quantile * 100:g}"


def log_ratios(
    ours: Timings, theirs: Timings, ids: Iterable[str], *, largest: float, lost: float | None = None
) -> Mapping[str, float]:
    """How many times longer each sample took than before, as a logarithm: the mean over its answers.

    Args:
        ours: The times under test. One that is infinite counts as `largest` times those before.
        theirs: The times before. Those that are infinite are left out: no answer is slower than that.
        ids: The samples to compare.
        largest: The ratio of an answer that was slower than can be told.
        lost: The ratio that lost answers count as; None: they are left out.

    Returns:
        By sample id, in the order of `ids`; without those that have no time on either side.
    """
    now, before, missing = ours.by_sample(), theirs.by_sample(), Counter(ours.lost)
    filled = [] if lost is None else [math.log(lost)]
    found = {}
    for id_ in ids:
        known = [_log(time) for time in before.get(id_, ()) if math.isfinite(time)]
        if not known:
            continue
        usual = math.fsum(known) / len(known)
        each = [_log(time) - usual if math.isfinite(time) else math.log(largest) for time in now.get(id_, ())]
        each += filled * missing[id_]
        if each:
            found[id_] = math.fsum(each) / len(each)
    return found


def _log(seconds: float) -> float:
    return math.log(max(seconds, SHORTEST_S))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
