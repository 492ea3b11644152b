"""`aigate eval`: answer the suite with a version, decide, exit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.cli.options import (
    Chosen,
    add_command,
    add_format,
    add_suite,
    chosen,
    named_baseline,
    policy_in_force,
)

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.gating.policy import Policy
    from aigate.running.evaluation import Choices, Conditions

__all__ = ["add_parser", "run"]

IMPLIED = {"--recorded": "replay", "--target": "callable", "--base-url": "openai", "--model": "openai"}
SETTINGS = ("suite", "version", "provider", "baseline", "repeats", "concurrency", "threshold", "recorded")


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
    what.add_argument(
        "--version", metavar="ID", help="model/provider-version/prompt-version, e.g. gpt-4o/2024-11-20/v3"
    )
    what.add_argument("--provider", metavar="NAME", help="openai, callable, replay, extractive, or an installed one")
    what.add_argument(
        "--recorded", metavar="FILE", help="recorded responses (JSON Lines, .gz allowed); implies --provider replay"
    )
    what.add_argument("--target", metavar="MODULE:FUNCTION", help="the function to call; implies --provider callable")
    what.add_argument(
        "--base-url", metavar="URL", help="endpoint (vLLM, Ollama, Azure, a gateway); implies --provider openai"
    )
    what.add_argument(
        "--api-key-env", metavar="NAME", help="environment variable that holds the key (default OPENAI_API_KEY)"
    )
    what.add_argument("--model", metavar="NAME", help="model to ask the endpoint for (default MODEL-PROVIDER_VERSION)")
    what.add_argument(
        "--option",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an option of the provider; VALUE is JSON or text",
    )
    what.add_argument("--repeats", metavar="N", help="answers per sample (default 1)")
    what.add_argument("--limit", metavar="N", type=int, help="only the first N samples; a subset cannot pass")
    what.add_argument(
        "--tag", metavar="TAG", action="append", default=[], help="only samples with this tag; a subset cannot pass"
    )
    how = parser.add_argument_group("how it is decided")
    how.add_argument("--threshold", metavar="T", help="the mean of the primary metric must be at least T, in [0, 1]")
    how.add_argument("--baseline", metavar="NAME|RUN", help="a baseline of the suite, or a run file (default main)")
    where = parser.add_argument_group("running")
    where.add_argument("--concurrency", metavar="N", help="requests in flight (default 8)")
    where.add_argument(
        "--timeout", "--timeout-s", metavar="SECONDS", dest="timeout_s", help="seconds per attempt (default 60)"
    )
    where.add_argument("--retries", metavar="N", help="attempts after the first, where a retry can help (default 4)")
    where.add_argument("--out", metavar="RUN", help="the run file to write (default .aigate/runs/SUITE/VERSION.jsonl)")
    where.add_argument("--resume", action="store_true", help="go on with the interrupted run in --out")
    where.add_argument("--quiet", action="store_true", help="no progress")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Evaluate and decide."""
    from aigate.cli.output import deliver
    from aigate.cli.progress import progress_for
    from aigate.gating.decision import gate
    from aigate.running.evaluation import execute

    found, conditions, policy = _prepared(arguments, context)
    baseline = _baseline(found, context)
    out = Path(arguments.out or _default_out(found, conditions))
    _refuse_to_overwrite(out, baseline)
    total = len(conditions.plan.samples) * conditions.plan.repeats
    try:
        with progress_for(context.stderr, total=total, quiet=arguments.quiet) as progress:
            candidate = execute(conditions, out, resume=arguments.resume, progress=progress)
    except KeyboardInterrupt:
        kept = f"aigate: interrupted; what was answered is kept in {out}"
        print(f"{kept}\n  next: the same command with --resume --out {out}", file=context.stderr)
        return 130
    verdict = gate(candidate, policy, baseline=baseline)
    return deliver(verdict, candidate, baseline, arguments=arguments, context=context, stored=out)


def _prepared(arguments: argparse.Namespace, context: Context) -> tuple[Chosen, Conditions, Policy]:
    """Everything looked up and checked; nothing asked yet."""
    from dataclasses import replace

    from aigate.gating.run_metrics import run_metric_names
    from aigate.running.evaluation import prepare, primary_metric, scorers_of

    provider = _implied_provider(arguments)
    flags = {key: getattr(arguments, key) for key in (*SETTINGS, "base_url", "api_key_env", "timeout_s", "retries")}
    found = chosen(context, {**flags, "provider": provider})
    scorers = scorers_of(found.suite)
    policy = policy_in_force(found, primary_metric(found.suite, scorers))
    policy.require_metrics(
        [scorer.spec.metric for scorer in scorers],
        run_metric_names(scorers),
        found.suite.tags,
        where=str(found.suite.path / "suite.toml"),
    )
    choices = replace(_choices(arguments, found), policy=policy.to_dict())
    return found, prepare(found.suite, choices, environ=context.environ), policy


def _implied_provider(arguments: argparse.Namespace) -> str | None:
    """The provider that the flags ask for: by name, or by an option that only one of them has.

    Raises:
        UsageError: The flags ask for two: one of them would be ignored.
    """
    from aigate.errors import UsageError

    asked = {"--provider": arguments.provider} if arguments.provider else {}
    asked |= {
        flag: name for flag, name in IMPLIED.items() if getattr(arguments, flag[2:].replace("-", "_")) is not None
    }
    if len(set(asked.values())) > 1:
        told = ", ".join(f"{flag} ({name})" for flag, name in asked.items())
        raise UsageError(f"these ask for different providers: {told}", hint="leave all but one out")
    return next(iter(asked.values()), None)


def _choices(arguments: argparse.Namespace, found: Chosen) -> Choices:
    from aigate.running.evaluation import Choices

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
    asked_for = found.settings["baseline"].origin.startswith(("flag", "AIGATE_"))
    run = named_baseline(found.suite, found["baseline"], explicit=asked_for)
    if run is None and found.given("baseline"):
        told = (
            f"note: {found.settings['baseline'].origin} names the baseline '{found['baseline']}', which does not exist"
        )
        print(told, file=context.stderr)
    return run


def _default_out(found: Chosen, conditions: Conditions) -> Path:
    return Path(found["out-dir"]) / found.suite.name / f"{conditions.header.version.tag}.jsonl"


def _refuse_to_overwrite(out: Path, baseline: Run | None) -> None:
    from aigate.errors import UsageError

    written = {out.resolve(), out.with_name(f"{out.name}.previous").resolve()}
    if baseline is not None and baseline.source and Path(baseline.source).resolve() in written:
        raise UsageError(f"--out {out} would write over the baseline", hint="choose another --out")
