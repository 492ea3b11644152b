"""Rules of a sample mean what promptfoo means by them, are checked before they are tried, and never take for ever."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Unscored
from aigate.goldens.assertions import TYPES, assertion_defect, assertion_holds
from aigate.scorers.base import ScorerSettings, make_scorer

HOLDS = [
    ({"type": "equals", "value": "yes"}, "yes", "yes "),
    ({"type": "equals", "value": 18}, "18", "18.0"),
    ({"type": "equals", "value": {"a": [1, 2.0]}}, '{"a": [1.0, 2]}', '{"a": [2, 1]}'),
    ({"type": "equals", "value": ["x"]}, '["x"]', "x"),
    ({"type": "contains", "value": "45"}, "in 45 days", "in 54 days"),
    ({"type": "contains", "value": "Bern"}, "in Bern", "in bern"),
    ({"type": "icontains", "value": "BERN"}, "in bern", "in Basel"),
    ({"type": "contains-any", "value": ["a1", "b2"]}, "has b2", "has c3"),
    ({"type": "contains-all", "value": ["a1", "b2"]}, "b2 and a1", "only a1"),
    ({"type": "icontains-any", "value": ["A1"]}, "a1", "b"),
    ({"type": "icontains-all", "value": ["A1", "B2"]}, "a1 b2", "a1"),
    ({"type": "starts-with", "value": "Yes"}, "Yes, you may", "Well, Yes"),
    ({"type": "ends-with", "value": "."}, "Done.", "Done"),
    ({"type": "regex", "value": r"\d{2}"}, "in 45 days", "in 4 days"),
    ({"type": "is-json"}, '{"a": 1}', "{'a': 1}"),
    ({"type": "is-json", "value": {"type": "object", "required": ["a"]}}, '{"a": 1}', '{"b": 1}'),
    ({"type": "contains-json"}, 'Sure: {"a": [1]} as asked', "no json {here"),
    ({"type": "contains-json", "value": {"type": "array"}}, "{ bad [1, 2]", '{"a": 1}'),
    ({"type": "word-count", "value": 2}, "two words", "three words here"),
    ({"type": "word-count", "value": {"min": 1, "max": 2}}, "one", ""),
    ({"type": "levenshtein", "value": "kitten", "threshold": 3}, "sitting", "completely different"),
    ({"type": "levenshtein", "value": "kitten"}, "mitten", "a kitten and five more"),
]


@pytest.mark.parametrize(
    ("rule", "good", "bad"), HOLDS, ids=lambda value: value.get("type") if isinstance(value, dict) else ""
)
def test_a_rule_holds_for_what_it_names_and_for_nothing_else(rule, good, bad):
    assert assertion_defect(rule) == ""
    assert assertion_holds(rule, good)
    assert not assertion_holds(rule, bad)
    turned = {**rule, "type": f"not-{rule['type']}"}
    assert not assertion_holds(turned, good)
    assert assertion_holds(turned, bad)


def test_every_type_is_tried_here():
    assert {rule["type"] for rule, _, _ in HOLDS} == set(TYPES)


@pytest.mark.parametrize(
    ("rule", "defect"),
    [
        ("contains", "a rule is an object"),
        ({}, "a rule is an object"),
        ({"type": "llm-rubric", "value": "x"}, "unknown type 'llm-rubric'"),
        ({"type": "not-not-equals", "value": "x"}, "unknown type"),
        ({"type": "contains"}, "needs a text"),
        ({"type": "contains", "value": ""}, "needs a text"),
        ({"type": "contains", "value": True}, "needs a text"),
        ({"type": "contains-any", "value": []}, "needs a list of texts"),
        ({"type": "contains-all", "value": "a, b"}, "needs a list of texts"),
        ({"type": "contains-all", "value": [""]}, "needs a list of texts"),
        ({"type": "regex", "value": "(?<a"}, "regex '(?<a'"),
        ({"type": "is-json", "value": {"type": "nonsense"}}, "is-json: "),
        ({"type": "is-json", "value": 7}, "needs a JSON Schema"),
        ({"type": "is-json", "value": {"$ref": "http://example.org"}}, "$ref"),
        ({"type": "word-count", "value": {}}, "word-count needs"),
        ({"type": "word-count", "value": {"least": 1}}, "word-count needs"),
        ({"type": "equals"}, "needs a value"),
        ({"type": "equals", "value": "x", "weight": -1}, "weight is -1"),
        ({"type": "equals", "value": "x", "weight": float("nan")}, "weight is nan"),
    ],
)
def test_a_rule_that_cannot_be_tried_says_why(rule, defect):
    assert defect in assertion_defect(rule)


def scored(rules, output, **more):
    scorer = make_scorer(ScorerSettings("assertions"))
    return scorer.score(Sample("a", "x", reference={"assert": rules, **more}), Response(output))


A, B = {"type": "contains", "value": "a"}, {"type": "contains", "value": "b"}


@pytest.mark.parametrize(
    ("more", "output", "value"),
    [
        ({}, "ab", 1.0),
        ({}, "a", 0.0),
        ({"threshold": 0.5}, "a", 1.0),
        ({"threshold": 0.6}, "a", 0.0),
        ({"threshold": 0}, "", 1.0),  # as promptfoo: collected, never failing
    ],
)
def test_all_rules_must_hold_or_the_share_that_is_asked_for(more, output, value):
    assert scored([A, B], output, **more).value == value


def test_weights_count():
    assert scored([{**A, "weight": 3}, B], "a", threshold=0.75).value == 1.0
    assert scored([A, {**B, "weight": 3}], "a", threshold=0.75).value == 0.0


def test_rules_that_do_not_hold_are_named():
    found = scored([A, {"type": "regex", "value": "z+"}], "abc")
    assert found.explanation == "does not hold for 'abc': regex 'z+'"


def test_a_rule_that_cannot_be_tried_is_a_missing_score_and_never_a_number():
    found = scored([A, {"type": "llm-rubric", "value": "x"}], "abc")
    assert isinstance(found, Unscored)
    assert found.reason == "judge_error"


@pytest.mark.parametrize("reference", ["text", {"assert": []}, {"assert": "x"}, {"rules": [A]}, [A], 7])
def test_a_reference_without_rules_lies_outside(reference):
    outside = make_scorer(ScorerSettings("assertions")).applies_to(Sample("a", "x", reference=reference))
    assert outside.reason == "not_applicable"


@given(st.text(st.sampled_from("abc"), max_size=8), st.text(st.sampled_from("abc"), max_size=8))
def test_edits_are_a_distance(first, second):
    def near(a, b, most):
        return a == b if not a else assertion_holds({"type": "levenshtein", "value": a, "threshold": most}, b)

    if first and second:
        assert near(first, second, 8)
        assert near(first, second, 0) == (first == second)
        least = next(most for most in range(9) if near(first, second, most))
        assert near(second, first, least)
        assert least >= abs(len(first) - len(second))


@pytest.mark.parametrize("output", ["[" * 200_000, "{" * 200_000, "a" * 2_000_000, '{"a":' * 50_000])
def test_hostile_outputs_take_no_time(output):
    started = time.process_time()
    for rule, _, _ in HOLDS:
        assertion_holds(rule, output)
    assert time.process_time() - started < 5
