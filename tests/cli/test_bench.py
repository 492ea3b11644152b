"""`aigate bench` as a user types it: against real servers, one of which is a process that stops for a while."""

import json
import subprocess
import sys

import pytest

from aigate.storing.benchmarks import load_benchmark
from aigate.storing.runs import load_run
from aigate.testing import LoopbackServer, Reply

TOML = """\
version = "m/1/v1"
provider = "openai"
scorers = ["exact_match"]

[provider-options]
api-key-env = ""

[policy]
checks = [
  { check = "min-score", metric = "exact_match", at-least = 0.5 },
  { check = "max-latency", quantile = 0.99, seconds = 5, relative = 1.25 },
  { check = "max-cost", relative = 1.10 },
]
"""
N = 40


@pytest.fixture
def suite(place):
    rows = [{"id": f"s{i:02}", "input": f"say {i}", "reference": f"say {i}"} for i in range(N)]
    place.write_suite(toml=TOML, samples=rows)
    return place.suite


@pytest.fixture
def stalling_server():
    """The base URL of a server process that answers in 20 ms, and stops for 2 s one second after its first request."""
    command = [sys.executable, "-m", "aigate.testing", "--latency", "0.02", "--stall", "1:2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip()
    process.terminate()
    process.communicate(timeout=10)


def answer(request, latency_s=0.0):
    return Reply.text(request.last_user_text, served_model="m-1", latency_s=latency_s)


def bench(place, suite, url, *more):
    return place.run("bench", "--suite", suite, "--base-url", url, "--quiet", *more)


# --- coordinated omission ---------------------------------------------------------------------------------------------


def test_a_stall_is_hidden_in_a_closed_loop(place, suite, stalling_server):
    flags = ("--concurrency", "2", "--requests", "400", "--format", "json")
    code, out, _ = bench(place, suite, stalling_server, *flags)
    found = json.loads(out)
    assert code == 0
    assert found["latency"]["max"] > 1.5  # it happened,
    assert sum(call["service_s"] > 1.5 for call in found["calls"]) <= 2  # to what was in flight,
    assert found["latency"]["p99"]["seconds"] < 1.0  # so that one request in a hundred does not show it


def test_the_same_stall_is_seen_in_an_open_loop(place, suite, stalling_server):
    code, out, err = bench(place, suite, stalling_server, "--rate", "80", "--requests", "400", "--format", "json")
    found = json.loads(out)
    assert code == 0
    assert found["latency"]["p99"]["low"] > 1.5
    assert found["latency"]["p95"]["seconds"] > 1.0
    assert "open loop, 80 requests/s" in err


# --- time to first token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["direct", "sdk"])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_time_to_first_token_is_measured_over_both_transports(place, suite, transport, api):
    with LoopbackServer(lambda r: Reply.text("one two three", latency_s=0.6, ttft_s=0.05)) as server:
        options = (
            "--option",
            f"transport={transport}",
            "--option",
            f"api={api}",
            "--requests",
            "6",
            "--concurrency",
            "3",
        )
        code, out, _ = bench(place, suite, server.base_url, *options, "--format", "json")
    found = json.loads(out)
    assert code == 0
    assert 0.05 <= found["ttft"]["min"] <= found["ttft"]["p50"]["seconds"] < found["latency"]["min"]
    assert found["latency"]["min"] >= 0.6


def test_without_streams_it_is_said_that_nobody_measured_it(place, suite):
    with LoopbackServer(answer) as server:
        code, _, err = bench(place, suite, server.base_url, "--requests", "6", "--option", "stream=false")
    assert code == 0
    assert "time to first token was not measured: only streamed answers tell it" in err


# --- what is asked, and what comes of it ------------------------------------------------------------------------------


def test_it_says_what_it_will_cost_and_what_so_few_requests_cannot_show_before_the_first_call(place, suite):
    with LoopbackServer(answer) as server:
        code, _, err = bench(place, suite, server.base_url, "--requests", "20", "--warmup", "5", "--price", "1,2")
        assert len(server.requests) == 25
    assert code == 0
    assert "20 requests: needs at least 299 samples to bound p99" in err
    assert "estimate: 25 calls" in err
    assert "20 requests, closed loop, 8 in flight" in err
    assert "5 warm-up requests came first and are not counted" in err


def test_nothing_is_taken_from_the_journal_and_nothing_is_kept_in_it(place, suite):
    with LoopbackServer(answer) as server:
        place.run("eval", "--suite", suite, "--base-url", server.base_url, "--out", "run.jsonl", "--quiet")
        assert len(server.requests) == N
        bench(place, suite, server.base_url, "--requests", str(N), "--warmup", "0")
        assert len(server.requests) == 2 * N


def test_a_benchmark_that_was_kept_is_compared_with(place, suite):
    with LoopbackServer(lambda r: answer(r, 0.05)) as server:
        code, _, err = bench(place, suite, server.base_url, "--requests", "80", "--out", "before.json")
        assert code == 0
        assert "benchmark: before.json" in err
    with LoopbackServer(lambda r: answer(r, 0.15)) as server:
        flags = ("--requests", "80", "--baseline", "before.json", "--format", "markdown")
        code, out, err = bench(place, suite, server.base_url, *flags)
    assert code == 0
    assert "as with m/1/v1, benchmark of" in err
    assert "| seconds | latency | before |" in out
    assert len(load_benchmark(place.folder / "before.json").calls) == 80


def test_a_stored_run_is_compared_with_where_it_was_asked_under_the_same_load(place, suite):
    with LoopbackServer(lambda r: answer(r, 0.02)) as server:
        place.run("eval", "--suite", suite, "--base-url", server.base_url, "--out", "run.jsonl", "--quiet")
        code, _, err = bench(place, suite, server.base_url, "--requests", "40", "--baseline", "run.jsonl")
        assert code == 0
        assert "as with m/1/v1, run of" in err
        asked = len(server.requests)
        code, _, err = bench(place, suite, server.base_url, "--baseline", "run.jsonl", "--concurrency", "3")
        assert (code, len(server.requests)) == (4, asked)
    assert "not comparable: the baseline was not measured alike: concurrency 8 → 3" in err


@pytest.mark.parametrize(
    ("flags", "told"), [(("--max-calls", "30"), "max-calls 30"), (("--deadline", "2"), "the deadline")]
)
def test_a_cap_that_ends_it_is_exit_code_3(place, suite, flags, told):
    with LoopbackServer(lambda r: answer(r, 0.05)) as server:
        code, _, err = bench(place, suite, server.base_url, "--requests", "800", *flags)
    assert code == 3
    assert f"it ended before everything was asked: {told}" in err


def test_a_server_that_is_not_there_is_exit_code_4(place, suite):
    code, _, err = bench(place, suite, "http://127.0.0.1:9/v1", "--requests", "5", "--retries", "0")
    assert code == 4
    assert "not one of 5 requests was answered; the first: connection" in err


def test_refused_calls_are_asked_again_and_their_waits_are_not_counted(place, suite):
    def refused(request):
        refused.seen += 1
        return Reply.status(429, "later", headers={"retry-after": "1.5"}) if refused.seen == 5 else answer(request)

    refused.seen = 0
    with LoopbackServer(refused) as server:
        code, out, _ = bench(place, suite, server.base_url, "--requests", "30", "--warmup", "0", "--format", "json")
    found = json.loads(out)
    [again] = [call for call in found["calls"] if call.get("attempts", 1) > 1]
    assert (code, found["errors"]) == (0, {})
    assert again["retry_wait_s"] >= 1.5 > again["service_s"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--requests", "many"), "--requests is 'many': expected a whole number"),
        (("--requests", "0"), "requests is 0: expected a whole number, 1 to"),
        (("--rate", "fast"), "--rate is 'fast': expected a number"),
        (("--rate", "nan"), "rate is nan"),
        (("--rate", "0"), "rate is 0.0"),
        (("--duration", "-1"), "duration_s is -1.0"),
        (("--concurrency", "0"), "concurrency"),
        (("--rate", "5", "--concurrency", "x"), "--concurrency is 'x': expected a whole number"),
        (("--rate", "9", "--requests-per-minute", "60"), "a rate of 9 per second is 540 requests per minute"),
        (("--max-cost", "1"), "max-cost cannot be kept"),
        (("--bananas",), "unknown argument '--bananas'"),
        (("--out", "goldens/faq/suite.toml"), "will not write over goldens/faq/suite.toml: no benchmark"),
        (("--target", "m:f"), "these ask for different providers"),
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_asked(place, suite, flags, told):
    with LoopbackServer(answer) as server:
        code, _, err = bench(place, suite, server.base_url, *flags)
        assert server.requests == ()
    assert code == 2
    assert told in err


@pytest.mark.parametrize(("name", "told"), [("none.json", "no such file"), ("nosuch", "nosuch")])
def test_a_baseline_that_is_not_there_is_told(place, suite, name, told):
    with LoopbackServer(answer) as server:
        code, _, err = bench(place, suite, server.base_url, "--baseline", name)
        assert server.requests == ()
    assert code == 4
    assert told in err


def test_what_calls_nothing_is_not_measured(place):
    place.write_suite(n=3, toml='version = "m/1/v1"\nprovider = "extractive"\n')
    code, _, err = place.run("bench", "--suite", place.suite)
    assert code == 2
    assert "calls nothing: there is nothing to measure" in err


# --- the policy of the design, on a suite that is too small for it ----------------------------------------------------


def test_a_suite_too_small_for_p99_is_told_before_any_call_and_passes_with_more_answers(place, suite):
    toml = (suite / "suite.toml").read_text()
    (suite / "suite.toml").write_text(toml.replace("relative = 1.25", "relative = 10"))  # what a busy machine adds
    flags = ("--suite", suite, "--price", "1,2", "--quiet", "--no-journal")
    with LoopbackServer(lambda seen: answer(seen, 0.05)) as server:
        place.run("eval", *flags, "--base-url", server.base_url, "--out", "base.jsonl")
        few = place.run("eval", *flags, "--base-url", server.base_url, "--out", "few.jsonl", "--baseline", "base.jsonl")
        more = ("--out", "run.jsonl", "--baseline", "base.jsonl", "--repeats", "8")
        many = place.run("eval", *flags, "--base-url", server.base_url, *more)
    told = "needs at least 299 samples to bound p99, and 40 answers are planned: it cannot pass"
    assert told in few[2]
    assert few[2].index(told) < few[2].index("estimate:") < few[2].index("INCONCLUSIVE")
    assert few[0] == 3
    assert len(load_run(place.folder / "run.jsonl").results) == 320
    assert "needs at least 299" not in many[2]
    assert load_run(place.folder / "run.jsonl").header.load["concurrency"] == 8


def test_strict_refuses_a_suite_too_small_for_p99(place, suite):
    with LoopbackServer(answer) as server:
        code, _, err = place.run("eval", "--suite", suite, "--base-url", server.base_url, "--strict", "--quiet")
        assert server.requests == ()
    assert code == 2
    assert "needs at least 299 samples to bound p99" in err


def test_power_tells_it_too(place, suite):
    code, out, _ = place.run("goldens", "power", suite)
    assert code == 0
    assert "needs at least 299 samples to bound p99" in " ".join(out.split())
    assert place.run("goldens", "power", suite, "--strict")[0] == 2


def test_what_latency_and_cost_checks_will_not_find_is_told_before_any_call(place, suite):
    with LoopbackServer(answer) as server:
        flags = ("--suite", suite, "--base-url", server.base_url, "--quiet", "--no-journal")
        place.run("eval", *flags, "--out", "base.jsonl", "--price", "1,2")
        code, _, err = place.run(
            "eval", *flags, "--out", "run.jsonl", "--baseline", "base.jsonl", "--concurrency", "3", "--max-repeats", "1"
        )
    before = err[: err.index("estimate:")]
    assert "max-latency: not comparable with the baseline: concurrency 8 → 3" in before
    assert "max-cost: the price of 'm-1' is not known" in before
    assert code == 4


def test_a_run_taken_from_the_journal_is_no_measurement_and_says_how_to_make_one(place, suite):
    with LoopbackServer(answer) as server:
        flags = ("--suite", suite, "--base-url", server.base_url, "--quiet", "--price", "1,2", "--repeats", "8")
        place.run("eval", *flags, "--out", "base.jsonl")
        code, _, err = place.run("eval", *flags, "--out", "run.jsonl", "--baseline", "base.jsonl")
        assert len(server.requests) == 320
    assert code == 3
    assert "320 of 320 answers of the candidate are from the journal, which have no latency" in err
    assert "next: run again with --no-journal" in err
