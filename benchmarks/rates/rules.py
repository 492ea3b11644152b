"""The rule under test, made of the product's own functions, and the naive rules people use instead.

`verdict` is what `aigate.gating` does with arrays: the relabelling test at every look, the pass test, `decide`. The
harness checks on a few hundred cases that the whole `gate()` on stored runs says the same (`gated.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import stdtr

from aigate.stats.noninferiority import FEWEST_UNITS, decide, pass_test
from aigate.stats.relabel import TrialUnit, relabel_looks, relabel_looks_arrays
from aigate.stats.sequential import nominal_levels, spent, split_levels

ALPHA = 0.05
MARGIN = 0.05
BLOCK_DRAWS = 1_999  # the product draws 9,999; fewer are as exact, only less powerful
PASS_DRAWS = 1_999  # the product draws 20,000
LARGEST_SEED = 2**63


@dataclass(frozen=True)
class Plan:
    """When to look, and at which levels.

    Attributes:
        ends: How many units each look uses.
        spent: Cumulative alpha of the block side at each look.
        pass_levels: Level of the pass test at each look.
    """

    ends: tuple[int, ...]
    spent: tuple[float, ...]
    pass_levels: tuple[float, ...]


@dataclass(frozen=True)
class Outcome:
    """What was decided: "pass", "block" or None, and the units used."""

    decision: str | None
    units: int


@cache
def planned(n: int, looks: int, *, alpha: float = ALPHA) -> Plan:
    """So many equal looks over `n` units; looks at fewer units than a pass needs are left out, as the gate does.

    The gate itself plans looks from 100 units on; fewer are simulated here all the same.
    """
    ends = tuple(end for k in range(1, looks + 1) if (end := -(-n * k // looks)) >= min(FEWEST_UNITS, n))
    times = tuple(end / n for end in ends)
    return Plan(
        ends,
        tuple(float(a) for a in spent(times, alpha=alpha)),
        tuple(float(a) for a in nominal_levels(times, alpha=alpha)),
    )


def seed_of(random: np.random.Generator) -> int:
    """A fresh seed: relabellings are drawn anew for every simulated run."""
    return int(random.integers(LARGEST_SEED))


def block_looks(sums: np.ndarray, plan: Plan, random: np.random.Generator, *, draws: int = BLOCK_DRAWS) -> tuple:
    """The relabelling test at every look, for one trial of each arm: `sums` has shape (units, hypotheses)."""
    seeds = [seed_of(random) for _ in plan.ends]
    return relabel_looks_arrays(sums, plan.ends, spent=plan.spent, seeds=seeds, draws=draws, max_draws=draws)


def verdict(
    d: np.ndarray,
    plan: Plan,
    random: np.random.Generator,
    *,
    binary: bool,
    margin: float = MARGIN,
    blocks_only: bool = False,
) -> Outcome:
    """The three-valued rule on differences of independent samples, in the order in which they come.

    `blocks_only`: the pass side is computed only where the block side would block, which is all that a block rate
    needs, since a pass matters there for its precedence alone. A pass elsewhere is then reported as undecided.
    """
    found = block_looks(d[:, None], plan, random)
    blocked = [bool(look.blocked[0]) for look in found]
    return _decided(d, plan, blocked, random, binary=binary, margin=margin, blocks_only=blocks_only)


def _decided(
    d: np.ndarray,
    plan: Plan,
    blocked: Sequence[bool],
    random: np.random.Generator,
    *,
    binary: bool,
    margin: float,
    blocks_only: bool,
) -> Outcome:
    last = len(plan.ends) - 1
    drops = [0.0 - round(float(d[:end].mean()), 12) for end in plan.ends]
    blocks = [
        decide(p_pass=1.0, pass_level=0.0, blocked=b, drop=drop, margin=margin, last=k == last, n_units=end) == "block"
        for k, (b, drop, end) in enumerate(zip(blocked, drops, plan.ends, strict=True))
    ]
    if blocks_only and not any(blocks):
        return Outcome(None, plan.ends[-1])
    for k, end in enumerate(plan.ends):
        p = pass_p(d[:end], random, binary=binary, margin=margin)
        level, ended = plan.pass_levels[k], k == last
        decision = decide(
            p_pass=p, pass_level=level, blocked=blocked[k], drop=drops[k], margin=margin, last=ended, n_units=end
        )
        if decision:
            return Outcome(decision, end)
    return Outcome(None, plan.ends[-1])


def pass_p(
    d: np.ndarray,
    random: np.random.Generator,
    *,
    binary: bool,
    margin: float = MARGIN,
    units: np.ndarray | None = None,
    strict: bool = False,
) -> float:
    """p of the pass test; 1 where the observed drop is the margin or more, without computing it.

    No test here passes on such data: the law of BB-1 then has its mean below the margin, and Tango's score is negative.
    """
    if float(d.mean()) <= -margin:
        return 1.0
    seed = seed_of(random)
    test = pass_test(d, units, margin=margin, seed=seed, binary=binary, strict=strict, draws=PASS_DRAWS)
    return test.p


def repeat_units(candidate: np.ndarray, baseline: np.ndarray) -> list[TrialUnit]:
    """One unit per sample, from trials of shape (n, K_c) and (n, K_b)."""
    one = np.ones((1, 1))
    return [TrialUnit(c[None, :, None], b[None, :, None], one) for c, b in zip(candidate, baseline, strict=True)]


def repeats_verdict(
    candidate: np.ndarray,
    baseline: np.ndarray,
    random: np.random.Generator,
    *,
    alpha: float = ALPHA,
    pass_alpha: float = ALPHA,
    last: bool = True,
    margin: float = MARGIN,
    blocks_only: bool = False,
) -> Outcome:
    """The rule at one look over all samples, with several answers to each: relabelling within the sample."""
    n = len(candidate)
    seeds = [seed_of(random)]
    units = [repeat_units(candidate, baseline)]
    (look,) = relabel_looks(units, spent=[alpha], seeds=seeds, draws=BLOCK_DRAWS, max_draws=BLOCK_DRAWS)
    d = candidate.mean(axis=1) - baseline.mean(axis=1)
    drop, blocked = 0.0 - round(float(d.mean()), 12), bool(look.blocked[0])
    single = candidate.shape[1] == baseline.shape[1] == 1
    skipped = blocks_only and not blocked
    p = 1.0 if skipped else pass_p(d, random, binary=single, margin=margin)
    decision = decide(p_pass=p, pass_level=pass_alpha, blocked=blocked, drop=drop, margin=margin, last=last, n_units=n)
    return Outcome(decision, n)


def escalated(
    candidate: np.ndarray, baseline: np.ndarray, random: np.random.Generator, *, looks: int = 1, margin: float = MARGIN
) -> tuple[str | None, float]:
    """One candidate answer to each sample, at so many looks; all of its answers only where that does not decide.

    The alpha of either side is split between the two stages. Decision, and calls per sample.
    """
    n, most = candidate.shape
    by_now, in_all = (float(level) for level in split_levels(2, ALPHA))
    first, second = planned(n, looks, alpha=by_now), planned(n, 1, alpha=in_all - by_now)
    outcome, fallen = _stage(candidate[:, :1], baseline, first, random, margin=margin, fallen=False, final=False)
    if outcome.decision:
        return outcome.decision, outcome.units / n
    outcome, _ = _stage(candidate, baseline, second, random, margin=margin, fallen=fallen, final=True)
    return outcome.decision, float(most)


def _stage(
    candidate: np.ndarray,
    baseline: np.ndarray,
    plan: Plan,
    random: np.random.Generator,
    *,
    margin: float,
    fallen: bool,
    final: bool,
) -> tuple[Outcome, bool]:
    """Looks with the same repeats; also whether the block side has fallen by their end, which stays so."""
    units = repeat_units(candidate, baseline)
    segments = [units[start:end] for start, end in zip((0, *plan.ends), plan.ends, strict=False)]
    seeds = [seed_of(random) for _ in plan.ends]
    found = relabel_looks(segments, spent=plan.spent, seeds=seeds, draws=BLOCK_DRAWS, max_draws=BLOCK_DRAWS)
    d = candidate.mean(axis=1) - baseline.mean(axis=1)
    single = candidate.shape[1] == baseline.shape[1] == 1
    for look, end, level in zip(found, plan.ends, plan.pass_levels, strict=True):
        fallen = fallen or bool(look.blocked[0])
        decision = decide(
            p_pass=pass_p(d[:end], random, binary=single, margin=margin),
            pass_level=level,
            blocked=fallen,
            drop=0.0 - round(float(d[:end].mean()), 12),
            margin=margin,
            last=final and end == plan.ends[-1],
            n_units=end,
        )
        if decision:
            return Outcome(decision, end), fallen
    return Outcome(None, plan.ends[-1]), fallen


# --- what people do instead: True is a block, False is a pass ---------------------------------------------------------


def mean_drop(baseline: np.ndarray, candidate: np.ndarray, *, tolerated: float) -> bool:
    """Blocks when the mean fell by more than the tolerance."""
    return bool(baseline.mean() - candidate.mean() > tolerated + 1e-12)


def every_case(baseline: np.ndarray, candidate: np.ndarray) -> bool:  # noqa: ARG001 - one signature for all rules
    """Blocks when any case scores below 0.5, as a test per case does."""
    return bool((candidate < 0.5).any())


def plain_mean(baseline: np.ndarray, candidate: np.ndarray, *, threshold: float) -> bool:  # noqa: ARG001
    """Blocks when the candidate's mean is below a threshold."""
    return bool(candidate.mean() < threshold)


def peeking_t(baseline: np.ndarray, candidate: np.ndarray, *, peeks: int = 10, margin: float = MARGIN) -> str | None:
    """A paired t test at 5 %, looked at ten times without correction: the first side that is significant wins."""
    d = candidate - baseline
    for k in range(1, peeks + 1):
        seen = d[: round(len(d) * k / peeks)]
        error = seen.std(ddof=1) / np.sqrt(len(seen)) if len(seen) > 1 else 0.0
        if error == 0.0:
            continue
        if stdtr(len(seen) - 1, -(seen.mean() + margin) / error) <= ALPHA:
            return "pass"
        if stdtr(len(seen) - 1, seen.mean() / error) <= ALPHA:
            return "block"
    return None
