"""`compare`: several runs against the first, as tables. Shows differences with their intervals; decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aigate.core.display import Displayed
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Status, Verdict
from aigate.errors import MissingExtraError, UsageError
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.comparison import Comparison
from aigate.gating.decision import judged
from aigate.gating.policy import Policy
from aigate.gating.views import whole_view

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparisons", "compare"]


@dataclass(frozen=True)
class Comparisons(Displayed):
    """Runs held against the first one, metric by metric and slice by slice. A sequence of `Comparison`.

    Attributes:
        baseline: The first run.
        candidates: The others, in order; at least one.
        metrics: What is compared; empty: every metric that a candidate shares with the baseline.
    """

    baseline: Run
    candidates: tuple[Run, ...]
    metrics: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.candidates)

    def __getitem__(self, index: int) -> Comparison:
        return Comparison(self.candidates[index], self.baseline)

    def __iter__(self) -> Iterator[Comparison]:
        return (self[index] for index in range(len(self)))

    @cached_property
    def findings(self) -> tuple[Verdict, ...]:
        """Per candidate, every metric looked at as `no-regression` would; not a verdict on anything."""
        pairs = ((run, self._policy(run)) for run in self.candidates)  # every answer there is, in one look
        return tuple(judged(run, policy, (whole_view(run),), baseline=self.baseline) for run, policy in pairs)

    def rows(self) -> list[dict[str, Any]]:
        """One row per candidate, metric and slice (`slice` is None for all samples).

        Fields: candidate, baseline, metric, slice, n, baseline_mean, candidate_mean, difference, and for all samples
        low, high and level of the interval and the smallest detectable drop. Runs that are not comparable give one row
        with the reason in `not_comparable`.
        """
        pairs = zip(self.candidates, self.findings, strict=True)
        return [row for run, found in pairs for row in self._rows_of(run, found)]

    def to_frame(self) -> pd.DataFrame:
        """`rows` as a pandas DataFrame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("pandas", extra="pandas", purpose="to_frame()") from None
        return pd.DataFrame(self.rows())

    def worst(self, n: int = 10) -> list[dict[str, Any]]:
        """The samples that fell furthest: candidate, metric, id, input, and both runs' score and output."""
        fallen = [
            (moved.candidate - moved.baseline, run, check, moved)
            for run, found in zip(self.candidates, self.findings, strict=True)
            for check in found.checks
            for moved in check.moved
            if moved.baseline is not None and moved.candidate is not None and moved.candidate < moved.baseline
        ]
        fallen.sort(key=lambda item: (item[0], str(item[1].version), item[3].sample_id))
        return [
            {
                "candidate": str(run.version),
                "metric": check.metric,
                "id": moved.sample_id,
                "input": run.samples[moved.sample_id].text,
                "baseline_score": moved.baseline,
                "candidate_score": moved.candidate,
                "baseline_output": _output(self.baseline, moved.sample_id),
                "candidate_output": _output(run, moved.sample_id),
            }
            for _, run, check, moved in fallen[:n]
        ]

    def __str__(self) -> str:
        lines = [f"against {self.baseline.version}:"]
        for row in self.rows():
            if row.get("not_comparable"):
                lines.append(f"  {row['candidate']}: not comparable: {row['not_comparable']}")
            elif row["slice"] is None:
                change = (
                    f"{row['baseline_mean']:.3f} → {row['candidate_mean']:.3f} ({row['difference'] * 100:+.1f} points"
                )
                bounds = f"{row['level']:.0%} interval {row['low'] * 100:+.1f} to {row['high'] * 100:+.1f})"
                lines.append(f"  {row['candidate']}  {row['metric']}  {change}, {bounds}")
        return "\n".join(lines)

    def _policy(self, run: Run) -> Policy:
        pair = Comparison(run, self.baseline)
        shared = [s.metric for s in run.header.metrics if pair.both_scored(s.metric) or pair.holds_answers_for(s)]
        names = self.metrics or tuple(shared) or (run.header.primary_metric,)
        return Policy(tuple(NoRegression(name) for name in names))

    def _rows_of(self, run: Run, found: Verdict) -> Iterator[dict[str, Any]]:
        names = {"candidate": str(run.version), "baseline": str(self.baseline.version)}
        obstacles = next(
            (c.summary for c in found.checks if c.check == "comparable" and c.status is Status.ERROR), None
        )
        if obstacles is not None:
            yield {**names, "metric": None, "slice": None, "not_comparable": obstacles}
            return
        for check in found.checks:
            if check.check == NoRegression.name and check.interval is not None:
                yield {**names, **_whole(check)}
                yield from ({**names, "metric": check.metric, **_slice(row)} for row in check.details["slices"])


def compare(baseline: Run, *candidates: Run, metrics: Sequence[str] = ()) -> Comparisons:
    """Hold runs against the first one.

    Args:
        baseline: What the others are held against.
        candidates: One run or more.
        metrics: Only these; default: every metric that both runs of a pair computed.

    Raises:
        UsageError: No candidate.
    """
    if not candidates:
        raise UsageError("one run alone cannot be compared", hint="compare(baseline, candidate)")
    return Comparisons(baseline, candidates, tuple(metrics))


def _whole(check: CheckOutcome) -> dict[str, Any]:
    assert check.interval is not None  # noqa: S101 - for the type checker: the caller looked
    return {
        "metric": check.metric,
        "slice": None,
        "n": check.n_samples,
        "baseline_mean": check.details["baseline_mean"],
        "candidate_mean": check.details["candidate_mean"],
        "difference": check.observed,
        "low": check.interval.low,
        "high": check.interval.high,
        "level": check.interval.level,
        "smallest_detectable_drop": check.smallest_detectable_drop,
    }


def _slice(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("n", "baseline_mean", "candidate_mean", "difference", "p", "q")
    return {"slice": row["tag"], **{key: row[key] for key in kept}}


def _output(run: Run, sample_id: str) -> str | None:
    response = run.by_sample[sample_id][0].response
    return None if response is None else response.output
