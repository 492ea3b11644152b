"""Where to cut a graded score so that it says good or bad as people do, and what such a cut is worth on new rows.

A row counts as good where its score is at least the cut. The agreement at a cut that was chosen on the same rows is
better than it will be on others; `judged_elsewhere` cuts each row where the other units say.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats.arrays import Floats, finite_array, open_fraction, unit_of

__all__ = ["judged_elsewhere", "specificity_cutoff", "youden_cutoff"]

FOLDS = 10


def youden_cutoff(scores: ArrayLike, labels: ArrayLike) -> float:
    """The cut with the largest J = sensitivity + specificity - 1 (Youden 1950).

    Args:
        scores: Shape (n,), higher for better.
        labels: Shape (n,), 0 or 1; both must occur.

    Returns:
        A short number between two neighbouring scores. Of several cuts with the largest J, the one where sensitivity
        and specificity differ least.

    Raises:
        ValueError: Labels of one kind only, a score that is not finite, or not one label per score.

    >>> youden_cutoff([0.91, 0.8, 0.72, 0.4, 0.1], [1, 1, 1, 0, 0])
    0.6
    """
    values, truth = _checked(scores, labels)
    cuts, sensitivity, specificity = _curve(values, truth)
    j = np.round(sensitivity + specificity, 12)
    best = np.flatnonzero(j == j.max())
    chosen = best[np.argmin(np.abs(sensitivity - specificity)[best])]
    return _between(float(cuts[chosen]), float(cuts[chosen + 1]))


def specificity_cutoff(scores: ArrayLike, labels: ArrayLike, *, specificity: float) -> float:
    """The lowest cut at which at least so large a share of the bad rows is called bad.

    Args:
        scores: Shape (n,), higher for better.
        labels: Shape (n,), 0 or 1; both must occur.
        specificity: Between 0 and 1.

    Returns:
        A short number between two neighbouring scores; above all scores where no other cut is specific enough.

    Raises:
        ValueError: As `youden_cutoff`, or a specificity outside (0, 1).

    >>> specificity_cutoff([0.9, 0.8, 0.6, 0.7, 0.1], [1, 1, 1, 0, 0], specificity=0.9)
    0.8
    """
    open_fraction(specificity, name="specificity")
    values, truth = _checked(scores, labels)
    cuts, _, reached = _curve(values, truth)
    first = int(np.flatnonzero(reached >= specificity - 1e-12)[0])
    return _between(float(cuts[first]), float(cuts[first + 1]))


def judged_elsewhere(
    scores: ArrayLike, labels: ArrayLike, units: ArrayLike, *, cutoff: Callable[[Floats, Floats], float], seed: int
) -> Floats:
    """Each row's 0/1 by a cut that its own unit had no part in choosing: ten folds of whole units.

    Args:
        scores: Shape (n,), higher for better.
        labels: Shape (n,), 0 or 1.
        units: Shape (n,), what was drawn independently.
        cutoff: Chooses a cut from scores and labels.
        seed: Which units go together.

    Returns:
        Shape (n,), 0 or 1.

    Raises:
        ValueError: What is left without some fold has labels of one kind only: too few rows to judge a cut.
    """
    values, truth = _checked(scores, labels)
    codes = unit_of(units, n=len(values))
    count = int(codes.max()) + 1
    fold = (np.random.Generator(np.random.PCG64(seed)).permutation(count) % min(FOLDS, count))[codes]
    says = np.zeros(len(values))
    for part in np.unique(fold):
        inside = fold == part
        says[inside] = values[inside] >= cutoff(values[~inside], truth[~inside])
    return says


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    values = finite_array(scores, name="scores", ndim=1)
    truth = finite_array(labels, name="labels", ndim=1)
    if len(values) != len(truth):
        raise ValueError(f"labels: got {len(truth)} of them, expected one for each of {len(values)} scores")
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError("labels: expected 0 or 1")
    if len(np.unique(truth)) < 2:
        raise ValueError("labels: all of one kind, expected some good and some bad ones to cut between")
    return values, truth


def _curve(values: Floats, truth: Floats) -> tuple[Floats, Floats, Floats]:
    """Sensitivity and specificity of the cut between each two neighbours of `ends`: -inf, the scores, inf."""
    levels = np.unique(values)
    good, bad = np.sort(values[truth == 1.0]), np.sort(values[truth == 0.0])
    at = np.append(levels, math.inf)
    below_good, below_bad = np.searchsorted(good, at, side="left"), np.searchsorted(bad, at, side="left")
    ends = np.concatenate(((-math.inf,), levels, (math.inf,)))
    return ends, 1.0 - below_good / len(good), below_bad / len(bad)


def _between(low: float, high: float) -> float:
    """The number with the fewest decimals that is above `low` and at most `high`, near the middle."""
    if not math.isfinite(low):
        return _between(high - 1.0, high) if math.isfinite(high) else 0.0
    if not math.isfinite(high):
        return _between(low, low + 1.0)
    middle = (low + high) / 2.0
    for digits in range(1, 17):
        if low < (short := round(middle, digits)) <= high:
            return short
    return high
