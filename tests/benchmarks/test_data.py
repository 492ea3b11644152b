"""Simulated scores have the true drop they claim, and are symmetric when there is none."""

import numpy as np
import pytest

from rates.data import KINDS, MEAN, grouped_arms, trials

N = 400_000
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def error_of(values):
    return values.std() / np.sqrt(len(values))


@kinds
@pytest.mark.parametrize("drop", [0.0, 0.02, 0.05, 0.10])
def test_true_drop_is_the_one_asked_for(kind, drop, random):
    baseline, candidate = kind.arms(random, N, drop)
    d = candidate - baseline
    assert abs(d.mean() + drop) <= 4 * error_of(d)
    assert abs(baseline.mean() - kind.mean) <= 4 * error_of(baseline)


@kinds
def test_equal_arms_can_be_swapped(kind, random):
    baseline, candidate = kind.arms(random, N, 0.0)
    d = candidate - baseline
    for power in (1, 3, 5):
        assert abs((d**power).mean()) <= 4 * error_of(d**power)
    assert abs((candidate**2 - baseline**2).mean()) <= 4 * error_of(candidate**2 - baseline**2)


@kinds
def test_scores_are_scores(kind, random):
    arms = np.array(kind.arms(random, 10_000, 0.05))
    assert arms.min() >= 0.0
    assert arms.max() <= 1.0
    assert np.isin(arms, (0.0, 1.0)).all() == kind.binary


# sd of the difference, correlation, share of differences: statistics of the data sets that the kinds stand for.
@pytest.mark.parametrize(
    ("key", "sd", "correlation", "share"),
    [
        ("claims", 0.15, 0.5, None),
        ("binary-6", 0.29, 0.6, None),
        ("binary-3", 0.39, 0.3, None),
        ("binary-9", 0.15, 0.9, None),
        ("rare", 0.02, None, 1.0),
        ("graded", 0.27, 0.48, 1.0),
        ("short", 0.37, 0.24, 0.45),
        ("hard", 0.56, 0.31, 0.31),
    ],
)
def test_kinds_have_the_spread_they_stand_for(key, sd, correlation, share, random):
    baseline, candidate = KINDS[key].arms(random, N, 0.0)
    d = candidate - baseline
    assert d.std() == pytest.approx(sd, abs=0.01)
    assert correlation is None or np.corrcoef(baseline, candidate)[0, 1] == pytest.approx(correlation, abs=0.02)
    assert share is None or np.count_nonzero(d) / N == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("drop", [0.0, 0.05])
def test_trials_of_a_sample_correlate_and_lose_the_drop(drop, random):
    candidate, baseline = trials(random, 200_000, drop, repeats=(3, 5), correlation=0.3)
    assert candidate.shape == (200_000, 3)
    assert baseline.shape == (200_000, 5)
    assert np.corrcoef(baseline[:, 0], baseline[:, 4])[0, 1] == pytest.approx(0.3, abs=0.01)
    d = candidate.mean(axis=1) - baseline.mean(axis=1)
    assert abs(d.mean() + drop) <= 4 * error_of(d)


def intraclass(d, size):
    groups = (d - d.mean()).reshape(-1, size)
    between = (groups.sum(axis=1) ** 2 - (groups**2).sum(axis=1)).mean() / (size * (size - 1))
    return between / (groups**2).mean()


def test_groups_have_the_intraclass_correlation_asked_for(random):
    baseline, candidate = grouped_arms(random, 40_000, 5, 0.0, icc=0.3, metrics=4)
    d = candidate - baseline
    assert d.shape == (200_000, 4)
    assert [intraclass(d[:, m], 5) for m in range(4)] == pytest.approx([0.3] * 4, abs=0.02)
    assert np.corrcoef(d[:, 0], d[:, 1])[0, 1] == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("whole", [True, False])
def test_groups_break_whole_or_one_by_one(whole, random):
    baseline, candidate = grouped_arms(random, 40_000, 5, 0.05, icc=0.0, whole=whole)
    d = (candidate - baseline)[:, 0]
    assert abs(d.mean() + 0.05) <= 4 * error_of(d.reshape(-1, 5).mean(axis=1))
    all_wrong = (candidate.reshape(-1, 5).sum(axis=1) == 0).mean()
    assert all_wrong == pytest.approx(0.05 / MEAN if whole else 0.0, abs=0.005)
