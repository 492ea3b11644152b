"""The page: targets first, then every runner side by side."""

from __future__ import annotations

import os
import platform
import statistics
from typing import Any

from contest.entries import AIGATE, BARE_OPENAI, CONTENDERS
from contest.scenarios import BARE, Race, Row, Sizes
from contest.targets import Rows, Target, targets

TITLES = {contender.key: contender.title for contender in CONTENDERS}
COLUMNS = (
    *("runner", "wall s", "efficiency", "span", "x best peer", "x bare AsyncOpenAI", "CPU ms/sample", "peak MB"),
    *("requests/sample", "paid twice", "in flight", "lost", "wrong", "runs"),
)
IDLE = 0.10  # of all cores: with more in use by others the figures are not worth much


def machine() -> dict[str, Any]:
    """Where it was measured."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
    }


def judged(document: dict[str, Any]) -> list[Target]:
    """The targets that count in this mode: in quick mode those that no slow machine can miss."""
    found = targets(Rows(document["rows"]))
    if document["mode"] == "full":
        return found
    return [target for target in found if not target.timed and target.status != "not measured"]


def nothing_missed(document: dict[str, Any]) -> bool:
    """Whether every target that counts was measured and met. No targets at all are no success."""
    found = judged(document)
    return bool(found) and all(target.status == "met" for target in found)


def markdown(document: dict[str, Any], sizes: Sizes) -> str:
    """The page."""
    rows = Rows(document["rows"])
    parts = [_head(document), _targets(document)]
    parts += [_race(race, rows) for race in sizes.races if rows.of(race.key)]
    parts += [_killed(sizes, rows), _alone(sizes, rows), _starts(rows), _contenders(document)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(document: dict[str, Any]) -> str:
    where = document["machine"]
    busiest = max((row["busy"] for row in document["rows"]), default=0.0)
    idle = "idle" if busiest <= IDLE else "**not idle**"
    return f"""# The runner beside others

Written by `python benchmarks/runner.py --{document["mode"]} --repeats {document["repeats"]}`; {document["date"]};
Python {where["python"]}; {where["system"]}, {where["cores"]} cores; {document["minutes"]:.0f} minutes. The machine was
{idle}: load average {where["load"]:.2f} at the start, at most {100 * busiest:.0f} % of the cores in other use
just before a measurement.

- Every runner is a process of its own, measured from start to exit: same endpoint on loopback (a process of its own, on
  the same cores), same prompts, exact match scored, results written, telemetry off, byte-code and disk cache warm.
- efficiency = ideal / wall; ideal = samples x mean latency / concurrency. `span` counts from the first request to the
  last answer only. Medians over the repeats; every second repeat ran in the opposite order.
- CPU is user and system time of the process and its children, peak memory that of all of them together.
- Requests and repeats are counted by the endpoint. One reference in ten is not what the endpoint answers, and all
  answers differ: a result is *wrong* when its output is another sample's or its score is not that of its output, *lost*
  when it has no output."""


def _targets(document: dict[str, Any]) -> str:
    found = judged(document)
    met = sum(target.status == "met" for target in found)
    told = "" if document["mode"] == "full" else " Targets that depend on the machine's speed are not judged here."
    lines = [
        f"## Targets\n\n{met} of {len(found)} met.{told}\n",
        "| target | limit | measured | |",
        "|---|---|---|---|",
    ]
    for target in sorted(found, key=lambda target: target.status != "missed"):
        sign = "≤" if target.at_most else "≥"
        limit = "" if target.limit is None else f"{sign} {_number(target.limit)}{target.unit}"
        value = "" if target.value is None else f"{_number(target.value)}{target.unit}"
        status = "met" if target.status == "met" else f"**{target.status.upper()}**"
        lines.append(f"| {target.text} | {limit} | {value} | {status} |")
    return "\n".join(lines)


def _race(race: Race, rows: Rows) -> str:
    best, bare = rows.best_peer(race.key), rows.median(race.key, BARE_OPENAI.key, "efficiency")
    lines = [
        f"## {race.title[0].upper()}{race.title[1:]}\n\nIdeal {race.ideal_s:.2f} s.\n",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    for key in rows.contenders(race.key):
        lines.append(f"| {TITLES[key]} | {_race_cells(race, rows, key, best, bare)} |")
    return "\n".join(lines)


def _race_cells(race: Race, rows: Rows, key: str, best: float | None, bare: float | None) -> str:
    def middle(figure: str) -> float | None:
        return rows.median(race.key, key, figure)

    own = rows.of(race.key, key)
    efficiency, requests = middle("efficiency"), middle("requests")
    cells = [
        _cell(middle("wall_s"), ".2f"),
        _cell(efficiency, ".2f"),
        _cell(middle("span_efficiency"), ".2f"),
        _cell(efficiency / best if efficiency and best else None, ".2f"),
        _cell(efficiency / bare if efficiency and bare else None, ".2f"),
        _cell(middle("cpu_ms_per_sample"), ".2f"),
        _cell(middle("peak_mb"), ".0f"),
        _cell(None if requests is None else requests / race.size, ".3f"),
        _cell(rows.worst(race.key, key, "answered_again"), ".0f"),
        _cell(rows.worst(race.key, key, "peak_in_flight"), ".0f"),
        _cell(rows.worst(race.key, key, "lost"), ",.0f") + _ended(own),
        _cell(rows.worst(race.key, key, "wrong"), ",.0f"),
        str(len(own)),
    ]
    return " | ".join(cells)


def _ended(own: list[Row]) -> str:
    return " (stopped: took too long)" if any(row["timed_out"] for row in own) else ""


def _killed(sizes: Sizes, rows: Rows) -> str:
    keys = rows.contenders("killed")
    if not keys:
        return ""
    lines = [
        f"## {sizes.killed.title[0].upper()}{sizes.killed.title[1:]}\n",
        "| runner | answers sent at the kill | cut off by it | asked twice | second run s | lost | wrong |",
        "|---" * 7 + "|",
    ]
    for key in keys:
        row = rows.of("killed", key)[0]
        again = f"{row['asked_again']:,}" if row["was_killed"] else "had ended before"
        lost = f"{row['lost']:,}{_ended([row])}"
        cells = f"{row['answers_at_kill']:,} | {row['cut']} | {again} | {row['wall_s']:.1f} | {lost} | {row['wrong']:,}"
        lines.append(f"| {TITLES[key]} | {cells} |")
    return "\n".join(lines)


def _alone(sizes: Sizes, rows: Rows) -> str:
    lines = ["## aigate alone\n", "| what | wall s | CPU s | peak MB | requests | lost | wrong | |", "|---" * 8 + "|"]
    wanted = (("rerun", sizes.rerun.title), ("replay", f"{sizes.replayed:,} replayed answers, scored, stored, gated"))
    for kind, title in wanted:
        for row in rows.of(kind):
            rate = f"{row['samples_per_s']:,.0f} samples/s" if kind == "replay" else ""
            cells = f"{row['wall_s']:.2f} | {row['cpu_s']:.2f} | {row['peak_mb']:.0f} | {row.get('requests', 0)}"
            lines.append(f"| {title} | {cells} | {row['lost']:,} | {row['wrong']:,} | {rate} |")
    for race in sizes.races:
        if (verdict_s := rows.median(race.key, AIGATE.key, "verdict_s")) is not None:
            lines.append(f"| last answer to the verdict's first line, {race.key} | {verdict_s:.2f} | | | | | | |")
    return "\n".join(lines) if len(lines) > 3 else ""


def _starts(rows: Rows) -> str:
    walls = next((row["walls_s"] for row in rows.of("starts")), {})
    suite = next((row["walls_s"] for row in rows.of("default-suite")), None)
    told = {c.key: f"{c.title}: `{_shown(c.starts)}`" for c in CONTENDERS if c.starts}
    told[BARE] = "a bare interpreter with argparse"
    lines = ["## Start-up\n", "| command | median ms | runs |", "|---|---|---|"]
    for key, values in walls.items():
        lines.append(f"| {told[key]} | {1000 * statistics.median(values):.0f} | {len(values)} |")
    if suite:
        median_ms = 1000 * statistics.median(suite)
        lines.append(f"| `aigate eval` of this repository's default suite | {median_ms:.0f} | {len(suite)} |")
    return "\n".join(lines) if len(lines) > 3 else ""


def _shown(command: tuple[str, ...]) -> str:
    """A command without the path of its program."""
    program = command[0].replace("\\", "/").rpartition("/")[2]
    return " ".join([program, *command[1:]])


def _contenders(document: dict[str, Any]) -> str:
    lines = ["## Who took part\n", "| runner | versions | settings |", "|---|---|---|"]
    for contender in CONTENDERS:
        if contender.key in document["versions"]:
            found = document["versions"][contender.key]
            lines.append(f"| {contender.title} | {found} | {contender.told} |")
    return "\n".join(lines)


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _number(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
