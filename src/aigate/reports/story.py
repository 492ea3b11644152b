"""What every report tells, in order: the verdict, why, the samples that moved with both answers, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aigate.core.counts import count_of
from aigate.core.ledger import Outcome
from aigate.core.response import Response
from aigate.core.run import Result, Run
from aigate.core.score import MetricSpec, Score
from aigate.core.verdict import CheckOutcome, Moved, Status, Verdict
from aigate.gating.checks.no_regression import LISTED
from aigate.gating.integrity import skipped_samples
from aigate.gating.run_metrics import confusion_of, judge_use, metric_table
from aigate.reports.measured import measured
from aigate.scorers.classification import Confusion

__all__ = ["Answer", "MetricRow", "MovedSample", "SliceRow", "Story", "more_moved", "tell"]

SHOWN = 5
SHOWN_SLICES = 12
SHOWN_CLAIMS = 6


@dataclass(frozen=True, slots=True)
class Answer:
    """One run's answer to a sample.

    Attributes:
        text: The output, or what happened instead of one.
        score: Its score on the metric in question; None where there is none.
        explanation: The scorer's.
        claims: Each claim that a judge found in it, with its verdict and the passage that shows it, in words.
    """

    text: str
    score: float | None
    explanation: str
    claims: tuple[str, ...] = ()


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
        baseline: Its number in the baseline, over the samples that the candidate was asked; None without one.
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
        metrics: Every metric with its baseline and candidate number, and missing scores.
        metrics_over: On which part of the suite these numbers and the confusion matrices rest, in words; empty for the
            whole run.
        measured: How long answers took and what they cost, one line each; empty where nothing was called.
        confusions: Confusion matrices of the candidate, by metric.
        moved: A few samples that moved, with both answers.
        more_moved: How many more moved.
        all_counted: False where more may have moved than that: a check that lists no more than so many is full.
        costs: What answers and judges cost, each apart, in words; empty where nothing is known of it.
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
    metrics_over: str
    measured: tuple[str, ...]
    confusions: Mapping[str, Confusion]
    moved: tuple[MovedSample, ...]
    more_moved: int
    all_counted: bool
    costs: tuple[str, ...]
    ledger: str
    next_steps: tuple[str, ...]


def tell(
    verdict: Verdict,
    candidate: Run,
    baseline: Run | None = None,
    *,
    shown: int = SHOWN,
    decided: bool = True,
    unmoved: bool = False,
) -> Story:
    """The story of a verdict.

    Args:
        verdict: What was decided.
        candidate: The run under test.
        baseline: The run it was held against.
        shown: How many samples to show with their answers.
        decided: False for a mere comparison: then there is no verdict in the headline and no next step.
        unmoved: Samples that are as bad as before follow those that moved.
    """
    deciding = _deciding(verdict)
    named = [(check, moved) for check in deciding for moved in check.moved]
    news = [(check, moved) for check, moved in named if moved.baseline is None or moved.baseline != moved.candidate]
    unique: dict[str, tuple[CheckOutcome, Moved]] = {}
    for check, moved in (*news, *(named if unmoved else ())):
        unique.setdefault(moved.sample_id, (check, moved))
    causes = _causes(verdict)
    how_many, all_counted = _counted(deciding, len(unique))
    return Story(
        verdict=verdict,
        decided=decided,
        headline=_headline(verdict, decided=decided),
        threshold_means=_threshold_means(verdict, candidate),
        why=tuple(_told(causes)),
        notes=tuple(
            _told(_beside(verdict, causes), before=[*_decided_early(verdict, candidate), *_scatter(verdict, candidate)])
        ),
        slices=tuple(_slices(verdict))[:SHOWN_SLICES],
        metrics=tuple(_metrics(verdict, _asked_part(baseline, candidate))),
        metrics_over=_metrics_over(candidate),
        measured=measured(candidate, _asked_part(baseline, candidate)),
        confusions=confusion_of(candidate),
        moved=tuple(_sample(check, moved, candidate, baseline) for check, moved in list(unique.values())[:shown]),
        more_moved=max(0, how_many - min(shown, len(unique))),
        all_counted=all_counted,
        costs=tuple(_costs(candidate)),
        ledger=str(candidate.ledger),
        next_steps=_next_steps(verdict, candidate) if decided else (),
    )


def more_moved(story: Story) -> str:
    """How many samples moved that are not shown, and where more of them stand; empty where all are shown."""
    if not story.more_moved:
        return ""
    least = "" if story.all_counted else "at least "
    return (
        f"… and {least}{count_of(story.more_moved, 'more sample')} that moved; --format json lists the"
        f" worst {LISTED} of each check"
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
    early = _on_a_part(check)
    left_out = not early and check.details.get("not_applicable") and check.n_samples < len(run)
    how = "not decided" if check.status is Status.INCONCLUSIVE else "decided early"
    on_part = f", {how} on {check.n_samples} of them" if early else ""
    over = (
        f"the {count_of(check.n_samples, 'judgeable sample')}"
        if left_out
        else f"all {count_of(run.header.suite_size, 'sample')}"
    )
    return (
        f"threshold {check.threshold:g} means: {of}{check.metric} over {over} of"
        f" {run.header.suite_name}, every missing score counted as the worst, is at least {check.threshold:g}{on_part}"
    )


def _on_a_part(check: CheckOutcome) -> bool:
    """True for a check that stands at an earlier look than the last, with samples left out."""
    if check.look is None or check.looks is None or check.share_used is None:
        return False
    return check.look < check.looks and check.share_used < 1.0


def _deciding(verdict: Verdict) -> list[CheckOutcome]:
    """The checks that stand in the way of a pass, most important first; for a pass, those that compare."""
    order = (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE)
    if verdict.status is Status.ERROR:
        order = (Status.ERROR, Status.FAIL, Status.INCONCLUSIVE)
    ranked = [check for status in order for check in verdict.checks if check.status is status]
    return ranked or [check for check in verdict.checks if check.baseline_bound]


def _causes(verdict: Verdict) -> list[CheckOutcome]:
    """The checks that made it no pass, most important first.

    Of a fail those that failed: what the others leave open, or advise, would not change it.
    """
    if verdict:
        return []
    deciding = [check for check in _deciding(verdict) if check.status is not Status.PASS]
    failed = [check for check in deciding if check.status is Status.FAIL]
    return failed if verdict.status is Status.FAIL else deciding


def _beside(verdict: Verdict, causes: Sequence[CheckOutcome]) -> Iterable[CheckOutcome]:
    """The other checks: first those that are no pass, then those that are."""
    rest = [check for check in verdict.checks if check not in causes]
    return sorted(rest, key=lambda check: check.status is Status.PASS)


def _told(checks: Iterable[CheckOutcome], *, before: Iterable[str] = ()) -> Iterable[str]:
    """What checks found, each sentence once."""
    return dict.fromkeys([*before, *(f"{check.label}: {r.text}" for check in checks for r in check.reasons)])


def _counted(deciding: Sequence[CheckOutcome], listed: int) -> tuple[int, bool]:
    """How many samples moved, and whether that is all of them: a check lists no more than 50.

    A comparison knows how many differ. Where others name samples too, theirs may be among them or not, so that the
    larger count is the least that it can be.
    """
    naming = [check for check in deciding if check.moved]
    differ = [check.details.get("worse", 0) + check.details.get("better", 0) for check in naming]
    full = [check for check in naming if len(check.moved) == LISTED]  # must-pass lists all
    all_counted = not full or (len(naming) == 1 and differ[0] > 0)
    return max([listed, *differ]) if full else listed, all_counted


def _decided_early(verdict: Verdict, run: Run) -> Iterable[str]:
    """What was decided before the last planned look, and on how much."""
    for check in verdict.checks:
        if _on_a_part(check) and check.status is not Status.INCONCLUSIVE:
            used = f"{check.n_samples} of {run.header.suite_size} samples"
            at = f"decided at look {check.look} of {check.looks}, on {used}"
            yield f"{check.label}: {at}; what came after it is recorded and not used"


def _scatter(verdict: Verdict, run: Run) -> Iterable[str]:
    """Where the scatter of judged scores comes from, and what would make it smaller."""
    for spec in run.header.metrics:
        numbers = verdict.metrics.get(spec.metric, {})
        judge, system = numbers.get("judge_sd"), numbers.get("system_sd")
        if spec.judge is None or judge is None:
            continue
        told = f"{spec.metric}: one judgement of the same answer scatters by {judge:.3f} (the judge)"
        if system is None:
            yield f"{told}; how much answers do, --repeats 2 would show"
            continue
        share = judge**2 / (judge**2 + system**2) if judge or system else 0.0
        smaller = "more judgements (--judge-repeats)" if share > 0.5 else "more answers (--repeats)"
        yield f"{told}, answers to the same question by {system:.3f} (the system): {smaller} would help most"


def _slices(verdict: Verdict) -> Iterable[SliceRow]:
    for check in verdict.checks:
        for row in check.details.get("slices", ()) if check.metric else ():
            fell = row["difference"] < 0 and row["q"] <= 0.05
            if row["difference"] != 0:
                yield SliceRow(check.metric or "", row, fell)


def _metrics(verdict: Verdict, baseline: Run | None) -> Iterable[MetricRow]:
    before = {} if baseline is None else metric_table(baseline)
    # What the baseline's answers were worth against an older run says nothing beside the candidate's.
    own = {spec.metric for spec in baseline.header.metrics if spec.against is None} if baseline is not None else set()
    before = {name: numbers for name, numbers in before.items() if name.partition(".")[0] in own}
    for name, numbers in verdict.metrics.items():
        base, _, part = name.partition(".")
        if base != part and "[" not in part:  # the classes of a classification stand in its confusion matrix
            yield MetricRow(name, _number(before.get(name, {})), _number(numbers), int(numbers.get("missing", 0)))


def _asked_part(baseline: Run | None, candidate: Run) -> Run | None:
    """The baseline without what the candidate was never asked, so that both numbers are of the same samples."""
    skipped = frozenset(skipped_samples(candidate))
    if baseline is None or not skipped:
        return baseline
    columns = baseline.columns
    samples = [row for row, id_ in enumerate(columns.samples.ids) if id_ not in skipped]
    return baseline.part(baseline.header, samples, [row for sample in samples for row in columns.rows_of(sample)])


def _metrics_over(candidate: Run) -> str:
    skipped = len(skipped_samples(candidate))
    asked = len(candidate) - skipped
    return f"over the {asked} of {candidate.header.suite_size} samples that were asked" if skipped else ""


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
    """The answer to show: of the baseline its best repeat, of the candidate its worst; None where none was asked."""
    results = [r for r in run.by_sample.get(sample_id, ()) if r.outcome is not Outcome.EARLY_STOP]
    if not results:
        return None
    spec = run.header.own_metric(metric) if best else run.header.metric(metric)
    chosen = (max if best else min)(results, key=lambda result: _goodness(result, spec))
    score, response = None if spec is None else chosen.scores.get(metric), chosen.response
    value = score.value if isinstance(score, Score) else None
    claims = _claims(score) if isinstance(score, Score) else ()
    return Answer(_shown(chosen.outcome, response), value, score.explanation if score else "", claims)


def _claims(score: Score) -> tuple[str, ...]:
    """The claims that a judge found, those that it does not support first."""
    found = score.details.get("claims")
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    ranked = sorted(rows, key=lambda row: row.get("verdict") == "supported")
    return tuple(_claim(row) for row in ranked[:SHOWN_CLAIMS])


def _claim(row: Mapping[str, Any]) -> str:
    mark = "✓" if row.get("verdict") == "supported" else "✗"
    verdict = str(row.get("verdict", "")).replace("_", " ")
    quote = f" — “{row['quote']}”" if row.get("quote") else ""
    return f"{mark} {verdict}: {row.get('claim', '')}{quote}"


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


def _costs(run: Run) -> Iterable[str]:
    """What the answers cost, and what each judge did: one line each, where anything was asked of a judge."""
    judged = [spec.metric for spec in run.header.metrics if spec.judge is not None]
    if not judged:
        return
    given = [r.response for r in run.results if r.response is not None and r.response.journaled_at is None]
    costs = [response.cost_usd for response in given if response.cost_usd is not None]
    yield f"{count_of(len(given), 'answer', thousands=True)}: {f'{sum(costs):.2g} USD' if costs else 'not told'}"
    for metric in judged:
        use = judge_use(run, metric)
        cost = "not known" if use.cost_usd is None else f"{use.cost_usd:.2g} USD"
        kept = (
            f"; {count_of(use.from_journal, 'judgement', thousands=True)} from the journal" if use.from_journal else ""
        )
        tokens = count_of(use.input_tokens + use.output_tokens, "token", thousands=True)
        yield f"judge of {metric}: {cost}, {count_of(use.calls, 'call', thousands=True)}, {tokens}{kept}"


def _text(reference: Any) -> str:
    from aigate.core.digest import json_line

    return reference if isinstance(reference, str) else json_line(reference)


def _next_steps(verdict: Verdict, candidate: Run) -> tuple[str, ...]:
    if verdict and skipped_samples(candidate):
        answered = "answer the rest first: the same aigate eval with --resume --no-early-stop"
        return (f"ship it; to make it the baseline, {answered}",)
    if verdict:
        return ("ship it, or make it the baseline: aigate baseline promote RUN",)
    hints = [reason.hint for check in _causes(verdict) for reason in check.reasons if reason.hint]
    return tuple(dict.fromkeys(hints))
