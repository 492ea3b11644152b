"""The outcome ledger: every sample and repeat ends in exactly one outcome, and the counts are on every report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Ledger", "Outcome"]


class Outcome(StrEnum):
    """How one sample and repeat ended."""

    SCORED = "scored"
    PROVIDER_ERROR = "provider_error"
    REFUSED = "refused"
    TRUNCATED = "truncated"
    UNPARSEABLE = "unparseable"
    JUDGE_ERROR = "judge_error"
    INFRASTRUCTURE_ERROR = "infrastructure_error"
    EARLY_STOP = "skipped_by_early_stop"
    BUDGET = "stopped_by_budget"

    @property
    def candidate_fault(self) -> bool:
        """True when the candidate is to blame for the missing score: it counts as 0 on every metric."""
        return self in {Outcome.PROVIDER_ERROR, Outcome.REFUSED, Outcome.TRUNCATED, Outcome.UNPARSEABLE}

    @property
    def unanswered(self) -> bool:
        """True when no answer came back: what `max-error-rate` counts."""
        return self in {Outcome.PROVIDER_ERROR, Outcome.INFRASTRUCTURE_ERROR}

    @property
    def not_run(self) -> bool:
        """True when nothing was asked."""
        return self in {Outcome.EARLY_STOP, Outcome.BUDGET}


@dataclass(frozen=True, slots=True)
class Ledger:
    """Counts per outcome.

    Attributes:
        counts: Every outcome with its count; zero included.
    """

    counts: Mapping[Outcome, int]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Ledger:
        """Count outcomes."""
        seen = Counter(outcomes)
        return cls({outcome: seen[outcome] for outcome in Outcome})

    @property
    def total(self) -> int:
        """All samples and repeats."""
        return sum(self.counts.values())

    @property
    def unanswered(self) -> int:
        """Those asked that gave no answer."""
        return sum(count for outcome, count in self.counts.items() if outcome.unanswered)

    @property
    def asked(self) -> int:
        """Those that were asked at all."""
        return self.total - sum(count for outcome, count in self.counts.items() if outcome.not_run)

    def to_dict(self) -> dict[str, int]:
        """The counts as JSON, zero included, so that no outcome can be lost from a report."""
        return {str(outcome): self.counts[outcome] for outcome in Outcome}

    def __str__(self) -> str:
        named = [f"{count} {str(outcome).replace('_', ' ')}" for outcome, count in self.counts.items() if count]
        return " · ".join(named) or "nothing ran"
