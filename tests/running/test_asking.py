"""ask: retries what can help, waits as asked, and never lets a provider hang or kill a run."""

import asyncio
import math
import time

import pytest

from aigate.core.response import Fault, FaultKind, Response
from aigate.core.sample import Sample
from aigate.errors import CallError
from aigate.providers.base import Request
from aigate.running.asking import RetryPolicy, ask
from aigate.running.budget import BudgetSpentError

REQUEST = Request(Sample("a", "?"), ({"role": "user", "content": "?"},), timeout_s=30.0)
RETRY = RetryPolicy()


class Script:
    """A provider that gives or raises one thing after another."""

    name = "script"

    def __init__(self, *steps):
        self.steps, self.calls = list(steps), 0

    async def respond(self, request):
        self.calls += 1
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step


def failing(kind, retry_after_s=None):
    return CallError("broke", kind=kind, retry_after_s=retry_after_s)


def asked(provider, *, retry=RETRY, random=lambda: 1.0, request=REQUEST):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    return asyncio.run(ask(provider, request, retry=retry, random=random, sleep=sleep)), waits


@pytest.mark.parametrize("kind", FaultKind)
def test_only_a_retryable_fault_is_asked_again(kind):
    retryable = kind.value in {"timeout", "server", "bad_response", "rate_limit", "connection"}
    provider = Script(failing(kind), Response(output="x"))
    response, waits = asked(provider)
    assert provider.calls == (2 if retryable else 1)
    assert len(waits) == provider.calls - 1
    assert (response.output == "x") is retryable
    assert response.attempts == provider.calls
    if not retryable:
        assert response.fault == Fault(kind, "broke")


def test_a_fault_that_is_part_of_the_answer_is_asked_again_too():
    provider = Script(Response(fault=Fault(FaultKind.SERVER, "500")), Response(output="x"))
    assert asked(provider)[0].output == "x"


def test_it_gives_up_after_the_last_retry_with_the_last_fault():
    provider = Script(*(CallError(f"broke {n}", kind=FaultKind.SERVER) for n in range(9)))
    response, waits = asked(provider, retry=RetryPolicy(retries=3))
    assert provider.calls == response.attempts == 4
    assert response.fault == Fault(FaultKind.SERVER, "broke 3")
    assert len(waits) == 3
    assert response.retry_wait_s == sum(waits)


def test_an_attempt_that_timed_out_is_remembered_by_at_least_its_timeout():
    response, _ = asked(Script(failing(FaultKind.TIMEOUT), failing(FaultKind.SERVER), Response(output="x")))
    assert (response.output, response.latency_s) == ("x", None)
    assert response.longest_failed_s == REQUEST.timeout_s
    assert Response.from_dict(response.to_dict()) == response


@pytest.mark.parametrize("kind", [FaultKind.RATE_LIMIT, FaultKind.CONNECTION])
def test_an_attempt_that_failed_through_no_fault_of_the_candidate_says_nothing_of_its_speed(kind):
    response, _ = asked(Script(failing(kind), Response(output="x")))
    assert response.longest_failed_s == 0.0


def test_the_time_of_a_failed_attempt_is_kept_where_no_attempt_answered():
    ticks = iter(range(100))
    found = asyncio.run(
        ask(
            Script(failing(FaultKind.SERVER)),
            REQUEST,
            retry=RetryPolicy(retries=0),
            random=float,
            clock=lambda: next(ticks),
        )
    )
    assert found.longest_failed_s > 0.0


def test_without_retries_it_asks_once():
    provider = Script(failing(FaultKind.SERVER))
    response, waits = asked(provider, retry=RetryPolicy(retries=0))
    assert (provider.calls, waits, response.retry_wait_s) == (1, [], 0.0)


def test_waits_double_up_to_the_cap_and_are_drawn_from_zero():
    steps = [failing(FaultKind.CONNECTION)] * 6
    policy = RetryPolicy(retries=5, base_s=1.0, cap_s=6.0)
    assert asked(Script(*steps), retry=policy)[1] == [1.0, 2.0, 4.0, 6.0, 6.0]
    assert asked(Script(*steps), retry=policy, random=lambda: 0.0)[1] == [0.0] * 5
    assert asked(Script(*steps), retry=policy, random=lambda: 0.5)[1] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_what_the_provider_asks_for_is_waited_for_even_beyond_the_cap():
    provider = Script(failing(FaultKind.RATE_LIMIT, 47.0), failing(FaultKind.RATE_LIMIT, 0.001), Response(output="x"))
    response, waits = asked(provider, retry=RetryPolicy(base_s=2.0, cap_s=10.0))
    assert waits == [47.0, 2.0]
    assert response.retry_wait_s == 49.0


def test_waits_grow_half_as_fast_where_the_provider_says_how_long():
    policy = RetryPolicy(base_s=1.0, cap_s=30.0)
    told = [failing(FaultKind.RATE_LIMIT, 1.0)] * 7 + [Response(output="x")]
    assert asked(Script(*told), retry=policy)[1] == [1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0]
    untold = [failing(FaultKind.RATE_LIMIT)] * 4 + [Response(output="x")]
    assert asked(Script(*untold), retry=policy)[1] == [1.0, 2.0, 4.0, 8.0]


def test_a_provider_that_asks_for_too_long_is_not_waited_for():
    provider = Script(failing(FaultKind.RATE_LIMIT, 120.5), Response(output="x"))
    response, waits = asked(provider)
    assert (provider.calls, waits) == (1, [])
    assert response.fault.kind is FaultKind.RATE_LIMIT
    exactly = Script(failing(FaultKind.RATE_LIMIT, 120.0), Response(output="x"))
    assert asked(exactly)[0].output == "x"


def test_latency_is_that_of_the_attempt_that_answered():
    provider = Script(failing(FaultKind.SERVER), Response(output="x", latency_s=0.25))
    response, waits = asked(provider, random=lambda: 1.0)
    assert response.latency_s == 0.25
    assert response.retry_wait_s == waits[0] > 0


def test_a_provider_that_hangs_is_cut_by_the_deadline():
    class Hanging:
        async def respond(self, request):
            await asyncio.Event().wait()

    started = time.perf_counter()
    request = Request(REQUEST.sample, REQUEST.messages, timeout_s=0.01)
    response, _ = asked(Hanging(), retry=RetryPolicy(retries=0), request=request)
    assert response.fault.kind is FaultKind.TIMEOUT
    assert "0.01 s" in response.fault.message
    assert 0.4 < time.perf_counter() - started < 15


def test_a_provider_that_keeps_deadlines_itself_is_not_cut():
    class Late:
        keeps_deadlines = True

        async def respond(self, request):
            await asyncio.sleep(0.7)
            return Response(output="late, and not by its own fault")

    request = Request(REQUEST.sample, REQUEST.messages, timeout_s=0.01)
    assert asked(Late(), retry=RetryPolicy(retries=0), request=request)[0].output == "late, and not by its own fault"


def test_a_cap_that_is_reached_within_a_call_goes_through():
    class Spent:
        async def respond(self, request):
            raise BudgetSpentError("max-calls 5 was reached")

    with pytest.raises(BudgetSpentError):
        asked(Spent())


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (ValueError("nonsense"), "ValueError: nonsense"),
        (KeyError("choices"), "KeyError: 'choices'"),
        (RecursionError("deep"), "RecursionError: deep"),
        ("just text", "TypeError: the provider gave str, expected a Response"),
        (None, "TypeError: the provider gave NoneType, expected a Response"),
        (Response(output="x", latency_s=math.nan), "ValueError: $.latency_s: nan is not a JSON number"),
        (Response(output="x", scores={"human": math.inf}), "ValueError: $.scores.human: inf is not a JSON number"),
        (asyncio.CancelledError(), "CancelledError: the provider cancelled its own call"),
    ],
)
def test_a_provider_that_gives_or_raises_nonsense_is_an_adapter_fault_and_is_not_asked_again(step, told):
    provider = Script(step, Response(output="x"))
    response, _ = asked(provider)
    assert response.fault == Fault(FaultKind.ADAPTER, told)
    assert provider.calls == 1


def test_a_cancelled_run_is_not_held_up_by_its_provider():
    async def main():
        started = asyncio.Event()

        class Slow:
            async def respond(self, request):
                started.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(ask(Slow(), REQUEST, retry=RetryPolicy(), random=lambda: 0.0))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_negative_number_of_retries_is_refused():
    with pytest.raises(ValueError, match="expected 0 or more"):
        RetryPolicy(retries=-1)
