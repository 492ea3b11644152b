"""The exact sign test."""

import math

import pytest
from scipy.stats import binomtest

from aigate.stats.signs import sign_test


@pytest.mark.parametrize(("up", "down"), [(0, 1), (1, 0), (0, 6), (2, 9), (9, 2), (40, 60), (499, 500), (700, 900)])
def test_it_is_the_exact_binomial_test(up, down):
    assert sign_test(up, down) == pytest.approx(binomtest(up, up + down).pvalue, rel=1e-9)


def test_where_nothing_moved_nothing_is_shown():
    assert sign_test(0, 0) == 1.0


def test_ties_of_the_middle_are_no_more_than_certain():
    assert sign_test(5, 5) == 1.0
    assert sign_test(2000, 2000) == 1.0


def test_it_rejects_at_most_alpha_of_what_is_chance():
    for n in (5, 16, 50):
        chance = sum(math.comb(n, k) for k in range(n + 1) if sign_test(k, n - k) <= 0.05) / 2**n
        assert chance <= 0.05


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="expected counts"):
        sign_test(-1, 2)
