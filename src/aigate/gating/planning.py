"""What a suite can and cannot see, told before a single call: per check, per slice, and for other sizes and repeats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aigate.core.columns import SampleColumns, columns_of
from aigate.core.counts import are, count_of
from aigate.core.digest import seed_from
from aigate.core.run import Run, RunHeader
from aigate.core.sample import Sample
from aigate.gating.arrays import Bools, Floats, arrays_of
from aigate.gating.checks.base import looks_at_output
from aigate.gating.checks.no_regression import NoRegression
from aigate.gating.comparison import trials_of
from aigate.gating.early_stop import more_answers_help
from aigate.gating.margins import (
    POWER,
    Margin,
    Spread,
    auto_margin,
    below_floor,
    block_units,
    can_see,
    counted,
    least_passing_margin,
    points,
    repeats_that_do,
    smallest_drop,
    smallest_loss,
    spread_of,
    units_needed,
    with_repeats,
    with_units,
)
from aigate.gating.policy import Policy

__all__ = [
    "CheckPower",
    "PowerReport",
    "RepeatsPower",
    "SlicePower",
    "measuring_warnings",
    "plan_power",
    "power_warnings",
    "provider_bump_warning",
    "self_check",
    "strict_problems",
]

REPEATS_SHOWN = ((1, 1), (5, 1), (5, 3), (5, 5))  # of baseline and candidate
SIZES_SHOWN = (0.5, 1.0, 2.0, 5.0, 10.0)  # times the suite's own
ENOUGH_IN_SLICE = 30  # smaller slices share alpha with everything else and see next to nothing


@dataclass(frozen=True, slots=True)
class RepeatsPower:
    """What other numbers of repeats would see.

    Attributes:
        baseline_repeats: Of the baseline.
        candidate_repeats: Of the candidate.
        smallest_drop: The smallest detectable drop on the suite as it is.
        units_needed: Samples or groups that the margin needs with these repeats.
        by_units: Number of units and smallest detectable drop, for sizes around the suite's own.
        planned: True for the repeats that are planned now.
    """

    baseline_repeats: int
    candidate_repeats: int
    smallest_drop: float
    units_needed: int
    by_units: tuple[tuple[int, float], ...]
    planned: bool

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON."""
        return {
            "baseline_repeats": self.baseline_repeats,
            "candidate_repeats": self.candidate_repeats,
            "smallest_drop": self.smallest_drop,
            "units_needed": self.units_needed,
            "planned": self.planned,
            "by_units": [{"units": units, "smallest_drop": drop} for units, drop in self.by_units],
        }


@dataclass(frozen=True, slots=True)
class SlicePower:
    """What a slice that a check names can see.

    Attributes:
        tag: The slice.
        n_samples: Its samples.
        n_units: Its samples, or groups.
        smallest_drop: The smallest drop in it that is detected, tested alone.
        smallest_drop_in_family: An upper bound of it while all metrics and slices share one error rate.
        problem: Why it can never block, and so keeps every pass inconclusive; None where it can.
        warning: What else is wrong; None for nothing.
    """

    tag: str
    n_samples: int
    n_units: int
    smallest_drop: float
    smallest_drop_in_family: float
    problem: str | None
    warning: str | None

    def to_dict(self) -> dict[str, Any]:
        """The slice as JSON."""
        return {
            "tag": self.tag,
            "n_samples": self.n_samples,
            "n_units": self.n_units,
            "smallest_drop": self.smallest_drop,
            "smallest_drop_in_family": self.smallest_drop_in_family,
            "problem": self.problem,
            "warning": self.warning,
        }


@dataclass(frozen=True, slots=True)
class CheckPower:
    """What one check can see.

    Attributes:
        metric: Its metric.
        gates: True for a no-regression check; False for the primary metric of a policy that has none.
        spread: How much the differences scatter, with the units and the repeats of both runs that are planned in any
            case.
        margin: Its margin; resolved where it is "auto".
        auto: True where the suite chose the margin.
        smallest_drop: The smallest detectable drop, tested alone.
        smallest_loss: The same where samples are lost whole, which adds scatter; None for graded scores.
        most_repeats: Answers per sample where nothing is decided with fewer; as many as planned where more never are.
        smallest_drop_at_most: The smallest detectable drop with so many.
        smallest_loss_at_most: The smallest detectable loss with so many.
        smallest_drop_in_family: An upper bound of it while the metrics and slices of the policy share one error rate.
        least_margin: The smallest margin with which an unchanged candidate can pass; 1 where nothing can.
        block_floor: The fewest lost samples with which a block is possible with the most repeats; None for graded
            scores.
        units_needed: Samples or groups that the margin needs with the most repeats.
        repeats_that_do: Repeats of baseline and candidate with which the suite as it is sees the margin, where some do.
        repeats: What other repeats would see.
        slices: The slices it names.
        sentence: All of it in one sentence.
        problem: What is wrong with the margin; None for nothing.
    """

    metric: str
    gates: bool
    spread: Spread
    margin: float
    auto: bool
    smallest_drop: float
    smallest_loss: float | None
    most_repeats: int
    smallest_drop_at_most: float
    smallest_loss_at_most: float | None
    smallest_drop_in_family: float
    least_margin: float
    block_floor: int | None
    units_needed: int
    repeats_that_do: tuple[int, int] | None
    repeats: tuple[RepeatsPower, ...]
    slices: tuple[SlicePower, ...]
    sentence: str
    problem: str | None

    @property
    def label(self) -> str:
        """The check and its metric; the metric alone where nothing gates on it."""
        return f"no-regression {self.metric}" if self.gates else self.metric

    @property
    def problems(self) -> tuple[str, ...]:
        """What `--strict` refuses; nothing where no check decides by the margin."""
        if not self.gates:
            return ()
        found = [self.problem, *(part.problem for part in self.slices)]
        return tuple(f"{self.label}: {problem}" for problem in found if problem)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is worth saying and no reason to refuse."""
        return tuple(f"{self.label}: {part.warning}" for part in self.slices if part.warning)

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON."""
        pair = self.repeats_that_do
        return {
            "metric": self.metric,
            "gates": self.gates,
            "n_samples": self.spread.n_samples,
            "n_units": self.spread.n_units,
            "units": self.spread.units,
            "candidate_repeats": self.spread.candidate_repeats,
            "baseline_repeats": self.spread.baseline_repeats,
            "sd_per_unit": self.spread.sd_per_unit,
            "measured": self.spread.measured,
            "origin": self.spread.origin,
            "margin": self.margin,
            "auto": self.auto,
            "smallest_drop": self.smallest_drop,
            "smallest_loss": self.smallest_loss,
            "most_repeats": self.most_repeats,
            "smallest_drop_at_most": self.smallest_drop_at_most,
            "smallest_loss_at_most": self.smallest_loss_at_most,
            "smallest_drop_in_family": self.smallest_drop_in_family,
            "least_margin": self.least_margin,
            "block_floor": self.block_floor,
            "units_needed": self.units_needed,
            "repeats_that_do": None if pair is None else {"baseline": pair[0], "candidate": pair[1]},
            "repeats": [row.to_dict() for row in self.repeats],
            "slices": [part.to_dict() for part in self.slices],
            "sentence": self.sentence,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class PowerReport:
    """What a suite can see under a policy.

    Attributes:
        checks: One per no-regression check; the primary metric where the policy has none.
        n_samples: Samples of the suite.
        alpha: One-sided error rate.
        power: The chance to detect that the smallest drops are stated for.
        strict: True when the problems are errors.
        notes: What the numbers do not say by themselves.
        self_check: What is odd about the baseline's own repeats; empty where nothing is.
        others: What other checks need before they can pass, one sentence each; empty where nothing is wrong.
    """

    checks: tuple[CheckPower, ...]
    n_samples: int
    alpha: float
    power: float
    strict: bool
    notes: tuple[str, ...]
    self_check: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What no run of this suite can decide as the policy asks: errors under `--strict`, else warnings."""
        return (*(problem for check in self.checks for problem in check.problems), *self.others)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is worth saying and no reason to refuse."""
        return (*(warning for check in self.checks for warning in check.warnings), *self.self_check)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "n_samples": self.n_samples,
            "alpha": self.alpha,
            "power": self.power,
            "strict": self.strict,
            "checks": [check.to_dict() for check in self.checks],
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    def lines(self) -> tuple[str, ...]:
        """The report as text, without the table of sizes."""
        found = []
        for check in self.checks:
            if not check.problems:
                found.append(f"{check.label}: {check.sentence}")
            found.extend(f"{'error' if self.strict else 'warning'}: {problem}" for problem in check.problems)
            found.append(f"  margin {points(check.margin)}{' (auto)' if check.auto else ''}; {_scatter(check.spread)}")
            if check.smallest_loss is not None and check.smallest_drop < 1.0:
                found.append(f"  {_loss(check, self.power)}")
            found.extend(f"  slice {part.tag}: {_slice_told(part)}" for part in check.slices)
        found.extend(f"{'error' if self.strict else 'warning'}: {problem}" for problem in self.others)
        found.extend(f"warning: {warning}" for warning in self.warnings)
        found.extend(f"note: {note}" for note in self.notes)
        return tuple(found)


def plan_power(
    samples: Sequence[Sample],
    policy: Policy,
    primary_metric: str,
    baseline: Run | None,
    *,
    repeats: int,
    most_repeats: int | None = None,
    baseline_repeats: int | None = None,
    power: float = POWER,
) -> PowerReport:
    """What this suite can see under this policy, before any call.

    Smallest detectable drops are for one look and one metric tested alone, by the noise there is without a drop. What
    is wrong is judged by the most answers that may be asked, as `aigate eval` asks them.

    Args:
        samples: The samples that will be asked.
        policy: What decides.
        primary_metric: What is planned for where the policy holds no no-regression check.
        baseline: The run that will be compared with; its repeats tell the noise. None: none yet.
        repeats: Answers per sample of the candidate, asked in any case.
        most_repeats: Answers per sample while nothing is decided; default: `repeats`. They are planned where the suite
            is too small for its margin with `repeats`, see `aigate.gating.early_stop.more_answers_help`.
        baseline_repeats: Plan with so many of the baseline; default: those it has, or `repeats` without one.
        power: The chance to detect.

    Raises:
        ValueError: Repeats below 1, or a power outside (0, 1).
    """
    own = _Plan(columns_of(samples), policy, baseline, repeats, repeats, baseline_repeats, power)
    plan = _with_most(own, most_repeats)
    found = tuple(_check_power(plan, check) for check in plan.checks)
    if not found:
        found = (_power_of(plan, primary_metric, policy.margin, slices=(), gates=False),)
    metrics = tuple(dict.fromkeys(check.metric for check in found))
    return PowerReport(
        checks=found,
        n_samples=len(plan.samples),
        alpha=policy.alpha,
        power=power,
        strict=policy.strict,
        notes=tuple(_notes(plan, found)),
        self_check=self_check(baseline, metrics, alpha=policy.alpha) if baseline is not None else (),
        others=tuple(_other_problems(plan)),
    )


def strict_problems(
    policy: Policy, samples: Sequence[Sample], baseline: Run | None, *, repeats: int, most_repeats: int | None = None
) -> list[str]:
    """What `--strict` refuses before any call: margins and slices that this suite cannot see.

    Args:
        policy: What decides.
        samples: The samples that will be asked.
        baseline: The run that will be compared with; None: none yet.
        repeats: Answers per sample of the candidate, asked in any case.
        most_repeats: As in `plan_power`.

    Returns:
        One sentence each; empty where nothing is wrong.
    """
    plan = _with_most(_Plan(columns_of(samples), policy, baseline, repeats, repeats, None, POWER), most_repeats)
    found = [problem for check in plan.checks for problem in _check_power(plan, check).problems]
    return found + list(_other_problems(plan))


def power_warnings(
    policy: Policy, samples: Sequence[Sample], baseline: Run | None, *, repeats: int, most_repeats: int | None = None
) -> list[str]:
    """What `strict_problems` says, and what else is worth knowing before any call; arguments as there."""
    plan = _with_most(_Plan(columns_of(samples), policy, baseline, repeats, repeats, None, POWER), most_repeats)
    found = [_check_power(plan, check) for check in plan.checks]
    told = [text for check in found for text in (*check.problems, *check.warnings)]
    told += [*_other_problems(plan), *_more_answers(plan)]
    metrics = tuple(dict.fromkeys(check.metric for check in found))
    return told + list(self_check(baseline, metrics, alpha=policy.alpha) if baseline is not None else ())


def measuring_warnings(policy: Policy, candidate: RunHeader, baseline: Run | None, *, priced: bool) -> list[str]:
    """What latency and cost checks will not find in the run, told before any call.

    Args:
        policy: What decides.
        candidate: The header of the run that is about to be made.
        baseline: The run that will be compared with; None: none.
        priced: True when the model's price is known.

    Returns:
        One sentence each; empty where nothing is wrong.
    """
    if not any(check.name in {"max-latency", "max-cost"} for check in policy.checks):
        return []
    from aigate.gating.checks.max_cost import MaxCost
    from aigate.gating.checks.max_latency import MaxLatency, load_obstacle

    found, provider = [], candidate.provider
    for check in policy.checks:
        if isinstance(check, MaxLatency):
            if check.of == "ttft" and provider.get("stream") is False:
                found.append("max-latency: only streams tell the time to the first token: set stream = true")
            obstacle = baseline and check.relative is not None and load_obstacle(candidate, baseline.header)
            if obstacle:
                found.append(f"max-latency: not comparable with the baseline: {obstacle}")
        elif isinstance(check, MaxCost) and not priced and candidate.load is not None:
            model = provider.get("model", candidate.version.model)
            found.append(f"max-cost: the price of '{model}' is not known, so it may not pass: --price IN,OUT tells it")
    return found


def provider_bump_warning(policy: Policy, candidate: RunHeader, baseline: Run | None) -> str | None:
    """That a run cannot pass, since it is of a new model or provider version and nobody looks at its output.

    `aigate.gating.integrity.provider_bump` says so too, once every answer is paid for.

    Args:
        policy: What decides.
        candidate: The header of the run that is about to be made.
        baseline: The run that will be compared with; None: nothing to be new against.

    Returns:
        One sentence; None where some check looks at the output's shape or contract, or nothing of this kind changed.
    """
    if baseline is None or not (change := candidate.version.change_from(baseline.version)).breaking:
        return None
    if any(looks_at_output(check, candidate) for check in policy.checks):
        return None
    return (
        f"{change} against the baseline, and no check looks at the output's contract or shape: this run cannot pass;"
        ' add { check = "same-shape" } to the policy, or a check on a contract metric'
    )


def self_check(baseline: Run, metrics: Sequence[str], *, alpha: float) -> tuple[str, ...]:
    """What is odd about the baseline's own repeats.

    The earlier half of them is held against the later half, as a candidate would be, in both directions. They are the
    same version, so a shift means that this baseline is an unlucky draw or that something moved while it ran; every
    candidate will be held against it. An A/A baseline is warned of with probability alpha over all metrics together.

    Args:
        baseline: The stored run; with one repeat there is nothing to hold against each other.
        metrics: Its metrics to look at.
        alpha: Two-sided error rate.

    Returns:
        One sentence per metric that shifted.
    """
    known = [metric for metric in metrics if baseline.header.own_metric(metric) is not None]
    if not known or not len(baseline):
        return ()
    from aigate.stats.relabel import TrialRows, relabel_test

    values, used = _stacked(baseline, known)
    half = values.shape[1] // 2
    if half == 0:
        return ()
    first, second = values[:, :half], values[:, half:]
    result = relabel_test(
        TrialRows(second, first, used, arrays_of(baseline).units),
        seed=seed_from(baseline.digest),
        alpha=alpha,
        alternative="two-sided",
    )
    shifts = result.statistic / np.maximum(used.sum(axis=0), 1)
    return tuple(
        f"the baseline is an unlucky draw, or moved while it ran: its later repeats lie {points(abs(float(shift)))}"
        f" {'below' if shift < 0 else 'above'} its earlier ones in {metric} (p = {p:.2g}); answer it anew"
        for metric, shift, p in zip(known, shifts, result.p_adjusted, strict=True)
        if p <= alpha
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is planned, in one place."""

    samples: SampleColumns
    policy: Policy
    baseline: Run | None
    repeats: int
    most: int
    baseline_repeats: int | None
    power: float

    @property
    def checks(self) -> tuple[NoRegression, ...]:
        """The comparisons of scores; what labels of people will show cannot be planned from scores."""
        found = (check for check in self.policy.checks if isinstance(check, NoRegression))
        return tuple(check for check in found if check.human is None)

    @property
    def hypotheses(self) -> int:
        """How many metrics and slices share one error rate; 1 without any."""
        return max(1, len({hypothesis for check in self.checks for hypothesis in check.hypotheses}))

    def spread(self, metric: str, samples: SampleColumns) -> Spread:
        return spread_of(
            self.baseline,
            metric,
            candidate_repeats=self.repeats,
            baseline_repeats=self.baseline_repeats,
            samples=samples,
        )

    def at_most(self, spread: Spread) -> Spread:
        """The spread with the most answers that may be asked; the baseline has no more of them for that."""
        return with_repeats(spread, baseline=spread.baseline_repeats, candidate=self.most)


def _with_most(plan: _Plan, most_repeats: int | None) -> _Plan:
    """The plan with the most answers per sample that a run of it may ask."""
    if most_repeats is None or most_repeats <= plan.repeats:
        return plan
    more = more_answers_help(
        plan.samples,
        plan.policy,
        plan.baseline,
        repeats=plan.repeats,
        baseline_repeats=plan.baseline_repeats,
        most_repeats=most_repeats,
    )
    return replace(plan, most=most_repeats) if more else plan


def _too_small(plan: _Plan, repeats: int) -> Iterable[tuple[str, str]]:
    """The checks that can never pass on so many answers per sample, and why."""
    units = plan.samples.n_units
    for check in plan.policy.checks:
        if why := check.too_small_for(units, len(plan.samples) * repeats, plan.policy.alpha):
            yield check.name, why


def _other_problems(plan: _Plan) -> Iterable[str]:
    most = plan.repeats if plan.baseline is None else plan.most  # without a baseline no more are asked than planned
    return (f"{name}: {why}" for name, why in _too_small(plan, most))


def _more_answers(plan: _Plan) -> Iterable[str]:
    """That a check has more answers asked than are planned at first: they cost what they cost."""
    if plan.baseline is None:
        return
    enough = {name for name, _ in _too_small(plan, plan.repeats)} - {name for name, _ in _too_small(plan, plan.most)}
    for name in sorted(enough):
        yield (
            f"{name} cannot pass on the {count_of(len(plan.samples) * plan.repeats, 'answer')} planned at first:"
            f" up to {plan.most} answers of each sample are asked"
        )


def _check_power(plan: _Plan, check: NoRegression) -> CheckPower:
    own: Margin | None = check.margin
    return _power_of(plan, check.metric, plan.policy.margin if own is None else own, slices=check.slices, gates=True)


def _power_of(plan: _Plan, metric: str, wanted: Margin, *, slices: Sequence[str], gates: bool) -> CheckPower:
    alpha, power, strict, spread = plan.policy.alpha, plan.power, plan.policy.strict, plan.spread(metric, plan.samples)
    most = plan.at_most(spread)
    margin = auto_margin(spread, alpha=alpha, power=power, strict=strict) if wanted == "auto" else wanted
    return CheckPower(
        metric=metric,
        gates=gates,
        spread=spread,
        margin=margin,
        auto=wanted == "auto",
        smallest_drop=smallest_drop(spread, alpha=alpha, power=power, margin=margin),
        smallest_loss=smallest_loss(spread, alpha=alpha, power=power, margin=margin),
        most_repeats=most.candidate_repeats,
        smallest_drop_at_most=smallest_drop(most, alpha=alpha, power=power, margin=margin),
        smallest_loss_at_most=smallest_loss(most, alpha=alpha, power=power, margin=margin),
        smallest_drop_in_family=smallest_drop(spread, alpha=alpha / plan.hypotheses, power=power, margin=margin),
        least_margin=least_passing_margin(spread, alpha=alpha, strict=strict),
        block_floor=block_units(most, alpha=alpha) if spread.binary else None,
        units_needed=units_needed(most, margin, alpha=alpha, power=power, strict=strict),
        repeats_that_do=repeats_that_do(most, margin, alpha=alpha, power=power, strict=strict),
        repeats=tuple(_repeats_power(plan, spread, pair, margin) for pair in _pairs(spread)),
        slices=tuple(_slice_power(plan, metric, tag, margin) for tag in slices),
        sentence=can_see(most, margin, alpha=alpha, power=power, strict=strict, first=spread),
        problem=below_floor(margin, most, alpha, power=power, strict=strict, first=spread),
    )


def _pairs(spread: Spread) -> tuple[tuple[int, int], ...]:
    """The repeats that are shown: those planned, and the usual ones."""
    return tuple(sorted({(spread.baseline_repeats, spread.candidate_repeats), *REPEATS_SHOWN}))


def _repeats_power(plan: _Plan, spread: Spread, pair: tuple[int, int], margin: float) -> RepeatsPower:
    there, alpha, power = with_repeats(spread, baseline=pair[0], candidate=pair[1]), plan.policy.alpha, plan.power
    sizes = sorted({max(1, round(spread.n_units * factor)) for factor in SIZES_SHOWN}) if spread.n_units else []

    def seen(it: Spread) -> float:
        return smallest_drop(it, alpha=alpha, power=power, margin=margin)

    return RepeatsPower(
        baseline_repeats=pair[0],
        candidate_repeats=pair[1],
        smallest_drop=seen(there),
        units_needed=units_needed(there, margin, alpha=alpha, power=power, strict=plan.policy.strict),
        by_units=tuple((n, seen(with_units(there, n))) for n in sizes),
        planned=pair == (spread.baseline_repeats, spread.candidate_repeats),
    )


def _slice_power(plan: _Plan, metric: str, tag: str, margin: float) -> SlicePower:
    spread = plan.spread(metric, plan.samples.taken(plan.samples.tagged([tag])))
    alpha, power = plan.policy.alpha, plan.power
    needed = block_units(plan.at_most(spread), alpha=alpha)
    problem = warning = None
    if spread.n_units < needed:
        problem = f"slice '{tag}' has {counted(spread)}: with fewer than {needed} no fall in it can ever block"
    elif spread.n_units < ENOUGH_IN_SLICE:
        warning = f"slice '{tag}' has {counted(spread)}: with fewer than {ENOUGH_IN_SLICE} only large falls are seen"
    return SlicePower(
        tag=tag,
        n_samples=spread.n_samples,
        n_units=spread.n_units,
        smallest_drop=smallest_drop(spread, alpha=alpha, power=power, margin=margin),
        smallest_drop_in_family=smallest_drop(spread, alpha=alpha / plan.hypotheses, power=power, margin=margin),
        problem=problem,
        warning=warning,
    )


def _notes(plan: _Plan, checks: Sequence[CheckPower]) -> Iterable[str]:
    spread = checks[0].spread
    if plan.baseline is not None and spread.n_samples < len(plan.samples):
        yield (
            f"{spread.n_samples} of {count_of(len(plan.samples), 'sample')} {are(spread.n_samples)}"
            f" compared: the baseline holds these, unchanged"
        )
    if not checks[0].gates:
        yield "no check compares with a baseline: this is what a no-regression check would see"
    if plan.hypotheses > 1:
        yield f"{plan.hypotheses} metrics and slices share one error rate: {_seen_in_family(checks)}"
    if not spread.measured:
        yield "the scatter is a default: run the baseline with --repeats 5 and promote it to measure the suite's own"
    yield from _more_answers(plan)
    yield "this covers noise; versions that differ from sample to sample scatter more, and only samples help there"


def _seen_in_family(checks: Sequence[CheckPower]) -> str:
    """From where on a drop in any one metric or slice is seen, at the error rate that is left to each at the least."""
    whole = [check.smallest_drop_in_family for check in checks]
    worst = max(whole + [part.smallest_drop_in_family for check in checks for part in check.slices])
    if worst >= 1.0:
        return "a drop in the smallest of them alone may never be seen"
    return f"a drop in one of them alone is seen from {points(worst)} on at the latest"


def _stacked(run: Run, metrics: Sequence[str]) -> tuple[Floats, Bools]:
    """Scores, shape (samples, repeats, metrics), and the samples of which every repeat is there, (samples, metrics)."""
    specs = [spec for spec in run.header.metrics if spec.metric in metrics]
    everyone = np.arange(len(run), dtype=np.intp)
    trials = {spec.metric: trials_of(run, spec, everyone) for spec in specs}
    values: Floats = np.stack([trials[metric].values for metric in metrics], axis=2)
    complete: Bools = np.stack([trials[metric].present.all(axis=1) for metric in metrics], axis=1)
    return values, complete


def _scatter(spread: Spread) -> str:
    each = "group" if spread.grouped else "sample"
    return f"differences scatter by {points(spread.sd_per_unit)} per {each} ({spread.origin})"


def _loss(check: CheckPower, power: float) -> str:
    told = f"a fall adds scatter: where it loses whole samples, {power:.0%} are caught {_from(check.smallest_loss)}"
    if check.most_repeats == check.spread.candidate_repeats:
        return told
    return f"{told}, {_from(check.smallest_loss_at_most)} with {check.most_repeats} answers"


def _from(least: float | None) -> str:
    return f"from {points(least)} on" if least is not None and least < 1.0 else "at no size"


def _slice_told(part: SlicePower) -> str:
    if part.n_samples == 0:
        return "no samples"
    samples = count_of(part.n_samples, "sample")
    seen = f"sees drops of {points(part.smallest_drop)} or more" if part.smallest_drop < 1.0 else "sees no drop at all"
    return f"{samples}, {seen}"
