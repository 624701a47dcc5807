"""Which fields the kit decodes itself, and where their elements are."""

import struct

import awkward as ak
import numpy as np
import pytest
from bits import SAMPLES, whole
from rntuples import Ntuple

import af_kit as af
from af_kit.data.reading.describe import describe
from af_kit.data.reading.ntuple_columns import NtupleColumns
from af_kit.data.reading.read import read
from af_kit.errors import BranchError, FunctionError


def pages(name):
    return whole(SAMPLES / f"{name}.root").layout.pages


@pytest.mark.parametrize("name", ["rntuple", *(f"ntuple_{kind}" for kind in ("pages", "plain", "floats", "import"))])
def test_every_type_but_the_variant_is_native(name):
    assert all(field.native for field in pages(name).fields.values())


def test_lists_know_their_elements():
    table = pages("ntuple_pages")
    offsets, numbers = (table.columns[number] for number in table.fields["Muon_pt"].columns)
    assert (offsets.is_index, offsets.parent, offsets.repeat) == (True, -1, 1)
    assert (numbers.is_index, numbers.parent) == (False, table.fields["Muon_pt"].columns[0])
    assert np.array_equal(offsets.content, numbers.first_elements)
    assert offsets.first_elements.tolist() == table.entries.tolist()
    place = table.columns[table.fields["place"].columns[0]]
    assert place.repeat == 3
    assert place.first_elements.tolist() == (3 * table.entries).tolist()


def test_an_imported_collection_shares_its_columns():
    fields = pages("ntuple_import").fields
    assert fields["Muon_pt"].columns[0] == fields["nMuon"].columns[0] == fields["_collection1"].columns[0]


def test_fields_that_were_added_later_are_zero_before():
    events = read(whole(SAMPLES / "ntuple_late.root"))
    entries = range(200)
    assert events.late.to_list() == [i if i >= 100 else 0 for i in entries]
    assert events.three.to_list() == [[i, -i, 7] if i >= 100 else [0, 0, 0] for i in entries]
    assert events.text.to_list() == [str(i) if i >= 100 else "" for i in entries]
    assert all(set(values) <= {i} and (i >= 100 or not values) for i, values in enumerate(events["list"].to_list()))
    assert sum(map(len, events["list"].to_list())) > 50


def test_several_representations_of_a_column():
    """Each cluster has another one; uproot 5.7 fails or gives other numbers."""
    chunk = whole(SAMPLES / "ntuple_forms.root")
    events = read(chunk)
    assert events.f.to_list() == [i / 8 for i in range(200)]
    assert events.d.to_list() == [i / 2 for i in range(200)]
    assert str(events.d.type) == "200 * float64"  # the wider of both
    assert events.i.to_list() == read(whole(SAMPLES / "ntuple_pages.root")).i32.to_list()
    assert events.s.to_list() == ["x" * (i % 5) for i in range(200)]
    lengths = [len(x) for x in read(whole(SAMPLES / "ntuple_pages.root")).Muon_pt]
    assert events.v.to_list() == [[i] * length for i, length in enumerate(lengths)]


@pytest.mark.parametrize(("name", "field"), [("ntuple_late", "late"), ("ntuple_forms", "f")])
def test_what_the_kit_cannot_decode_and_uproot_reads_wrongly_is_refused(monkeypatch, name, field):
    monkeypatch.setattr(NtupleColumns, "_is_decodable", lambda *_: False)
    reasons = describe(str(SAMPLES / f"{name}.root"), "Events").unreadable
    assert reasons[field].startswith("uproot reads its type float wrongly if ")


def test_columns_with_fewer_elements_than_their_entries_are_refused(monkeypatch):
    fewer = property(lambda column: column.edges[column.pages] // 2)
    monkeypatch.setattr("af_kit.data.reading.page_table.PageColumn.first_elements", fewer)
    layout = describe(str(SAMPLES / "ntuple_plain.root"), "Events")
    assert len(layout.unreadable) > 10
    assert all("in a damaged file" in reason for reason in layout.unreadable.values())
    assert not any(field.native for field in layout.pages.fields.values())


def test_a_page_with_more_elements_than_entries_is_refused(tmp_path):
    """uproot would read memory after the page."""
    ntuple = Ntuple((SAMPLES / "twin_1.root").read_bytes())
    (page,) = ntuple.pages("list 0")
    struct.pack_into("<i", ntuple.envelopes["list 0"], page.entry, -32818)
    path = tmp_path / "f.root"
    path.write_bytes(ntuple.sealed())
    with pytest.raises(BranchError, match=r"'i' of .* wrongly in a damaged file, whose pages do not have the elements"):
        read(whole(path))["i"]


def test_a_damaged_field_of_a_collection_says_so_when_it_is_used(tmp_path):
    """The collection is read without it: awkward alone would say that there is no such field."""
    ntuple = Ntuple((SAMPLES / "ntuple_pages.root").read_bytes())
    page = next(page for page in ntuple.pages("list 1") if page.entry == 1392)  # of Muon_pt
    struct.pack_into("<i", ntuple.envelopes["list 1"], page.entry, -132)
    path = tmp_path / "f.root"
    path.write_bytes(ntuple.sealed())
    assert set(read(whole(path)).Muon.fields) == {"charge", "ok"}
    with pytest.raises(FunctionError, match=r"no field named 'pt'. Branch 'Muon_pt' cannot be used: .* damaged file"):
        af.process(lambda events: {"pt": ak.sum(events.Muon.pt)}, {"D": {"files": {str(path): "Events"}}})
