"""`gate`: one verdict for two runs; integrity first; the same bytes for the same input."""

import json
import math

import pytest

from aigate.core.response import FaultKind
from aigate.core.score import MetricSpec
from aigate.core.verdict import Status, Verdict
from aigate.errors import ConfigError, GateErrored, GateFailed, GateInconclusive
from aigate.gating.checks.max_error_rate import MaxErrorRate
from aigate.gating.checks.min_score import MinScore
from aigate.gating.checks.must_pass import MustPass
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.checks.same_shape import SameShape
from aigate.gating.decision import gate, policy_of
from aigate.gating.policy import Policy
from aigate.gating.reasons import REASONS, reason

NO_DROP = Policy((NoRegression("correct"),))


def table(good, bad, *, prefix="s"):
    """`good` samples that score 1 and `bad` ones that score 0."""
    return {f"{prefix}{i:04}": [1.0 if i < good else 0.0] for i in range(good + bad)}


def codes(verdict):
    return {r.code for check in verdict.checks for r in check.reasons}


def check(verdict, name):
    return next(c for c in verdict.checks if c.check == name)


def test_a_run_against_itself_passes(make_run):
    run = make_run(table(80, 20))
    verdict = gate(run, NO_DROP, baseline=run)
    assert verdict.status is Status.PASS
    assert bool(verdict) is True
    assert verdict.exit_code == 0


def test_a_collapse_fails_and_names_the_metric_and_the_worst_samples(make_run):
    verdict = gate(make_run(table(20, 80)), NO_DROP, baseline=make_run(table(80, 20)))
    assert verdict.status is Status.FAIL
    assert not verdict
    assert verdict.exit_code == 1
    found = check(verdict, "no-regression")
    assert found.observed == pytest.approx(-0.6)
    assert {m.sample_id for m in found.moved} <= {f"s{i:04}" for i in range(20, 80)}
    assert "correct fell by 60 points" in found.reasons[0].text


def test_an_improvement_passes(make_run):
    verdict = gate(make_run(table(90, 10)), NO_DROP, baseline=make_run(table(60, 40)))
    assert verdict.status is Status.PASS


def test_a_drop_too_small_to_show_is_inconclusive_and_says_what_would_settle_it(make_run):
    verdict = gate(make_run(table(26, 4)), NO_DROP, baseline=make_run(table(28, 2)))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.exit_code == 3
    assert "would settle it" in check(verdict, "no-regression").reasons[0].hint


def test_a_certain_but_tolerable_drop_passes_with_a_note(make_run):
    baseline, candidate = table(1900, 100), table(1880, 120)
    verdict = gate(make_run(candidate), NO_DROP, baseline=make_run(baseline))
    assert verdict.status is Status.PASS
    assert "tolerated-drop" in codes(verdict)


def test_no_baseline_is_an_error_never_a_pass(make_run):
    verdict = gate(make_run(table(100, 0)), NO_DROP)
    assert verdict.status is Status.ERROR
    assert "no-baseline" in codes(verdict)


def test_a_definite_fail_without_a_baseline_is_still_a_fail(make_run):
    verdict = gate(make_run(table(50, 50)), Policy((MinScore("correct", at_least=0.9), *NO_DROP.checks)))
    assert verdict.status is Status.FAIL


def test_the_policy_stored_in_the_run_is_used_when_none_is_given(make_run):
    run = make_run(table(9, 1), policy=Policy((MinScore("correct", at_least=0.9),)).to_dict())
    assert gate(run).status is Status.PASS
    assert policy_of(run).checks == (MinScore("correct", at_least=0.9),)


def test_a_run_without_a_policy_cannot_be_judged(make_run):
    with pytest.raises(ConfigError, match="at least one check"):
        gate(make_run(table(9, 1)))


def test_the_same_runs_give_the_same_bytes(make_run):
    candidate, baseline = make_run(table(61, 39)), make_run(table(70, 30))
    policy = Policy((MinScore("correct", at_least=0.5), *NO_DROP.checks, SameShape()))
    first, second = (json.dumps(gate(candidate, policy, baseline=baseline).to_dict()) for _ in range(2))
    assert first == second
    assert Verdict.from_dict(json.loads(first)).digest == gate(candidate, policy, baseline=baseline).digest


def test_the_verdict_is_bound_to_what_it_rests_on(make_run):
    candidate, baseline = make_run(table(61, 39)), make_run(table(70, 30))
    bound = gate(candidate, NO_DROP, baseline=baseline).bound
    assert bound == {
        "candidate": candidate.digest,
        "baseline": baseline.digest,
        "suite": candidate.header.suite_digest,
        "policy": NO_DROP.digest,
        "prompt": None,
    }


def test_a_verdict_is_valid_for_a_while_after_the_run_not_after_the_decision(make_run):
    assert (
        gate(make_run(table(9, 1)), Policy((MinScore("correct", at_least=0.5),), valid_days=2)).valid_until
        == "2026-01-03T00:01:00Z"
    )


@pytest.mark.parametrize(
    ("candidate", "baseline", "kind"),
    [(20, 80, GateFailed), (78, 80, GateInconclusive), (None, None, GateErrored)],
)
def test_raise_for_status_raises_what_the_status_says(make_run, candidate, baseline, kind):
    if candidate is None:
        verdict = gate(make_run(table(5, 5)), NO_DROP)
    else:
        verdict = gate(
            make_run(table(candidate, 100 - candidate)), NO_DROP, baseline=make_run(table(baseline, 100 - baseline))
        )
    with pytest.raises(kind) as raised:
        verdict.raise_for_status()
    assert raised.value.verdict is verdict
    assert raised.value.exit_code == verdict.exit_code


# --- what is never a pass -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scores", [{}, {"a": [1.0]}], ids=["empty", "single sample"])
@pytest.mark.parametrize(
    "rule",
    [
        MinScore("correct", at_least=0.0),
        NoRegression("correct", margin=0.99),
        MustPass(tag="t", at_least=0.0),
        MaxErrorRate(at_most=1.0),
        SameShape(at_most=1.0),
    ],
    ids=lambda rule: rule.name,
)
def test_nothing_and_a_single_sample_never_pass_any_check(make_run, scores, rule):
    run = make_run(scores, tags={"a": ["t"]}, metric="correct")
    verdict = gate(run, Policy((rule,)), baseline=run)
    found = check(verdict, rule.name)
    assert found.status is not Status.PASS
    assert not verdict


@pytest.mark.parametrize(
    "rule", [MinScore("correct", at_least=0.0), NoRegression("correct", margin=0.99), MustPass(tag="t", at_least=0.0)]
)
def test_missing_scores_alone_never_pass_any_check(make_run, rule):
    run = make_run({f"s{i}": [None] for i in range(50)}, tags={f"s{i}": ["t"] for i in range(50)})
    verdict = gate(run, Policy((rule,)), baseline=run)
    assert check(verdict, rule.name).status is not Status.PASS
    assert verdict.status is Status.ERROR
    assert "metric-missing" in codes(verdict)


def test_a_score_that_is_no_number_cannot_enter_a_run(make_run):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        make_run({"a": [math.nan], "b": [1.0]})


def test_all_answers_errored_is_an_error(make_run):
    run = make_run(table(40, 0), faults={f"s{i:04}": FaultKind.SERVER for i in range(40)})
    verdict = gate(run, Policy((MinScore("correct", at_least=0.0),)))
    assert verdict.status is Status.ERROR
    assert "no-answers" in codes(verdict)


def test_a_metric_never_computed_is_an_error(make_run):
    verdict = gate(make_run(table(9, 1)), Policy((MinScore("faithfulness", at_least=0.0),)))
    assert verdict.status is Status.ERROR
    assert "metric-not-computed" in codes(verdict)


def test_an_empty_policy_cannot_be_made():
    with pytest.raises(ConfigError, match="at least one check"):
        Policy(())


def test_a_subset_never_passes(make_run):
    run = make_run(table(50, 0), suite_size=100, subset="first 50: 50 of 100 samples")
    verdict = gate(run, Policy((MinScore("correct", at_least=0.5),)))
    assert verdict.status is Status.INCONCLUSIVE
    assert "subset" in codes(verdict)


def test_samples_that_were_never_run_are_seen_even_when_nobody_said_so(make_run):
    verdict = gate(make_run(table(50, 0), suite_size=60), Policy((MinScore("correct", at_least=0.5),)))
    assert verdict.status is Status.INCONCLUSIVE
    assert "subset" in codes(verdict)


# --- comparability --------------------------------------------------------------------------------------------------


def test_another_suite_is_not_comparable(make_run):
    verdict = gate(make_run(table(50, 50, prefix="a")), NO_DROP, baseline=make_run(table(50, 50, prefix="b")))
    assert verdict.status is Status.ERROR
    assert "other-suite" in codes(verdict)


def test_an_edited_input_under_the_same_id_is_a_new_case(make_run):
    edited = {f"s{i:04}": "another question" for i in range(30)}
    verdict = gate(make_run(table(50, 50), inputs=edited), NO_DROP, baseline=make_run(table(50, 50)))
    assert "other-suite" in codes(verdict)


def test_a_few_new_and_gone_samples_are_listed_and_left_out(make_run):
    ours, theirs = table(96, 4), table(96, 4)
    ours["new"] = [0.0]
    theirs["gone"] = [1.0]
    verdict = gate(make_run(ours), NO_DROP, baseline=make_run(theirs))
    note = next(r for r in check(verdict, "comparable").reasons if r.code == "samples-differ")
    assert "new" in note.text
    assert "gone" in note.text
    assert check(verdict, "no-regression").n_samples == 100


def test_a_renamed_metric_is_not_comparable(make_run):
    candidate = make_run({"exact": table(50, 50)})
    verdict = gate(candidate, Policy((NoRegression("exact"),)), baseline=make_run({"correct": table(50, 50)}))
    assert verdict.status is Status.ERROR
    assert "metric-renamed" in codes(verdict)


def test_another_scorer_option_is_not_comparable_and_is_named(make_run):
    ours = make_run(table(90, 10), specs=[MetricSpec("correct", "exact_match", options={"case": "fold"})])
    theirs = make_run(table(90, 10), specs=[MetricSpec("correct", "exact_match", options={"case": "keep"})])
    verdict = gate(ours, NO_DROP, baseline=theirs)
    assert verdict.status is Status.ERROR
    assert any("case 'keep' -> 'fold'" in r.text for r in check(verdict, "comparable").reasons)


def test_other_request_parameters_are_not_comparable_and_are_named(make_run):
    verdict = gate(
        make_run(table(9, 91), parameters={"temperature": 1}),
        NO_DROP,
        baseline=make_run(table(90, 10), parameters={"temperature": 0}),
    )
    assert verdict.status is Status.ERROR
    assert any("temperature 0 -> 1" in r.text for r in check(verdict, "comparable").reasons)


def test_identical_outputs_with_different_scores_mean_that_the_scorer_changed(make_run):
    same = {f"s{i:04}": f"the same answer {i}" for i in range(100)}
    verdict = gate(make_run(table(40, 60), outputs=same), NO_DROP, baseline=make_run(table(90, 10), outputs=same))
    assert verdict.status is Status.ERROR
    assert "scorer-changed" in codes(verdict)
    assert "drop" not in codes(verdict)


def test_people_may_label_a_few_identical_answers_differently(make_run):
    same = {f"s{i:04}": f"the same answer {i}" for i in range(100)}
    verdict = gate(make_run(table(89, 11), outputs=same), NO_DROP, baseline=make_run(table(90, 10), outputs=same))
    assert "scorer-changed" not in codes(verdict)


def test_a_deterministic_scorer_may_not_even_once(make_run):
    same = {f"s{i:04}": f"the same answer {i}" for i in range(100)}
    specs = [MetricSpec("correct", "exact_match")]
    verdict = gate(
        make_run(table(89, 11), outputs=same, specs=specs),
        NO_DROP,
        baseline=make_run(table(90, 10), outputs=same, specs=specs),
    )
    assert "scorer-changed" in codes(verdict)


def test_a_prompt_edited_under_the_same_version_is_an_error(make_run):
    verdict = gate(
        make_run(table(90, 10), prompt_digest="sha256:b"),
        NO_DROP,
        baseline=make_run(table(90, 10), prompt_digest="sha256:a"),
    )
    assert verdict.status is Status.ERROR
    assert "prompt-edited" in codes(verdict)


def test_a_new_prompt_version_may_have_another_prompt(make_run):
    candidate = make_run(table(95, 5), version="m/1/v2", prompt_digest="sha256:b")
    verdict = gate(candidate, NO_DROP, baseline=make_run(table(90, 10), prompt_digest="sha256:a"))
    assert verdict.status is Status.PASS


@pytest.mark.parametrize("version", ["m/2/v1", "other/1/v1"])
def test_a_provider_bump_without_a_look_at_the_contract_is_inconclusive(make_run, version):
    verdict = gate(make_run(table(95, 5), version=version), NO_DROP, baseline=make_run(table(90, 10)))
    assert check(verdict, "no-regression").status is Status.PASS
    assert verdict.status is Status.INCONCLUSIVE
    assert "contract-unchecked" in codes(verdict)


@pytest.mark.parametrize("rule", [SameShape(), MinScore("valid", at_least=0.5)], ids=["same-shape", "contract metric"])
def test_a_provider_bump_with_a_look_at_the_contract_may_pass(make_run, rule):
    specs = [MetricSpec("correct", "recorded:correct", deterministic=False), MetricSpec("valid", "contract")]
    tables = {"correct": table(95, 5), "valid": table(100, 0)}
    runs = [make_run(tables, specs=specs, version=v) for v in ("m/2/v1", "m/1/v1")]
    verdict = gate(runs[0], Policy((NoRegression("correct"), rule)), baseline=runs[1])
    assert verdict.status is Status.PASS


# --- the served model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("served", ["gpt-4o-2024-11-20", "gpt-4o@20241120", "GPT-4o:2024-11-20"])
def test_the_declared_model_may_be_written_in_several_ways(make_run, served):
    run = make_run(table(9, 1), version="gpt-4o/2024-11-20/v1", served=served)
    assert gate(run, Policy((MinScore("correct", at_least=0.5),))).status is Status.PASS


@pytest.mark.parametrize("served", ["gpt-4o-2024-08-06", "gpt-4o-mini-2024-11-20", "gpt-4o"])
def test_another_served_model_voids_the_verdict(make_run, served):
    run = make_run(table(1, 9), version="gpt-4o/2024-11-20/v1", served=served)
    verdict = gate(run, Policy((MinScore("correct", at_least=0.5),)))
    assert verdict.status is Status.ERROR
    assert "served-model" in codes(verdict)


def test_a_name_the_suite_expects_is_the_declared_model(make_run):
    run = make_run(
        table(9, 1), version="gpt-4o/2024-11-20/v1", served="my-deployment", expected_models=("my-deployment",)
    )
    assert gate(run, Policy((MinScore("correct", at_least=0.5),))).status is Status.PASS


def test_a_served_model_that_nobody_reports_is_noted(make_run):
    verdict = gate(make_run(table(9, 1)), Policy((MinScore("correct", at_least=0.5),)))
    assert verdict.status is Status.PASS
    assert "served-model-unknown" in {note.code for note in verdict.notes}


# --- missing scores -------------------------------------------------------------------------------------------------


def test_few_missing_scores_are_named_and_do_not_void(make_run):
    scores = table(99, 0) | {"lost": [None]}
    verdict = gate(make_run(scores), Policy((MinScore("correct", at_least=0.9),)))
    assert verdict.status is Status.PASS
    assert any("lost" in note.text for note in verdict.notes)


def test_many_missing_scores_void(make_run):
    scores = table(80, 0) | {f"lost{i}": [None] for i in range(20)}
    verdict = gate(make_run(scores), Policy((MinScore("correct", at_least=0.1),)))
    assert verdict.status is Status.ERROR
    assert "missing-scores" in codes(verdict)


def test_missing_scores_that_decide_make_no_regression_inconclusive(make_run):
    baseline = table(95, 5)
    candidate = dict(baseline) | {f"s{i:04}": [None] for i in range(6)}
    verdict = gate(make_run(candidate), NO_DROP, baseline=make_run(baseline))
    assert check(verdict, "no-regression").status is Status.INCONCLUSIVE
    assert "missing-decides" in codes(verdict)


def test_missing_scores_that_cannot_change_a_collapse_leave_it_a_fail(make_run):
    candidate = table(10, 90) | {"s0000": [None]}
    verdict = gate(make_run(candidate), NO_DROP, baseline=make_run(table(95, 5)))
    assert verdict.status is Status.FAIL


def test_scores_missing_more_often_in_one_arm_are_noted(make_run):
    candidate = table(100, 0) | {f"s{i:04}": [None] for i in range(8)}
    verdict = gate(make_run(candidate), NO_DROP, baseline=make_run(table(100, 0)))
    assert "missing-arms-differ" in codes(verdict)


def test_every_reason_code_is_documented_and_others_are_refused():
    assert all(code == code.lower() and " " not in code for code in REASONS)
    with pytest.raises(KeyError):
        reason("made-up", "text")
