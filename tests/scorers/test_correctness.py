"""An answer against its reference: correct, partly or incorrect with a reason, or no score."""

import pytest

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.errors import ConfigError, ScoringError
from aigate.testing import FakeJudge, Reply, judged_scorer

SAMPLE = Sample("s", "How long may I return it?", reference="45 days")


def said(grade, reasoning="it says so"):
    return {"reasoning": reasoning, "grade": grade}


def score(reply, output="Within 45 days.", *, sample=SAMPLE, **options):
    judge = FakeJudge({"correctness_grade": reply})
    return judge.score(judged_scorer("correctness", **options), sample, output)


@pytest.mark.parametrize(("grade", "value"), [("correct", 1.0), ("partly", 0.5), ("incorrect", 0.0)])
def test_each_grade_has_its_score_and_its_reason(grade, value):
    found = score(said(grade))
    assert (found.value, found.explanation, found.details["grade"]) == (value, f"{grade}: it says so", grade)


def test_what_partly_is_worth_can_be_said_and_is_in_the_spec():
    assert score(said("partly"), partly=0.0).value == 0.0
    assert judged_scorer("correctness", partly=0.2).spec.options["partly"] == 0.2


def test_the_judge_sees_question_references_and_answer_and_reasons_first():
    judge, scorer = FakeJudge({"correctness_grade": said("correct")}), judged_scorer("correctness")
    sample = Sample("s", "Q?", reference=["45 days", "six weeks"], contexts=("SECRET",))
    judge.score(scorer, sample, "A.")
    assert judge.asked[0].data == {"question": "Q?", "references": ["45 days", "six weeks"], "answer": "A."}
    assert list(scorer.questions(sample, "A.")[0].schema["properties"]) == ["reasoning", "grade"]


def test_a_reference_that_is_no_text_is_shown_as_json():
    [question] = judged_scorer("correctness").questions(Sample("s", "Q?", reference={"b": 1, "a": [2]}), "A.")
    assert question.data["references"] == ['{"a":[2],"b":1}']


@pytest.mark.parametrize("reference", [None, "", " ", [" ", ""]])
def test_a_sample_without_a_reference_lies_outside(reference):
    assert judged_scorer("correctness").applies_to(Sample("s", "?", reference=reference)).reason == "no_reference"


@pytest.mark.parametrize("reference", [0, False, "0"])
def test_a_reference_that_is_false_or_zero_is_one(reference):
    assert judged_scorer("correctness").applies_to(Sample("s", "?", reference=reference)) is None


def test_an_empty_answer_is_incorrect_and_asks_nobody():
    assert score(lambda asked: pytest.fail("asked"), " \n").value == 0.0


@pytest.mark.parametrize(
    "reply",
    [
        said("Correct"),
        said("mostly correct"),
        said("correct", ""),
        said("correct", "..."),
        {"grade": "correct"},
        {**said("correct"), "confidence": 1},
        {"reasoning": "x", "grade": ["correct"]},
        '{"reasoning": "x", "grade": "correct"',
        '{"reasoning": "x", "grade": "incorrect", "grade": "correct"}',
        "correct",
        "",
        Reply.refusal("no"),
        Reply.text('{"reasoning": "x", "grade": "correct"}', finish_reason="length"),
        Reply.status(429, "slow down"),
    ],
)
def test_a_reply_that_is_no_grade_is_an_error_and_no_score(reply):
    assert score(reply).reason == "judge_error"


def test_reasoning_is_kept_short_and_visible():
    found = score(said("correct", "a\u202e\n" + "b" * 900))
    assert "\u202e" not in found.explanation
    assert "\\u202e" in found.explanation
    assert len(found.explanation) < 320


@pytest.mark.parametrize("wrong", [{"partly": 1}, {"partly": 1.5}, {"partly": -0.1}, {"partly": True}, {"part": 0.5}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ConfigError, match="part"):
        judged_scorer("correctness", **wrong)


def test_it_does_not_score_by_itself():
    with pytest.raises(ScoringError, match="asks a model"):
        judged_scorer("correctness").score(SAMPLE, Response("x"))
