"""Showing text that a model wrote: nothing in it may act on the terminal or the page it is shown on."""

from __future__ import annotations

import unicodedata

__all__ = ["excerpt", "printable"]

KEPT = "\n\t"


def printable(text: str) -> str:
    r"""The text with every control, format and surrogate character made visible.

    Escape sequences cannot colour or clear a terminal, and right-to-left overrides cannot reorder a line.

    >>> print(printable("a" + chr(27) + "[2Jb"))
    a\x1b[2Jb
    """
    return "".join(character if _harmless(character) else _visible(character) for character in text)


def excerpt(text: str, limit: int = 400) -> str:
    """At most `limit` characters of a text, made printable, from its beginning; says how much was left out."""
    if len(text) <= limit:
        return printable(text)
    return f"{printable(text[:limit]).rstrip()} … ({len(text) - limit:,} more characters)"


def _harmless(character: str) -> bool:
    return character in KEPT or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}


def _visible(character: str) -> str:
    point = ord(character)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
