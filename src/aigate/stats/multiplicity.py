"""Many p-values at once, when they come without the data that `relabel.relabel_test` would use."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from aigate.stats.arrays import Floats, finite_array

__all__ = ["benjamini_hochberg", "holm"]


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """False discovery rate: q_(i) = min over j >= i of p_(j) M / j (Benjamini and Hochberg 1995).

    For slices that are reported and never gate: among those with q <= 0.1, about one in ten is noise, if the tests
    are independent or positively dependent.

    Args:
        p: Shape (M,), each in [0, 1].

    Returns:
        Shape (M,), q-values in the order of `p`, each in [0, 1]. Empty in, empty out.

    Raises:
        ValueError: A p that is not finite or lies outside [0, 1].

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.04, 0.04]
    """
    values = _checked(p)
    order = np.argsort(values, kind="stable")[::-1]
    rank = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(values[order] * len(values) / rank), 1.0)
    return adjusted


def holm(p: ArrayLike) -> Floats:
    """Family-wise error under any dependence: p_(i) becomes max over j <= i of (M - j + 1) p_(j) (Holm 1979).

    Args:
        p: Shape (M,), each in [0, 1].

    Returns:
        Shape (M,), adjusted p-values in the order of `p`, each in [0, 1]. Empty in, empty out.

    Raises:
        ValueError: A p that is not finite or lies outside [0, 1].

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    left = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * left), 1.0)
    return adjusted


def _checked(p: ArrayLike) -> Floats:
    values = finite_array(p, name="p", ndim=1)
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise ValueError(f"p: got {values.tolist()}, expected numbers in [0, 1]")
    return values
