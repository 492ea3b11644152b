"""Where the marks of a forest plot stand: each check's observed value and interval beside the bound it was held to.

Changes against a baseline share one scale, so that they can be read down the page. Every other check has a scale of its
own. Positions are percent of the drawing's width, from the left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aigate.core.verdict import CheckOutcome

__all__ = ["Forest", "Mark", "Scale", "compares", "forest_of", "good_is_more", "scale_over"]

EDGE = 4.0  # percent left free at either side
TICKS = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear scale.

    Attributes:
        low: The value at the left edge.
        high: The value at the right edge; above `low`.
    """

    low: float
    high: float

    def at(self, value: float) -> float:
        """The position of a value, kept within the drawing."""
        share = (value - self.low) / (self.high - self.low)
        return round(EDGE + (100.0 - 2 * EDGE) * min(1.0, max(0.0, share)), 2)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round values within it, about four."""
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return tuple(round(number * step, 12) for number in range(first, math.floor(self.high / step + 1e-9) + 1))


@dataclass(frozen=True, slots=True)
class Mark:
    """The drawing of one check.

    Attributes:
        scale: The scale it is drawn on.
        shared: True for a change, whose scale is that of all changes.
        observed: Position of the observed value.
        low: Position of the interval's lower end; None without an interval.
        high: Position of its upper end.
        bound: Position of the bound; None without one.
        good: The side of the bound that passes: `right` or `left`.
    """

    scale: Scale
    shared: bool
    observed: float
    low: float | None
    high: float | None
    bound: float | None
    good: str


@dataclass(frozen=True, slots=True)
class Forest:
    """All checks with their drawings.

    Attributes:
        changes: The scale of all changes; None where nothing is compared.
        marks: Per check, in order; None where it has no number to draw.
    """

    changes: Scale | None
    marks: tuple[Mark | None, ...]


def forest_of(checks: Sequence[CheckOutcome]) -> Forest:
    """Place the marks of all checks."""
    compared = [value for check in checks if compares(check) for value in (*_numbers(check), 0.0)]
    changes = scale_over(compared) if compared else None
    return Forest(changes, tuple(_mark(check, changes if compares(check) else None) for check in checks))


def compares(check: CheckOutcome) -> bool:
    """True for a check whose observed value is a difference from a baseline."""
    means = {"baseline_mean", "candidate_mean"}
    return check.baseline_bound and check.observed is not None and means <= check.details.keys()


def good_is_more(check: CheckOutcome) -> bool:
    """True where values above the bound pass; false for what must stay below one."""
    return not check.check.startswith("max-") and check.check not in {"same-shape", "complete"}


def scale_over(values: Sequence[float]) -> Scale:
    """A scale that holds all values, at least one; of a single value, one around it."""
    low, high = min(values), max(values)
    if high - low < 1e-9:
        room = max(abs(low) * 0.1, 0.01)
        return Scale(low - room, high + room)
    return Scale(low, high)


def _mark(check: CheckOutcome, shared: Scale | None) -> Mark | None:
    if check.observed is None or (check.threshold is None and check.interval is None):
        return None
    scale = shared or scale_over(_numbers(check))
    interval, bound = check.interval, check.threshold
    return Mark(
        scale=scale,
        shared=shared is not None,
        observed=scale.at(check.observed),
        low=None if interval is None else scale.at(interval.low),
        high=None if interval is None else scale.at(interval.high),
        bound=None if bound is None else scale.at(bound),
        good="right" if good_is_more(check) else "left",
    )


def _numbers(check: CheckOutcome) -> list[float]:
    ends = () if check.interval is None else (check.interval.low, check.interval.high)
    return [value for value in (check.observed, check.threshold, *ends) if value is not None]
