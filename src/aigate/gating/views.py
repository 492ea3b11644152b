"""What a decision may look at: the planned looks of a run, as far as they were asked, and their shares of alpha."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from aigate.core.run import Run
from aigate.gating.arrays import Bools, Ints, arrays_of
from aigate.stats.noninferiority import FEWEST_UNITS
from aigate.stats.sequential import nominal_levels, spent, split_levels

__all__ = [
    "Rates",
    "Schedule",
    "Stage",
    "View",
    "asked_repeats",
    "in_view",
    "part_of",
    "schedule",
    "views_of",
    "whole_view",
]


SMALLEST_STEP = 0.001  # of the compared units: a look that is followed by so few more is left to the next


@dataclass(frozen=True, slots=True)
class View:
    """The part of a run that one look uses.

    Attributes:
        number: Which look, from 1.
        planned: How many looks are planned.
        units: How many units it uses, from the start of the run's order.
        repeats: The repeats it uses, from repeat 0.
        whole: True when it uses every unit of the run.
    """

    number: int
    planned: int
    units: int
    repeats: int
    whole: bool

    @property
    def last(self) -> bool:
        """True for the last planned look."""
        return self.number == self.planned

    @property
    def place(self) -> tuple[int, int] | tuple[None, None]:
        """Which look of how many; None where nothing but the end was planned."""
        return (self.number, self.planned) if self.planned > 1 else (None, None)

    def __str__(self) -> str:
        return f"look {self.number} of {self.planned}"


def views_of(run: Run) -> tuple[View, ...]:
    """The looks of a run of which everything was asked, in order; a run without a plan has one.

    A look is there when none of its answers was skipped by an early stop. A run that was stopped before its first look
    has none.
    """
    plan = run.header.looks
    if plan is None:
        return (whole_view(run),)
    arrays, views = arrays_of(run), []
    skipped = np.flatnonzero(arrays.skipped)
    units = arrays.places(run.header.seed)[arrays.units[arrays.sample[skipped]]] if len(skipped) else skipped
    for number, look in enumerate(plan.looks, start=1):
        if ((units < look.units) & (arrays.repeat[skipped] < look.repeats)).any():
            break
        whole = look.units >= arrays.n_units
        views.append(View(number, len(plan.looks), look.units, repeats=look.repeats, whole=whole))
    return tuple(views)


def whole_view(run: Run) -> View:
    """All that was asked of a run, as the one and only look."""
    return View(1, 1, arrays_of(run).n_units, repeats=asked_repeats(run), whole=True)


def asked_repeats(run: Run) -> int:
    """The repeats of which every answer was asked: fewer than planned where a verdict needed no more; at least 1."""
    if run.header.looks is None:
        return run.header.repeats
    views = views_of(run)
    return views[-1].repeats if views else 1


def in_view(run: Run, view: View) -> Bools:
    """Which samples of a run a look uses."""
    arrays = arrays_of(run)
    if view.whole:
        return np.ones(len(run), dtype=np.bool_)
    return arrays.places(run.header.seed)[arrays.units] < view.units


def part_of(run: Run, view: View) -> Run:
    """What a look may use of a run, as a run of its own: for what is judged over all outputs together."""
    arrays, samples = arrays_of(run), in_view(run, view)
    results = samples[arrays.sample] & (arrays.repeat < view.repeats) & ~arrays.skipped
    header = replace(run.header, repeats=view.repeats, looks=None)
    if samples.all() and results.all():
        return run.under(header)
    return run.part(header, np.flatnonzero(samples).tolist(), np.flatnonzero(results).tolist())


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive looks with the same repeats: one relabelling runs through all of them.

    Attributes:
        views: The looks of the stage that were asked.
        spent: Per view, the cumulative error that blocks may have cost by then, within the stage.
        pass_levels: Per view, the level of the pass test at that look; 0 where no pass is allowed.
    """

    views: tuple[View, ...]
    spent: tuple[float, ...]
    pass_levels: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the error rates are spent over the looks of one comparison.

    Attributes:
        stages: In order; those that were asked.
    """

    stages: tuple[Stage, ...]

    @property
    def views(self) -> tuple[View, ...]:
        """Every look that was asked, in order."""
        return tuple(view for stage in self.stages for view in stage.views)

    @property
    def spent(self) -> tuple[float, ...]:
        """The error that blocks may have cost by each of them, within its stage."""
        return tuple(spent for stage in self.stages for spent in stage.spent)

    @property
    def pass_levels(self) -> tuple[float, ...]:
        """The level of the pass test at each of them."""
        return tuple(level for stage in self.stages for level in stage.pass_levels)


@dataclass(frozen=True, slots=True)
class Rates:
    """The error rates that are spent.

    Attributes:
        block: One-sided chance of blocking an unchanged candidate.
        pass_: One-sided chance of passing a drop of the margin.
        part_may_pass: False where only the whole suite may pass.
    """

    block: float
    pass_: float
    part_may_pass: bool

    def times(self, share: float) -> Rates:
        """A part of them."""
        return replace(self, block=self.block * share, pass_=self.pass_ * share)


def schedule(run: Run, views: Sequence[View], shared_units: Ints, rates: Rates) -> Schedule:
    """Spend the error rates over the planned looks.

    Looks that add units spend alpha t² at the share t of the compared units (Kim and DeMets 1987); a look with fewer
    than 20 of them is passed over, and its share goes to the next. Where later looks ask more answers to the same
    samples, their joint law with the earlier ones is not known: the rates are split between the stages (0.4 and 0.6 for
    two of them).

    Args:
        run: The candidate; its plan counts, also the part that was not asked.
        views: The looks that were asked.
        shared_units: The units of the run that are compared, each once.
        rates: What is spent.
    """
    plan = run.header.looks
    if plan is None or (views and views[0].planned == 1):
        return Schedule((Stage(tuple(views), (rates.block,) * len(views), (rates.pass_,) * len(views)),))
    parts = [list(part) for _, part in groupby(plan.looks, key=lambda look: look.repeats)]
    shares = np.diff(split_levels(len(parts), alpha=0.5), prepend=0.0) / 0.5
    stages, begun = [], 0
    places = np.sort(arrays_of(run).places(run.header.seed)[shared_units])
    for part, share in zip(parts, shares.tolist(), strict=True):
        asked = tuple(views[begun : begun + len(part)])
        counts = [int(np.searchsorted(places, look.units)) for look in part]
        if asked:
            stages.append(_stage(asked, counts, rates.times(share)))
        begun += len(part)
    return Schedule(tuple(stages))


def _stage(asked: tuple[View, ...], counts: Sequence[int], rates: Rates) -> Stage:
    """The rates by the share of compared units at each planned look; looks too small, or that add nothing, get none."""
    least = max(1, SMALLEST_STEP * counts[-1])
    following = [*counts[1:], counts[-1] + least]
    used = [count >= FEWEST_UNITS and after - count >= least for count, after in zip(counts, following, strict=True)]
    if not any(used):  # so few units that only the last look counts
        used = [number == len(counts) for number in range(1, len(counts) + 1)]
    times = [count / max(1, counts[-1]) for count, use in zip(counts, used, strict=True) if use]
    times[-1] = 1.0
    costs, levels = iter(spent(times, alpha=rates.block)), iter(nominal_levels(times, alpha=rates.pass_))
    blocks, passes, so_far = [], [], 0.0
    for use in used:
        so_far = float(next(costs)) if use else so_far
        blocks.append(so_far)
        passes.append(float(next(levels)) if use else 0.0)
    if not rates.part_may_pass:
        passes = [rates.pass_ if number == len(used) else 0.0 for number in range(1, len(used) + 1)]
    return Stage(asked, tuple(blocks[: len(asked)]), tuple(passes[: len(asked)]))
