"""From what suite.toml, flags and callers say about judges to judges that can be asked, and to the suite's scorers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.core.run import Run
from aigate.core.vectors import EMBEDDINGS
from aigate.core.version import VersionId
from aigate.errors import AigateError, ConfigError
from aigate.goldens.config import DEFAULTS, JUDGE_DEFAULTS, ScorerEntry, judge_table
from aigate.goldens.suite import Suite
from aigate.providers.base import Provider, ProviderSettings, make_provider
from aigate.running.asking import RetryPolicy
from aigate.running.prices import find_price
from aigate.scorers.base import BaselineAnswers, JudgedScorer, Scorer, ScorerSettings, asks_a_judge, make_scorer

if TYPE_CHECKING:
    from aigate.running.judging import JudgePlan
    from aigate.scorers.judge import Judge

__all__ = [
    "JudgeChoices",
    "judge_plan",
    "judge_plans",
    "named_judges",
    "scorer_errors",
    "scorer_settings_of",
    "scorers_of",
]

OPTION = "judge"  # of a scorer: another judge than the suite's
ENDPOINT = ("provider", "provider-options", "base-url", "api-key-env")
PACE = ("concurrency", "timeout-s", "retries")
FLAT_OPTIONS = ("base-url", "api-key-env", "model")  # options of the provider that stand beside its name


@dataclass(frozen=True)
class JudgeChoices:
    """What a caller says about the judge, by key of `[judge]`.

    Attributes:
        over: Wins over suite.toml: flags, the environment, an argument.
        under: Holds where suite.toml says nothing: pyproject.toml.
    """

    over: Mapping[str, Any] = field(default_factory=dict)
    under: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any] | str | None) -> JudgeChoices:
        """What an argument in Python says: a version, or keys of `[judge]`, where `provider` may be a `Provider`.

        Raises:
            ConfigError: An unknown key or a wrong value.
        """
        if given is None:
            return cls()
        table: dict[str, Any] = {"version": given} if isinstance(given, str) else dict(given)
        read, made = _read(table)
        if isinstance(table.get(EMBEDDINGS), Mapping):  # a provider may stand in either table
            embeds, embeds_made = _read(table[EMBEDDINGS])
            checked = judge_table("judge", {**read, EMBEDDINGS: embeds})
            return cls({**checked, **made, EMBEDDINGS: {**checked[EMBEDDINGS], **embeds_made}})
        return cls({**judge_table("judge", read), **made})


def _read(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a table says in values of TOML, and the provider where it is one that was made already."""
    made = {key: value for key, value in table.items() if key == "provider" and isinstance(value, Provider)}
    return {key: table[key] for key in table if key not in made}, made


def judge_plans(
    suite: Suite, choices: JudgeChoices, *, environ: Mapping[str, str], prices: Path | None = None
) -> tuple[JudgePlan | None, ...]:
    """The judge of each of the suite's scorers, ready to be asked; None for a scorer that asks none.

    Args:
        suite: The suite.
        choices: What else is said about judges.
        environ: The environment, for keys and base URLs.
        prices: A price table of the user's own.

    Raises:
        ConfigError: A wrong or unknown setting of a judge.
        ProviderConfigError: The provider of a judge cannot be made (no key).
    """
    scorers = scorers_of(suite, named_judges(suite, choices))
    plans: list[tuple[Mapping[str, Any], JudgePlan]] = []
    found: list[JudgePlan | None] = []
    for scorer, table in zip(scorers, _tables(suite, choices), strict=True):
        if table is None or not asks_a_judge(scorer):
            found.append(None)
            continue
        table = _asked_by(scorer, table)
        plan = next((plan for known, plan in plans if known == table), None)
        if plan is None:
            plan = judge_plan(table, environ=environ, folder=suite.path, prices=prices)
            plans.append((table, plan))
        found.append(plan)
    return tuple(found)


def judge_plan(
    table: Mapping[str, Any], *, environ: Mapping[str, str], folder: Path, prices: Path | None = None
) -> JudgePlan:
    """One judge from a whole `[judge]` table, defaults filled in here.

    Args:
        table: Keys of `[judge]`; `provider` may also be a `Provider`. Without a version, the embedding model of the
            table is the judge.
        environ: The environment, for keys and base URLs.
        folder: What relative paths are relative to.
        prices: A price table of the user's own.

    Raises:
        ConfigError: No version, or a wrong one.
        ProviderConfigError: The provider cannot be made.
    """
    beside = None
    if EMBEDDINGS in table:
        own = _embeddings_table(table)
        beside = _plan(own, environ=environ, folder=folder, prices=prices, embeds=True)
        if "version" not in table:
            return beside
    found = _plan({**JUDGE_DEFAULTS, **table}, environ=environ, folder=folder, prices=prices)
    if beside is None:
        return found
    return replace(found, judge=replace(found.judge, embeddings=beside.judge), embeddings=beside)


def _plan(
    whole: Mapping[str, Any], *, environ: Mapping[str, str], folder: Path, prices: Path | None, embeds: bool = False
) -> JudgePlan:
    """One model of a whole table."""
    from aigate.running.judging import JudgePlan

    provider, version = whole["provider"], _version(whole)
    if isinstance(provider, str):
        options = {**whole.get("provider-options", {}), **{key: whole[key] for key in FLAT_OPTIONS if key in whole}}
        if provider == "openai":
            options = {"stream": False, **options}  # nobody waits for the first token of a judgement
            options |= {"api": EMBEDDINGS} if embeds else {}
        # AIGATE_BASE_URL is where the candidate answers: what judges it must not end up there without a word.
        own = {name: value for name, value in environ.items() if name != "AIGATE_BASE_URL"}
        settings = ProviderSettings(version, options, folder, own, whole["concurrency"])
        provider = make_provider(provider, settings)
    model = provider.describe().get("model")
    return JudgePlan(
        judge=_judge(whole, version, {**provider.describe(), **({"api": EMBEDDINGS} if embeds else {})}),
        provider=provider,
        concurrency=whole["concurrency"],
        timeout_s=float(whole["timeout-s"]),
        retry=RetryPolicy(retries=whole["retries"]),
        requests_per_minute=whole.get("requests-per-minute"),
        tokens_per_minute=whole.get("tokens-per-minute"),
        price=find_price(model if isinstance(model, str) else None, given=whole.get("price"), table=prices),
    )


def named_judges(suite: Suite, choices: JudgeChoices | None = None) -> tuple[Judge | None, ...]:
    """The judge of each of the suite's scorers as it is named, without looking for keys: enough to make the scorers.

    Raises:
        ConfigError: A wrong or unknown setting of a judge.
    """
    tables = _tables(suite, choices or JudgeChoices())
    return tuple(None if table is None else _named(table) for table in tables)


def _named(table: Mapping[str, Any]) -> Judge:
    beside = None
    if EMBEDDINGS in table:
        own = _embeddings_table(table)
        beside = _judge(own, _version(own), {"api": EMBEDDINGS})
    if "version" not in table and beside is not None:
        return beside
    return replace(_judge({**JUDGE_DEFAULTS, **table}, _version(table), {}), embeddings=beside)


def scorers_of(
    suite: Suite,
    judges: Sequence[JudgePlan | Judge | None] | None = None,
    *,
    baseline: Run | None = None,
) -> tuple[Scorer, ...]:
    """The suite's scorers, made.

    Args:
        suite: The suite.
        judges: The judge of each; default: as they are named.
        baseline: The run whose answers those of the candidate are held against; None without one.

    Raises:
        ConfigError: An unknown scorer or option, two scorers for one metric, or one that has no judge and needs it.
        MissingExtraError: A scorer needs a package that is not installed.
    """
    judges = named_judges(suite) if judges is None else judges
    answers = None if baseline is None else BaselineAnswers.of(baseline)
    scorers = tuple(
        make_scorer(replace(settings, judge=_judge_of(judge), baseline=answers))
        for settings, judge in zip(scorer_settings_of(suite), judges, strict=True)
    )
    names = [scorer.spec.metric for scorer in scorers]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"{suite.path / 'suite.toml'}: two scorers compute the metric '{name}'",
                hint="give one of them another name: {scorer = ..., metric = ...}",
            )
    return scorers


def _judge_of(named: JudgePlan | Judge | None) -> Judge | None:
    if named is None:
        return None
    from aigate.scorers.judge import Judge

    return named if isinstance(named, Judge) else named.judge


def scorer_errors(suite: Suite) -> tuple[AigateError, ...]:
    """Why scorers of a suite cannot be made: one error for each that cannot, such as one without its judge.

    Raises:
        ConfigError: A wrong or unknown setting of a judge.
    """
    errors = []
    for settings, judge in zip(scorer_settings_of(suite), named_judges(suite), strict=True):
        try:
            make_scorer(replace(settings, judge=judge))
        except AigateError as error:
            errors.append(error)
    return tuple(errors)


def scorer_settings_of(suite: Suite) -> tuple[ScorerSettings, ...]:
    """What each of the suite's scorers is made from, without its judge."""
    return tuple(
        ScorerSettings(
            entry.name,
            entry.argument,
            {name: value for name, value in entry.options.items() if name != OPTION},
            suite.contract,
            folder=suite.path,
        )
        for entry in _entries(suite)
    )


def _entries(suite: Suite) -> tuple[ScorerEntry, ...]:
    entries: tuple[ScorerEntry, ...] = suite.config.scorers or DEFAULTS["scorers"]
    return entries


def _tables(suite: Suite, choices: JudgeChoices) -> tuple[dict[str, Any] | None, ...]:
    """What is said about the judge of each scorer, most important last; None where nobody names one."""
    shared = {**choices.under, **(suite.config.judge or {})}
    tables = []
    for entry in _entries(suite):
        where = f"{suite.path / 'suite.toml'}: scorer '{entry}': judge"
        own = judge_table(where, entry.options[OPTION]) if OPTION in entry.options else {}
        table = {**shared, **own, **choices.over}
        tables.append(table if {"version", EMBEDDINGS} & table.keys() else None)
    return tuple(tables)


def _asked_by(scorer: JudgedScorer, table: Mapping[str, Any]) -> dict[str, Any]:
    """What of a table a scorer asks, as its spec names it: the embedding model alone, the judge alone, or both."""
    told = scorer.spec.judge or {}
    embeds = told.get("provider", {}).get("api") == EMBEDDINGS
    left_out = "version" if embeds else "" if EMBEDDINGS in told else EMBEDDINGS
    return {key: value for key, value in table.items() if key != left_out}


def _embeddings_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """The whole table of an embedding model: of the judge's endpoint, where it says nothing else."""
    own: Mapping[str, Any] = table[EMBEDDINGS]
    elsewhere = {"provider", "base-url"} & own.keys()  # the judge's key is not for another endpoint
    shared = PACE if elsewhere else (*PACE, *ENDPOINT)
    # It follows no orders that an answer could give it: such an answer is noted, and scored all the same.
    return {**JUDGE_DEFAULTS, "steering": "flag", **{key: table[key] for key in shared if key in table}, **own}


def _judge(whole: Mapping[str, Any], version: VersionId, provider: Mapping[str, Any]) -> Judge:
    from aigate.scorers.judge import Judge

    return Judge(
        version=version,
        provider=provider,
        parameters=whole.get("parameters", {}),
        repeats=whole["repeats"],
        reasks=whole["reasks"],
        reply=whole["reply"],
        steering=whole["steering"],
        expected_models=tuple(whole.get("served-models", ())),
    )


def _version(whole: Mapping[str, Any]) -> VersionId:
    found = whole["version"]
    return found if isinstance(found, VersionId) else VersionId.parse(found)
