"""Intervals for a share of successes."""

from __future__ import annotations

import math

from aigate.stats import special
from aigate.stats.arrays import open_fraction

__all__ = ["clopper_pearson", "wilson_interval"]


def wilson_interval(successes: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share.

    With p = successes / n and z the two-sided normal quantile of `level`, the ends are
    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) (Wilson 1927). Coverage is close to `level` on average.

    Args:
        successes: 0 to n.
        n: Number of independent trials; a fraction where it stands for grouped ones (`aigate.stats.design`).
        level: Two-sided confidence, between 0 and 1.

    Returns:
        (low, high) in [0, 1]. No trials know nothing: (0, 1). No success gives low = 0, no failure gives high = 1.

    Raises:
        ValueError: A count that cannot be, or a level outside (0, 1).

    >>> low, high = wilson_interval(45, 50)
    >>> round(low, 3), round(high, 3)
    (0.786, 0.957)
    """
    _check_counts(successes, n)
    z = float(special.ndtri((1.0 + open_fraction(level, name="level")) / 2.0))
    if n == 0:
        return 0.0, 1.0
    share, shrink = successes / n, 1.0 + z * z / n
    centre = (share + z * z / (2.0 * n)) / shrink
    half = z * math.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n)) / shrink
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def clopper_pearson(successes: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact interval for a share: coverage is never below `level` (Clopper and Pearson 1934).

    low is the (1-level)/2 quantile of Beta(successes, n - successes + 1), high the (1+level)/2 quantile of
    Beta(successes + 1, n - successes).

    Args:
        successes: 0 to n.
        n: Number of independent trials.
        level: Two-sided confidence, between 0 and 1.

    Returns:
        (low, high) in [0, 1]. No trials know nothing: (0, 1). No success gives low = 0, no failure gives high = 1.

    Raises:
        ValueError: A count that cannot be, or a level outside (0, 1).

    >>> low, high = clopper_pearson(0, 59, level=0.90)
    >>> low, round(high, 4)
    (0.0, 0.0495)
    """
    _check_counts(successes, n)
    tail = (1.0 - open_fraction(level, name="level")) / 2.0
    failures = n - successes
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, failures + 1, tail))
    high = 1.0 if failures == 0 else float(special.betaincinv(successes + 1, failures, 1.0 - tail))
    return low, high


def _check_counts(successes: float, n: float) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"successes: got {successes} of n = {n}, expected 0 <= successes <= n")
