"""Events as a physicist writes them: collections, momenta, groups, names, and what survives a journey."""

import pickle

import awkward as ak
import numpy as np
import pytest
import uproot
import vector
from bits import SAMPLES, cut, jagged, same, whole, write_nano, write_tree

from af_kit.data.reading.events import EventsArray
from af_kit.data.reading.flat import flat
from af_kit.data.reading.read import read
from af_kit.errors import BranchError, InputError, MissingBranchError


@pytest.fixture
def events(tmp_path):
    return read(whole(write_nano(tmp_path / "nano.root", 200)))


@pytest.fixture
def plain(tmp_path):
    """The same by plain uproot, all branches flat."""
    write_nano(tmp_path / "plain.root", 200)
    with uproot.open(tmp_path / "plain.root") as file:
        return file["Events"].arrays()


# ---- structure -----------------------------------------------------------------------------------------------------


def test_counters_make_collections_and_prefixes_make_groups(events, plain):
    assert isinstance(events, EventsArray)
    assert events.fields == ["run", "event", "nMuon", "Muon", "nSV", "SV", "MET", "HLT", "PV"]
    assert events.Muon.fields == ["pt", "eta", "phi", "mass", "charge"]
    assert events.HLT.fields == ["IsoMu24", "Mu50"]
    assert events.PV.fields == ["npvs"]
    for name in plain.fields:
        same(events[name], plain[name])  # by the branch's own name
        same(getattr(events, name), plain[name])
        if "_" in name:
            group, _, field = name.partition("_")
            same(events[group][field], plain[name])
            same(events[group, field], plain[name])


def test_muons_are_momenta_and_vertices_are_places(events, plain):
    assert ak.parameters(events.Muon.layout.content)["__record__"] == "Momentum4D"
    assert events.MET.layout.parameters["__record__"] == "Momentum2D"
    assert "__record__" not in events.SV.layout.content.parameters
    with pytest.raises(AttributeError):
        _ = events.SV.px
    for x, field in [(events.SV.x, "SV_x"), (events.SV.z, "SV_z"), (events.SV.mass, "SV_mass")]:
        same(x, plain[field])


def test_pairs_have_the_mass_that_vector_gives_for_their_numbers(events):
    two = events.Muon[ak.num(events.Muon) >= 2]
    mass = (two[:, 0] + two[:, 1]).mass
    a, b = (
        vector.array({n: ak.to_numpy(two[:, i][n]).astype("f8") for n in ("pt", "eta", "phi", "mass")}) for i in (0, 1)
    )
    assert len(mass) > 20
    np.testing.assert_allclose(mass, (a + b).mass, rtol=2e-3, atol=2e-3)
    assert ak.all(events.Muon.px**2 + events.Muon.py**2 >= 0)
    assert ak.all(abs(two[:, 0].deltaR(two[:, 1])) >= 0)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["pt", "eta", "phi", "mass"], "Momentum4D"),
        (["pt", "eta", "phi"], "Momentum3D"),
        (["pt", "phi"], "Momentum2D"),
        (["pt", "phi", "sumEt"], "Momentum2D"),
        (["pt", "eta", "phi", "mass", "charge", "dxy"], "Momentum4D"),
        (["pt", "eta", "phi", "mass", "energy"], None),
        (["pt", "eta", "phi", "mass", "x"], None),
        (["eta", "phi"], None),
        (["pt", "eta"], None),
        (["pT", "eta", "phi"], None),
    ],
)
def test_what_is_a_momentum_and_what_is_not(tmp_path, names, kind):
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 3, 10)
    columns = {name: jagged(rng, counts) for name in names}
    path = write_tree(tmp_path / "f.root", {"A": ak.zip(columns), **{f"B_{name}": np.arange(10.0) for name in names}})
    events = read(whole(path))
    assert events.A.layout.content.parameters.get("__record__") == kind
    assert events.B.layout.parameters.get("__record__") == kind
    for name in names:
        same(events.A[name], columns[name])


def test_names_that_do_not_follow_nanoaod_stay_flat(tmp_path):
    rng = np.random.default_rng(2)
    counts, others = np.asarray([1, 0, 2]), np.asarray([0, 1, 1])
    with uproot.recreate(tmp_path / "f.root") as file:
        tree = file.mktree(
            "Events",
            {
                "n": "i4",
                "nobody": "i4",
                "Jet_area": "f8",
                "Jet": "f8",
                "Gen_Part": "var * float64",
                "_x": "i4",
                "y_": "i4",
            },
        )
        tree.extend(
            {
                "n": np.arange(3), "nobody": np.arange(3), "Jet_area": np.arange(3.0), "Jet": np.arange(3.0),
                "Gen_Part": jagged(rng, counts, "f8"), "_x": np.arange(3), "y_": np.arange(3),
            }
        )  # fmt: skip
    events = read(whole(tmp_path / "f.root"))
    with uproot.open(tmp_path / "f.root") as file:
        for name in file["Events"].keys():  # noqa: SIM118 - of a tree
            same(events[name], file["Events"][name].array())
    assert {"n", "nobody", "Jet", "Jet_area", "Gen_Part", "_x", "y_"} <= set(events.fields)
    assert others.sum() == 2


def test_a_collection_with_an_underscore_in_its_name(tmp_path):
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 3, 20)
    columns = {
        "Gen_Jet": ak.zip({"pt": jagged(rng, counts), "hadron_flavour": jagged(rng, counts, "i4")}),
        "Gen_weight": np.arange(20.0),
    }
    path = write_tree(tmp_path / "f.root", columns)
    events = read(whole(path))
    with uproot.open(path) as file:
        for name in ("Gen_Jet_pt", "Gen_Jet_hadron_flavour", "Gen_weight", "nGen_Jet"):
            same(events[name], file["Events"][name].array())
    same(events.Gen_Jet.hadron_flavour, columns["Gen_Jet"].hadron_flavour)
    same(events.Gen_Jet_pt, columns["Gen_Jet"].pt)
    assert read(whole(path), ["Gen_Jet"]).fields == ["nGen_Jet", "Gen_Jet"]


def test_vectors_without_counters_are_lists_of_their_own():
    events = read(whole(SAMPLES / "stl.root"))
    assert str(events.vf.type) == "150 * var * float32"
    assert str(events.vs.type) == "150 * var * string"
    assert str(events.vv.type) == "150 * var * var * float32"
    assert events["lv.fCoordinates.fPt"].ndim == 2


def test_vectors_that_belong_to_a_counter_are_a_collection_and_those_that_do_not_are_refused(tmp_path):
    """An ntuple may count other jets in nJet than those that Jet_pt holds: no number may be shifted between events."""
    with uproot.recreate(tmp_path / "f.root") as file:
        file.mkrntuple(
            "Events",
            {
                "nMuon": np.asarray([2, 0, 1]), "Muon_pt": ak.Array([[1.0, 2], [], [3]]),
                "nJet": np.asarray([1, 1, 1]), "Jet_pt": ak.Array([[1.0, 2], [], [3]]),
            },
        )  # fmt: skip
    chunk = whole(tmp_path / "f.root")
    events = read(chunk)
    assert events.Muon.pt.to_list() == [[1, 2], [], [3]]
    with pytest.raises(
        BranchError, match=r"'Jet_pt' of .* does not have the same number of values per entry as 'nJet' says.*branches="
    ):
        _ = events.Jet.pt.to_list()
    assert read(chunk, ["Jet_pt"])["Jet_pt"].to_list() == [[1, 2], [], [3]]


# ---- names ---------------------------------------------------------------------------------------------------------


def test_a_name_that_is_not_there_names_the_nearest(events):
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


def test_python_can_ask_whether_a_name_is_there(events):
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


# ---- metadata, slices, journeys -------------------------------------------------------------------------------------


def test_metadata_says_where_events_come_from_and_stays_through_slices(tmp_path):
    path = write_nano(tmp_path / "f.root", 50)
    chunk = whole({"data": {"files": {str(path): "Events"}, "metadata": {"xsec_pb": 2.5}}})
    events = read(cut(chunk, 10, 40))
    want = {
        "xsec_pb": 2.5, "dataset": "data", "file": str(path), "uuid": chunk.uuid, "treename": "Events",
        "entry_start": 10, "entry_stop": 40,
    }  # fmt: skip
    mask = events.HLT.IsoMu24
    for part in (events, events[mask], events[3:7], events[mask][ak.num(events[mask].Muon) > 0], events[[1, 2]]):
        assert part.metadata == want
        assert isinstance(part, EventsArray)
    events.metadata["dataset"] = "changed"  # a copy
    assert events.metadata == want


def test_slices_are_those_of_the_numbers(events, plain):
    mask = events.HLT.IsoMu24
    order = np.random.default_rng(1).permutation(200)
    for where in (mask, slice(3, 150, 7), order, -1):
        same(events[where]["Muon_pt"] if not isinstance(where, int) else events[where].Muon.pt, plain[where].Muon_pt)
    part = events[mask][5:]
    same(part.Muon[part.Muon.pt > 20].charge, plain[mask][5:].Muon_charge[plain[mask][5:].Muon_pt > 20])
    same(events[["run", "event"]].event, plain.event)


def test_events_survive_a_pickle(events):
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


def test_events_can_be_joined_and_given_new_fields(events):
    both = ak.concatenate([events[:50], events[50:]])
    same(both.Muon.pt, events.Muon.pt)
    changed = ak.with_field(events, events.MET.pt * 2, "twice")
    assert ak.all(changed.twice == 2 * events.MET.pt)
    events["double"] = events.MET.pt * 2
    assert ak.all(events.double == 2 * events.MET.pt)
    assert isinstance(changed, EventsArray)
    same(changed["Muon_pt"], events["Muon_pt"])


def test_events_of_no_entries_have_every_name(tmp_path):
    events = read(cut(whole(write_nano(tmp_path / "f.root", 20)), 7, 7))
    assert len(events) == 0
    assert str((events.Muon[:, :1] + events.Muon[:, :1]).mass.type) == "0 * var * float32"
    assert ak.sum(events.MET.pt) == 0
    assert events["SV_x"].to_list() == []


# ---- flat ----------------------------------------------------------------------------------------------------------


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
def test_flat_gives_offsets_and_one_array_per_field(events, select):
    check_flat(select(events), "pt", "mass")


def test_flat_makes_no_copy_of_what_was_read(events):
    one, two = flat(events.Muon, "pt"), flat(events.Muon, "pt")
    assert np.shares_memory(one.fields["pt"], two.fields["pt"])


def test_flat_takes_nothing_but_lists_of_records(events):
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
