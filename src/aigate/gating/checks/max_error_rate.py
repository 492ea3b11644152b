"""`max-error-rate`: answers come back."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from aigate.core.counts import count_of
from aigate.core.ledger import Outcome
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Interval, Moved, Reason, Status
from aigate.gating.arrays import arrays_of
from aigate.gating.checks.base import ConfiguredCheck, Evidence, share
from aigate.gating.reasons import reason
from aigate.gating.views import part_of
from aigate.stats.intervals import wilson_interval

__all__ = ["MaxErrorRate"]

LISTED = 50


@dataclass(frozen=True)
class MaxErrorRate(ConfiguredCheck):
    """The share of calls that gave no answer, after retries, is at most a bound.

    What counts: provider errors and infrastructure errors, over all samples and repeats that were asked. A refused,
    truncated or unparseable answer is an answer, a bad one: the scores see it.

    Status: pass when the rate is at most the bound; fail when it is above; inconclusive with fewer than two samples. A
    run that was stopped early is judged by the calls it made: nothing is promised for those it did not make, but it
    fails only when those could not have brought the rate down.

    Attributes:
        at_most: The bound, in [0, 1].
    """

    name: ClassVar[str] = "max-error-rate"
    needs_baseline: ClassVar[bool] = False

    _: KW_ONLY
    at_most: float

    def __post_init__(self) -> None:
        share(self.at_most, "at-most")

    @property
    def cannot_fail(self) -> str:
        """Why nothing can miss the bound; empty for a bound that something can."""
        return "no rate is above 1" if self.at_most >= 1 else ""

    def judge(self, evidence: Evidence) -> CheckOutcome:
        """Hold the error rate against the bound."""
        if (nothing := evidence.no_look(self.name, threshold=self.at_most)) is not None:
            return nothing
        view, level = evidence.views[-1], 1.0 - 2.0 * evidence.settings.alpha
        run = part_of(evidence.candidate, view)
        errors, asked = run.ledger.unanswered, run.ledger.asked
        if len(run.samples) < 2 or asked == 0:
            why = reason("fewer-than-two-samples", f"{count_of(asked, 'call decides', 'calls decide')} nothing")
            return CheckOutcome(self.name, Status.INCONCLUSIVE, why.text, threshold=self.at_most, reasons=(why,))
        rate = errors / asked
        low, high = wilson_interval(errors, asked, level=level)
        status, reasons = self._decided(run, evidence.candidate.ledger.total)
        look, looks = view.place
        return CheckOutcome(
            check=self.name,
            status=status,
            summary=f"{errors} of {count_of(asked, 'call')} gave no answer ({rate:.2%}, at most {self.at_most:.2%})",
            observed=rate,
            interval=Interval(low, high, level, "Wilson"),
            threshold=self.at_most,
            n_samples=len(run.samples),
            n_groups=arrays_of(run).n_units,
            n_repeats=(view.repeats,),
            share_used=run.header.share(len(run.samples)),
            moved=_unanswered(run),
            reasons=reasons,
            look=look,
            looks=looks,
        )

    def _decided(self, run: Run, planned: int) -> tuple[Status, tuple[Reason, ...]]:
        """Calls that a budget stopped may have failed; those an early stop skipped may not have."""
        errors, asked, stopped = run.ledger.unanswered, run.ledger.asked, run.ledger.counts[Outcome.BUDGET]
        if errors + stopped <= self.at_most * (asked + stopped):
            return Status.PASS, ()
        text = f"{errors} of {count_of(asked, 'call')} gave no answer: {errors / asked:.2%}, against {self.at_most:.2%}"
        if errors <= self.at_most * planned:
            hint = "go on with it: --resume --no-early-stop"
            why = f"{text}; what was not asked could bring it to the other side"
            return Status.INCONCLUSIVE, (reason("early-stopped", why, hint),)
        return Status.FAIL, (reason("error-rate", text, "read the errors; run again if it was an outage"),)


def _unanswered(run: Run) -> tuple[Moved, ...]:
    arrays = arrays_of(run)
    failed = arrays.ended_as(lambda outcome: outcome.unanswered) & arrays.has_response
    found = [run.results[row] for row in np.flatnonzero(failed)[:LISTED].tolist()]
    faults = [(result.sample_id, result.response.fault) for result in found if result.response]
    return tuple(Moved(id_, None, None, f"{fault.kind}: {fault.message}") for id_, fault in faults if fault)
