"""max-latency: a quantile in seconds, the typical question against the baseline, and no pass that was not measured."""

import numpy as np
import pytest

from aigate.core.looks import Look, LookPlan
from aigate.core.response import FaultKind
from aigate.core.verdict import Status
from aigate.errors import ConfigError
from aigate.gating.checks.base import check_from_config
from aigate.gating.checks.max_latency import MaxLatency, load_obstacle
from aigate.gating.decision import gate
from aigate.gating.policy import Policy

LOAD = {"engine": "local", "concurrency": 8, "timeout_s": 60.0}


def ids(n):
    return [f"s{i:04}" for i in range(n)]


def timed(make_run, seconds, *, load=LOAD, fields=None, **more):
    """A run whose samples took so many seconds each: one number, or one per repeat."""
    rows = {id_: row if isinstance(row, list) else [row] for id_, row in zip(ids(len(seconds)), seconds, strict=True)}
    scores = {id_: [1.0] * len(row) for id_, row in rows.items()}
    extra = fields or (lambda id_, repeat: {})
    return make_run(
        scores, responses=lambda id_, repeat: {"latency_s": rows[id_][repeat], **extra(id_, repeat)}, load=load, **more
    )


def outcome(check, candidate, baseline=None, **policy):
    verdict = gate(candidate, Policy((check,), **policy), baseline=baseline)
    return next(found for found in verdict.checks if found.check == "max-latency")


def codes(found):
    return {why.code for why in found.reasons}


# --- in seconds -------------------------------------------------------------------------------------------------------


def test_p99_passes_with_299_answers_within_the_bound_and_with_298_says_what_it_needs(make_run):
    assert outcome(MaxLatency(seconds=5), timed(make_run, [1.0] * 299)).status is Status.PASS
    found = outcome(MaxLatency(seconds=5), timed(make_run, [1.0] * 298))
    assert found.status is Status.INCONCLUSIVE
    assert codes(found) == {"latency-not-bounded"}
    assert "needs at least 299 samples to bound p99" in found.reasons[0].text


@pytest.mark.parametrize("above", range(12))
def test_it_decides_as_the_bounds_of_the_quantile_do(make_run, above):
    from aigate.stats.quantiles import quantile_bound

    seconds = [1.0 + n / 1000 for n in range(500 - above)] + [9.0 + n for n in range(above)]
    found = outcome(MaxLatency(seconds=5), timed(make_run, seconds))
    low, high = (quantile_bound(seconds, 0.99, side=side, level=0.95) for side in ("lower", "upper"))
    expected = Status.PASS if high <= 5 else Status.FAIL if low > 5 else Status.INCONCLUSIVE
    assert found.status is expected
    assert (found.interval.low, found.interval.high, found.interval.level) == (low, high, 0.9)
    assert (found.threshold, found.details["above"]) == (5.0, above)


def test_a_quantile_shown_to_be_above_the_bound_fails_on_few_answers_too_and_names_the_slowest(make_run):
    found = outcome(MaxLatency(seconds=5), timed(make_run, [1.0] * 30 + [7.0, 9.0, 8.0]))
    assert found.status is Status.FAIL
    assert codes(found) == {"latency"}
    assert [(moved.sample_id, moved.candidate, moved.note) for moved in found.moved] == [
        ("s0031", 9.0, "seconds"),
        ("s0032", 8.0, "seconds"),
        ("s0030", 7.0, "seconds"),
    ]


def test_in_between_it_says_about_how_many_answers_would_settle_it(make_run):
    found = outcome(MaxLatency(seconds=5), timed(make_run, [1.0] * 498 + [9.0] * 2))
    assert found.status is Status.INCONCLUSIVE
    assert "p99 may be on either side; about 7" in found.reasons[0].text  # of 1,000: 3 of 776 show it


def test_a_bound_that_is_met_exactly_is_met(make_run):
    assert outcome(MaxLatency(seconds=5), timed(make_run, [5.0] * 299)).status is Status.PASS
    assert outcome(MaxLatency(seconds=5), timed(make_run, [5.000001] * 299)).status is Status.FAIL


def test_the_level_is_that_of_the_policy(make_run):
    run = timed(make_run, [1.0] * 299)
    found = outcome(MaxLatency(seconds=5), run, alpha=0.01)
    assert found.status is Status.INCONCLUSIVE
    assert "needs at least 459 samples to bound p99" in found.reasons[0].text


def test_more_answers_of_each_sample_count(make_run):
    check = MaxLatency(seconds=5)
    assert outcome(check, timed(make_run, [[1.0, 1.0]] * 150)).status is Status.PASS
    assert outcome(check, timed(make_run, [[1.0, 1.0]] * 149)).status is Status.INCONCLUSIVE


def test_time_to_first_token_is_a_measure_of_its_own(make_run):
    run = timed(make_run, [9.0] * 299, fields=lambda id_, repeat: {"ttft_s": 0.2})
    assert outcome(MaxLatency(seconds=1, of="ttft"), run).status is Status.PASS
    assert outcome(MaxLatency(seconds=1), run).status is Status.FAIL


def test_time_to_first_token_without_streams_is_an_error_that_says_how_to_get_it(make_run):
    found = outcome(MaxLatency(seconds=1, of="ttft"), timed(make_run, [0.5] * 299))
    assert found.status is Status.ERROR
    assert codes(found) == {"not-measured"}
    assert "stream = true" in found.reasons[0].hint


# --- what must not vanish ---------------------------------------------------------------------------------------------


def with_faults(make_run, kind, n=500, broken=10):
    return timed(make_run, [1.0] * n, faults=dict.fromkeys(ids(n)[:broken], kind))


@pytest.mark.parametrize("kind", [FaultKind.TIMEOUT, FaultKind.SERVER, FaultKind.CANDIDATE])
def test_an_answer_that_never_came_is_slower_than_every_bound(make_run, kind):
    run = with_faults(make_run, kind)
    found = outcome(MaxLatency(seconds=5), run)
    assert found.status is Status.FAIL
    assert "10 gave no answer in time" in found.summary
    assert found.moved[0].note == "no answer in time"
    assert outcome(MaxLatency(seconds=1e6), run).status is Status.FAIL


def test_an_answer_after_an_attempt_that_timed_out_was_slow(make_run):
    retried = set(ids(500)[:10])
    run = timed(
        make_run, [1.0] * 500, fields=lambda id_, _: {"longest_failed_s": 60.0, "attempts": 2} if id_ in retried else {}
    )
    assert outcome(MaxLatency(seconds=5), run).status is Status.FAIL
    assert outcome(MaxLatency(seconds=90), run).status is Status.FAIL  # it was given up: it may have taken longer


def test_an_attempt_that_failed_after_long_counts_in_the_answers_place(make_run):
    retried = set(ids(500)[:10])
    run = timed(
        make_run, [1.0] * 500, fields=lambda id_, _: {"longest_failed_s": 30.0, "attempts": 2} if id_ in retried else {}
    )
    assert outcome(MaxLatency(seconds=5), run).status is Status.FAIL
    assert outcome(MaxLatency(seconds=31), run).status is Status.PASS


def test_waits_between_attempts_are_not_latency(make_run):
    run = timed(make_run, [1.0] * 299, fields=lambda *_: {"attempts": 3, "retry_wait_s": 30.0})
    assert outcome(MaxLatency(seconds=5), run).status is Status.PASS


def test_answers_lost_through_the_network_pass_only_where_they_could_have_been_slow(make_run):
    assert outcome(MaxLatency(seconds=5), with_faults(make_run, FaultKind.CONNECTION, 1_000, 4)).status is Status.PASS
    found = outcome(MaxLatency(seconds=5), with_faults(make_run, FaultKind.CONNECTION, 500, 2))
    assert found.status is Status.INCONCLUSIVE
    assert codes(found) == {"missing-decides"}


def test_answers_from_the_journal_have_no_latency_and_too_many_of_them_are_no_pass(make_run):
    def journaled(first):
        taken = {"latency_s": None, "journaled_at": "2026-01-01T00:00:00Z"}
        return timed(make_run, [1.0] * 400, fields=lambda id_, _: taken if id_ < f"s{first:04}" else {})

    few = outcome(MaxLatency(seconds=5), journaled(40))
    assert few.status is Status.PASS
    assert "40 answers say nothing of latency: 40 from the journal" in [why.text for why in few.reasons]
    many = outcome(MaxLatency(seconds=5), journaled(41))
    assert many.status is Status.INCONCLUSIVE
    assert "--no-journal" in many.reasons[0].hint
    whole = outcome(MaxLatency(seconds=5), journaled(400))
    assert whole.status is Status.INCONCLUSIVE
    assert "400 of 400 answers of the candidate are from the journal" in whole.reasons[0].text


def test_a_run_that_measured_nothing_is_an_error(make_run):
    run = make_run({id_: [1.0] for id_ in ids(300)}, load=LOAD)
    found = outcome(MaxLatency(seconds=5), run)
    assert found.status is Status.ERROR
    assert codes(found) == {"not-measured"}


# --- against the baseline ---------------------------------------------------------------------------------------------


def drawn(seed, n, factor=1.0, spread=0.3):
    slow_questions, noise = np.random.default_rng(7).lognormal(0.0, 0.8, n), np.random.default_rng(seed)
    return (slow_questions * factor * noise.lognormal(0.0, spread, n)).tolist()


def against(make_run, factor, n=200, check=MaxLatency(relative=1.25), load=LOAD, before=None, **policy):  # noqa: B008
    baseline = timed(make_run, drawn(1, n), load=before or LOAD)
    return outcome(check, timed(make_run, drawn(2, n, factor), load=load), baseline, **policy)


def test_an_equal_version_passes_and_one_that_takes_half_as_long_again_fails(make_run):
    same, slower = against(make_run, 1.0), against(make_run, 1.5)
    assert same.status is Status.PASS
    assert same.interval.low < same.observed < same.interval.high <= 1.25
    assert slower.status is Status.FAIL
    assert codes(slower) == {"slower"}
    assert slower.interval.low > 1.25
    assert slower.n_repeats == (1, 1)


def test_near_the_bound_it_says_about_how_many_samples_would_settle_it(make_run):
    found = against(make_run, 1.2)
    assert found.status is Status.INCONCLUSIVE
    assert codes(found) == {"latency-undecided"}
    assert "samples or groups would settle it" in found.reasons[0].text


def test_a_faster_version_passes(make_run):
    assert against(make_run, 0.3).status is Status.PASS
    assert against(make_run, 0.3, check=MaxLatency(relative=1.0)).status is Status.PASS


def test_answers_that_no_longer_come_count_as_ten_times_slower_than_is_tolerated(make_run):
    baseline = timed(make_run, [1.0] * 200)
    lost = timed(make_run, [1.0] * 200, faults=dict.fromkeys(ids(200)[:60], FaultKind.SERVER))
    found = outcome(MaxLatency(relative=1.25), lost, baseline)
    assert found.status is Status.FAIL
    assert found.observed == pytest.approx(12.5 ** (60 / 200))


def test_answers_lost_through_the_network_could_change_the_ratio(make_run):
    baseline = timed(make_run, [1.0] * 200)
    lost = timed(make_run, [1.0] * 200, faults=dict.fromkeys(ids(200)[:15], FaultKind.CONNECTION))
    found = outcome(MaxLatency(relative=1.2), lost, baseline)
    assert found.status is Status.INCONCLUSIVE
    assert codes(found) == {"missing-decides"}


def test_groups_are_the_unit_and_fewer_than_twenty_cannot_pass(make_run):
    def grouped(count):
        groups = {id_: f"g{n % count}" for n, id_ in enumerate(ids(400))}
        runs = [timed(make_run, drawn(seed, 400, spread=0.05), groups=groups) for seed in (2, 1)]
        return outcome(MaxLatency(relative=2.0), *runs)

    assert grouped(40).status is Status.PASS
    assert grouped(19).status is Status.INCONCLUSIVE
    assert grouped(40).n_groups == 40


@pytest.mark.parametrize("name", ["concurrency", "engine", "requests_per_minute"])
def test_what_was_measured_under_another_load_is_not_compared(make_run, name):
    found = against(make_run, 1.0, load={**LOAD, name: 99})
    assert found.status is Status.ERROR
    assert codes(found) == {"load-differs"}
    assert f"{name.replace('_', ' ')} " in found.reasons[0].text


def test_a_baseline_of_which_no_load_is_known_is_not_compared(make_run):
    baseline = timed(make_run, [1.0] * 200, load=None)
    found = outcome(MaxLatency(relative=1.25), timed(make_run, [1.0] * 200), baseline)
    assert found.status is Status.ERROR
    assert "under which load the baseline was measured is not known" in found.summary


def test_another_timeout_is_no_other_load(make_run):
    assert against(make_run, 1.0, load={**LOAD, "timeout_s": 30.0}).status is Status.PASS


def test_two_recordings_are_compared_on_trust_and_a_recording_with_a_measurement_is_not(make_run):
    recorded = {"load": None, "provider": {"name": "replay"}}
    runs = [timed(make_run, drawn(seed, 200), **recorded) for seed in (2, 1)]
    found = outcome(MaxLatency(relative=1.25), *runs)
    assert found.status is Status.PASS
    assert codes(found) == {"measured-apart"}
    assert load_obstacle(runs[0].header, timed(make_run, [1.0]).header)


def test_a_baseline_of_another_day_is_noted(make_run):
    baseline = timed(make_run, drawn(1, 200), started_at="2026-01-01T00:00:00Z")
    found = outcome(
        MaxLatency(relative=1.25), timed(make_run, drawn(2, 200), started_at="2026-01-09T12:00:00Z"), baseline
    )
    assert found.status is Status.PASS
    assert codes(found) == {"measured-apart"}
    assert "2026-01-01, 8 days apart" in found.reasons[0].text


def test_without_a_baseline_the_bound_in_seconds_still_fails(make_run):
    check = MaxLatency(seconds=5, relative=1.25)
    assert outcome(check, timed(make_run, [1.0] * 299)).status is Status.ERROR
    assert outcome(check, timed(make_run, [9.0] * 299)).status is Status.FAIL


def test_a_baseline_from_the_journal_was_not_measured(make_run):
    taken = {"latency_s": None, "journaled_at": "2026-01-01T00:00:00Z"}
    baseline = timed(make_run, [1.0] * 200, fields=lambda *_: taken)
    found = outcome(MaxLatency(relative=1.25), timed(make_run, [1.0] * 200), baseline)
    assert found.status is Status.INCONCLUSIVE
    assert "of the baseline are from the journal" in found.summary


def test_both_bounds_must_hold(make_run):
    check = MaxLatency(seconds=5, relative=1.25)
    fast, slow = timed(make_run, [1.0] * 300), timed(make_run, [2.0] * 300)
    assert outcome(check, fast, fast).status is Status.PASS
    assert outcome(check, slow, fast).status is Status.FAIL
    assert outcome(check, slow, slow).status is Status.PASS
    assert outcome(MaxLatency(seconds=1.5, relative=1.25), slow, slow).status is Status.FAIL


def test_the_first_baseline_is_held_against_the_bound_in_seconds_alone():
    policy = Policy((MaxLatency(seconds=5, relative=1.25), MaxLatency(relative=1.25)))
    assert policy.needs_baseline
    assert policy.without_baseline().checks == (MaxLatency(seconds=5),)
    assert Policy((MaxLatency(relative=1.25),)).without_baseline() is None


# --- looks ------------------------------------------------------------------------------------------------------------


def looked(make_run, seconds, asked, looks=5, repeats=1):
    """A run of which so many looks were asked, in the order of its units."""
    from aigate.core.looks import unit_order

    n = len(seconds)
    plan = LookPlan(tuple(Look(-(-n * k // looks), repeats) for k in range(1, looks + 1)))
    whole = timed(make_run, seconds)
    order = unit_order(whole.samples.values(), seed=0)
    used = frozenset(order[: plan.looks[asked - 1].units])
    skipped = {(id_, 0) for id_, sample in whole.samples.items() if sample.unit not in used}
    return timed(make_run, seconds, looks=plan, skipped=skipped)


def test_early_looks_cost_p99_nothing_while_they_can_show_nothing(make_run):
    assert outcome(MaxLatency(seconds=5), looked(make_run, [1.0] * 299, asked=5)).status is Status.PASS
    assert outcome(MaxLatency(seconds=5), looked(make_run, [1.0] * 299, asked=4)).status is Status.INCONCLUSIVE


def test_a_run_that_was_stopped_early_passes_where_what_was_asked_shows_it(make_run):
    found = outcome(MaxLatency(seconds=5), looked(make_run, [1.0] * 2_000, asked=3))
    assert found.status is Status.PASS
    assert (found.look, found.looks, found.n_samples) == (2, 5, 800)


def test_a_run_with_another_provider_version_passes_on_the_whole_suite_only(make_run):
    baseline = timed(make_run, [1.0] * 2_000, version="m/0/v1")
    assert outcome(MaxLatency(seconds=5), looked(make_run, [1.0] * 2_000, asked=3), baseline).status is (
        Status.INCONCLUSIVE
    )
    assert outcome(MaxLatency(seconds=5), looked(make_run, [1.0] * 2_000, asked=5), baseline).status is Status.PASS


def test_a_slow_candidate_fails_at_the_first_look_that_shows_it(make_run):
    found = outcome(MaxLatency(seconds=5), looked(make_run, [9.0] * 500, asked=1))
    assert (found.status, found.look) == (Status.FAIL, 1)


# --- before any call --------------------------------------------------------------------------------------------------


def test_a_suite_that_is_too_small_is_told_so_with_what_would_do():
    told = MaxLatency(seconds=5, relative=1.25).too_small_for(200, 200, 0.05)
    assert "needs at least 299 samples to bound p99, and 200 answers are planned: it cannot pass" in told
    assert "ask 2 times as many (--repeats), or bound p98 (quantile = 0.98)" in told
    assert MaxLatency(seconds=5, relative=1.25).too_small_for(200, 400, 0.05) == ""
    assert "needs at least 33 samples" in MaxLatency(relative=1.25).too_small_for(32, 32, 0.05)
    assert MaxLatency(relative=1.25).too_small_for(33, 33, 0.05) == ""
    assert MaxLatency(relative=1.0).too_small_for(20, 20, 0.05) == ""  # a faster one may pass


@pytest.mark.parametrize("relative", [1.1, 1.25, 2.0, 20.0])
def test_a_suite_that_is_large_enough_can_pass_and_one_smaller_cannot(make_run, relative):
    check = MaxLatency(relative=relative)
    least = next(n for n in range(1, 200) if not check.too_small_for(n, n, 0.05))
    for n in (least, least - 1):
        run = timed(make_run, [1.0] * n)
        assert (outcome(check, run, run).status is Status.PASS) is (n == least)


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "nothing is bounded"),
        ({"seconds": 0}, "'seconds' is 0.0: expected a number above 0"),
        ({"seconds": float("inf")}, "'seconds' is inf"),
        ({"seconds": float("nan")}, "'seconds' is nan"),
        ({"seconds": "5"}, "'seconds' is '5': expected a number"),
        ({"relative": -1.0}, "'relative' is -1.0"),
        ({"seconds": 5, "quantile": 99}, "'quantile' is 99.0: expected a number between 0 and 1"),
        ({"relative": 1.25, "quantile": 0.99}, "'quantile' bounds nothing without 'seconds'"),
        ({"seconds": 5, "of": "tttf"}, "'of' is 'tttf': expected 'latency' or 'ttft'"),
        ({"secs": 5}, "unknown option 'secs'"),
    ],
)
def test_wrong_options_are_refused(options, told):
    with pytest.raises(ConfigError) as refused:
        check_from_config({"check": "max-latency", **options}, where="here")
    assert told in str(refused.value)


def test_the_example_of_the_design_is_read_and_written():
    row = {"check": "max-latency", "quantile": 0.99, "seconds": 5, "relative": 1.25}
    check = check_from_config(row, where="here")
    assert check == MaxLatency(seconds=5.0, quantile=0.99, relative=1.25)
    assert check.to_dict() == {**row, "of": "latency"}
