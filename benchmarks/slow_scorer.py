"""A scorer that keeps a processor busy for 10 ms an answer, in worker processes and without them: the same live run.

    python benchmarks/slow_scorer.py --quick    200 samples, one round: exit code 1 when anything is lost or differs
    python benchmarks/slow_scorer.py --full     1,000 samples at concurrency 32, answers after 100 ms, three rounds; a
                                                minute; writes results/slow_scorer.md and .json

Each row is one `aigate eval` from start to exit, journal and verdict included, in turns with the other. The scorer is
that of an installed package: an exact match that first uses so much processor time. Without workers it runs on the
event loop, between the calls; so it does until so many answers are judged that workers are seen to be worth starting.
The latency is the median of what the run file says the answers took: what is above 100 ms is not the endpoint's.
Measure on an idle machine. Exit code 1 when a sample is lost, wrong or asked twice, or the two do not give the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contest import endpoint, report
from contest.entries import AIGATE, SUITE
from contest.job import Job, checked, write_samples
from contest.processes import busy_share, clean_environ, measured
from contest.server import Behaviour

RESULTS = Path(__file__).resolve().parent / "results"
CONCURRENCY, LATENCY_S, SCORER_MS = 32, 0.1, 10
SIZES = {"quick": (200, 1), "full": (1_000, 3)}
HERE, ELSEWHERE = "without workers", "with workers"

SCORER = """\
import time

from aigate.core.score import MetricSpec, Score


class Slow:
    def __init__(self, settings):
        self._busy_s = settings.options["ms"] / 1000.0
        self.spec = MetricSpec("exact_match", "slow", options=dict(settings.options))

    def applies_to(self, sample):
        return None

    def score(self, sample, response):
        until_s = time.thread_time() + self._busy_s
        while time.thread_time() < until_s:
            pass
        return Score(float(response.output == sample.reference), f"{response.output} for {sample.reference}")
"""
PACKAGE = {
    "slow.py": SCORER,
    "slow-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: slow\nVersion: 1\n",
    "slow-1.dist-info/entry_points.txt": "[aigate.scorers]\nslow = slow:Slow\n",
}
ALONE = "import sys; from aigate.running import scoring; scoring.WORTH_S = float('inf')"
ALONE += "; from aigate.cli.main import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Attributes:
        name: With workers or without.
        wall_s: From start to exit.
        cpu_s: User and system time, workers included.
        peak_mb: Resident memory of all processes together, 10^6 bytes.
        latency_s: The median over the answers, as the run file has it.
        slowest_s: The 95th percentile of it.
        busy: Share of the cores that something else used just before.
        problems: What was wrong.
    """

    name: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    latency_s: float
    slowest_s: float
    busy: float
    problems: tuple[str, ...]


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and print; 0 when all was right."""
    options = _options(arguments)
    machine, (size, rounds) = report.machine(), SIZES[options.mode]
    with tempfile.TemporaryDirectory(prefix="aigate-slow-scorer-") as scratch, endpoint.running() as server:
        folder = Path(scratch)
        bench = _Bench(server, folder, size, options.ms)
        names = [name for turn in range(rounds) for name in (HERE, ELSEWHERE)[:: -1 if turn % 2 else 1]]
        rows = [bench.run(number, name) for number, name in enumerate(names)]
    problems = [f"{row.name}: {problem}" for row in rows for problem in row.problems]
    document = {
        "mode": options.mode,
        "size": size,
        "ms": options.ms,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine,
        "problems": problems + ([] if bench.is_one else ["the two do not give the same results"]),
        "rows": [asdict(row) for row in rows],
    }
    text = page(document)
    if options.mode == "full" and options.ms == SCORER_MS:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "slow_scorer.md").write_text(text, encoding="utf-8")
        (options.out / "slow_scorer.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(text)
    return 1 if document["problems"] else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    for name, told in (("quick", "small, only right or wrong"), ("full", "the committed table")):
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name, help=told)
    parser.add_argument("--ms", type=float, default=SCORER_MS, help="of the scorer; nothing is written but for 10")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="of the result (full mode)")
    return parser.parse_args(arguments)


class _Bench:
    """Runs the command, and looks whether what it wrote is right and always the same."""

    def __init__(self, server: endpoint.Running, folder: Path, size: int, ms: float) -> None:
        self._server, self._folder, self._size, self._ms = server, folder, size, ms
        self._samples = write_samples(folder / "samples.jsonl", size)
        self._environ = {**clean_environ(folder, os.environ), "PYTHONPATH": str(write_package(folder / "package"))}
        self._found: set[str] = set()

    @property
    def is_one(self) -> bool:
        """Whether all runs gave the same scores."""
        return len(self._found) == 1

    def run(self, number: int, name: str) -> Row:
        """One run in a folder of its own."""
        job = Job(self._folder / str(number), self._samples, self._size, CONCURRENCY, self._server.base_url)
        job.folder.mkdir()
        command = AIGATE.command(job, job.folder)
        suite = SUITE.replace('["exact_match"]', f'[{{ scorer = "slow", ms = {self._ms:g} }}]')
        (job.folder / "suite" / "suite.toml").write_text(suite, encoding="utf-8")
        if name == HERE:
            command = [sys.executable, "-c", ALONE, *command[3:]]
        self._server.reset(Behaviour(LATENCY_S))
        busy = busy_share()
        done = measured(command, folder=job.folder, environ=self._environ, limit_s=900)
        latencies = self._read(job.folder / "run.jsonl")
        return Row(
            name=name,
            wall_s=done.wall_s,
            cpu_s=done.cpu_s,
            peak_mb=done.peak_mb,
            latency_s=statistics.median(latencies),
            slowest_s=statistics.quantiles(latencies, n=20)[-1],
            busy=busy,
            problems=tuple(self._problems(job, done.code, done.tail)),
        )

    def _read(self, path: Path) -> list[float]:
        """The latencies of a run file; its scores are remembered."""
        rows = [row for row in map(json.loads, path.read_text("utf-8").splitlines()) if "id" in row]
        self._found.add(json.dumps(sorted((row["id"], row["outcome"], row["scores"]) for row in rows)))
        return [row["response"]["latency_s"] for row in rows]

    def _problems(self, job: Job, code: int, tail: str) -> list[str]:
        found, asked = checked(AIGATE.results(job.folder), job.size), self._server.stats()["requests"]
        whole = (code, found.lost, found.wrong, asked) == (0, 0, 0, job.size)
        return [] if whole else [f"exit code {code}, {found}, {asked} requests: {tail}"]


def write_package(folder: Path) -> Path:
    """The scorer as an installed package brings one; gives the folder for `PYTHONPATH`."""
    for name, text in PACKAGE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def page(document: Mapping[str, Any]) -> str:
    """The page."""
    where, size, ms = document["machine"], document["size"], document["ms"]
    busiest = max(row["busy"] for row in document["rows"])
    idle = "idle" if busiest <= report.IDLE else "**not idle**"
    table = {name: _medians([row for row in document["rows"] if row["name"] == name]) for name in (HERE, ELSEWHERE)}
    ratio = table[HERE]["wall_s"] / table[ELSEWHERE]["wall_s"]
    lines = [
        f"""# A slow scorer in a live run

Written by `python benchmarks/slow_scorer.py --{document["mode"]}`; {document["date"]}; Python {where["python"]};
{where["system"]}, {where["cores"]} cores, the endpoint on the same ones. The machine was {idle}: load average
{where["load"]:.2f} at the start, at most {100 * busiest:.0f} % of the cores in other use just before a measurement.

{size:,} samples at concurrency {CONCURRENCY}, answers after {1000 * LATENCY_S:.0f} ms, and a scorer that keeps a
processor busy for {ms:g} ms an answer: one `aigate eval` from start to exit, journal and verdict included. Medians of
{len(document["rows"]) // 2}, in turns. Asking alone takes {size * LATENCY_S / CONCURRENCY:.2f} s at the least, judging
{size * ms / 1000:.2f} s of one processor.

| run | wall s | median latency ms | 95 % ms | CPU s | peak MB |
|---|---|---|---|---|---|"""
    ]
    for name, row in table.items():
        latencies = f"{1000 * row['latency_s']:.0f} | {1000 * row['slowest_s']:.0f}"
        lines.append(f"| {name} | {row['wall_s']:.2f} | {latencies} | {row['cpu_s']:.1f} | {row['peak_mb']:.0f} |")
    wrong = "; ".join(document["problems"]) or "nothing: outcomes, scores and explanations are the same in every run"
    lines.append(f"\nWithout workers it takes {ratio:.2f} times as long. Wrong: {wrong}.\n")
    return "\n".join(lines)


def _medians(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = ("wall_s", "cpu_s", "peak_mb", "latency_s", "slowest_s")
    return {name: statistics.median(row[name] for row in rows) for name in names}


if __name__ == "__main__":
    sys.exit(main())
