"""Group-sequential boundaries: published tables, a simulation, an integral by another method."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from aigate.stats import sequential
from aigate.stats.sequential import crossing_probability, nominal_levels, spent, split_levels

FIFTHS = np.arange(1, 6) / 5


def test_obrien_fleming_bounds_spend_a_fortieth():
    crossed = crossing_probability([4.333, 2.963, 2.359, 2.014], np.arange(1, 5) / 4)
    assert crossed[-1] == pytest.approx(0.025, abs=1e-5)
    # Jennison and Turnbull 2000: a statistic of 4.333 at first is 7.4 in a million.
    assert crossed[0] == pytest.approx(7.355e-6, abs=1e-8)


@pytest.mark.parametrize(("looks", "bound"), [(2, 2.178), (3, 2.289), (4, 2.361), (5, 2.413), (10, 2.555)])
def test_pocock_bounds_spend_a_fortieth(looks, bound):
    assert crossing_probability([bound] * looks, np.arange(1, looks + 1) / looks)[-1] == pytest.approx(0.025, abs=4e-5)


@pytest.mark.parametrize("times", [[0.1, 0.13, 0.5, 1.0], [0.02, 0.9, 0.91, 1.0], [0.25, 0.5, 0.75]])
def test_agrees_with_the_multivariate_normal_integral(times):
    z = [2.0, 1.5, 1.8, 1.6][: len(times)]
    correlation = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    inside = multivariate_normal.cdf(z, cov=correlation, abseps=1e-8, releps=1e-8, maxpts=4_000_000, rng=1)
    assert crossing_probability(z, times)[-1] == pytest.approx(1.0 - inside, abs=2e-6)


def test_a_finer_grid_changes_nothing(monkeypatch):
    times = [0.05, 0.06, 0.3, 0.95, 1.0]
    z = [1.5, 1.4, 2.0, 2.1, 1.9]
    coarse = crossing_probability(z, times)
    monkeypatch.setattr(sequential, "STEPS_PER_PANEL", 0.5)
    assert np.abs(crossing_probability(z, times) - coarse).max() < 1e-9


def test_simulated_paths_cross_as_often_as_is_said():
    random = np.random.default_rng(3)
    z = -ndtri(nominal_levels(FIFTHS, alpha=0.05))
    paths = np.cumsum(random.normal(0.0, np.sqrt(0.2), (400_000, 5)), axis=1) / np.sqrt(FIFTHS)
    crossed = np.maximum.accumulate(paths >= z, axis=1).mean(axis=0)
    assert np.abs(crossed - spent(FIFTHS, alpha=0.05)).max() < 4 * np.sqrt(0.05 * 0.95 / 400_000)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 200), min_size=1, max_size=7),
    alpha=st.sampled_from([0.001, 0.01, 0.05, 0.2]),
    power=st.sampled_from([1.0, 2.0, 3.0]),
)
def test_the_levels_spend_what_is_to_be_spent(counts, alpha, power):
    times = np.cumsum(counts) / np.sum(counts)
    levels = nominal_levels(times, alpha=alpha, power=power)
    costs = spent(times, alpha=alpha, power=power)
    assert crossing_probability(-ndtri(levels), times) == pytest.approx(costs, abs=1e-9)
    assert (levels > 0.0).all()
    assert (levels <= costs + 1e-12).all()


def test_a_single_look_has_exactly_alpha():
    assert nominal_levels([1.0], alpha=0.05).tolist() == spent([1.0], alpha=0.05).tolist() == [0.05]


def test_the_first_level_is_what_the_first_look_spends_and_the_last_spent_is_alpha():
    assert nominal_levels([0.2, 1.0], alpha=0.05)[0] == spent([0.2, 1.0], alpha=0.05)[0] == 0.05 * 0.2**2
    assert spent([0.3, 1.0], alpha=0.07, power=1.7)[-1] == 0.07


def test_a_bound_at_infinity_is_crossed_by_nobody():
    alone = crossing_probability([1.645], [1.0])[0]
    assert crossing_probability([np.inf, 1.645], [0.5, 1.0]).tolist() == pytest.approx([0.0, alone], abs=1e-9)
    assert alone == pytest.approx(0.05, abs=1e-4)


def test_a_bound_below_everything_is_crossed_by_all():
    assert crossing_probability([-np.inf, 0.0], [0.5, 1.0]).tolist() == pytest.approx([1.0, 1.0], abs=1e-12)


def test_split_levels_are_cumulative_and_spend_two_fifths_first():
    assert split_levels(2, 0.05) == pytest.approx([0.02, 0.05], abs=1e-15)
    assert split_levels(1, 0.05).tolist() == [0.05]
    five = split_levels(5, 0.01)
    assert (np.diff(five) > 0.0).all()
    assert five[-1] == 0.01


@pytest.mark.parametrize("times", [[], [0.0, 1.0], [0.5, 0.5], [0.6, 0.5], [0.5, 1.1], [0.99999, 1.0]])
def test_times_that_are_no_looks_are_refused(times):
    with pytest.raises(ValueError, match=r"^times: got"):
        nominal_levels(times, alpha=0.05)


def test_what_is_spent_needs_the_whole_at_the_end():
    with pytest.raises(ValueError, match=r"^times: got 0.9 at the end, expected 1"):
        spent([0.5, 0.9], alpha=0.05)


@pytest.mark.parametrize(("options", "name"), [({"alpha": 0.0}, "alpha"), ({"power": 0.0}, "power")])
def test_an_option_out_of_range_is_named(options, name):
    with pytest.raises(ValueError, match=f"^{name}: got"):
        spent([1.0], **{"alpha": 0.05, **options})


@pytest.mark.parametrize("z", [[1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_bounds_that_do_not_fit_are_refused(z):
    with pytest.raises(ValueError, match=r"^z: got"):
        crossing_probability(z, [0.5, 1.0])


def test_no_looks_cannot_split_alpha():
    with pytest.raises(ValueError, match=r"^n_looks: got 0"):
        split_levels(0, 0.05)
