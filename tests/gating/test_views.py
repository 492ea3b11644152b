"""How error rates are spent over looks: by what is compared, never on too little; and what a part may not decide."""

import math

import numpy as np
import pytest

from aigate.core.looks import Look, LookPlan
from aigate.core.verdict import Status
from aigate.gating.checks.min_score import MinScore
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from aigate.gating.views import Rates, schedule, views_of
from aigate.stats.sequential import nominal_levels

RATES = Rates(block=0.05, pass_=0.04, part_may_pass=True)


def plan_of(*looks):
    """Looks given as counts of units, or as pairs of units and repeats."""
    return LookPlan(tuple(Look(*look) if isinstance(look, tuple) else Look(look, 1) for look in looks))


def run_of(make_run, plan, *, asked=None):
    """A run of right answers with these looks, of which the first `asked` were reached."""
    last = plan.looks[-1]
    scores = {f"s{i:03}": [1.0] * last.repeats for i in range(last.units)}
    whole = make_run(scores, looks=plan)
    reached = plan.looks[(asked or len(plan.looks)) - 1]
    used = set(whole.unit_order[: reached.units])
    skipped = {
        result.key
        for result in whole.results
        if whole.samples[result.sample_id].unit not in used or result.repeat >= reached.repeats
    }
    return make_run(scores, looks=plan, skipped=skipped)


def stages_of(make_run, *looks, shared=None, rates=RATES, asked=None):
    """Per stage: what blocks may have cost by each look, and the levels of the pass test."""
    run = run_of(make_run, plan_of(*looks), asked=asked)
    units = run.unit_order if shared is None else [run.unit_order[i] for i in shared]
    numbers = numbered(run, units)
    return [(stage.spent, stage.pass_levels) for stage in schedule(run, views_of(run), numbers, rates).stages]


def numbered(run, units):
    """The units as the gate numbers them: by name."""
    names = sorted(run.unit_order)
    return np.array([names.index(unit) for unit in units], dtype=np.intp)


def approximately(*stages):
    return [(pytest.approx(spent), pytest.approx(levels)) for spent, levels in stages]


# --- looks that add units ---------------------------------------------------------------------------------------------


def test_each_look_spends_by_the_square_of_its_share(make_run):
    levels = nominal_levels([0.25, 0.5, 1.0], alpha=0.04).tolist()
    expected = approximately(((0.05 / 16, 0.05 / 4, 0.05), (0.04 / 16, *levels[1:])))
    assert stages_of(make_run, 30, 60, 120) == expected


def test_a_look_at_fewer_than_twenty_units_is_passed_over_and_its_share_goes_to_the_next(make_run):
    ((spent, levels),) = stages_of(make_run, 10, 20, 40)
    assert (spent[0], levels[0]) == (0.0, 0.0)
    # The second look is now the first: all that is spent by its time is its own.
    assert spent[1:] == pytest.approx((0.05 / 4, 0.05))
    assert levels[1:] == pytest.approx((0.04 / 4, nominal_levels([0.5, 1.0], alpha=0.04)[1]))
    # With a level for the first look, the last one would have less.
    assert levels[2] > nominal_levels([0.25, 0.5, 1.0], alpha=0.04)[2]


def test_twenty_units_are_enough_for_a_look_and_nineteen_are_not(make_run):
    ((enough, levels),) = stages_of(make_run, 20, 40)
    assert (enough[0], levels[0]) == pytest.approx((0.05 / 4, 0.01))
    assert stages_of(make_run, 19, 40) == [((0.0, 0.05), (0.0, 0.04))]


def test_units_that_are_not_compared_do_not_make_a_look_large_enough(make_run):
    shared = [*range(15), *range(30, 75)]
    ((spent, levels),) = stages_of(make_run, 30, 45, 75, shared=shared)
    assert (spent[0], levels[0]) == (0.0, 0.0)
    assert spent[1] == pytest.approx(0.05 * (30 / 60) ** 2)


def test_a_suite_of_few_units_is_decided_at_its_last_look_alone(make_run):
    assert stages_of(make_run, 6, 12, 18) == [((0.0, 0.0, 0.05), (0.0, 0.0, 0.04))]


@pytest.mark.parametrize("shared", [[], [3]])
def test_a_run_with_next_to_nothing_to_compare_spends_all_at_its_last_look(make_run, shared):
    assert stages_of(make_run, 30, 60, shared=shared) == [((0.0, 0.05), (0.0, 0.04))]


def test_the_share_of_a_look_counts_the_compared_units(make_run):
    # A third of the units has no counterpart in the baseline: none of the first look's, half of the others'.
    shared = [*range(40), *range(40, 80, 2), *range(80, 120, 2)]
    ((spent, levels),) = stages_of(make_run, 40, 80, 120, shared=shared)
    times = [40 / 80, 60 / 80, 1.0]
    assert spent == pytest.approx([0.05 * t**2 for t in times])
    assert levels == pytest.approx(nominal_levels(times, alpha=0.04).tolist())


def test_a_look_to_which_the_next_adds_nothing_to_compare_leaves_its_share_to_the_next(make_run):
    shared = [*range(30), *range(60, 90)]
    ((spent, levels),) = stages_of(make_run, 30, 60, 90, shared=shared)
    assert (spent[0], levels[0]) == (0.0, 0.0)
    assert spent[1:] == pytest.approx((0.05 / 4, 0.05))
    assert levels[1:] == pytest.approx((0.04 / 4, nominal_levels([0.5, 1.0], alpha=0.04)[1]))


def test_a_look_to_which_the_next_adds_one_compared_unit_counts_in_a_suite_of_hundreds(make_run):
    ((spent, _),) = stages_of(make_run, 30, 31, 200)
    assert spent == pytest.approx([0.05 * (n / 200) ** 2 for n in (30, 31, 200)])


def test_all_is_spent_where_the_compared_units_end_before_the_looks(make_run):
    ((spent, levels),) = stages_of(make_run, 30, 60, 90, shared=range(60))
    assert spent == pytest.approx((0.05 / 4, 0.05 / 4, 0.05))
    assert levels == pytest.approx((0.04 / 4, 0.0, nominal_levels([0.5, 1.0], alpha=0.04)[1]))


def test_looks_that_were_not_asked_still_count_in_the_shares(make_run):
    ((spent, levels),) = stages_of(make_run, 30, 60, 120, asked=2)
    assert spent == pytest.approx((0.05 / 16, 0.05 / 4))
    assert levels == pytest.approx(nominal_levels([0.25, 0.5, 1.0], alpha=0.04)[:2].tolist())


def test_without_planned_looks_the_only_one_has_the_whole_rates(make_run):
    run = make_run({f"s{i}": [1.0] for i in range(5)})
    (stage,) = schedule(run, views_of(run), numbered(run, run.unit_order), RATES).stages
    assert (stage.spent, stage.pass_levels) == ((0.05,), (0.04,))


def test_where_a_part_may_not_pass_the_last_look_has_the_whole_rate_of_a_pass(make_run):
    whole_only = Rates(block=0.05, pass_=0.04, part_may_pass=False)
    ((spent, levels),) = stages_of(make_run, 30, 60, 120, rates=whole_only)
    assert levels == (0.0, 0.0, 0.04)
    assert spent == pytest.approx((0.05 / 16, 0.05 / 4, 0.05))
    ((_, levels),) = stages_of(make_run, 30, 60, 120, rates=whole_only, asked=2)
    assert levels == (0.0, 0.0)


# --- looks that add repeats -------------------------------------------------------------------------------------------


def test_two_stages_share_both_rates_as_four_to_six(make_run):
    assert stages_of(make_run, (40, 1), (40, 3)) == approximately(((0.02,), (0.016,)), ((0.03,), (0.024,)))


def test_looks_within_a_stage_spend_the_part_of_their_stage(make_run):
    expected = approximately(
        ((0.02 / 4, 0.02), (0.016 / 4, nominal_levels([0.5, 1.0], alpha=0.016)[1])), ((0.03,), (0.024,))
    )
    assert stages_of(make_run, (30, 1), (60, 1), (60, 3)) == expected


def test_where_a_part_may_not_pass_only_the_last_look_of_a_stage_may(make_run):
    whole_only = Rates(block=0.05, pass_=0.04, part_may_pass=False)
    found = stages_of(make_run, (30, 1), (60, 1), (60, 3), rates=whole_only)
    assert [levels for _, levels in found] == [(0.0, pytest.approx(0.016)), (pytest.approx(0.024),)]


def test_a_stage_that_was_not_asked_takes_its_share_with_it(make_run):
    assert stages_of(make_run, (40, 1), (40, 3), asked=1) == approximately(((0.02,), (0.016,)))


# --- `min-score` at the whole suite and at a part of it ---------------------------------------------------------------


def min_score(run, at_least, *, baseline=None):
    policy = Policy((MinScore("correct", at_least=at_least),), at_most_missing=0.9)
    return next(check for check in gate(run, policy, baseline=baseline).checks if check.check == "min-score")


def just_below():
    """Scores in tenths whose mean is a decimal, but falls short of it by rounding."""
    for n in range(3, 30):
        for total in range(1, 10 * n):
            rows = [total // n / 10 + (0.1 if i < total % n else 0.0) for i in range(n)]
            threshold = round(total / (10 * n), 4)
            if round(threshold * 10 * n, 9) == total and math.fsum(rows) / n < threshold:
                return rows, threshold
    raise AssertionError("floats have become exact")


def test_a_mean_that_is_the_threshold_but_for_rounding_reaches_it(make_run):
    rows, threshold = just_below()
    run = make_run({f"s{i}": [row] for i, row in enumerate(rows)})
    found = min_score(run, threshold)
    assert found.observed < threshold
    assert found.status is Status.PASS
    assert "≥" in found.summary
    really_below = make_run({f"s{i}": [row - 1e-9] for i, row in enumerate(rows)})
    assert min_score(really_below, threshold).status is Status.FAIL


def test_a_mean_that_missing_scores_could_raise_to_the_threshold_but_for_rounding_has_not_failed(make_run):
    # With the missing score at 1 and another one lowered by as much, the mean is again short of it by rounding.
    rows, threshold = just_below()
    scores = {f"s{i}": [row] for i, row in enumerate(rows)}
    top = max(scores, key=lambda id_: scores[id_][0])
    lacking = 1.0 - scores[top][0]
    other = next(id_ for id_ in scores if id_ != top and scores[id_][0] >= lacking)
    scores |= {top: [None], other: [scores[other][0] - lacking]}
    found = min_score(make_run(scores), threshold)
    assert found.details["mean_if_missing_were_best"] < threshold
    assert found.status is Status.INCONCLUSIVE


def stopped_at_the_second_of_five_looks(make_run, score, *, version):
    plan = plan_of(100, 200, 300, 400, 500)
    scores = {f"s{i:03}": [score] for i in range(500)}
    order = make_run(scores, looks=plan).unit_order
    whole = make_run(scores, looks=plan)
    used = set(order[:200])
    skipped = {result.key for result in whole.results if whole.samples[result.sample_id].unit not in used}
    return make_run(scores, looks=plan, skipped=skipped, version=version)


@pytest.mark.parametrize(
    ("score", "version", "status"),
    [
        (1.0, "m/1/v2", Status.PASS),
        (1.0, "m/2/v1", Status.INCONCLUSIVE),
        (0.0, "m/2/v1", Status.FAIL),
    ],
)
def test_a_part_of_a_new_provider_version_may_miss_the_threshold_but_not_reach_it(make_run, score, version, status):
    baseline = make_run({f"s{i:03}": [1.0] for i in range(500)}, version="m/1/v1")
    run = stopped_at_the_second_of_five_looks(make_run, score, version=version)
    found = min_score(run, 0.5, baseline=baseline)
    assert (found.status, found.look) == (status, 2)
