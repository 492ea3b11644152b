"""Decisions at planned looks: the same whether the run was stopped there or went on, and never on less than allowed."""

from dataclasses import replace

import numpy as np
import pytest

from aigate.core.looks import Look, LookPlan
from aigate.core.response import FaultKind
from aigate.core.verdict import Status
from aigate.errors import RunFileError
from aigate.gating.checks.max_error_rate import MaxErrorRate
from aigate.gating.checks.min_score import MinScore
from aigate.gating.checks.must_pass import MustPass
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.checks.same_shape import SameShape
from aigate.gating.decision import gate
from aigate.gating.early_stop import asked_first, plan_looks, settled_by
from aigate.gating.policy import Policy
from aigate.gating.tables import compare
from aigate.gating.views import views_of

FIVE = LookPlan(tuple(Look(40 * k, 1) for k in range(1, 6)))
NO_REGRESSION = Policy((NoRegression("correct"),))


def ids(n):
    return [f"s{i:04}" for i in range(n)]


def drawn(rate, n=200, *, seed, repeats=1):
    random = np.random.default_rng(seed)
    return {id_: random.binomial(1, rate, repeats).astype(float).tolist() for id_ in ids(n)}


def order_of(run):
    """Sample ids in the order of the looks, where every sample is its own unit."""
    by_unit = {sample.unit: id_ for id_, sample in run.samples.items()}
    return [by_unit[unit] for unit in run.unit_order]


def stopped(make_run, scores, plan, look, **given):
    """The run as it would be if it had been stopped at a look."""
    whole = make_run(scores, looks=plan, **given)
    used = set(whole.unit_order[: plan.looks[look - 1].units])
    repeats = plan.looks[look - 1].repeats
    skipped = {r.key for r in whole.results if whole.samples[r.sample_id].unit not in used or r.repeat >= repeats}
    return make_run(scores, looks=plan, skipped=skipped, **given)


def found(verdict, check="no-regression"):
    return next(c for c in verdict.checks if c.check == check)


def decision(outcome):
    """All of an outcome that a decision rests on."""
    return replace(outcome, moved=())


# --- the same verdict, stopped or not ---------------------------------------------------------------------------------


def test_a_big_drop_blocks_at_the_first_look_and_says_so(make_run):
    baseline = make_run(drawn(0.9, seed=1))
    outcome = found(gate(make_run(drawn(0.3, seed=2), looks=FIVE), NO_REGRESSION, baseline=baseline))
    assert (outcome.status, outcome.look, outcome.looks) == (Status.FAIL, 1, 5)
    assert (outcome.n_samples, outcome.share_used) == (40, 0.2)
    assert "look 1 of 5" in outcome.summary


@pytest.mark.parametrize(("rate", "status"), [(0.5, Status.FAIL), (1.0, Status.PASS)])
def test_what_came_after_the_deciding_look_moves_nothing_of_the_decision(make_run, rate, status):
    baseline, scores = make_run(drawn(0.97, seed=1)), drawn(rate, seed=2)
    whole = found(gate(make_run(scores, looks=FIVE), NO_REGRESSION, baseline=baseline))
    part = found(gate(stopped(make_run, scores, FIVE, whole.look), NO_REGRESSION, baseline=baseline))
    assert whole.status is status
    assert whole.look < 5
    assert decision(whole) == decision(part)


def passed_early(make_run):
    """A baseline, scores that pass against it at an early look, that look's number, and ids in the order of looks."""
    baseline, scores = make_run(drawn(0.97, seed=1)), drawn(1.0, seed=2)
    run = make_run(scores, looks=FIVE)
    first = found(gate(run, NO_REGRESSION, baseline=baseline))
    assert first.status is Status.PASS
    assert first.look < 4
    return baseline, scores, first, order_of(run)


def test_other_scores_after_the_deciding_look_change_nothing(make_run):
    baseline, scores, first, order = passed_early(make_run)
    other = drawn(0.97, seed=9)
    later = scores | {id_: other[id_] for id_ in order[FIVE.looks[first.look - 1].units :]}
    assert later != scores
    assert decision(found(gate(make_run(later, looks=FIVE), NO_REGRESSION, baseline=baseline))) == decision(first)


def test_a_rest_that_was_answered_after_an_early_pass_and_is_broken_fails(make_run):
    baseline, scores, first, order = passed_early(make_run)
    later = scores | {id_: [0.0] for id_ in order[FIVE.looks[first.look - 1].units :]}
    outcome = found(gate(make_run(later, looks=FIVE), NO_REGRESSION, baseline=baseline))
    assert outcome.status is Status.FAIL
    assert outcome.look > first.look


def test_answers_beyond_the_last_complete_look_are_not_used(make_run):
    """Those that were in flight when the run was stopped: they depend on which came first."""
    baseline, scores, first, order = passed_early(make_run)
    end = FIVE.looks[first.look - 1].units
    policy = Policy((NoRegression("correct"), MaxErrorRate(at_most=0.01), MinScore("correct", at_least=0.5)))
    verdicts = []
    for faults in ({}, dict.fromkeys(order[end : end + 8], FaultKind.RATE_LIMIT)):
        skipped = {(id_, 0) for id_ in order[end + 8 :]}
        run = make_run(scores, looks=FIVE, skipped=skipped, faults=faults)
        verdicts.append(gate(run, policy, baseline=baseline))
    one, other = verdicts
    assert one.status is other.status is Status.PASS
    assert [decision(c) for c in one.checks if not c.integrity] == [
        decision(c) for c in other.checks if not c.integrity
    ]


def test_a_named_slice_that_cannot_block_yet_keeps_an_early_look_from_passing(make_run):
    n, plan = 1000, LookPlan(tuple(Look(200 * k, 1) for k in range(1, 6)))
    tags = {id_: ["rare"] for id_ in ids(25)}
    scores = {id_: [float(i >= 25)] for i, id_ in enumerate(ids(n))}
    baseline = make_run({id_: [1.0] for id_ in ids(n)}, tags=tags)
    policy = Policy((NoRegression("correct", slices=("rare",), margin=0.10),))
    outcome = found(gate(make_run(scores, looks=plan, tags=tags), policy, baseline=baseline))
    assert outcome.status is Status.FAIL
    assert "slice-drop" in {reason.code for reason in outcome.reasons}


def test_a_named_slice_that_cannot_block_at_half_of_alpha_keeps_an_anchored_run_from_passing(make_run):
    tags = {id_: ["rare"] for id_ in ids(5)}
    scores = {id_: [float(i >= 5)] for i, id_ in enumerate(ids(200))}
    whole = {id_: [1.0] for id_ in ids(200)}
    policy = Policy((NoRegression("correct", slices=("rare",), margin=0.10),))
    runs = {"baseline": make_run(whole, tags=tags), "anchor": make_run(whole, tags=tags, version="m/1/v0")}
    assert gate(make_run(scores, tags=tags), policy, **runs).status is Status.INCONCLUSIVE


def test_copies_of_one_answer_count_as_one(make_run):
    """A version without any variation, asked three times: (1/4)^k for k lost samples would be no honest p-value."""
    baseline = make_run({id_: [1.0] for id_ in ids(100)})
    scores = {id_: [float(i >= 5)] * 3 for i, id_ in enumerate(ids(100))}
    outputs = {id_: f"the answer to {id_}" for id_ in ids(100)}
    copies = found(gate(make_run(scores, outputs=outputs), NO_REGRESSION, baseline=baseline))
    once = found(
        gate(make_run({i: r[:1] for i, r in scores.items()}, outputs=outputs), NO_REGRESSION, baseline=baseline)
    )
    assert copies.details["p_block"] == once.details["p_block"]
    assert copies.n_repeats == (1, 1)
    assert "repeats-are-copies" in {reason.code for reason in copies.reasons}
    told_apart = found(gate(make_run(scores), NO_REGRESSION, baseline=baseline))  # outputs that differ
    assert told_apart.n_repeats == (3, 1)


def test_metrics_of_which_one_varies_between_copies_are_tested_together(make_run):
    """A version that does not vary, and a judge that does: the repeats are no copies for either metric."""
    random, hundred = np.random.default_rng(1), ids(100)
    baseline = make_run({m: {id_: [1.0] for id_ in hundred} for m in ("correct", "judge")})
    votes = {id_: random.binomial(1, 0.9, 3).astype(float).tolist() for id_ in hundred}
    scores = {"correct": {id_: [1.0] * 3 for id_ in hundred}, "judge": votes}
    outputs = {id_: f"the answer to {id_}" for id_ in hundred}
    policy = Policy((NoRegression("correct"), NoRegression("judge")))
    for candidate, other in (
        (scores, baseline),
        ({m: {i: r[:1] for i, r in t.items()} for m, t in scores.items()}, None),
    ):
        base = other or make_run(scores, outputs=outputs)
        verdict = gate(make_run(candidate, outputs=outputs), policy, baseline=base)
        repeats = {c.n_repeats for c in verdict.checks if c.check == "no-regression"}
        assert repeats in ({(3, 1)}, {(1, 3)})


def test_copies_carry_nothing_of_a_later_look_into_an_earlier_one(make_run):
    plan = LookPlan((Look(300, 1), Look(300, 3)))
    three, outputs = ids(300), dict.fromkeys(ids(300), "always the same")
    scores = {id_: [0.0, 1.0, 1.0] if i < 3 else [float(i >= 15)] * 3 for i, id_ in enumerate(three)}
    baseline = make_run({id_: [1.0] for id_ in three})
    policy = Policy((NoRegression("correct", margin=0.075),))
    whole = found(gate(make_run(scores, looks=plan, outputs=outputs), policy, baseline=baseline))
    part = found(gate(stopped(make_run, scores, plan, 1, outputs=outputs), policy, baseline=baseline))
    assert (part.status, part.look) == (Status.INCONCLUSIVE, 1)
    assert (whole.status, whole.look) != (Status.PASS, 1)


def test_a_metric_that_no_asked_sample_has_is_undecided_and_never_a_number(make_run):
    applies = set(order_of(make_run({id_: [1.0] for id_ in ids(200)}))[100:140])
    scores = {
        "correct": {id_: [1.0] for id_ in ids(200)},
        "rag": {id_: [1.0] for id_ in applies},
    }
    policy = Policy((NoRegression("correct"), NoRegression("rag")), at_most_missing=0.99)
    baseline = make_run(scores)
    run = make_run(scores, looks=FIVE)
    skipped = {r.key for r in run.results if r.sample_id not in set(order_of(run)[:41])}
    for more in (set(), {(sorted(applies)[0], 0)}):  # one of them in flight when the run was stopped
        verdict = gate(make_run(scores, looks=FIVE, skipped=skipped - more), policy, baseline=baseline)
        rag = [c for c in verdict.checks if c.metric == "rag"]
        assert [c.status for c in rag] == [Status.INCONCLUSIVE]
        assert rag[0].observed is None


def test_skipped_answers_that_no_look_stands_behind_void_the_verdict(make_run):
    run = make_run(drawn(1.0, seed=1), skipped={(id_, 0) for id_ in ids(140)})
    for check in (MaxErrorRate(at_most=0.01), MinScore("correct", at_least=0.1), SameShape()):
        assert gate(run, Policy((check,)), baseline=make_run(drawn(1.0, seed=1))).status is Status.ERROR


def test_a_stopped_run_is_no_pass_for_a_policy_that_has_no_looks(make_run):
    run = stopped(make_run, drawn(1.0, seed=1), FIVE, 2)
    assert gate(run, Policy((MaxErrorRate(at_most=0.01),))).status is Status.INCONCLUSIVE


def test_must_pass_alone_cannot_pass_a_run_that_was_stopped_before_its_first_look(make_run):
    tags = {"s0000": ["safety"]}
    run = make_run(drawn(1.0, seed=1), tags=tags, looks=FIVE, skipped={(id_, 0) for id_ in ids(200)[5:]})
    policy = Policy((MustPass(tag="safety"), MaxErrorRate(at_most=0.01)))
    assert gate(run, policy).status is Status.INCONCLUSIVE


def test_missing_outputs_could_have_changed_shape(make_run):
    scores, outputs = drawn(1.0, seed=1), {id_: f"the answer to {id_}, long enough" for id_ in ids(200)}
    faults = dict.fromkeys(ids(25), FaultKind.CONNECTION)
    run = make_run(scores, outputs=outputs, faults=faults, version="m/1/v2")
    policy = Policy((SameShape(),), at_most_missing=0.5)
    outcome = found(gate(run, policy, baseline=make_run(scores, outputs=outputs)), "same-shape")
    assert (outcome.status, outcome.reasons[0].code) == (Status.INCONCLUSIVE, "missing-decides")


def test_a_part_of_the_suite_passes_on_half_the_tolerated_change_of_shape(make_run):
    scores, plain = drawn(1.0, seed=1), {id_: f"the answer to {id_}, long enough" for id_ in ids(200)}
    order = order_of(make_run(scores, looks=FIVE))
    baseline = make_run(scores, outputs=plain)
    for fenced, status in ((1, Status.PASS), (3, Status.INCONCLUSIVE)):  # of 40: 2.5 and 7.5 points, 10 tolerated
        outputs = plain | {id_: f"```\n{plain[id_]}\n```" for id_ in order[:fenced]}
        run = stopped(make_run, scores, FIVE, 1, outputs=outputs, version="m/1/v2")
        assert found(gate(run, Policy((SameShape(),)), baseline=baseline), "same-shape").status is status


def test_an_anchor_that_nothing_is_compared_with_is_said(make_run):
    run = make_run(drawn(1.0, seed=1))
    for policy, baseline in ((Policy((MinScore("correct", at_least=0.5),)), None), (NO_REGRESSION, run)):
        notes = {note.code for note in gate(run, policy, baseline=baseline, anchor=run).notes}
        assert "anchor-unused" in notes


def test_a_run_that_was_stopped_undecided_is_inconclusive_and_told_to_go_on(make_run):
    baseline = make_run(drawn(0.8, seed=1))
    run = stopped(make_run, drawn(0.8, seed=2), FIVE, 2)
    outcome = found(gate(run, NO_REGRESSION, baseline=baseline))
    assert (outcome.status, outcome.look) == (Status.INCONCLUSIVE, 2)
    assert "--no-early-stop" in outcome.reasons[0].hint


def test_a_run_that_was_stopped_before_its_first_look_decides_nothing(make_run):
    scores = drawn(1.0, seed=2)
    run = make_run(scores, looks=FIVE, skipped={(id_, 0) for id_ in ids(200)[:190]})
    assert views_of(run) == ()
    verdict = gate(run, Policy((NoRegression("correct"), MinScore("correct", at_least=0.1), SameShape())), baseline=run)
    assert verdict.status is not Status.PASS
    assert {c.status for c in verdict.checks if not c.integrity} == {Status.INCONCLUSIVE}


def test_the_order_of_looks_is_that_of_the_suite_and_not_of_the_candidate(make_run):
    one, other = make_run(drawn(0.1, seed=1)), make_run(drawn(0.9, seed=2), version="m/2/v1")
    assert order_of(one) == order_of(other) != ids(200)


def test_every_look_sees_each_slice_in_proportion(make_run):
    tags = {id_: ["rare"] if i % 10 == 0 else ["common"] for i, id_ in enumerate(ids(200))}
    order = order_of(make_run(drawn(0.5, seed=1), tags=tags))
    rare = [sum("rare" in tags[id_] for id_ in order[: 40 * k]) for k in range(1, 6)]
    assert all(abs(count - 4 * k) <= 1 for k, count in enumerate(rare, start=1))


# --- the error rates over looks ---------------------------------------------------------------------------------------


def rates(make_run, policy, baseline_rate, rate, runs, *, plan=FIVE, repeats=1):
    statuses = []
    for seed in range(runs):
        baseline = make_run(drawn(baseline_rate, seed=2 * seed))
        candidate = make_run(drawn(rate, seed=2 * seed + 1), looks=plan)
        statuses.append(found(gate(candidate, policy, baseline=baseline)).status)
    return {status: statuses.count(status) / runs for status in Status}


def test_five_looks_block_an_unchanged_candidate_no_more_often_than_alpha(make_run):
    runs = 150
    assert rates(make_run, NO_REGRESSION, 0.85, 0.85, runs)[Status.FAIL] <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_five_looks_pass_a_drop_of_the_margin_no_more_often_than_alpha(make_run):
    runs = 150
    assert rates(make_run, NO_REGRESSION, 0.95, 0.90, runs)[Status.PASS] <= 0.06 + 3 * (0.06 * 0.94 / runs) ** 0.5


# --- what may not pass on a part --------------------------------------------------------------------------------------


def test_a_new_provider_version_passes_on_the_whole_suite_only(make_run):
    baseline, scores = make_run(drawn(0.97, seed=1)), drawn(1.0, seed=2)
    same = found(gate(make_run(scores, looks=FIVE, version="m/1/v2"), NO_REGRESSION, baseline=baseline))
    bump = found(gate(make_run(scores, looks=FIVE, version="m/2/v1"), NO_REGRESSION, baseline=baseline))
    assert same.status is bump.status is Status.PASS
    assert same.look < 5
    assert bump.look == 5


def test_a_new_provider_version_still_fails_at_the_first_look(make_run):
    baseline = make_run(drawn(0.9, seed=1))
    run = make_run(drawn(0.3, seed=2), looks=FIVE, version="m/2/v1")
    assert found(gate(run, NO_REGRESSION, baseline=baseline)).look == 1


def test_a_stopped_run_of_a_new_provider_version_is_inconclusive(make_run):
    baseline, scores = make_run(drawn(0.97, seed=1)), drawn(1.0, seed=2)
    run = stopped(make_run, scores, FIVE, 3, version="m/2/v1")
    policy = Policy((MinScore("correct", at_least=0.5), SameShape()))
    assert found(gate(run, policy, baseline=baseline), "provider-bump").status is Status.INCONCLUSIVE


def test_a_baseline_that_was_stopped_early_is_no_ground(make_run):
    scores = drawn(1.0, seed=2)
    verdict = gate(make_run(scores), NO_REGRESSION, baseline=stopped(make_run, scores, FIVE, 2))
    assert verdict.status is Status.ERROR
    assert found(verdict, "baseline-sound").status is Status.ERROR


def test_an_interim_look_needs_the_whole_margin_and_the_last_one_half_of_it(make_run):
    n = 1000
    plan = LookPlan(tuple(Look(200 * k, 1) for k in range(1, 6)))
    baseline = make_run({id_: [1.0] for id_ in ids(n)})
    order = order_of(baseline)
    for lost, look in ((8, None), (12, 1)):  # of the first 200: 4 and 6 points, with a margin of 5
        broken = set(order[:lost]) | set(order[200 : 200 + 4 * 2])
        scores = {id_: [0.0 if id_ in broken else 1.0] for id_ in ids(n)}
        outcome = found(gate(make_run(scores, looks=plan), NO_REGRESSION, baseline=baseline))
        assert (outcome.look == look and outcome.status is Status.FAIL) is (look is not None)


def test_missing_scores_at_a_look_are_bounded_at_that_look(make_run):
    scores = drawn(1.0, seed=2)
    order = order_of(make_run(scores, looks=FIVE))
    scores |= {id_: [None] for id_ in order[:16]}
    baseline = make_run(drawn(0.99, seed=1))
    outcome = found(gate(make_run(scores, looks=FIVE), replace(NO_REGRESSION, at_most_missing=0.5), baseline=baseline))
    assert outcome.status is Status.INCONCLUSIVE
    assert outcome.look == 5
    assert outcome.reasons[0].code == "missing-decides"


@pytest.mark.parametrize("looks", [(Look(40, 1), Look(80, 1)), (Look(40, 1), Look(400, 1))])
def test_planned_looks_that_leave_a_rest_out_void_the_verdict(make_run, looks):
    scores = drawn(1.0, seed=1)
    verdict = gate(make_run(scores, looks=LookPlan(looks)), NO_REGRESSION, baseline=make_run(scores))
    assert verdict.status is Status.ERROR
    assert found(verdict, "whole-suite").reasons[0].code == "looks-incomplete"


def test_planned_repeats_that_are_not_those_of_the_run_break_its_header(make_run):
    with pytest.raises(RunFileError, match="the last look uses 2 repeats, the run has 1"):
        make_run(drawn(1.0, seed=1), looks=LookPlan((Look(200, 1), Look(200, 2))))


# --- more answers instead of more samples -----------------------------------------------------------------------------

ESCALATION = LookPlan((Look(200, 1), Look(200, 3)))


def test_escalation_decides_on_one_answer_where_that_is_enough(make_run):
    baseline = make_run(drawn(0.9, seed=1, repeats=5))
    scores = drawn(0.4, seed=2, repeats=3)
    outcome = found(gate(make_run(scores, looks=ESCALATION), NO_REGRESSION, baseline=baseline))
    assert (outcome.status, outcome.look, outcome.n_repeats) == (Status.FAIL, 1, (1, 5))
    part = found(gate(stopped(make_run, scores, ESCALATION, 1), NO_REGRESSION, baseline=baseline))
    assert decision(part) == decision(outcome)


def test_escalation_uses_all_answers_where_one_is_not_enough(make_run):
    baseline = make_run(drawn(0.9, seed=1, repeats=5))
    scores = drawn(0.9, seed=3, repeats=3)
    outcome = found(gate(make_run(scores, looks=ESCALATION), NO_REGRESSION, baseline=baseline))
    assert (outcome.look, outcome.n_repeats) == (2, (3, 5))


def test_an_escalated_run_that_needed_no_more_is_a_baseline_of_one_repeat(make_run):
    scores = drawn(0.9, seed=1, repeats=3)
    baseline = stopped(make_run, scores, ESCALATION, 1)
    verdict = gate(make_run(drawn(0.9, seed=1)), NO_REGRESSION, baseline=baseline)
    assert found(verdict, "baseline-sound").status is Status.PASS
    assert found(verdict).n_repeats == (1, 1)
    assert found(verdict).details["missing"] == 0


# --- the other checks -------------------------------------------------------------------------------------------------


def test_min_score_decides_early_by_betting_and_says_at_which_look(make_run):
    policy = Policy((MinScore("correct", at_least=0.5),))
    plan = LookPlan(tuple(Look(100 * k, 1) for k in range(1, 6)))
    run = stopped(make_run, drawn(0.95, 500, seed=1), plan, 2)
    outcome = found(gate(run, policy), "min-score")
    assert (outcome.status, outcome.look, outcome.share_used) == (Status.PASS, 2, 0.4)
    bad = found(gate(stopped(make_run, drawn(0.1, 500, seed=1), plan, 2), policy), "min-score")
    assert bad.status is Status.FAIL
    half = {id_: [float(i % 2)] for i, id_ in enumerate(ids(500))}
    close = found(gate(stopped(make_run, half, plan, 2), policy), "min-score")
    assert (close.status, close.reasons[0].code) == (Status.INCONCLUSIVE, "undecided-early")


def test_min_score_of_a_whole_run_with_looks_is_the_plain_mean(make_run):
    scores = {id_: [float(i < 170)] for i, id_ in enumerate(ids(200))}
    outcome = found(gate(make_run(scores, looks=FIVE), Policy((MinScore("correct", at_least=0.85),))), "min-score")
    assert (outcome.status, outcome.observed, outcome.share_used) == (Status.PASS, 0.85, 1.0)


def test_missing_scores_count_as_the_worst_in_an_early_pass_and_as_the_best_in_an_early_fail(make_run):
    plan = LookPlan(tuple(Look(100 * k, 1) for k in range(1, 6)))
    for rate in (0.95, 0.05):
        scores = drawn(rate, 500, seed=1)
        order = order_of(make_run(scores, looks=plan))
        scores |= {id_: [None] for id_ in order[:120]}
        run = stopped(make_run, scores, plan, 2)
        policy = Policy((MinScore("correct", at_least=0.5),), at_most_missing=0.9)
        assert found(gate(run, policy), "min-score").status is Status.INCONCLUSIVE


def test_error_rates_of_a_stopped_run_fail_only_when_the_rest_could_not_help(make_run):
    policy = Policy((MaxErrorRate(at_most=0.10),))
    scores = drawn(1.0, seed=1)
    order = order_of(make_run(scores, looks=FIVE))
    for broken, status in ((3, Status.PASS), (10, Status.INCONCLUSIVE), (21, Status.FAIL)):
        faults = dict.fromkeys(order[:broken], FaultKind.TIMEOUT)
        run = stopped(make_run, scores, FIVE, 1, faults=faults)
        assert found(gate(run, policy), "max-error-rate").status is status


def test_a_must_pass_sample_that_was_never_asked_is_no_pass(make_run):
    scores = drawn(1.0, seed=1)
    order = order_of(make_run(scores, looks=FIVE))
    policy = Policy((MustPass(tag="safety"),))
    for tagged, status in ((order[0], Status.PASS), (order[-1], Status.INCONCLUSIVE)):
        tags = {tagged: ["safety"]}
        order_now = order_of(make_run(scores, looks=FIVE, tags=tags))
        skipped = {(id_, 0) for id_ in order_now[40:]} - ({(tagged, 0)} if status is Status.PASS else set())
        skipped |= {(tagged, 0)} if status is Status.INCONCLUSIVE else set()
        run = make_run(scores, looks=FIVE, tags=tags, skipped=skipped)
        assert found(gate(run, policy), "must-pass").status is status


def test_shapes_of_a_stopped_run_are_those_of_the_look_at_its_part_of_alpha(make_run):
    scores = drawn(1.0, seed=1)
    plain = {id_: f"the answer to {id_} is long enough" for id_ in ids(200)}
    fenced = {id_: f"```\n{text}\n```" for id_, text in plain.items()}
    baseline = make_run(scores, outputs=plain)
    run = stopped(make_run, scores, FIVE, 2, outputs=fenced, version="m/1/v2")
    outcome = found(gate(run, Policy((SameShape(),)), baseline=baseline), "same-shape")
    assert (outcome.status, outcome.look, outcome.n_samples) == (Status.FAIL, 2, 80)
    assert outcome.alpha == pytest.approx(0.01 / 5)


def test_answers_skipped_by_early_stop_are_not_missing(make_run):
    verdict = gate(stopped(make_run, drawn(1.0, seed=1), FIVE, 1), Policy((MinScore("correct", at_least=0.5),)))
    complete, whole = found(verdict, "complete"), found(verdict, "whole-suite")
    assert (complete.status, complete.observed) == (Status.PASS, 0.0)
    assert verdict.metrics["correct"] == {"scored": 40, "missing": 0, "mean": 1.0}
    assert "160 of 200 answers were not asked (80%)" in whole.reasons[0].text


def test_a_comparison_uses_every_answer_there_is(make_run):
    baseline = make_run(drawn(0.9, seed=1))
    rows = compare(baseline, make_run(drawn(0.3, seed=2), looks=FIVE)).rows()
    assert rows[0]["n"] == 200


# --- planning and settling --------------------------------------------------------------------------------------------


def planned(make_run, policy, n, *, baseline_repeats=1, repeats=1, max_repeats=1, early_stop=True, baseline=True):
    run = make_run(drawn(0.9, n, seed=1, repeats=baseline_repeats))
    return plan_looks(
        tuple(run.samples.values()),
        policy,
        run if baseline else None,
        repeats=repeats,
        max_repeats=max_repeats,
        early_stop=early_stop,
    )


def test_a_large_suite_has_five_looks_in_units(make_run):
    plan = planned(make_run, NO_REGRESSION, 503)
    assert [look.units for look in plan.looks] == [101, 202, 302, 403, 503]
    assert not plan.escalates


def test_a_suite_too_small_for_its_margin_escalates(make_run):
    assert planned(make_run, NO_REGRESSION, 50, max_repeats=3).looks == (Look(50, 1), Look(50, 3))
    plan = planned(make_run, NO_REGRESSION, 250, max_repeats=3)
    assert [(look.units, look.repeats) for look in plan.looks] == [*((50 * k, 1) for k in range(1, 6)), (250, 3)]


@pytest.mark.parametrize(
    "given",
    [
        {"n": 199},  # too small for looks
        {"n": 500, "early_stop": False},
        {"n": 500, "baseline": False},  # what is made to become the baseline is asked whole
        {"n": 500, "policy": Policy((MustPass(tag="x"), SameShape()))},
    ],
)
def test_where_only_the_end_decides_no_look_is_planned(make_run, given):
    given = {"policy": NO_REGRESSION, **given}
    assert planned(make_run, given.pop("policy"), given.pop("n"), **given) is None


def test_a_large_suite_does_not_escalate(make_run):
    assert not planned(make_run, NO_REGRESSION, 1500, max_repeats=3).escalates


def test_a_quiet_baseline_needs_no_escalation(make_run):
    run = make_run({id_: [1.0, 1.0, 1.0] for id_ in ids(250)})
    plan = plan_looks(tuple(run.samples.values()), NO_REGRESSION, run, repeats=1, max_repeats=3, early_stop=True)
    assert not plan.escalates


def test_samples_that_must_pass_are_asked_first(make_run):
    run = make_run(drawn(1.0, 5, seed=1), tags={"s0003": ["safety"], "s0004": ["other"]})
    policy = Policy((MinScore("correct", at_least=0.5), MustPass(tag="safety")))
    assert asked_first(tuple(run.samples.values()), policy) == {"s0003"}


@pytest.mark.parametrize(("rate", "look", "settled"), [(1.0, 4, True), (0.3, 1, True), (0.97, 1, False)])
def test_a_run_is_settled_when_its_verdict_is_certain(make_run, rate, look, settled):
    baseline = make_run(drawn(1.0, seed=1))
    policy = Policy((NoRegression("correct"), MinScore("correct", at_least=0.5)))
    run = stopped(make_run, drawn(rate, seed=2), FIVE, look)
    assert settled_by(policy, baseline)(run) is settled


def test_one_failed_check_settles_what_others_leave_open(make_run):
    scores = drawn(0.9, seed=2) | {"s0000": [0.0]}
    tags = {"s0000": ["safety"]}
    policy = Policy((NoRegression("correct"), MustPass(tag="safety")))
    order = order_of(make_run(scores, looks=FIVE, tags=tags))
    skipped = {(id_, 0) for id_ in order[40:]} - {("s0000", 0)}
    run = make_run(scores, looks=FIVE, tags=tags, skipped=skipped)
    assert settled_by(policy, make_run(drawn(0.9, seed=1), tags=tags))(run)


def test_the_wrong_model_settles_a_run(make_run):
    baseline = make_run(drawn(0.9, seed=1), served="m-1")
    run = stopped(make_run, drawn(0.9, seed=2), FIVE, 1, served="other")
    assert settled_by(NO_REGRESSION, baseline)(run)


# --- an older baseline beside the baseline ----------------------------------------------------------------------------


def test_an_anchor_sees_the_drift_that_each_step_hides(make_run):
    def run(lost):
        return make_run({id_: [float(i >= lost)] for i, id_ in enumerate(ids(1000))}, version=f"m/1/v{lost}")

    alone = gate(run(100), NO_REGRESSION, baseline=run(85))
    both = gate(run(100), NO_REGRESSION, baseline=run(85), anchor=run(0))
    assert alone.status is Status.PASS
    assert both.status is Status.FAIL
    rolling, anchored = (c for c in both.checks if c.check == "no-regression")
    assert (rolling.status, rolling.against) == (Status.PASS, None)
    assert (anchored.status, anchored.against, anchored.label) == (
        Status.FAIL,
        "anchor",
        "no-regression correct vs anchor",
    )
    assert both.bound["anchor"] == run(0).digest


def test_alpha_is_split_between_baseline_and_anchor(make_run):
    baseline, anchor = make_run(drawn(0.9, seed=1)), make_run(drawn(0.9, seed=3), version="m/1/v0")
    verdict = gate(make_run(drawn(0.9, seed=2)), NO_REGRESSION, baseline=baseline, anchor=anchor)
    shares = [c.details["block_alpha"] for c in verdict.checks if c.check == "no-regression"]
    assert shares == [0.025, 0.025]


def test_an_anchor_that_is_the_baseline_costs_nothing(make_run):
    baseline, candidate = make_run(drawn(0.9, seed=1)), make_run(drawn(0.9, seed=2))
    alone = gate(candidate, NO_REGRESSION, baseline=baseline)
    both = gate(candidate, NO_REGRESSION, baseline=baseline, anchor=baseline)
    assert tuple(c for c in both.checks if c.against is None) == alone.checks
    assert found(both).details["block_alpha"] == 0.05


def test_an_anchor_that_was_stopped_early_is_no_ground(make_run):
    scores = drawn(1.0, seed=2)
    anchor = stopped(make_run, scores, FIVE, 2, version="m/1/v0")
    verdict = gate(make_run(scores), NO_REGRESSION, baseline=make_run(scores, version="m/1/v0"), anchor=anchor)
    assert verdict.status is Status.ERROR
    assert ("baseline-sound vs anchor", Status.ERROR) in {(c.label, c.status) for c in verdict.checks}


def test_an_anchor_that_cannot_be_compared_is_an_error(make_run):
    other = make_run(drawn(0.9, seed=3), inputs=dict.fromkeys(ids(200), "another question"))
    candidate = make_run(drawn(0.9, seed=2))
    verdict = gate(candidate, NO_REGRESSION, baseline=make_run(drawn(0.9, seed=1)), anchor=other)
    assert verdict.status is Status.ERROR


@pytest.mark.parametrize(("n", "planned"), [(19, None), (20, LookPlan((Look(20, 1), Look(20, 3))))])
def test_more_answers_are_planned_only_where_a_pass_can_follow(make_run, n, planned):
    baseline = make_run(drawn(0.9, n, seed=1))
    given = {"repeats": 1, "max_repeats": 3, "early_stop": True}
    assert plan_looks(list(baseline.samples.values()), NO_REGRESSION, baseline, **given) == planned
