"""How many times larger: the geometric mean of paired ratios, with bounds, such as of latencies before and after.

The ratio of each pair is as sure as its two values; the mean of the logarithms is what all pairs say together, and one
slow answer moves it no more than it should. Each ratio counts as at most `LARGEST_RATIO` times the one in question, or
that part of it, so that the mean has ends, and bounds that hold for every distribution of the rest: those of
`noninferiority`, which put one case that nobody has seen at each end. With groups the wider of these and of the
cluster-robust t interval.

Ratios are cut around the one that is tolerated, not around 1: where they scatter so widely that many are cut, a version
that is just as slow as tolerated would else look faster, and pass too often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats.arrays import finite_array, unit_sums
from aigate.stats.bootstrap import DRAWS
from aigate.stats.noninferiority import difference_interval

__all__ = ["LARGEST_RATIO", "RatioInterval", "ratio_interval"]

LARGEST_RATIO = 10.0
"""Times the ratio in question: a pair of a larger one counts as this."""


@dataclass(frozen=True, slots=True)
class RatioInterval:
    """The typical ratio of pairs.

    Attributes:
        ratio: The geometric mean; 1 where nothing changed.
        low: Lower bound.
        high: Upper bound.
        n: Pairs.
        n_units: Pairs or groups of pairs that were drawn independently.
        method: How the bounds were found, in words.
    """

    ratio: float
    low: float
    high: float
    n: int
    n_units: int
    method: str


def ratio_interval(
    log_ratios: ArrayLike,
    units: ArrayLike | None = None,
    *,
    seed: int,
    around: float = 1.0,
    level: float = 0.90,
    strict: bool = False,
    draws: int = DRAWS,
) -> RatioInterval:
    """The geometric mean of ratios, each at most `LARGEST_RATIO` away from the one in question, with an interval.

    Args:
        log_ratios: Shape (n,), natural logarithms of new / old, at least one; infinities are cut like the rest.
        units: Shape (n,), one label per pair; None: pairs are independent.
        seed: Seed of the Bayesian bootstrap.
        around: The ratio in question, above 0: the one that is tolerated.
        level: Two-sided confidence, between 0 and 1; 0.90 gives one-sided 95 % bounds.
        strict: For groups: the case nobody has seen is as large as the largest group.
        draws: Draws of the Bayesian bootstrap.

    Raises:
        ValueError: No pairs, a value that is no number, not one label per pair, or a level outside (0, 1).

    >>> found = ratio_interval([math.log(1.2)] * 200, seed=1)
    >>> round(found.ratio, 6), round(found.low, 3), round(found.high, 3)
    (1.2, 1.156, 1.238)
    """
    span, middle = math.log(LARGEST_RATIO), math.log(around)
    cut = np.clip(np.asarray(log_ratios, dtype=np.float64) - middle, -span, span)
    shares = finite_array(cut, name="log_ratios", ndim=1) / span
    if not len(shares):
        raise ValueError("log_ratios: got none, expected at least one")
    found = difference_interval(shares, units, level=level, seed=seed, binary=False, strict=strict, draws=draws)
    mean = math.fsum(shares) / len(shares)
    ratio, low, high = (math.exp(middle + span * share) for share in (mean, found.low, found.high))
    return RatioInterval(ratio, low, high, len(shares), n_units=len(unit_sums(shares, units)[0]), method=found.method)
