import pytest

from aigate.goldens.parameters import WELL_KNOWN, parameter_defect

GOOD = {
    "temperature": [0, 2, 0.7],
    "max_tokens": [1, 4096],
    "max_completion_tokens": [1],
    "top_p": [0, 1],
    "stop": ["END", ["a", "b"]],
    "seed": [0, -1],
    "presence_penalty": [-2, 2],
    "frequency_penalty": [0.5],
    "reasoning_effort": ["low"],
    "response_format": [{"type": "json_object"}],
}
BAD = {
    "temperature": ["0", -0.1, 2.1, True, None],
    "max_tokens": [0, 1.5, "10"],
    "max_completion_tokens": [0],
    "top_p": [1.1],
    "stop": [3, ["a", 1]],
    "seed": [1.0, True],
    "presence_penalty": [-2.1],
    "frequency_penalty": ["0"],
    "reasoning_effort": [1],
    "response_format": ["json"],
}


def test_every_well_known_parameter_has_examples():
    assert set(GOOD) == set(BAD) == set(WELL_KNOWN)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_good_value_has_no_defect(name, value):
    assert parameter_defect(name, value) == ""


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_wrong_value_says_got_and_expected(name, value):
    assert parameter_defect(name, value).startswith(f"{name}: got ")
    assert f", expected {WELL_KNOWN[name][0]}" in parameter_defect(name, value)


@pytest.mark.parametrize("name", ["model", "messages", "stream"])
def test_parameter_that_would_test_another_version_is_refused(name):
    assert parameter_defect(name, "x") == f"{name}: is set by the gate and cannot be a parameter"


def test_unknown_parameter_is_left_to_the_provider():
    assert parameter_defect("logit_bias", {"1": 2}) == ""
