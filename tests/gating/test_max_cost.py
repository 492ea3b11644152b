"""max-cost: what answers cost stays within a bound, as it was recorded; an unknown cost is said and never a pass."""

import pytest

from aigate.core.looks import Look, LookPlan, unit_order
from aigate.core.response import FaultKind
from aigate.core.verdict import Status
from aigate.errors import ConfigError
from aigate.gating.checks.base import check_from_config
from aigate.gating.checks.max_cost import MaxCost
from aigate.gating.decision import gate
from aigate.gating.policy import Policy


def ids(n):
    return [f"s{i:03}" for i in range(n)]


def priced(make_run, costs, **more):
    """A run whose samples cost so many dollars each: one number, or one per repeat."""
    rows = {id_: row if isinstance(row, list) else [row] for id_, row in zip(ids(len(costs)), costs, strict=True)}
    scores = {id_: [1.0] * len(row) for id_, row in rows.items()}
    return make_run(scores, responses=lambda id_, repeat: {"cost_usd": rows[id_][repeat]}, **more)


def outcome(check, candidate, baseline=None):
    verdict = gate(candidate, Policy((check,)), baseline=baseline)
    return next(found for found in verdict.checks if found.check == "max-cost")


def codes(found):
    return {why.code for why in found.reasons}


@pytest.mark.parametrize(("factor", "status"), [(1.0, Status.PASS), (1.1, Status.PASS), (1.11, Status.FAIL)])
def test_a_tenth_more_than_the_baseline_is_tolerated_and_no_more(make_run, factor, status):
    baseline = priced(make_run, [0.001, 0.003, 0.002])
    found = outcome(
        MaxCost(relative=1.10), priced(make_run, [0.001 * factor, 0.003 * factor, 0.002 * factor]), baseline
    )
    assert found.status is status
    assert found.observed == pytest.approx(factor)
    assert "0.002 USD → " in found.summary
    assert found.n_repeats == (1, 1)


def test_the_samples_that_cost_more_are_named_by_how_much(make_run):
    found = outcome(MaxCost(relative=1.1), priced(make_run, [0.1, 0.9, 0.3]), priced(make_run, [0.2, 0.4, 0.2]))
    assert found.status is Status.FAIL
    assert codes(found) == {"cost"}
    assert [(m.sample_id, m.baseline, m.candidate, m.note) for m in found.moved] == [
        ("s001", 0.4, 0.9, "USD"),
        ("s002", 0.2, 0.3, "USD"),
    ]


@pytest.mark.parametrize(("usd", "status"), [(0.002, Status.PASS), (0.00199, Status.FAIL)])
def test_dollars_bound_the_mean_cost_of_an_answer(make_run, usd, status):
    found = outcome(MaxCost(usd=usd), priced(make_run, [[0.001, 0.003], [0.002, 0.002]]))
    assert found.status is status
    assert (found.observed, found.threshold) == (pytest.approx(0.002), usd)


def test_both_bounds_must_hold(make_run):
    run, cheap = priced(make_run, [0.002] * 3), priced(make_run, [0.001] * 3)
    assert outcome(MaxCost(usd=0.01, relative=1.1), run, run).status is Status.PASS
    assert outcome(MaxCost(usd=0.01, relative=1.1), run, cheap).status is Status.FAIL
    assert outcome(MaxCost(usd=0.001, relative=1.1), run, run).status is Status.FAIL


@pytest.mark.parametrize("side", ["candidate", "baseline"])
def test_a_cost_that_is_not_known_is_no_pass(make_run, side):
    whole, some, none = (priced(make_run, costs) for costs in ([0.1] * 9, [0.1] * 8 + [None], [None] * 9))
    for run, status in ((some, Status.INCONCLUSIVE), (none, Status.ERROR)):
        found = outcome(MaxCost(relative=9.0), *((run, whole) if side == "candidate" else (whole, run)))
        assert found.status is status
        assert codes(found) == {"cost-unknown"}
        assert f"of 9 answers of the {side} do not say what they cost" in found.reasons[0].text
        assert "--price" in found.reasons[0].hint


def test_answers_that_did_not_come_have_no_cost_and_are_left_out_on_both_sides(make_run):
    baseline = priced(make_run, [0.1, 0.1, 9.0])
    lost = priced(make_run, [0.1, 0.1, None], faults={"s002": FaultKind.SERVER})
    found = outcome(MaxCost(relative=1.1), lost, baseline)
    assert (found.status, found.observed, found.n_samples) == (Status.PASS, pytest.approx(1.0), 2)


def test_where_nothing_was_paid_before_nothing_may_be_paid_now(make_run):
    free = priced(make_run, [0.0] * 3)
    assert outcome(MaxCost(relative=1.1), free, free).status is Status.PASS
    found = outcome(MaxCost(relative=1.1), priced(make_run, [0.1] * 3), free)
    assert found.status is Status.FAIL
    assert found.observed is None


def test_a_single_sample_decides_nothing(make_run):
    assert outcome(MaxCost(usd=1.0), priced(make_run, [0.1])).status is Status.INCONCLUSIVE


def test_a_baseline_is_needed_for_the_ratio_alone(make_run):
    run = priced(make_run, [0.1] * 3)
    assert outcome(MaxCost(relative=1.1), run).status is Status.ERROR
    assert outcome(MaxCost(usd=1.0, relative=1.1), run).status is Status.ERROR
    assert outcome(MaxCost(usd=0.01, relative=1.1), run).status is Status.FAIL
    assert Policy((MaxCost(usd=1.0, relative=1.1),)).without_baseline().checks == (MaxCost(usd=1.0),)


def test_a_part_of_the_suite_may_pass_and_does_not_fail(make_run):
    costs = [0.1] * 200
    order = unit_order(priced(make_run, costs).samples.values(), seed=0)
    plan = LookPlan((Look(100, 1), Look(200, 1)))
    asked = set(order[:100])
    skipped = {(id_, 0) for id_ in ids(200) if f"sample:{id_}" not in asked}
    run = priced(make_run, costs, looks=plan, skipped=skipped)
    found = outcome(MaxCost(usd=0.2), run)
    assert (found.status, found.look, found.n_samples) == (Status.PASS, 1, 100)
    dear = outcome(MaxCost(usd=0.05), run)
    assert dear.status is Status.INCONCLUSIVE
    assert codes(dear) == {"early-stopped"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "nothing is bounded"),
        ({"usd": 0}, "'usd' is 0.0: expected a number above 0"),
        ({"relative": float("nan")}, "'relative' is nan"),
        ({"relative": "1.1"}, "'relative' is '1.1': expected a number"),
        ({"relatve": 1.1}, "unknown option 'relatve'"),
    ],
)
def test_wrong_options_are_refused(options, told):
    with pytest.raises(ConfigError) as refused:
        check_from_config({"check": "max-cost", **options}, where="here")
    assert told in str(refused.value)
