"""How far the judge of a gating metric says what people say: a weak one may not gate, and what it shrinks is said.

A judge is a model that scores (`MetricSpec.judge`), and `grounding`, which stands for people's judgement without being
a model. Any other scorer counts as one once somebody calibrated it: who measures a scorer against people means it to
speak for them. A calibration goes with the run (`aigate.scorers.calibration`), and counts only for the very way in
which its metric was computed then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aigate.core.counts import count_of
from aigate.core.run import Run
from aigate.core.score import MetricSpec
from aigate.core.verdict import CheckOutcome, Reason, Status
from aigate.gating.checks.base import Check, Evidence
from aigate.gating.policy import Policy
from aigate.gating.reasons import reason
from aigate.scorers.calibration import WEAK, Calibration
from aigate.stats.agreement import detectable_under_judge

__all__ = ["PeoplesTerms", "calibration_of", "in_peoples_terms", "judge_agreement", "stands_for_people"]

HEURISTICS = frozenset({"grounding"})
CALIBRATE = "aigate judge calibrate ANSWERS --scorer {} --human LABEL"


def stands_for_people(spec: MetricSpec) -> bool:
    """True for a metric that claims to say what people would say."""
    return spec.judge is not None or spec.scorer in HEURISTICS


def calibration_of(run: Run, metric: str) -> Calibration | None:
    """The calibration that a run holds of a metric, whether it still counts or not; None where there is none.

    Raises:
        KeyError, TypeError, ValueError: What the run holds is no calibration.
    """
    found = run.header.calibrations.get(metric)
    return None if found is None else Calibration.from_dict(found)


def judge_agreement(evidence: Evidence, policy: Policy) -> CheckOutcome | None:
    """Every judge that gates is known to agree with people well enough, or the policy says by name that it need not.

    Weak (J below 0.5, and not accepted): inconclusive, since a pass would show less than half of what it says. A judge
    that nobody held against people's labels is told of with every verdict, and gates.
    """
    run = evidence.candidate
    named = dict.fromkeys(metric for check in policy.checks for metric in _judged_by(check, run))
    specs = [spec for metric in named if (spec := run.header.metric(metric)) is not None]
    found = [known for spec in specs if (known := _known(spec, run, policy)) is not None]
    if not found:
        return None
    weak = [known.told for known in found if known.weak]
    return CheckOutcome(
        "judge-agreement",
        Status.INCONCLUSIVE if weak else Status.PASS,
        "; ".join(weak or [known.told for known in found]),
        reasons=tuple(known.reason for known in found if known.reason is not None),
        integrity=True,
    )


def _judged_by(check: Check, run: Run) -> tuple[str, ...]:
    """The metrics on which a check takes a judge's word: not where people's labels decide."""
    if getattr(check, "human", None) is not None:
        return ()
    return tuple(m if run.header.metric(m) else m.partition(".")[0] for m in check.metrics_for(run))


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one metric's judge; there is nothing to reason about where it is good."""

    told: str
    reason: Reason | None = None
    weak: bool = False


def _known(spec: MetricSpec, run: Run, policy: Policy) -> _Known | None:
    """None for a metric that stands for nobody."""
    try:
        calibration = calibration_of(run, spec.metric)
    except (KeyError, TypeError, ValueError) as error:
        return _unknown(spec, f"the calibration in the run cannot be read ({error})", code="calibration-stale")
    if calibration is None and not stands_for_people(spec):
        return None
    if calibration is None:
        return _unknown(spec, "nobody measured how far it says what people say", code="judge-uncalibrated")
    if not calibration.holds_for(spec):
        made = calibration.made_at[:10]
        return _unknown(spec, f"it is not computed as it was calibrated on {made}", code="calibration-stale")
    return _measured(calibration, accepted=spec.metric in policy.accept_weak_judge)


def _unknown(spec: MetricSpec, why: str, *, code: str) -> _Known:
    told = f"{spec.metric}: {why}"
    return _Known(told, reason(code, told, CALIBRATE.format(spec.metric)))


def _measured(calibration: Calibration, *, accepted: bool) -> _Known:
    j = calibration.overall.youden_j
    value = "is not defined" if j.value is None else f"is {j.value:.2f} (95% interval {j.low:.2f} to {j.high:.2f})"
    told = f"{calibration.metric}: J against {calibration.human} {value}, {count_of(calibration.overall.n, 'answer')}"
    if calibration.strong:
        return _Known(told)
    if accepted:
        told = f"{told}: below {WEAK}, and the policy accepts it"
        return _Known(told, reason("weak-judge-accepted", told))
    told = f"{told}: below {WEAK}, too weak to gate"
    hint = f'use a better judge, or say so in [policy]: accept-weak-judge = ["{calibration.metric}"]'
    return _Known(told, reason("weak-judge", told, hint), weak=True)


@dataclass(frozen=True, slots=True)
class PeoplesTerms:
    """What a detectable drop and a margin are worth in the share of answers that people call good.

    Attributes:
        told: The end of a sentence; empty where nothing is known.
        details: The numbers; empty where nothing is known.
    """

    told: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


def in_peoples_terms(run: Run, metric: str, *, detectable: float, margin: float) -> PeoplesTerms:
    """The drop that is detected and the margin, divided by what the judge leaves of a change in its mean score.

    For 0/1 scores that is J = sensitivity + specificity - 1, for graded ones the mean score of what people call good
    less that of what they call bad (`aigate.stats.agreement.contrast`).
    """
    spec = run.header.metric(metric)
    try:
        calibration = calibration_of(run, metric)
    except (KeyError, TypeError, ValueError):  # `judge_agreement` says so
        return PeoplesTerms()
    if spec is None or calibration is None or not calibration.holds_for(spec):
        return PeoplesTerms()
    left = calibration.overall.contrast.value or 0.0
    seen, tolerated = (detectable_under_judge(value, left) for value in (detectable, margin))
    details = {
        "youden_j": calibration.overall.youden_j.value,
        "contrast": left,
        "detectable": seen,
        "margin": tolerated,
        "calibration": calibration.digest,
    }
    told = f"sees {seen * 100:.3g} points" if seen < 1.0 else "sees no drop at all"
    return PeoplesTerms(f"; as people judge {told}, tolerates {tolerated * 100:.3g}", {"as_people_judge": details})
