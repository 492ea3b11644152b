"""Bounds for a quantile, such as the 99th percentile of latency, that hold for every distribution.

Of n independent values, the number that lie at or below the true q-quantile is Binomial(n, q), or more where values
are tied at it. So the r-th smallest value is at most the quantile with probability P(Bin >= r), and the s-th smallest
at least the quantile with probability P(Bin <= s - 1) (Thompson 1936; David and Nagaraja, *Order Statistics*, 7.1).
Latencies have heavy tails, for which bounds from a fitted distribution or a bootstrap of the maximum are wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats import special
from aigate.stats.arrays import finite_array, open_fraction

__all__ = ["QuantileInterval", "Side", "quantile_bound", "quantile_interval", "samples_to_bound"]

Side = Literal["lower", "upper"]

# Logarithms of decimals miss whole numbers by a few units in the last place.
ROUNDING = 1e-9
SLACK = 1e-12  # the same for probabilities: a level that is met exactly is met


@dataclass(frozen=True, slots=True)
class QuantileInterval:
    """A quantile with its bounds.

    Attributes:
        estimate: The smallest value that a share `quantile` of the values does not exceed.
        low: Lower bound, one of the values; None where so few values give none.
        high: Upper bound, one of the values; None where so few values give none.
        n: Number of values.
    """

    estimate: float
    low: float | None
    high: float | None
    n: int


def quantile_interval(values: ArrayLike, quantile: float, *, level: float = 0.90) -> QuantileInterval:
    """A two-sided interval: on either side the bound misses the quantile with a chance of at most (1 - level) / 2.

    Args:
        values: Shape (n,), independent, at least one, in any order.
        quantile: Between 0 and 1; 0.99 is the 99th percentile.
        level: Two-sided confidence, between 0 and 1; 0.90 gives one-sided 95 % bounds.

    Raises:
        ValueError: No values, a value that is not finite, or a quantile or level outside (0, 1).

    >>> quantile_interval(range(1, 101), 0.5)
    QuantileInterval(estimate=50.0, low=42.0, high=59.0, n=100)
    >>> quantile_interval(range(1, 101), 0.99).high is None
    True
    """
    array = np.sort(finite_array(values, name="values", ndim=1))
    n = len(array)
    if n == 0:
        raise ValueError("values: got none, expected at least one")
    one_sided = (1.0 + open_fraction(level, name="level")) / 2.0
    low, high = (quantile_bound(array, quantile, side=side, level=one_sided) for side in ("lower", "upper"))
    rank = max(1, math.ceil(n * quantile - ROUNDING))
    return QuantileInterval(float(array[rank - 1]), low, high, n=n)


def quantile_bound(values: ArrayLike, quantile: float, *, side: Side, level: float = 0.95) -> float | None:
    """A one-sided bound: the quantile lies beyond it with a chance of at most 1 - level.

    Args:
        values: Shape (n,), independent, in any order.
        quantile: Between 0 and 1.
        side: "upper" for what the quantile is at most, "lower" for what it is at least.
        level: One-sided confidence, between 0 and 1.

    Returns:
        The tightest of the values that is such a bound; None where there is none, see `samples_to_bound`.

    Raises:
        ValueError: A value that is not finite, a side that is neither, or a quantile or level outside (0, 1).

    >>> quantile_bound(range(1, 300), 0.99, side="upper"), quantile_bound(range(1, 299), 0.99, side="upper")
    (299.0, None)
    """
    open_fraction(quantile, name="quantile")
    tail = 1.0 - open_fraction(level, name="level") + SLACK
    if side not in ("lower", "upper"):
        raise ValueError(f"side: got {side!r}, expected 'lower' or 'upper'")
    array = np.sort(finite_array(values, name="values", ndim=1))
    n = len(array)
    if n == 0:
        return None
    at_most = special.bdtr(np.arange(n), n, quantile)  # P(Bin <= 0 .. n - 1)
    if side == "lower":
        rank = int(np.count_nonzero(at_most <= tail))  # the largest r with P(Bin <= r - 1) <= tail
        return float(array[rank - 1]) if rank else None
    too_low = int(np.count_nonzero(1.0 - at_most > tail))  # ranks s with P(Bin >= s) > tail
    return float(array[too_low]) if too_low < n else None


def samples_to_bound(quantile: float, *, side: Side = "upper", level: float = 0.95) -> int:
    """The smallest number of values with which a one-sided bound exists.

    The largest value is below the quantile with chance q^n, the smallest above it with chance (1 - q)^n.

    Args:
        quantile: Between 0 and 1.
        side: Which bound.
        level: One-sided confidence, between 0 and 1.

    Returns:
        At least 1; 299 for an upper 95 % bound of the 99th percentile.

    Raises:
        ValueError: A side that is neither, or a quantile or level outside (0, 1).

    >>> samples_to_bound(0.99), samples_to_bound(0.5), samples_to_bound(0.99, side="lower")
    (299, 5, 1)
    """
    open_fraction(quantile, name="quantile")
    if side not in ("lower", "upper"):
        raise ValueError(f"side: got {side!r}, expected 'lower' or 'upper'")
    log_miss = math.log(quantile) if side == "upper" else math.log1p(-quantile)
    return max(1, math.ceil(math.log1p(-open_fraction(level, name="level")) / log_miss - ROUNDING))
