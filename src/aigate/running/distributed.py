"""The same run on a Dask cluster: `--engine dask`.

What workers do and what stays here is said in `aigate.running.crew`; this is how Dask's workers come to be the crew.
Each gets one actor. Calls reach it by the actor's methods, and what came of them returns as events of a topic: the
scheduler sees one task per worker, not one per call. Without an address, workers are started on this machine; then
everything listens on loopback only.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aigate.core.run import AnchorsJudged
from aigate.errors import ClusterError, MissingExtraError
from aigate.providers.base import is_local
from aigate.running.crew import KEPT, Crew, run_on_crew
from aigate.running.engine import Means, Plan, Record
from aigate.running.hands import OnDask, Recipe, identity_of, is_judged_by_workers

__all__ = ["DaskEngine", "run_on_dask"]

LOOPBACK = "127.0.0.1"
CONNECT_S = 10.0
FIRST_WORKER_S = 30.0
HIRING_S = 120.0
CLOSING_S = 10.0
WATCHING_S = 0.5


@dataclass(frozen=True)
class DaskEngine:
    """How a run is spread.

    Attributes:
        recipe: What workers make provider and scorers from.
        scheduler: The address of a Dask scheduler; None: workers are started on this machine, on loopback.
        workers: How many are started; None: one per CPU.
        environ: The environment that workers on this machine get beside that of the process.
        notes: What the run's owner should hear of, once it is over: workers that were lost.
    """

    recipe: Recipe
    scheduler: str | None = None
    workers: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


async def run_on_dask(plan: Plan, record: Record, means: Means, engine: DaskEngine) -> Mapping[str, AnchorsJudged]:
    """Ask and judge everything in the plan on a Dask cluster, or what of it is needed; see `run_plan`.

    Raises:
        ClusterError: No scheduler answers, no worker is there, workers have another aigate, or all were lost. What was
            recorded stays recorded.
        MissingExtraError: Dask is not installed.
        Exception: As `run_plan`.
    """
    async with _client(engine) as client, _hired(client, engine, plan) as crew:
        try:
            return await run_on_crew(crew, plan, record, means)
        finally:
            engine.notes.extend(crew.notes)


@asynccontextmanager
async def _client(engine: DaskEngine) -> AsyncIterator[Any]:
    """A client of the cluster: of the one that is named, or of one that is started and ended here."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise MissingExtraError("distributed", extra="dask", purpose="--engine dask") from None
    async with AsyncExitStack() as opened:
        opened.enter_context(_silent())
        if engine.scheduler is None:
            cluster = LocalCluster(
                n_workers=engine.workers or len(os.sched_getaffinity(0)),
                threads_per_worker=1,
                processes=True,
                host=LOOPBACK,
                dashboard_address=f"{LOOPBACK}:0",  # without it, a port of health pages is opened on a fixed number
                scheduler_kwargs={"dashboard": False},
                asynchronous=True,
                silence_logs=logging.CRITICAL,
                memory_limit=None,
                env=dict(engine.environ),
            )
            opened.push_async_callback(_closed, cluster.close)  # also where it is stopped while it starts
            try:
                await cluster
            except Exception as error:
                raise ClusterError(f"no workers can be started: {_line(error)}", hint=_GUARD) from error
            client = Client(cluster, asynchronous=True, set_as_default=False, direct_to_workers=True)
        else:
            client = _connecting(Client, engine.scheduler)
        opened.push_async_callback(_closed, client.close)
        try:
            async with asyncio.timeout(CONNECT_S + 1.0):  # something else than a scheduler may never answer
                await client
        except (OSError, TimeoutError, ValueError) as error:
            told = f"no Dask scheduler answers at {engine.scheduler}: {_line(error)}"
            raise ClusterError(
                told, hint="check the address (tcp://HOST:8786) and that 'dask scheduler' runs"
            ) from None
        yield client


def _connecting(client: Any, address: str) -> Any:
    try:
        return client(address, asynchronous=True, set_as_default=False, timeout=CONNECT_S)
    except ValueError as error:
        told = f"dask-scheduler is {address!r}: {_line(error)}"
        raise ClusterError(told, hint="write it as tcp://HOST:8786") from None


@asynccontextmanager
async def _hired(client: Any, engine: DaskEngine, plan: Plan) -> AsyncIterator[Crew]:
    """The crew: every worker that the cluster has, and each that comes later."""
    crew, topic = Crew(), f"aigate-{uuid.uuid4().hex}"
    office = _Office(client, crew, engine, topic, expected=_identity(plan))
    client.subscribe_topic(topic, lambda event: crew.report(*event[1]))
    client.subscribe_topic("all", office.hear)
    watching = asyncio.ensure_future(office.watch())
    try:
        await office.hire_first()
        yield crew
    finally:
        watching.cancel()
        await _closed(office.close)
        if engine.scheduler is not None:
            await _closed(lambda: _forgotten(client, topic))


class _Office:
    """Takes workers of a Dask cluster on, and hears when one is gone."""

    def __init__(self, client: Any, crew: Crew, engine: DaskEngine, topic: str, *, expected: Mapping[str, Any]) -> None:
        self._client, self._crew, self._engine = client, crew, engine
        self._topic, self._expected = topic, expected
        self._recipe = engine.recipe.to_json()
        self._actors: dict[str, Any] = {}
        self._known: set[str] = set()
        self._open = False
        self._hiring: set[asyncio.Task[None]] = set()

    async def hire_first(self) -> None:
        """Take on every worker that is there; all of them must fit.

        Raises:
            ClusterError: There is none, or one has another aigate or cannot make the provider.
        """
        try:
            await self._client.wait_for_workers(1, timeout=FIRST_WORKER_S)
        except TimeoutError:
            told = f"the scheduler at {self._engine.scheduler} has no workers"
            raise ClusterError(told, hint="start some: dask worker tcp://HOST:8786") from None
        await asyncio.gather(*(self._hire(address) for address in await self._client.nthreads()))
        self._open = True
        for address in await self._client.nthreads():  # those that came meanwhile
            self._hire_later(address)

    def hear(self, event: tuple[float, Any]) -> None:
        """An event of the cluster."""
        told = event[1] if isinstance(event[1], dict) else {}
        address = str(told.get("worker"))
        if told.get("action") == "remove-worker":
            self._known.discard(address)
            self._actors.pop(address, None)
            self._crew.dismiss(address)
        elif told.get("action") == "add-worker" and self._open:
            self._hire_later(address)

    async def watch(self) -> None:
        """End the run when the scheduler is gone: nothing can come back any more."""
        while self._client.status == "running":
            await asyncio.sleep(WATCHING_S)
        self._crew.fail(ClusterError("the Dask scheduler is gone", hint=KEPT))

    async def close(self) -> None:
        """Let every worker drop what it still does."""
        for task in self._hiring:
            task.cancel()
        await asyncio.gather(*(actor.close() for actor in self._actors.values()), return_exceptions=True)

    async def _hire(self, address: str) -> None:
        self._known.add(address)
        try:
            with self._client.as_current():  # an actor looks its client up
                async with asyncio.timeout(HIRING_S):
                    await self._check_imports(address)
                    pinned = {"actor": True, "workers": [address], "allow_other_workers": False, "pure": False}
                    future = self._client.submit(OnDask, self._recipe, self._topic, **pinned)
                    self._actors[address] = actor = await future
                    ready = json.loads(await actor.prepare(ours=self._engine.scheduler is None))
        except Exception as error:
            told = f"worker {address} cannot take part: {_line(error)}"
            raise ClusterError(told, hint="install the same aigate there: pip install 'aigate[dask]'") from error
        if "refused" in ready:
            message, hint = ready["refused"]
            raise ClusterError(f"worker {address} cannot take part: {message}", hint=hint)
        if differs := _differences(self._expected, ready["identity"]):
            raise ClusterError(
                f"worker {address} has another {'; another '.join(differs)}",
                hint="a run is made by one version: install the same on every worker, then run again",
            )
        self._crew.hire(address, actor.give)

    async def _check_imports(self, address: str) -> None:
        """Ask first whether the worker can import us: an actor that it cannot read is never answered for.

        Raises:
            ImportError: It cannot.
        """

        def import_it() -> str:  # within a function: it is sent whole, aigate need not be there
            try:
                __import__("aigate.running.hands")
            except Exception as error:  # noqa: BLE001 - whatever stands there under our name
                return f"{type(error).__name__}: {error}"
            return ""

        if told := (await self._client.run(import_it, workers=[address]))[address]:
            raise ImportError(told)

    def _hire_later(self, address: str) -> None:
        """Take on one that came while the run goes on."""
        if address not in self._known:
            task = asyncio.ensure_future(self._hire_or_leave(address))
            self._hiring.add(task)
            task.add_done_callback(self._hiring.discard)

    async def _hire_or_leave(self, address: str) -> None:
        """Without it the run goes on too."""
        try:
            await self._hire(address)
        except ClusterError as error:
            self._crew.notes.append(f"{error.message}; it was left out")


def _identity(plan: Plan) -> dict[str, Any]:
    provider = None if is_local(plan.provider) else plan.provider
    return identity_of(provider, [scorer for scorer in plan.scorers if is_judged_by_workers(scorer)])


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What differs, in words."""
    names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    return [f"{name} ({_short(there.get(name))}, here {_short(here.get(name))})" for name in names]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


async def _forgotten(client: Any, topic: str) -> None:
    """Leave nothing of the run with a scheduler that stays: it keeps the last thousand events of each topic."""

    def forget(dask_scheduler: Any) -> None:  # within a function: it is sent whole, aigate need not be there
        dask_scheduler._broker.truncate(topic)  # noqa: SLF001 - nothing public takes events back

    for name in (topic, "all"):
        client.unsubscribe_topic(name)
    await client.run_on_scheduler(forget)


async def _closed(close: Callable[[], Awaitable[Any]]) -> None:
    """Close something of Dask's, whatever state it is in, and wait no longer than is decent."""
    with suppress(Exception):
        async with asyncio.timeout(CLOSING_S):
            await close()


@contextmanager
def _silent() -> Iterator[None]:
    """Dask's loggers say nothing meanwhile: what matters to a run is told by the run."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _line(error: BaseException) -> str:
    return next(iter(str(error).split("\n")), "") or type(error).__name__


_GUARD = "in a script of your own, call it below: if __name__ == '__main__':"
