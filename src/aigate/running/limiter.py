"""When a call may start: an adaptive window of calls in flight, pauses that the server asks for, and rates per minute.

The window begins at the concurrency that was asked for. A rate-limited answer makes it smaller, in proportion to the
share of answers that were rate limited of late, and at most once per round trip, so that a burst counts once; each good
answer makes it larger by the reciprocal of its size. That is AIMD with the proportional decrease of DCTCP (Alizadeh et
al. 2010, section 3.1): a plain halving would take a server that refuses one call in twenty at random for one that is
full, and crawl. An overloaded server (5xx) counts half. Where most calls are refused, all wait for as long as the
server says.

A server that is full refuses whatever more is sent; one that refuses at random, or because of what others send, goes
on to refuse the same share. So where some calls are refused, a larger window is tried now and then (`_Refusals`). Where
the share stayed about the same, it is nothing that a smaller window would spare: only what is refused beyond it makes
the window smaller. A call that was refused waits as long as the server says in any case.
"""

from __future__ import annotations

import asyncio
import math
import random as random_module
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aigate.core.response import Fault, FaultKind, Response
from aigate.providers.base import RateLimits

__all__ = ["CircuitBreaker", "Limiter", "Ticket"]

MOSTLY_REFUSED = 0.5  # the share of refused calls from which the server's pause is everybody's
SHORTEST_MEMORY = 8  # calls: the share of refused ones is an average over about a window of them
OVERLOADED_WEIGHT = 0.5
PAUSE_JITTER = 0.1  # of the pause, so that several processes do not come back in one moment
BURST_S = 1.0  # of a rate per minute may be used at once
SHORTEST_SPAN = 40  # calls
SPAN_WINDOWS = 3.0  # a span has so many calls for each that may be in flight
SHARE_MEMORY = 4.0  # spans
FIRST_TRIAL = 2  # spans
TRIAL = 2.0  # times the window is tried
SMALLEST_TRIAL = 1.2  # a trial of less would show nothing
MOST_TRIED = 0.35  # the share of refused calls with which no larger window is tried
CHANCE = 2.0  # standard errors


@dataclass(slots=True)
class Ticket:
    """One call in flight.

    Attributes:
        started_s: When it was let go.
        tokens: Tokens that were set aside for it.
    """

    started_s: float
    tokens: int


class _Bucket:
    """A rate per minute as a bucket that fills steadily and may go into debt for one call larger than itself."""

    def __init__(self, per_minute: float, now_s: float) -> None:
        self._per_s = per_minute / 60.0
        self._size = max(1.0, self._per_s * BURST_S)
        self._level, self._at_s = self._size, now_s

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until so much is there; 0.0 when it is."""
        self._fill(now_s)
        return max(0.0, (min(amount, self._size) - self._level) / self._per_s)

    def take(self, amount: float, now_s: float) -> None:
        """Take so much; a negative amount gives back."""
        self._fill(now_s)
        self._level = min(self._size, self._level - amount)

    def _fill(self, now_s: float) -> None:
        self._level = min(self._size, self._level + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s


@dataclass(slots=True)
class _Span:
    """Calls that came to an end one after the other: how many, how many of them refused, and the windows added up."""

    calls: int = 0
    refused: int = 0
    windows: float = 0.0

    @property
    def share(self) -> float:
        """The share of refused calls."""
        return self.refused / self.calls

    @property
    def window(self) -> float:
        """The mean window."""
        return self.windows / self.calls


class _Refusals:
    """Which share of the calls is refused of late, and how much of it a smaller window would spare.

    Found by trying: for a span of calls the window is held at twice what it was in the span before. Were the server
    full, it would take no more than before, so that the share of the calls that it takes would fall in proportion at
    least. The window stays so where the share that was refused is nearer to that before than to what this foretells;
    else the trial ends as soon as that is clear, and the next one comes twice as late.

    Args:
        most: The largest window.
    """

    def __init__(self, most: int) -> None:
        self.share = 0.0
        self._unavoidable = 0.0
        self._most = most
        self._span = _Span()
        self._before: _Span | None = None  # what a trial is held against; None where nothing is tried
        self._spans_left = self._patience = FIRST_TRIAL

    @property
    def avoidable(self) -> float:
        """The share of the calls that a smaller window might spare, in [0, 1]: what is above chance."""
        spread = math.sqrt(self._unavoidable * (1.0 - self._unavoidable) / SHORTEST_SPAN)
        return max(0.0, self.share - self._unavoidable - CHANCE * spread)

    @property
    def tries(self) -> bool:
        """Whether a larger window is being tried, and must be left as it is."""
        return self._before is not None

    def note(self, window: float, *, refused: bool) -> float:
        """Count a call that was answered or refused while the window was so large.

        Returns:
            The window from now on.
        """
        span = self._span
        span.calls, span.refused, span.windows = span.calls + 1, span.refused + refused, span.windows + window
        planned = max(SHORTEST_SPAN, SPAN_WINDOWS * window)
        if self._before is not None:
            return self._judged(self._before, span, window, planned)
        self.share += (float(refused) - self.share) / max(SHORTEST_MEMORY, window)
        if span.calls < planned:
            return window
        if span.share < self._unavoidable:
            self._unavoidable += (span.share - self._unavoidable) / SHARE_MEMORY
        return self._next(span, window)

    def _judged(self, before: _Span, tried: _Span, window: float, planned: float) -> float:
        """The window after one more call of a trial, which ends as soon as it is clear that the server is full."""
        if_full = 1.0 - (1.0 - before.share) * before.window / window
        if tried.refused > planned * (before.share + if_full) / 2.0:
            self._before, self._span, self._unavoidable = None, _Span(), 0.0
            self._spans_left = self._patience = 2 * self._patience
            return before.window
        if tried.calls < planned:
            return window
        self._before, self._patience = None, FIRST_TRIAL
        self._unavoidable = self.share = (before.refused + tried.refused) / (before.calls + tried.calls)
        return self._next(tried, window)

    def _next(self, span: _Span, window: float) -> float:
        """After a span: a larger window, where it is time to try one and trying would show something; else this one."""
        self._span = _Span()
        larger = min(float(self._most), max(window + 1.0, TRIAL * window))
        shows = larger >= SMALLEST_TRIAL * span.window and 0 < span.share <= MOST_TRIED
        self._spans_left -= 1
        if self._spans_left > 0 or not shows:
            return window
        self._before = span
        return larger


class Limiter:
    """Says when a call may start. First come, first served. For one event loop.

    Args:
        concurrency: Calls in flight at most.
        requests_per_minute: Calls that may be started in a minute; None: no such limit.
        tokens_per_minute: Tokens in a minute; likewise.
        clock: Seconds that only grow.
        sleep: Waits.
        random: Draws from [0, 1), for the jitter of pauses.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._most, self._window = concurrency, float(concurrency)
        self._clock, self._sleep, self._random = clock, sleep, random
        now_s = clock()
        self._requests = None if requests_per_minute is None else _Bucket(requests_per_minute, now_s)
        self._tokens = None if tokens_per_minute is None else _Bucket(tokens_per_minute, now_s)
        self._in_flight = 0
        self._refusals = _Refusals(concurrency)
        self._cut_s = self._paused_until_s = self._spaced_until_s = -math.inf
        self._gap_s, self._last_start_s = 0.0, -math.inf
        self._turn = asyncio.Lock()
        self._released = asyncio.Event()

    @property
    def window(self) -> float:
        """Calls that may be in flight at the moment, from 1 to the concurrency."""
        return self._window

    @property
    def in_flight(self) -> int:
        """Calls in flight."""
        return self._in_flight

    @property
    def counts_tokens(self) -> bool:
        """True where the tokens of a call matter."""
        return self._tokens is not None

    async def acquire(self, tokens: int = 0) -> Ticket:
        """Wait until a call may start.

        Args:
            tokens: About how many it will send and receive; used where there is a rate of tokens.

        Returns:
            The ticket to give to `release`, exactly once.
        """
        if self._turn.locked() or self._wait_s(tokens) > 0.0:
            async with self._turn:
                while (wait_s := self._wait_s(tokens)) > 0.0:
                    await self._wait(wait_s)
        return self._start(tokens)

    def release(self, ticket: Ticket, response: Response | None, *, retry_after_s: float | None = None) -> None:
        """Give the place back, and learn from what became of the call.

        Args:
            ticket: That of `acquire`.
            response: The answer or fault; None where the call was never made, or dropped.
            retry_after_s: How long the server said to wait.
        """
        self._in_flight -= 1
        self._released.set()
        if response is None:
            return
        if self._tokens is not None and ticket.tokens:
            used = (response.input_tokens or 0) + (response.output_tokens or 0)
            self._tokens.take((used or ticket.tokens) - ticket.tokens, self._clock())
        self._learn(ticket, None if response.fault is None else response.fault.kind, retry_after_s)

    def note_limits(self, limits: RateLimits | None) -> None:
        """Slow down before the server refuses: spread what it says is left over the time until its reset."""
        if limits is None:
            return
        now_s = self._clock()
        for left, reset_s in (
            (limits.remaining_requests, limits.reset_requests_s),
            (limits.remaining_tokens, limits.reset_tokens_s),
        ):
            if left == 0 and reset_s:
                self._pause(now_s, reset_s)
        left, reset_s = limits.remaining_requests, limits.reset_requests_s
        if left and reset_s and left < self._in_flight:
            self._gap_s, self._spaced_until_s = reset_s / left, now_s + reset_s

    def _wait_s(self, tokens: int) -> float:
        """Seconds until a call may start: 0.0 now; infinity when one in flight must end first."""
        if self._in_flight >= max(1, int(self._window)):
            return math.inf
        if self._requests is None and self._tokens is None and self._paused_until_s == self._spaced_until_s:
            return 0.0  # neither was ever set: both stand at minus infinity
        now_s = self._clock()
        wait_s = self._paused_until_s - now_s
        if now_s < self._spaced_until_s:
            wait_s = max(wait_s, self._last_start_s + self._gap_s - now_s)
        if self._requests is not None:
            wait_s = max(wait_s, self._requests.wait_s(1, now_s))
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.wait_s(tokens, now_s))
        return max(0.0, wait_s)

    async def _wait(self, wait_s: float) -> None:
        if wait_s < math.inf:
            await self._sleep(wait_s)
            return
        self._released.clear()
        await self._released.wait()

    def _start(self, tokens: int) -> Ticket:
        now_s = self._clock()
        self._in_flight += 1
        self._last_start_s = now_s
        if self._requests is not None:
            self._requests.take(1, now_s)
        if self._tokens is not None:
            self._tokens.take(tokens, now_s)
        return Ticket(now_s, tokens)

    def _learn(self, ticket: Ticket, kind: FaultKind | None, retry_after_s: float | None) -> None:
        refused, now_s = kind is FaultKind.RATE_LIMIT, self._clock()
        self._window = self._refusals.note(self._window, refused=refused)
        if self._refusals.tries:
            return
        if kind is None:
            self._window = min(float(self._most), self._window + 1.0 / self._window)
            return
        if not refused and kind is not FaultKind.SERVER:
            return
        if ticket.started_s >= self._cut_s:  # one that was sent before the last cut tells nothing of what came of it
            share = self._refusals.avoidable if refused else OVERLOADED_WEIGHT / max(SHORTEST_MEMORY, self._window)
            self._window, self._cut_s = max(1.0, self._window * (1.0 - share / 2.0)), now_s
        if refused and retry_after_s and self._refusals.share >= MOSTLY_REFUSED:
            self._pause(now_s, retry_after_s)

    def _pause(self, now_s: float, wait_s: float) -> None:
        until_s = now_s + wait_s * (1.0 + PAUSE_JITTER * self._random())
        self._paused_until_s = max(self._paused_until_s, until_s)


class CircuitBreaker:
    """Ends a run that is hopeless: nothing has been answered for so long that nothing will be.

    Args:
        concurrency: Calls in flight: more of them fail before anybody can know.
        what: What gets no answer, for messages.

    Attributes:
        reason: Why it is hopeless; empty while it is not.
    """

    def __init__(self, *, concurrency: int, what: str = "samples") -> None:
        self._what = what
        self._any_in_a_row = max(50, 4 * concurrency)
        self._in_a_row = 0
        self._by_kind: dict[FaultKind, int] = {}
        self.reason = ""

    def note(self, response: Response) -> None:
        """Take note of what became of one sample. Faults that say nothing of the next sample do not count."""
        if response.journaled_at is not None:
            return
        if response.fault is None:
            self._in_a_row = 0
            self._by_kind.clear()
        elif response.fault.kind in _OUTAGES:
            kind = response.fault.kind
            self._in_a_row += 1
            self._by_kind[kind] = self._by_kind.get(kind, 0) + 1
            if self._by_kind[kind] >= _IN_A_ROW.get(kind, math.inf) or self._in_a_row >= self._any_in_a_row:
                self.reason = self.reason or self._told(response.fault)

    def _told(self, last: Fault) -> str:
        return f"{self._in_a_row} {self._what} in a row got no answer; the last one: {last.kind}: {last.message}"


_IN_A_ROW = {FaultKind.QUOTA: 3, FaultKind.AUTH: 10, FaultKind.NOT_FOUND: 10}
"""Faults that no waiting repairs, and how many samples in a row they may cost."""
_OUTAGES = frozenset(
    {
        *_IN_A_ROW,
        *(FaultKind.SERVER, FaultKind.CONNECTION, FaultKind.RATE_LIMIT, FaultKind.TIMEOUT, FaultKind.BAD_RESPONSE),
    }
)
