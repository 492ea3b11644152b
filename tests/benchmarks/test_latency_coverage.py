"""The benchmark of the bounds: what it counts, on data whose truth is known."""

import numpy as np
import pytest

import latency_coverage


def test_bounds_that_hold_are_counted_and_those_that_do_not_are_not():
    drawn = np.random.default_rng(1).lognormal(0.0, 0.8, (2_000, 400))
    low, high = latency_coverage.coverage(drawn, 0.99, float(np.exp(0.8 * 2.3263)))
    assert low >= 0.94
    assert high >= 0.94
    assert latency_coverage.coverage(drawn, 0.99, 1e9) == (1.0, 0.0)
    assert latency_coverage.coverage(drawn, 0.99, 0.0) == (0.0, 1.0)


def test_a_fitted_normal_distribution_misses_the_tail_of_a_skewed_one():
    random = np.random.default_rng(2)
    drawn = random.lognormal(0.0, 1.2, (300, 400))
    normal, bootstrap = latency_coverage.rival_coverage(drawn, 0.99, float(np.exp(1.2 * 2.3263)), random)
    assert normal < 0.5
    assert 0.5 < bootstrap <= 1.0


@pytest.mark.parametrize(("factor", "passed", "blocked"), [(1.0, 1.0, 0.0), (1.6, 0.0, 1.0)])
def test_a_version_that_is_slower_is_told_from_one_that_is_not(monkeypatch, factor, passed, blocked):
    monkeypatch.setattr(latency_coverage, "PAIRED_RUNS", 40)
    values = np.random.default_rng(3).lognormal(0.0, 0.2, 5_000)
    found = latency_coverage.paired(values, factor)
    assert found[0] >= 0.8
    assert found[1:] == (passed, blocked)
