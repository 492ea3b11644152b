"""evaluate: a suite in, a stored run out; stopped at any moment, it goes on where it was."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter

import pytest

from aigate.core.ledger import Outcome
from aigate.core.response import Fault, FaultKind, Response
from aigate.core.version import VersionId
from aigate.errors import AigateError, ConfigError, RunFileError, SuiteError, UsageError
from aigate.goldens.suite import load_suite
from aigate.running.evaluation import Choices, evaluate, prepare
from aigate.storing.runs import load_run

SUITE = 'version = "m/1/v1"\nscorers = ["exact_match"]\n'


def write_suite(folder, *, toml=SUITE, count=4, prompt=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.toml").write_text(toml)
    rows = [
        {"id": f"s{n:02}", "input": f"question {n}", "reference": f"QUESTION {n}", "contexts": [f"c{n}"], "tags": [tag]}
        for n, tag in zip(range(count), ["even", "odd"] * count, strict=False)
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if prompt is not None:
        (folder / "prompts").mkdir(exist_ok=True)
        (folder / "prompts" / "v1.md").write_text(prompt)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_suite(tmp_path / "faq")


class Recorder:
    """A provider that remembers what it was asked."""

    name = "openai"  # its section of a prompt's front matter is used

    def __init__(self):
        self.requests, self.closed = [], 0

    def describe(self):
        return {"name": "recorder", "adapter": 1}

    async def respond(self, request):
        self.requests.append(request)
        return Response(output=request.sample.text.upper())

    async def aclose(self):
        self.closed += 1


def values(run, metric="exact_match"):
    return {result.sample_id: result.scores[metric].value for result in run.results}


@pytest.mark.parametrize("style", ["sync", "async"])
def test_a_callable_answers_the_suite(folder, style):
    def answer(text):
        return text.upper() if text != "question 2" else "wrong"

    async def answer_later(text):
        await asyncio.sleep(0)
        return answer(text)

    run = evaluate(folder, provider=answer if style == "sync" else answer_later)
    assert values(run) == {"s00": 1.0, "s01": 1.0, "s02": 0.0, "s03": 1.0}
    assert run.ledger.counts[Outcome.SCORED] == run.ledger.total == 4
    assert (run.version, run.header.suite_size, run.header.subset, run.source) == (
        VersionId("m", "1", "v1"),
        4,
        None,
        "",
    )
    assert run.header.suite_digest == load_suite(folder).digest


def test_an_async_callable_may_be_evaluated_inside_a_running_loop(folder):
    async def answer(text):
        await asyncio.sleep(0)
        return text.upper()

    async def main():
        before = asyncio.get_running_loop()
        run = evaluate(folder, provider=answer)
        assert asyncio.get_running_loop() is before
        return run

    assert set(values(asyncio.run(main())).values()) == {1.0}


def test_an_error_comes_out_of_a_running_loop_as_it_is(folder, tmp_path):
    async def main():
        evaluate(folder, provider=Recorder(), progress=lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    with pytest.raises(ZeroDivisionError):
        evaluate(folder, provider=Recorder(), progress=lambda *_: 1 / 0)
    assert not [thread for thread in threading.enumerate() if thread.name == "aigate-evaluate"]


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_a_notebook_stops_asking_and_leaves_a_resumable_run(folder, tmp_path):
    class Interrupting(Recorder):
        async def respond(self, request):
            if request.sample.id == "s02":
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                await asyncio.sleep(60)
            return await super().respond(request)

    async def main():
        evaluate(folder, provider=provider, out=tmp_path / "run.jsonl", concurrency=1)

    provider, loop = Interrupting(), asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):  # a kernel runs its loop like this: Ctrl-C is raised where the code is
            loop.run_until_complete(main())
    finally:
        loop.close()
    assert [request.sample.id for request in provider.requests] == ["s00", "s01"]
    assert provider.closed == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "aigate-evaluate"]
    assert evaluate(folder, provider=Recorder(), out=tmp_path / "run.jsonl", resume=True).ledger.total == 4


def test_the_run_in_out_is_the_run_that_is_returned(folder, tmp_path):
    out = tmp_path / "runs" / "run.jsonl"
    run = evaluate(folder, provider=str.upper, out=out)
    assert load_run(out) == run
    assert run.source == str(out)


def test_prompts_are_rendered_and_the_reference_is_not_sent(tmp_path):
    prompt = "system:\nBe brief.\n\nuser:\n{{ contexts[0] }}: {{ input }}\n"
    provider = Recorder()
    run = evaluate(write_suite(tmp_path / "faq", prompt=prompt), provider=provider, concurrency=1)
    assert [message["role"] for message in provider.requests[1].messages] == ["system", "user"]
    assert provider.requests[1].messages[1]["content"].strip() == "c1: question 1"
    assert "QUESTION" not in json.dumps([list(request.messages) for request in provider.requests])
    assert run.header.prompt_digest == load_suite(tmp_path / "faq").prompts["v1"].digest


def test_without_prompts_the_input_is_sent_as_it_is(folder):
    provider = Recorder()
    run = evaluate(folder, provider=provider, concurrency=1)
    assert provider.requests[0].messages == ({"role": "user", "content": "question 0"},)
    assert run.header.prompt_digest is None


def test_a_prompt_that_cannot_be_rendered_is_found_before_anything_is_asked(tmp_path):
    provider = Recorder()
    folder = write_suite(tmp_path / "faq", prompt="{{ metadata.answer }}")
    with pytest.raises(SuiteError, match=r"v1\.md:1"):
        evaluate(folder, provider=provider, out=tmp_path / "run.jsonl")
    assert provider.requests == []
    assert not (tmp_path / "run.jsonl").exists()


def test_parameters_of_the_prompt_win_over_those_of_the_suite(tmp_path):
    toml = SUITE + "[parameters]\ntemperature = 0.5\nmax_tokens = 10\ntop_p = 0.25\n"
    prompt = "---\ntemperature: 0.0\nopenai:\n  max_tokens: 20\n---\n{{ input }}"
    provider = Recorder()
    run = evaluate(write_suite(tmp_path / "faq", toml=toml, prompt=prompt), provider=provider)
    assert provider.requests[0].parameters == {"temperature": 0.0, "max_tokens": 20, "top_p": 0.25}
    assert run.header.parameters == {"temperature": 0.5, "max_tokens": 10, "top_p": 0.25}


def test_the_primary_metric_is_that_of_the_first_scorer_unless_the_suite_names_one(tmp_path):
    toml = 'version = "m/1/v1"\nscorers = ["token_f1", "exact_match"]\n'
    run = evaluate(write_suite(tmp_path / "a", toml=toml), provider=str.upper)
    assert run.header.primary_metric == "token_f1"
    assert [spec.metric for spec in run.header.metrics] == ["token_f1", "exact_match"]
    named = evaluate(write_suite(tmp_path / "b", toml=toml + 'primary-metric = "exact_match"\n'), provider=str.upper)
    assert named.header.primary_metric == "exact_match"


def test_a_primary_metric_that_no_scorer_computes_is_refused(tmp_path):
    folder = write_suite(tmp_path / "faq", toml=SUITE + 'primary-metric = "faithfulness"\n')
    with pytest.raises(ConfigError, match="'faithfulness' is computed by no scorer") as caught:
        evaluate(folder, provider=str.upper)
    assert "exact_match" in caught.value.hint


def test_two_scorers_of_one_metric_are_refused(tmp_path):
    toml = 'version = "m/1/v1"\nscorers = ["exact_match", {scorer = "exact_match", case = "fold"}]\n'
    provider = Recorder()
    with pytest.raises(ConfigError, match=r"two scorers|stands there twice"):
        evaluate(write_suite(tmp_path / "faq", toml=toml), provider=provider)
    assert provider.requests == []


def test_a_suite_without_a_version_needs_one(tmp_path):
    folder = write_suite(tmp_path / "faq", toml='scorers = ["exact_match"]\n')
    with pytest.raises(ConfigError, match="no version to evaluate") as caught:
        evaluate(folder, provider=str.upper)
    assert "--version" in caught.value.hint
    assert str(evaluate(folder, provider=str.upper, version="m/2/v1").version) == "m/2/v1"


def test_a_part_of_a_suite_says_that_it_is_one(folder):
    run = evaluate(folder, provider=str.upper, limit=1, tags=["odd"])
    assert list(run.samples) == ["s01"]
    assert "1 of 4 samples" in run.header.subset
    assert run.header.suite_size == 4
    assert run.header.suite_digest == load_suite(folder).digest


def test_every_repeat_is_asked(folder):
    provider = Recorder()
    run = evaluate(folder, provider=provider, repeats=3)
    assert Counter(request.sample.id for request in provider.requests) == dict.fromkeys(run.samples, 3)
    assert run.header.repeats == 3
    assert provider.closed == 1


@pytest.mark.parametrize(
    "choice",
    [
        {"repeats": 0},
        {"repeats": -1},
        {"concurrency": 0},
        {"concurrency": -2},
        {"retries": -1},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"limit": 0},
    ],
)
def test_a_number_that_would_ask_nothing_is_refused(folder, choice):
    provider = Recorder()
    with pytest.raises(UsageError, match="expected"):
        evaluate(folder, provider=provider, **choice)
    assert provider.requests == []


def test_retries_of_zero_are_no_retries_whatever_the_suite_says(tmp_path):
    folder = write_suite(tmp_path / "faq", toml="retries = 3\n" + SUITE)
    calls = Counter()

    class Failing(Recorder):
        async def respond(self, request):
            calls[request.sample.id] += 1
            return Response(fault=Fault(FaultKind.SERVER, "500"))

    run = evaluate(folder, provider=Failing(), retries=0)
    assert set(calls.values()) == {1}
    assert run.ledger.counts[Outcome.PROVIDER_ERROR] == 4
    assert set(values(run).values()) == {0.0}


def test_something_that_cannot_answer_is_refused(folder):
    with pytest.raises(UsageError, match="provider is int: expected a name, a Provider or a callable"):
        evaluate(folder, provider=5)
    with pytest.raises(UsageError, match="unknown provider 'repaly'") as caught:
        evaluate(folder, provider="repaly")
    assert "replay" in caught.value.hint


def test_recorded_responses_are_replayed(folder, tmp_path):
    recorded = tmp_path / "recorded.jsonl"
    rows = [{"id": f"s{n:02}", "output": f"QUESTION {n}", "latency_s": 0.5} for n in range(4)]
    recorded.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = evaluate(folder, recorded=recorded)
    assert set(values(run).values()) == {1.0}
    assert {result.response.latency_s for result in run.results} == {0.5}


def test_options_of_the_suite_are_for_the_provider_of_the_suite(tmp_path):
    toml = SUITE + 'provider = "replay"\n[provider-options]\nrecorded = "recorded.jsonl"\n'
    folder = write_suite(tmp_path / "faq", toml=toml, count=1)
    (folder / "recorded.jsonl").write_text('{"id": "s00", "output": "QUESTION 0"}\n')
    assert values(evaluate(folder)) == {"s00": 1.0}
    (folder / "answers.py").write_text("def answer(text):\n    return 'other'\n")
    options = {"target": "answers.py:answer"}
    assert values(evaluate(folder, provider="callable", provider_options=options)) == {"s00": 0.0}


def test_progress_counts_up_to_the_total(folder):
    seen = []
    evaluate(folder, provider=str.upper, repeats=2, progress=lambda result, done, total: seen.append((done, total)))
    assert seen == [(n, 8) for n in range(1, 9)]


def test_a_sync_callable_runs_as_often_at_once_as_asked_for(tmp_path):
    folder = write_suite(tmp_path / "faq", count=12)
    barrier = threading.Barrier(12, timeout=20)

    def answer(text):
        barrier.wait()
        return text.upper()

    run = evaluate(folder, provider=answer, concurrency=12, retries=0)
    assert set(values(run).values()) == {1.0}


def test_nothing_is_read_from_the_real_environment_when_one_is_given(folder, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        evaluate(folder, provider="openai", environ={})


def test_prepare_asks_nothing_and_its_header_repeats(folder):
    provider = Recorder()
    suite = load_suite(folder)
    one, other = (prepare(suite, Choices(provider=provider), environ={}).header for _ in range(2))
    assert provider.requests == []
    assert one.same_conditions() == other.same_conditions()
    assert one.seed == other.seed < 2**53


def test_an_interrupted_evaluation_goes_on_with_resume(folder, tmp_path):
    out = tmp_path / "run.jsonl"

    def stop_after_two(result, done, total):
        if done == 2:
            raise KeyboardInterrupt

    first, second = Recorder(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, provider=first, out=out, concurrency=1, progress=stop_after_two)
    with pytest.raises(RunFileError, match="interrupted after 2 results"):
        load_run(out)
    with pytest.raises(UsageError, match=r"--resume|interrupted"):
        evaluate(folder, provider=second, out=out)
    run = evaluate(folder, provider=second, out=out, resume=True)
    assert [request.sample.id for request in second.requests] == ["s02", "s03"]
    assert run.ledger.total == 4
    assert first.closed == second.closed == 1


def test_what_an_outage_left_out_is_asked_again_on_resume_and_nothing_else(folder, tmp_path):
    out = tmp_path / "run.jsonl"

    class Outage(Recorder):
        async def respond(self, request):
            if request.sample.id == "s01":
                return Response(fault=Fault(FaultKind.AUTH, "401"))
            if request.sample.id == "s03":
                raise KeyboardInterrupt
            return await super().respond(request)

    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, provider=Outage(), out=out, concurrency=1)
    well = Recorder()
    run = evaluate(folder, provider=well, out=out, resume=True)
    assert [request.sample.id for request in well.requests] == ["s01", "s03"]
    assert set(values(run).values()) == {1.0}


# What a user's process does when it is stopped from outside: a real process, a real signal, the real command line.

COUNT = 12
ANSWERS = """
    import os, pathlib, time

    def answer(text):
        folder = pathlib.Path(os.environ["CALLS"])
        with (folder / "calls").open("a") as file:
            file.write(text + "\\n")
        if os.environ.get("SLOW") and sum(1 for _ in (folder / "calls").open()) > 4:
            time.sleep(float(os.environ["SLOW"]))
        return text.upper()
"""


@pytest.fixture
def job(tmp_path):
    """The command of a CI job in a folder of its own, and the file that its calls are counted in."""
    toml = SUITE + '[policy]\nchecks = [{check = "min-score", metric = "exact_match", at-least = 0.5}]\n'
    folder = write_suite(tmp_path / "faq", count=COUNT, toml=toml)
    (folder / "answers.py").write_text(textwrap.dedent(ANSWERS))
    flags = ["--suite", "faq", "--target", "answers.py:answer", "--out", "run.jsonl", "--concurrency", "1", "--quiet"]
    return [sys.executable, "-m", "aigate", "eval", *flags, "--timeout", "30"], tmp_path


def begin(job, *, slow):
    command, cwd = job
    environ = {**os.environ, "CALLS": str(cwd), "SLOW": slow}
    return subprocess.Popen(command, cwd=cwd, env=environ, stderr=subprocess.PIPE, text=True)


def calls_of(cwd):
    return (cwd / "calls").read_text().splitlines() if (cwd / "calls").exists() else []


def wait_for_half(process, cwd):
    deadline = time.monotonic() + 30
    while len(calls_of(cwd)) < 6:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "the run did not get half way"
        time.sleep(0.01)


def resumed(job):
    command, cwd = job
    environ = {**os.environ, "CALLS": str(cwd), "SLOW": ""}
    return subprocess.run([*command, "--resume"], cwd=cwd, env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_stopped_half_way_is_resumed_with_one_answer_per_sample(job, how):
    _, cwd = job
    process = begin(job, slow="0.6")
    wait_for_half(process, cwd)
    process.send_signal(how)
    _, told = process.communicate(timeout=60)
    if how is signal.SIGKILL:
        assert process.returncode == -how
    else:
        assert process.returncode == 130
        assert "--resume" in told
    with pytest.raises(AigateError, match="interrupted"):
        load_run(cwd / "run.jsonl")
    written = (cwd / "run.jsonl").read_text().count("\n") - 1
    assert 4 <= written < COUNT
    before = len(calls_of(cwd))

    done = resumed(job)
    assert done.returncode == 0, done.stderr
    run = load_run(cwd / "run.jsonl")
    assert [result.sample_id for result in run.results] == [f"s{n:02}" for n in range(COUNT)]
    assert set(values(run).values()) == {1.0}
    # Asked again is only what was in flight when the process was stopped: at most one call at this concurrency.
    again = calls_of(cwd)[before:]
    assert len(again) == COUNT - written
    assert max(Counter(calls_of(cwd)).values()) <= 2
    assert sum(Counter(calls_of(cwd)).values()) <= COUNT + 1
