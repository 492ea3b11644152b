"""The relabelling test: is the candidate worse than the baseline beyond what relabelling their trials would give?

If candidate and baseline are the same, the columns "candidate trial" and "baseline trial" of a unit could be swapped
without anyone noticing. So the observed total is compared with totals under random relabelling, whole units at a time.
The test is exact in finite samples for any law of the scores, for samples that are not independent (a group is one
unit), for unequal numbers of trials, for any number of hypotheses (metrics times slices) by Westfall-Young maxT, and
for looks at growing parts of the data.

With several trials "the same" means that every trial of either version could have been a trial of the other. What is
drawn once per run and shared by all its trials (an index that is rebuilt for each run, say) breaks that: five trials of
one run then say less than they seem to, and the test blocks too often (12.8 % in a simulation with such group effects).

Phipson and Smyth 2010 (p = (1 + count) / (draws + 1)); Hemerik and Goeman 2018; Westfall and Young 1993.

Terms. T_m is the total of the differences candidate - baseline in hypothesis m, sd_m its standard deviation over all
relabellings: sqrt(sum over units of squared unit sums) with one trial of each. With more trials the squared sums that
were observed would grow with the drop itself, and hide it (5 and 3 trials, 20 hypotheses: power 39 % against 64 %). A
*path* is one relabelling of all units with its T_m / sd_m at every look; path 0 is what was observed, or, if nothing
has changed, just one more of them.

Looks. At look k the lowest paths that are still alive are killed, so that no more than the share of alpha spent by then
is dead in total. The family blocks when the observed path is killed: of paths that are exchangeable no more than alpha
ever are. A path's height is the lowest of its hypotheses. Which hypotheses fell is told by stepping down: the lowest
one is taken out and the looks are run again with the rest, until the observed path lives. With one look that is the
step-down maxT of Westfall and Young. With several, "no false block if nothing at all has changed" stays exact; the
step-down is a shortcut through the closed test, which the simulations in the tests hold to alpha.

Arithmetic. Column sums are rounded once to a grid of 1e-9 of a score, and the sums of a look are whole numbers held in
float64, exact below 2^53 in whatever order they are added. Equal totals therefore stay equal: ties lost to rounding
would raise the false-block rate from 3.3 to 5.9 %. What the rounding can move counts as a tie, a tie counts against a
small p, and paths that tie with one that may not be killed live.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigate.stats.arrays import Floats, distinct, finite_array, open_fraction

__all__ = [
    "Alternative",
    "LookResult",
    "RelabelResult",
    "TrialRows",
    "TrialUnit",
    "relabel_looks",
    "relabel_looks_arrays",
    "relabel_test",
]

Alternative = Literal["less", "two-sided"]
"""less: a drop is small T. two-sided: any shift, judged by |T|."""

Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

QUANTA_PER_SCORE = 1e9
LARGEST_TOTAL = 2.0**51  # twice this, plus or minus itself, is still a whole number in float64
MOST_ENUMERATED = 16  # units: 2^16 sign patterns cost as much as 65,536 draws
MOST_ENUMERATED_HEIGHTS = 2**17  # patterns times hypotheses, unless there are no more patterns than draws
MOST_CHOICES = 4_096  # choices of the candidate's columns for which the unit sums are listed
MOST_JOINT_CHOICES = 256  # choices of several units together, drawn as one byte
TABLE_CELLS = 2**17  # 1 MB of float64: the tables in use stay in the cache
BLOCK_CELLS = 1_000_000  # 8 MB of float64 per intermediate array
BLOCK_PATHS = 10_000  # their totals stay in the cache while unit after unit is added
MOST_CELLS = 3e9  # relabelled units in a second, larger drawing: seconds
MOST_HEIGHTS = 4_000_000  # heights per look in a second drawing: 32 MB of float64
MANY_UNITS = 20_000  # from here on equal units are drawn together
COMMON = 256  # as many equal units cost as much one by one as one draw of how they fell


@dataclass(frozen=True, slots=True, eq=False)
class TrialUnit:
    """The trials of one statistical unit: a sample, or the samples of one group.

    Attributes:
        candidate: Shape (S, K_c, M): S samples, K_c trials, M hypotheses (metrics times slices).
        baseline: Shape (S, K_b, M), the same samples and hypotheses.
        mask: Shape (S, M), the weight of each sample in each hypothesis: 1 or True inside the slice, 0 outside or
            where the metric does not apply. Scores outside the mask do not count, but must be finite; put 0.

    Raises:
        ValueError: A value that is not finite, shapes that do not fit, no trials.
    """

    candidate: Floats
    baseline: Floats
    mask: Floats

    def __init__(self, candidate: ArrayLike, baseline: ArrayLike, mask: ArrayLike) -> None:
        object.__setattr__(self, "candidate", finite_array(candidate, name="candidate", ndim=3))
        object.__setattr__(self, "baseline", finite_array(baseline, name="baseline", ndim=3))
        object.__setattr__(self, "mask", finite_array(mask, name="mask", ndim=2))
        samples, _, hypotheses = self.candidate.shape
        if self.baseline.shape[::2] != (samples, hypotheses) or self.mask.shape != (samples, hypotheses):
            shapes = f"{self.candidate.shape}, {self.baseline.shape}, {self.mask.shape}"
            raise ValueError(
                f"candidate, baseline, mask: got shapes {shapes}, expected (S, K_c, M), (S, K_b, M), (S, M)"
            )
        if samples and not (self.candidate.shape[1] and self.baseline.shape[1]):
            raise ValueError("candidate, baseline: got no trials, expected 1 or more of each")


@dataclass(frozen=True, slots=True, eq=False)
class TrialRows:
    """The trials of many units with equal numbers of trials, as arrays: what a `TrialUnit` for each of them would say.

    Attributes:
        candidate: Shape (S, K_c, M), as in `TrialUnit`, over the samples of all units.
        baseline: Shape (S, K_b, M).
        mask: Shape (S, M).
        units: Shape (S,), whole numbers: samples with the same one are one unit.
        counts: Shape (S,), of how many units with these very trials each row tells; None: of one. Only for units of one
            sample each.

    Raises:
        ValueError: As `TrialUnit`, not one unit per sample, or counts of units with several samples.
    """

    candidate: Floats
    baseline: Floats
    mask: Floats
    units: Ints
    counts: Ints | None

    def __init__(
        self,
        candidate: ArrayLike,
        baseline: ArrayLike,
        mask: ArrayLike,
        units: ArrayLike,
        counts: ArrayLike | None = None,
    ) -> None:
        whole = TrialUnit(candidate, baseline, mask)
        for name in ("candidate", "baseline", "mask"):
            object.__setattr__(self, name, getattr(whole, name))
        object.__setattr__(self, "units", np.asarray(units, dtype=np.intp))
        object.__setattr__(self, "counts", None if counts is None else np.asarray(counts, dtype=np.intp))
        if self.units.shape != (len(self.mask),):
            raise ValueError(f"units: got shape {self.units.shape}, expected one for each of {len(self.mask)} samples")
        if self.counts is not None and len(distinct(self.units)) < len(self.units):
            raise ValueError("counts: got them for units of several samples, expected units of one")

    @property
    def hypotheses(self) -> int:
        """How many there are."""
        return int(self.mask.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class RelabelResult:
    """What the test found, per hypothesis.

    Attributes:
        p: Shape (M,), p of each hypothesis alone, in (0, 1].
        p_adjusted: Shape (M,), family-wise p by step-down maxT: the chance, if nothing has changed, that any of the
            hypotheses that look no worse than this one would look as bad. At least `p`.
        statistic: Shape (M,), T: the total difference candidate - baseline, in units of score times samples.
        standardised: Shape (M,), T / sd, sd the standard deviation of T over all relabellings; 0 where no unit differs.
        draws: Relabellings the p-values rest on; with `exact`, all there are.
        exact: True when every relabelling was enumerated, so that p has no Monte-Carlo error.
    """

    p: Floats
    p_adjusted: Floats
    statistic: Floats
    standardised: Floats
    draws: int
    exact: bool


@dataclass(frozen=True, slots=True, eq=False)
class LookResult:
    """What the test says at one look, per hypothesis, from the units seen by then.

    Attributes:
        p: Shape (M,), p of each hypothesis alone, as if this were the only look.
        p_adjusted: Shape (M,), family-wise p by step-down maxT, as if this were the only look.
        blocked: Shape (M,), fallen by this look at the alpha spent by then; never taken back at a later look.
        statistic: Shape (M,), T, as in `RelabelResult`.
        standardised: Shape (M,), T / sd, as in `RelabelResult`.
        level: Alpha spent by this look, cumulative.
        draws: Relabellings this look rests on; with `exact`, all there are.
        exact: True when every relabelling was enumerated.
    """

    p: Floats
    p_adjusted: Floats
    blocked: Bools
    statistic: Floats
    standardised: Floats
    level: float
    draws: int
    exact: bool


def relabel_test(
    units: Sequence[TrialUnit] | TrialRows,
    *,
    seed: int,
    draws: int = 9_999,
    max_draws: int = 99_999,
    alpha: float = 0.05,
    alternative: Alternative = "less",
) -> RelabelResult:
    """Test every hypothesis against "candidate and baseline are the same", in one look.

    T_m = sum over units and samples of mask * (mean over candidate trials - mean over baseline trials). A relabelling
    redraws, for each unit as a whole, which K_c of its K_c + K_b trial columns are called candidate; with one trial of
    each that flips the sign of the unit. p_m = (1 + #{T*_m <= T_m}) / (draws + 1). The family-wise p compares
    T_m / sd_m with the smallest drawn one over the hypotheses that look no worse than m.

    With one trial everywhere and at most 16 units that differ (fewer for more than two hypotheses, 13 for many), all
    2^k sign patterns are enumerated, the observed one included, and p = count / 2^k. A family-wise p closer to alpha
    than three Monte-Carlo standard errors is computed again with `max_draws`.

    Args:
        units: The trials. Units may differ in samples and trials, not in the number of hypotheses.
        seed: Seed of the relabellings: same data and seed, same answer, on every machine.
        draws: Relabellings at first.
        max_draws: Relabellings where the answer is close, fewer where units times draws would pass 3e9; no more than
            `draws` means never again.
        alpha: The level that "close" refers to.
        alternative: "less" finds drops; "two-sided" finds shifts either way, for shares of an output category.

    Returns:
        One entry per hypothesis. A hypothesis in which no unit differs has p = 1. No units: empty arrays.

    Raises:
        ValueError: Units with different numbers of hypotheses, or an option out of range.

    >>> lost = TrialUnit(candidate=[[[0.0]]], baseline=[[[1.0]]], mask=[[1.0]])
    >>> relabel_test([lost] * 5, seed=1).p_adjusted.tolist()
    [0.03125]
    """
    open_fraction(alpha, name="alpha")
    if alternative not in ("less", "two-sided"):
        raise ValueError(f"alternative: got {alternative!r}, expected 'less' or 'two-sided'")
    plan = _Plan((alpha,), (seed,), draws=draws, max_draws=max_draws, alternative=alternative)
    (look,) = _looks(_segments([units]), plan)
    return RelabelResult(look.p, look.p_adjusted, look.statistic, look.standardised, look.draws, look.exact)


def relabel_looks(
    segments: Sequence[Sequence[TrialUnit] | TrialRows],
    *,
    spent: Sequence[float],
    seeds: Sequence[int],
    draws: int = 9_999,
    max_draws: int = 99_999,
    hypotheses: int | None = None,
) -> tuple[LookResult, ...]:
    """Test every hypothesis at looks that see more and more units.

    What is said at a look depends on the units, alpha and seeds up to it alone: a run that stops there and one that
    goes on agree. One look agrees with `relabel_test`: blocked is p_adjusted <= spent[0].

    Where the observed path lies within three Monte-Carlo standard errors of being killed, that look and all later ones
    are computed with `max_draws`; earlier answers stay. So do answers found by enumeration, which ends when too many
    units differ.

    Args:
        segments: Per look, the units that join at it; there may be none.
        spent: Per look, the alpha spent by then: cumulative, in [0, 1), not decreasing. 0: nothing blocks yet.
        seeds: Per look, the seed of the relabellings of the units that join at it.
        draws: Relabellings at first.
        max_draws: Relabellings where the answer is close, fewer where units times draws would pass 3e9 or the heights
            of the paths 32 MB a look.
        hypotheses: How many there are, for looks before the first unit; None: as the units say.

    Returns:
        One result per look. p = 1 and nothing blocked where no unit differs.

    Raises:
        ValueError: Units with different numbers of hypotheses, not one alpha and seed per look, an option out of range.

    >>> lost = TrialUnit(candidate=[[[0.0]]], baseline=[[[1.0]]], mask=[[1.0]])
    >>> looks = relabel_looks([[lost] * 4, [lost] * 4], spent=[0.0125, 0.05], seeds=[1, 2])
    >>> [(look.blocked.tolist(), look.p.tolist()) for look in looks]
    [([False], [0.0625]), ([True], [0.00390625])]
    """
    plan = _Plan(tuple(spent), tuple(seeds), draws=draws, max_draws=max_draws)
    return tuple(_looks(_segments(segments, hypotheses), plan))


def relabel_looks_arrays(
    differences: ArrayLike,
    ends: Sequence[int],
    *,
    spent: Sequence[float],
    seeds: Sequence[int],
    draws: int = 9_999,
    max_draws: int = 99_999,
) -> tuple[LookResult, ...]:
    """`relabel_looks` for one trial of each: units as rows of an array, which is much faster to make.

    Args:
        differences: Shape (U, M), the sum of candidate - baseline over the samples of each unit in each hypothesis, 0
            outside a slice; units in the order in which the looks take them.
        ends: Per look, how many units it sees: not decreasing, the last U.
        spent: As in `relabel_looks`.
        seeds: As in `relabel_looks`.
        draws: As in `relabel_looks`.
        max_draws: As in `relabel_looks`.

    Returns:
        As `relabel_looks`.

    Raises:
        ValueError: A value that is not finite, ends that do not fit, or as `relabel_looks`.

    >>> (look,) = relabel_looks_arrays([[-1.0]] * 5, [5], spent=[0.05], seeds=[1])
    >>> look.p.tolist(), look.blocked.tolist()
    ([0.03125], [True])
    """
    sums = finite_array(differences, name="differences", ndim=2)
    bounds = (0, *ends)
    if bounds[-1] != len(sums) or any(end < start for start, end in pairwise(bounds)):
        raise ValueError(f"ends: got {list(ends)}, expected counts that do not decrease, the last {len(sums)}")
    plan = _Plan(tuple(spent), tuple(seeds), draws=draws, max_draws=max_draws)
    columns = np.stack([sums, np.zeros_like(sums)], axis=1)
    parts = [columns[start:end] for start, end in pairwise(bounds)]
    return tuple(_looks([_segment({(1, 1): part}, sums.shape[1]) for part in parts], plan))


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the looks are judged; checked."""

    spent: tuple[float, ...]
    seeds: tuple[int, ...]
    draws: int
    max_draws: int
    alternative: Alternative = "less"

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws: got {self.draws}, expected 1 or more")
        before = 0.0
        for level in self.spent:
            if not (before <= level < 1.0):
                raise ValueError(f"spent: got {list(self.spent)}, expected shares in [0, 1) that do not decrease")
            before = level


# --- units as whole numbers -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Units:
    """Units of a segment with the same numbers of trials, all of which can differ, to be drawn one by one.

    A choice of columns gives a unit sum, candidate mean - baseline mean, which in whole numbers is
    K * (sum of the chosen columns) - K_c * (sum of all columns).

    Attributes:
        columns: Shape (U, K, M), whole column sums, the candidate's first.
        chosen: K_c, how many of the K columns are the candidate's.
        per_score: How many of the whole numbers a unit sum of one score is.
    """

    columns: Floats
    chosen: int
    per_score: float

    @property
    def baseline(self) -> int:
        return int(self.columns.shape[1]) - self.chosen

    @property
    def flips(self) -> bool:
        """True for one trial of each: there are two choices, and they differ in sign."""
        return bool(self.columns.shape[1] == 2)

    def sums(self, chosen: Floats, rows: slice = slice(None)) -> Floats:
        """Whole unit sums, shape (U, R, M), for choices of shape (R, K) or (U, R, K): 1 for the candidate's columns."""
        columns = self.columns[rows]
        whole: Floats = chosen @ columns * columns.shape[1] - self.chosen * columns.sum(axis=1, keepdims=True)
        # A column sum is off by half a quantum at most, so a difference of two means is off by one.
        whole[np.abs(whole) <= self.chosen * self.baseline] = 0.0
        return whole

    def observed(self) -> Floats:
        """Shape (U, M), the whole unit sums that were observed."""
        return self.sums(np.repeat([1.0, 0.0], [self.chosen, self.baseline])[None, :])[:, 0, :]


@dataclass(frozen=True, slots=True, eq=False)
class _Equal:
    """Units whose columns are the same, in whatever order: how many of them fall how is drawn at once.

    Each falls as one choice of columns, all alike likely. So the numbers that fall each way are multinomial, and the
    total has the very law that it has when they are drawn one by one.

    Attributes:
        count: How many there are.
        sums: Shape (R, M), the different unit sums of all choices.
        shares: Shape (R,), the share of the choices that give each.
        per_score: As in `_Units`.
    """

    count: int
    sums: Floats
    shares: Floats
    per_score: float


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    """What joins at one look, in scores.

    Attributes:
        units: Those that can differ, by numbers of trials, without those that are drawn together.
        equal: Those that are drawn together.
        observed: Shape (M,), their T.
        variance: Shape (M,), of T over all relabellings.
        slack: Shape (M,), what rounding can move T by.
    """

    units: tuple[_Units, ...]
    equal: tuple[_Equal, ...]
    observed: Floats
    variance: Floats
    slack: Floats

    @property
    def count(self) -> int:
        return sum(len(units.columns) for units in self.units) + sum(equal.count for equal in self.equal)

    @property
    def drawn(self) -> int:
        """How many draws a relabelling takes."""
        return sum(len(units.columns) for units in self.units) + len(self.equal)


def _segments(parts: Sequence[Sequence[TrialUnit] | TrialRows], hypotheses: int | None = None) -> list[_Segment]:
    found: set[int] = set()
    for units in parts:
        found |= {units.hypotheses} if isinstance(units, TrialRows) else {unit.mask.shape[1] for unit in units}
    if hypotheses is not None:
        found.add(hypotheses)
    if len(found) > 1:
        raise ValueError(f"units: got units of {sorted(found)} hypotheses, expected the same number in each")
    hypotheses = next(iter(found), 0)
    return [
        _segment(_column_sums(units), hypotheses, units.counts if isinstance(units, TrialRows) else None)
        for units in parts
    ]


def _column_sums(units: Sequence[TrialUnit] | TrialRows) -> dict[tuple[int, int], Floats]:
    """Every unit as its column sums, shape (U, K, M), by (K_c, K_b); units of one shape are summed together."""
    if isinstance(units, TrialRows):
        return _column_sums_of_rows(units)
    alike: dict[tuple[tuple[int, ...], tuple[int, ...]], list[TrialUnit]] = {}
    for unit in units:
        if len(unit.mask):
            alike.setdefault((unit.candidate.shape, unit.baseline.shape), []).append(unit)
    sums: dict[tuple[int, int], list[Floats]] = {}
    for shapes in sorted(alike):
        mask = np.stack([unit.mask for unit in alike[shapes]])
        arms = (np.stack([getattr(unit, arm) for unit in alike[shapes]]) for arm in ("candidate", "baseline"))
        columns = [np.einsum("uskm,usm->ukm", arm, mask) for arm in arms]
        sums.setdefault((shapes[0][1], shapes[1][1]), []).append(np.concatenate(columns, axis=1))
    return {trials: np.concatenate(sums[trials]) for trials in sorted(sums)}


def _column_sums_of_rows(rows: TrialRows) -> dict[tuple[int, int], Floats]:
    """The same of arrays: the smallest units first, and in the order in which they first appear."""
    if not len(rows.units):
        return {}
    order = np.argsort(rows.units, kind="stable")
    starts = np.flatnonzero(np.diff(rows.units[order], prepend=rows.units[order[0]] - 1))
    sizes, sums = np.diff(starts, append=len(order)), []
    for size in np.unique(sizes).tolist():
        begins = starts[sizes == size]
        picked = order[begins[np.argsort(order[begins], kind="stable")][:, None] + np.arange(size)]
        mask = rows.mask[picked]
        columns = [np.einsum("uskm,usm->ukm", arm[picked], mask) for arm in (rows.candidate, rows.baseline)]
        sums.append(np.concatenate(columns, axis=1))
    return {(rows.candidate.shape[1], rows.baseline.shape[1]): np.concatenate(sums)}


def _segment(column_sums: dict[tuple[int, int], Floats], hypotheses: int, row_counts: Ints | None = None) -> _Segment:
    units: list[_Units] = []
    equal: list[_Equal] = []
    observed, variance, slack = np.zeros(hypotheses), np.zeros(hypotheses), np.zeros(hypotheses)
    for (k_c, k_b), sums in column_sums.items():
        counts = np.ones(len(sums), dtype=np.intp) if row_counts is None else row_counts
        largest = float((np.abs(sums).max(axis=(1, 2)) * counts).sum())
        quanta = _quanta_per_score(2.0 * (k_c + k_b) * k_c * k_b * largest)
        whole = np.rint(sums * quanta)
        spread = np.ptp(whole, axis=1)
        changing = (spread > 1.0).any(axis=1)  # one quantum is rounding
        if changing.any():
            whole, counts = whole[changing], counts[changing]
            one_by_one = _Units(whole, k_c, per_score=quanta * k_c * k_b)
            observed += (one_by_one.observed() * counts[:, None]).sum(axis=0) / one_by_one.per_score
            variance += _variance(whole / quanta, counts, k_c, k_b)
            slack += ((spread[changing] != 0.0) * counts[:, None]).sum(axis=0) / quanta
            if counts.sum() > MANY_UNITS:
                one_by_one, together = _drawn_together(one_by_one, counts)
                equal.extend(together)
            elif row_counts is not None:
                one_by_one = replace(one_by_one, columns=np.repeat(whole, counts, axis=0))
            units.append(one_by_one)
    return _Segment(tuple(units), tuple(equal), observed, variance, slack)


def _drawn_together(units: _Units, counts: Ints) -> tuple[_Units, list[_Equal]]:
    """The units that are to be drawn one by one, and those of which there are so many that they are drawn at once."""
    trials = units.columns.shape[1]
    if math.comb(trials, units.chosen) > MOST_CHOICES:
        return replace(units, columns=np.repeat(units.columns, counts, axis=0)), []
    column, code = np.unique(units.columns.reshape(-1, units.columns.shape[2]), axis=0, return_inverse=True)
    alike = np.sort(code.reshape(-1, trials), axis=1)  # which of the columns are the candidate's makes no difference
    kinds, kind = np.unique(alike, axis=0, return_inverse=True)
    of_kind = np.bincount(kind.reshape(-1), weights=counts).astype(np.intp)
    common = of_kind >= COMMON
    rare = ~common[kind.reshape(-1)]
    rest = replace(units, columns=np.repeat(units.columns[rare], counts[rare], axis=0))
    several = replace(units, columns=column[kinds[common]])
    together = []
    for number, sums in zip(of_kind[common].tolist(), several.sums(_choices(units)), strict=True):
        different, ways = np.unique(sums, axis=0, return_counts=True)
        together.append(_Equal(number, different, ways / ways.sum(), units.per_score))
    return rest, together


def _quanta_per_score(bound: float) -> float:
    """The finest decimal grid, 1e-9 at most, on which totals up to `bound` scores are whole numbers in float64."""
    if bound * QUANTA_PER_SCORE <= LARGEST_TOTAL:
        return QUANTA_PER_SCORE
    return float(10.0 ** math.floor(math.log10(LARGEST_TOTAL / bound)))


def _variance(columns: Floats, counts: Ints, k_c: int, k_b: int) -> Floats:
    """Shape (M,), the variance of T when K_c of each unit's columns are drawn without replacement."""
    squares = np.square(columns - columns.mean(axis=1, keepdims=True))
    squares = squares.sum(axis=(0, 1)) if (counts == 1).all() else (squares.sum(axis=1) * counts[:, None]).sum(axis=0)
    total: Floats = squares * (k_c + k_b) / (k_c * k_b * (k_c + k_b - 1))
    return total


# --- paths ------------------------------------------------------------------------------------------------------------


def _paths(segment: _Segment, *, seed: int, draws: int) -> Floats:
    """T of the observed labelling and of random ones, shape (M, 1 + draws)."""
    # The number of draws is part of the seed: a second, larger drawing owes nothing to the first.
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(draws,))))
    totals = np.zeros((len(segment.observed), 1 + draws))
    totals[:, 0] = segment.observed
    for units in segment.units:
        listed = math.comb(units.columns.shape[1], units.chosen) <= MOST_CHOICES
        drawn = np.zeros((len(segment.observed), draws))
        (_add_listed if listed else _add_shuffled)(drawn, units, random)
        drawn /= units.per_score
        totals[:, 1:] += drawn
    for equal in segment.equal:
        fallen = random.multinomial(equal.count, equal.shares, size=draws)
        totals[:, 1:] += (fallen @ equal.sums).T / equal.per_score
    return totals


def _add_listed(totals: Floats, units: _Units, random: np.random.Generator) -> None:
    """Add unit sums drawn from tables of all there are, several units at a draw."""
    choices = _choices(units)
    together = max(1, int(math.log(MOST_JOINT_CHOICES, len(choices)) + 1e-9))
    cells = len(choices) ** together
    hypotheses, draws = totals.shape
    tables_at_once = max(1, min(TABLE_CELLS // (cells * max(1, hypotheses)), BLOCK_CELLS // draws))
    dtype = np.uint8 if cells <= 256 else np.uint16
    for start in range(0, len(units.columns), tables_at_once * together):
        tables = _tables(units.sums(choices, slice(start, start + tables_at_once * together)), together)
        drawn = random.integers(0, cells, (len(tables), draws), dtype=dtype)
        for first in range(0, draws, BLOCK_PATHS):
            block = totals[:, first : first + BLOCK_PATHS]
            for table, cell in zip(tables, drawn[:, first : first + BLOCK_PATHS], strict=True):
                block += table.take(cell, axis=1)


def _choices(units: _Units) -> Floats:
    """Every choice of the candidate's columns, shape (R, K), the observed one first."""
    subsets = list(combinations(range(units.columns.shape[1]), units.chosen))
    chosen = np.zeros((len(subsets), units.columns.shape[1]))
    np.put_along_axis(chosen, np.array(subsets), 1.0, axis=1)
    return chosen


def _tables(sums: Floats, together: int) -> Floats:
    """Totals of `together` units for all their choices: (U, R, M) to (U / together, M, R^together)."""
    missing = -len(sums) % together
    padded = np.concatenate([sums, np.zeros((missing, *sums.shape[1:]))]) if missing else sums
    grouped = padded.reshape(-1, together, *sums.shape[1:]).transpose(1, 0, 3, 2)
    tables: Floats = grouped[0]
    for one in grouped[1:]:
        tables = (tables[..., :, None] + one[..., None, :]).reshape(*tables.shape[:2], -1)
    return tables


def _add_shuffled(totals: Floats, units: _Units, random: np.random.Generator) -> None:
    """Add unit sums for columns chosen by shuffling, where there are too many choices to list."""
    k = units.columns.shape[1]
    draws = totals.shape[1]
    rows = max(1, BLOCK_CELLS // (draws * max(k, len(totals))))
    for start in range(0, len(units.columns), rows):
        part = slice(start, start + rows)
        order = random.random((len(units.columns[part]), draws, k)).argsort(axis=2)
        totals += units.sums((order < units.chosen).astype(np.float64), part).sum(axis=0).T


def _enumerable(segments: Sequence[_Segment], *, draws: int) -> bool:
    count = sum(segment.count for segment in segments)
    if count > MOST_ENUMERATED or not all(units.flips for segment in segments for units in segment.units):
        return False
    paths = int(2**count)
    return paths * len(segments[0].observed) <= MOST_ENUMERATED_HEIGHTS or paths <= 1 + draws


def _every_path(segments: Sequence[_Segment]) -> list[Floats]:
    """T at every look for all sign patterns, (M, 2^U) each; pattern 0 is the observed one."""
    totals = [np.zeros((len(segments[0].observed), 1))]
    for segment in segments:
        now = totals[-1]
        for units in segment.units:
            for unit in units.observed() / units.per_score:
                now = (now[:, :, None] + np.stack([unit, -unit], axis=1)[:, None, :]).reshape(len(unit), -1)
        totals.append(now)
    paths = totals[-1].shape[1]
    return [np.repeat(total, paths // total.shape[1], axis=1) for total in totals[1:]]


# --- looks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Heights:
    """How low each path is at one look: T / sd, or - |T / sd|, with what rounding can move it by.

    Attributes:
        low: Shape (M, paths), the height less its slack.
        slack: Shape (M,).
        sd: Shape (M,), of T over all relabellings.
        level: Alpha spent by this look.
        most_dead: How many paths may be dead by it.
    """

    low: Floats
    slack: Floats
    sd: Floats
    level: float
    most_dead: int

    @property
    def observed(self) -> Floats:
        """Shape (M,), the height of the observed path and its slack: what lies no higher is as low."""
        high: Floats = self.low[:, 0] + 2.0 * self.slack
        return high


@dataclass(frozen=True, slots=True, eq=False)
class _Standing:
    """How far the looks have been run.

    Attributes:
        members: The hypotheses that have not fallen.
        dead: Shape (paths,), killed before the look `at` when height is the lowest of the members.
        at: The look to be run next.
        close: True when more draws might have changed the answer at some look.
    """

    members: NDArray[np.intp]
    dead: Bools
    at: int
    close: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Course:
    """Paths over the looks so far.

    Attributes:
        totals: Shape (M, paths), T at the last of them.
        heights: One per look.
        standing: How far they have been run.
        exact: True when the paths are all there are.
    """

    totals: Floats
    heights: tuple[_Heights, ...]
    standing: _Standing
    exact: bool


def _looks(segments: Sequence[_Segment], plan: _Plan) -> Iterator[LookResult]:
    if not len(segments) == len(plan.spent) == len(plan.seeds):
        got = f"{len(segments)}, {len(plan.spent)} and {len(plan.seeds)}"
        raise ValueError(f"segments, spent, seeds: got {got}, expected the same number of each")
    course: _Course | None = None
    draws = plan.draws
    blocked = np.zeros(len(segments[0].observed) if segments else 0, dtype=np.bool_)
    for number in range(1, len(segments) + 1):
        seen = segments[:number]
        course = _run(_continued(course, seen, plan, draws=draws))
        most = _most_draws(seen, plan)
        if course.standing.close and not course.exact and most > draws:
            draws = most
            course = _run(_continued(None, seen, plan, draws=draws))
        fallen = np.ones(len(blocked), dtype=np.bool_)
        fallen[course.standing.members] = False
        blocked = blocked | fallen
        yield _look_result(course, blocked)


def _most_draws(seen: Sequence[_Segment], plan: _Plan) -> int:
    units, hypotheses = sum(segment.drawn for segment in seen), len(seen[0].observed)
    return int(min(plan.max_draws, MOST_CELLS // max(1, units), MOST_HEIGHTS // max(1, hypotheses)))


def _continued(course: _Course | None, seen: Sequence[_Segment], plan: _Plan, *, draws: int) -> _Course:
    """The paths up to the last look seen; begun anew where they were all enumerated and no longer can be."""
    if _enumerable(seen, draws=plan.draws):
        return _begun(_every_path(seen), seen, plan, exact=True)
    if course is None or course.exact:
        totals, drawn = np.zeros((len(seen[0].observed), 1 + draws)), []
        for segment, seed in zip(seen, plan.seeds, strict=False):
            totals = totals + _paths(segment, seed=seed, draws=draws)
            drawn.append(totals)
        return _begun(drawn, seen, plan, exact=False)
    totals = course.totals + _paths(seen[-1], seed=plan.seeds[len(seen) - 1], draws=draws)
    return replace(course, totals=totals, heights=(*course.heights, _heights(totals, seen, plan)))


def _begun(totals: Sequence[Floats], seen: Sequence[_Segment], plan: _Plan, *, exact: bool) -> _Course:
    heights = tuple(_heights(total, seen[: k + 1], plan) for k, total in enumerate(totals))
    hypotheses, paths = totals[-1].shape
    return _Course(totals[-1], heights, _Standing(np.arange(hypotheses), np.zeros(paths, dtype=np.bool_), 0), exact)


def _heights(totals: Floats, seen: Sequence[_Segment], plan: _Plan) -> _Heights:
    sd = np.sqrt(np.sum([segment.variance for segment in seen], axis=0))
    scale = _over(np.ones(len(sd)), sd)
    # 1e-9: what scaling and addition over the looks can move.
    slack = 1e-9 + scale * np.sum([segment.slack for segment in seen], axis=0)
    low = totals * scale[:, None]
    if plan.alternative == "two-sided":
        np.negative(np.abs(low, out=low), out=low)
    low -= slack[:, None]
    level = plan.spent[len(seen) - 1]
    return _Heights(low, slack, sd, level, most_dead=_most_dead(level, totals.shape[1]))


def _over(values: Floats, sd: Floats) -> Floats:
    """Values over sd, and 0 where no unit differs."""
    return np.divide(values, sd, out=np.zeros(np.shape(values)), where=sd > 0.0)


def _most_dead(level: float, paths: int) -> int:
    """The largest count of which the share is at most the level, judged as a p-value is."""
    count = math.floor(level * paths) + 1
    while count / paths > level:
        count -= 1
    return count


def _run(course: _Course) -> _Course:
    """Run the looks that are left; a hypothesis that falls is taken out and the looks begin again."""
    standing = course.standing
    while len(standing.members) and standing.at < len(course.heights):
        standing = _next_look(standing, course.heights)
    return replace(course, standing=standing)


def _next_look(standing: _Standing, looks: Sequence[_Heights]) -> _Standing:
    look, members = looks[standing.at], standing.members
    low = look.low[members].min(axis=0)
    low[standing.dead] = np.inf
    observed = look.observed[members]
    as_low = np.count_nonzero(standing.dead) + np.count_nonzero(low <= observed.min())
    close = standing.close or _close(as_low / len(low), look.level, draws=len(low))
    if as_low <= look.most_dead:
        rest = np.delete(members, observed.argmin())
        return _Standing(rest, np.zeros_like(standing.dead), 0, close)
    left = look.most_dead - np.count_nonzero(standing.dead)
    cut = np.partition(low, left)[left]
    high = (look.low[members] + 2.0 * look.slack[members, None]).min(axis=0)
    return _Standing(members, standing.dead | (high < cut), standing.at + 1, close)


def _close(p: float, level: float, *, draws: int) -> bool:
    return abs(p - level) < 3.0 * math.sqrt(level * (1.0 - level) / draws)


def _look_result(course: _Course, blocked: Bools) -> LookResult:
    look, paths = course.heights[-1], course.totals.shape[1]
    p = np.count_nonzero(look.low <= look.observed[:, None], axis=1) / paths
    total: Floats = course.totals[:, 0].copy()
    return LookResult(
        p=p,
        p_adjusted=p if len(p) == 1 else np.maximum(p, _stepped_down(look)),
        blocked=blocked,
        statistic=total,
        standardised=_over(total, look.sd),
        level=look.level,
        draws=paths if course.exact else paths - 1,
        exact=course.exact,
    )


def _stepped_down(look: _Heights) -> Floats:
    """Family-wise p: each hypothesis against the lowest of those that look no worse, never below a worse one's."""
    observed = look.observed
    order = np.argsort(observed, kind="stable")
    p = np.zeros(len(order))
    lowest = np.full(look.low.shape[1], np.inf)
    for hypothesis in order[::-1]:
        np.minimum(lowest, look.low[hypothesis], out=lowest)
        p[hypothesis] = np.count_nonzero(lowest <= observed[hypothesis]) / len(lowest)
    p[order] = np.maximum.accumulate(p[order])
    return p
