"""The command with runs and baselines behind URLs, against a real S3 server over HTTP."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from aigate.running.uploading import WORKING_COPIES, file_of
from aigate.stores import PROBE, joined
from aigate.storing.runs import load_run
from aigate.testing import LoopbackServer, Reply

pytestmark = pytest.mark.integration

ASKING = """\
version = "m/1/v1"
provider = "openai"
scorers = ["exact_match"]

[policy]
checks = [{ check = "min-score", metric = "exact_match", at-least = 0.5 }]
"""


@pytest.fixture
def elsewhere(place, bucket):
    """The suite's baselines are on S3."""
    toml = (place.suite / "suite.toml").read_text()
    place.write_suite(toml=f'baselines = "{bucket.url}/faq/baselines"\n{toml}')
    return place


def left_behind(place):
    folder = place.folder / WORKING_COPIES
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_main_job_with_everything_on_s3(elsewhere, bucket):
    place, runs = elsewhere, f"{bucket.url}/faq/runs"
    code, _, err, _ = place.eval(place.record("one", 90), out=f"{runs}/one.jsonl")
    assert code == 4
    assert "no-baseline" in err or "no baseline" in err
    assert f"run: {runs}/one.jsonl" in err
    assert f"promote {runs}/one.jsonl" in err
    code, out, err = place.run("baseline", "promote", f"{runs}/one.jsonl", "--suite", place.suite)
    assert (code, "commit" in err) == (0, False)
    assert out.startswith("main: m/1/v1  sha256:")
    code, _, err, _ = place.eval(place.record("two", 89), "--version", "m/1/v1", out=f"{runs}/two.jsonl")
    assert (code, "PASS" in err) == (0, True), err
    code, out, _ = place.run("baseline", "list", "--suite", place.suite)
    assert (code, out.split()[:2]) == (0, ["main", "m/1/v1"])
    code, out, _ = place.run("baseline", "show", "--suite", place.suite)
    assert (code, out.count("sha256:")) == (0, 2)
    assert not (place.suite / "baselines").exists()
    assert left_behind(place) == []
    kept = {key for key in bucket.objects() if not key.startswith("faq/baselines/promoted/")}
    assert kept == {
        "faq/runs/one.jsonl",
        "faq/runs/two.jsonl",
        "faq/baselines/main.jsonl",
        "faq/baselines/history.jsonl",
        f"faq/baselines/{PROBE}",
    }


def test_stored_runs_are_decided_compared_and_reported_as_local_ones_are(place, bucket):
    runs = f"{bucket.url}/runs"
    for name, good in (("one", 90), ("two", 60)):
        place.eval(place.record(name, good), "--no-early-stop", out=f"{runs}/{name}.jsonl")
        (place.folder / f"run-{name}.jsonl").write_bytes(bucket.ask("GET", f"runs/{name}.jsonl"))
    pairs = [
        (f"{runs}/two.jsonl", f"{runs}/one.jsonl"),
        (str(place.folder / "run-two.jsonl"), str(place.folder / "run-one.jsonl")),
    ]
    for command in (["gate"], ["report"]):
        remote, local = (
            place.run(*command, run, "--baseline", baseline, "--format", "json")[:2] for run, baseline in pairs
        )
        assert remote == local
    assert place.run("gate", *pairs[0][:1], "--baseline", pairs[0][1])[0] == 1
    remote, local = (place.run("compare", baseline, run, "--format", "json") for run, baseline in pairs)
    assert remote[:2] == local[:2]


def test_a_baseline_may_be_named_by_its_url(place, bucket):
    url = f"{bucket.url}/elsewhere/main.jsonl"
    place.eval(place.record("one", 90), out=url)
    code, _, err, _ = place.eval(place.record("two", 90), "--baseline", url, out=f"{bucket.url}/two.jsonl")
    assert (code, "PASS" in err) == (0, True), err
    code, _, err, _ = place.eval(place.record("three", 90), "--baseline", f"{bucket.url}/nope.jsonl")
    assert code == 4
    assert "nope.jsonl: no such run file" in err


def test_memory_and_file_urls_are_places_too(place, tmp_path):
    for url in (f"memory://{tmp_path.name}/runs/one.jsonl", f"file://{tmp_path}/there/one.jsonl"):
        place.eval(place.record("one", 90), out=url)
        code, _, err = place.run("gate", url, "--baseline", url)
        assert (code, "PASS" in err) == (0, True), err
    assert (tmp_path / "there" / "one.jsonl").is_file()


def test_a_finished_run_is_set_aside_by_the_next_one(place, bucket):
    url = f"{bucket.url}/runs/one.jsonl"
    for good in (90, 80, 70):
        place.eval(place.record("one", good), out=url)
    means = [sum(result.scores["correct"].value for result in load_run(at).results) for at in (url, f"{url}.previous")]
    assert means == [70.0, 80.0]
    assert set(bucket.objects()) == {"runs/one.jsonl", "runs/one.jsonl.previous"}


def test_what_is_no_run_is_not_written_over(place, bucket):
    bucket.ask("PUT", "notes.txt", b"do not lose this\n")
    code, _, err, _ = place.eval(place.record("one", 90), out=f"{bucket.url}/notes.txt")
    assert code == 2
    assert f"will not write over {bucket.url}/notes.txt:1: not a run file" in err
    assert bucket.ask("GET", "notes.txt") == b"do not lose this\n"


def test_a_run_is_not_written_over_the_baseline_it_is_held_against(place, bucket):
    url = f"{bucket.url}/runs/one.jsonl"
    place.eval(place.record("one", 90), out=url)
    code, _, err, _ = place.eval(place.record("two", 90), "--baseline", url, out=url)
    assert code == 2
    assert "would write over the baseline" in err


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.fixture
def asking(place):
    """A suite that asks an endpoint, and the endpoint."""
    rows = [{"id": f"s{i:02}", "input": f"say {i}", "reference": f"say {i}"} for i in range(40)]
    place.write_suite(toml=ASKING, samples=rows)
    with LoopbackServer(answer) as server:
        yield place, server


def answer(seen, latency_s=0.05):
    return Reply.text(seen.last_user_text, served_model="m-1", latency_s=latency_s)


def flags(place, server, out, *more):
    common = ("--base-url", server.base_url, "--api-key-env", "", "--concurrency", "4", "--quiet", "--no-journal")
    return ["eval", "--suite", str(place.suite), *common, "--out", out, *more]


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("s3://no-such-bucket-here/run.jsonl", "no such bucket"),
        ("gs://bucket/run.jsonl", "'gs' has no conditional writes"),
        ("nosuch://bucket/run.jsonl", "'nosuch' has no conditional writes"),
        ("s3://bucket", "names no object"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_asked(asking, bucket, out, told):
    place, server = asking
    code, _, err = place.run(*flags(place, server, out))
    assert (code, told in err) == (2, True), err
    assert "next:" in err
    assert server.requests == ()


def test_no_network_is_said_before_anything_is_asked(asking, bucket, monkeypatch):
    place, server = asking
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    code, _, err = place.run(*flags(place, server, f"{bucket.url}/run.jsonl"))
    assert (code, "cannot be reached" in err) == (2, True), err
    assert server.requests == ()


def test_baselines_that_cannot_be_reached_are_never_taken_for_none(elsewhere, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for command in (
        ["eval", "--recorded", elsewhere.record("one", 90)],
        ["baseline", "list"],
        ["baseline", "show"],
    ):
        code, _, err = elsewhere.run(*command, "--suite", elsewhere.suite)
        assert (code, "cannot be reached" in err) == (2, True), err


def test_an_upload_that_fails_leaves_the_finished_run_here_and_resume_puts_it_in_place(asking, bucket, front):
    place, server = asking
    url = f"{bucket.url}/run.jsonl"
    front.break_off_at = {"run.jsonl"}
    code, out, err = place.run(*flags(place, server, url, "--format", "json"))
    assert code == 2
    assert out == ""  # no verdict
    assert f"the run is finished and kept in {file_of(url)}" in err
    assert "--resume" in err
    assert bucket.objects() == {}
    asked = len(server.requests)
    front.break_off_at = set()
    code, _, err = place.run(*flags(place, server, url, "--resume"))
    assert code == 0, err
    assert len(server.requests) == asked
    assert set(bucket.objects()) == {"run.jsonl"}
    assert left_behind(place) == []


def test_a_run_that_somebody_else_put_there_meanwhile_is_not_written_over(asking, bucket, front):
    place, server = asking
    url = f"{bucket.url}/run.jsonl"
    place.run(*flags(place, server, f"{bucket.url}/other.jsonl"))
    other = bucket.ask("GET", "other.jsonl")
    front.before_write = lambda key: bucket.ask("PUT", key, other)
    code, _, err = place.run(*flags(place, server, url))
    assert code == 4
    assert "run.jsonl: changed since it was read" in err
    assert f"kept in {file_of(url)}" in err
    assert bucket.ask("GET", "run.jsonl") == other


def started(place, server, out, *more):
    environ = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-m", "aigate", *flags(place, server, out, *more)]
    return subprocess.Popen(command, cwd=place.folder, env=environ, stderr=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_breaks_off_stays_here_and_goes_on(asking, bucket, number):
    place, url = asking[0], f"{bucket.url}/run.jsonl"
    asked, stopped = [], threading.Event()

    def slow_until_stopped(seen):
        asked.append(seen)
        return answer(seen, 2.0 if len(asked) > 12 and not stopped.is_set() else 0.05)

    with LoopbackServer(slow_until_stopped) as server:
        process = started(place, server, url)
        while len(server.requests) < 12:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (-number if number == signal.SIGKILL else 130), err
        assert bucket.objects() == {}
        copy = file_of(url)
        assert left_behind(place) == [copy.name]
        if number != signal.SIGKILL:
            assert f"what was answered is kept in {copy}" in err
            assert f"--resume --out {url}" in err
        stopped.set()
        kept = len((place.folder / copy).read_bytes().splitlines()) - 1
        before = len(server.requests)
        code, _, err = place.run(*flags(place, server, url, "--resume"))
        assert code == 0, err
        assert len(server.requests) - before == 40 - kept
    assert len(load_run(url).results) == 40


def test_a_stopped_run_on_s3_is_gone_on_with(asking, bucket):
    place, server = asking
    url = f"{bucket.url}/run.jsonl"
    code, _, err = place.run(*flags(place, server, url, "--max-calls", "15"))
    assert (code, f"--resume --out {url}" in err) == (3, True), err
    assert left_behind(place) == []
    code, _, err = place.run(*flags(place, server, url, "--resume"))
    assert code == 0, err
    assert len(server.requests) == 40
    assert set(bucket.objects()) == {"run.jsonl"}  # it is the same run: nothing was set aside


def test_the_folder_of_runs_may_be_on_s3(place, bucket, monkeypatch):
    monkeypatch.setenv("AIGATE_OUT_DIR", f"{bucket.url}/runs")
    code, _, err = place.run("eval", "--suite", place.suite, "--recorded", place.record("one", 90))
    assert (code, f"run: {joined(bucket.url, 'runs/faq/m_1_v1.jsonl')}" in err) == (4, True), err
    assert set(bucket.objects()) == {"runs/faq/m_1_v1.jsonl"}


def test_where_baselines_are_is_a_setting_with_an_origin(elsewhere, bucket):
    _, out, _ = elsewhere.run("config", "--suite", elsewhere.suite, "--format", "json")
    found = {"value": f"{bucket.url}/faq/baselines", "origin": str(elsewhere.suite / "suite.toml")}
    assert json.loads(out)["baselines"] == found
