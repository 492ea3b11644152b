"""Is the drop smaller than the margin? The right test for each kind of data, and the three-valued rule around it.

One rule decides everywhere, in the gate and in the benchmark of its error rates: pass when the drop is shown to be
smaller than the margin; else block when the relabelling test says that it is real and enough of it is observed; else
undecided. A pass has precedence: a certain but tolerable drop passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats.arrays import Floats, finite_array, unit_sums
from aigate.stats.bootstrap import DRAWS, bb1_interval, bb1_test
from aigate.stats.cluster import cluster_interval, cluster_pass_test
from aigate.stats.intervals import clopper_pearson
from aigate.stats.tango import tango_interval, tango_pass_test

__all__ = ["FEWEST_UNITS", "Decision", "DifferenceInterval", "PassTest", "decide", "difference_interval", "pass_test"]

FEWEST_UNITS = 20
"""With fewer samples or groups, no test of a pass keeps its error rate."""

Decision = Literal["pass", "block"]


@dataclass(frozen=True, slots=True)
class PassTest:
    """The evidence that a drop is smaller than the margin.

    Attributes:
        p: How likely data this good would be if the true drop were the margin, in [0, 1].
        method: The test, in words.
    """

    p: float
    method: str


@dataclass(frozen=True, slots=True)
class DifferenceInterval:
    """Bounds of a mean difference.

    Attributes:
        low: Lower end, in [-1, 1].
        high: Upper end.
        method: How they were found, in words.
    """

    low: float
    high: float
    method: str


def pass_test(
    differences: ArrayLike,
    units: ArrayLike | None = None,
    *,
    margin: float,
    seed: int,
    binary: bool,
    strict: bool = False,
    draws: int = DRAWS,
    level: float | None = None,
) -> PassTest:
    """Test that the mean drop is smaller than the margin, by the test that fits the data.

    Independent samples with 0/1 scores of one trial each: Tango's score test, with the exact binomial where nothing was
    gained. Other independent samples: BB-1. Groups: the larger p of the cluster-robust t test and BB-1 over groups;
    `strict` instead makes the pseudo-case as large as the largest group, which holds also where groups break whole. (As
    large as the mean group is not enough for unequal ones: 70 groups of 1 and 10 of 30 passed a drop of the margin 54 %
    of the time where only the large ones break.)

    Args:
        differences: Shape (n,), candidate - baseline per sample (mean over trials), in [-1, 1].
        units: Shape (n,), one label per sample; None, or all different: samples are independent.
        margin: Tolerated drop, in (0, 1).
        seed: Seed of the Bayesian bootstrap.
        binary: True for 0/1 scores of a single trial in each arm. Differences alone cannot tell: repeats that average
            to whole numbers look the same.
        strict: For groups: see above. Nothing changes for independent samples.
        draws: Draws of the Bayesian bootstrap.
        level: What p will be held against, so that a clear answer costs fewer draws; see `bb1_test`.

    Raises:
        ValueError: As the tests themselves.

    >>> pass_test([0.0] * 59, margin=0.05, seed=1, binary=True).p <= 0.05
    True
    """
    d = finite_array(differences, name="differences", ndim=1)
    sums, sizes = unit_sums(d, units)
    if len(sums) < len(d):
        if strict:
            whole = float(sizes.max())
            p = bb1_test(sums, sizes, margin=margin, seed=seed, draws=draws, level=level, pseudo_size=whole)
            return PassTest(p, "Bayesian bootstrap over groups, the largest group once more at the worst value")
        assert units is not None  # noqa: S101 - for the type checker: without labels every sample is a unit
        p = cluster_pass_test(d, units, margin=margin, seed=seed, draws=draws, level=level)
        return PassTest(p, "cluster-robust t and Bayesian bootstrap over groups")
    if binary:
        losses, gains = _counts(d)
        return PassTest(tango_pass_test(losses, gains, len(d), margin=margin), "Tango score test")
    p = bb1_test(sums, sizes, margin=margin, seed=seed, draws=draws, level=level)
    return PassTest(p, "Bayesian bootstrap, one pseudo-case at the worst value")


def difference_interval(
    differences: ArrayLike,
    units: ArrayLike | None = None,
    *,
    level: float,
    seed: int,
    binary: bool,
    strict: bool = False,
    draws: int = DRAWS,
) -> DifferenceInterval:
    """Bounds of the mean difference that belong to `pass_test`.

    Args:
        differences: As in `pass_test`.
        units: As in `pass_test`.
        level: Two-sided confidence, between 0 and 1; 0.90 gives one-sided 95 % bounds.
        seed: As in `pass_test`.
        binary: As in `pass_test`.
        strict: As in `pass_test`.
        draws: As in `pass_test`.

    Raises:
        ValueError: As `pass_test`.
    """
    d = finite_array(differences, name="differences", ndim=1)
    sums, sizes = unit_sums(d, units)
    grouped = len(sums) < len(d)
    if binary and not grouped:
        return _paired_share_interval(*_counts(d), len(d), level=level)
    pseudo = float(sizes.max()) if strict and grouped else 1.0
    low, high = bb1_interval(sums, sizes, level=level, seed=seed, draws=draws, pseudo_size=pseudo)
    if not grouped:
        return DifferenceInterval(low, high, "Bayesian bootstrap with a pseudo-case at each end")
    if strict:
        return DifferenceInterval(low, high, "Bayesian bootstrap with the largest group once more at each end")
    assert units is not None  # noqa: S101 - for the type checker
    robust = cluster_interval(d, units, level=level)
    low, high = max(-1.0, min(low, robust.low)), min(1.0, max(high, robust.high))
    return DifferenceInterval(low, high, "the wider of cluster-robust t and Bayesian bootstrap")


def _paired_share_interval(losses: int, gains: int, n: int, *, level: float) -> DifferenceInterval:
    """Tango's interval; on a side where nothing moved the other way, no narrower than the exact binomial bound."""
    low, high = tango_interval(losses, gains, n, level=level)
    if n and not gains:
        low = min(low, -clopper_pearson(losses, n, level=level)[1])
    if n and not losses:
        high = max(high, clopper_pearson(gains, n, level=level)[1])
    return DifferenceInterval(low, high, "Tango")


def decide(
    *, p_pass: float, pass_level: float, blocked: bool, drop: float, margin: float, last: bool, n_units: int
) -> Decision | None:
    """The three-valued rule at one look; None is undecided.

    Args:
        p_pass: From `pass_test`.
        pass_level: The level of that test at this look; 0 where no pass is allowed at it.
        blocked: True when the relabelling test has found the drop real by this look (`relabel_looks`).
        drop: Observed mean drop, positive when the candidate is worse.
        margin: Tolerated drop.
        last: True at the last planned look: half the margin must be observed then, the whole margin before. Without
            that, a tolerable drop of 2 points would be blocked at an early look 32 % of the time (n = 1000).
        n_units: Units the data hold: below `FEWEST_UNITS` there is no pass.

    >>> decide(p_pass=0.4, pass_level=0.05, blocked=True, drop=0.03, margin=0.05, last=True, n_units=200)
    'block'
    """
    if pass_level > 0.0 and p_pass <= pass_level and n_units >= FEWEST_UNITS:
        return "pass"
    if blocked and drop >= (margin / 2 if last else margin):
        return "block"
    return None


def _counts(d: Floats) -> tuple[int, int]:
    """Losses and gains."""
    return int(np.count_nonzero(d < 0.0)), int(np.count_nonzero(d > 0.0))
