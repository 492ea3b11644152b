"""What every report tells, in order: the verdict, why, the samples that moved with both answers, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aigate.core.ledger import Outcome
from aigate.core.response import Response
from aigate.core.run import Result, Run
from aigate.core.score import MetricSpec, Score
from aigate.core.verdict import CheckOutcome, Moved, Status, Verdict
from aigate.gating.run_metrics import confusion_of, metric_table
from aigate.scorers.classification import Confusion

__all__ = ["Answer", "MetricRow", "MovedSample", "SliceRow", "Story", "tell"]

SHOWN = 5
SHOWN_SLICES = 12


@dataclass(frozen=True, slots=True)
class Answer:
    """One run's answer to a sample.

    Attributes:
        text: The output, or what happened instead of one.
        score: Its score on the metric in question; None where there is none.
        explanation: The scorer's.
    """

    text: str
    score: float | None
    explanation: str


@dataclass(frozen=True, slots=True)
class MovedSample:
    """A sample that moved, with both answers.

    Attributes:
        check: The check that names it.
        moved: Ids and scores.
        question: The sample's input.
        reference: The right answer as text; empty without one.
        baseline: The baseline's answer; None without a baseline.
        candidate: The candidate's answer.
    """

    check: CheckOutcome
    moved: Moved
    question: str
    reference: str
    baseline: Answer | None
    candidate: Answer | None


@dataclass(frozen=True, slots=True)
class SliceRow:
    """How a metric moved in one slice.

    Attributes:
        metric: The metric.
        row: tag, n, baseline_mean, candidate_mean, difference, p, q.
        fell: True when the fall is unlikely to be chance (q at most 0.05 over all slices).
    """

    metric: str
    row: Mapping[str, Any]
    fell: bool


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric in both runs.

    Attributes:
        metric: Its name.
        baseline: Its number in the baseline; None without one.
        candidate: Its number in the candidate; None where nothing was scored.
        missing: Missing scores in the candidate.
    """

    metric: str
    baseline: float | None
    candidate: float | None
    missing: int


@dataclass(frozen=True, slots=True)
class Story:
    """Everything a report shows.

    Attributes:
        verdict: The verdict.
        decided: False for a mere comparison.
        headline: One line.
        threshold_means: What the threshold means here, in words; empty without one.
        why: The causes, most important first; none for a pass, whose checks say it all.
        notes: What a reader should know besides.
        slices: Slices in which a compared metric moved, worst first.
        metrics: Every metric with its baseline and candidate number as text, and missing scores.
        confusions: Confusion matrices of the candidate, by metric.
        moved: A few samples that moved, with both answers.
        more_moved: How many more moved.
        ledger: Outcome counts, in words.
        next_steps: What to do next.
    """

    verdict: Verdict
    decided: bool
    headline: str
    threshold_means: str
    why: tuple[str, ...]
    notes: tuple[str, ...]
    slices: tuple[SliceRow, ...]
    metrics: tuple[MetricRow, ...]
    confusions: Mapping[str, Confusion]
    moved: tuple[MovedSample, ...]
    more_moved: int
    ledger: str
    next_steps: tuple[str, ...]


def tell(
    verdict: Verdict, candidate: Run, baseline: Run | None = None, *, shown: int = SHOWN, decided: bool = True
) -> Story:
    """The story of a verdict.

    Args:
        verdict: What was decided.
        candidate: The run under test.
        baseline: The run it was held against.
        shown: How many samples to show with their answers.
        decided: False for a mere comparison: then there is no verdict in the headline and no next step.
    """
    deciding = _deciding(verdict)
    named = [(check, moved) for check in deciding for moved in check.moved]
    unique: dict[str, tuple[CheckOutcome, Moved]] = {}
    for check, moved in named:
        if moved.baseline is None or moved.baseline != moved.candidate:  # as bad as before is not news
            unique.setdefault(moved.sample_id, (check, moved))
    return Story(
        verdict=verdict,
        decided=decided,
        headline=_headline(verdict, decided=decided),
        threshold_means=_threshold_means(verdict, candidate),
        why=() if verdict else tuple(dict.fromkeys(f"{c.label}: {r.text}" for c in deciding for r in c.reasons)),
        notes=tuple(dict.fromkeys(f"{check.label}: {r.text}" for check in _passed(verdict) for r in check.reasons)),
        slices=tuple(_slices(verdict))[:SHOWN_SLICES],
        metrics=tuple(_metrics(verdict, baseline)),
        confusions=confusion_of(candidate),
        moved=tuple(_sample(check, moved, candidate, baseline) for check, moved in list(unique.values())[:shown]),
        more_moved=max(0, len(unique) - shown),
        ledger=str(candidate.ledger),
        next_steps=_next_steps(verdict) if decided else (),
    )


def _headline(verdict: Verdict, *, decided: bool) -> str:
    against = f" against {verdict.baseline}" if verdict.baseline else ""
    return f"{f'{verdict.status}  '.upper() if decided else ''}{verdict.candidate}{against}"


def _threshold_means(verdict: Verdict, run: Run) -> str:
    check = next(
        (check for check in verdict.checks if check.check == "min-score" and check.threshold is not None), None
    )
    if check is None:
        return ""
    of = "" if run.header.metric(check.metric or "") is None else "the mean of "
    left_out = check.details.get("not_applicable") and check.n_samples < len(run.samples)
    over = f"the {check.n_samples} judgeable" if left_out else f"all {run.header.suite_size}"
    return (
        f"threshold {check.threshold:g} means: {of}{check.metric} over {over} samples of"
        f" {run.header.suite_name}, every missing score counted as the worst, is at least {check.threshold:g}"
    )


def _deciding(verdict: Verdict) -> list[CheckOutcome]:
    """The checks that stand in the way of a pass, most important first; for a pass, those that compare."""
    order = (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE)
    if verdict.status is Status.ERROR:
        order = (Status.ERROR, Status.FAIL, Status.INCONCLUSIVE)
    ranked = [check for status in order for check in verdict.checks if check.status is status]
    return ranked or [check for check in verdict.checks if check.baseline_bound]


def _passed(verdict: Verdict) -> Iterable[CheckOutcome]:
    return (check for check in verdict.checks if check.status is Status.PASS)


def _slices(verdict: Verdict) -> Iterable[SliceRow]:
    for check in verdict.checks:
        for row in check.details.get("slices", ()) if check.metric else ():
            fell = row["difference"] < 0 and row["q"] <= 0.05
            if row["difference"] != 0:
                yield SliceRow(check.metric or "", row, fell)


def _metrics(verdict: Verdict, baseline: Run | None) -> Iterable[MetricRow]:
    before = {} if baseline is None else metric_table(baseline)
    for name, numbers in verdict.metrics.items():
        base, _, part = name.partition(".")
        if base != part and "[" not in part:  # the classes of a classification stand in its confusion matrix
            yield MetricRow(name, _number(before.get(name, {})), _number(numbers), int(numbers.get("missing", 0)))


def _number(numbers: Mapping[str, Any]) -> float | None:
    found: float | None = numbers.get("mean", numbers.get("value"))
    return found


def _sample(check: CheckOutcome, moved: Moved, candidate: Run, baseline: Run | None) -> MovedSample:
    sample = candidate.samples.get(moved.sample_id) or (baseline.samples.get(moved.sample_id) if baseline else None)
    metric = check.metric or candidate.header.primary_metric
    return MovedSample(
        check=check,
        moved=moved,
        question=sample.text if sample else "",
        reference="" if sample is None or sample.reference is None else _text(sample.reference),
        baseline=None if baseline is None else _answer(baseline, moved.sample_id, metric, best=True),
        candidate=_answer(candidate, moved.sample_id, metric, best=False),
    )


def _answer(run: Run, sample_id: str, metric: str, *, best: bool) -> Answer | None:
    """The answer to show: of the baseline its best repeat, of the candidate its worst."""
    results = run.by_sample.get(sample_id, ())
    if not results:
        return None
    spec = run.header.metric(metric)
    chosen = (max if best else min)(results, key=lambda result: _goodness(result, spec))
    score, response = chosen.scores.get(metric), chosen.response
    value = score.value if isinstance(score, Score) else None
    return Answer(_shown(chosen.outcome, response), value, score.explanation if score else "")


def _shown(outcome: Outcome, response: Response | None) -> str:
    if response is None:
        return str(outcome)
    if response.fault is not None:
        return f"[{response.fault.kind}] {response.fault.message}"
    return response.output or "(empty)"


def _goodness(result: Result, spec: MetricSpec | None) -> float:
    """How good a result is on a metric, in [0, 1]; below all others where there is no score."""
    score = None if spec is None else result.scores.get(spec.metric)
    return spec.better(score.value) if spec is not None and isinstance(score, Score) else -1.0


def _text(reference: Any) -> str:
    from aigate.core.digest import json_line

    return reference if isinstance(reference, str) else json_line(reference)


def _next_steps(verdict: Verdict) -> tuple[str, ...]:
    if verdict:
        return ("ship it, or make it the baseline: aigate baseline promote RUN",)
    hints = [reason.hint for check in _deciding(verdict) for reason in check.reasons if reason.hint]
    return tuple(dict.fromkeys(hints))
