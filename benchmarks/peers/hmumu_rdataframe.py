"""The H -> mu mu selection in ROOT's RDataFrame with implicit multithreading; its C++ is in hmumu_selection.h."""

from pathlib import Path

import ROOT

from benchmarks.hmumu import FLAGS, STEPS
from benchmarks.peers.rdataframe import counts, session  # noqa: F401

CODE = Path(__file__).with_name("hmumu_selection.h").read_text()
CATEGORIES = 20
MUON = (
    "Muon_pt, Muon_eta, Muon_phi, Muon_mass, Muon_pfRelIso04_all, Muon_dxybs, Muon_charge, Muon_mediumId, "
    "Muon_fsrPhotonIdx, FsrPhoton_pt, FsrPhoton_eta, FsrPhoton_phi, FsrPhoton_relIso03, FsrPhoton_dROverEt2"
)
JET = (
    "Jet_pt, Jet_eta, Jet_phi, Jet_mass, Jet_qgl, Jet_btagDeepB, Jet_jetId, Jet_puId, Jet_muonIdx1, Jet_muonIdx2, "
    "pair.first, pair.second"
)


def book(frame):
    """Book the selection on any RDataFrame: the number of events after each step, and two histograms."""
    steps = {"all": frame}
    steps["trigger"] = steps["all"].Filter("HLT_IsoMu24")
    steps["two_muons"] = steps["trigger"].Filter("nMuon >= 2")
    steps["filters"] = steps["two_muons"].Filter(" && ".join(f"Flag_{flag}" for flag in FLAGS))
    steps["vertex"] = steps["filters"].Filter("PV_npvsGood >= 1")
    steps["two_selected"] = steps["vertex"].Define("pair", f"hmumu::pair({MUON})").Filter("pair.muons == 2")
    steps["opposite_charge"] = steps["two_selected"].Filter("pair.opposite")
    steps["leading_pt"] = steps["opposite_charge"].Filter("pair.leading")
    chosen = (
        steps["leading_pt"]
        .Filter("hmumu::no_electron(Electron_pt, Electron_eta, Electron_mvaFall17V2Iso_WP90)")
        .Define("jets", f"hmumu::jets({JET})")
        .Define("channel", "hmumu::channel(jets)")
        .Define("dimuon_mass", "pair.mass")
        .Define("category", "5 * hmumu::region(dimuon_mass) + channel")
    )
    steps["electron_veto"] = chosen
    steps["two_jets"] = chosen.Filter("jets.n >= 2")
    steps["vbf"] = steps["two_jets"].Filter("channel == 3").Define("dijet_mass", "jets.mass")
    model = ("dimuon_mass", "", CATEGORIES, 0, CATEGORIES, 160, 70, 150)
    dimuon = chosen.Histo2D(model, "category", "dimuon_mass")
    dijet = steps["vbf"].Histo1D(("dijet_mass", "", 60, 0, 3000), "dijet_mass")
    return {step: steps[step].Count() for step in STEPS}, dimuon, dijet


def run(_, files, treename, chunk_entries):
    ROOT.gInterpreter.Declare(f"#ifndef HMUMU\n#define HMUMU\n{CODE}\n#endif")
    cutflow, dimuon, dijet = book(ROOT.RDataFrame(treename, files))
    return {
        "cutflow": [int(count.GetValue()) for count in cutflow.values()],
        "dimuon_mass": [int(dimuon.GetBinContent(x + 1, y)) for x in range(CATEGORIES) for y in range(162)],
        "dijet_mass": counts(dijet),
    }
