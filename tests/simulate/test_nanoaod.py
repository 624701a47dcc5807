"""The wide file: branches and types of NanoAOD, and a selection that finds Z and Higgs bosons."""

import awkward as ak
import numpy as np
import pytest
import uproot

from af_kit import simulate


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return simulate.nanoaod(tmp_path_factory.mktemp("wide") / "nano.root", 40_000, 1, compression="LZ4-1")


def test_branches_and_types_of_the_wide_file(wide):
    with uproot.open(wide) as file:
        tree = file["Events"]
        types = tree.typenames()
        assert 170 < len(types) < 200
        for name in ("Muon", "Electron", "Jet", "FsrPhoton", "SoftActivityJet"):
            assert types[f"n{name}"] == "uint32_t"
            assert tree[f"{name}_pt"].count_branch.name == f"n{name}"
        assert types["Muon_mediumId"] == "bool[]"
        assert types["Muon_pfIsoId"] == "uint8_t[]"
        assert types["Jet_puId"] == "int32_t[]"
        assert types["SoftActivityJetHT2"] == "float"
        assert types["HLT_IsoMu24"] == types["Flag_goodVertices"] == "bool"


def test_indices_of_the_wide_file_point_at_something(wide, events):
    sample = events(wide)
    assert ak.all(sample.Muon_fsrPhotonIdx < sample.nFsrPhoton)
    assert ak.all(sample.Jet_muonIdx1 < sample.nMuon)
    radiating = sample[sample.nFsrPhoton == 1]
    assert len(radiating) > 500
    assert ak.all(ak.sum(radiating.Muon_fsrPhotonIdx == 0, axis=1) == 1)
    muon = radiating.FsrPhoton_muonIdx
    assert ak.all(abs(radiating.Muon_eta[muon] - radiating.FsrPhoton_eta) < 0.8)
    same_object = sample[ak.any(sample.Jet_muonIdx1 == 0, axis=1)]
    assert len(same_object) > 1000
    assert ak.all(same_object.Jet_eta[:, 0] == same_object.Muon_eta[:, 0])


def test_a_selection_on_the_wide_file_finds_z_and_higgs_bosons(wide, events, masses):
    sample = events(wide)
    good = (sample.Muon_pt > 20) & sample.Muon_mediumId & (sample.Muon_pfRelIso04_all < 0.25)
    keep = (ak.sum(good, axis=1) == 2) & (sample.nMuon == 2) & sample.HLT_IsoMu24
    sample = sample[keep]
    assert ak.all(sample.Muon_pt[:, 0] > 24)
    mass = masses(sample)
    assert ((mass > 81) & (mass < 101)).sum() > 0.8 * len(mass)
    hard = sample.Jet_pt > 35
    apart = ak.max(sample.Jet_eta[hard], axis=1) - ak.min(sample.Jet_eta[hard], axis=1)
    vbf = masses(sample[ak.fill_none(apart > 2.5, False)])
    assert abs(np.median(vbf[(vbf > 115) & (vbf < 135)]) - 125.2) < 1


def test_the_wide_file_has_a_seed(tmp_path, wide, events, same):
    again = simulate.nanoaod(tmp_path / "x.root", 300, 1, cluster_entries=100, kind="rntuple")
    other = simulate.nanoaod(tmp_path / "y.root", 300, 2)
    assert same(events(wide)[:300], events(again))
    assert not same(events(again), events(other))
