"""Looks: a plan only grows, and the order of the units depends on the suite alone."""

import random

import pytest

from aigate.core.looks import Look, LookPlan, unit_order
from aigate.core.sample import Sample

SAMPLES = tuple(Sample(f"s{n:02}", "?", tags=("rare",) if n % 5 == 0 else ()) for n in range(50))


@pytest.mark.parametrize(
    "looks",
    [
        (),
        (Look(0, 1),),
        (Look(1, 0),),
        (Look(2, 1), Look(1, 1)),
        (Look(2, 2), Look(3, 1)),
        (Look(2, 1), Look(2, 1)),
    ],
)
def test_a_plan_that_does_not_grow_is_refused(looks):
    with pytest.raises(ValueError, match="look"):
        LookPlan(looks)


@pytest.mark.parametrize(
    ("looks", "escalates"),
    [((Look(5, 1),), False), ((Look(2, 1), Look(5, 1)), False), ((Look(5, 1), Look(5, 3)), True)],
)
def test_a_plan_round_trips_and_says_whether_it_asks_more_repeats(looks, escalates):
    plan = LookPlan(looks)
    assert LookPlan.from_dict(plan.to_dict()) == plan
    assert plan.escalates is escalates


def test_every_unit_stands_in_the_order_once_whatever_order_the_samples_come_in():
    order = unit_order(SAMPLES, seed=3)
    shuffled = random.Random(1).sample(SAMPLES, k=len(SAMPLES))  # noqa: S311 - an order, not a secret
    assert unit_order(shuffled, seed=3) == order
    assert sorted(order) == sorted(sample.unit for sample in SAMPLES)
    assert unit_order(SAMPLES, seed=4) != order


def test_a_group_is_one_unit():
    grouped = [Sample(f"s{n}", "?", group=f"g{n % 3}") for n in range(9)]
    assert sorted(unit_order(grouped, seed=1)) == sorted({sample.unit for sample in grouped})


@pytest.mark.parametrize("seed", range(20))
def test_every_part_of_the_order_sees_each_slice_in_proportion(seed):
    rare = {sample.unit for sample in SAMPLES if sample.tags}
    order = unit_order(SAMPLES, seed=seed)
    for end in range(10, 51, 10):
        assert abs(sum(unit in rare for unit in order[:end]) - end / 5) <= 1
