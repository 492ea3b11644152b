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
    from aigate.storing.runs import load_run

    candidate = load_run(arguments.candidate)
    if arguments.suite is None:
        policy = _stored_policy(candidate, _threshold(arguments))
        return candidate, _baseline(arguments, context, candidate), policy
    flags = {"suite": arguments.suite, "threshold": arguments.threshold, "baseline": arguments.baseline}
    found = chosen(without_threshold(context), flags)
    require_same_suite(candidate, found.suite)
    baseline = named_baseline(found.suite, found["baseline"], explicit=arguments.baseline is not None)
    return candidate, baseline, policy_in_force(found, candidate.header.primary_metric)


def _stored_policy(candidate: Run, threshold: float | None) -> Policy:
    from aigate.gating.policy import Policy

    header, where = candidate.header, f"{candidate.source or 'the run'}: policy"
    return Policy.with_flag(header.policy, primary=header.primary_metric, threshold=threshold, where=where)


def _threshold(arguments: argparse.Namespace) -> float | None:
    """The flag only: a stored run is decided by what is stored, not by an environment."""
    from aigate.goldens.settings import resolve_settings

    settings = resolve_settings(flags={"threshold": arguments.threshold}, environ={}, suite=None, pyproject=None)
    value: float | None = settings["threshold"].value
    return value


def _baseline(arguments: argparse.Namespace, context: Context, candidate: Run) -> Run | None:
    """Without --suite: the baseline that is named; else the default suite's, when it is what the candidate ran."""
    from aigate.errors import ConfigError
    from aigate.storing.runs import load_run

    given = arguments.baseline
    try:
        found = chosen(without_threshold(context), {"baseline": given})
    except ConfigError:
        return None if given is None else load_run(given)
    if given is None and found.suite.digest != candidate.header.suite_digest:
        return None
    return named_baseline(found.suite, found["baseline"], explicit=given is not None)
