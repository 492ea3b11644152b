"""`no-regression`: the metric did not fall by more than the margin against the baseline, sample by sample.

Three-valued. Block when the exact relabelling test says that the drop is real and at least half the margin is observed;
pass when the drop is shown to be smaller than the margin; else inconclusive. A pass has precedence: a certain but
tolerable drop passes with a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from aigate.core.verdict import CheckOutcome, Interval, Moved, Reason, Status
from aigate.errors import ConfigError
from aigate.gating.checks.base import ConfiguredCheck, Evidence
from aigate.gating.comparison import Floats, PairedScores, Scenario
from aigate.gating.family import Hypothesis, block_p_values, slice_p_values
from aigate.gating.reasons import reason
from aigate.stats.bootstrap import bb1_interval, bb1_test
from aigate.stats.cluster import cluster_interval, cluster_pass_test
from aigate.stats.multiplicity import benjamini_hochberg
from aigate.stats.power import block_floor, pass_floor_units, samples_needed, smallest_detectable_drop
from aigate.stats.tango import tango_interval, tango_pass_test

__all__ = ["NoRegression"]

FEWEST_UNITS = 20  # with fewer samples or groups, no test of a pass keeps its error rate
SAFE_GROUPS = 100  # with fewer, whole groups that fail at once can be missed: said with every pass
FEWEST_IN_SLICE = 5  # smaller slices are not reported: nothing could be seen in them
LISTED = 50


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
    """

    name: ClassVar[str] = "no-regression"
    needs_baseline: ClassVar[bool] = True

    metric: str
    _: KW_ONLY
    margin: float | None = None
    slices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.margin is not None and not 0.0 < self.margin < 1.0:
            raise ConfigError(
                f"'margin' is {self.margin!r}: expected a number between 0 and 1", hint="0.05 is 5 points"
            )

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
        """What may block: the metric, and it in each named slice."""
        return (Hypothesis(self.metric), *(Hypothesis(self.metric, tag) for tag in self.slices))

    def judge(self, evidence: Evidence) -> CheckOutcome:
        """Compare the paired scores."""
        if (nothing := evidence.no_comparison(self.name, self.metric)) is not None:
            return nothing
        assert evidence.comparison is not None  # noqa: S101 - for the type checker: `no_comparison` returned None
        if evidence.candidate.header.metric(self.metric) is None:
            why = reason("metric-not-computed", f"'{self.metric}' has no score per sample")
            return CheckOutcome(self.name, Status.ERROR, why.text, metric=self.metric, reasons=(why,))
        paired = evidence.comparison.paired(self.metric)
        margin = evidence.settings.margin if self.margin is None else self.margin
        if not paired.arms("observed")[2].any():
            why = reason("metric-missing", f"no sample has a score of '{self.metric}' in both runs")
            return CheckOutcome(self.name, Status.ERROR, why.text, metric=self.metric, reasons=(why,))
        carried = {tag for tags in paired.tags for tag in tags}
        if absent := [tag for tag in self.slices if tag not in carried]:
            why = reason("no-such-tag", f"no sample with {self.metric} in both runs carries the tag '{absent[0]}'")
            return CheckOutcome(self.name, Status.ERROR, why.text, metric=self.metric, reasons=(why,))
        return self._compared(evidence, paired, margin)

    def _compared(self, evidence: Evidence, paired: PairedScores, margin: float) -> CheckOutcome:
        scenarios: tuple[Scenario, ...] = ("observed", "worst", "best") if paired.missing else ("observed",)
        findings = [_find(self, evidence, paired, margin, scenario) for scenario in scenarios]
        finding = findings[0]
        status, reasons = finding.status, finding.reasons
        if len({found.status for found in findings}) > 1:
            told = ", ".join(f"{found.status} if {found.scenario}" for found in findings)
            status = Status.INCONCLUSIVE
            reasons = (reason("missing-decides", f"{paired.missing} missing scores decide ({told})", "run again"),)
        header, run = evidence.candidate.header, evidence.comparison
        assert run is not None  # noqa: S101 - for the type checker
        interval = finding.interval
        return CheckOutcome(
            check=self.name,
            status=status,
            summary=_summary(finding, margin),
            metric=self.metric,
            observed=finding.difference,
            interval=interval,
            threshold=-margin,
            n_samples=finding.n,
            n_groups=finding.n_units,
            n_repeats=(header.repeats, run.baseline.header.repeats),
            alpha=evidence.settings.alpha,
            smallest_detectable_drop=finding.detectable,
            share_used=header.share(finding.n),
            moved=_moved(paired),
            reasons=reasons,
            details={
                **finding.details(),
                "margin": margin,
                "missing": paired.missing,
                "slices": _slices(evidence, paired),
            },
        )


@dataclass(frozen=True)
class _Finding:
    """What one scenario says."""

    scenario: Scenario
    status: Status
    reasons: tuple[Reason, ...]
    baseline_mean: float
    candidate_mean: float
    difference: float
    interval: Interval
    n: int
    n_units: int
    detectable: float
    p_block: float
    p_pass: float
    method: str
    worse: int
    better: int

    def details(self) -> Mapping[str, Any]:
        """What a verdict keeps of it."""
        names = ("baseline_mean", "candidate_mean", "p_block", "p_pass", "method", "worse", "better")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class _Arms:
    """The scores that take part, per sample, and how they may be tested."""

    candidate: Floats
    baseline: Floats
    units: tuple[str, ...]

    @cached_property
    def differences(self) -> Floats:
        differences: Floats = self.candidate.mean(axis=1) - self.baseline.mean(axis=1)
        return differences

    @cached_property
    def unit_codes(self) -> np.ndarray[Any, np.dtype[np.intp]]:
        return np.unique(self.units, return_inverse=True)[1]

    @cached_property
    def n_units(self) -> int:
        return len(set(self.units))

    @property
    def grouped(self) -> bool:
        return self.n_units < len(self.units)

    @property
    def binary(self) -> bool:
        """True for 0/1 scores of one answer each, on independent samples: then Tango's test is the right one."""
        single = self.candidate.shape[1] == self.baseline.shape[1] == 1
        return single and not self.grouped and bool(np.isin((self.candidate, self.baseline), (0.0, 1.0)).all())

    @cached_property
    def sums(self) -> tuple[Floats, Floats]:
        """Sums of differences and numbers of samples, per unit."""
        codes = self.unit_codes
        sums: Floats = np.bincount(codes, weights=self.differences).astype(np.float64)
        return sums, np.bincount(codes).astype(np.float64)


def _find(check: NoRegression, evidence: Evidence, paired: PairedScores, margin: float, scenario: Scenario) -> _Finding:
    family = [h for other in evidence.checks if isinstance(other, NoRegression) for h in other.hypotheses]
    blocks = evidence.remember(("family", scenario), lambda: block_p_values(evidence, family, scenario))
    whole = _arms(paired, scenario, None)
    differences, (sums, sizes) = whole.differences, whole.sums
    p_pass, method = _pass_p_value(whole, margin, evidence.seed)
    p_block, drop = blocks[Hypothesis(check.metric)], _drop(differences)
    status, reasons = _decided(check, evidence, p_pass, p_block, drop, margin, whole)
    blind = _blind_slices(check, paired, scenario, evidence.settings.alpha)
    if blind and status is Status.PASS:
        status, reasons = Status.INCONCLUSIVE, blind
    if (fallen := _fallen_slices(check, evidence, paired, margin, scenario, blocks)) and status is not Status.FAIL:
        status, reasons = Status.FAIL, ()
    return _Finding(
        scenario=scenario,
        status=status,
        reasons=(*reasons, *fallen),
        baseline_mean=float(whole.baseline.mean()),
        candidate_mean=float(whole.candidate.mean()),
        difference=0.0 - drop,
        interval=_interval(whole, evidence.settings.alpha, evidence.seed),
        n=len(differences),
        n_units=len(sums),
        detectable=_detectable(sums, sizes, evidence.settings.alpha),
        p_block=p_block,
        p_pass=p_pass,
        method=method,
        worse=int((differences < 0).sum()),
        better=int((differences > 0).sum()),
    )


def _arms(paired: PairedScores, scenario: Scenario, tag: str | None) -> _Arms:
    candidate, baseline, used = paired.arms(scenario)
    used = used & paired.in_slice(tag)
    return _Arms(candidate[used], baseline[used], tuple(np.array(paired.units, dtype=object)[used]))


def _pass_p_value(arms: _Arms, margin: float, seed: int) -> tuple[float, str]:
    """How likely the data would look this good if the true drop were the margin, and by which test."""
    if arms.binary:
        differences = arms.differences
        losses, gains = int((differences < 0).sum()), int((differences > 0).sum())
        return tango_pass_test(losses, gains, len(differences), margin=margin), "Tango score test"
    if not arms.grouped:
        p = bb1_test(*arms.sums, margin=margin, seed=seed)
        return p, "Bayesian bootstrap, one pseudo-case at the worst value"
    p = cluster_pass_test(arms.differences, arms.unit_codes, margin=margin, seed=seed)
    return p, "cluster-robust t and Bayesian bootstrap over groups"


def _decided(
    check: NoRegression, evidence: Evidence, p_pass: float, p_block: float, drop: float, margin: float, arms: _Arms
) -> tuple[Status, tuple[Reason, ...]]:
    alpha, n, groups = evidence.settings.alpha, len(arms.units), arms.n_units
    if n < 2:
        return Status.INCONCLUSIVE, (reason("fewer-than-two-samples", f"{n} shared sample decides nothing"),)
    real, shown = p_block <= alpha, p_pass <= alpha
    if shown and groups >= FEWEST_UNITS:
        text = (
            f"{check.metric} fell by {_points(drop)}: real, but shown to be less than the margin of {_points(margin)}"
        )
        return Status.PASS, (*((reason("tolerated-drop", text),) if real else ()), *_whole_groups(arms, margin))
    if real and drop >= margin / 2:
        text = f"{check.metric} fell by {_points(drop)} (p = {p_block:.2g}; {_points(margin)} tolerated)"
        return Status.FAIL, (reason("drop", text, "read the samples that moved, with both answers"),)
    if shown:
        units = "groups" if arms.grouped else "samples"
        text = f"no drop is seen, but {groups} {units} are too few to show it: {FEWEST_UNITS} are needed"
        return Status.INCONCLUSIVE, (reason(f"too-few-{units}", text, f"add {units} to the suite"),)
    return Status.INCONCLUSIVE, (_not_shown(arms, drop, margin, alpha),)


def _whole_groups(arms: _Arms, margin: float) -> tuple[Reason, ...]:
    """What a pass over few groups does not cover: (1 - margin)^groups is the chance that no broken group is in it."""
    groups = arms.n_units
    if not arms.grouped or groups >= SAFE_GROUPS:
        return ()
    missed = (1.0 - margin) ** groups
    text = f"if {margin:.0%} of all groups broke whole, {groups} groups would show none of it with chance {missed:.0%}"
    return (reason("groups-may-break-whole", text),)


def _not_shown(arms: _Arms, drop: float, margin: float, alpha: float) -> Reason:
    sums, sizes = arms.sums
    units = "groups" if arms.grouped else "samples"
    sd = _standard_error(sums, sizes) * len(sums) ** 0.5
    needed = samples_needed(sd, margin, alpha=alpha) if sd > 0 else pass_floor_units(margin, alpha=alpha)
    moved = "did not move" if drop == 0 else f"fell by {_points(drop)}" if drop > 0 else f"rose by {_points(-drop)}"
    shown = f"neither a drop nor its absence within {_points(margin)} is shown with {len(sums)} {units}"
    if needed > len(sums):
        hint = f"about {needed} {units} would settle it, or more answers to each (--repeats)"
    else:
        hint = "the truth lies near the margin: answer each sample more often (--repeats)"
    return reason("not-shown", f"it {moved}, and {shown}", hint)


def _blind_slices(check: NoRegression, paired: PairedScores, scenario: Scenario, alpha: float) -> tuple[Reason, ...]:
    """The named slices with so few units that no fall in them could ever block."""
    sized = {tag: _arms(paired, scenario, tag).n_units for tag in check.slices}
    needed = block_floor(alpha)
    return tuple(
        reason(
            "suite-too-small", f"slice '{tag}' has {n} samples or groups: {needed} at least are needed to see it fall"
        )
        for tag, n in sized.items()
        if n < needed
    )


def _fallen_slices(
    check: NoRegression,
    evidence: Evidence,
    paired: PairedScores,
    margin: float,
    scenario: Scenario,
    blocks: Mapping[Hypothesis, float],
) -> tuple[Reason, ...]:
    """The named slices that block: real, at least half the margin, and not shown to be smaller than it."""
    found = []
    for tag in check.slices:
        arms = _arms(paired, scenario, tag)
        if len(arms.units) < 2:
            continue
        drop, p_block = _drop(arms.differences), blocks[Hypothesis(check.metric, tag)]
        tolerable = _pass_p_value(arms, margin, evidence.seed)[0] <= evidence.settings.alpha
        if p_block <= evidence.settings.alpha and drop >= margin / 2 and not tolerable:
            text = f"{check.metric} fell by {_points(drop)} in '{tag}' ({len(arms.units)} samples, p = {p_block:.2g})"
            found.append(reason("slice-drop", text, "read the samples that moved, with both answers"))
    return tuple(found)


def _interval(arms: _Arms, alpha: float, seed: int) -> Interval:
    """The interval of the difference; each end is a one-sided bound at `alpha`."""
    level, differences = 1.0 - 2.0 * alpha, arms.differences
    if arms.binary:
        losses, gains = int((differences < 0).sum()), int((differences > 0).sum())
        low, high = tango_interval(losses, gains, len(differences), level=level)
        return Interval(low, high, level, "Tango")
    low, high = bb1_interval(*arms.sums, level=level, seed=seed)
    if not arms.grouped or arms.n_units < 2:
        return Interval(low, high, level, "Bayesian bootstrap with a pseudo-case at each end")
    robust = cluster_interval(differences, arms.unit_codes, level=level)
    low, high = max(-1.0, min(low, robust.low)), min(1.0, max(high, robust.high))
    return Interval(low, high, level, "the wider of cluster-robust t and Bayesian bootstrap")


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


def _detectable(sums: Floats, sizes: Floats, alpha: float) -> float:
    """The drop found with 80 % power; never below what the relabelling test needs at all (whole lost units)."""
    by_noise = smallest_detectable_drop(_standard_error(sums, sizes) * len(sums) ** 0.5, len(sums), alpha=alpha)
    return min(1.0, max(by_noise, block_floor(alpha) / len(sums)))


def _slices(evidence: Evidence, paired: PairedScores) -> list[dict[str, Any]]:
    """Every tag, worst first, with q-values over all tags: reported, never gating."""
    used = paired.arms("observed")[2]
    tags = sorted({tag for tags, use in zip(paired.tags, used, strict=True) if use for tag in tags})
    sized = {tag: _arms(paired, "observed", tag) for tag in tags}
    sized = {tag: arms for tag, arms in sized.items() if len(arms.units) >= FEWEST_IN_SLICE}
    hypotheses = [Hypothesis(paired.metric, tag) for tag in sized]
    values = slice_p_values(evidence, hypotheses)
    q = benjamini_hochberg([values[h] for h in hypotheses])
    rows: list[dict[str, Any]] = [
        {
            "tag": tag,
            "n": len(arms.units),
            "baseline_mean": float(arms.baseline.mean()),
            "candidate_mean": float(arms.candidate.mean()),
            "difference": 0.0 - _drop(arms.differences),
            "p": values[hypothesis],
            "q": float(q_value),
        }
        for (tag, arms), hypothesis, q_value in zip(sized.items(), hypotheses, q, strict=True)
    ]
    return sorted(rows, key=lambda row: (row["difference"], row["tag"]))


def _moved(paired: PairedScores) -> tuple[Moved, ...]:
    """Samples whose mean score differs, worst first."""
    candidate, baseline, used = paired.arms("observed")
    ours, theirs = candidate.mean(axis=1), baseline.mean(axis=1)
    rows = [row for row in range(len(paired.ids)) if used[row] and ours[row] != theirs[row]]
    rows.sort(key=lambda row: (ours[row] - theirs[row], paired.ids[row]))
    picked: Sequence[int] = rows if len(rows) <= LISTED else [*rows[: LISTED - 10], *rows[-10:]]
    return tuple(Moved(paired.ids[row], float(theirs[row]), float(ours[row])) for row in picked)


def _summary(finding: _Finding, margin: float) -> str:
    low, high = finding.interval.low * 100, finding.interval.high * 100
    return (
        f"mean {finding.baseline_mean:.3f} → {finding.candidate_mean:.3f}: {finding.difference * 100:+.1f} points"
        f" ({finding.interval.level:.0%} interval {low:+.1f} to {high:+.1f}; {_points(margin)} tolerated);"
        f" {finding.worse} worse, {finding.better} better of {finding.n}"
    )


def _points(value: float) -> str:
    return f"{value * 100:.3g} points"
