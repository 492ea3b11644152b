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
from aigate.stats.relabel import TrialUnit, relabel_looks, relabel_looks_arrays, relabel_test


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


def relabelled(columns, k_c):
    """For every relabelling, the observed one first: totals, and sign(T) T² / var T, as fractions; units x K x M."""
    k = len(columns[0])
    choices = [list(combinations(range(k), k_c)) for _ in columns]
    hypotheses = range(len(columns[0][0]))

    def unit_sum(unit, chosen, m):
        c = sum((unit[i][m] for i in chosen), Fraction(0)) / k_c
        b = sum((unit[i][m] for i in range(k) if i not in chosen), Fraction(0)) / (k - k_c)
        return c - b

    variances = [
        sum(
            sum(unit_sum(u, chosen, m) ** 2 for chosen in which) / len(which)
            for u, which in zip(columns, choices, strict=True)
        )
        for m in hypotheses
    ]
    totals = [
        [sum(unit_sum(u, chosen, m) for u, chosen in zip(columns, labels, strict=True)) for m in hypotheses]
        for labels in product(*choices)
    ]
    # The sign times the square of T / sd orders as T / sd does, and stays a fraction.
    return totals, [
        [t * abs(t) / v if v else Fraction(0) for t, v in zip(row, variances, strict=True)] for row in totals
    ]


def enumerated(columns, k_c):
    """Exact p of each total, and of the standardised ones by step-down maxT."""
    totals, heights = relabelled(columns, k_c)
    share = len(totals)
    p = [sum(row[m] <= t for row in totals) / share for m, t in enumerate(totals[0])]
    family, so_far = np.zeros(len(p)), 0.0
    order = sorted(range(len(p)), key=lambda m: heights[0][m])
    for rank, m in enumerate(order):
        so_far = max(so_far, sum(min(row[j] for j in order[rank:]) <= heights[0][m] for row in heights) / share)
        family[m] = so_far
    return np.array(p), family


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


@pytest.mark.parametrize("listed", [relabel.MOST_CHOICES, 0], ids=["listed", "shuffled"])
@pytest.mark.parametrize(("k_c", "k_b"), [(1, 2), (2, 1), (2, 2)])
def test_several_trials_agree_with_full_enumeration(monkeypatch, listed, k_c, k_b):
    monkeypatch.setattr(relabel, "MOST_CHOICES", listed)
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
    total = 0.5 - 2.5 / 3 - 0.75
    choices = [np.mean(two) - (3.5 - sum(two)) / 3 for two in combinations([0.0, 1.0, 1.0, 1.0, 0.5], 2)]
    assert result.statistic[0] == pytest.approx(total, abs=1e-9)
    assert result.standardised[0] == pytest.approx(total / math.sqrt(np.var(choices) + 0.75**2), abs=1e-8)


def test_with_one_trial_each_standardised_is_over_the_root_of_squared_unit_sums():
    result = relabel_test(differing([-1.0, 0.5, -0.25]), seed=1)
    assert result.standardised[0] == pytest.approx(-0.75 / math.hypot(1.0, 0.5, 0.25), abs=1e-9)


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


def test_totals_of_very_many_samples_are_the_same_in_whatever_order_the_units_come():
    # Unit sums of 1e7 samples: on the finest grid their total would be beyond 2^53, and each addition would round.
    random = np.random.default_rng(1)
    sums = -random.integers(10**7, 5 * 10**7, (200, 2)) / 3

    def totals(order):
        (look,) = relabel_looks_arrays(sums[order], [200], spent=[0.05], seeds=[1], draws=9, max_draws=9)
        return look.statistic.tolist()

    found = {tuple(totals(random.permutation(200))) for _ in range(20)}
    assert found == {tuple(totals(np.arange(200)))}


@pytest.mark.parametrize("bound", [1.0, 2e6, 2.3e6, 1e7, 4e7, 3e15, 1e30])
def test_the_grid_is_the_finest_decimal_one_on_which_every_total_is_a_whole_number(bound):
    quanta = relabel._quanta_per_score(bound)
    assert bound * quanta <= 2.0**51
    assert quanta == 1e9 or 10 * bound * quanta > 2.0**51
    assert quanta == pytest.approx(10.0 ** round(math.log10(quanta)))


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
    ("choices", "units"), [(relabel.MOST_CHOICES, 100_000), (0, 3_000)], ids=["listed", "shuffled"]
)
def test_very_many_units_are_relabelled_in_blocks(monkeypatch, choices, units):
    """In one block it would be 54 MB for listed choices, and 294 MB for shuffled ones."""
    monkeypatch.setattr(relabel, "MOST_CHOICES", choices)
    d = np.random.default_rng(1).uniform(-1.0, 1.0, (units, 1))
    tracemalloc.start()
    try:
        relabel_looks_arrays(d, [units], spent=[0.05], seeds=[1], draws=1_999, max_draws=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40e6


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


# --- step-down --------------------------------------------------------------------------------------------------------


def test_stepping_down_names_what_a_single_step_would_miss():
    # A falls in 8 units of 8; B, in other units, in 7 of 8: p = 9/256, and beside A 1 - (1 - 9/256)² = 6.9 %.
    d = np.zeros((16, 2))
    d[:8, 0], d[8:, 1] = -1.0, [-1.0] * 7 + [1.0]
    result = relabel_test(differing(d), seed=1)
    single_step = 1 - (1 - 9 / 256) ** 2
    assert single_step > 0.05
    assert result.p_adjusted == pytest.approx([1 - (1 - 1 / 256) ** 2, 9 / 256], abs=1e-12)
    (look,) = relabel_looks([differing(d)], spent=[0.05], seeds=[1])
    assert look.blocked.tolist() == [True, True]


def test_stepping_down_never_ranks_a_smaller_drop_before_a_larger_one():
    random = np.random.default_rng(12)
    for seed in range(30):
        result = relabel_test(differing(random.normal(-0.2, 1.0, (40, 6))), seed=seed, draws=499, max_draws=0)
        assert (np.diff(result.p_adjusted[result.standardised.argsort()]) >= 0.0).all()


def test_hypotheses_that_look_alike_fall_together():
    d = np.random.default_rng(13).normal(-1.0, 1.0, 40)
    result = relabel_test(differing(np.column_stack([d, d, -d])), seed=1)
    assert result.p_adjusted[0] == result.p_adjusted[1]
    (look,) = relabel_looks([differing(np.column_stack([d, d, -d]))], spent=[0.05], seeds=[1])
    assert look.blocked.tolist() == [True, True, False]


# --- looks ------------------------------------------------------------------------------------------------------------

THIRDS_SPENT = (0.05 / 9, 0.05 * 4 / 9, 0.05)


def answers(looks):
    """All that looks say, comparable."""
    return [
        (r.p.tolist(), r.p_adjusted.tolist(), r.blocked.tolist(), r.statistic.tolist(), r.level, r.draws, r.exact)
        for r in looks
    ]


def killed_by_hand(heights, spent):
    """The look at which path 0 dies, or None: the kill rule word for word, on exact heights (looks x paths)."""
    paths, dead = len(heights[0]), set()
    for k, level in enumerate(spent):
        alive = sorted(set(range(paths)) - dead, key=lambda i: heights[k][i])
        for height in sorted({heights[k][i] for i in alive}):
            tied = [i for i in alive if heights[k][i] == height]
            if len(dead) + len(tied) > level * paths:
                break
            dead.update(tied)
        if 0 in dead:
            return k
    return None


def blocked_by_hand(columns, ends, spent):
    """What has fallen by each look, stepping down, over all relabellings."""
    looks = []
    for end in ends:
        _, heights = relabelled(columns[:end], 1)
        # A path of the whole is a path of the first units: those that come later vary fastest.
        looks.append([heights[i >> (len(columns) - end)] for i in range(2 ** len(columns))])
    members = list(range(len(columns[0][0])))
    while members:
        heights = [[min(row[m] for m in members) for row in look] for look in looks]
        if (k := killed_by_hand(heights, spent)) is None:
            break
        members.remove(min(members, key=lambda m: looks[k][0][m]))
    return [m not in members for m in range(len(columns[0][0]))]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_looks_at_few_units_follow_the_kill_rule_word_for_word(data):
    value = st.sampled_from([-3, -2, -1, -1, -1, 1, 2])
    units = data.draw(st.integers(3, 7))
    rows = data.draw(st.lists(st.tuples(value, value), min_size=units, max_size=units))
    ends = [*sorted(data.draw(st.lists(st.integers(1, units), min_size=1, max_size=2))), units]
    spent = np.sort(data.draw(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5]), min_size=3, max_size=3)))
    spent = spent[: len(ends)].tolist()
    d = np.array(rows) / 3
    columns = [[[Fraction(x, 3) for x in row], [Fraction(0)] * 2] for row in rows]
    looks = relabel_looks_arrays(d, ends, spent=spent, seeds=[1] * len(ends))
    so_far = np.zeros(2, dtype=bool)
    for k, look in enumerate(looks):
        assert look.exact
        so_far |= np.array(blocked_by_hand(columns[: ends[k]], ends[: k + 1], spent[: k + 1]))
        assert look.blocked.tolist() == so_far.tolist()


def test_a_group_of_ties_is_killed_whole_or_not_at_all_at_an_early_look_too():
    # In thirds, sums that are equal differ by a quantum; a part of a group killed at look 1 would change look 2.
    for rows, end, spent in [([-2, 3, 2, -1, -3], 3, [0.3, 0.5]), ([3, -2, -1, -1, 1, -2, 1], 4, [0.3, 0.5])]:
        columns = [[[Fraction(x, 3)], [Fraction(0)]] for x in rows]
        looks = relabel_looks_arrays(np.array(rows)[:, None] / 3, [end, len(rows)], spent=spent, seeds=[1, 2])
        assert looks[1].blocked.tolist() == blocked_by_hand(columns, [end, len(rows)], spent) == [True]


def test_what_was_enumerated_stays_fallen_when_later_looks_are_drawn():
    # p = 1/32 is exactly what look 1 may spend; among drawn paths it is above that as often as not.
    d = np.concatenate([np.full(5, -1.0), np.full(40, 1.0)])[:, None]
    for seed in range(12):
        looks = relabel_looks_arrays(d, [5, 45], spent=[1 / 32, 1 / 32], seeds=[seed, 99], max_draws=0)
        assert [look.exact for look in looks] == [True, False]
        assert [look.blocked[0] for look in looks] == [True, True]


def test_a_drawn_p_equal_to_alpha_blocks():
    # 0.29 * 100 is 28.999999999999996 in floating point, and 29 / 100 is 0.29.
    d = np.random.default_rng(26).normal(0.0, 1.0, (40, 1))
    d -= d.mean() + 0.09
    looks = [relabel_looks_arrays(d, [40], spent=[0.29], seeds=[s], draws=99, max_draws=0)[0] for s in range(200)]
    equal = [look for look in looks if look.p[0] == 0.29]
    assert equal
    assert all(look.blocked[0] for look in equal)


def test_totals_do_not_depend_on_the_order_of_the_units():
    random = np.random.default_rng(27)
    d = random.normal(0.0, 1.0, 200)
    totals = {relabel_test(differing(random.permutation(d)), seed=1, draws=9).statistic[0] for _ in range(20)}
    assert len(totals) == 1


def random_units(random, count, drop=0.0):
    """Units of several sizes and numbers of trials, three hypotheses."""
    made = []
    for _ in range(count):
        size, k_c, k_b = random.choice([(1, 1, 1), (2, 1, 1), (1, 1, 5), (2, 2, 3)])
        c, b = (random.integers(0, 4, (size, k, 3)) / 3 for k in (k_c, k_b))
        made.append(TrialUnit(c - drop, b, random.integers(0, 2, (size, 3))))
    return made


@pytest.mark.parametrize("drop", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("sizes", [(25, 25, 25), (3, 5, 40), (0, 12, 30), (30, 0, 30)])
def test_a_look_depends_on_nothing_that_comes_after_it(sizes, drop):
    random = np.random.default_rng(int(100 * drop) + sum(sizes))
    segments = [random_units(random, size, drop) for size in sizes]
    options = {"draws": 499, "max_draws": 1_999, "hypotheses": 3}
    whole = relabel_looks(segments, spent=THIRDS_SPENT, seeds=[5, 6, 7], **options)
    for seen in (1, 2):
        part = relabel_looks(segments[:seen], spent=THIRDS_SPENT[:seen], seeds=[5, 6, 7][:seen], **options)
        assert answers(part) == answers(whole)[:seen]


def test_what_comes_before_a_look_matters():
    d = np.random.default_rng(20).normal(-0.1, 1.0, 60)
    first = relabel_looks_arrays(d[:, None], [30, 60], spent=[0.01, 0.05], seeds=[1, 2])
    other = relabel_looks_arrays(d[:, None], [30, 60], spent=[0.01, 0.05], seeds=[3, 2])
    assert (first[0].p != other[0].p).all()
    assert (first[1].p != other[1].p).all()


def test_paths_are_whole():
    # Nothing joins at the second look: were its paths drawn afresh, p would move.
    units = differing(np.random.default_rng(21).normal(0.0, 1.0, 60))
    one, two = relabel_looks([units, []], spent=[0.01, 0.05], seeds=[1, 2])
    assert one.p.tolist() == two.p.tolist()
    # The second look undoes the first, path by path: T is 0 on every path that flips both alike, a coin's toss each.
    d = np.ones((17, 1))
    _, undone = relabel_looks_arrays(np.concatenate([d, -0.5 * d]), [17, 34], spent=[0.01, 0.05], seeds=[1, 1])
    assert undone.p[0] == pytest.approx(1.0, abs=1e-3)


def test_what_has_fallen_stays_fallen():
    d = np.concatenate([np.full(40, -1.0), np.full(60, 1.0)])[:, None]
    looks = relabel_looks_arrays(d, [40, 60, 100], spent=THIRDS_SPENT, seeds=[1, 2, 3])
    assert [look.blocked[0] for look in looks] == [True, True, True]
    assert looks[-1].p[0] > 0.9


def test_a_hypothesis_may_fall_later_than_another():
    random = np.random.default_rng(22)
    d = random.normal(0.0, 0.5, (120, 3))
    d[:, 1] -= 0.5
    d[40:, 2] -= 0.4
    looks = relabel_looks_arrays(d, [40, 80, 120], spent=THIRDS_SPENT, seeds=[1, 2, 3])
    assert [look.blocked.tolist() for look in looks] == [
        [False, True, False],
        [False, True, True],
        [False, True, True],
    ]


@pytest.mark.parametrize("drop", [0.0, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.29])
def test_one_look_agrees_with_the_test(alpha, drop):
    random = np.random.default_rng(23)
    samples = [random_units(random, 40, drop), differing(random.integers(-2, 2, (14, 3)) - drop)]
    samples += [differing(random.normal(-drop, 1.0, (40, 1))), random_units(random, 3, drop)]
    for units in samples:
        options = {"draws": 499, "max_draws": 1_999}
        test = relabel_test(units, seed=4, alpha=alpha, **options)
        (look,) = relabel_looks([units], spent=[alpha], seeds=[4], **options)
        assert look.p_adjusted.tolist() == test.p_adjusted.tolist()
        assert (look.draws, look.exact) == (test.draws, test.exact)
        assert look.blocked.tolist() == (test.p_adjusted <= alpha).tolist()


def test_p_equal_to_alpha_blocks():
    (look,) = relabel_looks_arrays([[-1.0]] * 5, [5], spent=[1 / 32], seeds=[1])
    assert look.blocked[0]
    (look,) = relabel_looks_arrays([[-1.0]] * 5, [5], spent=[1 / 32 - 1e-9], seeds=[1])
    assert not look.blocked[0]


def test_rows_of_an_array_agree_with_units():
    random = np.random.default_rng(24)
    d = random.normal(-0.2, 1.0, (60, 3)) * random.integers(0, 2, (60, 3))
    by_row = relabel_looks_arrays(d, [20, 40, 60], spent=THIRDS_SPENT, seeds=[1, 2, 3])
    by_unit = relabel_looks([differing(d[k : k + 20]) for k in (0, 20, 40)], spent=THIRDS_SPENT, seeds=[1, 2, 3])
    assert answers(by_row) == answers(by_unit)


def test_a_look_close_to_its_bound_and_all_later_ones_are_drawn_again():
    d = np.repeat([-1.0, 1.0], [13, 5])[:, None]  # p = 4.8 %
    more = np.tile([[-1.0], [1.0]], (20, 1))
    looks = relabel_looks_arrays(np.concatenate([more, d, more]), [40, 58, 98], spent=[0.01, 0.2, 0.3], seeds=[1, 2, 3])
    assert [look.draws for look in looks] == [9_999, 9_999, 9_999]
    near = float(looks[1].p[0])
    closer = relabel_looks_arrays(
        np.concatenate([more, d, more]), [40, 58, 98], spent=[0.01, near, 0.3], seeds=[1, 2, 3]
    )
    assert [look.draws for look in closer] == [9_999, 99_999, 99_999]
    assert answers(closer)[0] == answers(looks)[0]


def test_second_drawings_are_smaller_where_there_are_many_units_or_hypotheses(monkeypatch):
    monkeypatch.setattr(relabel, "MOST_CELLS", 1e5)
    d = np.tile(np.repeat([-1.0, 1.0], [13, 5]), 1)
    assert relabel_test(differing(d), seed=1, draws=999).draws == 5_555
    monkeypatch.setattr(relabel, "MOST_HEIGHTS", 3_000)
    assert relabel_test(differing(d), seed=1, draws=999).draws == 3_000


def test_enumeration_ends_when_more_than_sixteen_units_differ():
    d = np.full((30, 1), -1.0)
    looks = relabel_looks_arrays(d, [10, 16, 30], spent=[0.0001, 0.02, 0.05], seeds=[1, 2, 3])
    assert [(look.exact, look.draws) for look in looks] == [(True, 2**10), (True, 2**16), (False, 9_999)]
    assert [look.p[0] for look in looks] == [2.0**-10, 2.0**-16, 1e-4]
    assert [look.blocked[0] for look in looks] == [False, True, True]


def test_a_look_that_may_spend_nothing_blocks_nothing():
    looks = relabel_looks_arrays(np.full((60, 1), -1.0), [30, 60], spent=[0.0, 0.05], seeds=[1, 2])
    assert [look.blocked[0] for look in looks] == [False, True]
    assert [look.level for look in looks] == [0.0, 0.05]


def test_looks_before_the_first_unit_say_nothing_fell():
    empty, full = relabel_looks([[], differing(np.full((20, 2), -1.0))], spent=[0.01, 0.05], seeds=[1, 2])
    assert (empty.p.tolist(), empty.blocked.tolist()) == ([1.0, 1.0], [False, False])
    assert full.blocked.tolist() == [True, True]
    (alone,) = relabel_looks([[]], spent=[0.01], seeds=[1], hypotheses=2)
    assert answers([alone]) == answers([empty])
    assert relabel_looks([], spent=[], seeds=[]) == ()


def test_identical_runs_never_block_at_any_look():
    looks = relabel_looks_arrays(np.zeros((50, 3)), [25, 50], spent=[0.01, 0.05], seeds=[1, 2])
    assert all(look.p.tolist() == [1.0] * 3 and not look.blocked.any() for look in looks)


def test_p_is_never_zero_at_any_look():
    looks = relabel_looks_arrays(
        np.full((300, 2), -1.0), [100, 300], spent=[0.01, 0.05], seeds=[1, 2], draws=99, max_draws=0
    )
    assert [look.p.tolist() for look in looks] == [[0.01, 0.01], [0.01, 0.01]]


@pytest.mark.parametrize("scale", [1 / 3, 0.1, 1e-4, 1e12 / 3])
def test_ties_survive_any_scale_at_every_look(scale):
    random = np.random.default_rng(25)
    d = random.choice([-2.0, -1.0, 1.0], (90, 3)) * random.integers(0, 2, (90, 3))
    options = {"spent": THIRDS_SPENT, "seeds": [1, 2, 3]}
    whole, scaled = (relabel_looks_arrays(x, [30, 60, 90], **options) for x in (d, d * scale))
    for a, b in zip(whole, scaled, strict=True):
        assert a.p.tolist() == b.p.tolist()
        assert a.p_adjusted.tolist() == b.p_adjusted.tolist()
        assert a.blocked.tolist() == b.blocked.tolist()


def test_paths_that_tie_with_one_that_may_not_be_killed_live():
    # 20 differences of a third that differ in the last bit only: T takes 21 values, and P(T <= -10/3) is 2.1 %.
    # The bound is set within the group of paths that tie with the observed one.
    d = np.repeat([-1.0, 1.0], [15, 5])[:, None] / 3 * (1.0 + 1e-13 * np.arange(20)[:, None])
    below, upto = binom.cdf(4, 20, 0.5), binom.cdf(5, 20, 0.5)
    for share in (0.1, 0.5, 0.75):
        level = below + share * (upto - below)
        (look,) = relabel_looks_arrays(d, [20], spent=[level], seeds=[1], max_draws=0)
        assert not look.blocked[0]
    (look,) = relabel_looks_arrays(d, [20], spent=[upto * 1.25], seeds=[1], max_draws=0)
    assert look.blocked[0]


# --- error rates over looks -------------------------------------------------------------------------------------------


def blocked_shares(make_differences, ends, spent, *, runs, draws=199):
    """Per look, how often any hypothesis was blocked."""
    counts = np.zeros(len(ends))
    for run in range(runs):
        seeds = [1_000 * run + k for k in range(len(ends))]
        looks = relabel_looks_arrays(make_differences(), ends, spent=spent, seeds=seeds, draws=draws, max_draws=0)
        counts += [look.blocked.any() for look in looks]
    return counts / runs


def test_false_block_over_looks_is_what_each_may_spend():
    random = np.random.default_rng(110)
    shares = blocked_shares(lambda: random.normal(0.0, 1.0, (60, 1)), [20, 40, 60], (0.02, 0.05, 0.1), runs=4_000)
    for share, level in zip(shares, (0.02, 0.05, 0.1), strict=True):
        assert level - 4 * math.sqrt(level / 4_000) <= share <= error_bound(level, 4_000)


def test_false_block_of_zero_or_one_scores_over_looks_is_at_most_alpha():
    random = np.random.default_rng(111)

    def differences():
        p = random.beta(2, 2, 90)
        right = (random.random((2, 90)) < p).astype(float)
        return (right[0] - right[1])[:, None]

    shares = blocked_shares(differences, [30, 60, 90], (0.02, 0.05, 0.1), runs=4_000)
    assert 0.06 <= shares[-1] <= error_bound(0.1, 4_000)
    assert shares[0] <= error_bound(0.02, 4_000)


def test_false_block_over_looks_metrics_slices_and_groups_is_alpha():
    random = np.random.default_rng(112)
    inside = np.array([[True, s < 2, s >= 2, s % 2 == 0, s % 2 == 1] for s in range(4)])

    def differences():
        # 40 groups of 4 samples, 3 correlated metrics, each over all samples and 4 slices.
        level = random.normal(0, 1, (40, 1, 1)) + random.normal(0, 0.7, (40, 1, 3))
        d = level + random.normal(0, 1, (40, 4, 3))
        return np.einsum("gsm,st->gmt", d, inside).reshape(40, 15)

    spent = [0.05 * (k / 5) ** 2 for k in range(1, 6)]
    shares = blocked_shares(differences, [8, 16, 24, 32, 40], spent, runs=2_500, draws=499)
    assert 0.03 <= shares[-1] <= error_bound(0.05, 2_500)


def test_false_block_over_looks_with_stored_trials_is_alpha():
    random = np.random.default_rng(113)
    blocked = []
    for run in range(1_200):
        p = random.beta(6, 1, 45)[:, None]
        c, b = ((random.random((45, k)) < p).astype(float) for k in (1, 5))
        units = trials(c, b)
        looks = relabel_looks(
            [units[:15], units[15:30], units[30:]],
            spent=(0.02, 0.05, 0.1),
            seeds=[3 * run, 3 * run + 1, 3 * run + 2],
            draws=199,
            max_draws=0,
        )
        blocked.append(looks[-1].blocked[0])
    assert 0.06 <= np.mean(blocked) <= error_bound(0.1, 1_200)


def test_what_did_not_fall_is_rarely_named_beside_what_did():
    random = np.random.default_rng(114)
    false = []
    for run in range(2_000):
        d = 0.5 * random.normal(0, 1, (60, 1)) + random.normal(0, 1, (60, 5))
        d[:, :2] -= 1.0
        looks = relabel_looks_arrays(
            d, [20, 40, 60], spent=(0.02, 0.05, 0.1), seeds=[3 * run, 3 * run + 1, 3 * run + 2], draws=199, max_draws=0
        )
        false.append(looks[-1].blocked[2:].any())
    assert 0.05 <= np.mean(false) <= error_bound(0.1, 2_000)


# --- cost and refusals ------------------------------------------------------------------------------------------------


def test_two_thousand_units_thirty_hypotheses_and_five_looks_stay_below_a_hundred_megabytes():
    d = np.random.default_rng(1).normal(0.0, 0.3, (2_000, 30))
    ends, spent = [400, 800, 1_200, 1_600, 2_000], [0.05 * (k / 5) ** 2 for k in range(1, 6)]
    tracemalloc.start()
    try:
        relabel_looks_arrays(d, ends, spent=spent, seeds=range(5), max_draws=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"spent": [0.05]}, "segments, spent, seeds"),
        ({"seeds": [1]}, "segments, spent, seeds"),
        ({"spent": [0.05, 0.04]}, "spent"),
        ({"spent": [-0.01, 0.05]}, "spent"),
        ({"spent": [0.05, 1.0]}, "spent"),
        ({"spent": [0.05, float("nan")]}, "spent"),
        ({"draws": 0}, "draws"),
        ({"ends": [2, 1]}, "ends"),
        ({"ends": [1, 1]}, "ends"),
        ({"differences": [[1.0], [float("nan")]]}, "differences"),
    ],
)
def test_looks_that_do_not_fit_are_refused(options, name):
    given_ = {"differences": [[1.0], [1.0]], "ends": [1, 2], "spent": [0.01, 0.05], "seeds": [1, 2], **options}
    with pytest.raises(ValueError, match=f"^{name}: got"):
        relabel_looks_arrays(given_.pop("differences"), given_.pop("ends"), **given_)


def test_looks_with_different_hypotheses_are_refused():
    with pytest.raises(ValueError, match=r"^units: got units of \[1, 2\] hypotheses"):
        relabel_looks([differing([1.0]), differing([[1.0, 2.0]])], spent=[0.01, 0.05], seeds=[1, 2])
