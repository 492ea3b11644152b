"""The rules no policy has to ask for: is there anything to judge, is it what was named, may it be compared?

Each gives one outcome, or None where it has nothing to look at. One that ends in error makes every other check void.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from aigate.core.columns import Coded
from aigate.core.counts import are, count_of, were
from aigate.core.ledger import Outcome
from aigate.core.looks import LookPlan
from aigate.core.response import Fault
from aigate.core.run import Result, Run
from aigate.core.score import Unscored
from aigate.core.verdict import CheckOutcome, Moved, Reason, Status, worst
from aigate.gating.arrays import Bools, Ints, arrays_of
from aigate.gating.calibrated import judge_agreement
from aigate.gating.checks.base import Evidence, looks_at_output
from aigate.gating.checks.min_score import MinScore
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.judges import judge_sound
from aigate.gating.policy import Policy
from aigate.gating.reasons import reason
from aigate.gating.served import folded_name, is_declared, unversioned_names
from aigate.gating.views import part_of, views_of, whole_view

__all__ = ["INTEGRITY", "baseline_sound", "gating_metrics", "skipped_samples"]

NOTED_MISSING = 0.02
ANSWERS = "any metric (no answer)"  # no metric's name: it has spaces
_NO_ANSWER = frozenset({Outcome.INFRASTRUCTURE_ERROR})
LISTED = 50


def gating_metrics(policy: Policy, run: Run, *, compared: bool = False) -> tuple[str, ...]:
    """The per-sample metrics that a policy decides on; with `compared`, only those held against the baseline."""
    checks = [check for check in policy.checks if check.needs_baseline or not compared]
    named = [metric for check in checks for metric in check.metrics_for(run)]
    if not compared:  # a number over the run rests on the scores of its metric
        named = [metric if run.header.metric(metric) else metric.partition(".")[0] for metric in named]
    return tuple(dict.fromkeys(named))


def comparable(evidence: Evidence, policy: Policy) -> CheckOutcome | None:
    """The runs may be compared: same samples, same scorers, same request parameters."""
    comparison = evidence.comparison
    if comparison is None or not policy.needs_baseline:
        return None
    metrics = ", ".join(gating_metrics(policy, evidence.candidate, compared=True)) or "outputs"
    status = Status.ERROR if evidence.obstacles else Status.PASS
    summary = "; ".join(o.text for o in evidence.obstacles) or (
        f"{count_of(comparison.n_shared, 'sample is', 'samples are')} the same in both runs; {metrics} computed alike"
    )
    return CheckOutcome(
        "comparable",
        status,
        summary,
        observed=comparison.overlap,
        n_samples=comparison.n_shared,
        reasons=evidence.obstacles or comparison.notes(),
        integrity=True,
    )


def complete(evidence: Evidence, policy: Policy) -> CheckOutcome:
    """Scores are there: answers came back, and few scores are missing through no fault of the candidate."""
    run = part_of(evidence.candidate, evidence.views[-1]) if evidence.views else evidence.candidate
    arrays = arrays_of(run)
    if not arrays.has_output.any():
        faulty = np.flatnonzero(arrays.has_fault)
        first = fault_of(run.results[int(faulty[0])]) if len(faulty) else None
        told = f"; the first: {first.kind}: {first.message}" if first else ""
        why = reason(
            "no-answers",
            f"not one of {count_of(len(run.results), 'call')} was answered{told}",
            "check key, endpoint and model",
        )
        return CheckOutcome("complete", Status.ERROR, why.text, reasons=(why,), integrity=True)
    counts = {metric: _missing(run, metric) for metric in gating_metrics(policy, run) if run.header.metric(metric)}
    unanswered = _unanswered(run)
    if all(found.count < unanswered.count for found in counts.values()) or not counts:
        counts[ANSWERS] = unanswered  # else every one of them is a missing score of some metric already
    metric, most = max(counts.items(), key=lambda item: item[1].share)
    reasons = [_too_many(name, found) for name, found in counts.items() if found.share > policy.at_most_missing]
    status = Status.ERROR if reasons else Status.PASS
    reasons += [_noted(n, m) for n, m in counts.items() if m.count and m.share <= policy.at_most_missing]
    reasons += list(_arms_differ(evidence, counts))
    return CheckOutcome(
        "complete",
        status,
        f"{most.count} of {count_of(most.total, 'score')} of {metric} {are(most.count)} missing"
        if most.count
        else "no gating score is missing",
        observed=most.share,
        threshold=policy.at_most_missing,
        n_samples=len(run.samples),
        moved=tuple(Moved(id_, None, None, why) for id_, why in most.told(LISTED)),
        reasons=tuple(reasons),
        integrity=True,
    )


@dataclass(frozen=True)
class _Missing:
    """Scores that should be there and are not.

    Attributes:
        run: The run.
        metric: Of which metric; None for answers.
        results: The rows of results that lack it.
        samples: Per answer that was never run, the row of its sample; -1 where that does not matter.
        total: How many there should be.
    """

    run: Run
    metric: str | None
    results: Ints
    samples: Ints
    total: int

    @property
    def count(self) -> int:
        return len(self.results) + len(self.samples)

    @property
    def share(self) -> float:
        return self.count / self.total if self.total else 0.0

    def told(self, most: int) -> list[tuple[str, str]]:
        """Sample and why, of the first ones: by sample, what was answered before what was never run."""
        found = [(self._sample_of(row), 0, self._why(row)) for row in self.results[:most].tolist()]
        found += [(row, 1, "never run") for row in self.samples[:most].tolist()]
        if self.metric is not None:
            found.sort(key=lambda one: one[:2])
        ids = self.run.columns.samples.ids
        return [(ids[row] if row >= 0 else "some", why) for row, _, why in found[:most]]

    def rows(self) -> list[int]:
        """The rows of the samples concerned, each once, in order; -1 for some of them."""
        results = arrays_of(self.run).sample[self.results]
        if self.metric is None:
            return [*dict.fromkeys(results.tolist()), *([-1] if len(self.samples) else [])]
        rows: list[int] = np.unique(np.concatenate([results, self.samples])).tolist()
        return rows

    def _sample_of(self, row: int) -> int:
        return int(arrays_of(self.run).sample[row])

    def _why(self, row: int) -> str:
        result = self.run.results[row]
        return _fault_of(result) if self.metric is None else _why(result.scores.get(self.metric))


def _unanswered(run: Run) -> _Missing:
    """Answers that should be there and are not, through no fault of the candidate: what outputs are judged by."""
    found = np.flatnonzero(arrays_of(run).ended_as(_NO_ANSWER.__contains__))
    never = len(run) * run.header.repeats - len(run.results)
    skipped = run.ledger.total - run.ledger.asked  # an early stop, or a cap: `within_budget` looks at that
    return _Missing(run, None, found, np.full(never, -1, dtype=np.intp), len(run.results) - skipped + never)


def fault_of(result: Result) -> Fault | None:
    """The fault a result ended with; None for an answer."""
    return result.response.fault if result.response else None


def _fault_of(result: Result) -> str:
    fault = fault_of(result)
    return f"{fault.kind}: {fault.message}" if fault else str(result.outcome)


def _missing(run: Run, metric: str) -> _Missing:
    arrays, repeats = arrays_of(run), run.header.repeats
    applies = arrays.applies(metric)
    not_run = arrays.ended_as(lambda outcome: outcome.not_run)
    lacking = np.flatnonzero(applies[arrays.sample] & ~not_run & ~arrays.scored(metric))
    never = np.maximum(repeats - np.diff(arrays.starts), 0) * applies
    total = int((repeats - arrays.per_sample(not_run))[applies].sum())
    return _Missing(run, metric, lacking, np.repeat(np.arange(len(run), dtype=np.intp), never), total)


def _why(score: object) -> str:
    return f"{score.reason}: {score.explanation}" if isinstance(score, Unscored) else "never computed"


def _too_many(metric: str, found: _Missing) -> Reason:
    code = "metric-missing" if found.count == found.total else "missing-scores"
    ((first, why),) = found.told(1)
    text = (
        f"{found.count} of {count_of(found.total, 'score')} of '{metric}' {are(found.count)} missing;"
        f" the first: {first}: {why}"
    )
    return reason(code, text, "run again; missing scores are neither good nor bad")


def _noted(metric: str, found: _Missing) -> Reason:
    rows, texts = found.rows(), found.run.columns.samples.ids
    named = ", ".join(texts[row] if row >= 0 else "some" for row in rows[:5])
    named += f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    much = f" ({found.share:.1%}: run again)" if found.share > NOTED_MISSING else ""
    ((_, why),) = found.told(1)
    text = (
        f"{found.count} of {count_of(found.total, 'score')} of '{metric}' {are(found.count)}"
        f" missing{much}: {named}: {why}"
    )
    return reason("missing-scores", text)


def _arms_differ(evidence: Evidence, counts: dict[str, _Missing]) -> Iterable[Reason]:
    """A note when scores are missing more often in one run than in the other (Fisher's exact test, 5 %)."""
    if evidence.comparison is None:
        return
    baseline = evidence.comparison.baseline
    baseline = part_of(baseline, whole_view(baseline))
    for metric, ours in counts.items():
        spec = evidence.candidate.header.metric(metric)
        if spec is not None and spec.against is not None:  # the baseline has no scores of it to miss
            continue
        theirs = _unanswered(baseline) if metric == ANSWERS else _missing(baseline, metric)
        if not ours.count and not theirs.count:
            continue
        from scipy.stats import fisher_exact

        table = np.array([[m.count, m.total - m.count] for m in (ours, theirs)])
        if fisher_exact(table).pvalue <= 0.05:
            text = (
                f"'{metric}' is missing {count_of(ours.count, 'time')} here and"
                f" {count_of(theirs.count, 'time')} in the baseline"
            )
            yield reason("missing-arms-differ", text)


def whole_suite(evidence: Evidence, policy: Policy) -> CheckOutcome:
    """Every sample of the suite was run: a subset shows nothing about the rest, and cannot pass."""
    run, header = evidence.candidate, evidence.candidate.header
    if header.looks is not None and not _covers(header.looks, run):
        last = header.looks.looks[-1]
        text = f"the last planned look uses {last.units} units and {last.repeats} repeats, which is not the whole run"
        why = reason("looks-incomplete", text, "run again: looks are planned by aigate eval")
        return CheckOutcome("whole-suite", Status.ERROR, text, reasons=(why,), integrity=True)
    if (stopped := _wrongly_stopped(evidence, policy)) is not None:
        return stopped
    whole = header.subset is None and len(run.samples) == header.suite_size
    n = len(run.samples) - len(skipped_samples(run))
    text = f"{n} of {count_of(header.suite_size, 'sample')} {were(n)} run" + (
        f" ({header.subset})" if header.subset else ""
    )
    why = reason("subset", text, "run the whole suite: leave out --limit and --tag")
    return CheckOutcome(
        "whole-suite",
        Status.PASS if whole else Status.INCONCLUSIVE,
        text,
        observed=header.share(n),
        n_samples=n,
        share_used=header.share(n),
        reasons=_saved(evidence) if whole else (why, *_saved(evidence)),
        integrity=True,
    )


def within_budget(evidence: Evidence, policy: Policy) -> CheckOutcome | None:  # noqa: ARG001 - one signature
    """No answer is left out because a cap or the deadline was reached: such a run cannot pass."""
    ledger = evidence.candidate.ledger
    if not (stopped := ledger.counts[Outcome.BUDGET]):
        return None
    text = (
        f"a cap or the deadline was reached: {stopped} of {count_of(ledger.total, 'answer')} {were(stopped)} not asked"
    )
    why = reason("stopped-by-budget", text, "go on with the run under a higher cap: --resume")
    share = evidence.candidate.header.share(len(evidence.candidate.samples))
    return CheckOutcome(
        "within-budget",
        Status.INCONCLUSIVE,
        text,
        observed=stopped / ledger.total,
        n_samples=len(evidence.candidate.samples),
        share_used=share,
        reasons=(why,),
        integrity=True,
    )


def _wrongly_stopped(evidence: Evidence, policy: Policy) -> CheckOutcome | None:
    """An early stop that no planned look and no check with looks stands behind: it shows nothing about the rest."""
    run, skipped = evidence.candidate, evidence.candidate.ledger.counts[Outcome.EARLY_STOP]
    if not skipped:
        return None
    status, text = Status.INCONCLUSIVE, ""
    if run.header.looks is None:
        status, text = (
            Status.ERROR,
            f"{count_of(skipped, 'answer was', 'answers were')} skipped by early stop, and no look was planned",
        )
    elif not evidence.views:
        text = "stopped before the first look"
    elif skipped_samples(run) and not any(isinstance(c, MinScore | NoRegression) for c in policy.checks):
        text = "stopped early, and no check of the policy decides at looks"
    if not text:
        return None
    why = reason("early-stopped", text, "go on with the run: --resume --no-early-stop")
    return CheckOutcome("whole-suite", status, text, reasons=(why, *_saved(evidence)), integrity=True)


def _covers(looks: LookPlan, run: Run) -> bool:
    """True when the last look uses all there is: one that leaves a rest out could hide what is in it."""
    return looks.looks[-1].units == arrays_of(run).n_units and looks.looks[-1].repeats == run.header.repeats


def _saved(evidence: Evidence) -> tuple[Reason, ...]:
    """At which look the run was stopped, and what that saved."""
    run, skipped = evidence.candidate, evidence.candidate.ledger.counts[Outcome.EARLY_STOP]
    plan, looked = run.header.looks, len(evidence.views)
    if not skipped:
        return ()
    at = f"at look {looked} of {len(plan.looks)}" if plan is not None and looked else "after the samples that must pass"
    costs = [cost for cost in run.columns.answers.numbers.get("cost_usd", ()) if not math.isnan(cost)]
    worth = f", about {sum(costs) / len(costs) * skipped:.2g} USD" if costs and sum(costs) > 0 else ""
    first = plan.looks[0].repeats if plan is not None else run.header.repeats
    asked_once = len(run.samples) * first
    arrays = arrays_of(run)
    plain = int((arrays.skipped & (arrays.repeat < first)).sum())
    share = f"{plain / asked_once:.0%}" if asked_once else "none"
    told = f"{plain} of {count_of(asked_once, 'answer')} {were(plain)} not asked ({share})"
    if skipped > plain:
        told += f", nor {count_of(skipped - plain, 'further answer')} to the same samples"
    return (reason("early-stopped", f"stopped {at}: {told}{worth}"),)


def served_model(evidence: Evidence, policy: Policy) -> CheckOutcome:  # noqa: ARG001 - one signature for all rules
    """The provider served the model that was declared: what was tested is what was named."""
    run = evidence.candidate
    answered = arrays_of(run).has_output
    served = _counted(run.columns.answers.served, answered)
    wrong = {name: n for name, n in served.items() if name is not None and not _is_declared(name, run)}
    named = ", ".join(f"{name} ({count_of(n, 'answer')})" for name, n in sorted(wrong.items()))
    if wrong:
        hint = 'name the version that is served, or list its name under served-models = ["..."] in suite.toml'
        why = reason("served-model", f"declared {run.version}, served {named}", hint)
        return CheckOutcome(
            "served-model", Status.ERROR, why.text, n_samples=int(answered.sum()), reasons=(why,), integrity=True
        )
    notes = [*_journal_notes(run, answered), *_served_notes(evidence, served)]
    told = ", ".join(sorted(name for name in served if name is not None)) or "not reported by the provider"
    return CheckOutcome(
        "served-model",
        Status.PASS,
        f"served: {told}",
        n_samples=int(answered.sum()),
        reasons=tuple(notes),
        integrity=True,
    )


def _counted(texts: Coded[str], used: Bools) -> Counter[str | None]:
    """How often each text stands in some rows; None where there is none."""
    codes, counts = np.unique(np.array(texts.codes, dtype=np.intp)[used], return_counts=True)
    pairs = zip(codes.tolist(), counts.tolist(), strict=True)
    return Counter({texts.known[code] if code >= 0 else None: count for code, count in pairs})


def _journal_notes(run: Run, answered: Bools) -> Iterable[Reason]:
    """Answers that were not asked for now: they say nothing of what the provider answers by now."""
    times = _counted(run.columns.answers.journaled, answered)
    n_asked = times.pop(None, 0)
    given = sorted(time for time in times if time is not None)
    if given:
        days = given[0][:10] if given[0][:10] == given[-1][:10] else f"{given[0][:10]} to {given[-1][:10]}"
        total = n_asked + times.total()
        text = (
            f"{times.total()} of {count_of(total, 'answer')} {are(times.total())} from the journal,"
            f" given {days}: nobody was asked again"
        )
        yield reason("from-journal", text, "ask anew with --no-journal where the provider may have changed since")


def _is_declared(served: str, run: Run) -> bool:
    requested = run.header.provider.get("model")
    return is_declared(served, run.version, requested=requested, expected=run.header.expected_models)


def _served_notes(evidence: Evidence, served: Counter[str | None]) -> Iterable[Reason]:
    if served and set(served) == {None}:
        yield reason("served-model-unknown", "the provider did not say which model it served: taken on trust")
    elif None in served:
        yield reason(
            "served-model-unknown",
            f"{count_of(served[None], 'answer does', 'answers do')} not say which model gave"
            f" {'it' if served[None] == 1 else 'them'}",
        )
    bare = {folded_name(name) for name in unversioned_names(evidence.candidate.version)}
    if any(name is not None and folded_name(name) in bare for name in served):
        text = "the provider names the model without a version: that it is the declared one is taken on trust"
        yield reason("served-model-unknown", text)
    if len({folded_name(name) for name in served if name is not None}) > 1:
        yield reason("served-models-mixed", f"served under several names: {', '.join(sorted(n for n in served if n))}")
    if evidence.comparison is None or evidence.comparison.change:
        return
    ours, theirs = (_fingerprints(run) for run in (evidence.candidate, evidence.comparison.baseline))
    if ours and theirs and ours != theirs:
        text = f"same version, another fingerprint: {', '.join(sorted(theirs))} → {', '.join(sorted(ours))}"
        yield reason("fingerprint-changed", text)


def _fingerprints(run: Run) -> set[str]:
    return {name for name in _counted(run.columns.answers.fingerprints, arrays_of(run).all_results) if name}


def prompt_unchanged(evidence: Evidence, policy: Policy) -> CheckOutcome | None:  # noqa: ARG001 - one signature
    """The same prompt version is the same prompt, byte for byte."""
    comparison = evidence.comparison
    if comparison is None or "prompt_version" in comparison.change.parts:
        return None
    ours, theirs = comparison.candidate.header.prompt_digest, comparison.baseline.header.prompt_digest
    name = f"prompts/{evidence.candidate.version.prompt_version}.md"
    if ours == theirs:
        text = "no prompt file in either run" if ours is None else f"{name} is the baseline's"
        return CheckOutcome("prompt-unchanged", Status.PASS, text, integrity=True)
    if ours is None or theirs is None:
        text = f"{name} was used in the {'baseline' if ours is None else 'candidate'} only"
        why = reason("prompt-unversioned", text, "give the change a prompt version of its own")
    else:
        text = f"{name} was edited under the same version ({theirs[7:19]} → {ours[7:19]})"
        why = reason("prompt-edited", text, "save it as a new prompt version, or take the edit back")
    return CheckOutcome("prompt-unchanged", Status.ERROR, text, reasons=(why,), integrity=True)


def provider_bump(evidence: Evidence, policy: Policy) -> CheckOutcome | None:
    """A new model or provider version is a breaking change: somebody must look at the contract or the shape."""
    comparison = evidence.comparison
    if comparison is None or not comparison.change.breaking:
        return None
    change = str(comparison.change)
    if skipped := skipped_samples(evidence.candidate):
        text = (
            f"{change}, and {count_of(len(skipped), 'sample was', 'samples were')} not asked: the run was stopped early"
        )
        why = reason("early-stopped", text, "go on with the run: --resume --no-early-stop")
        return CheckOutcome("provider-bump", Status.INCONCLUSIVE, why.text, reasons=(why,), integrity=True)
    looked = [check.name for check in policy.checks if looks_at_output(check, evidence.candidate.header)]
    if looked:
        return CheckOutcome("provider-bump", Status.PASS, f"{change}; {looked[0]} looks at the output", integrity=True)
    text = f"{change}, and no check looks at the output's contract or shape"
    why = reason(
        "contract-unchecked", text, 'add { check = "same-shape" } to the policy, or a check on a contract metric'
    )
    return CheckOutcome("provider-bump", Status.INCONCLUSIVE, text, reasons=(why,), integrity=True)


def skipped_samples(run: Run) -> tuple[str, ...]:
    """The samples that an early stop left unasked in every repeat."""
    arrays = arrays_of(run)
    return tuple(arrays.ids(np.flatnonzero(arrays.per_sample(~arrays.skipped) == 0)))


def baseline_sound(evidence: Evidence, policy: Policy) -> CheckOutcome | None:
    """The baseline is what it says: answered, scored, whole, and by the model that was declared."""
    comparison = evidence.comparison
    if comparison is None or not policy.needs_baseline:
        return None
    alone = replace(
        evidence, candidate=comparison.baseline, comparison=None, obstacles=(), views=views_of(comparison.baseline)
    )
    rules = (complete, served_model, whole_suite, within_budget, judge_sound)
    found = [outcome for rule in rules if (outcome := rule(alone, policy)) is not None]
    if skipped := skipped_samples(comparison.baseline):
        text = (
            f"it was stopped early: {len(skipped)} of"
            f" {count_of(len(comparison.baseline.samples), 'sample')} {were(len(skipped))} never asked"
        )
        found.append(CheckOutcome("whole-suite", Status.ERROR, text, integrity=True))
    bad = [outcome for outcome in found if outcome.status is not Status.PASS]
    told = "; ".join(outcome.summary for outcome in bad)
    status = worst([outcome.status for outcome in found])
    why = reason("baseline-unsound", f"the baseline {comparison.baseline.version}: {told}", "promote a sound run")
    return CheckOutcome(
        "baseline-sound",
        status,
        told or f"{comparison.baseline.ledger}",
        n_samples=len(comparison.baseline.samples),
        moved=tuple(moved for outcome in bad for moved in outcome.moved),
        reasons=(why,) if bad else (),
        integrity=True,
    )


INTEGRITY: tuple[Callable[[Evidence, Policy], CheckOutcome | None], ...] = (
    complete,
    whole_suite,
    within_budget,
    served_model,
    judge_sound,
    baseline_sound,
    comparable,
    prompt_unchanged,
    provider_bump,
    judge_agreement,
)
