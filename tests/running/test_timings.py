"""How long answers took: what counts, what is left out, and nothing slow that vanishes."""

import json
import math

import pytest

from aigate.core.response import FaultKind
from aigate.running.timings import Timing, Timings, log_ratios, quantile_name, summarise, timings_of

LOAD = {"engine": "local", "concurrency": 8, "timeout_s": 60.0}


def run_of(make_run, rows, **more):
    """A run with one response per sample id, by its fields."""
    return make_run({id_: [1.0] for id_ in rows}, responses=lambda id_, _: rows[id_], load=LOAD, **more)


def test_a_run_tells_the_time_of_each_answer_by_what_is_asked_for(make_run):
    run = run_of(make_run, {"a": {"latency_s": 0.5, "ttft_s": 0.1}, "b": {"latency_s": 0.7}}, groups={"b": "g"})
    assert timings_of(run).times == (Timing("a", "sample:a", 0.5), Timing("b", "group:g", 0.7))
    ttft = timings_of(run, "ttft")
    assert (ttft.seconds, ttft.unmeasured, ttft.left_out) == ((0.1,), 1, 0.5)


@pytest.mark.parametrize("kind", FaultKind)
def test_who_is_to_blame_decides_whether_no_answer_is_slow_or_lost(make_run, kind):
    run = make_run({"a": [1.0], "b": [1.0]}, faults={"a": kind}, responses=lambda id_, _: {"latency_s": 1.0}, load=LOAD)
    found = timings_of(run)
    if kind is FaultKind.CONTENT_FILTER:  # it came back, at a time nobody knows
        assert (found.seconds, found.unmeasured) == ((1.0,), 1)
    elif kind.candidate_fault:
        assert found.seconds == (math.inf, 1.0)
    else:
        assert (found.seconds, found.lost) == ((1.0,), ("a",))


def test_what_failed_before_an_answer_came_does_not_vanish(make_run):
    rows = {
        "fast failure": {"latency_s": 2.0, "longest_failed_s": 0.1},
        "slow failure": {"latency_s": 2.0, "longest_failed_s": 31.0},
        "timeout": {"latency_s": 2.0, "longest_failed_s": 60.0},
    }
    assert timings_of(run_of(make_run, rows)).seconds == (2.0, 31.0, math.inf)


def test_answers_from_the_journal_and_those_never_asked_have_no_time(make_run):
    rows = {"a": {"latency_s": None, "journaled_at": "2026-01-01T00:00:00Z"}, "b": {"latency_s": 1.0}}
    found = timings_of(run_of(make_run, rows))
    assert (found.seconds, found.journaled, found.left_out) == ((1.0,), 1, 0.5)
    skipped = make_run({"a": [1.0], "b": [1.0]}, skipped={("a", 0)}, responses=lambda *_: {"latency_s": 1.0})
    assert timings_of(skipped).seconds == (1.0,)


def test_a_summary_says_which_quantiles_so_few_times_do_not_bound():
    assert summarise([1.0] * 298).needs == ("needs at least 299 samples to bound p99",)
    assert summarise([1.0] * 299).needs == ()
    assert summarise([1.0] * 3).needs == tuple(
        f"needs at least {n} samples to bound {name}" for n, name in ((5, "p50"), (59, "p95"), (299, "p99"))
    )


def test_calls_without_an_answer_are_slower_than_all_others():
    found = summarise([1.0] * 300 + [math.inf] * 30)
    assert found[0.5].seconds == 1.0
    assert found[0.95].seconds == found[0.99].high == math.inf
    row = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (row["n"], row["no_answer"], row["mean"], row["max"]) == (330, 30, 1.0, 1.0)
    assert row["p99"] == {"seconds": None, "low": None, "high": None, "bounded": True, "needed": 299}
    assert row["p50"] == {"seconds": 1.0, "low": 1.0, "high": 1.0, "bounded": True, "needed": 5}


def test_a_summary_of_nothing_holds_nothing():
    found = summarise([])
    assert (found.quantiles, found.needs, found.to_dict()["n"]) == ((), (), 0)


@pytest.mark.parametrize("wrong", [-0.1, math.nan])
def test_a_time_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=r"^seconds: got"):
        summarise([1.0, wrong])


def test_a_quantile_is_named_as_people_do():
    assert [quantile_name(q) for q in (0.5, 0.99, 0.999)] == ["p50", "p99", "p99.9"]


def timings(rows, lost=()):
    times = tuple(Timing(id_, id_, time) for id_, row in rows.items() for time in row)
    return Timings("latency", times, tuple(lost))


def test_each_sample_is_held_against_itself_over_all_its_answers():
    before, now = timings({"a": [1.0, 4.0], "b": [3.0]}), timings({"a": [2.0], "b": [3.0, 12.0], "c": [9.0]})
    found = log_ratios(now, before, ["b", "a", "c"], largest=10.0)
    assert list(found) == ["b", "a"]
    assert {id_: math.exp(log) for id_, log in found.items()} == pytest.approx({"a": 1.0, "b": 2.0})


def test_no_answer_counts_as_the_largest_ratio_and_none_before_is_left_out():
    before = timings({"a": [1.0], "b": [math.inf], "c": [math.inf, 2.0]})
    now = timings({"a": [math.inf], "b": [1.0], "c": [2.0]})
    found = log_ratios(now, before, "abc", largest=10.0)
    assert {id_: math.exp(log) for id_, log in found.items()} == pytest.approx({"a": 10.0, "c": 1.0})


def test_lost_answers_count_as_what_they_are_said_to():
    before, now = timings({"a": [1.0], "b": [1.0]}), timings({"a": [1.0]}, lost=["b"])
    assert list(log_ratios(now, before, "ab", largest=10.0)) == ["a"]
    assert math.exp(log_ratios(now, before, "ab", largest=10.0, lost=10.0)["b"]) == pytest.approx(10.0)
    assert math.exp(log_ratios(now, before, "ab", largest=10.0, lost=0.1)["b"]) == pytest.approx(0.1)


def test_a_time_of_zero_has_a_ratio_too():
    found = log_ratios(timings({"a": [0.0]}), timings({"a": [0.0]}), "a", largest=10.0)
    assert found == {"a": 0.0}
