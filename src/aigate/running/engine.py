"""The engine: a fixed pool of workers asks, judges and records every sample and repeat.

A worker takes the next task, asks (with retries), judges, and hands the result to `record`; nothing is kept here. Where
looks are planned, a gatekeeper lets the workers no further than a few tasks beyond the look that is being completed or
decided, and ends the run once it is settled; what is asked before all others is a look of its own, look 0. Room is left
for a limiter and a budget: both decide before `ask`, at one place.
"""

from __future__ import annotations

import asyncio
import random as random_module
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aigate.core.looks import LookPlan
from aigate.core.run import Result
from aigate.core.sample import Message, Sample
from aigate.errors import CannotJudgeError
from aigate.providers.base import Provider, Request
from aigate.running.asking import RetryPolicy, ask
from aigate.running.schedule import Task, not_asked, schedule
from aigate.running.settle import settle
from aigate.scorers.base import Scorer

__all__ = ["Plan", "run_plan"]

Record = Callable[[Result, Sample], None]


@dataclass(frozen=True)
class Plan:
    """What is to be asked, and how.

    Attributes:
        samples: In the order they are asked, where no looks are planned.
        repeats: Answers per sample.
        render: The messages of a sample.
        parameters: Request parameters.
        provider: Who answers.
        scorers: Who judges.
        concurrency: Requests in flight.
        timeout_s: Seconds per attempt.
        retry: When to ask again.
        done: What stands in the run file already, and is not asked again.
        looks: The planned looks; None: none before the end.
        seed: Orders the units for the looks.
        first: Ids of samples that are asked before all others, where looks are planned: look 0.
        settled: Called with the number of a look once every answer up to it is recorded, for look 0 where there is one
            and for each planned look (from 1) but the last; True when nothing further need be asked. None: everything
            is asked.
        random: Draws from [0, 1), for retry jitter.
        sleep: Waits between retries.
    """

    samples: Sequence[Sample]
    repeats: int
    render: Callable[[Sample], tuple[Message, ...]]
    parameters: Mapping[str, Any]
    provider: Provider
    scorers: Sequence[Scorer]
    concurrency: int = 8
    timeout_s: float = 60.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    done: Collection[tuple[str, int]] = frozenset()
    looks: LookPlan | None = None
    seed: int = 0
    first: Collection[str] = frozenset()
    settled: Callable[[int], Awaitable[bool]] | None = None
    random: Callable[[], float] = random_module.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def tasks(self) -> tuple[Task, ...]:
        """Every sample and repeat, done or not, in the order in which they are asked."""
        return schedule(self.samples, self.repeats, looks=self.looks, seed=self.seed, first=self.first)


async def run_plan(plan: Plan, record: Record) -> None:
    """Ask and judge everything in the plan, or what of it is needed until it is settled.

    Once it is settled no further task is started. Those in flight are completed and recorded; then each that was never
    started is recorded as skipped by early stop, so that every sample and repeat has exactly one result.

    Args:
        plan: What to ask.
        record: Called once per result, in the order results arrive, on the event loop's thread.

    When it is cancelled (Ctrl-C), calls in flight are dropped; everything recorded before stays recorded.

    Raises:
        CannotJudgeError: A scorer cancelled the task that called it, so that samples were lost.
        Exception: Whatever `record`, `render` or `settled` raised.
    """
    queue = _Queue(plan)
    try:
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(_work(plan, queue, record)) for _ in range(plan.concurrency)]
            for worker in workers:
                worker.add_done_callback(queue.note_end)
            group.create_task(_keep_gate(plan, queue))
    except BaseExceptionGroup as errors:  # callers see the error, not a group
        raise errors.exceptions[0] from None
    finally:
        await plan.provider.aclose()
    if any(worker.cancelled() for worker in workers):  # a task group takes no notice of a child that cancels itself
        raise CannotJudgeError(
            "a scorer cancelled the task that called it: samples were lost",
            hint="repair the scorer, then go on with --resume",
        )
    for task in queue.never_started():
        record(not_asked(task), task.sample)


async def _work(plan: Plan, queue: _Queue, record: Record) -> None:
    while (task := await queue.take()) is not None:
        await asyncio.sleep(0)  # a provider that never waits must not keep Ctrl-C from being heard
        request = Request(
            sample=task.sample,
            messages=plan.render(task.sample),
            parameters=plan.parameters,
            repeat=task.repeat,
            timeout_s=plan.timeout_s,
        )
        response = await ask(plan.provider, request, retry=plan.retry, random=plan.random, sleep=plan.sleep)
        record(await settle(task.sample, task.repeat, response, plan.scorers), task.sample)
        queue.note_recorded(task)


async def _keep_gate(plan: Plan, queue: _Queue) -> None:
    """Let the workers on, look by look, until the run is settled or only the last look is left."""
    planned = 0 if plan.looks is None or plan.settled is None else len(plan.looks.looks)
    for look in range(0 if queue.has(0) else 1, planned):
        if not queue.complete(look):  # one that stands in the file already is decided before anything is asked
            queue.let_on(look, ahead=plan.concurrency)
            await queue.completed(look)
        if queue.closed or not queue.never_started():  # nothing is left that a decision could save
            return
        if plan.settled is not None and await plan.settled(look):
            queue.close()
            return
    queue.let_on(None)


class _Queue:
    """The tasks, handed out in order, and no further than they may be at the moment. Nothing may be taken at first.

    Places count done tasks too, so that a resumed run is let no further than the run it goes on with was.
    """

    def __init__(self, plan: Plan) -> None:
        self._tasks = plan.tasks()
        self._done = frozenset(plan.done)
        self._missing = Counter(task.look for task in self._tasks if task.key not in self._done)
        self._next = self._open_to = 0
        self._changed = asyncio.Event()
        self.closed = False

    async def take(self) -> Task | None:
        """The next task, as soon as it may be started; None when there is none, or no more may be started."""
        while not self.closed:
            while self._next < len(self._tasks) and self._tasks[self._next].key in self._done:
                self._next += 1
            if self._next == len(self._tasks):
                return None
            if self._next < self._open_to:
                self._next += 1
                return self._tasks[self._next - 1]
            await self._changed.wait()
        return None

    def never_started(self) -> tuple[Task, ...]:
        """The tasks that nobody took, in order."""
        return tuple(task for task in self._tasks[self._next :] if task.key not in self._done)

    def let_on(self, look: int | None, *, ahead: int = 0) -> None:
        """Open it up to the end of a look and so many tasks beyond; None: to its end."""
        within = len(self._tasks) if look is None else sum(task.look <= look for task in self._tasks)
        self._open_to = min(within + ahead, len(self._tasks))
        self._wake()

    def close(self) -> None:
        """Give out no more."""
        self.closed = True
        self._wake()

    def has(self, look: int) -> bool:
        """True when a look adds anything to the one before."""
        return any(task.look == look for task in self._tasks)

    def complete(self, look: int) -> bool:
        """True when everything that a look adds to the one before is recorded."""
        return self._missing[look] == 0

    async def completed(self, look: int) -> None:
        """Wait until everything that a look adds is recorded, or the queue is closed."""
        while not self.complete(look) and not self.closed:
            await self._changed.wait()

    def note_recorded(self, task: Task) -> None:
        """Count a task as recorded."""
        self._missing[task.look] -= 1
        self._wake()

    def note_end(self, worker: asyncio.Task[None]) -> None:
        """Close it when a worker was cancelled: its task will never be recorded, and nobody may wait for it."""
        if worker.cancelled():
            self.close()

    def _wake(self) -> None:
        """Let everybody who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()
