"""The structure of events: collections, groups, momenta."""

import awkward as ak
import numpy as np
import pytest
import uproot
import vector
from bits import SAMPLES, jagged, same, whole, write_tree

from af_kit.data.reading.events import EventsArray
from af_kit.data.reading.read import read
from af_kit.errors import BranchError


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


def test_muons_are_momenta_and_vertices_are_not(events, plain):
    assert ak.parameters(events.Muon.layout.content)["__record__"] == "Momentum4D"
    assert events.MET.layout.parameters["__record__"] == "Momentum2D"
    assert "__record__" not in events.SV.layout.content.parameters
    with pytest.raises(AttributeError):
        _ = events.SV.px
    for x, field in [(events.SV.x, "SV_x"), (events.SV.z, "SV_z"), (events.SV.mass, "SV_mass")]:
        same(x, plain[field])


def test_pairs_have_the_mass_that_vector_computes(events):
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
def test_which_records_are_momenta(tmp_path, names, kind):
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


def test_vectors_without_counters_are_lists():
    events = read(whole(SAMPLES / "stl.root"))
    assert str(events.vf.type) == "150 * var * float32"
    assert str(events.vs.type) == "150 * var * string"
    assert str(events.vv.type) == "150 * var * var * float32"
    assert events["lv.fCoordinates.fPt"].ndim == 2


def test_vectors_form_a_collection_if_the_counter_has_their_lengths(tmp_path):
    """If nJet counts other jets than those in Jet_pt, no value may be shifted between events."""
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


def test_names_with_dots_and_slashes_and_two_of_the_same_name(tmp_path):
    chunk = whole(SAMPLES / "stl.root")
    events = read(chunk)
    assert events["point."].fields
    assert str(events["tracks.fX"].type) == "150 * var * float64"
    rng = np.random.default_rng(0)
    path = write_tree(
        tmp_path / "f.root", {"a.b": np.arange(3), "a b": np.arange(3.0), "Muon": jagged(rng, np.ones(3, int))}
    )
    for name in ("a.b", "a b", "Muon"):
        with uproot.open(path) as file:
            same(read(whole(path))[name], file["Events"][name].array())
