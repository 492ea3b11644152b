"""Intervals for a share, against statsmodels and against their own coverage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from aigate.stats.intervals import clopper_pearson, wilson_interval


@pytest.mark.parametrize("level", [0.90, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 7), (1, 7), (6, 7), (7, 7), (45, 50), (850, 1000)])
@pytest.mark.parametrize(("ours", "method"), [(wilson_interval, "wilson"), (clopper_pearson, "beta")])
def test_ends_agree_with_statsmodels(ours, method, successes, n, level):
    oracle = proportion_confint(successes, n, alpha=1 - level, method=method)
    assert ours(successes, n, level=level) == pytest.approx(oracle, abs=1e-12)


@pytest.mark.parametrize("ours", [wilson_interval, clopper_pearson])
def test_no_trials_know_nothing(ours):
    assert ours(0, 0, level=0.95) == (0.0, 1.0)


@pytest.mark.parametrize("ours", [wilson_interval, clopper_pearson])
@given(n=st.integers(1, 400), data=st.data())
def test_ends_hold_the_share_and_stay_in_range(ours, n, data):
    successes = data.draw(st.integers(0, n))
    low, high = ours(successes, n, level=0.9)
    assert 0.0 <= low <= successes / n <= high <= 1.0
    assert (low == 0.0) == (successes == 0)
    assert (high == 1.0) == (successes == n)


@pytest.mark.parametrize("share", [0.02, 0.31, 0.5, 0.97])
def test_clopper_pearson_misses_on_neither_side_more_often_than_it_says(share):
    n, level = 60, 0.90
    ends = [clopper_pearson(k, n, level=level) for k in range(n + 1)]
    below = sum(binom.pmf(k, n, share) for k, (low, _) in enumerate(ends) if share < low)
    above = sum(binom.pmf(k, n, share) for k, (_, high) in enumerate(ends) if share > high)
    assert below <= 0.05
    assert above <= 0.05


@pytest.mark.parametrize("ours", [wilson_interval, clopper_pearson])
@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, -1)])
def test_counts_that_cannot_be_are_refused(ours, successes, n):
    with pytest.raises(ValueError, match=r"^successes: got"):
        ours(successes, n, level=0.95)


@pytest.mark.parametrize("ours", [wilson_interval, clopper_pearson])
def test_a_level_given_in_percent_is_refused(ours):
    with pytest.raises(ValueError, match=r"^level: got 95"):
        ours(3, 5, level=95)
