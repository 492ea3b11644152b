"""The answers of a stored run, judged again: a baseline under the judge of the candidate.

Nobody is asked for an answer; only the scores of judged metrics are made anew, all others stay what they were. What
comes of it is a run of its own, whose header says which run's answers these are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aigate.core.ledger import Outcome
from aigate.core.response import FaultKind, Response
from aigate.core.run import AnchorsJudged, Result, Run, RunHeader
from aigate.core.sample import Sample
from aigate.core.score import Unscored
from aigate.errors import CallError
from aigate.providers.base import Request
from aigate.running.engine import Means, Plan, run_plan
from aigate.running.evaluation import Conditions, opened_journal, run_to_end
from aigate.running.provenance import library_versions, utc_now
from aigate.running.writer import RunWriter, begun_run
from aigate.scorers.base import asks_a_judge

__all__ = ["holds_answers_of", "other_judges", "rejudge", "rejudged_header"]

_JUDGED = frozenset({Outcome.SCORED, Outcome.JUDGE_ERROR})


def other_judges(baseline: Run, header: RunHeader, metrics: Collection[str]) -> tuple[str, ...]:
    """The metrics that a model judges in both runs, and that are not judged alike in them.

    Args:
        baseline: The stored run.
        header: That of the run to come.
        metrics: The metrics that matter. One that holds answers against the baseline's is judged in the candidate only.
    """
    found = []
    for spec in header.metrics:
        before = baseline.header.metric(spec.metric)
        judged = spec.judge is not None and before is not None and before.judge is not None and spec.against is None
        if judged and before != spec and spec.metric in metrics:
            found.append(spec.metric)
    return tuple(found)


def holds_answers_of(run: Run, original: Run) -> bool:
    """Whether a run holds the very answers of another one, judged again."""
    of_it = run.header.rejudged_from in {original.digest, original.header.rejudged_from} - {None}
    answers = [{result.key: result.response for result in each.results} for each in (run, original)]
    return of_it and run.samples == original.samples and answers[0] == answers[1]


def rejudged_header(run: Run, header: RunHeader, metrics: Collection[str]) -> RunHeader:
    """The header of a run whose answers are judged again as another run's header says.

    Args:
        run: The stored run.
        header: Says how it is judged.
        metrics: What is judged again.
    """
    specs = tuple(
        (header.metric(spec.metric) or spec) if spec.metric in metrics else spec for spec in run.header.metrics
    )
    return replace(
        run.header,
        metrics=specs,
        libraries=library_versions(),
        started_at=utc_now(),
        rejudged_from=run.header.rejudged_from or run.digest,
    )


def rejudge(
    run: Run,
    conditions: Conditions,
    metrics: Collection[str],
    out: Path,
    *,
    fresh: bool = False,
    anchors: Mapping[str, AnchorsJudged] | None = None,
) -> Run:
    """Judge the answers of a stored run again, with the judges of a prepared evaluation and within its budget.

    Args:
        run: The stored run.
        conditions: Whose judges, budget and journal are used.
        metrics: What is judged again: judged metrics of both.
        out: The run file. One that was begun for this and broke off is gone on with.
        fresh: Ask anew whatever the journal holds: the judge may have changed since.
        anchors: What the judges say of labelled answers, where that is known already; else they are asked.

    Returns:
        The run. Where a cap was reached its ledger counts results as stopped by budget.

    Raises:
        UsageError: `out` cannot be written, or holds something else.
        CannotJudgeError: A judge cannot be reached any more.
        KeyboardInterrupt: Stopped; the same call goes on.
    """
    header = rejudged_header(run, conditions.header, metrics)
    stored = {result.key: result for result in run.results}
    again = {key: result.response for key, result in stored.items() if result.response and _is_judged(result)}
    with opened_journal(conditions) as journal, RunWriter(out, header, resume=_goes_on(out, header)) as writer:
        kept = {result.key for result in writer.kept}
        for key, result in stored.items():
            if key not in again and key not in kept:
                writer.add(result, run.samples[result.sample_id])
        plan = _plan(run, conditions, metrics, again, kept=kept, anchors=anchors)

        def record(result: Result, sample: Sample) -> None:
            if result.key in again:
                writer.add(_merged(stored[result.key], result), sample)

        means = Means.of(plan, budget=conditions.budget, journal=None if fresh else journal)
        judged = run_to_end(run_plan(plan, record, means))
        return writer.close_run(finished_at=utc_now(), judge_anchors=judged if anchors is None else anchors)


def _is_judged(result: Result) -> bool:
    """True for an answer that a judge had its say on: not where the candidate's fault scores the worst anyway."""
    return result.outcome in _JUDGED and result.response is not None and result.response.output is not None


def _goes_on(out: Path, header: RunHeader) -> bool:
    """Whether the same was begun in `out` and broke off; a finished one is set aside, as every run is."""
    begun = begun_run(out)
    return begun is not None and begun.same_conditions() == header.same_conditions()


def _plan(
    run: Run,
    conditions: Conditions,
    metrics: Collection[str],
    answered: Mapping[tuple[str, int], Response],
    *,
    kept: Collection[tuple[str, int]],
    anchors: Mapping[str, AnchorsJudged] | None,
) -> Plan:
    own = conditions.plan
    keys = ((id_, repeat) for id_ in run.samples for repeat in range(run.header.repeats))
    return replace(
        own,
        samples=tuple(run.samples.values()),
        repeats=run.header.repeats,
        provider=_Nobody(),
        scorers=tuple(s for s in own.scorers if asks_a_judge(s) and s.spec.metric in metrics),
        judges={metric: judge for metric, judge in own.judges.items() if metric in metrics},
        judge_anchors=own.judge_anchors if anchors is None else (),
        answered=answered,
        done=frozenset(key for key in keys if key in kept or key not in answered),
        looks=None,
        first=frozenset(),
        settled=None,
    )


def _merged(stored: Result, judged: Result) -> Result:
    """The stored result with its new judgements."""
    if judged.outcome.not_run:
        return replace(judged, response=stored.response)
    scores = {**stored.scores, **judged.scores}
    missing = any(isinstance(score, Unscored) and score.applicable for score in scores.values())
    outcome = Outcome.JUDGE_ERROR if missing else Outcome.SCORED
    return replace(stored, outcome=outcome, scores=scores, judging={**stored.judging, **judged.judging})


class _Nobody:
    """A provider that is never asked: every answer is there."""

    name = "stored"
    offline = True

    def describe(self) -> Mapping[str, Any]:
        """Its name."""
        return {"name": self.name}

    async def respond(self, request: Request) -> Response:
        """Refuse.

        Raises:
            CallError: Always.
        """
        raise CallError(f"no stored answer of '{request.sample.id}'", kind=FaultKind.MISSING)

    async def aclose(self) -> None:
        """Nothing to close."""
