"""`evaluate`: a suite in, a stored run out."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from aigate.core.digest import seed_from
from aigate.core.run import Result, Run, RunHeader
from aigate.core.sample import Message, Sample
from aigate.core.version import VersionId
from aigate.errors import ConfigError, UsageError
from aigate.goldens.config import DEFAULTS, ScorerEntry
from aigate.goldens.prompts import Prompt, messages_of
from aigate.goldens.suite import Suite, load_suite
from aigate.providers.base import Provider, ProviderSettings, make_provider
from aigate.running.asking import RetryPolicy
from aigate.running.engine import Plan, run_plan
from aigate.running.provenance import git_commit, library_versions, utc_now
from aigate.running.writer import RunWriter
from aigate.scorers.base import Scorer, ScorerSettings, make_scorer

__all__ = ["Choices", "Conditions", "evaluate", "execute", "prepare", "primary_metric", "scorers_of"]

Progress = Callable[[Result, int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Conditions:
    """A prepared evaluation: everything was looked up and checked, nothing was asked yet.

    Attributes:
        suite: The suite.
        plan: What will be asked.
        header: The header of the run that will be written.
    """

    suite: Suite
    plan: Plan
    header: RunHeader


@dataclass(frozen=True)
class Choices:
    """What a caller chose; None leaves it to suite.toml, then to the defaults."""

    version: VersionId | str | None = None
    provider: str | Provider | Callable[..., Any] | None = None
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    repeats: int | None = None
    policy: Mapping[str, Any] | None = None
    limit: int | None = None
    tags: Sequence[str] = ()
    concurrency: int | None = None
    timeout_s: float | None = None
    retries: int | None = None


def evaluate(
    suite: Suite | Path | str,
    *,
    version: VersionId | str | None = None,
    provider: str | Provider | Callable[..., Any] | None = None,
    recorded: Path | str | None = None,
    provider_options: Mapping[str, Any] | None = None,
    repeats: int | None = None,
    policy: Mapping[str, Any] | None = None,
    limit: int | None = None,
    tags: Sequence[str] = (),
    concurrency: int | None = None,
    timeout_s: float | None = None,
    retries: int | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    environ: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Answer a golden suite with one version, judge the answers, and store the run.

    Args:
        suite: A suite, or its folder.
        version: The version under test; default: that of suite.toml.
        provider: A provider's name, a `Provider`, or any callable `str -> str`, sync or async.
        recorded: Recorded responses; makes the provider `replay`.
        provider_options: As `[provider-options]`; these win over those of suite.toml.
        repeats: Answers per sample, 1 or more.
        policy: The policy to store in the run, as JSON; default: that of suite.toml.
        limit: Only the first so many samples. The run is then a subset, which cannot pass a gate.
        tags: Only samples with one of these tags; likewise.
        concurrency: Requests in flight.
        timeout_s: Seconds per attempt.
        retries: Attempts after the first.
        out: The run file; default: a temporary one, gone when this returns.
        resume: Go on with the interrupted run in `out`.
        environ: The environment; default: that of the process. Only providers read it (keys, base URLs).
        progress: Called per result with (result, done, total).

    Returns:
        The finished run. Works inside a running event loop too (a notebook).

    Raises:
        UsageError: Something in the suite, the settings or the provider is wrong; nothing was asked.
        KeyboardInterrupt: Stopped; `out` then holds a resumable run.
    """
    given = dict(provider_options or {})
    if recorded is not None:
        provider, given = provider or "replay", {**given, "recorded": str(Path(recorded).absolute())}
    choices = Choices(
        version=version,
        provider=provider,
        provider_options=given,
        repeats=repeats,
        policy=policy,
        limit=limit,
        tags=tags,
        concurrency=concurrency,
        timeout_s=timeout_s,
        retries=retries,
    )
    loaded = suite if isinstance(suite, Suite) else load_suite(Path(suite))
    conditions = prepare(loaded, choices, environ=os.environ if environ is None else environ)
    if out is not None:
        return execute(conditions, Path(out), resume=resume, progress=progress)
    with TemporaryDirectory(prefix="aigate-") as folder:
        return replace(execute(conditions, Path(folder) / "run.jsonl", progress=progress), source="")


def prepare(suite: Suite, choices: Choices, *, environ: Mapping[str, str]) -> Conditions:
    """Look up and check everything an evaluation needs, and ask nothing.

    Raises:
        UsageError: Something is wrong; the message says what and where.
    """
    _refuse_bad_numbers(choices)
    config = suite.config
    version = _version(suite, choices)
    prompt = suite.prompt_for(version)
    scorers = scorers_of(suite)
    samples, subset = suite.select(choices.limit, choices.tags)
    concurrency = choices.concurrency or config.concurrency or DEFAULTS["concurrency"]
    provider = _provider(suite, choices, version, environ, concurrency)
    render = _renderer(prompt)
    for sample in samples:  # a prompt that cannot be rendered is found before anything is paid for
        render(sample)
    repeats = choices.repeats or config.repeats or DEFAULTS["repeats"]
    retries = config.retries if choices.retries is None else choices.retries
    plan = Plan(
        samples=samples,
        repeats=repeats,
        render=render,
        parameters={**config.parameters, **(prompt.parameters_for(provider.name) if prompt else {})},
        provider=provider,
        scorers=scorers,
        concurrency=concurrency,
        timeout_s=choices.timeout_s or config.timeout_s or DEFAULTS["timeout_s"],
        retry=RetryPolicy(retries=DEFAULTS["retries"] if retries is None else retries),
    )
    header = RunHeader(
        version=version,
        provider=dict(provider.describe()),
        suite_name=suite.name,
        suite_digest=suite.digest,
        suite_size=len(suite.samples),
        subset=subset,
        prompt_digest=prompt.digest if prompt else None,
        parameters=dict(config.parameters),
        metrics=tuple(scorer.spec for scorer in scorers),
        primary_metric=primary_metric(suite, scorers),
        repeats=repeats,
        policy=dict((config.policy or {}) if choices.policy is None else choices.policy),
        expected_models=config.served_models,
        libraries=library_versions(),
        seed=seed_from(suite.digest) % 2**53,
        commit=git_commit(suite.path),
        started_at=utc_now(),
    )
    return Conditions(suite, plan, header)


def execute(conditions: Conditions, out: Path, *, resume: bool = False, progress: Progress | None = None) -> Run:
    """Ask what was prepared, and write the run to `out` as results arrive.

    Raises:
        UsageError: `out` holds an interrupted run and `resume` is false.
        RunFileError: `out` holds a run made under other conditions.
        KeyboardInterrupt: Stopped; `out` holds a resumable run.
    """
    total = len(conditions.plan.samples) * conditions.plan.repeats
    with RunWriter(out, conditions.header, resume=resume) as writer:
        done = len(writer.kept)

        def record(result: Result, sample: Sample) -> None:
            nonlocal done
            writer.add(result, sample)
            done += 1
            if progress is not None:
                progress(result, done, total)

        plan = replace(conditions.plan, done=frozenset(result.key for result in writer.kept))
        _run_to_end(run_plan(plan, record))
        return writer.close_run(finished_at=utc_now())


def scorers_of(suite: Suite) -> tuple[Scorer, ...]:
    """The suite's scorers, made.

    Raises:
        ConfigError: An unknown scorer or option, or two scorers for one metric.
        MissingExtraError: A scorer needs a package that is not installed.
    """
    entries: tuple[ScorerEntry, ...] = suite.config.scorers or DEFAULTS["scorers"]
    scorers = tuple(
        make_scorer(ScorerSettings(entry.name, entry.argument, entry.options, suite.contract)) for entry in entries
    )
    names = [scorer.spec.metric for scorer in scorers]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"{suite.path / 'suite.toml'}: two scorers compute the metric '{name}'",
                hint="give one of them another name: {scorer = ..., metric = ...}",
            )
    return scorers


def primary_metric(suite: Suite, scorers: Sequence[Scorer]) -> str:
    """The metric `--threshold` speaks of: `primary-metric`, or that of the first scorer.

    Raises:
        ConfigError: `primary-metric` names a metric that no scorer computes.
    """
    names = [scorer.spec.metric for scorer in scorers]
    chosen = suite.config.primary_metric or names[0]
    if chosen not in names:
        raise ConfigError(
            f"{suite.path / 'suite.toml'}: primary-metric '{chosen}' is computed by no scorer",
            hint=f"computed here: {', '.join(names)}",
        )
    return chosen


def _refuse_bad_numbers(choices: Choices) -> None:
    """A caller's 0 must not fall back to a default, and a run of -1 repeats must not end as finished."""
    for name, value in (("repeats", choices.repeats), ("concurrency", choices.concurrency)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value!r}: expected 1 or more")
    if choices.retries is not None and choices.retries < 0:
        raise UsageError(f"retries is {choices.retries!r}: expected 0 or more")
    if choices.timeout_s is not None and not 0.0 < choices.timeout_s < math.inf:
        raise UsageError(f"timeout_s is {choices.timeout_s!r}: expected seconds above 0")


def _version(suite: Suite, choices: Choices) -> VersionId:
    chosen = choices.version or suite.config.version
    if chosen is None:
        raise ConfigError(
            f"{suite.path / 'suite.toml'}: no version to evaluate",
            hint='name one: --version gpt-4o/2024-11-20/v3, or version = "..." in suite.toml',
        )
    return chosen if isinstance(chosen, VersionId) else VersionId.parse(chosen)


def _provider(
    suite: Suite, choices: Choices, version: VersionId, environ: Mapping[str, str], concurrency: int
) -> Provider:
    chosen = choices.provider or suite.config.provider or DEFAULTS["provider"]
    if isinstance(chosen, str):
        inherited = suite.config.provider_options if chosen == (suite.config.provider or DEFAULTS["provider"]) else {}
        options = {**inherited, **choices.provider_options}
        return make_provider(chosen, ProviderSettings(version, options, suite.path, environ, concurrency))
    if isinstance(chosen, Provider):
        return chosen
    if callable(chosen):
        from aigate.providers.callable import CallableProvider

        return CallableProvider(chosen)
    raise UsageError(
        f"provider is {type(chosen).__name__}: expected a name, a Provider or a callable",
        hint="pass a function str -> str",
    )


def _renderer(prompt: Prompt | None) -> Callable[[Sample], tuple[Message, ...]]:
    return messages_of if prompt is None else prompt.render


def _run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, also where an event loop runs already (a notebook): then in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _run_beside(work)


def _run_beside(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop of its own in another thread, and wait for it."""
    ended: Future[T] = Future()
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []

    async def cancellable() -> T:
        task = asyncio.ensure_future(work)
        begun.append((asyncio.get_running_loop(), task))
        return await task

    def target() -> None:
        try:
            ended.set_result(asyncio.run(cancellable()))
        except BaseException as error:  # noqa: BLE001 - carried to the calling thread and raised there
            ended.set_exception(error)

    thread = threading.Thread(target=target, name="aigate-evaluate")
    try:
        thread.start()  # the signal may come while the thread is being started
        wait([ended])  # not join(): one that was interrupted believes from then on that the thread has ended
    except BaseException:  # Ctrl-C in a notebook: ask nothing more, and let nothing run when the file is closed
        for loop, task in begun:
            with suppress(RuntimeError):  # the loop closed in this very moment
                loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join()
    return ended.result()
