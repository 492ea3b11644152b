"""Counts in words: a noun, and a verb, that agree with their number."""

from __future__ import annotations

__all__ = ["are", "count_of", "were"]


def count_of(count: int, one: str, many: str = "", *, thousands: bool = False) -> str:
    """The count and what is counted.

    Args:
        count: How many.
        one: What one is called; a verb may follow it.
        many: What several, or none, are called; default: `one` with an s.
        thousands: Write 1,000 for 1000.

    >>> count_of(1, "answer"), count_of(0, "answer"), count_of(2, "answer talks", "answers talk")
    ('1 answer', '0 answers', '2 answers talk')
    """
    return f"{count:{',' if thousands else ''}} {one if count == 1 else many or f'{one}s'}"


def are(count: int) -> str:
    """What follows `1 of 20 scores`: is; or `2 of 20 scores`: are."""
    return "is" if count == 1 else "are"


def were(count: int) -> str:
    """The same of what was."""
    return "was" if count == 1 else "were"
