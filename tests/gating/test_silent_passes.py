"""Ways to a silent pass that were once open, each of them closed."""

import json

import pytest

from aigate.core.ledger import Outcome
from aigate.core.response import FaultKind
from aigate.core.run import Run
from aigate.core.runfile import RunEncoder, decode
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.core.verdict import Status, Verdict
from aigate.errors import ConfigError
from aigate.gating.checks.max_error_rate import MaxErrorRate
from aigate.gating.checks.min_score import MinScore
from aigate.gating.checks.must_pass import MustPass
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.checks.same_shape import NAMES, SameShape
from aigate.gating.decision import gate
from aigate.gating.policy import Policy

NO_DROP = Policy((NoRegression("correct"),))


def ids(n):
    return [f"s{i:04}" for i in range(n)]


def scores(good, n=100):
    return {id_: [float(i < good)] for i, id_ in enumerate(ids(n))}


def codes(verdict):
    return {r.code for check in verdict.checks for r in check.reasons}


def edited(run: Run, change) -> Run:
    """The run with each result changed, written and read again so that its digest is true."""
    encoder = RunEncoder(run.header)
    lines = [encoder.header_line()]
    changed = [new for result in run.results if (new := change(result)) is not None]
    lines += [encoder.result_line(result, run.samples[result.sample_id]) for result in changed]
    return decode([*lines, encoder.closing_line(finished_at=run.finished_at)], source="edited.jsonl")


def with_score(result, score):
    from dataclasses import replace

    return replace(result, scores={"correct": score})


# --- samples that are taken out of a metric --------------------------------------------------------------------------


def test_an_answer_cannot_take_its_sample_out_of_the_metric(make_run):
    def hide(result):
        failed = isinstance(result.scores["correct"], Score) and result.scores["correct"].value == 0.0
        return with_score(result, Unscored("not_applicable")) if failed else result

    candidate = edited(make_run(scores(60)), hide)
    verdict = gate(candidate, NO_DROP, baseline=make_run(scores(100)))
    assert verdict.status is not Status.PASS
    assert not gate(candidate, Policy((MinScore("correct", at_least=0.95),)))


def test_one_repeat_cannot_take_the_others_out_of_the_metric(make_run):
    def hide(result):
        return with_score(result, Unscored("not_applicable")) if result.repeat == 1 else result

    run = edited(make_run({id_: [float(i < 60), 1.0] for i, id_ in enumerate(ids(100))}), hide)
    assert not gate(run, Policy((MinScore("correct", at_least=0.95),)))


def outside(run, n):
    unjudged = set(ids(100)[:n])
    return edited(run, lambda r: with_score(r, Unscored("no_reference")) if r.sample_id in unjudged else r)


def test_samples_with_nothing_to_judge_by_count_as_missing_in_min_score(make_run):
    run = outside(make_run(scores(100)), 60)
    verdict = gate(run, Policy((MinScore("correct", at_least=0.9),)))
    assert verdict.status is Status.INCONCLUSIVE
    assert "not-applicable" in codes(verdict)


def test_samples_with_nothing_to_judge_by_are_left_out_only_on_request_and_said(make_run):
    run = outside(make_run(scores(100)), 60)
    verdict = gate(run, Policy((MinScore("correct", at_least=0.9, applicable_only=True),)))
    assert verdict.status is Status.PASS
    assert "not-applicable" in codes(verdict)
    assert verdict.checks[-1].n_samples == 40


def test_must_pass_does_not_pass_a_tagged_sample_that_cannot_be_judged(make_run):
    run = outside(make_run(scores(100), tags={id_: ["safety"] for id_ in ids(100)[50:70]}), 60)
    verdict = gate(run, Policy((MustPass(tag="safety"),)))
    assert verdict.status is Status.ERROR
    assert "not-judged" in codes(verdict)


def test_must_pass_counts_repeats_that_never_ran(make_run):
    tags = {"s0000": ["safety"]}
    run = edited(
        make_run({id_: [1.0, 1.0] for id_ in ids(60)}, tags=tags), lambda r: None if r.key == ("s0000", 1) else r
    )
    assert gate(run, Policy((MustPass(tag="safety"),))).status is Status.INCONCLUSIVE


def test_a_number_over_the_run_needs_every_score(make_run):
    specs = [MetricSpec("accuracy", "classification", options={"labels": ["yes", "no"]})]
    run = make_run({"accuracy": scores(91)}, specs=specs)
    policy = Policy((MinScore("accuracy.accuracy", at_least=0.95),))
    assert gate(run, policy).status is not Status.PASS
    without = edited(run, lambda r: r if r.scores["accuracy"].value else None)
    assert gate(without, policy).status is not Status.PASS


# --- the baseline ---------------------------------------------------------------------------------------------------


def test_a_baseline_that_never_answered_is_no_baseline(make_run):
    dead = make_run(scores(0), faults=dict.fromkeys(ids(100), FaultKind.SERVER))
    verdict = gate(make_run(scores(20)), NO_DROP, baseline=dead)
    assert verdict.status is Status.ERROR
    assert "baseline-unsound" in codes(verdict)


def test_a_baseline_of_another_model_than_declared_is_no_baseline(make_run):
    version = "gpt-4o/2024-11-20/v1"
    wrong = make_run(scores(50), version=version, served="gpt-3.5-turbo")
    verdict = gate(make_run(scores(60), version=version), NO_DROP, baseline=wrong)
    assert verdict.status is Status.ERROR


def test_a_baseline_that_is_a_subset_cannot_carry_a_pass(make_run):
    part = make_run(scores(95, n=95), suite_size=100, subset="first 95")
    assert gate(make_run(scores(95)), NO_DROP, baseline=part).status is Status.INCONCLUSIVE


def test_a_prompt_edit_is_seen_where_no_check_compares(make_run):
    policy = Policy((MinScore("correct", at_least=0.5),))
    verdict = gate(
        make_run(scores(90), prompt_digest="sha256:b"), policy, baseline=make_run(scores(90), prompt_digest="sha256:a")
    )
    assert verdict.status is Status.ERROR
    assert "prompt-edited" in codes(verdict)


def test_a_policy_that_compares_nothing_is_not_held_back_by_an_old_baseline(make_run):
    policy = Policy((MinScore("correct", at_least=0.5),))
    assert gate(make_run(scores(90)), policy, baseline=make_run({"x": [1.0], "y": [1.0]})).status is Status.PASS


def test_the_same_version_through_another_endpoint_is_noted(make_run):
    ours = make_run(scores(90), provider={"name": "openai", "base_url": "http://elsewhere"})
    verdict = gate(ours, NO_DROP, baseline=make_run(scores(90), provider={"name": "openai", "base_url": "http://here"}))
    assert verdict.status is Status.PASS
    assert "other-provider" in codes(verdict)


# --- slices ---------------------------------------------------------------------------------------------------------


def test_a_named_slice_that_nobody_carries_is_an_error(make_run):
    run = make_run(scores(90))
    verdict = gate(run, Policy((NoRegression("correct", slices=("nosuch",)),)), baseline=run)
    assert verdict.status is Status.ERROR
    assert "no-such-tag" in codes(verdict)


def test_a_named_slice_too_small_to_block_cannot_pass(make_run):
    tags = {id_: ["vip"] for id_ in ids(4)}
    candidate = scores(300, n=300) | {id_: [0.0] for id_ in ids(4)}
    verdict = gate(
        make_run(candidate, tags=tags),
        Policy((NoRegression("correct", slices=("vip",)),)),
        baseline=make_run(scores(300, n=300), tags=tags),
    )
    assert verdict.status is Status.INCONCLUSIVE
    assert "suite-too-small" in codes(verdict)


# --- few samples, few groups ----------------------------------------------------------------------------------------


def test_a_handful_of_gains_is_no_pass(make_run):
    few = {id_: [1.0] for id_ in ids(6)}
    verdict = gate(make_run(few), NO_DROP, baseline=make_run({id_: [0.0] for id_ in ids(6)}))
    assert verdict.status is Status.INCONCLUSIVE
    assert "too-few-samples" in codes(verdict)


def test_a_pass_over_few_groups_says_what_it_does_not_cover(make_run):
    groups = {id_: f"g{i % 30}" for i, id_ in enumerate(ids(300))}
    run = make_run(scores(300, n=300), groups=groups)
    verdict = gate(run, NO_DROP, baseline=run)
    assert verdict.status is Status.PASS
    note = next(note for note in verdict.notes if note.code == "groups-may-break-whole")
    assert "21%" in note.text  # 0.95 ** 30


# --- same-shape -----------------------------------------------------------------------------------------------------


def test_answers_lost_through_the_candidate_are_a_shape(make_run):
    outputs = {id_: f"plain answer number {id_}" for id_ in ids(100)}
    lost = make_run(scores(100), outputs=outputs, faults=dict.fromkeys(ids(70), FaultKind.SERVER))
    verdict = gate(lost, Policy((SameShape(),)), baseline=make_run(scores(100), outputs=outputs))
    assert verdict.status is Status.FAIL
    assert "no answer 0% → 70%" in verdict.checks[-1].summary


def test_answers_lost_through_infrastructure_void_a_policy_of_shapes_alone(make_run):
    outputs = {id_: f"plain answer number {id_}" for id_ in ids(100)}
    lost = make_run(scores(100), outputs=outputs, faults=dict.fromkeys(ids(70), FaultKind.CONNECTION))
    assert gate(lost, Policy((SameShape(),)), baseline=make_run(scores(100), outputs=outputs)).status is Status.ERROR


def test_a_metric_may_be_called_answers(make_run):
    missing = {"answers": scores(70) | {id_: [None] for id_ in ids(30)}}
    verdict = gate(make_run(missing), Policy((MinScore("answers", at_least=0.4),)))
    assert verdict.status is Status.ERROR


def test_ignoring_every_feature_is_refused():
    with pytest.raises(ConfigError, match="every feature"):
        SameShape(ignore=tuple(NAMES))


# --- policies that cannot fail, and verdicts that were edited ---------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        MinScore("correct", at_least=0.0),
        MustPass(tag="t", at_least=0.0),
        MaxErrorRate(at_most=1.0),
        SameShape(at_most=1.0),
    ],
)
def test_a_check_that_cannot_fail_says_so(make_run, check):
    run = make_run(scores(0), tags={id_: ["t"] for id_ in ids(100)})
    verdict = gate(run, Policy((check,)), baseline=run)
    assert verdict.status is Status.PASS
    assert "cannot-fail" in {note.code for note in verdict.notes}


def test_a_verdict_whose_status_was_edited_is_refused(make_run):
    row = json.loads(json.dumps(gate(make_run(scores(20)), Policy((MinScore("correct", at_least=0.9),))).to_dict()))
    assert Verdict.from_dict(row).status is Status.FAIL
    with pytest.raises(ValueError, match="contradicts the checks"):
        Verdict.from_dict({**row, "status": "pass"})
    with pytest.raises(ValueError, match="contradicts"):
        Verdict.from_dict({**row, "status": "pass", "checks": [c for c in row["checks"] if c["integrity"]]})


# --- the served model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "served"), [("gpt/1.10/v1", "gpt-11.0"), ("gpt/3.5/v1", "gpt-35")])
def test_versions_that_differ_by_their_dots_are_two(make_run, version, served):
    verdict = gate(make_run(scores(90), version=version, served=served), Policy((MinScore("correct", at_least=0.5),)))
    assert verdict.status is Status.ERROR


def test_a_model_that_was_asked_for_is_not_thereby_the_declared_one(make_run):
    run = make_run(
        scores(90),
        version="gpt-4o/2024-11-20/v3",
        served="gpt-3.5-turbo",
        provider={"name": "openai", "model": "gpt-3.5-turbo"},
    )
    assert gate(run, Policy((MinScore("correct", at_least=0.5),))).status is Status.ERROR


def test_a_model_asked_for_and_served_by_its_bare_name_is_noted(make_run):
    run = make_run(scores(90), version="llama3/8b/v3", served="llama3", provider={"name": "openai", "model": "llama3"})
    verdict = gate(run, Policy((MinScore("correct", at_least=0.5),)))
    assert verdict.status is Status.PASS
    assert "served-model-unknown" in {note.code for note in verdict.notes}


def test_a_provider_bump_needs_a_run_that_was_not_stopped_early(make_run):
    def stop(result):
        from dataclasses import replace

        last = result.sample_id == "s0099"
        return (
            replace(result, outcome=Outcome.EARLY_STOP, response=None, scores={"correct": Unscored("not_run")})
            if last
            else result
        )

    candidate = edited(make_run(scores(100), version="m/2/v1"), stop)
    policy = Policy((MinScore("correct", at_least=0.5), SameShape()))
    verdict = gate(candidate, policy, baseline=make_run(scores(100)))
    assert verdict.status is Status.ERROR  # no look was planned that could have stopped it
    assert "early-stopped" in codes(verdict)
