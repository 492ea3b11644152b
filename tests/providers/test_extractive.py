"""The offline answerer: sentences, stems, similarity, abstention, and how often it is right."""

import asyncio
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import ProviderConfigError
from aigate.providers.base import ProviderSettings, Request, make_provider, most_repeats_of
from aigate.providers.extractive import (
    GENERAL_PARAMETERS,
    ExtractiveParameters,
    ExtractiveProvider,
    _weights_and_cosines,
    answer,
    split_sentences,
    stem,
)

ABSTAIN = "I don't know."
BEST = ExtractiveParameters(stop_words=True, stem=True, similarity="coverage", min_similarity=0.35)


def respond(question, contexts, **parameters):
    sample = Sample("a", question, contexts=tuple(contexts), reference="SENTINEL")
    request = Request(
        sample, ({"role": "user", "content": "rendered"},), {k.replace("_", "-"): v for k, v in parameters.items()}
    )
    return asyncio.run(ExtractiveProvider().respond(request))


class TestSentences:
    @pytest.mark.parametrize(
        ("text", "sentences"),
        [
            ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
            ("It costs 4.90 euros. Fine.", ["It costs 4.90 euros.", "Fine."]),
            ("Dr. Li met Mr. J. Q. Ray. They spoke.", ["Dr. Li met Mr. J. Q. Ray.", "They spoke."]),
            ("Use tools, e.g. Hex keys. Done.", ["Use tools, e.g. Hex keys.", "Done."]),
            ("We open at 9 a.m. Orders ship daily.", ["We open at 9 a.m.", "Orders ship daily."]),
            ("We open at 9 a.m. on Mondays.", ["We open at 9 a.m. on Mondays."]),
            ("Due on Jan. 5 at noon. Late fees apply.", ["Due on Jan. 5 at noon.", "Late fees apply."]),
            ("See No. 5 for more. No. It does not.", ["See No. 5 for more.", "No.", "It does not."]),
            ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
            ("Wait... what? Yes (really.) Go.", ["Wait... what?", "Yes (really.)", "Go."]),
            ("A line that\nwraps here. Next.", ["A line that wraps here.", "Next."]),
            ("- first item\n- second item.\n* third", ["first item", "second item.", "third"]),
            ("1. Open it.\n2) Close it.", ["Open it.", "Close it."]),
            ("a) Open it.\n(b) Close it.", ["Open it.", "Close it."]),
            ("# Returns\nWithin 30 days.", ["Within 30 days."]),
            ("#1 in tents. Buy now.", ["#1 in tents.", "Buy now."]),
            ("Return policy\n\nWithin 30 days.", ["Within 30 days."]),
            ("Return policy\nGoods come back within 30 days.", ["Goods come back within 30 days."]),
            ("Return policy", ["Return policy"]),
            ("# Returns", ["Returns"]),
            ("返品は三十日以内です。送料は無料です。", ["返品は三十日以内です。", "送料は無料です。"]),
            ("", []),
            (" \n\n ", []),
        ],
    )
    def test_texts_are_cut_where_sentences_end(self, text, sentences):
        assert list(split_sentences(text)) == sentences

    @given(st.text(alphabet="aB .!?\n-#1“”()。", max_size=60))
    def test_sentences_are_made_of_the_text_in_its_order(self, text):
        left = iter(text)
        assert all(letter in left for letter in "".join(split_sentences(text)).replace(" ", ""))

    @given(st.text(alphabet="aB .!?“”。", max_size=60))
    def test_without_lists_and_headings_nothing_is_lost(self, text):
        text = "Xy " + text  # what starts with a letter and a full stop is an item of a list
        assert "".join(split_sentences(text)).replace(" ", "") == text.replace(" ", "")


class TestStem:
    @pytest.mark.parametrize(
        "forms",
        [
            "return returns returned returning returnable",
            "ship ships shipped shipping shipment shipments",
            "rent rents rented renting rental rentals",
            "refund refunds refunded refunding refundable",
            "deliver delivers delivered delivery deliveries",
            "cancel cancels cancelled canceling cancellation",
            "policy policies",
            "warranty warranties",
            "pay pays paid paying payment payments",
            "replace replaced replacing replacement replaces",
            "reserve reserved reserving reservation reservations",
            "member members membership",
            "carry carries carried carrying",
            "use uses used using",
            "box boxes",
            "buy buys bought buying",
            "store stores stored storing",
            "add adds added adding",
        ],
    )
    def test_forms_of_one_word_meet(self, forms):
        assert len({stem(form) for form in forms.split()}) == 1

    @pytest.mark.parametrize(
        ("one", "other"),
        [("rent", "rest"), ("cart", "card"), ("ship", "shop"), ("day", "date"), ("need", "new"), ("bus", "but")],
    )
    def test_different_words_stay_apart(self, one, other):
        assert stem(one) != stem(other)

    @pytest.mark.parametrize("word", ["30", "4.90", "a4", "is", "xs"])
    def test_numbers_and_short_words_are_left_alone(self, word):
        assert stem(word) == word


class TestParameters:
    CONTEXTS = (
        "Shipping is free above 50 euros. Shipping takes three days. Gift cards never expire.",
        "Rented tents are due back by noon. Late tents cost 12 euros a day.",
    )

    def test_the_default_is_the_one_most_similar_sentence(self):
        assert respond("How long does shipping take?", self.CONTEXTS).output == "Shipping takes three days."

    def test_a_passage_is_answered_whole(self):
        assert respond("Do gift cards expire?", self.CONTEXTS, unit="passage").output == self.CONTEXTS[0]

    def test_top_units_are_joined_in_the_order_of_the_text(self):
        output = respond("What do late tents cost and when are rented tents due?", self.CONTEXTS, top=2).output
        assert output == self.CONTEXTS[1]
        both = respond("What do late tents cost beyond free shipping?", self.CONTEXTS, unit="passage", top=2).output
        assert both == "\n\n".join(self.CONTEXTS)

    def test_units_below_the_least_similarity_are_left_out_of_the_top(self):
        output = respond("Do gift cards expire?", self.CONTEXTS, top=5, min_similarity=0.3, stop_words=True).output
        assert output == "Gift cards never expire."

    def test_stemming_lets_forms_meet(self):
        contexts = ["The desk is staffed. Refunding takes a week."]
        question = "is it refunded"
        assert respond(question, contexts).output == "The desk is staffed."
        assert respond(question, contexts, stem=True, stop_words=True).output == "Refunding takes a week."

    def test_stop_words_carry_no_weight(self):
        contexts = ["Where is it and what is this? Helmets are checked."]
        question = "What is it that is checked?"
        assert respond(question, contexts).output == "Where is it and what is this?"
        assert respond(question, contexts, stop_words=True).output == "Helmets are checked."

    def test_longer_terms_respect_word_order(self):
        contexts = ["Cards for gift shops. We sell a gift card."]
        assert respond("shops gift card", contexts, ngrams=[2, 2]).output == "We sell a gift card."

    def test_coverage_prefers_the_unit_that_holds_more_of_the_question(self):
        contexts = [
            "Deposit. A tent deposit, like that of mats, stoves, boots, poles and ropes, comes back within a week."
        ]
        question = "Tent deposit?"
        assert respond(question, contexts, stop_words=True).output == "Deposit."
        assert "within a week" in respond(question, contexts, stop_words=True, similarity="coverage").output

    def test_similarity_at_the_threshold_is_enough(self):
        contexts = ["Tents are green."]
        options = {"stop_words": True, "similarity": "coverage"}
        assert respond("tents green", contexts, min_similarity=1.0, **options).output == "Tents are green."
        assert respond("tents green boots", contexts, min_similarity=0.75, **options).output == ABSTAIN

    def test_the_words_of_abstention_can_be_chosen(self):
        assert respond("x", [], abstain="No answer.").output == "No answer."

    def test_without_contexts_it_abstains(self):
        assert respond("Do gift cards expire?", []).output == ABSTAIN
        assert respond("Do gift cards expire?", ["", "  "], unit="passage").output == ABSTAIN

    def test_a_question_without_a_term_has_no_similarity(self):
        assert respond("?!", self.CONTEXTS, min_similarity=0.01).output == ABSTAIN
        assert respond("What is it?", self.CONTEXTS, stop_words=True, min_similarity=0.01).output == ABSTAIN

    def test_ties_go_to_the_first(self):
        contexts = ["Red tents leak. Blue tents leak.", "Old tents leak."]
        for similarity in ("tfidf", "coverage"):
            assert respond("tents leak", contexts, similarity=similarity).output == "Red tents leak."

    def test_equal_coverage_goes_to_the_unit_that_holds_less_else(self):
        contexts = ["Tents, stoves, boots and ropes leak. Tents leak."]
        assert respond("tents leak", contexts, similarity="coverage").output == "Tents leak."

    def test_a_chat_input_is_asked_as_its_text(self):
        sample = Sample("a", ({"role": "user", "content": "Do gift cards expire?"},), contexts=self.CONTEXTS)
        response = asyncio.run(ExtractiveProvider().respond(Request(sample, ())))
        assert response.output == "Gift cards never expire."

    def test_what_models_take_is_passed_over(self):
        parameters = {"temperature": 0, "max_tokens": 5, "top_p": 1, "response_format": {"type": "text"}}
        assert ExtractiveParameters.parse(parameters) == ExtractiveParameters()
        assert not {"top", "unit", "stem"} & set(GENERAL_PARAMETERS)

    @pytest.mark.parametrize(
        ("parameters", "says"),
        [
            ({"unit": "word"}, "'unit' is 'word', expected \"sentence\" or \"passage\""),
            ({"unit": ["sentence"]}, "'unit'"),
            ({"top": 0}, "'top' is 0, expected a whole number from 1 to 5"),
            ({"top": 6}, "'top'"),
            ({"top": True}, "'top'"),
            ({"top": 1.0}, "'top'"),
            ({"ngrams": [2, 1]}, "'ngrams'"),
            ({"ngrams": [1]}, "'ngrams'"),
            ({"ngrams": [0, 1]}, "'ngrams'"),
            ({"ngrams": 2}, "'ngrams'"),
            ({"stop-words": "yes"}, "'stop-words'"),
            ({"stem": 1}, "'stem'"),
            ({"similarity": "bm25"}, "'similarity'"),
            ({"min-similarity": 1.1}, "'min-similarity' is 1.1, expected a number from 0 to 1"),
            ({"min-similarity": float("nan")}, "'min-similarity'"),
            ({"min-similarity": True}, "'min-similarity'"),
            ({"abstain": ""}, "'abstain'"),
            ({"min_similarity": 0.3}, "unknown parameter 'min_similarity'"),
        ],
    )
    def test_wrong_parameters_are_refused_with_what_is_expected(self, parameters, says):
        with pytest.raises(ProviderConfigError) as caught:
            asyncio.run(ExtractiveProvider().respond(Request(Sample("a", "x"), (), parameters)))
        assert says in caught.value.message

    def test_an_unknown_parameter_names_the_nearest(self):
        with pytest.raises(ProviderConfigError) as caught:
            ExtractiveParameters.parse({"stopwords": True})
        assert caught.value.hint == "did you mean 'stop-words'?"

    def test_options_are_refused(self):
        with pytest.raises(ProviderConfigError, match="unknown option 'unit'"):
            make_provider("extractive", ProviderSettings(VersionId("m", "1", "v1"), {"unit": "passage"}))


class TestAnswering:
    def test_latency_is_measured_and_tokens_are_not_made_up(self):
        response = respond("Is it?", ["It is."])
        assert response.latency_s >= 0
        assert (response.input_tokens, response.output_tokens, response.finish_reason) == (None, None, "stop")

    def test_the_reference_never_decides(self):
        contexts = ["SENTINEL stands here. Tents are green."]
        assert respond("What are tents?", contexts).output == "Tents are green."

    def test_the_rendered_prompt_does_not_reach_the_answerer(self):
        sample = Sample("a", "What are tents?", contexts=("Stoves are hot. Tents are green.",))
        messages = ({"role": "user", "content": "Stoves stoves stoves hot"},)
        assert asyncio.run(ExtractiveProvider().respond(Request(sample, messages))).output == "Tents are green."

    @given(
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12),
        st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=12), min_size=1, max_size=6),
    )
    def test_weights_and_cosines_are_those_of_scikit_learn(self, asked, documents):
        weights, cosines = _weights_and_cosines(asked, documents)
        oracle = TfidfVectorizer(analyzer=list, sublinear_tf=True)
        matrix = oracle.fit_transform([*documents, asked]).toarray()
        assert cosines == pytest.approx(matrix[:-1] @ matrix[-1], abs=1e-12)
        assert weights == pytest.approx({term: oracle.idf_[at] for term, at in oracle.vocabulary_.items()})

    def test_answering_does_not_import_scikit_learn(self):
        code = (
            "import sys; from aigate.providers.extractive import ExtractiveParameters, answer; "
            "answer('Who?', ['I. You.'], ExtractiveParameters()); print('sklearn' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"

    @given(st.text(max_size=40), st.lists(st.text(max_size=80), max_size=3))
    def test_any_text_is_answered_from_the_contexts_or_abstained_on(self, question, contexts):
        for parameters in (BEST, ExtractiveParameters(), ExtractiveParameters(unit="passage", similarity="coverage")):
            output = answer(question, contexts, parameters)
            source = " ".join(" ".join(contexts).split())
            assert output == ABSTAIN or " ".join(output.split()) in source


GARDEN = (
    """The allotment association meets in the green hut beside the canal. Plots are let for one calendar year at a time.
    The rent for a full plot is 84 euros; a half plot costs 45 euros. Water is included from April to October.
    Tenants who give up a plot must clear it by 15 November.""",
    """Bonfires are forbidden all year round. Compost heaps must stand at least two metres from the path.
    Hens may be kept, up to four to a plot, but cockerels are not allowed.
    Bees need the written consent of the board.""",
    """Keys to the tool shed are handed out by Mrs. Okafor on Saturdays between 10 and 12.
    A lost key costs 20 euros to replace.
    The shredder must be booked a week ahead and is never lent outside the site.""",
)
LIBRARY = (
    """A reader's card is free for residents and costs 15 euros a year for everyone else. Children under 12 need a
    signature from a parent. Up to ten books can be borrowed at once. Loans run for four weeks and can be extended
    twice.""",
    """Overdue books are charged at 25 cents a day. Reading-room titles, maps and newspapers cannot be borrowed.
    A damaged book has to be paid for at its current price.""",
    """The branch opens from Tuesday to Saturday. Study rooms are reserved on the website, at most two hours per person
    and day. The printers take coins only. Dogs are welcome if they stay on the lead.""",
)
ANSWERABLE = [
    (GARDEN, "How much is the rent for a half plot?", "45 euros"),
    (GARDEN, "For how long are plots let?", "one calendar year"),
    (GARDEN, "When is water included?", "April to October"),
    (GARDEN, "By when do I have to clear my plot if I give it up?", "15 November"),
    (GARDEN, "Are bonfires allowed?", "forbidden"),
    (GARDEN, "How far from the path do compost heaps have to be?", "two metres"),
    (GARDEN, "Can I keep hens on my plot?", "up to four"),
    (GARDEN, "Are cockerels allowed?", "not allowed"),
    (GARDEN, "Do I need consent for bees?", "written consent"),
    (GARDEN, "Who hands out the keys for the shed?", "Mrs. Okafor"),
    (GARDEN, "What does replacing a lost key cost?", "20 euros"),
    (GARDEN, "How early must the shredder be booked?", "a week ahead"),
    (GARDEN, "Where does the association meet?", "green hut"),
    (LIBRARY, "Is a reader's card free?", "free for residents"),
    (LIBRARY, "How many books can I borrow at the same time?", "ten books"),
    (LIBRARY, "Can a loan be extended?", "twice"),
    (LIBRARY, "What is charged for overdue books?", "25 cents"),
    (LIBRARY, "Can I borrow newspapers?", "cannot be borrowed"),
    (LIBRARY, "Who pays for a book that was damaged?", "current price"),
    (LIBRARY, "On which days does the branch open?", "Tuesday to Saturday"),
    (LIBRARY, "How do I reserve a study room?", "on the website"),
    (LIBRARY, "Do the printers accept cards or coins?", "coins only"),
    (LIBRARY, "Are dogs welcome?", "on the lead"),
    (LIBRARY, "Does a child need a parent's signature?", "signature from a parent"),
]
UNANSWERABLE = [
    (GARDEN, "Is there a toilet on the site?"),
    (GARDEN, "Can I put up a greenhouse?"),
    (GARDEN, "How do I join the waiting list?"),
    (GARDEN, "Who won the pumpkin contest last summer?"),
    (GARDEN, "May I use pesticides against slugs?"),
    (LIBRARY, "Do you lend e-readers or audiobooks?"),
    (LIBRARY, "Is there parking for bicycles?"),
    (LIBRARY, "Which bus stops in front of the building?"),
    (LIBRARY, "Can I donate old magazines?"),
    (LIBRARY, "Do you run evening language courses?"),
]


class TestQuality:
    """Short documents written for this test; the settings are those recommended for a suite."""

    def test_the_recommended_settings_find_the_right_sentence_in_85_percent(self):
        right = sum(phrase in answer(question, contexts, BEST) for contexts, question, phrase in ANSWERABLE)
        assert right / len(ANSWERABLE) >= 0.85

    def test_the_recommended_settings_abstain_on_most_unanswerable_questions(self):
        silent = sum(answer(question, contexts, BEST) == ABSTAIN for contexts, question in UNANSWERABLE)
        assert silent / len(UNANSWERABLE) >= 0.8

    def test_each_earlier_step_is_worse(self):
        def right(parameters):
            found = sum(phrase in answer(question, contexts, parameters) for contexts, question, phrase in ANSWERABLE)
            return found + sum(answer(question, contexts, parameters) == ABSTAIN for contexts, question in UNANSWERABLE)

        plain = ExtractiveParameters()
        assert right(plain) < right(replace(BEST, similarity="tfidf")) < right(BEST)


def test_it_has_one_answer_to_each_sample():
    assert most_repeats_of(ExtractiveProvider()) == 1
