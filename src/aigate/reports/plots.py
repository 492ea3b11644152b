"""Runs, comparisons and verdicts as matplotlib figures, on white, so that they read on a dark page too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aigate.core.registry import refuse_unknown
from aigate.core.run import Run
from aigate.core.score import MetricSpec
from aigate.core.verdict import CheckOutcome, Status, Verdict
from aigate.errors import MissingExtraError, UsageError
from aigate.gating.comparison import Comparison, trials_of
from aigate.gating.tables import Comparisons
from aigate.reports.forest import compares
from aigate.reports.text import excerpt
from aigate.reports.usage import usage_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_comparison", "plot_comparisons", "plot_run", "plot_verdict"]

BASELINE, CANDIDATE = "#6b7684", "#2f5fd0"
WORSE, BETTER, SAME = "#b3261e", "#116b3c", "#6b7684"
TONES = {Status.PASS: BETTER, Status.FAIL: WORSE, Status.INCONCLUSIVE: "#7a5200", Status.ERROR: "#7b2d8e"}
DPI = 100
BINS = 20
LONG_TAIL = 20  # times the median, from which seconds are drawn on a log scale
LONGEST_NAME = 50


def plot_run(run: Run, metric: str | None = None) -> Figure:
    """How many samples have which mean score, and the latency curve where latency was measured."""
    spec = _spec(run, metric)
    trials = trials_of(run, spec, np.arange(len(run)))
    scores = trials.filled(None).mean(axis=1)[trials.present.any(axis=1)]
    figure, (left, right) = _figure(2, height=3.6)
    left.hist(scores if spec.direction == "higher" else 1.0 - scores, bins=BINS, range=(0.0, 1.0), color=CANDIDATE)
    _label(left, spec.metric, "mean score of a sample", "samples")
    _curves(right, [(str(run.version), run, CANDIDATE)])
    return figure


def plot_comparison(comparison: Comparison, metric: str | None = None) -> Figure:
    """Each sample's score in baseline and candidate (higher is better), and both latency curves."""
    spec = _spec(comparison.candidate, metric)
    refuse_unknown([spec.metric], [m.metric for m in comparison.baseline.header.metrics], where="baseline", **_METRICS)
    candidate, baseline, used = comparison.paired(spec.metric).arms("observed")
    figure, (left, right) = _figure(2, height=4.2)
    _scatter(left, baseline.mean(axis=1)[used], candidate.mean(axis=1)[used])
    _label(left, f"{spec.metric}, higher is better", "baseline", "candidate")
    _curves(right, [("baseline", comparison.baseline, BASELINE), ("candidate", comparison.candidate, CANDIDATE)])
    return figure


def plot_comparisons(comparisons: Comparisons, metric: str | None = None) -> Figure:
    """The change of each candidate with its interval, one row per candidate and metric.

    Raises:
        UsageError: No candidate is comparable with the baseline.
    """
    rows = [row for row in comparisons.rows() if row.get("slice") is None and not row.get("not_comparable")]
    if metric is not None:
        refuse_unknown([metric], {row["metric"] for row in rows}, where="plot", **_METRICS)
    rows = [row for row in rows if metric in {None, row["metric"]}]
    if not rows:
        raise UsageError("no candidate is comparable with the baseline", hint="rows() says why")
    drawn = [
        (f"{row['candidate']}  {row['metric']}", row["difference"], row["low"], row["high"], None, _tone(row))
        for row in rows
    ]
    return _forest(drawn, f"points against {comparisons.baseline.version}")


def plot_verdict(verdict: Verdict) -> Figure:
    """The forest plot: each change against the baseline with its interval and margin.

    Raises:
        UsageError: No check compared two runs.
    """
    checks = [check for check in verdict.checks if compares(check) and check.interval is not None]
    if not checks:
        raise UsageError(
            "no check of this verdict has a change with an interval to draw", hint="to_frame() has all checks"
        )
    return _forest([_drawn(check) for check in checks], f"points against {verdict.baseline}")


_METRICS: dict[str, Any] = {"kind": "metrics", "error": UsageError}
Drawn = tuple[str, float, float, float, float | None, str]
"""Name, observed, low, high, bound and colour."""


def _drawn(check: CheckOutcome) -> Drawn:
    assert check.interval is not None  # noqa: S101 - for the type checker: the caller looked
    assert check.observed is not None  # noqa: S101
    ends = check.interval.low, check.interval.high
    return check.label, check.observed, *ends, check.threshold, TONES[check.status]


def _tone(row: dict[str, Any]) -> str:
    return WORSE if row["high"] < 0 else BETTER if row["low"] > 0 else SAME


def _forest(rows: Sequence[Drawn], title: str) -> Figure:
    figure, (axes,) = _figure(1, height=max(3.3, 1.6 + 0.45 * len(rows)))
    for place, (_, observed, low, high, bound, tone) in enumerate(rows):
        axes.plot([100 * low, 100 * high], [place, place], color=tone, linewidth=2, solid_capstyle="butt")
        axes.plot([100 * observed], [place], "o", color=tone, markersize=7)
        if bound is not None:
            axes.plot([100 * bound] * 2, [place - 0.35, place + 0.35], color="black", linewidth=1.5)
    axes.axvline(0.0, color=SAME, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(rows)), [_literal(row[0]) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(_literal(title))
    return figure


def _scatter(axes: Axes, before: Any, now: Any) -> None:
    """One dot per place, as large as there are samples at it."""
    places, counts = np.unique(np.stack([before, now], axis=1).round(6), axis=0, return_counts=True)
    tones = [SAME if x == y else BETTER if y > x else WORSE for x, y in places.tolist()]
    sizes = 1_600 * counts / max(counts.max(initial=1), 1) if len(places) < BINS else 24 + 6 * counts
    axes.plot([0, 1], [0, 1], color="#c5cbd3", linestyle="--", linewidth=1, zorder=0)
    axes.scatter(places[:, 0], places[:, 1], s=np.maximum(sizes, 24), c=tones, alpha=0.45, edgecolors=tones)
    if len(places) < BINS:
        for (x, y), count in zip(places.tolist(), counts.tolist(), strict=True):
            axes.annotate(str(count), (x, y), ha="center", va="center", fontweight="bold")
    room = 0.18 if len(places) < BINS else 0.05
    axes.set(xlim=(-room, 1 + room), ylim=(-room, 1 + room), aspect="equal")


def _curves(axes: Axes, arms: Iterable[tuple[str, Run, str]]) -> None:
    measured = [(name, curve, tone) for name, run, tone in arms if (curve := usage_of(run).latency)]
    _label(axes, "latency", "seconds", "share of answers that took no longer")
    if not measured:
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", color=SAME, transform=axes.transAxes)
        return
    for name, curve, tone in measured:
        seconds, shares = zip(*curve.steps(), strict=True)
        axes.step([seconds[0], *seconds], [0.0, *shares], where="post", color=tone, label=_literal(name), linewidth=2)
    slowest, typical = max(c.values[-1] for _, c, _ in measured), max(c.quantile(0.5).estimate for _, c, _ in measured)
    if slowest > LONG_TAIL * typical > 0:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0.0)
    axes.set_ylim(0.0, 1.02)
    axes.legend(loc="lower right", frameon=False)


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(_literal(title), loc="left", fontsize=11)
    axes.set(xlabel=x, ylabel=y)


def _literal(text: str) -> str:
    """A text of others as matplotlib shows it: nothing in it is taken for mathematics."""
    return excerpt(text, LONGEST_NAME).replace("$", r"\$")


def _spec(run: Run, metric: str | None) -> MetricSpec:
    """The spec of a metric; of the primary one for None.

    Raises:
        UsageError: The run did not compute it.
    """
    name = run.header.primary_metric if metric is None else metric
    refuse_unknown([name], [spec.metric for spec in run.header.metrics], where=str(run.version), **_METRICS)
    return next(spec for spec in run.header.metrics if spec.metric == name)


def _figure(columns: int, *, height: float) -> tuple[Figure, Sequence[Axes]]:
    """A figure that stands in no global list: shown by who gets it, once."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise MissingExtraError("matplotlib", extra="plot", purpose="plot()") from None
    figure, axes = plt.subplots(1, columns, figsize=(9.0, height), dpi=DPI, layout="constrained", squeeze=False)
    figure.patch.set_facecolor("white")
    for each in axes[0]:
        each.set_facecolor("white")
        each.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure, list(axes[0])
