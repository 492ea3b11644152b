"""Bounds for quantiles, by enumeration and against scipy's `quantile_test`."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc
from scipy.stats import quantile_test

from aigate.stats.quantiles import (
    exceedance_limits,
    quantile_bound,
    quantile_interval,
    quantile_ranks,
    samples_to_bound,
    samples_to_settle,
)


def chance_below(rank, n, quantile):
    """P(the rank-th smallest of n uniform values is at most the quantile): it is Beta(rank, n - rank + 1)."""
    return betainc(rank, n - rank + 1, quantile)


def test_an_upper_bound_of_p99_needs_299_values():
    assert samples_to_bound(0.99, level=0.95) == 299
    assert quantile_bound(np.arange(299), 0.99, side="upper", level=0.95) == 298
    assert quantile_bound(np.arange(298), 0.99, side="upper", level=0.95) is None


@pytest.mark.parametrize("side", ["upper", "lower"])
@pytest.mark.parametrize("quantile", [0.05, 0.5, 0.9, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_a_bound_exists_from_the_number_of_values_that_is_named(quantile, side, level):
    n = samples_to_bound(quantile, side=side, level=level)
    assert quantile_bound(np.arange(n), quantile, side=side, level=level) is not None
    assert n == 1 or quantile_bound(np.arange(n - 1), quantile, side=side, level=level) is None


@pytest.mark.parametrize(("quantile", "n"), [(0.9, 4), (0.9, 10), (0.95, 9), (0.8, 4), (0.5, 2)])
def test_a_level_that_is_met_exactly_counts_as_met(quantile, n):
    level = 1 - quantile**n
    assert samples_to_bound(quantile, level=level) == n
    assert quantile_bound(np.arange(n), quantile, side="upper", level=level) == n - 1


@pytest.mark.parametrize("n", [12, 40, 300])
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9, 0.99])
def test_bounds_hold_by_enumeration_and_the_next_tighter_ones_do_not(n, quantile):
    values, level = np.arange(1, n + 1), 0.95
    low = quantile_bound(values, quantile, side="lower", level=level)
    high = quantile_bound(values, quantile, side="upper", level=level)
    if low is not None:
        assert chance_below(int(low), n, quantile) >= level
    if low != n:
        assert chance_below(int(low or 0) + 1, n, quantile) < level
    if high is not None:
        assert 1 - chance_below(int(high), n, quantile) >= level
    if high != 1:
        assert 1 - chance_below(int(high or n + 1) - 1, n, quantile) < level


@pytest.mark.parametrize("n", [25, 300, 1_000])
@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.95, 0.99])
def test_intervals_agree_with_scipy(n, quantile):
    values = np.random.default_rng(n).lognormal(size=n)
    found = quantile_interval(values, quantile, level=0.90)
    oracle = quantile_test(values, p=quantile).confidence_interval(0.90)
    assert [math.nan if end is None else end for end in (found.low, found.high)] == pytest.approx(
        [oracle.low, oracle.high], nan_ok=True
    )
    for side, alternative, end in (("upper", "less", "high"), ("lower", "greater", "low")):
        one_sided = getattr(quantile_test(values, p=quantile, alternative=alternative).confidence_interval(0.95), end)
        bound = quantile_bound(values, quantile, side=side, level=0.95)
        assert (math.nan if bound is None else bound) == pytest.approx(one_sided, nan_ok=True)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0.01, 0.99), st.sampled_from([0.5, 0.9]))
def test_bounds_enclose_the_estimate_and_all_are_values(values, quantile, level):
    found = quantile_interval(values, quantile, level=level)
    assert found.n == len(values)
    assert found.estimate in values
    assert sum(v <= found.estimate for v in values) / len(values) >= quantile - 1e-9
    assert found.low is None or (found.low <= found.estimate and found.low in values)
    assert found.high is None or (found.high >= found.estimate and found.high in values)


def test_bounds_hold_where_values_are_tied_at_the_quantile():
    # A median that half of the latencies share: 1 with chance 0.5, the median anything in [1, 2]; and 3 values in all.
    random, missed, runs = np.random.default_rng(2), 0, 2_000
    for _ in range(runs):
        values = random.choice([1.0, 2.0, 3.0], p=[0.3, 0.4, 0.3], size=30)
        found = quantile_interval(values, 0.5, level=0.90)
        missed += not found.low <= 2.0 <= found.high
    assert missed / runs <= 0.10


# Laws of latency, with their true quantiles: lognormal; a server that answers in whole tenths of a second; one that is
# fast but for 3 % of stalls.
LAWS = {
    "lognormal": lambda random, n: random.lognormal(0.0, 0.8, n),
    "heavily tied": lambda random, n: np.ceil(random.lognormal(0.0, 0.8, n) * 2.0) / 2.0,
    "with stalls": lambda random, n: np.where(
        random.random(n) < 0.03, 20.0 + random.pareto(1.5, n), random.normal(1, 0.1, n)
    ),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("quantile", "n"), [(0.5, 60), (0.95, 200), (0.99, 400)])
@pytest.mark.parametrize("level", [0.90, 0.95])
def test_intervals_of_latencies_cover_their_quantile_as_often_as_they_say(law, quantile, n, level):
    random, runs = np.random.default_rng([n, int(level * 100)]), 2_000
    true = np.quantile(LAWS[law](np.random.default_rng(0), 2_000_000), quantile)
    drawn = LAWS[law](random, runs * n).reshape(runs, n)
    ranks = quantile_ranks(n, quantile, level=level)
    ordered = np.sort(drawn, axis=1)
    low = ordered[:, ranks.low - 1] <= true
    high = np.ones(runs, bool) if ranks.high is None else ordered[:, ranks.high - 1] >= true
    assert quantile_interval(drawn[0], quantile, level=level).low == ordered[0, ranks.low - 1]
    assert (low & high).mean() >= level - 3 * math.sqrt(level * (1 - level) / runs)


@pytest.mark.parametrize("quantile", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [5, 298, 299, 1_000])
def test_one_look_decides_as_the_bounds_do(n, quantile):
    [limits] = exceedance_limits([n], quantile, within_spent=[0.05], beyond_spent=[0.05])
    values = np.arange(1, n + 1)
    low = quantile_bound(values, quantile, side="lower", level=0.95)
    high = quantile_bound(values, quantile, side="upper", level=0.95)
    assert limits.within == (-1 if high is None else n - high)
    assert limits.beyond == (n + 1 if low is None else n - low + 1)


def test_a_look_that_can_show_nothing_costs_nothing():
    spent = [0.05 * (k / 5) ** 2 for k in range(1, 6)]
    limits = exceedance_limits([60, 120, 180, 240, 299], 0.99, within_spent=spent, beyond_spent=spent)
    assert [look.within for look in limits] == [-1, -1, -1, -1, 0]


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("side", ["within", "beyond"])
def test_looks_together_err_no_more_often_than_alpha(quantile, side):
    counts, runs = [200, 400, 600, 800, 1_000], 20_000
    spent = [0.05 * (k / 5) ** 2 for k in range(1, 6)]
    limits = exceedance_limits(counts, quantile, within_spent=spent, beyond_spent=spent)
    # At the edge: the share above the number is just that of the quantile, so that neither may be called.
    above = np.cumsum(np.random.default_rng(3).binomial(200, 1 - quantile, (runs, 5)), axis=1)
    wrong = [
        above[:, k] <= look.within if side == "within" else above[:, k] >= look.beyond for k, look in enumerate(limits)
    ]
    assert np.any(wrong, axis=0).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_looks_find_what_is_there():
    spent = [0.05 * (k / 5) ** 2 for k in range(1, 6)]
    limits = exceedance_limits([200, 400, 600, 800, 1_000], 0.9, within_spent=spent, beyond_spent=spent)
    assert [look.within >= 0.04 * look.n for look in limits] == [True] * 5
    assert [look.beyond <= 0.20 * look.n for look in limits] == [True] * 5


@pytest.mark.parametrize(("above", "n", "quantile"), [(0, 200, 0.99), (1, 200, 0.99), (4, 200, 0.99), (30, 100, 0.5)])
def test_what_would_settle_it_does(above, n, quantile):
    needed = samples_to_settle(above, n, quantile)
    [limits] = exceedance_limits([needed], quantile, within_spent=[0.05], beyond_spent=[0.05])
    then = round(above / n * needed)
    assert then <= limits.within or then >= limits.beyond


def test_no_number_settles_a_share_that_is_just_that_of_the_quantile():
    assert samples_to_settle(2, 200, 0.99) is None


def test_no_values_have_no_bound_and_no_interval():
    assert quantile_bound([], 0.99, side="upper") is None
    with pytest.raises(ValueError, match=r"^values: got none"):
        quantile_interval([], 0.99)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantile_bound([1.0, math.nan], 0.5, side="upper"), r"^values: got nan at \[1\]"),
        (lambda: quantile_bound([1.0], 99, side="upper"), r"^quantile: got 99"),
        (lambda: quantile_bound([1.0], 0.99, side="upper", level=95), r"^level: got 95"),
        (lambda: quantile_bound([1.0], 0.99, side="top"), r"^side: got 'top'"),
        (lambda: quantile_interval([1.0], 0.99, level=0.0), r"^level: got 0"),
        (lambda: quantile_ranks(0, 0.5), r"^n: got 0"),
        (lambda: exceedance_limits([9], 0.0, within_spent=[0.05], beyond_spent=[0.05]), r"^quantile: got 0"),
        (lambda: samples_to_settle(1, 9, 0.5, level=0.0), r"^level: got 0"),
        (lambda: samples_to_bound(1.0), r"^quantile: got 1.0"),
        (lambda: samples_to_bound(0.99, level=1.0), r"^level: got 1.0"),
        (lambda: samples_to_bound(0.99, side="top"), r"^side: got 'top'"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
