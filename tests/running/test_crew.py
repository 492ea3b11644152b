"""Many hands: whatever becomes of a worker, every answer is in the run once, and the run is that of one process."""

import asyncio
import json
import textwrap
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from aigate.core.ledger import Outcome
from aigate.core.response import FaultKind
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import ClusterError, UsageError
from aigate.providers.base import ProviderSettings, RateLimits, is_local, keeps_deadlines, make_provider, rate_limits_of
from aigate.running import crew as crew_module
from aigate.running.asking import RetryPolicy
from aigate.running.budget import Budget, Caps
from aigate.running.crew import MOST_LOSSES, Crew, run_on_crew
from aigate.running.engine import Means, Plan, run_plan
from aigate.running.hands import Hands, recipe_of
from aigate.running.journal import Journal
from aigate.scorers.base import ScorerSettings, make_scorer

VERSION = VersionId.parse("m/1/v1")
SAMPLES = tuple(
    Sample(f"s{n:02}", f"question {n}", reference=f"ANSWER {n}" if n % 3 else None, tags=("t",)) for n in range(20)
)
SCORERS = (
    ScorerSettings("exact_match"),
    ScorerSettings("includes", options={"metric": "in"}),
    ScorerSettings("shape"),
)
TARGET = """
    import asyncio
    from aigate.core.response import FaultKind, Response
    from aigate.errors import CallError

    def _answer(text):
        number = int(text.split()[-1])
        return "wrong" if number % 5 == 0 else f"ANSWER {number}"

    async def answer(text):
        await asyncio.sleep(0.002)
        return Response(output=_answer(text), latency_s=0.25, input_tokens=10, output_tokens=3)

    async def slow(text):
        await asyncio.sleep(60)

    _seen = set()

    async def refuses_first(text):
        if text not in _seen:
            _seen.add(text)
            raise CallError("slow down", kind=FaultKind.RATE_LIMIT, retry_after_s=0.01)
        return Response(output=_answer(text), latency_s=0.25)

    def breaks(text):
        raise ValueError("the bot broke")
"""


@pytest.fixture
def target(tmp_path):
    """A file of functions that answer; gives the target of one."""
    path = tmp_path / "bot.py"
    path.write_text(textwrap.dedent(TARGET))
    return lambda name="answer": f"{path}:{name}"


def planned(provider, options, **fields):
    """A plan, and what workers make of it."""
    made = make_provider(provider, ProviderSettings(VERSION, options))
    scorers = tuple(make_scorer(settings) for settings in SCORERS)
    whole = {"samples": SAMPLES, "repeats": 1, "parameters": {}, "scorers": scorers, "concurrency": 6, "timeout_s": 5.0}
    plan = Plan(provider=made, render=lambda sample: ({"role": "user", "content": sample.text},), **{**whole, **fields})
    named, options = (None, {}) if is_local(made) else (provider, options)
    return plan, recipe_of(plan, version=VERSION, provider=named, options=options, folder=Path.cwd(), scorers=SCORERS)


class Staff:
    """Workers in this process: real hands in threads of their own, that can be made to die."""

    def __init__(self, crew, recipe):
        self.crew, self.recipe, self.loop = crew, recipe, asyncio.get_running_loop()
        self.hands, self.given, self.judging, self.deaf = {}, Counter(), Counter(), set()

    def start(self, name):
        def report(message):
            if name not in self.deaf:
                self.loop.call_soon_threadsafe(self.crew.report, name, message)

        hands = self.hands[name] = Hands(self.recipe, report, environ={})

        async def give(batch):
            for _, kind, row in json.loads(batch):
                (self.given if kind == "ask" else self.judging)[name, row["sample"]["id"]] += 1
            hands.give(batch)

        self.crew.hire(name, give)

    def kill(self, name):
        """It is gone, and nothing of what it does is heard any more."""
        self.deaf.add(name)
        self.hands[name].close()
        self.crew.dismiss(name)

    def asked(self):
        """How often each sample was asked, over all workers."""
        return Counter({key[1]: self.given[key] for key in self.given})

    def total(self):
        return sum(self.given.values())


def run(plan, recipe, *names, record=None, means=None, then=None, **crew_options):
    """Run a plan with workers of these names; gives the results by key, the staff and the crew."""

    async def main():
        crew = Crew(**crew_options)
        staff = Staff(crew, recipe)
        for name in names:
            staff.start(name)
        found = []

        def keep(result, sample):
            found.append(result)
            if record is not None:
                record(staff, found)

        try:
            await run_on_crew(crew, plan, keep, means() if means else Means.of(plan))
        finally:
            for hands in staff.hands.values():
                hands.close()
        return found, staff, crew

    return asyncio.run(main())


def alone(plan):
    found = []
    asyncio.run(run_plan(plan, lambda result, _: found.append(result)))
    return found


def rows(results):
    return sorted(json.dumps(untimed(result.to_dict()), sort_keys=True) for result in results)


def untimed(row):
    """A result's row without how long failed attempts took, which no two runs share."""
    response = row.get("response") or {}
    return {**row, "response": {key: value for key, value in response.items() if key != "longest_failed_s"}}


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("repeats", [1, 3])
def test_the_results_are_those_of_a_run_without_workers(target, names, repeats):
    plan, recipe = planned("callable", {"target": target()}, repeats=repeats)
    found, staff, crew = run(plan, recipe, *names)
    assert rows(found) == rows(alone(plan))
    assert staff.total() == len(found) == 20 * repeats
    assert sum(staff.judging.values()) == 0  # each was judged where it was asked
    assert {key[0] for key in staff.given} == set(names)
    assert crew.notes == []


def test_each_worker_gets_about_as_much(target):
    plan, recipe = planned("callable", {"target": target()}, repeats=5)
    _, staff, _ = run(plan, recipe, "a", "b")
    shares = [sum(count for (name, _), count in staff.given.items() if name == who) for who in "ab"]
    assert sum(shares) == 100
    assert min(shares) > 25


def test_recorded_answers_are_read_here_and_judged_by_workers(tmp_path):
    path = tmp_path / "answers.jsonl"
    lines = [{"id": s.id, "output": f"ANSWER {n}", "latency_s": 0.5} for n, s in enumerate(SAMPLES)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan, recipe = planned("replay", {"recorded": str(path)})
    assert recipe.provider is None
    assert str(tmp_path) not in recipe.to_json()
    found, staff, _ = run(plan, recipe, "a", "b")
    assert rows(found) == rows(alone(plan))
    assert staff.total() == 0
    assert sum(staff.judging.values()) == 20


def test_a_fault_of_the_candidate_is_the_same_one(target):
    plan, recipe = planned("callable", {"target": target("breaks")}, retry=RetryPolicy(retries=0))
    found, _, _ = run(plan, recipe, "a")
    assert rows(found) == rows(alone(plan))
    assert {result.outcome for result in found} == {Outcome.PROVIDER_ERROR}


def test_a_refused_call_is_made_again_and_slows_everybody_down(target):
    plan, recipe = planned("callable", {"target": target("refuses_first")}, random=lambda: 0.0)
    limiters = []

    def means():
        limiters.append(Means.of(plan))
        return limiters[-1]

    found, staff, _ = run(plan, recipe, "a", "b", means=means)
    assert {result.outcome for result in found} == {Outcome.SCORED}
    assert all(result.response.attempts > 1 for result in found)
    assert staff.total() > 20
    assert limiters[0].limiter.window < plan.concurrency


def test_what_the_server_says_of_its_limits_is_heard(target):
    class Limited:
        name, local = "limited", False
        rate_limits = None

    async def main():
        crew = Crew()
        limits = {"limit_requests": 5, "remaining_requests": 2, "reset_requests_s": 1.5}
        limits |= dict.fromkeys(("limit_tokens", "remaining_tokens", "reset_tokens_s"))

        async def give(batch):
            for number, _, _ in json.loads(batch):
                answer = {"response": {"output": "x"}, "retry_after_s": None, "limits": limits, "scores": {}}
                crew.report("a", json.dumps([[number, answer]]))

        crew.hire("a", give)
        provider = crew_module._RemoteProvider(Limited(), crew, crew_module._Judgements(crew), None)
        assert rate_limits_of(provider) is None
        plan, _ = planned("callable", {"target": target()})
        await provider.respond(plan.request(plan.tasks[0]))
        return rate_limits_of(provider), keeps_deadlines(provider), hasattr(provider, "journal_identity")

    told, keeps, journaled = asyncio.run(main())
    assert told == RateLimits(limit_requests=5, remaining_requests=2, reset_requests_s=1.5)
    assert (keeps, journaled) == (True, False)


# --- workers that are lost --------------------------------------------------------------------------------------------


def kill_once(name, *, after):
    """Kill a worker once so many results are there."""

    def record(staff, found):
        if len(found) == after and name not in staff.deaf:
            staff.kill(name)

    return record


@pytest.mark.parametrize("after", [1, 7, 13])
def test_a_lost_worker_loses_no_answer_and_only_what_it_had_is_asked_again(target, after):
    plan, recipe = planned("callable", {"target": target()}, repeats=3)
    found, staff, crew = run(plan, recipe, "a", "b", "c", record=kill_once("b", after=after))
    assert sorted(result.key for result in found) == sorted(task.key for task in plan.tasks)
    again = staff.total() - len(found)
    assert 0 <= again <= 3  # six are in flight at most, and the least busy of three workers gets the next
    assert sum(result.response.attempts - 1 for result in found) == again
    (note,) = crew.notes
    assert note.startswith("worker b was lost")
    scores = [{name: score.to_dict() for name, score in result.scores.items()} for result in sorted_(found)]
    assert scores == [
        {name: score.to_dict() for name, score in result.scores.items()} for result in sorted_(alone(plan))
    ]


def sorted_(results):
    return sorted(results, key=lambda result: result.key)


def test_a_worker_that_comes_late_is_given_work(target):
    plan, recipe = planned("callable", {"target": target()}, repeats=5)

    def record(staff, found):
        if len(found) == 10:
            staff.start("b")

    found, staff, _ = run(plan, recipe, "a", record=record)
    assert len(found) == 100
    assert sum(count for (name, _), count in staff.given.items() if name == "b") > 20


def test_a_worker_that_cannot_be_given_anything_is_left_out(target):
    plan, recipe = planned("callable", {"target": target()})

    async def main():
        crew = Crew()
        staff = Staff(crew, recipe)

        async def gone(_batch):
            raise OSError("connection closed")

        crew.hire("gone", gone)
        staff.start("a")
        found = []
        await run_on_crew(crew, plan, lambda result, _: found.append(result), Means.of(plan))
        staff.hands["a"].close()
        return found, crew

    found, crew = asyncio.run(main())
    assert len(found) == 20
    assert crew.notes[0].startswith("worker gone could not be reached (OSError)")
    assert crew.names == ("a",)


def test_a_worker_that_says_nothing_is_left_out_and_the_candidate_is_not_to_blame(target, monkeypatch):
    monkeypatch.setattr(crew_module, "SILENCE_S", 0.05)
    plan, recipe = planned("callable", {"target": target()}, timeout_s=1.0)

    async def main():
        crew = Crew()
        staff = Staff(crew, recipe)

        async def swallow(_batch):
            pass

        crew.hire("silent", swallow)
        staff.start("a")
        found = []
        await run_on_crew(crew, plan, lambda result, _: found.append(result), Means.of(plan))
        staff.hands["a"].close()
        return found, crew

    found, crew = asyncio.run(main())
    assert {result.outcome for result in found} == {Outcome.SCORED}
    assert "said nothing for" in crew.notes[0]


def test_a_call_that_ends_every_worker_is_given_up(target):
    plan, _ = planned("callable", {"target": target()}, samples=SAMPLES[:1], retry=RetryPolicy(retries=0))

    async def main():
        crew, names = Crew(), iter("abcdefgh")

        def hire():
            name = next(names)

            async def die(_batch):
                hire()
                crew.dismiss(name)

            crew.hire(name, die)

        hire()
        found = []
        await run_on_crew(crew, plan, lambda result, _: found.append(result), Means.of(plan))
        return found, next(names)

    (result,), following = asyncio.run(main())
    assert result.outcome is Outcome.INFRASTRUCTURE_ERROR
    assert result.response.fault.kind is FaultKind.ADAPTER
    assert f"{MOST_LOSSES} workers were lost" in result.response.fault.message
    assert following == "abcdefgh"[MOST_LOSSES + 1]


def test_a_judgement_that_ends_every_worker_is_missing_and_no_number(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "s01", "output": "ANSWER 1"}\n')
    plan, _ = planned("replay", {"recorded": str(path)}, samples=SAMPLES[1:2])

    async def main():
        crew, names = Crew(), iter("abcdefghijklmnop")

        def hire():
            name = next(names)

            async def die(_batch):
                hire()
                crew.dismiss(name)

            crew.hire(name, die)

        hire()
        found = []
        await run_on_crew(crew, plan, lambda result, _: found.append(result), Means.of(plan))
        return found

    (result,) = asyncio.run(main())
    assert result.outcome is Outcome.JUDGE_ERROR
    assert {score.reason for score in result.scores.values()} == {"judge_error"}


def test_a_run_without_workers_ends_with_an_error_and_keeps_what_is_recorded(target):
    plan, recipe = planned("callable", {"target": target()})
    seen = []

    def record(staff, found):
        seen[:] = found
        if len(found) == 5:
            staff.kill("a")

    with pytest.raises(ClusterError, match=r"no worker is left, and none came within 0\.1 s") as caught:
        run(plan, recipe, "a", record=record, no_worker_s=0.1)
    assert "--resume" in caught.value.hint
    assert caught.value.exit_code == 2
    assert 5 <= len(seen) < 20
    assert {result.outcome for result in seen} == {Outcome.SCORED}


def test_judging_without_workers_ends_the_run_and_is_never_stored(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps({"id": s.id, "output": "x"}) + "\n" for s in SAMPLES))
    plan, recipe = planned("replay", {"recorded": str(path)})
    with pytest.raises(ClusterError, match="no worker is left"):
        run(plan, recipe, no_worker_s=0.05)


def test_a_run_that_is_cancelled_leaves_nothing_running(target):
    plan, recipe = planned("callable", {"target": target("slow")})

    async def main():
        crew = Crew()
        staff = Staff(crew, recipe)
        staff.start("a")
        task = asyncio.create_task(run_on_crew(crew, plan, lambda *_: None, Means.of(plan)))
        while staff.total() < 6:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        staff.hands["a"].close()
        await asyncio.sleep(0)
        return [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]

    assert asyncio.run(main()) == []


def test_what_the_user_asked_for_and_cannot_be_asked_is_said(target):
    plan, _ = planned("callable", {"target": target()})

    async def main():
        crew = Crew()

        async def refuse(batch):
            numbers = [number for number, _, _ in json.loads(batch)]
            crew.report(
                "a", json.dumps([[number, {"refused": ["no such parameter", "take it out"]}] for number in numbers])
            )

        crew.hire("a", refuse)
        await run_on_crew(crew, plan, lambda *_: None, Means.of(plan))

    with pytest.raises(UsageError, match="no such parameter") as caught:
        asyncio.run(main())
    assert caught.value.hint == "take it out"


# --- what it may cost, and what is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [1, 7, 20])
def test_no_cap_is_overshot_by_all_workers_together(target, calls):
    plan, recipe = planned("callable", {"target": target()})
    budget = Budget(Caps(calls=calls))
    found, staff, _ = run(plan, recipe, "a", "b", means=lambda: Means.of(plan, budget=budget))
    assert staff.total() == budget.spent.calls == calls
    outcomes = Counter(result.outcome for result in found)
    assert outcomes == Counter({Outcome.SCORED: calls, Outcome.BUDGET: 20 - calls})


def test_a_call_that_was_lost_with_its_worker_counts_against_the_cap(target):
    plan, recipe = planned("callable", {"target": target()}, concurrency=6)
    budget = Budget(Caps(calls=20))
    found, staff, _ = run(
        plan, recipe, "a", "b", record=kill_once("b", after=3), means=lambda: Means.of(plan, budget=budget)
    )
    again = staff.total() - len({result.key for result in found if result.outcome is Outcome.SCORED})
    assert staff.total() <= budget.spent.calls == 20
    assert Counter(result.outcome for result in found)[Outcome.BUDGET] == again


class Journaled:
    """A provider whose answers may be kept."""

    name = "callable"

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def journal_identity(self, request):
        return {"body": {"text": request.sample.text}}


def test_what_is_in_the_journal_is_judged_and_not_asked(target, tmp_path):
    plan, recipe = planned("callable", {"target": target()})
    plan = replace(plan, provider=Journaled(plan.provider))
    journal = tmp_path / "journal.sqlite"

    def round_of(samples):
        part = replace(plan, samples=samples)
        opened = Journal.open(journal)
        try:
            return run(part, recipe, "a", "b", means=lambda: Means.of(part, journal=opened))
        finally:
            opened.close()

    first, _, _ = round_of(SAMPLES[:8])
    whole, staff, _ = round_of(SAMPLES)
    assert set(staff.asked()) == {sample.id for sample in SAMPLES[8:]}
    assert {key[1] for key in staff.judging} == {sample.id for sample in SAMPLES[:8]}
    kept = {result.key: result for result in whole}
    assert all(kept[result.key].scores == result.scores for result in first)
    assert all(kept[result.key].response.journaled_at for result in first)


def test_an_answer_is_in_the_journal_before_it_is_recorded(target, tmp_path):
    plan, recipe = planned("callable", {"target": target()})
    plan = replace(plan, provider=Journaled(plan.provider))
    opened = Journal.open(tmp_path / "journal.sqlite")
    kept = []

    def record(_staff, found):
        row = opened._reader.execute("SELECT count(*) FROM entries").fetchone()
        kept.append(row[0] >= len(found))

    try:
        run(plan, recipe, "a", "b", record=record, means=lambda: Means.of(plan, journal=opened))
    finally:
        opened.close()
    assert kept == [True] * 20


# --- what stays here --------------------------------------------------------------------------------------------------


class AsksAModel:
    """A scorer that needs more than sample and response."""

    def __init__(self):
        self.spec = replace(make_scorer(ScorerSettings("exact_match")).spec, metric="judged")

    def applies_to(self, sample):
        return None

    def score(self, sample, response):
        raise AssertionError

    async def judge(self, sample, response, access):
        raise AssertionError


def test_a_scorer_that_asks_a_model_stays_here(target):
    plan, _ = planned("callable", {"target": target()})
    plan = replace(plan, scorers=(*plan.scorers, AsksAModel()))
    settings = (*SCORERS, ScorerSettings("exact_match", options={"metric": "judged"}))
    options = {"target": target()}
    recipe = recipe_of(plan, version=VERSION, provider="callable", options=options, folder=Path.cwd(), scorers=settings)
    assert [row["name"] for row in recipe.scorers] == ["exact_match", "includes", "shape"]
    found, _, _ = run(plan, recipe, "a")
    assert {result.scores["judged"].explanation for result in found} == {"exact_match has no judge to ask"}
    assert rows(found) == rows(alone(plan))  # whoever settles the answers asks the judges, here as there
