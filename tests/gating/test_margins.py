"""What a suite can see: from the baseline's own repeats or from defaults, never from the candidate."""

import math

import numpy as np
import pytest

from aigate.core.sample import Sample
from aigate.core.score import MetricSpec
from aigate.gating.checks.base import PolicySettings
from aigate.gating.margins import (
    Spread,
    auto_margin,
    below_floor,
    can_see,
    least_passing_margin,
    pass_units,
    points,
    repeats_that_do,
    resolved_margin,
    smallest_drop,
    smallest_loss,
    spread_of,
    units_needed,
    with_repeats,
    with_units,
)
from aigate.stats.bootstrap import bb1_test

Z = 1.6448536269514722 + 0.8416212335729143  # 5 % false blocks, 80 % power


def rows(n, flips, repeats=2):
    """Scores of 1 everywhere, but for one lost repeat in the first `flips` samples."""
    lost, kept = [1.0] * (repeats - 1) + [0.0], [1.0] * repeats
    return {f"s{i:03}": lost if i < flips else kept for i in range(n)}


def quiet(sizes, *, noise=0.0, binary=True, candidate=1, baseline=1):
    return Spread(noise, tuple(sizes), candidate, baseline, binary=binary, measured=True, origin="told")


# --- where the spread comes from ------------------------------------------------------------------------------------


def test_two_repeats_of_a_baseline_tell_the_noise(make_run):
    # Four samples of 40 differ between their two repeats: s² = 4 x 0.5 / 40 = 0.05.
    spread = spread_of(make_run(rows(40, 4)), "correct", candidate_repeats=1)
    assert spread.noise == pytest.approx(0.05)
    assert spread.baseline_repeats == 2
    assert spread.sd_per_unit == pytest.approx(math.sqrt(0.05 * (1 + 1 / 2)))
    assert (spread.n_units, spread.n_samples, spread.measured) == (40, 40, True)
    assert spread.origin == "measured between 2 repeats of the baseline"


def test_more_repeats_of_either_version_shrink_the_spread(make_run):
    run = make_run(rows(40, 4))
    spread = spread_of(run, "correct", candidate_repeats=3, baseline_repeats=5)
    assert spread.sd_per_unit == pytest.approx(math.sqrt(0.05 * (1 / 3 + 1 / 5)))


@pytest.mark.parametrize(
    ("scores", "sd"),
    [({"a": [1.0], "b": [0.0]}, 0.40), ({"a": [1.0], "b": [0.5]}, 0.40), ({"a": [0.7], "b": [0.4]}, 0.27)],
)
def test_a_baseline_of_single_answers_gives_the_default_for_its_kind_of_scores(make_run, scores, sd):
    spread = spread_of(make_run(scores), "correct", candidate_repeats=1)
    assert spread.sd_per_unit == pytest.approx(sd)
    assert not spread.measured
    assert "assumed" in spread.origin


def test_without_a_baseline_the_first_one_is_planned_with_the_candidates_repeats():
    samples = [Sample(f"s{i}", "?") for i in range(10)]
    spread = spread_of(None, "correct", candidate_repeats=4, samples=samples)
    assert (spread.candidate_repeats, spread.baseline_repeats, spread.n_units) == (4, 4, 10)
    assert spread.sd_per_unit == pytest.approx(0.40 / 2)


def test_the_unit_is_the_group_and_noise_shared_within_it_counts(make_run):
    # Two groups of two, whose samples are lost together in one of two repeats: s² of the sums is 2, over 2² samples.
    scores = {"a": [1.0, 0.0], "b": [1.0, 0.0], "c": [0.0, 1.0], "d": [0.0, 1.0]}
    groups = {"a": "x", "b": "x", "c": "y", "d": "y"}
    spread = spread_of(make_run(scores, groups=groups), "correct", candidate_repeats=1)
    assert spread.unit_sizes == (2, 2)
    assert spread.noise == pytest.approx(2 * (2 + 2) / 4**2)
    assert spread.units == "groups"


def test_groups_of_different_sizes_give_the_standard_error_of_the_mean(make_run):
    scores = {"a": [1.0, 0.0], "b": [1.0, 0.0], "c": [1.0, 0.0], "d": [1.0, 1.0]}
    groups = {"a": "x", "b": "x", "c": "x", "d": "y"}
    spread = spread_of(make_run(scores, groups=groups), "correct", candidate_repeats=1, baseline_repeats=1)
    # The sum of group x has s² = 4.5, that of y none; twice that over 4² samples is the squared error of the mean.
    assert spread.sd_per_unit / math.sqrt(spread.n_units) == pytest.approx(math.sqrt(2 * 4.5 / 4**2))


def test_assumed_groups_scatter_more_than_as_many_samples_alone():
    alone = [Sample(f"s{i}", "?") for i in range(40)]
    together = [Sample(f"s{i}", "?", group=f"g{i // 5}") for i in range(40)]
    drops = [
        smallest_drop(spread_of(None, "m", candidate_repeats=1, samples=samples), alpha=0.05)
        for samples in (alone, together)
    ]
    assert drops[1] == pytest.approx(drops[0] * math.sqrt(1 + 4 * 0.20))


def test_only_samples_that_the_baseline_holds_in_the_same_words_are_counted(make_run):
    run = make_run(rows(4, 1))
    same = [run.samples["s000"], run.samples["s001"]]
    samples = [*same, Sample("s002", "edited"), Sample("new", "?")]
    assert spread_of(run, "correct", candidate_repeats=1, samples=samples).n_samples == 2


def test_a_lost_judgement_takes_its_sample_out_of_the_noise_and_not_out_of_the_suite(make_run):
    scores = {**rows(40, 4), "s039": [1.0, None]}
    spread = spread_of(make_run(scores), "correct", candidate_repeats=1)
    assert spread.noise == pytest.approx(4 * 0.5 / 39)
    assert spread.n_samples == 40


def test_a_metric_that_falls_when_it_is_better_is_as_noisy(make_run):
    lower = MetricSpec("correct", "recorded:correct", direction="lower", deterministic=False)
    noise = [
        spread_of(make_run(rows(40, 4), specs=specs), "correct", candidate_repeats=1).noise for specs in (None, [lower])
    ]
    assert noise[0] == pytest.approx(noise[1])


def test_a_metric_the_baseline_lacks_is_planned_by_default(make_run):
    spread = spread_of(make_run(rows(40, 4)), "other", candidate_repeats=1)
    assert (spread.measured, spread.n_samples) == (False, 40)


@pytest.mark.parametrize("repeats", [(0, 1), (1, 0)])
def test_no_repeats_are_refused(make_run, repeats):
    with pytest.raises(ValueError, match="repeats"):
        spread_of(make_run(rows(4, 1)), "correct", candidate_repeats=repeats[0], baseline_repeats=repeats[1])


# --- smallest drop, margins, floors ---------------------------------------------------------------------------------


def test_the_smallest_drop_is_the_formula_of_miller():
    spread = quiet([1] * 100, noise=0.08, binary=False)
    assert smallest_drop(spread, alpha=0.05) == pytest.approx(Z * 0.40 / 10)


def test_quiet_0_1_scores_are_blocked_only_from_five_lost_samples_on():
    assert smallest_drop(quiet([1] * 40), alpha=0.05) == pytest.approx(5 / 40)
    assert smallest_drop(quiet([1] * 40, baseline=5), alpha=0.05) == pytest.approx(2 / 40)
    assert smallest_drop(quiet([1] * 40, binary=False), alpha=0.05) == 0.0


def test_nothing_is_seen_without_samples():
    nothing = quiet([])
    assert smallest_drop(nothing, alpha=0.05) == 1.0
    assert auto_margin(nothing, alpha=0.05) == 0.99
    assert below_floor(0.05, nothing, 0.05).startswith("0 samples, 1 repeat: no pass is possible")


@pytest.mark.parametrize("sizes", [[1] * 40, [5] * 30, [1, 2, 3, 4] * 10])
def test_at_the_least_margin_an_unchanged_suite_just_passes(sizes):
    least = least_passing_margin(quiet(sizes), alpha=0.05)
    none, sizes = np.zeros(len(sizes)), np.array(sizes, dtype=float)
    draws = 400_000 if len(set(sizes)) > 1 else 1
    assert bb1_test(none, sizes, margin=least, seed=1, draws=draws) == pytest.approx(0.05, abs=0.0015)


def test_fewer_than_twenty_units_pass_with_no_margin():
    assert least_passing_margin(quiet([5] * 19), alpha=0.05) == 1.0
    assert least_passing_margin(quiet([5] * 20), alpha=0.05) < 0.05


def test_auto_is_the_smallest_drop_rounded_up_to_a_whole_point():
    spread = quiet([1] * 40, noise=0.0512)
    assert smallest_drop(spread, alpha=0.05) == pytest.approx(0.1258, abs=1e-4)
    assert auto_margin(spread, alpha=0.05) == 0.13


def test_auto_leaves_a_whole_point_as_it_is():
    assert auto_margin(quiet([1] * 100), alpha=0.01) == 0.07  # 7 of 100 samples, and 0.07 * 100 > 7 in binary


def test_auto_is_never_below_what_a_pass_needs():
    spread = quiet([1] * 40, binary=False)
    assert smallest_drop(spread, alpha=0.05) == 0.0
    assert auto_margin(spread, alpha=0.05) == 0.08  # 1 - 0.05^(1/40) = 7.2 points
    assert below_floor(auto_margin(spread, alpha=0.05), spread, 0.05) is None


@pytest.mark.parametrize(
    ("own", "policy", "expected"), [(0.02, 0.05, 0.02), (None, 0.03, 0.03), ("auto", 0.05, 0.13), (None, "auto", 0.13)]
)
def test_a_checks_own_margin_goes_before_the_policys(own, policy, expected):
    spread = quiet([1] * 40, noise=0.0512)
    margin, note = resolved_margin(own, PolicySettings(0.05, policy), spread)
    assert margin == expected
    assert (note is not None) is ("auto" in (own, policy if own is None else own))


def test_a_chosen_margin_says_what_chose_it():
    note = resolved_margin("auto", PolicySettings(), quiet([1] * 40, noise=0.0512))[1]
    assert note.code == "margin-auto"
    assert "the margin is 13 points" in note.text
    assert "the smallest drop that 40 samples with 1 repeat can show (12.6 points" in note.text
    floor = resolved_margin("auto", PolicySettings(), quiet([1] * 40, binary=False))[1]
    assert "an unchanged candidate can pass (7.2 points, 40 samples with 1 repeat)" in floor.text


# --- what is wrong, and what would do -------------------------------------------------------------------------------


def test_the_sentence_says_what_is_seen_and_what_the_margin_needs():
    assert can_see(quiet([1] * 40, noise=0.0512), 0.05, alpha=0.05) == (
        "40 samples, 1 repeat: sees drops of 12.6 points or more; a margin of 5 points needs 254 samples,"
        " or 5 baseline and 3 candidate repeats on about 70 (planned with a measured scatter of 32 points)"
    )


def test_a_margin_that_is_seen_needs_nothing():
    assert can_see(quiet([1] * 400, noise=0.0512), 0.05, alpha=0.05) == (
        "400 samples, 1 repeat: sees drops of 4 points or more"
    )


def test_repeats_are_advised_where_they_do_on_the_suite_as_it_is():
    spread = quiet([1] * 80, noise=0.0512)
    assert repeats_that_do(spread, 0.05, alpha=0.05) == (5, 3)
    assert can_see(spread, 0.05, alpha=0.05).endswith(
        "or 5 baseline and 3 candidate repeats on these 80 (planned with a measured scatter of 32 points)"
    )
    assert smallest_drop(with_repeats(spread, baseline=5, candidate=3), alpha=0.05) <= 0.05
    assert smallest_drop(with_repeats(spread, baseline=5, candidate=1), alpha=0.05) > 0.05


def test_no_repeats_help_below_the_floor_of_a_pass():
    assert repeats_that_do(quiet([1] * 58, noise=0.001), 0.05, alpha=0.05) is None
    assert repeats_that_do(quiet([1] * 59, noise=0.02), 0.05, alpha=0.05) is not None


def test_fewer_repeats_than_there_are_are_never_advised():
    spread = quiet([1] * 80, noise=0.08, baseline=5, candidate=4)
    assert repeats_that_do(spread, 0.05, alpha=0.05) == (5, 5)


def test_repeats_that_do_already_are_kept():
    assert repeats_that_do(quiet([1] * 80, noise=0.02, baseline=5, candidate=5), 0.10, alpha=0.05) == (5, 5)


def test_lost_samples_need_a_larger_fall_than_noise_alone():
    spread = quiet([1] * 200, noise=0.08)
    assert smallest_loss(spread, alpha=0.05) == pytest.approx(0.087, abs=5e-4)
    assert smallest_loss(quiet([1] * 200, binary=False), alpha=0.05) is None
    assert smallest_loss(quiet([1] * 6), alpha=0.05) >= 5 / 6
    # The same samples in groups: as many are lost, so the fall adds as much scatter to the mean.
    grouped = quiet([4] * 50, noise=0.08 / 4)
    assert smallest_loss(grouped, alpha=0.05) == pytest.approx(smallest_loss(spread, alpha=0.05))


def test_what_is_needed_meets_every_floor():
    assert units_needed(quiet([1] * 40, noise=0.0512), 0.05, alpha=0.05) == 254
    assert units_needed(quiet([1] * 40), 0.05, alpha=0.05) == 100  # five lost samples are 5 points of 100
    assert units_needed(quiet([1] * 40, binary=False), 0.05, alpha=0.05) == 59
    assert units_needed(quiet([10] * 5, binary=False), 0.30, alpha=0.05) == 20


@pytest.mark.parametrize("size", [1, 4])
def test_on_so_many_units_nothing_is_wrong_and_on_a_twentieth_fewer_something_is(size):
    spread = quiet([size] * 30, noise=0.0512)
    needed = units_needed(spread, 0.05, alpha=0.05)
    assert below_floor(0.05, with_units(spread, needed), 0.05) is None
    assert below_floor(0.05, with_units(spread, round(needed * 0.95)), 0.05) is not None


def test_every_floor_is_named_with_its_number():
    told = below_floor(0.05, quiet([1] * 40), 0.05)
    assert "sees drops of 12.5 points or more; a margin of 5 points needs 100 samples" in told
    assert "an unchanged candidate cannot pass with fewer than 59 samples" in told
    assert "no pass" not in told  # a better one may
    assert "no block is possible before 5 of 40 samples are lost, 12.5 points" in told


def test_few_groups_are_named_as_groups():
    told = below_floor(0.30, quiet([10] * 5, noise=0.01, binary=False), 0.05)
    assert told == "50 samples in 5 groups, 1 repeat: no pass is possible with fewer than 20 groups"


def test_with_too_few_groups_for_any_block_no_figure_is_told():
    three = quiet([70, 70, 60], noise=0.02)
    assert smallest_drop(three, alpha=0.05) == smallest_loss(three, alpha=0.05) == 1.0
    assert below_floor(0.05, three, 0.05) == (
        "200 samples in 3 groups, 1 repeat: no pass is possible with fewer than 20 groups;"
        " no block is possible with fewer than 5 groups"
    )
    assert can_see(three, None, alpha=0.05).endswith("1 repeat: no block is possible with fewer than 5 groups")


@pytest.mark.parametrize(("units", "repeats", "seen"), [(4, 1, False), (5, 1, True), (2, 3, False), (3, 3, True)])
def test_the_fewest_groups_for_a_block_fall_with_repeats(units, repeats, seen):
    graded = quiet([40] * units, noise=0.0001, binary=False, candidate=repeats)
    assert (smallest_drop(graded, alpha=0.05) < 1.0) is seen


def test_a_suite_of_two_samples_is_told_no_absurd_number():
    assert below_floor(0.05, quiet([1, 1], noise=0.08), 0.05) == (
        "2 samples, 1 repeat: no pass is possible with fewer than 20 samples;"
        " no block is possible with fewer than 5 samples"
    )


# --- half the margin must be observed -------------------------------------------------------------------------------


def test_a_block_asks_for_half_the_margin_too():
    spread = quiet([1] * 400, noise=0.0512, binary=False)  # se = 1.6 points
    assert smallest_drop(spread, alpha=0.05, margin=0.10) == pytest.approx(0.05 + 0.8416212 * 0.016)
    assert smallest_drop(spread, alpha=0.05, margin=0.02) == smallest_drop(spread, alpha=0.05)
    assert can_see(spread, 0.10, alpha=0.05) == "400 samples, 1 repeat: sees drops of 6.3 points or more"


@pytest.mark.parametrize(("size", "power"), [(1, 0.8), (4, 0.8), (1, 0.95)])
def test_the_drop_that_is_told_shows_half_the_margin_with_the_power_that_is_told(size, power):
    spread, margin = quiet([size] * 400, noise=0.02), 0.30
    loss = smallest_loss(spread, alpha=0.05, power=power, margin=margin)
    error = math.sqrt((spread.sd_per_unit**2 + loss * (1 - loss) / size) / 400)
    normal = 0.5 * (1 + math.erf((loss - margin / 2) / error / math.sqrt(2)))
    assert normal == pytest.approx(power)


def test_what_is_needed_shows_half_the_margin_even_where_noise_is_tolerated_more_than_missed():
    spread = quiet([1] * 40, noise=0.0512, binary=False)
    needed = units_needed(spread, 0.05, alpha=0.4, power=0.9)
    assert smallest_drop(with_units(spread, needed), alpha=0.4, power=0.9, margin=0.05) <= 0.05
    assert smallest_drop(with_units(spread, needed - 1), alpha=0.4, power=0.9, margin=0.05) > 0.05


# --- as displayed; strict; up to more repeats -----------------------------------------------------------------------


@pytest.mark.parametrize(("n", "wrong"), [(252, False), (240, True)])
def test_a_drop_that_reads_like_the_margin_is_no_problem(n, wrong):
    spread = quiet([1] * n, noise=0.0512)
    assert smallest_drop(spread, alpha=0.05) > 0.05
    assert (below_floor(0.05, spread, 0.05) is not None) is wrong
    assert ("needs" in can_see(spread, 0.05, alpha=0.05)) is wrong


def test_strict_counts_one_unseen_group_as_large_as_the_largest():
    sizes = [1] * 70 + [30] * 10
    spread = quiet(sizes, noise=0.0001)
    lax, strict = (least_passing_margin(spread, alpha=0.05, strict=mode) for mode in (False, True))
    none = np.zeros(len(sizes))
    p = bb1_test(none, np.array(sizes, float), margin=strict, seed=1, draws=400_000, pseudo_size=30.0)
    assert p == pytest.approx(0.05, abs=0.0015)
    assert lax < 0.05 < strict
    assert below_floor(0.05, spread, 0.05) is None
    assert "cannot pass with fewer than" in below_floor(0.05, spread, 0.05, strict=True)
    assert "groups under strict" in below_floor(0.05, spread, 0.05, strict=True)
    assert auto_margin(spread, alpha=0.05, strict=True) >= strict
    chosen = [resolved_margin("auto", PolicySettings(strict=mode), spread)[0] for mode in (False, True)]
    assert chosen[0] < chosen[1]


@pytest.mark.parametrize("strict", [False, True])
def test_on_as_many_groups_of_the_same_sizes_the_least_margin_is_met(strict):
    sizes = [1] * 20 + [9] * 10
    needed = pass_units(quiet(sizes), 0.02, alpha=0.05, strict=strict)
    more = quiet(sizes * math.ceil(needed / 30))
    fewer = quiet(sizes * (needed // 30 - 1))
    assert least_passing_margin(more, alpha=0.05, strict=strict) <= 0.02
    assert least_passing_margin(fewer, alpha=0.05, strict=strict) > 0.02


def test_both_figures_are_told_where_more_answers_may_be_asked():
    first = quiet([1] * 100, noise=0.08)
    most = with_repeats(first, baseline=1, candidate=3)
    assert can_see(most, 0.05, alpha=0.05, first=first).startswith(
        "100 samples, 1 repeat: sees drops of 9.9 points or more;"
        " up to 3 answers while undecided: sees drops of 8.1 points or more; a margin of 5 points needs 264 samples"
    )
    assert "up to" not in can_see(first, 0.05, alpha=0.05, first=first)


def test_no_candidate_score_can_move_the_margin(make_run):
    """The check's two runs meet in a comparison; the spread is asked of the baseline alone."""
    baseline = make_run(rows(40, 4))
    before = spread_of(baseline, "correct", candidate_repeats=1, samples=make_run(rows(40, 0)).samples.values())
    after = spread_of(baseline, "correct", candidate_repeats=1, samples=make_run(rows(40, 40)).samples.values())
    assert before == after


@pytest.mark.parametrize(
    ("value", "told"), [(0.126, "12.6 points"), (0.05, "5 points"), (0.01, "1 point"), (0.0025, "0.25 points")]
)
def test_points_read_as_people_say_them(value, told):
    assert points(value) == told
