"""The schedule: what is asked in which order, and the run as it stands at a look."""

import random

import pytest

from aigate.core.ledger import Outcome
from aigate.core.looks import Look, LookPlan, unit_order
from aigate.core.response import Response
from aigate.core.run import Result
from aigate.core.sample import Sample
from aigate.core.score import Score
from aigate.running.schedule import not_asked, run_at_look, schedule

SAMPLES = tuple(Sample(f"s{n}", f"question {n}") for n in range(10))
BY_UNITS = LookPlan((Look(2, 1), Look(5, 1), Look(10, 1)))
ESCALATES = LookPlan((Look(10, 1), Look(10, 3)))
ORDER = tuple(unit.removeprefix("sample:") for unit in unit_order(SAMPLES, seed=7))


def keys(tasks):
    return [task.key for task in tasks]


def test_without_looks_one_repeat_comes_after_the_other_in_the_order_given():
    backwards = SAMPLES[::-1]
    assert keys(schedule(backwards, 2, seed=7, first={"s3"})) == [(s.id, r) for r in (0, 1) for s in backwards]
    assert {task.look for task in schedule(backwards, 2)} == {1}


def test_looks_follow_one_another_in_the_order_of_the_units():
    tasks = schedule(SAMPLES, 1, looks=BY_UNITS, seed=7)
    assert keys(tasks) == [(unit, 0) for unit in ORDER]
    assert [task.look for task in tasks] == [1] * 2 + [2] * 3 + [3] * 5


def test_the_order_is_that_of_the_seed_and_not_of_the_samples():
    shuffled = random.Random(1).sample(SAMPLES, k=len(SAMPLES))  # noqa: S311 - an order, not a secret
    assert schedule(shuffled, 1, looks=BY_UNITS, seed=7) == schedule(SAMPLES, 1, looks=BY_UNITS, seed=7)
    assert keys(schedule(SAMPLES, 1, looks=BY_UNITS, seed=8)) != keys(schedule(SAMPLES, 1, looks=BY_UNITS, seed=7))


def test_further_repeats_come_after_the_first_of_every_sample():
    tasks = schedule(SAMPLES, 3, looks=ESCALATES, seed=7)
    assert keys(tasks) == [(unit, repeat) for repeat in range(3) for unit in ORDER]
    assert [task.look for task in tasks] == [1] * 10 + [2] * 20


def test_within_a_look_that_has_repeats_all_of_one_come_before_the_next():
    plan = LookPlan((Look(2, 2), Look(10, 2)))
    tasks = schedule(SAMPLES, 2, looks=plan, seed=7)
    assert keys(tasks[:4]) == [(ORDER[0], 0), (ORDER[1], 0), (ORDER[0], 1), (ORDER[1], 1)]
    assert keys(tasks[4:]) == [(unit, repeat) for repeat in (0, 1) for unit in ORDER[2:]]


def test_what_must_pass_comes_first_as_a_look_of_its_own():
    first = {ORDER[8], ORDER[1]}
    tasks = schedule(SAMPLES, 1, looks=BY_UNITS, seed=7, first=first)
    assert keys(tasks)[:3] == [(ORDER[1], 0), (ORDER[8], 0), (ORDER[0], 0)]
    assert [task.look for task in tasks] == [0] * 2 + [1] + [2] * 3 + [3] * 4


def test_what_must_pass_is_asked_more_often_only_when_all_others_are():
    tasks = schedule(SAMPLES, 3, looks=ESCALATES, seed=7, first={ORDER[9]})
    assert keys(tasks)[:2] == [(ORDER[9], 0), (ORDER[0], 0)]
    assert keys(tasks)[10:12] == [(ORDER[0], 1), (ORDER[1], 1)]
    assert [task.look for task in tasks] == [0] + [1] * 9 + [2] * 20


def test_the_repeats_of_the_first_look_are_asked_of_what_must_pass_before_all_others():
    tasks = schedule(SAMPLES, 2, looks=LookPlan((Look(5, 2), Look(10, 2))), seed=7, first={ORDER[9]})
    assert keys(tasks)[:3] == [(ORDER[9], 0), (ORDER[9], 1), (ORDER[0], 0)]
    assert [task.look for task in tasks][:3] == [0, 0, 1]


def test_samples_of_one_group_belong_to_one_look():
    grouped = tuple(Sample(f"s{n}", "?", group=f"g{n // 3}") for n in range(9))
    tasks = schedule(grouped, 1, looks=LookPlan((Look(1, 1), Look(3, 1))), seed=3)
    assert [task.look for task in tasks] == [1] * 3 + [2] * 6
    assert len({task.sample.group for task in tasks[:3]}) == 1


@pytest.mark.parametrize("looks", [None, BY_UNITS, ESCALATES, LookPlan((Look(3, 1),))])
def test_every_sample_and_repeat_stands_there_once(looks):
    tasks = schedule(SAMPLES, 3, looks=looks, seed=7, first={"s1", "unknown"})
    assert sorted(keys(tasks)) == [(sample.id, repeat) for sample in SAMPLES for repeat in range(3)]


def test_the_run_at_a_look_holds_nothing_from_beyond_it(make_run):
    header = make_run({"s0": [1.0]}).header
    tasks = schedule(SAMPLES, 1, looks=BY_UNITS, seed=7)
    found = {
        task.key: Result(*task.key, Outcome.SCORED, Response(output="x"), {"correct": Score(1.0)}) for task in tasks[:9]
    }
    run = run_at_look(2, header=header, tasks=tasks, found=found)
    answered = {result.sample_id for result in run.results if result.outcome is Outcome.SCORED}
    assert answered == set(ORDER[:5])
    assert [result.key for result in run.results] == [(f"s{n}", 0) for n in range(10)]
    assert list(run.samples) == [f"s{n}" for n in range(10)]
    assert run.ledger.counts[Outcome.EARLY_STOP] == 5
    assert run.header is header


def test_the_run_before_the_first_look_holds_what_must_pass_and_nothing_else(make_run):
    header = make_run({"s0": [1.0]}).header
    tasks = schedule(SAMPLES, 1, looks=BY_UNITS, seed=7, first={ORDER[8]})
    found = {
        task.key: Result(*task.key, Outcome.SCORED, Response(output="x"), {"correct": Score(1.0)}) for task in tasks[:3]
    }
    run = run_at_look(0, header=header, tasks=tasks, found=found)
    assert {r.sample_id for r in run.results if r.outcome is Outcome.SCORED} == {ORDER[8]}
    assert run.ledger.counts[Outcome.EARLY_STOP] == 9


def test_what_was_not_asked_has_neither_response_nor_score():
    result = not_asked(schedule(SAMPLES, 1)[4])
    assert (result.key, result.outcome, result.response, result.scores) == (("s4", 0), Outcome.EARLY_STOP, None, {})
