"""Criteria of the suite's own: every one graded once, with a reason first; what is no such reply is no score."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Score
from aigate.errors import ConfigError, ScoringError
from aigate.scorers.asked import LONGEST_ANSWER
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.testing import FakeJudge, Reply, fake_judge_identity, judged_scorer

CRITERIA = ["It is polite.", "It says what to do next."]
SAMPLE = Sample("s", "Can I return it?", reference="Within 45 days.", contexts=("Returns: 45 days.",))


def graded(*grades):
    return {"grades": [{"id": f"k{n}", "reasoning": f"reason {n}", "grade": g} for n, g in enumerate(grades, 1)]}


def score(reply, output="Please send it back.", *, sample=SAMPLE, **options):
    judge = FakeJudge({"rubric_grades": reply})
    return judge.score(judged_scorer("rubric", **{"criteria": CRITERIA, **options}), sample, output)


@pytest.mark.parametrize(
    ("grades", "scale", "value"),
    [((5, 5), 5, 1.0), ((1, 1), 5, 0.0), ((5, 1), 5, 0.5), ((2, 1), 2, 0.5), ((7, 4), 10, 0.5), ((3, 2), 5, 0.375)],
)
def test_the_score_is_the_mean_grade_mapped_to_one(grades, scale, value):
    assert score(graded(*grades), scale=scale).value == pytest.approx(value)


def test_grades_and_reasons_are_kept_and_the_lowest_is_told_first():
    found = score(graded(4, 2))
    assert found.explanation == (
        "2 of 5 for 'It says what to do next.': reason 2; 4 of 5 for 'It is polite.': reason 1"
    )
    assert found.details["grades"][1] == {
        "id": "k2",
        "criterion": "It says what to do next.",
        "grade": 2,
        "reasoning": "reason 2",
    }


def test_each_sample_may_bring_criteria_of_its_own():
    judge = FakeJudge({"rubric_grades": graded(5, 1)})
    scorer = judged_scorer("rubric", criteria="sample")
    own = Sample("s", "Can I return it?", reference={"criteria": ["It names the days.", "It is short."]})
    assert judge.score(scorer, own, "In 45 days.").value == 0.5
    assert [row["text"] for row in judge.asked[0].data["criteria"]] == ["It names the days.", "It is short."]
    assert make_scorer(ScorerSettings("rubric", options=scorer.spec.options, judge=fake_judge_identity())) == scorer


@pytest.mark.parametrize(
    "reference", [None, "a text", {"assert": []}, {"criteria": []}, {"criteria": ["a", ""]}, {"criteria": ["a", "a"]}]
)
def test_a_sample_without_criteria_of_its_own_lies_outside(reference):
    outside = judged_scorer("rubric", criteria="sample").applies_to(Sample("s", "?", reference=reference))
    assert outside.reason == "not_applicable"


def test_the_judge_reasons_before_it_grades_and_sees_the_scale():
    judge = FakeJudge({"rubric_grades": graded(1, 3)})
    scorer = judged_scorer("rubric", criteria=CRITERIA, levels=["bad", "middling", "good"])
    assert judge.score(scorer, SAMPLE, "No.").value == 0.5
    [asked] = judge.asked
    assert asked.data["scale"] == [
        {"grade": 1, "meaning": "bad"},
        {"grade": 2, "meaning": "middling"},
        {"grade": 3, "meaning": "good"},
    ]
    [question] = scorer.questions(SAMPLE, "No.")
    row = question.schema["properties"]["grades"]["items"]
    assert list(row["properties"]) == ["id", "reasoning", "grade"]
    assert row["properties"]["grade"]["enum"] == [1, 2, 3]


def test_reference_and_contexts_are_shown_only_where_the_suite_says_so():
    plain, showing = (FakeJudge({"rubric_grades": graded(1, 1)}) for _ in range(2))
    plain.score(judged_scorer("rubric", criteria=CRITERIA), SAMPLE, "x")
    assert "45 days" not in str(plain.asked[0].messages)
    showing.score(judged_scorer("rubric", criteria=CRITERIA, show=["contexts", "reference"]), SAMPLE, "x")
    assert showing.asked[0].data["reference"] == "Within 45 days."
    assert showing.asked[0].data["contexts"] == ["Returns: 45 days."]


def test_a_sample_without_what_is_to_be_shown_lies_outside():
    bare = Sample("b", "?")
    assert judged_scorer("rubric", criteria=CRITERIA).applies_to(bare) is None
    assert judged_scorer("rubric", criteria=CRITERIA, show=["reference"]).applies_to(bare).reason == "no_reference"
    assert judged_scorer("rubric", criteria=CRITERIA, show=["contexts"]).applies_to(bare).reason == "not_applicable"


@pytest.mark.parametrize("output", ["", " \n"])
def test_an_empty_answer_gets_the_lowest_grade_and_asks_nobody(output):
    judge = FakeJudge({})
    assert judge.score(judged_scorer("rubric", criteria=CRITERIA), SAMPLE, output).value == 0.0
    assert judge.asked == []


def test_an_answer_too_long_to_be_judged_is_an_error():
    flagging = judged_scorer("rubric", judge=fake_judge_identity(steering="flag"), criteria=CRITERIA)
    found = FakeJudge({"rubric_grades": graded(5, 5)}).score(flagging, SAMPLE, "a" * (LONGEST_ANSWER + 1))
    assert found.reason == "judge_error"
    assert "100001 characters" in found.explanation


BROKEN = {
    "missing": {"grades": graded(5)["grades"]},
    "twice": {"grades": graded(5, 5)["grades"] * 2},
    "extra": graded(5, 5, 5),
    "unknown id": {"grades": [{**row, "id": "x"} for row in graded(5, 5)["grades"]]},
    "above the scale": graded(5, 6),
    "below the scale": graded(5, 0),
    "a fraction": graded(5, 4.5),
    "a text": graded(5, "5"),
    "a boolean": graded(5, True),
    "no reasoning": {"grades": [{**row, "reasoning": " - "} for row in graded(5, 5)["grades"]]},
    "cut": '{"grades": [{"id": "k1", "reasoning": "good", "grade": 5}',
    "prose": "Both are excellent: 5 and 5.",
    "empty": "",
    "a refusal": Reply.refusal("no"),
    "a token limit": Reply.text('{"grades": []}', finish_reason="length"),
    "another form": [graded(5, 5)],
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_a_reply_that_is_no_grading_is_an_error_and_no_score(reply):
    assert score((lambda asked: reply) if isinstance(reply, list) else reply).reason == "judge_error"


def test_a_reply_that_comes_right_when_asked_again_counts():
    assert score(lambda asked: graded(5, 3) if asked.attempt > 1 else graded(5)).value == 0.75


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(["k1", "k2", "k3", "K1", ""]),
            "reasoning": st.sampled_from(["fine", "", "…"]),
            "grade": st.one_of(st.integers(-2, 9), st.booleans(), st.floats(0, 9), st.just("5")),
        }
    ),
    max_size=4,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS)
def test_any_rows_end_as_an_error_or_as_the_mean_of_one_grade_per_criterion(rows):
    found = score({"grades": rows})
    if isinstance(found, Score):
        assert sorted(row["id"] for row in rows) == ["k1", "k2"]
        assert all(row["reasoning"] == "fine" for row in rows)
        assert found.value == pytest.approx(sum(row["grade"] - 1 for row in rows) / 8)
    else:
        assert found.reason == "judge_error"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"criteria": None}, "no criteria"),
        ({"criteria": []}, "criteria"),
        ({"criteria": "be good"}, "criteria"),
        ({"criteria": ["a", "a"]}, "criteria"),
        ({"criteria": [f"c{n}" for n in range(21)]}, "at most 20"),
        ({"scale": 1}, "2 to 10"),
        ({"scale": 11}, "2 to 10"),
        ({"scale": "5"}, "scale"),
        ({"levels": ["a"]}, "2 to 10"),
        ({"levels": ["a", "b"], "scale": 3}, "the number of 'levels'"),
        ({"show": ["refrence"]}, "refrence"),
        ({"criterion": ["x"]}, "criterion"),
    ],
)
def test_wrong_options_are_refused(wrong, told):
    with pytest.raises(ConfigError, match=told) as caught:
        judged_scorer("rubric", **{"criteria": CRITERIA, **wrong})
    assert caught.value.hint


def test_it_needs_a_judge_and_does_not_score_by_itself():
    with pytest.raises(ConfigError, match="needs a judge"):
        make_scorer(ScorerSettings("rubric", options={"criteria": CRITERIA}))
    with pytest.raises(ScoringError, match="asks a model"):
        judged_scorer("rubric", criteria=CRITERIA).score(SAMPLE, Response("x"))
    with pytest.raises(ConfigError, match="prompt version 'v77'"):
        judged_scorer("rubric", judge=fake_judge_identity(version="j/1/v77"), criteria=CRITERIA)


def test_other_criteria_are_another_metric_spec():
    one, other = (judged_scorer("rubric", criteria=[text]).spec for text in CRITERIA)
    assert one.metric == other.metric
    assert one != other
