"""A million replayed samples on one machine: scored, stored, held against a baseline and gated by the real command.

    python benchmarks/scale.py --quick    20,000 samples: exit code 1 when a score, a count or a verdict is wrong
    python benchmarks/scale.py --full     1,000,000; ten minutes, 2 GB free; writes results/scale.md and .json;
                                          exit code 1 also when a target is missed

What is measured is `python -m aigate eval` from start to exit, worker processes included: the suite and a recording are
read and checked line by line, every answer is scored, the run is written and forced to disk, the baseline's run file is
read and its digest checked, the policy decides, the report is printed. Memory is the sum over the process and its
children. Beside it stands a floor: one process that does nothing but `orjson.loads` and `orjson.dumps` of every line of
the same files. Measure on an idle machine: how busy it was is written beside the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from contest import report
from contest.processes import Measured, busy_share, clean_environ, measured

RESULTS = Path(__file__).resolve().parent / "results"
SIZES = {"quick": 20_000, "full": 1_000_000}
LEAST_PER_S, MOST_MB = 20_000.0, 1024**3 / 1e6
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "jetty", "karst", "lagoon"]
RIGHT = {"baseline": 0.900, "candidate": 0.899, "worse": 0.860}
"""The share of right answers that each recording is made with."""

CHECKS = {
    "min-score": '{ check = "min-score", metric = "exact_match", at-least = 0.85 }',
    "no-regression": '{ check = "no-regression", metric = "exact_match", margin = 0.02 }',
    "max-error-rate": '{ check = "max-error-rate", at-most = 0.01 }',
    "same-shape": '{ check = "same-shape" }',
}
PLAIN = ("min-score", "no-regression", "max-error-rate")


@dataclass(frozen=True, slots=True)
class Row:
    """One command, measured.

    Attributes:
        name: What it did.
        wall_s: From start to exit.
        load_s: Until the first answer is scored: suite, recording and baseline are read.
        score_s: Scoring and writing.
        decide_s: From the last answer to exit: the file is forced to disk, the gate decides, the report is printed.
        cpu_s: User and system time of all processes.
        peak_mb: Resident memory of all processes together, 10^6 bytes.
        per_s: Samples per second of the whole.
        busy: Share of the cores that something else used just before.
        problems: What was wrong.
    """

    name: str
    wall_s: float
    load_s: float
    score_s: float
    decide_s: float
    cpu_s: float
    peak_mb: float
    per_s: float
    busy: float
    problems: tuple[str, ...]


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and print; 0 when all was right, and in full mode fast and small enough."""
    options = _options(arguments)
    machine, size = report.machine(), options.size or SIZES[options.mode]
    shapes = [True] if options.shapes else []
    with tempfile.TemporaryDirectory(prefix="aigate-scale-", dir=options.scratch) as scratch:
        folder = Path(scratch)
        right = write_suite(folder, size)
        bench = _Bench(folder, size, right, clean_environ(folder, os.environ))
        rows = [
            bench.run(
                "baseline", name="no baseline: min-score, max-error-rate", checks=("min-score", "max-error-rate")
            ),
            *[bench.run("candidate", name=f"against a baseline: {', '.join(PLAIN)}") for _ in range(options.repeats)],
            *[bench.run("candidate", name="the same, and same-shape", checks=(*PLAIN, "same-shape")) for _ in shapes],
            bench.run("worse", name="four points worse: must fail", code=1),
        ]
        gated = bench.gate_again()
        floor_s = floor(folder)
    document = {
        "mode": options.mode,
        "size": size,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine,
        "floor_s": floor_s,
        "problems": [*gated, *(f"{row.name}: {problem}" for row in rows for problem in row.problems)],
        "rows": [asdict(row) for row in rows],
    }
    text = page(document)
    if options.mode == "full" and options.size is None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "scale.md").write_text(text, encoding="utf-8")
        (options.out / "scale.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(text)
    missed = missed_targets(document) if options.mode == "full" else []
    for told in (*document["problems"], *missed):
        print(f"WRONG: {told}", file=sys.stderr)
    return 1 if document["problems"] or missed else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    for name, told in (("quick", "small, only right or wrong"), ("full", "the committed table")):
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name, help=told)
    parser.add_argument("--size", type=int, metavar="N", help="other than that of the mode; nothing is written")
    parser.add_argument("--repeats", type=int, default=1, help="of the main row; default: 1")
    parser.add_argument("--shapes", action="store_true", help="a row with the check same-shape too")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="2 GB free; default: the system's")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="of the result (full mode)")
    return parser.parse_args(arguments)


def write_suite(folder: Path, size: int) -> Mapping[str, int]:
    """A suite of questions with one short right answer each, and three recordings; says how many of each are right."""
    chance = random.Random(20_261_127)
    right = dict.fromkeys(RIGHT, 0)
    files = {name: (folder / f"{name}.jsonl").open("wb") for name in ("samples", *RIGHT)}
    for number in range(size):
        word, id_ = chance.choice(WORDS), f"q-{number:07}"
        question = f"Which word was filed under number {number} in the register of the harbour office?"
        answer = f"{word}, shelf {number}"
        sample = {"id": id_, "input": question, "reference": answer, "tags": [f"part-{number % 8}"]}
        files["samples"].write(orjson.dumps(sample) + b"\n")
        for name, share in RIGHT.items():
            good = chance.random() < share
            right[name] += good
            told = {
                "id": id_,
                "output": answer if good else f"{word}, shelf unknown",
                "latency_s": round(chance.uniform(0.2, 2.0), 3),
                "input_tokens": 40,
                "output_tokens": 6,
                "served_model": "clerk-1",
            }
            files[name].write(orjson.dumps(told) + b"\n")
    for file in files.values():
        file.close()
    return right


class _Bench:
    """Runs the command in one folder and looks whether what it says is right."""

    def __init__(self, folder: Path, size: int, right: Mapping[str, int], environ: Mapping[str, str]) -> None:
        self._folder, self._size, self._right, self._environ = folder, size, right, environ

    def run(self, recording: str, *, name: str, checks: Sequence[str] = PLAIN, code: int = 0) -> Row:
        """Score one recording and decide; against the baseline's run unless it is the baseline's own."""
        rows = ",\n  ".join(CHECKS[check] for check in checks)
        head = 'version = "clerk/1/v1"\nprovider = "replay"\nscorers = ["exact_match"]\n\n[policy]\n'
        (self._folder / "suite.toml").write_text(f"{head}checks = [\n  {rows},\n]\n", encoding="utf-8")
        command = [*AIGATE, "eval", "--suite", self._folder, "--recorded", self._folder / f"{recording}.jsonl"]
        command += ["--out", self._folder / f"{recording}.run.jsonl", "--format", "json"]
        if recording != "baseline":
            command += ["--baseline", self._folder / "baseline.run.jsonl"]
        busy, started_at = busy_share(), time.time()
        done = measured(command, folder=self._folder, environ=self._environ, limit_s=3600)
        told_s, answered_at = self._scored(done)
        return Row(
            name=name,
            wall_s=done.wall_s,
            load_s=answered_at - told_s - started_at,
            score_s=told_s,
            decide_s=done.wall_s - (answered_at - started_at),
            cpu_s=done.cpu_s,
            peak_mb=done.peak_mb,
            per_s=self._size / done.wall_s,
            busy=busy,
            problems=tuple(self._problems(done, recording, code)),
        )

    def _scored(self, done: Measured) -> tuple[float, float]:
        """Seconds that scoring took, and when it ended, as the command tells it."""
        told = re.compile(rf"{self._size}/{self._size} answered in ([\d.]+) s")
        return next(((float(m[1]), at) for at, line in done.lines if (m := told.search(line))), (0.0, 0.0))

    def _problems(self, done: Measured, recording: str, code: int) -> list[str]:
        if done.code != code:
            return [f"exit code {done.code}, expected {code}: {done.tail}"]
        verdict = json.loads((self._folder / "stdout.txt").read_bytes())
        (self._folder / f"{recording}.verdict.json").write_bytes((self._folder / "stdout.txt").read_bytes())
        metric, scored = verdict["metrics"]["exact_match"], verdict["ledger"]["scored"]
        expected = self._right[recording] / self._size
        found = []
        if (scored, metric["scored"], metric["missing"]) != (self._size, self._size, 0):
            found.append(f"{scored} scored, {metric}: expected {self._size}")
        if abs(metric["mean"] - expected) > 1e-9:
            found.append(f"the mean is {metric['mean']}, expected {expected}")
        return found

    def gate_again(self) -> list[str]:
        """Decide again from the stored runs: the verdict must be the same, byte for byte."""
        runs = (self._folder / "worse.run.jsonl", "--baseline", self._folder / "baseline.run.jsonl")
        command = [*AIGATE, "gate", *runs, "--suite", self._folder, "--format", "json"]
        done = measured(command, folder=self._folder, environ=self._environ, limit_s=3600)
        same = (self._folder / "stdout.txt").read_bytes() == (self._folder / "worse.verdict.json").read_bytes()
        return [] if done.code == 1 and same else [f"aigate gate says something else: exit code {done.code}"]


AIGATE: Sequence[str | Path] = (sys.executable, "-m", "aigate")


def floor(folder: Path) -> float:
    """Seconds that one process needs for nothing but orjson, of every line that the main command reads or writes."""
    started_s = time.perf_counter()
    for name in ("samples", "candidate", "baseline.run", "candidate.run"):
        with (folder / f"{name}.jsonl").open("rb") as file, (folder / "floor.jsonl").open("wb") as out:
            for line in file:
                out.write(orjson.dumps(orjson.loads(line)) + b"\n")
    return time.perf_counter() - started_s


def missed_targets(document: Mapping[str, Any]) -> list[str]:
    """Targets that the main command missed, in words."""
    rows = [row for row in document["rows"] if row["name"].startswith("against a baseline")]
    best, most = max(row["per_s"] for row in rows), max(row["peak_mb"] for row in rows)
    found = [] if best >= LEAST_PER_S else [f"{best:,.0f} samples/s, expected {LEAST_PER_S:,.0f}"]
    return found if most <= MOST_MB else [*found, f"{most:.0f} MB, expected at most {MOST_MB:.0f}"]


def page(document: Mapping[str, Any]) -> str:
    """The page."""
    where, size = document["machine"], document["size"]
    busiest = max(row["busy"] for row in document["rows"])
    idle = "idle" if busiest <= report.IDLE else "**not idle**"
    lines = [
        f"""# {size:,} replayed samples on one machine

Written by `python benchmarks/scale.py --{document["mode"]}`; {document["date"]}; Python {where["python"]};
{where["system"]}, {where["cores"]} cores. The machine was {idle}: load average {where["load"]:.2f} at the start, at
most {100 * busiest:.0f} % of the cores in other use just before a measurement.

Each row is one `python -m aigate eval --suite ... --recorded ... --format json` from start to exit, worker processes
included: scorer `exact_match`, one answer a sample, {size:,} answers read, checked, scored, written and forced to disk,
and where a baseline is named its run file read and its digest checked. Memory is that of all processes together, looked
at ten times a second (10^6 bytes; 1 GiB is {MOST_MB:.0f} MB).

| command | wall s | samples/s | peak MB | load s | score and write s | decide and report s | CPU s | x floor |
|---|---|---|---|---|---|---|---|---|"""
    ]
    for row in document["rows"]:
        figures = (f"{row['wall_s']:.1f}", f"{row['per_s']:,.0f}", f"{row['peak_mb']:.0f}", f"{row['load_s']:.1f}")
        figures += (f"{row['score_s']:.1f}", f"{row['decide_s']:.1f}", f"{row['cpu_s']:.1f}")
        lines.append(f"| {row['name']} | {' | '.join(figures)} | {row['wall_s'] / document['floor_s']:.2f} |")
    alone = f"{document['floor_s']:.1f} s, {size / document['floor_s']:,.0f} samples/s"
    wrong = "; ".join(document["problems"]) or "nothing: every count and mean is that of the data that was made, and"
    wrong += "" if document["problems"] else " `aigate gate` gives the same verdict byte for byte from the stored runs"
    missed = "; ".join(missed_targets(document)) or "no target missed"
    lines.append(
        f"""
Floor: one process that reads the same four files (samples, recording, both runs), calls `orjson.loads` and
`orjson.dumps` for every line and writes it again: {alone}.

Targets, of the rows against a baseline: at least {LEAST_PER_S:,.0f} samples/s, at most 1 GiB: {missed}.
Wrong: {wrong}.
"""
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
