from __future__ import annotations

import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from af_kit.analysis.binning import first_values

MASS = hist.axis.Regular(1000, 0.2, 200, transform=hist.axis.transform.log)
FIRST = first_values(MASS)


@given(st.integers(0, 1000), st.integers(-200, 200))
def test_first_values_decide_as_the_axis_does(edge, steps):
    """For consecutive representable numbers around each edge."""
    x = (MASS.edges[edge : edge + 1].view(np.int64) + steps).view(np.float64)[0]
    assert np.searchsorted(FIRST, x, side="right") - 1 == MASS.index(x)


def test_an_edge_itself_can_belong_to_the_bin_below():
    """The edges alone are therefore not sufficient."""
    assert np.any(MASS.edges != FIRST)
    assert np.allclose(FIRST, MASS.edges, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    "axis", [hist.axis.Regular(7, 0.1, 3), hist.axis.Variable([0.5, 1, 7]), hist.axis.Integer(1, 9)]
)
def test_other_axes(axis):
    first = first_values(axis)
    assert np.array_equal(axis.index(first), np.arange(len(axis) + 1))
    assert np.array_equal(axis.index(np.nextafter(first, 0)), np.arange(-1, len(axis)))


def test_an_axis_with_negative_edges_is_refused():
    with pytest.raises(ValueError, match="Regular"):
        first_values(hist.axis.Regular(7, -1, 3))
