"""The typical ratio of pairs: its interval holds on real kinds of latency, for groups, and where nothing varies."""

import math

import numpy as np
import pytest

from aigate.stats.ratios import LARGEST_RATIO, ratio_interval

DRAWS, RUNS = 1_000, 400


def noise(random, n):
    """Log ratios of two lognormal latencies."""
    return random.normal(0.0, 0.6, n)


def tied(random, n):
    """Most pairs equal, some twice as slow."""
    return np.where(random.random(n) < 0.1, math.log(2.0), 0.0)


def stalls(random, n):
    """One answer in thirty now takes five times as long."""
    return np.where(random.random(n) < 1 / 30, math.log(5.0), random.normal(0.0, 0.05, n))


def both_stall(random, n):
    """One in fifty stalls before or after, for twenty times as long: cut at the largest ratio."""
    side = np.where(random.random(n) < 0.5, 1.0, -1.0)
    return np.where(random.random(n) < 1 / 50, side * math.log(20.0), random.normal(0.0, 0.3, n))


LAWS = {law.__name__: law for law in (noise, tied, stalls, both_stall)}


def true_mean(law):
    span = math.log(LARGEST_RATIO)
    return float(np.clip(law(np.random.default_rng(0), 1_000_000), -span, span).mean())


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [40, 200])
def test_each_bound_holds_as_often_as_it_says(law, n):
    random, true = np.random.default_rng([n, 1]), math.exp(true_mean(LAWS[law]))
    found = [ratio_interval(LAWS[law](random, n), seed=run, draws=DRAWS) for run in range(RUNS)]
    least = 0.95 - 3 * math.sqrt(0.95 * 0.05 / RUNS)
    assert np.mean([interval.high >= true for interval in found]) >= least
    assert np.mean([interval.low <= true for interval in found]) >= least


@pytest.mark.parametrize("law", ["noise", "tied"])
def test_bounds_over_groups_hold_where_a_group_is_slow_together(law):
    random, true = np.random.default_rng(11), math.exp(true_mean(LAWS[law]))
    groups, missed = np.repeat(np.arange(40), 5), 0
    for run in range(RUNS):
        values = np.repeat(LAWS[law](random, 40), 5) + random.normal(0.0, 0.05, 200)
        found = ratio_interval(values, groups, seed=run, draws=DRAWS)
        missed += not found.low <= true <= found.high
    assert missed / RUNS <= 0.10 + 3 * math.sqrt(0.1 * 0.9 / RUNS)
    assert (found.n, found.n_units) == (200, 40)


def test_an_unchanged_version_is_called_slower_than_tolerated_no_more_often_than_alpha():
    random, blocked = np.random.default_rng(4), 0
    for run in range(RUNS):  # two answers of one version: nothing is between them but its own scatter
        pair = random.lognormal(0.0, 0.8, (2, 60))
        blocked += ratio_interval(np.log(pair[0] / pair[1]), seed=run, draws=DRAWS).low > 1.0
    assert blocked / RUNS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize("factor", [1.1, 1.25, 2.0])
def test_a_version_just_as_slow_as_tolerated_passes_no_more_often_than_alpha_however_wide_the_scatter(factor):
    random, passed = np.random.default_rng([4, int(factor * 100)]), 0
    for run in range(RUNS):  # one ratio in four is more than ten times away
        pair = random.lognormal(0.0, 1.5, (2, 100))
        found = ratio_interval(np.log(factor * pair[0] / pair[1]), seed=run, around=factor, draws=DRAWS)
        passed += found.high <= factor
    assert passed / RUNS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


def test_pairs_that_are_all_alike_are_not_certain():
    found = ratio_interval([0.0] * 30, seed=1)
    assert found.ratio == 1.0
    assert 1.2 < found.high < 1.3  # one case in thirty that nobody has seen may take ten times as long
    assert found.low == pytest.approx(1 / found.high)


def test_what_is_larger_than_can_be_told_counts_as_the_largest_ratio():
    values = [0.0] * 99
    cut = ratio_interval([*values, math.log(LARGEST_RATIO)], seed=1)
    assert ratio_interval([*values, math.inf], seed=1) == ratio_interval([*values, 20.0], seed=1) == cut
    assert ratio_interval([*values, -math.inf], seed=1).ratio == pytest.approx(1 / cut.ratio)


def test_the_same_pairs_give_the_same_bounds_in_any_order():
    values = np.random.default_rng(1).normal(size=50)
    one, other = (ratio_interval(order, seed=3) for order in (values, values[::-1]))
    assert (one.low, one.high) == pytest.approx((other.low, other.high))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ratio_interval([], seed=1), "log_ratios: got none"),
        (lambda: ratio_interval([math.nan], seed=1), r"log_ratios: got nan at \[0\]"),
        (lambda: ratio_interval([0.0], seed=1, level=1.0), "level: got 1.0"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
