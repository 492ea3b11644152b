"""What a run measured besides its scores, in words: how long answers took and what they cost, before and now."""

from __future__ import annotations

import math
from collections.abc import Iterable

from aigate.core.columns import OUTPUT
from aigate.core.counts import count_of
from aigate.core.run import Run
from aigate.gating.checks.max_latency import load_obstacle
from aigate.running.timings import MEASURES, LatencySummary, seconds_of, summarise

__all__ = ["measured"]


def measured(candidate: Run, baseline: Run | None) -> tuple[str, ...]:
    """One line each for latency, time to first token and cost, where the candidate's answers tell it.

    What was answered offline, by no server, is not worth telling.

    Args:
        candidate: The run under test.
        baseline: The run it was held against; None without one.
    """
    if candidate.header.load is None and candidate.header.provider.get("name") != "replay":
        return ()
    return (*_latencies(candidate, baseline), *_costs(candidate, baseline))


def _latencies(candidate: Run, baseline: Run | None) -> Iterable[str]:
    for of, name in MEASURES.items():
        now = summarise(seconds_of(candidate, of), of=of)
        before = None if baseline is None else summarise(seconds_of(baseline, of), of=of)
        if not now.answered:
            continue
        apart = ""
        if baseline is not None and before is not None and before.quantiles:
            apart = load_obstacle(candidate.header, baseline.header)
        beside = f"; not measured alike: {apart}" if apart else ""
        yield f"{name}: {', '.join(_quantiles(now, before))} ({_counted(now)}{beside})"


def _quantiles(now: LatencySummary, before: LatencySummary | None) -> Iterable[str]:
    for found in now.quantiles:
        name = "median" if found.quantile == 0.5 else found.name
        was = f"{_seconds(before[found.quantile].seconds)} → " if before is not None and before.quantiles else ""
        yield f"{name} {was}{_seconds(found.seconds)}"


def _counted(found: LatencySummary) -> str:
    none = len(found.seconds) - len(found.answered)
    missing = f", {none} of them without an answer in time" if none else ""
    return "; ".join((f"{count_of(len(found.seconds), 'answer')}{missing}", *found.needs))


def _seconds(value: float) -> str:
    return "no answer" if math.isinf(value) else f"{value:.3g} s"


def _costs(candidate: Run, baseline: Run | None) -> Iterable[str]:
    now = _known_costs(candidate)
    if not now:
        return
    before = [] if baseline is None else _known_costs(baseline)
    mean = f"{math.fsum(now) / len(now):.3g} USD"
    told = f"{math.fsum(before) / len(before):.3g} USD → {mean}" if before else mean
    answers = candidate.columns.answers.kinds.count(OUTPUT)
    unknown = (
        f", {answers - len(now)} of {count_of(answers, 'answer')} do not tell theirs" if len(now) < answers else ""
    )
    yield f"cost: {told} an answer, {math.fsum(now):.3g} USD in all{unknown}"


def _known_costs(run: Run) -> list[float]:
    return [cost for cost in run.columns.answers.numbers.get("cost_usd", ()) if not math.isnan(cost)]
