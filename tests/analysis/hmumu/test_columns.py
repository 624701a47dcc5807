"""Columns of chosen events."""

import awkward as ak
import numpy as np
import pytest

from af_kit.analysis.hmumu.columns import Collection, scalar


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "?", "u1", "i4", "u8"])
def test_real_numbers_are_double_and_other_types_are_kept(dtype):
    values = np.array([3, 1, 0, 2, 1], dtype)
    events = ak.Array({"Jet_pt": ak.unflatten(values, [2, 0, 1, 2]), "x": values[:4]})
    chosen = np.array([0, 3])
    expected = np.float64 if dtype[0] == "f" else np.dtype(dtype)
    jets = Collection(events, "Jet", chosen, like="pt")
    for found, wanted in (
        (jets["pt"], values[[0, 1, 3, 4]]),
        (Collection(events, "Jet", chosen, like="pt").of(np.array([2]), "pt"), values[[3]]),
        (scalar(events, "x", chosen), values[[0, 3]]),
    ):
        assert found.dtype == expected
        np.testing.assert_array_equal(found, wanted)
    assert (jets.offsets.tolist(), jets.counts.tolist()) == ([0, 2, 4], [2, 2])
    assert (jets.event.tolist(), jets.position.tolist()) == ([0, 0, 1, 1], [0, 1, 0, 1])
