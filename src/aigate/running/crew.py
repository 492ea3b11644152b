"""A run with many hands: workers ask and judge, everything else stays where the run is.

The run is the one of `aigate.running.engine`, unchanged: one queue, one journal, one limiter, one budget, one run file.
Only its provider and its scorers are stood in for: theirs is done by workers (`aigate.running.hands`). So an answer is
in the journal before it counts, a refused call slows all workers down at once, no cap is overshot, and the verdict is
that of a run without workers, since the same code decides it. A worker that is lost loses what it was asked at that
moment: that is asked again of another one, and nothing else is.

Calls reach a worker in batches, and come back in batches. One judging call follows where an answer was not judged with
its asking: it came from the journal, or only after a retry.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from aigate.core.response import FaultKind, Response
from aigate.core.run import AnchorsJudged
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, ScoreOrNot, Unscored, score_from_dict
from aigate.errors import CallError, ClusterError, ScoringError, UsageError
from aigate.providers.base import Provider, RateLimits, Request, is_local, rate_limits_of
from aigate.running.asking import longest_s
from aigate.running.budget import Budget, BudgetSpentError
from aigate.running.engine import Means, Plan, Record, run_plan
from aigate.running.hands import is_judged_by_workers
from aigate.scorers.base import Scorer

__all__ = ["KEPT", "Crew", "run_on_crew"]

NO_WORKER_S = 60.0  # a cluster that lost its last worker may get another one
SILENCE_S = 30.0  # beyond the time that a call may take
MOST_LOSSES = 3  # what ends three workers would end every other one too
KEPT = "what was answered is kept: the same command with --resume goes on"


async def run_on_crew(crew: Crew, plan: Plan, record: Record, means: Means) -> Mapping[str, AnchorsJudged]:
    """Run the plan with workers that are there; see `run_plan`.

    Raises:
        ClusterError: All workers were lost.
        Exception: As `run_plan`.
    """
    judgements = _Judgements(crew)
    scorers = tuple(_Elsewhere(s, judgements) if is_judged_by_workers(s) else s for s in plan.scorers)
    provider = _RemoteProvider(plan.provider, crew, judgements, means.budget)
    running = asyncio.ensure_future(run_plan(replace(plan, provider=provider, scorers=scorers), record, means))
    try:
        ended: list[asyncio.Future[Any]] = [running, crew.failed]
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise crew.failed.result()
        return await running
    finally:
        if not running.done():
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


@dataclass(slots=True)
class _Worker:
    """One worker.

    Attributes:
        name: Its address.
        give: Hands it a batch.
        calls: What it was given and has not reported, by number.
        outbox: What it is still to be given.
        sending: What hands batches over, while one is on its way.
    """

    name: str
    give: Callable[[str], Awaitable[None]]
    calls: dict[int, asyncio.Future[Mapping[str, Any]]] = field(default_factory=dict)
    outbox: list[tuple[int, str, Mapping[str, Any]]] = field(default_factory=list)
    sending: asyncio.Task[None] | None = None


class _LostError(Exception):
    """The worker that had a call is gone."""


class _NotGivenError(Exception):
    """The worker that was to have a call is gone before it was given it."""


class Crew:
    """The workers of one run: who is there, what each was given, and what came back. For one event loop.

    Attributes:
        failed: Done once no worker is left and none comes: with the error.
        notes: Who was lost, in words.
    """

    def __init__(self, *, no_worker_s: float = NO_WORKER_S) -> None:
        self.failed: asyncio.Future[ClusterError] = asyncio.get_running_loop().create_future()
        self.notes: list[str] = []
        self._workers: dict[str, _Worker] = {}
        self._numbers = count(1)
        self._somebody = asyncio.Event()
        self._no_worker_s = no_worker_s

    @property
    def names(self) -> tuple[str, ...]:
        """Who is there."""
        return tuple(self._workers)

    def hire(self, name: str, give: Callable[[str], Awaitable[None]]) -> None:
        """Take a worker on.

        Args:
            name: Its name.
            give: Hands it a batch of calls; raises when it is gone.
        """
        self._workers[name] = _Worker(name, give)
        self._somebody.set()

    def dismiss(self, name: str, *, why: str = "was lost") -> None:
        """Give nothing more to a worker, and what it has to others. What it still reports is not heard."""
        if (worker := self._workers.pop(name, None)) is None:
            return
        not_given = {number for number, _, _ in worker.outbox}
        waiting = {number: call for number, call in worker.calls.items() if not call.done()}
        for number, call in waiting.items():
            call.set_exception(_NotGivenError() if number in not_given else _LostError())
        if worker.sending is not None and worker.sending is not asyncio.current_task():
            worker.sending.cancel()
        again = len(waiting.keys() - not_given)
        had = f"; what it had was asked again: {again} call{'s' if again != 1 else ''}" if again else ""
        self.notes.append(f"worker {name} {why}{had}")
        if not self._workers:
            self._somebody.clear()

    def fail(self, error: ClusterError) -> None:
        """End the run; the first error stands."""
        if not self.failed.done():
            self.failed.set_result(error)

    def report(self, name: str, message: str) -> None:
        """Take what a worker reports: JSON, a list of [number, what came of it]."""
        if (worker := self._workers.get(name)) is None:
            return
        for number, found in json.loads(message):
            call = worker.calls.get(number)
            if call is not None and not call.done():
                call.set_result(found)

    async def call(
        self,
        kind: str,
        row: Mapping[str, Any],
        *,
        longest_s: float | None = None,
        lost: Callable[[], None] | None = None,
    ) -> Mapping[str, Any]:
        """Have the worker with the least to do make a call; another one where that one is lost.

        Args:
            kind: `ask` or `judge`.
            row: What `Hands` takes for it.
            longest_s: Seconds in which a worker that lives must have reported; None: as long as it takes.
            lost: Called when a worker was lost that had the call, before it is made again.

        Raises:
            UsageError: The provider cannot be asked like this.
            RuntimeError: The worker's own code broke, or worker after worker was lost over this call.
        """
        losses = 0
        while losses < MOST_LOSSES:
            worker = await self._least_busy()
            try:
                return _sound(await self._made(worker, kind, row, longest_s))
            except _NotGivenError:
                continue
            except _LostError:
                losses += 1
            except TimeoutError:
                losses += 1
                self.dismiss(worker.name, why=f"said nothing for {longest_s:g} s")
            if lost is not None:
                lost()
        raise RuntimeError(f"{MOST_LOSSES} workers were lost, one after the other, while they had this call")

    async def _made(
        self, worker: _Worker, kind: str, row: Mapping[str, Any], longest_s: float | None
    ) -> Mapping[str, Any]:
        number = next(self._numbers)
        call: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        worker.calls[number] = call
        worker.outbox.append((number, kind, row))
        self._send(worker)
        try:
            async with asyncio.timeout(longest_s):
                return await call
        finally:
            worker.calls.pop(number, None)

    async def _least_busy(self) -> _Worker:
        while not self._workers:
            try:
                async with asyncio.timeout(self._no_worker_s):
                    await self._somebody.wait()
            except TimeoutError:
                told = "; ".join([f"no worker is left, and none came within {self._no_worker_s:g} s", *self.notes[-3:]])
                self.fail(ClusterError(told, hint=KEPT))
                await asyncio.Event().wait()  # until the run is cancelled: nothing may be taken for an answer
        return min(self._workers.values(), key=lambda worker: len(worker.calls))

    def _send(self, worker: _Worker) -> None:
        """Hand over what has gathered; what comes meanwhile goes with the next batch."""
        if worker.sending is None:
            worker.sending = asyncio.ensure_future(self._send_all(worker))

    async def _send_all(self, worker: _Worker) -> None:
        try:
            while worker.outbox:
                batch, worker.outbox = worker.outbox, []
                await worker.give(json.dumps(batch, allow_nan=False))
        except Exception as error:  # noqa: BLE001 - whatever it is, this worker cannot be given anything
            self.dismiss(worker.name, why=f"could not be reached ({type(error).__name__})")
        finally:
            worker.sending = None


class _RemoteProvider:
    """Stands in for the run's provider: workers make its calls."""

    def __init__(self, inner: Provider, crew: Crew, judgements: _Judgements, budget: Budget | None) -> None:
        self._inner, self._crew, self._judgements, self._budget = inner, crew, judgements, budget
        self._limits: RateLimits | None = None

    @property
    def name(self) -> str:
        """That of the provider."""
        return self._inner.name

    @property
    def keeps_deadlines(self) -> bool:
        """True where workers are asked: they end a call in time, and what is lost on the way is not the candidate's."""
        return not is_local(self._inner)

    @property
    def rate_limits(self) -> RateLimits | None:
        """What the server told any worker last."""
        return self._limits or rate_limits_of(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # what a provider may have or not: only the real one knows

    def describe(self) -> Mapping[str, Any]:
        """That of the provider."""
        return self._inner.describe()

    async def respond(self, request: Request) -> Response:
        """Have a worker make the call, and judge the answer with it.

        Raises:
            CallError: As the provider on the worker; ADAPTER where worker after worker was lost over it.
            BudgetSpentError: It would have to be made again, and might go over a cap.
        """
        if is_local(self._inner):
            return await self._inner.respond(request)
        losses = 0

        def lost() -> None:
            nonlocal losses
            losses += 1
            _count_as_spent(self._budget, request)

        try:
            found = await self._crew.call("ask", _ask_row(request), longest_s=longest_s(request) + SILENCE_S, lost=lost)
        except RuntimeError as error:
            raise CallError(str(error), kind=FaultKind.ADAPTER) from None
        if found["limits"] is not None:
            self._limits = RateLimits(**found["limits"])
        response = Response.from_dict(found["response"])
        if response.fault is not None and found["retry_after_s"] is not None:
            raise CallError(response.fault.message, kind=response.fault.kind, retry_after_s=found["retry_after_s"])
        if losses:
            response = replace(response, attempts=response.attempts + losses)
        self._judgements.keep(request.sample, response, found["scores"])
        return response

    async def aclose(self) -> None:
        """Close the provider here; workers close theirs."""
        await self._inner.aclose()


class _Judgements:
    """What workers said of answers, until it is asked for."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._kept: dict[str, list[tuple[Response, dict[str, ScoreOrNot]]]] = {}

    def keep(self, sample: Sample, response: Response, scores: Mapping[str, Any]) -> None:
        """Remember what came with an answer."""
        if scores:
            said = {metric: score_from_dict(row) for metric, row in scores.items()}
            self._kept.setdefault(sample.id, []).append((response, said))

    async def of(self, metric: str, sample: Sample, response: Response) -> ScoreOrNot:
        """What a worker says of an answer: that which came with it, else it is asked now. Each is given once.

        Raises:
            ScoringError: Worker after worker was lost over it.
        """
        if (said := self._found(metric, sample, response)) is None:
            row = {"sample": sample.to_dict(), "response": response.to_dict()}
            try:
                self.keep(sample, response, (await self._crew.call("judge", row))["scores"])
            except RuntimeError as error:
                raise ScoringError(str(error)) from None
            said = self._found(metric, sample, response)
        if said is None:
            raise ScoringError(f"the worker did not judge '{metric}'")
        return said

    def _found(self, metric: str, sample: Sample, response: Response) -> ScoreOrNot | None:
        kept = self._kept.get(sample.id, [])
        for judged, scores in kept:
            if metric in scores and judged == response:
                said = scores.pop(metric)
                if not scores:
                    kept.remove((judged, scores))
                if not kept:
                    del self._kept[sample.id]
                return said
        stale = next((entry for entry in kept if entry[0].output == response.output), None)
        if stale is not None:  # judged as it came, and then it turned out to be the answer to a second attempt
            kept.remove(stale)
        return None


class _Elsewhere:
    """Stands in for a scorer: workers judge."""

    def __init__(self, inner: Scorer, judgements: _Judgements) -> None:
        self._inner, self._judgements = inner, judgements

    @property
    def spec(self) -> MetricSpec:
        """That of the scorer."""
        return self._inner.spec

    def applies_to(self, sample: Sample) -> Unscored | None:
        """As the scorer."""
        return self._inner.applies_to(sample)

    async def score(self, sample: Sample, response: Response) -> ScoreOrNot:
        """What a worker says.

        Raises:
            ScoringError: No worker could.
        """
        return await self._judgements.of(self.spec.metric, sample, response)


def _ask_row(request: Request) -> Mapping[str, Any]:
    return {
        "sample": request.sample.to_dict(),
        "messages": [dict(message) for message in request.messages],
        "repeat": request.repeat,
        "timeout_s": request.timeout_s,
    }


def _count_as_spent(budget: Budget | None, request: Request) -> None:
    """A call that was lost with its worker may have been billed, and is made once more.

    Raises:
        BudgetSpentError: There is no room for another one.
    """
    if budget is None:
        return
    if (reservation := budget.reserve(request)) is None:
        raise BudgetSpentError(budget.exhausted)
    budget.settle(reservation, None)


def _sound(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """What came of a call, where it is an answer."""
    if "refused" in found:
        message, hint = found["refused"]
        raise UsageError(message, hint=hint)
    if "broken" in found:
        raise RuntimeError(f"the worker broke: {found['broken']}")
    return found
