"""The relabelling test over every metric and slice that gates: one family, one error rate, over all looks.

Metrics that hold each answer against the baseline's (`MetricSpec.against`) are a family of their own: what swapping two
answers does to them is known for one answer of each run only, so that the trials of the others cannot be theirs. Where
there are both, each family spends the share of the error rate that its hypotheses are of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aigate.gating.arrays import Bools, Floats, Ints, arrays_of
from aigate.gating.checks.base import Evidence
from aigate.gating.comparison import PairedScores, Scenario
from aigate.gating.views import Schedule, View, in_view

if TYPE_CHECKING:
    from aigate.stats.relabel import TrialRows

__all__ = ["Block", "Hypothesis", "blocks", "slice_p_values"]

MOST_CELLS = 4_000_000  # samples times slices that are looked at together: 32 MB per array


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
    from aigate.stats.relabel import relabel_looks

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
    from aigate.stats.relabel import MANY_UNITS, relabel_test

    found: dict[Hypothesis, float] = {}
    n_shared = evidence.comparison.n_shared if evidence.comparison is not None else 0
    at_once = len(hypotheses) if n_shared <= MANY_UNITS else max(1, MOST_CELLS // n_shared)
    for start in range(0, len(hypotheses), max(1, at_once)):
        some = hypotheses[start : start + at_once]
        (part,) = _segments(evidence, [view], some, "observed")
        result = relabel_test(part, seed=evidence.seed_at(view), alpha=evidence.settings.alpha)
        found.update(zip(some, result.p.tolist(), strict=True))
    return found


def _segments(
    evidence: Evidence, views: Sequence[View], hypotheses: Sequence[Hypothesis], scenario: Scenario
) -> list[TrialRows]:
    """Per look, the trials of the units that join at it. All looks use the repeats of the last one."""
    from aigate.stats.relabel import TrialRows

    comparison = evidence.comparison
    assert comparison is not None  # noqa: S101 - for the type checker: a check without one ends before
    last, run = views[-1], comparison.candidate
    shared = comparison.rows[0][in_view(run, last)[comparison.rows[0]]]
    paired = {metric: comparison.paired(metric).at(last) for metric in dict.fromkeys(h.metric for h in hypotheses)}
    columns = [_column(paired[h.metric], h.tag, scenario, shared) for h in hypotheses]
    candidate: Floats = np.stack([column[0] for column in columns], axis=2)
    baseline: Floats = np.stack([column[1] for column in columns], axis=2)
    mask = np.stack([column[2] for column in columns], axis=1)
    arrays = arrays_of(run)
    found, before, places = [], 0, arrays.places(run.header.seed)[arrays.units[shared]] if len(views) > 1 else None
    for view in views:
        joins = np.ones(len(shared), dtype=np.bool_) if places is None else (places >= before) & (places < view.units)
        found.append(TrialRows(candidate[joins], baseline[joins], mask[joins], arrays.units[shared[joins]]))
        before = view.units
    return found


def _column(paired: PairedScores, tag: str | None, scenario: Scenario, shared: Ints) -> tuple[Floats, Floats, Bools]:
    """One hypothesis over all shared samples; samples outside it are masked."""
    candidate, baseline, used = paired.arms(scenario)
    used = used & paired.in_slice(tag)
    if len(paired.rows) == len(shared):
        return candidate, baseline, used
    rows = np.searchsorted(shared, paired.rows)  # both sorted
    wide_candidate = np.zeros((len(shared), candidate.shape[1]))
    wide_baseline = np.zeros((len(shared), baseline.shape[1]))
    wide_used = np.zeros(len(shared), dtype=np.bool_)
    wide_candidate[rows], wide_baseline[rows], wide_used[rows] = candidate, baseline, used
    return wide_candidate, wide_baseline, wide_used
