"""Early stops and alarms are found where a plain walk through the data finds them."""

import numpy as np
import pytest

from aigate.stats.streams import BernoulliLimit
from rates import stops


def test_bisection_finds_the_first_decision(random):
    scores = random.permutation((np.arange(80) < 72).astype(float))
    ends = list(range(1, 81))
    end, look = stops._first_decided(scores, ends, 0.8)
    walk = next(t for t in ends if stops._look(scores, t, 0.8).decision)
    assert end == walk
    assert look.decision == "at-least"


def test_the_whole_set_decides_where_nothing_does_before(random):
    found = stops.threshold_stops(random, 5, n=40, mean=0.85, threshold=0.85, looks=2)
    assert found["wrong"] == 0
    assert found["used"] == 5.0


def test_alarms_at_errors_are_those_of_every_request():
    found = stops.rate_alarms(np.random.Generator(np.random.PCG64(3)), 40, rate=0.03, limit=0.01, requests=300)
    errors = np.random.Generator(np.random.PCG64(3)).random((40, 300)) < 0.03
    alarms = 0
    for row in errors:
        process = BernoulliLimit(0.01)
        for error in row:
            process = process.after(int(error), 1)
        alarms += process.alarm(0.01)
    assert 0 < found["alarm"] < 40
    assert found["alarm"] == alarms


def test_the_naive_rate_alarms_on_a_healthy_canary(random):
    found = stops.naive_rate_alarms(random, 2_000, rate=0.007, limit=0.01, per_minute=60, minutes=30)
    assert found["alarm"] / 2_000 == pytest.approx(0.80, abs=0.05)


def test_shared_errors_raise_no_relative_alarm(random):
    assert stops.relative_alarms(random, 200, share=0.05, ratio=1.0, errors=400)["alarm"] <= 6
    assert stops.relative_alarms(random, 50, share=0.05, ratio=5.0, errors=400)["alarm"] == 50


def test_a_low_mean_is_found_within_sixty_judged_requests(random):
    found = stops.mean_alarms(random, 200, mean=0.75, limit=0.85, sd=0.25, requests=500)
    assert found["alarm"] == 200
    assert found["median"] <= 60
