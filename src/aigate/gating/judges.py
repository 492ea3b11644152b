"""Are the judges those of the baseline, and were they asked about answers, not talked to?

A judge that changed makes every difference of scores its own: a comparison is then void. That the judge's identity is
the same says `comparable`; here is what shows only in its replies: the model that was served, and what it says of the
suite's labelled answers (`judge-anchors.jsonl`), which every run has it judge anew. Two exact sign tests compare these
with the baseline's, each at half of `DRIFT_ALPHA`: whether it agrees with the labels as often, and whether its scores
moved one way. Together they are wrong about an unchanged judge in at most 5 runs of 100; what follows then is that the
baseline is judged again, not that anything is blocked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aigate.core.counts import count_of, were
from aigate.core.run import AnchorScore, AnchorsJudged, Run
from aigate.core.score import MetricSpec, Score
from aigate.core.verdict import CheckOutcome, Moved, Reason, Status, worst
from aigate.errors import UsageError
from aigate.gating.checks.base import Evidence
from aigate.gating.policy import Policy
from aigate.gating.reasons import reason
from aigate.gating.served import folded_name, is_declared
from aigate.scorers.judge import Judge
from aigate.stats.signs import sign_test
from aigate.stats.tango import tango_interval

__all__ = ["DRIFTED", "judge_sound", "judged_metrics"]

DRIFT_ALPHA = 0.05
AGREES_WITHIN = 0.25  # of the label, for a judge's score to agree with it
FEWEST_ALIKE = 3  # answers
SHORTEST_ALIKE = 20  # characters: "yes" may be right many times
NOTED_ALIKE = 0.05  # of the samples
NAMED = 5

DRIFTED = frozenset({"judge-changed", "judge-drifted"})
"""Reasons that go away once the baseline's answers are judged again."""


def judge_sound(evidence: Evidence, policy: Policy) -> CheckOutcome | None:
    """The judges are the declared ones, and judge as they did in the baseline; nobody talked to them."""
    run = evidence.candidate
    metrics = judged_metrics(policy, run)
    if not metrics:
        return None
    baseline = None if evidence.comparison is None else evidence.comparison.baseline
    found = [_Found(*judged) for spec in metrics for judged in _of_metric(spec, run, baseline, policy)]
    found += [_Found(*judged) for judged in _outputs_alike(run, baseline, policy)]
    return CheckOutcome(
        "judge-sound",
        worst([Status.PASS, *(each.status for each in found)]),
        "; ".join(each.why.text for each in found if each.status is not Status.PASS)
        or _summary(metrics, run, baseline),
        n_samples=len(run.samples),
        moved=tuple(Moved(id_, None, None, note) for each in found for id_, note in each.samples),
        reasons=tuple(each.why for each in found),
        integrity=True,
    )


def judged_metrics(policy: Policy, run: Run) -> tuple[MetricSpec, ...]:
    """The metrics of a run that a model judged and that the policy decides on."""
    named = {metric.partition(".")[0] for check in policy.checks for metric in check.metrics_for(run)}
    return tuple(spec for spec in run.header.metrics if spec.judge is not None and spec.metric in named)


@dataclass(frozen=True, slots=True)
class _Found:
    """One thing that was found."""

    status: Status
    why: Reason
    samples: tuple[tuple[str, str], ...] = ()


_Finding = tuple[Status, Reason] | tuple[Status, Reason, tuple[tuple[str, str], ...]]


def _of_metric(spec: MetricSpec, run: Run, baseline: Run | None, policy: Policy) -> Iterable[_Finding]:
    yield from _served(spec, run)
    yield from _steered(spec, run)
    yield from _unjudged_anchors(spec, run, policy)
    yield from _position(spec, run)
    same = None if baseline is None or spec.against is not None else baseline.header.metric(spec.metric)
    if baseline is not None and same is not None and same.judge == spec.judge:  # another judge: `comparable` says so
        yield from _changed(spec, run, baseline)
        yield from _drifted(spec, run, baseline)


def _served(spec: MetricSpec, run: Run) -> Iterable[_Finding]:
    """The endpoint served the judge that was declared."""
    try:
        judge = Judge.from_identity(spec.judge or {})
    except UsageError as error:  # written by another tool
        yield Status.ERROR, reason("judge-served", f"'{spec.metric}': {error.message}")
        return
    asked = [judge] if judge.embeddings is None else [judge, judge.embeddings]
    wrong = [name for name in _models(spec.metric, run) if not any(_declares(each, name) for each in asked)]
    if wrong:
        hint = 'name the judge that is served, or list its name under served-models = ["..."] in [judge]'
        named = " and ".join(str(each.version) for each in asked)
        text = f"'{spec.metric}' is judged by {named}, and {', '.join(wrong)} was served"
        yield Status.ERROR, reason("judge-served", text, hint)


def _declares(judge: Judge, served: str) -> bool:
    requested = judge.provider.get("model")
    return is_declared(served, judge.version, requested=requested, expected=judge.expected_models)


def _models(metric: str, run: Run) -> list[str]:
    """Every name that a metric's judge was served under, as it was spelled first."""
    names = [name for r in run.results if metric in r.judging for name in r.judging[metric].served_models]
    if (anchors := run.judge_anchors.get(metric)) is not None:
        names += anchors.use.served_models
    return sorted({folded_name(name): name for name in reversed(names)}.values())


def _changed(spec: MetricSpec, run: Run, baseline: Run) -> Iterable[_Finding]:
    """The served judge is the one that judged the baseline."""
    ours, theirs = (_models(spec.metric, each) for each in (run, baseline))
    if ours and theirs and set(map(folded_name, ours)) != set(map(folded_name, theirs)):
        text = f"'{spec.metric}' was judged by {', '.join(theirs)} in the baseline, and by {', '.join(ours)} here"
        yield Status.ERROR, reason("judge-changed", text, _AGAIN)


_AGAIN = "aigate eval judges the baseline's answers again, within the budget: run it, or run it again with --no-journal"


def _steered(spec: MetricSpec, run: Run) -> Iterable[_Finding]:
    """Answers that talk to their judge: never unnoticed."""
    signs = {r.sample_id: r.judging[spec.metric].steering for r in run.results if spec.metric in r.judging}
    found = {id_: told for id_, told in signs.items() if told}
    if found:
        (first, told), n = next(iter(found.items())), len(found)
        named = ", ".join(list(found)[:NAMED]) + (f" and {n - NAMED} more" if n > NAMED else "")
        flagged = (spec.judge or {}).get("steering") == "flag"
        how = "judged all the same, as the suite says" if flagged else "not judged"
        text = (
            f"{count_of(n, 'answer talks', 'answers talk')} to the judge of '{spec.metric}' and"
            f" {were(n)} {how}: {named}; the answer to {first} {told[0]}"
        )
        samples = tuple((id_, f"the answer {told[0]}") for id_, told in found.items())
        yield Status.PASS, reason("judge-steered", text, "read these answers before anything else"), samples


def _position(spec: MetricSpec, run: Run) -> Iterable[_Finding]:
    """A judge of pairs that goes by their order: how often, and whether it leans to one place."""
    if spec.against is None:
        return
    from aigate.scorers.pairwise import places_of

    scores = (result.scores.get(spec.metric) for result in run.results)
    places = places_of([score for score in scores if isinstance(score, Score)])
    first, second = places.count("first"), places.count("second")
    if not first and not second:
        return
    low, high = tango_interval(second, first, len(places), level=0.95)
    text = (
        f"'{spec.metric}': of {count_of(len(places), 'pair')}, each shown in both orders, the order decided"
        f" {first + second}:"
        f" {first} times the first answer was taken, {second} times the second; position bias"
        f" {(first - second) / len(places) * 100.0:+.1f} points (95 % interval {low * 100.0:+.1f} to"
        f" {high * 100.0:+.1f}); they count as ties"
    )
    yield Status.PASS, reason("position-bias", text)


def _unjudged_anchors(spec: MetricSpec, run: Run, policy: Policy) -> Iterable[_Finding]:
    """A judge that fails on labelled answers cannot be compared with anything."""
    judged = run.judge_anchors.get(spec.metric)
    if judged is None:
        return
    missing = [row for row in judged.rows if row.score is None]
    if missing:
        text = (
            f"{len(missing)} of {count_of(len(judged.rows), 'judge anchor')} of '{spec.metric}' got no"
            f" score; the first: "
        )
        text += f"{missing[0].id}: {missing[0].why}"
        tolerated = len(missing) <= policy.at_most_missing * len(judged.rows)
        yield Status.PASS if tolerated else Status.ERROR, reason("judge-anchors-missing", text, "run again")


def _drifted(spec: MetricSpec, run: Run, baseline: Run) -> Iterable[_Finding]:
    """What the judge says of labelled answers is what it said of them in the baseline."""
    ours, theirs = (each.judge_anchors.get(spec.metric) for each in (run, baseline))
    if theirs is None or (ours is None and not run.digest):  # a run that is still going on has not got them yet
        return
    if ours is None:
        text = (
            f"the baseline's judge of '{spec.metric}' judged"
            f" {count_of(len(theirs.rows), 'labelled answer')}, and this one none"
        )
        hint = "put judge-anchors.jsonl back: without it nobody sees whether the judge has changed"
        yield Status.INCONCLUSIVE, reason("judge-anchors-missing", text, hint)
        return
    pairs = _pairs(ours, theirs)
    if not pairs:
        text = f"not one judge anchor of '{spec.metric}' is the same in both runs: that the judge is, is taken on trust"
        yield Status.PASS, reason("judge-anchors-missing", text)
        return
    agreed = [(_agrees(before), _agrees(now)) for before, now in pairs]
    lost, won = agreed.count((True, False)), agreed.count((False, True))
    moves = [(now.score or 0.0) - (before.score or 0.0) for before, now in pairs]
    up, down = sum(move > 0.0 for move in moves), sum(move < 0.0 for move in moves)
    p = {"agreement": sign_test(won, lost), "scores": sign_test(up, down)}
    if min(p.values()) <= DRIFT_ALPHA / 2.0:
        before, now = (sum(agrees[arm] for agrees in agreed) for arm in (0, 1))
        text = (
            f"the judge of '{spec.metric}' has changed: of {count_of(len(pairs), 'labelled answer')} it"
            f" agrees on {now}, and agreed"
            f" on {before} in the baseline; {up} scores are higher and {down} lower (exact sign tests, p = "
            f"{p['agreement']:.2g} and {p['scores']:.2g}, alpha {DRIFT_ALPHA:g} over both)"
        )
        yield Status.ERROR, reason("judge-drifted", text, _AGAIN)


def _pairs(ours: AnchorsJudged, theirs: AnchorsJudged) -> list[tuple[AnchorScore, AnchorScore]]:
    """The anchors that are the same in both runs and got a score in both: (baseline, candidate)."""
    before = {(row.id, row.digest): row for row in theirs.rows if row.score is not None}
    return [
        (before[row.id, row.digest], row)
        for row in ours.rows
        if row.score is not None and (row.id, row.digest) in before
    ]


def _agrees(row: AnchorScore) -> bool:
    return row.score is not None and abs(row.score - row.label) <= AGREES_WITHIN


def _outputs_alike(run: Run, baseline: Run | None, policy: Policy) -> Iterable[_Finding]:
    """One and the same text for many different questions answers none of them, however well it is judged."""
    ids, text = _most_alike(run)
    answered = sum(1 for rows in run.by_sample.values() if any(r.response and r.response.output for r in rows))
    if len(ids) < FEWEST_ALIKE or len(ids) < NOTED_ALIKE * answered:
        return
    alike_before = () if baseline is None else _most_alike(baseline)[0]
    before = len(alike_before) / len(baseline.samples) if baseline is not None and len(alike_before) > 1 else 0.0
    share = len(ids) / answered
    told = f"{len(ids)} of {answered} different questions got the same answer: {', '.join(ids[:NAMED])}: {text[:80]!r}"
    tolerated = share <= before + policy.at_most_missing
    hint = "look whether the answers are made for the judge; scores of such answers say little"
    samples = tuple((id_, "the same answer as to others") for id_ in ids)
    yield Status.PASS if tolerated else Status.INCONCLUSIVE, reason("same-output", told, hint), samples


def _most_alike(run: Run) -> tuple[Sequence[str], str]:
    """The most samples with different questions that got one and the same answer, and that answer; not abstentions."""
    from aigate.scorers.shape import is_abstention

    asked: Mapping[str, dict[str, str]] = defaultdict(dict)
    for result in run.results:
        output = " ".join((result.response.output or "").split()) if result.response else ""
        if len(output) >= SHORTEST_ALIKE:
            sample = run.samples[result.sample_id]
            asked[output.casefold()].setdefault(sample.text, result.sample_id)
    counted = sorted(asked.items(), key=lambda item: -len(item[1]))
    text, ids = next(((text, ids) for text, ids in counted if not is_abstention(text)), ("", {}))
    return tuple(ids.values()), text


def _summary(metrics: Sequence[MetricSpec], run: Run, baseline: Run | None) -> str:
    return "; ".join(_told(spec, run, baseline) for spec in metrics)


def _told(spec: MetricSpec, run: Run, baseline: Run | None) -> str:
    """One metric's judge, and how often it agrees with the labels."""
    by = f"{spec.metric} judged by {(spec.judge or {}).get('version')}"
    judged = run.judge_anchors.get(spec.metric)
    if judged is None:
        return f"{by}, no labelled answers"
    now = f"agrees on {sum(map(_agrees, judged.rows))} of {count_of(len(judged.rows), 'labelled answer')}"
    before = None if baseline is None else baseline.judge_anchors.get(spec.metric)
    told = "" if before is None else f" (baseline: {sum(map(_agrees, before.rows))} of {len(before.rows)})"
    return f"{by}, {now}{told}"
