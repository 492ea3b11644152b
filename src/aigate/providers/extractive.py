"""`ExtractiveProvider`: answers a question with the sentence or passage of the sample's contexts that fits it best.

Offline, without a key, the same bytes on every machine: a modest answerer that makes a gate run out of the box. It
reads the sample's input as the question; the rendered prompt does not reach it. Its parameters stand in a prompt file
under `extractive:`, so that a new prompt version changes what it answers, as it would with a model.

How it works: the contexts are cut into units (sentences, or whole passages). Question and units become terms, weighted
by smoothed inverse document frequency over the sample's own units and the question. A unit's similarity is the cosine
of the TF-IDF vectors (`tfidf`), or the share of the question's weight that stands in the unit (`coverage`); the best
unit is the answer, unless its similarity is below `min-similarity`.
"""

from __future__ import annotations

import math
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aigate.core.registry import refuse_unknown
from aigate.core.response import Response
from aigate.errors import ProviderConfigError
from aigate.providers.base import ProviderSettings, Request

__all__ = ["ExtractiveParameters", "ExtractiveProvider", "from_settings", "split_sentences", "stem"]

ADAPTER_VERSION = 1
SERVED_MODEL = "extractive-tfidf-1"  # declared as extractive/tfidf-1/PROMPT; another algorithm gets another number
COMPARED_DIGITS = 9  # sums may differ in the last bits between machines; nothing that does may decide

# Parameters of requests to models: a prompt file serves both, so they are let through and change nothing here.
GENERAL_PARAMETERS = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "metadata",
    "min_p",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning",
    "reasoning_effort",
    "repetition_penalty",
    "response_format",
    "seed",
    "service_tier",
    "stop",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
)

STOP_WORDS = frozenset(
    """
    a about after again all also am an and any anyone anything are aren't as at be because been before being but by
    can can't cannot could couldn't did didn't do does doesn't doing don't each else even ever every for from
    further get gets getting had has hasn't have haven't having he her here hers herself him himself his how i if in
    into is isn't it itself just let many may me might mine more most much must my myself need no nor not of off on
    once one only or other our ours ourselves out over own please shall she should shouldn't so some someone
    something still such than that the their theirs them themselves then there these they thing this those through
    to too under until up upon us very was wasn't we were weren't what what's when where whether which while who
    whom whose why will with within without won't would wouldn't yes you your yours yourself yourselves i'm i've i'd
    i'll you're you've we're they're there's it's that's who's where's how's let's
    """.split()  # noqa: SIM905 - read by people
)

IRREGULAR = {
    "began": "begin",
    "begun": "begin",
    "bought": "buy",
    "broke": "break",
    "broken": "break",
    "brought": "bring",
    "came": "come",
    "children": "child",
    "chose": "choose",
    "chosen": "choose",
    "did": "do",
    "gave": "give",
    "given": "give",
    "got": "get",
    "held": "hold",
    "kept": "keep",
    "left": "leave",
    "lost": "lose",
    "made": "make",
    "men": "man",
    "paid": "pay",
    "people": "person",
    "said": "say",
    "sent": "send",
    "sold": "sell",
    "spent": "spend",
    "taken": "take",
    "took": "take",
    "went": "go",
    "women": "woman",
    "worn": "wear",
    "written": "write",
}

Terms = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ExtractiveParameters:
    """What decides the answer; written in kebab-case in a prompt file.

    Attributes:
        unit: What an answer is made of: a whole context, or a sentence of one.
        top: Units in the answer, 1 to 5, joined in the order of the contexts.
        ngrams: Lowest and highest number of words in a term, 1 to 3.
        stop_words: True drops words that carry no content, question words among them.
        stem: True makes `returns`, `returned` and `returning` the same term.
        similarity: How a unit is compared with the question, in [0, 1]: cosine of TF-IDF vectors, or the share of the
            question's IDF weight that the unit covers (equal coverage is decided by the cosine).
        min_similarity: In [0, 1]; where the best unit has less, the answer is `abstain`.
        abstain: What is said instead of a poor answer, and where there are no contexts.
    """

    unit: Literal["sentence", "passage"] = "sentence"
    top: int = 1
    ngrams: tuple[int, int] = (1, 1)
    stop_words: bool = False
    stem: bool = False
    similarity: Literal["tfidf", "coverage"] = "tfidf"
    min_similarity: float = 0.0
    abstain: str = "I don't know."

    @classmethod
    def parse(cls, parameters: Mapping[str, Any]) -> ExtractiveParameters:
        """Read request parameters; those that only models have (temperature, ...) are passed over.

        Raises:
            ProviderConfigError: An unknown parameter, or a value that does not fit.

        >>> ExtractiveParameters.parse({"top": 2, "temperature": 0}).top
        2
        """
        where = "provider 'extractive'"
        known = tuple(_CHECKS)
        own = {name: value for name, value in parameters.items() if name not in GENERAL_PARAMETERS}
        refuse_unknown(own, known, where=where, kind="parameters", error=ProviderConfigError)
        for name, value in own.items():
            fits, expected = _CHECKS[name]
            if not fits(value):
                raise ProviderConfigError(f"{where}: parameter '{name}' is {value!r}, expected {expected}")
        fields = {name.replace("-", "_"): value for name, value in own.items()}
        if "ngrams" in fields:
            fields["ngrams"] = tuple(fields["ngrams"])
        return cls(**fields)


class ExtractiveProvider:
    """Answers from the sample's contexts.

    Args:
        clock: Seconds that only grow.
    """

    name = "extractive"
    most_repeats = 1  # the same question and contexts give the same answer
    offline = True

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock

    def describe(self) -> Mapping[str, Any]:
        """Name and adapter version; the parameters are the prompt's."""
        return {"name": self.name, "adapter": ADAPTER_VERSION}

    async def respond(self, request: Request) -> Response:
        """Answer from the contexts; `abstain` where none fits or there are none.

        Raises:
            ProviderConfigError: A parameter that is unknown or does not fit.
        """
        parameters = ExtractiveParameters.parse(request.parameters)
        started = self._clock()
        output = answer(request.sample.text, request.sample.contexts, parameters)
        latency_s = self._clock() - started
        return Response(output=output, latency_s=latency_s, finish_reason="stop", served_model=SERVED_MODEL)

    async def aclose(self) -> None:
        """Nothing is held open."""


def from_settings(settings: ProviderSettings) -> ExtractiveProvider:
    """Make the provider; it has no options.

    Raises:
        ProviderConfigError: An option was given.
    """
    settings.only("extractive")
    return ExtractiveProvider()


def answer(question: str, contexts: Sequence[str], parameters: ExtractiveParameters) -> str:
    """The best units for the question, or `parameters.abstain`.

    >>> contexts = ["Shipping is free. Returns take 30 days."]
    >>> answer("How long do returns take?", contexts, ExtractiveParameters())
    'Returns take 30 days.'
    """
    units = _units(contexts, parameters)
    if not units:
        return parameters.abstain
    ranks = _ranks(question, units, parameters)
    order = sorted(range(len(units)), key=lambda index: (-ranks[index].similarity, -ranks[index].tie, index))
    chosen = [index for index in order[: parameters.top] if ranks[index].similarity >= parameters.min_similarity]
    if not chosen:
        return parameters.abstain
    joint = " " if parameters.unit == "sentence" else "\n\n"
    return joint.join(units[index] for index in sorted(chosen))


def split_sentences(text: str) -> tuple[str, ...]:
    """Cut a text into sentences.

    Abbreviations, initials and decimals do not end one; each item of a list is one; wrapped lines are joined; Markdown
    headings, and short lines without punctuation that stand above a text, are left out: they answer nothing.

    >>> split_sentences("Dr. Li is in. It costs 3.50 EUR, e.g. for tea! Ask.")
    ('Dr. Li is in.', 'It costs 3.50 EUR, e.g. for tea!', 'Ask.')
    """
    blocks = _blocks(text)
    kept = [block for index, block in enumerate(blocks) if not _is_heading(block, last=index == len(blocks) - 1)]
    return tuple(sentence for block in kept or blocks for sentence in _sentences_of(block.text))


def stem(word: str) -> str:
    """A word without its common English endings; light and regular, so that forms of one word meet.

    >>> [stem(word) for word in ("returns", "returned", "shipping", "shipment", "policies", "cancellation")]
    ['return', 'return', 'ship', 'ship', 'polic', 'cancel']
    """
    if not word.isalpha() or len(word) <= 2:
        return word
    word = _inflected(IRREGULAR.get(word, word))
    for ending, kept in (("ability", 3), ("ation", 4), ("ment", 3), ("ship", 4), ("able", 4), ("ible", 4), ("ion", 3)):
        if word.endswith(ending) and len(word) - len(ending) >= kept:
            word = word.removesuffix(ending)
            break
    for ending in ("al", "ly"):
        if word.endswith(ending) and len(word) >= 6:
            word = word.removesuffix(ending)
    return _bare(word)


@dataclass(frozen=True, slots=True)
class _Rank:
    similarity: float
    tie: float


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines that belong together.

    Attributes:
        text: The lines, joined.
        marked: True for a Markdown heading.
        item: True for an item of a list.
    """

    text: str
    marked: bool = False
    item: bool = False


def _units(contexts: Sequence[str], parameters: ExtractiveParameters) -> list[str]:
    if parameters.unit == "passage":
        return [context.strip() for context in contexts if context.strip()]
    return [sentence for context in contexts for sentence in split_sentences(context)]


def _ranks(question: str, units: Sequence[str], parameters: ExtractiveParameters) -> list[_Rank]:
    terms = _terms(parameters)
    asked, of_units = terms(question), [terms(unit) for unit in units]
    if not asked:
        return [_Rank(0.0, 0.0)] * len(units)
    weights, cosines = _weights_and_cosines(asked, of_units)
    coverages = [_coverage(asked, unit, weights) for unit in of_units]
    similarities = cosines if parameters.similarity == "tfidf" else coverages
    return [
        _Rank(round(value, COMPARED_DIGITS), round(cosine, COMPARED_DIGITS))
        for value, cosine in zip(similarities, cosines, strict=True)
    ]


def _coverage(asked: Iterable[str], unit: Iterable[str], weights: Mapping[str, float]) -> float:
    """The share of the question's weight that stands in the unit. A term that no unit holds weighs most."""
    wanted, there = sorted(set(asked)), set(unit)
    covered = math.fsum(weights[term] for term in wanted if term in there)
    return covered / math.fsum(weights[term] for term in wanted)


def _weights_and_cosines(
    asked: Sequence[str], documents: Sequence[Sequence[str]]
) -> tuple[dict[str, float], list[float]]:
    """The IDF weight of every term, and the cosine of each document with the question.

    Sublinear TF-IDF with a smoothed IDF and vectors of length 1, as scikit-learn's TfidfVectorizer has it: ln((1 + n) /
    (1 + df)) + 1 times 1 + ln(tf). Written out here because importing that takes longer than a whole evaluation.
    """
    counts = [Counter(terms) for terms in (*documents, asked)]
    found_in = Counter(term for terms in counts for term in terms)
    weights = {term: math.log((1 + len(counts)) / (1 + found)) + 1.0 for term, found in found_in.items()}
    *vectors, question = [_unit_vector(terms, weights) for terms in counts]
    return weights, [math.fsum(vector.get(term, 0.0) * value for term, value in question.items()) for vector in vectors]


def _unit_vector(terms: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, float]:
    """The TF-IDF vector of a document, of length 1; nothing where it has no terms."""
    vector = {term: (1.0 + math.log(count)) * weights[term] for term, count in terms.items()}
    length = math.sqrt(math.fsum(value * value for value in vector.values()))
    return {term: value / length for term, value in vector.items()}


def _terms(parameters: ExtractiveParameters) -> Terms:
    def terms(text: str) -> tuple[str, ...]:
        words: Iterable[str] = _words(text)
        if parameters.stop_words:
            words = (word for word in words if word not in STOP_WORDS)
        if parameters.stem:
            words = map(stem, words)
        return tuple(_ngrams(tuple(words), *parameters.ngrams))

    return terms


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).replace("’", "'").casefold()
    return [word.removesuffix("'s") for word in _WORD.findall(folded)]


def _ngrams(words: Sequence[str], low: int, high: int) -> Iterable[str]:
    for size in range(low, high + 1):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


def _inflected(word: str) -> str:
    """Without plural, -ed and -ing."""
    if word.endswith(("ies", "ied")) and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "xes", "zes", "ches", "shes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 2 and _VOWEL.search(rest) and not word.endswith("eed"):
            return rest
    return word


def _bare(word: str) -> str:
    """Without the last letters that differ between forms: silent e, y of longer words, doubled consonants."""
    if word.endswith("e") and len(word) > 2:
        word = word[:-1]
    if word.endswith("y") and len(word) >= 6:
        word = word[:-1]
    if len(word) > 2 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word


def _blocks(text: str) -> list[_Block]:
    blocks: list[_Block] = []
    lines: list[str] = []
    item = False

    def close() -> None:
        if lines:
            blocks.append(_Block(" ".join(lines), item=item))
            lines.clear()

    for line in (raw.strip() for raw in text.splitlines()):
        bullet, marker = _BULLET.match(line), _HEADING.match(line)
        if not line or bullet or marker or _ends_heading(lines, line):
            close()
            item = bool(bullet)
        if marker:
            blocks.append(_Block(line[marker.end() :], marked=True))
        elif line:
            lines.append(line[bullet.end() :] if bullet else line)
    close()
    return [block for block in blocks if block.text]


def _ends_heading(lines: Sequence[str], following: str) -> bool:
    """True when the only line so far is a title, and the next begins a text of its own."""
    return len(lines) == 1 and _reads_as_title(lines[0]) and following[:1].isupper()


def _reads_as_title(line: str) -> bool:
    return len(line.split()) <= 6 and len(line) <= 60 and line[-1:] not in ".!?…:;,"


def _is_heading(block: _Block, *, last: bool) -> bool:
    return block.marked or (not block.item and not last and _reads_as_title(block.text))


def _sentences_of(text: str) -> list[str]:
    sentences, start = [], 0
    for end in _END.finditer(text):
        if _ends_sentence(text, end):
            sentences.append(text[start : end.end()].strip())
            start = end.end()
    return [sentence for sentence in (*sentences, text[start:].strip()) if sentence]


def _ends_sentence(text: str, end: re.Match[str]) -> bool:
    rest = text[end.end() :].lstrip()
    if not rest or end[1] in _WIDE_ENDS:
        return True
    if rest[0].islower():
        return False
    if not end[1].startswith(".") or len(end[1]) > 1:
        return True
    word = text[: end.start()].rsplit(None, 1)[-1].lstrip("([\"'“‘").casefold() if text[: end.start()].strip() else ""
    if word in _MAY_BE_LAST:
        return rest[0].isupper()
    if word == "no":
        return not rest[0].isdigit()
    return word not in _NEVER_LAST and not _INITIAL.fullmatch(word)


_WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W_]+(?:'[^\W\d_]+)?")
_VOWEL = re.compile(r"[aeiouy]")
_HEADING = re.compile(r"#{1,6}\s+")
_BULLET = re.compile(r"(?:[-*•–‣]|\(?(?:\d{1,2}|[a-z])[.)])\s+")
_WIDE_ENDS = frozenset("。！？")
_END = re.compile(r"([.!?…]+|[。！？])(?:[\"'”’)\]]*)(?=\s|$|(?<=[。！？]))")
_INITIAL = re.compile(r"[a-z](?:\.[a-z])*")
_NEVER_LAST = frozenset(
    "mr mrs ms dr prof rev gen sen rep e.g eg i.e ie vs cf ca approx fig figs sec art al nos st mt ft".split()  # noqa: SIM905
)
_MAY_BE_LAST = frozenset(
    """
    a.m p.m etc inc ltd co corp u.s u.k e.u min max hr hrs oz lb lbs
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun
    """.split()  # noqa: SIM905 - read by people
)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_count(value: Any, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= high


def _is_range(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(_is_count(item, 3) for item in value)
    return pair and value[0] <= value[1]


_CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "unit": (lambda value: value in ("sentence", "passage"), '"sentence" or "passage"'),
    "top": (lambda value: _is_count(value, 5), "a whole number from 1 to 5"),
    "ngrams": (_is_range, "two whole numbers [low, high] with 1 <= low <= high <= 3"),
    "stop-words": (_is_bool, "true or false"),
    "stem": (_is_bool, "true or false"),
    "similarity": (lambda value: value in ("tfidf", "coverage"), '"tfidf" or "coverage"'),
    "min-similarity": (_is_share, "a number from 0 to 1"),
    "abstain": (lambda value: isinstance(value, str) and bool(value.strip()), "a text"),
}
