"""One answer: call the provider, retry what is retryable, and turn whatever happens into a `Response`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aigate.core.digest import json_line
from aigate.core.response import Fault, FaultKind, Response
from aigate.errors import CallError, UsageError
from aigate.providers.base import Provider, Request, keeps_deadlines, rate_limits_of
from aigate.running.budget import Budget, BudgetSpentError, expected_tokens
from aigate.running.limiter import Limiter

__all__ = ["RetryPolicy", "ask", "attempt", "longest_s"]

RATE_LIMITED_PER_RETRY = 5
REFUSALS_PER_ATTEMPT = 2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to ask again, and how long to wait first.

    The wait after k attempts is drawn uniformly from [0, min(cap_s, base_s * 2**(k - 1))] (full jitter), or what the
    provider asked for, whichever is longer. A provider that asks for more than `longest_wait_s` is not waited for.
    Where it says how long to wait, two of its refusals count as one attempt: it knows better than we do, for a while.

    A rate-limited attempt says "later", not "no": five of them count as one that failed.

    Attributes:
        retries: Attempts after the first; 0 or more.
        base_s: Upper end of the first wait, in seconds.
        cap_s: Upper end of any drawn wait, in seconds.
        longest_wait_s: The longest Retry-After that is honoured, in seconds.

    Raises:
        ValueError: A negative number of retries.
    """

    retries: int = 4
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_wait_s: float = 120.0

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError(f"retries is {self.retries}: expected 0 or more")

    def wait_s(
        self, attempt: int, asked_s: float | None, random: Callable[[], float], *, rate_limited: int = 0
    ) -> float:
        """Seconds to wait after a failed attempt.

        Args:
            attempt: Its number, from 1.
            asked_s: How long the provider asked to wait; None where it did not say.
            random: Draws from [0, 1).
            rate_limited: How many of the attempts were rate limited.
        """
        counted = attempt if asked_s is None else attempt - rate_limited // REFUSALS_PER_ATTEMPT
        drawn = random() * min(self.cap_s, self.base_s * 2.0 ** min(counted - 1, 60))
        return max(drawn, asked_s or 0.0)

    def goes_on(self, kind: FaultKind, failed: int, rate_limited: int) -> bool:
        """Whether to ask again after a fault.

        Args:
            kind: The fault of the last attempt.
            failed: Attempts that failed, rate-limited ones left out.
            rate_limited: Attempts that were rate limited.
        """
        spent = failed + (rate_limited - 1 if kind is FaultKind.RATE_LIMIT else rate_limited) // RATE_LIMITED_PER_RETRY
        return kind.retryable and spent < self.retries + (kind is not FaultKind.RATE_LIMIT)


async def ask(
    provider: Provider,
    request: Request,
    *,
    retry: RetryPolicy,
    random: Callable[[], float],
    limiter: Limiter | None = None,
    budget: Budget | None = None,
    deadline_s: float = math.inf,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Response:
    """Ask once, and again while that can help. A call that waits to be made again holds no place in the limiter.

    Args:
        provider: Who answers.
        request: What is asked.
        retry: When to ask again.
        random: Draws from [0, 1), for the jitter.
        limiter: Says when an attempt may start; None: at once.
        budget: Caps on what attempts may use; None for none.
        deadline_s: Seconds from now within which a further attempt may start.
        sleep: Waits; an argument for tests.
        clock: Seconds that only grow.

    Raises:
        UsageError: The provider cannot be asked like this at all (an unknown parameter).
        BudgetSpentError: An attempt was not made, since it might have gone over a cap.

    Returns:
        The answer; or a response whose fault is that of the last attempt. `latency_s` is that of the attempt that
        answered: queueing, retries and waits are not in it; `longest_failed_s` tells of attempts that failed.
    """
    ends_s, waited_s, failed_s, rate_limited, attempt = clock() + deadline_s, 0.0, 0.0, 0, 0
    while True:
        attempt += 1
        response, retry_after_s = await _let_go(provider, request, limiter, budget, clock)
        failed_s = max(failed_s, response.longest_failed_s)
        if attempt > 1:
            response = replace(response, attempts=attempt, retry_wait_s=waited_s, longest_failed_s=failed_s)
        if response.fault is None:
            return response
        rate_limited += response.fault.kind is FaultKind.RATE_LIMIT
        wait_s = retry.wait_s(attempt, retry_after_s, random, rate_limited=rate_limited)
        too_long = wait_s > retry.longest_wait_s or clock() + wait_s > ends_s
        if too_long or not retry.goes_on(response.fault.kind, attempt - rate_limited, rate_limited):
            return response
        await sleep(wait_s)
        waited_s += wait_s


async def _let_go(
    provider: Provider, request: Request, limiter: Limiter | None, budget: Budget | None, clock: Callable[[], float]
) -> tuple[Response, float | None]:
    """One attempt, once limiter and budget allow it; both are told what became of it, whatever did."""
    if limiter is None:
        return await _paid_for(provider, request, budget, clock)
    ticket = await limiter.acquire(expected_tokens(request) if limiter.counts_tokens else 0)
    response: Response | None = None
    retry_after_s: float | None = None
    try:
        response, retry_after_s = await _paid_for(provider, request, budget, clock)
    finally:
        limiter.release(ticket, response, retry_after_s=retry_after_s)
    limiter.note_limits(rate_limits_of(provider))
    return response, retry_after_s


async def _paid_for(
    provider: Provider, request: Request, budget: Budget | None, clock: Callable[[], float]
) -> tuple[Response, float | None]:
    if budget is None:
        return await attempt(provider, request, clock)
    if (reservation := budget.reserve(request)) is None:
        raise BudgetSpentError(budget.exhausted)
    response: Response | None = None
    try:
        response, retry_after_s = await attempt(provider, request, clock)
    finally:
        budget.settle(reservation, response)
    return response, retry_after_s


async def attempt(
    provider: Provider, request: Request, clock: Callable[[], float] = time.monotonic
) -> tuple[Response, float | None]:
    """One call. The deadline is enforced here too, so that no provider can hang a run.

    Args:
        provider: Who answers.
        request: What is asked.
        clock: Seconds that only grow.

    Returns:
        The answer or the fault, and the seconds that the provider asked us to wait, where it did.

    Raises:
        UsageError: The provider cannot be asked like this at all.
    """
    started_s = clock()
    try:
        async with asyncio.timeout(None if keeps_deadlines(provider) else longest_s(request)):
            return _storable(await provider.respond(request)), None
    except CallError as error:
        return _failed(Fault(error.kind, error.message), request, clock() - started_s), error.retry_after_s
    except TimeoutError:
        message = f"no answer within {request.timeout_s:g} s, and the provider did not stop by itself"
        return _failed(Fault(FaultKind.TIMEOUT, message), request, clock() - started_s), None
    except asyncio.CancelledError:
        # A cancellation of the run goes through. One that leaked out of the provider would end this worker in silence.
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return Response(fault=Fault(FaultKind.ADAPTER, "CancelledError: the provider cancelled its own call")), None
    except (UsageError, BudgetSpentError):  # what the user asked for cannot be asked: no answer would ever come
        raise
    except Exception as error:  # noqa: BLE001 - a provider of a user's may raise anything; the run must go on and say so
        return Response(fault=Fault(FaultKind.ADAPTER, f"{type(error).__name__}: {error}")), None


def _failed(fault: Fault, request: Request, took_s: float) -> Response:
    """What a failed attempt leaves: the fault, and how long it took where the candidate is to blame for it."""
    if not fault.kind.candidate_fault:
        return Response(fault=fault)
    return Response(fault=fault, longest_failed_s=max(took_s, request.timeout_s * (fault.kind is FaultKind.TIMEOUT)))


def longest_s(request: Request) -> float:
    """Seconds after which a call is given up that does not end by itself."""
    return request.timeout_s * 1.05 + 0.5


def _storable(given: object) -> Response:
    """What a provider gave, if it is a response that a run file can hold.

    Raises:
        TypeError, ValueError: It is something else, or holds NaN or what JSON has no form for.
    """
    if not isinstance(given, Response):
        raise TypeError(f"the provider gave {type(given).__name__}, expected a Response")
    if not given.plain:
        json_line(given.to_dict())
    return given
