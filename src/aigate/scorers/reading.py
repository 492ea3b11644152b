"""Reading a model's output: strict JSON, code fences, numbers, references, and how a text is shown in an explanation.

Everything here is total on any string: lone surrogates, NULs and megabytes included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aigate.core.digest import canonical_json
from aigate.core.response import Response
from aigate.errors import ScoringError

__all__ = [
    "Fence",
    "alternatives",
    "fences",
    "one_number",
    "output_of",
    "shown",
    "shown_words",
    "unfenced",
    "whole_fence",
]

SHOWN_CHARS = 200
NUMBER_CHARS = 400  # longer digit strings are no answers, and their arithmetic is slow

_FENCE_LINE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n`]*)$", re.MULTILINE)
_NUMBER = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?", re.ASCII)


def output_of(response: Response) -> str:
    """The response's output.

    Raises:
        ScoringError: It has a fault instead; the runner asks no scorer about those.
    """
    if response.output is None:
        raise ScoringError("the response has a fault and no output, expected an output to score")
    return response.output


def shown(text: str, limit: int = SHOWN_CHARS) -> str:
    """A text quoted for an explanation: invisible characters escaped, the middle of a long one left out.

    >>> shown("a" * 300, 10)
    "'aaaaa ... aaaaa' (300 characters)"
    """
    if len(text) <= limit:
        return repr(text)
    half = limit // 2
    return f"{text[:half] + ' ... ' + text[-half:]!r} ({len(text)} characters)"


def shown_words(words: Iterable[str], limit: int = SHOWN_CHARS) -> str:
    """Words quoted and joined by commas, as many as fit; the number of the others is named.

    >>> shown_words(["yes", "no"])
    "'yes', 'no'"
    """
    whole = list(words)
    parts: list[str] = []
    for word in whole:
        part = shown(word, 60)
        if parts and sum(map(len, parts)) + len(part) > limit:
            return f"{', '.join(parts)} and {len(whole) - len(parts)} more"
        parts.append(part)
    return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Fence:
    """A Markdown code fence.

    Attributes:
        language: The first word after the opening mark, in lower case; may be empty.
        content: The lines between the marks, without the last line break.
        start: Where the opening line begins.
        end: Where the closing line ends; the end of the text when it is not closed.
        closed: False when the closing mark is missing.
    """

    language: str
    content: str
    start: int
    end: int
    closed: bool


def fences(text: str) -> list[Fence]:
    """Every code fence of a text, in order; the last one may be open."""
    found: list[Fence] = []
    opened: re.Match[str] | None = None
    for line in _FENCE_LINE.finditer(text):
        if opened is None:
            opened = line
        elif line[1].startswith(opened[1]) and not line[2].strip():
            content = text[opened.end() + 1 : max(line.start() - 1, opened.end() + 1)]
            found.append(Fence(_language(opened), content, opened.start(), line.end(), closed=True))
            opened = None
    if opened is not None:
        content = text[opened.end() + 1 :]
        found.append(Fence(_language(opened), content, opened.start(), len(text), closed=False))
    return found


def whole_fence(text: str) -> Fence | None:
    r"""The one fence that is the whole text but for space around it, or None.

    >>> whole_fence("```python\nx = 1\n```").content
    'x = 1'
    """
    found = fences(text)
    if len(found) != 1:
        return None
    around = text[: found[0].start] + text[found[0].end :]
    return None if around.strip() else found[0]


def unfenced(text: str) -> str:
    r"""The content of the text's only code fence; the text itself when it has none, several or an open one.

    >>> unfenced("The answer:\n```\n42\n```\n")
    '42'
    """
    found = fences(text)
    return found[0].content if len(found) == 1 and found[0].closed else text


def one_number(text: str) -> Fraction | None:
    """The number that the whole text is, exactly; None when it is anything else.

    A sign, thousands commas, a fraction and an exponent of up to three digits are read; no unit and no currency.

    >>> one_number(" 1,250.50 ")
    Fraction(2501, 2)
    """
    stripped = text.strip()
    match = _NUMBER.fullmatch(stripped) if len(stripped) <= NUMBER_CHARS else None
    if match is None:
        return None
    sign, whole, fraction, exponent = match.groups()
    digits = (whole or "").replace(",", "") + (fraction or "")
    shift = int(exponent or 0) - len(fraction or "")
    return Fraction(int(sign + digits)) * Fraction(10) ** shift


def alternatives(reference: Any) -> tuple[str, ...] | None:
    """The texts that a reference accepts: a string, the JSON text of a number or boolean, or each of a list of strings.

    Returns:
        At least one text; None for anything else (an object, an empty or mixed list, no reference).

    >>> alternatives(18), alternatives(["yes", "yep"]), alternatives({"a": 1})
    (('18',), ('yes', 'yep'), None)
    """
    if isinstance(reference, str):
        return (reference,)
    if isinstance(reference, bool | int | float):
        return (canonical_json(reference),)
    if isinstance(reference, list | tuple) and reference and all(isinstance(item, str) for item in reference):
        return tuple(reference)
    return None


def _language(opening: re.Match[str]) -> str:
    words = opening[2].split(maxsplit=1)
    return words[0].lower() if words else ""
