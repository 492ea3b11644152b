"""benchmark: the load is what was asked for, what counts is what was measured, and nothing goes on past a cap."""

import asyncio
import json
import statistics
import time

import pytest

from aigate.core.response import FaultKind, Response
from aigate.errors import CallError, CannotJudgeError, NotComparableError, UsageError
from aigate.goldens.suite import load_suite
from aigate.providers.replay import ReplayProvider
from aigate.running.evaluation import Choices
from aigate.running.latency import Load, benchmark, plan_benchmark
from aigate.testing import FakeProvider

TOML = 'version = "m/1/v1"\nscorers = ["no_such_scorer"]\nretries = 0\n'


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return written(tmp_path)


def written(folder, n=20, toml=TOML):
    path = folder / "faq"
    path.mkdir(exist_ok=True)
    (path / "suite.toml").write_text(toml)
    rows = ({"id": f"s{i:02}", "input": f"question {i}"} for i in range(n))
    (path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Provider:
    """Answers after a while; remembers what was asked, when, and how many at a time."""

    name = "fake"

    def __init__(self, latency_s=0.002, steps=None, measures=True):
        self.latency_s, self.steps, self.measures = latency_s, steps or (lambda number: None), measures
        self.asked, self.in_flight, self.most, self.closed = [], 0, 0, 0

    def describe(self):
        return {"name": self.name, "model": "m-1"}

    async def respond(self, request):
        number = len(self.asked)
        self.asked.append((request.sample.id, request.repeat, time.monotonic()))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(self.latency_s)
            if (error := self.steps(number)) is not None:
                raise error
        finally:
            self.in_flight -= 1
        return Response(
            output="x", latency_s=self.latency_s if self.measures else None, input_tokens=5, output_tokens=2
        )

    async def aclose(self):
        self.closed += 1


def ids(provider):
    return [id_ for id_, _, _ in provider.asked]


# --- the load ---------------------------------------------------------------------------------------------------------


def test_so_many_requests_count_after_as_many_warm_ones_as_are_in_flight(suite):
    provider = Provider()
    found = benchmark(suite, provider=provider, requests=50, concurrency=4)
    assert len(provider.asked) == 54
    assert (len(found.calls), found.warmup, found.stopped) == (50, 4, "")
    assert found.load == {"engine": "local", "loop": "closed", "concurrency": 4, "timeout_s": 60.0}
    assert provider.closed == 1


def test_a_closed_loop_keeps_so_many_in_flight_and_no_more(suite):
    provider = Provider()
    benchmark(suite, provider=provider, requests=60, concurrency=5)
    assert provider.most == 5


def test_without_numbers_300_requests_count_which_bound_p99(suite):
    found = benchmark(suite, provider=Provider(latency_s=0.0), warmup=0)
    assert len(found.calls) == 300
    assert found.latency.needs == ()


def test_each_sample_is_asked_before_one_is_asked_again_in_an_order_of_the_suites_own(suite, tmp_path):
    first, second = Provider(), Provider()
    benchmark(suite, provider=first, requests=40, warmup=0, concurrency=1)
    benchmark(suite, version="m/2/v1", provider=second, requests=40, warmup=0, concurrency=1)
    assert ids(first) == ids(second)
    assert sorted(ids(first)[:20]) == [f"s{i:02}" for i in range(20)]
    assert ids(first)[:20] == ids(first)[20:] != sorted(ids(first)[:20])
    assert {repeat for _, repeat, _ in first.asked[20:]} == {1}


def test_a_part_of_the_suite_can_be_asked(suite):
    provider = Provider()
    benchmark(suite, provider=provider, requests=9, limit=3, warmup=0)
    assert set(ids(provider)) == {"s00", "s01", "s02"}


def test_a_duration_ends_it_and_does_not_count_the_warm_up(suite):
    started = time.monotonic()
    found = benchmark(suite, provider=Provider(latency_s=0.1), duration_s=1.0, concurrency=2, warmup=2)
    assert 1.0 <= time.monotonic() - started < 15
    assert 4 <= len(found.calls) <= 22
    assert found.stopped == ""


def test_an_open_loop_does_not_wait_for_answers(suite):
    provider = Provider(latency_s=1.0)
    found = benchmark(suite, provider=provider, requests=20, rate=200.0, warmup=2)
    assert provider.most > 12  # in a closed loop of 8 there would be 8
    assert found.wall_s < 3.0  # which would take 3 s
    assert found.open_loop
    assert len(found.calls) == 20


def test_arrivals_are_poisson_at_the_rate_and_the_same_for_every_version_of_a_suite(suite):
    def arrivals(**more):
        choices = Choices(provider=Provider(), **more)
        planned = plan_benchmark(load_suite(suite), choices, Load(rate=50.0), environ={})
        return [at_s for at_s, _ in zip(planned.arrivals(), range(4_000), strict=False)]

    moments = arrivals()
    assert moments == arrivals(version="m/2/v1")
    gaps = [after - before for before, after in zip([0.0, *moments], moments, strict=False)]
    assert statistics.mean(gaps) == pytest.approx(1 / 50, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.05)  # exponential: as wide as its mean


def test_in_an_open_loop_requests_that_find_no_room_wait_and_the_wait_counts(suite):
    provider = Provider(latency_s=0.05)
    found = benchmark(suite, provider=provider, requests=30, rate=500.0, concurrency=2, warmup=0)
    assert provider.most == 2
    assert found.service[0.5].seconds < 0.1 < found.latency[0.5].seconds
    assert any("the client fell behind" in note for note in found.notes)


def test_nothing_is_judged_so_that_no_scorer_need_be_there(suite):
    assert benchmark(suite, provider=Provider(), requests=1, warmup=0).answered == 1


def test_nothing_is_taken_from_a_journal_or_kept_in_one(suite, tmp_path):
    for _ in range(2):
        provider = Provider()
        benchmark(suite, provider=provider, requests=20, warmup=0)
        assert len(provider.asked) == 20
    assert {path.name for path in tmp_path.iterdir()} == {"faq"}


def test_it_runs_inside_a_running_event_loop(suite):
    async def cell():
        return benchmark(suite, provider=Provider(), requests=5, warmup=0)

    assert len(asyncio.run(cell()).calls) == 5


# --- what counts ------------------------------------------------------------------------------------------------------


def test_latency_is_that_of_the_provider_where_it_measures_it_and_else_of_the_call(suite):
    measured = benchmark(suite, provider=Provider(0.01), requests=10, warmup=0)
    assert set(measured.latency.seconds) == {0.01}
    watched = benchmark(suite, provider=Provider(0.01, measures=False), requests=10, warmup=0)
    assert all(0.01 <= seconds < 5.0 for seconds in watched.latency.seconds)


def test_a_function_can_be_measured(suite):
    found = benchmark(suite, provider=lambda question: question.upper(), requests=5, warmup=0)
    assert found.answered == 5
    assert found.provider["name"] == "callable"


def refused_once(number):
    return CallError("later", kind=FaultKind.RATE_LIMIT) if number == 3 else None


def test_waits_between_attempts_are_not_counted(suite):
    provider = Provider(0.002, steps=refused_once)
    found = benchmark(suite, provider=provider, requests=10, warmup=0, concurrency=1, retries=4)
    assert set(found.latency.seconds) == {0.002}
    [again] = [call for call in found.calls if call.attempts > 1]
    assert (again.attempts, again.fault) == (2, None)


def test_what_got_no_answer_stays_in_the_numbers(suite):
    def broken(number):
        return CallError("500", kind=FaultKind.SERVER) if number % 10 == 0 else None

    found = benchmark(suite, provider=Provider(steps=broken), requests=40, warmup=0, concurrency=1)
    assert (found.answered, found.errors) == (36, {"server": 4})
    assert len(found.latency.seconds) == 40
    assert found.latency[0.99].seconds == float("inf")


def test_progress_is_told_of_each_request_that_counts(suite):
    seen = []
    benchmark(suite, provider=Provider(), requests=6, warmup=3, progress=lambda *args: seen.append(args[1:]))
    assert seen == [(done, 6) for done in range(1, 7)]


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [None, 500.0])
def test_a_cap_on_calls_is_kept_and_said(suite, rate):
    provider = Provider()
    found = benchmark(suite, provider=provider, requests=50, warmup=5, max_calls=20, rate=rate)
    assert len(provider.asked) == 20
    assert len(found.calls) == 15
    assert found.stopped == "max-calls 20 was reached"
    assert found.notes[0] == "it ended before everything was asked: max-calls 20 was reached"


@pytest.mark.parametrize("rate", [None, 20.0])
def test_the_deadline_ends_it_and_is_said(suite, rate):
    found = benchmark(suite, provider=Provider(0.1), requests=500, warmup=0, concurrency=2, deadline_s=1.5, rate=rate)
    assert 0 < len(found.calls) < 40
    assert found.stopped == "the deadline of 1.5 s was reached"


def test_a_hopeless_server_ends_it(suite):
    provider = Provider(0.0, steps=lambda number: CallError("no key", kind=FaultKind.AUTH))
    with pytest.raises(CannotJudgeError, match="the benchmark was given up: .* no key"):
        benchmark(suite, provider=provider, requests=500, concurrency=2)
    assert len(provider.asked) < 20
    assert provider.closed == 1


def test_not_one_answer_is_no_benchmark(suite):
    provider = Provider(0.0, steps=lambda number: CallError("broken", kind=FaultKind.SERVER))
    with pytest.raises(CannotJudgeError, match="not one of 5 requests was answered; the first: server: broken"):
        benchmark(suite, provider=provider, requests=5, warmup=0)


def test_a_cap_that_leaves_only_the_warm_up_is_no_benchmark(suite):
    with pytest.raises(CannotJudgeError, match="no request that counts was made: max-calls 4 was reached"):
        benchmark(suite, provider=Provider(), requests=5, warmup=8, max_calls=4)


def test_a_cap_on_cost_needs_a_price_and_is_kept(suite):
    with pytest.raises(UsageError, match="max-cost cannot be kept"):
        benchmark(suite, provider=Provider(), max_cost_usd=1.0)
    # 0.0002 USD for the answer that is expected, 256 tokens at first and 2 from then on
    found = benchmark(
        suite, provider=Provider(), requests=500, warmup=0, max_cost_usd=0.01, price="10,10", concurrency=1
    )
    assert "max-cost 0.01 USD was reached" in found.stopped
    assert found.cost_usd <= 0.01


def test_what_the_provider_cannot_be_asked_at_all_goes_through(suite):
    provider = Provider(steps=lambda number: UsageError("no such parameter"))
    with pytest.raises(UsageError, match="no such parameter"):
        benchmark(suite, provider=provider, requests=5)


# --- what is refused before anything is asked -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"requests": 0}, "requests is 0: expected a whole number, 1 to"),
        ({"warmup": -1}, "warmup is -1"),
        ({"duration_s": 0.0}, "duration_s is 0.0: expected seconds, above 0"),
        ({"rate": -1.0}, "rate is -1.0: expected requests per second, above 0"),
        ({"rate": float("inf")}, "rate is inf"),
        ({"rate": 5.0, "concurrency": 0}, "most_in_flight is 0"),
        ({"concurrency": 0}, "concurrency is 0: expected 1 or more"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(suite, options, told):
    provider = Provider()
    with pytest.raises(UsageError) as refused:
        benchmark(suite, provider=provider, **options)
    assert told in str(refused.value)
    assert provider.asked == []


def test_a_rate_above_what_the_account_allows_is_refused(tmp_path, suite):
    limited = written(tmp_path, toml=f"{TOML}requests-per-minute = 60\n")
    with pytest.raises(UsageError, match="a rate of 2 per second is 120 requests per minute, and 60 are allowed"):
        benchmark(limited, provider=Provider(), rate=2.0)


def test_what_calls_nothing_is_not_measured(suite, tmp_path):
    recorded = tmp_path / "answers.jsonl"
    recorded.write_text('{"id": "s00", "output": "x"}\n')
    with pytest.raises(UsageError, match="'replay' calls nothing"):
        benchmark(suite, provider="replay", provider_options={"recorded": str(recorded)})
    assert ReplayProvider.name == "replay"


def test_a_baseline_under_another_load_is_refused_before_anything_is_asked(suite):
    before = benchmark(suite, provider=Provider(), requests=20, warmup=0, concurrency=2)
    provider = Provider()
    with pytest.raises(NotComparableError, match="concurrency 2 → 3"):
        benchmark(suite, provider=provider, requests=20, concurrency=3, baseline=before)
    assert provider.asked == []


def test_a_baseline_under_the_same_load_is_compared(suite):
    before = benchmark(suite, provider=Provider(0.002), requests=40, warmup=0, concurrency=2)
    found = benchmark(suite, provider=Provider(0.004), requests=40, concurrency=2, baseline=before)
    assert found.comparison.latency.ratio == pytest.approx(2.0)
    assert found.comparison.latency.n == 20


def test_the_public_fake_can_be_measured(suite):
    found = benchmark(suite, provider=FakeProvider(lambda sample: "x", latency_s=0.001), requests=3, warmup=0)
    assert set(found.latency.seconds) == {0.001}
