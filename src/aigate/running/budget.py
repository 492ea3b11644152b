"""What a run may cost: caps on calls, tokens and US dollars, kept by reserving before each call; and the estimate.

Before a call its most likely upper bound is reserved; when it is over, the reservation is replaced by what it really
used. So calls in flight cannot overshoot a cap together. The cap on calls is exact. Those on tokens and cost may be
overshot by what single answers turn out longer than was reserved for them: their length is not known before, unless
the request limits it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aigate.core.response import Response
from aigate.core.run import JudgeUse, Run
from aigate.core.sample import Message
from aigate.errors import UsageError
from aigate.providers.base import Request
from aigate.running.prices import Price

__all__ = [
    "Budget",
    "BudgetSpentError",
    "Caps",
    "Estimate",
    "Reservation",
    "Spent",
    "estimate",
    "expected_tokens",
    "input_tokens_of",
]

OUTPUT_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
ASSUMED_OUTPUT_TOKENS = 256  # until a first answer has come back, where nothing limits its length
TOKENS_PER_MESSAGE = 4
CHARACTERS_PER_TOKEN = 4.0  # English prose and code; OpenAI's rule of thumb
CHARACTERS_PER_WIDE_TOKEN = 1.5  # scripts beyond ASCII: about one token per one or two characters


class BudgetSpentError(Exception):
    """A call was not made, since it might have gone over a cap.

    Args:
        why: What was reached.
        judging: Per metric, what its judge was asked of the same answer before; it is paid for all the same.
    """

    def __init__(self, why: str, judging: Mapping[str, JudgeUse] | None = None) -> None:
        super().__init__(why)
        self.judging: Mapping[str, JudgeUse] = judging or {}


@dataclass(frozen=True, slots=True)
class Caps:
    """What a run may use at most; None: no cap.

    Attributes:
        cost_usd: US dollars.
        calls: Calls, retries included.
        tokens: Tokens sent and received.
    """

    cost_usd: float | None = None
    calls: int | None = None
    tokens: int | None = None

    def __bool__(self) -> bool:
        return (self.cost_usd, self.calls, self.tokens) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used.

    Attributes:
        calls: Calls made.
        tokens: Tokens sent and received; of calls that told none, what was reserved for them.
        cost_usd: Likewise, in US dollars.
    """

    calls: int = 0
    tokens: float = 0.0
    cost_usd: float = 0.0

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(self.calls + other.calls, self.tokens + other.tokens, self.cost_usd + other.cost_usd)

    def minus(self, other: Spent) -> Spent:
        """What is left without the other."""
        return Spent(self.calls - other.calls, self.tokens - other.tokens, self.cost_usd - other.cost_usd)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one call may use.

    Attributes:
        spent: One call, and the tokens and cost it is expected to use at most.
    """

    spent: Spent


@dataclass(slots=True)
class _Account:
    """What is used and set aside of one budget, whoever uses it."""

    spent: Spent = Spent()
    reserved: Spent = Spent()
    exhausted: str = ""


class Budget:
    """Keeps the calls of one run under its caps. For one event loop.

    Args:
        caps: What may be used.
        price: What the model costs; needed for a cap on cost.

    Raises:
        UsageError: A cap on cost, and no price: it could not be kept.
    """

    def __init__(self, caps: Caps, *, price: Price | None = None) -> None:
        if caps.cost_usd is not None and price is None:
            raise UsageError(
                "max-cost cannot be kept: the price of the model is not known",
                hint="give it with --price INPUT,OUTPUT (USD per million tokens), or cap --max-calls or --max-tokens",
            )
        self.caps = caps
        self._price = price
        self._account = _Account()
        self._longest_output = 0

    @property
    def spent(self) -> Spent:
        """What finished calls used."""
        return self._account.spent

    @property
    def exhausted(self) -> str:
        """Which cap was reached, in words; empty while none was."""
        return self._account.exhausted

    def beside(self, price: Price | None, *, whose: str) -> Budget:
        """The same budget for calls to another model: both together keep the caps.

        Args:
            price: What that model costs; needed for a cap on cost.
            whose: Which model, for messages: "the judge".

        Raises:
            UsageError: A cap on cost, and no price.
        """
        if self.caps.cost_usd is not None and price is None:
            raise UsageError(
                f"max-cost cannot be kept: the price of {whose} is not known",
                hint='give it as --judge-price INPUT,OUTPUT, or price = "INPUT,OUTPUT" under [judge]',
            )
        other = Budget(Caps(calls=self.caps.calls, tokens=self.caps.tokens))
        other.caps, other._price, other._account = self.caps, price, self._account
        return other

    def reserve(self, request: Request) -> Reservation | None:
        """Set aside what one call may use.

        Returns:
            None where the call could go over a cap: it must not be made.
        """
        wanted = self._expected(request)
        return Reservation(wanted) if self._fits(wanted) else None

    def settle(self, reservation: Reservation, response: Response | None) -> None:
        """Replace what was reserved by what was used; call it once per reservation.

        Args:
            reservation: What `reserve` gave.
            response: What came of the call; None where it was dropped. A call that tells no usage, or failed, counts
                as what was reserved for it: it may have been billed.
        """
        account = self._account
        account.reserved = account.reserved.minus(reservation.spent)
        account.spent = account.spent.plus(self._used(reservation.spent, response))

    def grant(self, share: float) -> Budget | None:
        """Cut off a part for somebody else, who may then use it by himself; what he used comes back by `take_back`.

        Args:
            share: Of what is left, in (0, 1].

        Returns:
            None where nothing is left to give.
        """
        left = self._left()
        calls = None if left.calls is None else math.floor(left.calls * share) or min(1, left.calls)
        tokens = None if left.tokens is None else math.floor(left.tokens * share)
        cost_usd = None if left.cost_usd is None else left.cost_usd * share
        if 0 in (calls, tokens, cost_usd):
            self._account.exhausted = self._account.exhausted or "nothing is left of the budget"
            return None
        part = Budget(Caps(cost_usd, calls, tokens), price=self._price)
        part._longest_output = self._longest_output
        self._account.reserved = self._account.reserved.plus(part.whole)
        return part

    def take_back(self, part: Budget, spent: Spent | None) -> None:
        """Count what a granted part used.

        Args:
            part: What `grant` gave.
            spent: What of it was used; None where nobody knows (its worker died): then all of it counts as used.
        """
        account = self._account
        account.reserved = account.reserved.minus(part.whole)
        account.spent = account.spent.plus(part.whole if spent is None else spent)

    @property
    def whole(self) -> Spent:
        """All that the caps allow; 0 of what is not capped."""
        return Spent(self.caps.calls or 0, self.caps.tokens or 0, self.caps.cost_usd or 0.0)

    def _left(self) -> Caps:
        used = self._account.spent.plus(self._account.reserved)
        caps = self.caps
        return Caps(
            cost_usd=None if caps.cost_usd is None else max(0.0, caps.cost_usd - used.cost_usd),
            calls=None if caps.calls is None else max(0, caps.calls - used.calls),
            tokens=None if caps.tokens is None else max(0, math.floor(caps.tokens - used.tokens)),
        )

    def _expected(self, request: Request) -> Spent:
        sent = input_tokens_of(request.messages)
        received = expected_tokens(request, longest_output=self._longest_output) - sent
        cost_usd = 0.0 if self._price is None else self._price.cost_usd(sent, received)
        return Spent(1, sent + received, cost_usd)

    def _fits(self, wanted: Spent) -> bool:
        left = self._left()
        for name, cap, needed, rest in (
            ("max-calls", self.caps.calls, wanted.calls, left.calls),
            ("max-tokens", self.caps.tokens, wanted.tokens, left.tokens),
            ("max-cost", self.caps.cost_usd, wanted.cost_usd, left.cost_usd),
        ):
            if rest is not None and not needed <= rest:
                unit = " USD" if name == "max-cost" else ""
                self._account.exhausted = self._account.exhausted or f"{name} {cap:g}{unit} was reached"
                return False
        self._account.reserved = self._account.reserved.plus(wanted)
        return True

    def _used(self, reserved: Spent, response: Response | None) -> Spent:
        if response is None or response.fault is not None:
            return reserved
        sent, received = response.input_tokens, response.output_tokens
        if sent is None or received is None:
            known = response.cost_usd
            return reserved if known is None else replace(reserved, cost_usd=known)
        self._longest_output = max(self._longest_output, received)
        by_price = reserved.cost_usd if self._price is None else self._price.cost_usd(sent, received)
        return Spent(1, sent + received, by_price if response.cost_usd is None else response.cost_usd)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will use, as far as it can be known before the first call.

    Attributes:
        calls: Calls, without retries.
        most_calls: Calls where every escalation is needed; equal to `calls` without any.
        input_tokens: Tokens sent by `calls`, by the rule of `input_tokens_of`.
        output_tokens: Tokens received by them.
        assumed: True where the output was assumed; False where the baseline's answers told it.
        cost_usd: US dollars; None where the price is not known.
        price: What it was worked out with; None where it is not known.
        model: The model's name.
        judges: True for what judges are asked, False for answers.
        embeds: True for texts that a model makes into vectors.
    """

    calls: int
    most_calls: int
    input_tokens: int
    output_tokens: int
    assumed: bool
    cost_usd: float | None
    price: Price | None
    model: str
    judges: bool = False
    embeds: bool = False

    def __str__(self) -> str:
        up_to = f" (up to {self.most_calls:,})" if self.most_calls > self.calls else ""
        what = f"questions to the judge {self.model}" if self.judges else "calls"
        basis = "assumed" if self.assumed else "as long as the baseline's answers"
        tokens = f"about {self.input_tokens:,} tokens to send and {self.output_tokens:,} to receive ({basis})"
        if self.embeds:
            what, tokens = f"calls to the embedding model {self.model}", f"about {self.input_tokens:,} tokens to send"
        if self.cost_usd is None or self.price is None:
            flag = "--judge-price" if self.judges else "--price"
            cost = f"the price of '{self.model}' is not known: no cost ({flag} IN,OUT tells it)"
        else:
            cost = f"about {self.cost_usd:.2g} USD ({self.price.origin})"
        return f"estimate: {self.calls:,} {what}{up_to}, {tokens}, {cost}"


def estimate(
    messages: Sequence[Sequence[Message]],
    *,
    repeats: int,
    most_repeats: int,
    parameters: Mapping[str, Any],
    price: Price | None,
    model: str,
    baseline: Run | None = None,
    already_answered: int = 0,
) -> Estimate:
    """What a run will use.

    Args:
        messages: The rendered prompt of each sample.
        repeats: Answers per sample.
        most_repeats: Answers per sample where nothing is decided with fewer.
        parameters: Request parameters: a limit of the output is an upper bound of what is assumed.
        price: What the model costs; None where it is not known.
        model: The model's name.
        baseline: Its answers tell how long answers are.
        already_answered: Answers that stand in a run file or a journal.
    """
    calls = max(0, len(messages) * repeats - already_answered)
    share = calls / max(1, len(messages) * repeats)
    sent = round(sum(map(input_tokens_of, messages)) * repeats * share)
    told = _mean_output(baseline)
    limit = _output_limit(parameters)
    per_answer = ASSUMED_OUTPUT_TOKENS if told is None else told
    received = round(calls * (per_answer if limit is None else min(per_answer, limit)))
    return Estimate(
        calls=calls,
        most_calls=max(calls, len(messages) * most_repeats - already_answered),
        input_tokens=sent,
        output_tokens=received,
        assumed=told is None,
        cost_usd=None if price is None else price.cost_usd(sent, received),
        price=price,
        model=model,
    )


def input_tokens_of(messages: Sequence[Message]) -> int:
    """About how many tokens a prompt is: a rule of thumb, since every model counts in its own way.

    A token per 4 ASCII characters, per 1.5 others, and 4 a message. Pictures and other parts that are no text are not
    counted.
    """
    return sum(_tokens(message.get("content")) + TOKENS_PER_MESSAGE for message in messages)


def expected_tokens(request: Request, *, longest_output: int = 0) -> int:
    """About how many tokens a call sends and receives at most.

    Args:
        request: The call; a limit of its output counts as its length.
        longest_output: Tokens of the longest answer so far, where nothing limits the output; 0 before the first.
    """
    sent = input_tokens_of(request.messages)
    if request.embeds:
        return sent
    return sent + (_output_limit(request.parameters) or longest_output or ASSUMED_OUTPUT_TOKENS)


def _tokens(content: Any) -> int:
    if isinstance(content, str):
        if content.isascii():
            return math.ceil(len(content) / CHARACTERS_PER_TOKEN)
        narrow = sum(character.isascii() for character in content)
        wide = len(content) - narrow
        return math.ceil(narrow / CHARACTERS_PER_TOKEN + wide / CHARACTERS_PER_WIDE_TOKEN)
    parts = content if isinstance(content, list | tuple) else ()
    return sum(_tokens(part.get("text")) for part in parts if isinstance(part, Mapping))


def _output_limit(parameters: Mapping[str, Any]) -> int | None:
    found = (parameters.get(name) for name in OUTPUT_LIMITS)
    return next((limit for limit in found if isinstance(limit, int) and not isinstance(limit, bool)), None)


def _mean_output(baseline: Run | None) -> float | None:
    if baseline is None:
        return None
    told = [count for count in baseline.columns.answers.numbers.get("output_tokens", ()) if not math.isnan(count)]
    return sum(told) / len(told) if told else None
