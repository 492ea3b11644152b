"""`Score | Unscored`: a judgement of one response, or the reason why there is none. Missing is a type, not a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, SupportsFloat, get_args

__all__ = ["Direction", "MetricSpec", "Score", "ScoreOrNot", "Unscored", "UnscoredReason", "score_from_dict"]

Direction = Literal["higher", "lower"]

UnscoredReason = Literal[
    "judge_error", "infrastructure_error", "unparseable", "no_reference", "not_applicable", "not_run"
]
"""Why there is no score.

judge_error: the scorer or judge broke. infrastructure_error: there was no answer, and not by the candidate's fault.
unparseable: the scorer could not read the output; the candidate is to blame, so the runner stores the worst score.
no_reference, not_applicable: the sample holds nothing to judge by (it is outside the metric, in both runs alike).
not_run: early stop or budget.
"""


@dataclass(frozen=True, slots=True)
class Score:
    """One judgement, in [0, 1].

    Attributes:
        value: The score; finite, in [0, 1].
        explanation: Why, in words a person can check.
        answer: What the scorer read out of the output (a label, a number), where it read something.
        details: Anything else as JSON: claims, matches, counts.
    """

    value: float
    explanation: str = ""
    answer: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _is_number(self.value) or not 0.0 <= self.value <= 1.0:
            raise ValueError(f"a score lies in [0, 1], got {self.value!r}; what cannot be scored is Unscored(reason)")

    def to_dict(self) -> dict[str, Any]:
        """The score as JSON."""
        whole: dict[str, Any] = {"value": float(self.value)}
        if self.explanation:
            whole["explanation"] = self.explanation
        if self.answer is not None:
            whole["answer"] = self.answer
        if self.details:
            whole["details"] = dict(self.details)
        return whole


def _is_number(value: Any) -> bool:
    """True for a finite number. `True` is none, and neither is text that looks like one."""
    plain = type(value) is float or isinstance(value, SupportsFloat)  # asking the protocol costs 20 microseconds
    return plain and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True)
class Unscored:
    """No judgement, and why.

    Attributes:
        reason: The kind of cause.
        explanation: The cause in words.
    """

    reason: UnscoredReason
    explanation: str = ""

    def __post_init__(self) -> None:
        if self.reason not in get_args(UnscoredReason):
            raise ValueError(f"unscored for {self.reason!r}: expected one of {', '.join(get_args(UnscoredReason))}")

    @property
    def applicable(self) -> bool:
        """True when a score should be here and is missing; False when the metric does not concern the sample."""
        return self.reason not in {"no_reference", "not_applicable"}

    def to_dict(self) -> dict[str, Any]:
        """The missing score as JSON."""
        return {"unscored": self.reason, "explanation": self.explanation}


ScoreOrNot = Score | Unscored


def score_from_dict(row: Mapping[str, Any]) -> ScoreOrNot:
    """The inverse of `Score.to_dict` and `Unscored.to_dict`.

    Raises:
        ValueError: A value outside [0, 1], or an unknown reason.
        KeyError: Neither form.
    """
    if "unscored" in row:
        return Unscored(row["unscored"], row.get("explanation", ""))
    return Score(row["value"], row.get("explanation", ""), row.get("answer"), row.get("details") or {})


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a scorer computes, as stored in a run's header.

    Attributes:
        metric: The metric's name, as the policy names it.
        scorer: The scorer's name.
        scorer_version: Raised whenever the same output may get another score.
        options: The scorer's options, as JSON.
        direction: Which way is better.
        deterministic: True when the same output and sample always get the same score.
        judge: The judge's version and prompt digest, for judged metrics.
        against: For a metric that holds each answer against a stored one, the digest of the run that has those: there
            the metric is 0.5 for every sample, by definition. Empty where there was no run; None for all other metrics.
    """

    metric: str
    scorer: str
    scorer_version: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    direction: Direction = "higher"
    deterministic: bool = True
    judge: Mapping[str, Any] | None = None
    against: str | None = None

    def better(self, value: float) -> float:
        """The value turned so that higher is better, still in [0, 1]."""
        return value if self.direction == "higher" else 1.0 - value

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON."""
        return {
            "metric": self.metric,
            "scorer": self.scorer,
            "scorer_version": self.scorer_version,
            "options": dict(self.options),
            "direction": self.direction,
            "deterministic": self.deterministic,
            "judge": None if self.judge is None else dict(self.judge),
            **({} if self.against is None else {"against": self.against}),
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> MetricSpec:
        """The inverse of `to_dict`.

        Raises:
            TypeError, ValueError: The row is no spec.
        """
        spec = cls(**row)
        texts = all(isinstance(text, str) for text in (spec.metric, spec.scorer))
        if not texts or not isinstance(spec.options, dict) or spec.direction not in {"higher", "lower"}:
            raise ValueError(f"no spec of a metric: {row!r}")
        return spec
