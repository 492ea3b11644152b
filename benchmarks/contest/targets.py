"""What aigate has to reach, and whether it does."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from contest.entries import AIGATE, BARE_OPENAI, CONTENDERS
from contest.scenarios import BARE, Row

SAFE = {"lost": "samples lost", "wrong": "wrong results", "answered_again": "answers paid for twice"}
PEERS = {contender.key for contender in CONTENDERS if contender.is_peer}


class Rows:
    """Finds figures in the rows; a figure that was not measured is None."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)

    @property
    def kinds(self) -> list[str]:
        """What was measured, in order."""
        return list(dict.fromkeys(row["kind"] for row in self._rows))

    def of(self, kind: str, contender: str | None = None) -> list[Row]:
        """The rows of one kind, and one contender where it is named."""
        return [r for r in self._rows if r["kind"] == kind and contender in {None, r.get("contender")}]

    def contenders(self, kind: str) -> list[str]:
        """Who has rows of the kind, in the order of the table."""
        there = {row["contender"] for row in self.of(kind)}
        return [contender.key for contender in CONTENDERS if contender.key in there]

    def median(self, kind: str, contender: str, figure: str) -> float | None:
        """The median over the repeats."""
        values = [row[figure] for row in self.of(kind, contender) if row.get(figure) is not None]
        return statistics.median(values) if values else None

    def worst(self, kind: str, contender: str, figure: str) -> float | None:
        """The largest over the repeats: for what must never happen."""
        return max((row[figure] for row in self.of(kind, contender) if row.get(figure) is not None), default=None)

    def best_peer(self, kind: str) -> float | None:
        """The highest efficiency of another tool that finished every sample."""
        whole = [key for key in self.contenders(kind) if key in PEERS and not self.worst(kind, key, "lost")]
        found = [self.median(kind, key, "efficiency") for key in whole]
        return max((value for value in found if value is not None), default=None)


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to reach.

    Attributes:
        text: What it is.
        value: The figure; None: not measured.
        limit: What it is held against; None: not measured.
        at_most: Whether it must not be above the limit; else not below.
        timed: Whether it depends on how fast and how idle the machine is; such targets are judged in full mode only.
        unit: Written after the numbers.
    """

    text: str
    value: float | None
    limit: float | None
    at_most: bool
    timed: bool = True
    unit: str = ""

    @property
    def status(self) -> str:
        """met, missed or not measured."""
        if self.value is None or self.limit is None:
            return "not measured"
        return "met" if (self.value <= self.limit if self.at_most else self.value >= self.limit) else "missed"


def targets(rows: Rows) -> list[Target]:
    """All targets, in the order in which they were set."""
    return [*_speed(rows), *_cost(rows), *_kept_answers(rows), *_start(rows), *_safety(rows)]


def _speed(rows: Rows) -> list[Target]:
    found = [
        _of(rows, "2000-32", "efficiency", "efficiency, 2,000 at concurrency 32", 0.90, at_most=False),
        _of(rows, "10000-128", "efficiency", "efficiency, 10,000 at concurrency 128", 0.80, at_most=False),
    ]
    for kind in ("2000-32", "2000-128", "10000-128", "lognormal"):
        ours, best = rows.median(kind, AIGATE.key, "efficiency"), rows.best_peer(kind)
        bare = rows.median(kind, BARE_OPENAI.key, "efficiency")
        found.append(Target(f"efficiency ahead of the best peer's, {kind}", ours, best, at_most=False))
        found.append(Target(f"efficiency ahead of the bare AsyncOpenAI loop's, {kind}", ours, bare, at_most=False))
    verdict = "last answer to the verdict's first line, 2,000 at concurrency 32"
    return [*found, _of(rows, "2000-32", "verdict_s", verdict, 0.3, at_most=True, unit=" s")]


def _cost(rows: Rows) -> list[Target]:
    found = []
    for kind in ("2000-32", "10000-128"):
        ours = rows.median(kind, AIGATE.key, "cpu_ms_per_sample")
        bare = rows.median(kind, BARE_OPENAI.key, "cpu_ms_per_sample")
        text = f"CPU per sample below the bare AsyncOpenAI loop's, {kind}"
        found.append(Target(text, ours, bare, at_most=True, unit=" ms"))
    peak = "peak memory, 10,000 at concurrency 128"
    return [*found, _of(rows, "10000-128", "peak_mb", peak, 200, at_most=True, unit=" MB")]


def _kept_answers(rows: Rows) -> list[Target]:
    rate, peak = "replayed samples scored, stored and gated per second", "peak memory of the replay"
    return [
        _of(rows, "rerun", "requests", "requests of an unchanged re-run", 0, at_most=True, timed=False),
        _of(rows, "rerun", "wall_s", "an unchanged re-run, gate included", 3, at_most=True, unit=" s"),
        _of(rows, "replay", "samples_per_s", rate, 20_000, at_most=False),
        _of(rows, "replay", "peak_mb", peak, 1024 * 1.048576, at_most=True, unit=" MB"),
    ]


def _start(rows: Rows) -> list[Target]:
    walls = next((row["walls_s"] for row in rows.of("starts")), {})
    bare, ours = _middle(walls.get(BARE)), _middle(walls.get(AIGATE.key))
    limit = None if bare is None else 2.0 * bare + 0.1
    suite = _middle(next((row["walls_s"] for row in rows.of("default-suite")), None))
    help_text = "`python -m aigate --help`, held against twice a bare interpreter with argparse + 0.1 s"
    return [
        Target(help_text, ours, limit, at_most=True, unit=" s"),
        Target("`aigate eval` of the default suite, warm", suite, 2.0, at_most=True, unit=" s"),
    ]


def _safety(rows: Rows) -> list[Target]:
    """What must hold on any machine, however busy: judged in quick mode too."""
    found = []
    for kind in rows.kinds:
        for figure, text in SAFE.items():
            if rows.worst(kind, AIGATE.key, figure) is not None:
                found.append(_worst(rows, kind, figure, f"{text}, {kind}", 0))
    size = _first(rows, "faults-light", lambda row: row["finished"] + row["lost"])
    requests = rows.worst("faults-light", AIGATE.key, "requests")
    ratio = None if size is None or requests is None else requests / size
    text = "requests per sample under 5 % 429 and 1 % 500"
    killed = _first(rows, "killed", lambda row: row["concurrency"])
    again = rows.worst("killed", AIGATE.key, "asked_again")
    return [
        *found,
        Target(text, ratio, 1.10, at_most=True, timed=False),
        Target("asked twice after kill -9; at most what was in flight", again, killed, at_most=True, timed=False),
    ]


def _of(
    rows: Rows, kind: str, figure: str, text: str, limit: float, *, at_most: bool, timed: bool = True, unit: str = ""
) -> Target:
    return Target(text, rows.median(kind, AIGATE.key, figure), limit, at_most=at_most, timed=timed, unit=unit)


def _worst(rows: Rows, kind: str, figure: str, text: str, limit: float) -> Target:
    return Target(text, rows.worst(kind, AIGATE.key, figure), limit, at_most=True, timed=False)


def _first(rows: Rows, kind: str, value: Callable[[Row], Any]) -> Any:
    return next((value(row) for row in rows.of(kind, AIGATE.key)), None)


def _middle(values: list[float] | None) -> float | None:
    return statistics.median(values) if values else None
