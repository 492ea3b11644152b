"""Group-sequential boundaries: how strict each look must be, so that all looks together err no more than alpha.

A statistic that is watched k times crosses a fixed bound more often than one that is seen once. Here alpha is spent
over the looks as a function of the share of the data they use (Lan and DeMets 1983), alpha t^power (Kim and DeMets
1987), and the bound at each look is found from the joint law of the looks: Brownian motion seen at the times t, whose
increments are independent (Armitage, McPherson and Rowe 1969; Jennison and Turnbull 2000, chapter 19).

These bounds serve p-values that are computed anew from all the data at each look. The relabelling test spends alpha
itself, on its own paths (`relabel.relabel_looks`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats import special
from aigate.stats.arrays import Floats, finite_array, open_fraction

__all__ = ["crossing_probability", "nominal_levels", "spent", "split_levels"]

FARTHEST = 8.5  # standard deviations: what lies beyond has probability 1e-17
POINTS_PER_PANEL = 10
STEPS_PER_PANEL = 2.0  # width of a panel in standard deviations of the narrower step: errors of the rule are near 1e-9
CLOSEST = 1e-4  # looks closer than this share of the later time would need grids of many thousand points
HALVINGS = 50  # of an interval of length 17
FIRST_OF_TWO = 0.4  # share of alpha spent by the first of two looks whose joint law is not known


def spent(times: ArrayLike, *, alpha: float, power: float = 2.0) -> Floats:
    """Alpha spent by each look: alpha t^power (Kim and DeMets 1987).

    Args:
        times: Shape (looks,), the share of the data each look uses: in (0, 1], increasing, the last 1.
        alpha: Error rate of all looks together.
        power: How late alpha is spent, positive: 1 evenly, 3 close to O'Brien and Fleming.

    Returns:
        Shape (looks,), increasing, the last exactly alpha.

    Raises:
        ValueError: Times that are no such sequence, or an option out of range.

    >>> spent([0.5, 1.0], alpha=0.05).tolist()
    [0.0125, 0.05]
    """
    shares = _checked_times(times)
    if shares[-1] != 1.0:
        raise ValueError(f"times: got {shares[-1]} at the end, expected 1")
    if not (math.isfinite(power) and power > 0.0):
        raise ValueError(f"power: got {power}, expected a positive number")
    return np.asarray(open_fraction(alpha, name="alpha") * shares**power)


def crossing_probability(z: ArrayLike, times: ArrayLike) -> Floats:
    """The chance that a standardised statistic has crossed an upper bound by each look, if nothing has changed.

    B is Brownian motion; look k sees B(t_k) / sqrt(t_k) and crosses where that is at least z_k. The density of the
    paths that have not crossed is carried from look to look on a grid (Gauss-Legendre rule in panels).

    Args:
        z: Shape (looks,), the bounds, in standard deviations; infinity is a look that nothing crosses.
        times: Shape (looks,), the share of the data each look uses, in (0, 1] and increasing.

    Returns:
        Shape (looks,), cumulative probabilities, to 1e-8.

    Raises:
        ValueError: Times that are no such sequence, or not one bound per time.

    >>> crossing_probability([4.333, 2.963, 2.359, 2.014], [0.25, 0.5, 0.75, 1.0]).round(4).tolist()[-1]
    0.025
    """
    shares = _checked_times(times)
    bounds = np.asarray(z, dtype=np.float64)
    if bounds.shape != shares.shape or np.isnan(bounds).any():
        raise ValueError(f"z: got {bounds.tolist()}, expected one bound for each of {len(shares)} times")
    states = [_START]
    for bound, now, after in zip(bounds, shares, [*shares[1:], math.inf], strict=True):
        states.append(states[-1].stepped(float(bound), float(now), float(after)))
    return np.array([state.crossed for state in states[1:]])


def nominal_levels(times: ArrayLike, *, alpha: float, power: float = 2.0) -> Floats:
    """The one-sided level of a p-value at each look, so that the looks together spend `spent(times)`.

    Args:
        times: Shape (looks,), the share of the data each look uses: in (0, 1], increasing, the last 1.
        alpha: Error rate of all looks together.
        power: As in `spent`.

    Returns:
        Shape (looks,), Phi(-z_k): act at look k where p is at most this. A single look has exactly alpha.

    Raises:
        ValueError: As `spent`.

    >>> nominal_levels([0.2, 0.4, 0.6, 0.8, 1.0], alpha=0.05).round(4).tolist()
    [0.002, 0.0068, 0.0139, 0.0237, 0.0367]
    """
    costs = spent(times, alpha=alpha, power=power)
    return np.array(_levels(tuple(_checked_times(times).tolist()), tuple(costs.tolist())))


def split_levels(n_looks: int, alpha: float) -> Floats:
    """Alpha spent by each look where the joint law of the looks is not known: more repeats of the same samples.

    alpha (k / n)^1.32, so that the first of two looks spends 40 %. Each look is a test of its own at what it adds,
    the difference between its entry and the one before: by Bonferroni all of them together err no more than alpha.

    Args:
        n_looks: Number of looks, 1 or more.
        alpha: Error rate of all looks together.

    Returns:
        Shape (n_looks,), cumulative and increasing, the last exactly alpha.

    Raises:
        ValueError: No looks, or alpha outside (0, 1).

    >>> split_levels(2, 0.05).round(12).tolist()
    [0.02, 0.05]
    """
    if n_looks < 1:
        raise ValueError(f"n_looks: got {n_looks}, expected 1 or more")
    return spent(np.arange(1, n_looks + 1) / n_looks, alpha=alpha, power=-math.log2(FIRST_OF_TWO))


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """The paths that have not crossed by a time: their density on a grid.

    Attributes:
        time: When.
        points: Shape (P,), the grid.
        mass: Shape (P,), density times weight: sums over the grid are integrals.
        crossed: The probability of having crossed.
    """

    time: float
    points: Floats
    mass: Floats
    crossed: float

    def crossing(self, z: float, time: float) -> float:
        """The probability of crossing the bound z at a later time, not before."""
        step = math.sqrt(time - self.time)
        return float(self.mass @ special.ndtr((self.points - z * math.sqrt(time)) / step))

    def stepped(self, z: float, time: float, after: float) -> _State:
        """The state at a later time, on a grid that the step to the time `after` needs."""
        points, weights = _grid(z, time, min(time - self.time, after - time))
        step = math.sqrt(time - self.time)
        distance = (points[:, None] - self.points) / step
        density = np.exp(-0.5 * np.square(distance)) @ self.mass / (step * math.sqrt(2.0 * math.pi))
        return _State(time, points, weights * density, self.crossed + self.crossing(z, time))


_START = _State(0.0, np.zeros(1), np.ones(1), 0.0)


def _grid(z: float, time: float, step: float) -> tuple[Floats, Floats]:
    """Points and weights between the farthest path below and the bound."""
    low, high = (bound * math.sqrt(time) for bound in (-FARTHEST, min(max(z, -FARTHEST), FARTHEST)))
    panels = max(1, math.ceil((high - low) / (STEPS_PER_PANEL * math.sqrt(step))))
    edges = np.linspace(low, high, panels + 1)
    half = np.diff(edges)[:, None] / 2.0
    points, weights = _panel()
    return (edges[:-1, None] + half * (1.0 + points)).reshape(-1), (half * weights).reshape(-1)


@lru_cache(maxsize=1)
def _panel() -> tuple[Floats, Floats]:
    points, weights = np.polynomial.legendre.leggauss(POINTS_PER_PANEL)
    return np.asarray(points), np.asarray(weights)


@lru_cache(maxsize=1_024)
def _levels(times: tuple[float, ...], costs: tuple[float, ...]) -> tuple[float, ...]:
    # Nothing has crossed before the first look, so what it may spend is its level.
    levels, state = [costs[0]], _START
    bound = _bound(state, times[0], costs[0])
    for now, after, cost in zip(times, times[1:], costs[1:], strict=False):
        state = state.stepped(bound, now, after)
        bound = _bound(state, after, cost - state.crossed)
        levels.append(float(special.ndtr(-bound)))
    return tuple(levels)


def _bound(state: _State, time: float, probability: float) -> float:
    """The bound that is crossed with this probability, by bisection; the farthest one where nothing is left."""
    low, high = -FARTHEST, FARTHEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        if state.crossing(middle, time) > probability:
            low = middle
        else:
            high = middle
    return high


def _checked_times(times: ArrayLike) -> Floats:
    shares = finite_array(times, name="times", ndim=1)
    if not len(shares) or shares[0] <= 0.0 or shares[-1] > 1.0 or (np.diff(shares) < CLOSEST * shares[1:]).any():
        raise ValueError(
            f"times: got {shares.tolist()}, expected shares in (0, 1], each larger than the one before "
            f"by {CLOSEST:g} of itself or more"
        )
    return shares
