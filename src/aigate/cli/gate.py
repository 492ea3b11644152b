"""`aigate gate`: decide again from stored runs, without a network."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from aigate.cli.options import (
    add_command,
    add_format,
    add_suite,
    chosen,
    named_baseline,
    policy_in_force,
    require_same_suite,
    without_threshold,
)

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.gating.policy import Policy

__all__ = ["add_parser", "decided", "run"]


def add_parser(commands: Any) -> None:
    """Say what the command takes."""
    parser = add_command(
        commands,
        "gate",
        about="decide again from stored runs: same runs, same verdict, no network",
        example="aigate gate candidate.jsonl --baseline baseline.jsonl",
    )
    add_run_and_baseline(parser)
    add_format(parser)
    parser.set_defaults(run=run)


def add_run_and_baseline(parser: argparse.ArgumentParser) -> None:
    """A run, what it is held against, and by which policy."""
    parser.add_argument("candidate", metavar="RUN", help="the run under test")
    parser.add_argument("--baseline", metavar="NAME|RUN", help="a run file, or the name of a baseline of --suite")
    add_suite(parser)
    parser.add_argument("--threshold", metavar="T", help="the mean of the primary metric must be at least T, in [0, 1]")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Decide."""
    from aigate.cli.output import deliver
    from aigate.gating.decision import gate

    candidate, baseline, policy = decided(arguments, context)
    verdict = gate(candidate, policy, baseline=baseline)
    return deliver(verdict, candidate, baseline, arguments=arguments, context=context)


def decided(arguments: argparse.Namespace, context: Context) -> tuple[Run, Run | None, Policy]:
    """The runs and the policy that the arguments name.

    The policy is the one stored in the candidate's run; with `--suite`, the one that suite has now.
    """
    from aigate.gating.decision import policy_of
    from aigate.storing.runs import load_run

    candidate = load_run(arguments.candidate)
    threshold = _threshold(arguments)
    if arguments.suite is None:
        policy = _stored_policy(candidate, threshold) if threshold is not None else policy_of(candidate)
    else:
        found = chosen(without_threshold(context), {"suite": arguments.suite, "threshold": arguments.threshold})
        require_same_suite(candidate, found.suite)
        policy = policy_in_force(found, candidate.header.primary_metric)
    return candidate, _baseline(arguments, context, candidate), policy


def _stored_policy(candidate: Run, threshold: float) -> Policy:
    from aigate.gating.checks.min_score import MinScore
    from aigate.gating.policy import Policy

    stored = dict(candidate.header.policy)
    if not stored.get("checks"):
        stored["checks"] = [MinScore(candidate.header.primary_metric, at_least=threshold).to_dict()]
    return Policy.from_config(stored, where=f"{candidate.source}: policy").with_threshold(
        candidate.header.primary_metric, threshold
    )


def _threshold(arguments: argparse.Namespace) -> float | None:
    """The flag only: a stored run is decided by what is stored, not by an environment."""
    from aigate.goldens.settings import resolve_settings

    settings = resolve_settings(flags={"threshold": arguments.threshold}, environ={}, suite=None, pyproject=None)
    value: float | None = settings["threshold"].value
    return value


def _baseline(arguments: argparse.Namespace, context: Context, candidate: Run) -> Run | None:
    """The baseline that is named; else that of the default suite, when it is the suite that the candidate ran."""
    from aigate.errors import ConfigError
    from aigate.storing.runs import load_run

    given = arguments.baseline
    try:
        found = chosen(without_threshold(context), {"suite": arguments.suite, "baseline": given})
    except ConfigError:
        if arguments.suite is not None:
            raise
        return None if given is None else load_run(given)
    if given is None and arguments.suite is None and found.suite.digest != candidate.header.suite_digest:
        return None
    return named_baseline(found.suite, found["baseline"], explicit=given is not None)
