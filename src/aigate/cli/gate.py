"""`aigate gate`: decide again from stored runs, without a network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigate.cli.options import (
    add_command,
    add_format,
    add_suite,
    chosen,
    named_anchor,
    named_baseline,
    policy_in_force,
    require_same_suite,
    without_threshold,
)

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.gating.policy import Policy

__all__ = ["add_parser", "decided", "folder_of", "run"]


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
    parser.add_argument("candidate", metavar="RUN", help="the run under test: a path or a URL")
    parser.add_argument(
        "--baseline", metavar="NAME|RUN", help="a run file or URL, or a baseline of --suite by its name"
    )
    parser.add_argument("--anchor", metavar="NAME|RUN", help="an older run beside the baseline (default anchor)")
    parser.add_argument(
        "--strict", action="store_true", help="count what was not seen against a pass: see aigate goldens power"
    )
    add_suite(parser)
    parser.add_argument("--threshold", metavar="T", help="the mean of the primary metric must be at least T, in [0, 1]")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Decide."""
    from aigate.cli.output import deliver
    from aigate.gating.decision import gate

    candidate, baseline, anchor, policy = decided(arguments, context)
    verdict = gate(candidate, policy, baseline=baseline, anchor=anchor)
    suite = folder_of(candidate, arguments, context)
    return deliver(verdict, candidate, baseline, arguments=arguments, context=context, suite=suite)


def folder_of(candidate: Run, arguments: argparse.Namespace, context: Context) -> Path | None:
    """The folder of the suite that a run ran: the one that is named, or the default one where it is that; else None."""
    from aigate.errors import AigateError

    try:
        suite = chosen(without_threshold(context), {"suite": arguments.suite}).suite
    except AigateError:  # a stored run is judged by itself: no suite has to be there
        return None
    return suite.path if suite.digest == candidate.header.suite_digest else None


def decided(arguments: argparse.Namespace, context: Context) -> tuple[Run, Run | None, Run | None, Policy]:
    """Candidate, baseline, anchor and the policy that the arguments name.

    The policy and the calibrations of judges are those stored in the candidate's run; with `--suite`, those that suite
    has now.
    """
    from dataclasses import replace

    from aigate.scorers.calibration import calibrations_in
    from aigate.storing.runs import load_run

    candidate = load_run(arguments.candidate)
    if arguments.suite is None:
        policy = _stored_policy(candidate, _threshold(arguments))
        baseline, anchor = _baselines(arguments, context, candidate)
    else:
        flags = {key: getattr(arguments, key) for key in ("suite", "threshold", "baseline", "anchor")}
        found = chosen(without_threshold(context), flags)
        require_same_suite(candidate, found.suite)
        policy = policy_in_force(found, candidate.header.primary_metric)
        baseline = named_baseline(found, found["baseline"], explicit=arguments.baseline is not None)
        anchor = named_anchor(found, explicit=arguments.anchor is not None)
        header = replace(
            candidate.header,
            calibrations=calibrations_in(found.suite.path, [spec.metric for spec in candidate.header.metrics]),
        )
        candidate = replace(candidate, header=header)
    return candidate, baseline, anchor, replace(policy, strict=True) if arguments.strict else policy


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


def _baselines(arguments: argparse.Namespace, context: Context, candidate: Run) -> tuple[Run | None, Run | None]:
    """Without --suite: the runs that are named; else those of the default suite, when it is what the candidate ran."""
    from aigate.errors import ConfigError
    from aigate.storing.runs import load_run

    named = (arguments.baseline, arguments.anchor)
    try:
        found = chosen(without_threshold(context), {"baseline": arguments.baseline, "anchor": arguments.anchor})
    except ConfigError:
        baseline, anchor = (None if name is None else load_run(name) for name in named)
        return baseline, anchor
    ours = found.suite.digest == candidate.header.suite_digest
    if arguments.baseline is None and not ours:
        return None, None if arguments.anchor is None else load_run(arguments.anchor)
    baseline = named_baseline(found, found["baseline"], explicit=arguments.baseline is not None)
    if arguments.anchor is None and not ours:
        return baseline, None
    return baseline, named_anchor(found, explicit=arguments.anchor is not None)
