"""`no-regression` by people's labels on a part of the samples, and the judge's scores on all of them (PPI++).

A judge that likes the candidate's style hides a drop from every test of its own scores. Where people labelled the
answers of both runs to a random part of the samples, they are asked instead: what the mean drop of their labels would
be over all samples, with the judge's scores taking away some of the noise. A judge that agrees with them badly gets
little weight, and can do no harm.

Block when the drop is real at the check's share of alpha (Student's t; 4.8 to 5.9 % of equal versions were blocked at
5 % in simulation: unlike the relabelling test it is not exact) and at least half the margin. Pass when the drop is
shown to be smaller than the margin with one further label that is as bad as can be: without it 9 to 13 % of versions
that break rarely, by the whole margin, would pass at 5 %. It decides once, at the end of the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aigate.core.counts import are, count_of
from aigate.core.run import Run
from aigate.core.verdict import CheckOutcome, Interval, Moved, Reason, Status
from aigate.gating.arrays import Bools, Floats, Ints
from aigate.gating.checks.base import Evidence
from aigate.gating.comparison import PairedScores
from aigate.gating.reasons import reason
from aigate.stats import special
from aigate.stats.ppi import PpiMean, ppi_mean

__all__ = ["FEWEST_LABELS", "Question", "judged_by_people"]

FEWEST_LABELS = 50  # with fewer the interval covers less than it says
FEWEST_UNITS = 20
NOT_BY_CHANCE = 0.01  # of the judge's scores on the labelled samples and on the others
LISTED = 50
POWER_QUANTILE = 0.8416  # of the standard normal: 80 % power


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        check: The check's name.
        metric: The judged metric.
        label: The recorded score that holds people's labels.
        margin: Tolerated drop.
        alpha_block: One-sided chance of blocking an equal candidate.
        alpha_pass: One-sided chance of passing one worse by the margin.
        notes: What is to be said in any case.
    """

    check: str
    metric: str
    label: str
    margin: float
    alpha_block: float
    alpha_pass: float
    notes: tuple[Reason, ...] = ()


def judged_by_people(evidence: Evidence, paired: PairedScores, asked: Question) -> CheckOutcome:
    """Decide by people's labels.

    Status: pass, fail or inconclusive as above; inconclusive also with fewer than 50 labelled samples (or 20 labelled
    groups), before the end of a run, and when the labelled samples are plainly no random part; error when a label is no
    number in [0, 1].
    """
    comparison = evidence.comparison
    assert comparison is not None  # noqa: S101 - for the type checker: the check looked
    if not evidence.views or not evidence.views[-1].last:
        return _without(asked, Status.INCONCLUSIVE, _early())
    repeats = evidence.views[-1].repeats
    ids = tuple(paired.ids(range(len(paired.rows))))
    arms = [_labels(comparison.candidate, ids, asked.label, repeats=repeats)]
    arms.append(_labels(comparison.baseline, ids, asked.label, repeats=None))
    if broken := next((arm.broken for arm in arms if arm.broken), ""):
        return _without(asked, Status.ERROR, reason("labels-unusable", broken, "labels are numbers from 0 to 1"))
    table = _table(paired, ids, arms[0], arms[1])
    if few := _too_few(asked, table):
        return _without(asked, Status.INCONCLUSIVE, few)
    return _outcome(evidence, asked, table)


@dataclass(frozen=True, slots=True)
class _Arm:
    """People's mean label per sample of one run, where there is one; 0 where the run failed to answer."""

    values: Floats
    labelled: Bools
    failed: Bools
    broken: str


def _labels(run: Run, ids: tuple[str, ...], name: str, *, repeats: int | None) -> _Arm:
    values, labelled, failed = (
        np.zeros(len(ids)),
        np.zeros(len(ids), dtype=np.bool_),
        np.zeros(len(ids), dtype=np.bool_),
    )
    for row, sample_id in enumerate(ids):
        results = [r for r in run.by_sample[sample_id] if repeats is None or r.repeat < repeats]
        found = [r.response.scores[name] for r in results if r.response is not None and name in r.response.scores]
        for value in found:
            if not 0.0 <= value <= 1.0:
                broken = f"{run.source or 'the run'}: scores.{name} of '{sample_id}' is {value!r}"
                return _Arm(values, labelled, failed, broken)
        failed[row] = bool(results) and all(r.outcome.candidate_fault for r in results)
        labelled[row] = bool(found) and not failed[row]
        values[row] = float(np.mean(found)) if labelled[row] else 0.0
    return _Arm(values, labelled, failed, "")


@dataclass(frozen=True, slots=True)
class _Table:
    """Per sample: the differences by people and by the judge, and who was labelled."""

    ids: tuple[str, ...]
    units: Ints
    human: Floats
    judge: Floats
    labelled: Bools
    before: Floats
    now: Floats

    @property
    def n_units(self) -> int:
        return len(np.unique(self.units))

    @property
    def labelled_units(self) -> int:
        return len(np.unique(self.units[self.labelled]))


def _table(paired: PairedScores, ids: tuple[str, ...], candidate: _Arm, baseline: _Arm) -> _Table:
    """Labelled are samples with a label in both runs; an answer that a run failed to give needs none.

    A judge's score that is missing counts as no difference, for labelled samples and others alike: the estimate needs
    no good judge, only the same one on both.
    """
    ours, theirs, used = paired.arms("observed")
    judge = np.where(used, ours.mean(axis=1) - theirs.mean(axis=1), 0.0)
    known = (candidate.labelled | candidate.failed) & (baseline.labelled | baseline.failed)
    labelled = known & (candidate.labelled | baseline.labelled)
    return _Table(
        ids=ids,
        units=paired.units,
        human=np.where(labelled, candidate.values - baseline.values, 0.0),
        judge=judge,
        labelled=labelled,
        before=baseline.values,
        now=candidate.values,
    )


def _too_few(asked: Question, table: _Table) -> Reason | None:
    labels, units = int(table.labelled.sum()), table.labelled_units
    if labels < FEWEST_LABELS:
        text = (
            f"{labels} of {count_of(len(table.ids), 'sample')} {are(labels)} labelled in both runs"
            f" (scores.{asked.label})"
        )
        hint = f"label {count_of(FEWEST_LABELS - labels, 'more sample')} at least, drawn at random, in both runs"
        return reason("too-few-labels", f"{text}: {FEWEST_LABELS} are needed", hint)
    if units < FEWEST_UNITS:
        text = f"the {labels} labelled samples come from {count_of(units, 'group')}: {FEWEST_UNITS} are needed"
        return reason("too-few-labels", text, "label samples of more groups")
    return None


def _outcome(evidence: Evidence, asked: Question, table: _Table) -> CheckOutcome:
    seen = _estimate(table, level=1.0 - 2.0 * asked.alpha_pass)
    careful = _estimate(table, level=1.0 - 2.0 * asked.alpha_pass, worst=True)
    strict = seen if asked.alpha_block == asked.alpha_pass else _estimate(table, level=1.0 - 2.0 * asked.alpha_block)
    drop = 0.0 - round(seen.estimate, 12)
    passed = careful.low > -asked.margin
    blocked = strict.high < 0.0 and drop >= asked.margin / 2.0
    status, why = _decided(asked, table, seen, passed=passed, blocked=blocked)
    if status is Status.PASS and (odd := _not_at_random(table)) is not None:
        status, why = Status.INCONCLUSIVE, (odd,)
    detectable = _detectable(seen, asked)
    n = int(table.labelled.sum())
    return CheckOutcome(
        check=asked.check,
        status=status,
        summary=_summary(asked, table, seen, detectable),
        metric=asked.metric,
        observed=0.0 - drop,
        interval=Interval(
            round(seen.low, 12), round(seen.high, 12), 1.0 - 2.0 * asked.alpha_pass, "PPI++, Student's t"
        ),
        threshold=-asked.margin,
        n_samples=len(table.ids),
        n_groups=table.n_units,
        n_repeats=(evidence.views[-1].repeats, 1),
        alpha=asked.alpha_block,
        smallest_detectable_drop=detectable,
        share_used=evidence.candidate.header.share(len(table.ids)),
        moved=_moved(table),
        reasons=(*why, *asked.notes),
        details={
            "human": asked.label,
            "labelled": n,
            "labelled_groups": table.labelled_units,
            "judge_weight": seen.lam,
            "judge_alone": float(table.judge.mean()),
            "people_alone": float(table.human[table.labelled].mean()),
            "pass_bound": careful.low,
            "margin": asked.margin,
            "worse": int((table.human[table.labelled] < 0).sum()),
            "better": int((table.human[table.labelled] > 0).sum()),
        },
    )


def _estimate(table: _Table, *, level: float, worst: bool = False) -> PpiMean:
    """PPI++ over all samples; with `worst`, one further labelled sample at -1 that the judge sees nothing of."""
    human, judge = table.human[table.labelled], table.judge[table.labelled]
    units = table.units[table.labelled]
    if worst:
        human, judge = np.append(human, -1.0), np.append(judge, 0.0)
        units = np.append(units, table.units.max() + 1)  # a unit of its own
    others = ~table.labelled
    return ppi_mean(
        human,
        judge,
        table.judge[others],
        units=(units, table.units[others]) if table.n_units < len(table.units) else None,
        level=level,
    )


def _decided(
    asked: Question, table: _Table, seen: PpiMean, *, passed: bool, blocked: bool
) -> tuple[Status, tuple[Reason, ...]]:
    drop, margin = -seen.estimate, asked.margin
    if passed:
        text = (
            f"{asked.metric} fell by {_points(drop)}: real, but shown to be less than the margin of {_points(margin)}"
        )
        return Status.PASS, (reason("tolerated-drop", text),) if seen.high < 0.0 else ()
    if blocked:
        text = f"as people judge ({asked.label}), it fell by {_points(drop)}; {_points(margin)} are tolerated"
        return Status.FAIL, (reason("drop", text, "read the labelled samples that moved, with both answers"),)
    moved = "did not move" if seen.estimate == 0.0 else f"{'fell' if drop > 0 else 'rose'} by {_points(abs(drop))}"
    n = int(table.labelled.sum())
    text = (
        f"it {moved}, and neither a drop nor its absence within {_points(margin)} is shown with {count_of(n, 'label')}"
    )
    return Status.INCONCLUSIVE, (reason("not-shown", text, _labels_needed(asked, table, seen)),)


def _labels_needed(asked: Question, table: _Table, seen: PpiMean) -> str:
    """How many labels would show a drop of the margin with 80 % power, with the scatter that is seen."""
    n = int(table.labelled.sum())
    wanted = asked.margin / (_z(asked.alpha_pass) + POWER_QUANTILE)
    needed = math.ceil(n * (seen.se / wanted) ** 2)
    if n < needed < len(table.ids):
        return f"label about {count_of(needed - n, 'more sample')}, drawn at random, in both runs"
    return "label more samples, drawn at random, in both runs"


def _not_at_random(table: _Table) -> Reason | None:
    """Labelled samples on which the judge sees a change that it does not see on the others were not drawn at random."""
    inside, outside = table.judge[table.labelled], table.judge[~table.labelled]
    if len(outside) < FEWEST_LABELS:
        return None
    spread = math.sqrt(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside))
    gap = float(inside.mean() - outside.mean())
    if spread == 0.0 or abs(gap) <= _z(NOT_BY_CHANCE / 2.0) * spread:
        return None
    text = (
        "the labelled samples are no random part: the judge's scores moved by"
        f" {100 * inside.mean():+.1f} points on them and by {100 * outside.mean():+.1f} on the others"
    )
    return reason("labels-not-random", text, "draw the samples to label at random, before anybody looks at scores")


def _detectable(seen: PpiMean, asked: Question) -> float:
    """The drop that is blocked with 80 % power: told from noise, and with half the margin observed."""
    by_noise = (_z(asked.alpha_block) + POWER_QUANTILE) * seen.se
    return min(1.0, max(by_noise, asked.margin / 2.0 + POWER_QUANTILE * seen.se))


def _z(tail: float) -> float:
    return float(special.ndtri(1.0 - tail))


def _summary(asked: Question, table: _Table, seen: PpiMean, detectable: float) -> str:
    n, total = int(table.labelled.sum()), len(table.ids)
    return (
        f"as people judge: {seen.estimate * 100:+.1f} points ({1.0 - 2.0 * asked.alpha_pass:.0%} interval"
        f" {seen.low * 100:+.1f} to {seen.high * 100:+.1f}; {_points(asked.margin)} tolerated), from"
        f" {count_of(n, 'label')}"
        f" ({asked.label}) and the judge's scores of all {total} at weight {seen.lam:.2f};"
        f" labels alone {table.human[table.labelled].mean() * 100:+.1f}, judge alone {table.judge.mean() * 100:+.1f};"
        f" alpha {asked.alpha_block:.3g}, sees {_points(detectable)}; the labelled samples are taken for a random part"
    )


def _moved(table: _Table) -> tuple[Moved, ...]:
    """Labelled samples whose label differs, worst first."""
    rows = [row for row in np.flatnonzero(table.labelled) if table.human[row] != 0.0]
    rows.sort(key=lambda row: (table.human[row], table.ids[row]))
    return tuple(Moved(table.ids[row], float(table.before[row]), float(table.now[row])) for row in rows[:LISTED])


def _early() -> Reason:
    text = "people's labels decide at the end of a run only"
    return reason("early-stopped", text, "go on with the run: --resume --no-early-stop")


def _without(asked: Question, status: Status, why: Reason) -> CheckOutcome:
    return CheckOutcome(
        asked.check, status, why.text, metric=asked.metric, threshold=-asked.margin, reasons=(why, *asked.notes)
    )


def _points(value: float) -> str:
    return f"{value * 100:.3g} points"
