"""What runs on a worker of a cluster: it asks and judges what it is given, and reports each answer as it comes.

It keeps nothing and decides nothing. When to ask, and when to ask again, how many calls are in flight, what they may
cost, what is kept in the journal and written into the run: all that is decided where the run is (see
`aigate.running.distributed`), by the same code that decides it without a cluster.

What passes between the two is JSON, and never a key: a worker takes keys from its own environment.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import ScoreOrNot, Unscored
from aigate.core.version import VersionId
from aigate.errors import AigateError, UsageError
from aigate.providers.base import Provider, ProviderSettings, RateLimits, Request, make_provider, rate_limits_of
from aigate.running.asking import attempt
from aigate.running.engine import Plan
from aigate.running.prices import Price, priced
from aigate.running.provenance import code_digest, library_versions
from aigate.running.settle import judged_here
from aigate.scorers.base import Scorer, ScorerSettings, make_scorer

__all__ = ["Hands", "OnDask", "Recipe", "identity_of", "is_judged_by_workers", "recipe_of"]

STOPPING_S = 5.0
LINGER_S = 0.002  # answers that come so close together are reported in one message


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a worker makes its provider and its scorers from. JSON, without anything secret.

    Attributes:
        version: The version under test.
        provider: The provider's name; None where answers come from files of the machine that the run is on.
        options: The provider's options.
        folder: What paths in them are relative to.
        concurrency: Calls in flight, of all workers together.
        parameters: Request parameters.
        price: Input and output price in US dollars per million tokens; None where it is not known.
        scorers: Name, argument, options and contract of each scorer.
    """

    version: str
    provider: str | None
    options: Mapping[str, Any]
    folder: str
    concurrency: int
    parameters: Mapping[str, Any]
    price: tuple[float, float] | None
    scorers: tuple[Mapping[str, Any], ...]

    def to_json(self) -> str:
        """The recipe as JSON text.

        Raises:
            TypeError, ValueError: Something in it is no JSON.
        """
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        row = json.loads(text)
        price = None if row["price"] is None else tuple(row["price"])
        return cls(**{**row, "price": price, "scorers": tuple(row["scorers"])})

    def make_provider(self, environ: Mapping[str, str]) -> Provider | None:
        """The provider, with what the environment here holds.

        Raises:
            UsageError: It cannot be made here: a module or a key is missing.
        """
        if self.provider is None:
            return None
        version = VersionId.parse(self.version)
        settings = ProviderSettings(version, self.options, Path(self.folder), environ, self.concurrency)
        return make_provider(self.provider, settings)

    def make_scorers(self) -> tuple[Scorer, ...]:
        """The scorers.

        Raises:
            UsageError: One of them cannot be made here: a package is missing.
        """
        return tuple(make_scorer(ScorerSettings.from_dict(row)) for row in self.scorers)


def recipe_of(
    plan: Plan,
    *,
    version: VersionId,
    provider: str | None,
    options: Mapping[str, Any],
    folder: Path,
    scorers: Sequence[ScorerSettings],
) -> Recipe:
    """What workers make the provider and the scorers of a plan from.

    Args:
        plan: The plan.
        version: The version under test.
        provider: The provider's name; None where it is not asked on workers.
        options: Its options.
        folder: What paths in them are relative to.
        scorers: What each of the plan's scorers was made from.

    Raises:
        UsageError: An option is no JSON, so that no worker can be told it.
    """
    recipe = Recipe(
        version=str(version),
        provider=provider,
        options=options,
        folder=str(folder.resolve()),
        concurrency=plan.concurrency,
        parameters=plan.parameters,
        price=None if plan.price is None else (plan.price.input_usd, plan.price.output_usd),
        scorers=tuple(s.to_dict() for s, made in zip(scorers, plan.scorers, strict=True) if is_judged_by_workers(made)),
    )
    try:
        recipe.to_json()
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"engine 'dask': an option of the provider or of a scorer cannot be sent to a worker: {error}",
            hint="options are texts, numbers, lists and tables",
        ) from None
    return recipe


def is_judged_by_workers(scorer: Scorer) -> bool:
    """False for a scorer that asks a model: its calls are asked, kept and paid for where the run is."""
    return not callable(getattr(scorer, "judge", None))


def identity_of(provider: Provider | None, scorers: Sequence[Scorer]) -> dict[str, Any]:
    """What must be the same on every machine that takes part in a run: all of it can move an answer or a score."""
    whole = {
        "code of aigate": code_digest(),
        **{f"version of {name}": version for name, version in library_versions().items()},
        "provider": None if provider is None else dict(provider.describe()),
        **{f"scorer of {scorer.spec.metric}": scorer.spec.to_dict() for scorer in scorers},
    }
    same: dict[str, Any] = json.loads(json.dumps(whole))
    return same


class Hands:
    """Asks and judges. Calls and judgements have an event loop each, so that a slow scorer holds up no answer.

    Args:
        recipe: What to make provider and scorers from.
        report: Called from a thread with a message for the run: JSON, a list of [number of the call, what came of it].
        environ: The environment, for the provider.

    Raises:
        UsageError: Provider or scorers cannot be made here.
    """

    def __init__(self, recipe: Recipe, report: Callable[[str], None], *, environ: Mapping[str, str]) -> None:
        self._provider = recipe.make_provider(environ)
        self._scorers = recipe.make_scorers()
        self._parameters = dict(recipe.parameters)
        self._price = None if recipe.price is None else Price(*recipe.price, origin="")
        self._report = report
        self._asking, self._judging = _Loop("aigate-asking"), _Loop("aigate-judging")
        self._done: list[tuple[int, Mapping[str, Any]]] = []

    def identity(self) -> dict[str, Any]:
        """What must be the same as where the run is."""
        return identity_of(self._provider, self._scorers)

    def give(self, batch: str) -> None:
        """Take calls to make, in any thread: JSON, a list of [number, kind, arguments]."""
        for number, kind, row in json.loads(batch):
            self._asking.start(self._serve(number, kind, row))

    def close(self, *, wait: bool = True) -> None:
        """Drop what is being done, and stop. May be called twice.

        Args:
            wait: Until that is so; a scorer that does not give way is not waited for longer than a few seconds.
        """
        for loop in (self._asking, self._judging):
            loop.stop(wait=wait)

    async def _serve(self, number: int, kind: str, row: Mapping[str, Any]) -> None:
        try:
            found = await (self._ask(row) if kind == "ask" else self._judge_kept(row))
        except UsageError as error:
            found = {"refused": [error.message, error.hint]}
        except Exception as error:  # noqa: BLE001 - the run must hear of it, whatever it is
            found = {"broken": f"{type(error).__name__}: {error}"}
        self._done.append((number, found))
        if len(self._done) == 1:
            asyncio.get_running_loop().call_later(LINGER_S, self._flush)

    def _flush(self) -> None:
        done, self._done = self._done, []
        self._report(json.dumps(done, allow_nan=False))

    async def _ask(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """One attempt, and what the scorers say of its answer."""
        if self._provider is None:
            raise ValueError("this run asks nobody on workers")
        sample = Sample.from_dict(row["sample"])
        request = Request(sample, tuple(row["messages"]), self._parameters, row["repeat"], row["timeout_s"])
        response, retry_after_s = await attempt(self._provider, request)
        response = priced(response, self._price)
        scores = {} if response.fault is not None else await self._judged(sample, response)
        return {
            "response": response.to_dict(),
            "retry_after_s": retry_after_s,
            "limits": _limits_row(rate_limits_of(self._provider)),
            "scores": scores,
        }

    async def _judge_kept(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the scorers say of an answer that was there already."""
        sample, response = Sample.from_dict(row["sample"]), Response.from_dict(row["response"])
        return {"scores": await self._judged(sample, response)}

    async def _judged(self, sample: Sample, response: Response) -> dict[str, Any]:
        found = await asyncio.wrap_future(self._judging.start(judged_here(self._scorers, sample, response)))
        return {metric: score.to_dict() for metric, score in found.items() if not _outside(score)}


class OnDask:
    """Hands as an actor on a Dask worker: calls come by its methods, reports go out as events of a topic.

    Args:
        recipe: A `Recipe` as JSON.
        topic: The topic.
    """

    def __init__(self, recipe: str, topic: str) -> None:
        from distributed import get_worker

        self._recipe, self._topic = recipe, topic
        self._worker = get_worker()
        self._hands: Hands | None = None

    async def prepare(self, *, ours: bool) -> str:
        """Make provider and scorers, beside the worker's event loop.

        Args:
            ours: True on a worker that the run itself started: it then leaves Ctrl-C to the run.

        Returns:
            JSON: `{"identity": ...}`, or `{"refused": [message, hint]}`.
        """
        import os
        import signal

        if ours and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            recipe = Recipe.from_json(self._recipe)
            self._hands = await asyncio.to_thread(Hands, recipe, self._tell, environ=os.environ)
            return json.dumps({"identity": await asyncio.to_thread(self._hands.identity)})
        except AigateError as error:
            return json.dumps({"refused": [error.message, error.hint]})
        except Exception as error:  # noqa: BLE001 - errors of ours cannot be pickled, those of others need not be known there
            return json.dumps({"refused": [f"{type(error).__name__}: {error}", "repair it there"]})

    async def give(self, batch: str) -> None:
        """Take calls to make."""
        if self._hands is not None:
            self._hands.give(batch)

    async def close(self) -> None:
        """Drop what is being done."""
        if self._hands is not None:
            await asyncio.to_thread(self._hands.close)

    def __del__(self) -> None:
        if (hands := getattr(self, "_hands", None)) is not None:  # the run is gone without a word
            hands.close(wait=False)

    def _tell(self, message: str) -> None:
        self._worker.log_event(self._topic, [self._worker.address, message])


class _Loop:
    """An event loop in a daemon thread of its own."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a coroutine there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self, *, wait: bool) -> None:
        """Cancel what runs there, and end the thread."""
        with suppress(RuntimeError):  # it is closed already
            self._loop.call_soon_threadsafe(self._stopped.set)
        if wait:
            self._thread.join(STOPPING_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        await self._stopped.wait()


def _outside(score: ScoreOrNot) -> bool:
    """True where the sample lies outside the metric: that is seen without a worker."""
    return isinstance(score, Unscored) and not score.applicable


def _limits_row(limits: RateLimits | None) -> Mapping[str, Any] | None:
    return None if limits is None else asdict(limits)
