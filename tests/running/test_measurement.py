"""A benchmark as a value: what its calls say together, what a reader must know, and how it compares."""

import json
import math
import random

import pytest

from aigate.core.response import FaultKind
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import CannotJudgeError
from aigate.running.measurement import Benchmark, Call, compare_latency, obstacle_between, read_benchmark

CLOSED = {"engine": "local", "loop": "closed", "concurrency": 8, "timeout_s": 60.0}
OPEN = {"engine": "local", "loop": "open", "rate": 10.0, "most_in_flight": 512, "timeout_s": 60.0}
SAMPLES = [Sample(f"s{n}", f"question {n}") for n in range(200)]


def call(n, seconds=1.0, **fields):
    whole = {"planned_s": None, "started_s": float(n), "ended_s": n + seconds, "service_s": seconds}
    return Call(f"s{n % 200}", f"sample:s{n % 200}", **{**whole, **fields})


def bench(calls, load=CLOSED, **fields):
    whole = {
        "version": VersionId.parse("m/1/v1"),
        "provider": {"name": "openai"},
        "suite_name": "suite",
        "suite_digest": "sha256:suite",
        "prompt_digest": None,
        "parameters": {},
        "warmup": 0,
        "wall_s": 10.0,
        "started_at": "2026-01-01T00:00:00Z",
    }
    return Benchmark(load=load, calls=tuple(calls), **{**whole, **fields})


def noted(found, text):
    return any(text in note for note in found.notes)


def test_in_a_closed_loop_latency_is_service_time():
    found = bench([call(n, 1.0 + n / 100) for n in range(300)])
    assert found.latency.seconds == found.service.seconds
    assert found.latency[0.5].seconds == pytest.approx(2.49)
    assert found.to_dict()["service"] is None


def test_in_an_open_loop_latency_counts_from_the_moment_a_request_was_to_start():
    found = bench([call(n, 1.0, planned_s=n - 0.5, ttft_s=0.2) for n in range(300)], OPEN)
    assert (found.latency[0.99].seconds, found.service[0.99].seconds) == (1.5, 1.0)
    assert found.ttft[0.5].seconds == pytest.approx(0.7)
    assert noted(found, "the client fell behind: 300 of 300 requests started more than 10 ms late, the latest by 0.5 s")


def test_a_request_that_started_early_waited_for_nobody():
    assert bench([call(5, planned_s=5.001)], OPEN).latency.seconds == (1.0,)


def test_what_got_no_answer_is_slow_or_lost_by_who_is_to_blame():
    calls = [call(n) for n in range(95)]
    calls += [call(n, fault=FaultKind.TIMEOUT, service_s=None, longest_failed_s=60.0) for n in range(95, 98)]
    calls += [call(n, fault=FaultKind.RATE_LIMIT, service_s=None) for n in range(98, 100)]
    found = bench(calls)
    assert (len(found.latency.seconds), found.latency[0.99].seconds) == (98, math.inf)
    assert (found.answered, found.errors) == (95, {"rate_limit": 2, "timeout": 3})
    assert noted(found, "3 of 100 requests got no answer")
    assert noted(found, "2 of 100 requests were lost through no fault of the version")
    assert found.timings("latency").lost == ("s98", "s99")


def test_an_answer_after_a_timeout_was_slow():
    found = bench([call(0, longest_failed_s=60.0, attempts=2), call(1, longest_failed_s=2.0, attempts=2), call(2)])
    assert found.latency.seconds == (math.inf, 2.0, 1.0)
    assert noted(found, "2 requests were asked more than once")


def test_throughput_tokens_and_cost_are_told_where_every_answer_tells_them():
    calls = [call(n, output_tokens=20, cost_usd=0.001) for n in range(50)]
    found = bench(calls)
    assert (found.throughput_per_s, found.output_tokens_per_s) == (5.0, 100.0)
    assert found.cost_usd == pytest.approx(0.05)
    some = bench([*calls, call(50)])
    assert (some.output_tokens_per_s, some.cost_usd) == (None, None)


def test_time_to_first_token_that_nobody_measured_is_said():
    found = bench([call(n) for n in range(3)])
    assert found.to_dict()["ttft"] is None
    assert noted(found, "time to first token was not measured")
    assert not noted(bench([call(0, ttft_s=0.1)]), "time to first token was not measured")


def test_too_few_requests_for_p99_are_said():
    assert noted(bench([call(n) for n in range(298)]), "needs at least 299 samples to bound p99")
    assert not noted(bench([call(n) for n in range(299)]), "needs at least")


def test_slow_answers_in_spells_are_said_and_scattered_ones_are_not():
    rng = random.Random(1)  # noqa: S311
    times = [3.0 if rng.random() < 0.2 else 1.0 + rng.random() for _ in range(400)]
    assert not noted(bench([call(n, time) for n, time in enumerate(times)]), "in spells")
    in_order = sorted(times[:200]) + sorted(times[200:], reverse=True)
    assert noted(bench([call(n, time) for n, time in enumerate(in_order)]), "slow answers come in spells")


def test_a_server_that_does_not_keep_up_is_said():
    grows = [call(n, 1.0 + n / 20, planned_s=float(n)) for n in range(200)]
    assert noted(bench(grows, OPEN), "the server does not keep up with the rate")
    assert not noted(bench([call(n, planned_s=float(n)) for n in range(200)], OPEN), "keep up")


def test_a_client_that_lags_is_said_where_it_matters():
    calls = [call(n) for n in range(40)]
    assert noted(bench(calls, client_lag_s=0.2), "the client was busy")
    assert not noted(bench(calls, client_lag_s=0.02), "the client was busy")


def test_a_benchmark_is_read_as_it_was_written():
    calls = [call(n, 1.0 + n / 10, planned_s=n / 2, ttft_s=0.1, output_tokens=3) for n in range(20)]
    calls.append(call(20, fault=FaultKind.SERVER, message="500", service_s=None, attempts=3, retry_wait_s=0.5))
    found = bench(calls, OPEN, stopped="max-calls 21 was reached", warmup=8, client_lag_s=0.001)
    text = json.dumps(found.to_dict(), allow_nan=False)
    again = read_benchmark(text, source="b.json")
    assert again == found
    assert json.dumps(again.to_dict(), allow_nan=False) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no benchmark"),
        ("[]", "no benchmark"),
        ('{"format": "aigate.bench/2"}', "got 'aigate.bench/2'"),
        ('{"format": "aigate.bench/1"}', "broken benchmark: KeyError: 'version'"),
    ],
)
def test_what_is_no_benchmark_is_refused(text, told):
    with pytest.raises(CannotJudgeError, match="b.json: ") as refused:
        read_benchmark(text, source="b.json")
    assert told in str(refused.value)


def test_a_call_that_is_broken_is_told():
    row = bench([call(0)]).to_dict()
    row["calls"][0]["bananas"] = 1
    with pytest.raises(CannotJudgeError, match="broken benchmark: .*bananas"):
        read_benchmark(json.dumps(row), source="b.json")


# --- against another --------------------------------------------------------------------------------------------------


def test_each_sample_is_held_against_itself():
    before = bench([call(n, 1.0 + n / 100, ttft_s=0.1) for n in range(200)])
    found = compare_latency(
        bench([call(n, 1.2 * (1.0 + n / 100), ttft_s=0.2) for n in range(200)]), before, samples=SAMPLES
    )
    assert found.latency.ratio == pytest.approx(1.2)
    assert found.ttft.ratio == pytest.approx(2.0)
    assert found.latency.low < 1.2 < found.latency.high
    assert found.before == before.latency
    assert json.loads(json.dumps(found.to_dict()))["latency"]["n"] == 200


def test_a_stored_run_is_a_baseline_too_where_its_samples_are_the_same(make_run):
    run = make_run(
        {s.id: [1.0] for s in SAMPLES},
        inputs={s.id: s.text for s in SAMPLES[:150]} | {s.id: "another question" for s in SAMPLES[150:]},
        responses=lambda *_: {"latency_s": 0.5},
        load={"engine": "local", "concurrency": 8, "timeout_s": 60.0},
    )
    now = bench([call(n) for n in range(200)])
    assert obstacle_between(CLOSED, "sha256:suite", SAMPLES, run) == ""
    found = compare_latency(now, run, samples=SAMPLES)
    assert (found.latency.n, found.latency.ratio, found.ttft) == (150, pytest.approx(2.0), None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"concurrency": 32}, "concurrency 8 → 32"),
        ({"requests_per_minute": 60.0}, "requests per minute None → 60.0"),
        ({"engine": "dask"}, "engine local → dask"),
        (OPEN, "in a loop that was closed, this one is open"),
    ],
)
def test_what_was_measured_under_another_load_is_not_compared(change, told):
    before = bench([call(0)])
    assert told in obstacle_between({**CLOSED, **change}, "sha256:suite", SAMPLES, before)
    assert obstacle_between({**CLOSED, "timeout_s": 9.0}, "sha256:suite", SAMPLES, before) == ""


def test_a_baseline_of_other_samples_or_an_unknown_load_is_not_compared(make_run):
    assert "other samples" in obstacle_between(CLOSED, "sha256:other", SAMPLES, bench([call(0)]))
    run = make_run({"s0": [1.0]}, inputs={"s0": "another question"}, load=CLOSED)
    assert "none of these samples" in obstacle_between(CLOSED, "sha256:suite", SAMPLES, run)
    assert "not known" in obstacle_between(CLOSED, "sha256:suite", SAMPLES, make_run({"s0": [1.0]}))


def test_one_sample_alone_is_no_comparison():
    assert compare_latency(bench([call(0)]), bench([call(0)]), samples=SAMPLES).latency is None
