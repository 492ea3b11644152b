"""Strict JSON: what is refused, and what comes back exactly."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core import json_text
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


# Texts on which JSON readers disagree. Whatever is read fast must be what the slow reader reads, to the last type.
ODD = [
    *(
        '{"a":1,"a":2}',
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        '[{"a":1,"\\u0061":2}]',
        '{"a b":1,"a":2}',
        '{"":1,"":2}',
    ),
    *('{"a": 1, "a" :2}', '{"a":"\\":","a":1}', '{"x":"a, \\"y\\": 1","x":1}', '{"a":1e5,"a":100000.0}'),
    *("NaN", "Infinity", "-Infinity", '{"a":NaN}', "nan", "inf", "1e400", "-1e400", "1e-400", "[1e308,1e309]"),
    *("-0", "-0.0", "0", "00", "01", "-01", "+1", "1.", ".5", "1.0", "1.50", "1E5", "1e5", "1e+5", "1e05", "0.1e1"),
    *("18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809", "9" * 400),
    *("9" * 4300, "9" * 4301, "-" + "9" * 5000, "9" * 400 + ".0", "0." + "9" * 400, "1" + "0" * 22, "5e-324", "2e-324"),
    *("1e16", "1e15", "123456789012345680.0", "0.0001", "0.00001", "1e-05", "1e-5", "3.0000000000000004", "0.1"),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '{"\\ud800":1}', '"\\u00e9"', '"é"', '"\u2028"', '"\x7f"'),
    *('"\\u0000"', '"\x00"', '"\t"', '"\n"', '"\\t"', '"\\/"', '"\\x41"', '"\\u12"', '"', '"\\', "'a'", '"a" "b"'),
    *("", " ", "\n", "null", "nul", "nulll", "true", "True", "[1,]", "[,1]", '{"a":1,}', '{"a"}', "{1:2}", "{a:1}"),
    *(
        "[1] x",
        "{}{}",
        "[]\n[]",
        "\ufeff{}",
        "{}\ufeff",
        "\xa0{}",
        "\x0c[1]",
        "[1\x0b]",
        "/*a*/1",
        "1//",
        "[1 2]",
        "- 1",
    ),
    *(
        "[" * 99 + "]" * 99,
        "[" * 100 + "]" * 100,
        "[" * 101 + "]" * 101,
        "[" * 300 + "]" * 300,
        "[" * 2000 + "]" * 2000,
    ),
    *('{"a":' * 100 + "1" + "}" * 100, '{"a":' * 101 + "1" + "}" * 101, '"' + "[" * 200 + '"', "[" * 5000, "]" * 5),
    *(
        ' {"a" : [ 1 , 2 ] }\r\n',
        '{"a":"b c","d":" "}',
        '{ "a b" : "c:d" , "e" : "f, \\"g\\": h" }',
        '"a b"',
        "1 ",
        "\t1",
    ),
]


def outcome(read, text):
    """What a reader makes of a text: the value with its exact types, or what it says is wrong."""
    try:
        return repr(read(text))
    except JsonDefectError as defect:
        return (defect.message, defect.line, defect.hint)


@pytest.mark.parametrize("text", ODD, ids=lambda text: re.sub(r"\W", "_", text)[:20])
def test_odd_texts_mean_the_same_to_the_fast_and_to_the_slow_reader(text):
    expected = outcome(json_text._read_strictly, text)
    assert outcome(strict_json, text) == expected
    assert outcome(strict_json, text.encode()) == expected


@given(st.text(alphabet='{}[]":,\\ \n01-.eEu"a'), st.sampled_from(ODD))
def test_broken_texts_mean_the_same_to_both_readers(text, odd):
    for whole in (text, text + odd, odd + text, f'{{"k":{odd},"k2":{text}}}', f"[{text},{odd}]"):
        assert outcome(strict_json, whole) == outcome(json_text._read_strictly, whole)


SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "\n:  ")])


@given(JSON_VALUES, SEPARATORS, st.booleans())
def test_however_it_is_spaced_and_escaped_both_readers_read_the_same(value, separators, ascii_only):
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
    assert outcome(strict_json, text) == outcome(json_text._read_strictly, text) == repr(value)


@given(st.lists(st.tuples(st.text(alphabet='ab ":\\'), JSON_VALUES), min_size=1, max_size=4))
def test_a_key_that_stands_twice_is_never_read(pairs):
    text = "{" + ",".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}"
    unique = len({key for key, _ in pairs}) == len(pairs)
    assert isinstance(outcome(strict_json, text), str) is unique
    assert outcome(strict_json, text) == outcome(json_text._read_strictly, text)


def test_plain_texts_are_read_fast(monkeypatch):
    monkeypatch.setattr(json_text, "_read_strictly", lambda text: pytest.fail(f"read slowly: {text}"))
    assert strict_json('{"id": "a b", "n": [1, -2.5, true, null], "o": {"x": "y: z, w"}}')["o"] == {"x": "y: z, w"}
    assert strict_json('{"id":"é","value":1.0}\n'.encode()) == {"id": "é", "value": 1.0}


def test_bytes_that_are_no_utf_8_are_refused():
    with pytest.raises(UnicodeDecodeError):
        strict_json(b'{"a": "\xff"}')


def test_type_names():
    values = [None, True, 1, 1.5, "a", [], {}]
    names = ["null", "a boolean", "a number", "a number", "a string", "an array", "an object"]
    assert [json_type(value) for value in values] == names
