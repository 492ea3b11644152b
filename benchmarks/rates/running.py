"""Runs configurations on two processes and keeps what is done, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from rates import error_rates, stops
from rates.plan import Configuration

Result = dict[str, object]

EXPERIMENTS: dict[str, Callable[..., dict[str, float]]] = {
    function.__name__: function
    for function in (
        error_rates.verdicts,
        error_rates.real_false_blocks,
        error_rates.bare_blocks,
        error_rates.family_blocks,
        error_rates.repeats_blocks,
        error_rates.false_passes,
        error_rates.cluster_passes,
        error_rates.bump,
        error_rates.compared,
        error_rates.conditional,
        error_rates.escalations,
        error_rates.ratchet,
        error_rates.anchored_blocks,
        stops.threshold_stops,
        stops.rate_alarms,
        stops.naive_rate_alarms,
        stops.relative_alarms,
        stops.mean_alarms,
    )
}


def results_of(
    configurations: list[Configuration], *, processes: int, checkpoint: Path | None, code: str
) -> dict[str, Result]:
    """Counts of every configuration by its key; those found in the checkpoint for the same code are not run again."""
    done = _kept(checkpoint, code)
    todo = [c for c in configurations if c.key not in done]
    started = time.monotonic()
    for number, (configuration, result) in enumerate(_run_all(todo, processes), start=1):
        done[configuration.key] = result
        _keep(checkpoint, code, configuration, result)
        elapsed_s = time.monotonic() - started
        title = f"{configuration.section}: {configuration.name}"
        print(f"{number}/{len(todo)} {elapsed_s:6.0f} s  {result['seconds']:7.1f} s  {title}", file=sys.stderr)
    return {c.key: done[c.key] for c in configurations}


def _run_all(todo: list[Configuration], processes: int) -> Iterable[tuple[Configuration, Result]]:
    longest_first = sorted(todo, key=_weight, reverse=True)
    if processes == 1:
        yield from map(run_one, longest_first)
        return
    # Forked children hold the parent's modules; nothing else of the parent is used.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=one_thread) as pool:
        for future in as_completed([pool.submit(run_one, configuration) for configuration in longest_first]):
            yield future.result()


def one_thread() -> None:
    """Two processes with two threads each would get in each other's way."""
    threadpool_limits(1)


def run_one(configuration: Configuration) -> tuple[Configuration, Result]:
    """One configuration, with its own seeded generator."""
    random = np.random.Generator(np.random.PCG64(configuration.seed))
    started = time.perf_counter()
    counts = EXPERIMENTS[configuration.experiment](random, configuration.runs, **configuration.options)
    counts = {key: value if isinstance(value, int) else float(value) for key, value in counts.items()}
    return configuration, {"counts": counts, "seconds": round(time.perf_counter() - started, 2)}


def _weight(c: Configuration) -> float:
    """A rough order of cost: what takes longest is begun first."""
    n = c.options.get("n") or c.options.get("groups", 20) * c.options.get("size", 50)
    heavy = {"repeats_blocks": 5, "escalations": 20, "conditional": 500, "ratchet": 40, "anchored_blocks": 10}
    return c.runs * n * heavy.get(c.experiment, 1)


def code_digest(*folders: Path) -> str:
    """A digest of the source files that the results rest on."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _kept(checkpoint: Path | None, code: str) -> dict[str, Result]:
    if checkpoint is None or not checkpoint.exists():
        return {}
    rows = []
    for line in checkpoint.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:  # the line that was being written when the run was interrupted
            continue
    return {row["key"]: row["result"] for row in rows if row["code"] == code}


def _keep(checkpoint: Path | None, code: str, configuration: Configuration, result: Result) -> None:
    if checkpoint is not None:
        with checkpoint.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"code": code, "key": configuration.key, "result": result}) + "\n")
