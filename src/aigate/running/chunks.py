"""Recorded answers, judged chunk by chunk: where nothing is asked, worker processes judge and write lines down.

The lines are those that the engine would write, in the order of the suite, one repeat after the other. A few chunks are
judged here, to see how long one takes; where the rest takes longer than workers need to start, each of these makes the
scorers anew and takes chunks. An answer that a scorer fails on is a judge error, as always; a worker that is lost ends
the run, and what was written before stays written.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice

from aigate.core.columns import columns_of
from aigate.core.json_text import strict_json
from aigate.core.response import Fault, Response
from aigate.core.run import Result
from aigate.core.runfile import EncodedBlock, encode_block
from aigate.core.sample import Sample
from aigate.errors import CannotJudgeError
from aigate.goldens.samples import StoredSamples
from aigate.providers.replay import ReplayProvider, StoredAnswers, response_in
from aigate.running.engine import Plan
from aigate.running.prices import Price, priced
from aigate.running.settle import settle
from aigate.scorers.base import Scorer, ScorerSettings, make_scorer
from aigate.workers import Workers, cores

__all__ = ["is_judged_in_chunks", "judge_in_chunks"]

FIRST, AT_ONCE = 128, 2_048  # answers of a chunk that is judged here, and at most of one that a worker judges
WARMED_UP = 1  # chunks before the first one that tells how long one takes: what scorers need was imported then
CHUNK_S = 0.5  # about so long a worker may take for one
WORTH_S = 1.0  # less is judged sooner than workers start

_Item = tuple[Sample | bytes, int, Response | bytes]
"""A sample, the repeat, and its answer: as they are, or the line of a file that holds them."""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What a worker judges with.

    Attributes:
        scorers: JSON: what each scorer is made from.
        specs: JSON: what each of them must be.
        price: What the model costs.
    """

    scorers: str
    specs: str
    price: Price | None

    @classmethod
    def of(cls, plan: Plan, settings: Sequence[ScorerSettings]) -> _Recipe | None:
        """That of a plan; None where an option of a scorer is no JSON, so that only this process can judge."""
        try:
            return cls(json.dumps([each.to_dict() for each in settings]), _specs(plan.scorers), plan.price)
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
    items, left = _items(plan), len(plan.samples) * plan.repeats - len(plan.done)
    recipe, took_s = _Recipe.of(plan, settings), 0.0
    for number, part in enumerate(_parts(items, FIRST)):
        if number > WARMED_UP and recipe is not None and took_s * left / FIRST > WORTH_S and cores() > 1:
            items = chain(part, items)
            break
        started_s = time.perf_counter()
        record(await _judged(part, plan.scorers, plan.price))
        took_s, left = time.perf_counter() - started_s, left - len(part)
        await asyncio.sleep(0)  # Ctrl-C is heard here
    else:
        return
    with Workers() as workers:
        for block in workers.map(_judge_part, ((recipe, part) for part in _parts(items, _size(took_s)))):
            record(block)
            await asyncio.sleep(0)


def _size(first_took_s: float) -> int:
    """Answers of a chunk: fewer of those that take long, so that the last one does not keep all others waiting."""
    return max(1, min(AT_ONCE, int(FIRST * CHUNK_S / max(first_took_s, 1e-6))))


def _parts(items: Iterator[_Item], size: int) -> Iterator[tuple[_Item, ...]]:
    return iter(lambda: tuple(islice(items, size)), ())


def _items(plan: Plan) -> Iterator[_Item]:
    """What is to be judged, in the order of the suite, one repeat after the other."""
    return chain.from_iterable(_items_of(plan, repeat) for repeat in range(plan.repeats))


def _items_of(plan: Plan, repeat: int) -> Iterator[_Item]:
    provider = plan.provider
    assert isinstance(provider, ReplayProvider)  # noqa: S101 - for the type checker: `is_judged_in_chunks` looked
    samples, recording, recorded = plan.samples, provider.recording, repeat + provider.repeat_offset
    ids = columns_of(samples).ids
    answers = recording.answers
    stored = answers if isinstance(answers, StoredAnswers) else None
    rows = () if stored is None else stored.rows_of(ids, recorded)
    for place, sample_id in enumerate(ids):
        if plan.done and (sample_id, repeat) in plan.done:
            continue
        if (there := plan.answered.get((sample_id, repeat)) if plan.answered else None) is not None:
            answer: Response | bytes | None = there
        elif stored is None:
            answer = answers.get((sample_id, recorded))
        else:
            answer = stored.line(rows[place]) if rows[place] >= 0 else None
        if answer is None:
            error = recording.missing(sample_id, recorded)
            answer = Response(fault=Fault(error.kind, error.message))
        elif there is None and isinstance(answer, Response):
            answer = priced(answer, plan.price)
        yield (samples.line(place) if isinstance(samples, StoredSamples) else samples[place]), repeat, answer


def _judge_part(recipe: _Recipe, part: Sequence[_Item]) -> EncodedBlock:
    """In a worker."""
    return _runner().run(_judged(part, _scorers(recipe.scorers, recipe.specs), recipe.price))


async def _judged(items: Sequence[_Item], scorers: Sequence[Scorer], price: Price | None) -> EncodedBlock:
    return encode_block([await _one(*item, scorers, price) for item in items])


async def _one(
    sample: Sample | bytes, repeat: int, answer: Response | bytes, scorers: Sequence[Scorer], price: Price | None
) -> tuple[Result, Sample]:
    if isinstance(sample, bytes):
        sample = Sample.from_dict(strict_json(sample))
    response = priced(response_in(answer), price) if isinstance(answer, bytes) else answer
    try:
        return await settle(sample, repeat, response, scorers), sample
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        raise CannotJudgeError(
            "a scorer cancelled the task that called it: samples were lost",
            hint="repair the scorer, then go on with --resume",
        ) from None


@cache
def _runner() -> asyncio.Runner:
    """One event loop for all chunks of a worker: a scorer may hold on to it."""
    return asyncio.Runner()


@cache
def _scorers(made_from: str, specs: str) -> tuple[Scorer, ...]:
    scorers = tuple(make_scorer(ScorerSettings(**row)) for row in json.loads(made_from))
    if _specs(scorers) != specs:
        raise CannotJudgeError(
            "a worker process makes other scorers than the run has",
            hint="is another version of a scorer's package found first on sys.path?",
        )
    return scorers


def _specs(scorers: Sequence[Scorer]) -> str:
    return json.dumps([scorer.spec.to_dict() for scorer in scorers], sort_keys=True)
