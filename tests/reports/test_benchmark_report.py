"""A benchmark for people: quantiles with their bounds, what it compares with, what to know of it."""

import io
from dataclasses import replace

import pytest

from aigate.core.response import FaultKind
from aigate.core.version import VersionId
from aigate.reports.benchmark_report import benchmark_markdown, print_benchmark
from aigate.reports.terminal import console_for
from aigate.running.measurement import Benchmark, Call, compare_latency

CLOSED = {"engine": "local", "loop": "closed", "concurrency": 8, "timeout_s": 60.0}
OPEN = {"engine": "local", "loop": "open", "rate": 10.0, "most_in_flight": 512, "timeout_s": 60.0}


def bench(n=300, seconds=1.0, load=CLOSED, **fields):
    planned = (lambda i: i - 0.5) if load is OPEN else (lambda i: None)
    calls = tuple(
        Call(f"s{i}", f"sample:s{i}", planned(i), float(i), i + seconds, seconds, ttft_s=seconds / 4) for i in range(n)
    )
    version, digest = VersionId.parse("m/1/v1"), "sha256:suite"
    whole = Benchmark(version, {"name": "openai"}, "suite", digest, None, {}, load, warmup=8, calls=calls, wall_s=30.0)
    return replace(whole, **fields)


def printed(found, width=100):
    stream = io.StringIO()
    print_benchmark(found, console_for(stream, environ_columns=str(width)))
    return stream.getvalue()


@pytest.mark.parametrize("show", [printed, benchmark_markdown])
def test_quantiles_stand_with_their_bounds(show):
    text = show(bench())
    assert "m/1/v1: 300 requests, closed loop, 8 in flight, 30 s" in text
    assert "1 (1 to 1)" in text
    assert "0.25 (0.25 to 0.25)" in text
    assert "throughput: 10 answers/s" in text
    assert "errors: none" in text
    assert "8 warm-up requests came first and are not counted" in text


@pytest.mark.parametrize("show", [printed, benchmark_markdown])
def test_too_few_requests_for_a_bound_are_said(show):
    text = show(bench(n=100))
    assert "1 (1 to ?)" in text
    assert "needs at least 299 samples to bound p99" in text


def test_an_open_loop_tells_service_time_apart():
    lines = printed(bench(load=OPEN)).splitlines()
    assert "open loop, 10 requests/s" in lines[0]
    [head] = [line for line in lines if line.startswith("seconds")]
    [p50] = [line for line in lines if line.startswith("p50")]
    assert "of it service" in head
    assert p50.split() == ["p50", "1.5", "(1.5", "to", "1.5)", "1", "0.75", "(0.75", "to", "0.75)"]


def test_a_comparison_shows_what_was_before_and_the_typical_ratio():
    before = bench(started_at="2026-01-01T00:00:00Z")
    now = bench(seconds=1.3)
    text = printed(replace(now, comparison=compare_latency(now, before, samples=())), width=120)
    assert "before" in text
    assert "latency: the typical question takes 1.3 times as long (" in text
    assert "as with m/1/v1, benchmark of 2026-01-01T00:00:00Z" in text
    alone = replace(now, comparison=compare_latency(now, bench(n=1), samples=()))
    assert "nothing to compare with" in printed(alone, width=120)


def test_answers_that_did_not_come_stand_in_the_table():
    failed = [Call("s0", "sample:s0", None, 0.0, 9.0, fault=FaultKind.SERVER, message="500")] * 30
    text = printed(bench(calls=(*bench().calls, *failed)))
    assert "no answer (no answer to no answer)" in text
    assert "errors: 30 server" in text


def test_lines_fit_a_terminal_and_end_without_blanks():
    for line in printed(bench(load=OPEN), width=80).splitlines():
        assert line == line.rstrip()
        assert len(line) <= 80


def test_markdown_is_a_table_that_nothing_in_it_can_break():
    text = benchmark_markdown(bench(version=VersionId.parse("m|x/1/v1")))
    head = next(line for line in text.splitlines() if line.startswith("| seconds"))
    rows = [line for line in text.splitlines() if line.startswith("| p")]
    assert [row.count("|") for row in rows] == [head.count("|")] * 3
    assert "m\\|x/1/v1" in text
