"""The shapes of the outputs of two runs, sample by sample, and how the share of each shape moved.

Outputs of one shape are one number here: a run has few different shapes, however many outputs it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aigate.core.columns import Coded
from aigate.core.json_text import strict_json
from aigate.core.response import Response
from aigate.core.run import Result, Run
from aigate.core.runfile import StoredResults
from aigate.gating.arrays import Bools, Floats, Ints, RunArrays, arrays_of, shared_rows
from aigate.gating.comparison import Comparison
from aigate.scorers.shape import describe_shape, shape_features
from aigate.stats.arrays import distinct
from aigate.stats.relabel import MANY_UNITS, TrialRows, relabel_test
from aigate.workers import Workers

__all__ = ["ABSENT", "PairedShapes", "ShapeShift", "described", "paired_shapes", "shape_shifts"]

ABSENT = ("no", "")  # the value of a feature that an output does not have
LINES_AT_ONCE = 2_048

Features = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Shapes:
    """The outputs of some samples.

    Attributes:
        known: The different shapes, as features.
        codes: Shape (samples, results), places in `known`; -1 for a result without output. Those come last.
    """

    known: tuple[Mapping[str, str], ...]
    codes: Ints


@dataclass(frozen=True, slots=True)
class PairedShapes:
    """The samples that have an output in both runs.

    Attributes:
        runs: Candidate and baseline.
        rows: The rows of the samples in each.
        shapes: Their outputs in each.
    """

    runs: tuple[Run, Run]
    rows: tuple[Ints, Ints]
    shapes: tuple[Shapes, Shapes]

    @property
    def units(self) -> Ints:
        """The statistical unit of each sample."""
        return arrays_of(self.runs[0]).units[self.rows[0]]

    def in_candidate(self, run: Run) -> Ints:
        """The rows of the samples in the run that the candidate is a part of."""
        part, whole = self.runs[0].columns.samples.ids, run.columns.samples.ids
        return shared_rows(part, whole)[1][self.rows[0]]

    def first_values(self, feature: str, most: int) -> list[tuple[str, str, str]]:
        """Id, baseline's and candidate's value of the first samples whose first output differs in a feature."""
        told = [np.array([known[feature] for known in shapes.known]) for shapes in self.shapes]
        now, before = (values[shapes.codes[:, 0]] for values, shapes in zip(told, self.shapes, strict=True))
        places = np.flatnonzero(before != now)[:most]
        ids = arrays_of(self.runs[0]).ids(self.rows[0][places])
        return list(zip(ids, before[places].tolist(), now[places].tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class ShapeShift:
    """How the share of one value of one feature moved.

    Attributes:
        feature: The feature.
        value: Its value; `other` stands for all rare ones.
        baseline: Its share in the baseline.
        candidate: Its share in the candidate.
        p: Family-wise, two-sided.
    """

    feature: str
    value: str
    baseline: float
    candidate: float
    p: float


def described(arrays: RunArrays) -> Bools:
    """Which results can be described: an output, or none through the candidate's fault."""
    return arrays.has_output | (arrays.has_fault & arrays.candidate_fault)


def paired_shapes(comparison: Comparison, ignore: Sequence[str]) -> PairedShapes:
    """The outputs of both runs, described.

    Args:
        comparison: The two runs.
        ignore: Features that may change.
    """
    runs, rows = (comparison.candidate, comparison.baseline), comparison.rows
    answered = [
        arrays_of(run).per_sample(described(arrays_of(run)))[own] > 0 for run, own in zip(runs, rows, strict=True)
    ]
    both = answered[0] & answered[1]
    kept = (rows[0][both], rows[1][both])
    ours, theirs = (_shapes(run, own, ignore) for run, own in zip(runs, kept, strict=True))
    return PairedShapes(runs, kept, (ours, theirs))


def shape_shifts(pairs: PairedShapes, *, seed: int, alpha: float, rare: float) -> list[ShapeShift]:
    """Every value of every feature with its shares and family-wise p-value.

    Args:
        pairs: The outputs.
        seed: Seed of the relabellings.
        alpha: Error rate of the family, two-sided.
        rare: Values rarer than this in both runs together are counted as `other`.
    """
    columns = _columns(pairs.shapes, rare)
    codes, units = [shapes.codes for shapes in pairs.shapes], pairs.units
    counts = np.ones(len(units), dtype=np.intp)
    if len(units) > MANY_UNITS and len(distinct(units)) == len(units):
        together, counts = np.unique(np.concatenate(codes, axis=1), axis=0, return_counts=True)
        codes = np.split(together, [codes[0].shape[1]], axis=1)
        units = np.arange(len(together), dtype=np.intp)
    arms = zip(codes, pairs.shapes, strict=True)
    candidate, baseline = (_indicators(code, shapes.known, columns) for code, shapes in arms)
    mask = np.ones((len(units), len(columns)), dtype=np.bool_)
    trials = TrialRows(candidate, baseline, mask, units, counts if len(counts) < len(pairs.units) else None)
    result = relabel_test(trials, seed=seed, alpha=alpha, alternative="two-sided")
    before, now = (_shares(arm, counts) for arm in (baseline, candidate))
    return [
        ShapeShift(feature, value, float(before[i]), float(now[i]), float(result.p_adjusted[i]))
        for i, (feature, value) in enumerate(columns)
    ]


def _shares(arm: Floats, counts: Ints) -> Floats:
    """The mean of each column, rows counted as often as they stand for samples."""
    alone = bool((counts == 1).all())
    shares: Floats = arm.mean(axis=(0, 1)) if alone else np.average(arm.mean(axis=1), axis=0, weights=counts)
    return shares


def _shapes(run: Run, samples: Ints, ignore: Sequence[str]) -> Shapes:
    arrays = arrays_of(run)
    width = int(np.diff(arrays.starts)[samples].max(initial=1))
    rows = arrays.table(samples, width)
    used = (rows >= 0) & described(arrays)[rows]
    found: Coded[Features] = Coded()
    for part in _described(run, rows[used].tolist(), tuple(ignore)):
        found.extend(part)
    codes = np.full(rows.shape, -1, dtype=np.intp)
    codes[used] = np.array(found.codes, dtype=np.intp)
    codes = np.take_along_axis(codes, np.argsort(codes < 0, axis=1, kind="stable"), axis=1)
    return Shapes(tuple(dict(features) for features in found.known), codes)


def _described(run: Run, rows: Sequence[int], ignore: tuple[str, ...]) -> Iterator[Coded[Features]]:
    """The features of some results, in order; worker processes read and describe many of them."""
    parts = (rows[start : start + LINES_AT_ONCE] for start in range(0, len(rows), LINES_AT_ONCE))
    results = run.results
    if not isinstance(results, StoredResults) or len(rows) <= MANY_UNITS:
        for part in parts:
            yield Coded(_features_of(results[row], ignore) for row in part)
        return
    jobs = (([results.line(row) for row in part], ignore) for part in parts)
    with Workers() as workers:
        yield from workers.map(_described_lines, jobs)


def _described_lines(lines: Sequence[bytes], ignore: tuple[str, ...]) -> Coded[Features]:
    """Of a line only what a shape is of: to read all of it takes as long as to describe it."""
    responses = (strict_json(line)["response"] or {} for line in lines)
    return Coded(
        _features(told.get("output"), told.get("finish_reason"), refusal=told.get("refusal", False), ignore=ignore)
        for told in responses
    )


def _features_of(result: Result, ignore: tuple[str, ...]) -> Features:
    told = result.response or Response("")
    output = None if result.response is None else told.output
    return _features(output, told.finish_reason, refusal=told.refusal, ignore=ignore)


def _features(output: str | None, finish_reason: str | None, *, refusal: bool, ignore: tuple[str, ...]) -> Features:
    """The features of an output; those of `_UNANSWERED` where the candidate is to blame that there is none."""
    features = _UNANSWERED
    if output is not None:
        shape = describe_shape(output, finish_reason=finish_reason, refusal=refusal)
        features = {**shape_features(shape), "unanswered": "no"}
    return tuple((name, value) for name, value in features.items() if name not in ignore)


def _columns(arms: Sequence[Shapes], rare: float) -> list[tuple[str, str]]:
    """Values that occur often enough to be compared, and `other` for the rest; an absent flag is left out.

    Often enough is judged over the outputs of both runs together: relabelling cannot change that, so that the choice of
    columns keeps the test exact.
    """
    pooled: Counter[tuple[str, str]] = Counter()
    total = 0
    for shapes in arms:
        counts = np.bincount(shapes.codes[shapes.codes >= 0], minlength=len(shapes.known)).tolist()
        for features, count in zip(shapes.known, counts, strict=True):
            total += count
            if count:
                pooled.update(dict.fromkeys(features.items(), count))
    common = {item for item, count in pooled.items() if count / max(1, total) >= rare}
    others = {(feature, "other") for feature, value in pooled.keys() - common if value not in ABSENT}
    return sorted(item for item in common | others if item[1] not in ABSENT)


def _indicators(codes: Ints, known: Sequence[Mapping[str, str]], columns: Sequence[tuple[str, str]]) -> Floats:
    """Shape (samples, results, columns): 1 where an output has a value; one that is not there takes the mean."""
    common = [{value for feature, value in columns if feature == name} for name, _ in columns]
    has = np.array(
        [[_has(features, *column, own) for column, own in zip(columns, common, strict=True)] for features in known]
    ).reshape(len(known), len(columns))
    found, present = has[codes], codes >= 0
    if not present.all():
        found[~present] = 0.0
        means = found.sum(axis=1) / np.maximum(present.sum(axis=1), 1)[:, None]
        found = np.where(present[:, :, None], found, means[:, None, :])
    return found


def _has(features: Mapping[str, str], feature: str, value: str, common: set[str]) -> float:
    """1.0 when an output has the value; `other` stands for every value that is not compared by itself."""
    actual = features[feature]
    return float(actual == value or (value == "other" and actual not in common and actual not in ABSENT))


_UNANSWERED: Mapping[str, str] = {
    **dict.fromkeys(shape_features(describe_shape("")), ""),
    "unanswered": "yes",
}
