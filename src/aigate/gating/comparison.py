"""Two runs side by side: which samples are the same, what forbids a comparison, and the paired scores of a metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aigate.core.counts import are, count_of
from aigate.core.display import Displayed
from aigate.core.run import Run
from aigate.core.score import MetricSpec
from aigate.core.verdict import Reason
from aigate.core.version import Change
from aigate.gating.arrays import Bools, Floats, Ints, RunArrays, arrays_of, shared_rows
from aigate.gating.reasons import reason
from aigate.gating.views import View, asked_repeats, in_view, views_of
from aigate.stats.arrays import distinct
from aigate.stats.signs import sign_test

__all__ = ["EVEN", "Comparison", "PairedScores", "Scenario", "Trials", "trials_of"]

NEEDED_OVERLAP = 0.90
TOLERATED_RELABELS = 0.02  # share of pairs whose identical outputs people or a judge may score differently
MAX_NAMED = 5
EVEN = 0.5  # what a version is worth against its own answers
RELABEL_ALPHA = 0.01  # of the sign test that tells a judge that changed from one that scatters
SHARE_OF_COPIES = 0.99  # of the samples, whose repeats are all alike, for a version to count as one that does not vary

Scenario = Literal["observed", "worst", "best"]
"""How missing scores are filled in: by what is there, or all against the candidate, or all in its favour."""

MOST_PAIRS = 100  # of repeats that are compared all at once


@dataclass(frozen=True)
class Trials:
    """The scores of one run for one metric, turned so that higher is better.

    Attributes:
        values: Shape (samples, repeats), in [0, 1]; 0 where missing.
        present: Shape (samples, repeats); False where missing.
    """

    values: Floats
    present: Bools

    def part(self, rows: Bools, repeats: int) -> Trials:
        """The trials of some samples, up to so many repeats."""
        return Trials(self.values[rows, :repeats], self.present[rows, :repeats])

    def as_one(self) -> Trials:
        """The first trial of each sample alone."""
        return Trials(self.values[:, :1], self.present[:, :1])

    def filled(self, missing: float | None) -> Floats:
        """The values with missing ones replaced; None means by the mean of the sample's other repeats."""
        if missing is not None:
            return np.where(self.present, self.values, missing)
        counts = np.maximum(self.present.sum(axis=1, keepdims=True), 1)
        means = np.where(self.present, self.values, 0.0).sum(axis=1, keepdims=True) / counts
        return np.where(self.present, self.values, means)


@dataclass(frozen=True)
class PairedScores:
    """One metric over the samples that both runs share and that the metric applies to.

    Attributes:
        metric: The metric.
        run: The candidate, whose samples they are.
        rows: The row of each sample in the candidate, ascending: sorted by id.
        candidate: Its scores, shape (samples, candidate repeats).
        baseline: Its scores, shape (samples, baseline repeats).
        copies: The runs, by name, whose further answers are copies of the first: they count as one repeat.
    """

    metric: str
    run: Run
    rows: Ints
    candidate: Trials
    baseline: Trials
    copies: tuple[str, ...] = ()

    @cached_property
    def units(self) -> Ints:
        """The statistical unit of each sample."""
        return arrays_of(self.run).units[self.rows]

    def ids(self, places: Iterable[int]) -> list[str]:
        """The ids of some of the samples."""
        return arrays_of(self.run).ids(self.rows[list(places)])

    def at(self, view: View) -> PairedScores:
        """What a look may use of them: the samples of its units, and its repeats of the candidate."""
        if view.whole and view.repeats == self.candidate.values.shape[1]:
            return self
        kept = in_view(self.run, view)[self.rows]
        return PairedScores(
            metric=self.metric,
            run=self.run,
            rows=self.rows[kept],
            candidate=self.candidate.part(kept, view.repeats),
            baseline=self.baseline.part(kept, self.baseline.values.shape[1]),
            copies=self.copies,
        )

    def arms(self, scenario: Scenario) -> tuple[Floats, Floats, Bools]:
        """Candidate and baseline values, and which samples take part.

        As observed, a sample takes part when each run has at least one score for it. In the worst and best scenario
        every sample takes part.
        """
        if scenario == "observed":
            used: Bools = np.logical_and(self.candidate.present.any(axis=1), self.baseline.present.any(axis=1))
            return self.candidate.filled(None), self.baseline.filled(None), used
        low_candidate, low_baseline = (0.0, 1.0) if scenario == "worst" else (1.0, 0.0)
        everyone: Bools = np.ones(len(self.rows), dtype=np.bool_)
        return self.candidate.filled(low_candidate), self.baseline.filled(low_baseline), everyone

    @property
    def missing(self) -> int:
        """Missing scores in both runs together."""
        return int((~self.candidate.present).sum() + (~self.baseline.present).sum())

    def in_slice(self, tag: str | None) -> Bools:
        """Which samples carry the tag; all of them for None."""
        if tag is None:
            return np.ones(len(self.rows), dtype=np.bool_)
        return arrays_of(self.run).tagged(tag)[self.rows]

    def tags(self, used: Bools) -> list[str]:
        """The tags that some of the samples carry, sorted."""
        tags = arrays_of(self.run).columns.samples.tags
        codes = np.unique(np.array(tags.codes, dtype=np.intp)[self.rows[used]]).tolist()
        return sorted({tag for code in codes for tag in tags.known[code]})


@dataclass(frozen=True)
class Comparison(Displayed):
    """A candidate against a baseline.

    Attributes:
        candidate: The run under test.
        baseline: The run it is held against.
    """

    candidate: Run
    baseline: Run

    @property
    def change(self) -> Change:
        """Which parts of the version differ."""
        return self.candidate.version.change_from(self.baseline.version)

    @cached_property
    def rows(self) -> tuple[Ints, Ints]:
        """The rows of the samples that are the same in both runs: in the candidate, and in the baseline."""
        ours, theirs = self._known
        same = (arrays_of(self.candidate).digests[ours] == arrays_of(self.baseline).digests[theirs]).all(axis=1)
        return ours[same], theirs[same]

    @property
    def n_shared(self) -> int:
        """How many samples are the same in both runs."""
        return len(self.rows[0])

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """Ids of samples that are the same in both runs, sorted."""
        return tuple(arrays_of(self.candidate).ids(self.rows[0]))

    @property
    def changed(self) -> tuple[str, ...]:
        """Ids in both runs whose content differs: new cases under an old name."""
        return tuple(arrays_of(self.candidate).ids(np.setdiff1d(self._known[0], self.rows[0], assume_unique=True)))

    @property
    def added(self) -> tuple[str, ...]:
        """Ids only in the candidate."""
        return _others(self.candidate, self._known[0])

    @property
    def removed(self) -> tuple[str, ...]:
        """Ids only in the baseline; none for a candidate that ran a subset on purpose."""
        return () if self.candidate.header.subset is not None else _others(self.baseline, self._known[1])

    @property
    def overlap(self) -> float:
        """Share of the samples concerned that are the same in both runs, in [0, 1]; 0 when there are none."""
        known, ours, theirs = len(self._known[0]), len(self.candidate), len(self.baseline)
        removed = theirs - known if self.candidate.header.subset is None else 0
        concerned = ours + removed
        return self.n_shared / concerned if concerned else 0.0

    @cached_property
    def _known(self) -> tuple[Ints, Ints]:
        """The rows of the samples that both runs name: in the candidate, and in the baseline."""
        return shared_rows(self.candidate.columns.samples.ids, self.baseline.columns.samples.ids)

    def obstacles(self, metrics: Iterable[str]) -> tuple[Reason, ...]:
        """Why nothing may be concluded about these metrics; empty when the runs are comparable."""
        metrics = tuple(dict.fromkeys(metrics))
        found = [*self._other_suite(), *self._other_parameters()]
        for metric in metrics:
            found.extend(self._other_metric(metric))
        return tuple(found)

    def notes(self) -> tuple[Reason, ...]:
        """What differs without forbidding the comparison."""
        return (*self._judged_again(), *self._other_samples(), *self._other_provider())

    def _judged_again(self) -> Iterable[Reason]:
        """The baseline's scores are not those it was promoted with: thresholds may have been set under the others."""
        if (original := self.baseline.header.rejudged_from) is not None:
            yield reason(
                "baseline-rejudged",
                f"the answers of the baseline ({original[7:19]}) were judged again, by the judge of this run: a bound"
                " that was set under the former judge may mean something else now",
            )

    def _other_provider(self) -> Iterable[Reason]:
        ours, theirs = self.candidate.header.provider, self.baseline.header.provider
        asked = ("name", "api", "base_url", "model", "stream")
        differs = [key for key in asked if ours.get(key) != theirs.get(key)]
        if self.change.parts == ("prompt_version",) or not self.change:
            told = ", ".join(f"{key} {theirs.get(key)!r} -> {ours.get(key)!r}" for key in differs)
            if told:
                yield reason("other-provider", f"answered in another way than the baseline: {told}")

    def _other_samples(self) -> tuple[Reason, ...]:
        parts = [
            f"{len(ids)} {word} ({_named(ids)})"
            for word, ids in (("new", self.added), ("gone", self.removed), ("edited", self.changed))
            if ids
        ]
        if not parts:
            return ()
        return (reason("samples-differ", f"left out of the comparison: {', '.join(parts)}"),)

    def paired(self, metric: str) -> PairedScores:
        """The paired scores of a metric that both runs computed; worked out once per metric."""
        if metric not in self._pairs:
            self._pairs[metric] = self._pair(metric)
        return self._pairs[metric]

    @cached_property
    def _copies(self) -> tuple[str, ...]:
        """The runs, by name, whose repeats are copies."""
        arms = {"candidate": self.candidate, "baseline": self.baseline}
        return tuple(name for name, run in arms.items() if _are_copies(run))

    @cached_property
    def _pairs(self) -> dict[str, PairedScores]:
        return {}

    def _pair(self, metric: str) -> PairedScores:
        spec = self.candidate.header.metric(metric)
        if spec is None:
            raise KeyError(metric)
        if spec.against is not None:
            return self._pair_with_even(spec)
        arms, (ours, theirs) = {"candidate": self.candidate, "baseline": self.baseline}, self.rows
        # Where one run says that it does not apply and the other that it does, the score is missing there.
        applies = arrays_of(self.candidate).applies(metric)[ours] | arrays_of(self.baseline).applies(metric)[theirs]
        rows = {"candidate": ours[applies], "baseline": theirs[applies]}
        trials = {name: trials_of(run, spec, rows[name]) for name, run in arms.items()}
        copies = self._copies
        return PairedScores(
            metric=metric,
            run=self.candidate,
            rows=rows["candidate"],
            candidate=trials["candidate"].as_one() if "candidate" in copies else trials["candidate"],
            baseline=trials["baseline"].as_one() if "baseline" in copies else trials["baseline"],
            copies=copies,
        )

    def _pair_with_even(self, spec: MetricSpec) -> PairedScores:
        """Wins, ties and losses against the baseline's answers, which are worth 0.5 each.

        Of one answer each, that is all that swapping the two versions would turn around: a win becomes a loss. Further
        answers of the candidate are held against the same answer of the baseline, and are not: the first counts.
        """
        ours, _ = self.rows
        rows = ours[arrays_of(self.candidate).applies(spec.metric)[ours]]
        even = Trials(np.full((len(rows), 1), EVEN), np.ones((len(rows), 1), dtype=np.bool_))
        return PairedScores(
            metric=spec.metric,
            run=self.candidate,
            rows=rows,
            candidate=trials_of(self.candidate, spec, rows).as_one(),
            baseline=even,
        )

    def _other_suite(self) -> Iterable[Reason]:
        if self.overlap >= NEEDED_OVERLAP:
            return
        ours, theirs = self.candidate.header, self.baseline.header
        yield reason(
            "other-suite",
            f"only {count_of(self.n_shared, 'sample')} ({self.overlap:.0%}) {are(self.n_shared)} the same"
            f" in both runs, {NEEDED_OVERLAP:.0%} are"
            f" needed: candidate ran '{ours.suite_name}' ({ours.suite_digest[7:19]}),"
            f" baseline '{theirs.suite_name}' ({theirs.suite_digest[7:19]})",
            "compare with a run of this suite; where it changed for good: aigate baseline promote RUN --new-line WHY",
        )

    def _other_parameters(self) -> Iterable[Reason]:
        ours, theirs = dict(self.candidate.header.parameters), dict(self.baseline.header.parameters)
        if ours != theirs:
            names = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
            told = ", ".join(f"{name} {theirs.get(name)!r} -> {ours.get(name)!r}" for name in names)
            yield reason(
                "other-parameters",
                f"request parameters differ: {told}",
                "run the candidate with the baseline's parameters, or put them into a new prompt version",
            )

    def _other_metric(self, metric: str) -> Iterable[Reason]:
        ours, theirs = self.candidate.header.metric(metric), self.baseline.header.metric(metric)
        if ours is not None and ours.against is not None:
            yield from self._other_opponent(ours)
        elif ours is None or theirs is None:
            yield self._renamed(metric)
        elif ours.judge is not None and theirs.judge is not None and replace(ours, judge=theirs.judge) == theirs:
            yield from self._other_judge(ours, theirs) if ours.judge != theirs.judge else self._relabelled(ours)
        elif ours.to_dict() != theirs.to_dict():
            yield reason(
                "other-scorer",
                f"'{metric}' is not computed alike: {_spec_differences(theirs, ours)}",
                "take the change back; where it is for good: aigate baseline promote RUN --new-line WHY",
            )
        else:
            yield from self._relabelled(ours)

    def _other_opponent(self, ours: MetricSpec) -> Iterable[Reason]:
        if not self.holds_answers_for(ours):
            held = f"those of the run {ours.against[7:19]}" if ours.against else "no answers"
            yield reason(
                "other-baseline",
                f"'{ours.metric}' held the candidate's answers against {held}, not against this baseline's"
                f" ({self.baseline.digest[7:19]})",
                "aigate eval with this baseline holds them against its answers",
            )

    def holds_answers_for(self, spec: MetricSpec) -> bool:
        """Whether the baseline's answers are those that a metric held the candidate's against."""
        return bool(spec.against) and spec.against in {self.baseline.digest, self.baseline.header.rejudged_from}

    def both_scored(self, metric: str) -> bool:
        """Whether both runs computed a metric, each by itself."""
        return all(run.header.own_metric(metric) is not None for run in (self.candidate, self.baseline))

    def _other_judge(self, ours: MetricSpec, theirs: MetricSpec) -> Iterable[Reason]:
        before, now = _flat(theirs.judge or {}), _flat(ours.judge or {})
        names = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        told = ", ".join(f"{name} {_brief(before.get(name))} -> {_brief(now.get(name))}" for name in names)
        yield reason(
            "other-judge",
            f"'{ours.metric}' was judged by another judge in the baseline: {told}",
            "aigate eval judges the baseline's answers again, into RUN.rejudged-baseline.jsonl: compare with that run",
        )

    def _renamed(self, metric: str) -> Reason:
        runs = {"candidate": self.candidate, "baseline": self.baseline}
        lacking = " and ".join(name for name, run in runs.items() if run.header.metric(metric) is None)
        listed = "; ".join(f"{n} has {', '.join(s.metric for s in r.header.metrics)}" for n, r in runs.items())
        return reason(
            "metric-renamed",
            f"'{metric}' was not computed in the {lacking} ({listed})",
            "a renamed metric is a new one; where it is for good: aigate baseline promote RUN --new-line WHY",
        )

    def _relabelled(self, spec: MetricSpec) -> Iterable[Reason]:
        """Identical outputs with different scores: the scorer changed, whatever it says of itself."""
        twice = _scored_twice(self.candidate, self.baseline, self.rows, spec.metric)
        if spec.judge is not None:
            yield from self._judged_otherwise(spec, twice)
            return
        found = arrays_of(self.candidate).ids(self.rows[0][twice])
        tolerated = 0 if spec.deterministic else max(1, int(TOLERATED_RELABELS * self.n_shared))
        if len(found) > tolerated:
            yield reason(
                "scorer-changed",
                f"'{spec.metric}': {count_of(len(found), 'sample has', 'samples have')} identical outputs"
                f" in both runs and different scores"
                f" ({_named(found)}): the scorer changed, this is no regression",
                "score both runs with the same scorer",
            )

    def _judged_otherwise(self, spec: MetricSpec, twice: Bools) -> Iterable[Reason]:
        """A model may judge one output in two ways; where identical outputs move one way, it is another model."""
        ours, theirs = arrays_of(self.candidate), arrays_of(self.baseline)
        found = [(int(now), int(before)) for now, before in zip(*(rows[twice] for rows in self.rows), strict=True)]
        moves = [_move_of_same(ours, theirs, rows, spec.metric) for rows in found]
        up, down = sum(move > 0 for move in moves), sum(move < 0 for move in moves)
        named = _named(ours.ids(now for now, _ in found))
        if (p := sign_test(up, down)) <= RELABEL_ALPHA:
            yield reason(
                "judge-changed",
                f"'{spec.metric}': of the identical outputs in both runs {up} got a higher score and {down} a lower one"
                f" ({named}; exact sign test, p = {p:.2g}): the judge changed, this is no regression",
                "aigate eval judges the baseline's answers again: run it",
            )


def trials_of(run: Run, spec: MetricSpec, samples: Ints) -> Trials:
    """The scores of a run for one metric, shape (len(samples), asked repeats); what was never run is missing.

    Args:
        run: The run.
        spec: The metric.
        samples: Rows of samples.
    """
    arrays, repeats = arrays_of(run), asked_repeats(run)
    values, scored = arrays.scores(spec.metric)[0], arrays.scored(spec.metric)
    used = scored & (arrays.repeat < repeats)
    table, present = np.zeros((len(run), repeats)), np.zeros((len(run), repeats), dtype=np.bool_)
    place = (arrays.sample[used], arrays.repeat[used])
    table[place] = values[used] if spec.direction == "higher" else 1.0 - values[used]
    present[place] = True
    return Trials(table[samples], present[samples])


def _others(run: Run, known: Ints) -> tuple[str, ...]:
    """Ids of the samples of a run that are not among these rows."""
    if len(known) == len(run):
        return ()
    return tuple(arrays_of(run).ids(np.setdiff1d(np.arange(len(run)), known, assume_unique=True)))


def _are_copies(run: Run) -> bool:
    """True when the repeats of (nearly) every sample are one answer with one set of scores: nothing varies.

    Such repeats are no evidence of their own: counted as trials they would make a change of three samples look like one
    of nine answers. It is judged over the run and all its metrics, so that no sample chooses how it is counted and all
    metrics have the same trials.
    """
    repeats = asked_repeats(run)
    if repeats < 2:
        return False
    arrays = arrays_of(run)
    used = np.flatnonzero(in_view(run, views_of(run)[-1])[arrays.sample] & (arrays.repeat < repeats) & ~arrays.skipped)
    _samples, first, counts = np.unique(arrays.sample[used], return_index=True, return_counts=True)
    if not (counts > 1).any():
        return False
    differs = _unlike(arrays, used, np.repeat(used[first], counts))
    varied = distinct(arrays.sample[used[differs]])
    return len(varied) <= (1.0 - SHARE_OF_COPIES) * int((counts > 1).sum())


def _unlike(arrays: RunArrays, results: Ints, others: Ints) -> Bools:
    """Which results differ from the other ones in the output, or in what was said of it."""
    unlike: Bools = (arrays.output[results] != arrays.output[others]).any(axis=1)
    unlike |= arrays.has_output[results] != arrays.has_output[others]
    for metric in arrays.columns.answers.scores:
        values, states = arrays.scores(metric)
        unlike |= (values[results] != values[others]) | (states[results] != states[others])
    return unlike


def _scored_twice(candidate: Run, baseline: Run, rows: tuple[Ints, Ints], metric: str) -> Bools:
    """Which of the shared samples have an output in both runs of which no score is the same."""
    ours, theirs = arrays_of(candidate), arrays_of(baseline)
    suspects = _suspects(ours, theirs, rows, metric)
    found = np.zeros(len(rows[0]), dtype=np.bool_)
    for place in np.flatnonzero(suspects).tolist():
        told = (
            _scores_by_output(ours, int(rows[0][place]), metric),
            _scores_by_output(theirs, int(rows[1][place]), metric),
        )
        found[place] = any(told[0][output].isdisjoint(told[1][output]) for output in told[0].keys() & told[1].keys())
    return found


def _suspects(ours: RunArrays, theirs: RunArrays, rows: tuple[Ints, Ints], metric: str) -> Bools:
    """Which of the shared samples have one output with two scores at all; maybe more, where repeats are many."""
    shape = [int(arrays.repeat.max(initial=-1)) + 1 for arrays in (ours, theirs)]
    if shape[0] * shape[1] > MOST_PAIRS:
        return np.ones(len(rows[0]), dtype=np.bool_)
    suspects = np.zeros(len(rows[0]), dtype=np.bool_)
    tables = [_judged_outputs(a, r, metric, k) for a, r, k in zip((ours, theirs), rows, shape, strict=True)]
    for mine in range(shape[0]):
        for other in range(shape[1]):
            (output, score, used), (output_b, score_b, used_b) = tables[0][mine], tables[1][other]
            suspects |= used & used_b & (output == output_b).all(axis=1) & (score != score_b)
    return suspects


def _move_of_same(ours: RunArrays, theirs: RunArrays, rows: tuple[int, int], metric: str) -> float:
    """How far the scores of identical outputs of a sample moved, on average over outputs and repeats."""
    now, before = _scores_by_output(ours, rows[0], metric), _scores_by_output(theirs, rows[1], metric)
    both = now.keys() & before.keys()
    return sum(sum(now[output]) / len(now[output]) - sum(before[output]) / len(before[output]) for output in both)


def _judged_outputs(
    arrays: RunArrays, samples: Ints, metric: str, repeats: int
) -> list[tuple[NDArray[np.uint64], Floats, Bools]]:
    """Per repeat: the outputs of some samples, their scores, and which of them count."""
    found = []
    judged, scores = _judged(arrays, metric), arrays.scores(metric)[0]
    for repeat in range(repeats):
        of_repeat = np.flatnonzero(arrays.repeat == repeat)
        result = np.full(len(arrays.columns), -1, dtype=np.intp)
        result[arrays.sample[of_repeat]] = of_repeat
        result = result[samples]
        found.append((arrays.output[result], scores[result], (result >= 0) & judged[result]))
    return found


def _judged(arrays: RunArrays, metric: str) -> Bools:
    """Which results have an output with a score that is the scorer's own, not that of a fault."""
    return arrays.scored(metric) & arrays.has_output & ~arrays.candidate_fault


def _scores_by_output(arrays: RunArrays, sample: int, metric: str) -> Mapping[bytes, set[float]]:
    found: dict[bytes, set[float]] = {}
    judged, values = _judged(arrays, metric), arrays.scores(metric)[0]
    for row in arrays.columns.rows_of(sample):
        if judged[row]:
            found.setdefault(arrays.output[row].tobytes(), set()).add(round(float(values[row]), 9))
    return found


def _spec_differences(before: MetricSpec, now: MetricSpec) -> str:
    old, new = before.to_dict(), now.to_dict()
    flat_old = {**{k: v for k, v in old.items() if k != "options"}, **dict(before.options)}
    flat_new = {**{k: v for k, v in new.items() if k != "options"}, **dict(now.options)}
    names = sorted(key for key in {*flat_old, *flat_new} if flat_old.get(key) != flat_new.get(key))
    return ", ".join(f"{name} {_brief(flat_old.get(name))} -> {_brief(flat_new.get(name))}" for name in names)


def _flat(judge: Mapping[str, Any]) -> dict[str, object]:
    """A judge's identity with what stands one level below beside the rest: `provider.model`."""
    found: dict[str, object] = {}
    for name, value in judge.items():
        inner = value if isinstance(value, Mapping) else None
        found.update({name: value} if inner is None else {f"{name}.{key}": item for key, item in inner.items()})
    return found


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _named(ids: Sequence[str]) -> str:
    more = f", {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    return ", ".join(ids[:MAX_NAMED]) + more
