"""The scorer `entailment`: the share of an answer's sentences that its contexts entail, as a model on disk finds.

    { scorer = "entailment", model = "models/nli-deberta" }                      # extra `local`; a folder or a name
    { scorer = "entailment", model = "models/minicheck", entails = "LABEL_1" }   # where no label's name says it

No endpoint is asked. The model is a cross-encoder of transformers: it reads a passage and a claim together. Three kinds
are known by their `config.json`: a sequence classifier with a label for entailment (NLI models, MiniCheck), one with a
single output (HHEM), whose sigmoid is the probability, and a token classifier that marks spans (LettuceDetect), where
the probability of a claim is that of its least supported token. Models that bring code of their own, or that write text
(MiniCheck on Flan-T5), are not loaded.

- **Claims** are the sentences of the answer, each once; questions, courtesies, short headings and sentences that
  abstain claim nothing, as for `faithfulness`, and answers without claims are scored as there.
- **Contexts** are read one after the other, in windows of as many tokens as the model takes beside a claim, each with a
  quarter of the one before; a claim's probability is the highest over the windows. So a claim must be entailed by what
  stands close together.
- A claim is supported where its probability is at least `threshold` (0.5). The score is their share, as that of
  `faithfulness` is, so that both can be read side by side. The least of the probabilities would make one odd sentence
  the score; their mean would let the model's confidence move it where no verdict moved. All stand in the details.

Probabilities are computed in 32-bit floats and rounded to four digits, so that GPU and CPU, and batches of any size,
give the same score but for a claim at the very threshold. Only claims and windows of one answer are batched: no other
answer changes a score. The digest of the model's files stands in the run: other weights are another scorer.

**What it cannot do.** It takes no sentence apart: half a true sentence is an untrue one. It reads each sentence by
itself, so that "It costs 5 euros" is entailed by whatever costs 5 euros. How often a model is right about your texts is
for `aigate judge calibrate` to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from aigate.core.counts import count_of
from aigate.core.registry import nearest
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import ConfigError, ScoringError
from aigate.scorers.asked import shortened
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.scorers.faithfulness import (
    KEPT_CHARACTERS,
    MOST_CLAIMS,
    UNANSWERABLE,
    Sentence,
    claimless,
    claims_nothing,
    has_contexts,
    sentences_of,
    unclaimed,
)
from aigate.scorers.grounding import content_words
from aigate.scorers.local_models import (
    OPTIONS,
    LocalScorer,
    Weights,
    device_of,
    json_of,
    need_packages,
    on_model_thread,
    quietly_loading,
    readable,
    refuse_long,
    weights_of,
)
from aigate.scorers.options import count_option, metric_option, number_option, tag_option, text_option
from aigate.scorers.quotes import normalised
from aigate.scorers.reading import shown

__all__ = ["Entailment", "Head", "Judged", "from_settings", "head_of", "windows_of"]

NAME = "entailment"
THRESHOLD = 0.5
DIGITS = 4  # of a probability
ASSUMED_TOKENS = 512  # that a model reads, where neither its configuration nor its tokenizer says it
FEWEST_TOKENS = 16
NO_LIMIT = 1_000_000  # tokenizers without a limit name an astronomical one
CLAIM_SHARE = 1 / 3  # of what the model reads, for the claim
OVERLAP = 1 / 4  # of a window with the one before
BATCH = 16
MOST_PAIRS = 5_000  # of windows and claims of one answer
SHOWN_CLAIMS = 5
SAYS_SO = frozenset("entailment entails entailed supported supports consistent faithful factual grounded".split())  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Head:
    """How a model's output is read.

    Attributes:
        kind: It gives one row of logits for a pair, or one for each token.
        label: Place of the label that says a claim is entailed; None for a single output.
    """

    kind: Literal["sequence", "tokens"]
    label: int | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model says of a claim.

    Attributes:
        probability: The highest over the windows, in [0, 1].
        window: The window that has it.
    """

    probability: float
    window: str


def from_settings(settings: ScorerSettings) -> Scorer:
    """Make the scorer.

    Options: `metric`, `model` (needed), `revision`, `digest`, `device`, `entails` (the label that says a claim is
    entailed), `threshold` (above 0 to 1), `window` (tokens of a passage and a claim), `unanswerable` (a tag).

    Raises:
        ConfigError: An unknown option, a wrong value, no model on this machine, or one that is no such cross-encoder.
        MissingExtraError: The extra `local` is not installed.
    """
    settings.only("metric", "entails", "threshold", "window", "unanswerable", *OPTIONS)
    metric = metric_option(settings, NAME)
    entails, window = text_option(settings, "entails"), count_option(settings, "window")
    unanswerable = tag_option(settings, "unanswerable", default=UNANSWERABLE)
    threshold = _threshold(settings)
    need_packages("torch", "transformers", purpose=f"scorer '{NAME}'")
    weights = weights_of(settings)
    head = head_of(json_of(weights.folder), entails, model=weights.model)
    reads = _reads(weights, window)
    options = {
        "metric": metric,
        **weights.options,
        "entails": entails,
        "threshold": threshold,
        "window": window,
        "unanswerable": unanswerable,
    }
    return Entailment(MetricSpec(metric, NAME, options=options), weights, head, reads, threshold, unanswerable)


def _threshold(settings: ScorerSettings) -> float:
    given = number_option(settings, "threshold")
    if given is None:
        return THRESHOLD
    if not 0.0 < given <= 1.0:
        raise ConfigError(
            f"scorer '{NAME}': option 'threshold' is {given!r}, expected a number above 0, at most 1",
            hint="it is the probability from which a claim counts as supported",
        )
    return given


def head_of(config: Mapping[str, Any], entails: str | None, *, model: str) -> Head:
    """How a model's output is read, by its configuration.

    Args:
        config: Its `config.json`.
        entails: The label that says a claim is entailed; None: that whose name says so.
        model: Its name, for messages.

    Raises:
        ConfigError: It is no classifier, or no label, or more than one, says so.

    >>> head_of({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "NEUTRAL", "1": "Entailment"}},
    ...     None, model="m")
    Head(kind='sequence', label=1)
    """
    kind = _kind(config, model)
    labels = _labels(config)
    if len(labels) == 1 and kind == "sequence" and entails is None:
        return Head(kind, None)
    wanted = SAYS_SO if entails is None else {_plain(entails)}
    found = [place for place, label in enumerate(labels) if _plain(label) in wanted]
    if len(found) == 1:
        return Head(kind, found[0])
    told = ", ".join(labels)
    if entails is None:
        raise ConfigError(
            f"scorer '{NAME}': of the labels of model '{model}' ({told}) not exactly one is named for what is entailed",
            hint=f'name it: {{ scorer = "{NAME}", model = "{model}", entails = "{labels[-1]}" }}',
        )
    raise ConfigError(
        f"scorer '{NAME}': option 'entails' is {entails!r}, and model '{model}' has the labels {told}",
        hint=nearest(entails, labels, kind="labels"),
    )


def _kind(config: Mapping[str, Any], model: str) -> Literal["sequence", "tokens"]:
    architectures = config.get("architectures")
    named = str(architectures[0]) if isinstance(architectures, list) and architectures else "none"
    if config.get("auto_map"):
        raise ConfigError(
            f"scorer '{NAME}': model '{model}' brings code of its own, which is not run",
            hint="take a model of an architecture that transformers has itself",
        )
    if named.endswith("ForSequenceClassification"):
        return "sequence"
    if named.endswith("ForTokenClassification"):
        return "tokens"
    raise ConfigError(
        f"scorer '{NAME}': model '{model}' has the architecture {named}, expected a sequence or token classifier",
        hint="take a cross-encoder that was trained for entailment (NLI), consistency or hallucinated spans",
    )


def _labels(config: Mapping[str, Any]) -> list[str]:
    """The names of the labels, by place; transformers calls them LABEL_0, LABEL_1 where nobody names them."""
    named = config.get("id2label")
    if not isinstance(named, Mapping) or not named:
        return ["LABEL_0", "LABEL_1"]
    return [str(named.get(str(place), f"LABEL_{place}")) for place in range(len(named))]


def _plain(label: str) -> str:
    """A label as it is compared: `Not Entailment` and `not_entailment` are one."""
    return re.sub(r"[\W_]+", "_", label.casefold()).strip("_")


def _reads(weights: Weights, window: int | None) -> int:
    """How many tokens are read at once: what the suite says, else all that the model takes.

    Raises:
        ConfigError: More than the model takes, or too few for a passage and a claim.
    """
    config = json_of(weights.folder)
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and "roberta" in str(config.get("model_type")):  # counts from behind the padding
        positions -= (config.get("pad_token_id") or 0) + 1
    limits = (positions, json_of(weights.folder, "tokenizer_config.json").get("model_max_length"))
    most = min((limit for limit in limits if isinstance(limit, int) and 0 < limit < NO_LIMIT), default=None)
    if window is not None and not FEWEST_TOKENS <= window <= (most or window):
        expected = f"at least {FEWEST_TOKENS}" if most is None else f"{FEWEST_TOKENS} to {most}"
        raise ConfigError(
            f"scorer '{NAME}': option 'window' is {window}, expected {expected} tokens for model '{weights.model}'",
            hint="leave it out to read as much at once as the model takes",
        )
    return window or most or ASSUMED_TOKENS


@dataclass(frozen=True)
class Entailment(LocalScorer):
    """The share of the answer's sentences that the contexts entail."""

    spec: MetricSpec
    weights: Weights = field(compare=False)
    head: Head
    reads: int
    threshold: float = THRESHOLD
    unanswerable: str = UNANSWERABLE

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without a word of context lie outside the metric."""
        return has_contexts(sample)

    async def judged(self, sample: Sample, output: str) -> ScoreOrNot:
        """The score of an output, with its claims.

        Raises:
            ScoringError: It, or a claim, is more than is read.
        """
        refuse_long(output)
        sentences = sentences_of(output)
        if (found := unclaimed(sample, output, sentences, self.unanswerable)) is not None:
            return found
        claims = _claims(sentences)
        if not claims:
            return claimless(sample, output, sentences, self.unanswerable)
        if len(claims) > MOST_CLAIMS:
            raise ScoringError(f"the answer has {len(claims)} sentences, at most {MOST_CLAIMS} are judged")
        judged = await on_model_thread(
            lambda: _encoder(self.weights, self.head, self.reads).judged(
                [readable(context) for context in sample.contexts], [readable(claim.text) for claim in claims]
            )
        )
        return self._scored(sample, claims, judged)

    def _scored(self, sample: Sample, claims: Sequence[Sentence], judged: Sequence[Judged]) -> Score:
        rows = [self._row(place, sample, *pair) for place, pair in enumerate(zip(claims, judged, strict=True), start=1)]
        failed = [row for row in rows if row["verdict"] != "supported"]
        supported = len(rows) - len(failed)
        told = "; ".join(
            f"{row['id']} {row['probability']:.2f}: {shown(row['claim'], 80)}" for row in failed[:SHOWN_CLAIMS]
        )
        more = f" and {len(failed) - SHOWN_CLAIMS} more" if len(failed) > SHOWN_CLAIMS else ""
        explanation = f"{supported} of {count_of(len(rows), 'sentence is entailed', 'sentences are entailed')}" + (
            f"; {told}{more}" if failed else ""
        )
        details = {"outcome": "judged", "supported": supported, "total": len(rows), "claims": rows}
        return Score(supported / len(rows), explanation, details=details)

    def _row(self, place: int, sample: Sample, claim: Sentence, judged: Judged) -> dict[str, Any]:
        """One claim with its evidence, as `faithfulness` tells it, and the model's probability."""
        quote, context = _passage(claim.text, judged.window, sample.contexts)
        row: dict[str, Any] = {
            "id": f"c{place}",
            "sentence": claim.id,
            "claim": shortened(claim.text, KEPT_CHARACTERS),
            "verdict": "supported" if judged.probability >= self.threshold else "not_supported",
            "quote": shortened(quote, KEPT_CHARACTERS),
            "probability": judged.probability,
        }
        return row if context is None else {**row, "context": context}


def _claims(sentences: Sequence[Sentence]) -> list[Sentence]:
    """The sentences that claim something, each once."""
    claims: dict[str, Sentence] = {}
    for sentence in sentences:
        if not sentence.abstains and not claims_nothing(sentence.text):
            claims.setdefault(normalised(sentence.text).rstrip(".!"), sentence)
    return list(claims.values())


def _passage(claim: str, window: str, contexts: Sequence[str]) -> tuple[str, int | None]:
    """The sentence of a window that shares the most words with a claim, and the place of its context.

    The model does not say which sentence of a window it took: this is where a reader best begins.
    """
    wanted = set(content_words(claim))
    ranked = [(len(wanted & set(content_words(sentence.text))), sentence.text) for sentence in sentences_of(window)]
    shared, best = max(ranked, key=lambda pair: pair[0], default=(0, ""))
    quote = best if shared else window.strip()
    return quote, next((place for place, context in enumerate(contexts) if quote in context), None)


def windows_of(text: str, offsets: Sequence[tuple[int, int]], size: int) -> list[str]:
    """A text in windows of at most so many tokens, each beginning with a quarter of the one before.

    Args:
        text: The text.
        offsets: Where each of its tokens begins and ends.
        size: Tokens of a window.

    Returns:
        At least one; together they hold the whole text.

    >>> windows_of("a b c d e", [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)], 4)
    ['a b c d', 'd e']
    """
    if len(offsets) <= size:
        return [text]
    step = size - int(size * OVERLAP)
    starts = range(0, max(1, len(offsets) - (size - step)), step)
    return [text[offsets[start][0] : offsets[min(start + size, len(offsets)) - 1][1]] for start in starts]


@lru_cache(maxsize=2)
def _encoder(weights: Weights, head: Head, reads: int) -> CrossEncoder:
    return CrossEncoder(weights, head, reads)


class CrossEncoder:
    """A model in memory. For one thread.

    Args:
        weights: The model.
        head: How its output is read.
        reads: Tokens of a passage and a claim together.

    Raises:
        ScoringError: It cannot be loaded.
    """

    def __init__(self, weights: Weights, head: Head, reads: int) -> None:
        import torch
        import transformers

        kinds = {
            "sequence": transformers.AutoModelForSequenceClassification,
            "tokens": transformers.AutoModelForTokenClassification,
        }
        folder, local = str(weights.folder), {"local_files_only": True, "trust_remote_code": False}
        with quietly_loading(weights.model):
            weights.verify()
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True, **local)
            model: Any = kinds[head.kind].from_pretrained(folder, dtype=torch.float32, **local)
        self._device = device_of(weights)
        self._model = model.to(self._device).eval()
        self._head, self._name, self._longest = head, weights.model, reads
        self._special: int = self._tokenizer.num_special_tokens_to_add(pair=True)

    def judged(self, contexts: Sequence[str], claims: Sequence[str], *, batch: int = BATCH) -> list[Judged]:
        """What the model says of each claim: the highest probability over the windows of the contexts.

        Args:
            contexts: The texts, read one after the other.
            claims: At least one.
            batch: Pairs that are read at once; changes nothing but the speed.

        Raises:
            ScoringError: A claim is longer than the model can read, or all pairs together are too many.
        """
        room = max(1, int((self._longest - self._special) * CLAIM_SHARE))
        for claim in claims:
            if (tokens := len(self._tokens(claim))) > room:
                told = f"a sentence has {tokens} tokens, and beside a passage the model reads {room}"
                raise ScoringError(f"{told}: {shown(claim, 60)}")
        text = "\n\n".join(contexts)
        windows = windows_of(text, self._tokens(text), self._longest - self._special - room)
        pairs = [(window, claim) for claim in claims for window in windows]
        if len(pairs) > MOST_PAIRS:
            raise ScoringError(
                f"{len(claims)} claims in {len(windows)} windows are more than the {MOST_PAIRS} pairs read"
            )
        found: list[float] = []
        for start in range(0, len(pairs), batch):
            found += self._probabilities(pairs[start : start + batch])
        rows = [found[start : start + len(windows)] for start in range(0, len(found), len(windows))]
        return [Judged(max(row), windows[row.index(max(row))]) for row in rows]

    def _probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        import torch

        encoded = self._tokenizer(
            [window for window, _ in pairs],
            [claim for _, claim in pairs],
            padding=True,
            truncation="only_first",  # a window that is cut in the middle of a word may have a token more
            max_length=self._longest,
            return_tensors="pt",
        )
        with torch.inference_mode():
            logits = self._model(**encoded.to(self._device)).logits.float()
            if self._head.label is None:
                found = torch.sigmoid(logits[:, 0])
            elif self._head.kind == "sequence":
                found = torch.softmax(logits, dim=-1)[:, self._head.label]
            else:
                found = self._of_tokens(torch.softmax(logits, dim=-1)[:, :, self._head.label], encoded)
        rounded = [round(float(value), DIGITS) for value in found]
        if not all(0.0 <= value <= 1.0 for value in rounded):  # NaN is none of them
            raise ScoringError(f"model '{self._name}' gave a probability that is none")
        return rounded

    def _of_tokens(self, supported: Any, encoded: Any) -> Any:
        """Per pair: how far the least supported token of the claim is supported."""
        import torch

        of_claim = [[place == 1 for place in encoded.sequence_ids(row)] for row in range(supported.shape[0])]
        mask = torch.tensor(of_claim, device=supported.device)
        return supported.masked_fill(~mask, 1.0).min(dim=-1).values

    def _tokens(self, text: str) -> Sequence[tuple[int, int]]:
        """Where each token of a text begins and ends."""
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets: Sequence[tuple[int, int]] = found["offset_mapping"]
        return offsets
