"""What a suite can see, and the margin that follows: known before a candidate answers, and never moved by its answers.

A margin that depended on the candidate's scores would be chosen by what is judged: a noisy candidate would tolerate
more of its own fall. So everything here rests on the baseline's stored repeats, or on defaults where it has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal, Protocol

import numpy as np

from aigate.core.columns import SampleColumns, columns_of
from aigate.core.counts import are, count_of
from aigate.core.run import Run
from aigate.core.sample import Sample
from aigate.core.verdict import Reason
from aigate.gating.arrays import Floats, Ints, arrays_of, digests_of, shared_rows, units_of
from aigate.gating.comparison import Trials, trials_of
from aigate.gating.reasons import reason
from aigate.stats.noninferiority import FEWEST_UNITS
from aigate.stats.power import (
    SD_BINARY,
    SD_GRADED,
    block_floor,
    pass_floor_margin,
    samples_needed,
    smallest_detectable_drop,
    smallest_detectable_loss,
)

__all__ = [
    "POWER",
    "Margin",
    "Spread",
    "auto_margin",
    "below_floor",
    "block_units",
    "can_see",
    "least_passing_margin",
    "pass_units",
    "points",
    "repeats_that_do",
    "resolved_margin",
    "smallest_drop",
    "smallest_loss",
    "spread_of",
    "units_needed",
    "with_repeats",
    "with_units",
]

Margin = float | Literal["auto"]
"""A tolerated drop in (0, 1), or the smallest one that the suite can show."""

POWER = 0.80
"""The chance to detect that a smallest detectable drop is stated for."""

REPEATS_TO_TRY = ((5, 1), (5, 3), (5, 5), (10, 5))  # of baseline and candidate; the baseline's are paid for once
REPEATS_TO_ADVISE = (5, 3)
GROUP_AGREEMENT = 0.20  # correlation of differences within a group, while no run says better
MOSTLY_BINARY = 0.5  # from this share of scores at 0 or 1 on, a metric is planned like shares of claims
LARGEST_MARGIN = 0.99
DUST = 1e-9  # a hundredth of a point is a difference, rounding is not


class _Shared(Protocol):
    """What is read of `PolicySettings`, which imports what imports this module."""

    @property
    def alpha(self) -> float: ...

    @property
    def margin(self) -> Margin: ...

    @property
    def strict(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Spread:
    """How much the paired differences of a metric scatter when nothing but noise has changed.

    A model that is really different scatters more, since it differs from sample to sample (omega² in
    `aigate.stats.power`); only more samples help against that part, and no baseline knows it beforehand.

    Attributes:
        noise: Variance of a unit's mean score from one repeat to the next, of one version: the squared standard error
            of the mean difference is noise (1/K_c + 1/K_b) / n_units.
        unit_sizes: Samples in each unit; a unit is a group, or a sample that stands alone.
        candidate_repeats: Repeats of the candidate, K_c.
        baseline_repeats: Repeats of the baseline, K_b.
        binary: True when all scores seen are 0 or 1; also while none was seen.
        measured: True when it comes from stored repeats, False for a default.
        origin: Where it comes from, in words.
    """

    noise: float
    unit_sizes: tuple[int, ...]
    candidate_repeats: int
    baseline_repeats: int
    binary: bool
    measured: bool
    origin: str

    @property
    def sd_per_unit(self) -> float:
        """Standard deviation of a unit's mean paired difference."""
        return math.sqrt(self.noise * (1.0 / self.candidate_repeats + 1.0 / self.baseline_repeats))

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.unit_sizes)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return sum(self.unit_sizes)

    @property
    def grouped(self) -> bool:
        """True when some unit holds several samples."""
        return self.n_units < self.n_samples

    @property
    def units(self) -> str:
        """What a unit is called."""
        return "groups" if self.grouped else "samples"


def spread_of(
    baseline: Run | None,
    metric: str,
    *,
    candidate_repeats: int,
    baseline_repeats: int | None = None,
    samples: Iterable[Sample] | SampleColumns | None = None,
) -> Spread:
    """The scatter to plan with, from the baseline's own repeats where it has two or more.

    Two repeats of one version differ by noise alone, so with s² between the repeats of a unit the difference of means
    has the variance s² (1/K_c + 1/K_b). That covers "nothing but noise has changed" and nothing else: see `Spread`.
    The candidate's scores are never looked at.

    Args:
        baseline: The run to learn from; None or one repeat of it: the defaults of `aigate.stats.power`.
        metric: The metric; samples to which the baseline says it does not apply are left out.
        candidate_repeats: Repeats the candidate has or will have.
        baseline_repeats: Repeats to plan with for the baseline; default: those it has. Without one, as many as the
            candidate: what is run first is promoted.
        samples: The samples to be compared; default: those of the baseline. With a baseline, samples that it does not
            hold in the same words are left out: they are not compared.

    Raises:
        ValueError: Repeats below 1.

    >>> spread = spread_of(None, "correct", candidate_repeats=1, samples=[Sample("a", "?"), Sample("b", "?")])
    >>> round(spread.sd_per_unit, 2), spread.n_units, spread.measured
    (0.4, 2, False)
    """
    units, rows = _compared(baseline, metric, samples)
    trials = _trials(baseline, metric, rows)
    own_repeats = candidate_repeats if baseline is None else max(1, trials.values.shape[1])
    planned = own_repeats if baseline_repeats is None else baseline_repeats
    if min(candidate_repeats, planned) < 1:
        raise ValueError(f"repeats: got {candidate_repeats} and {planned}, expected 1 or more")
    codes = np.unique(units, return_inverse=True)[1]
    sizes = tuple(np.bincount(codes).tolist())
    binary = _binary_share(trials) == 1.0
    noise = _noise(trials, codes)
    if noise is not None:
        origin = f"measured between {count_of(own_repeats, 'repeat')} of the baseline"
        return Spread(noise, sizes, candidate_repeats, planned, binary=binary, measured=True, origin=origin)
    sd, kind = (SD_BINARY, "0/1 scores and shares") if _binary_share(trials) >= MOSTLY_BINARY else (SD_GRADED, "graded")
    origin = f"assumed, as for {kind}{'' if kind.endswith('s') else ' scores'}: no baseline with repeats to measure it"
    noise = sd**2 / 2.0 * _design_effect(sizes)
    return Spread(noise, sizes, candidate_repeats, planned, binary=binary, measured=False, origin=origin)


def with_repeats(spread: Spread, *, baseline: int, candidate: int) -> Spread:
    """The spread with other numbers of repeats."""
    return replace(spread, candidate_repeats=candidate, baseline_repeats=baseline)


def with_units(spread: Spread, n_units: int) -> Spread:
    """The spread on so many units, each of the mean size of those there are."""
    size = max(1, round(spread.n_samples / spread.n_units)) if spread.n_units else 1
    return replace(spread, unit_sizes=(size,) * n_units)


def smallest_drop(spread: Spread, *, alpha: float, power: float = POWER, margin: float | None = None) -> float:
    """The smallest drop that is blocked with probability `power`; in [0, 1], 1 where no block is possible.

    A block asks for two things (`aigate.stats.noninferiority.decide`): the drop stands out of the noise, and half the
    margin is observed. So the larger of (z_{1-alpha} + z_power) se and margin / 2 + z_power se, se = sd / sqrt(units).
    It counts the scatter without a drop alone, as the margin must. `smallest_loss` counts that of a drop too.

    Never below the floor of the relabelling test: with fewer units than `block_units` nothing is ever blocked, nor is
    a drop of 0/1 scores in fewer samples than that, however quiet the suite is.

    Args:
        spread: What the suite is.
        alpha: One-sided error rate.
        power: The chance to block.
        margin: The tolerated drop; None where it is still to be chosen: then the noise alone counts.
    """
    if spread.n_units < block_units(spread, alpha=alpha):
        return 1.0
    by_noise = smallest_detectable_drop(spread.sd_per_unit, spread.n_units, alpha=alpha, power=power)
    observed = 0.0 if margin is None else margin / 2.0 + _quantile(power) * _standard_error(spread)
    return min(1.0, max(by_noise, observed, _lost_samples(spread, alpha) / spread.n_samples))


def smallest_loss(spread: Spread, *, alpha: float, power: float = POWER, margin: float | None = None) -> float | None:
    """The same, where the drop is 0/1 samples that are lost whole: the fall adds a scatter of its own.

    Returns:
        In [0, 1], at least `smallest_drop`; None for graded scores, which may fall a little everywhere.
    """
    if not spread.binary or spread.n_units == 0:
        return None
    size = spread.n_samples / spread.n_units
    lost = smallest_detectable_loss(spread.sd_per_unit, spread.n_units, samples_per_unit=size, alpha=alpha, power=power)
    observed = 0.0 if margin is None else _observed_loss(spread, margin, power)
    return max(lost, observed, smallest_drop(spread, alpha=alpha, power=power, margin=margin))


def block_units(spread: Spread, *, alpha: float) -> int:
    """The fewest samples or groups with which a block is possible at all: 5 with single answers at 5 %."""
    return block_floor(alpha, candidate_repeats=spread.candidate_repeats, baseline_repeats=spread.baseline_repeats)


def least_passing_margin(spread: Spread, *, alpha: float, strict: bool = False) -> float:
    """The smallest margin with which an unchanged candidate passes: no sample differs. 1 with fewer than 20 units.

    A candidate that is better than the baseline passes with less, but never with fewer than 20 units.

    Args:
        spread: What the suite is.
        alpha: One-sided chance of a false pass.
        strict: Count one unseen group, as large as the largest, at the worst value.
    """
    return 1.0 if spread.n_units < FEWEST_UNITS else _pass_floor(spread, alpha, strict=strict)


def pass_units(spread: Spread, margin: float, *, alpha: float, strict: bool = False) -> int:
    """The fewest units, of the sizes there are, on which an unchanged candidate passes with this margin; at least 20.

    BB-1 then has p = prod over units of 1 / (1 + m_u a / c), see `aigate.stats.power.pass_floor_margin`.
    """
    sizes = np.asarray(spread.unit_sizes or (1,), dtype=np.float64) / _pseudo_size(spread, strict=strict)
    per_unit = float(np.log1p(sizes * margin / (1.0 - margin)).mean())
    return max(FEWEST_UNITS, math.ceil(-math.log(alpha) / per_unit - DUST))


def auto_margin(spread: Spread, *, alpha: float, power: float = POWER, strict: bool = False) -> float:
    """The smallest margin this suite supports, rounded up to a whole point.

    The smallest detectable drop, and no less than what an unchanged candidate needs to pass.

    Returns:
        In [0.01, 0.99]; 0.99 where the suite can see nothing.

    >>> samples = [Sample(str(i), "?") for i in range(40)]
    >>> auto_margin(spread_of(None, "correct", candidate_repeats=1, samples=samples), alpha=0.05)
    0.16
    """
    # With too few units for any pass the margin still says which drops can be blocked.
    passing = _pass_floor(spread, alpha, strict=strict)
    least = max(smallest_drop(spread, alpha=alpha, power=power), passing)
    return min(LARGEST_MARGIN, max(1, math.ceil(least * 100.0 - DUST)) / 100.0)


def resolved_margin(own: Margin | None, settings: _Shared, spread: Spread) -> tuple[float, Reason | None]:
    """The margin a check decides by: its own, else the policy's; with a note where the suite chose it.

    Args:
        own: The check's own margin; None: the policy's.
        settings: What all checks share.
        spread: What the suite can see; used for "auto" alone.
    """
    margin = settings.margin if own is None else own
    if margin != "auto":
        return margin, None
    found = auto_margin(spread, alpha=settings.alpha, strict=settings.strict)
    text = f"the margin is {points(found)}: {_why_auto(spread, settings.alpha, strict=settings.strict)}"
    return found, reason("margin-auto", text, "a smaller one needs more samples or repeats: aigate goldens power")


def below_floor(
    margin: float,
    spread: Spread,
    alpha: float,
    *,
    power: float = POWER,
    strict: bool = False,
    first: Spread | None = None,
) -> str | None:
    """What is wrong with a margin that is smaller than what the suite can see at all, with the numbers that would do.

    Args:
        margin: The tolerated drop.
        spread: What the suite is, with the most repeats that may be asked.
        alpha: One-sided error rate.
        power: The chance to detect a drop.
        strict: As in `least_passing_margin`.
        first: The same suite with the repeats that are asked in any case, where these are fewer.

    Returns:
        One sentence or more; None where nothing is wrong. With too few units for any pass, only that: no number of
        such a suite means anything.
    """
    if (too_few := _too_few(spread, alpha)) is not None:
        return f"{counted(spread)}, {_repeats(spread)}: {too_few}"
    told, lost, n = [], _lost_samples(spread, alpha), spread.n_samples
    if _exceeds(smallest_drop(spread, alpha=alpha, power=power, margin=margin), margin):
        told.append(can_see(spread, margin, alpha=alpha, power=power, strict=strict, first=first))
    if least_passing_margin(spread, alpha=alpha, strict=strict) > margin + DUST:
        floor = f"{pass_units(spread, margin, alpha=alpha, strict=strict)} {spread.units}"
        under = " under strict" if strict and spread.grouped else ""
        told.append(f"an unchanged candidate cannot pass with fewer than {floor}{under}")
    if lost / n > margin + DUST:
        told.append(
            f"no block is possible before {lost} of {count_of(n, 'sample')} {are(lost)} lost, {points(lost / n)}"
        )
    return "; ".join(told) or None


def can_see(
    spread: Spread,
    margin: float | None,
    *,
    alpha: float,
    power: float = POWER,
    strict: bool = False,
    first: Spread | None = None,
) -> str:
    """What the suite sees, in one sentence; with a margin below it, what that margin needs.

    For example "40 samples, 1 repeat: sees drops of 12.6 points or more; a margin of 5 points needs 254 samples, or 5
    baseline and 3 candidate repeats on about 70 (planned with a measured scatter of 32 points)". The scatter is told
    since a verdict that comes later goes by the one it has seen. Arguments as in `below_floor`.
    """
    told = f"{counted(spread)}, {_seen(first or spread, margin, alpha, power)}"
    if first is not None and first.candidate_repeats < spread.candidate_repeats:
        up_to = f"up to {spread.candidate_repeats} answers while undecided"
        told = f"{told}; {up_to}: {_sees(spread, margin, alpha, power)}"
    if margin is None or not _exceeds(smallest_drop(spread, alpha=alpha, power=power, margin=margin), margin):
        return told
    scatter = f"{'a measured' if spread.measured else 'an assumed'} scatter of {points(spread.sd_per_unit)}"
    remedy = _remedy(spread, margin, alpha, power, strict=strict)
    return f"{told}; a margin of {points(margin)} needs {remedy} (planned with {scatter})"


def units_needed(spread: Spread, margin: float, *, alpha: float, power: float = POWER, strict: bool = False) -> int:
    """Units, of the mean size and with the spread's repeats, on which the margin is seen, passed and blocked."""
    by_noise = samples_needed(spread.sd_per_unit, margin, alpha=alpha, power=power)
    observed = math.ceil((max(0.0, _quantile(power)) * spread.sd_per_unit * 2.0 / margin) ** 2 - DUST)
    size = spread.n_samples / spread.n_units if spread.n_units else 1.0
    blocked = math.ceil(_lost_samples(spread, alpha) / margin / size - DUST)
    passed = pass_units(spread, margin, alpha=alpha, strict=strict)
    return max(by_noise, observed, passed, blocked, block_units(spread, alpha=alpha), FEWEST_UNITS)


def repeats_that_do(
    spread: Spread, margin: float, *, alpha: float, power: float = POWER, strict: bool = False
) -> tuple[int, int] | None:
    """Repeats of baseline and candidate with which the suite as it is sees the margin; None: more samples are needed.

    Those there are, where they do; else the first of a few usual pairs, none of them fewer than there are.
    """
    if least_passing_margin(spread, alpha=alpha, strict=strict) > margin + DUST:
        return None
    have = (spread.baseline_repeats, spread.candidate_repeats)
    for pair in (have, *_at_least(spread, REPEATS_TO_TRY)):
        more = with_repeats(spread, baseline=pair[0], candidate=pair[1])
        if not _exceeds(smallest_drop(more, alpha=alpha, power=power, margin=margin), margin):
            return pair
    return None


def points(value: float) -> str:
    """A share in points: 0.126 is `12.6 points`."""
    shown = f"{value * 100:.1f}" if value >= 0.01 else f"{value * 100:.2g}"
    told = shown.removesuffix(".0")
    return f"{told} point{'' if told == '1' else 's'}"


def counted(spread: Spread) -> str:
    """How many samples, in how many groups: `40 samples`, `40 samples in 8 groups`."""
    samples = count_of(spread.n_samples, "sample")
    return f"{samples} in {count_of(spread.n_units, 'group')}" if spread.grouped else samples


def _compared(baseline: Run | None, metric: str, samples: Iterable[Sample] | SampleColumns | None) -> tuple[Ints, Ints]:
    """The units of the samples that will be compared: those the baseline holds too, where the metric applies.

    Returns:
        The unit of each, and its row in the baseline; without a baseline there are no rows.
    """
    if baseline is None:
        return units_of(columns_of(samples or ())), np.zeros(0, dtype=np.intp)
    arrays = arrays_of(baseline)
    rows = np.arange(len(baseline), dtype=np.intp) if samples is None else _held(columns_of(samples), baseline)
    if baseline.header.own_metric(metric) is not None:
        rows = rows[arrays.applies(metric)[rows]]
    return arrays.units[rows], rows


def _held(samples: SampleColumns, baseline: Run) -> Ints:
    """The rows of the samples that the baseline holds in the same words, in the order of the samples."""
    known = baseline.columns.samples
    if samples is known or (samples.ids == known.ids and samples.digests == known.digests):
        return np.arange(len(known), dtype=np.intp)
    order = np.array(samples.sorted_rows(), dtype=np.intp)
    ours, theirs = shared_rows(samples.ids.taken(order.tolist()), known.ids)
    ours = order[ours]
    same = (digests_of(samples)[ours] == digests_of(known)[theirs]).all(axis=1)
    held: Ints = theirs[same][np.argsort(ours[same])]
    return held


def _trials(baseline: Run | None, metric: str, rows: Ints) -> Trials:
    """The baseline's scores, shape (samples, repeats it really has)."""
    spec = baseline.header.own_metric(metric) if baseline is not None else None
    if baseline is None or spec is None:
        return Trials(np.zeros((len(rows), 1)), np.zeros((len(rows), 1), dtype=np.bool_))
    trials = trials_of(baseline, spec, rows)
    asked = np.flatnonzero(np.count_nonzero(trials.present, axis=0))
    return Trials(trials.values[:, asked], trials.present[:, asked])


def _binary_share(trials: Trials) -> float:
    """The share of scores that are 0 or 1; 1 of none."""
    seen = trials.values[trials.present]
    return float(np.isin(seen, (0.0, 1.0)).mean()) if len(seen) else 1.0


def _noise(trials: Trials, codes: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> float | None:
    """The variance between repeats of a unit's mean; None with fewer than two repeats or two complete units.

    For equal units of m samples it is the mean over units of s²/m², with s² the variance of the unit's sum; for unequal
    ones units² / samples² times the mean of s², so that the standard error of the mean comes out right.
    """
    repeats = trials.values.shape[1]
    if repeats < 2 or not len(codes):
        return None
    broken = np.bincount(codes, weights=~trials.present.all(axis=1)) > 0
    sums: Floats = np.stack([np.bincount(codes, weights=column) for column in trials.values.T], axis=1)
    sums, sizes = sums[~broken], np.bincount(codes)[~broken]
    if len(sums) < 2:
        return None
    return float(len(sums) * sums.var(axis=1, ddof=1).sum() / float(sizes.sum()) ** 2)


def _design_effect(sizes: Sequence[int]) -> float:
    """The variance of a unit's mean over that of a sample, when samples of a group agree somewhat."""
    if not sizes:
        return 1.0
    m = np.asarray(sizes, dtype=np.float64)
    return float(len(m) * (m + m * (m - 1.0) * GROUP_AGREEMENT).sum() / m.sum() ** 2)


def _lost_samples(spread: Spread, alpha: float) -> int:
    """The fewest lost samples with which a block is possible; 0 for graded scores, of which many may fall a little."""
    return block_units(spread, alpha=alpha) if spread.binary else 0


def _quantile(power: float) -> float:
    """z_power: the normal quantile of the chance to detect."""
    return NormalDist().inv_cdf(power)


def _standard_error(spread: Spread) -> float:
    """Standard error of the mean difference while nothing has changed."""
    return spread.sd_per_unit / math.sqrt(spread.n_units)


def _observed_loss(spread: Spread, margin: float, power: float) -> float:
    """The x with x = margin / 2 + z_power sqrt((sd² + x (1 - x) / m) / n): half the margin is observed with `power`.

    The larger root of the quadratic equation that it is where z_power is positive, else the smaller one.
    """
    z, half = _quantile(power), margin / 2.0
    fall = z**2 / spread.n_samples  # what the fall itself adds: m n samples
    a, b = 1.0 + fall, 2.0 * half + fall
    c = half**2 - (z * _standard_error(spread)) ** 2
    return min(1.0, (b + math.copysign(math.sqrt(max(0.0, b**2 - 4.0 * a * c)), z)) / (2.0 * a))


def _pseudo_size(spread: Spread, *, strict: bool) -> float:
    """Samples the pseudo-case of a pass stands for, see `aigate.stats.noninferiority.pass_test`."""
    return float(max(spread.unit_sizes, default=1)) if strict else 1.0


def _pass_floor(spread: Spread, alpha: float, *, strict: bool) -> float:
    """The smallest margin with which an unchanged candidate passes, if units were enough."""
    return pass_floor_margin(spread.unit_sizes, alpha=alpha, pseudo_size=_pseudo_size(spread, strict=strict))


def _exceeds(least: float, margin: float) -> bool:
    """True where the smallest drop is larger than the margin, as both are displayed."""
    return least > margin and points(least) != points(margin)


def _too_few(spread: Spread, alpha: float) -> str | None:
    """What is never possible with so few units; None where all is."""
    n, units, floor = spread.n_units, spread.units, block_units(spread, alpha=alpha)
    told = [f"no pass is possible with fewer than {FEWEST_UNITS} {units}"] if n < FEWEST_UNITS else []
    told += [_no_block(floor, units)] if n < floor else []
    return "; ".join(told) or None


def _no_block(floor: int, units: str) -> str:
    return f"no block is possible with fewer than {floor} {units}"


def _seen(spread: Spread, margin: float | None, alpha: float, power: float) -> str:
    return f"{_repeats(spread)}: {_sees(spread, margin, alpha, power)}"


def _sees(spread: Spread, margin: float | None, alpha: float, power: float) -> str:
    if spread.n_units < (floor := block_units(spread, alpha=alpha)):
        return _no_block(floor, spread.units)
    least = smallest_drop(spread, alpha=alpha, power=power, margin=margin)
    return f"sees drops of {points(least)} or more" if least < 1.0 else "sees no drop at all"


def _at_least(spread: Spread, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    have = (spread.baseline_repeats, spread.candidate_repeats)
    return [pair for pair in pairs if pair != have and pair[0] >= have[0] and pair[1] >= have[1]]


def _remedy(spread: Spread, margin: float, alpha: float, power: float, *, strict: bool) -> str:
    """What the margin needs: units, or repeats on the suite as it is, or repeats on somewhat more units."""
    needed = units_needed(spread, margin, alpha=alpha, power=power, strict=strict)
    told = f"{needed} {spread.units}"
    if (pair := repeats_that_do(spread, margin, alpha=alpha, power=power, strict=strict)) is not None:
        return f"{told}, or {_pair(pair)} on these {spread.n_units}"
    for pair in _at_least(spread, (REPEATS_TO_ADVISE,)):
        more = with_repeats(spread, baseline=pair[0], candidate=pair[1])
        fewer = units_needed(more, margin, alpha=alpha, power=power, strict=strict)
        if _about(fewer) < needed:
            return f"{told}, or {_pair(pair)} on about {_about(fewer)}"
    return told


def _about(n: int) -> int:
    """Rounded up to tens, from a thousand on to hundreds."""
    step = 10 if n < 1000 else 100
    return -(-n // step) * step


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]} baseline and {pair[1]} candidate repeat{'' if pair[1] == 1 else 's'}"


def _repeats(spread: Spread) -> str:
    """`1 repeat`, or `1 repeat against 5 of the baseline` where they differ."""
    told = count_of(spread.candidate_repeats, "repeat")
    if spread.baseline_repeats == spread.candidate_repeats:
        return told
    return f"{told} against {spread.baseline_repeats} of the baseline"


def _why_auto(spread: Spread, alpha: float, *, strict: bool) -> str:
    can, cannot = smallest_drop(spread, alpha=alpha), _pass_floor(spread, alpha, strict=strict)
    told = f"{counted(spread)} with {_repeats(spread)}"
    if can >= cannot:
        return f"the smallest drop that {told} can show ({points(can)}, {spread.origin})"
    return f"the smallest with which an unchanged candidate can pass ({points(cannot)}, {told})"
