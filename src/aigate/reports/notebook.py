"""Runs, comparisons and verdicts as small HTML tables for a notebook cell, light or dark.

Everything that others wrote is made visible and escaped; there is no script, and no colour but that of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from aigate.core.counts import count_of
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Interval, Status, Verdict
from aigate.gating.comparison import Comparison
from aigate.gating.run_metrics import metric_table
from aigate.gating.tables import Comparisons
from aigate.reports.forest import compares
from aigate.reports.text import excerpt
from aigate.reports.usage import Usage, usage_of

__all__ = ["comparison_html", "comparisons_html", "run_html", "verdict_html"]

MARKS = {Status.PASS: "✓", Status.FAIL: "✗", Status.INCONCLUSIVE: "?", Status.ERROR: "!"}
LONGEST = 300  # characters of one cell
TABLE = "border-collapse: collapse; color: inherit; font-size: inherit"  # a page without doctype inherits neither
CELL = "padding: 2px 14px 2px 0; text-align: left; vertical-align: top"


def verdict_html(verdict: Verdict) -> str:
    """The verdict, why, and one row per check."""
    against = f" against {_text(verdict.baseline)}" if verdict.baseline else ""
    head = f"<b>{MARKS[verdict.status]} {str(verdict.status).upper()}</b>&ensp;{_text(verdict.candidate)}{against}"
    sound = [check.label for check in verdict.checks if check.integrity and check.status is Status.PASS]
    rows = [_check(check) for check in verdict.checks if check.label not in sound]
    table = _table(("", "check", "observed", "interval", "bound", "n", "what it found"), rows)
    return _whole(head, table, f"sound: {_text(', '.join(sound))}" if sound else "")


def run_html(run: Run) -> str:
    """What was run, its metrics, and what the answers took."""
    header = run.header
    asked = count_of(len(run.samples), "sample") + (f" × {header.repeats}" if header.repeats > 1 else "")
    head = f"<b>{_text(str(run.version))}</b>&ensp;{_text(header.suite_name)}, {asked}"
    rows = [
        (_text(name), _number(numbers.get("mean", numbers.get("value"))), str(numbers.get("missing") or ""))
        for name, numbers in metric_table(run).items()
        if "[" not in name
    ]
    return _whole(head, _table(("metric", "mean", "missing"), rows), f"{run.ledger}{_took(usage_of(run))}")


def comparison_html(comparison: Comparison) -> str:
    """The differences of one candidate, metric by metric."""
    return comparisons_html(Comparisons(comparison.baseline, (comparison.candidate,)))


def comparisons_html(comparisons: Comparisons) -> str:
    """The differences of every candidate, metric by metric; slices are left to `to_frame`."""
    rows = [_difference(row) for row in comparisons.rows() if row.get("slice") is None]
    columns = ("candidate", "metric", "n", "baseline", "candidate", "points", "interval", "sees")
    return _whole(f"against <b>{_text(str(comparisons.baseline.version))}</b>", _table(columns, rows))


def _check(check: CheckOutcome) -> Sequence[str]:
    scale = 100 if compares(check) else 1
    return (
        MARKS[check.status],
        _text(check.label),
        _scaled(check.observed, scale),
        _interval(check.interval, scale),
        _scaled(check.threshold, scale),
        str(check.n_samples or ""),
        _text(check.summary),
    )


def _difference(row: dict[str, Any]) -> Sequence[str]:
    if row.get("not_comparable"):
        return (_text(row["candidate"]), "", "", "", "", "", "", f"not comparable: {_text(row['not_comparable'])}")
    interval = Interval(row["low"], row["high"], row["level"], "")
    drop = row["smallest_detectable_drop"]
    return (
        _text(row["candidate"]),
        _text(row["metric"]),
        str(row["n"]),
        _number(row["baseline_mean"]),
        _number(row["candidate_mean"]),
        _scaled(row["difference"], 100),
        _interval(interval, 100),
        "" if drop is None else f"{drop * 100:.3g} points",
    )


def _took(usage: Usage) -> str:
    latency = f" · median {usage.latency.quantile(0.5).estimate:.3g} s" if usage.latency else ""
    cost = f" · ${usage.cost_usd.total:.4g}" if usage.cost_usd.known else ""
    return f"{latency}{cost}{' at least' if cost and usage.cost_usd.unknown else ''}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _scaled(value: float | None, scale: int) -> str:
    if value is None:
        return ""
    return f"{value * scale:+.1f}" if scale == 100 else f"{value:.4g}"


def _interval(interval: Interval | None, scale: int) -> str:
    if interval is None:
        return ""
    low, high = (_scaled(end, scale) for end in (interval.low, interval.high))
    return f"{low} to {high}&ensp;<small>{interval.level:.0%}</small>"


def _text(text: str) -> str:
    """A text on one line, made visible and escaped."""
    return escape(" ".join(excerpt(text, LONGEST).split()))


def _whole(head: str, table: str, foot: str = "") -> str:
    told = f"<div><small>{foot}</small></div>" if foot else ""
    return f'<div style="overflow-x: auto"><div>{head}</div>{table}{told}</div>'


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col" style="{CELL}">{column}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f'<table style="{TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(cell: str) -> str:
    return f'<td style="{CELL}">{cell}</td>'
