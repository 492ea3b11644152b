import socket

import pytest

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Unscored
from aigate.errors import ConfigError
from aigate.scorers.base import ScorerSettings, make_scorer, scorer_from_spec
from aigate.scorers.contract import PARSERS, REGEX_CHARS, SLOW_PARSE_CHARS

SAMPLE = Sample("s", "q")
SCHEMA = {
    "type": "object",
    "required": ["answer"],
    "properties": {"answer": {"type": "string"}, "score": {"type": "number", "maximum": 1}},
    "additionalProperties": False,
}


def make(contract=None, **options):
    options = {name.replace("_", "-"): value for name, value in options.items()}
    return make_scorer(ScorerSettings("contract", options=options, contract=contract))


def judge(output, contract=None, **options):
    return make(contract, **options).score(SAMPLE, Response(output))


def value(output, contract=None, **options):
    found = judge(output, contract, **options)
    return found.reason if isinstance(found, Unscored) else found.value


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('{"answer": "yes", "score": 0.5}', 1.0),
        ('\n {"answer": "yes"} \n', 1.0),
        ('{"answer": 1}', 0.0),
        ('{"answer": "yes", "extra": 1}', 0.0),
        ('{"answer": "yes", "score": 2}', 0.0),
        ("[]", 0.0),
        ('```json\n{"answer": "yes"}\n```', 0.0),
        ('Here: {"answer": "yes"}', "unparseable"),
        ('{"answer": "yes"', "unparseable"),
        ('{"answer": "no", "answer": "yes"}', "unparseable"),
        ('{"answer": "yes", "score": NaN}', "unparseable"),
        ("", "unparseable"),
        ("```json\nnothing\n```", "unparseable"),
    ],
)
def test_schema_of_the_suite(output, expected):
    assert value(output, SCHEMA) == expected


def test_violations_name_their_json_path():
    schema = {"properties": {"items": {"items": {"properties": {"n": {"type": "integer"}}}}}}
    found = judge('{"items": [{"n": 1}, {"n": "x"}]}', schema)
    assert found.explanation.startswith("$.items[1].n: 'x' is not of type 'integer'")


def test_only_the_first_violations_are_named_and_the_others_counted():
    found = judge('["a", "b", "c", "d", "e"]', {"items": {"type": "integer"}})
    assert found.explanation.count("is not of type") == 3
    assert "and 2 more" in found.explanation


def test_details_list_every_rule():
    found = judge('{"answer": 1}', SCHEMA, max_chars=100)
    assert [(rule["rule"], rule["held"]) for rule in found.details["rules"]] == [
        ("no fence", True),
        ("max-chars", True),
        ("schema", False),
    ]
    assert found.details["rules"][2]["problems"] == ["$.answer: 1 is not of type 'string'"]


def test_fence_breaks_the_contract_unless_allowed():
    fenced = '```json\n{"answer": "yes"}\n```'
    assert "code fence" in judge(fenced, SCHEMA).explanation
    assert value(fenced, SCHEMA, allow_fence=True) == 1.0
    assert value('```json\n{"answer": 1}\n```', SCHEMA, allow_fence=True) == 0.0


def test_fence_around_code_breaks_the_contract():
    assert value("```python\nreturn 1\n```", parses_as="python") == 0.0
    assert value("return 1", parses_as="python") == 1.0
    assert value("```python\nreturn 1\n```", parses_as="python", allow_fence=True) == 1.0


def test_fence_inside_prose_is_no_business_of_a_length_rule():
    assert value("See:\n```\nx\n```\ndone", max_chars=100) == 1.0


def test_option_schema_wins_over_the_contract_of_the_suite():
    assert value("1", SCHEMA, schema={"type": "integer"}) == 1.0


def test_schema_is_stored_and_comes_back_from_the_spec():
    scorer = make(SCHEMA, max_chars=50)
    assert scorer.spec.options["schema"] == SCHEMA
    again = scorer_from_spec(scorer.spec)
    assert again.score(SAMPLE, Response('{"answer": 1}')) == scorer.score(SAMPLE, Response('{"answer": 1}'))
    assert again.score(SAMPLE, Response('{"answer": 1}')).value == 0.0


def test_scorer_without_schema_stores_none():
    assert "schema" not in make(max_chars=3).spec.options


def test_nothing_asked_is_refused():
    with pytest.raises(ConfigError, match="asks for nothing") as caught:
        make(allow_fence=True)
    assert "regex" in caught.value.hint


def test_false_is_a_schema_that_nothing_fulfils():
    assert value("1", schema=False) == 0.0


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objet"},
        {"properties": []},
        {"pattern": "("},
        5,
        {"$schema": "http://json-schema.org/draft-04/schema#", "type": 1},
    ],
)
def test_invalid_schema_is_refused_at_construction(schema):
    with pytest.raises(ConfigError, match="no JSON Schema"):
        make(schema=schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/other.json"},
        {"properties": {"a": {"items": {"$ref": "#/$defs/missing"}}}},
        {"$ref": "other.json#/a"},
        {"allOf": [{"$dynamicRef": "#nowhere"}]},
    ],
)
def test_reference_out_of_the_schema_is_refused_and_never_fetched(schema, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("a schema was fetched")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ConfigError, match="leads nowhere; nothing is ever fetched"):
        make(schema=schema)


def test_references_inside_the_schema_are_followed():
    schema = {
        "$id": "https://example.com/tree",
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "array", "items": {"$ref": "tree#/$defs/node"}}, "named": {"$anchor": "n"}},
        "not": {"allOf": [{"$ref": "#n"}, {"type": "string"}]},
    }
    assert value("[[], [[]]]", schema=schema) == 1.0
    assert value("[1]", schema=schema) == 0.0


def test_older_drafts_are_read_by_their_own_rules():
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": True}
    assert value("2", schema=schema) == 1.0
    assert value("3", schema=schema) == 0.0


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date-time", "2024-02-29T10:00:00Z", "2024-02-29 10:00"),
        ("date-time", "2024-02-29t10:00:00.25+02:00", "2024-02-30T10:00:00Z"),
        ("time", "10:00:00Z", "25:00:00Z"),
        ("email", "a@b.c", "a.b.c"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "::g"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("regex", "a+", "("),
    ],
)
def test_formats_are_checked(name, good, bad):
    assert value(f'"{good}"', schema={"format": name}) == 1.0
    assert value(f'"{bad}"', schema={"format": name}) == 0.0
    assert value("17", schema={"format": name}) == 1.0


def test_schema_over_jsonl_judges_every_line():
    assert value('{"answer": "a"}\n\n{"answer": "b"}', SCHEMA, parses_as="jsonl") == 1.0
    found = judge('{"answer": "a"}\n{"answer": 2}', SCHEMA, parses_as="jsonl")
    assert found.explanation.startswith("line 2: $.answer")


@pytest.mark.parametrize("form", sorted(set(PARSERS) - {"json", "jsonl"}))
def test_schema_with_a_form_that_is_no_json_is_refused(form):
    with pytest.raises(ConfigError, match="a schema judges JSON"):
        make(SCHEMA, parses_as=form)


@pytest.mark.parametrize(
    ("form", "output"),
    [
        ("json", '{"a": [1]}'),
        ("json", "3"),
        ("jsonl", "1\n2"),
        ("number", "-1.5e3"),
        ("number", ".5"),
        ("integer", "+12"),
        ("date", "2024-02-29"),
        ("python", "x = '\\d'"),
        ("toml", "a = 1\n[b]\nc = 'd'"),
        ("yaml", "a: 1\nb: [2, 3]"),
        ("yaml", "- a\n- b"),
        ("csv", 'a,b\n"x, y",2'),
        ("xml", "<?xml version='1.0'?><a b='c'>&lt;</a>"),
        ("xml", "<é>ü</é>"),
    ],
)
def test_output_of_that_form_holds(form, output):
    assert value(output, parses_as=form) == 1.0
    assert value(f"\n{output}\n", parses_as=form) == 1.0


@pytest.mark.parametrize(
    ("form", "output"),
    [
        ("json", "{'a': 1}"),
        ("json", "{} {}"),
        ("jsonl", "1\n2,"),
        ("jsonl", "  "),
        ("number", "1,000"),
        ("number", "nan"),
        ("number", "٣"),
        ("number", "5 eggs"),
        ("integer", "1.0"),
        ("integer", "1_000"),
        ("date", "20240229"),
        ("date", "2024-W01-1"),
        ("date", "2023-02-29"),
        ("date", "29.02.2024"),
        ("python", "The problem can be solved"),
        ("python", "# only a comment"),
        ("python", "x = 1\x00"),
        ("python", "(" * 5000),
        ("toml", "a = "),
        ("toml", ""),
        ("toml", "a = 1\na = 2"),
        ("yaml", "just prose"),
        ("yaml", "a: [1"),
        ("yaml", "a: 1\n---\nb: 2"),
        ("csv", "one column\nonly"),
        ("csv", "a,b\n1,2,3"),
        ("csv", 'a,"b'),
        ("xml", "<a><b></a>"),
        ("xml", "text"),
        ("xml", "<a>\ud800</a>"),
        ("xml", "<!DOCTYPE a><a/>"),
        ("xml", "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"),
    ],
)
def test_output_of_another_form_is_unparseable(form, output):
    found = judge(output, parses_as=form)
    assert isinstance(found, Unscored)
    assert found.reason == "unparseable"
    assert f"expected {form}" in found.explanation


def test_long_yaml_and_toml_are_not_read():
    assert value("a: 1\n" + "#" * SLOW_PARSE_CHARS, parses_as="yaml") == "unparseable"
    assert value("a = 1\n" + "#" * SLOW_PARSE_CHARS, parses_as="toml") == "unparseable"


def test_parsing_python_neither_runs_it_nor_warns(recwarn):
    assert value("import sys; sys.exit(1)\nx = '\\d' is 1", parses_as="python") == 1.0
    assert not recwarn.list


@pytest.mark.parametrize(
    ("output", "options", "expected"),
    [
        ("AB-123", {"regex": r"[A-Z]{2}-\d{3}"}, 1.0),
        (" AB-123\n", {"regex": r"[A-Z]{2}-\d{3}"}, 1.0),
        ("code AB-123", {"regex": r"[A-Z]{2}-\d{3}"}, 0.0),
        ("code AB-123.", {"regex": r"[A-Z]{2}-\d{3}", "search": True}, 1.0),
        ("nothing", {"regex": r"[A-Z]{2}-\d{3}", "search": True}, 0.0),
        ("a" * REGEX_CHARS, {"regex": "a*"}, 1.0),
        ("a" * (REGEX_CHARS + 1), {"regex": "a*"}, 0.0),
        ("yes", {"choices": ["yes", "no"]}, 1.0),
        ("Yes", {"choices": ["yes", "no"]}, 0.0),
        ("Yes", {"choices": ["yes", "no"], "case": "fold"}, 1.0),
        ("yes.", {"choices": ["yes", "no"], "case": "fold"}, 0.0),
        ("abc", {"max_chars": 3}, 1.0),
        ("abc ", {"max_chars": 3}, 0.0),
        ("", {"max_chars": 3}, 1.0),
    ],
)
def test_rules_on_the_text(output, options, expected):
    assert value(output, **options) == expected


def test_every_rule_must_hold():
    options = {"regex": r"\d+", "max_chars": 3, "parses_as": "integer"}
    assert value("123", **options) == 1.0
    assert value("1234", **options) == 0.0
    assert "at most 3" in judge("1234", **options).explanation


@pytest.mark.parametrize(
    "wrong", [{"regex": "("}, {"choices": []}, {"parses_as": "jsn"}, {"max_chars": 0}, {"search": 1}]
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ConfigError, match="contract"):
        make(**{"max_chars": 5, **wrong})


def test_schema_that_never_ends_is_a_judge_error_and_no_crash():
    assert value("1", schema={"$ref": "#"}) == "judge_error"
