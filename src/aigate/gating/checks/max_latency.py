"""`max-latency`: answers come fast enough, in seconds, and in seconds against the baseline's.

Two bounds, either or both. `seconds` bounds a quantile, by order statistics, which hold for every distribution: how
many answers of n take longer than the bound is Binomial(n, 1 - quantile) at most, where the quantile is the bound or
less. (Over a fixed set of questions, each with a law of its own, it scatters less than that: Hoeffding 1956.)
`relative` bounds how many times longer the typical question takes: the geometric mean of the ratios of each sample's
latency to its own in the baseline, groups as units. It says nothing of the quantile: a tail is too rare to be compared.

Only what was measured alike is compared: see `aigate.core.run.RunHeader.load`; and see `aigate.running.timings` for
what counts. Times are recorded, so that deciding again gives the same verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, ClassVar, Literal, Self

from aigate.core.counts import are, count_of
from aigate.core.registry import nearest
from aigate.core.run import Run, RunHeader
from aigate.core.verdict import CheckOutcome, Interval, Moved, Reason, Status, worst
from aigate.errors import ConfigError
from aigate.gating.arrays import arrays_of
from aigate.gating.checks.base import ConfiguredCheck, Evidence, above_zero
from aigate.gating.comparison import Comparison
from aigate.gating.reasons import reason
from aigate.gating.views import View, asked_repeats, in_view, part_of, whole_view
from aigate.running.timings import MEASURES, Measure, Timings, log_ratios, quantile_name, summarise, timings_of
from aigate.stats.noninferiority import FEWEST_UNITS
from aigate.stats.power import pass_floor_units
from aigate.stats.quantiles import ExceedanceLimits, exceedance_limits, samples_to_bound, samples_to_settle
from aigate.stats.ratios import LARGEST_RATIO, RatioInterval, ratio_interval
from aigate.stats.sequential import split_levels

__all__ = ["MaxLatency", "load_obstacle"]

QUANTILE = 0.99
MOST_LEFT_OUT = 0.10  # of the answers may say nothing of latency; what is left would no longer be this run
LISTED = 50
SLACK = 1e-12  # a bound that is met up to rounding is met
NOTED_DAYS = 1.0  # providers are not equally fast on all days

Lost = Literal["left out", "slow", "fast"]
"""What answers count as that did not come through no fault of the candidate."""


@dataclass(frozen=True)
class MaxLatency(ConfiguredCheck):
    """The latency of answers stays within a bound.

    Status, for `seconds`: pass when the upper bound of the quantile is at most that; fail when its lower bound is
    above; inconclusive in between, and where there are too few answers for an upper bound (299 for p99 at alpha 0.05).
    For `relative`: pass when the upper bound of the typical ratio is at most that, over at least 20 samples or groups;
    fail when its lower bound is above; inconclusive in between; error without a baseline, or with one that was measured
    under another load. With both, the worse of the two. Inconclusive too when answers that were lost could change it,
    and when more than a tenth of the answers say nothing of latency; error when none does.

    Each bound holds at alpha, over all looks together.

    Attributes:
        seconds: The most that the quantile may be; None for no such bound.
        quantile: Which quantile `seconds` bounds, in (0, 1); default 0.99.
        relative: How many times the baseline's latency the typical question may take, e.g. 1.25; None for no bound.
        of: "latency", to the last byte, or "ttft", to the first token of a stream.
    """

    name: ClassVar[str] = "max-latency"

    _: KW_ONLY
    seconds: float | None = None
    quantile: float | None = None
    relative: float | None = None
    of: Measure = "latency"

    def __post_init__(self) -> None:
        above_zero(self.seconds, "seconds", "seconds = 5")
        above_zero(self.relative, "relative", "relative = 1.25 tolerates a quarter more than the baseline")
        if self.seconds is None and self.relative is None:
            raise ConfigError("nothing is bounded", hint="give seconds = 5, or relative = 1.25, or both")
        if self.quantile is not None and not 0.0 < self.quantile < 1.0:
            raise ConfigError(f"'quantile' is {self.quantile!r}: expected a number between 0 and 1", hint="0.99 is p99")
        if self.quantile is not None and self.seconds is None:
            raise ConfigError(
                "'quantile' bounds nothing without 'seconds'",
                hint="relative compares sample by sample, on the whole: a tail is too rare to be compared",
            )
        if self.of not in MEASURES:
            raise ConfigError(f"'of' is {self.of!r}", hint=nearest(str(self.of), MEASURES, kind="measures"))

    @property
    def needs_baseline(self) -> bool:
        """True where it compares with the baseline."""
        return self.relative is not None

    def without_baseline(self) -> Self | None:
        """The bound in seconds alone; None where there is none."""
        return None if self.seconds is None else type(self)(seconds=self.seconds, quantile=self.quantile, of=self.of)

    def too_small_for(self, units: int, answers: int, alpha: float) -> str:
        """Why no run of so many samples or groups, and answers, can pass; empty where one can."""
        if self.seconds is not None and answers < (needed := samples_to_bound(self._quantile, level=1.0 - alpha)):
            name, more = quantile_name(self._quantile), math.ceil(needed / max(1, answers))
            return (
                f"needs at least {needed} samples to bound {name}, and {answers} answers are planned: it cannot pass; "
                f"ask {more} times as many (--repeats), or bound {_boundable(answers, alpha)}"
            )
        if self.relative is None or (least := _fewest_pairs(self.relative, alpha)) <= units:
            return ""
        return (
            f"needs at least {least} samples or groups to show that a version is within relative = {self.relative:g},"
            f" and there are {units}: an unchanged one cannot pass"
        )

    def judge(self, evidence: Evidence) -> CheckOutcome:
        """Hold the latencies against the bounds, look by look until one decides."""
        if (nothing := evidence.no_look(self.name, threshold=self.seconds or self.relative)) is not None:
            return nothing
        found: _Look | None = None
        for number in range(len(evidence.views)):
            now = self._look(evidence, number)
            if found is None or found.status in (Status.INCONCLUSIVE, Status.ERROR):
                found = now
            elif found.status is Status.PASS:  # as with no-regression, a pass does not hide a later block
                found = now if now.status is Status.FAIL else found
        assert found is not None  # noqa: S101 - for the type checker: there is a view
        return self._outcome(evidence, found)

    @property
    def _quantile(self) -> float:
        return QUANTILE if self.quantile is None else self.quantile

    def _look(self, evidence: Evidence, number: int) -> _Look:
        timings = _timings(evidence, self.of)[number]
        parts = [part for part in (_silent(timings, "candidate"),) if part is not None]
        if timings.times or timings.lost:
            parts += [] if self.seconds is None else [self._in_seconds(evidence, number, self.seconds)]
            parts += [] if self.relative is None else [self._against(evidence, number, self.relative)]
        return _Look(evidence.views[number], timings, tuple(parts))

    def _in_seconds(self, evidence: Evidence, number: int, seconds: float) -> _Part:
        """The quantile against its bound."""
        timings, view = _timings(evidence, self.of)[number], evidence.views[number]
        limits = self._limits(evidence)[number]
        above = sum(time > seconds for time in timings.seconds)
        lost = len(timings.lost)
        if above + lost <= limits.within:
            status, reasons = Status.PASS, tuple[Reason, ...]()
        elif above >= limits.beyond:
            text = (
                f"{above} of {count_of(limits.n, 'answer')} took longer than {_s(seconds)}: {self._named} is above it"
            )
            status, reasons = Status.FAIL, (reason("latency", text, "read the slowest samples"),)
        else:
            status = Status.INCONCLUSIVE
            reasons = (self._undecided(above, lost, limits, seconds, level=self._level(evidence, view)),)
        low, high = _bounds(timings, limits)
        estimate = summarise(timings.seconds, quantiles=(self._quantile,)).quantiles
        value = estimate[0].seconds if estimate else math.inf
        return _Part(
            status=status,
            summary=f"{self._named} {_s(value)} {_between(low, high)}, at most {_s(seconds)}{_without(timings)}",
            reasons=reasons,
            observed=value,
            interval=(low, high),
            threshold=seconds,
            method="order statistics",
            details={"above": above, "may_be_above": limits.within, "fails_from_above": limits.beyond},
        )

    def _undecided(self, above: int, lost: int, limits: ExceedanceLimits, seconds: float, *, level: float) -> Reason:
        """Why the quantile is on neither side of its bound, and what would settle it."""
        settled = samples_to_settle(above, max(1, limits.n), self._quantile, level=level)
        about = "" if settled is None or settled <= limits.n else f"; about {settled} would settle it at this rate"
        needed = samples_to_bound(self._quantile, level=level)
        seen = f"{above} of {count_of(limits.n, 'answer')} took longer than {_s(seconds)}"
        more = "ask more answers of each sample (--repeats), or add samples"
        if limits.within < 0 and limits.n < needed:
            text = f"{seen}: it needs at least {needed} samples to bound {self._named}"
            return reason("latency-not-bounded", f"{text}{about if above else ''}", more)
        if above <= limits.within:
            text = (
                f"{count_of(lost, 'answer')} did not come, through no fault of the candidate, and could have been slow"
            )
            return reason("missing-decides", text, "run again so that none is missing")
        return reason("latency-undecided", f"{seen}: {self._named} may be on either side{about}", more)

    def _limits(self, evidence: Evidence) -> Sequence[ExceedanceLimits]:
        """How many answers may take longer than the bound, at each look."""
        run, views, alpha = evidence.candidate, evidence.views, evidence.settings.alpha
        spent = _spent(run, views, alpha)
        counts = [len(timings.times) + len(timings.lost) for timings in _timings(evidence, self.of)]
        passing = [
            cost if view.whole or evidence.part_may_pass else 0.0 for cost, view in zip(spent, views, strict=True)
        ]
        return exceedance_limits(counts, self._quantile, within_spent=passing, beyond_spent=spent)

    def _level(self, evidence: Evidence, view: View) -> float:
        return 1.0 - _spent(evidence.candidate, evidence.views, evidence.settings.alpha)[evidence.views.index(view)]

    @property
    def _named(self) -> str:
        told = "" if self.of == "latency" else f" of the {MEASURES[self.of]}"
        return f"{quantile_name(self._quantile)}{told}"

    def _against(self, evidence: Evidence, number: int, most: float) -> _Part:
        """The typical ratio against its bound."""
        if (nothing := evidence.no_comparison(self.name, None)) is not None:
            return _Part(nothing.status, nothing.summary, nothing.reasons, threshold=most)
        comparison = evidence.comparison
        assert comparison is not None  # noqa: S101 - for the type checker: `no_comparison` returned None
        if obstacle := load_obstacle(comparison.candidate.header, comparison.baseline.header):
            why = reason("load-differs", f"not comparable: {obstacle}", "measure both alike: answer the baseline anew")
            return _Part(Status.ERROR, why.text, (why,), threshold=most)
        theirs = evidence.remember(("baseline timings", self.of), lambda: _whole(comparison.baseline, self.of))
        if (silent := _silent(theirs, "baseline")) is not None:
            return silent
        return self._compared(evidence, comparison, number, theirs, most)

    def _compared(self, evidence: Evidence, comparison: Comparison, number: int, theirs: Timings, most: float) -> _Part:
        ours, view = _timings(evidence, self.of)[number], evidence.views[number]
        level = evidence.schedule().pass_levels[number]
        rows = comparison.rows[0]
        ids = arrays_of(comparison.candidate).ids(rows[in_view(comparison.candidate, view)[rows]])
        scenarios: tuple[Lost, ...] = ("left out", "slow", "fast") if ours.lost else ("left out",)
        found = {lost: _ratio(evidence, view, (ours, theirs), ids, most, lost, level) for lost in scenarios}
        seen, pairs = found["left out"], len(ids)
        if seen is None or seen.n < (1.0 - MOST_LEFT_OUT) * pairs:
            text = (
                f"{0 if seen is None else seen.n} of {count_of(pairs, 'sample has', 'samples have')} a"
                f" {MEASURES[self.of]} in both runs"
            )
            why = reason("latency-left-out", text, "run again with --no-journal, so that each is measured")
            return _Part(Status.INCONCLUSIVE, text, (why,), threshold=most)
        told = {lost: _side(ratio, most, level) for lost, ratio in found.items()}
        status, reasons = told["left out"], _notes(comparison)
        if len(set(told.values())) > 1:
            status, text = (
                Status.INCONCLUSIVE,
                f"{count_of(len(ours.lost), 'answer')} that did not come could change the ratio",
            )
            reasons += (reason("missing-decides", text, "run again so that none is missing"),)
        elif status is Status.FAIL:
            text = f"the typical question takes {seen.ratio:.3g} times as long as before, {most:g} is tolerated"
            reasons += (reason("slower", text, "read the samples that slowed down most"),)
        elif status is Status.INCONCLUSIVE:
            reasons += (_not_shown(seen, most, level, evidence.settings.alpha),)
        return _Part(
            status=status,
            summary=f"typical question {seen.ratio:.3g} times the baseline's {MEASURES[self.of]}"
            f" {_between(seen.low, seen.high, unit='')}, at most {most:g}",
            reasons=reasons,
            observed=seen.ratio,
            interval=(seen.low, seen.high),
            threshold=most,
            method=f"geometric mean of paired ratios; {seen.method}",
            details={"ratio": seen.ratio, "ratio_low": seen.low, "ratio_high": seen.high, "pairs": seen.n},
        )

    def _outcome(self, evidence: Evidence, found: _Look) -> CheckOutcome:
        run, view, timings, alpha = evidence.candidate, found.view, found.timings, evidence.settings.alpha
        first, comparison = found.parts[0], evidence.comparison
        shown = next((part for part in found.parts if part.observed is not None), first)
        ids = {timing.sample_id for timing in timings.times}
        look, looks = view.place
        theirs = None if comparison is None else _whole(comparison.baseline, self.of)
        repeats = (
            (view.repeats,)
            if comparison is None or not self.needs_baseline
            else (
                view.repeats,
                asked_repeats(comparison.baseline),
            )
        )
        return CheckOutcome(
            check=self.name,
            status=found.status,
            summary="; ".join(part.summary for part in found.parts) + ("" if view.planned == 1 else f"; {view}"),
            observed=None if shown.observed is None or math.isinf(shown.observed) else shown.observed,
            interval=shown.as_interval(1.0 - 2.0 * alpha),
            threshold=shown.threshold,
            n_samples=len(ids),
            n_groups=len({timing.unit for timing in timings.times}),
            n_repeats=repeats,
            alpha=alpha,
            share_used=run.header.share(len(ids)),
            moved=() if found.status is Status.PASS else _slowest(self, timings, theirs),
            reasons=tuple(why for part in found.parts for why in part.reasons) + _left_out_note(timings),
            details={
                "of": self.of,
                "candidate": summarise(timings.seconds, of=self.of).to_dict(),
                "baseline": None if theirs is None else summarise(theirs.seconds, of=self.of).to_dict(),
                "lost": len(timings.lost),
                "from_journal": timings.journaled,
                "unmeasured": timings.unmeasured,
                **{key: value for part in found.parts for key, value in part.details.items()},
            },
            look=look,
            looks=looks,
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """What one of the bounds says."""

    status: Status
    summary: str
    reasons: tuple[Reason, ...] = ()
    observed: float | None = None
    interval: tuple[float | None, float | None] = (None, None)
    threshold: float | None = None
    method: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_interval(self, level: float) -> Interval | None:
        """The interval where both ends are known and finite: JSON has no infinity."""
        low, high = self.interval
        if low is None or high is None or math.isinf(low) or math.isinf(high):
            return None
        return Interval(low, high, level, self.method)


@dataclass(frozen=True, slots=True)
class _Look:
    """What all bounds say at one look."""

    view: View
    timings: Timings
    parts: tuple[_Part, ...]

    @property
    def status(self) -> Status:
        return worst([part.status for part in self.parts])


def load_obstacle(ours: RunHeader, theirs: RunHeader) -> str:
    """Why the latencies of two runs were not measured alike, in words; empty where they were.

    Recorded answers were measured elsewhere: that both recordings were made alike is taken on trust, and said.
    """
    if _recorded(ours) and _recorded(theirs):
        return ""
    if ours.load is None or theirs.load is None:
        which = "candidate" if ours.load is None else "baseline"
        return f"under which load the {which} was measured is not known"
    told = ((name, theirs.load.get(name), ours.load.get(name)) for name in _LOAD)
    return ", ".join(f"{name.replace('_', ' ')} {before} → {now}" for name, before, now in told if before != now)


_LOAD = ("engine", "concurrency", "requests_per_minute")


def _recorded(header: RunHeader) -> bool:
    return header.provider.get("name") == "replay"


def _timings(evidence: Evidence, of: Measure) -> Sequence[Timings]:
    """What the candidate tells at each look."""
    run = evidence.candidate
    return evidence.remember(("timings", of), lambda: [timings_of(part_of(run, view), of) for view in evidence.views])


def _whole(run: Run, of: Measure) -> Timings:
    return timings_of(part_of(run, whole_view(run)), of)


def _silent(timings: Timings, which: str) -> _Part | None:
    """What is to be said of a run of which too little was measured; None where enough was."""
    what = MEASURES[timings.of]
    if timings.left_out <= MOST_LEFT_OUT and timings.times:
        return None
    silent = timings.journaled + timings.unmeasured
    asked = silent + len(timings.times) + len(timings.lost)
    if timings.journaled:
        text = (
            f"{timings.journaled} of {count_of(asked, 'answer')} of the {which} {are(timings.journaled)}"
            f" from the journal, which have no {what}"
        )
        why = reason("latency-left-out", text, "run again with --no-journal, so that each is asked for and measured")
        return _Part(Status.INCONCLUSIVE, text, (why,))
    if timings.times:
        text = f"{timings.unmeasured} of {asked} answers of the {which} do not say their {what}"
        return _Part(Status.INCONCLUSIVE, text, (reason("latency-left-out", text, "measure each of them"),))
    hint = "only streams tell it: set stream = true" if timings.of == "ttft" else "the provider must measure it"
    text = f"no answer of the {which} says its {what}"
    return _Part(Status.ERROR, text, (reason("not-measured", text, hint),))


def _left_out_note(timings: Timings) -> tuple[Reason, ...]:
    silent = timings.journaled + timings.unmeasured
    if not silent or timings.left_out > MOST_LEFT_OUT:
        return ()
    told = f"{timings.journaled} from the journal" if timings.journaled else "not timed"
    return (
        reason(
            "latency-left-out",
            f"{count_of(silent, 'answer says', 'answers say')} nothing of {MEASURES[timings.of]}: {told}",
        ),
    )


def _spent(run: Run, views: Sequence[View], alpha: float) -> list[float]:
    """The error spent by each look that was asked: alpha t² at the share t of the planned answers.

    Where later looks ask more answers to the same samples, 0.4 of it is for what comes before them, as everywhere.
    """
    plan = run.header.looks
    if plan is None or views[0].planned == 1:
        return [alpha] * len(views)
    arrays = arrays_of(run)
    places = arrays.places(run.header.seed)[arrays.units]
    parts = [list(part) for _, part in groupby(plan.looks, key=lambda look: look.repeats)]
    found, before = [], 0.0
    for part, until in zip(parts, split_levels(len(parts), alpha).tolist(), strict=True):
        answers = [int((places < look.units).sum()) for look in part]
        found += [before + (until - before) * (count / answers[-1]) ** 2 for count in answers]
        before = until
    return found[: len(views)]


def _bounds(timings: Timings, limits: ExceedanceLimits) -> tuple[float | None, float | None]:
    """The quantile's bounds: lost answers count as fast for the lower one and as slow for the upper one."""
    lost = len(timings.lost)
    low_from = sorted([0.0] * lost + list(timings.seconds))
    high_from = sorted([*timings.seconds, *[math.inf] * lost])
    low = None if limits.beyond > limits.n else low_from[limits.n - limits.beyond]
    high = None if limits.within < 0 else high_from[limits.n - limits.within - 1]
    return low, high


def _ratio(
    evidence: Evidence,
    view: View,
    runs: tuple[Timings, Timings],
    ids: Iterable[str],
    most: float,
    lost: Lost,
    level: float,
) -> RatioInterval | None:
    """The typical ratio, each bound at the level of the look; None where no sample has a time in both runs."""
    counted = {"left out": None, "slow": most * LARGEST_RATIO, "fast": most / LARGEST_RATIO}[lost]
    found = log_ratios(*runs, ids, largest=most * LARGEST_RATIO, lost=counted)
    if not found:
        return None
    samples = evidence.candidate.samples
    return ratio_interval(
        list(found.values()),
        [samples[id_].unit for id_ in found],
        seed=evidence.seed_at(view),
        around=most,
        level=1.0 - 2.0 * (level or evidence.settings.alpha),
        strict=evidence.settings.strict,
    )


def _side(ratio: RatioInterval | None, most: float, level: float) -> Status:
    """On which side of the bound the typical ratio is shown to lie; a look without an error rate shows nothing."""
    if ratio is None or level <= 0.0:
        return Status.INCONCLUSIVE
    if ratio.high <= most * (1.0 + SLACK) and ratio.n_units >= FEWEST_UNITS:
        return Status.PASS
    return Status.FAIL if ratio.low > most else Status.INCONCLUSIVE


def _not_shown(found: RatioInterval, most: float, level: float, alpha: float) -> Reason:
    """Why the ratio is on neither side, and about how many samples would settle it."""
    if level <= 0.0:
        return reason("latency-undecided", "so early a look decides nothing", "go on with the run: --resume")
    least = max(FEWEST_UNITS, _fewest_pairs(most, alpha))
    gap = math.log(most) - math.log(found.ratio)
    width = math.log(found.high if gap > 0 else found.low) - math.log(found.ratio)
    needed = math.inf if gap == 0 else max(found.n_units * (width / gap) ** 2, least if gap > 0 else 0)
    about = f"; about {math.ceil(needed):,} samples or groups would settle it" if needed < 1e7 else ""
    text = f"whether the typical question takes more than {most:g} times as long is not shown by {found.n_units}{about}"
    return reason("latency-undecided", text, "add samples; more answers of each (--repeats) help where they scatter")


def _fewest_pairs(most: float, alpha: float) -> int:
    """The fewest samples or groups with which a version can pass that takes just as long as before on each of them.

    Each then lies log(most) below the bound, and the one that nobody has seen log(LARGEST_RATIO) above it. One that
    must be faster than before (1 or less) passes by what it gained: no more is known than that a pass needs 20.
    """
    below = min(1.0, math.log(most) / math.log(LARGEST_RATIO))
    return FEWEST_UNITS if below <= 0.0 else max(FEWEST_UNITS, pass_floor_units(below / (1.0 + below), alpha=alpha))


def _notes(comparison: Comparison) -> tuple[Reason, ...]:
    """What the comparison of latencies takes on trust."""
    ours, theirs = comparison.candidate.header, comparison.baseline.header
    if _recorded(ours):
        return (reason("measured-apart", "both runs are recorded: that they were measured alike is taken on trust"),)
    days = _days_between(theirs.started_at, ours.started_at)
    if days is None or days <= NOTED_DAYS:
        return ()
    text = f"the baseline's latencies are of {theirs.started_at[:10]}, {days:.0f} days apart: the provider's own pace"
    return (reason("measured-apart", f"{text} may have changed since"),)


def _days_between(before: str, now: str) -> float | None:
    try:
        moments = [datetime.fromisoformat(moment) for moment in (before, now)]
        return abs((moments[1] - moments[0]).total_seconds()) / 86_400
    except (ValueError, TypeError):
        return None


def _slowest(check: MaxLatency, timings: Timings, theirs: Timings | None) -> tuple[Moved, ...]:
    """The samples that took longest, slowest first: those above the bound, or where there is none all of them."""
    before = {} if theirs is None else theirs.by_sample()
    rows = []
    for id_, times in timings.by_sample().items():
        known = [time for time in before.get(id_, ()) if math.isfinite(time)]
        if check.seconds is None or max(times) > check.seconds:
            rows.append((id_, math.fsum(known) / len(known) if known else None, max(times)))
    rows.sort(key=lambda row: (-row[2], row[0]))
    return tuple(
        Moved(id_, was, None if math.isinf(now) else now, "no answer in time" if math.isinf(now) else "seconds")
        for id_, was, now in rows[:LISTED]
    )


def _boundable(answers: int, alpha: float) -> str:
    """The highest usual quantile that so many answers bound, in words."""
    usual = (0.98, 0.95, 0.90, 0.75, 0.50)
    found = next((q for q in usual if samples_to_bound(q, level=1.0 - alpha) <= answers), None)
    return "no quantile at all" if found is None else f"{quantile_name(found)} (quantile = {found:g})"


def _without(timings: Timings) -> str:
    slow = sum(math.isinf(time) for time in timings.seconds)
    return f"; {slow} gave no answer in time" if slow else ""


def _between(low: float | None, high: float | None, *, unit: str = " s") -> str:
    """Bounds in words."""
    if low is None and high is None:
        return "(not bounded)"
    if high is None:
        return f"(at least {_number(low)}{unit}, not bounded above)"
    if low is None:
        return f"(at most {_number(high)}{unit})"
    return f"({_number(low)} to {_number(high)}{unit})"


def _s(seconds: float) -> str:
    return "no answer" if math.isinf(seconds) else f"{seconds:.3g} s"


def _number(value: float | None) -> str:
    return "no answer" if value is None or math.isinf(value) else f"{value:.3g}"
