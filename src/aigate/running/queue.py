"""The tasks of a run, handed out in order: no further than the planned looks allow, and only so many at a time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence

from aigate.core.ledger import Outcome
from aigate.running.schedule import Task

__all__ = ["TaskQueue"]


class TaskQueue:
    """The tasks, handed out in order, and no further than they may be at the moment. Nothing may be taken at first.

    Places count done tasks too, so that a resumed run is let no further than the run it goes on with was.

    Args:
        tasks: Every sample and repeat, in order.
        done: What is recorded already.
        concurrency: Tasks that may be asked at a time.
        deadline_s: Seconds from now after which nothing should be asked.
        clock: Seconds that only grow.

    Attributes:
        closed_by: Why no more is given out; None while more may be.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        done: Collection[tuple[str, int]],
        concurrency: int,
        deadline_s: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._tasks = tasks
        self._done = frozenset(done)
        self._missing = Counter(task.look for task in self._tasks if task.key not in self._done)
        self._next = self._open_to = 0
        self._concurrency = concurrency
        self._asking: set[tuple[str, int]] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._look_done = asyncio.Event()
        self._clock = clock
        self._ends_s = math.inf if deadline_s is None else clock() + deadline_s
        self.closed_by: Outcome | None = None

    @property
    def closed(self) -> bool:
        """True when no more is given out."""
        return self.closed_by is not None

    async def take(self) -> Task | None:
        """The next task, as soon as it may be started; None when there is none, or no more may be started."""
        while not self.closed:
            while self._next < len(self._tasks) and self._tasks[self._next].key in self._done:
                self._next += 1
            if self._next == len(self._tasks):
                self._wake_all()
                return None
            if self._next < self._open_to and len(self._asking) < self._concurrency:
                task = self._tasks[self._next]
                self._next += 1
                self._asking.add(task.key)
                if len(self._asking) < self._concurrency:
                    self._wake_one()  # there is room for more than one
                return task
            await self._woken()
        return None

    def never_started(self) -> tuple[Task, ...]:
        """The tasks that nobody took, in order."""
        return tuple(task for task in self._tasks[self._next :] if task.key not in self._done)

    def let_on(self, look: int | None, *, ahead: int = 0) -> None:
        """Open it up to the end of a look and so many tasks beyond; None: to its end."""
        within = len(self._tasks) if look is None else sum(task.look <= look for task in self._tasks)
        self._open_to = min(within + ahead, len(self._tasks))
        self._wake_all()

    def close(self, why: Outcome) -> None:
        """Give out no more; the first reason stands."""
        self.closed_by = self.closed_by or why
        self._wake_all()
        self._look_done.set()

    def set_aside(self, task: Task) -> None:
        """It is not being asked any more, or waits to be asked again: another may be."""
        if task.key in self._asking:
            self._asking.remove(task.key)
            self._wake_one()

    def take_up(self, task: Task) -> None:
        """It is being asked again."""
        self._asking.add(task.key)

    def time_left_s(self, at_most_s: float) -> float:
        """Seconds that one answer may take now."""
        return max(0.0, min(at_most_s, self._ends_s - self._clock()))

    def has(self, look: int) -> bool:
        """True when a look adds anything to the one before."""
        return any(task.look == look for task in self._tasks)

    def complete(self, look: int) -> bool:
        """True when everything that a look adds to the one before is recorded."""
        return self._missing[look] == 0

    async def completed(self, look: int) -> None:
        """Wait until everything that a look adds is recorded, or the queue is closed."""
        while not self.complete(look) and not self.closed:
            self._look_done.clear()
            await self._look_done.wait()

    def note_recorded(self, task: Task) -> None:
        """Count a task as recorded."""
        self.set_aside(task)
        self._missing[task.look] -= 1
        if self.complete(task.look):
            self._look_done.set()

    def note_end(self, worker: asyncio.Task[None]) -> None:
        """Close it when a worker was cancelled: its task will never be recorded, and nobody may wait for it."""
        if worker.cancelled():
            self.close(Outcome.INFRASTRUCTURE_ERROR)

    async def _woken(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _wake_one(self) -> None:
        """Let the one that has waited longest look again: to wake all at every answer would cost more than the rest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        for _ in range(len(self._waiting)):
            self._wake_one()
