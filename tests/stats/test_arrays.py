"""Finite arrays and sums per unit."""

import numpy as np
import pytest

from aigate.stats.arrays import finite_array, open_fraction, unit_sums


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_named_with_its_place(bad):
    with pytest.raises(ValueError, match=r"^d: got -?(nan|inf) at \[1, 0\]"):
        finite_array([[0.0], [bad]], name="d", ndim=2)


def test_wrong_number_of_axes_is_refused():
    with pytest.raises(ValueError, match="d: got 2 axes, expected 1"):
        finite_array([[0.0]], name="d", ndim=1)


def test_text_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^scores: "):
        finite_array(["high"], name="scores", ndim=1)


def test_an_empty_list_has_the_axes_asked_for():
    assert finite_array([], name="d", ndim=3).shape == (0, 0, 0)


@pytest.mark.parametrize("outside", [0.0, 1.0, -0.1, float("nan"), float("inf")])
def test_a_fraction_lies_strictly_between_zero_and_one(outside):
    with pytest.raises(ValueError, match=r"^level: "):
        open_fraction(outside, name="level")


def test_without_groups_every_value_is_a_unit():
    sums, sizes = unit_sums([0.25, -0.5])
    assert sums.tolist() == [0.25, -0.5]
    assert sizes.tolist() == [1.0, 1.0]


def test_groups_add_up_in_the_order_of_their_labels():
    sums, sizes = unit_sums([1.0, 2.0, 4.0, 8.0], [9, -1, 9, 3])
    assert sums.tolist() == [2.0, 8.0, 5.0]
    assert sizes.tolist() == [1.0, 1.0, 2.0]


def test_no_values_are_no_units():
    sums, sizes = unit_sums([], [])
    assert sums.shape == sizes.shape == (0,)
    assert sums.dtype == sizes.dtype == np.float64


def test_one_label_per_value_is_demanded():
    with pytest.raises(ValueError, match=r"groups: got shape \(1,\), expected one label for each of 2 values"):
        unit_sums([0.0, 1.0], ["a"])


def test_a_label_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="groups: got a label that is not finite"):
        unit_sums([0.0, 1.0], [1.0, float("nan")])
