"""Bounds for a quantile, such as the 99th percentile of latency, that hold for every distribution.

Of n independent values, the number that lie at or below the true q-quantile is Binomial(n, q), or more where values
are tied at it. So the r-th smallest value is at most the quantile with probability P(Bin >= r), and the s-th smallest
at least the quantile with probability P(Bin <= s - 1) (Thompson 1936; David and Nagaraja, *Order Statistics*, 7.1).
Latencies have heavy tails, for which bounds from a fitted distribution or a bootstrap of the maximum are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats import special
from aigate.stats.arrays import finite_array, open_fraction

__all__ = [
    "ExceedanceLimits",
    "QuantileInterval",
    "QuantileRanks",
    "Side",
    "exceedance_limits",
    "quantile_bound",
    "quantile_interval",
    "quantile_ranks",
    "samples_to_bound",
    "samples_to_settle",
]

Side = Literal["lower", "upper"]

# Logarithms of decimals miss whole numbers by a few units in the last place.
ROUNDING = 1e-9
SLACK = 1e-12  # the same for probabilities: a level that is met exactly is met
MOST_SAMPLES_NAMED = 10**7  # more are no advice


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


@dataclass(frozen=True, slots=True)
class QuantileRanks:
    """Which of n values in ascending order a quantile and its bounds are, counted from 1.

    Attributes:
        low: The lower bound; None where so few values give none.
        estimate: The quantile.
        high: The upper bound; None where so few values give none.
    """

    low: int | None
    estimate: int
    high: int | None


@dataclass(frozen=True, slots=True)
class ExceedanceLimits:
    """How many of n values may lie above a number, for what that says of their quantile.

    Attributes:
        n: Number of values.
        within: With so many or fewer above the number, the quantile is shown to be at most that; -1: it cannot be.
        beyond: With so many or more, it is shown to be larger than the number; n + 1: it cannot be.
    """

    n: int
    within: int
    beyond: int


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
    if not len(array):
        raise ValueError("values: got none, expected at least one")
    ranks = quantile_ranks(len(array), quantile, level=level)
    low, high = (None if rank is None else float(array[rank - 1]) for rank in (ranks.low, ranks.high))
    return QuantileInterval(float(array[ranks.estimate - 1]), low, high, n=len(array))


def quantile_ranks(n: int, quantile: float, *, level: float = 0.90) -> QuantileRanks:
    """Which of n independent values a quantile and its two-sided interval are, whatever the values.

    So that values of which only the order is known (a call that was given up was slower than all others) can be used.

    Args:
        n: Number of values, 1 or more.
        quantile: Between 0 and 1.
        level: Two-sided confidence, as in `quantile_interval`.

    Raises:
        ValueError: No values, or a quantile or level outside (0, 1).

    >>> quantile_ranks(299, 0.99)
    QuantileRanks(low=293, estimate=297, high=299)
    """
    if n < 1:
        raise ValueError(f"n: got {n}, expected 1 or more")
    open_fraction(quantile, name="quantile")
    tail = 1.0 - (1.0 + open_fraction(level, name="level")) / 2.0
    estimate = max(1, math.ceil(n * quantile - ROUNDING))
    return QuantileRanks(_low_rank(n, quantile, tail), estimate, _high_rank(n, quantile, tail))


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
    tail = 1.0 - open_fraction(level, name="level")
    if side not in ("lower", "upper"):
        raise ValueError(f"side: got {side!r}, expected 'lower' or 'upper'")
    array = np.sort(finite_array(values, name="values", ndim=1))
    rank = (_low_rank if side == "lower" else _high_rank)(len(array), quantile, tail)
    return None if rank is None else float(array[rank - 1])


def exceedance_limits(
    counts: Sequence[int], quantile: float, *, within_spent: Sequence[float], beyond_spent: Sequence[float]
) -> tuple[ExceedanceLimits, ...]:
    """The same decision as by the bounds of `quantile_ranks`, at several looks at growing data.

    Each look may cost what is spent by then, less what the looks before it really cost; one that is too early to show
    anything costs nothing. That the looks share data is not used (Bonferroni), so the rates hold for every law.

    Args:
        counts: Values by each look, growing.
        quantile: Between 0 and 1.
        within_spent: By each look, the chance so far of calling a quantile at most a number that it is larger than;
            never falling. A look that spends no more than the one before may still use what that left.
        beyond_spent: The chance so far of calling it larger than a number that it is not.

    Returns:
        One pair of limits per look. A single look with `spent` alpha decides as one-sided bounds of level 1 - alpha.

    Raises:
        ValueError: A quantile outside (0, 1).

    >>> exceedance_limits([100, 299], 0.99, within_spent=[0.01, 0.05], beyond_spent=[0.01, 0.05])
    (ExceedanceLimits(n=100, within=-1, beyond=5), ExceedanceLimits(n=299, within=0, beyond=7))
    """
    open_fraction(quantile, name="quantile")
    found, within_cost, beyond_cost = [], 0.0, 0.0
    for n, within, beyond in zip(counts, within_spent, beyond_spent, strict=True):
        high, low = _high_rank(n, quantile, within - within_cost), _low_rank(n, quantile, beyond - beyond_cost)
        within_cost += 0.0 if high is None else 1.0 - float(special.bdtr(high - 1, n, quantile))
        beyond_cost += 0.0 if low is None else float(special.bdtr(low - 1, n, quantile))
        found.append(ExceedanceLimits(n, -1 if high is None else n - high, n + 1 if low is None else n - low + 1))
    return tuple(found)


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


def samples_to_settle(above: int, n: int, quantile: float, *, level: float = 0.95) -> int | None:
    """About how many values it takes to show on which side of a number a quantile lies, if the share above it stays.

    Args:
        above: Values seen above the number.
        n: Values seen, 1 or more.
        quantile: Between 0 and 1.
        level: One-sided confidence, between 0 and 1.

    Returns:
        None where the share is that of the quantile itself, so that no number settles it, or ten million do not.

    Raises:
        ValueError: A quantile or level outside (0, 1).

    >>> samples_to_settle(0, 200, 0.99), samples_to_settle(1, 200, 0.99), samples_to_settle(2, 200, 0.99)
    (299, 1055, None)
    """
    tail, share, needed = 1.0 - open_fraction(level, name="level") + SLACK, above / n, n
    small = samples_to_bound(quantile, level=level)
    if above == 0:
        return max(small, n)
    while needed <= MOST_SAMPLES_NAMED and abs(share - (1.0 - quantile)) > SLACK:
        most = needed - round(share * needed)  # values that do not lie above it
        chance = (
            1.0 - special.bdtr(most - 1, needed, quantile)
            if share < 1.0 - quantile
            else special.bdtr(most, needed, quantile)
        )
        if chance <= tail:
            return needed
        needed += max(1, needed // 100)
    return None


def _low_rank(n: int, quantile: float, tail: float) -> int | None:
    """The largest r with P(Bin(n, q) <= r - 1) <= tail; None where there is none."""
    if tail <= 0.0:
        return None
    first, last = _where_it_may_lie(n, quantile)
    at_most = special.bdtr(np.arange(first, last), n, quantile)
    return first + int(np.count_nonzero(at_most <= tail + SLACK)) or None


def _high_rank(n: int, quantile: float, tail: float) -> int | None:
    """The smallest s with P(Bin(n, q) >= s) <= tail; None where there is none."""
    if tail <= 0.0:
        return None
    first, last = _where_it_may_lie(n, quantile)
    below = first + int(np.count_nonzero(1.0 - special.bdtr(np.arange(first, last), n, quantile) > tail + SLACK))
    return below + 1 if below < n else None


def _where_it_may_lie(n: int, quantile: float) -> tuple[int, int]:
    """Counts of Bin(n, q) within 40 standard deviations of its mean: below and above, nothing has a probability."""
    mean, reach = n * quantile, 50.0 + 40.0 * math.sqrt(n * quantile * (1.0 - quantile))
    return max(0, math.floor(mean - reach)), min(n, math.ceil(mean + reach))
