import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.scorers.grounding import WEIGHTS, content_words, unsupported

CONTEXTS = ("Opened items may be returned within 30 days.", "Refunds of 1,250 dollars take a week.")


def judge(output, contexts=CONTEXTS):
    return make_scorer(ScorerSettings("grounding")).score(Sample("s", "q", contexts=contexts), Response(output))


@pytest.mark.parametrize(
    "output", ["Opened items may be returned", "REFUNDS take a week", "refund of 1250.0 dollars within 30 DAYS"]
)
def test_answer_whose_every_word_stands_in_the_contexts_scores_one(output):
    assert judge(output).value == 1.0


def test_more_of_what_is_not_there_scores_lower():
    scores = [
        judge(output).value
        for output in (
            "Items returned within 30 days",
            "Items returned within 30 weekdays",
            "Items returned within 60 days",
            "Gifts returned within 60 weekdays",
            "Gifts from Berlin returned within 60 weekdays",
            "Parcels from Berlin reach Oslo before 60 weekdays have passed by night train",
        )
    ]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
    assert scores[-1] < 0.05


@pytest.mark.parametrize(
    ("output", "counts"),
    [
        ("Unicorns graze", (2, 2, 2, 0, 0, 2)),
        ("unicorns unicorns unicorns days", (2, 1, 1, 0, 0, 3)),
        ("Items returned by 60 owls, 61 cats.", (7, 5, 4, 2, 0, 4)),
        ("Items of Anna Blum. Carl returned items", (6, 3, 3, 0, 2, 2)),  # Carl begins a sentence
        ("Yes. I would. It is.", (5, 5, 1, 0, 0, 1)),  # function words count as words only
    ],
)
def test_what_is_counted(output, counts):
    found = unsupported(output, CONTEXTS)
    assert (found.words, found.absent, len(found.lost), found.numbers, found.names, found.longest) == counts


def test_a_run_ends_with_the_sentence():
    assert unsupported("Unicorns graze. Owls sleep.", CONTEXTS).longest == 2
    assert unsupported("Unicorns graze, owls sleep.", CONTEXTS).longest == 4


@pytest.mark.parametrize(
    ("output", "context"),
    [
        ("from 5:30 PM to 11 p.m.", "hours: 17:30-23:0"),
        ("at 17:00", "it opens at 5 pm"),
        ("12:15 a.m. sharp", "sharp 0:15"),
        ("a rating of 4", "rating 4.0"),
        ("four stars", "4 stars"),
        ("23.7 percent", "$23.70 percent"),
        ("agent 7", "agent 007"),
    ],
)
def test_numbers_and_times_of_day_are_the_same_by_value(output, context):
    assert unsupported(output, [context]).lost == ()


def test_a_decimal_point_ends_no_sentence():
    assert unsupported("It costs 23.50 now.", ["costs 23 and 50 now"]).lost == ("23.50",)


def test_list_marks_are_no_numbers():
    assert unsupported("1. Returned items\n 2) Refunds\n- dollars", CONTEXTS).lost == ()


def test_every_context_supports():
    assert judge("items dollars").value == 1.0
    assert judge("items dollars", CONTEXTS[:1]).value < 1.0


def test_explanation_names_the_unsupported_words():
    found = judge("Items fly within 60 days to Rome")
    assert found.explanation == (
        "3 of 6 content words are in the contexts; not in them (among them 1 number and 1 name): 'fly', '60', 'Rome'"
    )
    assert found.details["unsupported"] == ["fly", "60", "Rome"]


@pytest.mark.parametrize("contexts", [(), ("",), (" ", "...")])
def test_sample_without_contexts_lies_outside(contexts):
    scorer = make_scorer(ScorerSettings("grounding"))
    assert scorer.applies_to(Sample("s", "q", contexts=contexts)).reason == "not_applicable"


@pytest.mark.parametrize("output", ["I don't know.", "The passages do not mention unicorns.", "", "..."])
def test_answer_that_claims_nothing_has_nothing_unsupported_and_says_so(output):
    found = judge(output)
    assert found.value == 1.0
    assert "claims nothing" in found.explanation


def test_abstention_does_not_shield_a_claim_beside_it():
    assert judge("I don't know. Unicorns graze.").value == judge("Unicorns graze.").value < 0.5


def test_contradiction_is_not_seen_as_documented():
    assert judge("Opened items may be not returned within 30 days.").value > 0.95


def test_chinese_is_compared_by_character():
    found = unsupported("巴黎很大", ["巴黎是法国的首都"])
    assert (found.words, found.lost) == (4, ("很", "大"))


def test_content_words_keep_first_spelling_and_order():
    assert content_words("The Returning of returned items at 1,000") == {
        "retur": "returning",
        "item": "items",
        "1000": "1,000",
    }


def test_spec_says_that_it_is_another_scorer_than_the_share_of_words_was():
    assert make_scorer(ScorerSettings("grounding")).spec.scorer_version == 2


def test_no_weight_is_negative_and_each_has_its_feature():
    assert all(weight > 0.0 for weight in WEIGHTS.values())
    assert list(WEIGHTS) == list(unsupported("Unicorns", CONTEXTS).features)


@given(st.lists(st.sampled_from(["items", "Rome", "61", "the", "graze", "days", ". "]), max_size=30))
def test_a_further_unsupported_sentence_never_scores_better(words):
    text = " ".join(words)
    before = unsupported(text, CONTEXTS)
    after = unsupported(f"{text}. Meanwhile zebras whistled 77 Nordic anthems.", CONTEXTS)
    assert 0.0 < after.support < 1.0
    assert after.support < before.support


def test_long_lists_of_unsupported_words_are_cut_in_details():
    found = judge(" ".join(f"w{i}x" for i in range(5000)))
    assert len(found.details["unsupported"]) == 100
    assert found.details["absent"] == found.details["words"] - 2  # 30 and 1250 are in the contexts


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
