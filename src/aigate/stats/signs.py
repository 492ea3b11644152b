"""The exact sign test: did paired values move one way more often than chance would have it?

For 0/1 values it is McNemar's exact test. Ties say nothing and are left out; under "as likely up as down" the number
that went up among those that moved is binomial with 1/2 (Conover 1999, Practical Nonparametric Statistics, 3.4).
"""

from __future__ import annotations

import math

__all__ = ["sign_test"]


def sign_test(up: int, down: int) -> float:
    """The exact two-sided p-value, in (0, 1]: twice the smaller tail; 1.0 where nothing moved.

    Args:
        up: How many went up.
        down: How many went down.

    Raises:
        ValueError: A negative count.

    >>> sign_test(0, 6), sign_test(0, 0), sign_test(3, 3)
    (0.03125, 1.0, 1.0)
    """
    if up < 0 or down < 0:
        raise ValueError(f"got {up} up and {down} down, expected counts")
    moved = up + down
    tail = sum(math.comb(moved, k) for k in range(min(up, down) + 1))
    return min(1.0, 2.0 * tail / 2.0**moved) if moved < 1000 else _of_many(tail, moved)


def _of_many(tail: int, moved: int) -> float:
    """The same where 2 to the power of `moved` is no float any more."""
    return min(1.0, 2.0 * float(tail * 10**18 // 2**moved) / 1e18)
