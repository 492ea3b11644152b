"""The scorers `exact_match` and `includes`: the output equals the reference, or the reference stands in the output.

Both sides are normalised the same way first, in this order: `strip-fence`, `unicode`, `case`, `punctuation`,
`articles`,
`space`.

==================  ===========================  ====================================================================
option              values (default first)       meaning
==================  ===========================  ====================================================================
`case`              keep, fold                   fold: capital and small letters are the same
`space`             strip, keep, fold            strip: no space at the ends; fold: and one blank for any run of space
`punctuation`       keep, drop                   drop: ASCII punctuation and Unicode categories P* are left out
`articles`          keep, drop                   drop: the English words a, an, the are left out (as SQuAD does)
`unicode`           NFC, NFKC, keep              Unicode normalisation form
`strip-fence`       false, true                  take the content of the output's only code fence
`number-tolerance`  not given                    exact_match: two numbers are equal up to this absolute difference
`anywhere`          false, true                  includes: also inside a word or a longer number
`metric`            exact_match, includes        the metric's name
==================  ===========================  ====================================================================
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aigate.core.counts import count_of
from aigate.core.digest import canonical_json
from aigate.core.json_text import strict_json
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.scorers.options import flag_option, metric_option, number_option, word_option
from aigate.scorers.reading import alternatives, one_number, output_of, shown, shown_words, unfenced

__all__ = ["ExactMatch", "Includes", "Normalisation", "exact_match", "includes"]

CASES = ("keep", "fold")
SPACES = ("keep", "strip", "fold")
KEEP_OR_DROP = ("keep", "drop")
UNICODE_FORMS = ("NFC", "NFKC", "keep")
NORMALISATION_OPTIONS = ("case", "space", "punctuation", "articles", "unicode", "strip-fence")

_ARTICLE = re.compile(r"\b(?:a|an|the)\b\s*", re.IGNORECASE)
_SPACES = re.compile(r"\s+")


def exact_match(settings: ScorerSettings) -> Scorer:
    """Make the scorer `exact_match`.

    Raises:
        ConfigError: An unknown option, or a value it cannot have.
    """
    settings.only("metric", "number-tolerance", *NORMALISATION_OPTIONS)
    normalisation = Normalisation.from_settings(settings)
    tolerance = number_option(settings, "number-tolerance")
    metric = metric_option(settings, "exact_match")
    options = {"metric": metric, "number-tolerance": tolerance, **normalisation.options()}
    return ExactMatch(MetricSpec(metric, "exact_match", options=options), normalisation, tolerance)


def includes(settings: ScorerSettings) -> Scorer:
    """Make the scorer `includes`.

    Raises:
        ConfigError: An unknown option, or a value it cannot have.
    """
    settings.only("metric", "anywhere", *NORMALISATION_OPTIONS)
    normalisation = Normalisation.from_settings(settings)
    anywhere = flag_option(settings, "anywhere")
    metric = metric_option(settings, "includes")
    options = {"metric": metric, "anywhere": anywhere, **normalisation.options()}
    return Includes(MetricSpec(metric, "includes", options=options), normalisation, anywhere)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What two texts may differ in and still be the same; see the table at the top of the module."""

    case: str = "keep"
    space: str = "strip"
    punctuation: str = "keep"
    articles: str = "keep"
    unicode: str = "NFC"
    strip_fence: bool = False

    @classmethod
    def from_settings(cls, settings: ScorerSettings) -> Normalisation:
        """Read it from a scorer's options.

        Raises:
            ConfigError: A value it cannot have.
        """
        return cls(
            case=word_option(settings, "case", CASES, default="keep") or "keep",
            space=word_option(settings, "space", SPACES, default="strip") or "strip",
            punctuation=word_option(settings, "punctuation", KEEP_OR_DROP, default="keep") or "keep",
            articles=word_option(settings, "articles", KEEP_OR_DROP, default="keep") or "keep",
            unicode=word_option(settings, "unicode", UNICODE_FORMS, default="NFC") or "NFC",
            strip_fence=flag_option(settings, "strip-fence"),
        )

    def options(self) -> dict[str, Any]:
        """The options it was read from, defaults filled in."""
        names = {"strip-fence": "strip_fence"}
        return {name: getattr(self, names.get(name, name)) for name in NORMALISATION_OPTIONS}

    def of_output(self, text: str) -> str:
        """A model's output, normalised."""
        return self.of(unfenced(text) if self.strip_fence else text)

    def of(self, text: str) -> str:
        """A text, normalised; code fences stay.

        >>> Normalisation(case="fold", punctuation="drop", articles="drop", space="fold").of("The  Answer: 42.")
        'answer 42'
        """
        if self.unicode == "NFC":
            text = unicodedata.normalize("NFC", text)
        elif self.unicode == "NFKC":
            text = unicodedata.normalize("NFKC", text)
        if self.case == "fold":
            text = text.casefold()
        if self.punctuation == "drop":
            text = "".join(char for char in text if not _is_punctuation(char))
        if self.articles == "drop":
            text = _ARTICLE.sub("", text)
        if self.space == "fold":
            text = _SPACES.sub(" ", text)
        return text if self.space == "keep" else text.strip()


@dataclass(frozen=True)
class ExactMatch:
    """1.0 when the output equals the reference after normalisation, else 0.0.

    A string, number or boolean is compared as text (a number by its JSON text); of a list of strings any may match. An
    object, or any other list, is compared as a JSON value: key order and number form (1, 1.0) make no difference, and
    an output that is no JSON is unparseable. With a number tolerance, two texts that are one number each are compared
    as numbers, exactly (in rational arithmetic).
    """

    spec: MetricSpec
    normalisation: Normalisation
    tolerance: float | None

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without a reference lie outside the metric."""
        return Unscored("no_reference", "the sample has no reference") if sample.reference is None else None

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:
        """Compare output and reference."""
        texts = alternatives(sample.reference)
        if texts is None:
            return self._score_json(sample.reference, output_of(response))
        output = output_of(response)
        matched = next((text for text in texts if self._same(output, text)), None)
        expected = f"any of {shown_words(texts)}" if len(texts) > 1 else shown(texts[0])
        if matched is not None:
            return Score(1.0, f"got {shown(output)}, which matches the expected {shown(matched)}")
        return Score(0.0, f"got {shown(output)}, expected {expected}")

    def _same(self, output: str, expected: str) -> bool:
        if self.normalisation.of_output(output) == self.normalisation.of(expected):
            return True
        if self.tolerance is None:
            return False
        got = one_number(unfenced(output) if self.normalisation.strip_fence else output)
        wanted = one_number(expected)
        return got is not None and wanted is not None and abs(got - wanted) <= Fraction(str(self.tolerance))

    def _score_json(self, reference: Any, output: str) -> ScoreOrNot:
        try:
            got = strict_json(unfenced(output) if self.normalisation.strip_fence else output)
        except ValueError as error:
            return Unscored("unparseable", f"expected JSON, got {shown(output)}: {error}")
        where = _json_difference(got, reference)
        expected = shown(canonical_json(reference))
        if not where:
            return Score(1.0, f"got the expected JSON {expected}")
        return Score(0.0, f"{where}; expected {expected}, got {shown(output)}")


@dataclass(frozen=True)
class Includes:
    """1.0 when the reference, or any of a list of strings, stands in the output after normalisation, else 0.0.

    It must stand on word boundaries, and a number must not be part of a longer one: `18` stands neither in `180` nor in
    `18.5`. It says nothing about what else the output claims.
    """

    spec: MetricSpec
    normalisation: Normalisation
    anywhere: bool

    def applies_to(self, sample: Sample) -> Unscored | None:
        """Samples without a text to look for lie outside the metric: an empty text would stand in every output."""
        if sample.reference is None:
            return Unscored("no_reference", "the sample has no reference")
        texts = alternatives(sample.reference)
        if texts is None:
            return Unscored("not_applicable", "the reference is no text; exact_match compares JSON values")
        if not all(self.normalisation.of(text).strip() for text in texts):
            return Unscored("no_reference", f"nothing is left of the reference {shown_words(texts)} to look for")
        return None

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:
        """Look for the reference in the output."""
        outside = self.applies_to(sample)
        if outside is not None:
            return outside
        texts = alternatives(sample.reference) or ()
        output = output_of(response)
        normalised = self.normalisation.of_output(output)
        for text in texts:
            if _stands_in(self.normalisation.of(text), normalised, anywhere=self.anywhere):
                return Score(1.0, f"{shown(text)} stands in {shown(output)}")
        missing = f"none of {shown_words(texts)} stands" if len(texts) > 1 else f"{shown(texts[0])} does not stand"
        return Score(0.0, f"{missing} in {shown(output)}")


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _json_difference(got: Any, expected: Any, path: str = "$") -> str:
    """Where two JSON values first differ, in words; empty when they are equal. True is no 1."""
    if isinstance(got, Mapping) and isinstance(expected, Mapping):
        return _object_difference(got, expected, path)
    if isinstance(got, list | tuple) and isinstance(expected, list | tuple):
        if len(got) != len(expected):
            return f"{path} has {count_of(len(got), 'item')} instead of {len(expected)}"
        pairs = enumerate(zip(got, expected, strict=True))
        return next((found for i, (a, b) in pairs if (found := _json_difference(a, b, f"{path}[{i}]"))), "")
    same = isinstance(got, bool) == isinstance(expected, bool) and got == expected
    return (
        "" if same else f"{path} is {shown(canonical_json(got), 60)} instead of {shown(canonical_json(expected), 60)}"
    )


def _object_difference(got: Mapping[str, Any], expected: Mapping[str, Any], path: str) -> str:
    if missing := sorted(expected.keys() - got.keys()):
        return f"{path} lacks the key {shown(missing[0], 60)}"
    if added := sorted(got.keys() - expected.keys()):
        return f"{path} has the unexpected key {shown(added[0], 60)}"
    return next(
        (found for key in sorted(got) if (found := _json_difference(got[key], expected[key], f"{path}.{key}"))), ""
    )


def _stands_in(needle: str, text: str, *, anywhere: bool) -> bool:
    if anywhere:
        return needle in text
    found = text.find(needle)
    while found != -1:
        if _starts_a_word(text, found) and _ends_a_word(text, found + len(needle)):
            return True
        found = text.find(needle, found + 1)
    return False


def _starts_a_word(text: str, start: int) -> bool:
    if start == 0 or not _is_word(text[start]):
        return True
    inside_number = text[start].isdigit() and text[start - 1] in ".," and start > 1 and text[start - 2].isdigit()
    return not _is_word(text[start - 1]) and not inside_number


def _ends_a_word(text: str, end: int) -> bool:
    if end == len(text) or not _is_word(text[end - 1]):
        return True
    inside_number = text[end - 1].isdigit() and text[end] in ".," and text[end + 1 : end + 2].isdigit()
    return not _is_word(text[end]) and not inside_number


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
