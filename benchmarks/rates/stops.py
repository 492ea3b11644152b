"""Experiments on early stops of a threshold, and on the alarms of a canary."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from aigate.stats.streams import BoundedMean, RelativeToStable, rate_log_e
from aigate.stats.threshold import ThresholdLook, threshold_test
from rates.error_rates import summed

Random = np.random.Generator
Counts = dict[str, float]

ALARM = math.log(1.0 / 0.01)
BATCH = 500


def threshold_stops(random: Random, runs: int, *, n: int, mean: float, threshold: float, looks: int | None) -> Counts:
    """A fixed set of 0/1 scores with exactly that mean, in random order: where it is decided, and whether rightly.

    `looks` None: after every sample.
    """
    scores = (np.arange(n) < round(n * mean)).astype(float)
    truth = "at-least" if scores.mean() >= threshold - 1e-12 else "below"
    ends = list(range(1, n + 1)) if looks is None else [round(n * k / looks) for k in range(1, looks + 1)]
    used, wrong = [], 0
    for _ in range(runs):
        end, look = _first_decided(random.permutation(scores), ends, threshold)
        used.append(end / n)
        wrong += look.decision != truth
    return {**summed("used", used), "wrong": wrong}


def _first_decided(scores: np.ndarray, ends: list[int], threshold: float) -> tuple[int, ThresholdLook]:
    """The first of the planned ends at which there is a decision, by bisection: a decision is never taken back."""
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if _look(scores, ends[middle], threshold).decision:
            high = middle
        else:
            low = middle + 1
    return ends[low], _look(scores, ends[low], threshold)


def _look(scores: np.ndarray, end: int, threshold: float) -> ThresholdLook:
    n = len(scores)
    return threshold_test(
        scores[:end], np.ones(end), population_units=n, population_size=n, threshold=threshold, alpha=0.05
    )


def rate_alarms(random: Random, runs: int, *, rate: float, limit: float, requests: int) -> Counts:
    """Runs with an alarm at any request; E rises only at an error, so only those are looked at."""
    alarms, waits = 0, []
    for start in range(0, runs, BATCH):
        errors = random.random((min(BATCH, runs - start), requests)) < rate
        counts = errors.cumsum(axis=1)
        rows, columns = np.nonzero(errors)
        crossed = rate_log_e(counts[rows, columns], columns + 1, limit=limit) >= ALARM
        first = np.full(len(errors), requests + 1)
        np.minimum.at(first, rows[crossed], columns[crossed] + 1)
        alarms += int((first <= requests).sum())
        waits.extend(first.tolist())
    return {"alarm": alarms, "median": float(np.median(waits))}


def naive_rate_alarms(random: Random, runs: int, *, rate: float, limit: float, per_minute: int, minutes: int) -> Counts:
    """The rule in most rollout tools: the rate of the last five minutes above the limit, checked each minute."""
    errors = random.binomial(per_minute, rate, (runs, minutes)).cumsum(axis=1)
    window = errors[:, 5:] - errors[:, :-5]
    return {"alarm": int((window > limit * per_minute * 5).any(axis=1).sum())}


def relative_alarms(random: Random, runs: int, *, share: float, ratio: float, errors: int) -> Counts:
    """Errors that hit the canary `ratio` times as often as the stable version, per request; the limit is 1."""
    chance = share * ratio / (share * ratio + 1.0 - share)
    alarms = 0
    for _ in range(runs):
        canary = (random.random(errors) < chance).cumsum()
        hit = np.flatnonzero(np.diff(canary, prepend=0))
        alarms += any(_relative_log_e(share, int(canary[i]), int(i + 1 - canary[i])) >= ALARM for i in hit)
    return {"alarm": alarms}


@cache
def _relative_log_e(share: float, canary: int, stable: int) -> float:
    return RelativeToStable(share).after(canary=canary, stable=stable).log_e_value


def mean_alarms(random: Random, runs: int, *, mean: float, limit: float, sd: float, requests: int) -> Counts:
    """Judged requests until the alarm that their mean is below the limit."""
    size = mean * (1.0 - mean) / sd**2 - 1.0
    waits = []
    for _ in range(runs):
        values = random.beta(mean * size, (1.0 - mean) * size, requests)
        crossed = np.flatnonzero(BoundedMean(limit).log_e_path(values) >= ALARM)
        waits.append(int(crossed[0]) + 1 if len(crossed) else requests + 1)
    return {"alarm": int(np.sum(np.array(waits) <= requests)), "median": float(np.median(waits))}
