"""Scorers of overlap with a reference text: `token_f1`, `rouge_l`, `bleu`, `chrf`.

They count shared words or characters and know nothing of meaning: a negated sentence overlaps almost wholly. The last
three need the extra `text`.

A list of references: `token_f1`, `rouge_l` and `chrf` take the best of them; `bleu` reads all of them at once (its
n-grams may come from any). An output of more than 100,000 characters is unparseable: n-gram counts of it would take
gigabytes.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import MissingExtraError
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.scorers.options import flag_option, metric_option
from aigate.scorers.reading import alternatives, output_of, shown, shown_words

__all__ = ["Overlap", "bleu", "chrf", "longest_common_subsequence", "rouge_l", "squad_f1", "squad_tokens", "token_f1"]

OUTPUT_CHARS = 100_000

Measure = Callable[[str, Sequence[str]], float]
"""Output and references to a number in [0, 1]."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


def token_f1(settings: ScorerSettings) -> Scorer:
    """Make the scorer `token_f1`: F1 of shared words, as SQuAD's official script computes it.

    Raises:
        ConfigError: An unknown option, or a value it cannot have.
    """
    settings.only("metric")
    return _overlap(settings, {}, _best(squad_f1))


def rouge_l(settings: ScorerSettings) -> Scorer:
    """Make the scorer `rouge_l`: F1 of the longest common subsequence of words; option `stem` (false): Porter stems.

    The numbers are those of the package `rouge_score`, whose tokens we use; the subsequence is ours, because theirs
    takes minutes and gigabytes where an output runs away.

    Raises:
        ConfigError: An unknown option, or a value it cannot have.
        MissingExtraError: The extra `text` is not installed.
    """
    settings.only("metric", "stem")
    stem = flag_option(settings, "stem")
    return _overlap(settings, {"stem": stem}, _best(_rouge_l_measure(stem=stem)))


def bleu(settings: ScorerSettings) -> Scorer:
    """Make the scorer `bleu`: sentence BLEU of the package `sacrebleu` with effective order, divided by 100.

    Raises:
        ConfigError: An unknown option, or a value it cannot have.
        MissingExtraError: The extra `text` is not installed.
    """
    settings.only("metric")
    return _overlap(settings, {}, _sacrebleu_measure("BLEU", effective_order=True))


def chrf(settings: ScorerSettings) -> Scorer:
    """Make the scorer `chrf`: sentence chrF (character n-grams up to 6) of the package `sacrebleu`, divided by 100.

    Raises:
        ConfigError: An unknown option, or a value it cannot have.
        MissingExtraError: The extra `text` is not installed.
    """
    settings.only("metric")
    return _overlap(settings, {}, _sacrebleu_measure("CHRF"))


@dataclass(frozen=True)
class Overlap:
    """A number in [0, 1] for how much an output shares with its reference; 1 for equal texts, 0 for nothing shared."""

    spec: MetricSpec
    measure: Measure = field(compare=False, repr=False)

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without a reference text lie outside the metric."""
        if sample.reference is None:
            return Unscored("no_reference", "the sample has no reference")
        if alternatives(sample.reference) is None:
            return Unscored("not_applicable", "the reference is no text; exact_match compares JSON values")
        return None

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:
        """Measure the overlap."""
        outside = self.applies_to(sample)
        if outside is not None:
            return outside
        output, references = output_of(response), alternatives(sample.reference) or ()
        if len(output) > OUTPUT_CHARS:
            return Unscored("unparseable", f"the output has {len(output)} characters, expected at most {OUTPUT_CHARS}")
        # Rounding inside the libraries can leave an equal text a hair above 1.
        value = min(max(self.measure(output, references), 0.0), 1.0)
        return Score(value, f"{value:.3f} shared: got {shown(output)}, expected {shown_words(references)}")


def squad_tokens(text: str) -> list[str]:
    """The words of a text as SQuAD's official script has them: lower case, no ASCII punctuation, no articles.

    >>> squad_tokens("The cat, a dog.")
    ['cat', 'dog']
    """
    return _ARTICLES.sub(" ", text.lower().translate(_DROP_PUNCTUATION)).split()


def squad_f1(output: str, reference: str) -> float:
    """F1 of shared words, with multiplicity, as SQuAD 2.0 has it.

    Where either side has no words: 1.0 if both have none, else 0.0.

    >>> round(squad_f1("in Paris, France", "Paris"), 3)
    0.5
    """
    got, expected = squad_tokens(output), squad_tokens(reference)
    if not got or not expected:
        return float(got == expected)
    shared = (Counter(got) & Counter(expected)).total()
    return 2 * shared / (len(got) + len(expected))


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence, bit-parallel: one row of the table is one integer.

    Hyyrö, "Bit-parallel LCS-length computation revisited" (2004). O(m n / 64).

    >>> longest_common_subsequence("a b c d".split(), "a c d e".split())
    3
    """
    positions: dict[str, int] = {}
    for index, token in enumerate(first):
        positions[token] = positions.get(token, 0) | 1 << index
    full = (1 << len(first)) - 1
    row = full
    for token in second:
        matched = row & positions.get(token, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(first) - row.bit_count()


def _overlap(settings: ScorerSettings, options: dict[str, Any], measure: Measure) -> Scorer:
    metric = metric_option(settings, settings.name)
    return Overlap(MetricSpec(metric, settings.name, options={"metric": metric, **options}), measure)


def _best(measure: Callable[[str, str], float]) -> Measure:
    return lambda output, references: max(measure(output, reference) for reference in references)


def _rouge_l_measure(*, stem: bool) -> Callable[[str, str], float]:
    try:
        from rouge_score.tokenizers import DefaultTokenizer
    except ImportError:
        raise MissingExtraError("rouge_score", extra="text", purpose="the scorer 'rouge_l'") from None
    tokenizer = DefaultTokenizer(use_stemmer=stem)

    def measure(output: str, reference: str) -> float:
        got, expected = tokenizer.tokenize(output), tokenizer.tokenize(reference)
        shared = longest_common_subsequence(expected, got)
        return 2 * shared / (len(got) + len(expected)) if shared else 0.0

    return measure


def _sacrebleu_measure(name: str, **arguments: Any) -> Measure:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise MissingExtraError("sacrebleu", extra="text", purpose=f"the scorer '{name.lower()}'") from None
    metric = getattr(metrics, name)(**arguments)
    return lambda output, references: float(metric.sentence_score(output, list(references)).score) / 100
