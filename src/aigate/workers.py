"""Worker processes for work that is all arithmetic: reading, scoring and writing many lines, and scorers that are slow.

Each worker is a fresh interpreter that imports what it is told to call, and nothing else: it never sees the caller's
main module, threads or open files, so that they work in a notebook, under pytest and in a script without a main guard.
A worker ends by itself when its parent is gone, and takes no notice of Ctrl-C: the parent ends it.

Messages are pickled, between processes that this module started itself, and nowhere else.
"""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from aigate.errors import CannotJudgeError

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["WorkerLostError", "WorkerThreads", "Workers", "cores", "serve"]

R = TypeVar("R")

MOST_WORKERS = 4  # what one process can feed, and a bound on their memory
WORTH_BYTES = 4 << 20  # less is read sooner than workers start
IN_FLIGHT = 2  # jobs that a worker holds: the one it works at, and the next
PIPE_BYTES = 1 << 20
LENGTH = struct.Struct(">Q")
PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from aigate.workers import serve; serve()"


class WorkerLostError(CannotJudgeError):
    """A worker process ended in the middle of a job: it was killed, or ran out of memory."""


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A few worker processes, each started when its first job comes. A context manager: leaving it ends them.

    Functions must be importable by name; arguments, results and what is raised must be picklable.

    Args:
        count: How many; 0 works in this process. Default: one for each processor, up to 4.
    """

    def __init__(self, count: int | None = None) -> None:
        self._workers = _not_started(count)

    @classmethod
    def for_bytes(cls, size: int) -> Workers:
        """As many as so much text is worth; none where there is one processor."""
        return cls(None if size >= WORTH_BYTES and cores() > 1 else 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._workers)

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        for worker in self._workers:
            worker.end()

    def map(self, function: Callable[..., R], jobs: Iterable[tuple[Any, ...]]) -> Iterator[R]:
        """Call a function with the arguments of every job; results come in the order of the jobs.

        Few jobs are taken ahead of the results that were asked for. For one thread, and one `map` at a time.

        Raises:
            WorkerLostError: A worker died.
            Exception: Whatever a job raised, when its turn comes.
        """
        if not self._workers:
            yield from (function(*job) for job in jobs)
            return
        rest, turns = iter(jobs), deque[_Worker]()
        try:
            while True:
                while (worker := min(self._workers, key=lambda one: one.held)).held < IN_FLIGHT:
                    if (job := next(rest, None)) is None:
                        break
                    worker.send(function, job)
                    turns.append(worker)
                if not turns:
                    return
                yield turns.popleft().receive()
        finally:
            if turns:  # what nobody waits for any more must not answer the next job
                self.close()


class WorkerThreads:
    """A few worker processes for an event loop, which goes on while they work: each is waited for by a thread.

    Jobs begin in the order in which they were given, each at the first worker that is idle. A worker is started when a
    job comes to it; one that was lost is started anew for its next job.

    Args:
        count: How many. Default: one for each processor, up to 4.
    """

    def __init__(self, count: int | None = None) -> None:
        from concurrent.futures import ThreadPoolExecutor  # who only reads files needs none

        self._workers = _not_started(count)
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(len(self._workers), "aigate-worker")

    def submit(self, function: Callable[..., R], *arguments: Any) -> Future[R]:
        """Have a function called; it must be importable by name, and what it takes, gives and raises be picklable.

        Returns:
            What comes of it. A worker that died, or was ended by `close`, raises `WorkerLostError` there.
        """
        return self._threads.submit(self._called, function, arguments)

    def close(self) -> None:
        """End the workers, whatever they are doing. Nothing may be submitted afterwards."""
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown()
        for worker in self._workers:
            worker.end()

    def _called(self, function: Callable[..., R], arguments: tuple[Any, ...]) -> R:
        worker = self._idle.get()
        try:
            worker.send(function, arguments)
            found: R = worker.receive()
            return found
        finally:
            self._idle.put(worker)


def _not_started(count: int | None) -> list[_Worker]:
    return [_Worker() for _ in range(min(MOST_WORKERS, cores()) if count is None else count)]


class _Worker:
    """One process, started when it is needed.

    Attributes:
        held: Jobs that were sent and not yet answered.
    """

    def __init__(self) -> None:
        self.held = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._starting, self._over = threading.Lock(), False

    def send(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        message = pickle.dumps((function, arguments), protocol=5)
        stream = self._running().stdin
        assert stream is not None  # noqa: S101 - for the type checker: it is a pipe
        try:
            _write(stream.fileno(), message)
        except BrokenPipeError:
            raise self._lost() from None
        self.held += 1

    def receive(self) -> Any:
        stream = self._running().stdout
        assert stream is not None  # noqa: S101 - for the type checker: it is a pipe
        message = _read(stream.fileno())
        if message is None:
            raise self._lost()
        self.held -= 1
        good, found = pickle.loads(message)  # noqa: S301 - from a process of our own
        if good:
            return found
        raise found

    def end(self) -> None:
        process, self._process, self.held = self._process, None, 0
        if process is None:
            return
        process.kill()
        with process:  # closes the pipes and waits
            pass

    def kill(self) -> None:
        """End the process while another thread waits for it: there it is lost. None is started any more."""
        with self._starting:
            self._over, process = True, self._process
        if process is not None:
            process.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        with self._starting:
            if self._over:
                raise WorkerLostError("a worker process was ended before it had done its work", hint="run it again")
            if self._process is None:
                self._process = _started()
            return self._process

    def _lost(self) -> WorkerLostError:
        assert self._process is not None  # noqa: S101 - for the type checker: the caller used it
        code = self._process.wait()
        self.end()
        why = f"signal {-code}" if code < 0 else f"exit code {code}"
        return WorkerLostError(
            f"a worker process ended in the middle of its work ({why})", hint="is there enough memory? run it again"
        )


def _started() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", PROGRAM, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        process_group=0,  # Ctrl-C is for the parent, which ends its workers
    )
    _widen(process.stdin, process.stdout)
    return process


def serve() -> None:
    """Be a worker: answer the messages on standard input until it ends."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a scorer prints must not stand among the answers
    sys.setswitchinterval(0.0005)  # the listener must not wait long for its turn
    gc.set_threshold(100_000)  # columns and lines make no cycles, and looking for some takes a tenth of the time
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(messages,), daemon=True).start()
    while True:
        with suppress(BrokenPipeError):
            _write(answers, _answered(messages.get()))


def _listen(messages: queue.SimpleQueue[bytes]) -> None:
    """Take in what comes, so that the parent never waits for the job before; end all when the parent is gone."""
    while (message := _read(0)) is not None:
        messages.put(message)
    os._exit(0)


def _answered(message: bytes) -> bytes:
    try:
        function, arguments = pickle.loads(message)  # noqa: S301 - from the process that started this one
        return pickle.dumps((True, function(*arguments)), protocol=5)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is for the parent
        try:
            return _checked(pickle.dumps((False, error), protocol=5))
        except Exception:  # noqa: BLE001 - an error that cannot be sent is told
            return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")), protocol=5)


def _checked(message: bytes) -> bytes:
    pickle.loads(message)  # noqa: S301 - an error may be written that cannot be read
    return message


def _widen(*pipes: IO[bytes] | None) -> None:
    """Let a whole message stand in a pipe where that can be had: else each end waits for the other many times."""
    wider = getattr(fcntl, "F_SETPIPE_SZ", None)
    for pipe in pipes:
        if pipe is not None and wider is not None:
            with suppress(OSError):  # more than this user may have
                fcntl.fcntl(pipe, wider, PIPE_BYTES)


def _write(file: int, message: bytes) -> None:
    rest = memoryview(LENGTH.pack(len(message)) + message)
    while rest:
        rest = rest[os.write(file, rest) :]


def _read(file: int) -> bytes | None:
    """The next message; None where there is none any more."""
    begun = _read_exactly(file, LENGTH.size)
    return None if begun is None else _read_exactly(file, LENGTH.unpack(begun)[0])


def _read_exactly(file: int, size: int) -> bytes | None:
    whole = bytearray(size)
    rest = memoryview(whole)
    while rest:
        if not (count := os.readv(file, [rest])):
            return None
        rest = rest[count:]
    return bytes(whole)
