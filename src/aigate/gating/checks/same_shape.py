"""`same-shape`: the outputs look as those of the baseline did: JSON keys, code fences, labels, length, refusals.

A provider "upgrade" that wraps code in fences breaks every parser behind it and no unit test sees it. This check
compares the distribution of output shapes sample by sample and names what changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from aigate.core.counts import count_of
from aigate.core.registry import nearest
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Moved, Reason, Status
from aigate.errors import ConfigError
from aigate.gating.arrays import Bools, Ints, arrays_of
from aigate.gating.checks.base import ConfiguredCheck, Evidence, share
from aigate.gating.comparison import Comparison
from aigate.gating.reasons import reason
from aigate.gating.shapes import PairedShapes, described, paired_shapes, shape_shifts
from aigate.gating.views import View, asked_repeats, part_of, whole_view
from aigate.stats.arrays import distinct
from aigate.stats.duplicates import DuplicateShift, duplicate_shift_test

__all__ = ["SameShape"]

NAMES: Mapping[str, str] = {
    "unanswered": "no answer",
    "empty": "empty outputs",
    "refusal": "refusals",
    "truncated": "truncation",
    "json": "JSON",
    "json_keys": "JSON keys and types",
    "fence": "code fence",
    "abstains": "abstentions",
    "duplicate": "duplicated outputs",
    "final_mark": "final answer mark",
    "leading": "first line",
    "markdown": "markdown",
    "length": "length class",
    "lines": "number of lines",
}
"""What each feature is called, the most telling first: that is the order in which changes are named."""

RARE = 0.02  # values rarer than this in both runs are counted together as "other"
LARGEST_BLIND_SPOT = 1 / 3  # a suite that cannot see a third of its units change cannot pass this check
LISTED = 50
DUPLICATES_SHARE = 0.2  # of the error rate goes to the test of duplicated outputs, the rest to all other shapes
SHORT = 15  # characters; answers this short repeat by nature


@dataclass(frozen=True)
class SameShape(ConfiguredCheck):
    """The shapes of the outputs did not change against the baseline.

    What it does: Describes every output by features (whole output parses as JSON, key set and types, code fence, label
    on the first line, markdown, length class, lines, final answer mark, empty, refusal, abstention, truncation, same
    output as another sample) and compares how often each value occurs, sample by sample, by one family-wise two-sided
    relabelling test over all values of all features (maxT). Duplicated outputs are no property of one sample: their
    share is computed anew for every relabelling, and has a fifth of the error rate to itself.

    Status: fail when some value's share changed significantly and by at least half of `at-most`; pass when no value's
    share changed by more than `at-most` and the suite is large enough to have seen a third of its units change (24 of
    them at the default alpha; a unit is a sample, or a group);
    inconclusive otherwise; error without a baseline to compare with.

    Attributes:
        at_most: Tolerated change of any shape's share, in [0, 1].
        alpha: Error rate of the family, two-sided: the chance of blocking when shapes did not change.
        ignore: Features that may change.
    """

    name: ClassVar[str] = "same-shape"
    needs_baseline: ClassVar[bool] = True

    _: KW_ONLY
    at_most: float = 0.10
    alpha: float = 0.01
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        share(self.at_most, "at-most")
        if not 0.0 < self.alpha <= 0.5:
            raise ConfigError(f"'alpha' is {self.alpha!r}: expected a number above 0, at most 0.5")
        for feature in self.ignore:
            if feature not in NAMES:
                hint = nearest(feature, NAMES, kind="features")
                raise ConfigError(f"'ignore' names '{feature}', which is no feature of a shape", hint=hint)
        if set(self.ignore) >= set(NAMES):
            raise ConfigError("'ignore' names every feature: nothing is left to compare", hint="leave the check out")

    @property
    def cannot_fail(self) -> str:
        """Why nothing can miss the bound; empty for a bound that something can."""
        return "every shape may change" if self.at_most >= 1 else ""

    def judge(self, evidence: Evidence) -> CheckOutcome:
        """Compare the shapes of both runs' outputs."""
        if (nothing := evidence.no_comparison(self.name, None)) is not None:
            return nothing
        if (stopped := evidence.no_look(self.name)) is not None:
            return stopped
        # A run may be stopped at any planned look where this check fails: each of them has its part of alpha.
        view = evidence.views[-1]
        return replace(self, alpha=self.alpha / view.planned)._at(evidence, view)  # noqa: SLF001 - of the same class

    def _at(self, evidence: Evidence, view: View) -> CheckOutcome:
        comparison = evidence.comparison
        assert comparison is not None  # noqa: S101 - for the type checker: `no_comparison` returned None
        part = Comparison(
            part_of(comparison.candidate, view), part_of(comparison.baseline, whole_view(comparison.baseline))
        )
        pairs = paired_shapes(part, self.ignore)
        if not len(pairs.rows[0]):
            why = reason("no-answers", "no sample has an output in both runs")
            return CheckOutcome(self.name, Status.ERROR, why.text, reasons=(why,))
        shifts = self._shifts(evidence.seed_at(view), pairs)
        outcome = self._decided(evidence, shifts, pairs)
        if outcome.status is Status.PASS:
            lost = max(_missing_share(part.candidate, part.rows[0]), _missing_share(part.baseline, comparison.rows[1]))
            outcome = self._unless(outcome, view, lost)
        repeats = (view.repeats, asked_repeats(comparison.baseline))
        look, looks = view.place
        return replace(outcome, n_repeats=repeats, look=look, looks=looks)

    def _unless(self, outcome: CheckOutcome, view: View, missing: float) -> CheckOutcome:
        """The pass, unless missing outputs could have changed more than is allowed, or a part of the suite shows it.

        On a part, no more than half of the tolerated change may be seen: a change of one and a half times what is
        tolerated would otherwise pass 40 samples one time in four.
        """
        largest = outcome.observed or 0.0
        if largest + missing > self.at_most and missing > 0.0:
            text = f"{missing:.1%} of the outputs are missing, and could have changed more than is allowed"
            why = reason("missing-decides", text, "run again so that none is missing")
        elif not view.whole and largest > self.at_most / 2:
            text = f"a part of the suite shows a change of {largest * 100:.3g} points: too much for an early pass"
            why = reason("shape-moved", text, "go on with the run: --resume --no-early-stop")
        else:
            return outcome
        return replace(outcome, status=Status.INCONCLUSIVE, reasons=(*outcome.reasons, why))

    def _shifts(self, seed: int, pairs: PairedShapes) -> list[_Shift]:
        """Every shape with its p, scaled so that all of them are held against `alpha`; largest change first."""
        rest = 1.0 - DUPLICATES_SHARE
        found = shape_shifts(pairs, seed=seed, alpha=self.alpha * rest, rare=RARE)
        shifts = [_Shift(one.feature, one.value, one.baseline, one.candidate, min(1.0, one.p / rest)) for one in found]
        if "duplicate" not in self.ignore:
            alike = _duplicates(pairs, seed=seed)
            p = min(1.0, alike.p / DUPLICATES_SHARE)
            shifts.append(_Shift("duplicate", "yes", alike.baseline, alike.candidate, p))
        return sorted(shifts, key=lambda s: (-abs(s.change), s.feature, s.value))

    def _decided(self, evidence: Evidence, shifts: Sequence[_Shift], pairs: PairedShapes) -> CheckOutcome:
        n, n_units = len(pairs.rows[0]), len(distinct(pairs.units))
        shown = [s for s in shifts if s.p <= self.alpha and abs(s.change) >= self.at_most / 2]
        moved = [s for s in shifts if abs(s.change) > self.at_most and s not in shown]
        visible = math.ceil(math.log2(2 / (self.alpha * (1.0 - DUPLICATES_SHARE)))) / n_units
        status, reasons = self._status(shown, moved, visible, n, n_units)
        largest = abs(shifts[0].change) if shifts else 0.0
        told = _named(shown or moved)
        return CheckOutcome(
            check=self.name,
            status=status,
            summary=told or f"no shape's share moved by more than {largest * 100:.3g} points",
            observed=largest,
            threshold=self.at_most,
            n_samples=n,
            n_groups=n_units,
            alpha=self.alpha,
            smallest_detectable_drop=min(1.0, visible),
            share_used=evidence.candidate.header.share(n),
            moved=_moved(shown or moved, pairs) or _repeated(shown or moved, evidence.candidate, pairs),
            reasons=reasons,
            details={"shapes": [shift.to_dict() for shift in shifts if shift.change or shift in shown]},
        )

    def _status(
        self, shown: Sequence[_Shift], moved: Sequence[_Shift], visible: float, n: int, n_units: int
    ) -> tuple[Status, tuple[Reason, ...]]:
        if n < 2:
            return Status.INCONCLUSIVE, (
                reason(
                    "fewer-than-two-samples", f"{count_of(n, 'shared sample decides', 'shared samples decide')} nothing"
                ),
            )
        if shown:
            text = "the outputs changed shape: " + _named(shown)
            hint = "whatever parses the outputs may break: pin the format in the prompt, or change what reads it"
            return Status.FAIL, (reason("shape-changed", text, hint),)
        if moved:
            text = "some outputs changed shape: " + _named(moved)
            return Status.INCONCLUSIVE, (reason("shape-moved", text, "add samples or repeats to settle it"),)
        if visible > LARGEST_BLIND_SPOT:
            units = "groups" if n_units < n else "samples"
            text = (
                f"{n_units} {units} are too few: only a change in {min(visible, 1):.0%} of them or more would be seen"
            )
            return Status.INCONCLUSIVE, (reason("suite-too-small", text, f"add {units} to the suite"),)
        return Status.PASS, ()


def _missing_share(run: Run, samples: Ints) -> float:
    """The share of some samples' outputs that is missing through no fault of the candidate."""
    arrays = arrays_of(run)
    rows = np.diff(arrays.starts)[samples]
    lost = arrays.per_sample(~described(arrays))[samples].sum()
    never = (run.header.repeats - rows).sum()
    return float(lost + never) / max(1, int(rows.sum() + never))


@dataclass(frozen=True)
class _Shift:
    """How one value of one feature moved."""

    feature: str
    value: str
    baseline: float
    candidate: float
    p: float

    @property
    def change(self) -> float:
        return self.candidate - self.baseline

    def __str__(self) -> str:
        what = f"{NAMES[self.feature]}" if self.value == "yes" else f"{NAMES[self.feature]} '{self.value}'"
        return f"{what} {self.baseline:.0%} → {self.candidate:.0%}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "feature": self.feature,
            "value": self.value,
            "baseline": self.baseline,
            "candidate": self.candidate,
            "p": self.p,
        }


def _duplicates(pairs: PairedShapes, *, seed: int) -> DuplicateShift:
    """How the share of outputs that another sample has too moved; short outputs do not count."""
    keys, used = zip(*(_outputs(run, rows) for run, rows in zip(pairs.runs, pairs.rows, strict=True)), strict=True)
    whole = np.concatenate([key[use] for key, use in zip(keys, used, strict=True)])
    codes, split = np.unique(whole, axis=0, return_inverse=True)[1].reshape(-1), int(used[0].sum())
    candidate, baseline = (np.full(use.shape, -1, dtype=np.int64) for use in used)
    candidate[used[0]], baseline[used[1]] = codes[:split], codes[split:]
    return duplicate_shift_test(candidate, baseline, pairs.units, seed=seed)


def _outputs(run: Run, samples: Ints) -> tuple[NDArray[np.uint64], Bools]:
    """What stands for the outputs of some samples, shape (samples, repeats, 2); and which are there and not short."""
    arrays = arrays_of(run)
    rows = arrays.table(samples, max(run.header.repeats, int(np.diff(arrays.starts)[samples].max(initial=1))))
    return arrays.output[rows], (rows >= 0) & arrays.has_output[rows] & (arrays.characters[rows] > SHORT)


def _named(shifts: Sequence[_Shift]) -> str:
    """One change per feature in words, the most telling feature first: the value that gained most, or lost most."""
    told = []
    for feature in NAMES:
        found = [shift for shift in shifts if shift.feature == feature]
        if found:
            gained = max(found, key=lambda shift: shift.change)
            told.append(gained if gained.change > 0 else min(found, key=lambda shift: shift.change))
    return "; ".join(map(str, told))


def _repeated(shifts: Sequence[_Shift], run: Run, pairs: PairedShapes) -> tuple[Moved, ...]:
    """The samples whose output another sample has too, where that is all that changed."""
    if not shifts:
        return ()
    arrays = arrays_of(run)
    rows = pairs.in_candidate(run)
    first = arrays.starts[rows]
    _, code, counts = np.unique(arrays.output[first], axis=0, return_inverse=True, return_counts=True)
    found = rows[arrays.has_output[first] & (counts[code.reshape(-1)] > 1)]
    return tuple(Moved(id_, None, None, "the same output as another sample") for id_ in arrays.ids(found[:LISTED]))


def _moved(shifts: Sequence[_Shift], pairs: PairedShapes) -> tuple[Moved, ...]:
    """The samples whose output changed in the feature that is named first."""
    named = {shift.feature for shift in shifts} - {"duplicate"}
    if not named:
        return ()
    feature = next(feature for feature in NAMES if feature in named)
    found = pairs.first_values(feature, LISTED)
    return tuple(
        Moved(id_, None, None, f"{NAMES[feature]}: {before or 'none'} → {now or 'none'}") for id_, before, now in found
    )
