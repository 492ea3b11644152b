"""`Response`: what one version answered to one sample, or how it failed to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from aigate.core.digest import sha256_text

__all__ = ["Fault", "FaultKind", "Response"]


class FaultKind(StrEnum):
    """Why a call gave no answer. Who is to blame decides what the gate does with it (see `aigate.core.ledger`)."""

    TIMEOUT = "timeout"
    """No answer within the deadline. The candidate's fault: users would have waited too."""
    SERVER = "server"
    """The provider answered 5xx."""
    BAD_RESPONSE = "bad_response"
    """The provider answered something that is no completion: malformed JSON, no choices."""
    BAD_REQUEST = "bad_request"
    """The provider refuses this request (4xx): e.g. the new version no longer accepts a parameter."""
    CONTENT_FILTER = "content_filter"
    """The provider's filter withheld the answer: a refusal."""
    CANDIDATE = "candidate"
    """The code under test raised, or a recording says that the system failed."""
    RATE_LIMIT = "rate_limit"
    """429 that outlasted the retries: says nothing about the candidate."""
    CONNECTION = "connection"
    """No connection: network, name or proxy."""
    AUTH = "auth"
    """401 or 403: our key."""
    NOT_FOUND = "not_found"
    """404: the declared model or endpoint does not exist for this key."""
    QUOTA = "quota"
    """The account is out of credit."""
    ADAPTER = "adapter"
    """The provider adapter itself broke: a defect of the code that calls, not of what is called."""
    MISSING = "missing"
    """The recording holds no answer for this sample and repeat."""

    @property
    def candidate_fault(self) -> bool:
        """True when the candidate is to blame, so that it scores 0; False for our own infrastructure: missing."""
        return self in _CANDIDATE_FAULTS

    @property
    def retryable(self) -> bool:
        """True when asking again can help."""
        return self in _RETRYABLE


_CANDIDATE_FAULTS = frozenset(
    {
        FaultKind.TIMEOUT,
        FaultKind.SERVER,
        FaultKind.BAD_RESPONSE,
        FaultKind.BAD_REQUEST,
        FaultKind.CONTENT_FILTER,
        FaultKind.CANDIDATE,
    }
)
_RETRYABLE = frozenset(
    {FaultKind.TIMEOUT, FaultKind.SERVER, FaultKind.BAD_RESPONSE, FaultKind.RATE_LIMIT, FaultKind.CONNECTION}
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no answer.

    Attributes:
        kind: Which fault.
        message: What the provider or the client said.
    """

    kind: FaultKind
    message: str


@dataclass(frozen=True)
class Response:
    """What one version answered: an output or a fault, never both, never neither.

    Attributes:
        output: The answer's text; None with a fault. An empty answer is "".
        fault: Why there is no answer; None with an output.
        latency_s: Seconds from request to last byte, of the attempt that answered; None where not measured.
        ttft_s: Seconds to the first token; only from streams.
        input_tokens: Tokens of the request, as the provider counts them.
        output_tokens: Tokens of the answer.
        cost_usd: Cost in US dollars.
        finish_reason: As the provider says: stop, length, content_filter, ...
        served_model: The model the provider says it served.
        fingerprint: The provider's `system_fingerprint`.
        refusal: True when the provider marked the answer as a refusal.
        scores: Scores that others computed (people, another tool), by name.
        attempts: Calls made for it, retries included; at least 1.
        retry_wait_s: Seconds spent waiting between attempts.
        longest_failed_s: Seconds of the longest attempt that failed through the candidate, at least its timeout where
            it timed out; 0.0 without one. Where a retry answered, this is what the answer's latency does not tell.
        journaled_at: When the answer was given, where it was taken from the journal instead of asked for: UTC, ISO
            8601; None for an answer of this run. Such an answer has no latency: nobody waited for it.
    """

    output: str | None = None
    fault: Fault | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    finish_reason: str | None = None
    served_model: str | None = None
    fingerprint: str | None = None
    refusal: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)
    attempts: int = 1
    retry_wait_s: float = 0.0
    longest_failed_s: float = 0.0
    journaled_at: str | None = None

    def __post_init__(self) -> None:
        if (self.output is None) == (self.fault is None):
            raise ValueError("a response has an output or a fault, never both and never neither")

    @property
    def truncated(self) -> bool:
        """True when the answer was cut at the token limit."""
        return self.finish_reason in {"length", "max_tokens", "max_output_tokens"}

    @cached_property
    def output_digest(self) -> str | None:
        """The digest of the output; None with a fault."""
        return None if self.output is None else sha256_text(self.output)

    @property
    def plain(self) -> bool:
        """True when every field is a text, a finite number or nothing: JSON can hold it, without looking further."""
        return not self.scores and all(_plain(getattr(self, name)) for name in ("output", *_OPTIONAL, *_WAITS))

    def to_dict(self) -> dict[str, Any]:
        """The response as JSON; fields at their default are left out."""
        whole: dict[str, Any] = {"output": self.output} if self.fault is None else {}
        if self.fault is not None:
            whole["fault"] = {"kind": str(self.fault.kind), "message": self.fault.message}
        for name in _OPTIONAL:
            if (value := getattr(self, name)) is not None:
                whole[name] = value
        if self.refusal:
            whole["refusal"] = True
        if self.scores:
            whole["scores"] = dict(self.scores)
        if self.attempts != 1 or self.retry_wait_s:
            whole["attempts"] = self.attempts
            whole["retry_wait_s"] = self.retry_wait_s
        if self.longest_failed_s:
            whole["longest_failed_s"] = self.longest_failed_s
        return whole

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Response:
        """The inverse of `to_dict`.

        Raises:
            ValueError: Neither or both of output and fault, or an unknown fault kind.
        """
        fault = row.get("fault")
        texts = [row.get(name) for name in ("output", "served_model", "fingerprint", "finish_reason", "journaled_at")]
        if not all(isinstance(text, str | None) for text in (*texts, (fault or {}).get("message"))):
            raise ValueError("a response's output, fault, model, fingerprint and finish reason are texts")
        return cls(
            output=row.get("output"),
            fault=None if fault is None else Fault(FaultKind(fault["kind"]), fault["message"]),
            refusal=row.get("refusal", False),
            scores=row.get("scores") or {},
            attempts=row.get("attempts", 1),
            retry_wait_s=row.get("retry_wait_s", 0.0),
            longest_failed_s=row.get("longest_failed_s", 0.0),
            **{name: row.get(name) for name in _OPTIONAL},
        )


_OPTIONAL = (
    "latency_s",
    "ttft_s",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "finish_reason",
    "served_model",
    "fingerprint",
    "journaled_at",
)


_WAITS = ("retry_wait_s", "longest_failed_s")


def _plain(value: object) -> bool:
    kind = type(value)
    return kind in _PLAIN_TYPES or (kind is float and math.isfinite(value))  # type: ignore[arg-type]


_PLAIN_TYPES = frozenset({str, int, bool, type(None)})
