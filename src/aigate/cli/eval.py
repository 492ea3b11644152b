"""`aigate eval`: answer the suite with a version, decide, exit."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.cli.options import (
    Chosen,
    add_asked,
    add_caps,
    add_command,
    add_format,
    add_journal,
    add_judge,
    add_pace,
    add_suite,
    baseline_in_force,
    chosen,
    judge_choices,
    named_anchor,
    policy_in_force,
    report_file,
)
from aigate.cli.output import load
from aigate.cli.output import note as _note
from aigate.core.counts import count_of

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.core.verdict import Verdict
    from aigate.gating.policy import Policy
    from aigate.running.budget import Estimate
    from aigate.running.evaluation import Choices, Conditions

__all__ = [
    "Evaluation",
    "add_parser",
    "choices_from",
    "decided",
    "implied_provider",
    "most_repeats",
    "planned",
    "run",
]

IMPLIED = {"--recorded": "replay", "--target": "callable", "--base-url": "openai", "--model": "openai"}
SETTINGS = (
    *("suite", "version", "provider", "recorded", "base_url", "api_key_env", "threshold", "baseline", "anchor"),
    *("repeats", "max_repeats", "early_stop", "concurrency", "timeout_s", "retries", "sample_deadline_s", "deadline_s"),
    *("requests_per_minute", "tokens_per_minute", "max_cost", "max_calls", "max_tokens", "price", "prices"),
    *("journal", "judge", "judge_provider", "judge_base_url", "judge_api_key_env", "judge_model", "judge_repeats"),
    *("judge_concurrency", "judge_price"),
    *("engine", "dask_scheduler", "dask_workers"),
)
MOST_REPEATS = 3  # where nobody says how many: two further answers remove most of what scatter they can remove


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "eval",
        about="answer the suite with a version, score it, compare with the baseline, decide",
        example="aigate eval --suite goldens/support-faq --version gpt-4o/2024-11-20/v3 --threshold 0.85",
    )
    add_suite(parser)
    what = parser.add_argument_group("what is evaluated")
    add_asked(what)
    what.add_argument(
        "--recorded", metavar="FILE", help="recorded responses (JSON Lines, .gz allowed); implies --provider replay"
    )
    what.add_argument("--repeats", metavar="N", help="answers per sample (default 1)")
    what.add_argument(
        "--max-repeats",
        metavar="N",
        help="up to N answers per sample, the further ones only while nothing is decided (default 3 where --repeats is "
        "not given and the provider can; 1: never more than one)",
    )
    what.add_argument("--limit", metavar="N", type=int, help="only the first N samples; a subset cannot pass")
    what.add_argument(
        "--tag", metavar="TAG", action="append", default=[], help="only samples with this tag; a subset cannot pass"
    )
    add_judge(parser)
    how = parser.add_argument_group("how it is decided")
    how.add_argument("--threshold", metavar="T", help="the mean of the primary metric must be at least T, in [0, 1]")
    how.add_argument(
        "--baseline", metavar="NAME|RUN", help="a baseline of the suite, or a run file or its URL (default main)"
    )
    how.add_argument(
        "--anchor",
        metavar="NAME|RUN",
        help="an older baseline to compare with too, against slow drift (default: anchor, where the suite has one)",
    )
    how.add_argument(
        "--strict", action="store_true", help="refuse, before any call, a margin that the suite is too small to see"
    )
    where = parser.add_argument_group("running")
    where.add_argument("--concurrency", metavar="N", help="requests in flight (default 8)")
    add_pace(where)
    where.add_argument(
        "--out",
        metavar="RUN",
        help="the run file to write, a path or s3://BUCKET/KEY (default .aigate/runs/SUITE/VERSION.jsonl)",
    )
    where.add_argument("--resume", action="store_true", help="go on with the interrupted or stopped run in --out")
    where.add_argument(
        "--early-stop",
        action=argparse.BooleanOptionalAction,
        help="stop asking once the verdict is certain (default); --no-early-stop: ask everything that is planned",
    )
    where.add_argument("--quiet", action="store_true", help="no progress")
    costs = parser.add_argument_group("what it may cost; a cap that is reached ends the run without a pass, resumably")
    add_caps(costs)
    add_journal(costs)
    many = parser.add_argument_group("running on many machines (extra dask)")
    many.add_argument(
        "--engine",
        metavar="local|dask",
        help="dask: workers of a Dask cluster ask and judge; everything else, and the verdict, stays the same",
    )
    many.add_argument(
        "--dask-scheduler",
        metavar="ADDRESS",
        help="the cluster's scheduler, tcp://HOST:8786 (default: workers are started on this machine)",
    )
    many.add_argument("--dask-workers", metavar="N", help="workers to start on this machine (default: one per CPU)")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Evaluate and decide."""
    from aigate.cli.output import deliver
    from aigate.running.uploading import file_of

    evaluation = planned(arguments, context)
    try:
        candidate, verdict, evaluation = decided(evaluation, arguments, context)
    except KeyboardInterrupt:
        kept = f"aigate: interrupted; what was answered is kept in {file_of(evaluation.out)}"
        print(f"{kept}\n  next: the same command with --resume --out {evaluation.out}", file=context.stderr)
        return 130
    return deliver(
        verdict,
        candidate,
        evaluation.baseline,
        arguments=arguments,
        context=context,
        stored=evaluation.out,
        suite=evaluation.found.suite.path,
    )


@dataclass(frozen=True)
class Evaluation:
    """Everything looked up, checked and planned; nothing but a changed judge was asked yet.

    Attributes:
        found: The suite and the settings in force.
        conditions: What will be asked.
        policy: What decides.
        baseline: The run the candidate will be held against; None without one.
        anchor: An older run beside the baseline; None without one.
        out: The run file that will be written, a path or a URL.
    """

    found: Chosen
    conditions: Conditions
    policy: Policy
    baseline: Run | None
    anchor: Run | None
    out: str


def planned(arguments: argparse.Namespace, context: Context) -> Evaluation:
    """Look everything up, and say what it may cost and what it cannot see.

    Raises:
        UsageError: Something is wrong; nothing was asked.
    """
    from aigate.running.uploading import file_of

    found, prepared, policy, baseline = _prepared(arguments, context)
    anchor = named_anchor(found, explicit=found.given("anchor"))
    out = arguments.out or _default_out(found, prepared)
    _refuse_to_overwrite(out, {"baseline": baseline, "anchor": anchor})
    report_file(arguments, (baseline, anchor))
    if prepared.plan.judges:
        from aigate.cli.rejudging import judged_alike

        tell = partial(_note, context=context)
        baseline, anchor = judged_alike((baseline, anchor), prepared, policy, out=file_of(out), tell=tell)
    conditions = _planned(found, prepared, policy, baseline=baseline, anchor=anchor, context=context)
    _tell_costs(found, conditions, baseline, out=out, resume=arguments.resume, context=context)
    return Evaluation(found, conditions, policy, baseline, anchor, out)


def decided(evaluation: Evaluation, arguments: argparse.Namespace, context: Context) -> tuple[Run, Verdict, Evaluation]:
    """Ask what was planned, and decide.

    Returns:
        The candidate, the verdict, and what it rests on: baselines are judged anew where the judge drifted.

    Raises:
        KeyboardInterrupt: Stopped; the run file is resumable.
    """
    from aigate.cli.progress import progress_for
    from aigate.running.evaluation import execute
    from aigate.running.uploading import file_of

    conditions, out = evaluation.conditions, evaluation.out
    baseline, anchor = evaluation.baseline, evaluation.anchor
    total, looks = conditions.plan.repeats * len(conditions.plan.samples), _told_looks(conditions)
    with progress_for(context.stderr, total=total, planned=looks, quiet=arguments.quiet) as progress:
        looked = None if progress is None else progress.looked
        candidate = execute(
            conditions, out, resume=arguments.resume, progress=progress, looked=looked, needed_later=load
        )
    for told in conditions.engine.notes if conditions.engine else ():
        _note(told, context)
    if conditions.budget is not None and conditions.budget.exhausted:
        _note(f"{conditions.budget.exhausted}; go on with a higher cap and --resume --out {out}", context)
    from aigate.gating.decision import gate  # imported while answers were awaited

    verdict = gate(candidate, evaluation.policy, baseline=baseline, anchor=anchor)
    if not conditions.plan.judges:
        return candidate, verdict, evaluation
    from aigate.cli.rejudging import drifted_metrics, judged_anew

    if drifted := drifted_metrics(verdict, candidate, evaluation.policy):
        tell = partial(_note, context=context)
        baseline, anchor = judged_anew((baseline, anchor), drifted, conditions, candidate, out=file_of(out), tell=tell)
        verdict = gate(candidate, evaluation.policy, baseline=baseline, anchor=anchor)
    return candidate, verdict, replace(evaluation, baseline=baseline, anchor=anchor)


def _prepared(arguments: argparse.Namespace, context: Context) -> tuple[Chosen, Conditions, Policy, Run | None]:
    """Everything looked up and checked, and the baseline where there is one; nothing asked yet."""
    from aigate.gating.run_metrics import run_metric_names
    from aigate.running.evaluation import prepare, primary_metric
    from aigate.running.judges import named_judges, scorers_of

    provider = implied_provider(arguments)
    flags = {key: getattr(arguments, key) for key in SETTINGS}
    found = chosen(context, {**flags, "provider": provider, "engine": _implied_engine(arguments)})
    scorers = scorers_of(found.suite, named_judges(found.suite, judge_choices(found)))
    policy = policy_in_force(found, primary_metric(found.suite, scorers))
    policy = replace(policy, strict=policy.strict or arguments.strict)
    policy.require_metrics(
        [scorer.spec.metric for scorer in scorers],
        run_metric_names(scorers),
        found.suite.tags,
        where=str(found.suite.path / "suite.toml"),
    )
    baseline = _baseline(found, context)
    choices = replace(choices_from(arguments, found), policy=policy.to_dict(), baseline=baseline)
    return found, prepare(found.suite, choices, environ=context.environ), policy, baseline


def implied_provider(arguments: argparse.Namespace) -> str | None:
    """The provider that the flags ask for: by name, or by an option that only one of them has.

    Raises:
        UsageError: The flags ask for two: one of them would be ignored.
    """
    from aigate.errors import UsageError

    asked = {"--provider": arguments.provider} if arguments.provider else {}
    asked |= {
        flag: name for flag, name in IMPLIED.items() if getattr(arguments, flag[2:].replace("-", "_"), None) is not None
    }
    if len(set(asked.values())) > 1:
        told = ", ".join(f"{flag} ({name})" for flag, name in asked.items())
        raise UsageError(f"these ask for different providers: {told}", hint="leave all but one out")
    return next(iter(asked.values()), None)


def _implied_engine(arguments: argparse.Namespace) -> str | None:
    """The engine that the flags ask for.

    Raises:
        UsageError: A flag of a cluster, and the engine that has none, or two clusters.
    """
    from aigate.errors import UsageError

    flags = {"--dask-scheduler": arguments.dask_scheduler, "--dask-workers": arguments.dask_workers}
    given = [flag for flag, value in flags.items() if value is not None]
    if given and arguments.engine == "local":
        raise UsageError(f"{given[0]} has no meaning with --engine local", hint="leave one of the two out")
    if len(given) > 1:
        raise UsageError("--dask-workers starts workers here, --dask-scheduler uses others", hint="leave one out")
    engine: str | None = arguments.engine
    return "dask" if given else engine


def choices_from(arguments: argparse.Namespace, found: Chosen) -> Choices:
    """What flags and settings choose."""
    from aigate.running.evaluation import Choices, JournalAt

    return Choices(
        version=found["version"],
        provider=found["provider"],
        provider_options=_provider_options(arguments, found),
        repeats=found["repeats"],
        limit=arguments.limit,
        tags=tuple(arguments.tag),
        concurrency=found["concurrency"],
        timeout_s=found["timeout-s"],
        retries=found["retries"],
        sample_deadline_s=found["sample-deadline-s"],
        deadline_s=found["deadline-s"],
        requests_per_minute=found["requests-per-minute"],
        tokens_per_minute=found["tokens-per-minute"],
        max_cost_usd=found["max-cost"],
        max_calls=found["max-calls"],
        max_tokens=found["max-tokens"],
        price=found["price"],
        prices=None if found["prices"] is None else Path(found["prices"]),
        journal=JournalAt(Path(found["journal"]), found["journal-days"]) if found["journal"] else None,
        judge=judge_choices(found),
        engine=found["engine"],
        dask_scheduler=found["dask-scheduler"],
        dask_workers=found["dask-workers"],
    )


def _provider_options(arguments: argparse.Namespace, found: Chosen) -> dict[str, Any]:
    """Options of the provider that flags, the environment or pyproject.toml set."""
    options = dict(_option(text) for text in arguments.option)
    for name in ("target", "model"):
        if getattr(arguments, name) is not None:
            options[name] = getattr(arguments, name)
    wanted = {"replay": ("recorded",), "openai": ("base-url", "api-key-env")}.get(found["provider"], ())
    for key in wanted:
        if found.given(key) and found[key] is not None:
            options[key] = str(Path(found[key]).absolute()) if key == "recorded" else found[key]
    return options


def _option(text: str) -> tuple[str, Any]:
    """`KEY=VALUE`, where VALUE is JSON or, failing that, a text."""
    import json

    from aigate.errors import UsageError

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--option {text!r}: expected KEY=VALUE", hint="e.g. --option stream=false")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _baseline(found: Chosen, context: Context) -> Run | None:
    """The baseline, where there is one: prompts and provider versions are held against it whatever the policy says."""
    run = baseline_in_force(found)
    if run is None and found.given("baseline"):
        told = f"{found.settings['baseline'].origin} names the baseline '{found['baseline']}', which does not exist"
        _note(told, context)
    return run


def _planned(
    found: Chosen, prepared: Conditions, policy: Policy, *, baseline: Run | None, anchor: Run | None, context: Context
) -> Conditions:
    """The looks fixed, before anything is asked, and what this suite cannot see said."""
    from aigate.gating.early_stop import asked_first, plan_looks, settled_by
    from aigate.providers.base import is_offline
    from aigate.running.evaluation import with_looks

    samples, early_stop = prepared.plan.samples, found["early-stop"]
    max_repeats = _max_repeats(found, prepared, context)
    looks = plan_looks(
        samples, policy, baseline, repeats=prepared.plan.repeats, max_repeats=max_repeats, early_stop=early_stop
    )
    _tell_power(prepared, policy, baseline, most_repeats=max_repeats, context=context)
    calls = bool(prepared.plan.judges) or not is_offline(prepared.plan.provider)
    stops = early_stop and calls  # what calls nothing is answered whole
    settled = settled_by(policy, baseline, anchor) if stops else None
    return with_looks(prepared, looks, settled=settled, first=asked_first(samples, policy))


def _max_repeats(found: Chosen, prepared: Conditions, context: Context) -> int:
    """The most answers per sample that may be asked for while nothing is decided.

    Raises:
        UsageError: Fewer than are asked for in any case.
    """
    from aigate.errors import UsageError
    from aigate.providers.base import most_repeats_of

    repeats, asked = prepared.plan.repeats, found["max-repeats"]
    able = most_repeats_of(prepared.plan.provider)
    if asked is None:
        return most_repeats(found, able=able)
    if asked < repeats:
        here, there = (found.settings[key].origin for key in ("max-repeats", "repeats"))
        told = f"{here}: max-repeats is {asked}, and repeats is {repeats} ({there})"
        raise UsageError(told, hint=f"give --max-repeats {repeats} or more, or fewer --repeats")
    if able is not None and asked > max(able, repeats):
        name = prepared.plan.provider.name
        told = (
            f"max-repeats is {asked}, and '{name}' has {count_of(able, 'different answer')} per sample:"
            f" no more are asked"
        )
        _note(told, context)
        return max(able, repeats)
    return int(asked)


def most_repeats(found: Chosen, *, able: int | None) -> int:
    """The most answers per sample that these settings allow, of a provider that can give `able` different ones.

    Args:
        found: The settings; `repeats` are asked in any case.
        able: None for any number.
    """
    repeats, asked = int(found["repeats"]), found["max-repeats"]
    if asked is None:
        asked = MOST_REPEATS if found["early-stop"] and not found.given("repeats") else repeats
    return max(repeats, int(asked) if able is None else min(int(asked), able))


def _tell_power(
    prepared: Conditions, policy: Policy, baseline: Run | None, *, most_repeats: int, context: Context
) -> None:
    """Say what this suite cannot see, and what can never pass, before any call is paid for.

    Raises:
        UsageError: The policy is strict, and a margin is smaller than what can be seen.
    """
    from aigate.errors import UsageError
    from aigate.gating.planning import measuring_warnings, power_warnings, provider_bump_warning, strict_problems

    samples = prepared.plan.samples
    planned = {"repeats": prepared.plan.repeats, "most_repeats": most_repeats}
    if policy.strict and (problems := strict_problems(policy, samples, baseline, **planned)):
        raise UsageError(f"strict: {'; '.join(problems)}", hint="'aigate goldens power' shows what this suite can see")
    bump = provider_bump_warning(policy, prepared.header, baseline)
    measured = measuring_warnings(policy, prepared.header, baseline, priced=prepared.plan.price is not None)
    for warning in (*power_warnings(policy, samples, baseline, **planned), *((bump,) if bump else ()), *measured):
        _note(warning, context)


def _tell_costs(
    found: Chosen, conditions: Conditions, baseline: Run | None, *, out: str, resume: bool, context: Context
) -> None:
    """Say what is about to be asked, and what it will cost, before the first call. Nothing of what is offline."""
    from aigate.running.evaluation import goes_on
    from aigate.running.uploading import file_of

    told = [*_answer_estimates(conditions, baseline), *_judge_estimates(conditions, baseline)]
    if told and not resume and goes_on(conditions, out):
        _note(f"going on with the interrupted run in {file_of(out)}; what it holds is not asked again", context)
    kept = f"; what stands in {found['journal']} costs nothing" if conditions.journal else ""
    for line in told:
        _note(f"{line}{kept}", context)


def _answer_estimates(conditions: Conditions, baseline: Run | None) -> Iterable[Estimate]:
    """What the answers will cost; nothing of what is offline."""
    from aigate.providers.base import is_offline
    from aigate.running.budget import estimate

    plan = conditions.plan
    model = plan.provider.describe().get("model")
    if not is_offline(plan.provider) and isinstance(model, str):
        yield estimate(
            [plan.render(sample) for sample in plan.samples],
            repeats=_first_repeats(conditions),
            most_repeats=plan.repeats,
            parameters=plan.parameters,
            price=plan.price,
            model=model,
            baseline=baseline,
        )


def _judge_estimates(conditions: Conditions, baseline: Run | None) -> Iterable[Estimate]:
    """What judging the answers will cost."""
    if not conditions.plan.judges:
        return ()
    from aigate.running.judging import estimate_judging

    plan = conditions.plan
    return estimate_judging(
        plan.scorers,
        plan.judges,
        plan.samples,
        repeats=_first_repeats(conditions),
        most_repeats=plan.repeats,
        baseline=baseline,
        anchors=plan.judge_anchors,
    )


def _first_repeats(conditions: Conditions) -> int:
    """The answers per sample that are asked for in any case."""
    looks = conditions.header.looks
    return looks.looks[0].repeats if looks else conditions.plan.repeats


def _told_looks(conditions: Conditions) -> int:
    """How many looks there are to tell of; 0 where everything is asked anyway."""
    return 0 if conditions.settled is None or conditions.header.looks is None else len(conditions.header.looks.looks)


def _default_out(found: Chosen, conditions: Conditions) -> str:
    from aigate.stores import joined

    return joined(joined(found["out-dir"], found.suite.name), f"{conditions.header.version.tag}.jsonl")


def _refuse_to_overwrite(out: str, used: Mapping[str, Run | None]) -> None:
    from aigate.errors import UsageError

    written = {_place(out), _place(f"{out}.previous")}
    for name, run in used.items():
        if run is not None and run.source and _place(run.source) in written:
            raise UsageError(f"--out {out} would write over the {name}", hint="choose another --out")


def _place(text: str) -> str:
    """A path or URL in the one form that tells whether two are the same."""
    from aigate.stores import local_path

    path = local_path(text)
    return text if path is None else str(path.resolve())
