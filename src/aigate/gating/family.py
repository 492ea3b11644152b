"""The relabelling test over every metric and slice that gates: one family, one error rate, over all looks.

Metrics that hold each answer against the baseline's (`MetricSpec.against`) are a family of their own: what swapping two
answers does to them is known for one answer of each run only, so that the trials of the others cannot be theirs. Where
there are both, each family spends the share of the error rate that its hypotheses are of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aigate.gating.checks.base import Evidence
from aigate.gating.comparison import Bools, Floats, PairedScores, Scenario
from aigate.gating.views import Schedule, View
from aigate.stats.relabel import TrialUnit, relabel_looks, relabel_test

__all__ = ["Block", "Hypothesis", "blocks", "slice_p_values", "trial_units"]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One thing that may have fallen.

    Attributes:
        metric: The metric.
        tag: The slice; None for all samples.
    """

    metric: str
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """What the test says of one hypothesis at one look.

    Attributes:
        p: Family-wise p at this look alone (step-down maxT).
        blocked: True when it has fallen by this look, at the alpha spent by then.
    """

    p: float
    blocked: bool


def blocks(
    evidence: Evidence, schedule: Schedule, hypotheses: Sequence[Hypothesis], scenario: Scenario
) -> tuple[Mapping[Hypothesis, Block], ...]:
    """Per look, what has fallen, over all hypotheses of a family at once.

    Args:
        evidence: Has a comparison.
        schedule: The looks, and the alpha spent at each.
        hypotheses: The whole family: every metric and slice that may block.
        scenario: How missing scores are filled in.
    """
    families = [family for family in _families(evidence, hypotheses) if family]
    found = [_of_family(evidence, schedule, family, scenario, len(family) / len(hypotheses)) for family in families]
    return tuple({h: block for look in looks for h, block in look.items()} for looks in zip(*found, strict=True))


def _families(evidence: Evidence, hypotheses: Sequence[Hypothesis]) -> tuple[list[Hypothesis], list[Hypothesis]]:
    """Those on scores that each run has by itself, and those on scores against the baseline's answers."""
    header = evidence.candidate.header
    own = {h.metric for h in hypotheses if header.own_metric(h.metric) is not None}
    return [h for h in hypotheses if h.metric in own], [h for h in hypotheses if h.metric not in own]


def _of_family(
    evidence: Evidence, schedule: Schedule, hypotheses: Sequence[Hypothesis], scenario: Scenario, share: float
) -> list[Mapping[Hypothesis, Block]]:
    """Per look, what has fallen of one family, at its share of the alpha spent by then."""
    found: list[Mapping[Hypothesis, Block]] = []
    fallen: set[Hypothesis] = set()
    for stage in schedule.stages:
        parts = _segments(evidence, stage.views, hypotheses, scenario)
        seeds = [evidence.seed_at(view) for view in stage.views]
        spent = [level * share for level in stage.spent]
        for look in relabel_looks(parts, spent=spent, seeds=seeds, hypotheses=len(hypotheses)):
            fallen |= {h for h, blocked in zip(hypotheses, look.blocked, strict=True) if blocked}
            told = zip(hypotheses, look.p_adjusted, strict=True)
            found.append({h: Block(float(p), h in fallen) for h, p in told})
    return found


def slice_p_values(evidence: Evidence, view: View, hypotheses: Sequence[Hypothesis]) -> Mapping[Hypothesis, float]:
    """One p-value per hypothesis, not corrected for their number: for slices that are reported and never gate."""
    if not hypotheses:
        return {}
    (part,) = _segments(evidence, [view], hypotheses, "observed")
    result = relabel_test(part, seed=evidence.seed_at(view), alpha=evidence.settings.alpha)
    return {hypothesis: float(p) for hypothesis, p in zip(hypotheses, result.p, strict=True)}


def _segments(
    evidence: Evidence, views: Sequence[View], hypotheses: Sequence[Hypothesis], scenario: Scenario
) -> list[list[TrialUnit]]:
    """Per look, the trials of the units that join at it. All looks use the repeats of the last one."""
    comparison = evidence.comparison
    assert comparison is not None  # noqa: S101 - for the type checker: a check without one ends before
    last, samples = views[-1], comparison.candidate.samples
    shared = [id_ for id_ in comparison.shared if samples[id_].unit in last.units]
    paired = {metric: comparison.paired(metric).at(last) for metric in dict.fromkeys(h.metric for h in hypotheses)}
    columns = [_column(paired[h.metric], h.tag, scenario, shared) for h in hypotheses]
    candidate: Floats = np.stack([column[0] for column in columns], axis=2)
    baseline: Floats = np.stack([column[1] for column in columns], axis=2)
    mask = np.stack([column[2] for column in columns], axis=1)
    units = [samples[id_].unit for id_ in shared]
    by_unit = dict(zip(dict.fromkeys(units), trial_units(candidate, baseline, mask, units), strict=True))
    found, before = [], frozenset[str]()
    for view in views:
        found.append([trials for unit, trials in by_unit.items() if unit in view.units and unit not in before])
        before = view.units
    return found


def _column(
    paired: PairedScores, tag: str | None, scenario: Scenario, shared: Sequence[str]
) -> tuple[Floats, Floats, Bools]:
    """One hypothesis over all shared samples; samples outside it are masked."""
    candidate, baseline, used = paired.arms(scenario)
    used = used & paired.in_slice(tag)
    if len(paired.ids) == len(shared):
        return candidate, baseline, used
    rows = np.searchsorted(shared, paired.ids)  # both sorted
    wide_candidate = np.zeros((len(shared), candidate.shape[1]))
    wide_baseline = np.zeros((len(shared), baseline.shape[1]))
    wide_used = np.zeros(len(shared), dtype=np.bool_)
    wide_candidate[rows], wide_baseline[rows], wide_used[rows] = candidate, baseline, used
    return wide_candidate, wide_baseline, wide_used


def trial_units(candidate: Floats, baseline: Floats, mask: Bools, units: Sequence[str]) -> list[TrialUnit]:
    """Rows gathered by statistical unit, in order of first appearance.

    Args:
        candidate: Shape (samples, candidate repeats, hypotheses).
        baseline: Shape (samples, baseline repeats, hypotheses).
        mask: Shape (samples, hypotheses): who belongs to what.
        units: The unit of each sample.
    """
    rows: dict[str, list[int]] = {}
    for row, unit in enumerate(units):
        rows.setdefault(unit, []).append(row)
    return [TrialUnit(candidate[picked], baseline[picked], mask[picked]) for picked in rows.values()]
