"""The queue: in order, no further than let on, no more at a time than asked; nobody sleeps through what is there."""

import asyncio

import pytest

from aigate.core.ledger import Outcome
from aigate.core.sample import Sample
from aigate.running.queue import TaskQueue
from aigate.running.schedule import Task

TASKS = tuple(Task(Sample(f"s{n}", "?"), 0, look=1 + n // 3) for n in range(6))


def queue(*, tasks=TASKS, done=(), concurrency=2, deadline_s=None, clock=lambda: 0.0):
    return TaskQueue(tasks, done=done, concurrency=concurrency, deadline_s=deadline_s, clock=clock)


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


def test_nothing_is_given_out_before_it_is_let_on():
    async def main():
        found = queue()
        taker = asyncio.create_task(found.take())
        await turns()
        assert not taker.done()
        found.let_on(1)
        assert await taker is TASKS[0]

    asyncio.run(main())


def test_no_more_are_asked_at_a_time_than_the_concurrency_and_one_set_aside_makes_room_for_one():
    async def main():
        found = queue()
        found.let_on(None)
        takers = [asyncio.create_task(found.take()) for _ in range(4)]
        await turns()
        assert [taker.done() for taker in takers] == [True, True, False, False]
        found.set_aside(TASKS[0])
        found.set_aside(TASKS[0])  # once is enough
        await turns()
        assert [taker.done() for taker in takers] == [True, True, True, False]
        found.close(Outcome.EARLY_STOP)
        assert await takers[3] is None

    asyncio.run(main())


def test_whoever_waits_at_the_end_is_told_that_there_is_nothing_more():
    async def main():
        found = queue(tasks=TASKS[:1], concurrency=1)
        found.let_on(None)
        assert await found.take() is TASKS[0]
        takers = [asyncio.create_task(found.take()) for _ in range(3)]
        found.note_recorded(TASKS[0])
        assert await asyncio.gather(*takers) == [None, None, None]

    asyncio.run(main())


def test_done_tasks_are_passed_over_and_count_for_their_look():
    async def main():
        found = queue(done={task.key for task in TASKS[:3]}, concurrency=9)
        assert found.complete(1)
        assert not found.complete(2)
        found.let_on(None)
        assert await found.take() is TASKS[3]
        assert found.never_started() == TASKS[4:]

    asyncio.run(main())


def test_a_look_is_complete_when_its_last_task_is_recorded():
    async def main():
        found = queue(concurrency=9)
        found.let_on(1)
        waiter = asyncio.create_task(found.completed(1))
        for task in TASKS[:3]:
            await turns()
            assert not waiter.done()
            found.note_recorded(task)
        await waiter

    asyncio.run(main())


def test_a_closed_queue_lets_nobody_wait_and_the_first_reason_stands():
    async def main():
        found = queue()
        waiter, taker = asyncio.create_task(found.completed(1)), asyncio.create_task(found.take())
        await turns()
        found.close(Outcome.BUDGET)
        found.close(Outcome.EARLY_STOP)
        await waiter
        assert await taker is None
        assert found.closed_by is Outcome.BUDGET
        assert found.never_started() == TASKS

    asyncio.run(main())


@pytest.mark.parametrize(("deadline_s", "now_s", "left_s"), [(None, 50.0, 9.0), (60.0, 55.0, 5.0), (60.0, 70.0, 0.0)])
def test_time_for_one_answer_ends_with_the_run(deadline_s, now_s, left_s):
    times = iter([0.0, now_s])
    assert queue(deadline_s=deadline_s, clock=lambda: next(times) if deadline_s else 0.0).time_left_s(9.0) == left_s


def test_a_taker_that_was_cancelled_does_not_swallow_the_turn_of_the_next():
    async def main():
        found = queue(concurrency=1)
        found.let_on(None)
        await found.take()
        first, second = (asyncio.create_task(found.take()) for _ in range(2))
        await turns()
        first.cancel()
        await turns()
        found.set_aside(TASKS[0])
        assert await asyncio.wait_for(second, 10) is TASKS[1]

    asyncio.run(main())
