"""Strict JSON: what is refused, and what comes back exactly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core.json_text import JsonDefectError, json_type, strict_json


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate key 'c'"),
        ("[NaN]", "NaN is not a JSON number"),
        ("[-Infinity]", "-Infinity is not a JSON number"),
        ("[1e999]", "too large for a float"),
        ("[" * 100_000, "nested deeper than"),
        ("{'a': 1}", "Expecting property name"),
        ("1 2", "Extra data"),
        ("", "Expecting value"),
    ],
)
def test_strict_json_refuses(text, problem):
    with pytest.raises(ValueError, match=problem):
        strict_json(text)


def test_strict_json_reads_what_rfc_8259_allows():
    assert strict_json(' {"a": [1, 2.5, true, null, "\\u00e9"]} ') == {"a": [1, 2.5, True, None, "é"]}


@pytest.mark.parametrize("depth", [99, 100])
def test_nesting_up_to_the_limit_is_read(depth):
    assert json.dumps(strict_json("[" * depth + "]" * depth)) == "[" * depth + "]" * depth


@pytest.mark.parametrize("text", ["[" * 101 + "]" * 101, '{"a":' * 101 + "1" + "}" * 101, "[" * 100_000])
def test_nesting_beyond_the_limit_is_refused(text):
    with pytest.raises(JsonDefectError):
        strict_json(text)


def test_many_flat_arrays_are_not_deep():
    assert len(strict_json("[" + ",".join(["[]"] * 500) + "]")) == 500


def test_numbers_keep_their_exact_type():
    values = strict_json("[1, 1.0, -0.0, 1e3, 123456789012345678901234567890]")
    assert [type(value) for value in values] == [int, float, float, float, int]
    assert values[-1] == 123456789012345678901234567890


def test_defect_names_the_line_within_a_text():
    with pytest.raises(JsonDefectError) as raised:
        strict_json('{\n"a": 1,\nb}')
    assert raised.value.line == 3


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON_VALUES)
def test_whatever_python_writes_is_read_alike(value):
    read = strict_json(json.dumps(value))
    assert repr(read) == repr(value)


def test_type_names():
    values = [None, True, 1, 1.5, "a", [], {}]
    names = ["null", "a boolean", "a number", "a number", "a string", "an array", "an object"]
    assert [json_type(value) for value in values] == names
