"""The scorer `grounding`: the share of an answer's words that its contexts hold.

It is offline and lexical, and it is not faithfulness.

The score is the number of different content words of the answer that occur in the contexts, divided by the number of
all of them. Content words are those that are not among some 140 English function words; two words are the same when
they agree in their first five letters (a stemmer that hardly needs a language; a plural s is dropped before), two
numbers only when they are written the same but for thousands commas. Chinese and Japanese are compared by character.

**What it cannot do.** It does not see contradiction, negation, swapped roles or wrong combinations ("A bought B" from
"B bought A" scores 1.0), and it takes a true paraphrase in other words for unsupported. It finds answers that bring in
much that is not in the contexts; it does not rank good models. Its threshold does not carry over from one task to
another: gate on it against a baseline, or calibrate it on labelled answers of your own.

**Measured** on RAGTruth's answers with people's labels (`benchmarks/grounding.py`; response level, 2,226 test rows):
AUROC .790 over all, .793 on question answering, .681 on summaries, .711 on data to text. Plain unigram novelty: .763
over all where repeated words count again, .782 where they do not. Word pairs were tried and made it worse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.scorers.options import metric_option
from aigate.scorers.reading import output_of, shown, shown_words
from aigate.scorers.shape import is_abstention

__all__ = ["Grounding", "content_words", "from_settings", "unsupported_words"]

STEM_CHARS = 5
WORDS_KEPT = 100
WORD_CHARS_KEPT = 60

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\d+(?:[.,:]\d+)*|[^\W\d_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_FUNCTION_WORDS = frozenset(
    """
    a about all also an and another any are as at be been being between both but by can could d did do does down each
    for from had has have he her here him his how i if in into is it its just ll m may me might more most must my no nor
    not of off on only or other our out over re s should so some such t than that the their them then there these they
    this those through to too under up us ve very was we were what when where which who whom why will with would you
    your
    """.split()  # noqa: SIM905
)


def from_settings(settings: ScorerSettings) -> Scorer:
    """Make the scorer; it has no option but `metric`.

    Raises:
        ConfigError: An unknown option.
    """
    settings.only("metric")
    metric = metric_option(settings, "grounding")
    return Grounding(MetricSpec(metric, "grounding", options={"metric": metric}))


@dataclass(frozen=True)
class Grounding:
    """The share of the answer's different content words that occur in the contexts.

    Sentences that only say that the answer is not known or not in the sources claim nothing and are left out; an answer
    of nothing else scores 1.0, and its explanation says so. That an empty answer or an abstention is no help is for
    other metrics to say (`shape`, `exact_match`): judge grounding beside one of them, or a model that abstains always
    looks perfect.
    """

    spec: MetricSpec

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without a word of context lie outside the metric."""
        if any(_WORD.search(context) for context in sample.contexts):
            return None
        return Unscored("not_applicable", "the sample has no contexts")

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:
        """Look up the answer's words in the contexts."""
        outside = self.applies_to(sample)
        if outside is not None:
            return outside
        output = output_of(response)
        words = content_words(_claiming(output))
        if not words:
            return Score(
                1.0, f"the answer claims nothing, so nothing is unsupported: {shown(output)}", details={"words": 0}
            )
        missing = unsupported_words(words, sample.contexts)
        value = 1.0 - len(missing) / len(words)
        held = f"{len(words) - len(missing)} of {len(words)} content words are in the contexts"
        details = {"words": len(words), "unsupported": [word[:WORD_CHARS_KEPT] for word in missing[:WORDS_KEPT]]}
        return Score(value, f"{held}; not in them: {shown_words(missing)}" if missing else held, details=details)


def content_words(text: str) -> dict[str, str]:
    """The different content words of a text, in order of appearance: stem to the first word that has it.

    >>> content_words("The prices of 1,250 houses; house prices rose.")
    {'price': 'prices', '1250': '1,250', 'house': 'houses', 'rose': 'rose'}
    """
    found: dict[str, str] = {}
    for word in _WORD.findall(text.lower()):
        if word not in _FUNCTION_WORDS:
            found.setdefault(_stem(word), word)
    return found


def unsupported_words(words: dict[str, str], contexts: Iterable[str]) -> list[str]:
    """Those of `content_words` whose stem is in no context, in order of appearance."""
    held = {_stem(word) for context in contexts for word in _WORD.findall(context.lower())}
    return [word for stem, word in words.items() if stem not in held]


def _stem(word: str) -> str:
    if word[0].isdigit():
        return word.replace(",", "")
    plural = len(word) > 3 and word.endswith("s") and not word.endswith("ss")
    return (word[:-1] if plural else word)[:STEM_CHARS]


def _claiming(text: str) -> str:
    """The text without the sentences that abstain."""
    return " ".join(sentence for sentence in _SENTENCE.findall(text) if not is_abstention(sentence))
