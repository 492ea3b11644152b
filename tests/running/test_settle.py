"""settle: one response, one outcome; candidate faults score the worst, our own faults are missing."""

import asyncio
import math

import pytest

from aigate.core.ledger import Outcome
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.errors import ScoringError
from aigate.running.settle import settle

SAMPLE = Sample("a", "question", "answer")
OUTSIDE = Unscored("no_reference", "nothing to judge by")
SO_SO = Score(0.75, "so so", "label", {"claims": 3})


class Judge:
    """A scorer that gives, or raises, what it was made with."""

    def __init__(self, given=SO_SO, *, metric="m", direction="higher", outside=None):
        self.spec = MetricSpec(metric, "judge", direction=direction)
        self.given, self.outside, self.calls = given, outside, 0

    def applies_to(self, sample):
        if isinstance(self.outside, Exception):
            raise self.outside
        return self.outside

    def score(self, sample, response):
        self.calls += 1
        if isinstance(self.given, BaseException):
            raise self.given
        return self.given


def settled(response, *scorers):
    return asyncio.run(settle(SAMPLE, 1, response, scorers))


def faulty(kind):
    return Response(fault=Fault(kind, "broke"))


CANDIDATE = {"timeout", "server", "bad_response", "bad_request", "content_filter", "candidate"}


@pytest.mark.parametrize("kind", FaultKind)
@pytest.mark.parametrize(("direction", "worst"), [("higher", 0.0), ("lower", 1.0)])
def test_each_fault_is_the_worst_score_or_missing(kind, direction, worst):
    judge = Judge(direction=direction)
    result = settled(faulty(kind), judge)
    assert judge.calls == 0
    if kind.value in CANDIDATE:
        expected = Outcome.REFUSED if kind is FaultKind.CONTENT_FILTER else Outcome.PROVIDER_ERROR
        assert result.outcome is expected
        assert result.scores["m"].value == worst
        assert f"{expected}: {kind}: broke" in result.scores["m"].explanation
    else:
        assert result.outcome is Outcome.INFRASTRUCTURE_ERROR
        assert result.scores["m"] == Unscored("infrastructure_error", f"no answer: {kind}: broke")


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"refusal": True}, Outcome.REFUSED),
        ({"finish_reason": "content_filter"}, Outcome.REFUSED),
        ({"finish_reason": "length"}, Outcome.TRUNCATED),
        ({"refusal": True, "finish_reason": "length"}, Outcome.REFUSED),
    ],
)
@pytest.mark.parametrize(("direction", "worst"), [("higher", 0.0), ("lower", 1.0)])
def test_an_answer_that_is_none_gets_the_worst_score_and_keeps_what_the_scorer_found(fields, outcome, direction, worst):
    result = settled(Response(output="half an ans", **fields), Judge(direction=direction))
    score = result.scores["m"]
    assert result.outcome is outcome
    assert score.value == worst
    assert score.answer is None
    assert score.details == {"claims": 3, "value_without_fault": 0.75, "answer_without_fault": "label"}
    assert score.explanation.startswith(str(outcome))


def test_a_plain_answer_is_scored_by_every_scorer():
    result = settled(Response(output="x"), Judge(metric="m"), Judge(Score(0.25), metric="n", direction="lower"))
    assert result.outcome is Outcome.SCORED
    assert (result.sample_id, result.repeat) == ("a", 1)
    assert result.scores == {"m": SO_SO, "n": Score(0.25)}


def test_an_asynchronous_scorer_is_awaited():
    async def later():
        await asyncio.sleep(0)
        return Score(0.5)

    async def main():
        return await settle(SAMPLE, 0, Response(output="x"), [Judge(later())])

    assert asyncio.run(main()).scores == {"m": Score(0.5)}


def test_an_unparseable_output_is_the_candidates_fault_on_every_metric():
    unparseable = Judge(Unscored("unparseable", "no JSON"), metric="m", direction="lower")
    result = settled(Response(output="x"), unparseable, Judge(Score(1.0), metric="n"))
    assert result.outcome is Outcome.UNPARSEABLE
    assert result.scores["m"] == Score(1.0, "unparseable: no JSON")
    assert result.scores["n"].value == 0.0
    assert result.scores["n"].details["value_without_fault"] == 1.0


def test_unparseable_outweighs_a_judge_error():
    scorers = Judge(Unscored("judge_error"), metric="j"), Judge(Unscored("unparseable"), metric="u")
    result = settled(Response(output="x"), *scorers)
    assert result.outcome is Outcome.UNPARSEABLE
    assert result.scores["j"].value == 0.0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Unscored("judge_error", "the judge is away"), "the judge is away"),
        (ScoringError("no verdict in the judge's answer", hint="h"), "no verdict in the judge's answer"),
        (ZeroDivisionError("division by zero"), "judge raised ZeroDivisionError: division by zero"),
        (KeyError("k"), "judge raised KeyError: 'k'"),
        (0.5, "judge raised TypeError: gave float, expected a Score"),
        (None, "gave NoneType"),
        (Score(1.0, details={"share": math.nan}), r"details.share: nan is not a JSON number"),
        (Score(1.0, details={"share": {1}}), "set is not JSON"),
    ],
)
def test_a_scorer_that_breaks_is_a_judge_error_and_never_a_number(given, told):
    result = settled(Response(output="x"), Judge(given), Judge(Score(1.0), metric="n"))
    assert result.outcome is Outcome.JUDGE_ERROR
    assert result.scores["m"].reason == "judge_error"
    assert told in result.scores["m"].explanation
    assert result.scores["n"] == Score(1.0)


def test_a_scorer_whose_applies_to_breaks_is_a_judge_error():
    result = settled(Response(output="x"), Judge(outside=RuntimeError("x")))
    assert result.outcome is Outcome.JUDGE_ERROR


@pytest.mark.parametrize(
    "response", [Response(output="x"), Response(output="x", refusal=True), faulty(FaultKind.SERVER)]
)
def test_a_sample_outside_a_metric_stays_outside_it_whatever_happened(response):
    judge = Judge(outside=OUTSIDE)
    result = settled(response, judge, Judge(metric="n"))
    assert judge.calls == 0
    assert result.scores["m"] == OUTSIDE
    assert isinstance(result.scores["n"], Score)


def test_an_answer_outside_every_metric_is_scored():
    assert settled(Response(output="x"), Judge(outside=OUTSIDE)).outcome is Outcome.SCORED
    assert settled(Response(output="x")).outcome is Outcome.SCORED
