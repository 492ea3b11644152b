"""Did outputs become alike? The share of samples whose output another sample has too, compared by relabelling.

Two samples with one output turn alike together, so this share is no sum over samples and no per-sample test is exact
for it. Here the share itself is computed again for every relabelling: exact under "candidate and baseline are the
same", for any numbers of trials, whole units at a time (Hemerik and Goeman 2018; p = (1 + count) / (draws + 1)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["DuplicateShift", "duplicate_share", "duplicate_shift_test"]

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DuplicateShift:
    """What the test found.

    Attributes:
        candidate: Share of the candidate's outputs that another sample has too, within a trial; in [0, 1].
        baseline: The same of the baseline.
        p: Two-sided p, in (0, 1].
    """

    candidate: float
    baseline: float
    p: float


def duplicate_share(codes: ArrayLike) -> float:
    """The share of outputs that another sample has in the same trial, averaged over trials.

    Args:
        codes: Shape (samples, trials): equal outputs have equal codes; negative for no output.

    Returns:
        In [0, 1]; 0 where there is no output at all.

    >>> duplicate_share([[1], [1], [2], [-1]])
    0.6666666666666666
    """
    return _share(np.asarray(codes, dtype=np.int64))


def duplicate_shift_test(
    candidate: ArrayLike, baseline: ArrayLike, units: ArrayLike, *, seed: int, draws: int = 1_999
) -> DuplicateShift:
    """Test whether the share of duplicated outputs differs between candidate and baseline.

    Args:
        candidate: Shape (samples, K_c), output codes; negative for no output.
        baseline: Shape (samples, K_b), codes of the same dictionary.
        units: Shape (samples,): whole units are relabelled.
        seed: Seed of the relabellings.
        draws: Relabellings.

    Raises:
        ValueError: Shapes that do not fit.
    """
    ours, theirs = np.asarray(candidate, dtype=np.int64), np.asarray(baseline, dtype=np.int64)
    if ours.ndim != 2 or theirs.ndim != 2 or len(ours) != len(theirs) or len(np.asarray(units)) != len(ours):
        raise ValueError(f"candidate, baseline, units: got shapes {ours.shape}, {theirs.shape}, {np.shape(units)}")
    observed = _share(ours) - _share(theirs)
    if observed == 0.0:
        return DuplicateShift(_share(ours), _share(theirs), 1.0)
    columns, trials = np.concatenate([ours, theirs], axis=1), ours.shape[1]
    unit = np.unique(np.asarray(units), return_inverse=True)[1]
    random = np.random.Generator(np.random.PCG64(seed))
    as_far = sum(_relabelled(columns, trials, unit, random) >= abs(observed) - 1e-12 for _ in range(draws))
    return DuplicateShift(_share(ours), _share(theirs), (1 + as_far) / (1 + draws))


def _relabelled(columns: Codes, trials: int, unit: NDArray[np.intp], random: np.random.Generator) -> float:
    """The size of the difference after each unit's columns were dealt out anew."""
    dealt = random.random((int(unit.max()) + 1, columns.shape[1])).argsort(axis=1)[unit]
    mixed = np.take_along_axis(columns, dealt, axis=1)
    return abs(_share(mixed[:, :trials]) - _share(mixed[:, trials:]))


def _share(codes: Codes) -> float:
    present = codes >= 0
    if not present.any():
        return 0.0
    duplicated = sum(_duplicated(codes[present[:, trial], trial]) for trial in range(codes.shape[1]))
    return duplicated / int(present.sum())


def _duplicated(codes: Codes) -> int:
    """How many of them stand there more than once."""
    counts = np.unique(codes, return_counts=True)[1]
    return int(counts[counts > 1].sum())
