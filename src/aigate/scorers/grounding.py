"""The scorer `grounding`: how much of an answer its contexts do not hold, in five counts and one number.

It is offline and lexical, and it is not faithfulness.

Five things are counted that the contexts lack (`Unsupported`): the share of the answer's different words, and of its
different content words; its numbers; its names; and the longest run of content words. Their weighted sum goes through a
logistic curve, scaled so that an answer whose every word stands in the contexts scores 1.0. Content words are those
that are not among some 140 English function words. Two words are the same when they agree in their first five letters
(a stemmer that hardly needs a language; a plural s is dropped before), two numbers when they have the same value (1,250
and 1250.0, 5 and five, 5:30 pm and 17:30). A name is a capitalised word that does not begin a sentence. Chinese and
Japanese are compared by character.

**What it cannot do.** It does not see contradiction, negation, swapped roles or wrong combinations ("A bought B" from
"B bought A" scores 1.0), and it takes a true paraphrase in other words for unsupported. It finds answers that bring in
much that is not in the contexts; it hardly ranks the answers of one model to one kind of question (AUROC .66). Long
answers score lower, as they hold more that may be unsupported. Its value is no probability for your data, and no
threshold carries over from one task to another: gate on it against a baseline, or calibrate it on labelled answers of
your own (`aigate judge calibrate`).

**How the weights came about.** `benchmarks/grounding.py` fits them: a logistic regression of people's "has at least one
unsupported span" on 2,617 answers of RAGTruth, weights not negative (more of what is unsupported never scores better),
with a strong ridge penalty. The list of features was fixed by what they mean and by what held across tasks and models
that were left out, not by trying what fits best; features of style (length, lead-ins, list numbers) were left out on
purpose, although they tell weak models from strong ones.

**Measured** with five folds by source document (`benchmarks/results/grounding.md` has all figures): AUROC .808 over
all, .829 on question answering, .691 on summaries, .755 on data to text; fitted on two tasks and asked on the third
.825, .689 and .750. Plain unigram novelty: .756, .729, .678 and .637 in that order. On BEGIN's Wizard of Wikipedia,
never fitted on: .950, novelty .934.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aigate.core.counts import count_of
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.scorers.options import metric_option
from aigate.scorers.reading import output_of, shown, shown_words
from aigate.scorers.shape import is_abstention

__all__ = ["INTERCEPT", "WEIGHTS", "Grounding", "Unsupported", "content_words", "from_settings", "unsupported"]

SCORER_VERSION = 2  # 1 was the share of content words alone

# Fitted by benchmarks/grounding.py, which says when they are not what it finds.
WEIGHTS = {
    "words_absent": 1.92,
    "content_lost": 1.49,
    "log_numbers": 0.82,
    "log_names": 0.90,
    "log_longest": 0.72,
}
INTERCEPT = -3.15

SMOOTHING = 2  # words: one strange word in an answer of three is weaker evidence than ten in thirty
STEM_CHARS = 5
WORDS_KEPT = 100
WORD_CHARS_KEPT = 60

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\d+(?:[.,:]\d+)*|[^\W\d_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"'”)\]]))\s+|\n+")
_LIST_MARK = re.compile(r"^[ \t]{0,8}(?:\d{1,2}[.)]|[-*•])[ \t]{1,8}", re.MULTILINE)
_CLOCK = re.compile(r"\b(\d{1,2})(?::(\d{2}))? ?([ap])(?:m\b|\.m\b\.?)", re.IGNORECASE)
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())  # noqa: SIM905
}
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
    return Grounding(MetricSpec(metric, "grounding", scorer_version=SCORER_VERSION, options={"metric": metric}))


@dataclass(frozen=True)
class Grounding:
    """How well the contexts hold what an answer says, by its words.

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
        found = unsupported(output, sample.contexts)
        if not found.words:
            return Score(
                1.0, f"the answer claims nothing, so nothing is unsupported: {shown(output)}", details={"words": 0}
            )
        return Score(found.support, found.told, details=found.details)


@dataclass(frozen=True, slots=True)
class Unsupported:
    """What of an answer its contexts do not hold; words are counted once.

    Attributes:
        words: Different words of the answer, function words included.
        absent: Those among them that the contexts do not hold.
        content: Different content words of the answer.
        lost: Those among them that the contexts do not hold, as first written, in order of appearance.
        numbers: How many of `lost` are numbers.
        names: How many of `lost` are names: capitalised, and not the first word of a sentence.
        longest: The longest run of content words that the contexts do not hold, within a sentence.
    """

    words: int
    absent: int
    content: int
    lost: tuple[str, ...]
    numbers: int
    names: int
    longest: int

    @property
    def features(self) -> dict[str, float]:
        """What the weights apply to; all of them are 0 where nothing is unsupported, and none is negative."""
        return {
            "words_absent": self.absent / (self.words + SMOOTHING),
            "content_lost": math.log((self.content + 1) / (self.content - len(self.lost) + 1)),
            "log_numbers": math.log1p(self.numbers),
            "log_names": math.log1p(self.names),
            "log_longest": math.log1p(self.longest),
        }

    @property
    def support(self) -> float:
        """The score, in (0, 1]: 1.0 where nothing is unsupported, and never better for more of it."""
        weighted = sum(WEIGHTS[name] * value for name, value in self.features.items())
        return _logistic(-INTERCEPT - weighted) / _logistic(-INTERCEPT)

    @property
    def told(self) -> str:
        """The counts in words."""
        held = f"{self.content - len(self.lost)} of {self.content} content words are in the contexts"
        if not self.lost:
            return held
        kinds = ((self.numbers, "number"), (self.names, "name"))
        among = [count_of(count, word) for count, word in kinds if count]
        inside = f" (among them {' and '.join(among)})" if among else ""
        return f"{held}; not in them{inside}: {shown_words(self.lost)}"

    @property
    def details(self) -> dict[str, object]:
        """The counts as JSON, and the first content words that are not in the contexts."""
        return {
            "words": self.words,
            "absent": self.absent,
            "content": self.content,
            "numbers": self.numbers,
            "names": self.names,
            "longest": self.longest,
            "unsupported": [word[:WORD_CHARS_KEPT] for word in self.lost[:WORDS_KEPT]],
        }


def unsupported(output: str, contexts: Iterable[str]) -> Unsupported:
    """Compare an answer with its contexts, word by word.

    >>> found = unsupported("Prices rose by 7 % in Lima. Houses cost 1,250.", ["House prices: 1250.0 in May"])
    >>> found.lost, found.numbers, found.names, found.longest
    (('rose', '7', 'Lima', 'cost'), 1, 1, 3)
    """
    held = {_stem(word) for context in contexts for word in set(_WORD.findall(_in_24_hours(context).lower()))}
    words: set[str] = set()
    content: set[str] = set()
    lost: dict[str, str] = {}
    names: set[str] = set()
    longest = 0
    for sentence in _claims(output):
        run = 0
        for place, word in enumerate(_WORD.findall(sentence)):
            lower = word.lower()
            stem = _stem(lower)
            words.add(stem)
            if lower in _FUNCTION_WORDS:
                continue
            content.add(stem)
            run = 0 if stem in held else run + 1
            if run:
                longest = max(longest, run)
                lost.setdefault(stem, word)
                if place > 0 and word[0].isupper():
                    names.add(stem)
    return Unsupported(
        words=len(words),
        absent=len(words - held),
        content=len(content),
        lost=tuple(lost.values()),
        numbers=sum(stem[0].isdigit() for stem in lost),
        names=len(names),
        longest=longest,
    )


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


def _claims(text: str) -> Iterator[str]:
    """The sentences that do more than abstain, without list marks, times of day in 24 hours."""
    for sentence in _SENTENCE_END.split(_in_24_hours(_LIST_MARK.sub("", text))):
        if sentence and not is_abstention(sentence):
            yield sentence


def _in_24_hours(text: str) -> str:
    """The text with `5:30 pm` written as `17:30`."""
    return _CLOCK.sub(lambda found: f"{int(found[1]) % 12 + 12 * (found[3] in 'pP')}:{found[2] or '00'}", text)


def _stem(word: str) -> str:
    """What two words in lower case must share to count as one."""
    if word[0].isdigit():
        return _plain_number(word)
    if word in _NUMBER_WORDS:
        return _NUMBER_WORDS[word]
    plural = len(word) > 3 and word.endswith("s") and not word.endswith("ss")
    return (word[:-1] if plural else word)[:STEM_CHARS]


def _plain_number(text: str) -> str:
    """A number in one spelling: no thousands commas, no zeros that say nothing, minutes in two digits.

    >>> [_plain_number(text) for text in ("1,250.50", "4.0", "007", "9:0", "0.5", "1.2.0")]
    ['1250.5', '4', '7', '9:00', '0.5', '1.2.0']
    """
    text = text.replace(",", "")
    if text.count(":") == 1 and "." not in text:
        hours, minutes = text.split(":")
        return f"{hours.lstrip('0') or '0'}:{minutes:0<2}"
    if text.count(".") == 1:
        text = text.rstrip("0").rstrip(".")
    plain = text.lstrip("0")
    return plain if plain[:1].isdigit() else f"0{plain}"


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))
