"""The test of duplicated outputs: what a share is, exact against enumeration, and quiet where nothing changed."""

from itertools import product

import numpy as np
import pytest

from aigate.stats.duplicates import duplicate_share, duplicate_shift_test


def test_a_share_counts_outputs_that_another_sample_has_in_the_same_trial():
    assert duplicate_share([[1], [1], [2]]) == pytest.approx(2 / 3)
    assert duplicate_share([[1, 5], [2, 1]]) == 0.0  # the same output in another trial is no duplicate
    assert duplicate_share([[1, 3], [1, 4]]) == 0.5


def test_no_output_is_no_duplicate():
    assert duplicate_share([[-1], [-1]]) == 0.0
    assert duplicate_share(np.zeros((0, 1), dtype=int)) == 0.0


def test_outputs_that_all_became_alike_are_found():
    found = duplicate_shift_test([[0]] * 40, [[i + 1] for i in range(40)], range(40), seed=1)
    assert (found.candidate, found.baseline) == (1.0, 0.0)
    assert found.p == pytest.approx(1 / 2000)


def test_nothing_that_moved_is_p_1():
    codes = [[i % 7] for i in range(40)]
    assert duplicate_shift_test(codes, codes, range(40), seed=1).p == 1.0


def test_p_agrees_with_the_enumeration_of_every_relabelling():
    candidate, baseline = np.array([[0], [0], [0], [1], [2], [3]]), np.array([[4], [5], [6], [1], [2], [0]])
    observed = abs(duplicate_share(candidate) - duplicate_share(baseline))
    signs = list(product([False, True], repeat=6))
    arms = [
        (np.where(np.array(s)[:, None], baseline, candidate), np.where(np.array(s)[:, None], candidate, baseline))
        for s in signs
    ]
    exact = np.mean([abs(duplicate_share(a) - duplicate_share(b)) >= observed - 1e-12 for a, b in arms])
    found = duplicate_shift_test(candidate, baseline, range(6), seed=3, draws=20_000)
    assert found.p == pytest.approx(exact, abs=0.015)


def test_whole_units_are_relabelled():
    # Two groups only: there are four relabellings, and half of them look as extreme as the data.
    units = [0] * 20 + [1] * 20
    found = duplicate_shift_test([[0]] * 40, [[i + 1] for i in range(40)], units, seed=1)
    assert found.p > 0.4


@pytest.mark.parametrize(("candidate_trials", "baseline_trials"), [(1, 1), (1, 5), (3, 1)])
def test_it_is_quiet_when_both_arms_draw_from_the_same_answers(candidate_trials, baseline_trials):
    random = np.random.default_rng(11)
    runs, n, found = 150, 40, 0
    for run in range(runs):
        arms = [random.integers(30, size=(n, trials)) for trials in (candidate_trials, baseline_trials)]
        found += duplicate_shift_test(*arms, range(n), seed=run, draws=199).p <= 0.05
    assert found <= 16  # 5 % of 150 is 7.5; 16 is past three standard errors


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="got shapes"):
        duplicate_shift_test([[1], [2]], [[1]], [0, 1], seed=1)


def test_the_same_seed_gives_the_same_p():
    random = np.random.default_rng(2)
    arms = [random.integers(10, size=(30, 2)) for _ in range(2)]
    first, second = (duplicate_shift_test(*arms, range(30), seed=5).p for _ in range(2))
    assert first == second
