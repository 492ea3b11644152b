"""Planning figures: the table of smallest detectable drops, samples, repeats, floors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import normal_power

from aigate.stats.bootstrap import bb1_test
from aigate.stats.power import (
    SD_BINARY,
    SD_GRADED,
    VarianceComponents,
    block_floor,
    pass_floor_margin,
    pass_floor_units,
    repeats_needed,
    samples_needed,
    smallest_detectable_drop,
    smallest_detectable_loss,
    variance_components,
)
from aigate.stats.relabel import TrialUnit, relabel_test
from aigate.stats.tango import tango_test

SIZES = (30, 40, 50, 100, 200, 300, 500, 1000, 2000)
POINTS = {
    0.15: (6.8, 5.9, 5.3, 3.7, 2.6, 2.2, 1.7, 1.2, 0.8),
    0.27: (12.3, 10.6, 9.5, 6.7, 4.7, 3.9, 3.0, 2.1, 1.5),
    0.32: (14.5, 12.6, 11.3, 8.0, 5.6, 4.6, 3.6, 2.5, 1.8),
    0.40: (18.2, 15.7, 14.1, 9.9, 7.0, 5.7, 4.4, 3.1, 2.2),
    0.56: (25.4, 22.0, 19.7, 13.9, 9.8, 8.0, 6.2, 4.4, 3.1),
}


@pytest.mark.parametrize(
    ("sd", "n", "points"), [(sd, n, x) for sd, row in POINTS.items() for n, x in zip(SIZES, row, strict=True)]
)
def test_smallest_detectable_drop_is_as_tabulated(sd, n, points):
    assert 100 * smallest_detectable_drop(sd, n) == pytest.approx(points, abs=0.0501)


def test_power_at_the_smallest_detectable_drop_is_the_power_asked_for():
    drop = smallest_detectable_drop(0.3, 120, alpha=0.02, power=0.9)
    assert normal_power(drop / 0.3, 120, 0.02, alternative="larger") == pytest.approx(0.9)


def test_no_units_detect_nothing():
    assert smallest_detectable_drop(SD_GRADED, 0) == 1.0
    assert smallest_detectable_drop(SD_BINARY, 1) == pytest.approx(0.9946, abs=1e-4)


def test_samples_needed_for_a_margin_of_five_points():
    assert samples_needed(0.32, 0.05) == 254


@given(sd=st.floats(0.01, 1.0), margin=st.floats(0.005, 0.5))
def test_samples_needed_are_the_fewest_that_do(sd, margin):
    n = samples_needed(sd, margin)
    assert smallest_detectable_drop(sd, n) <= margin * (1 + 1e-6)
    assert n == 1 or smallest_detectable_drop(sd, n - 1) > margin * (1 - 1e-6)


def test_default_spreads_are_the_documented_ones():
    assert (SD_BINARY, SD_GRADED) == (0.40, 0.27)


components = st.builds(VarianceComponents, st.floats(0, 0.1), st.floats(0, 0.2), st.floats(0, 0.2))


@given(parts=components, n=st.integers(1, 2000), margin=st.floats(0.01, 0.3), stored=st.sampled_from([None, 1, 3, 5]))
def test_repeats_needed_are_the_fewest_that_do(parts, n, margin, stored):
    def drop(k):
        return parts.sd(candidate_repeats=k, baseline_repeats=stored or k) * 2.4864746 / math.sqrt(n)

    k = repeats_needed(parts, n, margin, baseline_repeats=stored)
    if k is None:
        assert drop(10**9) > margin * (1 - 1e-6)
    else:
        assert drop(k) <= margin * (1 + 1e-6)
        assert k == 1 or drop(k - 1) > margin * (1 - 1e-6)


def test_more_repeats_cannot_replace_samples_when_versions_truly_differ():
    assert repeats_needed(VarianceComponents(omega2=0.16, s_c2=0.0, s_b2=0.0), 100, 0.05) is None


def test_no_samples_are_not_mended_by_repeats():
    assert repeats_needed(VarianceComponents(omega2=0.01, s_c2=0.1, s_b2=0.1), 0, 0.05) is None


def test_a_noisy_stored_baseline_can_make_the_margin_unreachable():
    parts = VarianceComponents(omega2=0.0, s_c2=0.05, s_b2=0.10)
    assert repeats_needed(parts, 200, 0.05, baseline_repeats=1) is None
    assert repeats_needed(parts, 200, 0.05, baseline_repeats=5) == 1


def test_components_are_recovered_from_many_samples():
    random = np.random.default_rng(4)
    n = 20_000
    truth = VarianceComponents(omega2=0.04, s_c2=0.09, s_b2=0.01)
    candidate = random.normal(0, 0.2, (n, 1)) + random.normal(0, 0.3, (n, 3))
    baseline = random.normal(0, 0.1, (n, 5))
    found = variance_components(candidate, baseline)
    assert found.omega2 == pytest.approx(truth.omega2, rel=0.06)
    assert found.s_c2 == pytest.approx(truth.s_c2, rel=0.03)
    assert found.s_b2 == pytest.approx(truth.s_b2, rel=0.03)


def test_components_add_up_to_the_variance_of_the_differences():
    random = np.random.default_rng(6)
    candidate, baseline = random.uniform(size=(50, 2)) + random.normal(size=(50, 1)), random.uniform(size=(50, 4))
    found = variance_components(candidate, baseline)
    observed = (candidate.mean(axis=1) - baseline.mean(axis=1)).std(ddof=1)
    assert found.omega2 > 0.0
    assert found.sd(candidate_repeats=2, baseline_repeats=4) == pytest.approx(observed)


def test_a_single_candidate_repeat_is_as_noisy_as_the_baseline():
    random = np.random.default_rng(7)
    found = variance_components(random.uniform(size=(40, 1)), random.uniform(size=(40, 5)))
    assert found.s_c2 == found.s_b2 > 0.0


def test_single_repeats_promise_nothing_from_repeating():
    random = np.random.default_rng(9)
    candidate, baseline = random.uniform(size=(40, 1)), random.uniform(size=(40, 1))
    found = variance_components(candidate, baseline)
    assert found.omega2 == pytest.approx((candidate - baseline).var(ddof=1))
    assert (found.s_c2, found.s_b2) == (0.0, 0.0)


@pytest.mark.parametrize("samples", [0, 1])
def test_too_few_samples_give_the_default_spread_and_not_zero(samples):
    assert variance_components(np.ones((samples, 3)), np.ones((samples, 3))).omega2 == pytest.approx(0.16)


def test_samples_of_the_versions_must_match():
    with pytest.raises(ValueError, match="got 3 and 2 samples"):
        variance_components(np.ones((3, 1)), np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"^baseline: got nan"):
        variance_components(np.ones((2, 1)), [[1.0], [float("nan")]])
    with pytest.raises(ValueError, match="got 0 and 1 repeats"):
        variance_components(np.ones((3, 0)), np.ones((3, 1)))


@pytest.mark.parametrize(("margin", "bb1", "tango"), [(0.02, 149, 133), (0.05, 59, 52), (0.10, 29, 25)])
def test_pass_floors_are_as_tabulated(margin, bb1, tango):
    assert pass_floor_units(margin) == bb1
    assert pass_floor_units(margin, method="tango") == tango


@given(margin=st.floats(0.005, 0.9), alpha=st.floats(0.001, 0.4))
def test_pass_floors_are_where_the_tests_begin_to_pass(margin, alpha):
    def bb1(n):
        return bb1_test(np.zeros(n), np.ones(n), margin=margin, seed=1)

    n = pass_floor_units(margin, alpha=alpha)
    assert bb1(n) <= alpha * (1 + 1e-6)
    assert n == 1 or bb1(n - 1) > alpha * (1 - 1e-6)
    n = pass_floor_units(margin, alpha=alpha, method="tango")
    assert tango_test(0, 0, n, margin=margin) <= alpha
    assert n == 1 or tango_test(0, 0, n - 1, margin=margin) > alpha


@pytest.mark.parametrize("alpha", [0.05, 0.03125, 0.01, 0.25])
def test_block_floor_is_where_relabelling_begins_to_block(alpha):
    def p(k):
        lost = TrialUnit(candidate=[[[0.0]]], baseline=[[[1.0]]], mask=[[1.0]])
        return relabel_test([lost] * k, seed=1).p[0]

    floor = block_floor(alpha)
    assert p(floor) <= alpha
    assert p(floor - 1) > alpha


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: smallest_detectable_drop(float("nan"), 10), "sd"),
        (lambda: smallest_detectable_drop(-0.1, 10), "sd"),
        (lambda: smallest_detectable_drop(0.1, -1), "n_units"),
        (lambda: smallest_detectable_drop(0.1, 10, alpha=5), "alpha"),
        (lambda: smallest_detectable_drop(0.1, 10, power=80), "power"),
        (lambda: samples_needed(0.1, 0.0), "margin"),
        (lambda: repeats_needed(VarianceComponents(0, 0, 0), 10, 5), "margin"),
        (lambda: repeats_needed(VarianceComponents(0, 0, 0), 10, 0.05, baseline_repeats=0), "baseline_repeats"),
        (lambda: repeats_needed(VarianceComponents(0, 0, 0), -1, 0.05), "n_units"),
        (lambda: pass_floor_units(0.0), "margin"),
        (lambda: pass_floor_units(0.05, method="wald"), "method"),
        (lambda: block_floor(0.0), "alpha"),
    ],
)
def test_an_argument_out_of_range_is_named(call, name):
    with pytest.raises(ValueError, match=f"^{name}: got"):
        call()


@pytest.mark.parametrize(("candidate", "baseline", "lost"), [(1, 1, 5), (1, 2, 3), (1, 5, 2), (3, 5, 1)])
def test_with_repeats_fewer_lost_samples_can_block(candidate, baseline, lost):
    assert block_floor(0.05, candidate_repeats=candidate, baseline_repeats=baseline) == lost

    def p_of(k):
        units = [TrialUnit(np.zeros((1, candidate, 1)), np.ones((1, baseline, 1)), np.ones((1, 1)))] * k
        units += [TrialUnit(np.ones((1, candidate, 1)), np.ones((1, baseline, 1)), np.ones((1, 1)))] * 10
        return relabel_test(units, seed=1).p[0]

    assert p_of(lost) <= 0.05
    assert lost == 1 or p_of(lost - 1) > 0.05


@pytest.mark.parametrize("repeats", [(0, 1), (1, 0)])
def test_a_block_without_repeats_is_refused(repeats):
    with pytest.raises(ValueError, match="expected 1 or more"):
        block_floor(candidate_repeats=repeats[0], baseline_repeats=repeats[1])


@pytest.mark.parametrize("n", [1, 5, 40, 59, 1000])
def test_the_least_margin_of_single_samples_is_in_closed_form(n):
    assert pass_floor_margin([1.0] * n) == pytest.approx(1 - 0.05 ** (1 / n), abs=1e-12)


@pytest.mark.parametrize("sizes", [[5.0] * 30, [1.0, 2.0, 7.0] * 9])
def test_at_the_least_margin_of_groups_the_bayesian_bootstrap_just_passes(sizes):
    margin = pass_floor_margin(sizes, alpha=0.1)
    p = bb1_test(np.zeros(len(sizes)), sizes, margin=margin, seed=3, draws=200_000)
    assert p == pytest.approx(0.1, abs=0.003)


@pytest.mark.parametrize("sizes", [[5.0] * 30, [1.0, 2.0, 7.0] * 9])
@pytest.mark.parametrize("pseudo_size", [0.5, 2.0, 7.0])
def test_the_least_margin_with_a_larger_unseen_group_is_where_the_bayesian_bootstrap_begins_to_pass(sizes, pseudo_size):
    low, high = 0.0, 0.9
    for _ in range(30 if len(set(sizes)) == 1 else 12):
        margin = (low + high) / 2
        p = bb1_test(np.zeros(len(sizes)), sizes, margin=margin, seed=3, draws=50_000, pseudo_size=pseudo_size)
        low, high = (low, margin) if p <= 0.05 else (margin, high)
    # Units of one size are in closed form; those of several are drawn.
    found = pass_floor_margin(sizes, pseudo_size=pseudo_size)
    assert found == pytest.approx(high, rel=1e-6 if len(set(sizes)) == 1 else 0.02)


@pytest.mark.parametrize("size", [0.0, -1.0, float("inf"), float("nan")])
def test_an_unseen_group_without_a_size_is_refused(size):
    with pytest.raises(ValueError, match="^pseudo_size: got"):
        pass_floor_margin([1.0], pseudo_size=size)


def test_no_margin_is_large_enough_without_units():
    assert pass_floor_margin([]) == 1.0


@pytest.mark.parametrize("sizes", [[0.0], [1.0, -1.0], [float("nan")]])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(ValueError, match="unit_sizes"):
        pass_floor_margin(sizes)


@pytest.mark.parametrize(("sd", "n", "size"), [(0.4, 50, 1.0), (0.1, 500, 1.0), (0.2, 40, 5.0), (0.0, 100, 1.0)])
def test_a_detectable_loss_solves_its_equation(sd, n, size):
    x = smallest_detectable_loss(sd, n, samples_per_unit=size, alpha=0.02, power=0.9)
    z_alpha, z_power = 2.0537489106318225, 1.2815515655446004
    needed = z_alpha * math.sqrt(sd**2 + x / size) + z_power * math.sqrt(sd**2 + x * (1 - x) / size)
    assert x * math.sqrt(n) == pytest.approx(needed)
    assert x > smallest_detectable_drop(sd, n, alpha=0.02, power=0.9)


def test_a_detectable_loss_is_what_the_relabelling_test_finds():
    """Of 0/1 samples lost whole, at least about 80 % of the falls of that size; far fewer at the other formula."""
    random, n, found = np.random.default_rng(11), 100, {}
    right = np.full(n, 0.92)
    sd = math.sqrt(2 * 0.92 * 0.08)
    for name, drop in (("loss", smallest_detectable_loss(sd, n)), ("drop", smallest_detectable_drop(sd, n))):
        blocks = 0
        for run in range(200):
            baseline = (random.random(n) < right) * 1.0
            candidate = (random.random(n) < right * (random.random(n) > drop / 0.92)) * 1.0
            units = [TrialUnit([[[c]]], [[[b]]], [[1.0]]) for c, b in zip(candidate, baseline, strict=True) if c != b]
            blocks += relabel_test(units, seed=run, draws=999, max_draws=999).p[0] <= 0.05
        found[name] = blocks / 200
    assert found["loss"] >= 0.70
    assert found["drop"] <= found["loss"] - 0.10


def test_nothing_lost_is_found_without_units():
    assert smallest_detectable_loss(0.4, 0) == 1.0
    with pytest.raises(ValueError, match="samples_per_unit"):
        smallest_detectable_loss(0.4, 10, samples_per_unit=0.5)
