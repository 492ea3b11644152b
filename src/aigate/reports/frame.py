"""Runs, comparisons and verdicts as pandas DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aigate.core.run import Result, Run
from aigate.core.score import Score
from aigate.core.verdict import CheckOutcome, Verdict
from aigate.errors import MissingExtraError
from aigate.gating.comparison import Comparison

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["comparison_frame", "run_frame", "verdict_frame"]

NUMBERS = ("latency_s", "ttft_s", "input_tokens", "output_tokens", "cost_usd")
MEASURED = (*NUMBERS, "finish_reason", "served_model")


def run_frame(run: Run) -> pd.DataFrame:
    """One row per sample and repeat.

    Columns: id, repeat, outcome, input (as text), output, fault, the times, tokens and cost that the provider told,
    tags, group, and per metric `score_METRIC`. What is missing is missing in pandas too (NaN or None), never 0.
    """
    metrics = [spec.metric for spec in run.header.metrics]
    columns = ["id", "repeat", "outcome", "input", "output", "fault", *MEASURED, "tags", "group"]
    rows = (_result_row(run, result, metrics) for result in run.results)
    scores = [f"score_{metric}" for metric in metrics]
    return _frame(rows, [*columns, *scores], numbers=[*NUMBERS, *scores])


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """One row per metric and sample that both runs scored, worst change first.

    Columns: metric, id, unit (the statistical unit), tags, baseline, candidate and difference. Scores are means over
    repeats, turned so that higher is better.
    """
    return _frame(
        sorted(_paired_rows(comparison), key=lambda row: (row["metric"], row["difference"], row["id"])),
        ["metric", "id", "unit", "tags", "baseline", "candidate", "difference"],
        numbers=["baseline", "candidate", "difference"],
    )


def verdict_frame(verdict: Verdict) -> pd.DataFrame:
    """One row per check, in the verdict's order.

    Columns: check, metric, against, status, observed, low, high, level, threshold, n_samples, n_groups, alpha,
    smallest_detectable_drop, share_used, integrity, summary and reasons (their codes).
    """
    names = ("check", "metric", "against", "status", "observed", "low", "high", "level", "threshold", "n_samples")
    more = ("n_groups", "alpha", "smallest_detectable_drop", "share_used", "integrity", "summary", "reasons")
    numbers = ["observed", "low", "high", "level", "threshold", "alpha", "smallest_detectable_drop", "share_used"]
    return _frame((_check_row(check) for check in verdict.checks), [*names, *more], numbers=numbers)


def _result_row(run: Run, result: Result, metrics: Iterable[str]) -> dict[str, Any]:
    sample, response = run.samples[result.sample_id], result.response
    fault = None if response is None or response.fault is None else f"{response.fault.kind}: {response.fault.message}"
    scores = {name: result.scores.get(name) for name in metrics}
    return {
        "id": sample.id,
        "repeat": result.repeat,
        "outcome": str(result.outcome),
        "input": sample.text,
        "output": None if response is None else response.output,
        "fault": fault,
        **{name: getattr(response, name, None) for name in MEASURED},
        "tags": list(sample.tags),
        "group": sample.group,
        **{f"score_{name}": score.value if isinstance(score, Score) else None for name, score in scores.items()},
    }


def _paired_rows(comparison: Comparison) -> Iterable[dict[str, Any]]:
    ours, theirs = (run.header.metrics for run in (comparison.candidate, comparison.baseline))
    for metric in (spec.metric for spec in ours if spec.metric in {other.metric for other in theirs}):
        paired = comparison.paired(metric)
        candidate, baseline, used = paired.arms("observed")
        now, before = candidate.mean(axis=1), baseline.mean(axis=1)
        samples = comparison.candidate.columns.samples
        for row in np.flatnonzero(used).tolist():
            sample = int(paired.rows[row])
            yield {
                "metric": metric,
                "id": samples.ids[sample],
                "unit": samples.unit(sample),
                "tags": list(samples.tags[sample] or ()),
                "baseline": float(before[row]),
                "candidate": float(now[row]),
                "difference": float(now[row] - before[row]),
            }


def _check_row(check: CheckOutcome) -> dict[str, Any]:
    whole = check.to_dict()
    interval: Mapping[str, Any] = whole["interval"] or {}
    return {**whole, **{name: interval.get(name) for name in ("low", "high", "level")}, "reasons": _codes(check)}


def _codes(check: CheckOutcome) -> list[str]:
    return [reason.code for reason in check.reasons]


def _frame(rows: Iterable[Mapping[str, Any]], columns: list[str], *, numbers: list[str]) -> pd.DataFrame:
    """The rows; columns of numbers are float64 even where every value is missing."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("pandas", extra="pandas", purpose="to_frame()") from None
    frame = pd.DataFrame([{name: row[name] for name in columns} for row in rows], columns=columns)
    return frame.astype(dict.fromkeys(numbers, "float64"))
