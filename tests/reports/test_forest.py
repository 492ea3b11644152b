"""Where the marks of the forest plot stand."""

from itertools import pairwise

import pytest

from aigate.core.verdict import CheckOutcome, Interval, Status
from aigate.reports.forest import EDGE, Scale, compares, forest_of, good_is_more, scale_over

MEANS = {"baseline_mean": 0.9, "candidate_mean": 0.5}


def change(low, observed, high, margin=-0.05, **more):
    interval = Interval(low, high, 0.9, "Tango")
    fields = {"threshold": margin, "n_repeats": (1, 1), "details": MEANS, **more}
    return CheckOutcome("no-regression", Status.FAIL, "", metric="m", observed=observed, interval=interval, **fields)


def test_changes_share_one_scale_that_holds_zero_and_every_end():
    forest = forest_of([change(-0.5, -0.4, -0.3), change(-0.1, 0.02, 0.2)])
    first, second = forest.marks
    assert (forest.changes.low, forest.changes.high) == (-0.5, 0.2)
    assert first.scale is second.scale
    assert first.low == EDGE
    assert second.high == 100 - EDGE
    assert first.low < first.observed < first.high < first.bound < first.scale.at(0.0)


def test_a_check_that_compares_nothing_has_a_scale_of_its_own():
    score = CheckOutcome("min-score", Status.PASS, "", metric="m", observed=0.9, threshold=0.8)
    forest = forest_of([score, change(-0.5, -0.4, -0.3)])
    assert not forest.marks[0].shared
    assert (forest.marks[0].scale.low, forest.marks[0].scale.high) == (0.8, 0.9)
    assert (forest.marks[0].low, forest.marks[0].high) == (None, None)


@pytest.mark.parametrize(("name", "side"), [("min-score", "right"), ("max-error-rate", "left"), ("same-shape", "left")])
def test_the_good_side_is_where_the_check_passes(name, side):
    [mark] = forest_of([CheckOutcome(name, Status.PASS, "", observed=0.5, threshold=0.4)]).marks
    assert mark.good == side
    assert good_is_more(CheckOutcome(name, Status.PASS, "")) is (side == "right")


def test_without_an_observed_value_or_a_bound_nothing_is_drawn():
    bare = CheckOutcome("comparable", Status.PASS, "", observed=1.0)
    silent = CheckOutcome("no-regression", Status.ERROR, "", threshold=-0.05)
    assert forest_of([bare, silent]).marks == (None, None)
    assert forest_of([bare]).changes is None
    assert not compares(silent)


def test_a_scale_of_one_value_has_room_around_it():
    scale = scale_over([0.0])
    assert scale.low < 0.0 < scale.high
    assert scale_over([5.0, 5.0]).at(5.0) == 50.0


def test_a_value_outside_a_scale_stands_at_its_edge():
    assert Scale(0.0, 1.0).at(-3.0) == EDGE
    assert Scale(0.0, 1.0).at(3.0) == 100 - EDGE


@pytest.mark.parametrize(("low", "high"), [(-0.547, 0.0), (0.0, 1.0), (-0.003, 0.001), (-12.0, 40.0), (0.1, 0.1001)])
def test_ticks_are_round_within_the_scale_and_few(low, high):
    ticks = Scale(low, high).ticks
    assert 2 <= len(ticks) <= 6
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert len({round(b - a, 9) for a, b in pairwise(ticks)}) <= 1
