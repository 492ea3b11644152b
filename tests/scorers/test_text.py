import builtins
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Unscored
from aigate.errors import MissingExtraError
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.scorers.text import OUTPUT_CHARS, longest_common_subsequence, squad_f1

WORDS = st.lists(
    st.sampled_from(["the", "cat", "cats", "sat", "running", "on", "a", "mat", "42", "é", "-"]), max_size=20
)


def value(scorer, output, reference, **options):
    found = make_scorer(ScorerSettings(scorer, options=options)).score(
        Sample("s", "q", reference=reference), Response(output)
    )
    return found.reason if isinstance(found, Unscored) else found.value


@pytest.mark.parametrize(
    ("output", "reference", "f1"),
    [
        ("in Paris, France", "Paris", 0.5),
        ("The cat!", "a cat", 1.0),
        ("cat cat dog", "cat dog dog", 2 / 3),
        ("the", "a", 1.0),
        ("the", "cat", 0.0),
        ("cat", "", 0.0),
        ("dog", "cat", 0.0),
    ],
)
def test_squad_f1_is_that_of_the_official_script(output, reference, f1):
    assert squad_f1(output, reference) == pytest.approx(f1)


def test_token_f1_takes_the_best_reference():
    assert value("token_f1", "Paris", ["Rome", "Paris France", "Paris"]) == 1.0
    assert value("token_f1", "Paris", ["Rome", "Paris France"]) == pytest.approx(2 / 3)


def test_number_is_compared_as_text():
    assert value("token_f1", "it is 18", 18) == pytest.approx(0.5)


def test_objects_lie_outside_overlap():
    scorer = make_scorer(ScorerSettings("token_f1"))
    assert scorer.applies_to(Sample("s", "q", reference={"a": 1})).reason == "not_applicable"
    assert scorer.applies_to(Sample("s", "q")).reason == "no_reference"


@pytest.mark.parametrize("stem", [False, True])
@settings(deadline=None)
@given(output=WORDS, reference=WORDS)
def test_rouge_l_equals_the_package(stem, output, reference):
    from rouge_score.rouge_scorer import RougeScorer

    output, reference = " ".join(output), " ".join(reference)
    expected = RougeScorer(["rougeL"], use_stemmer=stem).score(reference, output)["rougeL"].fmeasure
    assert value("rouge_l", output, reference, stem=stem) == pytest.approx(expected)


def test_rouge_l_option_stem_joins_inflections():
    assert value("rouge_l", "running cats", "run cat", stem=True) == 1.0
    assert value("rouge_l", "running cats", "run cat") == 0.0


@settings(deadline=None)
@given(WORDS, WORDS)
def test_longest_common_subsequence_equals_the_table(first, second):
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    assert longest_common_subsequence(first, second) == table[-1][-1]


def test_bleu_is_sentence_bleu_with_effective_order():
    from sacrebleu import sentence_bleu

    expected = sentence_bleu("the cat sat", ["the cat sat down"]).score / 100
    assert 0.3 < expected < 1.0
    assert value("bleu", "the cat sat", "the cat sat down") == pytest.approx(expected)
    assert value("bleu", "Paris", "Paris") == pytest.approx(1.0)


def test_chrf_is_sentence_chrf():
    from sacrebleu import sentence_chrf

    expected = sentence_chrf("the cat sat", ["a dog", "the cat sits"]).score / 100
    assert 0.3 < expected < 1.0
    assert value("chrf", "the cat sat", ["a dog", "the cat sits"]) == pytest.approx(expected)


@pytest.mark.parametrize("scorer", ["token_f1", "rouge_l", "bleu", "chrf"])
def test_runaway_output_is_unparseable(scorer):
    assert value(scorer, "cat " * (OUTPUT_CHARS // 4 + 1), "cat") == "unparseable"
    assert isinstance(value(scorer, "c" * OUTPUT_CHARS, "cat"), float)


@pytest.mark.parametrize(
    ("scorer", "package"), [("rouge_l", "rouge_score"), ("bleu", "sacrebleu"), ("chrf", "sacrebleu")]
)
def test_missing_package_names_the_extra(monkeypatch, scorer, package):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError) as caught:
        make_scorer(ScorerSettings(scorer))
    assert package in str(caught.value)
    assert "aigate[text]" in caught.value.hint


def test_token_f1_needs_no_extra(monkeypatch):
    for name in ("rouge_score", "sacrebleu"):
        monkeypatch.setitem(sys.modules, name, None)
    assert value("token_f1", "Paris", "Paris") == 1.0
