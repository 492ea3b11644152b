"""Runs to compare with under the judges of the candidate: what `aigate eval` does where a judge is not the baseline's.

A judge that is another one by name, prompts or parameters is seen before anything is asked, and the baseline is judged
again then, its judgements kept in the journal. One that has changed behind its name shows only in what it says of
labelled answers and of outputs that both runs share; the baseline is judged again then, past the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from aigate.core.counts import are, count_of
from aigate.core.ledger import Outcome
from aigate.core.run import AnchorsJudged, Run, RunHeader
from aigate.core.verdict import Verdict
from aigate.errors import AigateError
from aigate.gating.judges import DRIFTED, judged_metrics
from aigate.gating.policy import Policy
from aigate.running.evaluation import Conditions
from aigate.running.rejudging import other_judges, rejudge, rejudged_header
from aigate.storing.runs import load_run

__all__ = ["drifted_metrics", "judged_alike", "judged_anew"]

NAMES = ("baseline", "anchor")
Runs = tuple[Run | None, Run | None]
Tell = Callable[[str], None]


def judged_alike(runs: Runs, prepared: Conditions, policy: Policy, *, out: Path, tell: Tell) -> Runs:
    """The baseline and the anchor, judged as the candidate will be: judged again where their judge was another one.

    Args:
        runs: Baseline and anchor.
        prepared: The evaluation of the candidate.
        policy: Which metrics matter.
        out: The candidate's run file; what is judged again is written beside it.
        tell: Says what is done.
    """
    baseline, anchor = (
        run and _alike(run, name, prepared, policy, path=_path(out, name), tell=tell)
        for name, run in zip(NAMES, runs, strict=True)
    )
    return baseline, anchor


def drifted_metrics(verdict: Verdict, candidate: Run, policy: Policy) -> tuple[str, ...]:
    """The judged metrics, where the verdict says that a judge has changed since the baseline; else none."""
    codes = {why.code for check in verdict.checks if check.integrity for why in check.reasons}
    judged = (spec for spec in judged_metrics(policy, candidate) if spec.against is None)
    return tuple(spec.metric for spec in judged) if codes & DRIFTED else ()


def judged_anew(
    runs: Runs, metrics: Collection[str], conditions: Conditions, candidate: Run, *, out: Path, tell: Tell
) -> Runs:
    """The baseline and the anchor, judged by the judges as they are today.

    Where a judgement of the candidate was given before this run, nobody knows which judge gave it: they are then left
    as they are, and the verdict stays an error.

    Args:
        runs: Baseline and anchor.
        metrics: What is judged.
        conditions: The evaluation of the candidate.
        candidate: Its run.
        out: The candidate's run file.
        tell: Says what is done.
    """
    if old := sum(use.from_journal for result in candidate.results for use in result.judging.values()):
        told = (
            f"a judge has changed, and {count_of(old, 'judgement')} of this run {are(old)} from the"
            f" journal, perhaps of before"
        )
        tell(f"{told}: run again with --no-journal")
        return runs
    baseline, anchor = (
        run
        and _again(
            run,
            name,
            metrics,
            conditions,
            path=_path(out, name),
            why=f"a judge has changed since the {name}",
            tell=tell,
            anchors=candidate.judge_anchors,
        )
        for name, run in zip(NAMES, runs, strict=True)
    )
    return baseline, anchor


def _alike(run: Run, name: str, prepared: Conditions, policy: Policy, *, path: Path, tell: Tell) -> Run:
    matter = {spec.metric for spec in judged_metrics(policy, run)}
    before = _judged_before(run, path)
    if before is not None and not other_judges(before, prepared.header, matter):
        tell(f"the {name} is the one that was judged again in {path}")
        return before
    if not (metrics := other_judges(run, prepared.header, matter)):
        return run
    header = rejudged_header(run, prepared.header, metrics)
    told = (f"'{m}' was judged by {_judge_of(run.header, m)}, and is now by {_judge_of(header, m)}" for m in metrics)
    return _again(run, name, metrics, prepared, path=path, why=" and ".join(told), tell=tell)


def _again(
    run: Run,
    name: str,
    metrics: Collection[str],
    conditions: Conditions,
    *,
    path: Path,
    why: str,
    tell: Tell,
    anchors: Mapping[str, AnchorsJudged] | None = None,
) -> Run:
    """The run, judged again; the run itself where a cap forbids it, so that the verdict is an error."""
    tell(
        f"{why}: the {count_of(len(run.results), 'answer')} of the {name} {are(len(run.results))} judged"
        f" again, into {path}"
    )
    judged = rejudge(run, conditions, metrics, path, fresh=anchors is not None, anchors=anchors)
    if judged.ledger.counts[Outcome.BUDGET]:
        told = "" if conditions.budget is None else f": {conditions.budget.exhausted}"
        tell(f"the {name} could not be judged again{told}")
        return run
    return judged


def _path(out: Path, name: str) -> Path:
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.rejudged-{name}.jsonl")


def _judged_before(run: Run, path: Path) -> Run | None:
    """The run that an earlier evaluation judged again and left in a file; None where there is none of this run."""
    try:
        found = load_run(path)
    except AigateError:
        return None
    whole = not found.ledger.counts[Outcome.BUDGET]
    return found if whole and found.header.rejudged_from in {run.digest, run.header.rejudged_from} else None


def _judge_of(header: RunHeader, metric: str) -> str:
    """A judge as a reader tells it from another: its version, and the first digits of its prompts' digests."""
    spec = header.metric(metric)
    judge: Mapping[str, Any] = {} if spec is None or spec.judge is None else spec.judge
    return f"{judge.get('version')} ({', '.join(digest[7:15] for digest in judge.get('prompts', {}).values())})"
