"""What a golden set can see before a single call is made: smallest detectable drop, samples and repeats needed, floors.

All of it is one-sided and for the paired difference d = candidate - baseline per sample, with
sd² = omega² + s_c² / K_c + s_b² / K_b for K_c candidate and K_b baseline repeats (Miller 2024, arXiv 2411.00640):
omega² is what truly differs between the versions from sample to sample, s_c² and s_b² what differs from one repeat to
the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats import special
from aigate.stats.arrays import Floats, finite_array, open_fraction
from aigate.stats.tango import tango_test

__all__ = [
    "SD_BINARY",
    "SD_GRADED",
    "VarianceComponents",
    "block_floor",
    "pass_floor_margin",
    "pass_floor_units",
    "repeats_needed",
    "samples_needed",
    "smallest_detectable_drop",
    "smallest_detectable_loss",
    "variance_components",
]

SD_BINARY = 0.40
"""Standard deviation of d to plan with for 0/1 scores and shares of claims, while no run says better."""

SD_GRADED = 0.27
"""The same for graded scores."""

# Quotients of decimals miss whole numbers by a few units in the last place; nobody pays for a repeat because of that.
ROUNDING = 1e-9

BISECTIONS = 60  # halvings: below the spacing of doubles


@dataclass(frozen=True, slots=True)
class VarianceComponents:
    """Where the variance of a paired difference comes from.

    Attributes:
        omega2: Between samples: more samples reduce it, repeats do not.
        s_c2: Between repeats of the candidate.
        s_b2: Between repeats of the baseline.
    """

    omega2: float
    s_c2: float
    s_b2: float

    def sd(self, *, candidate_repeats: int, baseline_repeats: int) -> float:
        """Standard deviation of a sample's mean difference with so many repeats of each version (each at least 1).

        >>> round(VarianceComponents(0.0, 0.08, 0.08).sd(candidate_repeats=1, baseline_repeats=1), 2)
        0.4
        """
        return math.sqrt(self.omega2 + self.s_c2 / candidate_repeats + self.s_b2 / baseline_repeats)


def smallest_detectable_drop(sd: float, n_units: int, *, alpha: float = 0.05, power: float = 0.80) -> float:
    """The drop that is blocked with probability `power` when a harmless change is blocked with probability `alpha`.

    (z_{1-alpha} + z_power) sd / sqrt(n), capped at 1, the whole range of a score.

    Args:
        sd: Standard deviation of the units' mean differences, at least 0.
        n_units: Number of samples, or of groups of equal size.
        alpha: One-sided chance of a false block.
        power: Chance to detect.

    Returns:
        In [0, 1]; 0.07 is seven points. 1 without units: nothing can be detected.

    Raises:
        ValueError: A negative sd or count, or alpha or power outside (0, 1).

    >>> round(smallest_detectable_drop(0.40, 200), 3)
    0.07
    """
    spread = _checked_sd(sd) * _quantile_sum(alpha, power)
    if n_units < 0:
        raise ValueError(f"n_units: got {n_units}, expected 0 or more")
    return min(1.0, spread / math.sqrt(n_units)) if n_units else 1.0


def smallest_detectable_loss(
    sd: float, n_units: int, *, samples_per_unit: float = 1.0, alpha: float = 0.05, power: float = 0.80
) -> float:
    """The drop of 0/1 scores that is blocked with probability `power`, where the drop is samples that are lost whole.

    `smallest_detectable_drop` takes the scatter to be what it is without a drop. A drop of `x` by lost samples adds
    x to the relabelled second moment and x (1 - x) to the variance of a sample's difference, so here
    x = (z_{1-alpha} sqrt(sd² + x / m) + z_power sqrt(sd² + x (1 - x) / m)) / sqrt(n), for m samples per unit, lost
    independently of one another. In simulations of the relabelling test with 50 to 500 samples, 1 or 5 baseline and 1
    or 3 candidate repeats, 76 to 99 % of such drops were blocked, against 36 to 74 % of those of the other formula.

    Args:
        sd: Standard deviation of the units' mean differences without a drop, at least 0.
        n_units: Number of samples, or of groups of equal size.
        samples_per_unit: Mean size of a unit, m, at least 1.
        alpha: One-sided chance of a false block.
        power: Chance to detect.

    Returns:
        In [0, 1], and 1 without units; above `smallest_detectable_drop`.

    Raises:
        ValueError: As `smallest_detectable_drop`, or units of less than one sample.

    >>> round(smallest_detectable_loss(0.40, 200), 3)
    0.087
    """
    z_alpha, z_power = _quantile(1.0 - open_fraction(alpha, name="alpha")), _quantile(power)
    variance = _checked_sd(sd) ** 2
    if n_units < 0 or not samples_per_unit >= 1.0:
        raise ValueError(f"n_units, samples_per_unit: got {n_units} and {samples_per_unit}, expected 0 and 1 or more")
    # The drop outgrows what is needed to see it once, and for good.
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS if n_units else 0):
        x = (low + high) / 2.0
        null, real = variance + x / samples_per_unit, variance + x * (1.0 - x) / samples_per_unit
        seen = x * math.sqrt(n_units) >= z_alpha * math.sqrt(null) + z_power * math.sqrt(real)
        low, high = (low, x) if seen else (x, high)
    return high


def samples_needed(sd: float, margin: float, *, alpha: float = 0.05, power: float = 0.80) -> int:
    """The number of units that detects a drop of `margin`: ((z_{1-alpha} + z_power) sd / margin)², rounded up.

    Args:
        sd: Standard deviation of the units' mean differences, at least 0.
        margin: The drop to detect, in (0, 1].
        alpha: One-sided chance of a false block.
        power: Chance to detect.

    Returns:
        At least 1. It knows no floor: a pass needs `pass_floor_units` as well.

    Raises:
        ValueError: A negative sd, or margin, alpha or power out of range.

    >>> samples_needed(0.32, 0.05)
    254
    """
    spread = _checked_sd(sd) * _quantile_sum(alpha, power)
    return max(1, math.ceil((spread / _checked_margin(margin)) ** 2 - ROUNDING))


def repeats_needed(
    components: VarianceComponents,
    n_units: int,
    margin: float,
    *,
    baseline_repeats: int | None = None,
    alpha: float = 0.05,
    power: float = 0.80,
) -> int | None:
    """The smallest number of repeats for which the smallest detectable drop is at most `margin`.

    Args:
        components: Where the variance comes from, see `variance_components`.
        n_units: Number of samples.
        margin: The drop to detect, in (0, 1].
        baseline_repeats: Repeats the stored baseline has; the answer is then the candidate's repeats. None: the same
            number for both versions.
        alpha: One-sided chance of a false block.
        power: Chance to detect.

    Returns:
        At least 1; None when no number of repeats suffices and only more samples help.

    Raises:
        ValueError: Margin, alpha or power out of range, negative counts, or baseline repeats below 1.

    >>> noise = VarianceComponents(omega2=0.0, s_c2=0.08, s_b2=0.08)
    >>> repeats_needed(noise, 70, 0.05), repeats_needed(noise, 70, 0.05, baseline_repeats=5)
    (6, 7)
    """
    if n_units < 0:
        raise ValueError(f"n_units: got {n_units}, expected 0 or more")
    if baseline_repeats is not None and baseline_repeats < 1:
        raise ValueError(f"baseline_repeats: got {baseline_repeats}, expected 1 or more")
    allowed = n_units * (_checked_margin(margin) / _quantile_sum(alpha, power)) ** 2 - components.omega2
    if baseline_repeats is None:
        return _least_divisor(components.s_c2 + components.s_b2, allowed)
    return _least_divisor(components.s_c2, allowed - components.s_b2 / baseline_repeats)


def variance_components(candidate: ArrayLike, baseline: ArrayLike) -> VarianceComponents:
    """Estimate the components from stored trials, by the method of moments.

    s² is the mean over samples of the variance between repeats (n - 1 in the denominator); omega² is what the variance
    of the mean differences has beyond s_c²/K_c + s_b²/K_b, at least 0.

    Args:
        candidate: Shape (S, K_c), scores of the same S samples in the same order.
        baseline: Shape (S, K_b).

    Returns:
        The components, each at least 0. A version with a single repeat is taken to be as noisy as the other one. With
        one repeat of each nothing tells noise from difference: all of it counts as omega², so that repeats are never
        promised to help. Fewer than two samples tell nothing: omega² = 0.16, the default for 0/1 scores.

    Raises:
        ValueError: A score that is not finite, no repeats, or different numbers of samples.

    >>> variance_components([[1, 0], [0, 1], [1, 1], [1, 1]], [[1, 1], [1, 1], [1, 1], [1, 1]])
    VarianceComponents(omega2=0.0, s_c2=0.25, s_b2=0.0)
    """
    c, b = (finite_array(x, name=name, ndim=2) for x, name in ((candidate, "candidate"), (baseline, "baseline")))
    if len(c) != len(b):
        raise ValueError(f"candidate, baseline: got {len(c)} and {len(b)} samples, expected the same")
    if len(c) < 2:
        return VarianceComponents(omega2=SD_BINARY**2, s_c2=0.0, s_b2=0.0)
    if min(c.shape[1], b.shape[1]) == 0:
        raise ValueError(f"candidate, baseline: got {c.shape[1]} and {b.shape[1]} repeats, expected 1 or more")
    s_c2, s_b2 = _repeat_variances(c, b)
    total = float((c.mean(axis=1) - b.mean(axis=1)).var(ddof=1))
    omega2 = max(0.0, total - s_c2 / c.shape[1] - s_b2 / b.shape[1])
    return VarianceComponents(omega2=omega2, s_c2=s_c2, s_b2=s_b2)


def pass_floor_units(margin: float, *, alpha: float = 0.05, method: Literal["bb1", "tango"] = "bb1") -> int:
    """The fewest units with which a pass is possible: when no sample differs at all.

    BB-1 then has p = (1 - margin)^n, so n = ln(alpha) / ln(1 - margin), about ln(1/alpha) / margin, rounded up.

    Args:
        margin: Tolerated drop, in (0, 1).
        alpha: One-sided chance of a false pass.
        method: The test that decides a pass: "tango" for 0/1 scores with one trial each, otherwise "bb1".

    Returns:
        At least 1: 59 (bb1) and 52 (tango) at 5 points, 149 and 133 at 2 points.

    Raises:
        ValueError: Margin or alpha outside (0, 1), or another method.

    >>> pass_floor_units(0.05), pass_floor_units(0.05, method="tango")
    (59, 52)
    """
    open_fraction(margin, name="margin")
    open_fraction(alpha, name="alpha")
    if method == "bb1":
        return max(1, math.ceil(math.log(alpha) / math.log1p(-margin) - ROUNDING))
    if method != "tango":
        raise ValueError(f"method: got {method!r}, expected 'bb1' or 'tango'")
    # p falls with n: double until it passes, then halve the range.
    low, high = 0, 1
    while tango_test(0, 0, high, margin=margin) > alpha:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        passes = tango_test(0, 0, middle, margin=margin) <= alpha
        low, high = (low, middle) if passes else (middle, high)
    return high


def pass_floor_margin(unit_sizes: ArrayLike, *, alpha: float = 0.05, pseudo_size: float = 1.0) -> float:
    """The smallest margin with which a pass is possible on these units: when no sample differs at all.

    BB-1 then has p = prod over units of 1 / (1 + m_u a / c), with a = margin / (1 - margin), unit sizes m_u and the
    size c of the pseudo-case: each weight is exponential, and so is that of the pseudo-case. With units of one sample
    it is (1 - margin)^n, as in `pass_floor_units`.

    Args:
        unit_sizes: Shape (U,), samples in each unit, positive. Ones for samples that are independent.
        alpha: One-sided chance of a false pass.
        pseudo_size: Samples the pseudo-case stands for, positive: 1, or in strict mode the largest unit.

    Returns:
        In (0, 1]; 1 without units: no margin is large enough.

    Raises:
        ValueError: A size that is not finite or not positive, or alpha outside (0, 1).

    >>> round(pass_floor_margin([1.0] * 40), 4), round(pass_floor_margin([5.0] * 8), 4)
    (0.0722, 0.0833)
    """
    if not (math.isfinite(pseudo_size) and pseudo_size > 0.0):
        raise ValueError(f"pseudo_size: got {pseudo_size}, expected a positive number")
    sizes = finite_array(unit_sizes, name="unit_sizes", ndim=1) / pseudo_size
    target = -math.log(open_fraction(alpha, name="alpha"))
    if len(sizes) == 0:
        return 1.0
    if not (sizes > 0.0).all():
        raise ValueError(f"unit_sizes: got {sizes.min()}, expected positive sizes")
    # ln p falls with a and is concave in it, so between these ends there is one root: the largest unit, U times, and
    # all samples in one unit.
    low, high = math.expm1(target / len(sizes)) / float(sizes.max()), math.expm1(target) / float(sizes.sum())
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        enough = float(np.log1p(sizes * middle).sum()) >= target
        low, high = (low, middle) if enough else (middle, high)
    return high / (1.0 + high)


def block_floor(alpha: float = 0.05, *, candidate_repeats: int = 1, baseline_repeats: int = 1) -> int:
    """The fewest net lost 0/1 samples with which a block is possible.

    A sample that every baseline repeat got right and every candidate repeat wrong looks so in one of
    C(K_b + K_c, K_c) relabellings, 2 with single answers. It is the smallest k with C(K_b + K_c, K_c)^-k <= alpha.

    Args:
        alpha: One-sided chance of a false block.
        candidate_repeats: Repeats of the candidate, K_c.
        baseline_repeats: Repeats of the baseline, K_b.

    Returns:
        At least 1; 5 for alpha = 0.05 and single answers, which is 12.5 points of 40 samples.

    Raises:
        ValueError: Alpha outside (0, 1), or repeats below 1.

    >>> block_floor(), block_floor(baseline_repeats=5), block_floor(candidate_repeats=3, baseline_repeats=5)
    (5, 2, 1)
    """
    if min(candidate_repeats, baseline_repeats) < 1:
        raise ValueError(f"repeats: got {candidate_repeats} and {baseline_repeats}, expected 1 or more")
    labellings = math.comb(candidate_repeats + baseline_repeats, candidate_repeats)
    return max(1, math.ceil(-math.log(open_fraction(alpha, name="alpha")) / math.log(labellings) - ROUNDING))


def _repeat_variances(c: Floats, b: Floats) -> tuple[float, float]:
    s_c2 = float(c.var(axis=1, ddof=1).mean()) if c.shape[1] > 1 else None
    s_b2 = float(b.var(axis=1, ddof=1).mean()) if b.shape[1] > 1 else None
    fallback = next((known for known in (s_c2, s_b2) if known is not None), 0.0)
    return (fallback if s_c2 is None else s_c2), (fallback if s_b2 is None else s_b2)


def _least_divisor(variance: float, allowed: float) -> int | None:
    """The smallest k >= 1 with variance / k <= allowed."""
    if variance <= allowed:
        return 1
    return math.ceil(variance / allowed - ROUNDING) if allowed > 0.0 else None


def _quantile_sum(alpha: float, power: float) -> float:
    return _quantile(1.0 - open_fraction(alpha, name="alpha")) + _quantile(power)


def _quantile(power: float) -> float:
    return float(special.ndtri(open_fraction(power, name="power")))


def _checked_sd(sd: float) -> float:
    if not (math.isfinite(sd) and sd >= 0.0):
        raise ValueError(f"sd: got {sd}, expected a finite number of 0 or more")
    return sd


def _checked_margin(margin: float) -> float:
    if not 0.0 < margin <= 1.0:
        raise ValueError(f"margin: got {margin}, expected a number in (0, 1]")
    return margin
