"""The engine: a fixed pool of workers asks, judges and records every sample and repeat.

A worker takes the next task, asks for the answer (the journal first, then the provider, with retries), judges it and
hands the result to `record`; nothing is kept here. So many tasks may be asked at a time as the plan says. An answer
counts until the journal has it, so that a crash repeats no more calls than that, and is used once the disk has it too.
A task that waits to be asked again, or is being judged, does not count, so that another is asked meanwhile: there are
twice as many workers.

Where looks are planned, a gatekeeper lets the workers no further than a few tasks beyond the look that is being
completed or decided, and ends the run once it is settled; what is asked before all others is a look of its own, look 0.
A cap that is reached, or the run's deadline, ends it too: what was not asked is then recorded as stopped by budget.
"""

from __future__ import annotations

import asyncio
import random as random_module
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aigate.core.ledger import Outcome
from aigate.core.looks import LookPlan
from aigate.core.response import Response
from aigate.core.run import AnchorsJudged, Result
from aigate.core.sample import Message, Sample
from aigate.errors import CannotJudgeError
from aigate.providers.base import Provider, Request, is_offline, journal_identity_of
from aigate.running.asking import RetryPolicy, ask
from aigate.running.budget import Budget, BudgetSpentError
from aigate.running.limiter import CircuitBreaker, Limiter
from aigate.running.prices import Price, priced
from aigate.running.queue import TaskQueue
from aigate.running.schedule import Task, not_asked, schedule
from aigate.running.scoring import Scoring
from aigate.running.settle import judged_here, settle
from aigate.scorers.base import Scorer, ScorerSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aigate.goldens.judge_anchors import JudgeAnchor
    from aigate.running.journal import Journal
    from aigate.running.judging import JudgePlan, Judging

__all__ = ["Means", "Plan", "run_plan"]

Record = Callable[[Result, Sample], None]

WORKERS_PER_CALL = 2
TURNS_BETWEEN_YIELDS = 16  # a provider that never waits must not keep Ctrl-C from being heard


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
        sample_deadline_s: Seconds per answer, all attempts and waits together.
        deadline_s: Seconds after which nothing more is asked; None for no such limit.
        requests_per_minute: Calls that may be started in a minute; None: as many as the server takes.
        tokens_per_minute: Tokens in a minute; likewise.
        price: What the model costs, for answers whose cost the provider does not tell; None: not known.
        judges: Who judges, by metric, where a scorer asks a model.
        judge_anchors: Labelled answers that the judges judge too.
        answered: Answers that are there and only need to be judged, by sample id and repeat: nobody is asked for them.
        done: What stands in the run file already, and is not asked again.
        looks: The planned looks; None: none before the end.
        seed: Orders the units for the looks.
        first: Ids of samples that are asked before all others, where looks are planned: look 0.
        settled: Called with the number of a look once every answer up to it is recorded, for look 0 where there is one
            and for each planned look (from 1) but the last; True when nothing further need be asked. None: everything
            is asked.
        random: Draws from [0, 1), for retry jitter.
        sleep: Waits between retries.
        clock: Seconds that only grow.
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
    sample_deadline_s: float = 600.0
    deadline_s: float | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    price: Price | None = None
    judges: Mapping[str, JudgePlan] = field(default_factory=dict)
    judge_anchors: Sequence[JudgeAnchor] = ()
    answered: Mapping[tuple[str, int], Response] = field(default_factory=dict)
    done: Collection[tuple[str, int]] = frozenset()
    looks: LookPlan | None = None
    seed: int = 0
    first: Collection[str] = frozenset()
    settled: Callable[[int], Awaitable[bool]] | None = None
    random: Callable[[], float] = random_module.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """Every sample and repeat, done or not, in the order in which they are asked.

        What calls nothing and is answered whole comes in the order of the suite, whatever looks are planned.
        """
        whole = self.settled is None and is_offline(self.provider)
        return schedule(
            self.samples, self.repeats, looks=None if whole else self.looks, seed=self.seed, first=self.first
        )

    def request(self, task: Task) -> Request:
        """The request of one task."""
        return Request(
            sample=task.sample,
            messages=self.render(task.sample),
            parameters=self.parameters,
            repeat=task.repeat,
            timeout_s=self.timeout_s,
        )


@dataclass(frozen=True)
class Means:
    """What a run is asked through. Each of them counts, so they belong to one run.

    Attributes:
        limiter: Says when a call may start.
        breaker: Ends a hopeless run.
        budget: Caps on calls, tokens and cost; None for none.
        journal: Answers already paid for; None for none.
        judging: The judges; None where no scorer asks one.
        scoring: Has scorers that hold up the event loop judge elsewhere; None: all of them judge here.
    """

    limiter: Limiter
    breaker: CircuitBreaker
    budget: Budget | None = None
    journal: Journal | None = None
    judging: Judging | None = None
    scoring: Scoring | None = None

    @classmethod
    def of(
        cls,
        plan: Plan,
        *,
        budget: Budget | None = None,
        journal: Journal | None = None,
        scorers: Sequence[ScorerSettings] = (),
    ) -> Means:
        """The means that a plan asks for.

        Args:
            plan: The plan.
            budget: Its caps.
            journal: Where its answers are kept.
            scorers: What each of its scorers was made from; empty: none of them is made anew elsewhere.
        """
        limiter = Limiter(
            concurrency=plan.concurrency,
            requests_per_minute=plan.requests_per_minute,
            tokens_per_minute=plan.tokens_per_minute,
            clock=plan.clock,
            random=plan.random,
        )
        judging = None
        if plan.judges:
            from aigate.running.judging import Judging

            judging = Judging(
                plan.judges, budget=budget, journal=journal, random=plan.random, sleep=plan.sleep, clock=plan.clock
            )
        breaker = CircuitBreaker(concurrency=plan.concurrency)
        scoring = None
        if scorers:
            made_from = {made.spec.metric: settings for made, settings in zip(plan.scorers, scorers, strict=True)}
            scoring = Scoring(made_from, left=len(plan.samples) * plan.repeats - len(plan.done))
        return cls(limiter, breaker, None if is_offline(plan.provider) else budget, journal, judging, scoring)

    @property
    def hopeless(self) -> str:
        """Why nothing more will come of the run; empty while something may."""
        return self.breaker.reason or ("" if self.judging is None else self.judging.hopeless)

    async def aclose(self) -> None:
        """End workers that judge, and give back the judges' connections."""
        if self.scoring is not None:
            self.scoring.close()
        if self.judging is not None:
            await self.judging.aclose()


async def run_plan(plan: Plan, record: Record, means: Means | None = None) -> Mapping[str, AnchorsJudged]:
    """Ask and judge everything in the plan, or what of it is needed until it is settled.

    Once it is settled no further task is started. Those in flight are completed and recorded; then each that was never
    started is recorded as skipped by early stop, so that every sample and repeat has exactly one result. Where a cap or
    the deadline is reached instead, they are recorded as stopped by budget.

    Args:
        plan: What to ask.
        record: Called once per result, in the order results arrive, on the event loop's thread.
        means: Limiter, budget and journal; default: those that the plan asks for, without budget and journal.

    Returns:
        What the judge of each judged metric said of the labelled answers.

    When it is cancelled (Ctrl-C), calls in flight are dropped; everything recorded before stays recorded.

    Raises:
        CannotJudgeError: A scorer cancelled the task that called it, so that samples were lost; or the circuit breaker
            opened. What was recorded stays recorded.
        Exception: Whatever `record`, `render` or `settled` raised, and what an answer that the journal cannot keep
            raises.
    """
    means = means or Means.of(plan)
    queue = TaskQueue(
        plan.tasks,
        done=plan.done,
        concurrency=plan.concurrency,
        deadline_s=plan.deadline_s,
        clock=plan.clock,
    )
    try:
        async with asyncio.TaskGroup() as group, _closed_in_time(plan, queue):
            anchors = group.create_task(_anchors_judged(plan, means, queue))
            pool = [group.create_task(_work(plan, means, queue, record)) for _ in range(_pool_size(plan))]
            for worker in pool:
                worker.add_done_callback(queue.note_end)
            await _keep_gate(plan, queue)
            await asyncio.wait(pool)
    except BaseExceptionGroup as errors:  # callers see the error, not a group
        raise errors.exceptions[0] from None
    finally:
        try:
            await plan.provider.aclose()
        finally:
            await means.aclose()
    _require_whole(pool, means.hopeless)
    for task in queue.never_started():
        record(not_asked(task, queue.closed_by or Outcome.EARLY_STOP), task.sample)
    return anchors.result()


async def _anchors_judged(plan: Plan, means: Means, queue: TaskQueue) -> Mapping[str, AnchorsJudged]:
    """What judges say of labelled answers, found out while answers are awaited."""
    if means.judging is None or not plan.judge_anchors:
        return {}
    from aigate.running.judging import judge_anchors

    return await judge_anchors(
        plan.judge_anchors,
        plan.scorers,
        means.judging,
        time_left_s=lambda: queue.time_left_s(plan.sample_deadline_s),
    )


def _pool_size(plan: Plan) -> int:
    judged_meanwhile = sum(judge.concurrency for judge in plan.judges.values())
    most = WORKERS_PER_CALL * plan.concurrency + judged_meanwhile
    return min(most, max(1, len(plan.samples) * plan.repeats))


@asynccontextmanager
async def _closed_in_time(plan: Plan, queue: TaskQueue) -> AsyncIterator[None]:
    """Close the queue when the run's time is over."""
    if plan.deadline_s is None:
        yield
        return
    timer = asyncio.get_running_loop().call_later(plan.deadline_s, queue.close, Outcome.BUDGET)
    try:
        yield
    finally:
        timer.cancel()


def _require_whole(pool: Sequence[asyncio.Task[None]], hopeless: str) -> None:
    """Refuse to go on as if the run were whole.

    Raises:
        CannotJudgeError: A worker was cancelled, or the run was given up.
    """
    if any(worker.cancelled() for worker in pool):  # a task group takes no notice of a child that cancels itself
        raise CannotJudgeError(
            "a scorer cancelled the task that called it: samples were lost",
            hint="repair the scorer, then go on with --resume",
        )
    if hopeless:
        raise CannotJudgeError(
            f"the run was given up: {hopeless}", hint="what was answered is kept: repair it, then --resume"
        )


async def _work(plan: Plan, means: Means, queue: TaskQueue, record: Record) -> None:
    turns = 0
    while (task := await queue.take()) is not None:
        turns += 1
        if turns % TURNS_BETWEEN_YIELDS == 0:
            await asyncio.sleep(0)
        response: Response | None = None
        try:
            response = await _answer(plan, means, queue, task)
            queue.set_aside(task)  # it is kept: from here on nothing of it can be asked twice
            result = await _settled(plan, means, queue, task, response)
        except BudgetSpentError as error:
            queue.close(Outcome.BUDGET)
            result = not_asked(task, Outcome.BUDGET, response, error.judging)
        record(result, task.sample)
        queue.note_recorded(task)
        if means.hopeless:
            queue.close(Outcome.INFRASTRUCTURE_ERROR)


async def _settled(plan: Plan, means: Means, queue: TaskQueue, task: Task, response: Response) -> Result:
    """The answer, judged."""
    if not is_offline(plan.provider) and task.key not in plan.answered:
        means.breaker.note(response)
    return await settle(
        task.sample,
        task.repeat,
        response,
        plan.scorers,
        means.judging,
        time_left_s=lambda: queue.time_left_s(plan.sample_deadline_s),
        judges_own=judged_here if means.scoring is None else means.scoring.judged,
    )


async def _answer(plan: Plan, means: Means, queue: TaskQueue, task: Task) -> Response:
    """The answer that is there already, from the journal, or from the provider; its cost filled in."""
    if (there := plan.answered.get(task.key)) is not None:
        return there
    request = plan.request(task)

    async def wait(wait_s: float) -> None:
        queue.set_aside(task)
        await plan.sleep(wait_s)
        queue.take_up(task)

    async def asked() -> Response:
        response = await ask(
            plan.provider,
            request,
            retry=plan.retry,
            limiter=means.limiter,
            budget=means.budget,
            deadline_s=queue.time_left_s(plan.sample_deadline_s),
            random=plan.random,
            sleep=wait,
            clock=plan.clock,
        )
        return priced(response, plan.price)

    identity = None if means.journal is None else journal_identity_of(plan.provider, request)
    if means.journal is None or identity is None:
        return await asked()
    return await means.journal.answer(identity, request.repeat, asked, kept=lambda: queue.set_aside(task))


async def _keep_gate(plan: Plan, queue: TaskQueue) -> None:
    """Let the workers on, look by look, until the run is settled or only the last look is left."""
    planned = 0 if plan.looks is None or plan.settled is None else len(plan.looks.looks)
    for look in range(0 if queue.has(0) else 1, planned):
        if not queue.complete(look):  # one that stands in the file already is decided before anything is asked
            queue.let_on(look, ahead=plan.concurrency)
            await queue.completed(look)
        if queue.closed or not queue.never_started():  # nothing is left that a decision could save
            return
        if plan.settled is not None and await plan.settled(look):
            queue.close(Outcome.EARLY_STOP)
            return
    queue.let_on(None)
