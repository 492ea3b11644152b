"""What a judge says counts only where it can be checked, and nothing that it does wrong makes a score better."""

import json
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Score, Unscored
from aigate.errors import ConfigError, ScoringError
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.scorers.faithfulness import MOST_SENTENCES, VERDICTS, sentences_of
from aigate.scorers.quotes import find_quote, normalised
from aigate.testing import FakeJudge, Reply, fake_judge_identity, judged_scorer

CONTEXTS = (
    "Opened items may be returned within 45 days of delivery. The customer pays for shipping.",
    "Refunds take 5 working days. Alice Miller runs the service desk in Dublin.",
)
SAMPLE = Sample("s", "Can I return an opened item?", contexts=CONTEXTS)
TRUE = "Opened items may be returned within 45 days of delivery."
FALSE = "Shipping costs 9 dollars in every country."
ALSO_TRUE = "Refunds take 5 working days."


def claims_of_sentences(asked):
    """A careful judge: each sentence is one claim, but for those that ask."""
    return {
        "sentences": [
            {"id": s["id"], "claims": [] if s["text"].endswith("?") else [s["text"].rstrip(".")]}
            for s in asked.data["sentences"]
        ]
    }


def verdicts_by_words(asked):
    """A careful judge: supported is what stands there word for word."""
    return {"verdicts": [verdict_of(claim, asked.data["contexts"]) for claim in asked.data["claims"]]}


def verdict_of(claim, contexts):
    held = find_quote(claim["text"], contexts) is not None
    verdict = "supported" if held else "not_in_context"
    return {"id": claim["id"], "quote": claim["text"] if held else "", "verdict": verdict}


def judge_with(claims=claims_of_sentences, verdicts=verdicts_by_words):
    return FakeJudge({"faithfulness_claims": claims, "faithfulness_verdicts": verdicts})


def score(output, *, judge=None, sample=SAMPLE, **options):
    return (judge or judge_with()).score(judged_scorer("faithfulness", **options), sample, output)


def test_the_score_is_the_share_of_supported_claims():
    found = score(f"{TRUE} {FALSE} {ALSO_TRUE}")
    assert found.value == pytest.approx(2 / 3)
    assert (
        found.explanation
        == "2 of 3 claims are supported; c2 not_in_context: 'Shipping costs 9 dollars in every country'"
    )
    assert found.details["outcome"] == "judged"


def test_claims_verdicts_and_quotes_are_kept():
    found = score(f"{TRUE} {FALSE}")
    assert found.details["claims"] == [
        {
            "id": "c1",
            "sentence": "s1",
            "claim": TRUE.rstrip("."),
            "verdict": "supported",
            "quote": TRUE.rstrip("."),
            "context": 0,
        },
        {"id": "c2", "sentence": "s2", "claim": FALSE.rstrip("."), "verdict": "not_in_context", "quote": ""},
    ]


@pytest.mark.parametrize("output", ["", " \n", "…", "\u200b\u200b", "```\n```"])
def test_an_empty_answer_scores_the_worst_and_asks_nobody(output):
    judge = judge_with()
    found = score(output, judge=judge)
    assert (found.value, found.details["outcome"]) == (0.0, "empty")
    assert judge.asked == []


@pytest.mark.parametrize("output", ["I don't know.", "The context does not contain this. I'm sorry.", "Unknown"])
def test_an_answer_that_abstains_is_right_only_where_nothing_can_be_answered(output):
    judge = judge_with()
    found = score(output, judge=judge)
    assert (found.value, found.details["outcome"]) == (0.0, "abstained")
    tagged = Sample("s", "Q?", contexts=CONTEXTS, tags=("unanswerable",))
    assert score(output, judge=judge, sample=tagged).value == 1.0
    other = Sample("s", "Q?", contexts=CONTEXTS, tags=("no-answer",))
    assert score(output, judge=judge, sample=other).value == 0.0
    assert score(output, judge=judge, sample=other, unanswerable="no-answer").value == 1.0
    assert judge.asked == []


def test_abstentions_of_other_languages_can_be_named():
    tagged = Sample("s", "Q?", contexts=CONTEXTS, tags=("unanswerable",))
    assert score("Das weiß ich nicht.", sample=tagged, abstention="weiß ich nicht").value == 1.0


@pytest.mark.parametrize(
    "output",
    [
        "The context does not give a price, but shipping costs 9 dollars.",
        "I don't know; shipping costs 9 dollars.",
    ],
)
def test_an_answer_that_abstains_and_then_answers_is_judged(output):
    tagged = Sample("s", "Q?", contexts=CONTEXTS, tags=("unanswerable",))
    found = score(output, sample=tagged)
    assert (found.value, found.details["outcome"]) == (0.0, "judged")


@pytest.mark.parametrize("output", ["Sure, happy to help!", "Would you like to know more about returns?"])
def test_an_answer_that_claims_nothing_scores_the_worst(output):
    def nothing(asked):
        return {"sentences": [{"id": s["id"], "claims": []} for s in asked.data["sentences"]]}

    found = score(output, judge=judge_with(claims=nothing))
    assert (found.value, found.details["outcome"]) == (0.0, "claimless")


def test_an_unanswerable_sample_does_not_make_claims_faithful():
    tagged = Sample("s", "Q?", contexts=CONTEXTS, tags=("unanswerable",))
    assert score(FALSE, sample=tagged).value == 0.0
    assert score(f"I don't know. {FALSE}", sample=tagged).value == 0.0


def test_a_claim_that_is_left_out_is_judged_as_its_sentence_stands():
    def only_first(asked):
        return {
            "sentences": [
                {"id": s["id"], "claims": [s["text"]] if s["id"] == "s1" else []} for s in asked.data["sentences"]
            ]
        }

    found = score(f"{TRUE} {FALSE}", judge=judge_with(claims=only_first))
    assert found.value == 0.5
    assert found.details["claims"][1]["as_it_stands"] is True


@pytest.mark.parametrize(
    "kept",
    ["Shipping costs dollars in every country", "Shipping costs", "Shipping costs 9"],
    ids=["without the number", "without the rest", "without most words"],
)
def test_a_claim_that_says_less_than_its_sentence_does_not_stand_for_it(kept):
    def weaker(asked):
        return {"sentences": [{"id": "s1", "claims": [kept]}]}

    found = score(FALSE, judge=judge_with(claims=weaker))
    assert [claim["claim"] for claim in found.details["claims"]] == [kept, FALSE]


def test_a_name_that_a_claim_leaves_out_is_judged_as_its_sentence_stands():
    def nameless(asked):
        return {"sentences": [{"id": "s1", "claims": ["The service desk in Dublin is run by the service desk"]}]}

    found = score("The service desk in Dublin is run by Bob Jones.", judge=judge_with(claims=nameless))
    assert found.details["claims"][1]["as_it_stands"] is True


@pytest.mark.parametrize(
    "denial",
    ["Opened items may not be returned.", "Opened items can't be returned.", "No opened item may be returned."],
)
def test_a_negation_that_a_claim_leaves_out_is_judged_as_its_sentence_stands(denial):
    def affirming(asked):
        return {"sentences": [{"id": "s1", "claims": ["Opened items may be returned"]}]}

    found = score(denial, judge=judge_with(claims=affirming))
    assert found.details["claims"][1]["as_it_stands"] is True


@pytest.mark.parametrize(
    "claim",
    [
        "",
        "...",
        "Shipping costs 5 dollars in every country",  # another number
        "Alice ships to every country for 9 dollars",  # a name that nobody said
        "Refunds are free of charge everywhere",  # other words
        "An opened item can be returned",  # the question's words, none of the sentence's
        "Shipping costs 9 dollars " * 40,
    ],
)
def test_a_claim_that_the_answer_does_not_make_is_asked_again_and_then_an_error(claim):
    judge = judge_with(claims=lambda asked: {"sentences": [{"id": "s1", "claims": [claim]}]})
    found = score(FALSE, judge=judge)
    assert found.reason == "judge_error"
    assert len(judge.asked) == 3


def test_number_words_and_digits_are_the_same_number():
    judge = judge_with(claims=lambda asked: {"sentences": [{"id": "s1", "claims": ["Refunds take 5 working days"]}]})
    assert (
        score("Refunds take five working days.", judge=judge).details["claims"][0]["claim"].endswith("5 working days")
    )


def test_what_is_said_twice_counts_once():
    padded = " ".join([TRUE] * 20 + [FALSE])
    assert score(padded).value == 0.5


def test_many_claims_are_judged_in_parts():
    output = " ".join(f"Refunds number {number} take long." for number in range(60))
    judge = judge_with()
    found = score(output, judge=judge)
    assert found.details["total"] == 60
    assert [len(asked.data["claims"]) for asked in judge.asked if asked.question == "faithfulness_verdicts"] == [
        25,
        25,
        10,
    ]


def test_an_answer_too_long_to_be_taken_apart_is_an_error():
    found = score("A short one. " * (MOST_SENTENCES + 1))
    assert found == Unscored("judge_error", found.explanation)
    assert "201 sentences" in found.explanation


QUOTES = {
    "made up": "Shipping costs 9 dollars in every land",
    "of the answer": FALSE,
    "of the answer, shortened": "Shipping costs ... every country",
    "too short": "5",
    "empty": "",
    "out of order": "within 45 days ... Opened items",
    "of two contexts": "Opened items may be returned ... Refunds take",
    "an ellipsis": "...",
    "of the question": "Can I return an opened item?",
}


@pytest.mark.parametrize("quote", QUOTES.values(), ids=QUOTES)
def test_a_supported_claim_whose_quote_stands_nowhere_is_asked_again_and_then_an_error(quote):
    def gullible(asked):
        return {"verdicts": [{"id": "c1", "quote": quote, "verdict": "supported"}]}

    judge = judge_with(verdicts=gullible)
    found = score(FALSE, judge=judge)
    assert found.reason == "judge_error"
    assert "do not stand in the contexts" in judge.asked[-1].messages[-1]["content"]


def test_a_quote_that_comes_right_when_asked_again_counts():
    def second(asked):
        quote = "Refunds take 5 working days" if asked.attempt > 1 else "Refunds are quick"
        return {"verdicts": [{"id": "c1", "quote": quote, "verdict": "supported"}]}

    assert score(ALSO_TRUE, judge=judge_with(verdicts=second)).value == 1.0


def test_a_contradiction_needs_no_quote_and_counts_as_unsupported():
    def no(asked):
        return {"verdicts": [{"id": "c1", "quote": "because", "verdict": "contradicted"}]}

    found = score(FALSE, judge=judge_with(verdicts=no))
    assert (found.value, found.details["claims"][0]["quote"]) == (0.0, "")


@pytest.mark.parametrize("wrong", [{"unanswerable": " "}, {"unanswerable": 1}, {"abstention": "("}, {"tag": "x"}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ConfigError):
        judged_scorer("faithfulness", **wrong)


def test_without_a_judge_it_cannot_be_made():
    with pytest.raises(ConfigError, match="needs a judge") as caught:
        make_scorer(ScorerSettings("faithfulness"))
    assert "[judge]" in caught.value.hint


def test_an_unknown_prompt_version_is_refused():
    with pytest.raises(ConfigError, match="prompt version 'v77'"):
        judged_scorer("faithfulness", judge=fake_judge_identity(version="j/1/v77"))


def test_it_does_not_score_by_itself():
    with pytest.raises(ScoringError, match="asks a model"):
        judged_scorer("faithfulness").score(SAMPLE, Response("x"))


def test_a_sample_without_contexts_lies_outside():
    assert judged_scorer("faithfulness").applies_to(Sample("s", "?")).reason == "not_applicable"
    assert judged_scorer("faithfulness").applies_to(Sample("s", "?", contexts=("…",))).reason == "not_applicable"


def test_the_questions_told_before_are_those_that_are_asked():
    judge, scorer = judge_with(), judged_scorer("faithfulness")
    output = f"{TRUE} {FALSE}"
    judge.score(scorer, SAMPLE, output)
    assert [q.name for q in scorer.questions(SAMPLE, output)] == [asked.question for asked in judge.asked]


def test_the_reference_and_the_contexts_are_not_shown_where_claims_are_made():
    judge = judge_with()
    judge.score(judged_scorer("faithfulness"), Sample("s", "Q?", reference="SECRET", contexts=CONTEXTS), TRUE)
    told = json.dumps([asked.messages for asked in judge.asked if asked.question == "faithfulness_claims"])
    assert "Alice Miller" not in told
    assert "SECRET" not in json.dumps([asked.messages for asked in judge.asked])


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", 4),
        ("It costs 3.50 euros.", 1),
        ("- one\n- two\n\n", 2),
        ("第一句。第二句。", 2),
        ('He said "No." Then he left.', 2),
        ("...", 0),
    ],
)
def test_an_answer_is_cut_into_sentences(text, sentences):
    assert len(sentences_of(text)) == sentences


# Nothing that a judge does wrong makes a score better. The careful judge above is the truth; a reply of his is broken
# in some way that is no honest verdict. What is left out, invented or misspelt may end as an error or lower, never
# higher.

SENTENCES = (TRUE, ALSO_TRUE, FALSE, "The desk is in Paris.", "It is open on 7 days a week.", "Bob Jones runs it all.")
WORDS = st.text(max_size=30)
OTHER_IDS = st.one_of(st.sampled_from(["c0", "c99", "s0", "s99", "c1 ", "C1", "", "1"]), st.text(max_size=4))
NO_VERDICTS = st.one_of(
    st.sampled_from(["Supported", "SUPPORTED", "yes", "true", "supported.", "partially_supported", "", "1"]), WORDS
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def broken_rows(draw, rows, kind):
    """Rows of a reply with one to three things wrong."""
    rows = [dict(row) for row in rows]
    for _ in range(draw(st.integers(1, 3))):
        if not rows:
            break
        place = draw(st.integers(0, len(rows) - 1))
        how = draw(st.sampled_from(["drop", "twice", "id", "extra", "junk", "lose", "own", "swap"]))
        if how == "drop":
            del rows[place]
        elif how == "twice":
            rows.append({**rows[place], **({"verdict": draw(st.sampled_from(VERDICTS))} if kind == "verdict" else {})})
        elif how == "id":
            rows[place]["id"] = draw(OTHER_IDS)
        elif how == "extra":
            rows.append({**rows[place], "id": draw(OTHER_IDS)})
        elif how == "junk" and rows[place]:
            rows[place][draw(st.sampled_from(sorted(rows[place])))] = draw(JUNK)
        elif how == "lose" and rows[place]:
            rows[place].pop(draw(st.sampled_from(sorted(rows[place]))))
        elif how == "swap":
            other = draw(st.integers(0, len(rows) - 1))
            rows[place]["id"], rows[other]["id"] = rows[other].get("id"), rows[place].get("id")
            if kind == "verdict":  # a verdict with its true quotation for another claim is an error of judgement
                rows[place]["quote"], rows[other]["quote"] = draw(WORDS), draw(WORDS)
        elif kind == "verdict":
            rows[place]["verdict"] = draw(st.one_of(st.sampled_from(VERDICTS), NO_VERDICTS))
            rows[place]["quote"] = draw(st.one_of(WORDS, st.sampled_from([FALSE, *SENTENCES[2:], "...", "5 days"])))
        else:
            rows[place]["claims"] = draw(st.lists(st.one_of(WORDS, st.sampled_from(SENTENCES)), max_size=3))
    return rows


@st.composite
def broken_replies(draw, whole, kind):
    """A reply that is broken in its rows, or as a whole."""
    key = "sentences" if kind == "claim" else "verdicts"
    how = draw(st.sampled_from(["rows", "rows", "rows", "cut", "prose", "junk", "empty", "refusal", "length", "fault"]))
    text = json.dumps(whole)
    return {
        "rows": lambda: {key: draw(broken_rows(whole[key], kind))},
        "cut": lambda: text[: draw(st.integers(0, len(text) - 1))],
        "prose": lambda: draw(WORDS) + text + draw(st.text(min_size=1, max_size=9)),
        "junk": lambda: json.dumps(draw(JUNK)),
        "empty": lambda: "",
        "refusal": lambda: Reply.refusal("I cannot judge this"),
        "length": lambda: Reply.text(text, finish_reason="length"),
        "fault": lambda: Reply.status(429, "slow down"),
    }[how]()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_broken_reply_ends_as_an_error_or_as_no_better_score(data):
    sentences = data.draw(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5, unique=True))
    truth = Fraction(sum(find_quote(s, CONTEXTS) is not None for s in sentences), len(sentences))
    which = data.draw(st.sampled_from(["claim", "verdict"]))
    from_attempt = data.draw(st.sampled_from([1, 1, 1, 2]))  # sometimes it is only the second reply that breaks

    def broken(kind, careful):
        def rule(asked):
            whole = careful(asked)
            wrong = kind == which and asked.seen + 1 >= from_attempt
            return data.draw(broken_replies(whole, kind)) if wrong else whole

        return rule

    judge = judge_with(broken("claim", claims_of_sentences), broken("verdict", verdicts_by_words))
    found = score(" ".join(sentences), judge=judge)
    if isinstance(found, Score):
        assert Fraction(found.value).limit_denominator(1000) <= truth, (found, judge.asked[-1])
        assert all(
            claim["verdict"] != "supported" or normalised(claim["quote"].rstrip("….")) in normalised(" ".join(CONTEXTS))
            for claim in found.details["claims"]
        )
    else:
        assert found.reason == "judge_error"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(lambda i, q, v: {"id": i, "quote": q, "verdict": v}, OTHER_IDS, WORDS, st.sampled_from(VERDICTS))
    )
)
def test_verdicts_out_of_nothing_are_an_error(rows):
    found = score(FALSE, judge=judge_with(verdicts={"verdicts": rows}))
    assert found.reason == "judge_error"
