"""Stopping early: looks are decided in order, calls end with the verdict, and every sample and repeat has one line."""

import asyncio
import json
import random
import threading
from collections import Counter

import pytest

from aigate.core.ledger import Outcome
from aigate.core.looks import Look, LookPlan, unit_order
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score
from aigate.errors import CannotJudgeError, ConfigError, RunFileError, UsageError
from aigate.goldens.suite import load_suite
from aigate.running.engine import Plan, run_plan
from aigate.running.evaluation import Choices, evaluate, execute, prepare, with_looks
from aigate.storing.runs import load_run

SAMPLES = tuple(Sample(f"s{n:02}", f"question {n}") for n in range(40))
FIVE = LookPlan(tuple(Look(8 * k, 1) for k in range(1, 6)))
TWICE = LookPlan((Look(40, 1), Look(40, 3)))
ORDER = tuple(unit.removeprefix("sample:") for unit in unit_order(SAMPLES, seed=0))


class Provider:
    """Counts what it is asked; answers after `delay_s`, or when `answer` says so."""

    name = "fake"

    def __init__(self, answer=None, delay_s=lambda: 0.0):
        self.answer, self.delay_s, self.asked, self.closed = answer, delay_s, [], 0

    def describe(self):
        return {"name": "fake", "adapter": 1}

    async def respond(self, request):
        self.asked.append((request.sample.id, request.repeat))
        await asyncio.sleep(self.delay_s())
        if self.answer is not None:
            await self.answer(request)
        return Response(output=request.sample.text.upper())

    async def aclose(self):
        self.closed += 1


class Scorer:
    """Scores 1, or raises what it was made with."""

    def __init__(self, raises=None):
        self.spec, self.raises = MetricSpec("m", "fake"), raises

    def applies_to(self, sample):
        return None

    def score(self, sample, response):
        if self.raises:
            raise self.raises
        return Score(1.0)


class Settled:
    """Says at which look it is settled, from look 1; at look 0 as it is told. Remembers what it was asked."""

    def __init__(self, *answers, at_once=False):
        self.answers, self.looks = [at_once, *answers], []

    async def __call__(self, look):
        self.looks.append(look)
        await asyncio.sleep(0.002)
        return self.answers[look]


def plan(provider, settled=None, **fields):
    whole = {"samples": SAMPLES, "repeats": 1, "scorers": (Scorer(),), "concurrency": 4, "looks": FIVE}
    return Plan(provider=provider, render=lambda _: (), parameters={}, settled=settled, **{**whole, **fields})


def ran(a_plan):
    recorded = []
    asyncio.run(asyncio.wait_for(run_plan(a_plan, lambda result, _: recorded.append(result)), timeout=20))
    return recorded


async def asked_ahead(provider, count):
    """Wait until so many were asked, and then long enough to ask all of the rest, were they let."""
    while len(provider.asked) < count:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)


def answered(recorded):
    return [result.key for result in recorded if result.outcome is not Outcome.EARLY_STOP]


# --- the engine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 4, 30])
@pytest.mark.parametrize("look", [1, 3])
def test_a_settled_run_ends_with_at_most_so_many_calls_beyond_the_look_as_are_in_flight(look, concurrency):
    provider, settled = Provider(), Settled(*[number == look for number in range(1, 5)])
    recorded = ran(plan(provider, settled, concurrency=concurrency))
    used = FIVE.looks[look - 1].units
    assert settled.looks == list(range(1, look + 1))
    assert used <= len(provider.asked) <= used + concurrency
    assert [id_ for id_, _ in provider.asked] == list(ORDER[: len(provider.asked)])
    assert Counter(result.key for result in recorded) == Counter((sample.id, 0) for sample in SAMPLES)
    assert sorted(answered(recorded)) == sorted(provider.asked)
    assert provider.closed == 1


def test_what_was_not_asked_is_recorded_as_such_and_after_the_last_answer():
    recorded = ran(plan(Provider(), Settled(True)))
    outcomes = [result.outcome for result in recorded]
    skipped = outcomes.count(Outcome.EARLY_STOP)
    assert skipped >= 40 - 8 - 4
    assert set(outcomes[-skipped:]) == {Outcome.EARLY_STOP}
    assert all((result.response, result.scores) == (None, {}) for result in recorded[-skipped:])


def test_a_run_that_is_never_settled_asks_everything_and_the_last_look_is_not_decided_here():
    provider, settled = Provider(), Settled(False, False, False, False)
    recorded = ran(plan(provider, settled))
    assert settled.looks == [1, 2, 3, 4]
    assert answered(recorded) == [result.key for result in recorded]
    assert len(provider.asked) == 40


@pytest.mark.parametrize("looks", [None, LookPlan((Look(40, 1),))])
def test_with_no_look_before_the_end_nothing_is_decided(looks):
    provider, settled = Provider(), Settled()
    assert len(answered(ran(plan(provider, settled, looks=looks)))) == 40
    assert settled.looks == []


def test_without_a_rule_everything_is_asked_in_the_order_of_the_looks():
    provider = Provider()
    assert len(answered(ran(plan(provider)))) == 40
    assert [id_ for id_, _ in provider.asked] == list(ORDER)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_asking_does_not_depend_on_the_order_of_answers(seed):
    draw = random.Random(seed)  # noqa: S311 - delays, not secrets
    provider = Provider(delay_s=lambda: draw.random() * 0.004)
    recorded = ran(plan(provider, Settled(False, True)))
    assert [id_ for id_, _ in provider.asked] == list(ORDER[: len(provider.asked)])
    assert set(ORDER[:16]) <= {id_ for id_, _ in answered(recorded)}
    assert len(provider.asked) <= 16 + 4


def test_a_look_is_decided_only_when_its_last_answer_is_recorded():
    recorded = []

    async def settled(look):
        assert {result.sample_id for result in recorded} >= set(ORDER[: FIVE.looks[look - 1].units])
        return False

    async def slow_for_the_first(request):
        if request.sample.id == ORDER[0]:
            await asyncio.sleep(0.05)

    provider = Provider(slow_for_the_first)
    asyncio.run(run_plan(plan(provider, settled), lambda result, _: recorded.append(result)))
    assert len(recorded) == 40


def test_workers_run_ahead_while_a_look_is_decided_and_then_wait():
    provider = Provider()

    async def settled(look):
        await asked_ahead(provider, 8 * look + 4)
        seen.append(len(provider.asked))
        return False

    seen = []
    ran(plan(provider, settled))
    assert seen == [8 + 4, 16 + 4, 24 + 4, 32 + 4]


def test_answers_in_flight_when_it_is_settled_are_completed_and_recorded():
    async def main():
        release, recorded = asyncio.Event(), []

        async def late(request):
            if request.sample.id in ORDER[8:]:
                await release.wait()

        async def settled(look):
            while len(provider.asked) < 12:
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.02, release.set)
            return True

        provider = Provider(late)
        await run_plan(plan(provider, settled), lambda result, _: recorded.append(result))
        return provider, recorded

    provider, recorded = asyncio.run(asyncio.wait_for(main(), timeout=10))
    assert sorted(answered(recorded)) == sorted((id_, 0) for id_ in ORDER[:12]) == sorted(provider.asked)


def test_further_repeats_are_asked_only_where_the_first_settle_nothing():
    for settled in (True, False):
        provider = Provider()
        recorded = ran(plan(provider, Settled(settled), repeats=3, looks=TWICE))
        asked = Counter(repeat for _, repeat in provider.asked)
        assert asked[0] == 40
        assert (asked[1] + asked[2] <= 4) if settled else (asked[1] == asked[2] == 40)
        assert max(repeat for _, repeat in provider.asked[:40]) == 0
        assert len(recorded) == len({result.key for result in recorded}) == 120
        assert len(answered(recorded)) == len(provider.asked)


def test_what_must_pass_is_asked_before_all_others_and_is_there_at_the_first_look():
    first = frozenset(ORDER[-2:])
    provider = Provider()
    settled = Settled(True)
    recorded = ran(plan(provider, settled, first=first))
    assert {id_ for id_, _ in provider.asked[:2]} == first
    assert {*first, *ORDER[:8]} <= {id_ for id_, _ in answered(recorded)}
    assert settled.looks == [0, 1]
    assert len(provider.asked) <= 10 + 4


@pytest.mark.parametrize("looks", [FIVE, LookPlan((Look(40, 1),))])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_run_that_is_settled_by_what_must_pass_asks_no_more_than_is_in_flight(looks, concurrency):
    first = frozenset(ORDER[-3:])
    provider, settled = Provider(), Settled(at_once=True)
    recorded = ran(plan(provider, settled, first=first, looks=looks, concurrency=concurrency))
    assert settled.looks == [0]
    assert first <= {id_ for id_, _ in provider.asked}
    assert len(provider.asked) <= 3 + concurrency
    assert len(recorded) == 40


def test_what_must_pass_is_decided_once_and_with_one_look_nothing_else_is():
    provider, settled = Provider(), Settled(False)
    recorded = ran(plan(provider, settled, first=frozenset(ORDER[-3:]), looks=LookPlan((Look(40, 1),))))
    assert settled.looks == [0]
    assert len(answered(recorded)) == 40


def test_workers_run_ahead_of_what_must_pass_as_they_do_of_a_look():
    provider, seen = Provider(), []

    async def settled(look):
        await asked_ahead(provider, 2 + 4)
        seen.append(len(provider.asked))
        return look == 0

    ran(plan(provider, settled, first=frozenset(ORDER[-2:])))
    assert seen == [2 + 4]


def test_a_resumed_run_that_what_must_pass_has_settled_asks_nothing():
    provider, first = Provider(), frozenset(ORDER[-2:])
    recorded = ran(plan(provider, Settled(at_once=True), first=first, done={(id_, 0) for id_ in first}))
    assert provider.asked == []
    assert len(recorded) == 38


def test_a_rule_that_raises_ends_the_run_with_its_error():
    async def settled(look):
        raise ConfigError("no such check")

    provider, recorded = Provider(), []
    with pytest.raises(ConfigError, match="no such check"):
        asyncio.run(run_plan(plan(provider, settled), lambda result, _: recorded.append(result)))
    assert 8 <= len(recorded) <= 12
    assert not any(result.outcome is Outcome.EARLY_STOP for result in recorded)
    assert provider.closed == 1


def test_a_run_of_one_sample_is_asked_and_ends():
    provider = Provider()
    assert answered(ran(plan(provider, Settled(), samples=SAMPLES[:1], looks=LookPlan((Look(1, 1),))))) == [("s00", 0)]
    escalates = LookPlan((Look(1, 1), Look(1, 2)))
    recorded = ran(plan(Provider(), Settled(True), samples=SAMPLES[:1], repeats=2, looks=escalates))
    assert len(recorded) == 2


def test_what_is_done_counts_for_a_look_and_is_not_asked_again():
    provider, settled = Provider(), Settled(False, True)
    recorded = ran(plan(provider, settled, done={(id_, 0) for id_ in ORDER[:12]}))
    assert settled.looks == [1, 2]
    assert [id_ for id_, _ in provider.asked] == list(ORDER[12 : 12 + len(provider.asked)])
    assert 4 <= len(provider.asked) <= 8
    assert len(recorded) == 28


def test_a_look_that_stands_there_already_is_decided_before_anything_is_asked():
    provider = Provider()
    recorded = ran(plan(provider, Settled(True), done={(id_, 0) for id_ in ORDER[:8]}))
    assert provider.asked == []
    assert {result.outcome for result in recorded} == {Outcome.EARLY_STOP}
    assert len(recorded) == 32


def test_what_stands_there_already_beyond_the_look_is_not_recorded_as_skipped():
    done = {(id_, 0) for id_ in (*ORDER[:8], ORDER[9], ORDER[30])}
    recorded = ran(plan(Provider(), Settled(True), done=done))
    assert len(recorded) == 30
    assert done.isdisjoint(result.key for result in recorded)


def test_nothing_is_decided_when_there_is_nothing_left_to_save():
    settled = Settled(True)
    assert ran(plan(Provider(), settled, done={(sample.id, 0) for sample in SAMPLES})) == []
    assert settled.looks == []


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_scorer_that_cancels_its_caller_ends_the_run_instead_of_holding_it(concurrency):
    broken = (Scorer(asyncio.CancelledError()),)
    with pytest.raises(CannotJudgeError, match="samples were lost"):
        ran(plan(Provider(), Settled(False, False, False, False), scorers=broken, concurrency=concurrency))


def test_a_cancelled_run_drops_what_is_in_flight_and_closes_the_provider():
    async def main():
        provider = Provider(delay_s=lambda: 60.0)
        task = asyncio.create_task(run_plan(plan(provider, Settled(True)), lambda *_: None))
        while len(provider.asked) < 4:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return provider

    assert asyncio.run(main()).closed == 1


# --- evaluate ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return write_suite(tmp_path / "faq")


def write_suite(folder, count=40):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.toml").write_text('version = "m/1/v1"\nscorers = ["exact_match"]\n')
    rows = [{"id": f"s{n:02}", "input": f"question {n}", "reference": f"QUESTION {n}"} for n in range(count)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def order_of(run):
    return tuple(unit.removeprefix("sample:") for unit in run.unit_order)


def test_the_rule_is_given_the_run_as_it_stands_at_the_look(folder, tmp_path):
    seen = []

    def settled(run):
        seen.append(run)
        return len(seen) == 2

    run = evaluate(folder, provider=Provider(), looks=FIVE, settled=settled, concurrency=4, out=tmp_path / "run.jsonl")
    assert run == load_run(tmp_path / "run.jsonl")
    assert run.header.looks == FIVE
    for number, given in enumerate(seen, start=1):
        answered_ids = {result.sample_id for result in given.results if result.outcome is Outcome.SCORED}
        assert answered_ids == set(order_of(run)[: 8 * number])
        assert (given.header, given.samples, len(given.results)) == (run.header, run.samples, 40)
    assert 16 <= run.ledger.asked <= 20
    assert run.ledger.total == len(run.results) == len(run.samples) == 40


def test_the_rule_works_in_a_thread_so_that_answers_in_flight_go_on(folder):
    arrived = threading.Event()

    class Late(Provider):
        async def respond(self, request):
            response = await super().respond(request)
            if len(self.asked) > 8:
                arrived.set()
            return response

    def settled(run):
        return arrived.wait(timeout=10)

    run = evaluate(folder, provider=Late(), looks=FIVE, settled=settled, concurrency=4)
    assert arrived.is_set()
    assert run.ledger.asked <= 12


def test_repeats_of_the_run_are_the_most_that_the_plan_may_come_to(folder):
    run = evaluate(folder, provider=Provider(), looks=TWICE, settled=lambda run: True, concurrency=2)
    assert (run.header.repeats, run.header.looks) == (3, TWICE)
    assert run.ledger.total == 120
    assert 40 <= run.ledger.asked <= 42


@pytest.mark.parametrize(
    ("looks", "fields"),
    [
        (LookPlan((Look(5, 1), Look(39, 1))), {}),
        (LookPlan((Look(5, 1), Look(41, 1))), {}),
        (LookPlan((Look(5, 2), Look(40, 2))), {}),
        (FIVE, {"repeats": 2}),
        (FIVE, {"limit": 10}),
    ],
)
def test_a_plan_of_another_run_is_refused_before_anything_is_asked(folder, looks, fields):
    provider = Provider()
    with pytest.raises(UsageError, match="the planned looks begin with"):
        evaluate(folder, provider=provider, looks=looks, **fields)
    assert provider.asked == []


def test_a_rule_that_raises_leaves_a_run_that_can_be_gone_on_with(folder, tmp_path):
    out = tmp_path / "run.jsonl"

    def settled(run):
        raise ConfigError("no such check")

    with pytest.raises(ConfigError, match="no such check"):
        evaluate(folder, provider=Provider(), looks=FIVE, settled=settled, concurrency=4, out=out)
    with pytest.raises(RunFileError, match="was interrupted after"):
        load_run(out)
    second = Provider()
    run = evaluate(folder, provider=second, looks=FIVE, out=out, resume=True, concurrency=4)
    assert run.ledger.counts[Outcome.SCORED] == 40
    assert len(second.asked) <= 32


class KilledError(Exception):
    """Stands for whatever kills a run."""


def stopped_during(look, folder, out, settled, *, looks=FIVE):
    """A run that breaks off in the middle of a look, with its settled looks decided by `settled`."""

    def progress(result, done, total):
        if done == 8 * (look - 1) + 5:
            raise KilledError

    with pytest.raises(KilledError):
        evaluate(folder, provider=Provider(), looks=looks, settled=settled, concurrency=1, out=out, progress=progress)


def test_a_run_killed_during_a_look_goes_on_to_the_run_it_would_have_been(folder, tmp_path):
    def settled(run):
        return run.ledger.asked >= 16

    whole = evaluate(folder, provider=Provider(), looks=FIVE, settled=settled, concurrency=1)
    stopped_during(2, folder, tmp_path / "run.jsonl", settled)
    provider = Provider()
    run = evaluate(
        folder, provider=provider, looks=FIVE, settled=settled, concurrency=1, out=tmp_path / "run.jsonl", resume=True
    )
    used = set(order_of(run)[:16])

    def judged(a_run):
        return {r.key: (r.outcome, r.scores) for r in a_run.results if r.sample_id in used}

    assert judged(run) == judged(whole)
    assert run.ledger.asked <= 17
    assert len(provider.asked) <= 17 - 13
    assert len(run.results) == 40


def test_going_on_with_a_run_that_is_settled_asks_nothing(folder, tmp_path):
    out = tmp_path / "run.jsonl"
    first = evaluate(folder, provider=Provider(), looks=FIVE, settled=lambda _: True, concurrency=1, out=out)
    provider = Provider()
    again = evaluate(folder, provider=provider, looks=FIVE, settled=lambda _: True, out=out, resume=True)
    assert provider.asked == []
    assert again.results == first.results


def test_going_on_without_a_rule_answers_the_rest_under_the_same_plan(folder, tmp_path):
    out = tmp_path / "run.jsonl"
    stopped = evaluate(folder, provider=Provider(), looks=TWICE, settled=lambda _: True, concurrency=1, out=out)
    provider = Provider()
    whole = evaluate(folder, provider=provider, out=out, resume=True)
    assert whole.header.looks == stopped.header.looks == TWICE
    assert whole.header.repeats == 3
    assert whole.ledger.counts[Outcome.SCORED] == 120
    assert len(provider.asked) == 120 - stopped.ledger.asked


def test_a_run_keeps_the_looks_that_it_was_begun_with(folder, tmp_path):
    out, other = tmp_path / "run.jsonl", LookPlan((Look(20, 1), Look(40, 1)))
    stopped_during(2, folder, out, lambda _: False)
    seen = []
    again = {"looks": other, "settled": seen.append, "concurrency": 1}
    evaluate(folder, provider=Provider(), out=out, resume=True, **again)
    assert load_run(out).header.looks == FIVE
    assert len(seen) == 4


def test_a_run_begun_without_looks_stays_without(folder, tmp_path):
    out, calls = tmp_path / "run.jsonl", []
    stopped_during(2, folder, out, None, looks=None)
    for looks in (FIVE, TWICE):
        run = evaluate(folder, provider=Provider(), looks=looks, settled=calls.append, out=out, resume=True)
        assert (run.header.looks, run.header.repeats, run.ledger.counts[Outcome.SCORED]) == (None, 1, 40)
    assert calls == []


def test_a_run_begun_with_other_repeats_is_not_gone_on_with(folder, tmp_path):
    fixed, planned = tmp_path / "fixed.jsonl", tmp_path / "planned.jsonl"
    evaluate(folder, provider=Provider(), repeats=3, out=fixed)
    evaluate(folder, provider=Provider(), looks=TWICE, settled=lambda _: True, out=planned)
    with pytest.raises(RunFileError, match="made with another repeats"):
        evaluate(folder, provider=Provider(), looks=TWICE, out=fixed, resume=True)
    with pytest.raises(RunFileError, match="made with another repeats"):
        evaluate(folder, provider=Provider(), repeats=3, out=planned, resume=True)


def test_progress_counts_answers_and_a_look_tells_what_was_saved(folder, tmp_path):
    counted, told = [], []
    prepared = prepare(load_suite(folder), Choices(provider=Provider(), concurrency=4), environ={})
    conditions = with_looks(prepared, FIVE, settled=lambda run: run.ledger.asked >= 16)
    run = execute(
        conditions,
        tmp_path / "run.jsonl",
        progress=lambda result, done, total: counted.append((result.outcome, done, total)),
        looked=lambda looked: told.append((looked, len(counted))),
    )
    asked = run.ledger.asked
    assert [done for _, done, _ in counted] == list(range(1, asked + 1))
    assert {(outcome, total) for outcome, _, total in counted} == {(Outcome.SCORED, 40)}
    (first, _), (second, after) = told
    assert (first.number, first.planned, first.settled, first.not_asked, first.total) == (1, 5, False, 0, 40)
    assert (second.number, second.planned, second.settled, second.not_asked) == (2, 5, True, 40 - asked)
    assert after == asked  # told once the last answer in flight is in


def test_what_must_pass_is_told_of_as_look_0(folder, tmp_path):
    told, seen = [], []
    prepared = prepare(load_suite(folder), Choices(provider=Provider(), concurrency=1), environ={})

    def settled(run):
        seen.append({result.sample_id for result in run.results if result.outcome is Outcome.SCORED})
        return True

    conditions = with_looks(prepared, LookPlan((Look(40, 1),)), settled=settled, first={"s07", "s31"})
    run = execute(conditions, tmp_path / "run.jsonl", looked=told.append)
    assert seen == [{"s07", "s31"}]
    assert [(look.number, look.planned, look.settled, look.not_asked) for look in told] == [
        (0, 1, True, 40 - run.ledger.asked)
    ]
    assert run.ledger.asked <= 3


def test_a_run_that_asks_everything_tells_of_no_look(folder, tmp_path):
    told = []
    prepared = prepare(load_suite(folder), Choices(provider=Provider()), environ={})
    execute(with_looks(prepared, FIVE), tmp_path / "run.jsonl", looked=told.append)
    assert told == []
