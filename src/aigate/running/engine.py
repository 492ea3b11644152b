"""The engine: a fixed pool of workers asks, judges and records every sample and repeat.

A worker takes the next task, asks (with retries), judges, and hands the result to `record`; nothing is kept here. Room
is left for a limiter and a budget: both decide before `ask`, at one place.
"""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aigate.core.run import Result
from aigate.core.sample import Message, Sample
from aigate.errors import CannotJudgeError
from aigate.providers.base import Provider, Request
from aigate.running.asking import RetryPolicy, ask
from aigate.running.settle import settle
from aigate.scorers.base import Scorer

__all__ = ["Plan", "run_plan"]

Record = Callable[[Result, Sample], None]


@dataclass(frozen=True)
class Plan:
    """What is to be asked, and how.

    Attributes:
        samples: In the order they are asked.
        repeats: Answers per sample; all of one repeat are asked before the next begins.
        render: The messages of a sample.
        parameters: Request parameters.
        provider: Who answers.
        scorers: Who judges.
        concurrency: Requests in flight.
        timeout_s: Seconds per attempt.
        retry: When to ask again.
        done: What stands in the run file already, and is not asked again.
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
    random: Callable[[], float] = random_module.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def tasks(self) -> Iterator[tuple[Sample, int]]:
        """Every sample and repeat that is not done."""
        return (
            (sample, repeat)
            for repeat in range(self.repeats)
            for sample in self.samples
            if (sample.id, repeat) not in self.done
        )


async def run_plan(plan: Plan, record: Record) -> None:
    """Ask and judge everything in the plan.

    Args:
        plan: What to ask.
        record: Called once per result, in the order results arrive, on the event loop's thread.

    When it is cancelled (Ctrl-C), calls in flight are dropped; everything recorded before stays recorded.

    Raises:
        CannotJudgeError: A scorer cancelled the task that called it, so that samples were lost.
        Exception: Whatever `record` or `render` raised.
    """
    tasks = iter(plan.tasks())
    try:
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(_work(plan, tasks, record)) for _ in range(plan.concurrency)]
    except BaseExceptionGroup as errors:  # callers see the error, not a group
        raise errors.exceptions[0] from None
    finally:
        await plan.provider.aclose()
    if any(worker.cancelled() for worker in workers):  # a task group takes no notice of a child that cancels itself
        raise CannotJudgeError(
            "a scorer cancelled the task that called it: samples were lost",
            hint="repair the scorer, then go on with --resume",
        )


async def _work(plan: Plan, tasks: Iterable[tuple[Sample, int]], record: Record) -> None:
    for sample, repeat in tasks:
        await asyncio.sleep(0)  # a provider that never waits must not keep Ctrl-C from being heard
        request = Request(
            sample=sample,
            messages=plan.render(sample),
            parameters=plan.parameters,
            repeat=repeat,
            timeout_s=plan.timeout_s,
        )
        response = await ask(plan.provider, request, retry=plan.retry, random=plan.random, sleep=plan.sleep)
        record(await settle(sample, repeat, response, plan.scorers), sample)
