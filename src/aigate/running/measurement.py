"""What a latency benchmark measured: every call, what they say together, and how that compares with another's.

A call's service time is that of the attempt that answered, from the moment it was let go. In a closed loop that is its
latency: whoever asks waits for an answer before asking again. In an open loop requests arrive by the clock, and latency
counts from the moment a request was to start: a client that is late, since it waits for a server that stalls, would
otherwise leave out just the requests that would have been slow (coordinated omission).
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from aigate.core.counts import count_of, were
from aigate.core.digest import seed_from
from aigate.core.json_text import strict_json
from aigate.core.response import FaultKind
from aigate.core.run import Run
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import CannotJudgeError
from aigate.running.timings import (
    SLOWER_THAN_ANY,
    LatencySummary,
    Measure,
    Timing,
    Timings,
    log_ratios,
    summarise,
    timings_of,
)
from aigate.stats.ratios import LARGEST_RATIO, RatioInterval, ratio_interval

__all__ = [
    "BENCH_FORMAT",
    "SPELLS",
    "Benchmark",
    "Call",
    "LatencyComparison",
    "compare_latency",
    "obstacle_between",
    "rank_correlation",
    "read_benchmark",
]

BENCH_FORMAT = "aigate.bench/1"

LATE_S = 0.010  # a request that starts so much later than it was to start is late
NOTED_LATE = 0.01  # share of late requests that is worth saying
BUSY = 0.05  # of the median service time: a client that lags more than that moves what it measures
SPELLS = 0.2  # rank correlation of one call with the next, from which slow ones come in spells
GROWTH = 2.0  # of the median from the first to the last quarter: the server does not keep up
FEWEST_PAIRS = 2


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a benchmark.

    Attributes:
        sample_id: What was asked.
        unit: The sample's group, or itself.
        planned_s: When it was to start, in seconds from the begin of the benchmark; None in a closed loop.
        started_s: When its first attempt was let go.
        ended_s: When its last attempt ended.
        service_s: Seconds of the attempt that answered; None where none did.
        ttft_s: Its seconds to the first token; None where not streamed.
        fault: Why there was no answer; None with one.
        message: What the fault says; empty with an answer.
        attempts: Calls made for it.
        retry_wait_s: Seconds spent waiting between them.
        longest_failed_s: See `aigate.core.response.Response`.
        output_tokens: Tokens of the answer; None where not told.
        cost_usd: What the answer cost; None where not known.
    """

    sample_id: str
    unit: str
    planned_s: float | None
    started_s: float
    ended_s: float
    service_s: float | None = None
    ttft_s: float | None = None
    fault: FaultKind | None = None
    message: str = ""
    attempts: int = 1
    retry_wait_s: float = 0.0
    longest_failed_s: float = 0.0
    output_tokens: int | None = None
    cost_usd: float | None = None

    @property
    def late_s(self) -> float:
        """Seconds that it started late; 0.0 in a closed loop."""
        return 0.0 if self.planned_s is None else max(0.0, self.started_s - self.planned_s)

    @property
    def lost(self) -> bool:
        """True where no answer came through no fault of the version: fast or slow, nobody knows."""
        return self.fault is not None and not self.fault.candidate_fault

    def seconds(self, of: Measure, *, timeout_s: float, waited: bool) -> float | None:
        """How long it took; infinite where it was slower than can be told, None where nobody knows.

        Args:
            of: What is timed.
            timeout_s: Seconds after which an attempt was given up.
            waited: Whether the time that it started late counts.
        """
        if self.lost:
            return None
        if self.fault is not None or self.longest_failed_s >= timeout_s:
            return SLOWER_THAN_ANY
        found = self.service_s if of == "latency" else self.ttft_s
        return None if found is None else max(found, self.longest_failed_s) + (self.late_s if waited else 0.0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON; fields at their default are left out."""
        told = ((spec, getattr(self, spec.name)) for spec in fields(self))
        whole = {spec.name: value for spec, value in told if value is not None and value != spec.default}
        return whole if self.fault is None else {**whole, "fault": str(self.fault)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Call:
        """The inverse of `to_dict`."""
        fault = row.get("fault")
        return cls(**{"planned_s": None, **row, "fault": None if fault is None else FaultKind(fault)})


@dataclass(frozen=True)
class Benchmark:
    """One latency benchmark.

    Attributes:
        version: What answered.
        provider: How it was asked, without secrets.
        suite_name: Whose samples were asked.
        suite_digest: Digest of the samples.
        prompt_digest: Digest of the prompt file; None without one.
        parameters: Request parameters.
        load: `loop` "closed" with `concurrency`, or "open" with `rate` and `most_in_flight`; and `engine`, `timeout_s`.
        warmup: Requests that came first and are not counted.
        calls: The requests that count, in the order they were planned.
        wall_s: Seconds from the first of them to the last answer.
        client_lag_s: How late the client took note of what was due, the 99th percentile over the benchmark, in seconds.
        stopped: Why it ended before everything was asked; empty where nothing was left out.
        started_at: UTC, ISO 8601.
        libraries: Versions of what was measured with.
        comparison: How it compares with another; None without one.
    """

    version: VersionId
    provider: Mapping[str, Any]
    suite_name: str
    suite_digest: str
    prompt_digest: str | None
    parameters: Mapping[str, Any]
    load: Mapping[str, Any]
    warmup: int
    calls: tuple[Call, ...]
    wall_s: float
    client_lag_s: float = 0.0
    stopped: str = ""
    started_at: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    comparison: LatencyComparison | None = None

    @property
    def open_loop(self) -> bool:
        """True where requests arrived by the clock."""
        return self.load.get("loop") == "open"

    @cached_property
    def latency(self) -> LatencySummary:
        """Seconds to the last byte; in an open loop from the moment that each request was to start."""
        return summarise(self.timings("latency").seconds, of="latency")

    @cached_property
    def service(self) -> LatencySummary:
        """Seconds to the last byte from the moment that the answering attempt was let go."""
        return summarise(self._seconds("latency", waited=False), of="service")

    @cached_property
    def ttft(self) -> LatencySummary:
        """Seconds to the first token, counted as `latency`; without quantiles where nothing was streamed."""
        streamed = any(call.ttft_s is not None for call in self.calls)
        return summarise(self.timings("ttft").seconds if streamed else (), of="ttft")

    def timings(self, of: Measure) -> Timings:
        """What it tells of how long answers took, as a stored run would."""
        timed = [(call, call.seconds(of, timeout_s=self._timeout_s, waited=True)) for call in self.calls]
        return Timings(
            of,
            tuple(Timing(call.sample_id, call.unit, seconds) for call, seconds in timed if seconds is not None),
            lost=tuple(call.sample_id for call in self.calls if call.lost),
            unmeasured=sum(seconds is None and not call.lost for call, seconds in timed),
        )

    @property
    def answered(self) -> int:
        """Requests that got an answer."""
        return sum(call.fault is None for call in self.calls)

    @property
    def throughput_per_s(self) -> float:
        """Answers per second, from the first request that counts to the last answer."""
        return self.answered / self.wall_s if self.wall_s > 0.0 else 0.0

    @property
    def output_tokens_per_s(self) -> float | None:
        """Tokens received per second; None where an answer does not tell its tokens."""
        told = [call.output_tokens for call in self.calls if call.fault is None]
        known = [tokens for tokens in told if tokens is not None]
        return sum(known) / self.wall_s if known and len(known) == len(told) and self.wall_s > 0.0 else None

    @property
    def errors(self) -> Mapping[str, int]:
        """Requests without an answer, by kind of fault."""
        return dict(sorted(Counter(str(call.fault) for call in self.calls if call.fault is not None).items()))

    @property
    def cost_usd(self) -> float | None:
        """What the answers that count cost; None where one does not tell."""
        costs = [call.cost_usd for call in self.calls if call.fault is None]
        known = [cost for cost in costs if cost is not None]
        return math.fsum(known) if known and len(known) == len(costs) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the numbers, one sentence each."""
        return tuple(_notes(self))

    def to_dict(self) -> dict[str, Any]:
        """The benchmark as `aigate.bench/1` JSON, every call with it."""
        return {
            "format": BENCH_FORMAT,
            "version": str(self.version),
            "provider": dict(self.provider),
            "suite": {"name": self.suite_name, "digest": self.suite_digest},
            "prompt_digest": self.prompt_digest,
            "parameters": dict(self.parameters),
            "load": dict(self.load),
            "warmup": self.warmup,
            "requests": len(self.calls),
            "answered": self.answered,
            "stopped": self.stopped,
            "started_at": self.started_at,
            "wall_s": self.wall_s,
            "client_lag_s": self.client_lag_s,
            "throughput_per_s": self.throughput_per_s,
            "output_tokens_per_s": self.output_tokens_per_s,
            "cost_usd": self.cost_usd,
            "errors": dict(self.errors),
            "latency": self.latency.to_dict(),
            "service": self.service.to_dict() if self.open_loop else None,
            "ttft": self.ttft.to_dict() if self.ttft.quantiles else None,
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
            "notes": list(self.notes),
            "libraries": dict(self.libraries),
            "calls": [call.to_dict() for call in self.calls],
        }

    @property
    def _timeout_s(self) -> float:
        return float(self.load.get("timeout_s", math.inf))

    def _seconds(self, of: Measure, *, waited: bool) -> list[float]:
        timed = (call.seconds(of, timeout_s=self._timeout_s, waited=waited) for call in self.calls)
        return [seconds for seconds in timed if seconds is not None]


def read_benchmark(text: str, *, source: str) -> Benchmark:
    """The benchmark that a document holds; its numbers are worked out again from the calls.

    Args:
        text: What `Benchmark.to_dict` wrote as JSON.
        source: Where it comes from, for messages.

    Raises:
        CannotJudgeError: It is none, or of another format.
    """
    try:
        row = strict_json(text)
        found = row.get("format") if isinstance(row, Mapping) else None
    except (ValueError, RecursionError):
        found = None
    if found != BENCH_FORMAT:
        raise CannotJudgeError(
            f'{source}: no benchmark: expected "format": "{BENCH_FORMAT}", got {found!r}',
            hint="make one with 'aigate bench --out FILE'",
        )
    try:
        return Benchmark(
            version=VersionId.parse(row["version"]),
            provider=dict(row["provider"]),
            suite_name=row["suite"]["name"],
            suite_digest=row["suite"]["digest"],
            prompt_digest=row["prompt_digest"],
            parameters=dict(row["parameters"]),
            load=dict(row["load"]),
            warmup=int(row["warmup"]),
            calls=tuple(Call.from_dict(call) for call in row["calls"]),
            wall_s=float(row["wall_s"]),
            client_lag_s=float(row["client_lag_s"]),
            stopped=row["stopped"],
            started_at=row["started_at"],
            libraries=dict(row["libraries"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CannotJudgeError(f"{source}: broken benchmark: {type(error).__name__}: {error}") from None


# --- against another --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LatencyComparison:
    """How a benchmark compares with a baseline, sample by sample.

    Attributes:
        against: The baseline's version and file, in words.
        latency: The typical ratio of latencies; None with fewer than two samples in both.
        ttft: That of the times to first token; None where one of the two has none.
        before: The baseline's latencies.
    """

    against: str
    latency: RatioInterval | None
    ttft: RatioInterval | None
    before: LatencySummary

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        ratios = {"latency": self.latency, "ttft": self.ttft}
        return {
            "against": self.against,
            **{name: None if ratio is None else _ratio_row(ratio) for name, ratio in ratios.items()},
            "before": self.before.to_dict(),
        }


def _ratio_row(found: RatioInterval) -> dict[str, Any]:
    return {spec.name: getattr(found, spec.name) for spec in fields(found)}


def obstacle_between(
    load: Mapping[str, Any], suite_digest: str, samples: Iterable[Sample], before: Benchmark | Run
) -> str:
    """Why latencies measured under a load cannot be compared with those of a baseline, in words; empty where they can.

    Args:
        load: That of the benchmark that is about to be made; see `Benchmark.load`.
        suite_digest: Digest of the suite's samples.
        samples: Those samples.
        before: A benchmark, or a stored run, which is a closed loop.
    """
    if isinstance(before, Benchmark):
        if before.suite_digest != suite_digest:
            return f"it asked other samples: those of '{before.suite_name}' ({before.suite_digest[7:19]})"
        theirs = before.load
    else:
        if before.header.load is None:
            return "under which load it was measured is not known"
        digests = {id_: sample.digest for id_, sample in before.samples.items()}
        if not any(digests.get(sample.id) == sample.digest for sample in samples):
            return "it holds none of these samples"
        theirs = {"loop": "closed", **before.header.load}
    if theirs["loop"] != load["loop"]:
        return f"it was measured in a loop that was {theirs['loop']}, this one is {load['loop']}"
    told = ((name, theirs.get(name), load.get(name)) for name in _LOAD)
    return ", ".join(f"{name.replace('_', ' ')} {was} → {now}" for name, was, now in told if was != now)


_LOAD = ("engine", "concurrency", "rate", "requests_per_minute")


def compare_latency(now: Benchmark, before: Benchmark | Run, *, samples: Sequence[Sample]) -> LatencyComparison:
    """Hold a benchmark against a baseline: the ratio of each sample's times, and their geometric mean with bounds.

    Args:
        now: The benchmark.
        before: What it is held against; `obstacle_between` says whether that may be done.
        samples: The samples that were asked, for those of a run that have changed since.
    """
    if isinstance(before, Benchmark):
        against, timings = f"{before.version}, benchmark of {before.started_at}", before.timings
        same = {call.sample_id for call in before.calls}
    else:
        against = f"{before.version}, run of {before.header.started_at}"
        same = {s.id for s in samples if s.id in before.samples and before.samples[s.id].digest == s.digest}

        def timings(of: Measure) -> Timings:
            return timings_of(before, of)

    units = {call.sample_id: call.unit for call in now.calls}
    ids = sorted(same.intersection(units))
    seed = seed_from(now.suite_digest, "latency") % 2**63
    return LatencyComparison(
        against=against,
        latency=_ratio(now.timings("latency"), timings("latency"), ids, units, seed),
        ttft=_ratio(now.timings("ttft"), timings("ttft"), ids, units, seed),
        before=summarise(timings("latency").seconds, of="latency"),
    )


def _ratio(
    ours: Timings, theirs: Timings, ids: Sequence[str], units: Mapping[str, str], seed: int
) -> RatioInterval | None:
    found = log_ratios(ours, theirs, ids, largest=LARGEST_RATIO)
    if len(found) < FEWEST_PAIRS:
        return None
    return ratio_interval(list(found.values()), [units[id_] for id_ in found], seed=seed)


# --- what a reader must know ------------------------------------------------------------------------------------------


def _notes(found: Benchmark) -> Iterable[str]:
    n, faults = len(found.calls), found.errors
    if found.stopped:
        yield f"it ended before everything was asked: {found.stopped}"
    if found.warmup:
        yield f"{found.warmup} warm-up requests came first and are not counted"
    yield from found.latency.needs
    lost = sum(call.lost for call in found.calls)
    slow = n - found.answered - lost
    told = ", ".join(f"{count} {kind}" for kind, count in faults.items())
    if slow:
        yield f"{slow} of {count_of(n, 'request')} got no answer ({told}): they count as slower than every answer"
    if lost:
        yield (
            f"{lost} of {count_of(n, 'request')} {were(lost)} lost through no fault of the version"
            f" ({told}): they are left out"
        )
    if again := sum(call.attempts > 1 for call in found.calls):
        yield (
            f"{count_of(again, 'request was', 'requests were')} asked more than once: waits between"
            f" attempts are not counted"
        )
    if not found.ttft.quantiles and found.answered:
        yield "time to first token was not measured: only streamed answers tell it"
    yield from _client_notes(found)
    yield from _shape_notes(found)


def _client_notes(found: Benchmark) -> Iterable[str]:
    """Whether this side kept to the plan."""
    late = [call.late_s for call in found.calls if call.late_s > LATE_S]
    if len(late) > NOTED_LATE * len(found.calls):
        yield (
            f"the client fell behind: {len(late)} of {count_of(len(found.calls), 'request')} started more"
            f" than {LATE_S * 1000:g} ms"
            f" late, the latest by {max(late):.3g} s: that is in the latency, not in the service time"
        )
    usual = found.service[0.5].seconds if found.service.quantiles else math.inf
    if found.client_lag_s > max(LATE_S / 2, BUSY * usual):
        yield (
            f"the client was busy: it took note of what arrived up to {found.client_lag_s * 1000:.3g} ms late (p99),"
            " which is in all times; send fewer requests at a time, or measure from a faster machine"
        )


def _shape_notes(found: Benchmark) -> Iterable[str]:
    """What the order of the times tells: whether the calls can be taken for independent, and for one and the same."""
    times = [time for time in found._seconds("latency", waited=True) if math.isfinite(time)]  # noqa: SLF001 - of this module
    if len(times) < 40:
        return
    quarter = len(times) // 4
    first, last = statistics.median(times[:quarter]), statistics.median(times[-quarter:])
    if found.open_loop and first > 0.0 and last > GROWTH * first:
        yield (
            f"latency grew from {first:.3g} s to {last:.3g} s (medians of the first and last quarter): the server does"
            " not keep up with the rate, and a longer benchmark would find it slower still"
        )
    correlation = rank_correlation(times)
    if correlation > SPELLS and correlation > 3.0 / math.sqrt(len(times)):
        yield (
            f"slow answers come in spells (rank correlation {correlation:.2f} of each with the next): bounds take calls"
            " for independent, and are narrower than they should be; measure for longer"
        )


def rank_correlation(times: Sequence[float]) -> float:
    """Spearman's correlation of each time with the next; 0.0 where all are equal."""
    ranks = _ranks(times)
    before, after = ranks[:-1], ranks[1:]
    try:
        return statistics.correlation(before, after)
    except statistics.StatisticsError:  # no spread
        return 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks, ties sharing theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks, start = [0.0] * len(values), 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in range(start, end + 1):
            ranks[order[place]] = (start + end) / 2.0
        start = end + 1
    return ranks
