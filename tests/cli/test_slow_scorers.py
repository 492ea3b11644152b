"""A scorer that keeps a processor busy, in a live run of the real command: others judge, and nothing changes."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest

from aigate.testing import LoopbackServer, Reply
from aigate.workers import cores

pytestmark = pytest.mark.skipif(cores() < 2, reason="with one processor nobody else judges")

N, CONCURRENCY = 150, 8
FAST = 100  # answers before the server takes its time, so that what is done then is done while calls are in flight
TOML = """\
version = "m/1/v1"
provider = "openai"
scorers = ["busy", "exact_match"]

[policy]
checks = [
  { check = "min-score", metric = "busy", at-least = 0.5 },
  { check = "min-score", metric = "exact_match", at-least = 0.5 },
]
"""
BUSY = """
import os, time
from pathlib import Path

from aigate.core.score import MetricSpec, Score, Unscored


class Busy:
    def __init__(self, settings):
        self.spec = MetricSpec("busy", "busy")

    def applies_to(self, sample):
        return None

    def score(self, sample, response):
        with Path(os.environ["JUDGED_BY"], str(os.getpid())).open("a") as file:
            file.write(sample.id + "\\n")
        until_s = time.thread_time() + 0.02
        while time.thread_time() < until_s:
            pass
        if sample.id.endswith("3"):
            raise ValueError(f"nothing to be said of {sample.id}")
        if sample.id.endswith("5"):
            return Unscored("unparseable", "no number")
        return Score(int(sample.id[1:]) / 1000 + 0.7, f"{response.output}?", response.output, {"parts": [1, None, "é"]})
"""


class Command:
    """The command as a process, in a folder where the package of the scorer lies."""

    def __init__(self, place):
        self.folder, self.suite = place.folder, place.suite
        self._package = place.folder / "package"
        (self._package / "busy-1.dist-info").mkdir(parents=True)
        (self._package / "busy.py").write_text(BUSY)
        (self._package / "busy-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: busy\nVersion: 1\n")
        (self._package / "busy-1.dist-info" / "entry_points.txt").write_text("[aigate.scorers]\nbusy = busy:Busy\n")
        rows = [{"id": f"s{i:03}", "input": f"say {i}", "reference": f"say {i}"} for i in range(N)]
        place.write_suite(toml=TOML, samples=rows)

    def start(self, server, name, *more, alone=False):
        """Start it; alone: on one processor."""
        self.seen(name).mkdir(exist_ok=True)
        at = ("--base-url", server.base_url, "--api-key-env", "", "--concurrency", str(CONCURRENCY))
        flags = (*at, "--no-early-stop", "--quiet", "--format", "json", "--out", f"{name}.jsonl", *more)
        one = {min(os.sched_getaffinity(0))}
        return subprocess.Popen(
            [sys.executable, "-m", "aigate", "eval", "--suite", str(self.suite), *flags],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self._package), "JUDGED_BY": str(self.seen(name))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, one)) if alone else None,
        )

    def seen(self, name):
        return self.folder / f"seen-{name}"

    def judged(self, name):
        """The samples that each process judged."""
        return {int(path.name): path.read_text().split() for path in self.seen(name).iterdir()}

    def others(self, name, process):
        """The processes that judged, but for the command's own."""
        return self.judged(name).keys() - {process.pid}

    def results(self, name):
        """What the run file says of each sample, but for times."""
        rows = [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_bytes().splitlines()[1:-1]]
        for row in rows:
            row["response"] = {key: value for key, value in row["response"].items() if not key.endswith("_s")}
            row["response"].pop("journaled_at", None)
        return sorted(json.dumps(row, sort_keys=False) for row in rows)


@pytest.fixture
def command(place):
    return Command(place)


@pytest.fixture(scope="module")
def undisturbed():
    """Results and verdict of a run on one processor, filled in by whoever needs them first."""
    return {}


def alone(command, server, undisturbed):
    """The results of a run on one processor, where nobody else judges."""
    if not undisturbed:
        process = command.start(server, "alone", "--no-journal", alone=True)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert list(command.judged("alone")) == [process.pid]
        undisturbed["results"], undisturbed["verdict"] = command.results("alone"), verdict_in(out)
    return undisturbed["results"]


def verdict_in(text):
    """A verdict without its stamps and what was measured in seconds."""
    told = json.loads(text)
    return {key: value for key, value in told.items() if key not in ("bound", "valid_until", "usage")}


def slowly(latency_s=0.3):
    """Answers fast up to a part of the run, then slowly."""
    seen = []

    def script(request):
        seen.append(request)
        return Reply.text(request.last_user_text, latency_s=0.02 if len(seen) <= FAST else latency_s)

    return script


def until(condition, process=None, limit_s=90.0):
    ends_s = time.monotonic() + limit_s
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < ends_s, "waited in vain"
        time.sleep(0.005)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_other_processes_judge_and_results_are_those_of_one(command, undisturbed):
    with LoopbackServer(slowly(0.02)) as server:
        process = command.start(server, "many", "--no-journal")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert len(server.requests) == N
        results = alone(command, server, undisturbed)
    judged = command.judged("many")
    others = command.others("many", process)
    assert 1 <= len(others) <= cores()
    assert process.pid in judged  # the first ones, to see how long one takes
    assert sum(len(judged[pid]) for pid in others) > N / 3
    assert sorted(chain.from_iterable(judged.values())) == [f"s{i:03}" for i in range(N)]  # each of them once
    assert not any(map(runs, others))
    assert command.results("many") == results
    assert verdict_in(out) == undisturbed["verdict"]


def test_a_worker_that_is_killed_loses_nothing(command, undisturbed):
    with LoopbackServer(slowly()) as server:
        process = command.start(server, "killed", "--no-journal")
        until(lambda: command.others("killed", process), process)
        for pid in command.others("killed", process):
            os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        assert len(server.requests) == N
        assert command.results("killed") == alone(command, server, undisturbed)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_is_gone_on_with_and_leaves_no_process(command, undisturbed, number):
    with LoopbackServer(slowly()) as server:
        process = command.start(server, "stopped", "--no-journal")
        until(lambda: command.others("stopped", process), process)
        if number == signal.SIGINT:  # a terminal tells every process of the group
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "interrupted; what was answered is kept in stopped.jsonl" in " ".join(err.split())
        assert "Traceback" not in err
        assert not any(map(runs, command.judged("stopped")))
        again = command.start(server, "stopped", "--no-journal", "--resume")
        _, err = again.communicate(timeout=120)
        assert again.returncode == 0, err
        assert command.results("stopped") == alone(command, server, undisturbed)


def test_workers_end_with_a_run_that_is_killed_and_nothing_is_asked_twice(command, undisturbed):
    with LoopbackServer(slowly()) as server:
        process = command.start(server, "lost")
        until(lambda: command.others("lost", process), process)
        process.kill()
        process.communicate(timeout=60)
        until(lambda: not any(map(runs, command.judged("lost"))))
        again = command.start(server, "lost")
        _, err = again.communicate(timeout=120)
        assert again.returncode == 0, err
        assert len(server.requests) <= N + CONCURRENCY  # what was in flight
        assert command.results("lost") == alone(command, server, undisturbed)
