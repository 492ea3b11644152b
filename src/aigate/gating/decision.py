"""`gate`: two stored runs and a policy in, one verdict out. Pure: no network, no clock, same input, same bytes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from aigate.core.digest import RAW_BYTES, combined_raw_digest, digest_of, seed_from, sorted_raw_digests
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Status, Verdict, overall
from aigate.gating.arrays import arrays_of
from aigate.gating.checks.base import Check, Evidence
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.comparison import Comparison
from aigate.gating.integrity import INTEGRITY, baseline_sound, comparable, gating_metrics, prompt_unchanged
from aigate.gating.judges import judge_sound
from aigate.gating.policy import Policy
from aigate.gating.reasons import reason
from aigate.gating.run_metrics import metric_table
from aigate.gating.views import View, in_view, views_of

__all__ = ["gate", "judged", "policy_of"]


def gate(
    candidate: Run, policy: Policy | None = None, *, baseline: Run | None = None, anchor: Run | None = None
) -> Verdict:
    """Decide whether a candidate may ship.

    A run with planned looks is decided by every `no-regression` at the first look that decides it. Answers beyond the
    last look that is complete are not used, whatever they are; only must-pass, the served model and scorers that
    changed are looked for in all of them. A pass of an early look stands unless a later one that is complete blocks.

    Args:
        candidate: The run under test.
        policy: What it must show; default: the policy stored in the candidate's run.
        baseline: The run it is held against; needed by checks that compare.
        anchor: An older run that every no-regression holds it against too, so that many small drops cannot add up;
            each of the two then blocks at half of alpha. One that is the baseline itself adds nothing.

    Returns:
        The verdict. `bool(verdict)` is True only for a pass.

    Raises:
        ConfigError: The stored policy cannot be read, or is empty.
    """
    policy = policy or policy_of(candidate)
    return judged(candidate, policy, views_of(candidate), baseline=baseline, anchor=anchor)


def judged(
    candidate: Run, policy: Policy, views: tuple[View, ...], *, baseline: Run | None, anchor: Run | None = None
) -> Verdict:
    """The verdict over some looks of a run; `gate` takes all that were asked."""
    long_term = _of_any_run(policy, candidate)
    unused = _anchor_unused(long_term, baseline, anchor)
    anchor = None if unused else anchor
    evidence = _evidence(candidate, policy, views, baseline)
    if evidence.comparison is not None:
        evidence = replace(evidence, part_may_pass=not evidence.comparison.change.breaking)
    integrity = [outcome for rule in INTEGRITY if (outcome := rule(evidence, policy)) is not None]
    outcomes: list[CheckOutcome] = []
    if unused:
        why = reason("anchor-unused", f"nothing is compared with the anchor: {unused}")
        integrity.append(
            CheckOutcome("baseline-sound", Status.PASS, why.text, reasons=(why,), integrity=True, against="anchor")
        )
    if anchor is None:
        outcomes = [_noted(check, check.judge(evidence)) for check in policy.checks]
    else:
        evidence = replace(evidence, block_share=0.5)
        older = replace(
            _evidence(candidate, replace(policy, checks=long_term), views, anchor),
            part_may_pass=evidence.part_may_pass,
            block_share=0.5,
            against="anchor",
        )
        rules = (baseline_sound, comparable, prompt_unchanged, judge_sound)
        own = replace(policy, checks=long_term)
        found = [outcome for rule in rules if (outcome := rule(older, own)) is not None]
        integrity += [replace(outcome, against="anchor") for outcome in found]
        for check in policy.checks:
            outcomes.append(_noted(check, check.judge(evidence)))
            if isinstance(check, NoRegression) and check in long_term:
                outcomes.append(replace(check.judge(older), against="anchor"))
    return Verdict(
        status=overall([*integrity, *outcomes]),
        checks=(*integrity, *outcomes),
        candidate=str(candidate.version),
        baseline=None if baseline is None else str(baseline.version),
        bound={
            "candidate": candidate.digest,
            "baseline": None if baseline is None else baseline.digest,
            **({} if anchor is None else {"anchor": anchor.digest}),
            "suite": candidate.header.suite_digest,
            "policy": policy.digest,
            "prompt": candidate.header.prompt_digest,
            **({"calibrations": digest_of(calibrations)} if (calibrations := candidate.header.calibrations) else {}),
        },
        ledger=candidate.ledger.to_dict(),
        valid_until=_valid_until(candidate, policy),
        metrics=metric_table(candidate),
    )


def _of_any_run(policy: Policy, candidate: Run) -> tuple[Check, ...]:
    """The checks, without comparisons on a metric that held answers against the baseline's and no other run's."""
    own = {spec.metric for spec in candidate.header.metrics if spec.against is not None}
    return tuple(c for c in policy.checks if not (isinstance(c, NoRegression) and c.metric in own))


def _anchor_unused(checks: tuple[Check, ...], baseline: Run | None, anchor: Run | None) -> str:
    """Why nothing is compared with the anchor; empty where something is, or where there is none."""
    if anchor is None:
        return ""
    if not any(isinstance(check, NoRegression) for check in checks):
        return "no check of the policy compares with an anchor"
    return "it is the baseline itself" if baseline is not None and anchor.digest == baseline.digest else ""


def _evidence(candidate: Run, policy: Policy, views: tuple[View, ...], baseline: Run | None) -> Evidence:
    comparison = None if baseline is None else Comparison(candidate, baseline)
    compared = gating_metrics(policy, candidate, compared=True)
    beside = "" if baseline is None else combined_raw_digest(_judged(baseline))
    seed = _seed(_judged(candidate), beside)
    return Evidence(
        candidate=candidate,
        comparison=comparison,
        settings=policy.settings,
        checks=policy.checks,
        obstacles=comparison.obstacles(compared) if comparison is not None and policy.needs_baseline else (),
        seed=seed,
        views=views,
        view_seeds=tuple(
            seed if candidate.header.looks is None else _seed(_judged(candidate, view), beside) for view in views
        ),
    )


def _seed(judged: bytes, beside: str) -> int:
    """The seed of what is drawn: from the scores of both runs and nothing else.

    No edit of a policy draws anew until it suits, and `compare` has the bounds of `gate`.
    """
    return seed_from(combined_raw_digest(judged), beside) % 2**63


def _judged(run: Run, view: View | None = None) -> bytes:
    """Digests of what was judged, in order: scores and outcomes, not times, so that the same scores draw the same.

    Args:
        run: The run.
        view: Only the results that a look uses; None for all.
    """
    arrays = arrays_of(run)
    judged = np.frombuffer(run.columns.answers.judged, dtype=np.uint8).reshape(-1, RAW_BYTES)
    if view is None or (view.whole and (arrays.repeat < view.repeats).all()):
        return arrays.remember("judged", lambda: sorted_raw_digests(judged.tobytes()))
    used = in_view(run, view)[arrays.sample] & (arrays.repeat < view.repeats)
    return sorted_raw_digests(judged[used].tobytes())


def _noted(check: Check, outcome: CheckOutcome) -> CheckOutcome:
    """The outcome, with a note where the check is one that cannot fail: a weak policy is said, not hidden."""
    if not (why := check.cannot_fail):
        return outcome
    return replace(outcome, reasons=(*outcome.reasons, reason("cannot-fail", f"this check cannot fail: {why}")))


def policy_of(run: Run) -> Policy:
    """The policy stored in a run's header.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    return Policy.from_config(run.header.policy, where=f"{run.source or 'the run'}: policy")


def _valid_until(run: Run, policy: Policy) -> str | None:
    """The end of the run plus the policy's validity; None for a run that does not say when it ended."""
    try:
        ended = datetime.strptime(run.finished_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (ended + timedelta(days=policy.valid_days)).strftime("%Y-%m-%dT%H:%M:%SZ")
