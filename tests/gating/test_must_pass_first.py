"""Samples that must pass: the plan to stop by them, what settles a run before its first look, what stays the same."""

from dataclasses import replace

import numpy as np
import pytest

from aigate.core.ledger import Outcome
from aigate.core.looks import Look, LookPlan
from aigate.core.response import FaultKind
from aigate.core.verdict import Status
from aigate.gating.checks.max_error_rate import MaxErrorRate
from aigate.gating.checks.min_score import MinScore
from aigate.gating.checks.must_pass import MustPass
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.checks.same_shape import SameShape
from aigate.gating.decision import gate
from aigate.gating.early_stop import plan_looks, settled_by
from aigate.gating.policy import Policy
from aigate.running.schedule import run_at_look, schedule

SAFETY = {"s000": ["safety"], "s017": ["safety"], "s030": ["safety"]}
MUST_PASS = MustPass(tag="safety")
COMPARED = Policy((NoRegression("correct"), MUST_PASS))


def drawn(n, *, seed, rate=0.9):
    random = np.random.default_rng(seed)
    scores = {f"s{i:03}": [float(random.random() < rate)] for i in range(n)}
    return {**scores, **{id_: [1.0] for id_ in SAFETY if id_ in scores}}


def planned(make_run, policy, n=50, *, tags=SAFETY, baseline=True, early_stop=True, repeats=1, max_repeats=1):
    run = make_run(drawn(n, seed=1), tags=tags)
    given = {"repeats": repeats, "max_repeats": max(repeats, max_repeats), "early_stop": early_stop}
    return plan_looks(tuple(run.samples.values()), policy, run if baseline else None, **given)


def before_its_first_look(run):
    """The run as it stands once its tagged samples are answered."""
    plan, first = run.header.looks, frozenset(SAFETY)
    tasks = schedule(tuple(run.samples.values()), run.header.repeats, looks=plan, seed=run.header.seed, first=first)
    return run_at_look(0, header=run.header, tasks=tasks, found={result.key: result for result in run.results})


@pytest.mark.parametrize("n", [50, 500])
def test_a_first_run_is_asked_whole(make_run, n):
    assert planned(make_run, COMPARED, n, baseline=False) is None


@pytest.mark.parametrize(
    "given",
    [
        {"early_stop": False},
        {"tags": {}},
        {"tags": {"s000": ["other"]}},
        {"policy": Policy((MinScore("correct", at_least=0.5), SameShape()))},
    ],
)
def test_where_none_must_pass_or_nothing_may_stop_no_look_is_planned(make_run, given):
    assert planned(make_run, **{"policy": COMPARED, **given}) is None


def test_looks_and_escalation_are_planned_as_without_samples_that_must_pass(make_run):
    alone = Policy((NoRegression("correct"),))
    for n in (50, 250):
        plan = planned(make_run, alone, n, max_repeats=3)
        assert plan is not None
        assert planned(make_run, COMPARED, n, max_repeats=3) == plan


ALL = Policy(
    (
        NoRegression("correct", slices=("safety",)),
        MinScore("correct", at_least=0.5),
        MUST_PASS,
        SameShape(),
        MaxErrorRate(at_most=0.1),
    )
)


@pytest.mark.parametrize("rate", [0.95, 0.7])
@pytest.mark.parametrize("repeats", [1, 2])
def test_a_plan_of_one_look_changes_nothing_of_the_verdict_on_a_whole_run(make_run, rate, repeats):
    tags = {f"s{i:03}": ["safety"] for i in range(30)}
    scores = {id_: row * repeats for id_, row in drawn(120, seed=2, rate=rate).items()}
    baseline = make_run(drawn(120, seed=1), tags=tags, version="m/1/v1")
    plain, with_plan = (
        gate(make_run(scores, tags=tags, version="m/1/v2", **looks), ALL, baseline=baseline)
        for looks in ({}, {"looks": LookPlan((Look(120, repeats),))})
    )
    assert with_plan.checks == plain.checks
    assert (with_plan.status, with_plan.metrics) == (plain.status, plain.metrics)


@pytest.mark.parametrize("looks", [LookPlan((Look(50, 1),)), LookPlan((Look(20, 1), Look(50, 1)))])
@pytest.mark.parametrize("policy", [Policy((MUST_PASS,)), COMPARED])
@pytest.mark.parametrize(("score", "settled"), [(0.0, True), (1.0, False)])
def test_before_the_first_look_a_failure_of_what_must_pass_settles_and_a_pass_does_not(
    make_run, looks, policy, score, settled
):
    baseline = make_run(drawn(50, seed=1), tags=SAFETY)
    run = make_run({**drawn(50, seed=2), "s017": [score]}, tags=SAFETY, looks=looks)
    stood = before_its_first_look(run)
    assert stood.ledger.asked == 3
    assert settled_by(policy, baseline)(stood) is settled
    assert settled_by(policy, None)(stood) is settled
    if settled:
        assert gate(stood, policy, baseline=baseline).status is Status.FAIL


def test_where_faults_void_so_small_a_part_the_run_goes_on(make_run):
    policy, scores = Policy((MUST_PASS,)), {**drawn(50, seed=2), "s000": [0.0]}
    given = {"tags": SAFETY, "looks": LookPlan((Look(50, 1),))}
    answered = make_run(scores, **given)
    faulty = make_run(scores, faults={"s017": FaultKind.CONNECTION, "s030": FaultKind.CONNECTION}, **given)
    assert settled_by(policy, None)(before_its_first_look(answered))
    assert gate(before_its_first_look(faulty), policy).status is Status.ERROR
    assert not settled_by(policy, None)(before_its_first_look(faulty))
    assert gate(faulty, policy).status is Status.FAIL


def test_nothing_but_what_must_pass_settles_a_run_before_its_first_look(make_run):
    """Tagged samples are no draw from the suite: what they say of its mean, or of its errors, is nothing."""
    looks = LookPlan((Look(20, 1), Look(50, 1)))
    scores = {**drawn(50, seed=2), **{id_: [0.0] for id_ in SAFETY}}
    run = before_its_first_look(make_run(scores, tags=SAFETY, looks=looks))
    others = Policy((MinScore("correct", at_least=0.9), NoRegression("correct"), MaxErrorRate(at_most=0.01)))
    assert not settled_by(others, make_run(drawn(50, seed=1), tags=SAFETY))(run)


@pytest.mark.parametrize(("served", "settled"), [("other", True), ("m-1", False)])
def test_the_wrong_model_settles_a_run_before_its_first_look(make_run, served, settled):
    run = make_run(drawn(50, seed=2), tags=SAFETY, looks=LookPlan((Look(50, 1),)), served=served)
    baseline = make_run(drawn(50, seed=1), tags=SAFETY, served="m-1")
    assert settled_by(COMPARED, baseline)(before_its_first_look(run)) is settled


def test_the_verdict_of_a_run_stopped_before_its_first_look_is_that_of_what_must_pass(make_run):
    baseline = make_run(drawn(50, seed=1), tags=SAFETY)
    run = make_run({**drawn(50, seed=2), "s017": [0.0]}, tags=SAFETY, looks=LookPlan((Look(50, 1),)))
    stopped = before_its_first_look(run)
    verdict = gate(replace(stopped, digest="sha256:x"), COMPARED, baseline=baseline)
    said = {check.check: check.status for check in verdict.checks if not check.integrity}
    assert said == {"no-regression": Status.INCONCLUSIVE, "must-pass": Status.FAIL}
    assert stopped.ledger.counts[Outcome.EARLY_STOP] == 47
