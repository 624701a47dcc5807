"""GenPart and GenJet, and what is matched to them."""

import awkward as ak
import numpy as np
import pytest


@pytest.fixture(scope="module")
def events(tools):
    return tools.drawn("dy", 2018)


def test_muons_are_matched_to_generated_muons(events):
    matched = events.Muon_genPartIdx >= 0
    index = ak.where(matched, events.Muon_genPartIdx, 0)
    has = ak.num(events.GenPart_pt) > 0
    assert ak.all(has)  # there is always a Z boson
    pdg_id, pt = events.GenPart_pdgId[index], events.GenPart_pt[index]
    assert ak.all(abs(pdg_id[matched]) == 13)
    assert ak.all(events.GenPart_status[index][matched] == 1)
    assert ak.all(np.sign(pdg_id[matched]) == -events.Muon_charge[matched])
    close = abs(pt[matched] / events.Muon_pt[matched] - 1) < 0.2
    assert ak.mean(close) > 0.99
    assert ak.all(events.Muon_genPartFlav[~matched] == 0)
    assert {1, 15} <= set(ak.flatten(events.Muon_genPartFlav))


def test_mothers_are_before_their_products(events):
    mother = events.GenPart_genPartIdxMother
    assert ak.all(mother < ak.local_index(mother))
    photon = events.GenPart_pdgId == 22
    assert ak.sum(photon) > 100
    index = ak.where(mother >= 0, mother, 0)
    assert ak.all(abs(events.GenPart_pdgId[index][photon]) == 13)
    lepton = (abs(events.GenPart_pdgId) == 13) & (events.GenPart_statusFlags & (1 << 8) > 0)
    assert ak.all(events.GenPart_pdgId[index][lepton] == 23)


def test_generated_bosons_have_the_mass_of_their_leptons_and_photons(tools):
    events = tools.drawn("vbf-hmumu", 2018)
    particles = tools.collection(events, "GenPart")
    final = particles[(particles.status == 1) & (particles.statusFlags & (1 << 8) > 0)]
    total = ak.sum(final.px, axis=1), ak.sum(final.py, axis=1), ak.sum(final.pz, axis=1), ak.sum(final.energy, axis=1)
    mass = np.sqrt(ak.to_numpy(total[3] ** 2 - total[0] ** 2 - total[1] ** 2 - total[2] ** 2))
    # Nearly all: along the beam, the mass of two muons is lost in single precision.
    assert np.mean(np.abs(mass - 125) < 0.5) > 0.995


def test_jets_are_matched_within_their_resolution(tools, events):
    matched = events.Jet_genJetIdx >= 0
    index = events.Jet_genJetIdx[matched]
    generated = events.GenJet_pt[index]
    reconstructed = events.Jet_pt[matched]
    hard = (generated > 30) & (events.Jet_muonIdx1[matched] < 0) & (events.Jet_electronIdx1[matched] < 0)
    ratio = ak.flatten((reconstructed / generated)[hard])
    assert abs(np.median(ratio) - 1) < 0.03
    assert 0.1 < np.std(ratio) < 0.3
    assert ak.all(events.Jet_partonFlavour[~matched & (events.Jet_pt > 40)] == 0)  # pile-up, or a lepton
    assert ak.sum(~matched) > 500
    assert ak.all(events.GenJet_pt >= 10)


def test_generated_jets_include_the_leptons(events):
    """An analysis that stitches samples by generated jets has to remove them."""
    particles = ak.zip({name: events[f"GenPart_{name}"] for name in ("pt", "eta", "phi", "pdgId", "status")})
    hard = particles[
        (abs(particles.pdgId) == 13) & (particles.status == 1) & (particles.pt > 25) & (abs(particles.eta) < 5)
    ]
    jets = ak.zip({name: events[f"GenJet_{name}"] for name in ("eta", "phi")})
    lepton, jet = ak.unzip(ak.cartesian([hard, jets], nested=True))
    assert ak.all(ak.any((abs(lepton.eta - jet.eta) < 0.3) & (abs(np.cos(lepton.phi - jet.phi) - 1) < 0.05), axis=2))
