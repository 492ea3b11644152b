"""The three-valued rule: the right test for each kind of data, and a pass or a block only where the rule allows it."""

import numpy as np
import pytest
from scipy.stats import binom

from aigate.stats.bootstrap import bb1_interval, bb1_test
from aigate.stats.cluster import cluster_interval, cluster_pass_test
from aigate.stats.intervals import clopper_pearson
from aigate.stats.noninferiority import FEWEST_UNITS, decide, difference_interval, pass_test
from aigate.stats.tango import tango_interval, tango_pass_test

MARGIN = 0.05


def answers(losses, gains, n):
    """Differences of 0/1 scores with one trial each."""
    return np.repeat([-1.0, 1.0, 0.0], [losses, gains, n - losses - gains])


def grouped(seed):
    """Graded differences of 40 groups of 1 to 6 samples, with their labels."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(40), random.integers(1, 7, 40))
    return random.normal(-0.01, 0.15, len(labels)).clip(-1, 1), labels


# --- the rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # A block: half the margin is needed at the last look, the whole margin before.
        ({"drop": 0.025, "last": True}, "block"),
        ({"drop": 0.0249, "last": True}, None),
        ({"drop": 0.05, "last": False}, "block"),
        ({"drop": 0.0499, "last": False}, None),
        ({"drop": 0.025, "last": False}, None),
        ({"drop": -0.3, "last": True}, None),
        ({"drop": 0.3, "blocked": False}, None),
        # A pass has precedence over a block.
        ({"drop": 0.04, "p_pass": 0.01}, "pass"),
        ({"drop": 0.06, "p_pass": 0.01, "last": False}, "pass"),
        # A pass needs p at most at its level.
        ({"drop": 0.0, "p_pass": 0.05, "blocked": False}, "pass"),
        ({"drop": 0.0, "p_pass": 0.0501, "blocked": False}, None),
        # Where no pass is allowed, none is given, however small p is.
        ({"drop": 0.0, "p_pass": 0.0, "pass_level": 0.0, "blocked": False}, None),
        ({"drop": 0.05, "p_pass": 0.0, "pass_level": 0.0}, "block"),
        # Fewer than twenty units never pass; they may block.
        ({"drop": 0.0, "p_pass": 0.0, "blocked": False, "n_units": 19}, None),
        ({"drop": 0.0, "p_pass": 0.0, "blocked": False, "n_units": 20}, "pass"),
        ({"drop": 0.4, "p_pass": 0.0, "n_units": 19}, "block"),
    ],
)
def test_the_rule_at_one_look(change, expected):
    case = {"p_pass": 0.9, "pass_level": 0.05, "blocked": True, "drop": 0.3, "margin": MARGIN, "last": True}
    assert decide(**{**case, "n_units": 200, **change}) == expected


def test_the_fewest_units_of_a_pass_are_twenty():
    assert FEWEST_UNITS == 20


# --- which test -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [None, np.arange(100)])
@pytest.mark.parametrize(("losses", "gains"), [(0, 0), (2, 0), (3, 6)])
def test_right_and_wrong_of_single_samples_is_tangos(losses, gains, units):
    d = answers(losses, gains, 100)
    found = pass_test(d, units, margin=MARGIN, seed=1, binary=True)
    assert found.p == tango_pass_test(losses, gains, 100, margin=MARGIN)
    assert found.method == "Tango score test"
    bounds = difference_interval(d, units, level=0.9, seed=1, binary=True)
    low, high = tango_interval(losses, gains, 100, level=0.9)
    if not gains:  # as in the test, no narrower than the exact binomial bound
        low = -clopper_pearson(losses, 100, level=0.9)[1]
    if not losses:
        high = clopper_pearson(gains, 100, level=0.9)[1]
    assert (bounds.low, bounds.high, bounds.method) == (low, high, "Tango")


@pytest.mark.parametrize("strict", [False, True])
def test_repeats_that_average_to_whole_numbers_are_not_tangos(strict):
    d = answers(2, 3, 100)
    found = pass_test(d, margin=MARGIN, seed=1, binary=False, strict=strict)
    assert found.p == bb1_test(d, np.ones(100), margin=MARGIN, seed=1)
    assert found.p != pass_test(d, margin=MARGIN, seed=1, binary=True).p
    assert "one pseudo-case" in found.method
    bounds = difference_interval(d, level=0.9, seed=1, binary=False, strict=strict)
    assert (bounds.low, bounds.high) == bb1_interval(d, np.ones(100), seed=1, level=0.9)
    assert "pseudo-case" in bounds.method


def test_groups_are_judged_by_the_larger_p_of_both_tests_even_if_right_and_wrong():
    labels = np.arange(200) // 4
    for d in (answers(3, 5, 200), grouped(1)[0][:100]):
        groups = labels[: len(d)]
        found = pass_test(d, groups, margin=MARGIN, seed=1, binary=True)
        assert found.p == cluster_pass_test(d, groups, margin=MARGIN, seed=1)
        assert "cluster-robust" in found.method


def spread_out():
    """Few large groups that differ: the t test is the stricter one."""
    return np.repeat([-0.06, -0.02, 0.0, 0.0, 0.03, 0.05], 40), np.repeat(np.arange(6), 40)


@pytest.mark.parametrize(("data", "wider"), [(grouped(2), "drawn"), (spread_out(), "robust")])
def test_bounds_of_groups_are_the_wider_of_both(data, wider):
    d, labels = data
    robust = cluster_interval(d, labels, level=0.9)
    low, high = bb1_interval(np.bincount(labels, weights=d), np.bincount(labels), seed=3, level=0.9)
    found = difference_interval(d, labels, level=0.9, seed=3, binary=False)
    assert (robust.low < low, robust.high > high) == (wider == "robust", wider == "robust")
    expected = (robust.low, robust.high) if wider == "robust" else (low, high)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


def test_bounds_stay_within_what_a_difference_can_be():
    d, labels = np.repeat([-0.9, 0.9], 20), np.repeat([0, 1], 20)
    assert cluster_interval(d, labels, level=0.9).high > 1.0
    found = difference_interval(d, labels, level=0.9, seed=3, binary=False)
    assert (found.low, found.high) == (-1.0, 1.0)


def test_strict_counts_an_unseen_group_as_large_as_the_largest_one():
    d, labels = grouped(3)
    sums, sizes = np.bincount(labels, weights=d), np.bincount(labels).astype(float)
    found = pass_test(d, labels, margin=0.1, seed=2, binary=False, strict=True)
    assert found.p == bb1_test(sums, sizes, margin=0.1, seed=2, pseudo_size=sizes.max())
    assert found.p > pass_test(d, labels, margin=0.1, seed=2, binary=False).p
    assert "largest group" in found.method
    bounds = difference_interval(d, labels, level=0.9, seed=2, binary=False, strict=True)
    assert (bounds.low, bounds.high) == bb1_interval(sums, sizes, seed=2, level=0.9, pseudo_size=sizes.max())
    assert "largest group" in bounds.method


def test_options_of_the_draws_reach_every_test():
    d, labels = grouped(4)
    sums, sizes = np.bincount(labels, weights=d), np.bincount(labels).astype(float)
    options = {"margin": 0.02, "seed": 2, "draws": 6_000, "level": 0.9}
    assert pass_test(d, binary=False, **options).p == bb1_test(d, np.ones(len(d)), **options)
    assert pass_test(d, labels, binary=False, **options).p == cluster_pass_test(d, labels, **options)
    strict = pass_test(d, labels, binary=False, strict=True, **options).p
    assert strict == bb1_test(sums, sizes, pseudo_size=sizes.max(), **options)


# --- groups that break whole ------------------------------------------------------------------------------------------

LABELS = np.concatenate([np.arange(70), np.repeat(np.arange(70, 80), 30)])  # 70 groups of 1 and 10 of 30
SIZES = np.bincount(LABELS).astype(float)


def false_pass_where_only_large_groups_break(margin, p_of):
    """The exact chance of a pass where each large group breaks whole, at a rate that makes the drop the margin."""
    rate = margin * SIZES.sum() / 300
    d_of = [np.where(np.isin(LABELS, np.arange(70, 70 + broken)), -1.0, 0.0) for broken in range(11)]
    return sum(binom.pmf(broken, 10, rate) for broken, d in enumerate(d_of) if p_of(d) <= 0.05)


@pytest.mark.parametrize("margin", [0.05, 0.25])
def test_strict_holds_where_a_few_large_groups_break_whole(margin):
    strict = false_pass_where_only_large_groups_break(
        margin, lambda d: pass_test(d, LABELS, margin=margin, seed=1, binary=True, strict=True).p
    )
    assert strict <= 0.05
    # At a quarter it can pass: the bound is not kept by never passing.
    assert (strict > 0.0) == (margin == 0.25)


def test_an_unseen_group_of_the_mean_size_or_of_one_sample_would_not_hold():
    def mean_size(d):
        return bb1_test(np.bincount(LABELS, weights=d), SIZES, margin=MARGIN, seed=1, pseudo_size=SIZES.mean())

    assert false_pass_where_only_large_groups_break(MARGIN, mean_size) > 0.4
    not_strict = false_pass_where_only_large_groups_break(
        MARGIN, lambda d: pass_test(d, LABELS, margin=MARGIN, seed=1, binary=True).p
    )
    assert not_strict > 0.4


# --- test and interval ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "strict", "margin"),
    [
        ("graded", False, 0.04),
        ("groups", False, 0.05),
        ("broken groups", False, 0.06),
        ("groups", True, 0.15),
        ("broken groups", True, 0.2),
    ],
)
def test_the_interval_lies_above_the_margin_exactly_where_the_test_passes(kind, strict, margin):
    decisions = set()
    for seed in range(25):
        d, labels = grouped(seed)
        if kind == "broken groups":
            d = np.where(labels < seed // 4, -1.0, 0.0)
        units = None if kind == "graded" else labels
        p = pass_test(d, units, margin=margin, seed=seed, binary=False, strict=strict).p
        bounds = difference_interval(d, units, level=0.9, seed=seed, binary=False, strict=strict)
        assert (bounds.low > -margin) == (p <= 0.05), (kind, seed)
        assert -1.0 <= bounds.low <= d.mean() <= bounds.high <= 1.0
        decisions.add(p <= 0.05)
    assert decisions == {True, False}


def test_tangos_interval_lies_above_the_margin_exactly_where_its_test_passes():
    decisions = set()
    for losses in range(8):
        for gains in range(1, 8):
            d = answers(losses, gains, 120)
            p = pass_test(d, margin=MARGIN, seed=1, binary=True).p
            bounds = difference_interval(d, level=0.9, seed=1, binary=True)
            assert (bounds.low > -MARGIN) == (p <= 0.05), (losses, gains)
            decisions.add(p <= 0.05)
    assert decisions == {True, False}


def test_where_nothing_was_gained_a_pass_asks_for_more_than_tangos_interval():
    for n in range(50, 160):
        for losses in range(5):
            d = answers(losses, 0, n)
            if pass_test(d, margin=MARGIN, seed=1, binary=True).p <= 0.05:
                assert difference_interval(d, level=0.9, seed=1, binary=True).low > -MARGIN, (losses, n)


def test_upper_bounds_are_the_lower_ones_of_the_opposite():
    d, labels = grouped(6)
    for units, strict in ((None, False), (labels, False), (labels, True)):
        bounds = difference_interval(d, units, level=0.9, seed=1, binary=False, strict=strict)
        opposite = difference_interval(-d, units, level=0.9, seed=1, binary=False, strict=strict)
        width = bounds.high - bounds.low
        assert (bounds.low, bounds.high) == pytest.approx((-opposite.high, -opposite.low), abs=0.04 * width)


def test_one_group_knows_nothing_of_others():
    d, labels = np.zeros(200), ["only"] * 200
    assert pass_test(d, labels, margin=MARGIN, seed=1, binary=True).p == 1.0
    assert pass_test(d, labels, margin=MARGIN, seed=1, binary=True, strict=True).p > 0.9
    strict = difference_interval(d, labels, level=0.9, seed=1, binary=True, strict=True)
    assert (strict.low, strict.high) == pytest.approx((-0.95, 0.95))


@pytest.mark.parametrize("n", [52, 58, 59, 120])
@pytest.mark.parametrize("losses", [0, 1, 2])
def test_interval_and_test_agree_where_nothing_was_gained(n, losses):
    d = np.r_[-np.ones(losses), np.zeros(n - losses)]
    passes = pass_test(d, margin=0.05, seed=1, binary=True).p <= 0.05
    assert passes is (difference_interval(d, level=0.90, seed=1, binary=True).low > -0.05)
    mirrored = difference_interval(-d, level=0.90, seed=1, binary=True)
    assert mirrored.high == -difference_interval(d, level=0.90, seed=1, binary=True).low


def test_a_single_group_knows_nothing_of_the_spread_between_groups():
    found = difference_interval(np.zeros(200), ["one"] * 200, level=0.90, seed=1, binary=True)
    assert (found.low, found.high) == (-1.0, 1.0)
