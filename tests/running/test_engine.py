"""The engine: everything is asked once, so many at a time, and no result is lost in silence."""

import asyncio

import pytest

from aigate.core.ledger import Outcome
from aigate.core.response import FaultKind, Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score
from aigate.errors import CallError, CannotJudgeError
from aigate.running.asking import RetryPolicy
from aigate.running.engine import Plan, run_plan

SAMPLES = tuple(Sample(f"s{n}", f"question {n}") for n in range(7))


class Provider:
    """Answers after giving way to others; remembers what was asked and how many at a time."""

    name = "fake"

    def __init__(self, answer=None):
        self.answer, self.asked, self.in_flight, self.most, self.closed = answer, [], 0, 0, 0

    async def respond(self, request):
        self.asked.append(request)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            return await self.answer(request) if self.answer else Response(output=request.sample.id)
        finally:
            self.in_flight -= 1

    async def aclose(self):
        self.closed += 1


class Scorer:
    """Scores 1, or raises what it was made with."""

    def __init__(self, raises=None):
        self.spec = MetricSpec("m", "fake")
        self.raises = raises

    def applies_to(self, sample):
        return None

    def score(self, sample, response):
        if self.raises:
            raise self.raises
        return Score(1.0)


def plan(provider, **fields):
    whole = {"samples": SAMPLES, "repeats": 1, "parameters": {"seed": 1}, "scorers": (Scorer(),), "timeout_s": 9.0}
    return Plan(
        provider=provider, render=lambda sample: ({"role": "user", "content": sample.text},), **{**whole, **fields}
    )


def ran(a_plan):
    recorded = []
    asyncio.run(run_plan(a_plan, lambda result, sample: recorded.append((result, sample))))
    return recorded


@pytest.mark.parametrize(("concurrency", "most"), [(1, 1), (3, 3), (7, 7), (50, 14)])
def test_exactly_so_many_requests_are_in_flight(concurrency, most):
    provider = Provider()
    recorded = ran(plan(provider, repeats=2, concurrency=concurrency))
    assert provider.most == most
    assert len(recorded) == 14


def test_every_sample_and_repeat_is_asked_and_recorded_exactly_once():
    provider = Provider()
    recorded = ran(plan(provider, repeats=3, concurrency=4))
    wanted = [(sample.id, repeat) for repeat in range(3) for sample in SAMPLES]
    assert [(request.sample.id, request.repeat) for request in provider.asked] == wanted
    assert sorted(result.key for result, _ in recorded) == sorted(wanted)
    assert all(result.sample_id == sample.id == result.response.output for result, sample in recorded)
    assert all(result.scores == {"m": Score(1.0)} for result, _ in recorded)


def test_a_request_holds_the_rendered_prompt_parameters_and_deadline():
    provider = Provider()
    ran(plan(provider, samples=SAMPLES[:1]))
    (request,) = provider.asked
    assert request.messages == ({"role": "user", "content": "question 0"},)
    assert (request.parameters, request.timeout_s, request.repeat) == ({"seed": 1}, 9.0, 0)


def test_what_is_done_is_not_asked_again():
    provider = Provider()
    recorded = ran(plan(provider, repeats=2, done={("s0", 0), ("s3", 1)}))
    keys = {result.key for result, _ in recorded}
    assert len(recorded) == len(keys) == 12
    assert keys.isdisjoint({("s0", 0), ("s3", 1)})


def test_a_slow_answer_does_not_hold_up_the_others():
    async def main():
        release = asyncio.Event()

        async def answer(request):
            if request.sample.id == "s0":
                await release.wait()
            return Response(output="x")

        recorded = []

        def record(result, sample):
            recorded.append(result.sample_id)
            if len(recorded) == 6:
                release.set()

        await asyncio.wait_for(run_plan(plan(Provider(answer), concurrency=2), record), timeout=10)
        return recorded

    assert asyncio.run(main())[-1] == "s0"


def test_a_fault_of_one_sample_does_not_stop_the_others():
    async def answer(request):
        if request.sample.id == "s2":
            raise CallError("key", kind=FaultKind.AUTH)
        return Response(output="x")

    provider = Provider(answer)
    outcomes = {result.sample_id: result.outcome for result, _ in ran(plan(provider))}
    assert outcomes.pop("s2") is Outcome.INFRASTRUCTURE_ERROR
    assert set(outcomes.values()) == {Outcome.SCORED}
    assert provider.closed == 1


def test_the_retry_policy_and_its_sleep_are_those_of_the_plan():
    waits = []

    async def answer(request):
        raise CallError("busy", kind=FaultKind.SERVER)

    async def sleep(seconds):
        waits.append(seconds)

    retry = RetryPolicy(retries=2, base_s=4.0)
    ran(plan(Provider(answer), samples=SAMPLES[:1], retry=retry, random=lambda: 0.5, sleep=sleep))
    assert waits == [2.0, 4.0]


def test_an_exception_in_record_comes_out_as_it_is_and_stops_the_rest():
    provider = Provider()

    def record(result, sample):
        raise OSError(28, "no space left on device")

    with pytest.raises(OSError, match="no space left") as caught:
        asyncio.run(run_plan(plan(provider, concurrency=2), record))
    assert type(caught.value) is OSError
    assert len(provider.asked) <= 4
    assert provider.closed == 1


def test_the_provider_is_closed_once_when_the_run_is_cancelled():
    async def main():
        provider = Provider(lambda request: asyncio.sleep(60))
        task = asyncio.create_task(run_plan(plan(provider, concurrency=3), lambda *_: None))
        while provider.in_flight < 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return provider

    provider = asyncio.run(main())
    assert (provider.closed, provider.in_flight) == (1, 0)


def test_the_provider_is_closed_once_after_a_good_run():
    provider = Provider()
    ran(plan(provider))
    assert provider.closed == 1


def test_a_provider_that_cancels_its_own_call_loses_no_sample():
    async def answer(request):
        raise asyncio.CancelledError

    recorded = ran(plan(Provider(answer), concurrency=2))
    assert len(recorded) == 7
    assert {result.outcome for result, _ in recorded} == {Outcome.INFRASTRUCTURE_ERROR}


def test_a_scorer_that_cancels_its_caller_cannot_end_the_run_as_finished():
    with pytest.raises(CannotJudgeError, match="samples were lost"):
        ran(plan(Provider(), scorers=(Scorer(asyncio.CancelledError()),)))
