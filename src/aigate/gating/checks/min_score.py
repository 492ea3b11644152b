"""`min-score`: the mean over the whole golden set reaches the threshold. This is what `--threshold 0.85` means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import numpy as np

from aigate.core.columns import SCORED
from aigate.core.counts import count_of
from aigate.core.run import Run
from aigate.core.sample import Sample
from aigate.core.score import ScoreOrNot, Unscored
from aigate.core.verdict import CheckOutcome, Interval, Moved, Reason, Status
from aigate.gating.arrays import Bools, Floats, Ints, arrays_of
from aigate.gating.checks.base import ConfiguredCheck, Evidence, share
from aigate.gating.comparison import Trials, trials_of
from aigate.gating.reasons import reason
from aigate.gating.run_metrics import Rows, rows_of, run_scorer
from aigate.gating.views import View, in_view, part_of
from aigate.stats.arrays import distinct
from aigate.stats.bootstrap import mean_interval
from aigate.stats.threshold import ThresholdLook, threshold_test

__all__ = ["MinScore"]

SLACK = 1e-12  # a mean that equals the threshold up to rounding reaches it
LISTED = 50
RESAMPLES = 400


@dataclass(frozen=True)
class MinScore(ConfiguredCheck):
    """The mean of a metric is at least a threshold.

    What it does: Takes the mean over every sample of the run (repeats averaged within a sample), every missing score
    counted as the worst, also that of a sample which holds nothing to judge by, and holds it against the threshold. It
    decides on this golden set as it is, so the interval beside it is information, not part of the rule.

    Status: pass when the mean reaches the threshold with every missing score at its worst; fail when it does not even
    with every missing score at its best; inconclusive when the missing scores decide, or when there are fewer than two
    samples. A run that was stopped early is decided on the part that was asked, in the order drawn beforehand, by
    betting without replacement: it differs from what the whole suite would say with a chance of at most alpha / 2.
    Error when the metric was never computed or every score is missing.

    Attributes:
        metric: The metric; also one over the whole run, such as `accuracy.f1_macro`.
        at_least: The threshold, in [0, 1], on the metric's own scale turned so that higher is better.
        applicable_only: Leave out samples that hold nothing to judge by (no reference, no contexts) instead of counting
            them as missing.
        lowered_from: The policy's own threshold, where a flag or the environment put a lower one in its place; every
            outcome says so.
    """

    name: ClassVar[str] = "min-score"
    needs_baseline: ClassVar[bool] = False

    metric: str
    _: KW_ONLY
    at_least: float
    applicable_only: bool = False
    lowered_from: float | None = None

    def __post_init__(self) -> None:
        share(self.at_least, "at-least")
        if self.lowered_from is not None:
            share(self.lowered_from, "lowered-from")

    @property
    def cannot_fail(self) -> str:
        """Why nothing can miss the bound; empty for a bound that something can."""
        return "every mean is at least 0" if self.at_least <= 0 else ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric it decides on."""
        return (self.metric,)

    def judge(self, evidence: Evidence) -> CheckOutcome:
        """Hold the mean against the threshold."""
        outcome = self._judged(evidence)
        return replace(outcome, reasons=(*outcome.reasons, *self._lowered()))

    def _lowered(self) -> tuple[Reason, ...]:
        if self.lowered_from is None:
            return ()
        text = f"the threshold {self.at_least:g} took the place of {self.lowered_from:g} by a flag or the environment"
        return (reason("threshold-lowered", text),)

    def _judged(self, evidence: Evidence) -> CheckOutcome:
        run = evidence.candidate
        spec = run.header.metric(self.metric)
        if (stopped := evidence.no_look(self.name, self.metric)) is not None:
            return stopped
        if spec is None:
            return self._over_run(evidence)
        view, arrays = evidence.views[-1], arrays_of(run)
        seen = np.flatnonzero(in_view(run, view))
        judgeable = seen[arrays.applies(self.metric)[seen]]
        rows = judgeable if self.applicable_only else seen
        trials = trials_of(run, spec, rows).part(np.ones(len(rows), dtype=np.bool_), view.repeats)
        if not trials.present.any():
            return self._nothing(
                "metric-missing", f"every score of '{self.metric}' is missing", _first_missing(evidence, self.metric)
            )
        worst, best = (_mean(trials, missing) for missing in (0.0, 1.0))
        early = ""
        if view.whole:
            status, reasons = self._decided(worst, best, len(rows))
        else:
            status, reasons = self._decided_early(evidence, view, rows, trials)
            if status is Status.PASS:
                early = (
                    f", on a part: the whole suite says otherwise with a chance of {evidence.settings.alpha / 2:.1%}"
                )
        reasons += self._outside(len(seen) - len(judgeable), evidence)
        units = arrays.units[rows]
        interval = _interval(trials, units, evidence.settings.alpha, evidence.seed_at(view))
        missing = int((~trials.present).sum())
        look, looks = view.place
        return CheckOutcome(
            check=self.name,
            status=status,
            summary=self._summary(worst, interval, missing, view, early=early),
            metric=self.metric,
            observed=worst,
            interval=interval,
            threshold=self.at_least,
            n_samples=len(rows),
            n_groups=len(distinct(units)),
            n_repeats=(view.repeats,),
            alpha=None if view.whole else evidence.settings.alpha,
            share_used=run.header.share(len(rows)),
            moved=_lowest(evidence, self.metric, rows, trials, self.at_least),
            reasons=reasons,
            details={
                "missing": missing,
                "mean_if_missing_were_best": best,
                "not_applicable": len(seen) - len(judgeable),
            },
            look=look,
            looks=looks,
        )

    def _decided(self, worst: float, best: float, n: int) -> tuple[Status, tuple[Reason, ...]]:
        if n < 2:
            return Status.INCONCLUSIVE, (_too_few(n),)
        if worst + SLACK >= self.at_least:
            return Status.PASS, ()
        if best + SLACK < self.at_least:
            text = f"mean {self.metric} is {worst:.4g}, below the threshold {self.at_least:g}"
            return Status.FAIL, (reason("below-threshold", text, "read the lowest samples"),)
        text = f"missing scores decide: the mean lies between {worst:.4g} and {best:.4g}"
        return Status.INCONCLUSIVE, (reason("undecided-mean", text, "run again so that no score is missing"),)

    def _decided_early(
        self, evidence: Evidence, view: View, rows: Ints, trials: Trials
    ) -> tuple[Status, tuple[Reason, ...]]:
        """The mean of the whole suite, from a part of it in random order: a decision that both bounds agree on."""
        run, alpha = evidence.candidate, evidence.settings.alpha
        undecided = reason(
            "undecided-early",
            f"{view.number} of {view.planned} looks do not decide on which side of {self.at_least:g} the mean lies",
            "go on with the run: --resume --no-early-stop",
        )
        if self.applicable_only:  # how many samples it applies to is known when all of them were asked
            return Status.INCONCLUSIVE, (undecided,)
        low, high = (_threshold_look(run, rows, trials.filled(m), self.at_least, alpha) for m in (0.0, 1.0))
        if evidence.part_may_pass and low.decision == high.decision == "at-least":
            return Status.PASS, ()
        if low.decision == high.decision == "below":
            text = f"mean {self.metric} is below the threshold {self.at_least:g}, whatever the rest brings"
            if not (low.certain and high.certain):
                text = f"mean {self.metric} is below the threshold {self.at_least:g} (chance of error {alpha / 2:.1%})"
            return Status.FAIL, (reason("below-threshold", text, "read the lowest samples"),)
        return Status.INCONCLUSIVE, (undecided,)

    def _outside(self, count: int, evidence: Evidence) -> tuple[Reason, ...]:
        """What became of the samples that hold nothing to judge by."""
        if not count:
            return ()
        left = "are left out" if self.applicable_only else "count as missing"
        text = f"{count} of {len(evidence.candidate)} samples hold nothing {self.metric} could judge: they {left}"
        hint = "" if self.applicable_only else "give them a reference or contexts, or say applicable-only = true"
        return (reason("not-applicable", text, hint),)

    def _summary(self, worst: float, interval: Interval, missing: int, view: View, *, early: str = "") -> str:
        sign = "≥" if worst + SLACK >= self.at_least else "<"
        counted = f", {missing} missing counted as worst" if missing else ""
        bounds = f"{interval.level:.0%} interval {interval.low:.3f} to {interval.high:.3f}"
        what = "" if "." in self.metric else "mean "
        at = "" if view.planned == 1 else f"; {view}"
        return f"{what}{worst:.4g} {sign} {self.at_least:g} ({bounds}{counted}){at}{early}"

    def _over_run(self, evidence: Evidence) -> CheckOutcome:
        """The same for a metric over the whole run."""
        run = evidence.candidate
        if (found := run_scorer(run, self.metric)) is None:
            listed = ", ".join(spec.metric for spec in run.header.metrics)
            return self._nothing("metric-not-computed", f"'{self.metric}' was never computed", f"computed: {listed}")
        scorer, name = found
        view = evidence.views[-1]
        if not view.whole:
            text = f"'{self.metric}' is a number over the whole run, and only a part was asked"
            why = reason("early-stopped", text, "go on with the run: --resume --no-early-stop")
            return CheckOutcome(self.name, Status.INCONCLUSIVE, text, metric=self.metric, reasons=(why,))
        rows = rows_of(part_of(run, view), self.metric.partition(".")[0])
        if any(isinstance(score, Unscored) for _, score in rows):
            why = reason(
                "undecided-mean", f"scores behind '{self.metric}' are missing", "run again so that none is missing"
            )
            return CheckOutcome(self.name, Status.INCONCLUSIVE, why.text, metric=self.metric, reasons=(why,))
        observed = scorer.over_run(rows).get(name)
        if observed is None:
            return self._nothing("undefined-metric", f"'{self.metric}' is undefined on this run", "")
        status, reasons = self._decided(observed, observed, len({sample.id for sample, _ in rows}))
        interval = _resampled(rows, lambda part: scorer.over_run(part).get(name), evidence, observed)
        units = {sample.unit for sample, _ in rows}
        return CheckOutcome(
            check=self.name,
            status=status,
            summary=self._summary(observed, interval, 0, view),
            metric=self.metric,
            observed=observed,
            interval=interval,
            threshold=self.at_least,
            n_samples=len({sample.id for sample, _ in rows}),
            n_groups=len(units),
            n_repeats=(view.repeats,),
            share_used=run.header.share(len({sample.id for sample, _ in rows})),
            reasons=reasons,
        )

    def _nothing(self, code: str, text: str, hint: str) -> CheckOutcome:
        why = reason(code, text, hint)
        return CheckOutcome(self.name, Status.ERROR, text, metric=self.metric, threshold=self.at_least, reasons=(why,))


def _too_few(n: int) -> Reason:
    return reason(
        "fewer-than-two-samples",
        f"{count_of(n, 'sample decides', 'samples decide')} nothing",
        "add samples to the suite",
    )


def _mean(trials: Trials, missing: float) -> float:
    """The mean over samples of the mean over repeats, exactly rounded."""
    per_sample = trials.filled(missing).mean(axis=1)
    return math.fsum(per_sample) / len(per_sample)


def _threshold_look(run: Run, rows: Ints, scores: Floats, threshold: float, alpha: float) -> ThresholdLook:
    """What the units of a look, in the run's order, say of the mean over the whole suite."""
    arrays = arrays_of(run)
    sizes, means, units = np.bincount(arrays.units), scores.mean(axis=1), arrays.units[rows]
    order = np.lexsort((np.arange(len(rows)), arrays.places(run.header.seed)[units]))
    ends = np.flatnonzero(np.diff(units[order], append=-1)) + 1
    seen = np.split(means[order], ends[:-1]) if len(ends) < len(rows) else means[order][:, None]
    return threshold_test(
        [math.fsum(unit) for unit in seen],
        [float(len(unit)) for unit in seen],
        population_units=arrays.n_units,
        population_size=len(run),
        threshold=threshold,
        alpha=alpha,
        largest_unit=float(sizes.max()),
    )


def _interval(trials: Trials, units: Ints, alpha: float, seed: int) -> Interval:
    """The interval of the mean with missing scores at their worst; each end is a one-sided bound at `alpha`."""
    level = 1.0 - 2.0 * alpha
    low, high = mean_interval(trials.filled(0.0).mean(axis=1), units, level=level, seed=seed)
    return Interval(float(low), float(high), level, "Wilson for 0/1 scores of single samples, else Bayesian bootstrap")


def _resampled(rows: Rows, number: Callable[[Rows], float | None], evidence: Evidence, observed: float) -> Interval:
    """Percentile bootstrap over units; a resample on which the number is undefined is left out."""
    rng = np.random.default_rng(evidence.seed_at(evidence.views[-1]))
    by_unit: dict[str, list[tuple[Sample, ScoreOrNot]]] = {}
    for row in rows:
        by_unit.setdefault(row[0].unit, []).append(row)
    parts = list(by_unit.values())
    drawn = (rng.integers(len(parts), size=len(parts)) for _ in range(RESAMPLES))
    numbers = [n for picks in drawn if (n := number([row for pick in picks for row in parts[pick]])) is not None]
    level = 1.0 - 2.0 * evidence.settings.alpha
    low, high = np.quantile(numbers or [observed], [evidence.settings.alpha, 1.0 - evidence.settings.alpha])
    return Interval(float(low), float(high), level, "percentile bootstrap over groups")


def _lowest(evidence: Evidence, metric: str, rows: Ints, trials: Trials, threshold: float) -> tuple[Moved, ...]:
    """The samples below the threshold, lowest first."""
    means, ids = trials.filled(0.0).mean(axis=1), evidence.candidate.columns.samples.ids
    below = np.flatnonzero(means < threshold)
    low = below[np.argsort(means[below], kind="stable")][:LISTED]  # rows are sorted by id
    before = _before(evidence, metric, rows[low])
    complete: Bools = np.logical_and.reduce(trials.present[low], axis=1)
    notes = np.where(complete, "", "missing").tolist()
    return tuple(
        Moved(ids[int(rows[place])], before.get(int(rows[place])), float(means[place]), note)
        for place, note in zip(low, notes, strict=True)
    )


def _before(evidence: Evidence, metric: str, rows: Ints) -> Mapping[int, float]:
    """The baseline's score of some of the candidate's samples, where there is a baseline that may be compared."""
    if evidence.comparison is None or evidence.obstacles or not evidence.comparison.both_scored(metric):
        return {}
    paired = evidence.comparison.paired(metric)
    known = np.flatnonzero(np.isin(paired.rows, rows))
    baseline = Trials(paired.baseline.values[known], paired.baseline.present[known])
    means, present = baseline.filled(None).mean(axis=1), np.logical_or.reduce(baseline.present, axis=1)
    found = zip(paired.rows[known].tolist(), means.tolist(), present.tolist(), strict=True)
    return {row: mean for row, mean, there in found if there}


def _first_missing(evidence: Evidence, metric: str) -> str:
    run = part_of(evidence.candidate, evidence.views[-1])
    missing = np.flatnonzero(arrays_of(run).scores(metric)[1] > SCORED)
    if not len(missing):
        return ""
    result = run.results[int(missing[0])]
    score = result.scores[metric]
    assert isinstance(score, Unscored)  # noqa: S101 - for the type checker: its state says so
    return f"the first: {result.sample_id}: {score.explanation or score.reason}"
