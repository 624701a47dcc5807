"""The wide selection with ROOT's RDataFrame and implicit multithreading."""

import ROOT

from benchmarks.peers.rdataframe import counts, session  # noqa: F401

MUON = "Muon_pt > 20 && abs(Muon_eta) < 2.4 && Muon_mediumId && Muon_pfRelIso04_all < 0.25"
ELECTRON = "Electron_pt > 20 && abs(Electron_eta) < 2.5 && Electron_mvaFall17V2Iso_WP90"
JET = "Jet_pt > 25 && abs(Jet_eta) < 4.5 && Jet_jetId >= 2 && (Jet_puId >= 4 || Jet_pt > 50)"


def run(_, files, treename, chunk_entries):
    two = (
        ROOT.RDataFrame(treename, files)
        .Filter("HLT_IsoMu24 && Flag_goodVertices")
        .Define("good_muon", MUON)
        .Filter("Sum(good_muon) == 2")
        .Define("mu_charge", "Muon_charge[good_muon]")
        .Define("mu_pt", "Muon_pt[good_muon]")
        .Filter("mu_charge[0] + mu_charge[1] == 0 && Max(mu_pt) > 26")
        .Filter(f"Sum({ELECTRON}) == 0")
        .Define("good_jet", JET)
        .Define("btag", "Jet_btagDeepB[good_jet && abs(Jet_eta) < 2.5]")
        .Filter("Sum(btag > 0.1241) < 2 && Sum(btag > 0.4184) == 0")
        .Define("dimuon_mass", "InvariantMass(mu_pt, Muon_eta[good_muon], Muon_phi[good_muon], Muon_mass[good_muon])")
    )
    vbf = two.Filter("Sum(good_jet) >= 2")
    for name in ("pt", "eta", "phi", "mass"):
        vbf = vbf.Define(f"jet_{name}", f"Take(Jet_{name}[good_jet], 2)")
    vbf = vbf.Filter("jet_pt[0] > 35 && abs(jet_eta[0] - jet_eta[1]) > 2.5").Define(
        "dijet_mass", "InvariantMass(jet_pt, jet_eta, jet_phi, jet_mass)"
    )
    dimuon = two.Histo1D(("dimuon_mass", "", 100, 0, 200), "dimuon_mass")
    dijet = vbf.Histo1D(("dijet_mass", "", 100, 400, 4400), "dijet_mass")
    return {"dimuon_mass": counts(dimuon), "dijet_mass": counts(dijet)}
