"""Streams without an end, looked at as often as one likes: is the error rate, or the mean score, past its limit?

Each process holds an e-value E: what a gambler who starts with 1 has made of betting against the hypothesis. While the
hypothesis holds, E stays at 1 or less in expectation at every moment, so the chance that it *ever* reaches 1/alpha is
at most alpha, however often and for whatever reason somebody looks (Ville's inequality; Waudby-Smith and Ramdas 2024,
JRSSB, arXiv 2010.09686). The price of that freedom is power, so golden sets of fixed size use `sequential` instead.

A process is a value: `after` gives the next one and never starts again from 1. Its wealth must not be started again
after a look at the data, so what has to survive a restart of the program is kept with `to_dict`. All sums are of
logarithms: wealth reaches 10^300 within an hour of a real outage.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats import special
from aigate.stats.arrays import Floats, finite_array, open_fraction

__all__ = ["BernoulliLimit", "BoundedMean", "EProcess", "RelativeToStable", "Side", "average_e", "rate_log_e"]

Side = Literal["above", "below"]

RATIOS = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0])
"""How far past the limit the rates lie that are bet on: times the limit above it, divided into it below."""

BETS = np.array([0.02, 0.04, 0.08, 0.15, 0.25, 0.40, 0.60, 0.80])
"""Shares g_j of the wealth that the worst value may cost; none may exceed `MOST_OF_WEALTH`."""

MOST_OF_WEALTH = 0.9
"""The largest share of the wealth that one outcome may cost, so that no outcome can end the game."""

ROUNDING = 1e-9


class EProcess(ABC):
    """What every process can be asked.

    Attributes:
        peak: Logarithm of the largest e-value so far, at least 0.
    """

    __slots__ = ()

    peak: float

    @property
    @abstractmethod
    def log_e_value(self) -> float:
        """Natural logarithm of the e-value now."""

    @property
    def e_value(self) -> float:
        """The evidence against the hypothesis now: 1 before any data, at most the largest float."""
        return math.exp(min(self.log_e_value, math.log(sys.float_info.max)))

    def alarm(self, alpha: float) -> bool:
        """True once the e-value has reached 1 / alpha at any `after`; it stays true.

        While the hypothesis holds, the chance that this ever becomes true is at most alpha.

        Raises:
            ValueError: Alpha outside (0, 1).
        """
        return self.peak >= -math.log(open_fraction(alpha, name="alpha"))

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            TypeError, ValueError: The row is no such state.
        """
        return cls(**row)


@dataclass(frozen=True, slots=True)
class BernoulliLimit(EProcess):
    """Is the rate of an event past a limit? For error rates, and for quantiles alike.

    "P99 above 5 s" is "more than 1 % are slower than 5 s": an event with the limit 0.01.

    The hypothesis is that each chance, given the past, is at most the limit (`side="above"`, to raise an alarm) or at
    least the limit (`side="below"`, to certify that the rate is lower). E is that of `rate_log_e`.

    Attributes:
        limit: The rate, between 0 and 1.
        side: On which side of the limit evidence is sought.
        events: How often the event has happened.
        trials: How often it could have.
        peak: Logarithm of the largest e-value so far.

    Raises:
        ValueError: A limit outside (0, 1), or counts that cannot be.

    >>> errors = BernoulliLimit(0.01).after(1, 60).after(9, 60)
    >>> errors.alarm(0.01), round(errors.e_value)
    (True, 59781)
    """

    limit: float
    _: KW_ONLY
    side: Side = "above"
    events: int = 0
    trials: int = 0
    peak: float = 0.0

    def __post_init__(self) -> None:
        open_fraction(self.limit, name="limit")
        _check_side(self.side)
        _check_peak(self.peak)
        _check_counts(self.events, self.trials)

    def after(self, events: int, trials: int) -> Self:
        """The process after so many more trials, of which so many were events.

        One trial at a time or a minute's counts at once: the e-value at the end is the same.

        Raises:
            ValueError: Counts that cannot be.
        """
        _check_counts(events, trials)
        after = replace(self, events=self.events + events, trials=self.trials + trials)
        return replace(after, peak=max(self.peak, after.log_e_value))

    @property
    def log_e_value(self) -> float:
        """Natural logarithm of the e-value now."""
        return float(rate_log_e(self.events, self.trials, limit=self.limit, side=self.side))


@dataclass(frozen=True, slots=True)
class RelativeToStable(EProcess):
    """Does the canary err more often than the stable version beside it? Only errors count, by the arm that they hit.

    An outage that both share hits both in proportion to their traffic, so it raises no alarm. The hypothesis is that
    the canary's error rate is at most `ratio` times the stable one: P(canary | error) <= q = w r / (w r + 1 - w) for
    the canary's share of traffic w. The alternatives are the ratios r times 1.25 to 30.

    Attributes:
        share: The canary's share of the traffic, between 0 and 1; it has to be the one really served.
        ratio: The tolerated ratio of the error rates, positive.
        canary: Errors of the canary so far.
        stable: Errors of the stable version so far.
        peak: Logarithm of the largest e-value so far.

    Raises:
        ValueError: A share outside (0, 1), a ratio that is not positive, or negative counts.

    >>> arms = RelativeToStable(0.05).after(canary=6, stable=14)
    >>> arms.alarm(0.01), round(arms.e_value)
    (True, 186)
    """

    share: float
    _: KW_ONLY
    ratio: float = 1.0
    canary: int = 0
    stable: int = 0
    peak: float = 0.0

    def __post_init__(self) -> None:
        open_fraction(self.share, name="share")
        if not (math.isfinite(self.ratio) and self.ratio > 0.0):
            raise ValueError(f"ratio: got {self.ratio}, expected a positive number")
        _check_peak(self.peak)
        _check_counts(self.canary, self.canary + self.stable)

    def after(self, *, canary: int, stable: int) -> Self:
        """The process after so many more errors of either arm.

        Raises:
            ValueError: A negative count.
        """
        _check_counts(canary, canary + stable)
        after = replace(self, canary=self.canary + canary, stable=self.stable + stable)
        return replace(after, peak=max(self.peak, after.log_e_value))

    @property
    def log_e_value(self) -> float:
        """Natural logarithm of the e-value now."""
        alternatives = self._share_of_errors(self.ratio * RATIOS)
        expected = float(self._share_of_errors(self.ratio))
        return float(_mixture(self.canary, self.stable, rate=expected, alternatives=np.asarray(alternatives)))

    def _share_of_errors(self, ratio: float | Floats) -> float | Floats:
        """P(canary | error) where its error rate is `ratio` times the stable one."""
        weight = self.share * ratio
        return weight / (weight + 1.0 - self.share)


@dataclass(frozen=True, slots=True)
class BoundedMean(EProcess):
    """Is the mean of bounded values past a limit? For judged answers, and for paired differences of a shadow replay.

    The hypothesis is that each mean, given the past, is at least the limit (`side="below"`, to raise an alarm) or at
    most the limit (`side="above"`, to certify). With X = limit - value for "below", so that X >= -c for
    c = high - limit, E_t = mean over j of prod over i <= t of (1 + lam_j X_i), lam_j = g_j / c; "above" is the mirror
    image with c = limit - low.

    Attributes:
        limit: What the mean is held against, strictly between low and high.
        low: The lowest value there can be.
        high: The highest value there can be.
        side: On which side of the limit evidence is sought.
        count: Values so far.
        log_wealth: Logarithm of the wealth of every bet.
        peak: Logarithm of the largest e-value so far.

    Raises:
        ValueError: A limit that is not between low and high, or a state that cannot be.

    >>> faithfulness = BoundedMean(0.85).after([0.5, 0.6, 0.4] * 4)
    >>> faithfulness.alarm(0.01), BoundedMean(0.85).after([0.9, 0.8, 0.85] * 4).alarm(0.01)
    (True, False)
    """

    limit: float
    low: float = 0.0
    high: float = 1.0
    _: KW_ONLY
    side: Side = "below"
    count: int = 0
    log_wealth: tuple[float, ...] = (0.0,) * len(BETS)
    peak: float = 0.0

    def __post_init__(self) -> None:
        bounds = (self.low, self.limit, self.high)
        if not (all(map(math.isfinite, bounds)) and self.low < self.limit < self.high):
            raise ValueError(f"low, limit, high: got {bounds}, expected low < limit < high")
        _check_side(self.side)
        _check_peak(self.peak)
        _check_counts(0, self.count)
        if len(self.log_wealth) != len(BETS) or not all(map(math.isfinite, self.log_wealth)):
            raise ValueError(f"log_wealth: got {self.log_wealth}, expected {len(BETS)} finite numbers")

    def after(self, values: ArrayLike) -> Self:
        """The process after more values, in their order; the peak looks at it after each of them.

        Args:
            values: Shape (t,), each in [low, high].

        Raises:
            ValueError: A value that is not finite or outside [low, high]. A missing score is no number: leave it out
                only where scores go missing for reasons that have nothing to do with them.
        """
        wealth = self._wealth_path(values)
        if len(wealth) == 0:
            return self
        peak = max(self.peak, float(_log_mean(wealth).max()))
        return replace(self, count=self.count + len(wealth), log_wealth=tuple(wealth[-1].tolist()), peak=peak)

    def log_e_path(self, values: ArrayLike) -> Floats:
        """Logarithm of the e-value after each of more values; shape (t,). The last one is that of `after(values)`.

        Raises:
            ValueError: As `after`.
        """
        return _log_mean(self._wealth_path(values))

    @property
    def log_e_value(self) -> float:
        """Natural logarithm of the e-value now."""
        return float(_log_mean(np.array(self.log_wealth)))

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON."""
        return {**asdict(self), "log_wealth": list(self.log_wealth)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: The row is no such state.
        """
        return cls(**{**row, "log_wealth": tuple(row["log_wealth"])})

    def _wealth_path(self, values: ArrayLike) -> Floats:
        """Logarithm of the wealth of every bet after each of more values; shape (t, bets)."""
        array = finite_array(values, name="values", ndim=1)
        slack = ROUNDING * (self.high - self.low)
        if not ((array >= self.low - slack) & (array <= self.high + slack)).all():
            raise ValueError(
                f"values: got {array.min()} to {array.max()}, expected numbers in [{self.low}, {self.high}]"
            )
        below = self.side == "below"
        gains = self.limit - array if below else array - self.limit
        most_lost = self.high - self.limit if below else self.limit - self.low
        bets = BETS / most_lost
        path: Floats = np.array(self.log_wealth) + np.cumsum(np.log1p(gains[:, None] * bets), axis=0)
        return path


def rate_log_e(events: ArrayLike, trials: ArrayLike, *, limit: float, side: Side = "above") -> Floats:
    """Logarithm of the e-value that the rate of an event is past a limit, for many counts at once.

    E = mean over j of (p_j/p0)^k ((1-p_j)/(1-p0))^(t-k) for k events in t trials and the limit p0. The p_j are p0 times
    1.25, 1.5, 2, 3, 5, 8, 15 and 30 above the limit, kept so far below 1 that a trial without the event costs at most
    nine tenths of the wealth; and p0 divided by the same numbers below it.

    Args:
        events: Counts k of any shape.
        trials: Counts t of the same shape.
        limit: The rate p0, between 0 and 1.
        side: On which side of the limit evidence is sought.

    Returns:
        Of the shape of the counts; 0 without trials. It depends on the counts alone, not on the order of the events.

    Raises:
        ValueError: A limit outside (0, 1), a side that is neither, or counts that are not finite or cannot be.

    >>> rate_log_e([0, 3, 9], [60, 60, 60], limit=0.01).round(2).tolist()
    [-1.15, 1.54, 14.73]
    """
    open_fraction(limit, name="limit")
    _check_side(side)
    k, t = np.asarray(events, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if not (np.isfinite(k).all() and np.isfinite(t).all() and (k >= 0.0).all() and (k <= t).all()):
        raise ValueError("events, trials: expected finite counts with 0 <= events <= trials")
    highest = 1.0 - (1.0 - MOST_OF_WEALTH) * (1.0 - limit)
    alternatives = np.minimum(limit * RATIOS, highest) if side == "above" else limit / RATIOS
    return _mixture(k, t - k, rate=limit, alternatives=alternatives)


def average_e(e_values: ArrayLike) -> float:
    """One e-value from several: their mean, valid however they depend on each other (Vovk and Wang 2021).

    It is for e-values of one moment, as `e_value` gives them. The mean of peaks of different moments is no e-value.

    Args:
        e_values: Shape (m,), at least one, each 0 or more.

    Returns:
        The mean; act when it reaches 1 / alpha.

    Raises:
        ValueError: No values, or one that is negative or not finite.

    >>> average_e([1.0, 3.0, 8.0])
    4.0
    """
    values = finite_array(e_values, name="e_values", ndim=1)
    if len(values) == 0 or (values < 0.0).any():
        raise ValueError(f"e_values: got {values.tolist()}, expected at least one, each 0 or more")
    largest = float(values.max())
    # In shares of the largest: the sum may exceed the largest float.
    return largest * float((values / largest).mean()) if largest else 0.0


def _mixture(events: ArrayLike, others: ArrayLike, *, rate: float, alternatives: Floats) -> Floats:
    """Logarithm of the mean likelihood ratio of the alternatives to the rate; of the shape of the counts."""
    k, rest = np.asarray(events, dtype=np.float64)[..., None], np.asarray(others, dtype=np.float64)[..., None]
    of_event = np.log(alternatives / rate)
    of_other = np.log1p(-alternatives) - math.log1p(-rate)
    return _log_mean(k * of_event + rest * of_other)


def _log_mean(log_wealth: Floats) -> Floats:
    """Logarithm of the mean over the last axis."""
    mean: Floats = special.logsumexp(log_wealth, axis=-1) - math.log(log_wealth.shape[-1])
    return mean


def _check_side(side: str) -> None:
    if side not in ("above", "below"):
        raise ValueError(f"side: got {side!r}, expected 'above' or 'below'")


def _check_peak(peak: float) -> None:
    if not (math.isfinite(peak) and peak >= 0.0):
        raise ValueError(f"peak: got {peak}, expected a finite number of 0 or more")


def _check_counts(events: int, trials: int) -> None:
    if not 0 <= events <= trials:
        raise ValueError(f"events, trials: got {events} of {trials}, expected 0 <= events <= trials")
