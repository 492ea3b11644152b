"""Scores with a known true drop: eight kinds of data, groups, repeats.

A draw is a pair of arms whose joint law is symmetric when the drop is 0 (an A/A pair: swapping the arms changes
nothing), and whose mean difference is exactly `-drop` otherwise. Drops are made by breaking: an answer of the candidate
falls to 0 with probability drop / mean. Claims are lost one by one instead, since claims do break alone.

Three kinds stand in for data sets that are not part of the repository. Their spread, correlation and share of
differences that are not 0 are those of the originals, measured once; the law is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Random = np.random.Generator
Floats = np.ndarray

MEAN = 0.88  # of the baseline, where nothing else is said
CLAIMS = 8  # claims per answer, "claims share"
SENTENCES = 2  # sentences per answer, "short share"


@dataclass(frozen=True)
class Kind:
    """One kind of data.

    Attributes:
        key: Short name.
        label: What it is, for the report.
        mean: The baseline's true mean.
        arms: `arms(random, n, drop)`: baseline and candidate, each of shape (n,).
        binary: True for 0/1 scores of one answer.
    """

    key: str
    label: str
    mean: float
    arms: Callable[[Random, int, float], tuple[Floats, Floats]]
    binary: bool = False


def binary_arms(random: Random, n: int, drop: float, *, mean: float, correlation: float) -> tuple[Floats, Floats]:
    """0/1 scores of two arms with the same mean and the given correlation; then answers of the candidate break."""
    discordant = mean * (1.0 - mean) * (1.0 - correlation)
    u = random.random(n)
    both = mean - discordant
    baseline = (u < mean).astype(float)  # both right, then the baseline alone
    candidate = ((u < both) | ((u >= mean) & (u < mean + discordant))).astype(float)
    return baseline, candidate * _kept(random, n, drop / mean)


def share_arms(
    random: Random, n: int, drop: float, *, mean: float, claims: int, spread: float
) -> tuple[Floats, Floats]:
    """Shares of supported claims: the chance of a claim differs from sample to sample with variance `spread`."""
    size = mean * (1.0 - mean) / spread - 1.0
    chance = random.beta(mean * size, (1.0 - mean) * size, n)
    baseline = random.binomial(claims, chance) / claims
    return baseline, random.binomial(claims, chance * (1.0 - drop / mean)) / claims


def graded_arms(random: Random, n: int, drop: float) -> tuple[Floats, Floats]:
    """Grades of a judge: easy and hard samples (0.5 ± 0.18), and noise of ± 0.32 in each arm."""
    level = 0.5 + 0.18 * random.choice([-1.0, 1.0], n)
    baseline, candidate = level + random.uniform(-0.32, 0.32, (2, n))
    return baseline, candidate * _kept(random, n, drop / 0.5)


def rare_arms(random: Random, n: int, drop: float) -> tuple[Floats, Floats]:
    """Scores that agree up to a judge's noise (sd of the difference 0.02), but for a few answers that fall to 0."""
    level = random.uniform(0.85, 0.95, n)
    half = 0.02 * np.sqrt(1.5)
    baseline, candidate = level + random.uniform(-half, half, (2, n))
    return baseline, candidate * _kept(random, n, drop / 0.9)


def _kept(random: Random, n: int, broken: float) -> Floats:
    return (random.random(n) >= broken).astype(float) if broken else np.ones(n)


def _binary(key: str, label: str, *, mean: float, correlation: float) -> Kind:
    def arms(random: Random, n: int, drop: float) -> tuple[Floats, Floats]:
        return binary_arms(random, n, drop, mean=mean, correlation=correlation)

    return Kind(key, label, mean, arms, binary=True)


KINDS: dict[str, Kind] = {
    kind.key: kind
    for kind in (
        Kind(
            "claims",
            f"claims share, corr .5 ({CLAIMS} claims)",
            MEAN,
            lambda r, n, drop: share_arms(r, n, drop, mean=MEAN, claims=CLAIMS, spread=0.01125),
        ),
        _binary("binary-6", "0/1, corr .6", mean=MEAN, correlation=0.6),
        _binary("binary-3", "0/1, corr .3", mean=MEAN, correlation=0.3),
        _binary("binary-9", "0/1, corr .9", mean=MEAN, correlation=0.9),
        Kind("rare", "rare breakage, else equal", 0.9, rare_arms),
        Kind("graded", "judge grades, stand-in for AlpacaEval", 0.5, graded_arms),
        Kind(
            "short",
            "short answers' share, stand-in for TofuEval",
            0.8,
            lambda r, n, drop: share_arms(r, n, drop, mean=0.8, claims=SENTENCES, spread=0.0216),
        ),
        _binary("hard", "hard 0/1, stand-in for FaithBench", mean=0.65, correlation=0.31),
    )
}


def trials(
    random: Random, n: int, drop: float, *, repeats: tuple[int, int], correlation: float
) -> tuple[Floats, Floats]:
    """0/1 scores of several answers to each sample: candidate (n, K_c) and baseline (n, K_b).

    The chance of a right answer differs between samples so that two answers to one sample correlate as given. The
    candidate's answers break one by one.
    """
    size = (1.0 - correlation) / correlation
    chance = random.beta(MEAN * size, (1.0 - MEAN) * size, n)[:, None]
    candidate = random.random((n, repeats[0])) < chance * (1.0 - drop / MEAN)
    return candidate.astype(float), (random.random((n, repeats[1])) < chance).astype(float)


def grouped_arms(
    random: Random, groups: int, size: int, drop: float, *, icc: float, metrics: int = 1, whole: bool = False
) -> tuple[Floats, Floats]:
    """0/1 scores in groups, for several correlated metrics: baseline and candidate, each (groups * size, metrics).

    Each arm draws each group's chance anew, so the differences within a group correlate by `icc`. With icc 0 the arms
    are those of `binary_arms` at correlation .6. Metric m copies metric 0 in half of the groups. `whole`: groups break
    whole, otherwise answers break one by one.
    """
    n = groups * size
    arms = _group_scores(random, groups, size, icc, metrics) if icc else _loose_scores(random, n, metrics)
    broken = drop / MEAN
    kept = np.repeat(_kept(random, groups, broken), size) if whole else _kept(random, n, broken)
    return arms[0], arms[1] * kept[:, None]


def _group_scores(random: Random, groups: int, size: int, icc: float, metrics: int) -> Floats:
    precision = (1.0 - icc) / icc
    chance = random.beta(MEAN * precision, (1.0 - MEAN) * precision, (2, groups, metrics)).repeat(size, axis=1)
    scores = (random.random(chance.shape) < chance).astype(float)
    copies = (random.random((groups, metrics)) < 0.5).repeat(size, axis=0)  # the same groups in both arms
    return np.where(copies, scores[:, :, :1], scores)


def _loose_scores(random: Random, n: int, metrics: int) -> Floats:
    pairs = [binary_arms(random, n, 0.0, mean=MEAN, correlation=0.6) for _ in range(metrics)]
    return np.stack(pairs, axis=2)
