"""`--engine dask` on real clusters: the same run, whatever becomes of workers, scheduler and the run itself."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

import aigate
from aigate.core.ledger import Outcome
from aigate.running import distributed
from aigate.storing.runs import load_run
from aigate.testing import LoopbackServer, Reply

pytestmark = pytest.mark.integration

N, CONCURRENCY = 60, 6
HALF = N // 2
TOML = """\
version = "m/1/v1"
provider = "openai"
scorers = ["exact_match", "shape"]

[policy]
checks = [{ check = "min-score", metric = "exact_match", at-least = 0.5 }]
"""


@pytest.fixture
def suite(place):
    rows = [{"id": f"s{i:02}", "input": f"say {i}", "reference": f"say {i}"} for i in range(N)]
    place.write_suite(toml=TOML, samples=rows)
    return place.suite


def right(request, latency_s=0.1):
    wrong = request.last_user_text.endswith("7")
    return Reply.text("no" if wrong else request.last_user_text, served_model="m-1", latency_s=latency_s)


def slow_from_half(latency_s=1.0):
    """Answers fast up to half of the run, then slowly: what is done to it then is done while calls are in flight."""
    seen = []

    def script(request):
        seen.append(request)
        return right(request, 0.02 if len(seen) <= HALF else latency_s)

    return script


def flags(suite, server, out, *more, workers="3"):
    common = ("--base-url", server.base_url, "--api-key-env", "", "--concurrency", str(CONCURRENCY), "--quiet")
    where = ("--dask-workers", workers) if workers else ()
    return ["eval", "--suite", str(suite), *common, "--out", str(out), *where, *more]


def started(place, arguments):
    """The command as a process of a group of its own, as a shell starts it."""
    command = [sys.executable, "-m", "aigate", *arguments]
    return subprocess.Popen(
        command, cwd=place.folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def until(condition, process=None, limit_s=90.0):
    ends = time.monotonic() + limit_s
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[1]
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.005)


def below(pid):
    """Every process below one, by the kernel's word."""
    found, left = [], [pid]
    while left:
        for children in Path(f"/proc/{left.pop()}/task").glob("*/children"):
            try:
                new = [int(child) for child in children.read_text().split()]
            except OSError:  # it ended meanwhile
                continue
            found += new
            left += new
    return found


def workers_of(process):
    """The worker processes: those that multiprocessing spawned to run code, in order of birth."""
    found = []
    for pid in sorted(below(process.pid)):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in command:
            found.append(pid)
    return found


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and _state(pid) != "Z"]


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def settled(server):
    """How many requests there were, once none came for a while: what a killed process had sent may be on its way."""
    before = -1
    while len(server.requests) > before:
        before = len(server.requests)
        time.sleep(0.3)
    return before


def asked_again(server):
    counts = Counter(request.last_user_text for request in server.requests)
    return sum(counts.values()) - len(counts), counts


def without_times(run):
    rows = []
    for result in run.results:
        row = result.to_dict()
        row["response"].pop("latency_s", None)
        row["response"].pop("ttft_s", None)
        rows.append(json.dumps(row, sort_keys=True))
    return rows


# --- the same run -----------------------------------------------------------------------------------------------------


def test_the_run_and_the_verdict_are_those_of_the_local_engine(place, suite):
    with LoopbackServer(lambda seen: right(seen, 0.01)) as server:
        local = place.run(*flags(suite, server, "local.jsonl", "--no-journal", "--format", "json", workers=None))
        dask = place.run(*flags(suite, server, "dask.jsonl", "--no-journal", "--format", "json", workers="2"))
    assert (local[0], dask[0]) == (0, 0), dask[2]
    assert without_times(load_run("dask.jsonl")) == without_times(load_run("local.jsonl"))
    ours, theirs = (json.loads(document) for _, document, _ in (local, dask))
    assert ours["checks"] == theirs["checks"]
    assert ours["status"] == theirs["status"] == "pass"


def test_recorded_answers_give_the_same_bytes(place, monkeypatch):
    monkeypatch.setattr("aigate.running.evaluation.utc_now", lambda: "2026-01-01T00:00:00Z")
    recorded = place.record("one", 90, latency_s=0.5)
    local = place.eval(recorded, "--format", "json", out="local.jsonl")
    dask = place.eval(recorded, "--format", "json", "--dask-workers", "2", out="dask.jsonl")
    lines = [sorted((place.folder / name).read_bytes().splitlines()) for name in ("local.jsonl", "dask.jsonl")]
    assert lines[0] == lines[1]
    assert local[1] == dask[1]  # the verdict, with all its digests
    assert local[0] == dask[0]


def test_a_function_that_workers_can_import_answers_on_them(place, suite):
    (place.folder / "bot.py").write_text(
        "import os\nfrom aigate import Response\n\n"
        "def answer(text):\n    return Response(output=text, latency_s=0.5, fingerprint=str(os.getpid()))\n"
    )
    command = ["eval", "--suite", str(suite), "--target", "bot:answer", "--quiet", "--out", "run.jsonl"]
    code, _, err = place.run(*command, "--dask-workers", "2")
    assert code == 0, err
    run = load_run("run.jsonl")
    pids = {result.response.fingerprint for result in run.results}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids


def test_a_journaled_run_asks_nothing_and_judges_on_workers(place, suite):
    with LoopbackServer(lambda seen: right(seen, 0.01)) as server:
        assert place.run(*flags(suite, server, "one.jsonl", workers=None))[0] == 0
        code, _, err = place.run(*flags(suite, server, "two.jsonl", workers="2"))
        assert (code, len(server.requests)) == (0, N), err
    assert f"{N} of {N} answers are from the journal" in err
    one, two = load_run("one.jsonl"), load_run("two.jsonl")
    assert [r.scores for r in one.results] == [r.scores for r in two.results]


def test_a_run_stops_as_early_as_the_local_one(place):
    rows = [{"id": f"s{i:03}", "input": f"say {i}", "reference": f"say {i}"} for i in range(400)]
    place.write_suite(toml=TOML, samples=rows)
    with LoopbackServer(lambda seen: Reply.text("nothing of it", served_model="m-1", latency_s=0.005)) as server:
        local = place.run(*flags(place.suite, server, "local.jsonl", "--no-journal", workers=None))
        asked = len(server.requests)
        dask = place.run(*flags(place.suite, server, "dask.jsonl", "--no-journal", workers="2"))
    assert (local[0], dask[0]) == (1, 1), dask[2]
    runs = [load_run(name) for name in ("local.jsonl", "dask.jsonl")]
    skipped = [run.ledger.counts[Outcome.EARLY_STOP] for run in runs]
    assert min(skipped) > 100
    assert abs(skipped[0] - skipped[1]) <= 4 * CONCURRENCY  # what was in flight at the look that ended it
    assert len(server.requests) - asked == 400 - skipped[1]


def test_caps_and_refused_calls_hold_for_all_workers_together(place, suite):
    with LoopbackServer(lambda seen: right(seen, 0.01)) as server:
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--max-calls", "25", workers="2"))
        assert (code, len(server.requests)) == (3, 25), err
        assert "max-calls 25 was reached" in err
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--resume", workers="2"))
        assert (code, len(server.requests)) == (0, N), err


def test_a_storm_of_refusals_is_survived(place, suite):
    draws = random.Random(5)  # noqa: S311

    def stormy(seen):
        if draws.random() < 0.25:
            return Reply.status(429, "slow down", headers={"retry-after": "0.05"})
        return right(seen, 0.02)

    with LoopbackServer(stormy) as server:
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--no-journal", workers="2"))
        assert server.peak_in_flight <= CONCURRENCY
    assert code == 0, err
    run = load_run("run.jsonl")
    assert run.ledger.counts[Outcome.SCORED] == N
    assert sum(result.response.attempts for result in run.results) == len(server.requests) > N


# --- workers that are killed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("journal", [("--no-journal",), ()], ids=["no-journal", "journal"])
def test_a_worker_killed_half_way_loses_no_answer(place, suite, journal):
    with LoopbackServer(slow_from_half()) as server:
        process = started(place, flags(suite, server, "run.jsonl", "--format", "json", *journal))
        until(lambda: len(server.requests) > HALF + 3, process)
        victims = workers_of(process)
        assert len(victims) == 3
        os.kill(victims[1], signal.SIGKILL)
        out, err = process.communicate(timeout=120)
        again, counts = asked_again(server)
    assert process.returncode == 0, err
    told = " ".join(err.split())  # it may have had nothing left, and sending to it may fail before its end is heard of
    assert again == 0 or ("asked again" in told and ("was lost" in told or "could not be reached" in told))
    run = load_run(place.folder / "run.jsonl")
    assert Counter(result.key for result in run.results) == Counter((f"s{i:02}", 0) for i in range(N))
    assert len(counts) == N
    # What the worker had in flight, however calls were spread; it may have died before a call that it had left for the
    # server, and nobody can know: that call counts too.
    counted = sum(result.response.attempts - 1 for result in run.results)
    assert again <= counted <= CONCURRENCY
    code, alone, _ = place.run("gate", "run.jsonl", "--format", "json")
    assert (code, alone) == (0, out)
    with LoopbackServer(lambda seen: right(seen, 0.01)) as server:
        place.run(*flags(suite, server, "undisturbed.jsonl", "--no-journal", workers=None))
    scores = [[r.scores for r in load_run(name).results] for name in ("run.jsonl", "undisturbed.jsonl")]
    assert scores[0] == scores[1]


def test_every_worker_killed_one_after_the_other_is_survived(place, suite):
    with LoopbackServer(right) as server:
        process = started(place, flags(suite, server, "run.jsonl", "--no-journal"))
        killed = []
        for share in (0.2, 0.4, 0.6):
            until(lambda share=share: len(server.requests) >= N * share, process)
            fresh = [pid for pid in workers_of(process) if pid not in killed]
            if fresh:
                killed.append(fresh[0])
                os.kill(fresh[0], signal.SIGKILL)
        _, err = process.communicate(timeout=120)
        again, _ = asked_again(server)
    assert process.returncode == 0, err
    assert len(load_run(place.folder / "run.jsonl").results) == N
    assert again <= len(killed) * CONCURRENCY


# --- runs that are ended ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("whole_group", [True, False], ids=["ctrl-c", "sigterm"])
def test_a_run_that_is_stopped_is_resumable_and_leaves_no_process(place, suite, whole_group):
    with LoopbackServer(slow_from_half(0.4)) as server:
        process = started(place, flags(suite, server, "run.jsonl", "--no-journal"))
        until(lambda: len(server.requests) > HALF, process)
        children = below(process.pid)
        if whole_group:  # a terminal tells every process of the group
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "interrupted; what was answered is kept in run.jsonl" in " ".join(err.split())
        assert "Traceback" not in err
        until(lambda: not alive(children), limit_s=30)
        before = settled(server)
        kept = len((place.folder / "run.jsonl").read_bytes().splitlines()) - 1
        time.sleep(0.3)
        assert len(server.requests) == before  # nobody goes on asking
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--no-journal", "--resume", workers=None))
        assert code == 0, err
        assert len(server.requests) - before == N - kept
        assert before - kept <= CONCURRENCY


def test_a_run_that_is_killed_repeats_only_what_was_in_flight_and_its_workers_end(place, suite):
    with LoopbackServer(slow_from_half(0.4)) as server:
        process = started(place, flags(suite, server, "run.jsonl"))
        until(lambda: len(server.requests) > HALF, process)
        children = below(process.pid)
        process.kill()
        process.communicate(timeout=60)
        until(lambda: not alive(children), limit_s=30)
        code, _, err = place.run(*flags(suite, server, "run.jsonl", workers="2"))
        again, counts = asked_again(server)
    assert code == 0, err
    assert len(counts) == N
    assert again <= CONCURRENCY


# --- clusters that are there ------------------------------------------------------------------------------------------


@contextmanager
def cluster(folder, *, workers=2, environ=None):
    """A scheduler and workers as their own commands start them; gives the address and the processes."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    told = Path(tempfile.mkdtemp(dir=folder)) / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    dask += ["--dashboard-address", "127.0.0.1:0", "--no-dashboard", "--scheduler-file", str(told)]
    processes = [subprocess.Popen(dask, **quiet)]
    try:
        until(lambda: _address(told), processes[0])
        address = _address(told)
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--host", "127.0.0.1"]
        worker += ["--nthreads", "1"]
        for _ in range(workers):
            processes.append(
                subprocess.Popen(
                    [*worker, "--no-nanny", "--no-dashboard", "--local-directory", str(folder)],
                    **quiet,
                    env={**os.environ, **(environ or {})},
                )
            )
        yield address, processes
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def _address(told):
    """The address that the scheduler has told; None while it has not."""
    try:
        return json.loads(told.read_text())["address"]
    except (FileNotFoundError, ValueError):
        return None


def test_a_cluster_that_is_there_is_used_and_stays(place, suite):
    with LoopbackServer(lambda seen: right(seen, 0.01)) as server, cluster(place.folder) as (address, processes):
        for out in ("one.jsonl", "two.jsonl"):
            command = flags(suite, server, out, "--no-journal", "--dask-scheduler", address, workers=None)
            code, _, err = place.run(*command)
            assert code == 0, err
        assert len(server.requests) == 2 * N
        assert [process.poll() for process in processes] == [None] * 3
    assert len(load_run("two.jsonl").results) == N


def test_a_scheduler_that_is_not_there_is_said_before_anything_is_asked(place, suite, monkeypatch):
    monkeypatch.setattr(distributed, "CONNECT_S", 2.0)
    with LoopbackServer(right) as server, socket.socket() as taken:  # by nobody who listens
        taken.bind(("127.0.0.1", 0))
        for address, told in (
            (f"tcp://127.0.0.1:{taken.getsockname()[1]}", "no Dask scheduler answers at tcp://127.0.0.1"),
            ("nonsense", "nonsense"),
            ("ftp://127.0.0.1:8786", "ftp://127.0.0.1:8786"),
            (f"tcp://{server.origin.removeprefix('http://')}", "no Dask scheduler answers"),
        ):
            command = flags(suite, server, "run.jsonl", "--dask-scheduler", address, workers=None)
            code, out, err = place.run(*command)
            assert (code, out) == (2, ""), err
            assert told in err
            assert "next:" in err
        assert server.requests == () or all(request.method != "POST" for request in server.requests)


def test_a_scheduler_without_workers_is_said(place, suite, monkeypatch):
    monkeypatch.setattr("aigate.running.distributed.FIRST_WORKER_S", 0.5)
    with LoopbackServer(right) as server, cluster(place.folder, workers=0) as (address, _):
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--dask-scheduler", address, workers=None))
        assert (code, "has no workers" in err, server.requests) == (2, True, ()), err


def test_a_scheduler_that_dies_ends_the_run_and_loses_nothing(place, suite):
    with LoopbackServer(slow_from_half(0.4)) as server, cluster(place.folder) as (address, processes):
        command = flags(suite, server, "run.jsonl", "--no-journal", "--dask-scheduler", address, workers=None)
        process = started(place, command)
        until(lambda: len(server.requests) > HALF, process)
        processes[0].kill()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 2, err
        assert "the Dask scheduler is gone" in err
        assert "--resume" in err
        before, kept = settled(server), len((place.folder / "run.jsonl").read_bytes().splitlines()) - 1
        assert before - kept <= CONCURRENCY
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--no-journal", "--resume", workers=None))
        assert code == 0, err
        assert len(server.requests) - before == N - kept


def test_workers_with_another_aigate_are_refused_before_anything_is_asked(place, suite, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(Path(aigate.__file__).parent, other / "aigate", ignore=shutil.ignore_patterns("__pycache__"))
    exact = other / "aigate" / "scorers" / "exact.py"
    exact.write_text(exact.read_text("utf-8") + "\n# one line more\n", "utf-8")
    environ = {"PYTHONPATH": str(other)}
    with LoopbackServer(right) as server, cluster(tmp_path, environ=environ) as (address, _):
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--dask-scheduler", address, workers=None))
        assert (code, server.requests) == (2, ()), err
    assert "has another code of aigate" in err
    assert "install the same on every worker" in err


def test_workers_without_aigate_are_said(place, suite, tmp_path):
    blocked = tmp_path / "blocked"
    (blocked / "aigate").mkdir(parents=True)
    (blocked / "aigate" / "__init__.py").write_text("raise ImportError('no aigate here')\n")
    with LoopbackServer(right) as server, cluster(tmp_path, environ={"PYTHONPATH": str(blocked)}) as (address, _):
        code, _, err = place.run(*flags(suite, server, "run.jsonl", "--dask-scheduler", address, workers=None))
        assert (code, server.requests) == (2, ()), err
    assert "cannot take part: ImportError: no aigate here" in err
    assert "pip install 'aigate[dask]'" in err


def test_keys_are_those_of_the_workers_and_never_sent(place, suite, monkeypatch, tmp_path):
    monkeypatch.setenv("TEAM_KEY", "secret-of-this-machine")
    common = ("--api-key-env", "TEAM_KEY", "--no-journal")
    with LoopbackServer(lambda seen: right(seen, 0.01)) as server:
        command = [
            word for word in flags(suite, server, "run.jsonl", workers=None) if word not in {"--api-key-env", ""}
        ]
        monkeypatch.delenv("TEAM_KEY")
        with cluster(tmp_path) as (address, _):
            monkeypatch.setenv("TEAM_KEY", "secret-of-this-machine")
            code, _, err = place.run(*command, *common, "--dask-scheduler", address)
            assert (code, server.requests) == (2, ()), err
            assert "TEAM_KEY" in err
            assert "cannot take part" in err
        with cluster(tmp_path, environ={"TEAM_KEY": "secret-of-the-workers"}) as (address, _):
            code, _, err = place.run(*command, *common, "--dask-scheduler", address)
            assert (code, len(server.requests)) == (0, N), err


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--engine", "spark"), 'engine: got \'spark\', expected "local" or "dask"'),
        (("--engine", "local", "--dask-workers", "2"), "--dask-workers has no meaning with --engine local"),
        (("--dask-workers", "2", "--dask-scheduler", "tcp://127.0.0.1:1"), "leave one out"),
        (("--dask-workers", "0"), "dask-workers: got 0, expected a whole number in [1, 1024]"),
    ],
)
def test_flags_that_mean_nothing_are_refused(place, suite, more, told):
    with LoopbackServer(right) as server:
        code, _, err = place.run(*flags(suite, server, "run.jsonl", *more, workers=None))
        assert (code, told in err, server.requests) == (2, True, ()), err


def test_everything_listens_on_loopback_only(place, suite):
    with LoopbackServer(lambda seen: right(seen, 1.0)) as server:
        process = started(place, flags(suite, server, "run.jsonl", "--no-journal"))
        until(lambda: len(server.requests) >= 10, process)
        found = {address for pid in (process.pid, *below(process.pid)) for address in _listening(pid)}
        process.kill()
        process.communicate(timeout=60)
    assert found == {"127.0.0.1"}


def _listening(pid):
    """The addresses that a process listens on."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for table, width in (("tcp", 8), ("tcp6", 32)):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                number = bytes.fromhex(fields[1].partition(":")[0])
                yield socket.inet_ntoa(number[::-1]) if width == 8 else f"tcp6 {number.hex()}"


def test_threads_of_a_notebook_may_start_a_cluster_too(place, suite):
    """evaluate() beside a running event loop: in a thread, without signals."""
    program = f"""
import asyncio, sys
from aigate import evaluate

async def cell():
    return evaluate({str(suite)!r}, provider="callable", provider_options={{"target": "bot:answer"}},
                    engine="dask", dask_workers=1, out="run.jsonl")

if __name__ == "__main__":
    print(len(asyncio.run(cell()).results))
"""
    (place.folder / "bot.py").write_text("def answer(text):\n    return text\n")
    (place.folder / "cell.py").write_text(program)
    done = subprocess.run([sys.executable, "cell.py"], cwd=place.folder, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, str(N)), done.stderr
    assert threading.active_count() < 50
