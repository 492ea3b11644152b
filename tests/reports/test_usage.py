"""What answers took: curves, sums, and what was not measured."""

import pytest

from aigate.core.response import Fault, FaultKind, Response
from aigate.reports.usage import CURVE_POINTS, curve_of, usage_of


def answered(seconds):
    return [Response(output="x", latency_s=value) for value in seconds]


def latency(response):
    return response.latency_s


def test_a_curve_rises_to_one_over_ascending_seconds():
    curve = curve_of(answered([3.0, 1.0, 2.0, 2.0]), latency)
    assert curve.values == (1.0, 2.0, 2.0, 3.0)
    assert curve.steps() == ((1.0, 0.25), (2.0, 0.75), (3.0, 1.0))


@pytest.mark.parametrize("n", [1, 2, CURVE_POINTS, CURVE_POINTS + 1, 10_000])
def test_a_curve_of_many_answers_has_few_points_and_ends_at_the_slowest(n):
    steps = curve_of(answered([float(number) for number in range(n)]), latency).steps()
    assert len(steps) <= CURVE_POINTS + 1
    assert steps[-1] == (n - 1.0, 1.0)
    assert [share for _, share in steps] == sorted({share for _, share in steps})


def test_a_curve_of_nothing_is_false_and_has_no_point():
    curve = curve_of([Response(output="x")], latency)
    assert (bool(curve), curve.unmeasured, curve.steps()) == (False, 1, ())


def test_what_was_not_told_is_counted_and_not_taken_for_zero(make_answers):
    told = Response(output="x", latency_s=2.0, cost_usd=0.5, input_tokens=10, output_tokens=3, attempts=2)
    silent, failed = Response(output="y"), Response(fault=Fault(FaultKind.SERVER, "503"))
    usage = usage_of(make_answers({"a": [told], "b": [silent], "c": [failed]}))
    assert (usage.answers, usage.attempts, usage.latency.values, usage.latency.unmeasured) == (3, 4, (2.0,), 2)
    assert (usage.cost_usd.total, usage.cost_usd.known, usage.cost_usd.unknown, usage.cost_usd.mean) == (0.5, 1, 2, 0.5)
    assert (usage.input_tokens.total, usage.output_tokens.total) == (10, 3)
    assert usage_of(make_answers({"a": [silent]})).cost_usd.mean is None


def test_answers_from_the_journal_are_counted(make_answers):
    kept = Response(output="x", journaled_at="2026-01-01T00:00:00Z")
    assert usage_of(make_answers({"a": [kept], "b": [Response(output="y")]})).journaled == 1
