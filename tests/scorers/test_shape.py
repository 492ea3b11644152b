import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.scorers.shape import describe_shape, is_abstention, shape_features


@pytest.mark.parametrize(
    ("output", "kind", "keys"),
    [
        ('{"score": 1, "answer": "x"}', "object", "{answer:string,score:number}"),
        ('{"a": {"b": 1, "c": {"d": 2}}}', "object", "{a:{b:number,c:object}}"),
        ('{"a": ["x", 1], "b": null, "c": true}', "object", "{a:[number|string],b:null,c:boolean}"),
        ('[{"a": 1}, {"a": 2}]', "array", "[{a:number}]"),
        ("[]", "array", "[]"),
        ("{}", "object", "{}"),
        ("42", "scalar", "number"),
        ('"x"', "scalar", "string"),
        ('{"a": 1, "a": 2}', "none", ""),
        ('```json\n{"a": 1}\n```', "none", ""),
        ("[Yes]", "none", ""),
        ("", "none", ""),
    ],
)
def test_json_and_its_keys(output, kind, keys):
    shape = describe_shape(output)
    assert (shape.json, shape.json_keys) == (kind, keys)


def test_json_keys_do_not_depend_on_key_order():
    assert describe_shape('{"b":1,"a":2}').json_keys == describe_shape('{"a":2,"b":1}').json_keys


def test_many_keys_and_odd_keys_stay_short_and_printable():
    keys = ",".join(f'"key{i:03}": 1' for i in range(100))
    assert describe_shape("{" + keys + "}").json_keys.endswith(",...}")
    assert describe_shape('{"\\ud800 x": 1}').json_keys == '{"\\ud800 x":number}'


@pytest.mark.parametrize(
    ("output", "fence"),
    [
        ("```python\nx = 1\n```", "whole:python"),
        ("\n```\nx\n```\n", "whole:"),
        ("Here:\n```Python\nx\n```", "inside:python"),
        ("```sql\na\n```\n```sql\nb\n```", "inside:sql"),
        ("x = 1", "none"),
        ("use ```x```", "none"),
    ],
)
def test_fence(output, fence):
    assert describe_shape(output).fence == fence


@pytest.mark.parametrize(
    ("output", "leading"),
    [
        ("Answer: 7", "label:answer"),
        ("**Final answer:** 7", "label:answer"),
        ("A: 7", "label:answer"),
        ("Step 1: Check if the number", "label:step"),
        ("Explanation:\nbecause", "label:explanation"),
        ("Weather today: fine", "label:other"),
        ("[Yes] it is", "bracketed"),
        ("Yes, it is", "yes/no"),
        ("No", "yes/no"),
        ("**No**", "yes/no"),
        ("No one knows", "plain"),
        ("Sure! Here's the summary in 200 words:", "pleasantry"),
        ("Here is a summary of the article:", "pleasantry"),
        ("Great Britain is an island", "plain"),
        ("### Heading", "heading"),
        ("1. First", "numbered"),
        ("- item", "bullet"),
        ('"Quoted"', "quote"),
        ('"Quoted," he said', "quote"),
        ('{"a": 1', "json"),
        ("[1, 2]", "json"),
        ("```python\nx\n```", "code"),
        ("class Solution(object):\n    pass", "code"),
        ("def gcd(a, b):\n    return a", "code"),
        ("return num + t * (t + 1) // 2", "code"),
        ("The class of 1999 met.", "plain"),
        ("", "none"),
    ],
)
def test_leading(output, leading):
    assert describe_shape(output).leading == leading


@pytest.mark.parametrize(
    ("output", "markdown"),
    [
        ("plain", "none"),
        ("# Title\n\ntext **bold** and [a](b)", "headings+bold+link"),
        ("Intro\n- a\n- b", "bullets"),
        ("Intro\n1. a\n2. b", "numbers"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "table"),
        ("Text\n```\n# no heading\n- no bullet\n```\nend", "none"),
        ("a * b * c ** d", "none"),
    ],
)
def test_markdown_outside_code(output, markdown):
    assert describe_shape(output).markdown == markdown


@pytest.mark.parametrize(
    ("chars", "length"),
    [
        (0, "0"),
        (1, "1-3"),
        (3, "1-3"),
        (4, "4-15"),
        (15, "4-15"),
        (16, "16-63"),
        (64, "64-255"),
        (256, "256-1023"),
        (1024, "1024-4095"),
        (4095, "1024-4095"),
        (4096, "4096+"),
    ],
)
def test_length_classes(chars, length):
    assert describe_shape(" " + "x" * chars + "\n").length == length


@pytest.mark.parametrize(
    ("output", "lines"), [("", "0"), ("a", "1"), ("a\n\n\nb", "2-5"), ("a\n" * 5, "2-5"), ("a\n" * 6, "6+")]
)
def test_lines_are_counted_without_blank_ones(output, lines):
    assert describe_shape(output).lines == lines


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I cannot assist with that request.",
    "Sorry, I can't comply.",
    "I cannot provide instructions for that.",
    "As an AI language model, I cannot create harmful content.",
    "I'm unable to help with this.",
    "I am not able to assist you there.",
    "Unfortunately, I won't engage in this.",
    "I apologize, but I can't fulfill this request.",
]
ABSTENTIONS = [
    "I don't know.",
    "I do not know the answer to that.",
    "I'm sorry, but I don't know.",
    "I'm not sure.",
    "Unable to answer based on given passages.",
    "I cannot answer this from the passages. The provided context does not mention it.",
    "Based on the documents, I cannot determine the year.",
    "The answer cannot be determined.",
    "There is not enough information.",
    "The provided text doesn't say.",
    "N/A",
    "unknown",
    "Not mentioned.",
    "I cannot answer that.",
    "Sorry. I don't know.",
]
ANSWERS = [
    "Paris",
    "Unknown soldiers are buried there.",
    "I'm sorry to hear that. Opened items may be returned within 30 days.",
    "I can help with that: press the button.",
    "You cannot help but laugh.",
    "The model cannot provide more than 10 items.",
    "I don't know. Perhaps Paris.",
    "No",
    "",
]


@pytest.mark.parametrize("output", REFUSALS)
def test_refusals(output):
    shape = describe_shape(output)
    assert (shape.refusal, shape.abstains) == (True, False)


@pytest.mark.parametrize("output", ABSTENTIONS)
def test_abstentions_are_no_refusals(output):
    shape = describe_shape(output)
    assert (shape.refusal, shape.abstains) == (False, True)
    assert is_abstention(output)


@pytest.mark.parametrize(
    ("output", "abstains"),
    [
        ("The context does not mention the price, but it is 42 euros.", False),
        ("I don't know; perhaps Paris.", False),
        ("The text does not say, although everybody knows it is Paris.", False),
        ("I don't know, but the text does not say either.", True),
        ("I'm not sure, though.", True),
    ],
)
def test_an_abstention_that_answers_after_all_is_none(output, abstains):
    assert is_abstention(output) is abstains


@pytest.mark.parametrize("output", ANSWERS)
def test_answers_are_neither(output):
    shape = describe_shape(output)
    assert (shape.refusal, shape.abstains) == (False, False)


def test_long_answer_that_begins_with_a_refusal_is_an_answer():
    assert not describe_shape("I can't help with that. " + "But here is how it works in general. " * 40).refusal


def test_provider_decides_refusal():
    assert describe_shape("Paris", refusal=True).refusal
    assert describe_shape("Paris", finish_reason="content_filter").refusal


@pytest.mark.parametrize(
    ("output", "finish_reason", "truncated"),
    [
        ("Paris", None, False),
        ("Paris", "stop", False),
        ("Paris", "length", True),
        ("Paris", "max_tokens", True),
        ("```python\nreturn", None, True),
        ("```python\nreturn\n```", None, False),
        ('{"a": 1', None, True),
        ('{"a": "unter', None, True),
        ('{"a": [1, 2', None, True),
        ('{"a": tr', None, True),
        ('{"a":', None, True),
        ('{"a": 1}', None, False),
        ("{'a': 1}", None, False),
        ("[Yes]", None, False),
        ("[Yes", None, False),
        ("[1] says so", None, False),
        ("{placeholder}", None, False),
        ("[" * 100_000, None, False),
    ],
)
def test_truncated(output, finish_reason, truncated):
    assert describe_shape(output, finish_reason=finish_reason).truncated is truncated


@pytest.mark.parametrize(
    ("output", "mark"),
    [
        ("Step 1: so\n\n[Yes]", "bracketed"),
        ("It is prime. [Yes]", "bracketed"),
        ("Reasoning.\n\nAnswer: [No]", "labelled"),
        ("It is a number. Answer: [No].", "labelled"),
        ("Therefore, the answer is [No].", "labelled"),
        ("sum\nA: 18", "labelled"),
        ("sum\n#### 18", "hashes"),
        ("so \\boxed{18}.", "boxed"),
        ("No", "yes/no"),
        ("Therefore 17 is a prime number.", "none"),
        ("see [the page](x)", "none"),
        ("class A:\n    x = [1]", "none"),
        ("```python\nreturn x[0]\n```", "none"),
        ("Text\n```\nx\n```\nAnswer: 3", "labelled"),
        ("", "none"),
    ],
)
def test_final_mark(output, mark):
    assert describe_shape(output).final_mark == mark


def test_features_are_texts_for_every_field_of_the_shape():
    shape = describe_shape("[Yes]")
    features = shape_features(shape)
    assert set(features) == set(shape.to_dict())
    assert all(isinstance(value, str) for value in features.values())
    assert (features["empty"], features["final_mark"]) == ("no", "bracketed")


def test_reasoning_that_becomes_a_bare_answer_changes_length_lines_and_leading():
    before = shape_features(describe_shape("Step 1: Check if 7 is even.\nIt is not.\n\n[Yes]"))
    after = shape_features(describe_shape("[Yes]"))
    assert {name for name in before if before[name] != after[name]} == {"length", "lines", "leading"}


def test_code_that_moves_into_a_fence_changes_the_fence_alone():
    code = "class Solution(object):\n    def f(self):\n        return 1"
    before, after = shape_features(describe_shape(code)), shape_features(describe_shape(f"```python\n{code}\n```"))
    assert {name for name in before if before[name] != after[name]} <= {"fence", "length"}
    assert after["fence"] == "whole:python"


def score(output, **fields):
    return make_scorer(ScorerSettings("shape")).score(Sample("s", "q"), Response(output, **fields))


@pytest.mark.parametrize(
    ("output", "fields", "fault"),
    [
        (" \n", {}, "empty"),
        ("I'm sorry, but I can't help with that.", {}, "a refusal"),
        ("Paris", {"refusal": True}, "a refusal"),
        ("Paris is", {"finish_reason": "length"}, "truncated"),
        ("```\nx", {}, "truncated"),
    ],
)
def test_unusable_output_scores_zero_and_says_why(output, fields, fault):
    found = score(output, **fields)
    assert found.value == 0.0
    assert found.explanation.startswith(f"not usable: {fault}")


@pytest.mark.parametrize("output", ["Paris", "I don't know.", "[Yes]", '{"a": 1}'])
def test_usable_output_scores_one(output):
    assert score(output).value == 1.0


def test_answer_and_details_tell_the_shape():
    found = score("```python\nx = 1\n```")
    assert "fence=whole:python" in found.answer
    assert found.details == shape_features(describe_shape("```python\nx = 1\n```"))


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=())), st.sampled_from([None, "stop", "length"]))
def test_shape_is_total_and_deterministic(output, finish_reason):
    shape = describe_shape(output, finish_reason=finish_reason)
    assert shape == describe_shape(output, finish_reason=finish_reason)
    assert shape.empty == (not output.strip())


@pytest.mark.parametrize(
    "unit", ["a ", "**a", "[x](", "```\n", "{", "- a\n", "i'm sorry ", "Answer: ", "| - |", "# \n"]
)
def test_time_grows_linearly(unit):
    def elapsed_s(times):
        started = time.process_time()
        describe_shape(unit * times)
        return time.process_time() - started

    small = min(elapsed_s(20_000) for _ in range(3))
    large = min(elapsed_s(160_000) for _ in range(2))
    assert large < 0.05 + 24 * small
