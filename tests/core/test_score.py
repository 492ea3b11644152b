"""Score | Unscored: missing is a type, not a number."""

import math
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core.score import MetricSpec, Score, Unscored, UnscoredReason, score_from_dict

DETAILS = st.dictionaries(st.text(), st.integers() | st.text(), max_size=2)
SCORES = st.builds(Score, st.floats(0, 1), st.text(), st.none() | st.text(), DETAILS)
UNSCORED = st.builds(Unscored, st.sampled_from(get_args(UnscoredReason)), st.text())


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, True, False, -0.001, 1.001, 2, -1, "0.5", None, [0.5], 0.5j]
)
def test_what_is_no_number_from_0_to_1_is_no_score(value):
    with pytest.raises(ValueError, match="a score lies in"):
        Score(value)


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.5, Fraction(1, 4)])
def test_every_number_from_0_to_1_is_a_score_and_is_stored_as_a_float(value):
    stored = Score(value).to_dict()["value"]
    assert type(stored) is float
    assert stored == value


@given(SCORES | UNSCORED)
def test_a_judgement_round_trips(judgement):
    assert score_from_dict(judgement.to_dict()) == judgement


def test_an_unscored_of_an_unknown_reason_is_refused():
    with pytest.raises(ValueError, match=r"unscored for 'tired'.*judge_error"):
        Unscored("tired")
    with pytest.raises(ValueError, match="tired"):
        score_from_dict({"unscored": "tired"})


def test_a_stored_score_is_checked_again():
    with pytest.raises(ValueError, match="a score lies in"):
        score_from_dict({"value": 1.5})
    with pytest.raises(KeyError):
        score_from_dict({"explanation": "neither"})


def test_a_score_of_zero_is_no_missing_score():
    assert isinstance(score_from_dict({"value": 0}), Score)


@pytest.mark.parametrize(
    ("reason", "applicable"),
    [
        ("judge_error", True),
        ("infrastructure_error", True),
        ("unparseable", True),
        ("not_run", True),
        ("no_reference", False),
        ("not_applicable", False),
    ],
)
def test_only_a_sample_outside_the_metric_is_not_applicable(reason, applicable):
    assert Unscored(reason).applicable is applicable


def test_better_turns_a_metric_so_that_higher_is_better():
    assert MetricSpec("m", "s").better(0.25) == 0.25
    assert MetricSpec("m", "s", direction="lower").better(0.25) == 0.75


def test_a_metric_spec_round_trips():
    spec = MetricSpec("m", "s", 2, {"a": 1}, "lower", deterministic=False, judge={"version": "j/1/v1"})
    assert MetricSpec.from_dict(spec.to_dict()) == spec
    assert MetricSpec.from_dict(MetricSpec("m", "s").to_dict()) == MetricSpec("m", "s")
