"""Numbers over a whole run, computed again from what is stored: means, and metrics such as `accuracy.f1_macro`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from aigate.core.ledger import Outcome
from aigate.core.run import JudgeUse, Run
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import UsageError
from aigate.gating.arrays import Bools, RunArrays, arrays_of
from aigate.scorers.base import RunScorer, Scorer, scorer_from_spec
from aigate.stats.noise import Noise, split_noise

if TYPE_CHECKING:
    from aigate.scorers.classification import Confusion

__all__ = [
    "Rows",
    "confusion_of",
    "judge_use",
    "metric_table",
    "over_run",
    "rows_of",
    "run_metric_names",
    "run_scorer",
]

Rows = Sequence[tuple[Sample, ScoreOrNot]]


def run_scorer(run: Run, metric: str) -> tuple[RunScorer, str] | None:
    """The scorer behind a run metric and the name within it; None when `metric` is no run metric of this run."""
    base, dot, name = metric.partition(".")
    spec = run.header.metric(base)
    if spec is None or not dot:
        return None
    found: object = _again(spec)
    return (found, name) if isinstance(found, RunScorer) else None


def rows_of(run: Run, metric: str) -> Rows:
    """Every sample and repeat that was asked with its score, where the metric applies."""
    never = Unscored("not_run", "never computed")
    asked = (result for result in run.results if result.outcome is not Outcome.EARLY_STOP)
    rows = [(run.samples[result.sample_id], result.scores.get(metric, never)) for result in asked]
    return [(sample, score) for sample, score in rows if not isinstance(score, Unscored) or score.applicable]


def over_run(run: Run) -> Mapping[str, float]:
    """Every run metric of a run, by full name."""
    found: dict[str, float] = {}
    for spec in run.header.metrics:
        scorer = _again(spec)
        if isinstance(scorer, RunScorer):
            numbers = scorer.over_run(rows_of(run, spec.metric))
            found.update({f"{spec.metric}.{name}": value for name, value in numbers.items()})
    return found


def run_metric_names(scorers: Sequence[object]) -> list[str]:
    """The full names of the run metrics that are always there."""
    return [
        f"{scorer.spec.metric}.{name}"  # type: ignore[attr-defined]
        for scorer in scorers
        if isinstance(scorer, RunScorer)
        for name in scorer.run_metrics
    ]


def metric_table(run: Run) -> dict[str, dict[str, float | int]]:
    """Every metric of a run: its mean over samples (repeats averaged first), and how many scores it rests on.

    Returns:
        Per metric, `scored`, `missing` and, where anything was scored, `mean` on the metric's own scale. Metrics over
        the whole run have a `value` only. Judged metrics have what their judge was asked besides (`judge_calls`,
        `judge_tokens`, and `judge_cost_usd` where the price is known), labelled answers included; and where answers
        were judged more than once, by how much one score scatters (`judge_sd`, `system_sd`, see `aigate.stats.noise`).
    """
    table: dict[str, dict[str, float | int]] = {}
    arrays = arrays_of(run)
    for spec in run.header.metrics:
        scored = arrays.scored(spec.metric)
        asked = int((~arrays.outside(spec.metric) & ~arrays.skipped).sum())
        scored &= ~arrays.skipped
        total = int(scored.sum())
        table[spec.metric] = {"scored": total, "missing": asked - total}
        if total:
            means = _means_of_samples(arrays, spec.metric, scored)
            table[spec.metric]["mean"] = math.fsum(means) / len(means)
        if spec.judge is not None:
            table[spec.metric].update(_judged(run, spec.metric))
    table.update({name: {"value": value} for name, value in over_run(run).items()})
    return table


def judge_use(run: Run, metric: str) -> JudgeUse:
    """What the judge of a metric was asked in a run, all together."""
    whole = run.judge_anchors[metric].use if metric in run.judge_anchors else JudgeUse()
    for result in run.results:
        if metric in result.judging:
            whole = whole.plus(result.judging[metric])
    return whole


def _judged(run: Run, metric: str) -> Mapping[str, float | int]:
    """What a judge was asked, and where the scatter of its scores comes from."""
    use, noise = judge_use(run, metric), _noise(run, metric)
    told: dict[str, float | int] = {"judge_calls": use.calls, "judge_tokens": use.input_tokens + use.output_tokens}
    known = {"judge_cost_usd": use.cost_usd, "judge_sd": noise.judge, "system_sd": noise.system}
    return {**told, **{name: value for name, value in known.items() if value is not None}}


def _noise(run: Run, metric: str) -> Noise:
    per_sample: dict[str, list[list[float]]] = {}
    for result in run.results:
        score = result.scores.get(metric)
        if isinstance(score, Score) and not result.outcome.candidate_fault:
            votes = score.details.get("votes", [score.value])
            per_sample.setdefault(result.sample_id, []).append([float(vote) for vote in votes])
    return split_noise(list(per_sample.values()))


def _means_of_samples(arrays: RunArrays, metric: str, scored: Bools) -> list[float]:
    """The mean over repeats of each sample that was scored, exactly rounded."""
    values, counts = arrays.scores(metric)[0][scored], arrays.per_sample(scored)
    if counts.max() == 1:
        found: list[float] = values.tolist()
        return found
    ends = np.cumsum(counts[counts > 0]).tolist()
    whole, starts = values.tolist(), [0, *ends[:-1]]
    return [math.fsum(whole[start:end]) / (end - start) for start, end in zip(starts, ends, strict=True)]


def confusion_of(run: Run) -> dict[str, Confusion]:
    """The confusion matrix of every classification in a run, by metric."""
    from aigate.scorers.classification import Classification

    found = {}
    for spec in run.header.metrics:
        if isinstance(scorer := _again(spec), Classification):
            found[spec.metric] = scorer.confusion(rows_of(run, spec.metric))
    return found


def _again(spec: MetricSpec) -> Scorer | None:
    """The scorer of a stored run; None where it cannot be made here (a package of the run's machine is missing).

    Its scores per sample are stored and need no scorer; a check on its numbers over the run then ends in error.
    """
    try:
        return scorer_from_spec(spec)
    except UsageError:
        return None
