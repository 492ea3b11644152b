"""The early decision about a fixed set: right by enumeration, certain when it says so, and cheap."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.stats.threshold import threshold_test

BETS = (0.02, 0.04, 0.08, 0.15, 0.25, 0.40, 0.60, 0.80)


def look(scores, *, n, threshold=0.85, alpha=0.05):
    """The test on samples that are their own units."""
    return threshold_test(
        scores, np.ones(len(scores)), population_units=n, population_size=n, threshold=threshold, alpha=alpha
    )


def binary_set(n, mean):
    return np.repeat([1.0, 0.0], [round(n * mean), n - round(n * mean)])


def samples_used(scores, *, threshold=0.85, alpha=0.05):
    """The number of samples after which there is a decision. Once there is one there always is, so halving finds it."""
    undecided, decided = 0, len(scores)
    while decided - undecided > 1:
        middle = (undecided + decided) // 2
        if look(scores[:middle], n=len(scores), threshold=threshold, alpha=alpha).decision:
            decided = middle
        else:
            undecided = middle
    return decided


def log_e_by_the_formula(sums, sizes, *, units, threshold, largest, side):
    """E_t of the module's docstring after each unit, multiplied out; `side` is +1 for "at least", -1 for "below"."""
    found, wealth, total = [], [1.0] * len(BETS), 0.0
    lowest = -threshold * largest if side > 0 else -(1.0 - threshold) * largest
    for t, (unit_sum, size) in enumerate(zip(sums, sizes, strict=True), start=1):
        expected = -total / (units - t + 1)
        x = side * (unit_sum - threshold * size)
        wealth = [w * (1.0 + g / (expected - lowest) * (x - expected)) for w, g in zip(wealth, BETS, strict=True)]
        total += x
        found.append(math.log(sum(wealth) / len(wealth)))
    return found


@pytest.mark.parametrize("largest", [1.0, 4.0])
def test_e_values_are_those_of_the_formula(largest):
    random = np.random.default_rng(4)
    sizes = random.integers(1, int(largest) + 1, 30).astype(float)
    sums = sizes * random.beta(8, 2, 30)
    for count in (1, 7, 30):
        found = threshold_test(
            sums[:count],
            sizes[:count],
            population_units=100,
            population_size=sizes.sum() + 70,
            threshold=0.7,
            largest_unit=largest,
        )
        at_least, below = (
            log_e_by_the_formula(sums[:count], sizes[:count], units=100, threshold=0.7, largest=largest, side=side)
            for side in (+1, -1)
        )
        assert not found.certain
        assert found.log_e_at_least == pytest.approx(max(0.0, *at_least), abs=1e-12)
        assert found.log_e_below == pytest.approx(max(0.0, *below), abs=1e-12)


@pytest.mark.parametrize(("right", "threshold"), [(9, 0.70), (9, 0.68), (4, 0.31), (4, 0.30), (7, 0.545)])
@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_over_all_orders_of_a_set_the_wrong_answer_comes_up_in_at_most_half_of_alpha(right, threshold, alpha):
    n = 13
    truth = "at-least" if right / n >= threshold else "below"
    wrong, early, orders = 0, 0, list(itertools.combinations(range(n), right))
    for ones in orders:
        scores = np.zeros(n)
        scores[list(ones)] = 1.0
        used = samples_used(scores, threshold=threshold, alpha=alpha)
        found = look(scores[:used], n=n, threshold=threshold, alpha=alpha)
        wrong += found.decision != truth
        early += not found.certain
    assert early > 0
    assert wrong / len(orders) <= alpha / 2


@pytest.mark.parametrize(("large", "small", "slack"), [(0.3, 1.0, 1e-6), (3.0, 0.0, -1e-6)])
def test_over_all_orders_of_unequal_units_the_wrong_answer_comes_up_in_at_most_half_of_alpha(large, small, slack):
    threshold, alpha, truth = (2 * large + 14 * small) / 20 + slack, 0.6, "below" if slack > 0 else "at-least"
    wrong, early, orders = 0, 0, list(itertools.combinations(range(16), 2))
    for places in orders:
        sums, sizes = np.full(16, small), np.ones(16)
        sums[list(places)], sizes[list(places)] = large, 3.0
        options = {"population_units": 16, "population_size": 20.0, "largest_unit": 3.0}
        looks = (threshold_test(sums[:t], sizes[:t], threshold=threshold, alpha=alpha, **options) for t in range(1, 17))
        first = next(found for found in looks if found.decision)
        wrong += first.decision != truth
        early += not first.certain
    assert early > 0
    assert wrong / len(orders) <= alpha / 2


@pytest.mark.parametrize(("mean", "most"), [(0.95, 0.18), (0.92, 0.36), (0.88, 0.76), (0.80, 0.49), (0.75, 0.23)])
def test_five_hundred_samples_are_decided_with_the_share_that_was_promised(mean, most):
    random, scores = np.random.default_rng(1), binary_set(500, mean)
    used, wrong, runs = [], 0, 200
    for _ in range(runs):
        order = random.permutation(scores)
        used.append(samples_used(order))
        wrong += look(order[: used[-1]], n=500).decision != ("at-least" if mean >= 0.85 else "below")
    assert np.mean(used) / 500 <= most
    assert wrong / runs <= 0.01


def test_five_looks_decide_a_set_of_mean_092_with_about_four_tenths_of_it():
    random, scores = np.random.default_rng(2), binary_set(500, 0.92)
    shares = [math.ceil(samples_used(random.permutation(scores)) / 100) / 5 for _ in range(300)]
    assert np.mean(shares) <= 0.41


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30), st.sampled_from([0.0, 0.3, 0.5, 0.85, 1.0]))
def test_all_units_give_the_comparison_of_the_full_mean_for_certain(scores, threshold):
    found = look(scores, n=len(scores), threshold=threshold)
    assert found.certain
    assert found.decision == ("at-least" if math.fsum(scores) / len(scores) + 1e-12 >= threshold else "below")


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=12), st.integers(0, 12), st.sampled_from([0.0, 0.3, 0.85]))
def test_it_is_certain_exactly_when_the_unseen_scores_cannot_change_the_answer(scores, unseen, threshold):
    n = len(scores) + unseen
    if n == 0:
        return
    answers = {look([*scores, *[rest] * unseen], n=n, threshold=threshold).decision for rest in (0.0, 1.0)}
    found = look(scores, n=n, threshold=threshold)
    assert found.certain == (len(answers) == 1)
    if found.certain:
        assert {found.decision} == answers


def test_a_decision_on_evidence_stands_although_the_evidence_fades():
    scores = np.concatenate((np.ones(40), np.zeros(20)))
    assert look(scores[:40], n=500).decision == "at-least"
    later = look(scores, n=500)
    assert (later.decision, later.certain) == ("at-least", False)
    assert later.log_e_at_least == look(scores[:40], n=500).log_e_at_least
    alone = log_e_by_the_formula(scores, np.ones(60), units=500, threshold=0.85, largest=1.0, side=+1)
    assert alone[-1] < math.log(2 / 0.05) <= later.log_e_at_least


def test_what_is_certain_overrules_what_was_only_likely():
    scores = np.concatenate((np.ones(40), np.zeros(76)))
    found = look(scores, n=500)
    assert (found.decision, found.certain) == ("below", True)


def test_the_first_side_to_reach_its_target_decides():
    scores = np.concatenate((np.zeros(8), np.ones(250)))
    early, late = look(scores[:8], n=2000), look(scores, n=2000)
    assert early.decision == late.decision == "below"
    assert late.log_e_at_least >= math.log(2 / 0.05)


def test_each_side_needs_evidence_of_two_over_alpha():
    for alpha in (0.05, 0.01):
        used = samples_used(np.ones(500), alpha=alpha)
        before, after = look(np.ones(used - 1), n=500, alpha=alpha), look(np.ones(used), n=500, alpha=alpha)
        assert before.log_e_at_least < math.log(2 / alpha) <= after.log_e_at_least
        assert before.decision is None
        assert not after.certain


def test_a_mean_that_equals_the_threshold_up_to_rounding_reaches_it():
    assert sum([0.1] * 3) / 3 != 0.1
    assert look([0.1, 0.2, 0.3] * 10, n=30, threshold=0.2).decision == "at-least"
    assert look([0.85] * 7, n=7).decision == "at-least"
    assert look([0.85] * 6 + [0.85 - 1e-9], n=7).decision == "below"


def test_units_that_are_all_twice_as_large_say_the_same():
    scores = np.random.default_rng(3).beta(9, 1, 50)
    one = look(scores, n=90, threshold=0.8)
    two = threshold_test(
        2 * scores, np.full(50, 2.0), population_units=90, population_size=180, threshold=0.8, largest_unit=2.0
    )
    assert (one.decision, one.mean) == (two.decision, pytest.approx(two.mean))
    assert one.log_e_at_least == pytest.approx(two.log_e_at_least)


def test_missing_scores_are_decided_by_neither_of_their_bounds_alone():
    seen, missing = [1.0] * 90, 20
    worst, best = (look([*seen, *[value] * missing], n=110, threshold=0.85).decision for value in (0.0, 1.0))
    assert (worst, best) == ("below", "at-least")


def test_no_units_are_undecided_and_have_no_mean():
    found = look([], n=10)
    assert (found.decision, found.certain, found.mean) == (None, False, None)
    assert (found.log_e_at_least, found.log_e_below) == (0.0, 0.0)


def test_every_set_reaches_a_threshold_of_zero_and_one_miss_fails_a_threshold_of_one():
    assert look([], n=10, threshold=0.0).decision == "at-least"
    assert look([1.0] * 9, n=10, threshold=1.0).decision is None
    assert look([1.0] * 9 + [0.5], n=10, threshold=1.0).decision == "below"
    assert look([1.0] * 10, n=10, threshold=1.0).decision == "at-least"


def test_wealth_beyond_the_largest_float_is_kept():
    found = look(np.ones(60_000), n=200_000, threshold=0.5)
    assert found.log_e_at_least > 10_000
    assert math.isfinite(found.log_e_below)


def test_bets_too_small_to_move_a_one_still_add_up():
    # One unit of the set is huge, so what may be bet on a single sample is some 1e-16 of the wealth.
    seen, units, huge = 20_000, 100_000, 1e15
    found = threshold_test(
        np.ones(seen),
        np.ones(seen),
        population_units=units,
        population_size=units + huge - 1,
        threshold=0.5,
        largest_unit=huge,
    )
    before = np.arange(seen)
    expected = -0.5 * before / (units - before)
    shares = (0.5 - expected) / (expected + 0.5 * huge)
    # ln(mean of exp) and ln(1 + x) are linear down here.
    assert found.log_e_at_least == pytest.approx(np.mean(BETS) * math.fsum(shares), rel=1e-3, abs=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 85}, r"^threshold: got 85"),
        ({"threshold": math.nan}, r"^threshold: got nan"),
        ({"alpha": 0.0}, r"^alpha: got 0"),
        ({"largest_unit": 0.0}, r"^largest_unit: got 0"),
        ({"population_units": 2}, r"^population_units, population_size:"),
        ({"population_units": 0, "population_size": 0}, r"^population_units, population_size:"),
        ({"population_size": 2}, r"^population_units, population_size:"),
        ({"population_size": 11}, r"^population_units, population_size:"),
        ({"population_size": math.nan}, r"^population_units, population_size:"),
        ({"unit_sums": [1.0, math.nan, 0.0]}, r"^unit_sums: got nan at \[1\]"),
        ({"unit_sums": [1.0, 1.1, 0.0]}, r"^unit_sums: got a unit whose mean"),
        ({"unit_sums": [1.0, -0.1, 0.0]}, r"^unit_sums: got a unit whose mean"),
        ({"unit_sizes": [1.0, 1.0]}, r"^unit_sizes: got 2 of them"),
        ({"unit_sizes": [1.0, 2.0, 1.0]}, r"^unit_sizes: got 1.0 to 2.0"),
        ({"unit_sizes": [1.0, 0.0, 1.0]}, r"^unit_sizes: got 0.0 to 1.0"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    good = {
        "unit_sums": [1.0, 0.0, 1.0],
        "unit_sizes": [1.0, 1.0, 1.0],
        "population_units": 10,
        "population_size": 10,
        "threshold": 0.85,
    }
    threshold_test(**good)
    with pytest.raises(ValueError, match=message):
        threshold_test(**{**good, **change})
