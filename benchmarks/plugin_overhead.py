#!/usr/bin/env python3
"""What the pytest plugin costs a suite that does not use it: 500 parametrised tests, beside `-p no:aigate`.

`python benchmarks/plugin_overhead.py` prints medians, the least of each side, the difference with an interval, and the
ratio; it exits 1 when the difference is shown to be above `--limit-ms`. Rounds of the two alternate, so that a busy
machine slows both alike; there, read the CPU time, and of that the least of each side.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SUITE = """\
import pytest

CASES = [(f"question {{n}}", f"answer {{n}}") for n in range({tests})]


def bot(question):
    return question.replace("question", "answer")


@pytest.mark.parametrize(("question", "expected"), CASES)
def test_answer(question, expected):
    assert bot(question) == expected
"""
WITHOUT = ("-p", "no:aigate")
OTHERS = [word for name in ("benchmark", "hypothesispytest", "anyio", "xdist") for word in ("-p", f"no:{name}")]


@dataclass(frozen=True)
class Took:
    """Milliseconds of one session."""

    wall_ms: float
    cpu_ms: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--limit-ms", type=float, default=20.0)
    parser.add_argument("--collect-only", action="store_true", help="measure collection alone")
    arguments = parser.parse_args()
    found = measure(arguments.tests, arguments.rounds, collect_only=arguments.collect_only)
    print(json.dumps(found, indent=2))
    return 0 if found["cpu_ms"]["difference_low"] <= arguments.limit_ms else 1


def measure(tests: int, rounds: int, *, collect_only: bool = False) -> dict[str, object]:
    """Run both kinds of session in turn, one round of each thrown away first."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_suite.py").write_text(SUITE.format(tests=tests))
        more = ["--collect-only"] if collect_only else []
        pairs = []
        for number in range(rounds + 1):
            order = [(), WITHOUT] if number % 2 else [WITHOUT, ()]
            took = {arguments: _session(folder, [*more, *arguments]) for arguments in order}
            pairs.append((took[()], took[WITHOUT]))
    kept = pairs[1:]
    return {
        "tests": tests,
        "rounds": rounds,
        "collect_only": collect_only,
        **{name: _compared([(getattr(a, name), getattr(b, name)) for a, b in kept]) for name in ("wall_ms", "cpu_ms")},
    }


def _session(folder: str, arguments: list[str]) -> Took:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *OTHERS, *arguments]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall * 1000, cpu * 1000)


def _compared(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Medians, and the median of the paired differences with its distribution-free 95 % interval."""
    differences = sorted(with_it - without for with_it, without in pairs)
    rank = _rank(len(differences))
    with_it, without = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {
        "least_with": round(min(a for a, _ in pairs), 1),
        "least_without": round(min(b for _, b in pairs), 1),
        "with": round(with_it, 1),
        "without": round(without, 1),
        "ratio": round(with_it / without, 4),
        "difference": round(statistics.median(differences), 1),
        "difference_low": round(differences[rank], 1),
        "difference_high": round(differences[-1 - rank], 1),
    }


def _rank(n: int) -> int:
    """How many of the sorted differences may be left out at either end (sign test, 95 % two-sided)."""
    from math import comb

    below, rank = 0.0, -1
    while below + comb(n, rank + 1) / 2**n <= 0.025:
        rank += 1
        below += comb(n, rank) / 2**n
    return max(rank, 0)


if __name__ == "__main__":
    sys.exit(main())
