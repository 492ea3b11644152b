"""The relabelling test: exact against enumeration, exact under A/A, ties counted, families held."""

import math
import tracemalloc
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, permutation_test

from aigate.stats import relabel
from aigate.stats.relabel import TrialUnit, relabel_test


def paired(candidate, baseline):
    """One unit per row, one trial each; columns are hypotheses."""
    c, b = (np.asarray(x, dtype=float).reshape(len(x), 1, 1, -1) for x in (candidate, baseline))
    return [TrialUnit(c_u, b_u, np.ones((1, c.shape[-1]))) for c_u, b_u in zip(c, b, strict=True)]


def differing(d):
    return paired(d, np.zeros_like(np.asarray(d, dtype=float)))


def trials(candidate, baseline):
    """One unit per row of shape (units, K), a single hypothesis."""
    return [TrialUnit(c[None, :, None], b[None, :, None], [[1.0]]) for c, b in zip(candidate, baseline, strict=True)]


def error_bound(rate, runs):
    return rate + 3 * math.sqrt(rate * (1 - rate) / runs)


def enumerated(columns, k_c):
    """Exact p of total and of the standardised statistic (maxT), from fractions.

    `columns` is units x K x M of fractions, the candidate's k_c first.
    """
    k = len(columns[0])
    choices = [list(combinations(range(k), k_c)) for _ in columns]

    def unit_sum(unit, chosen, m):
        c = sum((unit[i][m] for i in chosen), Fraction(0)) / k_c
        b = sum((unit[i][m] for i in range(k) if i not in chosen), Fraction(0)) / (k - k_c)
        return c - b

    def statistics(labels):
        sums = [
            [unit_sum(u, chosen, m) for u, chosen in zip(columns, labels, strict=True)]
            for m in range(len(columns[0][0]))
        ]
        totals = [sum(s) for s in sums]
        squares = [sum(x * x for x in s) for s in sums]
        # The sign times the square of T / sqrt(Q) orders as T / sqrt(Q) does, and stays a fraction.
        return totals, [(t * abs(t) / q if q else Fraction(0)) for t, q in zip(totals, squares, strict=True)]

    observed_totals, observed_z = statistics([tuple(range(k_c))] * len(columns))
    drawn = [statistics(labels) for labels in product(*choices)]
    p = [sum(totals[m] <= t for totals, _ in drawn) / len(drawn) for m, t in enumerate(observed_totals)]
    family = [sum(min(z) <= z_m for _, z in drawn) / len(drawn) for z_m in observed_z]
    return np.array(p), np.array(family)


thirds = st.integers(-3, 3).map(lambda i: Fraction(i, 3))


@given(d=st.lists(thirds, min_size=1, max_size=8))
def test_few_units_are_enumerated_exactly(d):
    result = relabel_test(differing([float(x) for x in d]), seed=1)
    p, _ = enumerated([[[x], [Fraction(0)]] for x in d], 1)
    assert result.exact
    assert result.p[0] == pytest.approx(p[0], abs=1e-15)
    assert result.draws == 2 ** sum(x != 0 for x in d)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(thirds, thirds, thirds), min_size=1, max_size=7))
def test_family_of_few_units_is_enumerated_exactly(rows):
    result = relabel_test(differing([[float(x) for x in row] for row in rows]), seed=1)
    p, family = enumerated([[row, (Fraction(0),) * 3] for row in rows], 1)
    assert result.p == pytest.approx(p, abs=1e-15)
    assert result.p_adjusted == pytest.approx(np.maximum(p, family), abs=1e-15)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scipy_permutation_test(seed):
    random = np.random.default_rng(seed)
    candidate, baseline = random.normal(-0.3, 1.0, 10), random.normal(0.0, 1.0, 10)
    oracle = permutation_test(
        (candidate, baseline),
        lambda c, b, axis: np.mean(c - b, axis=axis),
        permutation_type="samples",
        alternative="less",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert relabel_test(paired(candidate, baseline), seed=1).p[0] == pytest.approx(oracle.pvalue, abs=1e-12)


@pytest.mark.parametrize("table_cells", [relabel.MOST_TABLE_CELLS, 0], ids=["table", "no table"])
@pytest.mark.parametrize(("k_c", "k_b"), [(1, 2), (2, 1), (2, 2)])
def test_several_trials_agree_with_full_enumeration(monkeypatch, table_cells, k_c, k_b):
    monkeypatch.setattr(relabel, "MOST_TABLE_CELLS", table_cells)
    random = np.random.default_rng(10 * k_c + k_b)
    columns = [
        [[Fraction(int(x), 3) for x in row] for row in unit] for unit in random.integers(0, 4, (4, k_c + k_b, 2))
    ]
    scores = np.array(columns, dtype=float)[:, None]
    units = [TrialUnit(s[:, :k_c], s[:, k_c:], [[1.0, 1.0]]) for s in scores]
    p, family = enumerated(columns, k_c)
    result = relabel_test(units, seed=3, draws=40_000, max_draws=0)
    assert not result.exact
    allowed = 4.5 * np.sqrt(p * (1 - p) / 40_000) + 1e-4
    assert (np.abs(result.p - p) <= allowed).all()
    assert (np.abs(result.p_adjusted - np.maximum(p, family)) <= 4.5 * 0.5 / 200).all()


def test_ties_count_and_naive_arithmetic_would_lose_them():
    # 30 differences of a tenth: T is a tenth of a sum of signs, so p is binomial, and a fifth of it is the tie.
    d = np.repeat([-0.1, 0.1], [19, 11])
    exact = binom.cdf(11, 30, 0.5)
    strict = binom.cdf(10, 30, 0.5)
    random = np.random.default_rng(0)
    signs = random.choice([-1.0, 1.0], (90_000, 30)).astype(np.float32)
    naive = np.mean((signs * d.astype(np.float32)).sum(axis=1) <= d.sum() + 1e-9)
    assert naive < exact - 5 * math.sqrt(exact * (1 - exact) / 90_000)
    ours = relabel_test(differing(d), seed=1).p[0]
    se = math.sqrt(exact * (1 - exact) / 9_999)
    assert abs(ours - exact) < 4 * se
    assert abs(ours - strict) > 5 * se


@pytest.mark.parametrize("scale", [1.0, 1 / 3, 0.1, 1e-4, 1e12 / 3])
def test_ties_survive_any_scale_of_the_scores(scale):
    d = np.repeat([-2.0, -1.0, 1.0], [10, 30, 28])
    columns = np.column_stack([d, np.where(np.arange(68) % 3, d, 0.0)])
    scaled, whole = (relabel_test(differing(x), seed=2) for x in (columns * scale, columns))
    assert scaled.p.tolist() == whole.p.tolist()
    assert scaled.p_adjusted.tolist() == whole.p_adjusted.tolist()


def test_ties_of_thirds_with_several_trials_survive():
    random = np.random.default_rng(3)
    whole = random.integers(0, 4, (25, 4)).astype(float)
    as_thirds, as_whole = (relabel_test(trials(x[:, :1], x[:, 1:]), seed=2) for x in (whole / 3, whole))
    assert as_thirds.p[0] == as_whole.p[0]
    assert as_thirds.p_adjusted[0] == as_whole.p_adjusted[0]


def test_means_that_are_equal_but_for_rounding_are_equal():
    # 2/3 against the mean of 1/3 and 1.
    result = relabel_test(trials(np.full((30, 1), 2 / 3), np.tile([1 / 3, 1.0], (30, 1))), seed=1)
    assert result.statistic.tolist() == result.standardised.tolist() == [0.0]


def false_block_rate(make_units, *, runs, **options):
    blocked = [
        relabel_test(make_units(), seed=seed, draws=199, max_draws=0, **options).p_adjusted for seed in range(runs)
    ]
    return np.mean([p.min() <= 0.05 for p in blocked])


def test_false_block_under_no_change_is_alpha_for_right_and_wrong():
    random = np.random.default_rng(100)

    def units():
        p = random.beta(2, 2, 40)
        return paired(*(random.random((2, 40)) < p).astype(float))

    rate = false_block_rate(units, runs=1_500)
    assert 0.02 <= rate <= error_bound(0.05, 1_500)


def test_false_block_with_five_stored_trials_and_one_new_is_alpha():
    random = np.random.default_rng(101)

    def units():
        p = random.beta(8, 1, 30)[:, None]
        return trials((random.random((30, 1)) < p).astype(float), (random.random((30, 5)) < p).astype(float))

    rate = false_block_rate(units, runs=1_500)
    assert 0.02 <= rate <= error_bound(0.05, 1_500)


def test_false_block_with_groups_is_alpha_where_ignoring_them_is_not():
    random = np.random.default_rng(102)
    ignoring = []

    def units():
        c, b = (random.normal(0, 1, (10, 1)) + random.normal(0, 1, (10, 8)) for _ in range(2))
        ignoring.append(relabel_test(paired(c.reshape(-1), b.reshape(-1)), seed=1, draws=199, max_draws=0).p[0] <= 0.05)
        return [TrialUnit(x[:, None, None], y[:, None, None], np.ones((8, 1))) for x, y in zip(c, b, strict=True)]

    rate = false_block_rate(units, runs=1_000)
    assert 0.02 <= rate <= error_bound(0.05, 1_000)
    assert np.mean(ignoring) > 0.15


@pytest.mark.parametrize("stored", [1, 3])
def test_false_block_of_a_family_is_alpha_where_single_tests_are_not(stored):
    random = np.random.default_rng(103)
    mask = np.array([[1.0, 1.0, 1.0, s % 2, s % 2, (s + 1) % 2] for s in range(30)])
    single = []

    def units():
        common = random.normal(0, 0.3, (30, 1 + stored, 1))
        score = common + random.normal(0, 1, (30, 1 + stored, 6))
        made = [TrialUnit(x[None, :1], x[None, 1:], m[None]) for x, m in zip(score, mask, strict=True)]
        single.append(relabel_test(made, seed=1, draws=199, max_draws=0).p.min() <= 0.05)
        return made

    rate = false_block_rate(units, runs=600)
    assert 0.02 <= rate <= error_bound(0.05, 600)
    assert np.mean(single) > 0.10


def test_stored_trials_and_groups_of_unequal_sizes_hold_alpha_together():
    random = np.random.default_rng(104)

    def units():
        made = []
        for size, k_c, k_b in [(1, 1, 1), (4, 1, 5), (2, 3, 5), (6, 1, 5), (3, 2, 1)] * 3:
            level = random.normal(0, 1, (size, 1, 1))
            c, b = (random.normal(0, 1, (1, k, 1)) + level + random.normal(0, 1, (size, k, 1)) for k in (k_c, k_b))
            made.append(TrialUnit(c, b, np.ones((size, 1))))
        return made

    rate = false_block_rate(units, runs=600)
    assert 0.02 <= rate <= error_bound(0.05, 600)


def test_a_real_drop_is_found_and_a_gain_is_not_blocked():
    random = np.random.default_rng(5)
    baseline = (random.random(200) < 0.9).astype(float)
    worse = np.where(random.random(200) < 0.12, 0.0, baseline)
    assert relabel_test(paired(worse, baseline), seed=1).p_adjusted[0] < 0.01
    assert relabel_test(paired(baseline, worse), seed=1).p_adjusted[0] > 0.99


def test_the_family_names_the_hypothesis_that_dropped():
    random = np.random.default_rng(6)
    candidate = random.normal(0, 1, (120, 5))
    candidate[:, 3] -= 0.6
    result = relabel_test(paired(candidate, np.zeros((120, 5))), seed=1)
    assert result.p_adjusted.argmin() == 3
    assert result.p_adjusted[3] < 0.01
    assert (np.delete(result.p_adjusted, 3) > 0.05).all()
    assert (result.p_adjusted >= result.p).all()


def test_the_mask_says_which_samples_belong_to_a_hypothesis():
    candidate, baseline = np.zeros((3, 1, 2)), np.array([1.0, 0.5, 0.25])[:, None, None] * np.ones((3, 1, 2))
    unit = TrialUnit(candidate, baseline, [[1, 0], [1, 1], [0, 1]])
    assert relabel_test([unit], seed=1).statistic.tolist() == [-1.5, -0.75]


def test_statistics_are_totals_of_differences_of_means():
    unit = TrialUnit([[[0.0], [1.0]]], [[[1.0], [1.0], [0.5]]], [[1.0]])
    other = TrialUnit([[[0.25]]], [[[1.0]]], [[1.0]])
    result = relabel_test([unit, other], seed=1)
    t = (0.5 - 2.5 / 3, -0.75)
    assert result.statistic[0] == pytest.approx(sum(t), abs=1e-9)
    assert result.standardised[0] == pytest.approx(sum(t) / math.hypot(*t), abs=1e-8)


def test_a_single_hypothesis_needs_no_adjustment():
    random = np.random.default_rng(8)
    for _ in range(20):
        result = relabel_test(trials(random.random((30, 1)) ** 4, random.random((30, 5))), seed=1, draws=999)
        assert result.p_adjusted[0] == result.p[0]


def test_same_data_and_seed_same_answer():
    units = differing(np.random.default_rng(9).normal(0, 1, 40))
    p = relabel_test(units, seed=1).p[0]
    assert relabel_test(units, seed=1).p[0] == p
    assert relabel_test(units, seed=2).p[0] != p


def test_a_p_close_to_alpha_is_drawn_again_with_more_relabellings():
    lost, gained = 13, 5
    close = relabel_test(differing([-1.0] * lost + [1.0] * gained), seed=1)
    exact = binom.cdf(gained, lost + gained, 0.5)
    assert abs(exact - 0.05) < 0.0065
    assert close.draws == 99_999
    assert abs(close.p[0] - exact) < 4 * math.sqrt(exact / 99_999)
    assert relabel_test(differing([-1.0] * 18), seed=1).draws == 9_999
    assert relabel_test(differing([-1.0] * lost + [1.0] * gained), seed=1, max_draws=0).draws == 9_999


def test_sixteen_units_that_differ_are_enumerated_and_seventeen_are_drawn():
    unchanged = [0.0] * 50
    sixteen = relabel_test(differing([-1.0] * 16 + unchanged), seed=1)
    seventeen = relabel_test(differing([-1.0] * 17 + unchanged), seed=1)
    assert (sixteen.exact, sixteen.p[0]) == (True, 2.0**-16)
    assert (seventeen.exact, seventeen.p[0]) == (False, 1e-4)


@pytest.mark.parametrize("k_b", [1, 5])
def test_identical_runs_never_block(k_b):
    result = relabel_test(trials(np.ones((80, 1)), np.ones((80, k_b))), seed=1)
    assert result.p.tolist() == result.p_adjusted.tolist() == [1.0]
    assert result.standardised.tolist() == [0.0]


def test_a_hypothesis_without_any_difference_has_p_one_beside_one_that_drops():
    d = np.column_stack([np.full(60, -1.0), np.zeros(60)])
    result = relabel_test(differing(d), seed=1)
    assert result.p.tolist() == [1e-4, 1.0]
    assert result.p_adjusted.tolist() == [1e-4, 1.0]


def test_units_without_samples_and_no_units_at_all_never_block():
    empty = TrialUnit(np.zeros((0, 1, 2)), np.zeros((0, 1, 2)), np.zeros((0, 2)))
    assert relabel_test([empty], seed=1).p_adjusted.tolist() == [1.0, 1.0]
    assert relabel_test([], seed=1).p_adjusted.shape == (0,)


def test_rounding_of_large_scores_does_not_overflow_the_grid():
    random = np.random.default_rng(4)
    d = random.normal(-0.2, 1.0, 60)
    large = relabel_test(differing(d * 1e12), seed=1)
    assert large.p[0] == pytest.approx(relabel_test(differing(d), seed=1).p[0], abs=1e-3)
    assert large.statistic[0] == pytest.approx(d.sum() * 1e12, rel=1e-9)


def category_columns(baseline, candidate, categories):
    """For each category, whether an output has it."""
    return paired(candidate[:, None] == categories, baseline[:, None] == categories)


def test_two_sided_finds_a_category_that_gives_way_to_another_in_either_direction():
    random = np.random.default_rng(2)
    before = random.choice(4, 80, p=[0.6, 0.2, 0.1, 0.1])
    after = np.where((before == 0) & (random.random(80) < 0.5), 1, before)
    categories = np.arange(4)
    shift = relabel_test(category_columns(before, after, categories), seed=1, alternative="two-sided")
    back = relabel_test(category_columns(after, before, categories), seed=1, alternative="two-sided")
    assert (shift.p_adjusted[:2] < 0.001).all()
    assert (shift.p_adjusted[2:] == 1.0).all()
    assert back.p_adjusted == pytest.approx(shift.p_adjusted, abs=1e-12)
    one_sided = relabel_test(category_columns(before, after, categories), seed=1)
    assert one_sided.p_adjusted[0] < 0.001
    assert one_sided.p_adjusted[1] > 0.99


def test_two_sided_p_of_a_single_shift_is_twice_the_one_sided():
    d = [-1.0] * 7 + [1.0]
    less, both = (relabel_test(differing(d), seed=1, alternative=a) for a in ("less", "two-sided"))
    assert both.p[0] == 2 * less.p[0] == 2 * 9 / 256


def test_false_alarm_of_two_sided_shifts_is_alpha():
    random = np.random.default_rng(105)
    categories = np.arange(5)

    def units():
        before = random.choice(5, 40)
        before, after = (np.where(random.random(40) < 0.4, random.choice(5, 40), before) for _ in range(2))
        return category_columns(before, after, categories)

    rate = false_block_rate(units, runs=600, alternative="two-sided")
    assert 0.01 <= rate <= error_bound(0.05, 600)


def test_two_thousand_units_and_twenty_five_hypotheses_stay_below_two_hundred_megabytes():
    random = np.random.default_rng(1)
    score = random.integers(0, 2, (2_000, 6, 25)).astype(float)
    units = [TrialUnit(x[None, :1], x[None, 1:], np.ones((1, 25))) for x in score]
    tracemalloc.start()
    try:
        relabel_test(units, seed=1, draws=199, max_draws=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200e6


@pytest.mark.parametrize(
    ("candidate", "baseline", "mask", "message"),
    [
        ([[[float("nan")]]], [[[0.0]]], [[1.0]], r"^candidate: got nan at \[0, 0, 0\]"),
        ([[[0.0]]], [[[float("inf")]]], [[1.0]], r"^baseline: got inf"),
        ([[[0.0]]], [[[0.0]]], [[float("nan")]], r"^mask: got nan"),
        ([[0.0]], [[[0.0]]], [[1.0]], r"^candidate: got 2 axes"),
        (np.zeros((2, 1, 1)), np.zeros((1, 1, 1)), [[1.0]], r"^candidate, baseline, mask: got shapes"),
        (np.zeros((1, 1, 2)), np.zeros((1, 1, 1)), [[1.0]], r"^candidate, baseline, mask: got shapes"),
        (np.zeros((1, 0, 1)), np.zeros((1, 1, 1)), [[1.0]], r"^candidate, baseline: got no trials"),
    ],
)
def test_a_unit_that_does_not_fit_is_refused(candidate, baseline, mask, message):
    with pytest.raises(ValueError, match=message):
        TrialUnit(candidate, baseline, mask)


@pytest.mark.parametrize(
    ("options", "name"), [({"draws": 0}, "draws"), ({"alpha": 5}, "alpha"), ({"alternative": "greater"}, "alternative")]
)
def test_an_option_out_of_range_is_named(options, name):
    with pytest.raises(ValueError, match=f"^{name}: got"):
        relabel_test(differing([1.0]), seed=1, **options)


def test_units_with_different_hypotheses_are_refused():
    with pytest.raises(ValueError, match=r"^units: got units of \[1, 2\] hypotheses"):
        relabel_test(differing([1.0]) + differing([[1.0, 2.0]]), seed=1)
