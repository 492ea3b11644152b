"""Worker processes: results in order, errors carried over, none left behind."""

import operator
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from aigate.core.json_text import JsonDefectError, strict_json
from aigate.core.version import VersionId
from aigate.errors import UsageError
from aigate.workers import WorkerLostError, Workers, WorkerThreads


@pytest.mark.parametrize("count", [0, 1, 2])
def test_results_come_in_the_order_of_the_jobs(count):
    jobs = [(a, b) for a in range(12) for b in (2, 3)]
    with Workers(count) as workers:
        assert list(workers.map(operator.mul, iter(jobs))) == [a * b for a, b in jobs]
        assert list(workers.map(operator.add, [(1, 2)])) == [3]  # they can be used again
        assert list(workers.map(operator.add, [])) == []


@pytest.mark.parametrize("count", [0, 2])
def test_what_a_job_raises_comes_when_its_turn_comes(count):
    with Workers(count) as workers:
        found = workers.map(strict_json, [("1",), ("[",), ("3",)])
        assert next(found) == 1
        with pytest.raises(JsonDefectError, match="invalid JSON"):
            next(found)


def test_an_error_of_ours_keeps_its_hint():
    with pytest.raises(UsageError) as here:
        VersionId.parse("x")
    with Workers(1) as workers, pytest.raises(UsageError) as there:
        list(workers.map(VersionId.parse, [("x",)]))
    assert str(there.value) == str(here.value)
    assert there.value.hint == here.value.hint != ""


def test_few_jobs_are_taken_ahead_of_the_results():
    taken = []

    def jobs():
        for number in range(100):
            taken.append(number)
            yield (number, 1)

    with Workers(2) as workers:
        found = workers.map(operator.add, jobs())
        assert next(found) == 1
        assert len(taken) <= 6


def test_a_worker_that_is_killed_is_told_of():
    with Workers(1) as workers, pytest.raises(WorkerLostError, match="signal 9"):
        list(workers.map(os.kill, [(_pid(workers), signal.SIGKILL)]))


def test_leaving_ends_workers_in_the_middle_of_a_job():
    with Workers(1) as workers:
        pid = _pid(workers)
        found = workers.map(time.sleep, [(0,), (600,), (600,)])
        next(found)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_ends_when_its_parent_is_gone():
    script = "import os, sys; from aigate.workers import Workers; w = Workers(1); "
    script += "print(*w.map(os.getpid, [()]), flush=True); os.kill(os.getpid(), 9)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    pid = int(told.stdout)
    deadline = time.monotonic() + 30.0
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(pid)


def test_what_a_job_prints_does_not_stand_among_the_results(capfd):
    with Workers(1) as workers:
        assert list(workers.map(print, [("told",), ("again",)])) == [None, None]
    assert capfd.readouterr() == ("", "told\nagain\n")


def test_jobs_of_threads_begin_in_order_and_each_has_its_own_result():
    with closing(WorkerThreads(2)) as workers:
        jobs = [workers.submit(operator.mul, number, 3) for number in range(40)]
        assert [job.result() for job in jobs] == [number * 3 for number in range(40)]
        assert {workers.submit(os.getpid).result() for _ in range(20)} <= {
            one._process.pid for one in workers._workers if one._process
        }


def test_a_job_that_takes_long_holds_up_its_own_worker_alone():
    with closing(WorkerThreads(2)) as workers:
        slow = workers.submit(time.sleep, 600)
        assert [workers.submit(abs, -number).result() for number in range(9)] == list(range(9))
        assert not slow.done()


def test_a_lost_worker_of_a_thread_is_started_anew():
    with closing(WorkerThreads(1)) as workers:
        pid = workers.submit(os.getpid).result()
        with pytest.raises(WorkerLostError, match="signal 9"):
            workers.submit(os.kill, pid, signal.SIGKILL).result()
        assert workers.submit(os.getpid).result() != pid


def test_what_cannot_be_sent_or_taken_back_is_told_and_the_worker_goes_on():
    with closing(WorkerThreads(1)) as workers:
        for job in (workers.submit(abs, lambda: 1), workers.submit(int, "x"), workers.submit(memoryview, b"")):
            with pytest.raises((AttributeError, TypeError, ValueError, RuntimeError, pickle.PicklingError)):
                job.result()
        assert workers.submit(abs, -1).result() == 1


def test_closing_ends_what_threads_wait_for_and_what_has_not_begun():
    workers = WorkerThreads(1)
    pid = workers.submit(os.getpid).result()
    jobs = [workers.submit(time.sleep, 600) for _ in range(3)]
    workers.close()
    for job in jobs:
        with pytest.raises(WorkerLostError):
            job.result()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    workers.close()  # once more does nothing


def _pid(workers):
    (pid,) = workers.map(os.getpid, [()])
    return pid


def _runs(pid):
    try:
        with Path(f"/proc/{pid}/stat").open() as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
