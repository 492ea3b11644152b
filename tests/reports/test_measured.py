"""What reports tell of latency and cost: both runs beside each other, and nothing where nothing was called."""

import io

import pytest

from aigate.core.response import FaultKind
from aigate.gating.checks.max_latency import MaxLatency
from aigate.gating.decision import gate
from aigate.gating.policy import Policy
from aigate.reports.markdown import markdown
from aigate.reports.measured import measured
from aigate.reports.story import tell
from aigate.reports.terminal import console_for, print_story

LOAD = {"engine": "local", "concurrency": 8, "timeout_s": 60.0}


def run_of(make_run, seconds, n=300, load=LOAD, **more):
    fields = {"latency_s": seconds, "ttft_s": seconds / 2, "cost_usd": seconds / 1000}
    return make_run({f"s{i}": [1.0] for i in range(n)}, responses=lambda *_: fields, load=load, **more)


def test_both_runs_stand_beside_each_other(make_run):
    assert measured(run_of(make_run, 2.0), run_of(make_run, 1.0)) == (
        "latency: median 1 s → 2 s, p95 1 s → 2 s, p99 1 s → 2 s (300 answers)",
        "time to first token: median 0.5 s → 1 s, p95 0.5 s → 1 s, p99 0.5 s → 1 s (300 answers)",
        "cost: 0.001 USD → 0.002 USD an answer, 0.6 USD in all",
    )


def test_a_run_alone_and_too_few_answers_are_said(make_run):
    [latency, *_, cost] = measured(run_of(make_run, 2.0, n=100), None)
    assert latency == "latency: median 2 s, p95 2 s, p99 2 s (100 answers; needs at least 299 samples to bound p99)"
    assert cost == "cost: 0.002 USD an answer, 0.2 USD in all"


def test_what_was_not_measured_alike_is_said(make_run):
    other = run_of(make_run, 1.0, load={**LOAD, "concurrency": 32})
    assert measured(run_of(make_run, 2.0), other)[0].endswith("(300 answers; not measured alike: concurrency 32 → 8)")


def test_answers_that_did_not_come_are_said(make_run):
    run = run_of(make_run, 1.0, faults={"s1": FaultKind.TIMEOUT})
    assert "(300 answers, 1 of them without an answer in time)" in measured(run, None)[0]


def test_nothing_is_told_where_nothing_was_called(make_run):
    assert measured(run_of(make_run, 1.0, load=None), None) == ()
    assert measured(run_of(make_run, 1.0, load=None, provider={"name": "replay"}), None) != ()
    assert measured(make_run({"a": [1.0]}, load=LOAD), None) == ()


def test_costs_that_are_not_all_known_are_said(make_run):
    costs = {"a": 0.1, "b": None}
    run = make_run({"a": [1.0], "b": [1.0]}, responses=lambda id_, _: {"cost_usd": costs[id_]}, load=LOAD)
    assert measured(run, None) == ("cost: 0.1 USD an answer, 0.1 USD in all, 1 of 2 answers do not tell theirs",)


@pytest.mark.parametrize("as_markdown", [True, False])
def test_terminal_and_markdown_tell_it(make_run, as_markdown):
    now, before = run_of(make_run, 2.0), run_of(make_run, 1.0)
    verdict = gate(now, Policy((MaxLatency(seconds=5, relative=1.25),)), baseline=before)
    story = tell(verdict, now, before)
    if as_markdown:
        text = markdown(story)
    else:
        stream = io.StringIO()
        print_story(story, console_for(stream, environ_columns="120"))
        text = stream.getvalue()
    assert "latency: median 1 s → 2 s" in text
    assert "the typical question takes 2 times as long as before, 1.25 is tolerated" in text
    assert "cost: 0.001 USD → 0.002 USD an answer" in text
