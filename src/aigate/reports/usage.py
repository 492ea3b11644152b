"""What the answers of a run took: seconds, tokens, US dollars. What was not measured is counted, never zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from aigate.core.response import Response
from aigate.core.run import Run
from aigate.stats.quantiles import QuantileInterval, quantile_interval

__all__ = ["QUANTILES", "Amount", "Curve", "Usage", "curve_of", "usage_of"]

QUANTILES = (0.50, 0.95, 0.99)
CURVE_POINTS = 400  # more than a screen shows
LEVEL = 0.90


@dataclass(frozen=True, slots=True)
class Curve:
    """The distribution of a measured time.

    Attributes:
        values: Seconds, ascending.
        unmeasured: Answers without one.
    """

    values: tuple[float, ...]
    unmeasured: int

    def __bool__(self) -> bool:
        return bool(self.values)

    def quantile(self, share: float) -> QuantileInterval:
        """A quantile with its 90 % bounds; the curve must hold a value."""
        return quantile_interval(self.values, share, level=LEVEL)

    def steps(self) -> tuple[tuple[float, float], ...]:
        """Points (seconds, share of answers that took no longer), ascending; about 400 at most, both ends included."""
        n = len(self.values)
        every = max(1, math.ceil(n / CURVE_POINTS))
        ranks = [*range(every, n, every), n] if n else []
        points = [(self.values[rank - 1], rank / n) for rank in ranks]
        return tuple(now for now, later in pairwise([*points, (math.inf, 1.0)]) if now[0] < later[0])


@dataclass(frozen=True, slots=True)
class Amount:
    """A sum over the answers that tell it.

    Attributes:
        total: The sum.
        known: Answers that tell it.
        unknown: Answers that do not.
    """

    total: float
    known: int
    unknown: int

    @property
    def mean(self) -> float | None:
        """Per answer that tells it; None where none does."""
        return self.total / self.known if self.known else None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the answers of a run took.

    Attributes:
        answers: Answers and faults: whatever was asked.
        journaled: Those taken from the journal: nobody waited for them.
        latency: From request to last byte.
        first_token: From request to the first token.
        cost_usd: US dollars.
        input_tokens: Tokens of the requests.
        output_tokens: Tokens of the answers.
        attempts: Calls, retries included.
    """

    answers: int
    journaled: int
    latency: Curve
    first_token: Curve
    cost_usd: Amount
    input_tokens: Amount
    output_tokens: Amount
    attempts: int


def usage_of(run: Run) -> Usage:
    """What the answers of a run took."""
    responses = [result.response for result in run.results if result.response is not None]
    return Usage(
        answers=len(responses),
        journaled=sum(response.journaled_at is not None for response in responses),
        latency=curve_of(responses, lambda response: response.latency_s),
        first_token=curve_of(responses, lambda response: response.ttft_s),
        cost_usd=_amount(responses, lambda response: response.cost_usd),
        input_tokens=_amount(responses, lambda response: response.input_tokens),
        output_tokens=_amount(responses, lambda response: response.output_tokens),
        attempts=sum(response.attempts for response in responses),
    )


def curve_of(responses: Sequence[Response], measured: Callable[[Response], float | None]) -> Curve:
    """The distribution of one time over responses."""
    values = sorted(value for response in responses if (value := measured(response)) is not None)
    return Curve(tuple(values), len(responses) - len(values))


def _amount(responses: Sequence[Response], told: Callable[[Response], float | None]) -> Amount:
    values = [value for response in responses if (value := told(response)) is not None]
    return Amount(math.fsum(values), len(values), len(responses) - len(values))
