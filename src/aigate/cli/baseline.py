"""`aigate baseline`: list, show and promote the baselines of a suite."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from aigate.cli.options import add_command, add_suite, chosen, policy_in_force, require_same_suite

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.core.verdict import Verdict
    from aigate.gating.policy import Policy

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "baseline",
        about="list, show or promote the baselines of a suite",
        example="aigate baseline promote .aigate/runs/support-faq/gpt-4o_2024-11-20_v3.jsonl",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = add_command(
        verbs, "list", about="the baselines there are, with their versions", example="aigate baseline list"
    )
    add_suite(listing)
    listing.set_defaults(run=list_baselines)
    showing = add_command(verbs, "show", about="one baseline and its history", example="aigate baseline show main")
    showing.add_argument("name", metavar="NAME", nargs="?", default="main", help="default: main")
    add_suite(showing)
    showing.set_defaults(run=show)
    promoting = add_command(
        verbs,
        "promote",
        about="make a passing run the baseline",
        example="aigate baseline promote RUN --threshold 0.85",
    )
    promoting.add_argument("candidate", metavar="RUN", help="the run file")
    promoting.add_argument("--name", metavar="NAME", help="the baseline's name (default: that of the suite, main)")
    promoting.add_argument(
        "--threshold", metavar="T", help="the mean of the primary metric must be at least T, in [0, 1]"
    )
    add_suite(promoting)
    promoting.set_defaults(run=promote)


def list_baselines(arguments: argparse.Namespace, context: Context) -> int:
    """Print name, version, time and digest of every baseline."""
    from aigate.storing.baselines import Baselines

    found = chosen(context, {"suite": arguments.suite})
    baselines = Baselines(found.suite.path / "baselines")
    for name in baselines.names():
        run = baselines.load(name)
        print(f"{name}  {run.version}  {run.finished_at}  {run.digest}", file=context.stdout)
    if not baselines.names():
        print(f"{found.suite.name} has no baseline yet\n  next: aigate baseline promote RUN", file=context.stderr)
    return 0


def show(arguments: argparse.Namespace, context: Context) -> int:
    """Print a baseline's means, ledger and history."""
    from aigate.storing.baselines import Baselines

    found = chosen(context, {"suite": arguments.suite})
    baselines = Baselines(found.suite.path / "baselines")
    run = baselines.load(arguments.name)
    print(f"{arguments.name}: {run.version}, finished {run.finished_at}\n{run.digest}", file=context.stdout)
    print(f"{len(run)} samples x {run.header.repeats} repeats: {run.ledger}", file=context.stdout)
    for line in baselines.history():
        if line.name == arguments.name:
            print(
                f"{line.promoted_at}  {line.version}  {line.run_digest}  ({', '.join(line.checks)})",
                file=context.stdout,
            )
    return 0


def promote(arguments: argparse.Namespace, context: Context) -> int:
    """Promote a run whose verdict is a pass."""
    from aigate.gating.decision import gate
    from aigate.running.provenance import utc_now
    from aigate.storing.baselines import Baselines
    from aigate.storing.runs import load_run

    candidate = load_run(arguments.candidate)
    found = chosen(context, {"suite": arguments.suite, "threshold": arguments.threshold, "baseline": arguments.name})
    require_same_suite(candidate, found.suite)
    policy = policy_in_force(found, candidate.header.primary_metric)

    def decide(current: Run | None) -> Verdict:
        return gate(candidate, policy if current else _first(policy, candidate), baseline=current)

    baselines = Baselines(found.suite.path / "baselines")
    promotion = baselines.promote(candidate, found["baseline"], decide=decide, now=utc_now())
    print(f"{promotion.name}: {promotion.version}  {promotion.run_digest}", file=context.stdout)
    print("next: commit the suite's baselines folder", file=context.stderr)
    return 0


def _first(policy: Policy, candidate: Run) -> Policy:
    """What the first baseline must show: the checks that need no baseline, with a min-score among them."""
    from aigate.errors import BaselineError
    from aigate.gating.checks.min_score import MinScore

    alone = policy.without_baseline()
    if alone is None or not any(isinstance(check, MinScore) for check in alone.checks):
        raise BaselineError(
            f"{candidate.source}: the first baseline needs a passing min-score, and the policy has none",
            hint=f"say how good it must be: --threshold 0.85 (on {candidate.header.primary_metric})",
        )
    return alone
