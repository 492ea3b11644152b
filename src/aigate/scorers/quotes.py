"""Does a quotation stand in a text? Word for word, but for spelling that no reader would call another text.

Alike are: Unicode compatibility forms, upper and lower case, kinds of quotation marks, dashes and white space, and
characters that nobody sees. An ellipsis in a quotation leaves something out: what stands around it must follow in
order, in one and the same text. One that is too short to prove anything stands nowhere, unless it is the whole text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["find_quote", "normalised"]

FEWEST_CHARACTERS = 12  # of a quotation; a Chinese or Japanese character counts as three
WIDE = 3
FEWEST_OF_A_PART = 4  # around an ellipsis

_ELLIPSIS = re.compile(r"\s*[\[(]?\s*(?:\.\s?\.\s?\.+|…)\s*[\])]?\s*")
_MARKS = str.maketrans(
    {**dict.fromkeys("‘’‚‛`´′ʼ", "'"), **dict.fromkeys("“”„‟«»″", '"'), **dict.fromkeys("‐‑‒–—―−", "-")}
)
_UNSEEN = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
_OUTSIDE = " \t\n'\".,;:!?-()[]"


def find_quote(quote: str, texts: Sequence[str]) -> int | None:
    """The place of the first text that a quotation stands in; None where it stands in none.

    It must begin and end at the edge of a word, and be of at least 12 characters (the marks around it left out) or be
    the whole text.

    >>> find_quote("may be returned … within 30 days", ["Opened items may be returned, but only within 30 days."])
    0
    >>> find_quote("may not be returned", ["Opened items may be returned."]) is None
    True
    """
    wanted = [part for part in (_bare(part) for part in _ELLIPSIS.split(normalised(quote))) if part]
    whole = _bare(normalised(quote))
    for place, text in enumerate(texts):
        held = normalised(text)
        if whole and (_stands(whole, held) or whole == _bare(held)):
            if _weight(whole) >= FEWEST_CHARACTERS or whole == _bare(held):
                return place
        elif _stand_in_order(wanted, held):
            return place
    return None


def normalised(text: str) -> str:
    r"""The text as it is compared: NFKC, case folded, plain marks, single spaces, nothing invisible.

    >>> normalised("It\u2019s\u00a0 \u200bTHE “end”")
    'it\'s the "end"'
    """
    folded = unicodedata.normalize("NFKC", _UNSEEN.sub("", text).replace("…", "...")).translate(_MARKS).casefold()
    return " ".join(folded.split())


def _bare(text: str) -> str:
    return text.strip(_OUTSIDE)


def _stand_in_order(parts: Sequence[str], text: str) -> bool:
    """True when all parts follow one another, and are enough together and each by itself."""
    if len(parts) < 2 or sum(map(_weight, parts)) < FEWEST_CHARACTERS:
        return False
    start = 0
    for part in parts:
        found = _find(part, text, start)
        if found < 0 or _weight(part) < FEWEST_OF_A_PART:
            return False
        start = found + len(part)
    return True


def _stands(part: str, text: str) -> bool:
    return _find(part, text, 0) >= 0


def _find(part: str, text: str, start: int) -> int:
    """Where a part begins in a text, at the edges of words; -1 where it does not."""
    while (found := text.find(part, start)) >= 0:
        if _is_edge(text, found) and _is_edge(text, found + len(part)):
            return found
        start = found + 1
    return -1


def _is_edge(text: str, place: int) -> bool:
    """True where no word of letters goes on: in Chinese and Japanese that is anywhere."""
    if place in (0, len(text)):
        return True
    before, after = text[place - 1], text[place]
    return not (before.isalnum() and after.isalnum()) or _is_wide(before) or _is_wide(after)


def _weight(text: str) -> int:
    return sum(WIDE if _is_wide(character) else 1 for character in text)


def _is_wide(character: str) -> bool:
    return "\u3040" <= character <= "\u30ff" or "\u3400" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff"
