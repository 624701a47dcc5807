"""The wide selection: two muons, no electron, b veto, two jets, with 22 of NanoAOD's branches; no corrections.

coffea and the kit both run `analyse`; RDataFrame and the compiled loop have the same cuts in their own files
(peers/wide_*.py). The cut on the jets' eta is 4.5, which is exact in single precision: at 4.7, where the simulation
clips, numpy's float32 and C++'s double disagree.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
from hist import Hist

BRANCHES = (
    *("HLT_IsoMu24", "Flag_goodVertices"),
    *("nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge", "Muon_mediumId", "Muon_pfRelIso04_all"),
    *("nElectron", "Electron_pt", "Electron_eta", "Electron_mvaFall17V2Iso_WP90"),
    *("nJet", "Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_jetId", "Jet_puId", "Jet_btagDeepB"),
)


def analyse(events: ak.Array) -> dict[str, Any]:
    """Fill the mass of the two muons, and of the two leading jets if they are far apart."""
    events = events[events.HLT.IsoMu24 & events.Flag.goodVertices]
    muons, electrons, jets = events.Muon, events.Electron, events.Jet
    muons = muons[(muons.pt > 20) & (abs(muons.eta) < 2.4) & muons.mediumId & (muons.pfRelIso04_all < 0.25)]
    electrons = electrons[(electrons.pt > 20) & (abs(electrons.eta) < 2.5) & electrons.mvaFall17V2Iso_WP90]
    jets = jets[(jets.pt > 25) & (abs(jets.eta) < 4.5) & (jets.jetId >= 2) & ((jets.puId >= 4) | (jets.pt > 50))]
    central = jets.btagDeepB[abs(jets.eta) < 2.5]
    two = (ak.num(muons) == 2) & (ak.num(electrons) == 0)
    two = two & (ak.sum(muons.charge, axis=1) == 0) & (ak.max(muons.pt, axis=1, mask_identity=False) > 26)
    two = two & (ak.sum(central > 0.1241, axis=1) < 2) & (ak.sum(central > 0.4184, axis=1) == 0)
    muons, jets = muons[two], jets[two]
    dimuon = (muons[:, 0] + muons[:, 1]).mass

    jets = jets[ak.num(jets) >= 2]
    first, second = jets[:, 0], jets[:, 1]
    vbf = (first.pt > 35) & (abs(first.eta - second.eta) > 2.5)
    dijet = (first[vbf] + second[vbf]).mass
    return {
        "dimuon_mass": Hist.new.Reg(100, 0, 200, name="mass").Int64().fill(np.asarray(dimuon)),
        "dijet_mass": Hist.new.Reg(100, 400, 4400, name="mass").Int64().fill(np.asarray(dijet)),
    }
