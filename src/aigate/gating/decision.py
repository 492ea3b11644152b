"""`gate`: two stored runs and a policy in, one verdict out. Pure: no network, no clock, same input, same bytes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from aigate.core.digest import combined_digest, digest_of, seed_from
from aigate.core.run import Run
from aigate.core.score import Score
from aigate.core.verdict import CheckOutcome, Verdict, overall
from aigate.gating.checks.base import Check, Evidence
from aigate.gating.comparison import Comparison
from aigate.gating.integrity import INTEGRITY, gating_metrics
from aigate.gating.policy import Policy
from aigate.gating.reasons import reason
from aigate.gating.run_metrics import metric_table

__all__ = ["gate", "policy_of"]


def gate(candidate: Run, policy: Policy | None = None, *, baseline: Run | None = None) -> Verdict:
    """Decide whether a candidate may ship.

    Args:
        candidate: The run under test.
        policy: What it must show; default: the policy stored in the candidate's run.
        baseline: The run it is held against; needed by checks that compare.

    Returns:
        The verdict. `bool(verdict)` is True only for a pass.

    Raises:
        ConfigError: The stored policy cannot be read, or is empty.
    """
    policy = policy or policy_of(candidate)
    comparison = None if baseline is None else Comparison(candidate, baseline)
    compared = gating_metrics(policy, candidate, compared=True)
    evidence = Evidence(
        candidate=candidate,
        comparison=comparison,
        settings=policy.settings,
        checks=policy.checks,
        obstacles=comparison.obstacles(compared) if comparison is not None and policy.needs_baseline else (),
        seed=seed_from(_judged(candidate), "" if baseline is None else _judged(baseline), policy.digest) % 2**63,
    )
    integrity = [outcome for rule in INTEGRITY if (outcome := rule(evidence, policy)) is not None]
    judged = [_noted(check, check.judge(evidence)) for check in policy.checks]
    return Verdict(
        status=overall([*integrity, *judged]),
        checks=(*integrity, *judged),
        candidate=str(candidate.version),
        baseline=None if baseline is None else str(baseline.version),
        bound={
            "candidate": candidate.digest,
            "baseline": None if baseline is None else baseline.digest,
            "suite": candidate.header.suite_digest,
            "policy": policy.digest,
            "prompt": candidate.header.prompt_digest,
        },
        ledger=candidate.ledger.to_dict(),
        valid_until=_valid_until(candidate, policy),
        metrics=metric_table(candidate),
    )


def _noted(check: Check, outcome: CheckOutcome) -> CheckOutcome:
    """The outcome, with a note where the check is one that cannot fail: a weak policy is said, not hidden."""
    if not (why := check.cannot_fail):
        return outcome
    return replace(outcome, reasons=(*outcome.reasons, reason("cannot-fail", f"this check cannot fail: {why}")))


def _judged(run: Run) -> str:
    """The digest of what was judged: scores and outcomes, not times, so that the same scores draw the same numbers."""
    rows = (
        (
            r.sample_id,
            r.repeat,
            r.outcome,
            {m: s.value if isinstance(s, Score) else s.reason for m, s in r.scores.items()},
        )
        for r in run.results
    )
    return combined_digest(digest_of(row) for row in rows)


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
