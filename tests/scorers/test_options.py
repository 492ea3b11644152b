import pytest

from aigate.errors import ConfigError
from aigate.scorers.base import ScorerSettings
from aigate.scorers.options import (
    count_option,
    flag_option,
    metric_option,
    number_option,
    pattern_option,
    text_option,
    texts_option,
    word_option,
)


def given(value):
    return ScorerSettings("some", options={"x": value, "metric": value})


@pytest.mark.parametrize(
    "read",
    [
        lambda s: text_option(s, "x"),
        lambda s: number_option(s, "x"),
        lambda s: count_option(s, "x"),
        lambda s: texts_option(s, "x"),
        lambda s: pattern_option(s, "x"),
        lambda s: word_option(s, "x", ("a",), default=None),
    ],
)
def test_none_reads_as_not_given(read):
    assert read(given(None)) is None
    assert read(ScorerSettings("some")) is None


def test_defaults_stand_in_for_what_is_not_given():
    assert flag_option(given(None), "x", default=True) is True
    assert word_option(given(None), "x", ("a", "b"), default="b") == "b"
    assert metric_option(given(None), "m") == "m"


@pytest.mark.parametrize("wrong", [1, 0, "true", [True]])
def test_flag_is_a_boolean_and_nothing_else(wrong):
    with pytest.raises(ConfigError, match=r"'some': option 'x' .* expected true or false"):
        flag_option(given(wrong), "x")


@pytest.mark.parametrize("wrong", [-0.1, True, "1", float("nan"), float("inf")])
def test_number_is_finite_and_not_negative(wrong):
    with pytest.raises(ConfigError, match="expected a number of at least 0"):
        number_option(given(wrong), "x")


def test_number_zero_is_a_number():
    assert number_option(given(0), "x") == 0


@pytest.mark.parametrize("wrong", [0, -1, 1.0, True, "3"])
def test_count_is_an_integer_of_at_least_one(wrong):
    with pytest.raises(ConfigError, match="expected an integer of at least 1"):
        count_option(given(wrong), "x")


@pytest.mark.parametrize("wrong", [[], "yes", ["a", "a"], ["a", " "], ["a", 1]])
def test_texts_are_different_and_not_blank(wrong):
    with pytest.raises(ConfigError, match="expected a list of different strings"):
        texts_option(given(wrong), "x")


def test_unknown_word_names_the_nearest():
    with pytest.raises(ConfigError) as caught:
        word_option(given("frist"), "x", ("first", "last"), default="last")
    assert "expected one of first, last" in str(caught.value)
    assert caught.value.hint == "did you mean 'first'?"


@pytest.mark.parametrize("wrong", ["(", "a{9999999999}"])
def test_pattern_that_does_not_compile_is_refused(wrong):
    with pytest.raises(ConfigError, match="expected a regular expression"):
        pattern_option(given(wrong), "x")


@pytest.mark.parametrize(("pattern", "groups"), [("a", 0), ("(a)(b)", 2)])
def test_pattern_with_another_number_of_groups_is_refused(pattern, groups):
    with pytest.raises(ConfigError, match=f"with 1 group, not {groups}"):
        pattern_option(given(pattern), "x", groups=1)
    assert pattern_option(given("(a)"), "x", groups=1).groups == 1


@pytest.mark.parametrize("wrong", ["", " ", " name", 3])
def test_metric_is_a_name_without_space_around(wrong):
    with pytest.raises(ConfigError, match="option 'metric'"):
        metric_option(given(wrong), "m")
