"""Recorded answers, judged chunk by chunk: where nothing is asked, worker processes judge and write lines down.

The lines are those that the engine would write, in the order of the suite, one repeat after the other. A few chunks are
judged here, to see how long one takes (`aigate.running.scoring.Gauge`); where the rest takes longer than workers need
to start, each of these makes the scorers anew and takes chunks. An answer that a scorer fails on is a judge error, as
always; a worker that is lost ends the run, and what was written before stays written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from aigate.core.columns import columns_of
from aigate.core.digest import RAW_BYTES
from aigate.core.json_text import strict_json
from aigate.core.response import Fault, Response
from aigate.core.run import Result
from aigate.core.runfile import BlockEncoder, EncodedBlock
from aigate.core.sample import Sample
from aigate.errors import CannotJudgeError
from aigate.goldens.samples import StoredSamples
from aigate.providers.replay import ReplayProvider, StoredAnswers, response_in
from aigate.running.engine import Plan
from aigate.running.prices import Price, priced
from aigate.running.scoring import FIRST, Gauge, loop_of_worker, scorer_from, spec_text
from aigate.running.settle import settle
from aigate.scorers.base import Scorer, ScorerSettings
from aigate.workers import Workers

__all__ = ["is_judged_in_chunks", "judge_in_chunks"]

AT_ONCE = 2_048  # answers of a chunk that a worker judges, at most; one that is judged here has FIRST
CHUNK_S = 0.5  # about so long a worker may take for one


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What a worker judges with.

    Attributes:
        scorers: What each scorer is made from: JSON.
        specs: What each of them must be: JSON.
        price: What the model costs.
    """

    scorers: tuple[str, ...]
    specs: tuple[str, ...]
    price: Price | None

    @classmethod
    def of(cls, plan: Plan, settings: Sequence[ScorerSettings]) -> _Recipe | None:
        """That of a plan; None where an option of a scorer is no JSON, so that only this process can judge."""
        try:
            return cls(tuple(each.to_json() for each in settings), tuple(map(spec_text, plan.scorers)), plan.price)
        except TypeError:
            return None


def is_judged_in_chunks(plan: Plan) -> bool:
    """True where all answers are recorded, no model is asked about them, and all of them are judged in any case."""
    whole = plan.settled is None and plan.deadline_s is None and not plan.judges
    return whole and isinstance(plan.provider, ReplayProvider)


async def judge_in_chunks(
    plan: Plan, settings: Sequence[ScorerSettings], record: Callable[[EncodedBlock], None]
) -> None:
    """Judge every recorded answer of a plan.

    Args:
        plan: One of which `is_judged_in_chunks` is true.
        settings: What each of the plan's scorers was made from.
        record: Called with each chunk, in order.

    Raises:
        CannotJudgeError: A worker was lost, or makes another scorer than this process did.
        UsageError: A scorer cannot be made in a worker.
        asyncio.CancelledError: The run was stopped.
    """
    source, size = _Source(plan), FIRST
    recipe, gauge = _Recipe.of(plan, settings), Gauge(len(plan.samples) * plan.repeats - len(plan.done))
    parts = source.parts(lambda: size)
    for part in parts:
        started_s = time.perf_counter()
        record(await _judged(part, plan.scorers, plan.price))
        gauge.note(time.perf_counter() - started_s, FIRST)
        await asyncio.sleep(0)  # Ctrl-C is heard here
        if recipe is not None and gauge.worth_workers:
            size = max(1, min(AT_ONCE, int(CHUNK_S / gauge.each_s)))
            break
    else:
        return
    with Workers() as workers:
        for block in workers.map(_judge_part, ((recipe, part) for part in parts)):
            record(block)
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class _Items:
    """Some answers to be judged: sample, repeat, answer."""

    items: tuple[tuple[Sample, int, Response], ...]

    def read(self, price: Price | None) -> Iterator[tuple[Sample, int, Response, bytes | None]]:  # noqa: ARG002 - as below
        return ((*item, None) for item in self.items)


@dataclass(frozen=True, slots=True)
class _Lines:
    """The same, as consecutive lines of two files, read where they are judged; with the digests of the samples."""

    samples: bytes
    answers: bytes
    digests: bytes
    repeat: int

    def read(self, price: Price | None) -> Iterator[tuple[Sample, int, Response, bytes | None]]:
        pairs = zip(self.samples.split(b"\n"), self.answers.split(b"\n"), strict=True)
        for number, (sample, answer) in enumerate(pairs):
            digest = self.digests[RAW_BYTES * number : RAW_BYTES * (number + 1)]
            yield Sample.from_dict(strict_json(sample)), self.repeat, priced(response_in(answer), price), digest


_Part = _Items | _Lines


class _Source:
    """What is to be judged, in the order of the suite, one repeat after the other."""

    def __init__(self, plan: Plan) -> None:
        assert isinstance(plan.provider, ReplayProvider)  # noqa: S101 - for the type checker: the caller looked
        self._plan, self._recording = plan, plan.provider.recording
        self._offset, self._columns = plan.provider.repeat_offset, columns_of(plan.samples)
        self._apart = bool(plan.done or plan.answered)

    def parts(self, size: Callable[[], int]) -> Iterator[_Part]:
        """Parts of so many answers; fewer where some are there already."""
        answers = self._recording.answers
        for repeat in range(self._plan.repeats):
            stored = answers if isinstance(answers, StoredAnswers) else None
            rows = None if stored is None else stored.rows_of(self._columns.ids, repeat + self._offset)
            start = 0
            while start < len(self._columns):
                stop = min(len(self._columns), start + size())
                whole = None if stored is None or rows is None else self._lines(stored, rows[start:stop], start, repeat)
                yield whole or _Items(tuple(self._items(range(start, stop), repeat)))
                start = stop

    def _lines(self, answers: StoredAnswers, rows: Sequence[int], start: int, repeat: int) -> _Lines | None:
        """The lines as they stand; None where they do not stand together, or some are not wanted."""
        samples, stop = self._plan.samples, start + len(rows)
        if self._apart or not isinstance(samples, StoredSamples):
            return None
        texts = samples.lines(start, stop), answers.lines(rows)
        if texts[0] is None or texts[1] is None:
            return None
        return _Lines(texts[0], texts[1], bytes(self._columns.digests[RAW_BYTES * start : RAW_BYTES * stop]), repeat)

    def _items(self, places: range, repeat: int) -> Iterator[tuple[Sample, int, Response]]:
        plan, recorded = self._plan, repeat + self._offset
        for place in places:
            id_ = self._columns.ids[place]
            if plan.done and (id_, repeat) in plan.done:
                continue
            if (answer := plan.answered.get((id_, repeat))) is None:
                answer = self._answer(id_, recorded)
            yield plan.samples[place], repeat, answer

    def _answer(self, id_: str, repeat: int) -> Response:
        if (found := self._recording.answers.get((id_, repeat))) is not None:
            return priced(found, self._plan.price)
        error = self._recording.missing(id_, repeat)
        return Response(fault=Fault(error.kind, error.message))


def _judge_part(recipe: _Recipe, part: _Part) -> EncodedBlock:
    """In a worker."""
    return loop_of_worker().run(_judged(part, _scorers(recipe), recipe.price))


async def _judged(part: _Part, scorers: Sequence[Scorer], price: Price | None) -> EncodedBlock:
    encoder = BlockEncoder()
    for sample, repeat, response, digest in part.read(price):
        encoder.add(await _result(sample, repeat, response, scorers), sample, digest)
    return encoder.block()


async def _result(sample: Sample, repeat: int, response: Response, scorers: Sequence[Scorer]) -> Result:
    try:
        return await settle(sample, repeat, response, scorers)
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        raise CannotJudgeError(
            "a scorer cancelled the task that called it: samples were lost",
            hint="repair the scorer, then go on with --resume",
        ) from None


def _scorers(recipe: _Recipe) -> tuple[Scorer, ...]:
    scorers = tuple(map(scorer_from, recipe.scorers))
    if tuple(map(spec_text, scorers)) != recipe.specs:
        raise CannotJudgeError(
            "a worker process makes other scorers than the run has",
            hint="is another version of a scorer's package found first on sys.path?",
        )
    return scorers
