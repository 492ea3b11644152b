"""The result as JSON and as a page: every figure with its target, missed ones first."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from rates.data import KINDS
from rates.gated import OPINIONS
from rates.plan import Configuration, figure, is_rate, meets, slack, standard_error
from rates.rivals import RIVALS
from rates.rules import ALPHA, BLOCK_DRAWS, MARGIN, PASS_DRAWS

WORDS = {
    "block": "blocked",
    "pass": "passed",
    "undecided": "inconclusive",
    "saved": "calls saved",
    "used": "share used",
    "calls": "calls per sample",
    "alarm": "alarm",
    "median": "median wait",
    "wrong": "unlike the full run",
    "default": "default passes",
    "strict": "strict passes",
    "sd": "sd over baselines",
    "max": "largest",
    "p90": "90th percentile",
}
MOST_ON_AVERAGE = 0.04  # false blocks, over all configurations of equal versions
POINTS = ("mean", "p90", "sd", "max")
MISSING = "not installed"

SECTIONS = {
    "equal": "Equal versions: false blocks",
    "bare": "Equal versions: the relabelling test alone",
    "families": "Equal versions: groups x metrics x slices x looks, family-wise",
    "equal, real pairs": "Equal versions made of real pairs (arms swapped by a coin)",
    "false passes": "A drop of exactly the margin: false passes",
    "clusters, pass": "A drop of exactly the margin in groups, and none",
    "power, 0/1 corr .6": "What is found: 0/1 scores, correlation .6",
    "power, claims share": "What is found: shares of supported claims",
    "repeats": "Repeats: K_b stored baseline answers, K_c candidate answers",
    "escalation": "Escalation: one candidate answer, three where that does not decide (K_b = 5)",
    "one stored baseline": "One stored baseline, many equal candidates: false blocks given the baseline",
    "ratchet": "Slow ratcheting: 1 point lost with every release, n = 200",
    "real bump": "A real provider bump, in random orders",
    "threshold 0.85": "Early stop of a threshold on a fixed set",
    "canary": "Canary streams, alpha .01",
    "rules": "Other rules and other tools on the same data",
}


def rows_of(configurations: list[Configuration], results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per figure, JSON."""
    return [row for c in configurations for row in _rows(c, results[c.key])]


def _rows(c: Configuration, result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    counts = result["counts"]
    same = {"section": c.section, "name": c.name, "runs": c.runs}
    wanted = {target.measure for target in c.targets}
    for target in c.targets:
        yield {
            **same,
            "measure": target.measure,
            "value": figure(target.measure, counts, c.runs),
            "error": standard_error(target.measure, counts, c.runs),
            "target": target.limit,
            "at_most": target.at_most,
            "noise": slack(target, counts, c.runs),
            "status": meets(target, counts, c.runs),
        }
    for measure in c.shown:
        if measure not in wanted:
            value, error = figure(measure, counts, c.runs), standard_error(measure, counts, c.runs)
            yield {**same, "measure": measure, "value": value, "error": error, "status": None}


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    packages = {name: version(name) for name in ("aigate", "numpy", "scipy")}
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": packages,
        "rivals": {rival.package: rival.installed or MISSING for rival in RIVALS.values()},
    }


def missed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows whose target is missed beyond noise."""
    return [row for row in rows if row["status"] == "missed"]


def nothing_missed(document: dict[str, Any]) -> bool:
    """Whether every target is met up to noise: rates, their mean, agreement with the gate, time and memory."""
    rates = equal_rates(document["rows"])
    return (
        not missed(document["rows"])
        and (not rates or sum(rates) / len(rates) <= MOST_ON_AVERAGE)
        and document["agreement"]["disagree"] == 0
        and all(affordable(row) for row in document["costs"])
    )


def equal_rates(rows: list[dict[str, Any]]) -> list[float]:
    """The false-block rates of all configurations of equal versions."""
    return [row["value"] for row in rows if row["section"] == "equal"]


def affordable(row: dict[str, Any]) -> bool:
    """Whether a whole gate took no more time and memory than it may."""
    return row["seconds"] <= row["most_s"] and (row["most_mib"] is None or row["mebibytes"] <= row["most_mib"])


def markdown(document: dict[str, Any]) -> str:
    """The page."""
    rows = document["rows"]
    parts = [_head(document), _summary(rows), _equal_mean(rows)]
    for section, title in SECTIONS.items():
        own = [row for row in rows if row["section"] == section]
        if own:
            parts.append(f"## {title}\n\n" + TABLES.get(section, _table)(own))
        if own and section == "rules":
            parts.append(_called(document["machine"]["rivals"]))
    parts.append(_gate(document))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(document: dict[str, Any]) -> str:
    where = document["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
    kinds = "; ".join(kind.label for kind in KINDS.values())
    return f"""# Error rates of the gate

Written by `python benchmarks/gate_rates.py --{document["mode"]}`; {document["date"]}; Python {where["python"]},
{packages}; {where["system"]}, {where["cores"]} cores; {document["minutes"]:.1f} minutes on
{document["processes"]} processes.

- alpha {ALPHA:g} on both sides, margin {100 * MARGIN:g} points. Every figure comes from the product's own functions.
- The seed of each configuration is the SHA-256 of its name and options; relabellings are drawn afresh in every run.
- {BLOCK_DRAWS:,} relabellings and {PASS_DRAWS:,} draws of the Bayesian bootstrap per simulated test (the gate draws
  9,999 and 20,000). The relabelling test is as exact with fewer draws, only a little less powerful.
- Kinds of data: {kinds}.
  The stand-ins have the spread, the correlation and the share of differences of data sets that cannot
  be shipped here; rows on real pairs are there when the recordings lay beside the repository.
- A false-block row computes the pass side only where the block side fires: a pass has precedence there, and nowhere
  else does it touch the figure.
- Targets stand in brackets. `~` marks a figure that lies beyond its target by no more than 3 standard errors of the
  simulation (1.96 for the test alone), **MISSED** one that lies further. `±` is one standard error.
- False blocks are averages over baseline draws. What one stored draw does to them is in a section of its own."""


def _summary(rows: list[dict[str, Any]]) -> str:
    judged = [row for row in rows if row["status"]]
    counts = {status: sum(row["status"] == status for row in judged) for status in ("met", "within noise", "missed")}
    text = (
        f"## Summary\n\n{len(judged)} targets: {counts['met']} met, {counts['within noise']} within noise,"
        f" {counts['missed']} missed."
    )
    if bad := missed(rows):
        text += "\n\n" + _table(bad)
    return text


def _equal_mean(rows: list[dict[str, Any]]) -> str:
    rates = equal_rates(rows)
    if not rates:
        return ""
    mean = sum(rates) / len(rates)
    status = "met" if mean <= MOST_ON_AVERAGE else "MISSED"
    return (
        f"False blocks over the {len(rates)} configurations of equal versions: {_percent(min(rates))} to"
        f" {_percent(max(rates))}, mean {_percent(mean)} (target: mean at most {100 * MOST_ON_AVERAGE:g} %: {status})."
    )


def _table(rows: list[dict[str, Any]]) -> str:
    """One line per case, one column per figure, targets in brackets."""
    measures = sorted(dict.fromkeys(row["measure"] for row in rows), key=_place)
    names = list(dict.fromkeys((row["section"], row["name"]) for row in rows))
    cells = {(row["section"], row["name"], row["measure"]): row for row in rows}
    lines = [
        "| case | runs | " + " | ".join(WORDS.get(measure, measure) for measure in measures) + " |",
        "|---" * (2 + len(measures)) + "|",
    ]
    for section, name in names:
        own = [cells.get((section, name, measure)) for measure in measures]
        runs = next(row["runs"] for row in own if row)
        lines.append(f"| {name} | {runs:,} | " + " | ".join(_cell(row) if row else "" for row in own) + " |")
    return "\n".join(lines)


def _place(measure: str) -> int:
    words = list(WORDS)
    return words.index(measure) if measure in words else len(words)


def _sizes(rows: list[dict[str, Any]]) -> str:
    """One line per kind of data and mode, one column per size; all of one figure with one target per kind."""
    found: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for row in rows:
        kind, size = row["name"].split("; ")
        n, mode = size.removeprefix("n=").split(", ")
        found.setdefault((kind, mode), {})[int(n)] = row
    sizes = sorted({n for cells in found.values() for n in cells})
    lines = [
        f"{_runs_of(rows)} runs each; target in the last column.",
        "",
        "| data | mode | " + " | ".join(f"n={n}" for n in sizes) + " | target |",
        "|---" * (3 + len(sizes)) + "|",
    ]
    for (kind, mode), cells in found.items():
        values = " | ".join(_marked(cells[n], _percent(cells[n]["value"])) if n in cells else "" for n in sizes)
        lines.append(f"| {kind} | {mode} | {values} | {_target(next(iter(cells.values())))} |")
    return "\n".join(lines)


def _runs_of(rows: list[dict[str, Any]]) -> str:
    runs = sorted({row["runs"] for row in rows})
    return f"{runs[0]:,}" if len(runs) == 1 else f"{runs[0]:,} to {runs[-1]:,}"


def _cell(row: dict[str, Any]) -> str:
    text = _shown(row["measure"], row["value"])
    if row["error"]:
        text += f" ± {_shown_error(row)}"
    return _marked(row, f"{text} ({_target(row)})" if row["status"] else text)


def _marked(row: dict[str, Any], text: str) -> str:
    return {"missed": f"**{text} MISSED**", "within noise": f"{text} ~"}.get(row["status"], text)


def _shown(measure: str, value: float) -> str:
    if is_rate(measure) or measure in ("saved", "used"):
        return _percent(value)
    return f"{100 * value:.1f} points" if measure in POINTS else f"{value:.2f}" if measure == "calls" else f"{value:g}"


def _shown_error(row: dict[str, Any]) -> str:
    return f"{row['error']:.2f}" if row["measure"] == "calls" else f"{100 * row['error']:.1f}"


def _target(row: dict[str, Any]) -> str:
    if row["status"] is None:
        return ""
    sign = "≤" if row["at_most"] else "≥"
    return f"{sign} {_shown(row['measure'], row['target'])}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %" if value < 0.1 else f"{100 * value:.1f} %"


def _rules(rows: list[dict[str, Any]]) -> str:
    """One line per rule and data: false block when equal, wrong pass at the margin, block at twice the margin."""
    found: dict[tuple[str, str, str], dict[tuple[str, str], dict[str, Any]]] = {}
    for row in rows:
        rule, kind, n, drop = row["name"].split("; ")
        found.setdefault((kind, n, rule), {})[drop.removeprefix("drop "), row["measure"]] = row
    lines = [
        "Cells: blocks an equal version, passes a drop of 5 points, blocks a drop of 10 points.",
        "",
        "| data | n | rule | blocks at 0 | passes at -5 | blocks at -10 | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for (kind, n, rule), cells in found.items():
        wanted = [("0", "block"), ("5", "pass"), ("10", "block")]
        values = " | ".join(_percent(cells[key]["value"]) if key in cells else "" for key in wanted)
        runs = next(iter(cells.values()))["runs"]
        lines.append(f"| {kind} | {n.removeprefix('n=')} | {rule} | {values} | {runs:,} |")
    return "\n".join(lines)


def _called(versions: dict[str, str]) -> str:
    lines = ["The other tools, called through their own API with their own defaults and our margin and alpha:", ""]
    for rival in RIVALS.values():
        number = versions[rival.package]
        state = f"{rival.package}: {MISSING}, no rows" if number == MISSING else f"{rival.package} {number}"
        only = "; passed or failed scores only" if rival.binary_only else ""
        lines.append(f"- `{rival.key}`: {state}; {rival.how}{only}")
    lines.append(
        "- MLflow's `compare_evaluations` (3.18) is left out: it takes two runs that `mlflow.genai.evaluate` has"
        " logged, a trace for each row, which thousands of simulated runs are too many for, and it asks for an"
        " improvement, without a margin."
    )
    return "\n".join(lines)


def _gate(document: dict[str, Any]) -> str:
    agreement, costs = document["agreement"], document["costs"]
    text = (
        "## The whole gate on runs in memory\n\n"
        f"{agreement['cases']} simulated cases through `gate()`: {agreement['pass']} passed, {agreement['block']}"
        f" blocked, {agreement['undecided']} inconclusive. {agreement['disagree']} disagree with the array rule; on"
        f" {agreement['close']} close calls the array rule does not agree with itself over {OPINIONS} seeds."
    )
    return f"{text}\n\n{cost_table(costs)}" if costs else text


def cost_table(costs: list[dict[str, Any]]) -> str:
    """Seconds and memory of whole gates, each with its target."""
    lines = [
        "| gate() | seconds | target | MiB at its peak, runs included | target | |",
        "|---|---|---|---|---|---|",
    ]
    for row in costs:
        memory = "" if row["most_mib"] is None else f"≤ {row['most_mib']}"
        status = "met" if affordable(row) else "**MISSED**"
        lines.append(
            f"| {row['name']} | {row['seconds']:.2f} | ≤ {row['most_s']} | {row['mebibytes']:.0f}"
            f" (before gate(): {row['before']:.0f}) | {memory} | {status} |"
        )
    return "\n".join(lines)


TABLES = {"equal": _sizes, "false passes": _sizes, "equal, real pairs": _sizes, "rules": _rules}
