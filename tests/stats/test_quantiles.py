"""Bounds for quantiles, by enumeration and against scipy's `quantile_test`."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc
from scipy.stats import quantile_test

from aigate.stats.quantiles import quantile_bound, quantile_interval, samples_to_bound


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
        (lambda: samples_to_bound(1.0), r"^quantile: got 1.0"),
        (lambda: samples_to_bound(0.99, level=1.0), r"^level: got 1.0"),
        (lambda: samples_to_bound(0.99, side="top"), r"^side: got 'top'"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
