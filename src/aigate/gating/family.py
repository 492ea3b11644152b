"""The relabelling test over every metric and slice that gates: one family, one error rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aigate.gating.checks.base import Evidence
from aigate.gating.comparison import Bools, Floats, PairedScores, Scenario
from aigate.stats.relabel import TrialUnit, relabel_test

__all__ = ["Hypothesis", "block_p_values", "slice_p_values", "trial_units"]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One thing that may have fallen.

    Attributes:
        metric: The metric.
        tag: The slice; None for all samples.
    """

    metric: str
    tag: str | None = None


def block_p_values(
    evidence: Evidence, hypotheses: Sequence[Hypothesis], scenario: Scenario
) -> Mapping[Hypothesis, float]:
    """Family-wise p-values that nothing fell, over all hypotheses at once (maxT).

    Args:
        evidence: Has a comparison.
        hypotheses: The whole family: every metric and slice that may block.
        scenario: How missing scores are filled in.
    """
    return _p_values(evidence, hypotheses, scenario, adjusted=True)


def slice_p_values(evidence: Evidence, hypotheses: Sequence[Hypothesis]) -> Mapping[Hypothesis, float]:
    """One p-value per hypothesis, not corrected for their number: for slices that are reported and never gate."""
    return _p_values(evidence, hypotheses, "observed", adjusted=False)


def _p_values(
    evidence: Evidence, hypotheses: Sequence[Hypothesis], scenario: Scenario, *, adjusted: bool
) -> Mapping[Hypothesis, float]:
    comparison = evidence.comparison
    if comparison is None or not hypotheses:
        return {}
    paired = {metric: comparison.paired(metric) for metric in dict.fromkeys(h.metric for h in hypotheses)}
    columns = [_column(paired[h.metric], h.tag, scenario, comparison.shared) for h in hypotheses]
    candidate: Floats = np.stack([column[0] for column in columns], axis=2)
    baseline: Floats = np.stack([column[1] for column in columns], axis=2)
    mask = np.stack([column[2] for column in columns], axis=1)
    units = [comparison.candidate.samples[id_].unit for id_ in comparison.shared]
    result = relabel_test(
        trial_units(candidate, baseline, mask, units), seed=evidence.seed, alpha=evidence.settings.alpha
    )
    values = result.p_adjusted if adjusted else result.p
    return {hypothesis: float(p) for hypothesis, p in zip(hypotheses, values, strict=True)}


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
