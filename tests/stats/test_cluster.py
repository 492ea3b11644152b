"""The cluster-robust mean against statsmodels, and how often a clustered pass is false."""

import math

import numpy as np
import pytest
from statsmodels.api import OLS

from aigate.stats.bootstrap import bb1_test
from aigate.stats.cluster import cluster_interval, cluster_pass_test, cluster_test


def clustered_differences(random, *, groups, size, icc, sd, mean):
    between = random.normal(0.0, sd * math.sqrt(icc), groups)
    within = random.normal(0.0, sd * math.sqrt(1 - icc), (groups, size))
    return (mean + between[:, None] + within).reshape(-1), np.repeat(np.arange(groups), size)


def oracle(d, groups):
    return OLS(d, np.ones(len(d))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True}, use_t=True
    )


@pytest.mark.parametrize("level", [0.90, 0.95])
@pytest.mark.parametrize("sizes", [[5] * 12, [1, 2, 30, 4, 7, 7, 1], [3, 9]])
def test_interval_agrees_with_statsmodels(sizes, level):
    random = np.random.default_rng(len(sizes))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    d = random.uniform(-0.5, 0.4, len(groups)) + random.normal(0, 0.2, len(sizes))[groups]
    fit = oracle(d, groups)
    mean = cluster_interval(d, groups, level=level)
    assert mean.estimate == pytest.approx(fit.params[0], abs=1e-12)
    assert mean.se == pytest.approx(fit.bse[0], rel=1e-9)
    assert (mean.low, mean.high) == pytest.approx(tuple(fit.conf_int(1 - level)[0]), abs=1e-9)
    assert mean.df == len(sizes) - 1


def test_p_agrees_with_statsmodels():
    random = np.random.default_rng(5)
    d, groups = clustered_differences(random, groups=15, size=4, icc=0.3, sd=0.3, mean=-0.02)
    two_sided = float(oracle(d + 0.05, groups).pvalues[0])
    estimate = d.mean() + 0.05
    expected = two_sided / 2 if estimate > 0 else 1 - two_sided / 2
    assert cluster_test(d, groups, margin=0.05) == pytest.approx(expected, rel=1e-9)


def test_labels_may_be_strings_in_any_order():
    d = [0.1, -0.2, 0.3, 0.0]
    assert cluster_interval(d, ["b", "a", "b", "a"]) == cluster_interval(d, [7, 2, 7, 2])


def test_interval_and_test_say_the_same():
    random = np.random.default_rng(8)
    for _ in range(50):
        d, groups = clustered_differences(random, groups=12, size=3, icc=0.2, sd=0.15, mean=0.0)
        low = cluster_interval(d, groups, level=0.90).low
        assert (low >= -0.05) == (cluster_test(d, groups, margin=0.05) <= 0.05)


@pytest.mark.parametrize("test", [cluster_test, lambda d, g, margin: cluster_pass_test(d, g, margin=margin, seed=1)])
@pytest.mark.parametrize(("d", "groups"), [([], []), ([0.0] * 500, [1] * 500), ([0.1], ["a"])])
def test_fewer_than_two_groups_never_pass(test, d, groups):
    assert test(d, groups, margin=0.05) == 1.0
    mean = cluster_interval(d, groups)
    assert (mean.low, mean.high, mean.df) == (-1.0, 1.0, 0)


@pytest.mark.parametrize("value", [0.0, 0.1, -0.02, 1 / 3])
def test_groups_without_spread_are_not_certainty_to_the_t_test(value):
    assert cluster_test([value] * 90, np.arange(90) // 3, margin=0.05) == 1.0


def test_identical_runs_pass_by_bb1_alone_once_there_are_enough():
    def p(samples):
        return cluster_pass_test([0.0] * samples, np.arange(samples) // 2, margin=0.05, seed=3)

    assert p(80) < 0.05
    assert p(40) > 0.05


def test_almost_no_spread_is_held_back_by_bb1():
    d = [0.0] * 39 + [-0.001]
    groups = np.arange(40) // 2
    assert cluster_test(d, groups, margin=0.05) < 1e-6
    assert cluster_pass_test(d, groups, margin=0.05, seed=1) > 0.05


def test_the_t_test_holds_back_groups_that_differ():
    random = np.random.default_rng(2)
    d, groups = clustered_differences(random, groups=10, size=20, icc=0.6, sd=0.25, mean=-0.01)
    p = cluster_pass_test(np.clip(d, -1, 1), groups, margin=0.05, seed=1)
    assert p == pytest.approx(cluster_test(np.clip(d, -1, 1), groups, margin=0.05))


def test_false_pass_at_the_margin_is_held_where_ignoring_groups_is_not():
    random = np.random.default_rng(11)
    runs, ours, ignoring = 800, 0, 0
    for seed in range(runs):
        d, groups = clustered_differences(random, groups=20, size=10, icc=0.3, sd=0.3, mean=-0.05)
        d = np.clip(d, -1, 1)
        ours += cluster_pass_test(d, groups, margin=0.05, seed=seed, draws=999) <= 0.05
        ignoring += bb1_test(d, np.ones(len(d)), margin=0.05, seed=seed, draws=999) <= 0.05
    assert ours / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert ignoring / runs > 0.10


@pytest.mark.parametrize("test", [cluster_test, lambda d, g, margin: cluster_pass_test(d, g, margin=margin, seed=1)])
def test_bad_input_is_refused_by_name(test):
    with pytest.raises(ValueError, match=r"^d: got nan"):
        test([0.0, float("nan")], [1, 2], margin=0.05)
    with pytest.raises(ValueError, match=r"^groups: got shape"):
        test([0.0, 0.1], [1], margin=0.05)
    with pytest.raises(ValueError, match=r"^margin: got 5"):
        test([0.0, 0.1], [1, 2], margin=5)


def test_a_level_in_percent_is_refused():
    with pytest.raises(ValueError, match=r"^level: got 90"):
        cluster_interval([0.0, 0.1], [1, 2], level=90)
