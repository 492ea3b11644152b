"""`same-shape`: the outputs look as those of the baseline did: JSON keys, code fences, labels, length, refusals.

A provider "upgrade" that wraps code in fences breaks every parser behind it and no unit test sees it. This check
compares the distribution of output shapes sample by sample and names what changed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from aigate.core.registry import nearest
from aigate.core.run import Result, Run
from aigate.core.verdict import CheckOutcome, Moved, Reason, Status
from aigate.errors import ConfigError
from aigate.gating.checks.base import ConfiguredCheck, Evidence, share
from aigate.gating.comparison import Floats
from aigate.gating.family import trial_units
from aigate.gating.reasons import reason
from aigate.gating.views import View, asked_repeats, part_of, whole_view
from aigate.scorers.shape import describe_shape, shape_features
from aigate.stats.duplicates import DuplicateShift, duplicate_shift_test
from aigate.stats.relabel import relabel_test

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
ABSENT = ("no", "")  # the value of a feature an output does not have
LISTED = 50
DUPLICATES_SHARE = 0.2  # of the error rate goes to the test of duplicated outputs, the rest to all other shapes
SHORT = 15  # characters; answers this short repeat by nature
UNANSWERED: Mapping[str, str] = {**dict.fromkeys(NAMES, ""), "unanswered": "yes"}


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
        candidate = part_of(comparison.candidate, view)
        baseline = part_of(comparison.baseline, whole_view(comparison.baseline))
        ours, theirs = _shapes(candidate, self.ignore), _shapes(baseline, self.ignore)
        ids = [id_ for id_ in comparison.shared if ours.get(id_) and theirs[id_]]
        if not ids:
            why = reason("no-answers", "no sample has an output in both runs")
            return CheckOutcome(self.name, Status.ERROR, why.text, reasons=(why,))
        units = [candidate.samples[id_].unit for id_ in ids]
        shifts = self._shifts(evidence.seed_at(view), (candidate, baseline), ours, theirs, ids, units)
        outcome = self._decided(evidence, shifts, ids, n_units=len(set(units)), ours=ours, theirs=theirs)
        if outcome.status is Status.PASS:
            outcome = self._unless(outcome, view, _missing_share((candidate, baseline), comparison.shared))
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

    def _shifts(
        self,
        seed: int,
        runs: tuple[Run, Run],
        ours: _Shapes,
        theirs: _Shapes,
        ids: Sequence[str],
        units: Sequence[str],
    ) -> list[_Shift]:
        """Every shape with its p, scaled so that all of them are held against `alpha`; largest change first."""
        rest = 1.0 - DUPLICATES_SHARE
        shifts = [
            replace(shift, p=min(1.0, shift.p / rest))
            for shift in _shifts(ours, theirs, ids, units, seed=seed, alpha=self.alpha * rest)
        ]
        if "duplicate" not in self.ignore:
            found = _duplicates(*runs, ids, units, seed=seed)
            p = min(1.0, found.p / DUPLICATES_SHARE)
            shifts.append(_Shift("duplicate", "yes", found.baseline, found.candidate, p))
        return sorted(shifts, key=lambda s: (-abs(s.change), s.feature, s.value))

    def _decided(
        self,
        evidence: Evidence,
        shifts: Sequence[_Shift],
        ids: Sequence[str],
        *,
        n_units: int,
        ours: _Shapes,
        theirs: _Shapes,
    ) -> CheckOutcome:
        shown = [s for s in shifts if s.p <= self.alpha and abs(s.change) >= self.at_most / 2]
        moved = [s for s in shifts if abs(s.change) > self.at_most and s not in shown]
        visible = math.ceil(math.log2(2 / (self.alpha * (1.0 - DUPLICATES_SHARE)))) / n_units
        status, reasons = self._status(shown, moved, visible, len(ids), n_units)
        largest = abs(shifts[0].change) if shifts else 0.0
        told = _named(shown or moved)
        return CheckOutcome(
            check=self.name,
            status=status,
            summary=told or f"no shape's share moved by more than {largest * 100:.3g} points",
            observed=largest,
            threshold=self.at_most,
            n_samples=len(ids),
            n_groups=n_units,
            alpha=self.alpha,
            smallest_detectable_drop=min(1.0, visible),
            share_used=evidence.candidate.header.share(len(ids)),
            moved=_moved(shown or moved, ids, ours, theirs) or _repeated(shown or moved, evidence.candidate, ids),
            reasons=reasons,
            details={"shapes": [shift.to_dict() for shift in shifts if shift.change or shift in shown]},
        )

    def _status(
        self, shown: Sequence[_Shift], moved: Sequence[_Shift], visible: float, n: int, n_units: int
    ) -> tuple[Status, tuple[Reason, ...]]:
        if n < 2:
            return Status.INCONCLUSIVE, (reason("fewer-than-two-samples", f"{n} shared sample decides nothing"),)
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


def _missing_share(runs: tuple[Run, Run], shared: Collection[str]) -> float:
    """The larger share of outputs, over samples in both runs, that are missing through no fault of the candidate."""
    shares = []
    for run in runs:
        rows = [row for id_ in shared if id_ in run.samples for row in run.by_sample[id_]]
        lost = sum(_features(row, ()) is None for row in rows)
        never = sum(run.header.repeats - len(run.by_sample[id_]) for id_ in shared if id_ in run.samples)
        shares.append((lost + never) / max(1, len(rows) + never))
    return max(shares)


_Shapes = Mapping[str, list[Mapping[str, str] | None]]
"""Per sample, the features of each repeat's output; None for a repeat without output; empty without any."""


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


def _shapes(run: Run, ignore: Sequence[str]) -> _Shapes:
    found: dict[str, list[Mapping[str, str] | None]] = {}
    for sample_id, results in run.by_sample.items():
        features = [_features(result, ignore) for result in results]
        found[sample_id] = features if any(f is not None for f in features) else []
    return found


def _features(result: Result, ignore: Sequence[str]) -> Mapping[str, str] | None:
    """The features of an output; those of `UNANSWERED` where the candidate is to blame that there is none."""
    response = result.response
    if response is None or (response.output is None and not result.outcome.candidate_fault):
        return None
    if response.output is None:
        features = UNANSWERED
    else:
        shape = describe_shape(response.output, finish_reason=response.finish_reason, refusal=response.refusal)
        features = {**shape_features(shape), "unanswered": "no"}
    return {feature: value for feature, value in features.items() if feature not in ignore and feature != "duplicate"}


def _duplicates(
    candidate: Run, baseline: Run, ids: Sequence[str], units: Sequence[str], *, seed: int
) -> DuplicateShift:
    """How the share of outputs that another sample has too moved; short outputs do not count."""
    codes: dict[str, int] = {}

    def code(result: Result) -> int:
        output = result.response.output if result.response else None
        return codes.setdefault(output, len(codes)) if output is not None and len(output) > SHORT else -1

    def table(run: Run) -> list[list[int]]:
        rows = [[code(result) for result in run.by_sample[id_]] for id_ in ids]
        return [[*row, *[-1] * (run.header.repeats - len(row))] for row in rows]

    return duplicate_shift_test(table(candidate), table(baseline), units, seed=seed)


def _shifts(
    ours: _Shapes, theirs: _Shapes, ids: Sequence[str], units: Sequence[str], *, seed: int, alpha: float
) -> list[_Shift]:
    """Every value of every feature with its shares and family-wise p-value."""
    columns = _columns(ours, theirs, ids)
    candidate, baseline = (_indicators(arm, ids, columns) for arm in (ours, theirs))
    mask = np.ones((len(ids), len(columns)), dtype=np.bool_)
    trials = trial_units(candidate, baseline, mask, units)
    result = relabel_test(trials, seed=seed, alpha=alpha, alternative="two-sided")
    before, now = (arm.mean(axis=(0, 1)) for arm in (baseline, candidate))
    return [
        _Shift(feature, value, float(before[i]), float(now[i]), float(result.p_adjusted[i]))
        for i, (feature, value) in enumerate(columns)
    ]


def _columns(ours: _Shapes, theirs: _Shapes, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Values that occur often enough to be compared, and `other` for the rest; an absent flag is left out.

    Often enough is judged over the outputs of both runs together: relabelling cannot change that, so that the choice of
    columns keeps the test exact.
    """
    pooled = Counter(item for arm in (ours, theirs) for id_ in ids for f in arm[id_] if f for item in f.items())
    total = max(1, sum(1 for arm in (ours, theirs) for id_ in ids for f in arm[id_] if f))
    common = {item for item, count in pooled.items() if count / total >= RARE}
    rare = {(feature, "other") for feature, value in pooled.keys() - common if value not in ABSENT}
    return sorted(item for item in common | rare if item[1] not in ABSENT)


def _indicators(arm: _Shapes, ids: Sequence[str], columns: Sequence[tuple[str, str]]) -> Floats:
    """Shape (samples, repeats, columns): 1 where an output has a value; a repeat without output takes the mean."""
    repeats = max(len(arm[id_]) for id_ in ids)
    found = np.zeros((len(ids), repeats, len(columns)))
    common = [{value for feature, value in columns if feature == name} for name, _ in columns]
    for row, id_ in enumerate(ids):
        present = [features for features in arm[id_] if features is not None]
        values = np.array(
            [[_has(f, *column, known) for column, known in zip(columns, common, strict=True)] for f in present]
        )
        found[row] = values.mean(axis=0)
        found[row, : len(present)] = values
    return found


def _has(features: Mapping[str, str], feature: str, value: str, common: set[str]) -> float:
    """1.0 when an output has the value; `other` stands for every value that is not compared by itself."""
    actual = features[feature]
    return float(actual == value or (value == "other" and actual not in common and actual not in ABSENT))


def _named(shifts: Sequence[_Shift]) -> str:
    """One change per feature in words, the most telling feature first: the value that gained most, or lost most."""
    told = []
    for feature in NAMES:
        found = [shift for shift in shifts if shift.feature == feature]
        if found:
            gained = max(found, key=lambda shift: shift.change)
            told.append(gained if gained.change > 0 else min(found, key=lambda shift: shift.change))
    return "; ".join(map(str, told))


def _repeated(shifts: Sequence[_Shift], run: Run, ids: Sequence[str]) -> tuple[Moved, ...]:
    """The samples whose output another sample has too, where that is all that changed."""
    if not shifts:
        return ()
    outputs = {id_: run.by_sample[id_][0].response for id_ in ids}
    counts = Counter(response.output for response in outputs.values() if response is not None)
    found = [id_ for id_, r in outputs.items() if r is not None and r.output is not None and counts[r.output] > 1]
    return tuple(Moved(id_, None, None, "the same output as another sample") for id_ in found[:LISTED])


def _moved(shifts: Sequence[_Shift], ids: Sequence[str], ours: _Shapes, theirs: _Shapes) -> tuple[Moved, ...]:
    """The samples whose output changed in the feature that is named first."""
    named = {shift.feature for shift in shifts} - {"duplicate"}
    if not named:
        return ()
    feature, found = next(feature for feature in NAMES if feature in named), []
    for id_ in ids:
        before, now = (next(f[feature] for f in arm[id_] if f is not None) for arm in (theirs, ours))
        if before != now:
            found.append(Moved(id_, None, None, f"{NAMES[feature]}: {before or 'none'} → {now or 'none'}"))
    return tuple(found[:LISTED])
