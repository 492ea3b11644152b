"""How far a judge can be trusted: its agreement with human labels, and what its errors cost the gate.

A judge that errs independently of the version shrinks every drop in a share by Youden's J = sensitivity + specificity
- 1: ten points become 6.7 at 0.9 / 0.8. The false-block rate stays, but what is seen is less than what is there.

Rows that belong together (answers about one document) are not independent: `units` names what was drawn independently,
and every interval is that of independent rows with the counts divided by the design effect, see `aigate.stats.design`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats import special
from aigate.stats.arrays import Floats, finite_array, open_fraction
from aigate.stats.design import Units, effect_of, level_for, linear_variance, share_effect, units_of
from aigate.stats.intervals import wilson_interval

__all__ = ["Agreement", "Auroc", "Contrast", "agreement", "auroc", "contrast", "detectable_under_judge"]

Interval = tuple[float, float]

# Halvings of an interval of length 1: below the spacing of doubles.
BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of a judge with humans on the same samples; the humans are taken as the truth.

    A figure is None where the labels do not define it, and its interval is then the whole range.

    Attributes:
        n: Samples with both labels.
        true_positives: Both say 1.
        false_negatives: The judge says 0, the human 1.
        false_positives: The judge says 1, the human 0.
        true_negatives: Both say 0.
        kappa: Cohen's kappa (1960); None when both say one and the same thing throughout, or without samples.
        kappa_interval: From Wilson's interval of the share of equal labels, with the chance agreement held at its
            estimate. At 50 labels it covers 92 to 99.9 % for 95 %, where the usual large-sample interval covers 63 to
            94 % and has no width when all labels agree.
        sensitivity: Share of the human 1s that the judge calls 1; None when the humans gave none.
        sensitivity_interval: Wilson's interval.
        specificity: Share of the human 0s that the judge calls 0; None when the humans gave none.
        specificity_interval: Wilson's interval.
        balanced_accuracy: Mean of sensitivity and specificity; None when either is.
        youden_j: Sensitivity + specificity - 1, in [-1, 1]; None when either is.
        youden_j_interval: Newcombe's hybrid score interval (1998, method 10), from the two Wilson intervals.
    """

    n: int
    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    kappa: float | None
    kappa_interval: Interval
    sensitivity: float | None
    sensitivity_interval: Interval
    specificity: float | None
    specificity_interval: Interval
    balanced_accuracy: float | None
    youden_j: float | None
    youden_j_interval: Interval


def agreement(judge: ArrayLike, human: ArrayLike, *, units: ArrayLike | None = None, level: float = 0.95) -> Agreement:
    """Compare the judge's 0/1 labels with those of humans.

    Args:
        judge: Shape (n,), 0/1 or booleans.
        human: Shape (n,), the same samples in the same order.
        units: Shape (n,), what was drawn independently; None: every sample was.
        level: Two-sided confidence of every interval, between 0 and 1.

    Returns:
        The counts and figures, defined for every input; without samples all figures are None. With units, sensitivity
        and specificity may move together: the interval of J is widened by as much as that widens its standard error.

    Raises:
        ValueError: A label that is neither 0 nor 1, not one human label and unit per judge label, or a level outside
            (0, 1).

    >>> seen = agreement([1, 1, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0])
    >>> seen.sensitivity, seen.specificity, seen.youden_j, round(seen.kappa, 3)
    (0.75, 0.5, 0.25, 0.25)
    """
    says, truth = _labels(judge, name="judge"), _labels(human, name="human")
    if len(says) != len(truth):
        raise ValueError(f"human: got {len(truth)} labels, expected one for each of {len(says)} judge labels")
    open_fraction(level, name="level")
    parts = units_of(units, n=len(says))
    good, bad = truth == 1.0, truth == 0.0
    sensitivity, sensitivity_interval = _share(says[good], None if parts is None else parts[good], level)
    specificity, specificity_interval = _share(1.0 - says[bad], None if parts is None else parts[bad], level)
    tp, tn = int(np.sum(says[good])), int(np.sum(1.0 - says[bad]))
    fn, fp = int(good.sum()) - tp, int(bad.sum()) - tn
    kappa, kappa_interval = _kappa(tp, fn, fp, tn, (says == truth).astype(np.float64), parts, level)
    j = None if sensitivity is None or specificity is None else sensitivity + specificity - 1.0
    wider = 1.0 if j is None else _moving_together(says, truth, parts)
    j_interval = _newcombe(sensitivity, sensitivity_interval, specificity, specificity_interval, wider)
    return Agreement(
        n=len(says),
        true_positives=tp,
        false_negatives=fn,
        false_positives=fp,
        true_negatives=tn,
        kappa=kappa,
        kappa_interval=kappa_interval,
        sensitivity=sensitivity,
        sensitivity_interval=sensitivity_interval,
        specificity=specificity,
        specificity_interval=specificity_interval,
        balanced_accuracy=None if j is None else (j + 1.0) / 2.0,
        youden_j=j,
        youden_j_interval=j_interval if level_for(level, parts) < 1.0 else (-1.0, 1.0),
    )


@dataclass(frozen=True, slots=True)
class Auroc:
    """Area under the ROC curve: the chance that a positive sample scores higher than a negative one, ties half.

    Attributes:
        estimate: In [0, 1]; None without positives or without negatives.
        low: Lower end of the interval.
        high: Upper end of the interval.
        positives: Samples labelled 1.
        negatives: Samples labelled 0.
    """

    estimate: float | None
    low: float
    high: float
    positives: int
    negatives: int


def auroc(scores: ArrayLike, labels: ArrayLike, *, units: ArrayLike | None = None, level: float = 0.95) -> Auroc:
    """How well graded scores tell samples that humans call good from the others.

    The estimate is the Mann-Whitney statistic over all pairs. The interval holds every area theta with
    |theta - estimate| <= z sqrt(V(theta)), V(theta) = theta (1 - theta) / (m n) (2N - 1 - 3 (N - 1) / ((2 - theta) (1 +
    theta))), N = (m + n) / 2 for m positives and n negatives (Newcombe 2006, Statistics in Medicine 25, method 5, after
    Hanley and McNeil 1982). Unlike DeLong's it keeps its width when the scores separate the labels without error. With
    units V is multiplied by the design effect: the variance of Obuchowski (1997, Biometrics 53), which takes whole
    units together, over DeLong's.

    Args:
        scores: Shape (n,), higher for better.
        labels: Shape (n,), 0/1 or booleans.
        units: Shape (n,), what was drawn independently; None: every sample was.
        level: Two-sided confidence, between 0 and 1.

    Returns:
        The area and its interval; with labels of one kind only nothing is known: (0, 1).

    Raises:
        ValueError: A score that is not finite, a label that is neither 0 nor 1, not one label and unit per score, or a
            level outside (0, 1).

    >>> area = auroc([0.9, 0.8, 0.7, 0.7, 0.2], [1, 1, 1, 0, 0])
    >>> round(area.estimate, 3), round(area.low, 3), round(area.high, 3)
    (0.917, 0.372, 0.995)
    """
    open_fraction(level, name="level")
    values, truth = finite_array(scores, name="scores", ndim=1), _labels(labels, name="labels")
    if len(values) != len(truth):
        raise ValueError(f"labels: got {len(truth)} of them, expected one for each of {len(values)} scores")
    parts = units_of(units, n=len(values))
    inside = level_for(level, parts)
    m, n = int((truth == 1.0).sum()), int((truth == 0.0).sum())
    if m == 0 or n == 0:
        return Auroc(None, 0.0, 1.0, positives=m, negatives=n)
    area, influence = _area(values, truth)
    if inside >= 1.0:
        return Auroc(area, 0.0, 1.0, positives=m, negatives=n)
    z = float(special.ndtri((1.0 + inside) / 2.0)) * math.sqrt(effect_of(influence, parts))
    low = _farthest(area, 0.0, z=z, m=m, n=n)
    return Auroc(area, low, _farthest(area, 1.0, z=z, m=m, n=n), positives=m, negatives=n)


@dataclass(frozen=True, slots=True)
class Contrast:
    """What a judge's mean score makes of a change in the share that humans call good.

    Attributes:
        estimate: Mean score of what humans call good minus that of what they call bad, in [-1, 1]; None without both.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    estimate: float | None
    low: float
    high: float


def contrast(scores: ArrayLike, labels: ArrayLike, *, units: ArrayLike | None = None, level: float = 0.95) -> Contrast:
    """J of a graded score: by how much its mean moves when the share of good samples goes from none to all.

    With the share p of good samples the mean score is a + p (b - a), a and b the means of bad and good ones: a drop of
    p by ten points is seen as ten times b - a. For 0/1 scores b - a is Youden's J. The interval is Student's, on one
    degree of freedom less than there are units, with the variance over whole units.

    Args:
        scores: Shape (n,), in [0, 1], higher for better.
        labels: Shape (n,), 0/1 or booleans.
        units: Shape (n,), what was drawn independently; None: every sample was.
        level: Two-sided confidence, between 0 and 1.

    Returns:
        The difference; with labels of one kind only nothing is known: (-1, 1).

    Raises:
        ValueError: As `auroc`.

    >>> seen = contrast([0.9, 0.8, 0.7, 0.5, 0.3], [1, 1, 1, 0, 0])
    >>> round(seen.estimate, 3), round(seen.low, 3), round(seen.high, 3)
    (0.4, 0.042, 0.758)
    """
    open_fraction(level, name="level")
    values, truth = finite_array(scores, name="scores", ndim=1), _labels(labels, name="labels")
    if len(values) != len(truth):
        raise ValueError(f"labels: got {len(truth)} of them, expected one for each of {len(values)} scores")
    parts, good = units_of(units, n=len(values)), truth == 1.0
    if good.all() or not good.any():
        return Contrast(None, -1.0, 1.0)
    high_mean, low_mean = float(values[good].mean()), float(values[~good].mean())
    estimate = high_mean - low_mean
    m, n, k = int(good.sum()), int((~good).sum()), len(values) if parts is None else len(np.unique(parts))
    if min(m, n, k) < 2:
        return Contrast(estimate, -1.0, 1.0)
    # Divided by sqrt(m (m - 1)) instead of m: without units these are the sample variances of the two means.
    influence = np.where(
        good, (values - high_mean) / math.sqrt(m * (m - 1)), (low_mean - values) / math.sqrt(n * (n - 1))
    )
    half = float(special.stdtrit(k - 1, (1.0 + level) / 2.0)) * math.sqrt(linear_variance(influence, parts))
    return Contrast(estimate, max(-1.0, estimate - half), min(1.0, estimate + half))


def detectable_under_judge(drop: float, youden_j: float) -> float:
    """The true drop behind the smallest drop that can be detected in judged scores: drop / J.

    It holds for 0/1 scores and a judge whose errors do not depend on the version. Errors that both arms share, as with
    one judge at temperature 0, cancel in part, so this is the careful figure.

    Args:
        drop: Smallest detectable drop in judged scores, in [0, 1].
        youden_j: Of the judge, in [-1, 1].

    Returns:
        In [0, 1]. 1, the whole range, for a judge that is no better than chance: nothing can be detected.

    Raises:
        ValueError: A drop or J out of range.

    >>> round(detectable_under_judge(0.07, 0.7), 3), detectable_under_judge(0.07, 0.0)
    (0.1, 1.0)
    """
    if not 0.0 <= drop <= 1.0:
        raise ValueError(f"drop: got {drop}, expected a number in [0, 1]")
    if not -1.0 <= youden_j <= 1.0:
        raise ValueError(f"youden_j: got {youden_j}, expected a number in [-1, 1]")
    return min(1.0, drop / youden_j) if youden_j > 0.0 else 1.0


def _labels(values: ArrayLike, *, name: str) -> Floats:
    array = finite_array(values, name=name, ndim=1)
    strange = array[(array != 0.0) & (array != 1.0)]
    if len(strange):
        raise ValueError(f"{name}: got {strange[0]}, expected 0 or 1")
    return array


def _share(hits: Floats, units: Units | None, level: float) -> tuple[float | None, Interval]:
    """A share and Wilson's interval, with the counts divided by the design effect."""
    inside = level_for(level, units)
    if not len(hits) or inside >= 1.0:
        return (float(hits.mean()) if len(hits) else None), (0.0, 1.0)
    effect = share_effect(hits, units)
    return float(hits.sum()) / len(hits), wilson_interval(float(hits.sum()) / effect, len(hits) / effect, level=inside)


def _kappa(
    tp: int, fn: int, fp: int, tn: int, equal: Floats, units: Units | None, level: float
) -> tuple[float | None, Interval]:
    """(p_o - p_e) / (1 - p_e) for the share p_o of equal labels and the share p_e expected by chance."""
    n = tp + fn + fp + tn
    # In whole numbers, so that chance agreement of exactly 1 is seen as such: n² p_e.
    by_chance = (tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)
    if by_chance == n * n:
        return None, (-1.0, 1.0)
    expected = by_chance / (n * n)
    low, high = _share(equal, units, level)[1]
    kappa = ((tp + tn) / n - expected) / (1.0 - expected)
    return kappa, (max(-1.0, (low - expected) / (1.0 - expected)), (high - expected) / (1.0 - expected))


def _moving_together(says: Floats, truth: Floats, units: Units | None) -> float:
    """By how much the standard error of J grows where sensitivity and specificity rise and fall with the same units."""
    if units is None:
        return 1.0
    good = truth == 1.0
    of_good = np.where(good, (says - says[good].mean()) / good.sum(), 0.0)
    of_bad = np.where(good, 0.0, -(says - says[~good].mean()) / (~good).sum())
    apart = linear_variance(of_good, units) + linear_variance(of_bad, units)
    return math.sqrt(max(1.0, linear_variance(of_good + of_bad, units) / apart)) if apart > 0.0 else 1.0


def _newcombe(a: float | None, a_interval: Interval, b: float | None, b_interval: Interval, wider: float) -> Interval:
    """Bounds for a + b - 1, each part's distance to its own bound squared and added."""
    if a is None or b is None:
        return -1.0, 1.0
    centre = a + b - 1.0
    down = wider * math.hypot(a - a_interval[0], b - b_interval[0])
    up = wider * math.hypot(a_interval[1] - a, b_interval[1] - b)
    return max(-1.0, centre - down), min(1.0, centre + up)


def _area(values: Floats, truth: Floats) -> tuple[float, Floats]:
    """The area, and what each sample adds to it: DeLong's structural components, centred and weighted."""
    good, bad = values[truth == 1.0], values[truth == 0.0]
    m, n = len(good), len(bad)
    beaten, beating = (_places(good, np.sort(bad)), 2.0 * m - _places(bad, np.sort(good)))
    area = float(beaten.sum()) / (2.0 * m * n)
    influence = np.zeros(len(values))
    influence[truth == 1.0] = (beaten / (2.0 * n) - area) / m
    influence[truth == 0.0] = (beating / (2.0 * m) - area) / n
    return area, influence


def _places(values: Floats, among: Floats) -> Floats:
    """Twice the number of `among` (sorted) below each value, ties once."""
    counts = np.searchsorted(among, values, side="left") + np.searchsorted(among, values, side="right")
    return counts.astype(np.float64)


def _farthest(area: float, end: float, *, z: float, m: int, n: int) -> float:
    """The area nearest to the end that is still within z standard errors of the one seen."""
    kept, rejected = area, end
    for _ in range(BISECTIONS):
        middle = (kept + rejected) / 2.0
        if abs(middle - area) <= z * math.sqrt(_area_variance(middle, m, n)):
            kept = middle
        else:
            rejected = middle
    return kept


def _area_variance(area: float, m: int, n: int) -> float:
    mean_count = (m + n) / 2.0
    shape = 2.0 * mean_count - 1.0 - 3.0 * (mean_count - 1.0) / ((2.0 - area) * (1.0 + area))
    return area * (1.0 - area) * shape / (m * n)
