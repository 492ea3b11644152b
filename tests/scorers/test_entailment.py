"""Sentences against contexts by a model on disk: read by its own configuration, in windows, the same in every batch.

The models are real ones of transformers, of a few kilobytes, whose weights are set by hand or drawn.
"""

import asyncio
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigate import NoRegression, Policy, gate
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Unscored
from aigate.errors import ConfigError, MissingExtraError
from aigate.running.evaluation import evaluate
from aigate.scorers.base import ScorerSettings, make_scorer, scorer_from_spec
from aigate.scorers.entailment import CrossEncoder, Head, head_of, windows_of
from aigate.scorers.local_models import weights_of
from aigate.testing import save_cross_encoder

local = pytest.mark.integration  # needs the extra `local`

NLI = {"architectures": ["DebertaV2ForSequenceClassification"]}
TOKENS = {"architectures": ["ModernBertForTokenClassification"]}
HEADS = {
    "nli": ({**NLI, "id2label": {"0": "contradiction", "1": "entailment", "2": "neutral"}}, None, 1),
    "two labels": ({**NLI, "id2label": {"0": "entailment", "1": "not_entailment"}}, None, 0),
    "another word": ({**NLI, "id2label": {"0": "Hallucinated", "1": "Consistent"}}, None, 1),
    "no names": ({**NLI, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "LABEL_1", 1),
    "nothing said": (NLI, "label_0", 0),
    "one output": ({**NLI, "id2label": {"0": "LABEL_0"}}, None, None),
    "tokens": ({**TOKENS, "id2label": {"0": "supported", "1": "hallucinated"}}, None, 0),
}


@pytest.mark.parametrize(("config", "entails", "label"), HEADS.values(), ids=HEADS)
def test_the_label_is_found_by_its_name_or_is_named(config, entails, label):
    kind = "tokens" if config["architectures"] == TOKENS["architectures"] else "sequence"
    assert head_of(config, entails, model="m") == Head(kind, label)


REFUSED = {
    "no name says so": (NLI, None, "of the labels of model 'm' (LABEL_0, LABEL_1) not exactly one"),
    "two names say so": ({**NLI, "id2label": {"0": "supported", "1": "entailed"}}, None, "(supported, entailed)"),
    "no such label": ({**NLI, "id2label": {"0": "no", "1": "yes"}}, "yess", "has the labels no, yes"),
    "code of its own": ({**NLI, "auto_map": {"AutoConfig": "x.Y"}}, None, "brings code of its own"),
    "writes text": ({"architectures": ["T5ForConditionalGeneration"]}, None, "T5ForConditionalGeneration"),
    "no model at all": ({}, None, "architecture none"),
}


@pytest.mark.parametrize(("config", "entails", "told"), REFUSED.values(), ids=REFUSED)
def test_a_model_that_cannot_be_read_is_refused(config, entails, told):
    with pytest.raises(ConfigError) as caught:
        head_of(config, entails, model="m")
    assert told in str(caught.value)
    assert caught.value.hint


@settings(max_examples=50)
@given(st.integers(0, 60), st.integers(4, 40))
def test_windows_hold_the_whole_text_and_each_follows_upon_the_last(words, size):
    text = " ".join(f"{n:02}" for n in range(words))
    windows = windows_of(text, [found.span() for found in re.finditer(r"\w+", text)], size)
    assert all(len(window.split()) <= size for window in windows)
    assert all(window in text for window in windows)
    held = 0
    for window in windows:  # in order, none leaving out a word between
        start = text.index(window)
        assert start <= held + 1
        assert start + len(window) > held or not text
        held = start + len(window)
    assert held == len(text)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("aigate.scorers.local_models.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        make_scorer(ScorerSettings("entailment", options={"model": "m"}))
    assert caught.value.hint == "pip install 'aigate[local]'"


def test_a_threshold_that_is_none_is_refused():
    for wrong in (0, 1.5):
        with pytest.raises(ConfigError, match="threshold"):
            make_scorer(ScorerSettings("entailment", options={"model": "m", "threshold": wrong}))


# With models.

PROVEN = Sample("proven", "?", contexts=("Here is proof of much.", "Another text says nothing."))
SKY = "The sky is blue."
NOT_THAT = "The sea is not not wet."


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Saves a model once per kind of it."""
    folder = tmp_path_factory.mktemp("models")
    saved = {}

    def save(**fields):
        key = json.dumps(fields)
        if key not in saved:
            saved[key] = save_cross_encoder(folder / str(len(saved)), **fields)
        return saved[key]

    return save


def scorer_of(model, **options):
    given = {key.replace("_", "-"): value for key, value in options.items()}
    return make_scorer(ScorerSettings("entailment", options={"model": str(model), **given}))


def score(scorer, output, sample=PROVEN):
    async def awaited():
        return await scorer.score(sample, Response(output))

    return asyncio.run(awaited())


def encoder_of(scorer):
    return CrossEncoder(scorer.weights, scorer.head, scorer.reads)


@local
@pytest.mark.parametrize("kind", ["sequence", "single", "tokens"])
def test_a_word_decides_and_the_evidence_is_kept(models, kind):
    found = score(scorer_of(models(kind=kind)), f"{SKY} {NOT_THAT} {SKY}")
    assert found.value == 0.5
    first, second = found.details["claims"]
    assert (first["sentence"], first["claim"], first["verdict"]) == ("s1", SKY, "supported")
    assert (second["sentence"], second["verdict"]) == ("s2", "not_supported")
    assert second["probability"] < 0.5 <= first["probability"]
    assert (found.details["outcome"], found.details["supported"], found.details["total"]) == ("judged", 1, 2)
    assert found.explanation.startswith("1 of 2 sentences are entailed; c2 0.00: 'The sea is not not wet.'")


@local
def test_the_other_label_turns_the_score(models):
    model = models(labels=["one", "other"])
    assert score(scorer_of(model, entails="other"), SKY).value == 1.0
    assert score(scorer_of(model, entails="one"), SKY).value == 0.0


@local
def test_the_threshold_is_one_of_the_probability(models):
    probability = score(scorer_of(models()), SKY).details["claims"][0]["probability"]
    assert score(scorer_of(models(), threshold=probability), SKY).value == 1.0
    assert score(scorer_of(models(), threshold=probability + 1e-3), SKY).value == 0.0


@local
def test_the_best_window_of_a_long_context_counts_and_is_quoted(models):
    filler = "Nothing is to be learnt from this passage at all. " * 30
    sample = Sample("long", "?", contexts=(filler, f"{filler}The sky has proof of being blue. {filler}"))
    found = score(scorer_of(models()), SKY, sample)
    [claim] = found.details["claims"]
    assert found.value == 1.0
    assert (claim["quote"], claim["context"]) == ("The sky has proof of being blue.", 1)
    assert score(scorer_of(models()), SKY, Sample("none", "?", contexts=(filler,))).value == 0.0


@local
def test_what_stands_in_two_contexts_is_read_together(models):
    doubtful = Sample("two", "?", contexts=("There is proof and proof.", "It is not so."))
    assert score(scorer_of(models()), SKY, doubtful).value == 1.0
    worse = Sample("two", "?", contexts=("There is proof.", "It is not so, not at all."))
    assert score(scorer_of(models()), SKY, worse).value == 0.0


@local
@pytest.mark.parametrize("kind", ["sequence", "tokens"])
def test_neither_the_batch_nor_its_order_changes_a_probability(models, kind):
    encoder = encoder_of(scorer_of(models(seed=7, kind=kind)))
    claims = [f"proof {'not ' * (n % 5)}{'word ' * n}" for n in range(12)]
    contexts = ["proof not " * 40, "word " * 70]
    one_by_one = [encoder.judged(contexts, [claim])[0] for claim in claims]
    assert len({judged.probability for judged in one_by_one}) > 3
    for batch in (1, 5, 64):
        assert encoder.judged(contexts, claims, batch=batch) == one_by_one
    assert encoder.judged(contexts, claims[::-1])[::-1] == one_by_one


@local
def test_answers_that_claim_nothing_are_scored_as_by_faithfulness(models):
    scorer = scorer_of(models())
    unanswerable = Sample("u", "?", contexts=("proof",), tags=("unanswerable",))
    assert score(scorer, " \n").details["outcome"] == "empty"
    assert score(scorer, "Sure, happy to help!").details["outcome"] == "claimless"
    assert score(scorer, "I don't know.").value == 0.0
    assert score(scorer, "I don't know.", unanswerable).value == 1.0
    assert score(scorer_of(models(), unanswerable="other"), "I don't know.", unanswerable).value == 0.0


@local
@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("word " * 40, "a sentence has 40 tokens, and beside a passage the model reads 20"),
        ("".join(f"Claim {n} is made. " for n in range(101)), "101 sentences, at most 100"),
        ("x" * 100_001, "100001 characters"),
    ],
)
def test_what_the_model_cannot_read_is_not_scored(models, output, told):
    found = score(scorer_of(models()), output)
    assert (found.reason, told in found.explanation) == ("judge_error", True)


@local
def test_more_pairs_than_can_be_read_are_not_scored(models):
    claims = "".join(f"Claim {n} is made. " for n in range(100))
    found = score(scorer_of(models()), claims, Sample("huge", "?", contexts=("word " * 3000,)))
    assert (found.reason, "more than the 5000 pairs" in found.explanation) == ("judge_error", True)


@local
def test_a_broken_model_is_a_missing_score(models, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification

    folder = save_cross_encoder(tmp_path / "broken")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    model.save_pretrained(folder)
    assert score(scorer_of(folder), SKY) == Unscored("judge_error", f"model '{folder}' gave a probability that is none")
    (folder / "model.safetensors").write_bytes(b"no weights")
    found = score(scorer_of(folder), SKY)
    assert (found.reason, "cannot be loaded" in found.explanation) == ("judge_error", True)


@local
def test_other_weights_are_another_scorer(models, tmp_path):
    folder = save_cross_encoder(tmp_path / "m", seed=1)
    before = scorer_of(folder).spec
    assert scorer_of(folder, device="cpu").spec == before
    (folder / "README.md").write_text("words for people")
    assert scorer_of(folder).spec == before
    save_cross_encoder(folder, seed=2)
    assert scorer_of(folder).spec != before
    pinned = scorer_of(folder, digest=before.options["digest"])
    assert pinned.spec == before
    with pytest.raises(ConfigError, match="expected sha256") as caught:
        pinned.ready()
    assert "another scorer" in caught.value.hint
    assert "expected sha256" in score(pinned, SKY).explanation  # whoever forgot to ask


@local
def test_a_pinned_model_is_verified_before_anything_is_asked_and_not_read_for_a_stored_run(tmp_path, monkeypatch):
    folder = save_cross_encoder(tmp_path / "tiny")
    spec = scorer_of(folder).spec
    (tmp_path / "samples.jsonl").write_text('{"id": "a", "input": "?", "contexts": ["proof"]}\n')
    scorer = f'{{ scorer = "entailment", model = "tiny", digest = "{spec.options["digest"]}" }}'
    (tmp_path / "suite.toml").write_text(f"scorers = [{scorer}]\n")
    asked = []
    save_cross_encoder(folder, seed=1)
    with pytest.raises(ConfigError, match="expected sha256"):
        evaluate(tmp_path, version="m/1/v1", provider=lambda text: asked.append(text) or "x", journal=None)
    assert asked == []
    monkeypatch.setattr("aigate.scorers.local_models._digest", lambda folder: pytest.fail("the model was read"))
    assert scorer_from_spec(spec).spec == spec


@local
def test_a_model_that_is_not_there_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for options, command in (
        ({"model": "some-org/nli"}, "hf download some-org/nli)"),
        ({"model": "some-org/nli", "revision": "v2"}, "hf download some-org/nli --revision v2)"),
        ({"model": "no such/name at/all"}, "hf download no such/name at/all)"),
    ):
        with pytest.raises(ConfigError, match="is not on this machine") as caught:
            make_scorer(ScorerSettings("entailment", options=options))
        assert command in caught.value.hint
    with pytest.raises(ConfigError, match="has no model"):
        make_scorer(ScorerSettings("entailment"))


@local
def test_a_model_in_the_cache_is_found_by_its_name(tmp_path):
    from huggingface_hub import constants

    cache, commit = tmp_path / "hub", "0123456789abcdef0123456789abcdef01234567"
    model = cache / "models--some-org--nli"
    saved = save_cross_encoder(model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        named = weights_of(ScorerSettings("entailment", options={"model": "some-org/nli"}))
        pinned = weights_of(ScorerSettings("entailment", options={"model": "some-org/nli", "revision": commit}))
    assert named.folder == pinned.folder == saved
    assert named.digest == weights_of(ScorerSettings("entailment", options={"model": str(saved)})).digest


@local
def test_a_window_is_of_what_the_model_reads(models):
    assert scorer_of(models()).reads == 64
    assert scorer_of(models(), window=32).reads == 32
    for wrong in (8, 65):
        with pytest.raises(ConfigError, match=f"'window' is {wrong}, expected 16 to 64"):
            scorer_of(models(), window=wrong)


@local
def test_a_suite_is_judged_by_a_model_in_its_folder_and_a_swap_cannot_be_compared(tmp_path):
    suite = tmp_path / "suite"
    save_cross_encoder(suite / "models" / "tiny")
    (suite / "suite.toml").write_text('scorers = [{ scorer = "entailment", model = "models/tiny" }]\n')
    rows = [
        {"id": f"s{n}", "input": f"question {n}", "contexts": ["There is proof." if n % 2 else "Nothing."]}
        for n in range(6)
    ]
    (suite / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run():
        return evaluate(suite, version="m/1/v1", provider=lambda text: f"It says {text} indeed.", journal=None)

    first, again = run(), run()
    values = [row.scores["entailment"].value for row in sorted(first.results, key=lambda row: row.sample_id)]
    assert values == [0.0, 1.0] * 3
    assert [row.scores for row in first.results] == [row.scores for row in again.results]
    assert first.header.metric("entailment").options["model"] == "models/tiny"
    assert {"torch", "transformers"} <= first.header.libraries.keys()
    policy = Policy([NoRegression("entailment", margin=0.5)])
    assert "other-scorer" not in codes_of(gate(again, policy, baseline=first))
    save_cross_encoder(suite / "models" / "tiny", proof="nothing")
    swapped = gate(run(), policy, baseline=first)
    assert (swapped.status, "other-scorer" in codes_of(swapped)) == ("error", True)


def codes_of(verdict):
    return {why.code for check in verdict.checks for why in check.reasons}


@local
def test_the_gpu_says_what_the_cpu_says(models):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    on = {device: encoder_of(scorer_of(models(seed=7), device=device)) for device in ("cpu", "cuda")}
    claims = [f"proof {'not ' * n}word" for n in range(8)]
    assert on["cuda"].judged(["proof word not " * 30], claims) == on["cpu"].judged(["proof word not " * 30], claims)
