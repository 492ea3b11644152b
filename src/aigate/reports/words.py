"""What changed between two texts, word by word, in the notation of `git diff --word-diff`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

__all__ = ["Change", "marked", "word_changes"]

MOST_WORDS = 2_000  # comparing takes time that grows with the square: longer texts are shown one after the other
ALIKE = 0.3  # below that share of common words a diff is harder to read than the two texts

Kind = Literal["same", "gone", "new"]
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Change:
    """A run of words that both texts have, or only one of them.

    Attributes:
        kind: `same`, `gone` (only in the first text) or `new` (only in the second).
        text: The words, with the space between them.
    """

    kind: Kind
    text: str


def word_changes(before: str, after: str) -> tuple[Change, ...] | None:
    """The second text as changes of the first; None where they have too little in common, or are too long.

    >>> word_changes("Within 45 days.", "Within 30 days.")[1:3]
    (Change(kind='gone', text='45'), Change(kind='new', text='30'))
    """
    first, second = _WORD.findall(before), _WORD.findall(after)
    if max(len(first), len(second)) > MOST_WORDS:
        return None
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    if matcher.ratio() < ALIKE:
        return None
    return tuple(_changes(matcher, first, second))


def marked(changes: Sequence[Change]) -> str:
    """The changes in one text: `[-gone-]` and `{+new+}`.

    >>> marked(word_changes("Within 45 days.", "Within 30 days."))
    'Within [-45-]{+30+} days.'
    """
    marks = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
    return "".join(marks[change.kind].format(change.text) for change in changes)


def _changes(matcher: SequenceMatcher[str], first: Sequence[str], second: Sequence[str]) -> Iterator[Change]:
    for _, start, end, other_start, other_end in matcher.get_opcodes():
        gone, new = "".join(first[start:end]), "".join(second[other_start:other_end])
        if gone == new:
            yield Change("same", gone)
            continue
        if gone:
            yield Change("gone", gone)
        if new:
            yield Change("new", new)
