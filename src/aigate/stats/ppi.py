"""A few human labels and many judge scores make one estimate: prediction-powered inference with a tuned weight, PPI++.

A judge that prefers the candidate's style hides a regression from every paired test, for both arms are read by the
same eyes. Human labels on a random part of the samples show how far the judge is off; the judge's scores on the rest
take away some of the noise.

With H the human and J the judge difference on the n labelled samples, and J on N other samples:
lam = cov(H, J) / (var(J) (1 + n/N)), kept in [0, 1];
estimate = mean(H - lam J, labelled) + lam mean(J, others);
variance = var(H - lam J) / n + lam² var(J, others) / N, and Student's t on n - 1 degrees of freedom.
Angelopoulos, Bates, Fannjiang, Jordan and Zrnic 2023 (arXiv 2301.09633); Angelopoulos, Duchi and Zrnic 2023 (PPI++,
arXiv 2311.01453). The papers and `ppi_py` use the normal quantile, which is too narrow for the 30 to 100 labels that
people give.

With units (documents) the variance is that of what whole units add to the estimate, as in `aigate.stats.cluster`, on
one degree of freedom less than there are labelled units: labels of one document, and its scores, are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats import special
from aigate.stats.arrays import Floats, finite_array, open_fraction, unit_of
from aigate.stats.design import linear_variance

__all__ = ["PpiMean", "ppi_mean"]


@dataclass(frozen=True, slots=True)
class PpiMean:
    """A mean that humans would give, with its interval.

    Attributes:
        estimate: The mean.
        se: Its standard error.
        low: Lower end of the interval.
        high: Upper end of the interval.
        lam: Weight of the judge, 0 (humans alone) to 1.
        n_labelled: Samples with a human label.
        n_unlabelled: Samples with a judge score alone.
    """

    estimate: float
    se: float
    low: float
    high: float
    lam: float
    n_labelled: int
    n_unlabelled: int


def ppi_mean(
    human: ArrayLike,
    judge_labelled: ArrayLike,
    judge_unlabelled: ArrayLike,
    *,
    units: tuple[ArrayLike, ArrayLike] | None = None,
    level: float = 0.90,
) -> PpiMean:
    """The mean of what humans would say about every sample.

    The labelled samples must be a random part of all of them. The judge's scores of the labelled samples must not be
    among `judge_unlabelled` again: the two means would not be independent, and the interval too narrow.

    Args:
        human: Shape (n,), human scores, or paired differences by human scores, of the labelled samples; n >= 2. With
            fewer than 50 the coverage falls short by up to five points.
        judge_labelled: Shape (n,), the judge's of the same samples, in the same order.
        judge_unlabelled: Shape (N,), the judge's of the other samples. Fewer than two: humans decide alone.
        units: The unit of each labelled and of each other sample, shapes (n,) and (N,); None: every sample is one.
        level: Two-sided confidence, between 0 and 1; 0.90 gives one-sided 95 % bounds.

    Returns:
        The mean and its interval. A judge without spread, or one that contradicts the humans, gets the weight 0 and the
        interval is the t interval of the human labels. Labels that are all equal give an interval of no width; that is
        no certainty.

    Raises:
        ValueError: A value that is not finite, fewer than two labels or labelled units, or not one judge score per
            label.

    >>> mean = ppi_mean([0, -1, 0, 0, -1, 0], [0, -1, 0, 0, 0, 0], [0, -1, 0, 0] * 10)
    >>> round(mean.estimate, 3), round(mean.lam, 2), round(mean.low, 3), round(mean.high, 3)
    (-0.385, 0.62, -0.731, -0.04)
    """
    h, j, others = _checked(human, judge_labelled, judge_unlabelled)
    n, rest = len(h), len(others)
    lam = _weight(h, j, others)
    rectified = h - lam * j
    estimate = float(rectified.mean()) + (lam * float(others.mean()) if lam > 0.0 else 0.0)
    if units is None:
        df, variance = n - 1, float(rectified.var(ddof=1)) / n
        variance += lam**2 * float(others.var(ddof=1)) / rest if lam > 0.0 else 0.0
    else:
        df, variance = _over_units(rectified, lam * others, units)
    se = math.sqrt(variance)
    half = float(special.stdtrit(df, (1.0 + open_fraction(level, name="level")) / 2.0)) * se
    return PpiMean(estimate, se, estimate - half, estimate + half, lam=lam, n_labelled=n, n_unlabelled=rest)


def _over_units(rectified: Floats, weighted: Floats, units: tuple[ArrayLike, ArrayLike]) -> tuple[int, float]:
    """Degrees of freedom, and the variance of mean(rectified) + mean(weighted) with whole units together."""
    of_labelled, of_others = (np.asarray(part) for part in units)
    codes = unit_of(np.concatenate((of_labelled, of_others)), n=len(rectified) + len(weighted))
    df = len(np.unique(codes[: len(rectified)])) - 1
    if df < 1:
        raise ValueError("units: the labels are of a single unit, expected at least two")
    centred = [(part - part.mean()) / len(part) if len(part) else part for part in (rectified, weighted)]
    return df, linear_variance(np.concatenate(centred), codes)


def _weight(h: Floats, j: Floats, others: Floats) -> float:
    """The weight of the judge with the smallest variance, in [0, 1]."""
    if len(others) < 2:
        return 0.0
    spread = float(np.concatenate((j, others)).var(ddof=1))
    if spread == 0.0:
        return 0.0
    covariance = float(np.dot(h - h.mean(), j - j.mean())) / (len(h) - 1)
    return min(1.0, max(0.0, covariance / (spread * (1.0 + len(h) / len(others)))))


def _checked(human: ArrayLike, judge_labelled: ArrayLike, judge_unlabelled: ArrayLike) -> tuple[Floats, Floats, Floats]:
    h = finite_array(human, name="human", ndim=1)
    j = finite_array(judge_labelled, name="judge_labelled", ndim=1)
    if len(h) < 2:
        raise ValueError(f"human: got {len(h)} labels, expected at least two")
    if len(j) != len(h):
        raise ValueError(f"judge_labelled: got {len(j)} scores, expected one for each of {len(h)} human labels")
    return h, j, finite_array(judge_unlabelled, name="judge_unlabelled", ndim=1)
