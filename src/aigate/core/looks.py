"""Looks: the moments, fixed before the first answer, at which a run may be decided and stopped.

A look uses the first so many units (samples, or groups of samples) in an order that is drawn from the suite alone, and
so many repeats of each. What arrives beyond a look is recorded and not used by it, so that a verdict never depends on
which answer happened to come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aigate.core.digest import seed_from
from aigate.core.sample import Sample

__all__ = ["Look", "LookPlan", "order_units", "unit_order"]


@dataclass(frozen=True, slots=True)
class Look:
    """One planned moment.

    Attributes:
        units: How many units it uses, from the start of the run's order.
        repeats: How many repeats of each of their samples it uses, from repeat 0.
    """

    units: int
    repeats: int


@dataclass(frozen=True, slots=True)
class LookPlan:
    """The planned moments of one run.

    Attributes:
        looks: At least one. No look uses less than the one before, and each uses more of something; the last one uses
            every unit.

    Raises:
        ValueError: Looks that are no such sequence.
    """

    looks: tuple[Look, ...]

    def __post_init__(self) -> None:
        if not self.looks:
            raise ValueError("a plan needs at least one look")
        if self.looks[0].units < 1 or self.looks[0].repeats < 1:
            raise ValueError(f"the first look uses {self.looks[0]}: expected at least one unit and one repeat")
        for before, now in zip(self.looks, self.looks[1:], strict=False):
            grows = now.units >= before.units and now.repeats >= before.repeats
            if not grows or now == before:
                raise ValueError(f"look {now} does not add to {before}")

    @property
    def escalates(self) -> bool:
        """True when a later look asks more repeats rather than more units."""
        return len({look.repeats for look in self.looks}) > 1

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {"units": [look.units for look in self.looks], "repeats": [look.repeats for look in self.looks]}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> LookPlan:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: The row is no plan.
        """
        units, repeats = row["units"], row["repeats"]
        if not all(isinstance(row, list) and all(type(n) is int for n in row) for row in (units, repeats)):
            raise TypeError("'looks' holds no lists of whole numbers")
        return cls(tuple(Look(u, r) for u, r in zip(units, repeats, strict=True)))


def unit_order(samples: Iterable[Sample], *, seed: int) -> tuple[str, ...]:
    """The units in the order in which looks take them.

    A permutation by digest, interleaved by tags: units that carry the same tags are spread evenly over the order, so
    that every look sees each slice in proportion. It depends on the samples and the seed alone, in whatever order the
    samples come.

    Args:
        samples: The samples of the run.
        seed: Of the suite's content, so that no candidate can choose its order.

    Returns:
        Every unit once.
    """
    return order_units(((sample.unit, sample.tags) for sample in samples), seed=seed)


def order_units(tagged: Iterable[tuple[str, Iterable[str]]], *, seed: int) -> tuple[str, ...]:
    """`unit_order` of samples of which only the unit and the tags are known."""
    tags: dict[str, set[str]] = {}
    for unit, carried in tagged:
        tags.setdefault(unit, set()).update(carried)
    strata: dict[tuple[str, ...], list[str]] = {}
    for unit in sorted(tags):
        strata.setdefault(tuple(sorted(tags[unit])), []).append(unit)
    placed: list[tuple[float, str]] = []
    for stratum, units in strata.items():
        units.sort(key=lambda unit: seed_from(str(seed), "unit", unit))
        offset = seed_from(str(seed), "stratum", *stratum) / 2**64
        placed.extend(((rank + offset) / len(units), unit) for rank, unit in enumerate(units))
    return tuple(unit for _, unit in sorted(placed))
