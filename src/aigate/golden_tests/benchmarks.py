"""Latencies of a run in pytest-benchmark's table and JSON: replayed from the run, never measured twice.

Only public ways of pytest-benchmark are used: its fixture, its marker's timer, `pedantic` and `extra_info`. Its
comparison with stored benchmarks is not: it passes where a benchmark was renamed or the stored one is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aigate.stats.quantiles import quantile_interval

__all__ = ["LatencyItem", "ReplayClock", "benchmark_is_there", "latency_test", "mirror"]

GROUP = "aigate latency"
QUANTILES = {"p50_s": 0.50, "p95_s": 0.95, "p99_s": 0.99}
LEVEL = 0.9


class ReplayClock:
    """A timer that tells the seconds of a run's answers: of each pair of readings, the first is 0."""

    def __init__(self) -> None:
        self._readings: list[float] = []

    def __call__(self) -> float:
        """The next reading; standing still where there is none left."""
        return self._readings.pop() if len(self._readings) > 1 else self._readings[0]

    def load(self, latencies_s: Sequence[float]) -> None:
        """Set the latencies that the next readings tell."""
        self._readings = [reading for latency_s in reversed(latencies_s) for reading in (latency_s, 0.0)]


class LatencyItem(pytest.Function):
    """A function, so that it can take pytest-benchmark's fixture; what it shows is the suite's."""

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the suite stands."""
        return self.path, 0, self.name


def benchmark_is_there(config: pytest.Config) -> bool:
    """Whether pytest-benchmark is installed and not switched off."""
    return config.pluginmanager.hasplugin("benchmark") and not config.getoption("benchmark_skip")


def latency_test(parent: pytest.Collector, latencies_s: Callable[[], Sequence[float]]) -> pytest.Item:
    """The test that shows a suite's latencies in pytest-benchmark's table."""
    clock = ReplayClock()

    @pytest.mark.benchmark(timer=clock, group=GROUP)
    def latency(benchmark: Any) -> None:
        found = latencies_s()
        if not found:
            pytest.skip("no answer of the run has a latency")
        _replay(benchmark, clock, found)

    return LatencyItem.from_parent(parent, name=f"latency[{parent.path.parent.name}]", callobj=latency)


def mirror(request: pytest.FixtureRequest, latencies_s: Sequence[float]) -> None:
    """Show latencies in pytest-benchmark's table under the name of the test that asks; nothing without latencies.

    Left out where pytest-benchmark is not there, and where the test uses its fixture, which serves once.
    """
    if not latencies_s or not benchmark_is_there(request.config) or "benchmark" in request.fixturenames:
        return
    clock = ReplayClock()
    request.node.add_marker(pytest.mark.benchmark(timer=clock, group=GROUP))
    _replay(request.getfixturevalue("benchmark"), clock, latencies_s)


def _replay(benchmark: Any, clock: ReplayClock, latencies_s: Sequence[float]) -> None:
    clock.load(latencies_s)
    benchmark.pedantic(lambda: None, rounds=len(latencies_s), iterations=1)
    benchmark.extra_info["aigate"] = {name: _quantile(latencies_s, q) for name, q in QUANTILES.items()}


def _quantile(latencies_s: Sequence[float], quantile: float) -> dict[str, float | int | None]:
    """The quantile with its interval; an end that so few answers cannot show is None."""
    found = quantile_interval(latencies_s, quantile, level=LEVEL)
    return {"estimate": found.estimate, "low": found.low, "high": found.high, "level": LEVEL, "n": found.n}
