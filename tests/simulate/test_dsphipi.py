"""The simulated Ds ntuple: names and types of the real one, and the special cases that a selection must handle."""

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

from af_kit import simulate
from af_kit.cli.command import main
from af_kit.errors import InputError
from af_kit.simulate.dsphipi import LUMI_IFB, TREENAME

CANDIDATE = ["Triplet2_Mass", "FlightDistBS_SV_Significance", "TripletVtx2_Chi2"]
CANDIDATE += [
    f"{one}_{part}" for one in ("Mu01", "Mu02", "Tr", "RefTrack1", "RefTrack2") for part in ("Pt", "Eta", "Phi")
]
CANDIDATE += ["Mu1_dRtriggerMatch_2017", "Mu2_dRtriggerMatch_2017"]
TYPES = {
    **dict.fromkeys([*CANDIDATE, "MuonPt", "Track_pt", "Track_dz", "Track_dxy"], "std::vector<double>"),
    **dict.fromkeys(["RefittedPV2_NTracks", "Muon_isGlobal", "Muon_isPF"], "std::vector<int32_t>"),
    **dict.fromkeys(["Trigger_hltdecision", "Trigger_l1decision"], "std::vector<int32_t>"),
    **dict.fromkeys(["Trigger_hltname", "Trigger_l1name"], "std::vector<std::string>"),
}


def events(path):
    with uproot.open(path) as file:
        return file[TREENAME].arrays()


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return events(simulate.dsphipi(tmp_path_factory.mktemp("sample") / "x.root", 50_000, 1))


@pytest.mark.parametrize("entries", [0, 1, 2500])
def test_branches_and_types(tmp_path, entries):
    with uproot.open(simulate.dsphipi(tmp_path / "x.root", entries, 1)) as file:
        assert file[TREENAME].num_entries == entries
        assert file[TREENAME].typenames() == TYPES


def test_branches_of_a_collection_have_equal_counts(sample):
    counts = ak.num(sample.Triplet2_Mass)
    assert all(ak.all(ak.num(sample[name]) == counts) for name in [*CANDIDATE, "RefittedPV2_NTracks"])
    assert set(np.unique(counts)) == {0, 1, 2, 3, 4, 5}
    for first, *others in (
        ("MuonPt", "Muon_isGlobal", "Muon_isPF"),
        ("Track_pt", "Track_dz", "Track_dxy"),
        ("Trigger_hltname", "Trigger_hltdecision"),
        ("Trigger_l1name", "Trigger_l1decision"),
    ):
        assert all(ak.all(ak.num(sample[first]) == ak.num(sample[other])) for other in others)


def test_peaks_stand_on_a_falling_background(sample):
    mass = ak.to_numpy(ak.flatten(sample.Triplet2_Mass))
    counts = {centre: int((abs(mass - centre) < 0.02).sum()) for centre in (1.70, 1.87, 1.968, 2.05)}
    assert counts[1.968] > 2 * counts[2.05]
    assert counts[1.87] > 1.3 * counts[1.70] > 1.3 * counts[2.05]


def test_special_cases_for_a_selection_occur(sample):
    """NaN, ties, muons exchanged, no trigger object, signs, and matches that are absent or double."""
    chi2 = sample.TripletVtx2_Chi2
    assert 0 < ak.sum(np.isnan(chi2)) < 0.03 * ak.count(chi2)
    exchanged = (sample.Mu01_Pt[:, 1:] == sample.Mu02_Pt[:, :-1]) & (chi2[:, 1:] == chi2[:, :-1])
    assert ak.sum(exchanged) > 50
    assert ak.sum(sample.Mu1_dRtriggerMatch_2017 == 999) > 100
    assert ak.min(sample.Track_dz) < -20
    assert ak.min(sample.Track_dxy) < -0.3
    pairs = ak.cartesian([sample.Mu01_Pt, sample.MuonPt], nested=True)
    matches = ak.sum(pairs["0"] == pairs["1"], axis=2)
    assert {0, 1, 2} <= set(np.unique(ak.flatten(matches)))


def test_masses_are_those_of_the_momenta(sample):
    """The refitted muons are from a phi, or from anything; with the pion they have the candidate's mass."""
    import vector

    def momentum(name, mass):
        parts = {part.lower(): ak.flatten(sample[f"{name}_{part}"]) for part in ("Pt", "Eta", "Phi")}
        return vector.zip({**parts, "mass": ak.full_like(parts["pt"], mass)})

    pair = momentum("RefTrack1", 0.105658) + momentum("RefTrack2", 0.105658)
    phi = abs(pair.mass - 1.0195) < 0.03
    assert 0.3 < ak.mean(phi) < 0.7
    near = (pair + momentum("Tr", 0.13957)).mass - ak.flatten(sample.Triplet2_Mass)
    assert np.quantile(abs(near), 0.5) < 0.03  # the pion is as measured; some are turned apart


def test_the_same_seed_gives_the_same_events(tmp_path, same):
    one = events(simulate.dsphipi(tmp_path / "1.root", 25_000, 5))
    assert same(one, events(simulate.dsphipi(tmp_path / "2.root", 25_000, 5, cluster_entries=777, compression="none")))
    assert same(one[:1000], events(simulate.dsphipi(tmp_path / "3.root", 1000, 5)))


@pytest.mark.parametrize("change", [{"file_index": 1}, {"era": "2017C"}, {"kind": "mc"}])
def test_files_eras_and_kinds_are_independent(tmp_path, change):
    one = events(simulate.dsphipi(tmp_path / "1.root", 1000, 5))
    other = events(simulate.dsphipi(tmp_path / "2.root", 1000, 5, **change))
    pts = [ak.to_numpy(ak.flatten(sample.Mu01_Pt)) for sample in (one, other)]
    assert not np.intersect1d(*pts).size


def test_simulation_is_mostly_signal(tmp_path):
    mass = ak.flatten(events(simulate.dsphipi(tmp_path / "x.root", 5000, 1, kind="mc")).Triplet2_Mass)
    assert ak.mean(abs(mass - 1.968) < 0.03) > 0.35


@pytest.mark.parametrize("wrong", [{"kind": "ttree"}, {"era": "2018A"}, {"file_index": -1}])
def test_wrong_options(tmp_path, wrong):
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        simulate.dsphipi(tmp_path / "x.root", 1, 1, **wrong)
    assert not list(tmp_path.iterdir())


# Eras ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["data", "mc"])
def test_command(tmp_path, kind, capsys):
    assert main(["simulate", "dsphipi", "--events", "500", "--out", str(tmp_path), "--kind", kind]) == 0
    said = capsys.readouterr().out
    assert "af-kit run dsphipi" in said
    assert ("--muon-sf" in said) == (kind == "mc")
    fileset = yaml.safe_load((tmp_path / "fileset.yaml").read_text())
    assert [dataset["metadata"]["era"] for dataset in fileset.values()] == list(LUMI_IFB)
    for name, dataset in fileset.items():
        assert dataset["treename"] == TREENAME
        assert dataset["metadata"]["isMC"] == (kind == "mc")
        assert f"_{kind}_" in name
        assert dataset["metadata"]["lumi_ifb"] == LUMI_IFB[dataset["metadata"]["era"]]


def test_command_refuses_what_is_for_other_samples(tmp_path, capsys):
    assert main(["simulate", "dimuon", "--events", "5", "--out", str(tmp_path), "--kind", "mc"]) == 2
    assert main(["simulate", "dimuon", "--events", "5", "--out", str(tmp_path), "--eras", "2017B"]) == 2
    assert main(["simulate", "dsphipi", "--events", "5", "--out", str(tmp_path), "--kind", "rntuple"]) == 2
    assert "neither 'data' nor 'mc'" in capsys.readouterr().err
