"""Flat arrays of collections."""

import awkward as ak
import numpy as np
import pytest

from af_kit.data.reading.flat import flat
from af_kit.errors import InputError


def check_flat(collection, *fields):
    offsets, arrays = flat(collection, *fields)
    assert offsets.dtype == np.int64
    assert offsets[0] == 0
    assert list(arrays) == list(fields)
    assert len(offsets) == len(collection) + 1
    np.testing.assert_array_equal(np.diff(offsets), ak.num(collection))
    for field in fields:
        assert isinstance(arrays[field], np.ndarray)
        want = ak.to_numpy(ak.flatten(collection[field]))
        assert arrays[field].dtype == want.dtype
        assert arrays[field].tobytes() == want.tobytes()


@pytest.mark.parametrize(
    "select",
    [
        lambda e: e.Muon,
        lambda e: e.SV,
        lambda e: e[20:60].Muon,
        lambda e: e[e.HLT.IsoMu24].Muon,
        lambda e: e.Muon[e.Muon.pt > 20],
        lambda e: e.Muon[ak.argsort(e.Muon.pt, axis=1, ascending=False)],
        lambda e: e.Muon[ak.num(e.Muon) == 2],
        lambda e: e.Muon[:, :1],
        lambda e: e.Muon[:0],
        lambda e: e.Muon[e.Muon.pt > 1e9],
        lambda e: e[::-1].Muon,
        lambda e: ak.to_packed(e.Muon[e.Muon.charge > 0]),
    ],
)
def test_flat_returns_offsets_and_one_array_per_field(events, select):
    check_flat(select(events), "pt", "mass")


def test_flat_makes_no_copy(events):
    one, two = flat(events.Muon, "pt"), flat(events.Muon, "pt")
    assert np.shares_memory(one.fields["pt"], two.fields["pt"])


def test_flat_requires_lists_of_records(events):
    for wrong in (events.MET, events.run, [1, 2], events, events.Muon.pt):
        with pytest.raises(InputError, match=r"list of records per event, such as events\.Muon"):
            flat(wrong, "pt")
    with pytest.raises(InputError, match="needs the fields to take"):
        flat(events.Muon)
    with pytest.raises(InputError, match=r"There is no field 'tp'.*'pt'"):
        flat(events.Muon, "tp")
    maybe = ak.mask(events.Muon, ak.num(events.Muon) > 1)
    with pytest.raises(InputError, match="missing"):
        flat(maybe, "pt")
    with pytest.raises(InputError, match="missing"):
        flat(ak.pad_none(events.Muon, 2), "pt")
