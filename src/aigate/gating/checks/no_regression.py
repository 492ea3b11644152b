"""`no-regression`: the metric did not fall by more than the margin against the baseline, sample by sample.

Three-valued. Block when the exact relabelling test says that the drop is real and at least half the margin is observed;
pass when the drop is shown to be smaller than the margin; else inconclusive. A pass has precedence: a certain but
tolerable drop passes with a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from aigate.core.counts import count_of
from aigate.core.verdict import CheckOutcome, Interval, Moved, Reason, Status
from aigate.errors import ConfigError
from aigate.gating.arrays import Bools, Floats, Ints
from aigate.gating.checks.base import ConfiguredCheck, Evidence
from aigate.gating.comparison import PairedScores, Scenario
from aigate.gating.family import Block, Hypothesis, blocks, slice_p_values
from aigate.gating.margins import Spread, resolved_margin, smallest_drop, smallest_loss, spread_of
from aigate.gating.reasons import reason
from aigate.gating.views import View
from aigate.stats.arrays import distinct
from aigate.stats.multiplicity import benjamini_hochberg
from aigate.stats.noninferiority import (
    FEWEST_UNITS,
    Decision,
    DifferenceInterval,
    PassTest,
    decide,
    difference_interval,
    pass_test,
)
from aigate.stats.power import (
    block_floor,
    pass_floor_units,
    repeats_needed,
    samples_needed,
    variance_components,
)

__all__ = ["NoRegression"]

SAFE_GROUPS = 100  # with fewer, whole groups that fail at once can be missed: said with every pass
FEWEST_IN_SLICE = 5  # smaller slices are not reported: nothing could be seen in them
LISTED = 50
RECORDED = "recorded:"
MOST_REPEATS_NAMED = 20  # more than so many answers to each sample is no advice


@dataclass(frozen=True)
class NoRegression(ConfiguredCheck):
    """A metric did not fall by more than a margin.

    Status: fail when the family-wise relabelling test is significant at alpha and the observed drop is at least half
    the margin, for the metric or for a slice the check names; pass when the drop of the metric is shown to be smaller
    than the margin (Tango's score test for 0/1 scores of single, independent samples; the one-pseudo-case Bayesian
    bootstrap otherwise; with groups also the cluster-robust t test, and at least 20 groups); inconclusive otherwise,
    when there are fewer than two samples, or when missing scores decide; error without a baseline to compare with.

    Attributes:
        metric: The metric, computed per sample.
        margin: Tolerated drop of its mean, in (0, 1); default: the policy's.
        slices: Tags whose drop blocks too.
        human: `recorded:NAME` where people labelled a random part of the answers (`scores.NAME`, in both runs): then
            their labels decide, helped by the metric's scores of all samples; see `aigate.gating.people`.
    """

    name: ClassVar[str] = "no-regression"
    needs_baseline: ClassVar[bool] = True

    metric: str
    _: KW_ONLY
    margin: float | Literal["auto"] | None = None
    slices: tuple[str, ...] = ()
    human: str | None = None

    def __post_init__(self) -> None:
        self._refuse_wrong_human()
        if self.margin is None or self.margin == "auto":
            return
        if not 0.0 < self.margin < 1.0:
            raise ConfigError(
                f"'margin' is {self.margin!r}: expected a number between 0 and 1, or \"auto\"", hint="0.05 is 5 points"
            )

    def _refuse_wrong_human(self) -> None:
        if self.human is None:
            return
        if not self.human.startswith(RECORDED) or not self.human.removeprefix(RECORDED).strip():
            hint = 'human = "recorded:human_faithful" reads scores.human_faithful of the answers'
            raise ConfigError(f"'human' is {self.human!r}: expected recorded:NAME", hint=hint)
        if self.slices:
            raise ConfigError("'slices' and 'human' cannot go together", hint="labels decide on all samples only")
        if self.margin == "auto":
            raise ConfigError("'human' needs a margin of its own, not 'auto'", hint="0.05 is 5 points")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric it decides on."""
        return (self.metric,)

    @property
    def tags(self) -> tuple[str, ...]:
        """The slices whose drop blocks too."""
        return self.slices

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """What the relabelling test may block on: the metric, and it in each named slice; none where people decide."""
        if self.human is not None:
            return ()
        return (Hypothesis(self.metric), *(Hypothesis(self.metric, tag) for tag in self.slices))

    def judge(self, evidence: Evidence) -> CheckOutcome:
        """Compare the paired scores, look by look until one decides."""
        if (nothing := evidence.no_comparison(self.name, self.metric)) is not None:
            return nothing
        assert evidence.comparison is not None  # noqa: S101 - for the type checker: `no_comparison` returned None
        if evidence.candidate.header.metric(self.metric) is None:
            return self._error("metric-not-computed", f"'{self.metric}' has no score per sample")
        if not evidence.views:
            return self._stopped("the run was stopped before its first look")
        paired, view = evidence.comparison.paired(self.metric), evidence.views[-1]
        if self.human is not None:
            return self._by_people(evidence, paired)
        part = paired.at(view)  # what arrived beyond the last complete look is not used, not even to find a score
        used = part.arms("observed")[2]
        absent = [tag for tag in self.slices if not part.in_slice(tag).any()]
        if not view.last and (absent or not used.any()):
            what = f"no sample that carries '{absent[0]}'" if absent else "no sample"
            return self._stopped(f"{what} with a score of '{self.metric}' was asked by look {view.number}")
        if not used.any():
            return self._error("metric-missing", f"no sample has a score of '{self.metric}' in both runs")
        if absent:
            text = f"no sample with {self.metric} in both runs carries the tag '{absent[0]}'"
            return self._error("no-such-tag", text)
        return self._compared(evidence, paired)

    def _by_people(self, evidence: Evidence, paired: PairedScores) -> CheckOutcome:
        from aigate.gating.people import Question, judged_by_people

        margin, notes = self._margin(evidence)
        label = (self.human or "").removeprefix(RECORDED)
        shares = evidence.block_alpha_by_people, evidence.settings.alpha
        return judged_by_people(evidence, paired, Question(self.name, self.metric, label, margin, *shares, notes))

    def _stopped(self, text: str) -> CheckOutcome:
        why = reason("early-stopped", text, "go on with the run: --resume --no-early-stop")
        return CheckOutcome(self.name, Status.INCONCLUSIVE, text, metric=self.metric, reasons=(why,))

    def _error(self, code: str, text: str) -> CheckOutcome:
        return CheckOutcome(self.name, Status.ERROR, text, metric=self.metric, reasons=(reason(code, text),))

    def _compared(self, evidence: Evidence, paired: PairedScores) -> CheckOutcome:
        margin, notes = self._margin(evidence)
        found: _Look | None = None
        for number, view in enumerate(evidence.schedule().views):
            if not paired.at(view).arms("observed")[2].any():
                continue  # the metric applies to nothing that this look has seen
            if found is None or found.status is Status.INCONCLUSIVE:
                found = _look(self, evidence, paired, margin, number)
            elif found.status is Status.PASS:
                # The rest of a run that passed early was answered after all: what blocks in it is not passed over. The
                # error rate of a block counts every look, whether the run was passed before or not.
                later = _look(self, evidence, paired, margin, number)
                found = later if later.status is Status.FAIL else found
        assert found is not None  # noqa: S101 - for the type checker: the last view has scores
        return self._outcome(evidence, found, margin, notes)

    def _margin(self, evidence: Evidence) -> tuple[float, tuple[Reason, ...]]:
        """The margin in force, and what is to be said of it."""
        run, comparison = evidence.candidate, evidence.comparison
        assert comparison is not None  # noqa: S101 - for the type checker: the caller looked
        own = evidence.settings.margin if self.margin is None else self.margin
        if own != "auto":
            return own, ()
        repeats, samples = run.header.repeats, run.columns.samples
        spread = spread_of(comparison.baseline, self.metric, candidate_repeats=repeats, samples=samples)
        margin, note = resolved_margin(own, evidence.settings, spread)
        return margin, () if note is None else (note,)

    def _outcome(self, evidence: Evidence, found: _Look, margin: float, notes: tuple[Reason, ...]) -> CheckOutcome:
        from aigate.gating.calibrated import in_peoples_terms

        comparison, header = evidence.comparison, evidence.candidate.header
        assert comparison is not None  # noqa: S101 - for the type checker: the caller looked
        view, arms, alpha = found.view, found.arms, evidence.settings.alpha
        level = 1.0 - 2.0 * alpha
        interval = difference_interval(
            arms.differences,
            arms.unit_codes,
            level=level,
            seed=evidence.seed_at(view),
            binary=arms.binary,
            strict=evidence.settings.strict,
        )
        (look, looks), detectable = view.place, _detectable(arms, evidence.block_alpha, margin)
        people = in_peoples_terms(evidence.candidate, self.metric, detectable=detectable, margin=margin)
        return CheckOutcome(
            check=self.name,
            status=found.status,
            summary=_summary(found, interval, level, margin, detectable) + people.told,
            metric=self.metric,
            observed=0.0 - found.drop,
            interval=Interval(round(interval.low, 12), round(interval.high, 12), level, interval.method),
            threshold=-margin,
            n_samples=len(arms.units),
            n_groups=arms.n_units,
            n_repeats=(arms.candidate.shape[1], arms.baseline.shape[1]),
            alpha=alpha,
            smallest_detectable_drop=detectable,
            share_used=header.share(len(arms.units)),
            moved=_moved(found.paired),
            reasons=(*found.reasons, *notes, *_copied(found)),
            details={
                "baseline_mean": float(arms.baseline.mean()),
                "candidate_mean": float(arms.candidate.mean()),
                "p_block": found.setting.blocks[Hypothesis(self.metric)].p,
                "p_pass": found.p_pass.p,
                "method": found.p_pass.method,
                "worse": int((arms.differences < 0).sum()),
                "better": int((arms.differences > 0).sum()),
                "block_alpha": evidence.block_alpha,
                "block_level": found.setting.block_level,
                "pass_level": found.setting.pass_level,
                "margin": margin,
                "missing": found.paired.missing,
                "slices": [] if evidence.against else _slices(evidence, found),
                **people.details,
            },
            look=look,
            looks=looks,
        )


@dataclass(frozen=True)
class _Arms:
    """The scores that take part, per sample, and how they may be tested."""

    candidate: Floats
    baseline: Floats
    units: Ints

    @cached_property
    def differences(self) -> Floats:
        differences: Floats = self.candidate.mean(axis=1) - self.baseline.mean(axis=1)
        return differences

    @cached_property
    def unit_codes(self) -> Ints:
        return np.unique(self.units, return_inverse=True)[1]

    @cached_property
    def n_units(self) -> int:
        return len(distinct(self.units))

    def part(self, rows: Bools) -> _Arms:
        """Some of the samples."""
        return _Arms(self.candidate[rows], self.baseline[rows], self.units[rows])

    @property
    def grouped(self) -> bool:
        return self.n_units < len(self.units)

    @cached_property
    def right_or_wrong(self) -> bool:
        """True where every score is 0 or 1."""
        return all(bool(np.isin(scores, (0.0, 1.0)).all()) for scores in (self.candidate, self.baseline))

    @property
    def binary(self) -> bool:
        """True for 0/1 scores of one answer each: Tango's test is the right one, where samples are independent."""
        return self.candidate.shape[1] == self.baseline.shape[1] == 1 and self.right_or_wrong

    @cached_property
    def sums(self) -> tuple[Floats, Floats]:
        """Sums of differences and numbers of samples, per unit."""
        codes = self.unit_codes
        sums: Floats = np.bincount(codes, weights=self.differences).astype(np.float64)
        return sums, np.bincount(codes).astype(np.float64)


@dataclass(frozen=True)
class _Look:
    """What one look says, with missing scores left out; the status also holds with all of them at worst or at best."""

    setting: _Setting
    paired: PairedScores
    arms: _Arms
    status: Status
    reasons: tuple[Reason, ...]
    drop: float
    p_pass: PassTest

    @property
    def view(self) -> View:
        return self.setting.view


@dataclass(frozen=True)
class _Setting:
    """Everything a look is judged by, but the scores."""

    check: NoRegression
    evidence: Evidence
    margin: float
    view: View
    pass_level: float
    block_level: float
    blocks: Mapping[Hypothesis, Block]

    def decided(self, arms: _Arms, tag: str | None = None) -> tuple[Decision | None, float, PassTest]:
        """The rule on one slice, the observed drop, and the evidence for a pass."""
        drop = _drop(arms.differences)
        p_pass = pass_test(
            arms.differences,
            arms.unit_codes,
            margin=self.margin,
            seed=self.evidence.seed_at(self.view),
            binary=arms.binary,
            strict=self.evidence.settings.strict,
            level=self.pass_level or self.evidence.settings.alpha,
        )
        decision = decide(
            p_pass=p_pass.p,
            pass_level=self.pass_level,
            blocked=self.blocks[Hypothesis(self.check.metric, tag)].blocked,
            drop=drop,
            margin=self.margin,
            last=self.view.last,
            n_units=arms.n_units,
        )
        return decision, drop, p_pass


def _look(check: NoRegression, evidence: Evidence, paired: PairedScores, margin: float, number: int) -> _Look:
    """One look, with its missing scores bounded: a status that they could change is inconclusive."""
    view = evidence.schedule().views[number]
    part = paired.at(view)
    scenarios: tuple[Scenario, ...] = ("observed", "worst", "best") if part.missing else ("observed",)
    found = [_in_scenario(check, evidence, part, margin, number, scenario) for scenario in scenarios]
    if len({look.status for look in found}) == 1:
        return found[0]
    told = ", ".join(f"{look.status} if {scenario}" for look, scenario in zip(found, scenarios, strict=True))
    why = reason(
        "missing-decides",
        f"{count_of(part.missing, 'missing score decides', 'missing scores decide')} ({told})",
        "run again",
    )
    return replace(found[0], status=Status.INCONCLUSIVE, reasons=(why,))


def _in_scenario(
    check: NoRegression, evidence: Evidence, part: PairedScores, margin: float, number: int, scenario: Scenario
) -> _Look:
    schedule = evidence.schedule()
    view = schedule.views[number]
    family = [h for other in evidence.checks if isinstance(other, NoRegression) for h in other.hypotheses]
    fallen = evidence.remember(("family", scenario), lambda: blocks(evidence, schedule, family, scenario))[number]
    setting = _Setting(
        check, evidence, margin, view, schedule.pass_levels[number], block_level=schedule.spent[number], blocks=fallen
    )
    arms = _arms(part, scenario, None)
    decision, drop, p_pass = setting.decided(arms)
    status, reasons = _explained(setting, arms, decision, drop, p_pass)
    if status is Status.PASS and (blind := _blind_slices(setting, part, scenario)):
        status, reasons = Status.INCONCLUSIVE, blind
    if slices := _fallen_slices(setting, part, scenario):
        status, reasons = Status.FAIL, (*(reasons if status is Status.FAIL else ()), *slices)
    return _Look(setting, part, arms, status, reasons, drop=drop, p_pass=p_pass)


def _arms(paired: PairedScores, scenario: Scenario, tag: str | None) -> _Arms:
    candidate, baseline, used = paired.arms(scenario)
    used = used & paired.in_slice(tag)
    return _Arms(candidate[used], baseline[used], paired.units[used])


def _explained(
    setting: _Setting, arms: _Arms, decision: Decision | None, drop: float, p_pass: PassTest
) -> tuple[Status, tuple[Reason, ...]]:
    """The status of the whole metric at a look, and why."""
    metric, margin, block = setting.check.metric, setting.margin, setting.blocks[Hypothesis(setting.check.metric)]
    if len(arms.units) < 2:
        text = f"{count_of(len(arms.units), 'shared sample decides', 'shared samples decide')} nothing"
        return Status.INCONCLUSIVE, (reason("fewer-than-two-samples", text),)
    if decision == "pass":
        text = f"{metric} fell by {_points(drop)}: real, but shown to be less than the margin of {_points(margin)}"
        real = (reason("tolerated-drop", text),) if block.blocked else ()
        return Status.PASS, (*real, *_whole_groups(arms, setting))
    if decision == "block":
        told = f"{_points(margin)} tolerated"
        if drop < margin:
            told = f"a real drop of at least half the {_points(margin)} tolerated, and not shown to stay within them"
        text = f"{metric} fell by {_points(drop)} (p = {block.p:.2g}; {told})"
        return Status.FAIL, (reason("drop", text, "read the samples that moved, with both answers"),)
    if setting.pass_level > 0.0 and p_pass.p <= setting.pass_level:
        units = "groups" if arms.grouped else "samples"
        text = f"no drop is seen, but {arms.n_units} {units} are too few to show it: {FEWEST_UNITS} are needed"
        return Status.INCONCLUSIVE, (reason(f"too-few-{units}", text, f"add {units} to the suite"),)
    return Status.INCONCLUSIVE, (_not_shown(setting, arms, drop),)


def _whole_groups(arms: _Arms, setting: _Setting) -> tuple[Reason, ...]:
    """What a pass over few groups does not cover: (1 - margin)^groups is the chance that no broken group is in it."""
    groups, margin = arms.n_units, setting.margin
    if not arms.grouped or groups >= SAFE_GROUPS or setting.evidence.settings.strict:
        return ()
    missed = (1.0 - margin) ** groups
    text = f"if {margin:.0%} of all groups broke whole, {groups} groups would show none of it with chance {missed:.0%}"
    return (reason("groups-may-break-whole", text, "--strict counts an unseen whole group against a pass"),)


def _not_shown(setting: _Setting, arms: _Arms, drop: float) -> Reason:
    """What was seen, and how many samples or repeats would settle it."""
    margin, view = setting.margin, setting.view
    units = "groups" if arms.grouped else "samples"
    moved = "did not move" if drop == 0 else f"fell by {_points(drop)}" if drop > 0 else f"rose by {_points(-drop)}"
    shown = f"neither a drop nor its absence within {_points(margin)} is shown with {arms.n_units} {units}"
    if not view.last:
        shown = f"{shown} at {view}, where the run was stopped"
        return reason("not-shown", f"it {moved}, and {shown}", "go on with it: --resume --no-early-stop")
    return reason("not-shown", f"it {moved}, and {shown}", _what_would_settle(setting, arms))


def _what_would_settle(setting: _Setting, arms: _Arms) -> str:
    """The samples, or the repeats where they would do, that decide a drop of the margin with 80 % power."""
    sums, sizes = arms.sums
    alpha, margin, units = setting.evidence.settings.alpha, setting.margin, "groups" if arms.grouped else "samples"
    sd = _standard_error(sums, sizes) * len(sums) ** 0.5
    needed = samples_needed(sd, margin, alpha=alpha) if sd > 0 else 1
    needed = max(needed, pass_floor_units(margin, alpha=alpha))
    repeats = _repeats_that_settle(arms, margin, alpha)
    more = f", or {repeats} answers to each (--repeats {repeats})" if repeats else ""
    if needed > len(sums):
        return f"about {needed} {units} would settle it{more}"
    return f"the truth lies near the margin: more {units}{more or ', or more answers to each (--repeats)'}"


def _repeats_that_settle(arms: _Arms, margin: float, alpha: float) -> int | None:
    """Candidate repeats that would do, told apart from real differences by the repeats there are; None: unknown."""
    if arms.candidate.shape[1] == arms.baseline.shape[1] == 1 or arms.grouped or len(arms.units) < FEWEST_UNITS:
        return None
    parts = variance_components(arms.candidate, arms.baseline)
    baseline_repeats = arms.baseline.shape[1]
    found = repeats_needed(parts, len(arms.units), margin, baseline_repeats=baseline_repeats, alpha=alpha)
    return found if found is not None and arms.candidate.shape[1] < found <= MOST_REPEATS_NAMED else None


def _copied(found: _Look) -> tuple[Reason, ...]:
    """A note where further answers were copies of the first."""
    if not found.paired.copies:
        return ()
    whose = " and ".join(found.paired.copies)
    text = f"the repeats of the {whose} are copies of the first answer: they count as one"
    return (reason("repeats-are-copies", text, "--max-repeats 1 asks for no copies"),)


def _blind_slices(setting: _Setting, paired: PairedScores, scenario: Scenario) -> tuple[Reason, ...]:
    """The named slices with so few units at this look that no fall in them could block at it."""
    found, view = [], setting.view
    at = "" if view.planned == 1 else f" at {view}"
    for tag in setting.check.slices:
        arms = _arms(paired, scenario, tag)
        repeats = {"candidate_repeats": arms.candidate.shape[1], "baseline_repeats": arms.baseline.shape[1]}
        needed = block_floor(setting.block_level, **repeats) if setting.block_level > 0.0 else arms.n_units + 1
        if arms.n_units < needed:
            text = (
                f"slice '{tag}' has"
                f" {count_of(arms.n_units, 'sample or group', 'samples or groups')}{at}: {needed} at least"
                f" are needed to see it fall"
            )
            found.append(reason("suite-too-small", text, "add samples to the slice, or do not gate on it"))
    return tuple(found)


def _fallen_slices(setting: _Setting, paired: PairedScores, scenario: Scenario) -> tuple[Reason, ...]:
    """The named slices that block: real, enough of it seen, and not shown to be smaller than the margin."""
    check, found = setting.check, []
    for tag in check.slices:
        block = setting.blocks[Hypothesis(check.metric, tag)]
        if not block.blocked:
            continue
        arms = _arms(paired, scenario, tag)
        decision, drop, _ = setting.decided(arms, tag) if len(arms.units) >= 2 else (None, 0.0, None)
        if decision == "block":
            text = (
                f"{check.metric} fell by {_points(drop)} in '{tag}'"
                f" ({count_of(len(arms.units), 'sample')}, p = {block.p:.2g})"
            )
            found.append(reason("slice-drop", text, "read the samples that moved, with both answers"))
    return tuple(found)


def _drop(differences: Floats) -> float:
    """The mean drop, without the noise of floating point: 0.0 when nothing moved on the whole."""
    return 0.0 - round(float(differences.mean()), 12)


def _standard_error(sums: Floats, sizes: Floats) -> float:
    """Standard error of the mean difference over units (CR1), on the metric's scale; 0 for fewer than two units."""
    if len(sums) < 2:
        return 0.0
    total = float(sizes.sum())
    residuals = sums - sizes * (float(sums.sum()) / total)
    return float(np.sqrt((residuals**2).sum() * len(sums) / (len(sums) - 1))) / total


def _detectable(arms: _Arms, alpha: float, margin: float) -> float:
    """The drop that is blocked with 80 % power, told as `aigate.gating.margins` tells it before any call.

    Right-or-wrong scores fall by samples that are lost whole, which adds scatter: by the scatter without it, such a
    drop would be found about half of the time. What the observed drop has added is taken out, lest it count twice.
    """
    sums, sizes = arms.sums
    fallen = max(0.0, _drop(arms.differences)) if arms.right_or_wrong else 0.0
    variance = len(sums) * (_standard_error(sums, sizes) ** 2 - fallen * (1.0 - fallen) / len(arms.units))
    candidate_repeats, baseline_repeats = arms.candidate.shape[1], arms.baseline.shape[1]
    spread = Spread(
        noise=max(0.0, variance) / (1.0 / candidate_repeats + 1.0 / baseline_repeats),
        unit_sizes=tuple(int(size) for size in sizes),
        candidate_repeats=candidate_repeats,
        baseline_repeats=baseline_repeats,
        binary=arms.right_or_wrong,
        measured=True,
        origin="measured in this comparison",
    )
    loss = smallest_loss(spread, alpha=alpha, margin=margin)
    return smallest_drop(spread, alpha=alpha, margin=margin) if loss is None else loss


def _slices(evidence: Evidence, look: _Look) -> list[dict[str, Any]]:
    """Every tag, worst first, with q-values over all tags: reported, never gating."""
    paired = look.paired
    used = paired.arms("observed")[2]
    arms = _arms(paired, "observed", None)
    sized = {tag: arms.part(paired.in_slice(tag)[used]) for tag in paired.tags(used)}
    sized = {tag: part for tag, part in sized.items() if len(part.units) >= FEWEST_IN_SLICE}
    hypotheses = [Hypothesis(paired.metric, tag) for tag in sized]
    values = slice_p_values(evidence, look.view, hypotheses)
    q = benjamini_hochberg([values[h] for h in hypotheses])
    rows: list[dict[str, Any]] = [
        {
            "tag": tag,
            "n": len(part.units),
            "baseline_mean": float(part.baseline.mean()),
            "candidate_mean": float(part.candidate.mean()),
            "difference": 0.0 - _drop(part.differences),
            "p": values[hypothesis],
            "q": float(q_value),
        }
        for (tag, part), hypothesis, q_value in zip(sized.items(), hypotheses, q, strict=True)
    ]
    return sorted(rows, key=lambda row: (row["difference"], row["tag"]))


def _moved(paired: PairedScores) -> tuple[Moved, ...]:
    """Samples whose mean score differs, worst first."""
    candidate, baseline, used = paired.arms("observed")
    ours, theirs = candidate.mean(axis=1), baseline.mean(axis=1)
    rows = np.flatnonzero(used & (ours != theirs))  # by id
    rows = rows[np.argsort((ours - theirs)[rows], kind="stable")]
    picked = rows if len(rows) <= LISTED else np.concatenate([rows[: LISTED - 10], rows[-10:]])
    found = zip(paired.ids(picked), theirs[picked].tolist(), ours[picked].tolist(), strict=True)
    return tuple(Moved(id_, before, now) for id_, before, now in found)


def _summary(look: _Look, interval: DifferenceInterval, level: float, margin: float, detectable: float) -> str:
    arms, low, high = look.arms, interval.low * 100, interval.high * 100
    worse, better = int((arms.differences < 0).sum()), int((arms.differences > 0).sum())
    at = "" if look.view.planned == 1 else f"; {look.view}"
    seen = f"alpha {(1.0 - level) / 2:.3g}, sees {_points(detectable)}" if detectable < 1.0 else "sees no drop at all"
    return (
        f"mean {arms.baseline.mean():.3f} → {arms.candidate.mean():.3f}: {0.0 - look.drop * 100:+.1f} points"
        f" ({level:.0%} interval {low:+.1f} to {high:+.1f}; {_points(margin)} tolerated);"
        f" {worse} worse, {better} better of {len(arms.units)}; {seen}{at}"
    )


def _points(value: float) -> str:
    return f"{value * 100:.3g} points"
