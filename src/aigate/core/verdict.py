"""`Verdict`: the decision, with its evidence. True only for a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aigate.core.digest import digest_of
from aigate.core.display import Displayed
from aigate.errors import GateErrored, GateFailed, GateInconclusive

__all__ = ["VERDICT_FORMAT", "CheckOutcome", "Interval", "Moved", "Reason", "Status", "Verdict", "overall", "worst"]

VERDICT_FORMAT = "aigate.verdict/1"


class Status(StrEnum):
    """What a check or a verdict says."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"

    @property
    def exit_code(self) -> int:
        """The exit code of the command line: 0 pass, 1 fail, 3 inconclusive, 4 error."""
        return {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 3, Status.ERROR: 4}[self]


def worst(statuses: list[Status]) -> Status:
    """One status for many: fail over error over inconclusive over pass. Of none at all: error, never pass."""
    for status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE):
        if status in statuses:
            return status
    return Status.PASS if statuses else Status.ERROR


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause, for machines and for people.

    Attributes:
        code: Kebab-case, stable: part of the contract.
        text: A sentence.
        hint: What to do next.
    """

    code: str
    text: str
    hint: str = ""

    def to_dict(self) -> dict[str, str]:
        """The reason as JSON."""
        return {"code": self.code, "text": self.text, "hint": self.hint}


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower end.
        high: Upper end.
        level: Two-sided level, e.g. 0.9 (each end is then a one-sided 95 % bound).
        method: How it was computed.
    """

    low: float
    high: float
    level: float
    method: str

    def to_dict(self) -> dict[str, Any]:
        """The interval as JSON."""
        return {"low": self.low, "high": self.high, "level": self.level, "method": self.method}


@dataclass(frozen=True, slots=True)
class Moved:
    """A sample that moved between baseline and candidate, or that broke a rule.

    Attributes:
        sample_id: Which sample.
        baseline: Its mean score in the baseline over repeats, higher is better; None without one.
        candidate: Its mean score in the candidate.
        note: What happened, when it is not a score that moved.
    """

    sample_id: str
    baseline: float | None
    candidate: float | None
    note: str = ""

    @property
    def got_worse(self) -> bool:
        """False for a sample that scores as it did before, or better."""
        return self.baseline is None or self.candidate is None or self.candidate < self.baseline

    def to_dict(self) -> dict[str, Any]:
        """The move as JSON."""
        return {"id": self.sample_id, "baseline": self.baseline, "candidate": self.candidate, "note": self.note}


@dataclass(frozen=True)
class CheckOutcome:
    """What one check found.

    Attributes:
        check: The check's name, e.g. `no-regression`.
        status: What it says.
        summary: One line for people, with observed value and bound.
        metric: The metric it looked at, where it looks at one.
        observed: The number it decided on (a mean, a difference, a rate).
        interval: The interval of `observed`.
        threshold: What `observed` was held against.
        n_samples: Samples used.
        n_groups: Statistical units used.
        n_repeats: Candidate repeats, and baseline repeats where there is a baseline.
        alpha: One-sided error rate of the decision, where it is a statistical one.
        smallest_detectable_drop: Drop found with 80 % power by a suite of this size and noise, on the metric's scale.
        share_used: Share of the suite's samples that the decision rests on, in [0, 1].
        moved: The samples that moved, worst first.
        reasons: Why it is no pass; may hold notes with a pass.
        details: Anything else as JSON (p-values, slices, shapes).
        integrity: True for the checks that make all others void when they end in error.
        look: The planned look at which it was decided, from 1; None where nothing was planned or nothing is sampled.
        looks: How many looks were planned.
        against: What it was held against: `anchor`, or None for the baseline (or nothing).
    """

    check: str
    status: Status
    summary: str
    metric: str | None = None
    observed: float | None = None
    interval: Interval | None = None
    threshold: float | None = None
    n_samples: int = 0
    n_groups: int = 0
    n_repeats: tuple[int, ...] = ()
    alpha: float | None = None
    smallest_detectable_drop: float | None = None
    share_used: float | None = None
    moved: tuple[Moved, ...] = ()
    reasons: tuple[Reason, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    integrity: bool = False
    look: int | None = None
    looks: int | None = None
    against: str | None = None

    @property
    def label(self) -> str:
        """The check and its metric, e.g. `min-score faithfulness`."""
        named = f"{self.check} {self.metric}" if self.metric else self.check
        return f"{named} vs {self.against}" if self.against else named

    @property
    def baseline_bound(self) -> bool:
        """True when it compared with a baseline: it used the repeats of two runs."""
        return len(self.n_repeats) > 1

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON; every field is always there."""
        return {
            "check": self.check,
            "metric": self.metric,
            "status": str(self.status),
            "summary": self.summary,
            "observed": self.observed,
            "interval": None if self.interval is None else self.interval.to_dict(),
            "threshold": self.threshold,
            "n_samples": self.n_samples,
            "n_groups": self.n_groups,
            "n_repeats": list(self.n_repeats),
            "alpha": self.alpha,
            "smallest_detectable_drop": self.smallest_detectable_drop,
            "share_used": self.share_used,
            "moved": [moved.to_dict() for moved in self.moved],
            "reasons": [reason.to_dict() for reason in self.reasons],
            "details": dict(self.details),
            "integrity": self.integrity,
            "look": self.look,
            "looks": self.looks,
            "against": self.against,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> CheckOutcome:
        """The inverse of `to_dict`."""
        whole = dict(row)
        whole["status"] = Status(row["status"])
        whole["interval"] = None if row["interval"] is None else Interval(**row["interval"])
        whole["n_repeats"] = tuple(row["n_repeats"])
        whole["moved"] = tuple(Moved(m["id"], m["baseline"], m["candidate"], m["note"]) for m in row["moved"])
        whole["reasons"] = tuple(Reason(**reason) for reason in row["reasons"])
        return cls(**whole)


def overall(checks: Sequence[CheckOutcome]) -> Status:
    """The status of a verdict: an integrity error voids everything; otherwise the worst of all checks.

    Error where no check of a policy was judged.
    """
    if any(check.integrity and check.status is Status.ERROR for check in checks):
        return Status.ERROR
    if all(check.integrity for check in checks):
        return Status.ERROR
    return worst([check.status for check in checks])


@dataclass(frozen=True)
class Verdict(Displayed):
    """The decision. `bool(verdict)` is True only for a pass: inconclusive and error are False like a fail.

    Attributes:
        status: The decision.
        checks: One outcome per check, in the policy's order, integrity checks first.
        candidate: The version under test, as text.
        baseline: The baseline's version; None without one.
        bound: The digests it is bound to: candidate run, baseline run, suite, policy, prompt.
        ledger: The candidate's outcome counts.
        valid_until: UTC, ISO 8601: after that, test again.
        metrics: Every metric of the candidate, gating or not: mean, scored, missing; run metrics have a value.
    """

    status: Status
    checks: tuple[CheckOutcome, ...]
    candidate: str
    baseline: str | None
    bound: Mapping[str, str | None]
    ledger: Mapping[str, int]
    valid_until: str | None = None
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.status is Status.PASS and bool(self.checks)

    def __str__(self) -> str:
        """The decision, and what each check found that did not pass: a line each."""
        found = (f"  {check.label}: {check.summary}" for check in self.checks if check.status is not Status.PASS)
        return "\n".join((f"{self.status}: {self.candidate}", *found))

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why it is no pass: the reasons of the checks that decided it."""
        return tuple(reason for check in self.checks if check.status is not Status.PASS for reason in check.reasons)

    @property
    def notes(self) -> tuple[Reason, ...]:
        """What passing checks want a reader to know."""
        return tuple(reason for check in self.checks if check.status is Status.PASS for reason in check.reasons)

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 inconclusive, 4 error. A pass that rests on no check is an error."""
        return self.status.exit_code if self or self.status is not Status.PASS else Status.ERROR.exit_code

    @property
    def digest(self) -> str:
        """The digest of the verdict's JSON."""
        return digest_of(self.to_dict())

    def raise_for_status(self) -> None:
        """Do nothing for a pass; raise otherwise.

        Raises:
            GateFailed: Status fail.
            GateInconclusive: Status inconclusive.
            GateErrored: Status error.
        """
        __tracebackhide__ = True  # pytest shows the line that asked
        if self:
            return
        kind = {Status.FAIL: GateFailed, Status.INCONCLUSIVE: GateInconclusive}.get(self.status, GateErrored)
        raise kind(str(self), verdict=self)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as `aigate.verdict/1` JSON. Same runs and policy, same bytes: nothing here reads a clock."""
        return {
            "format": VERDICT_FORMAT,
            "status": str(self.status),
            "reason_codes": sorted({reason.code for reason in self.reasons}),
            "candidate": self.candidate,
            "baseline": self.baseline,
            "checks": [check.to_dict() for check in self.checks],
            "metrics": {name: dict(numbers) for name, numbers in self.metrics.items()},
            "ledger": dict(self.ledger),
            "bound": dict(self.bound),
            "valid_until": self.valid_until,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Verdict:
        """The inverse of `to_dict`.

        Raises:
            ValueError: Another format, a status that is none, or one that its checks contradict.
        """
        if row.get("format") != VERDICT_FORMAT:
            raise ValueError(f"expected format {VERDICT_FORMAT!r}, got {row.get('format')!r}")
        checks = tuple(CheckOutcome.from_dict(check) for check in row["checks"])
        if row["status"] != overall(checks):
            raise ValueError(f"status {row['status']!r} contradicts the checks, which say {str(overall(checks))!r}")
        return cls(
            status=Status(row["status"]),
            checks=checks,
            candidate=row["candidate"],
            baseline=row["baseline"],
            bound=row["bound"],
            ledger=row["ledger"],
            valid_until=row["valid_until"],
            metrics=row["metrics"],
        )
