"""Showing text that a model wrote: nothing in it may act on the terminal or the page it is shown on."""

from __future__ import annotations

import os
import re
import unicodedata
from contextlib import suppress
from typing import TextIO

from aigate.core.counts import count_of

__all__ = ["excerpt", "printable", "width_for"]

KEPT = "\n\t"
WIDEST, NARROWEST, USUAL = 120, 40, 80  # columns

# What a runner of CI jobs takes for a command in the log of a step: `::error ...` at the beginning of a line (GitHub),
# and `##[error]`, `##vso[...]`, `##teamcity[...]` anywhere (GitHub, Azure, TeamCity).
_COMMAND = re.compile(r"(?<!\S):(?=:)|#(?=#\w*\[)")


def printable(text: str) -> str:
    r"""The text with every control, format and surrogate character made visible, and every command to a CI runner.

    Escape sequences cannot colour or clear a terminal, right-to-left overrides cannot reorder a line, and a line of a
    job's log cannot set an output of its step.

    >>> print(printable("a" + chr(27) + "[2Jb"))
    a\x1b[2Jb
    >>> print(printable("::set-output name=status::pass"))
    \x3a:set-output name=status::pass
    """
    seen = "".join(character if _harmless(character) else _visible(character) for character in text)
    return _COMMAND.sub(lambda found: _visible(found[0]), seen)


def width_for(stream: TextIO, *, environ_columns: str | None = None) -> int:
    """Columns to write in: 40 to 120 as the environment's COLUMNS says, else the terminal's up to 120, else 80."""
    if environ_columns and environ_columns.isdecimal():
        return max(NARROWEST, min(int(environ_columns), WIDEST))
    if stream.isatty():
        with suppress(OSError, ValueError):  # a terminal that has no size, or is no file
            return min(os.get_terminal_size(stream.fileno()).columns, WIDEST) or USUAL
    return USUAL


def excerpt(text: str, limit: int = 400) -> str:
    """At most `limit` characters of a text, made printable, from its beginning; says how much was left out."""
    if len(text) <= limit:
        return printable(text)
    return f"{printable(text[:limit]).rstrip()} … ({count_of(len(text) - limit, 'more character', thousands=True)})"


def _harmless(character: str) -> bool:
    return character in KEPT or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}


def _visible(character: str) -> str:
    point = ord(character)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
