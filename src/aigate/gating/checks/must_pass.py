"""`must-pass`: every sample with a tag reaches the bar, in every repeat. Outside the statistics: one failure blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from aigate.core.counts import are, count_of
from aigate.core.ledger import Outcome
from aigate.core.run import Result, Run
from aigate.core.score import Score, Unscored
from aigate.core.verdict import CheckOutcome, Moved, Reason, Status
from aigate.gating.arrays import arrays_of
from aigate.gating.checks.base import ConfiguredCheck, Evidence, share
from aigate.gating.reasons import reason
from aigate.stats.arrays import distinct

__all__ = ["MustPass"]


@dataclass(frozen=True)
class MustPass(ConfiguredCheck):
    """Every sample that carries a tag scores at least a bar, in every repeat.

    Status: pass when all of them do; fail when one does not; inconclusive when none fails but a score is missing, or
    when the whole run has fewer than two samples; error when no sample carries the tag, when a tagged sample holds
    nothing the metric could judge it by (no reference), or when the metric was never computed.

    Attributes:
        tag: The tag, e.g. `safety`.
        metric: The metric; default: the run's primary metric.
        at_least: The bar, in [0, 1].
    """

    name: ClassVar[str] = "must-pass"
    needs_baseline: ClassVar[bool] = False

    tag: str
    _: KW_ONLY
    metric: str | None = None
    at_least: float = 1.0

    def __post_init__(self) -> None:
        share(self.at_least, "at-least")

    @property
    def cannot_fail(self) -> str:
        """Why nothing can miss the bound; empty for a bound that something can."""
        return "every score is at least 0" if self.at_least <= 0 else ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric it decides on, where it is named."""
        return (self.metric,) if self.metric else ()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tag."""
        return (self.tag,)

    def metrics_for(self, run: Run) -> tuple[str, ...]:
        """The metric it names, or the run's primary one."""
        return (self.metric or run.header.primary_metric,)

    def judge(self, evidence: Evidence) -> CheckOutcome:
        """Look at every tagged sample and repeat."""
        run = evidence.candidate
        arrays, metric = arrays_of(run), self.metric or run.header.primary_metric
        rows = np.flatnonzero(arrays.tagged(self.tag))
        tagged = arrays.ids(rows)
        if not tagged:
            return self._error(metric, "no-such-tag", f"no sample carries the tag '{self.tag}'")
        if run.header.metric(metric) is None:
            return self._error(metric, "metric-not-computed", f"'{metric}' was never computed")
        by_sample = {id_: run.by_sample[id_] for id_ in tagged}
        results = [result for id_ in tagged for result in _asked(by_sample[id_])]
        outside = arrays.ids(rows[~arrays.applies(metric)[rows]])
        if outside:
            return self._error(
                metric, "not-judged", f"{_named(outside)} tagged '{self.tag}' cannot be judged by {metric}"
            )
        failed = [result for result in results if self._missed(evidence, result, metric)]
        missing = [result for result in results if _is_missing(result, metric)]
        never = [id_ for id_ in tagged if len(by_sample[id_]) < run.header.repeats]
        missing += [Result(id_, 0, Outcome.INFRASTRUCTURE_ERROR, None, {}) for id_ in never]
        short = {result.sample_id for result in (*failed, *missing)}
        status, reasons = self._decided(len(tagged), failed, missing, n_samples=len(run.samples), metric=metric)
        return CheckOutcome(
            check=self.name,
            status=status,
            summary=f"{len(tagged) - len(short)} of {len(tagged)} tagged '{self.tag}' pass",
            metric=metric,
            observed=1.0 - len({result.sample_id for result in failed}) / len(tagged),
            threshold=self.at_least,
            n_samples=len(tagged),
            n_groups=len(distinct(arrays.units[rows])),
            n_repeats=(max((len(_asked(by_sample[id_])) for id_ in tagged), default=0),),
            share_used=run.header.share(len(tagged)),
            moved=tuple(_moved(result, metric) for result in (*failed, *missing)),
            reasons=reasons,
            details={"tag": self.tag},
        )

    def _missed(self, evidence: Evidence, result: Result, metric: str) -> bool:
        spec, score = evidence.candidate.header.metric(metric), result.scores.get(metric)
        return isinstance(score, Score) and spec is not None and not spec.better(score.value) >= self.at_least

    def _decided(
        self, tagged: int, failed: list[Result], missing: list[Result], *, n_samples: int, metric: str
    ) -> tuple[Status, tuple[Reason, ...]]:
        if failed:
            ids = ", ".join(sorted({result.sample_id for result in failed}))
            of = f"{len({result.sample_id for result in failed})} of {count_of(tagged, 'sample')}"
            text = f"{of} tagged '{self.tag}' miss {metric} >= {self.at_least:g}: {ids}"
            return Status.FAIL, (
                reason("must-pass", text, "what must pass is not up for averaging: fix it or take the tag off"),
            )
        if missing:
            text = f"{count_of(len(missing), 'score')} of samples tagged '{self.tag}' {are(len(missing))} missing"
            return Status.INCONCLUSIVE, (reason("missing-decides", text, "run again so that no score is missing"),)
        if n_samples < 2:
            return Status.INCONCLUSIVE, (reason("fewer-than-two-samples", "the run holds a single sample"),)
        return Status.PASS, ()

    def _error(self, metric: str, code: str, text: str) -> CheckOutcome:
        return CheckOutcome(self.name, Status.ERROR, text, metric=metric, reasons=(reason(code, text),))


def _asked(results: Sequence[Result]) -> Sequence[Result]:
    """The answers of a sample without those that an early stop skipped; all of them where nothing else is there."""
    asked = [result for result in results if result.outcome is not Outcome.EARLY_STOP]
    return asked or results


def _named(ids: list[str]) -> str:
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(ids[:5]) + more


def _is_missing(result: Result, metric: str) -> bool:
    score = result.scores.get(metric)
    return score is None or (isinstance(score, Unscored) and score.applicable)


def _moved(result: Result, metric: str) -> Moved:
    score = result.scores.get(metric)
    note = f"repeat {result.repeat}" if isinstance(score, Score) else "missing"
    return Moved(result.sample_id, None, score.value if isinstance(score, Score) else None, note)
