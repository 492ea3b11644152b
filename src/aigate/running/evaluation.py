"""`evaluate`: a suite in, a stored run out."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from aigate.core.columns import columns_of
from aigate.core.digest import seed_from
from aigate.core.looks import LookPlan
from aigate.core.registry import refuse_unknown
from aigate.core.run import AnchorsJudged, Result, Run, RunHeader
from aigate.core.runfile import EncodedBlock
from aigate.core.sample import Message, Sample
from aigate.core.version import VersionId
from aigate.errors import ConfigError, UsageError
from aigate.goldens.config import DEFAULTS
from aigate.goldens.prompts import Prompt, messages_of
from aigate.goldens.suite import Suite, load_suite
from aigate.providers.base import Provider, ProviderSettings, has_journal_identity, is_local, is_offline, make_provider
from aigate.running.asking import RetryPolicy
from aigate.running.budget import Budget, Caps
from aigate.running.engine import Means, Plan, run_plan
from aigate.running.judges import JudgeChoices, judge_plans, scorer_settings_of, scorers_of
from aigate.running.prices import Price, find_price
from aigate.running.provenance import git_commit, library_versions, utc_now
from aigate.running.schedule import run_at_look
from aigate.running.uploading import Upload, file_of
from aigate.running.writer import RunWriter, begun_run
from aigate.scorers.base import Scorer, ScorerSettings, make_ready
from aigate.scorers.calibration import calibrations_in
from aigate.stores import local_path

if TYPE_CHECKING:
    from aigate.running.distributed import DaskEngine
    from aigate.running.journal import Journal

__all__ = [
    "JOURNAL",
    "Choices",
    "Conditions",
    "JournalAt",
    "Looked",
    "evaluate",
    "execute",
    "goes_on",
    "opened_journal",
    "prepare",
    "primary_metric",
    "run_to_end",
    "with_looks",
]

JOURNAL = ".aigate/journal.sqlite"
JOURNAL_DAYS = 1.0
HEARD_S = 0.5  # Ctrl-C is heard after so long at the latest
FIRST_CALLS_S = 0.05  # after so long the first calls are out
ENGINES = ("local", "dask")

Progress = Callable[[Result, int, int], None]
Settled = Callable[[Run], bool]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of one planned look, for those who watch a run.

    Attributes:
        number: Which look, from 1; 0: the samples that are asked before all others.
        planned: How many looks are planned, look 0 not counted.
        settled: True when the verdict was certain, and the run ended with it.
        not_asked: Answers that nobody was asked for; 0 while the run goes on.
        total: Answers of the whole plan.
    """

    number: int
    planned: int
    settled: bool
    not_asked: int
    total: int


@dataclass(frozen=True, slots=True)
class JournalAt:
    """Where answers that were paid for are kept.

    Attributes:
        path: The journal's file.
        max_age_days: Answers older than that are asked for again.
    """

    path: Path
    max_age_days: float = JOURNAL_DAYS


@dataclass(frozen=True)
class Conditions:
    """A prepared evaluation: everything was looked up and checked, nothing was asked yet.

    Attributes:
        suite: The suite.
        plan: What will be asked.
        header: The header of the run that will be written.
        settled: Given the run as it stands at a planned look, True when no further answer can change its verdict. None:
            everything is asked.
        budget: Caps on calls, tokens and cost; None for none. It counts, so it serves one run.
        journal: Where paid answers are kept; None for nowhere.
        engine: The cluster whose workers ask and judge; None: this process does.
    """

    suite: Suite
    plan: Plan
    header: RunHeader
    settled: Settled | None = None
    budget: Budget | None = None
    journal: JournalAt | None = None
    engine: DaskEngine | None = None


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
    sample_deadline_s: float | None = None
    deadline_s: float | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost_usd: float | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    price: str | None = None
    prices: Path | None = None
    journal: JournalAt | None = None
    judge: JudgeChoices = field(default_factory=JudgeChoices)
    baseline: Run | None = None
    engine: str = "local"
    dask_scheduler: str | None = None
    dask_workers: int | None = None


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
    deadline_s: float | None = None,
    max_cost_usd: float | None = None,
    max_calls: int | None = None,
    max_tokens: int | None = None,
    price: str | None = None,
    judge: Mapping[str, Any] | str | None = None,
    baseline: Run | None = None,
    journal: Path | str | None = JOURNAL,
    engine: str = "local",
    dask_scheduler: str | None = None,
    dask_workers: int | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    looks: LookPlan | None = None,
    settled: Settled | None = None,
    first: Collection[str] = frozenset(),
    environ: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Answer a golden suite with one version, judge the answers, and store the run.

    Everything is asked. Looks, escalation and the early stop of `aigate eval` are planned here only where they are
    given, as `looks`, `settled` and `first`; `aigate.gating.early_stop` makes all three, and shows how.

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
        deadline_s: Seconds after which nothing more is asked. What was not asked is stopped by budget, and the run
            cannot pass; likewise with each of the caps below.
        max_cost_usd: No call is made that could bring the cost above this.
        max_calls: Calls at most, retries included.
        max_tokens: Tokens sent and received at most.
        price: US dollars per million tokens, "INPUT,OUTPUT", where the price table does not know the model.
        judge: The model that judges: a version, or keys of `[judge]` as suite.toml has them; these win over suite.toml.
            `provider` may also be a `Provider`.
        baseline: The run whose answers the scorer `pairwise` holds the candidate's against; no other scorer reads it.
        journal: The file in which paid answers are kept, and looked for first; None for none. Only answers of providers
            that say what decides them (`openai`) are kept.
        engine: "local", or "dask": workers of a Dask cluster ask and judge. The provider must then be one that they can
            make: a name, or a function that they can import.
        dask_scheduler: The address of the cluster's scheduler; default: workers are started on this machine.
        dask_workers: How many of them; default: one per CPU.
        out: The run file, a path or a URL (`s3://bucket/run.jsonl`); default: a temporary one, gone when this returns.
        resume: Go on with the interrupted or early stopped run in `out`, under the looks that it was begun with.
        looks: When the run may be decided and stopped (`aigate.gating.early_stop.plan_looks`); stored in the run. The
            first look asks `repeats` of each sample.
        settled: Called in a thread with the run as it stands once the samples of `first` are answered, and at each
            planned look but the last; when it gives True, no further answer is asked for
            (`aigate.gating.early_stop.settled_by`). None: everything is asked.
        first: Ids of samples that are asked before all others, where looks are planned
            (`aigate.gating.early_stop.asked_first`).
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
        deadline_s=deadline_s,
        max_cost_usd=max_cost_usd,
        max_calls=max_calls,
        max_tokens=max_tokens,
        price=price,
        journal=None if journal is None else JournalAt(Path(journal)),
        judge=JudgeChoices.of(judge),
        baseline=baseline,
        engine=engine,
        dask_scheduler=dask_scheduler,
        dask_workers=dask_workers,
    )
    loaded = suite if isinstance(suite, Suite) else load_suite(suite)
    prepared = prepare(loaded, choices, environ=os.environ if environ is None else environ)
    conditions = with_looks(prepared, looks, settled=settled, first=first)
    if out is not None:
        return execute(conditions, out, resume=resume, progress=progress)
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
    own_prices = _own_prices(suite, choices)
    judges = judge_plans(suite, choices.judge, environ=environ, prices=own_prices)
    scorers = scorers_of(suite, judges, baseline=choices.baseline)
    for scorer in scorers:
        make_ready(scorer)
    samples, subset = suite.select(choices.limit, choices.tags)
    concurrency = choices.concurrency or config.concurrency or DEFAULTS["concurrency"]
    provider = _provider(suite, choices, version, environ, concurrency)
    render = _renderer(prompt)
    if prompt is not None:
        for sample in samples:  # a prompt that cannot be rendered is found before anything is paid for
            render(sample)
    repeats = choices.repeats or config.repeats or DEFAULTS["repeats"]
    price = _price(suite, choices, provider, own_prices)
    retries = config.retries if choices.retries is None else choices.retries
    if is_offline(provider):
        retries = 0  # what calls nothing gives the same answer again
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
        sample_deadline_s=choices.sample_deadline_s or config.sample_deadline_s or DEFAULTS["sample_deadline_s"],
        deadline_s=choices.deadline_s,
        requests_per_minute=choices.requests_per_minute or config.requests_per_minute,
        tokens_per_minute=choices.tokens_per_minute or config.tokens_per_minute,
        price=price,
        judge_anchors=suite.judge_anchors,
        judges={scorer.spec.metric: judge for scorer, judge in zip(scorers, judges, strict=True) if judge is not None},
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
        load=_load(plan, choices.engine),
        calibrations=calibrations_in(suite.path, [scorer.spec.metric for scorer in scorers]),
    )
    return Conditions(
        suite,
        plan,
        header,
        budget=_budget(choices, plan),
        journal=choices.journal,
        engine=_engine(suite, choices, plan, version, environ),
    )


def with_looks(
    conditions: Conditions,
    looks: LookPlan | None,
    *,
    settled: Settled | None = None,
    first: Collection[str] = frozenset(),
) -> Conditions:
    """The evaluation with planned looks: the most repeats that the plan may come to, and what decides at a look.

    Args:
        conditions: What was prepared; its repeats are those of the first look.
        looks: The plan; None for none. A run that is gone on with keeps its own plan in any case.
        settled: See `Conditions`.
        first: Ids of samples that are asked before all others, where looks are planned.

    Raises:
        UsageError: A plan for another number of units, or that begins with another number of repeats.
    """
    plan = replace(conditions.plan, first=frozenset(first))
    if looks is None:
        return replace(conditions, plan=plan, settled=settled)
    units = columns_of(plan.samples).n_units
    begins, ends = looks.looks[0], looks.looks[-1]
    if (begins.repeats, ends.units) != (plan.repeats, units):
        raise UsageError(
            f"the planned looks begin with {begins.repeats} answers per sample and end with {ends.units} units: "
            f"the run begins with {plan.repeats} and has {units}",
            hint="plan them with plan_looks() from the samples and the repeats of this run",
        )
    return replace(
        conditions,
        plan=replace(plan, looks=looks, repeats=ends.repeats, seed=conditions.header.seed),
        header=replace(conditions.header, looks=looks, repeats=ends.repeats),
        settled=settled,
    )


def execute(
    conditions: Conditions,
    out: Path | str,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    looked: Callable[[Looked], None] | None = None,
    needed_later: Callable[[], object] | None = None,
) -> Run:
    """Ask what was prepared, and write the run to `out` as results arrive.

    Args:
        conditions: What was prepared.
        out: The run file, or the URL of where it belongs: then it is written to `file_of(out)` while the run lasts.
        resume: Go on with the run in `out`, under the looks that it was begun with.
        progress: Called per answer with (result, done, total); not for answers that nobody was asked for.
        looked: Called after each planned look; for the one that ends the run, once its last answer is in.
        needed_later: Imports what the caller needs once the run is over; called in a thread while answers are awaited,
            or not at all.

    Raises:
        UsageError: `out` holds an interrupted run and `resume` is false.
        RunFileError: `out` holds a run made under other conditions.
        ChangedError, StoreError: `out` is a URL, and what stands there changed meanwhile, or it cannot be written.
        KeyboardInterrupt: Stopped; `out` holds a resumable run.
        Exception: Whatever `settled` raised; `out` holds a resumable run.
    """
    resume = resume or goes_on(conditions, out)
    if local_path(out) is None:
        upload = Upload.begin(str(out), resume=resume)
        run = execute(
            conditions, upload.local, resume=resume, progress=progress, looked=looked, needed_later=needed_later
        )
        return upload.finish(run)
    out = file_of(out)
    with opened_journal(conditions) as journal, RunWriter(out, conditions.header, resume=resume) as writer:
        plan = replace(
            conditions.plan,
            repeats=writer.header.repeats,
            looks=writer.header.looks,
            seed=writer.header.seed,
            done=writer.kept_keys,
            answered=writer.answered,
        )
        made_from = scorer_settings_of(conditions.suite)
        scorers = made_from if conditions.engine is None else ()
        means = Means.of(plan, budget=conditions.budget, journal=journal, scorers=scorers)
        with _loaded_meanwhile(plan, needed_later):
            execution = _Execution(plan, means, writer, conditions.settled, progress, looked)
            anchors = run_to_end(execution.run(conditions.engine, made_from))
        return writer.close_run(finished_at=utc_now(), judge_anchors=anchors)


def goes_on(conditions: Conditions, out: Path | str) -> bool:
    """Whether the same evaluation was begun in `out` and broke off: then it is gone on with, asked for or not.

    Only where what decides an answer is known to be the same: code that is called (`callable`) may have changed since.
    """
    begun = begun_run(file_of(out)) if has_journal_identity(conditions.plan.provider) else None
    if begun is None:
        return False
    before, now = begun.same_conditions(), conditions.header.same_conditions()
    apart = {"repeats"}  # those of the plan that it was begun with
    return all(before.get(key) == value for key, value in now.items() if key not in apart)


@contextmanager
def _loaded_meanwhile(plan: Plan, needed_later: Callable[[], object] | None) -> Iterator[None]:
    """Import what comes after the run while answers are awaited; where nothing is awaited it would gain nothing."""
    if is_offline(plan.provider) and not plan.judges:
        yield
        return
    from aigate.stats import special

    def load() -> None:
        special.load()
        if needed_later is not None:
            needed_later()

    loading = threading.Timer(FIRST_CALLS_S, load)
    loading.name = "aigate-imports"
    loading.start()
    try:
        yield
    finally:
        loading.cancel()  # nothing to do with what it began
        loading.join()


@contextmanager
def opened_journal(conditions: Conditions) -> Iterator[Journal | None]:
    """The journal, where there is one and the provider's answers may be kept."""
    at, plan = conditions.journal, conditions.plan
    asked = (plan.provider, *(judge.provider for judge in plan.judges.values()))
    if at is None or not any(map(has_journal_identity, asked)):
        yield None
        return
    from aigate.running.journal import Journal

    journal = Journal.open(at.path, max_age_days=at.max_age_days)
    try:
        yield journal
    finally:
        journal.close()


class _Execution:
    """One execution: writes results down, remembers them for the looks, tells who watches."""

    def __init__(
        self,
        plan: Plan,
        means: Means,
        writer: RunWriter,
        settled: Settled | None,
        progress: Progress | None,
        looked: Callable[[Looked], None] | None,
    ) -> None:
        self._plan = plan if settled is None else replace(plan, settled=self._decide)
        self._means, self._writer, self._settled = means, writer, settled
        self._progress, self._looked = progress, looked
        self._tasks = () if settled is None else self._plan.tasks  # for the looks alone
        self._done, self._total = len(writer.kept), len(plan.samples) * plan.repeats
        self._found = {} if settled is None else {result.key: result for result in writer.kept}  # for the looks alone
        self._not_asked = 0
        self._ended_at: int | None = None

    async def run(self, engine: DaskEngine | None, scorers: Sequence[ScorerSettings]) -> Mapping[str, AnchorsJudged]:
        """Ask everything, or what of it is needed; gives what judges said of labelled answers."""
        anchors: Mapping[str, AnchorsJudged] = {}
        if engine is not None:
            from aigate.running.distributed import run_on_dask

            anchors = await run_on_dask(self._plan, self._record, self._means, engine)
        elif not is_offline(self._plan.provider) or not await self._run_in_chunks(scorers):
            anchors = await run_plan(self._plan, self._record, self._means)
        if self._ended_at is not None:
            self._tell(self._ended_at, settled=True)
        return anchors

    async def _run_in_chunks(self, scorers: Sequence[ScorerSettings]) -> bool:
        """Judge recorded answers in chunks; False where they must be judged one by one, and nothing was done."""
        from aigate.running.chunks import is_judged_in_chunks, judge_in_chunks

        if not is_judged_in_chunks(self._plan):
            return False
        await judge_in_chunks(self._plan, scorers, self._record_block)
        return True

    def _record_block(self, block: EncodedBlock) -> None:
        self._writer.add_block(block)
        if self._progress is None:
            self._done += len(block.rows)
        elif (several := getattr(self._progress, "several", None)) is not None:
            self._done += len(block.rows)
            several(block.rows.answers, self._done, self._total)
        else:
            for result in block.results():
                self._done += 1
                self._progress(result, self._done, self._total)

    def _record(self, result: Result, sample: Sample) -> None:
        self._writer.add(result, sample)
        if result.outcome.not_run:
            self._not_asked += 1
            return
        self._done += 1
        if self._settled is not None:
            self._found[result.key] = result
        if self._progress is not None:
            self._progress(result, self._done, self._total)

    async def _decide(self, look: int) -> bool:
        """In a thread, so that answers in flight are not held up by the arithmetic."""
        if settled := await asyncio.to_thread(self._settled_at, look):
            self._ended_at = look
        else:
            self._tell(look, settled=False)
        return settled

    def _settled_at(self, look: int) -> bool:
        run = run_at_look(look, header=self._writer.header, tasks=self._tasks, found=self._found)
        return self._settled is not None and self._settled(run)

    def _tell(self, look: int, *, settled: bool) -> None:
        if self._looked is not None and self._plan.looks is not None:
            planned = len(self._plan.looks.looks)
            self._looked(Looked(look, planned, settled, self._not_asked, self._total))


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
    chosen = _chosen_provider(suite, choices)
    if isinstance(chosen, str):
        options = _provider_options(suite, choices, chosen)
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


def _chosen_provider(suite: Suite, choices: Choices) -> str | Provider | Callable[..., Any]:
    return choices.provider or suite.config.provider or DEFAULTS["provider"]


def _provider_options(suite: Suite, choices: Choices, name: str) -> dict[str, Any]:
    inherited = suite.config.provider_options if name == (suite.config.provider or DEFAULTS["provider"]) else {}
    return {**inherited, **choices.provider_options}


def _engine(
    suite: Suite, choices: Choices, plan: Plan, version: VersionId, environ: Mapping[str, str]
) -> DaskEngine | None:
    """Who asks and judges, where it is not this process.

    Raises:
        UsageError: An unknown engine, or a provider that cannot be made on another machine.
    """
    refuse_unknown([choices.engine], ENGINES, where="engine", kind="engines", error=UsageError)
    if choices.engine == "local":
        return None
    from aigate.running.distributed import DaskEngine
    from aigate.running.hands import recipe_of

    name, options = _named_provider(suite, choices, plan.provider)
    return DaskEngine(
        recipe_of(
            plan, version=version, provider=name, options=options, folder=suite.path, scorers=scorer_settings_of(suite)
        ),
        scheduler=choices.dask_scheduler,
        workers=choices.dask_workers,
        environ={key: value for key, value in environ.items() if os.environ.get(key) != value},
    )


def _named_provider(suite: Suite, choices: Choices, provider: Provider) -> tuple[str | None, dict[str, Any]]:
    """What a worker makes the provider from; None where it is not asked there."""
    if is_local(provider):
        return None, {}
    chosen = _chosen_provider(suite, choices)
    if isinstance(chosen, str):
        return chosen, _provider_options(suite, choices, chosen)
    from aigate.providers.callable import importable_target

    target = None if isinstance(chosen, Provider) else importable_target(chosen)
    if target is None:
        told = f"the provider is {type(chosen).__name__} {getattr(chosen, '__qualname__', '')}".rstrip()
        raise UsageError(
            f"engine 'dask': {told}: a worker cannot be given it, since it lives in this process",
            hint="name what workers can make: a provider, or a function at the top of a module (module:function)",
        )
    return "callable", {"target": target}


def _own_prices(suite: Suite, choices: Choices) -> Path | None:
    """The user's own table of prices."""
    if choices.prices is None and suite.config.prices is not None:
        return suite.path / suite.config.prices
    return choices.prices


def _price(suite: Suite, choices: Choices, provider: Provider, table: Path | None) -> Price | None:
    """What the model costs, where anybody says so."""
    model = provider.describe().get("model")
    given = choices.price or suite.config.price
    return find_price(model if isinstance(model, str) else None, given=given, table=table)


def _budget(choices: Choices, plan: Plan) -> Budget | None:
    """The caps, where there are any and anything can be used.

    Raises:
        UsageError: A cap on cost, and the price of a model that is asked is not known.
    """
    caps = Caps(choices.max_cost_usd, choices.max_calls, choices.max_tokens)
    judges = [judge for judge in plan.judges.values() if not is_offline(judge.provider)]
    if not caps or (is_offline(plan.provider) and not judges):
        return None
    free = Price(0.0, 0.0, "offline")
    budget = Budget(caps, price=free if is_offline(plan.provider) else plan.price)
    for judge in judges:
        budget.beside(judge.price, whose=f"the judge {judge.judge.version}")
    return budget


def _load(plan: Plan, engine: str) -> Mapping[str, Any] | None:
    """What must be equal for latencies to be comparable; None where nothing is called."""
    if is_offline(plan.provider):
        return None
    limited = {} if plan.requests_per_minute is None else {"requests_per_minute": plan.requests_per_minute}
    return {"engine": engine, "concurrency": plan.concurrency, "timeout_s": plan.timeout_s, **limited}


def _renderer(prompt: Prompt | None) -> Callable[[Sample], tuple[Message, ...]]:
    return messages_of if prompt is None else prompt.render


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
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
        while not ended.done():  # not join(): one that was interrupted believes from then on that the thread has ended
            wait([ended], timeout=HEARD_S)  # a signal that comes just before it blocks is heard when it wakes
    except BaseException:  # Ctrl-C in a notebook: ask nothing more, and let nothing run when the file is closed
        for loop, task in begun:
            with suppress(RuntimeError):  # the loop closed in this very moment
                loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join()
    return ended.result()
