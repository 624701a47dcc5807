"""Inputs as columns: no copy on the fast lane, jagged shapes restored, bad numbers refused by name."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from af_kit.corrections.columns import columns
from af_kit.errors import InputError


def test_float64_arrays_are_used_as_they_are() -> None:
    pt = np.array([1.0, 2.0])
    (column,), restore = columns("test", {"pt": pt})
    assert column is pt
    assert restore(column) is column


def test_numbers_and_other_types_become_float64_of_one_length() -> None:
    inputs = {"pt": np.array([1, 2], dtype=np.int32), "eta": 0.5, "used": np.array([True, False])}
    (pt, eta, used), _ = columns("test", inputs)
    assert pt.tolist() == [1.0, 2.0]
    assert eta.tolist() == [0.5, 0.5]
    assert used.tolist() == [1.0, 0.0]


def test_jagged_inputs_with_a_number_per_event() -> None:
    (pt, event), restore = columns("test", {"pt": ak.Array([[1.0, 2.0], [], [3.0]]), "event": np.array([7, 8, 9])})
    assert event.tolist() == [7, 7, 9]
    assert restore(pt * 10).tolist() == [[10, 20], [], [30]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_number_is_named_and_counted(bad: float) -> None:
    with pytest.raises(InputError, match=r"muons: pt is (nan|inf) for 1 of 3 elements \(the first is number 1\)"):
        columns("muons", {"eta": np.zeros(3), "pt": np.array([1.0, bad, 2.0])})


def test_nan_is_allowed_where_it_has_a_meaning_and_infinity_is_not() -> None:
    (column,), _ = columns("test", {"photon": np.array([np.nan])}, may_be_nan=("photon",))
    assert np.isnan(column).all()
    with pytest.raises(InputError, match="photon is inf"):
        columns("test", {"photon": np.array([np.inf])}, may_be_nan=("photon",))


def test_text_is_refused() -> None:
    with pytest.raises(InputError, match="pt must be numbers"):
        columns("test", {"pt": np.array(["a"])})


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match="incompatible"):
        columns("test", {"pt": np.zeros(2), "eta": np.zeros(3)})
