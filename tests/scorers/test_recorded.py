import pytest

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Score, Unscored
from aigate.errors import ConfigError
from aigate.scorers.base import ScorerSettings, make_scorer

SAMPLE = Sample("s", "q")


def test_recorded_score_is_read_by_name():
    scorer = make_scorer(ScorerSettings("recorded", "correct"))
    assert scorer.spec.metric == "correct"
    assert scorer.spec.scorer == "recorded:correct"
    found = scorer.score(SAMPLE, Response("x", scores={"correct": 0.25, "other": 1.0}))
    assert isinstance(found, Score)
    assert found.value == 0.25


def test_recorded_is_not_deterministic():
    assert make_scorer(ScorerSettings("recorded", "correct")).spec.deterministic is False


def test_missing_score_is_a_judge_error_that_lists_what_there_is():
    found = make_scorer(ScorerSettings("recorded", "corect")).score(SAMPLE, Response("x", scores={"b": 1.0, "a": 0.0}))
    assert found == Unscored("judge_error", "the recording holds no score 'corect'; it has: 'a', 'b'")


def test_recording_without_scores_says_none():
    found = make_scorer(ScorerSettings("recorded", "correct")).score(SAMPLE, Response("x"))
    assert found.explanation.endswith("it has: none")


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan"), float("inf"), "1", [1]])
def test_recorded_value_that_is_no_score_is_missing_and_never_a_number(wrong):
    found = make_scorer(ScorerSettings("recorded", "c")).score(SAMPLE, Response("x", scores={"c": wrong}))
    assert isinstance(found, Unscored)
    assert found.reason == "judge_error"


@pytest.mark.parametrize(("recorded", "expected"), [(True, 1.0), (False, 0.0), (1, 1.0), (0, 0.0)])
def test_recorded_booleans_and_integers_are_numbers(recorded, expected):
    found = make_scorer(ScorerSettings("recorded", "c")).score(SAMPLE, Response("x", scores={"c": recorded}))
    assert (found.value, type(found.value)) == (expected, float)


@pytest.mark.parametrize("argument", ["", " ", " c"])
def test_recorded_needs_a_name(argument):
    with pytest.raises(ConfigError, match="needs the name") as caught:
        make_scorer(ScorerSettings("recorded", argument))
    assert "recorded:NAME" in caught.value.hint
