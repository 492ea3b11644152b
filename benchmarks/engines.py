"""What the Dask engine costs beside the local one: the same run on the same endpoint, one after the other.

    python benchmarks/engines.py            2,000 samples at concurrency 32, answers after 100 ms; three rounds
    python benchmarks/engines.py --quick    200 samples, one round: only that nothing is lost, wrong or asked twice

The endpoint is a process on loopback (`contest/server.py`). Efficiency is the ideal wall (samples x latency /
concurrency) over the wall, of the whole process from start to exit, and of the asking alone, from the first request
that arrived to the last answer that left. Exit code 1 when a sample is lost, wrong or asked twice.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from contest import endpoint, report
from contest.entries import CONTENDERS
from contest.job import Job, checked, write_samples
from contest.processes import busy_share, clean_environ, measured
from contest.server import Behaviour

LATENCY_S = 0.1
ENGINES = {
    "local": (),
    "dask, 1 worker": ("--dask-workers", "1"),
    "dask, 2 workers": ("--dask-workers", "2"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One engine in one round.

    Attributes:
        engine: Which.
        wall_s: Of the process.
        cpu_s: Of the process; workers that it started and waited for included.
        asking_s: From the first request to the last answer, as the endpoint saw it.
        requests: How many arrived.
        lost: Samples without an answer.
        wrong: Samples with another's answer.
    """

    engine: str
    wall_s: float
    cpu_s: float
    asking_s: float
    requests: int
    lost: int
    wrong: int


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table; 0 when every run was whole."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="200 samples, one round")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--rounds", type=int, help="default: 3; 1 with --quick")
    options = parser.parse_args(arguments)
    concurrency = options.concurrency
    size, rounds = (200, options.rounds or 1) if options.quick else (2000, options.rounds or 3)
    machine = report.machine()
    with tempfile.TemporaryDirectory(prefix="aigate-engines-") as scratch, endpoint.running() as server:
        where = Path(scratch)
        samples = write_samples(where / "samples.jsonl", size)
        rows = [
            _row(engine, flags, server, Job(where / f"{number}-{engine}", samples, size, concurrency, server.base_url))
            for number in range(rounds)
            for engine, flags in ENGINES.items()
        ]
    ideal_s = size * LATENCY_S / concurrency
    print(f"{size} samples, concurrency {concurrency}, answers after {LATENCY_S:g} s; {machine}")
    print(
        f"ideal {ideal_s:.2f} s; medians of {rounds}; something else keeps {busy_share():.0%} of the cores busy now\n"
    )
    print("| engine | wall s | efficiency | asking s | efficiency asking | CPU ms a sample | requests |")
    print("|---|---|---|---|---|---|---|")
    for engine in ENGINES:
        print(_line([row for row in rows if row.engine == engine], ideal_s, size))
    bad = [row for row in rows if (row.lost, row.wrong, row.requests) != (0, 0, size)]
    for row in bad:
        print(f"NOT WHOLE: {row}")
    return 1 if bad else 0


def _row(engine: str, flags: tuple[str, ...], server: endpoint.Running, job: Job) -> Row:
    folder, size = job.folder, job.size
    folder.mkdir(parents=True)
    ours = next(contender for contender in CONTENDERS if contender.key == "aigate")
    server.reset(Behaviour(LATENCY_S))
    done = measured(
        [*ours.command(job, folder), *flags], folder=folder, environ=clean_environ(folder, os.environ), limit_s=900
    )
    if done.code != 0:
        raise RuntimeError(f"{engine}: exit code {done.code}\n{done.tail}")
    stats = server.stats()
    found = checked(ours.results(folder), size)
    asking_s = stats["last_answer_at"] - stats["first_request_at"]
    return Row(engine, done.wall_s, done.cpu_s, asking_s, stats["requests"], found.lost, found.wrong)


def _line(rows: list[Row], ideal_s: float, size: int) -> str:
    wall_s, cpu_s, asking_s = (
        statistics.median(getattr(row, name) for row in rows) for name in ("wall_s", "cpu_s", "asking_s")
    )
    figures = (f"{wall_s:.2f}", f"{ideal_s / wall_s:.2f}", f"{asking_s:.2f}", f"{ideal_s / asking_s:.2f}")
    asked = "/".join(str(row.requests) for row in rows)
    return f"| {rows[0].engine} | {' | '.join(figures)} | {1000 * cpu_s / size:.2f} | {asked} |"


if __name__ == "__main__":
    sys.exit(main())
