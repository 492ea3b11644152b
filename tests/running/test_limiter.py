"""The limiter: it finds what a server takes, wastes little, starves nobody, and costs nothing without a limit."""

import asyncio
import heapq
import itertools
import random

import pytest

from aigate.core.response import Fault, FaultKind, Response
from aigate.core.sample import Sample
from aigate.errors import CallError
from aigate.providers.base import RateLimits, Request
from aigate.running.asking import RetryPolicy, ask
from aigate.running.limiter import SHORTEST_SPAN, SPAN_WINDOWS, CircuitBreaker, Limiter, _Refusals

GOOD = Response(output="x")


def fault(kind):
    return Response(fault=Fault(kind, "told"))


class World:
    """A clock that moves only when everybody waits: simulated seconds cost no real ones."""

    def __init__(self):
        self.now_s, self._sleepers, self._count = 0.0, [], 0

    def clock(self):
        return self.now_s

    async def sleep(self, seconds):
        waiter = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.now_s + max(0.0, seconds), self._count, waiter))
        await waiter

    async def run(self, *work):
        whole = asyncio.gather(*work)
        while not whole.done():
            for _ in range(12):
                await asyncio.sleep(0)
            if self._sleepers and not whole.done():
                self.now_s, _, waiter = heapq.heappop(self._sleepers)
                if not waiter.done():
                    waiter.set_result(None)
        return await whole

    def limiter(self, concurrency, **fields):
        return Limiter(concurrency=concurrency, clock=self.clock, sleep=self.sleep, random=lambda: 0.5, **fields)


class Server:
    """Takes so many calls a second and refuses the rest; answers after `latency_s`."""

    name = "server"

    def __init__(self, world, *, per_s=None, latency_s=0.5, retry_after_s=None, refuse=0.0, break_=0.0, seed=1):
        self.world, self.per_s, self.latency_s, self.retry_after_s = world, per_s, latency_s, retry_after_s
        self.refuse, self.break_, self.draw = refuse, break_, random.Random(seed)  # noqa: S311
        self.tokens, self.filled_s = per_s or 0, 0.0
        self.sent = self.refused = self.in_flight = self.peak = 0

    async def respond(self, request):
        self.sent += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            refused = self._full() or self.draw.random() < self.refuse
            await self.world.sleep(0.01 if refused else self.latency_s)
            if refused:
                self.refused += 1
                raise CallError("slow down", kind=FaultKind.RATE_LIMIT, retry_after_s=self.retry_after_s)
            if self.draw.random() < self.break_:
                raise CallError("oops", kind=FaultKind.SERVER)
            return Response(output=request.sample.id)
        finally:
            self.in_flight -= 1

    def _full(self):
        if self.per_s is None:
            return False
        now_s = self.world.now_s
        self.tokens = min(self.per_s, self.tokens + (now_s - self.filled_s) * self.per_s)
        self.filled_s = now_s
        if self.tokens < 1:
            return True
        self.tokens -= 1
        return False


def served(count, *, concurrency, retries=4, **server):
    """Ask `count` samples with so many workers, as the engine does; the server, the seconds and the responses."""
    world = World()
    asked = Server(world, **server)
    limiter, draw = world.limiter(concurrency), random.Random(7)  # noqa: S311
    todo, done = iter(range(count)), []

    async def work():
        for number in todo:
            request = Request(Sample(f"s{number}", "?"), ())
            done.append(
                await ask(
                    asked,
                    request,
                    retry=RetryPolicy(retries=retries),
                    limiter=limiter,
                    deadline_s=600.0,
                    random=draw.random,
                    sleep=world.sleep,
                    clock=world.clock,
                )
            )

    async def main():
        await world.run(*(work() for _ in range(2 * concurrency)))

    asyncio.run(main())
    assert limiter.in_flight == 0
    return asked, world.now_s, done


@pytest.mark.parametrize("retry_after_s", [None, 1.0])
def test_it_finds_what_a_server_takes_and_wastes_little(retry_after_s):
    server, seconds, done = served(1500, concurrency=64, per_s=20, retry_after_s=retry_after_s)
    assert all(response.output is not None for response in done)
    assert 1500 / seconds > 0.85 * 20
    assert server.sent < 1.35 * 1500


@pytest.mark.parametrize(("refuse", "break_", "most"), [(0.05, 0.01, 1.10), (0.20, 0.05, 1.40)])
def test_random_refusals_and_errors_lose_nothing_and_are_not_multiplied(refuse, break_, most):
    server, _, done = served(2000, concurrency=32, refuse=refuse, break_=break_)
    assert [response.output for response in done if response.fault] == []
    assert len({response.output for response in done}) == 2000
    assert server.sent <= most * 2000


def test_a_server_that_refuses_one_call_in_twenty_is_not_taken_for_a_full_one():
    server, seconds, _ = served(2000, concurrency=32, refuse=0.05)
    assert seconds < 1.35 * 2000 * 0.5 / 32
    assert server.peak == 32


@pytest.mark.parametrize("seed", range(5))
def test_refusals_that_a_smaller_window_does_not_spare_do_not_keep_it_small(seed):
    """The window alone would stand at 8 and take 50 s and more; waits that the server asks for are kept."""
    server, seconds, done = served(
        2000, concurrency=32, refuse=0.2, break_=0.05, latency_s=0.1, retry_after_s=1.0, seed=seed
    )
    assert [response.output for response in done if response.fault] == []
    assert seconds < 4 * 2000 * 0.1 / 32
    assert server.peak == 32


@pytest.mark.parametrize(("latency_s", "without"), [(0.1, 1.47), (0.5, 1.21), (5.0, 1.09)])
def test_trying_whether_a_full_server_takes_more_costs_little(latency_s, without):
    """Held against the calls per sample of a limiter that never tries."""
    server, seconds, done = served(1500, concurrency=64, per_s=20, latency_s=latency_s, retry_after_s=1.0)
    assert [response.output for response in done if response.fault] == []
    assert 1500 / seconds > (0.85 if latency_s < 1.0 else 0.5) * min(20, 64 / latency_s)
    assert server.sent < 1.12 * without * 1500


def settled(window, *, share, spans, most=64):
    """A window after so many spans in which every so-manieth call is refused; whether the window matters or not."""
    refusals, count = _Refusals(most), itertools.count()
    for _ in range(spans):
        for _ in range(int(max(SHORTEST_SPAN, SPAN_WINDOWS * window))):
            window = refusals.note(window, refused=next(count) % 100 in share(window))
    return window, refusals


def test_a_larger_window_is_kept_where_as_many_are_refused_as_before():
    refused = set(range(0, 100, 5))
    window, refusals = settled(8.0, share=lambda window: refused, spans=8)
    assert window == 64.0
    assert refusals.avoidable == 0.0


def test_a_larger_window_is_given_up_where_more_are_refused_and_is_tried_less_and_less_often():
    few, many = set(range(0, 100, 10)), set(range(0, 100, 2))
    trials = []

    def share(window):
        trials.append(window > 8.0)
        return many if window > 8.0 else few

    window, _ = settled(8.0, share=share, spans=60)
    assert window == 8.0
    assert sum(trials) < 0.1 * len(trials)
    starts = [n for n in range(1, len(trials)) if trials[n] and not trials[n - 1]]
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert len(gaps) >= 3
    assert all(after > 1.5 * before for before, after in itertools.pairwise(gaps))


def test_nothing_is_tried_where_nothing_or_most_is_refused():
    for share in (set(), set(range(60))):
        window, refusals = settled(8.0, share=lambda window, share=share: share, spans=20)
        assert window == 8.0
        assert not refusals.tries


def test_no_more_are_in_flight_than_asked_for_and_all_that_are_allowed_are_used():
    server, seconds, _ = served(320, concurrency=32)
    assert (server.peak, server.sent) == (32, 320)
    assert seconds == pytest.approx(5.0)


def finished(limiter, response, **more):
    async def one():
        limiter.release(await limiter.acquire(), response, **more)

    asyncio.run(one())


def test_a_burst_of_refusals_counts_once():
    world = World()
    limiter = world.limiter(16)

    async def main():
        tickets = [await limiter.acquire() for _ in range(16)]
        world.now_s = 1.0
        for ticket in tickets:
            limiter.release(ticket, fault(FaultKind.RATE_LIMIT))

    asyncio.run(main())
    assert 15.0 < limiter.window < 16.0


def test_the_window_never_closes_and_opens_again():
    world = World()
    limiter = world.limiter(8)
    for _ in range(200):
        world.now_s += 1.0
        finished(limiter, fault(FaultKind.RATE_LIMIT))
    assert 1.0 <= limiter.window < 1.5
    for _ in range(200):
        finished(limiter, GOOD)
    assert limiter.window == 8.0


@pytest.mark.parametrize("kind", [FaultKind.BAD_REQUEST, FaultKind.AUTH, FaultKind.TIMEOUT, FaultKind.CONTENT_FILTER])
def test_faults_that_do_not_speak_of_load_change_nothing(kind):
    limiter = World().limiter(8)
    finished(limiter, fault(kind))
    assert limiter.window == 8.0


def test_where_most_calls_are_refused_all_wait_as_long_as_the_server_says():
    world = World()
    limiter = world.limiter(4)
    starts = []

    async def main():
        for _ in range(20):
            limiter.release(await limiter.acquire(), fault(FaultKind.RATE_LIMIT))
        limiter.release(await limiter.acquire(), fault(FaultKind.RATE_LIMIT), retry_after_s=10.0)

        async def start():
            limiter.release(await limiter.acquire(), GOOD)
            starts.append(world.now_s)

        await world.run(start(), start())

    asyncio.run(main())
    assert all(10.0 <= start <= 11.0 for start in starts)


def test_requests_per_minute_are_kept():
    world = World()
    limiter = world.limiter(50, requests_per_minute=120)
    starts = []

    async def one():
        ticket = await limiter.acquire()
        starts.append(world.now_s)
        limiter.release(ticket, GOOD)

    async def main():
        await world.run(*(one() for _ in range(241)))

    asyncio.run(main())
    assert all(sum(a <= start < a + 60.0 for start in starts) <= 122 for a in (0.0, 10.0, 30.0, 60.0))
    assert starts == sorted(starts)
    assert 118.0 < starts[-1] < 121.0


def test_tokens_per_minute_are_kept_and_corrected_by_what_was_used():
    world = World()
    limiter = world.limiter(50, tokens_per_minute=6000)
    starts = []

    async def one():
        ticket = await limiter.acquire(tokens=100)
        starts.append(world.now_s)
        limiter.release(ticket, Response(output="x", input_tokens=30, output_tokens=20))

    async def main():
        await world.run(*(one() for _ in range(200)))

    asyncio.run(main())
    assert 95.0 < starts[-1] < 101.0  # 200 x 50 tokens at 100 a second


def test_it_slows_down_before_the_server_refuses():
    world = World()
    limiter = world.limiter(10)
    starts = []

    async def one():
        ticket = await limiter.acquire()
        starts.append(world.now_s)
        limiter.release(ticket, GOOD)

    async def main():
        tickets = [await limiter.acquire() for _ in range(9)]
        limiter.note_limits(RateLimits(remaining_requests=5, reset_requests_s=10.0))
        for ticket in tickets:
            limiter.release(ticket, GOOD)
        await world.run(*(one() for _ in range(5)))

    asyncio.run(main())
    assert [b - a for a, b in itertools.pairwise(starts)] == pytest.approx([2.0] * 4)


def test_nothing_left_waits_for_the_reset():
    world = World()
    limiter = world.limiter(10)
    limiter.note_limits(RateLimits(remaining_requests=0, reset_requests_s=6.0))

    async def main():
        await world.run(limiter.acquire())

    asyncio.run(main())
    assert 6.0 <= world.now_s <= 6.7


def test_first_come_first_served():
    world = World()
    limiter = world.limiter(1)
    order = []

    async def one(number):
        ticket = await limiter.acquire()
        order.append(number)
        await world.sleep(1.0)
        limiter.release(ticket, GOOD)

    async def main():
        await world.run(*(one(number) for number in range(20)))

    asyncio.run(main())
    assert order == list(range(20))


@pytest.mark.parametrize("at", range(1, 12))
def test_a_call_cancelled_at_any_moment_gives_its_place_back(at):
    async def main():
        limiter = Limiter(concurrency=1)

        class Slow:
            name = "slow"

            async def respond(self, request):
                for _ in range(5):
                    await asyncio.sleep(0)
                raise CallError("later", kind=FaultKind.RATE_LIMIT)

        async def one():
            retry = RetryPolicy(base_s=0.0)
            await ask(Slow(), Request(Sample("a", "?"), ()), retry=retry, limiter=limiter, random=lambda: 0.0)

        calls = [asyncio.create_task(one()) for _ in range(3)]
        for _ in range(at):
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        ticket = await asyncio.wait_for(limiter.acquire(), 30)
        limiter.release(ticket, None)
        assert limiter.in_flight == 0

    asyncio.run(main())


class TestCircuitBreaker:
    @pytest.mark.parametrize(
        ("kind", "samples"),
        [
            (FaultKind.QUOTA, 3),
            (FaultKind.AUTH, 10),
            (FaultKind.NOT_FOUND, 10),
            (FaultKind.SERVER, 50),
            (FaultKind.CONNECTION, 50),
            (FaultKind.RATE_LIMIT, 50),
        ],
    )
    def test_it_opens_when_going_on_is_hopeless_and_says_why(self, kind, samples):
        breaker = CircuitBreaker(concurrency=8)
        for _ in range(samples - 1):
            breaker.note(fault(kind))
        assert breaker.reason == ""
        breaker.note(fault(kind))
        assert breaker.reason == f"{samples} samples in a row got no answer; the last one: {kind}: told"

    def test_one_answer_is_hope(self):
        breaker = CircuitBreaker(concurrency=8)
        for _ in range(10):
            breaker.note(fault(FaultKind.AUTH)) if _ != 5 else breaker.note(GOOD)
        assert breaker.reason == ""

    def test_an_answer_from_the_journal_is_none(self):
        breaker = CircuitBreaker(concurrency=8)
        for _ in range(10):
            breaker.note(fault(FaultKind.AUTH))
            breaker.note(Response(output="x", journaled_at="2026-11-24T12:00:00+00:00"))
        assert breaker.reason

    @pytest.mark.parametrize("kind", [FaultKind.CANDIDATE, FaultKind.BAD_REQUEST, FaultKind.MISSING, FaultKind.ADAPTER])
    def test_what_says_nothing_of_the_next_sample_does_not_count(self, kind):
        breaker = CircuitBreaker(concurrency=1)
        for _ in range(500):
            breaker.note(fault(kind))
        assert breaker.reason == ""
