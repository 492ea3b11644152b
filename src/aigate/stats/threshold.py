"""Is the mean of a fixed, finite set at least a threshold? Decided before every score of the set is known.

The verdict is about this set, so the scores still to come are not new draws: they are what is left in the bag. Units
(samples, or groups of samples) come in a random order that was fixed beforehand. With X_u = sum over unit u of
(score - threshold), S_t the sum of the first t of them and U units in all, the mean is below the threshold exactly when
the sum over all units is below 0. If that sum is at most 0, the conditional mean of the next X is at most
m_t = -S_{t-1} / (U - t + 1), and
E_t = mean over j of prod over i <= t of (1 + lam_ij (X_i - m_i)),   lam_ij = g_j / (m_i - lowest possible X),
is a supermartingale that starts at 1: it ever reaches 1/a with probability at most a (Ville's inequality). The other
side is the mirror image. Waudby-Smith and Ramdas 2020, "Confidence sequences for sampling without replacement" (arXiv
2006.04347); the mixture over fixed bets as in Waudby-Smith and Ramdas 2024 (arXiv 2010.09686).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigate.stats import special
from aigate.stats.arrays import Floats, finite_array, open_fraction

__all__ = ["Side", "ThresholdLook", "threshold_test"]

Side = Literal["at-least", "below"]
Bools = NDArray[np.bool_]

BETS = np.array([0.02, 0.04, 0.08, 0.15, 0.25, 0.40, 0.60, 0.80])
"""Shares of the wealth that one outcome may cost, g_j. All below 1, so no outcome can cost everything."""

# A mean that equals the threshold up to rounding reaches it; the same slack as in the check `min-score`.
SLACK = 1e-12


@dataclass(frozen=True, slots=True)
class ThresholdLook:
    """What is known about the mean of the whole set after some of its units.

    Attributes:
        decision: "at-least" or "below" the threshold; None while undecided.
        certain: True when the scores still to come cannot change the decision; False for a decision on evidence, which
            differs from that of the whole set with a chance of at most alpha / 2.
        log_e_at_least: Natural logarithm of the largest e-value so far for "at least"; 0 before any unit.
        log_e_below: The same for "below".
        mean: Mean score of the samples seen; None before any.
    """

    decision: Side | None
    certain: bool
    log_e_at_least: float
    log_e_below: float
    mean: float | None


def threshold_test(
    unit_sums: ArrayLike,
    unit_sizes: ArrayLike,
    *,
    population_units: int,
    population_size: float,
    threshold: float,
    alpha: float = 0.05,
    largest_unit: float = 1.0,
) -> ThresholdLook:
    """The decision after the units seen so far, in the order in which they were drawn.

    Certain first: when the unseen scores cannot change the answer, that is the answer, so a test of every unit is
    always the comparison of the full mean. Otherwise the first side whose e-value reached 2 / alpha, at any unit so
    far, is the answer. It may be asked after every unit or at a few looks alike: the chance that a decision ever
    differs from the whole set's stays at most alpha / 2 for either truth. That is proven for an order drawn at random;
    one interleaved by strata differed more rarely still in every simulation (at most 1.3 % for 2.5 %).

    A missing score cannot be left out, for then the set is another one. Ask twice, with the missing scores at 0 and at
    1, and trust only a decision on which both agree.

    Args:
        unit_sums: Shape (t,), the sum of the scores of each unit seen, scores in [0, 1].
        unit_sizes: Shape (t,), the number of samples of each of them, positive.
        population_units: Units in the whole set, U.
        population_size: Samples in the whole set, N.
        threshold: What the mean is compared with, in [0, 1].
        alpha: Chance of a decision unlike that of the whole set, half of it on either side.
        largest_unit: Samples in the largest unit of the whole set, seen or not.

    Returns:
        The look. Without units it is undecided, except for a threshold of 0, which every set reaches.

    Raises:
        ValueError: A value that is not finite, a unit whose mean is no score, more units or samples seen than there
            are, or an option out of range.

    >>> look = threshold_test([1.0] * 60, [1.0] * 60, population_units=500, population_size=500, threshold=0.85)
    >>> look.decision, look.certain, look.mean
    ('at-least', False, 1.0)
    >>> threshold_test([0.0] * 80, [1.0] * 80, population_units=500, population_size=500, threshold=0.85).certain
    True
    """
    bag = _Bag(population_units, population_size, largest_unit, threshold)
    seen = _checked(unit_sums, unit_sizes, bag)
    target = math.log(2.0 / open_fraction(alpha, name="alpha"))
    reached, missed = _sure(seen, bag)
    # Once the answer is sure the null hypothesis of one side cannot be true, and there is nothing left to bet on.
    undecided = seen.first(int(np.count_nonzero(~(reached | missed)[:-1])))
    at_least, below = _log_e_values(undecided, bag)
    sure: Side | None = "at-least" if reached[-1] else "below" if missed[-1] else None
    return ThresholdLook(
        decision=sure or _first_to_reach(target, at_least=at_least, below=below),
        certain=sure is not None,
        log_e_at_least=float(at_least.max(initial=0.0)),
        log_e_below=float(below.max(initial=0.0)),
        mean=float(seen.sums.sum() / seen.sizes.sum()) if len(seen.sums) else None,
    )


@dataclass(frozen=True, slots=True)
class _Bag:
    """The whole set, of which some units have been drawn."""

    units: int
    size: float
    largest_unit: float
    threshold: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold: got {self.threshold}, expected a number in [0, 1]")
        if not (math.isfinite(self.largest_unit) and self.largest_unit > 0.0):
            raise ValueError(f"largest_unit: got {self.largest_unit}, expected a positive number")
        if not (self.units >= 1 and 0.0 < self.size <= self.largest_unit * self.units * (1.0 + SLACK)):
            raise ValueError(
                f"population_units, population_size: got {self.units} and {self.size}, expected at least one unit and "
                f"at most {self.largest_unit} samples in each"
            )


@dataclass(frozen=True, slots=True)
class _Seen:
    """Sum of scores and size of every unit seen, each of shape (t,), in the order of the draw."""

    sums: Floats
    sizes: Floats

    def first(self, count: int) -> _Seen:
        return _Seen(self.sums[:count], self.sizes[:count])


def _checked(unit_sums: ArrayLike, unit_sizes: ArrayLike, bag: _Bag) -> _Seen:
    sums = finite_array(unit_sums, name="unit_sums", ndim=1)
    sizes = finite_array(unit_sizes, name="unit_sizes", ndim=1)
    if sums.shape != sizes.shape:
        raise ValueError(f"unit_sizes: got {len(sizes)} of them, expected one for each of {len(sums)} unit_sums")
    if not ((sizes > 0.0) & (sizes <= bag.largest_unit)).all():
        raise ValueError(f"unit_sizes: got {sizes.min()} to {sizes.max()}, expected (0, {bag.largest_unit}]")
    if not ((sums >= -SLACK) & (sums <= sizes * (1.0 + SLACK))).all():
        raise ValueError("unit_sums: got a unit whose mean score is outside [0, 1]")
    units_left, samples_left = bag.units - len(sums), bag.size - float(sizes.sum())
    rounding = SLACK * bag.size
    if units_left < 0 or not -rounding <= samples_left <= units_left * bag.largest_unit + rounding:
        raise ValueError(
            f"population_units, population_size: {units_left} units with {samples_left:g} samples would be left, "
            f"expected at most {bag.largest_unit} samples in each"
        )
    return _Seen(sums, sizes)


def _sure(seen: _Seen, bag: _Bag) -> tuple[Bools, Bools]:
    """Whether the mean reaches, and whether it misses, the threshold whatever the unseen scores are.

    Returns:
        Two arrays of shape (t + 1,): before the first unit, and after each. Neither turns back from True to False.
    """
    scored = _before_and_after(seen.sums)
    unseen = np.maximum(bag.size - _before_and_after(seen.sizes), 0.0)
    if len(seen.sums) == bag.units:
        unseen[-1] = 0.0  # not what rounding left of it
    reached = scored / bag.size + SLACK >= bag.threshold
    missed = (scored + unseen) / bag.size + SLACK < bag.threshold
    return reached, missed


def _log_e_values(seen: _Seen, bag: _Bag) -> tuple[Floats, Floats]:
    """Logarithms of the e-values for "at least" and for "below" after each unit; each of shape (t,)."""
    excess = seen.sums - bag.threshold * seen.sizes
    left = bag.units - np.arange(len(excess))
    expected = -_before_and_after(excess)[:-1] / left
    lowest, highest = -bag.threshold * bag.largest_unit, (1.0 - bag.threshold) * bag.largest_unit
    above = _log_wealth(excess - expected, room=expected - lowest)
    return above, _log_wealth(expected - excess, room=highest - expected)


def _log_wealth(gains: Floats, *, room: Floats) -> Floats:
    """Logarithm of the mean over bets of prod(1 + g gain / room), for gains of at least -room; shape (t,)."""
    # Without room nothing can be lost, and a gain would prove the hypothesis wrong: `_sure` has seen that one.
    shares = np.divide(gains, room, out=np.zeros_like(gains), where=room > 0.0)
    paths = np.cumsum(np.log1p(np.maximum(shares, -1.0)[:, None] * BETS), axis=0)
    wealth: Floats = special.logsumexp(paths, axis=1) - math.log(len(BETS))
    return wealth


def _first_to_reach(target: float, *, at_least: Floats, below: Floats) -> Side | None:
    """The side whose e-value was the first to reach the target; None when neither has."""
    both = np.maximum(at_least, below) >= target
    if not both.any():
        return None
    first = int(np.argmax(both))
    return "at-least" if at_least[first] >= target else "below"


def _before_and_after(values: Floats) -> Floats:
    """Running sums, from 0 before the first value."""
    return np.concatenate(([0.0], np.cumsum(values)))
