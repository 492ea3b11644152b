"""`benchmark`: how fast a version answers, under a load that is fixed before the first call.

Closed loop (the default): so many requests in flight, each followed by the next. Open loop: requests arrive by the
clock, at random moments (Poisson) drawn from the suite's content, whether or not earlier ones are answered; that is how
users arrive, and only so does a server that stalls show it (see `aigate.running.measurement`). The order of samples and
the moments of arrival follow from the suite alone, so that two versions get the same requests at the same moments.

Everything is asked: nothing is taken from a journal or kept in one, and nothing is judged. Caps, retries and limits of
rate are those of `evaluate`.
"""

from __future__ import annotations

import asyncio
import math
import os
import random as random_module
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aigate.core.counts import count_of
from aigate.core.digest import seed_from
from aigate.core.ledger import Outcome
from aigate.core.response import Response
from aigate.core.run import Result, Run, RunHeader
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import CannotJudgeError, NotComparableError, UsageError
from aigate.goldens.config import DEFAULTS
from aigate.goldens.suite import Suite, load_suite
from aigate.providers.base import Provider, RateLimits, Request, is_offline, rate_limits_of
from aigate.running.asking import ask
from aigate.running.budget import Budget, BudgetSpentError
from aigate.running.engine import Plan
from aigate.running.evaluation import Choices, Progress, prepare, run_to_end
from aigate.running.limiter import CircuitBreaker, Limiter
from aigate.running.measurement import Benchmark, Call, compare_latency, obstacle_between
from aigate.running.prices import priced
from aigate.stats.quantiles import samples_to_bound

__all__ = ["BenchPlan", "Load", "benchmark", "measure", "plan_benchmark"]

REQUESTS = 300  # enough to bound p99
MOST_REQUESTS = 1_000_000
MOST_IN_FLIGHT = 512  # in an open loop: each is a connection, and a process may have some thousand files open
PULSE_S = 0.01
WARMUP_OPEN = 8  # requests; in a closed loop as many as are in flight


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the server; None leaves it to the default.

    Attributes:
        requests: Requests that count, after the warm-up; default 300, enough to bound p99, or any number in the
            duration.
        duration_s: Seconds after which nothing more is asked; None: until all requests are.
        warmup: Requests that come first and are not counted; default: as many as are in flight, 8 in an open loop.
        rate: Requests per second, in an open loop; None: a closed loop.
        most_in_flight: In an open loop, requests in flight at most: more wait, and the wait counts; default 512.

    Raises:
        UsageError: A number out of range.
    """

    requests: int | None = None
    duration_s: float | None = None
    warmup: int | None = None
    rate: float | None = None
    most_in_flight: int | None = None

    def __post_init__(self) -> None:
        whole = (("requests", self.requests, 1), ("warmup", self.warmup, 0), ("most_in_flight", self.most_in_flight, 1))
        for name, count, least in whole:
            if count is not None and not least <= count <= MOST_REQUESTS:
                raise UsageError(f"{name} is {count!r}: expected a whole number, {least} to {MOST_REQUESTS:,}")
        for name, value, unit in (
            ("duration_s", self.duration_s, "seconds"),
            ("rate", self.rate, "requests per second"),
        ):
            if value is not None and not 0.0 < value < math.inf:
                raise UsageError(f"{name} is {value!r}: expected {unit}, above 0")


@dataclass(frozen=True)
class BenchPlan:
    """A prepared benchmark: everything was looked up and checked, nothing was asked yet.

    Attributes:
        plan: Provider, prompts, parameters, timeout, retries, limits.
        header: Of the run that `evaluate` would make: version, suite and prompt.
        order: The samples in the order in which they are asked, again and again.
        requests: Requests that count; None: any number in the duration.
        warmup: Requests before them.
        duration_s: Seconds after which nothing more is asked; None: no such end.
        rate: Requests per second, in an open loop; None: a closed loop.
        most_in_flight: Requests in flight at most.
        seed: Of the moments of arrival.
        budget: Caps; None for none. It counts, so it serves one benchmark.
    """

    plan: Plan
    header: RunHeader
    order: tuple[Sample, ...]
    requests: int | None
    warmup: int
    duration_s: float | None
    rate: float | None
    most_in_flight: int
    seed: int
    budget: Budget | None = None

    @property
    def load(self) -> Mapping[str, Any]:
        """The load, as a benchmark tells it; see `Benchmark.load`."""
        plan = self.plan
        limits = {"timeout_s": plan.timeout_s}
        if plan.requests_per_minute is not None:
            limits["requests_per_minute"] = plan.requests_per_minute
        if self.rate is None:
            return {"engine": "local", "loop": "closed", "concurrency": plan.concurrency, **limits}
        return {"engine": "local", "loop": "open", "rate": self.rate, "most_in_flight": self.most_in_flight, **limits}

    @property
    def shortfall(self) -> str:
        """What so few requests do not bound, in words; empty where they bound p99, or where nobody knows how many."""
        needed = samples_to_bound(0.99)
        if self.requests is None or self.requests >= needed:
            return ""
        return f"{self.requests} requests: needs at least {needed} samples to bound p99"

    def request(self, number: int) -> Request:
        """The request of a number, from 0; the warm-up has the first ones."""
        turn, place = divmod(number, len(self.order))
        sample = self.order[place]
        return Request(
            sample, self.plan.render(sample), self.plan.parameters, repeat=turn, timeout_s=self.plan.timeout_s
        )

    def arrivals(self) -> Iterator[float]:
        """In an open loop, when each request arrives, in seconds from the begin: a Poisson process."""
        drawn, at_s, rate = random_module.Random(self.seed), 0.0, self.rate or math.inf  # noqa: S311 - no secret
        while True:
            at_s += drawn.expovariate(rate)
            yield at_s


def benchmark(
    suite: Suite | Path | str,
    *,
    version: VersionId | str | None = None,
    provider: str | Provider | Callable[..., Any] | None = None,
    provider_options: Mapping[str, Any] | None = None,
    requests: int | None = None,
    duration_s: float | None = None,
    warmup: int | None = None,
    concurrency: int | None = None,
    rate: float | None = None,
    limit: int | None = None,
    tags: Sequence[str] = (),
    timeout_s: float | None = None,
    retries: int | None = None,
    deadline_s: float | None = None,
    max_cost_usd: float | None = None,
    max_calls: int | None = None,
    max_tokens: int | None = None,
    price: str | None = None,
    baseline: Benchmark | Run | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Benchmark:
    """Measure how fast a version answers: p50, p95 and p99 of latency and of time to first token, with intervals.

    Args:
        suite: A suite, or its folder; its samples are asked in turn.
        version: The version to measure; default: that of suite.toml.
        provider: A provider's name, a `Provider`, or any callable `str -> str`, sync or async.
        provider_options: As `[provider-options]`; these win over those of suite.toml.
        requests: Requests that count; default 300, enough to bound p99, or any number in `duration_s`.
        duration_s: Seconds after which nothing more is asked.
        warmup: Requests before those that count; default: as many as are in flight, 8 in an open loop.
        concurrency: Requests in flight in a closed loop; in an open one the most there may be (default 512).
        rate: Requests per second: an open loop, whose requests do not wait for earlier answers. Latency then counts
            from the moment a request was to start.
        limit: Only the first so many samples.
        tags: Only samples with one of these tags.
        timeout_s: Seconds per attempt.
        retries: Attempts after the first.
        deadline_s: Seconds after which it is given up; likewise with each of the caps below.
        max_cost_usd: No call is made that could bring the cost above this.
        max_calls: Calls at most, warm-up and retries included.
        max_tokens: Tokens sent and received at most.
        price: US dollars per million tokens, "INPUT,OUTPUT", where the price table does not know the model.
        baseline: A benchmark or a stored run to compare with, sample by sample, measured under the same load.
        environ: The environment; default: that of the process. Only providers read it (keys, base URLs).
        progress: Called per answer with (result, done, total); total is 0 where only the duration ends it.

    Returns:
        The benchmark. Works inside a running event loop too (a notebook).

    Raises:
        UsageError: Something in the suite, the settings or the provider is wrong; nothing was asked.
        NotComparableError: The baseline was measured under another load, or asked other samples; nothing was asked.
        CannotJudgeError: It was hopeless and given up, or no request that counts was made or answered.
    """
    choices = Choices(
        version=version,
        provider=provider,
        provider_options=dict(provider_options or {}),
        limit=limit,
        tags=tags,
        concurrency=concurrency if rate is None else None,
        timeout_s=timeout_s,
        retries=retries,
        deadline_s=deadline_s,
        max_cost_usd=max_cost_usd,
        max_calls=max_calls,
        max_tokens=max_tokens,
        price=price,
    )
    load = Load(requests, duration_s, warmup, rate, most_in_flight=None if rate is None else concurrency)
    loaded = suite if isinstance(suite, Suite) else load_suite(suite)
    planned = plan_benchmark(loaded, choices, load, environ=os.environ if environ is None else environ)
    return measure(planned, baseline=baseline, progress=progress)


def plan_benchmark(suite: Suite, choices: Choices, load: Load, *, environ: Mapping[str, str]) -> BenchPlan:
    """Look up and check everything a benchmark needs, and ask nothing.

    Raises:
        UsageError: Something is wrong; the message says what and where.
    """
    # Nothing is judged, so that the suite's scorers need not be made: a judge would ask for a key of its own.
    unjudged = replace(suite, config=replace(suite.config, scorers=DEFAULTS["scorers"], primary_metric=None))
    prepared = prepare(unjudged, replace(choices, repeats=1, journal=None), environ=environ)
    plan = prepared.plan
    if is_offline(plan.provider):
        raise UsageError(
            f"provider '{plan.provider.name}' calls nothing: there is nothing to measure",
            hint="name one that calls: --provider openai or callable",
        )
    _refuse_a_rate_above_the_limit(load.rate, plan.requests_per_minute)
    in_flight = plan.concurrency if load.rate is None else load.most_in_flight or MOST_IN_FLIGHT
    seed = seed_from(suite.digest, "benchmark")
    warmup = load.warmup
    if warmup is None:
        warmup = in_flight if load.rate is None else WARMUP_OPEN
    return BenchPlan(
        plan=plan,
        header=prepared.header,
        order=tuple(sorted(plan.samples, key=lambda sample: seed_from(str(seed), sample.id))),
        requests=load.requests or (REQUESTS if load.duration_s is None else None),
        warmup=warmup,
        duration_s=load.duration_s,
        rate=load.rate,
        most_in_flight=in_flight,
        seed=seed,
        budget=prepared.budget,
    )


def _refuse_a_rate_above_the_limit(rate: float | None, per_minute: float | None) -> None:
    """Requests that arrive by the clock must not wait for a limit of ours."""
    if rate is not None and per_minute is not None and rate * 60.0 > per_minute:
        raise UsageError(
            f"a rate of {rate:g} per second is {rate * 60:g} requests per minute, and {per_minute:g} are allowed",
            hint="give a lower --rate, or raise requests-per-minute",
        )


def measure(
    planned: BenchPlan, *, baseline: Benchmark | Run | None = None, progress: Progress | None = None
) -> Benchmark:
    """Ask what was planned, and say how long it took.

    Args:
        planned: What was prepared.
        baseline: What to compare with.
        progress: Called per answer that counts with (result, done, total).

    Raises:
        NotComparableError: The baseline was measured under another load, or asked other samples; nothing was asked.
        CannotJudgeError: It was hopeless and given up, or no request that counts was made or answered.
        KeyboardInterrupt: Stopped; what was measured is lost.
    """
    samples = planned.plan.samples
    if baseline is not None and (
        apart := obstacle_between(planned.load, planned.header.suite_digest, samples, baseline)
    ):
        hint = "measure both alike, with the same --concurrency or --rate"
        raise NotComparableError((f"the baseline was not measured alike: {apart}",), hint=hint)
    found = run_to_end(_Measuring(planned, progress).run())
    return found if baseline is None else replace(found, comparison=compare_latency(found, baseline, samples=samples))


class _Measuring:
    """One benchmark that is being made."""

    def __init__(self, planned: BenchPlan, progress: Progress | None) -> None:
        plan = planned.plan
        self._planned, self._progress, self._clock = planned, progress, plan.clock
        # In an open loop nobody waits for a window: it is as large as may be, and shrinks where calls are refused.
        self._limiter = Limiter(
            concurrency=planned.most_in_flight,
            requests_per_minute=plan.requests_per_minute if planned.rate is None else None,
            tokens_per_minute=plan.tokens_per_minute,
            clock=plan.clock,
            random=plan.random,
        )
        self._breaker = CircuitBreaker(concurrency=planned.most_in_flight)
        self._calls: dict[int, Call] = {}
        self._lags: list[tuple[float, float]] = []
        self._stopped = ""
        self._begun_s = plan.clock()
        self._ends_s = self._begun_s + (math.inf if plan.deadline_s is None else plan.deadline_s)
        self._counted_from_s = math.inf

    async def run(self) -> Benchmark:
        """Ask everything."""
        pulse = asyncio.create_task(self._pulse())
        try:
            await (self._closed() if self._planned.rate is None else self._open())
        except BaseExceptionGroup as errors:  # callers see the error, not a group
            raise errors.exceptions[0] from None
        finally:
            pulse.cancel()
            await self._planned.plan.provider.aclose()
        return self._benchmark()

    async def _pulse(self) -> None:
        """Note how late this side takes note of what is due: that is in all times, and is no server's."""
        while True:
            due_s = self._clock() + PULSE_S
            await asyncio.sleep(PULSE_S)
            self._lags.append((due_s - self._begun_s, max(0.0, self._clock() - due_s)))

    async def _closed(self) -> None:
        """So many workers, each of which asks again as soon as it is answered."""
        numbers = iter(range(self._last_number()))

        async def work() -> None:
            for number in numbers:
                if number >= self._planned.warmup:
                    self._counted_from_s = min(self._counted_from_s, self._clock())
                if self._ended():
                    return
                await self._ask(number, None)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._planned.plan.concurrency):
                group.create_task(work())

    async def _open(self) -> None:
        """Requests that start when they arrive, however many are in flight."""
        planned = self._planned
        room = asyncio.Semaphore(planned.most_in_flight)
        warm_s = 0.0

        async def arrived(number: int, at_s: float) -> None:
            async with room:
                await self._ask(number, at_s)

        async with asyncio.TaskGroup() as group:
            for number, at_s in zip(range(self._last_number()), planned.arrivals(), strict=False):
                warm_s = at_s if number <= planned.warmup else warm_s
                if planned.duration_s is not None and at_s - warm_s > planned.duration_s:
                    return
                while (wait_s := self._begun_s + at_s - self._clock()) > 0.0:
                    await asyncio.sleep(wait_s)
                if self._ended():
                    return
                group.create_task(arrived(number, at_s))

    def _last_number(self) -> int:
        return self._planned.warmup + (self._planned.requests or MOST_REQUESTS)

    def _ended(self) -> bool:
        """Whether nothing more is asked: a cap, the deadline, a hopeless server, or the end of the duration."""
        now_s, duration_s = self._clock(), self._planned.duration_s
        if now_s >= self._ends_s:
            self._stopped = self._stopped or f"the deadline of {self._planned.plan.deadline_s:g} s was reached"
        over = duration_s is not None and now_s >= self._counted_from_s + duration_s
        return bool(self._stopped or self._breaker.reason) or over

    async def _ask(self, number: int, at_s: float | None) -> None:
        plan, request = self._planned.plan, self._planned.request(number)
        watched = _Watched(plan.provider, plan.clock)
        try:
            response = await ask(
                watched,
                request,
                retry=plan.retry,
                limiter=self._limiter,
                budget=self._planned.budget,
                deadline_s=max(0.0, min(plan.sample_deadline_s, self._ends_s - self._clock())),
                random=plan.random,
                sleep=plan.sleep,
                clock=plan.clock,
            )
        except BudgetSpentError as spent:
            self._stopped = self._stopped or str(spent)
            return
        self._breaker.note(response)
        if number >= self._planned.warmup:
            self._keep(number, request, priced(response, plan.price), watched, at_s)

    def _keep(self, number: int, request: Request, response: Response, watched: _Watched, at_s: float | None) -> None:
        fault, sample = response.fault, request.sample
        service_s = response.latency_s if response.latency_s is not None else watched.last_s
        self._calls[number] = Call(
            sample_id=sample.id,
            unit=sample.unit,
            planned_s=at_s,
            started_s=watched.first_started_s - self._begun_s,
            ended_s=watched.ended_s - self._begun_s,
            service_s=service_s if fault is None else None,
            ttft_s=response.ttft_s,
            fault=None if fault is None else fault.kind,
            message="" if fault is None else fault.message,
            attempts=response.attempts,
            retry_wait_s=response.retry_wait_s,
            longest_failed_s=response.longest_failed_s,
            output_tokens=response.output_tokens,
            cost_usd=response.cost_usd,
        )
        if self._progress is not None:
            outcome = Outcome.SCORED if fault is None else Outcome.PROVIDER_ERROR
            result = Result(sample.id, number, outcome, response, {})
            self._progress(result, len(self._calls), self._planned.requests or 0)

    def _benchmark(self) -> Benchmark:
        planned, header = self._planned, self._planned.header
        if self._breaker.reason:
            raise CannotJudgeError(f"the benchmark was given up: {self._breaker.reason}", hint="repair it, then again")
        calls = tuple(self._calls[number] for number in sorted(self._calls))
        if not calls:
            why = self._stopped or "its time was over during the warm-up"
            raise CannotJudgeError(f"no request that counts was made: {why}", hint="give it more room, or --warmup 0")
        if all(call.fault is not None for call in calls):
            first = f"{calls[0].fault}: {calls[0].message}"
            raise CannotJudgeError(
                f"not one of {count_of(len(calls), 'request')} was answered; the first: {first}",
                hint="check key, endpoint and model",
            )
        first_s, last_s = min(call.started_s for call in calls), max(call.ended_s for call in calls)
        lags = sorted(lag_s for due_s, lag_s in self._lags if first_s <= due_s <= last_s)
        return Benchmark(
            version=header.version,
            provider=header.provider,
            suite_name=header.suite_name,
            suite_digest=header.suite_digest,
            prompt_digest=header.prompt_digest,
            parameters=planned.plan.parameters,
            load=planned.load,
            warmup=planned.warmup,
            calls=calls,
            wall_s=last_s - first_s,
            client_lag_s=lags[int(0.99 * len(lags))] if lags else 0.0,
            stopped=self._stopped,
            started_at=header.started_at,
            libraries=header.libraries,
        )


class _Watched:
    """A provider, with the moments at which the attempts of one request were let go and ended."""

    def __init__(self, provider: Provider, clock: Callable[[], float]) -> None:
        self._provider, self._clock = provider, clock
        self.name = provider.name
        self.first_started_s = self._started_s = self.ended_s = math.nan

    @property
    def last_s(self) -> float:
        """Seconds of the last attempt."""
        return self.ended_s - self._started_s

    @property
    def rate_limits(self) -> RateLimits | None:
        return rate_limits_of(self._provider)

    def describe(self) -> Mapping[str, Any]:
        return self._provider.describe()

    async def respond(self, request: Request) -> Response:
        self._started_s = self._clock()
        if math.isnan(self.first_started_s):
            self.first_started_s = self._started_s
        try:
            return await self._provider.respond(request)
        finally:
            self.ended_s = self._clock()

    async def aclose(self) -> None:
        """The benchmark closes the provider, once."""
