"""Scorers in worker processes: when they are worth it, and how they judge the answers of a run that asks.

How long judging takes is measured here, answer by answer. Where the rest would take longer than workers need to start,
these make the scorers anew from their settings and judge. Recorded answers go there in chunks
(`aigate.running.chunks`). Those of a run that asks go one by one, so that scorers do not hold up the event loop: calls
start in time, and no latency has our own work in it. A run has few answers under way at any time, so few wait here.

These stay in this process: a scorer that asks a judge, or waits for anything else, since it lets the loop go on, and
many of its calls are under way at once, where a worker makes one after the other; a model on this machine
(`LocalScorer`), which has a thread of its own and is loaded once, not once for each worker (where all answers are
recorded, each worker has one: there is no loop to be kept free); a scorer that a worker cannot make, or makes
differently.

What comes of an answer is what would come of it here. Where a worker gives no score, for whatever reason (it was
killed, the scorer ended it, cancelled its task, or gave what cannot be sent), the answer is judged here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Generator, Mapping, Sequence
from functools import cache
from time import perf_counter
from typing import Any

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import ScoreOrNot
from aigate.errors import ScoringError
from aigate.running.settle import judged
from aigate.scorers.base import Scorer, ScorerSettings, make_scorer
from aigate.workers import WorkerThreads, cores

__all__ = ["FIRST", "Gauge", "Scoring", "loop_of_worker", "scorer_from", "spec_text"]

FIRST = 128  # answers that tell how long one takes
FEWEST, ENOUGH_S = 4, 0.25  # or so many, once they took so long
WARMED_UP = 1  # times that so many tell nothing: what scorers need was imported then
WORTH_S = 1.0  # less is judged sooner than workers start
LEAST_S = 0.002  # of one answer: to hand it over and take its scores back costs a fifth of that, in this process
MOST_FAILURES = 3  # one after the other: then workers are given up


class Gauge:
    """Tells from the first answers how long judging takes, and whether workers are worth starting for the rest.

    Args:
        left: Answers to be judged.
        least_s: Seconds that one must take, at least, for workers to be worth it.

    Attributes:
        each_s: Seconds that an answer took of late; 0.0 before that is known.
    """

    def __init__(self, left: int, *, least_s: float = 0.0) -> None:
        self.each_s = 0.0
        self._left, self._least_s = left, least_s
        self._answers, self._took_s, self._told = 0, 0.0, 0

    def note(self, took_s: float, answers: int = 1) -> None:
        """Count answers that were judged here, and the seconds that all of them took."""
        self._left -= answers
        self._answers += answers
        self._took_s += took_s
        if self._answers >= FIRST or (self._answers >= FEWEST and self._took_s >= ENOUGH_S):
            self.each_s = self._took_s / self._answers
            self._answers, self._took_s, self._told = 0, 0.0, self._told + 1

    @property
    def worth_workers(self) -> bool:
        """True where the rest would take longer here than workers need to start, and there is a processor for them."""
        slow = self._told > WARMED_UP and self.each_s >= self._least_s
        return slow and self.each_s * self._left > WORTH_S and cores() > 1


class Scoring:
    """Who judges the answers of a run that asks, as far as no model is asked: this process, or workers.

    For one event loop.

    Args:
        made_from: What each scorer was made from, by metric.
        left: Answers to be judged.
    """

    def __init__(self, made_from: Mapping[str, ScorerSettings], *, left: int) -> None:
        self._made_from = made_from
        self._gauge = Gauge(left, least_s=LEAST_S)
        self._waiting: set[str] = set()  # metrics whose scorers let the event loop go on
        self._workers: WorkerThreads | None = None
        self._away: dict[str, str] = {}  # by metric: what workers make the scorer from that they judge with
        self._failures = 0
        self._closed = False

    async def judged(self, scorers: Sequence[Scorer], sample: Sample, response: Response) -> dict[str, ScoreOrNot]:
        """What some scorers say of one response, by metric, in their order; see `JudgesOwn`."""
        told: Mapping[str, ScoreOrNot] = {}
        if self._away and response.fault is None:
            told = await self._by_workers(sample, response)
        scores, held_s = {}, 0.0
        for scorer in scorers:
            metric = scorer.spec.metric
            if metric in told:
                scores[metric] = told[metric]
            else:
                work = _Watched(judged(scorer, sample, response))
                scores[metric] = await work
                held_s += self._noted(metric, work)
        if self._workers is None and not self._closed:
            self._gauge.note(held_s)
            if self._gauge.worth_workers:
                self._start(scorers)
        return scores

    def close(self) -> None:
        """End the workers; what they were judging is judged here, where somebody still waits for it."""
        self._closed, self._away = True, {}
        if self._workers is not None:
            self._workers.close()

    def _noted(self, metric: str, work: _Watched) -> float:
        """The seconds that a scorer held up the loop, as far as a worker could have done that."""
        if work.waited:
            self._waiting.add(metric)
        return 0.0 if metric in self._waiting else work.held_s

    def _start(self, scorers: Sequence[Scorer]) -> None:
        """Have a worker make the scorers; answers are judged here until it has."""
        recipes = {scorer.spec.metric: recipe for scorer in scorers if (recipe := self._recipe(scorer))}
        if not recipes:
            self.close()
            return
        specs = {scorer.spec.metric: spec_text(scorer) for scorer in scorers}
        self._workers = WorkerThreads()
        made = asyncio.wrap_future(self._workers.submit(_specs_made, tuple(recipes.values())))
        made.add_done_callback(lambda ended: self._started(ended, recipes, specs))

    def _recipe(self, scorer: Scorer) -> str:
        """What a worker makes a scorer from; empty for one that stays here."""
        from aigate.scorers.local_models import LocalScorer

        settings = self._made_from.get(scorer.spec.metric)
        if settings is None or isinstance(scorer, LocalScorer) or scorer.spec.metric in self._waiting:
            return ""
        try:
            return settings.to_json()
        except TypeError:
            return ""

    def _started(
        self, made: asyncio.Future[tuple[str, ...]], recipes: Mapping[str, str], specs: Mapping[str, str]
    ) -> None:
        """Give workers the scorers that they make as they were made here."""
        failed = made.cancelled() or made.exception() is not None
        told = ("",) * len(recipes) if failed else made.result()
        pairs = zip(recipes.items(), told, strict=True)
        same = {metric: recipe for (metric, recipe), spec in pairs if spec == specs[metric]}
        if not same:
            self.close()
        elif not self._closed:
            self._away = same

    async def _by_workers(self, sample: Sample, response: Response) -> Mapping[str, ScoreOrNot]:
        """What workers say; nothing where they cannot say it."""
        metrics, rows = tuple(self._away), tuple(self._away.values())
        assert self._workers is not None  # noqa: S101 - for the type checker: somebody is away
        try:
            told = await asyncio.wrap_future(self._workers.submit(_judge_answer, rows, sample, response))
        except Exception:  # noqa: BLE001 - whatever it is, it is found out again here, where it can be told
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                self.close()
            return {}
        self._failures = 0
        for metric, (_score, waited) in zip(metrics, told, strict=True):
            if waited:
                self._keep(metric)
        return {metric: score for metric, (score, _waited) in zip(metrics, told, strict=True)}

    def _keep(self, metric: str) -> None:
        """Have a scorer judge here from now on."""
        self._away.pop(metric, None)
        if not self._away:
            self.close()


class _Watched:
    """Something to be awaited that tells what it cost the event loop.

    Attributes:
        held_s: Seconds in which nothing else could run.
        waited: Whether it ever let anything else run.
    """

    def __init__(self, work: Coroutine[Any, Any, ScoreOrNot]) -> None:
        self._work = work
        self.held_s, self.waited = 0.0, False

    def __await__(self) -> Generator[Any, Any, ScoreOrNot]:
        step, given = self._work.send, None
        while True:
            started_s = perf_counter()
            try:
                waits_for = step(given)
            except StopIteration as ended:
                return ended.value  # type: ignore[no-any-return]
            finally:
                self.held_s += perf_counter() - started_s
            self.waited = True
            try:
                step, given = self._work.send, (yield waits_for)
            except BaseException as error:  # noqa: BLE001 - it is for the work to take: a cancellation, as a rule
                step, given = self._work.throw, error


def spec_text(scorer: Scorer) -> str:
    """What a scorer computes: JSON. Scorers of two processes that have the same are the same."""
    return json.dumps(scorer.spec.to_dict(), sort_keys=True)


@cache
def scorer_from(made_from: str) -> Scorer:
    """In a worker: the scorer of some settings (`ScorerSettings.to_json`), made once.

    Raises:
        UsageError: It cannot be made here.
    """
    return make_scorer(ScorerSettings.from_dict(json.loads(made_from)))


@cache
def loop_of_worker() -> asyncio.Runner:
    """In a worker: one event loop for all that it judges. A scorer may hold on to it."""
    return asyncio.Runner()


def _specs_made(rows: Sequence[str]) -> tuple[str, ...]:
    """In a worker: what its scorers compute; empty for one that it cannot make."""
    return tuple(map(_spec_made, rows))


def _spec_made(row: str) -> str:
    try:
        return spec_text(scorer_from(row))
    except Exception:  # noqa: BLE001 - whatever it is, this scorer judges where it was made already
        return ""


def _judge_answer(rows: Sequence[str], sample: Sample, response: Response) -> list[tuple[ScoreOrNot, bool]]:
    """In a worker: what each scorer says, and whether it waited for anything.

    Raises:
        ScoringError: A scorer ended the worker, or the task that called it.
    """
    try:
        return loop_of_worker().run(_judged_in_turn(rows, sample, response))
    except BaseException as error:
        raise ScoringError(f"a scorer raised {type(error).__name__}") from error


async def _judged_in_turn(rows: Sequence[str], sample: Sample, response: Response) -> list[tuple[ScoreOrNot, bool]]:
    found = []
    for row in rows:
        work = _Watched(judged(scorer_from(row), sample, response))
        found.append((await work, work.waited))
    return found
