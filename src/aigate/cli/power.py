"""`aigate goldens power`: what a suite can and cannot see, before a single call is made."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from aigate.cli.options import Chosen, add_command, add_suite, baseline_in_force, chosen, judge_choices, policy_in_force

if TYPE_CHECKING:
    from rich.table import Table

    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.gating.margins import Margin
    from aigate.gating.planning import CheckPower, PowerReport
    from aigate.gating.policy import Policy

__all__ = ["add_power"]

OFFLINE = ("extractive", "replay")  # made without a key or a connection, so that they can be asked what they hold


def add_power(verbs: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        verbs,
        "power",
        about="the smallest drop the suite can see, and what its margin needs, before any call",
        example="aigate goldens power goldens/support-faq --margin 0.05 --repeats 3",
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help="the suite; default: that of pyproject.toml")
    add_suite(parser)
    parser.add_argument("--margin", metavar="M|auto", help="plan for this margin (default: those of the policy)")
    parser.add_argument("--alpha", metavar="A", help="one-sided error rate (default: that of the policy)")
    parser.add_argument("--power", metavar="P", help="the chance to detect a drop (default 0.8)")
    parser.add_argument("--repeats", metavar="N", help="answers per sample of the candidate (default 1)")
    parser.add_argument(
        "--max-repeats",
        metavar="N",
        help="up to N answers per sample, the further ones only while nothing is decided (default: as eval asks them)",
    )
    parser.add_argument("--baseline", metavar="NAME|RUN", help="whose repeats tell the noise (default main)")
    parser.add_argument(
        "--baseline-repeats", metavar="N", help="plan with so many of the baseline (default: those it has)"
    )
    parser.add_argument("--strict", action="store_true", help="exit 2 when the suite cannot see its margin")
    parser.add_argument("--format", choices=("json",), help="print JSON instead of text")
    parser.set_defaults(run=power)


def power(arguments: argparse.Namespace, context: Context) -> int:
    """Print what the suite can see. Exits 2 under --strict when that is not what its policy asks for."""
    from aigate.cli.eval import most_repeats
    from aigate.gating.margins import POWER
    from aigate.gating.planning import plan_power

    share = POWER if arguments.power is None else _fraction("--power", arguments.power, below=1.0)
    own_repeats = None if arguments.baseline_repeats is None else _whole(arguments.baseline_repeats)
    found = chosen(context, _flags(arguments))
    policy, primary = _policy(arguments, found)
    baseline = _baseline(found)
    report = plan_power(
        found.suite.samples,
        policy,
        primary,
        baseline,
        repeats=found["repeats"],
        most_repeats=most_repeats(found, able=_able(found, context)),
        baseline_repeats=own_repeats,
        power=share,
    )
    if arguments.format == "json":
        told = {"suite": found.suite.name, "baseline": baseline.source if baseline else None, **report.to_dict()}
        context.stdout.write(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    else:
        _print(report, context)
    return 2 if report.strict and report.problems else 0


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    from aigate.errors import UsageError

    if arguments.folder and arguments.suite:
        raise UsageError("the suite is named twice, as FOLDER and with --suite", hint="leave one out")
    suite = arguments.folder or arguments.suite
    own = {key: getattr(arguments, key) for key in ("repeats", "max_repeats", "baseline")}
    return {"suite": suite, **own}


def _able(found: Chosen, context: Context) -> int | None:
    """How many different answers the suite's provider can give; None for any number, or where it is not known."""
    from aigate.errors import AigateError
    from aigate.providers.base import ProviderSettings, make_provider, most_repeats_of

    if found["provider"] not in OFFLINE or found["version"] is None:
        return None
    options = dict(found.suite.config.provider_options)
    if found["provider"] == "replay" and found.given("recorded"):
        options["recorded"] = str(Path(found["recorded"]).absolute())
    try:
        settings = ProviderSettings(found["version"], options, found.suite.path, context.environ)
        return most_repeats_of(make_provider(found["provider"], settings))
    except AigateError:  # a recording that is not there, say: that is for eval to tell
        return None


def _policy(arguments: argparse.Namespace, found: Chosen) -> tuple[Policy, str]:
    """The suite's policy with the flags in it, and the primary metric; without a policy, one that compares it."""
    from aigate.gating.checks.no_regression import NoRegression
    from aigate.gating.policy import Policy
    from aigate.gating.run_metrics import run_metric_names
    from aigate.running.evaluation import primary_metric
    from aigate.running.judges import named_judges, scorers_of

    scorers = scorers_of(found.suite, named_judges(found.suite, judge_choices(found)))
    primary = primary_metric(found.suite, scorers)
    if found.suite.config.policy is None and found["threshold"] is None:
        policy = Policy((NoRegression(primary),))
    else:
        policy = policy_in_force(found, primary)
    policy.require_metrics(
        [scorer.spec.metric for scorer in scorers],
        run_metric_names(scorers),
        found.suite.tags,
        where=str(found.suite.path / "suite.toml"),
    )
    if arguments.alpha is not None:
        policy = replace(policy, alpha=_fraction("--alpha", arguments.alpha, below=0.5))
    if arguments.margin is not None:
        policy = _with_margin(policy, arguments.margin)
    return replace(policy, strict=policy.strict or arguments.strict), primary


def _with_margin(policy: Policy, text: str) -> Policy:
    """The policy with one margin for all its checks."""
    from aigate.gating.checks.no_regression import NoRegression

    checks = tuple(replace(check, margin=None) if isinstance(check, NoRegression) else check for check in policy.checks)
    margin: Margin = "auto" if text == "auto" else _fraction("--margin", text, below=1.0, other=" or 'auto'")
    return replace(policy, checks=checks, margin=margin)


def _fraction(flag: str, text: str, *, below: float, other: str = "") -> float:
    """A number between 0 and `below`.

    Raises:
        UsageError: The text is none.
    """
    from aigate.errors import UsageError

    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < below:
        hint = "0.05 is 5 points" if flag == "--margin" else f"e.g. {flag} {'0.05' if flag == '--alpha' else '0.8'}"
        raise UsageError(f"{flag} is {text!r}: expected a number between 0 and {below:g}{other}", hint=hint)
    return value


def _whole(text: str) -> int:
    from aigate.errors import UsageError
    from aigate.goldens.config import MAX_REPEATS

    if not text.isdecimal() or not 1 <= int(text) <= MAX_REPEATS:
        raise UsageError(f"--baseline-repeats is {text!r}: expected a whole number in [1, {MAX_REPEATS}]")
    return int(text)


def _baseline(found: Chosen) -> Run | None:
    """The baseline to learn from; None where the suite has none yet.

    Raises:
        UsageError: It holds none of the suite's samples.
    """
    from aigate.errors import UsageError

    run = baseline_in_force(found)
    if run is None:
        return None
    digests = {sample.id: sample.digest for sample in run.samples.values()}
    if not any(digests.get(sample.id) == sample.digest for sample in found.suite.samples):
        raise UsageError(
            f"{run.source} holds none of the samples of '{found.suite.name}'",
            hint="name a run of this suite with --baseline",
        )
    return run


def _print(report: PowerReport, context: Context) -> None:
    from aigate.reports.terminal import console_for

    console = console_for(context.stdout, environ_columns=context.environ.get("COLUMNS"))
    with console.capture() as captured:
        for line in report.lines():
            hanging = "    " if line.startswith("  ") else "  "
            console.print(*wrap(line, console.width, subsequent_indent=hanging), sep="\n", markup=False)
        for check in report.checks:
            what = f"{check.label}: smallest drop seen, in points, by {check.spread.units} and repeats"
            console.print(
                "", *wrap(f"{what} (baseline x candidate; * as planned)", console.width), sep="\n", markup=False
            )
            console.print(_table(check))
    context.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _drop(least: float) -> str:
    """In points; `none` where no drop is seen, however large."""
    return f"{least * 100:.1f}" if least < 1.0 else "none"


def _table(check: CheckPower) -> Table:
    """Smallest drops by size and repeats, and what the margin needs; a star marks the suite as it is."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    spread = check.spread
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(spread.units, justify="right")
    for column in check.repeats:
        table.add_column(Text(f"{column.baseline_repeats} x {column.candidate_repeats}"), justify="right")
    for row, (units, _) in enumerate(check.repeats[0].by_units):
        here = [units == spread.n_units and column.planned for column in check.repeats]
        drops = [column.by_units[row][1] for column in check.repeats]
        table.add_row(str(units), *(f"{_drop(d)}{'*' if now else ' '}" for d, now in zip(drops, here, strict=True)))
    table.add_section()
    table.add_row(f"needed for {check.margin * 100:.3g}", *(f"{column.units_needed} " for column in check.repeats))
    return table
