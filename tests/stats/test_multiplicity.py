"""Adjusted p-values, against scipy and statsmodels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from aigate.stats.multiplicity import benjamini_hochberg, holm

many_p = st.lists(st.floats(0.0, 1.0, allow_subnormal=False), min_size=1, max_size=30)


@given(p=many_p)
def test_benjamini_hochberg_agrees_with_scipy(p):
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p, method="bh"), abs=1e-15)


@settings(deadline=None, max_examples=20)  # statsmodels takes 50 ms a call
@given(p=many_p)
def test_holm_agrees_with_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


@given(p=many_p)
def test_adjusting_never_lowers_a_p(p):
    assert (benjamini_hochberg(p) >= np.array(p) - 1e-15).all()
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()
    assert (holm(p) <= 1.0).all()


@pytest.mark.parametrize("adjust", [benjamini_hochberg, holm])
def test_empty_in_empty_out(adjust):
    assert adjust([]).shape == (0,)


@pytest.mark.parametrize("adjust", [benjamini_hochberg, holm])
def test_nan_is_refused_and_not_counted(adjust):
    with pytest.raises(ValueError, match=r"^p: got nan at \[1\]"):
        adjust([0.01, float("nan")])


@pytest.mark.parametrize("adjust", [benjamini_hochberg, holm])
@pytest.mark.parametrize("outside", [-0.01, 1.01])
def test_a_p_outside_zero_and_one_is_refused(adjust, outside):
    with pytest.raises(ValueError, match=r"^p: got"):
        adjust([0.5, outside])
