"""`aigate baseline`: list, show and promote the baselines of a suite."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from aigate.cli.options import (
    Chosen,
    add_command,
    add_suite,
    baselines_of,
    chosen,
    named_anchor,
    named_baseline,
    policy_in_force,
    require_same_suite,
    without_threshold,
)
from aigate.core.counts import count_of, were

if TYPE_CHECKING:
    from aigate.cli.main import Context
    from aigate.core.run import Run
    from aigate.core.verdict import Verdict
    from aigate.gating.policy import Policy
    from aigate.storing.baselines import Promotion

__all__ = ["add_parser", "promoted"]


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
    promoting.add_argument("candidate", metavar="RUN", help="the run file: a path or a URL")
    promoting.add_argument("--name", metavar="NAME", help="the baseline's name (default: that of the suite, main)")
    promoting.add_argument(
        "--threshold", metavar="T", help="the mean of the primary metric must be at least T, in [0, 1]"
    )
    promoting.add_argument(
        "--new-line",
        metavar="WHY",
        help="the suite or its scorers changed so that nothing can be compared: begin anew, and write down why",
    )
    promoting.add_argument(
        "--rejudged",
        metavar="RUN",
        help="the baseline in force as aigate eval judged it again, where the judge is another one than then",
    )
    add_suite(promoting)
    promoting.set_defaults(run=promote)


def list_baselines(arguments: argparse.Namespace, context: Context) -> int:
    """Print name, version, time and digest of every baseline."""
    found = chosen(context, {"suite": arguments.suite})
    baselines = baselines_of(found)
    for name in baselines.names():
        run = baselines.load(name)
        print(f"{name}  {run.version}  {run.finished_at}  {run.digest}", file=context.stdout)
    if not baselines.names():
        print(f"{found.suite.name} has no baseline yet\n  next: aigate baseline promote RUN", file=context.stderr)
    return 0


def show(arguments: argparse.Namespace, context: Context) -> int:
    """Print a baseline's means, ledger and history."""
    found = chosen(context, {"suite": arguments.suite})
    baselines = baselines_of(found)
    run = baselines.load(arguments.name)
    print(f"{arguments.name}: {run.version}, finished {run.finished_at}\n{run.digest}", file=context.stdout)
    print(
        f"{count_of(len(run), 'sample')} x {count_of(run.header.repeats, 'repeat')}: {run.ledger}", file=context.stdout
    )
    for line in baselines.history():
        if line.name == arguments.name:
            print(
                f"{line.promoted_at}  {line.version}  {line.run_digest}  ({', '.join(line.checks)})",
                file=context.stdout,
            )
    return 0


def promote(arguments: argparse.Namespace, context: Context) -> int:
    """Promote a run whose verdict is a pass."""
    from aigate.stores import local_path
    from aigate.storing.runs import load_run

    candidate = load_run(arguments.candidate)
    flags = {"suite": arguments.suite, "threshold": arguments.threshold, "baseline": arguments.name}
    found = chosen(without_threshold(context), flags)
    promotion, _ = promoted(candidate, found, context, new_line=arguments.new_line, rejudged=arguments.rejudged)
    print(f"{promotion.name}: {promotion.version}  {promotion.run_digest}", file=context.stdout)
    if local_path(baselines_of(found).folder) is not None:
        print("next: commit the suite's baselines folder", file=context.stderr)
    return 0


def promoted(
    candidate: Run,
    found: Chosen,
    context: Context,
    *,
    new_line: str | None = None,
    rejudged: str | None = None,
) -> tuple[Promotion, Verdict | None]:
    """Make a run the baseline that the settings name, if it may be one.

    Args:
        candidate: The run.
        found: The suite and the settings in force; `baseline` names the baseline, `threshold` what it must reach.
        context: Where settings are looked up.
        new_line: Why a baseline is begun that cannot be compared with the one before.
        rejudged: A run file: the baseline in force, judged anew by the judge of the candidate.

    Returns:
        The line of the history, and the verdict that it rests on; None where the run is that baseline already.

    Raises:
        BaselineError, NotComparableError: It may not; nothing was changed.
    """
    from aigate.gating.decision import gate
    from aigate.running.provenance import utc_now

    require_same_suite(candidate, found.suite)
    policy = policy_in_force(found, candidate.header.primary_metric)
    _refuse_lowered(policy, candidate, found)
    _refuse_unasked(candidate)
    name = found["baseline"]
    main_name = chosen(without_threshold(context), {"suite": str(found.suite.path)})["baseline"]
    anchor = None if name == found["anchor"] else named_anchor(found, explicit=False)
    verdicts: list[Verdict] = []

    def decide(current: Run | None) -> Verdict:
        if current is None and name == found["anchor"] and (main := named_baseline(found, main_name, explicit=False)):
            return gate(candidate, policy, baseline=main)  # the first anchor is as good as the baseline
        if current is None:
            return gate(candidate, _first(policy, candidate))
        if rejudged is not None:
            current = _rejudged(rejudged, current)
        verdict = gate(candidate, policy, baseline=current, anchor=anchor)
        if new_line is None:
            return verdict
        _require_new_line(verdict)
        return gate(candidate, _first(policy, candidate))

    def remembered(current: Run | None) -> Verdict:
        verdicts.append(decide(current))
        return verdicts[-1]

    promotion = baselines_of(found).promote(candidate, name, decide=remembered, now=utc_now(), new_line=new_line)
    return promotion, verdicts[-1] if verdicts else None


def _refuse_lowered(policy: Policy, candidate: Run, found: Chosen) -> None:
    """Refuse a threshold below the suite's own.

    Raises:
        BaselineError: It is.
    """
    from aigate.errors import BaselineError
    from aigate.gating.checks.min_score import MinScore

    if lowered := [check.lowered_from for check in policy.checks if isinstance(check, MinScore) and check.lowered_from]:
        origin, threshold = found.settings["threshold"].origin, found["threshold"]
        told = f"{origin}: {threshold:g} is lower than the {lowered[0]:g} of {found.suite.name}"
        raise BaselineError(
            f"{candidate.source}: not promoted: {told}", hint="lower it in suite.toml, where it is reviewed"
        )


def _refuse_unasked(candidate: Run) -> None:
    """Refuse a run of which samples were never asked.

    Raises:
        BaselineError: There are some.
    """
    from aigate.errors import BaselineError
    from aigate.gating.integrity import skipped_samples

    if skipped := skipped_samples(candidate):
        told = (
            f"it was stopped early: {len(skipped)} of {count_of(len(candidate.samples), 'sample')}"
            f" {were(len(skipped))} never asked"
        )
        raise BaselineError(
            f"{candidate.source}: not promoted: {told}",
            hint=f"answer the rest: aigate eval --resume --no-early-stop --out {candidate.source}",
        )


def _rejudged(path: str, current: Run) -> Run:
    """The baseline in force, judged again.

    Raises:
        BaselineError: What is named is something else.
    """
    from aigate.errors import BaselineError
    from aigate.running.rejudging import holds_answers_of
    from aigate.storing.runs import load_run

    run = load_run(path)
    if not holds_answers_of(run, current):
        raise BaselineError(
            f"{path}: does not hold the answers of the baseline in force, judged again",
            hint="aigate eval writes it beside the candidate's run: RUN.rejudged-baseline.jsonl",
        )
    return run


def _require_new_line(verdict: Verdict) -> None:
    """Begin anew only where no comparison with the old baseline can be made.

    Raises:
        BaselineError: The run can be compared: then it must pass that.
    """
    from aigate.core.verdict import Status
    from aigate.errors import BaselineError

    if not any(check.check == "comparable" and check.status is Status.ERROR for check in verdict.checks):
        raise BaselineError(
            f"--new-line: the run can be compared with the baseline, and the verdict is {verdict.status}",
            hint="leave --new-line out: a run that can be compared must pass the comparison",
        )


def _first(policy: Policy, candidate: Run) -> Policy:
    """What the first baseline must show: the checks that need no baseline, with a min-score among them."""
    from aigate.errors import BaselineError
    from aigate.gating.checks.min_score import MinScore

    alone = policy.without_baseline()
    if alone is None or not any(isinstance(check, MinScore) and not check.cannot_fail for check in alone.checks):
        raise BaselineError(
            f"{candidate.source}: the first baseline needs a passing min-score, one that can fail, and there is none",
            hint=f"say how good it must be: --threshold 0.85 (on {candidate.header.primary_metric})",
        )
    return alone
