"""Events: lazy branches, names, metadata, slices, pickles."""

import pickle
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import cut, opened, same, whole, write_nano, write_tree

from af_kit.data.reading.events import EventsArray
from af_kit.data.reading.read import read
from af_kit.errors import BranchError, MissingBranchError


def test_branches_are_read_when_used(nano):
    events, reader = opened(nano)
    assert len(events) == 300
    assert "Muon" in events.fields
    assert events.Muon.fields == ["pt", "eta", "phi", "mass", "charge"]
    assert str(events.run.type) == "300 * uint32"
    repr(events)
    assert hasattr(events, "HLT")
    assert events.metadata == {}
    assert reader.stats.branches == set()
    assert reader.stats.bytes_read == 0


def test_only_the_branches_of_an_expression_are_read_and_masks_stay_lazy(nano):
    events, reader = opened(nano)
    good = events[events.HLT.IsoMu24]
    assert reader.stats.branches == {"HLT_IsoMu24"}
    muons = good.Muon[good.Muon.pt > 20]
    assert reader.stats.branches == {"HLT_IsoMu24", "nMuon", "Muon_pt"}
    pairs = muons[ak.num(muons) == 2]
    assert reader.stats.branches == {"HLT_IsoMu24", "nMuon", "Muon_pt"}
    mass = (pairs[:, 0] + pairs[:, 1]).mass
    assert len(mass) == len(pairs)
    wanted = {"HLT_IsoMu24", "nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass"}
    assert reader.stats.branches == wanted
    with uproot.open(nano.file) as file:
        sizes = {name: file["Events"][name].compressed_bytes for name in wanted}
    assert sum(sizes.values()) <= reader.stats.bytes_read < 1.3 * sum(sizes.values()) + 6 * 3 * 100


def test_declared_branches_are_fetched_at_once(nano):
    events = read(nano, ["Muon", "run"])
    Path(nano.file).unlink()
    same(events.run, ak.Array(np.full(300, 7, np.uint32)))
    assert ak.all(events.Muon.mass == np.float32(0.105))


@pytest.mark.parametrize(
    "use", [lambda e: e.Muon.eta, lambda e: e["Muon_eta"], lambda e: e.Muon_eta, lambda e: e.SV, lambda e: e["MET_pt"]]
)
def test_undeclared_branches_cannot_be_used(nano, use):
    events = read(nano, ["Muon_pt"])
    with pytest.raises(AttributeError):
        use(events)


def test_the_error_for_an_undeclared_branch(nano):
    events = read(nano, ["Muon_pt"])
    with pytest.raises(
        MissingBranchError, match=r"'SV' is not among the declared branches of .*nano\.root\..*`branches`"
    ):
        _ = events.SV
    with pytest.raises(MissingBranchError, match=r"'Muon_eta' is not among the declared branches"):
        _ = events["Muon_eta"]
    with pytest.raises(MissingBranchError, match=r"no branch or collection 'Tau' in"):
        _ = read(nano).Tau


def test_a_missing_name_suggests_the_nearest(events):
    for use, name, right in [
        (lambda: events.Muno, "Muno", "Muon"),
        (lambda: events["Muno"], "Muno", "Muon"),
        (lambda: events["Muon_tp"], "Muon_tp", "Muon_pt"),
        (lambda: events.Muon_tp, "Muon_tp", "Muon_pt"),
        (lambda: events.HLT_IsoMu2, "HLT_IsoMu2", "HLT_IsoMu24"),
    ]:
        with pytest.raises(
            MissingBranchError, match=rf"no branch or collection '{name}' in .*Did you mean '{right}'\?"
        ):
            use()
    with pytest.raises(AttributeError, match="ptt"):
        _ = events.Muon.ptt


def test_hasattr_and_getattr(events):
    assert hasattr(events, "HLT")
    assert hasattr(events, "HLT_IsoMu24")
    assert hasattr(events, "Muon_pt")
    assert not hasattr(events, "Tau")
    assert not hasattr(events, "HLT_Nothing")
    assert getattr(events, "Tau", None) is None
    with pytest.raises(KeyError):
        _ = events["Tau"]
    assert not hasattr(events, "__array_something__")


def test_a_branch_may_have_the_name_of_an_attribute(tmp_path):
    columns = {name: np.arange(4) for name in ("metadata", "fields", "type", "layout", "attrs", "ndim", "mask")}
    events = read(whole(write_tree(tmp_path / "f.root", columns)))
    for name in columns:
        assert events[name].to_list() == [0, 1, 2, 3]
    assert events.metadata["entry_stop"] == 4


def test_slices_keep_the_metadata(tmp_path):
    path = write_nano(tmp_path / "f.root", 50)
    chunk = whole({"data": {"files": {str(path): "Events"}, "metadata": {"xsec_pb": 2.5}}})
    events = read(cut(chunk, 10, 40))
    want = {
        "xsec_pb": 2.5, "dataset": "data", "file": str(path), "uuid": chunk.uuid, "digest": chunk.digest,
        "treename": "Events",
        "entry_start": 10, "entry_stop": 40,
    }  # fmt: skip
    mask = events.HLT.IsoMu24
    for part in (events, events[mask], events[3:7], events[mask][ak.num(events[mask].Muon) > 0], events[[1, 2]]):
        assert part.metadata == want
        assert isinstance(part, EventsArray)
    events.metadata["dataset"] = "changed"  # a copy
    assert events.metadata == want


def test_slices(events, plain):
    mask = events.HLT.IsoMu24
    order = np.random.default_rng(1).permutation(200)
    for where in (mask, slice(3, 150, 7), order, -1):
        same(events[where]["Muon_pt"] if not isinstance(where, int) else events[where].Muon.pt, plain[where].Muon_pt)
    part = events[mask][5:]
    same(part.Muon[part.Muon.pt > 20].charge, plain[mask][5:].Muon_charge[plain[mask][5:].Muon_pt > 20])
    same(events[["run", "event"]].event, plain.event)


def test_events_can_be_pickled(events):
    part = events[events.HLT.IsoMu24]
    again = pickle.loads(pickle.dumps(part))
    assert isinstance(again, EventsArray)
    for name in ("run", "Muon_pt", "SV_x", "HLT_Mu50"):
        same(again[name], part[name])
    same((again.Muon + again.Muon).mass, (part.Muon + part.Muon).mass)
    with pytest.raises(MissingBranchError, match="no branch or collection 'Tau' in these events"):
        _ = again.Tau


def test_a_selection_can_be_written_to_parquet_and_read_back(events, tmp_path):
    part = events[events.HLT.IsoMu24]
    ak.to_parquet(part, tmp_path / "skim.parquet")
    again = ak.from_parquet(tmp_path / "skim.parquet")
    for name in ("pt", "charge"):
        assert again.Muon[name].to_list() == part.Muon[name].to_list()
    assert again.HLT.Mu50.to_list() == part.HLT.Mu50.to_list()
    assert again.event.to_list() == part.event.to_list()
    ak.to_parquet(part.Muon[part.Muon.pt > 10], tmp_path / "muons.parquet")


def test_events_can_be_concatenated_and_extended(events):
    both = ak.concatenate([events[:50], events[50:]])
    same(both.Muon.pt, events.Muon.pt)
    changed = ak.with_field(events, events.MET.pt * 2, "twice")
    assert ak.all(changed.twice == 2 * events.MET.pt)
    events["double"] = events.MET.pt * 2
    assert ak.all(events.double == 2 * events.MET.pt)
    assert isinstance(changed, EventsArray)
    same(changed["Muon_pt"], events["Muon_pt"])


def test_events_without_entries_have_all_fields(tmp_path):
    events = read(cut(whole(write_nano(tmp_path / "f.root", 20)), 7, 7))
    assert len(events) == 0
    assert str((events.Muon[:, :1] + events.Muon[:, :1]).mass.type) == "0 * var * float32"
    assert ak.sum(events.MET.pt) == 0
    assert events["SV_x"].to_list() == []


def uproots(path, columns):
    """Write jagged branches as uproot does: each has a counter of its own."""
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: column.type.content for name, column in columns.items()})
        file["Events"].extend(columns)
    return path


PT = ak.Array([[30.0, 20.0], [], [10.0]])


@pytest.mark.parametrize("with_counter", [False, True], ids=["without nMuon", "with nMuon"])
def test_a_collection_whose_branches_have_a_counter_each(tmp_path, with_counter):
    """NanoAOD that uproot has written again."""
    columns = {"Muon_pt": PT, "Muon_eta": PT / 10, "Muon_phi": PT / 100, "Muon_mass": PT * 0 + 0.1, "Jet_pt": PT}
    if with_counter:
        columns["nMuon"] = ak.Array(np.int32([2, 0, 1]))
    path = uproots(tmp_path / "f.root", columns)
    chunk = whole(path)
    for events in (read(chunk), read(chunk, ["Muon", "Jet_pt"])):
        assert events.Muon.pt.to_list() == PT.to_list()
        assert events.Muon_pt.to_list() == PT.to_list()
        assert ak.all(events.Muon.px == events.Muon.pt * np.cos(events.Muon.phi))
        assert events.Jet_pt.to_list() == PT.to_list()  # a single branch keeps its name
    assert read(chunk)["nMuon_pt"].to_list() == [2, 0, 1]
    assert read(cut(chunk, 1, 3)).Muon.eta.to_list() == [[], [1.0]]


def test_branches_of_one_prefix_with_other_counts_are_no_collection(tmp_path):
    path = uproots(tmp_path / "f.root", {"Muon_pt": PT, "Muon_hits": PT[[2, 1, 0]], "Muon_eta": PT})
    events = read(whole(path))
    assert events.Muon.eta.to_list() == PT.to_list()
    with pytest.raises(BranchError, match=r"'Muon_hits' of .* number of values per entry .* Read it with `branches="):
        _ = events.Muon.hits.to_list()
    assert events.Muon_hits.to_list() == [[10.0], [], [30.0, 20.0]]  # by its own name
    assert read(whole(path), ["Muon_hits"]).Muon_hits.to_list() == [[10.0], [], [30.0, 20.0]]


def test_collections_of_delphes(tmp_path):
    path = uproots(
        tmp_path / "f.root",
        {"Jet.PT": PT, "Jet.Eta": PT / 10, "Jet_size": ak.Array(np.int32([2, 0, 1])), "Tag_size": ak.Array([1, 2, 3])},
    )
    for events in (read(whole(path)), read(whole(path), ["Jet", "Tag_size"])):
        assert events.Jet.PT.to_list() == PT.to_list()
        assert events["Jet.Eta"].to_list() == (PT / 10).to_list()
        assert events["Jet_size"].to_list() == [2, 0, 1]
        assert events.Tag.size.to_list() == [1, 2, 3]


def test_a_branch_without_a_name(tmp_path):
    path = write_tree(tmp_path / "f.root", {"x": np.arange(3), "": np.arange(3) + 5})
    assert uproot.open(path)["Events"].keys() == ["x", ""]
    assert read(whole(path)).x.to_list() == [0, 1, 2]
    assert read(whole(path))[""].to_list() == [5, 6, 7]
