"""The scorer `similarity`: how alike the answer and the reference are in meaning, by the cosine of their embeddings.

    { scorer = "similarity" }                                # embeddings = "text-embedding/3-small/v1" in [judge]
    { scorer = "similarity", model = "models/all-MiniLM" }   # a sentence-transformers model on disk (extra `local`)

The score is the cosine, and 0 where it is negative: 1 for the same direction, 0 for nothing in common or worse. Of
several references the most alike counts; one that is no text is outside the metric, but for an object that names
texts beside rules or criteria: `{"assert": [...], "similar": ["Within 30 days."]}`. An empty answer scores 0 and
nothing is asked. Without `model` an embedding model is asked through the judges' limiter, budget and journal; vectors
that cannot be used (one too few, NaN, zeros, another length) are a judge error. With it, nothing leaves the machine; a
text that is longer than the model reads is not scored: what a model does not read, it cannot compare.

**What it cannot do.** Embeddings tell topics apart, not facts: "is returned within 30 days" and "is not returned within
30 days" are much alike, and most models find some likeness in any two texts. The scale is the model's own: find the
score that separates good from bad with `aigate judge calibrate`, and let another model start a new baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.core.vectors import Vector, cosine, refuse_unsound
from aigate.errors import ScoringError
from aigate.scorers.asked import Asked, judgeable
from aigate.scorers.base import JudgedScorer, Scorer, ScorerSettings
from aigate.scorers.judge import JudgeAccess, Question
from aigate.scorers.local_models import (
    OPTIONS,
    LocalScorer,
    Weights,
    device_of,
    need_packages,
    on_model_thread,
    quietly_loading,
    readable,
    refuse_long,
    weights_of,
)
from aigate.scorers.options import metric_option
from aigate.scorers.reading import alternatives, shown

__all__ = ["EmbeddedSimilarity", "LocalSimilarity", "from_settings"]

NAME = "similarity"
SHORT = 128  # tokens that one thread embeds by itself
KEPT_VECTORS = 4096  # of references and answers, by a local model


def from_settings(settings: ScorerSettings) -> Scorer:
    """Make the scorer. Options: `metric`; for a local model `model`, `revision`, `digest` and `device`.

    Raises:
        ConfigError: An unknown option, a wrong value, neither an embedding model nor a local one.
        MissingExtraError: A local model, and the extra `local` is not installed.
    """
    settings.only("metric", *OPTIONS)
    metric = metric_option(settings, NAME)
    if all(settings.options.get(name) is None for name in OPTIONS):
        embeddings = settings.needed_embeddings()
        identity = embeddings.identity({})
        options = {"metric": metric}
        scorer: JudgedScorer = EmbeddedSimilarity(
            MetricSpec(metric, NAME, options=options, deterministic=False, judge=identity)
        )
        return scorer
    need_packages("sentence_transformers", purpose=f"scorer '{NAME}' with a local model")
    weights = weights_of(settings)
    return LocalSimilarity(MetricSpec(metric, NAME, options={"metric": metric, **weights.options}), weights)


class _Compares:
    """What both kinds share: which samples, and what becomes of cosines."""

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without a reference text lie outside the metric."""
        if sample.reference is None:
            return Unscored("no_reference", "the sample has no reference")
        if not _references(sample):
            return Unscored("not_applicable", "the reference is no text, or a blank one")
        return None


@dataclass(frozen=True)
class EmbeddedSimilarity(_Compares, Asked):
    """The cosine of the embeddings of an endpoint."""

    def questions(self, sample: Sample, output: str) -> Sequence[Question]:  # noqa: ARG002 - the protocol's signature
        """None: nothing is asked, texts are embedded."""
        return ()

    def embedded(self, sample: Sample, output: str) -> Sequence[Sequence[str]]:
        """Answer and references, in one call."""
        return [[readable(text) for text in (output, *_references(sample))]] if output.strip() else []

    async def judge(self, sample: Sample, response: Response, access: JudgeAccess) -> ScoreOrNot:
        """Compare once.

        Raises:
            JudgeError: No embeddings that can be used, or the answer is too long.
        """
        output = judgeable(response)
        if not output.strip():
            return _EMPTY
        [texts] = self.embedded(sample, output)
        answer, *references = await access.embed(texts)
        return _compared(sample, answer, references)


@dataclass(frozen=True)
class LocalSimilarity(_Compares, LocalScorer):
    """The cosine of the embeddings of a sentence-transformers model on this machine."""

    spec: MetricSpec
    weights: Weights = field(compare=False)

    async def judged(self, sample: Sample, output: str) -> ScoreOrNot:
        """The cosine of an output.

        Raises:
            ScoringError: It, or a reference, is more than is read.
        """
        if not output.strip():
            return _EMPTY
        refuse_long(output)
        texts = [readable(text) for text in (output, *_references(sample))]
        answer, *references = await on_model_thread(lambda: [_vector(self.weights, text) for text in texts])
        return _compared(sample, answer, references)


_EMPTY = Score(0.0, "the answer is empty")


def _references(sample: Sample) -> list[str]:
    given = sample.reference
    given = given.get("similar") if isinstance(given, Mapping) else given
    return [text for text in alternatives(given) or () if text.strip()]


def _compared(sample: Sample, answer: Vector, references: Sequence[Vector]) -> Score:
    found = [cosine(answer, reference) for reference in references]
    place = max(range(len(found)), key=found.__getitem__)
    told = f"cosine {found[place]:.4f} with {shown(_references(sample)[place], 80)}"
    more = f", the most alike of {len(found)} references" if len(found) > 1 else ""
    details: Mapping[str, Any] = {"cosine": found[place], "reference": place, "dimensions": len(answer)}
    return Score(max(0.0, found[place]), told + more, details=details)


@lru_cache(maxsize=KEPT_VECTORS)
def _vector(weights: Weights, text: str) -> Vector:
    """The vector of one text: each by itself, so that no text's vector depends on what else is embedded.

    Raises:
        ScoringError: The text is longer than the model reads, or the vector has no direction.
    """
    model = _model(weights)
    longest = model.max_seq_length
    tokens = len(model.tokenizer(text, verbose=False)["input_ids"])
    if longest is not None and tokens > longest:
        raise ScoringError(f"a text has {tokens} tokens, and the model '{weights.model}' reads {longest}")
    with _threads_for(tokens):
        found = model.encode([text], show_progress_bar=False, convert_to_numpy=True)[0]
    vector = tuple(map(float, found))
    try:
        refuse_unsound([vector], count=1)
    except ValueError as error:
        raise ScoringError(f"the model '{weights.model}': {error}") from None
    return vector


@contextmanager
def _threads_for(tokens: int) -> Iterator[None]:
    """One thread for a short text: two that divide it wait for each other, 15 times as long on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if tokens <= SHORT else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=2)
def _model(weights: Weights) -> Any:
    from sentence_transformers import SentenceTransformer

    with quietly_loading(weights.model):
        weights.verify()
        return SentenceTransformer(str(weights.folder), device=device_of(weights), local_files_only=True)
