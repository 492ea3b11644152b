"""What is told before any call: per check, per slice, with other sizes and repeats, and of the baseline itself."""

from dataclasses import replace

import pytest

from aigate.core.sample import Sample
from aigate.core.score import MetricSpec
from aigate.core.verdict import Status
from aigate.gating.checks.max_cost import MaxCost
from aigate.gating.checks.max_latency import MaxLatency
from aigate.gating.checks.min_score import MinScore
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.checks.same_shape import SameShape
from aigate.gating.decision import gate
from aigate.gating.early_stop import plan_looks
from aigate.gating.planning import (
    measuring_warnings,
    plan_power,
    power_warnings,
    provider_bump_warning,
    self_check,
    strict_problems,
)
from aigate.gating.policy import Policy

REGRESSION = Policy((NoRegression("correct"),))


def rows(n, flips, repeats=2):
    lost, kept = [1.0] * (repeats - 1) + [0.0], [1.0] * repeats
    return {f"s{i:03}": lost if i < flips else kept for i in range(n)}


def samples(n, **fields):
    return [Sample(f"s{i:03}", f"question s{i:03}", **fields) for i in range(n)]


def planned(run, policy=REGRESSION, **keys):
    return plan_power(tuple(run.samples.values()), policy, "correct", run, repeats=1, **keys)


# A baseline whose paired differences scatter by 0.32: four flips of 0/1 scores and one of graded ones.
ISSUE = {**rows(40, 4), "s039": [1.0, 1.0 - (2 * 0.048) ** 0.5]}


def test_the_sentence_of_the_issue_comes_from_a_baseline_that_scatters_by_32_points(make_run):
    report = planned(make_run(ISSUE), baseline_repeats=1)
    assert report.checks[0].spread.sd_per_unit == pytest.approx(0.32)
    assert report.checks[0].sentence == (
        "40 samples, 1 repeat: sees drops of 12.6 points or more; a margin of 5 points needs 254 samples,"
        " or 5 baseline and 3 candidate repeats on about 70 (planned with a measured scatter of 32 points)"
    )


def test_the_repeats_the_baseline_has_are_what_is_planned_with(make_run):
    check = planned(make_run(ISSUE)).checks[0]
    assert check.sentence.startswith("40 samples, 1 repeat against 2 of the baseline: sees drops of 10.9 points")


def test_every_pair_of_repeats_says_what_it_sees_and_needs(make_run):
    found = {(row.baseline_repeats, row.candidate_repeats): row for row in planned(make_run(ISSUE)).checks[0].repeats}
    assert set(found) == {(1, 1), (2, 1), (5, 1), (5, 3), (5, 5)}
    assert [pair for pair, row in found.items() if row.planned] == [(2, 1)]
    assert found[5, 3].units_needed == 68
    assert found[1, 1].smallest_drop == pytest.approx(0.1258, abs=1e-4)
    assert dict(found[1, 1].by_units)[400] == pytest.approx(0.1258 / 10**0.5, abs=1e-4)


def test_a_check_with_its_own_margin_is_planned_for_that(make_run):
    policy = Policy((NoRegression("correct"), NoRegression("correct", margin=0.2)))
    report = planned(make_run(ISSUE), policy)
    assert [check.margin for check in report.checks] == [0.05, 0.2]
    assert [check.problem is None for check in report.checks] == [False, True]
    assert report.problems[0].startswith("no-regression correct: 40 samples")


def test_auto_is_resolved_and_never_a_problem(make_run):
    report = planned(make_run(ISSUE), Policy((NoRegression("correct"),), margin="auto"))
    assert (report.checks[0].auto, report.checks[0].margin) == (True, 0.11)
    assert report.problems == ()
    assert any("margin 11 points (auto)" in line for line in report.lines())


def test_a_policy_that_compares_nothing_is_told_of_its_primary_metric_and_refused_nothing(make_run):
    policy = Policy((MinScore("correct", at_least=0.5),))
    run = make_run(ISSUE)
    report = planned(run, policy)
    assert report.checks[0].problem is not None
    assert report.problems == ()
    assert any("no check compares" in note for note in report.notes)
    assert strict_problems(policy, list(run.samples.values()), run, repeats=1) == []


def test_a_slice_in_which_nothing_can_block_is_a_problem_and_a_small_one_a_warning():
    policy = Policy((NoRegression("correct", slices=("few", "some", "many")),))
    suite = [
        Sample(f"s{i:03}", "?", tags=("many", *(["some"] if i < 29 else []), *(["few"] if i < 4 else [])))
        for i in range(500)
    ]
    report = plan_power(suite, policy, "correct", None, repeats=1)
    assert [part.n_samples for part in report.checks[0].slices] == [4, 29, 500]
    assert report.problems == (
        "no-regression correct: slice 'few' has 4 samples: with fewer than 5 no fall in it can ever block",
    )
    assert [("'some' has 29 samples" in warning) for warning in report.warnings] == [True]


def test_metrics_and_slices_that_share_an_error_rate_see_less():
    alone = plan_power(samples(100), REGRESSION, "correct", None, repeats=1).checks[0]
    both = Policy((NoRegression("correct"), NoRegression("other")))
    shared = plan_power(samples(100), both, "correct", None, repeats=1)
    assert alone.smallest_drop_in_family == alone.smallest_drop == shared.checks[0].smallest_drop
    # z of 2.5 % in place of 5 %.
    assert shared.checks[0].smallest_drop_in_family == pytest.approx((1.959964 + 0.841621) * 0.4 / 10, abs=1e-6)
    assert any("2 metrics and slices share one error rate" in note for note in shared.notes)


def test_the_note_on_the_family_holds_for_the_smallest_slice_too():
    policy = Policy((NoRegression("correct", slices=("some",)),))
    suite = [Sample(f"s{i:03}", "?", tags=("some",) if i < 50 else ()) for i in range(1000)]
    report = plan_power(suite, policy, "correct", None, repeats=1)
    part = report.checks[0].slices[0]
    # z of 2.5 % on 50 samples; tested alone it would be 14.1 points.
    assert part.smallest_drop_in_family == pytest.approx((1.959964 + 0.841621) * 0.4 / 50**0.5, abs=1e-6)
    assert part.smallest_drop_in_family > part.smallest_drop
    assert any("a drop in one of them alone is seen from 15.8 points on" in note for note in report.notes)
    few = [Sample(f"s{i:03}", "?", tags=("some",) if i < 5 else ()) for i in range(1000)]
    notes = plan_power(few, policy, "correct", None, repeats=1).notes
    assert any("a drop in the smallest of them alone may never be seen" in note for note in notes)


def test_the_table_and_the_slices_know_the_margin():
    policy = Policy((NoRegression("correct", margin=0.2, slices=("even",)),))
    suite = [Sample(f"s{i:03}", "?", tags=("even",) if i % 2 == 0 else ()) for i in range(1000)]
    check = plan_power(suite, policy, "correct", None, repeats=1).checks[0]
    told = 0.1 + 0.841621 * 0.4 / 1000**0.5
    assert check.smallest_drop == pytest.approx(told, abs=1e-6)
    assert dict(check.repeats[0].by_units)[1000] == pytest.approx(told, abs=1e-6)
    assert check.repeats[0].smallest_drop == pytest.approx(told, abs=1e-6)
    assert check.slices[0].smallest_drop == pytest.approx(0.1 + 0.841621 * 0.4 / 500**0.5, abs=1e-6)


# --- more answers while nothing is decided ----------------------------------------------------------------------------


def test_strictness_goes_by_the_most_answers_that_may_be_asked():
    suite = samples(320)
    assert strict_problems(REGRESSION, suite, None, repeats=1)
    assert strict_problems(REGRESSION, suite, None, repeats=1, most_repeats=3) == []
    check = plan_power(suite, REGRESSION, "correct", None, repeats=1, most_repeats=3).checks[0]
    assert (check.spread.candidate_repeats, check.most_repeats, check.problem) == (1, 3, None)
    assert check.smallest_drop_at_most < 0.05 < check.smallest_drop
    assert check.sentence == (
        "320 samples, 1 repeat: sees drops of 5.6 points or more;"
        " up to 3 answers while undecided: sees drops of 4.5 points or more"
    )


def test_answers_that_no_run_would_ask_are_not_told_of():
    enough = plan_power(samples(1000), REGRESSION, "correct", None, repeats=1, most_repeats=3).checks[0]
    few = plan_power(samples(19), REGRESSION, "correct", None, repeats=1, most_repeats=3).checks[0]
    assert (enough.most_repeats, few.most_repeats) == (1, 1)
    assert "up to" not in enough.sentence + few.sentence


def test_strict_counts_whole_groups_before_any_call():
    suite = [Sample(f"s{i:03}", "?", group=f"g{i if i < 70 else 70 + i % 10}") for i in range(370)]
    policy = Policy((NoRegression("correct"),), margin=0.09)
    told = [strict_problems(replace(policy, strict=mode), suite, None, repeats=5) for mode in (False, True)]
    assert told[0] == []
    assert "an unchanged candidate cannot pass" in told[1][0]
    assert "under strict" in told[1][0]


# --- a new model or provider version ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "checks", "warned"),
    [
        ("m/2/v1", (NoRegression("correct"),), True),
        ("m/1/v2", (NoRegression("correct"),), False),
        ("m/2/v1", (NoRegression("correct"), SameShape()), False),
        ("m/2/v1", (NoRegression("correct"), MinScore("valid", at_least=0.5)), False),
    ],
)
def test_a_new_version_that_no_check_looks_at_is_warned_of_and_cannot_pass(make_run, version, checks, warned):
    specs = [
        MetricSpec("correct", "recorded:correct", deterministic=False),
        MetricSpec("valid", "contract:answer", deterministic=True),
    ]
    scores = {"correct": rows(100, 0, 1), "valid": rows(100, 0, 1)}
    baseline, candidate = (make_run(scores, specs=specs, version=v) for v in ("m/1/v1", version))
    policy = Policy(checks)
    told = provider_bump_warning(policy, candidate.header, baseline)
    assert (told is not None) is warned
    bumps = [c for c in gate(candidate, policy, baseline=baseline).checks if c.check == "provider-bump"]
    assert [c.status is Status.INCONCLUSIVE for c in bumps] == ([warned] if version == "m/2/v1" else [])
    if told:
        assert "provider version changed (breaking) against the baseline" in told
        assert 'add { check = "same-shape" }' in told
    assert provider_bump_warning(policy, candidate.header, None) is None


def test_samples_the_baseline_does_not_hold_are_not_counted_and_said(make_run):
    run = make_run(ISSUE)
    suite = [*run.samples.values(), Sample("new", "?")]
    report = plan_power(suite, REGRESSION, "correct", run, repeats=1)
    assert report.checks[0].spread.n_samples == 40
    assert any(note.startswith("40 of 41 samples are compared") for note in report.notes)


def test_0_1_scores_are_told_what_a_fall_adds(make_run):
    report = plan_power(samples(200), REGRESSION, "correct", None, repeats=1)
    assert "  a fall adds scatter: where it loses whole samples, 80% are caught from 8.7 points on" in report.lines()
    graded = planned(make_run(ISSUE))
    assert graded.checks[0].smallest_loss is None
    assert not any("a fall adds" in line for line in graded.lines())


def test_strict_turns_the_warning_into_an_error_and_changes_no_number(make_run):
    run = make_run(ISSUE)
    lax, strict = planned(run), planned(run, replace(REGRESSION, strict=True))
    assert lax.checks == strict.checks
    assert [line for line in lax.lines() if line.startswith("warning: no-regression")]
    assert [line for line in strict.lines() if line.startswith("error: no-regression")]


def test_strict_problems_are_those_of_the_plan_and_warnings_hold_them(make_run):
    run = make_run(ISSUE)
    suite = list(run.samples.values())
    problems = strict_problems(REGRESSION, suite, run, repeats=1)
    assert tuple(problems) == planned(run).problems
    assert problems == power_warnings(REGRESSION, suite, run, repeats=1)
    assert strict_problems(REGRESSION, samples(1000), None, repeats=1) == []


def test_more_repeats_can_solve_a_problem():
    suite = samples(200)
    assert strict_problems(REGRESSION, suite, None, repeats=1)
    assert strict_problems(REGRESSION, suite, None, repeats=3) == []


def test_the_report_is_json(make_run):
    found = planned(make_run(ISSUE)).to_dict()
    check = found["checks"][0]
    assert (check["n_units"], check["candidate_repeats"], check["baseline_repeats"]) == (40, 1, 2)
    assert check["block_floor"] is None  # one score is graded
    assert found["problems"] == [f"no-regression correct: {check['problem']}"]


# --- the baseline against itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "word"), [([1.0, 1.0, 0.0, 0.0], "below"), ([0.0, 0.0, 1.0, 1.0], "above")])
def test_a_baseline_that_moved_while_it_ran_is_warned_of_both_ways(make_run, row, word):
    run = make_run({f"s{i:03}": row if i < 20 else [1.0] * 4 for i in range(100)})
    told = self_check(run, ["correct"], alpha=0.05)
    assert len(told) == 1
    assert f"its later repeats lie 20 points {word} its earlier ones in correct" in told[0]
    assert told[0] in planned(run).warnings
    assert told[0] in power_warnings(REGRESSION, list(run.samples.values()), run, repeats=1)


def test_a_steady_baseline_is_not_warned_of(make_run):
    rows_both_ways = {f"s{i:03}": [1.0, 0.0] if i % 2 else [0.0, 1.0] for i in range(100)}
    assert self_check(make_run(rows_both_ways), ["correct"], alpha=0.05) == ()


@pytest.mark.parametrize("repeats", [1, 2, 5])
def test_equal_repeats_and_single_ones_say_nothing(make_run, repeats):
    assert self_check(make_run(rows(50, 0, repeats)), ["correct", "unknown"], alpha=0.05) == ()


def test_a_lost_judgement_is_no_shift(make_run):
    run = make_run({f"s{i:03}": [1.0, None] if i < 20 else [1.0, 1.0] for i in range(100)})
    assert self_check(run, ["correct"], alpha=0.05) == ()


# --- checks that count answers ----------------------------------------------------------------------------------------


P99 = Policy((NoRegression("correct", margin=0.5), MaxLatency(seconds=5)))


def test_too_few_answers_for_p99_are_a_problem_unless_more_may_be_asked(make_run):
    suite = samples(150)
    baseline = make_run({sample.id: [1.0] for sample in suite})
    told = "max-latency: needs at least 299 samples to bound p99, and 150 answers are planned: it cannot pass"
    [problem] = strict_problems(P99, suite, baseline, repeats=1)
    assert problem.startswith(told)
    assert strict_problems(P99, suite, baseline, repeats=2) == []
    assert strict_problems(P99, suite, baseline, repeats=1, most_repeats=3) == []
    assert any(
        "up to 3 answers of each sample are asked" in w
        for w in power_warnings(P99, suite, baseline, repeats=1, most_repeats=3)
    )


def test_without_a_baseline_no_more_are_asked_than_planned_and_that_is_a_problem():
    suite = samples(150)
    assert strict_problems(P99, suite, None, repeats=1, most_repeats=3) != []


def test_more_answers_are_planned_for_p99_where_they_are_enough_and_only_there(make_run):
    suite = samples(150)
    baseline = make_run({sample.id: [1.0] for sample in suite})
    plan = plan_looks(suite, P99, baseline, repeats=1, max_repeats=3, early_stop=True)
    assert [look.repeats for look in plan.looks] == [1, 3]
    few = suite[:90]  # 270 answers at most: asking them would settle nothing
    assert plan_looks(few, P99, baseline, repeats=1, max_repeats=3, early_stop=True) is None


def test_the_report_tells_it(make_run):
    suite = samples(150)
    report = plan_power(suite, P99, "correct", None, repeats=1)
    assert any(line.startswith("warning: max-latency: needs at least 299") for line in report.lines())
    assert report.to_dict()["problems"] == list(report.problems) != []


def test_what_will_not_be_measured_is_told_by_the_headers(make_run):
    load = {"engine": "local", "concurrency": 8, "timeout_s": 60.0}
    policy = Policy((MaxLatency(seconds=1, relative=1.25, of="ttft"), MaxCost(usd=1.0)))
    provider = {"name": "openai", "model": "m-1", "stream": False}
    now = make_run({"a": [1.0]}, load=load, provider=provider)
    before = make_run({"a": [1.0]}, load={**load, "concurrency": 9})
    told = measuring_warnings(policy, now.header, before, priced=False)
    assert [text.partition(":")[0] for text in told] == ["max-latency", "max-latency", "max-cost"]
    assert "set stream = true" in told[0]
    assert "concurrency 9 → 8" in told[1]
    assert "the price of 'm-1' is not known" in told[2]
    streamed = make_run({"a": [1.0]}, load=load, provider={**provider, "stream": True})
    assert measuring_warnings(policy, streamed.header, streamed, priced=True) == []
