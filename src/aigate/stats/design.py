"""How much less grouped labels tell than independent ones: the design effect.

Answers about one document are alike, and so are a judge's errors on them. A variance that takes whole units together,
divided by the variance that takes every row for itself, is the design effect (Kish 1965); dividing the counts by it
turns every interval for independent rows into one for grouped rows (Rao and Scott 1992, Biometrics 48). Unlike a
bootstrap over units, such an interval keeps its width where the labels hold no error at all.

Never below 1: that units look more different from one another within than between is chance. Where a variance cannot be
seen, because all rows say the same, each unit counts as one row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigate.stats import special
from aigate.stats.arrays import Floats, distinct, unit_of

__all__ = ["Units", "effect_of", "level_for", "linear_variance", "share_effect", "units_of"]

Units = NDArray[np.intp]
"""The unit of each row, from 0."""


def units_of(units: ArrayLike | None, *, n: int) -> Units | None:
    """The unit of each of `n` rows; None where every row is one of its own.

    Raises:
        ValueError: Not one unit per row.
    """
    if units is None:
        return None
    codes = unit_of(units, n=n)
    return None if len(distinct(codes)) == n else codes


def level_for(level: float, units: Units | None) -> float:
    """The level whose normal quantile is Student's of `level`, on one degree of freedom less than there are units.

    A design effect is estimated from the units, and few of them tell it badly. With fewer than two, 1.0: nothing is
    known, and an interval at that level is the whole range.
    """
    if units is None:
        return level
    k = len(distinct(units))
    if k < 2:
        return 1.0
    t = float(special.stdtrit(k - 1, (1.0 + level) / 2.0))
    return float(2.0 * special.ndtr(t) - 1.0)


def share_effect(hits: Floats, units: Units | None) -> float:
    """The design effect of a share.

    Args:
        hits: Shape (n,), 0 or 1.
        units: Shape (n,), the unit of each; None for independent rows.

    Returns:
        At least 1, at most the size of the largest unit where all rows of a unit say the same. 1 without rows.

    >>> share_effect(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]))
    4.0
    """
    if units is None or not len(hits):
        return 1.0
    share, n = float(hits.mean()), len(hits)
    alone = share * (1.0 - share) / n
    return _effect(linear_variance((hits - share) / n, units), alone, units)


def linear_variance(influence: Floats, units: Units | None) -> float:
    """The variance of a statistic from what each row adds to it: the squared unit sums, times K / (K - 1).

    Args:
        influence: Shape (n,), how far each row moves the statistic; sums to 0.
        units: The unit of each row; None: every row by itself.

    Returns:
        The variance; 0 with fewer than two units, where nothing is known of it.
    """
    sums = influence if units is None else np.bincount(units, weights=influence)
    k = len(sums) if units is None else len(distinct(units))
    return float(np.square(sums).sum()) * k / (k - 1) if k > 1 else 0.0


def effect_of(influence: Floats, units: Units | None) -> float:
    """The design effect of a statistic, from what each row adds to it; at least 1."""
    if units is None or not len(influence):
        return 1.0
    return _effect(linear_variance(influence, units), linear_variance(influence, None), units)


def _effect(together: float, alone: float, units: Units) -> float:
    if alone > 0.0:
        return max(1.0, together / alone)
    sizes = np.bincount(units)
    return float(np.square(sizes).sum() / sizes.sum())
