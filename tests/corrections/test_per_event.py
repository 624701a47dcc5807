"""Flat columns of jets, and their products per event."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from af_kit.corrections.per_event import numbers, per_event, product
from af_kit.errors import InputError


def test_products_of_events_with_and_without_jets() -> None:
    values = np.array([2.0, 3.0, 5.0, 7.0])
    assert product(values, np.array([0, 2, 0, 1, 1, 0])).tolist() == [1, 6, 1, 5, 7, 1]
    assert product(np.array([]), np.array([0, 0])).tolist() == [1, 1]
    assert product(np.array([]), np.array([], dtype=int)).tolist() == []


def test_lists_per_event_and_flat_values_with_counts_are_the_same() -> None:
    pt = ak.Array([[50.0, 30.0], [], [40.0]])
    rho = np.array([10.0, 20.0, 30.0])
    jagged, counts = per_event({"pt": pt, "rho": rho})
    assert counts.tolist() == [2, 0, 1]
    assert jagged["rho"].tolist() == [10, 10, 30]
    flat, again = per_event({"pt": ak.to_numpy(ak.flatten(pt)), "rho": jagged["rho"]}, [2, 0, 1])
    assert again.tolist() == counts.tolist()
    assert flat["pt"].tolist() == jagged["pt"].tolist() == [50, 30, 40]


def test_values_that_do_not_fit_the_counts_are_refused() -> None:
    with pytest.raises(InputError, match="pt has 3 values, but the events have 4 jets"):
        per_event({"pt": np.ones(3)}, [2, 2])
    with pytest.raises(InputError, match="counts="):
        per_event({"pt": np.ones(3)})
    with pytest.raises(InputError, match="has 2 values, but the events have 3 jets"):
        per_event({"pt": ak.Array([[50.0, None], [20.0]])})


def test_nan_is_refused() -> None:
    with pytest.raises(InputError, match="1 of 2 values of eta are NaN"):
        numbers({"pt": np.ones(2), "eta": np.array([1, np.nan])})


def test_a_single_number_belongs_to_all_jets_also_to_none() -> None:
    assert numbers({"pt": np.ones(3), "rho": 5})["rho"].tolist() == [5, 5, 5]
    assert numbers({"pt": np.ones(0), "rho": 5})["rho"].tolist() == []
    assert numbers({"pt": 1, "rho": 5})["rho"].tolist() == [5]
