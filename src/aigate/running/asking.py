"""One answer: call the provider, retry what is retryable, and turn whatever happens into a `Response`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aigate.core.digest import json_line
from aigate.core.response import Fault, FaultKind, Response
from aigate.errors import CallError, UsageError
from aigate.providers.base import Provider, Request

__all__ = ["RetryPolicy", "ask"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to ask again, and how long to wait first.

    The wait before attempt k is drawn uniformly from [0, min(cap_s, base_s * 2**k)] (full jitter), or what the provider
    asked for, whichever is longer. A provider that asks for more than `longest_wait_s` is not waited for.

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

    def wait_s(self, attempt: int, asked_s: float | None, random: Callable[[], float]) -> float:
        """Seconds to wait after the failed attempt number `attempt` (from 1)."""
        drawn = random() * min(self.cap_s, self.base_s * 2.0 ** (attempt - 1))
        return max(drawn, asked_s or 0.0)


async def ask(
    provider: Provider,
    request: Request,
    *,
    retry: RetryPolicy,
    random: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Response:
    """Ask once, and again while that can help.

    Args:
        provider: Who answers.
        request: What is asked.
        retry: When to ask again.
        random: Draws from [0, 1), for the jitter.
        sleep: Waits; an argument for tests.

    Raises:
        UsageError: The provider cannot be asked like this at all (an unknown parameter).

    Returns:
        The answer; or a response whose fault is that of the last attempt. `latency_s` is that of the attempt that
        answered: retries and waits are not in it.
    """
    waited_s = 0.0
    for attempt in range(1, retry.retries + 2):
        response, retry_after_s = await _attempt(provider, request)
        response = replace(response, attempts=attempt, retry_wait_s=waited_s)
        if response.fault is None or not response.fault.kind.retryable or attempt > retry.retries:
            return response
        wait_s = retry.wait_s(attempt, retry_after_s, random)
        if wait_s > retry.longest_wait_s:
            return response
        await sleep(wait_s)
        waited_s += wait_s
    raise AssertionError("unreachable: the loop returns on its last attempt")


async def _attempt(provider: Provider, request: Request) -> tuple[Response, float | None]:
    """One call. The deadline is enforced here too, so that no provider can hang a run."""
    try:
        async with asyncio.timeout(request.timeout_s * 1.05 + 0.5):
            return _storable(await provider.respond(request)), None
    except CallError as error:
        return Response(fault=Fault(error.kind, error.message)), error.retry_after_s
    except TimeoutError:
        message = f"no answer within {request.timeout_s:g} s, and the provider did not stop by itself"
        return Response(fault=Fault(FaultKind.TIMEOUT, message)), None
    except asyncio.CancelledError:
        # A cancellation of the run goes through. One that leaked out of the provider would end this worker in silence.
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return Response(fault=Fault(FaultKind.ADAPTER, "CancelledError: the provider cancelled its own call")), None
    except UsageError:  # what the user asked for cannot be asked: no answer would ever come
        raise
    except Exception as error:  # noqa: BLE001 - a provider of a user's may raise anything; the run must go on and say so
        return Response(fault=Fault(FaultKind.ADAPTER, f"{type(error).__name__}: {error}")), None


def _storable(given: object) -> Response:
    """What a provider gave, if it is a response that a run file can hold.

    Raises:
        TypeError, ValueError: It is something else, or holds NaN or what JSON has no form for.
    """
    if not isinstance(given, Response):
        raise TypeError(f"the provider gave {type(given).__name__}, expected a Response")
    json_line(given.to_dict())
    return given
