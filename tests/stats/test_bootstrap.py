"""BB-1: exact where answers only break, safe elsewhere, and the same from test and interval."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy.stats import binom, ttest_1samp

from aigate.stats import bootstrap
from aigate.stats.bootstrap import bb1_interval, bb1_test, mean_interval
from aigate.stats.intervals import wilson_interval

MARGIN = 0.05


@pytest.fixture
def always_drawn(monkeypatch):
    """Without the closed forms, so that the draws themselves are tested."""
    monkeypatch.setattr(bootstrap, "_beta_law", lambda *_, **__: None)


def broken(k, n):
    return np.repeat([-1.0, 0.0], [k, n - k])


def reference_means(sums, sizes, *, end, mass, size, draws, seed):
    """The formula of the module, written out."""
    random = np.random.default_rng(seed)
    w = random.exponential(size=(draws, len(sums)))
    w0 = random.gamma(mass, size=draws)
    return ((w * sums).sum(axis=1) + w0 * size * end) / ((w * sizes).sum(axis=1) + w0 * size)


def standard_error(p, draws):
    return math.sqrt(p * (1 - p) / draws)


def test_fifty_nine_samples_without_a_difference_pass_at_five_points_and_fifty_eight_do_not():
    assert bb1_test(np.zeros(59), np.ones(59), margin=MARGIN, seed=1) == pytest.approx(0.95**59)
    assert bb1_test(np.zeros(58), np.ones(58), margin=MARGIN, seed=1) == pytest.approx(0.95**58)


@pytest.mark.parametrize(("k", "n"), [(0, 59), (1, 59), (1, 100), (4, 200), (30, 40)])
def test_pure_breakage_is_clopper_pearson(k, n):
    assert bb1_test(broken(k, n), np.ones(n), margin=MARGIN, seed=1) == pytest.approx(binom.cdf(k, n, MARGIN))


@pytest.mark.usefixtures("always_drawn")
@pytest.mark.parametrize(("k", "n"), [(0, 59), (1, 59), (4, 200)])
def test_draws_agree_with_the_closed_form(k, n):
    exact, draws = binom.cdf(k, n, MARGIN), 40_000
    drawn = bb1_test(broken(k, n), np.ones(n), margin=MARGIN, seed=5, draws=draws)
    assert abs(drawn - exact) < 4 * standard_error(exact, draws)


@pytest.mark.parametrize("size", [1.0, 3.0, 0.5])
@pytest.mark.parametrize("value", [0.0, -0.02, 0.3])
def test_equal_units_of_any_size_agree_with_the_formula(value, size):
    sums, sizes = np.full(25, value * size), np.full(25, size)
    means = reference_means(sums, sizes, end=-1.0, mass=1.0, size=2.0, draws=200_000, seed=3)
    expected = np.count_nonzero(means <= -MARGIN) / len(means)
    p = bb1_test(sums, sizes, margin=MARGIN, seed=1, pseudo_size=2.0)
    assert p == pytest.approx(expected, abs=4 * standard_error(max(expected, 1e-4), 200_000))
    low, high = bb1_interval(sums, sizes, seed=1, pseudo_size=2.0)
    assert low == pytest.approx(np.quantile(means, 0.05), abs=3e-3)
    upper = reference_means(sums, sizes, end=1.0, mass=1.0, size=2.0, draws=200_000, seed=4)
    assert high == pytest.approx(np.quantile(upper, 0.95), abs=3e-3)


@pytest.mark.parametrize("mass", [1.0, 0.5])
def test_unequal_groups_agree_with_the_formula(mass):
    random = np.random.default_rng(2)
    sizes = random.integers(1, 9, 30).astype(float)
    sums = sizes * random.uniform(-0.32, 0.2, 30)
    means = reference_means(sums, sizes, end=-1.0, mass=mass, size=1.0, draws=100_000, seed=9)
    expected = np.count_nonzero(means <= -MARGIN) / len(means)
    assert 0.05 < expected < 0.95
    p = bb1_test(sums, sizes, margin=MARGIN, seed=1, draws=100_000, midp=mass == 0.5)
    assert abs(p - expected) < 4 * math.sqrt(2) * standard_error(expected, 100_000)
    low, high = bb1_interval(sums, sizes, seed=1, draws=100_000, midp=mass == 0.5)
    assert low == pytest.approx(np.quantile(means, 0.05), abs=2e-3)
    upper = reference_means(sums, sizes, end=1.0, mass=mass, size=1.0, draws=100_000, seed=8)
    assert high == pytest.approx(np.quantile(upper, 0.95), abs=2e-3)


def false_pass_on_pure_breakage(n, mass=1.0):
    p = [bb1_test(broken(k, n), np.ones(n), margin=MARGIN, seed=1, midp=mass == 0.5) for k in range(n // 2)]
    return sum(binom.pmf(k, n, MARGIN) for k, p_k in enumerate(p) if p_k <= 0.05)


def test_exact_false_pass_on_pure_breakage_never_exceeds_alpha():
    rates = [false_pass_on_pure_breakage(n) for n in range(20, 601, 7)]
    assert max(rates) <= 0.05
    assert max(rates) > 0.045


def test_half_a_pseudo_case_has_the_worst_case_its_docstring_tells():
    assert 100 * false_pass_on_pure_breakage(38, mass=0.5) == pytest.approx(14.2, abs=0.1)
    assert 100 * max(false_pass_on_pure_breakage(n, mass=0.5) for n in range(59, 601)) == pytest.approx(9.7, abs=0.1)


def test_rare_breakage_of_graded_scores_ships_a_true_drop_at_most_as_often_as_alpha():
    random = np.random.default_rng(12)
    runs, n, passed, passed_by_t = 1_000, 100, 0, 0
    for seed in range(runs):
        score = random.uniform(0.8, 1.0, n)
        breaks = random.random(n) < MARGIN / 0.9
        d = np.where(breaks, -score, random.normal(0.0, 0.01, n))
        passed += bb1_test(np.clip(d, -1, 1), np.ones(n), margin=MARGIN, seed=seed, draws=999) <= 0.05
        passed_by_t += ttest_1samp(d, -MARGIN, alternative="greater").pvalue <= 0.05
    assert passed / runs <= 0.05 + 3 * standard_error(0.05, runs)
    assert passed_by_t / runs > 0.08


@pytest.mark.parametrize("d", [0.0, -0.02])
def test_thirty_equal_differences_are_no_certainty_as_they_are_to_the_t_test(d):
    nearly_equal = np.full(30, d)
    nearly_equal[0] += 1e-9
    assert ttest_1samp(nearly_equal, -MARGIN, alternative="greater").pvalue < 1e-10
    assert bb1_test(np.full(30, d), np.ones(30), margin=MARGIN, seed=1) > 0.2
    assert bb1_test(nearly_equal, np.ones(30), margin=MARGIN, seed=1) > 0.2


def test_a_drop_beyond_the_margin_in_every_sample_never_passes():
    assert bb1_test(np.full(500, -0.06), np.ones(500), margin=MARGIN, seed=1) == 1.0
    assert bb1_test(np.full(500, -1.0), np.ones(500), margin=MARGIN, seed=1) == 1.0


@pytest.mark.parametrize("draws", [999, 20_000])
def test_interval_and_test_say_the_same(draws):
    random = np.random.default_rng(7)
    decisions = set()
    for seed in range(60):
        sizes = random.integers(1, 4, 60).astype(float)
        sums = sizes * random.normal(-0.01, 0.12, 60).clip(-1, 1)
        low, high = bb1_interval(sums, sizes, seed=seed, draws=draws)
        passes = bb1_test(sums, sizes, margin=MARGIN, seed=seed, draws=draws) <= 0.05
        assert (low > -MARGIN) == passes
        assert low < sums.sum() / sizes.sum() < high
        decisions.add(passes)
    assert decisions == {True, False}


def test_p_is_never_zero_and_draws_too_few_for_the_level_give_the_whole_side():
    d = np.linspace(0.4, 0.6, 300)
    assert bb1_test(d, np.ones(300), margin=MARGIN, seed=1, draws=99) == 0.01
    assert bb1_interval(d, np.ones(300), level=0.99, seed=1, draws=99) == (-1.0, 1.0)


def test_same_seed_same_answer_whatever_the_order_of_the_units():
    random = np.random.default_rng(3)
    sums, sizes = random.uniform(-0.4, 0.4, 80), np.ones(80)
    order = random.permutation(80)
    p = bb1_test(sums, sizes, margin=0.01, seed=4)
    assert bb1_test(sums[order], sizes, margin=0.01, seed=4) == p
    assert bb1_test(sums, sizes, margin=0.01, seed=5) != p


def test_a_pseudo_case_of_a_whole_group_is_stricter():
    sums, sizes = np.append(np.zeros(79), -0.5), np.full(80, 5.0)
    strict, default = (bb1_test(sums, sizes, margin=MARGIN, seed=1, pseudo_size=c) for c in (5.0, 1.0))
    assert default < 0.001 < strict


@pytest.mark.parametrize("sizes", [np.ones(9_000), np.tile([1.0, 2.0, 5.0], 3_000)])
def test_very_many_units_give_the_bounds_that_single_weights_give(monkeypatch, sizes):
    random = np.random.default_rng(6)
    sums = sizes * random.uniform(-0.5, 0.5, len(sizes)) ** 3
    on_grid = bb1_interval(sums, sizes, seed=1, draws=4_000)
    monkeypatch.setattr(bootstrap, "MOST_ATOMS", len(sizes))
    one_by_one = bb1_interval(sums, sizes, seed=2, draws=4_000)
    width = one_by_one[1] - one_by_one[0]
    assert on_grid == pytest.approx(one_by_one, abs=0.04 * width)


def test_the_grid_of_very_many_units_keeps_their_mean():
    # All of them at the same place between two points of the grid.
    d = (100 + np.linspace(0.05, 0.15, 9_000)) / bootstrap.GRID_STEPS
    low, high = bb1_interval(d, np.ones(9_000), seed=1, draws=2_000)
    assert low == pytest.approx(d.mean() - 3 / 9_000 * (1 + d.mean()), abs=5e-5)
    assert high == pytest.approx(d.mean() + 3 / 9_000 * (1 - d.mean()), abs=5e-5)


def test_blocks_of_draws_do_not_change_the_law(monkeypatch):
    sums = np.random.default_rng(1).uniform(-0.3, 0.25, 50)
    whole = bb1_test(sums, np.ones(50), margin=MARGIN, seed=1)
    monkeypatch.setattr(bootstrap, "BLOCK_BYTES", 8 * 50 * 7)
    assert bb1_test(sums, np.ones(50), margin=MARGIN, seed=1) == whole


@pytest.mark.parametrize("level", [None, 0.05])
def test_a_draw_that_is_the_margin_itself_counts_against_a_pass(level):
    # Every unit lost exactly the margin, and the pseudo-case weighs too little to move a mean.
    sizes = np.tile([1.0, 2.0, 4.0], 20)
    assert bb1_test(-0.5 * sizes, sizes, margin=0.5, seed=1, pseudo_size=1e-30, level=level) == 1.0
    assert bb1_test(-0.5 * sizes + 1e-9, sizes, margin=0.5, seed=1, pseudo_size=1e-30, draws=999) == 0.001


def test_fifty_thousand_different_units_are_drawn_in_blocks_of_few_megabytes():
    sums = np.random.default_rng(8).uniform(-0.5, 0.5, 50_000)
    tracemalloc.start()
    try:
        p = bb1_test(sums, np.ones(50_000), margin=0.003, seed=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.0 < p < 1.0
    assert peak < 100 * 2**20


def test_fifty_thousand_different_units_are_drawn_as_the_points_of_a_grid():
    sums = np.random.default_rng(8).uniform(-0.5, 0.5, 50_000)
    rows, counts = bootstrap._atoms(bootstrap._Units(sums, np.ones(50_000)))
    assert len(rows) <= bootstrap.GRID_STEPS + 1
    assert counts is not None
    assert counts.sum() == pytest.approx(50_000)
    assert counts @ rows == pytest.approx([sums.sum(), 50_000])


def test_nothing_to_judge_never_passes():
    assert bb1_test([], [], margin=MARGIN, seed=1) == 1.0
    assert bb1_interval([], [], seed=1) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"unit_sums": [0.0, float("nan")]}, "unit_sums"),
        ({"unit_sums": [0.0, -1.5]}, "unit_sums"),
        ({"unit_sizes": [1.0]}, "unit_sizes"),
        ({"unit_sizes": [1.0, 0.0]}, "unit_sizes"),
        ({"unit_sizes": [1.0, float("inf")]}, "unit_sizes"),
        ({"margin": 5}, "margin"),
        ({"margin": -0.1}, "margin"),
        ({"draws": 0}, "draws"),
        ({"pseudo_size": float("nan")}, "pseudo_size"),
    ],
)
def test_bad_input_is_refused_by_name(change, name):
    given = {"unit_sums": [0.0, 0.1], "unit_sizes": [1.0, 1.0], "margin": MARGIN, "draws": 99} | change
    with pytest.raises(ValueError, match=f"^{name}: got"):
        bb1_test(given.pop("unit_sums"), given.pop("unit_sizes"), seed=1, **given)


def test_mean_of_independent_right_and_wrong_is_wilsons():
    values = [1.0] * 45 + [0.0] * 5
    assert mean_interval(values, level=0.9) == pytest.approx(wilson_interval(45, 50, level=0.9))
    assert mean_interval(values, np.arange(50), level=0.9) == mean_interval(values, level=0.9)


def test_mean_of_right_and_wrong_in_groups_is_wider():
    values = np.repeat([1.0, 0.0], [45, 5])
    single, grouped = mean_interval(values), mean_interval(values, np.arange(50) // 5)
    assert grouped[0] < single[0]
    assert grouped[1] > single[1]


def test_mean_of_all_perfect_groups_is_not_certain():
    low, high = mean_interval(np.ones(40), np.arange(40) // 4)
    assert 0.8 < low < 0.99
    assert high == 1.0


def test_mean_of_graded_scores_covers_the_truth_on_either_side():
    random = np.random.default_rng(21)
    runs, below, above = 600, 0, 0
    for seed in range(runs):
        low, high = mean_interval(random.beta(8, 1, 40), level=0.90, seed=seed, draws=999)
        below, above = below + (low > 8 / 9), above + (high < 8 / 9)
    assert below / runs <= 0.05 + 3 * standard_error(0.05, runs)
    assert above / runs <= 0.05 + 3 * standard_error(0.05, runs)
    assert below + above > 0


def test_mean_on_another_scale_is_the_same_interval():
    values = np.random.default_rng(5).uniform(size=50)
    low, high = mean_interval(values)
    assert mean_interval(1 + 4 * values, worst=1.0, best=5.0) == pytest.approx((1 + 4 * low, 1 + 4 * high))


def test_no_scores_know_nothing():
    assert mean_interval([]) == (0.0, 1.0)
    assert mean_interval([], [], worst=-1.0) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "options", "name"),
    [
        ([0.5, float("inf")], {}, "values"),
        ([0.5, 1.2], {}, "values"),
        ([0.5], {"worst": 1.0}, "worst, best"),
        ([0.5], {"level": 95}, "level"),
        ([0.5], {"groups": [1, 2]}, "groups"),
    ],
)
def test_bad_scores_are_refused_by_name(values, options, name):
    with pytest.raises(ValueError, match=f"^{name}: got"):
        mean_interval(values, **options)
