"""`max-cost`: answers do not cost more than allowed, in US dollars, and against the baseline's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Self

from aigate.core.counts import count_of
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Moved, Reason, Status, worst
from aigate.errors import ConfigError
from aigate.gating.checks.base import ConfiguredCheck, Evidence, above_zero
from aigate.gating.reasons import reason
from aigate.gating.views import View, asked_repeats, part_of, whole_view

__all__ = ["MaxCost"]

SLACK = 1e-9  # of the bound: costs are sums of decimal prices
LISTED = 50


@dataclass(frozen=True)
class MaxCost(ConfiguredCheck):
    """The cost of an answer stays within a bound, as it was recorded: no error rate, no interval.

    What it does: Takes the mean cost of each sample's answers, as the provider told it or as the price table works it
    out from tokens. `usd` bounds the mean over the samples; `relative` the ratio of both runs' costs over the samples
    that both answered. Calls that gave no answer have no cost here, and neither have retries.

    Status: pass when the cost is at most the bound; fail when it is above; inconclusive with fewer than two samples,
    when an answer's cost is not known, and when it is above on a part of the suite; error when no cost is known, and
    for `relative` without a baseline. With both bounds, the worse of the two. A run that was stopped early is judged by
    the answers it paid for: nothing is promised for those it did not ask.

    Attributes:
        usd: The most that an answer may cost on average, in US dollars; None for no such bound.
        relative: How many times the baseline's cost the same answers may cost, e.g. 1.10; None for no such bound.
    """

    name: ClassVar[str] = "max-cost"

    _: KW_ONLY
    usd: float | None = None
    relative: float | None = None

    def __post_init__(self) -> None:
        above_zero(self.usd, "usd", "usd = 0.002: an answer may cost a fifth of a cent on average")
        above_zero(self.relative, "relative", "relative = 1.10 tolerates a tenth more than the baseline")
        if self.usd is None and self.relative is None:
            raise ConfigError("nothing is bounded", hint="give relative = 1.10, or usd = 0.002, or both")

    @property
    def needs_baseline(self) -> bool:
        """True where it compares with the baseline."""
        return self.relative is not None

    def without_baseline(self) -> Self | None:
        """The bound in US dollars alone; None where there is none."""
        return None if self.usd is None else type(self)(usd=self.usd)

    def judge(self, evidence: Evidence) -> CheckOutcome:
        """Hold the recorded costs against the bounds."""
        if (nothing := evidence.no_look(self.name, threshold=self.usd or self.relative)) is not None:
            return nothing
        view = evidence.views[-1]
        ours = _costs(part_of(evidence.candidate, view))
        if (unknown := _unknown(ours, "candidate")) is not None:
            return unknown
        parts = [] if self.usd is None else [self._in_dollars(ours, view, self.usd)]
        parts += [] if self.relative is None else [self._against(evidence, ours, view, self.relative)]
        return self._together(evidence, view, ours, parts)

    def _in_dollars(self, ours: _Costs, view: View, most: float) -> _Part:
        mean = math.fsum(ours.by_sample.values()) / len(ours.by_sample)
        told = f"{_usd(mean)} an answer, at most {_usd(most)}"
        return _part(mean, most, told, len(ours.by_sample), view)

    def _against(self, evidence: Evidence, ours: _Costs, view: View, most: float) -> _Part:
        if (nothing := evidence.no_comparison(self.name, None)) is not None:
            return _Part(nothing.status, nothing.summary, nothing.reasons, None, most)
        comparison = evidence.comparison
        assert comparison is not None  # noqa: S101 - for the type checker: `no_comparison` returned None
        theirs = _costs(part_of(comparison.baseline, whole_view(comparison.baseline)))
        if (unknown := _unknown(theirs, "baseline")) is not None:
            return _Part(unknown.status, unknown.summary, unknown.reasons, None, most)
        ids = [id_ for id_ in comparison.shared if id_ in ours.by_sample and id_ in theirs.by_sample]
        now, before = (math.fsum(costs.by_sample[id_] for id_ in ids) for costs in (ours, theirs))
        if before <= 0.0:
            ratio, told = (0.0, "nothing, as before") if now <= 0.0 else (math.inf, "something, and nothing before")
        else:
            ratio = now / before
            told = f"{ratio:.4g} times the baseline's ({_usd(before / len(ids))} → {_usd(now / len(ids))} an answer)"
        moved = _dearer(ids, ours, theirs)
        return _part(ratio, most, f"{told}, at most {most:g}", len(ids), view, moved=moved)

    def _together(self, evidence: Evidence, view: View, ours: _Costs, parts: Sequence[_Part]) -> CheckOutcome:
        run, comparison = evidence.candidate, evidence.comparison
        first = next((part for part in parts if part.observed is not None), parts[0])
        repeats = [view.repeats]
        if self.needs_baseline and comparison is not None:
            repeats.append(asked_repeats(comparison.baseline))
        look, looks = view.place
        return CheckOutcome(
            check=self.name,
            status=worst([part.status for part in parts]),
            summary="; ".join(part.summary for part in parts),
            observed=None if first.observed is None or math.isinf(first.observed) else first.observed,
            threshold=first.threshold,
            n_samples=len(ours.by_sample),
            n_groups=len({run.samples[id_].unit for id_ in ours.by_sample}),
            n_repeats=tuple(repeats),
            share_used=run.header.share(len(ours.by_sample)),
            moved=tuple(moved for part in parts if part.status is not Status.PASS for moved in part.moved),
            reasons=tuple(why for part in parts for why in part.reasons),
            look=look,
            looks=looks,
        )


@dataclass(frozen=True, slots=True)
class _Costs:
    """Mean cost of each sample's answers, and how many answers do not tell theirs."""

    by_sample: Mapping[str, float]
    unknown: int
    answers: int


@dataclass(frozen=True, slots=True)
class _Part:
    """What one of the bounds says."""

    status: Status
    summary: str
    reasons: tuple[Reason, ...]
    observed: float | None
    threshold: float
    moved: tuple[Moved, ...] = ()


def _costs(run: Run) -> _Costs:
    known: dict[str, list[float]] = {}
    unknown = answers = 0
    for result in run.results:
        if result.response is None or result.response.output is None:
            continue
        answers += 1
        if result.response.cost_usd is None:
            unknown += 1
        else:
            known.setdefault(result.sample_id, []).append(result.response.cost_usd)
    return _Costs({id_: math.fsum(costs) / len(costs) for id_, costs in known.items()}, unknown, answers)


def _unknown(costs: _Costs, which: str) -> CheckOutcome | None:
    """The outcome where costs are not known: never a pass."""
    if not costs.unknown and costs.by_sample:
        return None
    if not costs.answers:
        why = reason("no-answers", f"the {which} holds no answers")
    else:
        text = f"{costs.unknown} of {count_of(costs.answers, 'answer')} of the {which} do not say what they cost"
        why = reason("cost-unknown", text, "give the price: --price IN,OUT (USD per million tokens), and answer anew")
    status = Status.INCONCLUSIVE if costs.by_sample else Status.ERROR
    return CheckOutcome(MaxCost.name, status, why.text, reasons=(why,))


def _part(observed: float, most: float, told: str, n: int, view: View, *, moved: tuple[Moved, ...] = ()) -> _Part:
    if n < 2:
        why = reason("fewer-than-two-samples", f"{count_of(n, 'sample decides', 'samples decide')} nothing")
        return _Part(Status.INCONCLUSIVE, why.text, (why,), None, most)
    if observed <= most * (1.0 + SLACK):
        return _Part(Status.PASS, told, (), observed, most)
    if not view.whole:
        text = f"{told}, on a part of the suite: the rest may bring it down"
        why = reason("early-stopped", text, "go on with the run: --resume --no-early-stop")
        return _Part(Status.INCONCLUSIVE, told, (why,), observed, most, moved)
    return _Part(Status.FAIL, told, (reason("cost", told, "read the samples that cost more"),), observed, most, moved)


def _dearer(ids: Iterable[str], ours: _Costs, theirs: _Costs) -> tuple[Moved, ...]:
    """The samples that cost more than before, by how much more."""
    rows = [(id_, theirs.by_sample[id_], ours.by_sample[id_]) for id_ in ids]
    rows = sorted((row for row in rows if row[2] > row[1]), key=lambda row: (row[1] - row[2], row[0]))
    return tuple(Moved(id_, before, now, "USD") for id_, before, now in rows[:LISTED])


def _usd(value: float) -> str:
    return f"{value:.3g} USD"
