"""What the other modules take in: finite arrays, and the sums per unit of samples that are not independent.

A *unit* is what was drawn independently: a sample, or a group of samples that share a document.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Floats", "distinct", "finite_array", "open_fraction", "unit_sums"]

Floats = NDArray[np.float64]
SPARSEST = 100  # times as large as there are values


def finite_array(values: ArrayLike, *, name: str, ndim: int) -> Floats:
    """The values as float64, checked.

    Args:
        values: Numbers or booleans of any shape with `ndim` axes; an empty list counts as any number of axes.
        name: What the values are called in a message.
        ndim: How many axes they must have.

    Raises:
        ValueError: Not numbers, another number of axes, NaN or an infinity (the message says where).

    >>> finite_array([True, 0.5], name="d", ndim=1)
    array([1. , 0.5])
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}, expected numbers") from None
    if array.size == 0 and array.ndim < ndim:
        return np.zeros((0,) * ndim)
    if array.ndim != ndim:
        raise ValueError(f"{name}: got {array.ndim} axes, expected {ndim}")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}: got {array[where]} at {list(where)}, expected finite numbers")
    return array


def distinct(codes: NDArray[Any]) -> NDArray[Any]:
    """The different values of a flat array, ascending.

    As `np.unique`, which takes a hundred times as long for a million different integers; those from 0 on that are not
    much larger than there are of them, as numbers of units are, are counted instead.

    >>> distinct(np.array([3, 0, 3]))
    array([0, 3])
    """
    if codes.dtype.kind == "i" and codes.size and codes.min() >= 0 and codes.max() < SPARSEST * codes.size:
        return np.flatnonzero(np.bincount(codes)).astype(codes.dtype, copy=False)
    return np.unique(codes)


def open_fraction(value: float, *, name: str) -> float:
    """The value, which must lie strictly between 0 and 1: an alpha, a power, a level.

    Raises:
        ValueError: It does not.

    >>> open_fraction(0.05, name="alpha")
    0.05
    """
    if not (math.isfinite(value) and 0.0 < value < 1.0):
        raise ValueError(f"{name}: got {value}, expected a number between 0 and 1")
    return value


def unit_sums(values: ArrayLike, groups: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Sum and size of every unit.

    Args:
        values: Shape (n,), one number per sample.
        groups: Shape (n,), one label per sample, integers or strings; samples with the same label are one unit.
            None: every sample is a unit of its own.

    Returns:
        Two arrays of shape (U,): the sum of the values in each unit, and the number of samples in it. Units stand in
        the sorted order of their labels.

    Raises:
        ValueError: A value is not finite, or there is not one label per value.

    >>> unit_sums([0.0, -1.0, 0.5], ["a", "b", "a"])
    (array([ 0.5, -1. ]), array([2., 1.]))
    """
    array = finite_array(values, name="values", ndim=1)
    if groups is None:
        return array, np.ones(len(array))
    unit = unit_of(groups, n=len(array))
    count = int(unit.max()) + 1 if len(unit) else 0
    sums = np.bincount(unit, weights=array, minlength=count).astype(np.float64)
    return sums, np.bincount(unit, minlength=count).astype(np.float64)


def unit_of(groups: ArrayLike, *, n: int) -> NDArray[np.intp]:
    """The unit each of `n` samples belongs to, as an index from 0 in the sorted order of the labels."""
    labels: NDArray[Any] = np.asarray(groups)
    if labels.shape != (n,) and not (labels.size == 0 and n == 0):
        raise ValueError(f"groups: got shape {labels.shape}, expected one label for each of {n} values")
    # NaN labels would become one unit each or one together, depending on the numpy version.
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("groups: got a label that is not finite, expected integers or strings")
    return np.unique(labels, return_inverse=True)[1].reshape(-1)
