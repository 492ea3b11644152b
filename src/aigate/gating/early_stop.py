"""When a run may be decided before its end: the looks to plan for a suite, and whether a run is settled at one.

A suite of 200 units or more is looked at five times, in parts of growing size. One that is too small for its margin
begins with one answer to each sample, and asks more of them only while nothing is decided (escalation); one that is too
small for any pass does not, since no pass could follow. Both may be: five looks at one answer each, then one at more.
Everything here is fixed before the first answer and knows nothing of the candidate's scores.

Where looks are planned, samples that must pass are asked before all others, as look 0: one that fails settles the
verdict, and no other check of the policy can before look 1.

`aigate eval` plans all of this. In Python it is planned by hand, since `evaluate` asks everything by itself:

    policy = Policy((NoRegression("correct"), MustPass(tag="safety")))
    samples = load_suite(folder).samples
    plan = plan_looks(samples, policy, baseline, repeats=1, max_repeats=3, early_stop=True)
    settled, first = settled_by(policy, baseline), asked_first(samples, policy)
    run = evaluate(folder, provider=ask, repeats=1, looks=plan, settled=settled, first=first)
    verdict = gate(run, policy, baseline=baseline)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeGuard

from aigate.core.columns import SampleColumns, columns_of
from aigate.core.looks import Look, LookPlan
from aigate.core.run import Run
from aigate.core.sample import Sample
from aigate.core.verdict import Status, Verdict
from aigate.gating.checks.base import Check
from aigate.gating.checks.min_score import MinScore
from aigate.gating.checks.must_pass import MustPass
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.margins import spread_of, units_needed
from aigate.gating.policy import Policy
from aigate.gating.views import views_of
from aigate.stats.noninferiority import FEWEST_UNITS

__all__ = ["LARGE_ENOUGH", "LOOKS", "asked_first", "more_answers_help", "plan_looks", "settled_by"]

LOOKS = 5
LARGE_ENOUGH = 200
"""Units from which looks are worth their price: with 100, an unchanged candidate would save a tenth of its calls."""

CERTAIN_ERRORS = frozenset({"served-model", "comparable", "prompt-unchanged"})


def plan_looks(
    samples: Sequence[Sample] | SampleColumns,
    policy: Policy,
    baseline: Run | None,
    *,
    repeats: int,
    max_repeats: int,
    early_stop: bool,
) -> LookPlan | None:
    """The looks of a run, to be fixed before the first answer.

    Args:
        samples: What will be asked.
        policy: What it will be decided by.
        baseline: What it will be held against; its repeats tell how noisy the suite is.
        repeats: Answers per sample to begin with.
        max_repeats: Answers per sample where one look more could decide; as many as `repeats` for no escalation.
        early_stop: Whether the run may be decided on a part of the suite.

    Returns:
        None where only the end decides.
    """
    samples = columns_of(samples)
    units = samples.n_units
    if policy.needs_baseline and baseline is None:
        return None  # a first run is made to become the baseline: it asks everything
    sequential = any(isinstance(check, MinScore) or _is_relabelled(check) for check in policy.checks)
    wanted = max_repeats > repeats and baseline is not None
    escalates = wanted and more_answers_help(samples, policy, baseline, repeats=repeats, most_repeats=max_repeats)
    parts = LOOKS if early_stop and sequential and units >= LARGE_ENOUGH else 1
    looks = [Look(-(-units * k // parts), repeats) for k in range(1, parts + 1)]
    looks += [Look(units, max_repeats)] if escalates else []
    return LookPlan(tuple(looks)) if len(looks) > 1 else None


def more_answers_help(
    samples: Sequence[Sample] | SampleColumns,
    policy: Policy,
    baseline: Run | None,
    *,
    repeats: int,
    baseline_repeats: int | None = None,
    most_repeats: int | None = None,
) -> bool:
    """Whether more answers to each sample may decide what so many leave undecided.

    Args:
        samples: What will be asked.
        policy: What it will be decided by.
        baseline: What it will be held against; None: one like what is asked now.
        repeats: Answers per sample to begin with.
        baseline_repeats: Plan with so many of the baseline; default: those it has, or `repeats` without one.
        most_repeats: Answers per sample at most; default: `repeats`.

    Returns:
        True when some margin needs more samples or groups than there are, with so many answers, or some check needs
        more answers (p99 of latency) and the most there may be are enough. False where a check has too few samples or
        groups for any pass: no number of answers makes up for that.
    """
    samples = columns_of(samples)
    short = _answers_short(samples, policy, repeats) and not _answers_short(samples, policy, most_repeats or repeats)
    for check in policy.checks:
        if not _is_relabelled(check):
            continue
        margin = policy.margin if check.margin is None else check.margin
        spread = spread_of(
            baseline, check.metric, candidate_repeats=repeats, baseline_repeats=baseline_repeats, samples=samples
        )
        if spread.n_units < FEWEST_UNITS:
            return False
        short |= margin != "auto" and units_needed(spread, margin, alpha=policy.alpha) > spread.n_units
    return short


def _answers_short(samples: SampleColumns, policy: Policy, repeats: int) -> bool:
    """Whether some check can never pass on so many answers per sample."""
    units = samples.n_units
    return any(check.too_small_for(units, len(samples) * repeats, policy.alpha) for check in policy.checks)


def _is_relabelled(check: Check) -> TypeGuard[NoRegression]:
    """True for a comparison that looks decide; people's labels decide at the end only, and more answers have none."""
    return isinstance(check, NoRegression) and check.human is None


def asked_first(samples: Sequence[Sample] | SampleColumns, policy: Policy) -> frozenset[str]:
    """Ids of the samples that must pass: one failure settles the verdict, so they come before all others."""
    tags = {check.tag for check in policy.checks if isinstance(check, MustPass)}
    columns = columns_of(samples)
    return frozenset(columns.ids[row] for row in columns.tagged(tags))


def settled_by(policy: Policy, baseline: Run | None, anchor: Run | None = None) -> Callable[[Run], bool]:
    """A rule that says of a run, as it stands at a look, whether the verdict is certain.

    Args:
        policy: What it is decided by.
        baseline: What it is held against.
        anchor: An older run beside the baseline.

    Returns:
        A function of the run in which everything not yet asked is skipped by early stop.
    """

    def settled(run: Run) -> bool:
        from aigate.gating.decision import gate  # with all that only a decision needs, after the first calls are out

        verdict = gate(run, policy, baseline=baseline, anchor=anchor)
        return _void(verdict) or (_certain(verdict) if views_of(run) else _lost_already(verdict))

    return settled


def _void(verdict: Verdict) -> bool:
    """An error that no further answer can take back."""
    return any(check.check in CERTAIN_ERRORS and check.status is Status.ERROR for check in verdict.checks)


def _certain(verdict: Verdict) -> bool:
    """A pass or a failed check, at a planned look."""
    return bool(verdict) or any(check.status is Status.FAIL for check in verdict.checks)


def _lost_already(verdict: Verdict) -> bool:
    """A sample that must pass and fails. Before look 1 nothing else counts: nobody drew the samples that were asked."""
    failed = any(check.check == MustPass.name and check.status is Status.FAIL for check in verdict.checks)
    return failed and verdict.status is Status.FAIL  # where faults are too many among so few, more answers may help
