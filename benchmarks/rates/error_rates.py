"""Experiments on the rule itself: how often it blocks what is equal, passes what is worse, and finds what is worse.

Every experiment is `experiment(random, runs, **options)` and returns counts and sums that can be written as JSON.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rates import real, rules
from rates.data import KINDS, Floats, Random, grouped_arms, trials
from rates.rivals import RIVALS
from rates.rules import MARGIN, Outcome, planned

Counts = dict[str, float]


def verdicts(
    random: Random,
    runs: int,
    *,
    kind: str,
    n: int,
    looks: int,
    drop: float,
    blocks_only: bool = False,
    draw: Callable[[], tuple[Floats, Floats]] | None = None,
) -> Counts:
    """The rule on independent samples with a true drop."""
    data, plan = KINDS[kind], planned(n, looks)
    found = []
    for _ in range(runs):
        baseline, candidate = draw() if draw else data.arms(random, n, drop)
        found.append(rules.verdict(candidate - baseline, plan, random, binary=data.binary, blocks_only=blocks_only))
    return tally(found, n)


def real_false_blocks(random: Random, runs: int, *, source: str, n: int, looks: int) -> Counts:
    """The rule on A/A pairs made of real ones."""
    return verdicts(
        random,
        runs,
        kind="hard",
        n=n,
        looks=looks,
        drop=0.0,
        blocks_only=True,
        draw=lambda: real.resampled_equal(random, source, n),
    )


def tally(found: list[Outcome], n: int) -> Counts:
    """Counts of decisions, and the share of the units used."""
    decisions = [outcome.decision for outcome in found]
    return {
        "block": decisions.count("block"),
        "pass": decisions.count("pass"),
        "undecided": decisions.count(None),
        **summed("used", [outcome.units / n for outcome in found]),
    }


def summed(name: str, values: list[float]) -> Counts:
    """Sum and sum of squares: what a mean and its standard error need."""
    return {name: sum(values), f"{name}, squares": sum(value**2 for value in values)}


def bare_blocks(random: Random, runs: int, *, kind: str, n: int, looks: int) -> Counts:
    """The relabelling test alone on equal arms: no condition on the drop, no precedence of a pass."""
    plan = planned(n, looks)
    count = 0
    for _ in range(runs):
        baseline, candidate = KINDS[kind].arms(random, n, 0.0)
        count += bool(rules.block_looks((candidate - baseline)[:, None], plan, random)[-1].blocked[0])
    return {"block": count}


def family_blocks(random: Random, runs: int, *, groups: int, size: int, icc: float, metrics: int, looks: int) -> Counts:
    """The relabelling test alone on equal arms: groups, several metrics, each over all samples and four slices."""
    plan = planned(groups, looks)
    members = np.arange(groups * size) % 4 == np.arange(4)[:, None]  # slices cut across groups
    slices = np.vstack([np.ones(groups * size, dtype=bool), members])
    family = single = ignoring = 0
    for _ in range(runs):
        baseline, candidate = grouped_arms(random, groups, size, 0.0, icc=icc, metrics=metrics)
        d = candidate - baseline
        columns = (d[:, :, None] * slices.T[:, None, :]).reshape(groups, size, -1).sum(axis=1)
        last = rules.block_looks(columns, plan, random)[-1]
        family += bool(last.blocked.any())
        single += bool(rules.block_looks(columns[:, :1], planned(groups, 1), random)[-1].blocked[0])
        ignoring += bool(rules.block_looks(d[:, :1], planned(len(d), 1), random)[-1].blocked[0])
    return {"block": family, "one hypothesis, one look": single, "clusters ignored": ignoring}


def repeats_blocks(
    random: Random, runs: int, *, n: int, repeats: tuple[int, int], correlation: float, drop: float = 0.0
) -> Counts:
    """The rule at one look with K_c and K_b answers to each sample, relabelled within the sample."""
    found = []
    for _ in range(runs):
        candidate, baseline = trials(random, n, drop, repeats=tuple(repeats), correlation=correlation)
        found.append(rules.repeats_verdict(candidate, baseline, random, blocks_only=True))
    return tally(found, n)


def false_passes(random: Random, runs: int, *, kind: str, n: int, looks: int) -> Counts:
    """The pass side alone on a true drop of exactly the margin.

    A block at an earlier look can only take passes away; it is left out, so the rate is that of the test.
    """
    data, plan = KINDS[kind], planned(n, looks)
    count = 0
    for _ in range(runs):
        baseline, candidate = data.arms(random, n, MARGIN)
        d = candidate - baseline
        count += any(
            rules.pass_p(d[:end], random, binary=data.binary) <= level
            for end, level in zip(plan.ends, plan.pass_levels, strict=True)
        )
    return {"pass": count}


def cluster_passes(
    random: Random, runs: int, *, groups: int, size: int, icc: float, whole: bool, drop: float
) -> Counts:
    """The pass test over groups, by default and strict, and ignoring the groups."""
    labels = np.repeat(np.arange(groups), size)
    found = {"default": 0, "strict": 0, "groups ignored": 0}
    for _ in range(runs):
        baseline, candidate = grouped_arms(random, groups, size, drop, icc=icc, whole=whole)
        d = (candidate - baseline)[:, 0]
        found["default"] += rules.pass_p(d, random, binary=False, units=labels) <= rules.ALPHA
        found["strict"] += rules.pass_p(d, random, binary=False, units=labels, strict=True) <= rules.ALPHA
        found["groups ignored"] += rules.pass_p(d, random, binary=True) <= rules.ALPHA
    return {key: int(count) for key, count in found.items()}


def bump(random: Random, runs: int, *, source: str, looks: int) -> Counts:
    """A real provider bump, decided in `runs` random orders of its samples."""
    arms = real.pair(source)
    n = arms.shape[1]
    found = []
    for _ in range(runs):
        baseline, candidate = arms[:, random.permutation(n)]
        found.append(rules.verdict(candidate - baseline, planned(n, looks), random, binary=True))
    return tally(found, n)


def compared(random: Random, runs: int, *, kind: str, n: int, drop: float, rule: str, data_seed: int) -> Counts:
    """Any rule, ours or not, on the same data for all of them."""
    data = KINDS[kind]
    judge = _judge(rule, n, random, binary=data.binary)
    source = np.random.Generator(np.random.PCG64(data_seed))
    decisions = [judge(*data.arms(source, n, drop), rules.seed_of(random) % 2**31) for _ in range(runs)]
    return {"block": decisions.count("block"), "pass": decisions.count("pass"), "undecided": decisions.count(None)}


def _judge(rule: str, n: int, random: Random, *, binary: bool) -> Callable[[Floats, Floats, int], str | None]:
    if rule in RIVALS:
        return RIVALS[rule].judge
    if rule in NAIVE:
        return lambda baseline, candidate, _: NAIVE[rule](baseline, candidate)
    plan = planned(n, {"aigate": 1, "aigate, 5 looks": 5}[rule])
    return lambda b, c, _: rules.verdict(c - b, plan, random, binary=binary).decision


def _two_valued(rule: Callable[..., bool], **options: float) -> Callable[[Floats, Floats], str]:
    return lambda baseline, candidate: "block" if rule(baseline, candidate, **options) else "pass"


NAIVE: dict[str, Callable[[Floats, Floats], str | None]] = {
    "mean drop > 2 points": _two_valued(rules.mean_drop, tolerated=0.02),
    "mean drop > 5 points": _two_valued(rules.mean_drop, tolerated=0.05),
    "every case must pass": _two_valued(rules.every_case),
    "paired t, 10 peeks": rules.peeking_t,
    "plain mean >= 0.85": _two_valued(rules.plain_mean, threshold=0.85),
}


def conditional(random: Random, runs: int, *, n: int, repeats: int, correlation: float, candidates: int) -> Counts:
    """False blocks of `candidates` equal candidates against one stored baseline; `runs` such baselines."""
    rates = []
    for _ in range(runs):
        size = (1.0 - correlation) / correlation
        chance = random.beta(0.88 * size, 0.12 * size, n)[:, None]
        baseline = (random.random((n, repeats)) < chance).astype(float)
        found = [
            rules.repeats_verdict((random.random((n, 1)) < chance).astype(float), baseline, random, blocks_only=True)
            for _ in range(candidates)
        ]
        rates.append(sum(outcome.decision == "block" for outcome in found) / candidates)
    return {"mean": float(np.mean(rates)), "sd": float(np.std(rates)), "max": float(np.max(rates))}


def escalations(
    random: Random, runs: int, *, n: int, repeats: int, most: int, correlation: float, drop: float, looks: int
) -> Counts:
    """One candidate answer first, `most` where that does not decide, against a baseline of `repeats`."""
    found = []
    for _ in range(runs):
        candidate, baseline = trials(random, n, drop, repeats=(most, repeats), correlation=correlation)
        found.append(rules.escalated(candidate, baseline, random, looks=looks))
    decisions = [decision for decision, _ in found]
    return {
        "block": decisions.count("block"),
        "pass": decisions.count("pass"),
        "undecided": decisions.count(None),
        **summed("calls", [calls for _, calls in found]),
    }


def ratchet(
    random: Random, runs: int, *, n: int, step: float, correlation: float, anchor: bool, longest: int
) -> Counts:
    """Releases that each lose `step`, accepted until one is blocked: how much is lost by then.

    The rolling baseline is the last accepted release with the one answer that it was judged by. With an anchor, the
    first release, answered five times, is held beside it and the alpha of a block is split between the two. What is not
    blocked is accepted.
    """
    lost = []
    share = rules.ALPHA / 2 if anchor else rules.ALPHA
    for _ in range(runs):
        size = (1.0 - correlation) / correlation
        chance = random.beta(0.88 * size, 0.12 * size, n)[:, None]
        rolling = (random.random((n, 1)) < chance).astype(float)
        pinned = (random.random((n, 5)) < chance).astype(float)
        for release in range(1, longest + 1):
            candidate = (random.random((n, 1)) < chance * (1.0 - release * step / 0.88)).astype(float)
            against = [rolling, pinned] if anchor else [rolling]
            if any(_blocks(candidate, baseline, random, share) for baseline in against):
                break
            rolling = candidate
        lost.append((release - 1) * step)
    return {"mean": float(np.mean(lost)), "p90": float(np.quantile(lost, 0.9))}


def anchored_blocks(random: Random, runs: int, *, n: int, correlation: float, split: bool) -> Counts:
    """A/A with a rolling baseline (one answer) and an anchor (five), equal to the candidate; alpha split or not."""
    rolling_alpha = rules.ALPHA / 2 if split else rules.ALPHA
    count = 0
    for _ in range(runs):
        candidate, stored = trials(random, n, 0.0, repeats=(1, 6), correlation=correlation)
        count += _blocks(candidate, stored[:, :1], random, rolling_alpha) or _blocks(
            candidate, stored[:, 1:], random, rules.ALPHA / 2
        )
    return {"block": int(count)}


def _blocks(candidate: Floats, baseline: Floats, random: Random, alpha: float) -> bool:
    outcome = rules.repeats_verdict(candidate, baseline, random, alpha=alpha, blocks_only=True)
    return outcome.decision == "block"
