import time

import pytest

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.scorers.grounding import content_words

CONTEXTS = ("Opened items may be returned within 30 days.", "Refunds of 1,250 dollars take a week.")


def judge(output, contexts=CONTEXTS):
    return make_scorer(ScorerSettings("grounding")).score(Sample("s", "q", contexts=contexts), Response(output))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Opened items are returned within 30 days.", 1.0),
        ("An item can be returned in 30 days; a refund takes weeks", 1.0),
        ("REFUNDS take a week", 1.0),
        ("Refunds of 1250 dollars", 1.0),
        ("Items returned within 60 days", 0.8),
        ("Items returned within 3 days", 0.8),
        ("Unicorns graze", 0.0),
        ("unicorns unicorns unicorns days", 0.5),
    ],
)
def test_score_is_the_share_of_content_words_in_the_contexts(output, expected):
    assert judge(output).value == pytest.approx(expected)


def test_every_context_supports():
    assert judge("items dollars").value == 1.0
    assert judge("items dollars", CONTEXTS[:1]).value == 0.5


def test_explanation_names_the_unsupported_words():
    found = judge("Items fly within 60 days")
    assert found.explanation == "3 of 5 content words are in the contexts; not in them: 'fly', '60'"
    assert found.details["unsupported"] == ["fly", "60"]


@pytest.mark.parametrize("contexts", [(), ("",), (" ", "...")])
def test_sample_without_contexts_lies_outside(contexts):
    scorer = make_scorer(ScorerSettings("grounding"))
    assert scorer.applies_to(Sample("s", "q", contexts=contexts)).reason == "not_applicable"


@pytest.mark.parametrize("output", ["I don't know.", "The passages do not mention unicorns.", "", "It is what it is."])
def test_answer_that_claims_nothing_has_nothing_unsupported_and_says_so(output):
    found = judge(output)
    assert found.value == 1.0
    assert "claims nothing" in found.explanation


def test_abstention_does_not_shield_a_claim_beside_it():
    assert judge("I don't know. Unicorns graze.").value == 0.0


def test_contradiction_is_not_seen_as_documented():
    assert judge("Opened items may not be returned within 30 days.").value == 1.0


def test_chinese_is_compared_by_character():
    assert judge("巴黎很大", ("巴黎是法国的首都",)).value == pytest.approx(0.5)


def test_content_words_keep_first_spelling_and_order():
    assert content_words("The Returning of returned items at 1,000") == {
        "retur": "returning",
        "item": "items",
        "1000": "1,000",
    }


def test_long_lists_of_unsupported_words_are_cut_in_details():
    found = judge(" ".join(f"w{i}x" for i in range(5000)))
    assert len(found.details["unsupported"]) == 100
    assert found.details["words"] == len(content_words(" ".join(f"w{i}x" for i in range(5000))))


def test_typical_sample_takes_less_than_two_milliseconds():
    context = "Refunds of many dollars were given to customers in several towns. " * 60
    output = "Customers in towns got refunds, and some unicorns were seen grazing. " * 12
    judge(output, (context,))
    fastest_s = min(_elapsed_s(output, context) for _ in range(20))
    assert fastest_s < 0.002


def _elapsed_s(output, context):
    started = time.process_time()
    judge(output, (context,))
    return time.process_time() - started
