"""From a response to a result: judge it, and give it its one outcome in the ledger.

Candidate faults score the worst on every metric that applies: they are the regression that is hunted. Judge and
infrastructure faults are missing: never a number, never dropped (reference: section 7 of the method).
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from aigate.core.digest import json_line
from aigate.core.ledger import Outcome
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.run import JudgeUse, Result
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import CannotJudgeError, ScoringError, UsageError
from aigate.running.budget import BudgetSpentError
from aigate.scorers.base import JudgedScorer, Scorer, asks_a_judge

if TYPE_CHECKING:
    from aigate.running.judging import Judging

__all__ = ["JudgesOwn", "judged", "judged_here", "settle"]

JudgesOwn = Callable[[Sequence[Scorer], Sample, Response], Awaitable[dict[str, ScoreOrNot]]]
"""What scorers that ask no model say of one response, by metric, in their order."""


async def judged_here(scorers: Sequence[Scorer], sample: Sample, response: Response) -> dict[str, ScoreOrNot]:
    """What some scorers say of one response, by metric: one after the other, in this process."""
    return {scorer.spec.metric: await judged(scorer, sample, response) for scorer in scorers}


async def settle(
    sample: Sample,
    repeat: int,
    response: Response,
    scorers: Sequence[Scorer],
    judging: Judging | None = None,
    *,
    time_left_s: Callable[[], float] = lambda: math.inf,
    judges_own: JudgesOwn = judged_here,
) -> Result:
    """Judge one response.

    Models are asked last, all at once, and only about an answer that is not the candidate's fault already: that scores
    the worst whatever a model would say of it.

    Args:
        sample: The sample that was asked.
        repeat: Which repeat.
        response: The answer or the fault.
        scorers: Every scorer of the run; each gets one entry in the result.
        judging: The judges; needed where a scorer asks one.
        time_left_s: Seconds that judging may still take.
        judges_own: Has the scorers judge that ask no model.

    Returns:
        The result with its outcome; never raises for anything a scorer or a response does.

    Raises:
        BudgetSpentError: A cap or the deadline keeps a judge from being asked.
        CannotJudgeError: The journal of judgements cannot be used any more.
        UsageError: A judge cannot be asked like this at all.
    """
    own = [scorer for scorer in scorers if not asks_a_judge(scorer)]
    scores = await judges_own(own, sample, response)
    outcome = _outcome(response, scores.values())
    uses: dict[str, JudgeUse] = {}
    if len(own) < len(scorers):
        asked = [scorer for scorer in scorers if asks_a_judge(scorer)]
        needless = _fault_text(outcome, response) if outcome.candidate_fault else ""
        told = await asyncio.gather(
            *(_by_judge(scorer, sample, response, judging, time_left_s, needless) for scorer in asked),
            return_exceptions=True,
        )
        for scorer, found in zip(asked, told, strict=True):
            if isinstance(found, BudgetSpentError):
                raise BudgetSpentError(str(found), _paid(asked, told))
            if isinstance(found, BaseException):
                raise found
            scores[scorer.spec.metric] = found[0]
            if found[1] is not None:
                uses[scorer.spec.metric] = found[1]
        scores = {scorer.spec.metric: scores[scorer.spec.metric] for scorer in scorers}
        outcome = _outcome(response, scores.values())
    if outcome.candidate_fault:
        specs = {scorer.spec.metric: scorer.spec for scorer in scorers}
        why = _fault_text(outcome, response)
        scores = {metric: _worst(score, specs[metric], why) for metric, score in scores.items()}
    return Result(sample.id, repeat, outcome, response, scores, uses)


def _paid(
    scorers: Sequence[JudgedScorer], told: Sequence[tuple[ScoreOrNot, JudgeUse | None] | BaseException]
) -> Mapping[str, JudgeUse]:
    """What judges were asked of an answer that not all of them could be asked about."""
    uses: dict[str, JudgeUse] = {}
    for scorer, found in zip(scorers, told, strict=True):
        if isinstance(found, BudgetSpentError):
            uses |= found.judging
        elif not isinstance(found, BaseException) and found[1] is not None:
            uses[scorer.spec.metric] = found[1]
    return uses


async def _by_judge(
    scorer: JudgedScorer,
    sample: Sample,
    response: Response,
    judging: Judging | None,
    time_left_s: Callable[[], float],
    needless: str,
) -> tuple[ScoreOrNot, JudgeUse | None]:
    """A model's judgement, and what it cost; None where no model was asked."""
    try:
        if (outside := scorer.applies_to(sample)) is not None:
            return outside, None
        if response.fault is not None:
            return _no_answer(response.fault), None
        if needless:
            return Unscored("judge_error", f"the judge was not asked: {needless}"), None
        if judging is None:
            return Unscored("judge_error", f"{scorer.spec.scorer} has no judge to ask"), None
        judged, use = await judging.judge(scorer, sample, response, time_left_s=time_left_s)
        return _storable(judged), use
    except (BudgetSpentError, CannotJudgeError, UsageError):
        raise
    except ScoringError as error:
        return Unscored("judge_error", str(error)), None
    except Exception as error:  # noqa: BLE001 - a scorer of a user's may raise anything; the run must go on and say so
        return Unscored("judge_error", f"{scorer.spec.scorer} raised {type(error).__name__}: {error}"), None


async def judged(scorer: Scorer, sample: Sample, response: Response) -> ScoreOrNot:
    """What one scorer says of one response; never raises for anything it does."""
    try:
        if (outside := scorer.applies_to(sample)) is not None:
            return outside
        if response.fault is not None:
            return _no_answer(response.fault)
        said = scorer.score(sample, response)
        there = isinstance(said, Score | Unscored)  # to ask whether it can be awaited takes as long as to score
        return _storable(await said if not there and inspect.isawaitable(said) else said)
    except ScoringError as error:
        return Unscored("judge_error", str(error))
    except Exception as error:  # noqa: BLE001 - a scorer of a user's may raise anything; the run must go on and say so
        return Unscored("judge_error", f"{scorer.spec.scorer} raised {type(error).__name__}: {error}")


def _no_answer(fault: Fault) -> Unscored:
    return Unscored("infrastructure_error", f"no answer: {fault.kind}: {fault.message}")


def _storable(judged: object) -> ScoreOrNot:
    """What a scorer gave, if it is a judgement that a run file can hold.

    Raises:
        TypeError, ValueError: It is something else, or its details hold NaN or what JSON has no form for.
    """
    if not isinstance(judged, Score | Unscored):
        raise TypeError(f"gave {type(judged).__name__}, expected a Score or Unscored")
    if isinstance(judged, Unscored) and not judged.applicable:
        # An answer must not take its sample out of the metric: that is for `applies_to`, which sees no answer.
        raise ValueError(f"says '{judged.reason}' of an answer, after saying that the metric applies to the sample")
    if not _is_plain(judged):
        json_line(judged.to_dict())
    return judged


def _is_plain(judged: ScoreOrNot) -> bool:
    """Whether JSON can hold it, without looking further."""
    if type(judged.explanation) is not str:
        return False
    return isinstance(judged, Unscored) or (not judged.details and type(judged.answer) in {str, type(None)})


def _outcome(response: Response, scores: Iterable[ScoreOrNot]) -> Outcome:
    if response.fault is not None:
        return _fault_outcome(response.fault)
    if response.refusal or response.finish_reason == "content_filter":
        return Outcome.REFUSED
    if response.truncated:
        return Outcome.TRUNCATED
    missing = {score.reason for score in scores if isinstance(score, Unscored) and score.applicable}
    if "unparseable" in missing:
        return Outcome.UNPARSEABLE
    return Outcome.JUDGE_ERROR if missing else Outcome.SCORED


def _fault_outcome(fault: Fault) -> Outcome:
    if fault.kind is FaultKind.CONTENT_FILTER:
        return Outcome.REFUSED
    return Outcome.PROVIDER_ERROR if fault.kind.candidate_fault else Outcome.INFRASTRUCTURE_ERROR


def _fault_text(outcome: Outcome, response: Response) -> str:
    if response.fault is not None:
        return f"{outcome}: {response.fault.kind}: {response.fault.message}"
    if outcome is Outcome.TRUNCATED:
        return f"truncated: finish reason {response.finish_reason!r}"
    return str(outcome)


def _worst(score: ScoreOrNot, spec: MetricSpec, why: str) -> ScoreOrNot:
    """The worst score of a metric, keeping what the scorer itself had found."""
    if isinstance(score, Unscored) and not score.applicable:
        return score
    value = 0.0 if spec.direction == "higher" else 1.0
    if isinstance(score, Score):
        kept = {"value_without_fault": score.value, "answer_without_fault": score.answer}
        return Score(value, why, details={**score.details, **kept})
    return Score(value, f"{why}: {score.explanation}" if score.reason == "unparseable" else why)
