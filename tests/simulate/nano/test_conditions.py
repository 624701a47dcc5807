"""Pile-up, filters, soft activity and the weights of the first-level trigger."""

import awkward as ak
import numpy as np
import pytest

from af_kit.simulate.nano.campaigns import RUN_2, campaign


@pytest.mark.parametrize("year", RUN_2)
def test_pileup_follows_the_profile_of_the_year(tools, year):
    events = tools.drawn("dy" if year == 2018 else "vbf-hmumu", year)
    profile = campaign(year).pileup("mc")
    bins = np.arange(profile.size) + 0.5
    true = np.asarray(events.Pileup_nTrueInt)
    assert abs(true.mean() - (profile * bins).sum()) < 0.8
    assert abs(true.std() - campaign(year).pileup_mc[1]) < 0.8
    assert np.corrcoef(true, events.fixedGridRhoFastjetAll)[0, 1] > 0.8
    assert np.corrcoef(events.Pileup_nPU, events.PV_npvsGood)[0, 1] > 0.8
    assert profile.sum() == pytest.approx(1)
    means = [(campaign(year).pileup(of) * bins).sum() for of in ("minus", "data", "plus")]
    assert means == sorted(means)


def test_filters_have_the_names_of_nanoaod(tools):
    events = tools.drawn("data", 2017, 20_000)
    flags = {name for name in events.fields if name.startswith("Flag_")}
    assert "Flag_goodVertices" in flags
    assert "Flag_goodVerticesFilter" not in flags
    for name in ("BadPFMuon", "EcalDeadCellTriggerPrimitive", "HBHENoise", "HBHENoiseIso", "BadChargedCandidate"):
        assert f"Flag_{name}Filter" in flags
    assert "Flag_globalSuperTightHalo2016Filter" in flags
    assert all(ak.mean(events[name]) > 0.99 for name in flags)
    assert any(ak.mean(events[name]) < 1 for name in flags)


def test_the_soft_activity_collection_is_cut_at_six(tools):
    events = tools.drawn("ttbar", 2018)
    number = ak.num(events.SoftActivityJet_pt)
    assert ak.max(number) == 6
    assert ak.max(events.SoftActivityJetNjets2) > 8
    few = number < 6
    above = events.SoftActivityJet_pt > 2
    assert ak.all(events.SoftActivityJetNjets2[few] == ak.sum(above, axis=1)[few])
    assert np.allclose(events.SoftActivityJetHT2[few], ak.sum(events.SoftActivityJet_pt[above], axis=1)[few], rtol=1e-3)
    assert ak.mean(tools.drawn("vbf-hmumu").SoftActivityJetHT5) < 0.85 * ak.mean(events.SoftActivityJetHT5)


def test_prefiring_is_of_2016_and_2017_and_acts_on_forward_jets(tools):
    assert "L1PreFiringWeight_Nom" not in tools.drawn("vbf-hmumu", 2018, 1000).fields
    events = tools.drawn("vbf-hmumu", 2017)
    down, nominal, up = (np.asarray(events[f"L1PreFiringWeight_{name}"]) for name in ("Dn", "Nom", "Up"))
    forward = ak.any((abs(events.Jet_eta) > 2) & (abs(events.Jet_eta) < 3) & (events.Jet_pt > 40), axis=1)
    assert (nominal[~forward] == 1).all()
    assert (up[forward] < nominal[forward]).all()
    assert (nominal[forward] < down[forward]).all()
    assert 0.5 < nominal.min() < nominal.mean() < 1
