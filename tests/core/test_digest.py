"""Canonical JSON and digests: same content, same bytes, on every machine."""

import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core import digest as digests
from aigate.core.digest import canonical_json, combined_digest, digest_of, json_line, seed_from, sha256_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def test_canonical_json_has_these_bytes():
    value = {"b": [1, 1.0, -0.5, 1e300, True, None], "a": {"é": '☃\n"\\', "Z": [], "_": {}}, "": "\u2028\x7f"}
    assert canonical_json(value).encode() == (
        b'{"":"\xe2\x80\xa8\x7f","a":{"Z":[],"_":{},"\xc3\xa9":"\xe2\x98\x83\\n\\"\\\\"},'
        b'"b":[1,1.0,-0.5,1e+300,true,null]}'
    )


def test_keys_are_sorted_by_code_point():
    assert canonical_json({"é": 1, "z": 2, "Z": 3, "😀": 4, "\uffee": 5}) == '{"Z":3,"z":2,"é":1,"\uffee":5,"😀":4}'


def test_a_line_keeps_the_order_of_keys():
    assert json_line({"b": 1, "a": 2}) == '{"b":1,"a":2}'


@given(JSON)
def test_canonical_json_reads_back_and_is_a_fixed_point(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
    assert "\n" not in text


class Named(str):
    __slots__ = ()


ODD = [
    *(1e-4, 9.999e-5, 1e15, 9.99e14, 1e16, 1.5e300, -1e-7, -0.0, 0.0, 5e-324, 123456789012345680.0, 0.1 + 0.2, 1.0),
    *(2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**30, True, None, "", "\x7f\x00\u2028\ud83d\ude00", "\ud800"),
    *(Named("a"), {Named("k"): 1}, (1, (2, [])), {"b": (), "a": {}}, [[]] * 3, {"é": 1, "\uffee": 2, "😀": 3, "z": 4}),
    *([[[["deep"]]]], json.loads("[" * 90 + "]" * 90), '\t\n\r\b\f"\\/', {"a" * 70: 1, "a" * 69: 2}),
]


@given(JSON | st.sampled_from(ODD), st.booleans())
def test_what_is_written_fast_is_what_the_slow_writer_writes(value, sort_keys):
    for whole in (value, [value, 1.5], {"b": value, "a": value}):
        assert digests._dump(whole, sort_keys=sort_keys) == digests._dump_checked(whole, sort_keys=sort_keys)


def test_plain_values_are_written_fast(monkeypatch):
    monkeypatch.setattr(digests, "_dump_checked", lambda value, **_: pytest.fail(f"written slowly: {value}"))
    assert canonical_json({"b": ["é", 1, None, True], "a": 0.25}) == '{"a":0.25,"b":["é",1,null,true]}'


def test_a_value_within_itself_is_refused():
    whole = {"a": []}
    whole["a"].append(whole)
    with pytest.raises((ValueError, RecursionError)):
        canonical_json(whole)


@given(st.dictionaries(st.text(), JSON, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_order_of_keys_does_not_change_the_digest(table, random):
    items = list(table.items())
    random.shuffle(items)
    assert digest_of(dict(items)) == digest_of(table)


def test_an_integer_and_a_whole_float_are_different_content():
    assert digest_of(1) != digest_of(1.0)
    assert digest_of({"n": 0}) != digest_of({"n": False})


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (math.nan, r"^\$: nan"),
        ({"a": [0.0, {"b": math.inf}]}, r"^\$\.a\[1\]\.b: inf"),
        ([1, (2, -math.inf)], r"^\$\[1\]\[1\]: -inf"),
        ({"a": {"b": {1, 2}}}, r"^\$\.a\.b: set is not JSON"),
        ({"a": b"x"}, r"^\$\.a: bytes is not JSON"),
    ],
)
def test_what_is_no_json_is_named_with_its_path(value, path):
    for encode in (canonical_json, json_line):
        with pytest.raises(ValueError, match=path):
            encode(value)


@pytest.mark.parametrize("key", [1, None, True, 1.5])
def test_keys_that_are_no_strings_are_refused(key):
    with pytest.raises(ValueError, match=r"\$\.a\[0\]: key .* is not a string"):
        canonical_json({"a": [{key: 1}]})
    with pytest.raises(ValueError, match="is not a string"):
        canonical_json({"text": 1, key: 2})


def test_lone_surrogates_are_written_as_escapes_and_differ_from_every_valid_text():
    assert canonical_json(["\ud800", "é"]) == '["\\ud800","\\u00e9"]'
    assert json.loads(canonical_json("\udc00x")) == "\udc00x"
    assert len({sha256_text(text) for text in ("\ud800", "\udc00", "\ufffd", "?", "\\ud800")}) == 5


def test_sha256_text_is_that_of_its_utf8():
    assert sha256_text("é") == "sha256:" + hashlib.sha256("é".encode()).hexdigest()


@given(st.lists(st.text(max_size=5)), st.randoms(use_true_random=False))
def test_combined_digest_does_not_depend_on_order(texts, random):
    digests = [sha256_text(text) for text in texts]
    shuffled = digests.copy()
    random.shuffle(shuffled)
    assert combined_digest(shuffled) == combined_digest(iter(digests))


def test_combined_digest_counts_how_often_a_part_stands_there():
    part = sha256_text("a")
    assert len({combined_digest([]), combined_digest([part]), combined_digest([part, part])}) == 3


def test_a_seed_never_changes_between_machines_and_versions():
    assert seed_from("aigate", "é") == 18149422932910065650
    assert seed_from() == 0xE3B0C44298FC1C14  # the first bytes of SHA-256 of nothing


def test_a_seed_depends_on_where_the_parts_end():
    assert len({seed_from("ab", "c"), seed_from("a", "bc"), seed_from("abc"), seed_from("c", "ab")}) == 4
    assert 0 <= seed_from("x") < 2**64
    assert seed_from("\ud800") != seed_from("?")
