"""Two runs side by side: which samples are the same, what forbids a comparison, and the paired scores of a metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aigate.core.display import Displayed
from aigate.core.ledger import Outcome
from aigate.core.run import Result, Run
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.core.verdict import Reason
from aigate.core.version import Change
from aigate.gating.reasons import reason
from aigate.gating.views import View, asked_repeats, part_of, views_of
from aigate.stats.signs import sign_test

__all__ = ["EVEN", "Comparison", "PairedScores", "Scenario", "Trials", "applies", "trials_of"]

NEEDED_OVERLAP = 0.90
TOLERATED_RELABELS = 0.02  # share of pairs whose identical outputs people or a judge may score differently
MAX_NAMED = 5
EVEN = 0.5  # what a version is worth against its own answers
RELABEL_ALPHA = 0.01  # of the sign test that tells a judge that changed from one that scatters
SHARE_OF_COPIES = 0.99  # of the samples, whose repeats are all alike, for a version to count as one that does not vary

Scenario = Literal["observed", "worst", "best"]
"""How missing scores are filled in: by what is there, or all against the candidate, or all in its favour."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


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
        ids: Sample ids, sorted.
        units: The statistical unit of each sample.
        tags: The tags of each sample.
        candidate: Its scores, shape (samples, candidate repeats).
        baseline: Its scores, shape (samples, baseline repeats).
        copies: The runs, by name, whose further answers are copies of the first: they count as one repeat.
    """

    metric: str
    ids: tuple[str, ...]
    units: tuple[str, ...]
    tags: tuple[tuple[str, ...], ...]
    candidate: Trials
    baseline: Trials
    copies: tuple[str, ...] = ()

    def at(self, view: View) -> PairedScores:
        """What a look may use of them: the samples of its units, and its repeats of the candidate."""
        if view.whole and view.repeats == self.candidate.values.shape[1]:
            return self
        rows: Bools = np.fromiter((unit in view.units for unit in self.units), dtype=np.bool_, count=len(self.units))
        kept = np.flatnonzero(rows)
        return PairedScores(
            metric=self.metric,
            ids=tuple(self.ids[row] for row in kept),
            units=tuple(self.units[row] for row in kept),
            tags=tuple(self.tags[row] for row in kept),
            candidate=self.candidate.part(rows, view.repeats),
            baseline=self.baseline.part(rows, self.baseline.values.shape[1]),
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
        everyone: Bools = np.ones(len(self.ids), dtype=np.bool_)
        return self.candidate.filled(low_candidate), self.baseline.filled(low_baseline), everyone

    @property
    def missing(self) -> int:
        """Missing scores in both runs together."""
        return int((~self.candidate.present).sum() + (~self.baseline.present).sum())

    def in_slice(self, tag: str | None) -> Bools:
        """Which samples carry the tag; all of them for None."""
        return np.array([tag is None or tag in tags for tags in self.tags], dtype=np.bool_)


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
    def shared(self) -> tuple[str, ...]:
        """Ids of samples that are the same in both runs, sorted."""
        ours, theirs = self.candidate.samples, self.baseline.samples
        return tuple(sorted(id_ for id_ in ours if id_ in theirs and ours[id_].digest == theirs[id_].digest))

    @property
    def changed(self) -> tuple[str, ...]:
        """Ids in both runs whose content differs: new cases under an old name."""
        return tuple(sorted(set(self.candidate.samples) & set(self.baseline.samples) - set(self.shared)))

    @property
    def added(self) -> tuple[str, ...]:
        """Ids only in the candidate."""
        return tuple(sorted(set(self.candidate.samples) - set(self.baseline.samples)))

    @property
    def removed(self) -> tuple[str, ...]:
        """Ids only in the baseline; none for a candidate that ran a subset on purpose."""
        if self.candidate.header.subset is not None:
            return ()
        return tuple(sorted(set(self.baseline.samples) - set(self.candidate.samples)))

    @property
    def overlap(self) -> float:
        """Share of the samples concerned that are the same in both runs, in [0, 1]; 0 when there are none."""
        concerned = len(self.shared) + len(self.changed) + len(self.added) + len(self.removed)
        return len(self.shared) / concerned if concerned else 0.0

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
        ids = tuple(id_ for id_ in self.shared if self._applies(id_, metric))
        samples = self.candidate.samples
        arms = {"candidate": self.candidate, "baseline": self.baseline}
        trials = {name: trials_of(run, spec, ids) for name, run in arms.items()}
        copies = self._copies
        return PairedScores(
            metric=metric,
            ids=ids,
            units=tuple(samples[id_].unit for id_ in ids),
            tags=tuple(samples[id_].tags for id_ in ids),
            candidate=trials["candidate"].as_one() if "candidate" in copies else trials["candidate"],
            baseline=trials["baseline"].as_one() if "baseline" in copies else trials["baseline"],
            copies=copies,
        )

    def _pair_with_even(self, spec: MetricSpec) -> PairedScores:
        """Wins, ties and losses against the baseline's answers, which are worth 0.5 each.

        Of one answer each, that is all that swapping the two versions would turn around: a win becomes a loss. Further
        answers of the candidate are held against the same answer of the baseline, and are not: the first counts.
        """
        ids = tuple(id_ for id_ in self.shared if applies(self.candidate, id_, spec.metric))
        samples = self.candidate.samples
        even = Trials(np.full((len(ids), 1), EVEN), np.ones((len(ids), 1), dtype=np.bool_))
        return PairedScores(
            metric=spec.metric,
            ids=ids,
            units=tuple(samples[id_].unit for id_ in ids),
            tags=tuple(samples[id_].tags for id_ in ids),
            candidate=trials_of(self.candidate, spec, ids).as_one(),
            baseline=even,
        )

    def _applies(self, sample_id: str, metric: str) -> bool:
        """True when it applies in either run: where the other says it does not, the score is missing there."""
        return applies(self.candidate, sample_id, metric) or applies(self.baseline, sample_id, metric)

    def _other_suite(self) -> Iterable[Reason]:
        if self.overlap >= NEEDED_OVERLAP:
            return
        ours, theirs = self.candidate.header, self.baseline.header
        yield reason(
            "other-suite",
            f"only {len(self.shared)} samples ({self.overlap:.0%}) are the same in both runs, {NEEDED_OVERLAP:.0%} are"
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
        found = [id_ for id_ in self.shared if _scored_twice(self.candidate, self.baseline, id_, spec.metric)]
        if spec.judge is not None:
            yield from self._judged_otherwise(spec, found)
            return
        tolerated = 0 if spec.deterministic else max(1, int(TOLERATED_RELABELS * len(self.shared)))
        if len(found) > tolerated:
            yield reason(
                "scorer-changed",
                f"'{spec.metric}': {len(found)} samples have identical outputs in both runs and different scores"
                f" ({_named(found)}): the scorer changed, this is no regression",
                "score both runs with the same scorer",
            )

    def _judged_otherwise(self, spec: MetricSpec, found: Sequence[str]) -> Iterable[Reason]:
        """A model may judge one output in two ways; where identical outputs move one way, it is another model."""
        moves = [_move_of_same(self.candidate, self.baseline, id_, spec.metric) for id_ in found]
        up, down = sum(move > 0 for move in moves), sum(move < 0 for move in moves)
        if (p := sign_test(up, down)) <= RELABEL_ALPHA:
            yield reason(
                "judge-changed",
                f"'{spec.metric}': of the identical outputs in both runs {up} got a higher score and {down} a lower one"
                f" ({_named(found)}; exact sign test, p = {p:.2g}): the judge changed, this is no regression",
                "aigate eval judges the baseline's answers again: run it",
            )


def trials_of(run: Run, spec: MetricSpec, ids: Sequence[str]) -> Trials:
    """The scores of a run for one metric, shape (len(ids), asked repeats); what was never run is missing."""
    shape = (len(ids), asked_repeats(run))
    values, present = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    for row, sample_id in enumerate(ids):
        for result in run.by_sample[sample_id]:
            score = result.scores.get(spec.metric)
            if isinstance(score, Score) and result.repeat < shape[1]:
                values[row, result.repeat] = spec.better(score.value)
                present[row, result.repeat] = True
    return Trials(values, present)


def _are_copies(run: Run) -> bool:
    """True when the repeats of (nearly) every sample are one answer with one set of scores: nothing varies.

    Such repeats are no evidence of their own: counted as trials they would make a change of three samples look like one
    of nine answers. It is judged over the run and all its metrics, so that no sample chooses how it is counted and all
    metrics have the same trials.
    """
    if asked_repeats(run) < 2:
        return False
    part = part_of(run, views_of(run)[-1])
    told = [{_told(result) for result in rows} for rows in part.by_sample.values() if len(rows) > 1]
    varied = sum(len(answers) > 1 for answers in told)
    return bool(told) and varied <= (1.0 - SHARE_OF_COPIES) * len(told)


def _told(result: Result) -> tuple[object, ...]:
    """An answer and what was said of it."""
    scores = (
        (metric, score.value if isinstance(score, Score) else score.reason) for metric, score in result.scores.items()
    )
    return (result.response.output_digest if result.response else None, *sorted(scores, key=lambda pair: pair[0]))


def applies(run: Run, sample_id: str, metric: str) -> bool:
    """False when every result of the run says that the metric has nothing to judge by in this sample.

    Where only some say so, it applies and their scores are missing: an answer cannot take its sample out of a metric.
    """
    asked = (result for result in run.by_sample[sample_id] if result.outcome is not Outcome.EARLY_STOP)
    scores = [result.scores.get(metric) for result in asked]
    return not scores or not all(isinstance(score, Unscored) and not score.applicable for score in scores)


def _scored_twice(candidate: Run, baseline: Run, sample_id: str, metric: str) -> bool:
    ours, theirs = (_scores_by_output(run, sample_id, metric) for run in (candidate, baseline))
    return any(ours[output].isdisjoint(theirs[output]) for output in ours.keys() & theirs.keys())


def _move_of_same(candidate: Run, baseline: Run, sample_id: str, metric: str) -> float:
    """How far the scores of identical outputs of a sample moved, on average over outputs and repeats."""
    ours, theirs = (_scores_by_output(run, sample_id, metric) for run in (candidate, baseline))
    both = ours.keys() & theirs.keys()
    return sum(sum(ours[output]) / len(ours[output]) - sum(theirs[output]) / len(theirs[output]) for output in both)


def _scores_by_output(run: Run, sample_id: str, metric: str) -> Mapping[str, set[float]]:
    found: dict[str, set[float]] = {}
    for result in run.by_sample[sample_id]:
        score = result.scores.get(metric)
        output = result.response.output_digest if result.response else None
        if isinstance(score, Score) and output is not None and not result.outcome.candidate_fault:
            found.setdefault(output, set()).add(round(score.value, 9))
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
