"""The Ds selection in ROOT's RDataFrame with implicit multithreading; its C++ is in dsphipi_selection.h."""

from pathlib import Path

import ROOT

from benchmarks.peers.rdataframe import counts, session  # noqa: F401

CODE = Path(__file__).with_name("dsphipi_selection.h").read_text()
STEPS = {
    "stored": "Triplet2_Mass, RefittedPV2_NTracks, FlightDistBS_SV_Significance, Mu1_dRtriggerMatch_2017, "
    "Mu2_dRtriggerMatch_2017",
    "acceptance": "Mu01_Pt, Mu01_Eta, Mu02_Pt, Mu02_Eta, Tr_Pt",
    "separation": "dsphipi::distances(Mu01_Eta, Mu01_Phi, Mu02_Eta, Mu02_Phi), "
    "dsphipi::distances(Mu01_Eta, Mu01_Phi, Tr_Eta, Tr_Phi), "
    "dsphipi::distances(Mu02_Eta, Mu02_Phi, Tr_Eta, Tr_Phi)",
    "identified": "Mu01_Pt, Mu02_Pt, MuonPt, Muon_isGlobal, Muon_isPF",
    "impact": "Tr_Pt, Track_pt, Track_dz, Track_dxy",
    "phi": "RefTrack1_Pt, RefTrack1_Eta, RefTrack1_Phi, RefTrack2_Pt, RefTrack2_Eta, RefTrack2_Phi",
}
TRIGGERED = "dsphipi::triggered(Trigger_hltname, Trigger_hltdecision, Trigger_l1name, Trigger_l1decision)"


def book(frame):
    """Book the selection on any RDataFrame: the candidates, their mass, and the last step that each event passes."""
    calls = " | ".join(f"dsphipi::{name}({arguments})" for name, arguments in STEPS.items())
    frame = frame.Define("triggered", f"int({TRIGGERED})").Define("steps", f"{calls} | triggered")
    depth = frame.Define("depth", "dsphipi::furthest(steps)").Histo1D(("depth", "", 12, -1, 11), "depth")
    chosen = frame.Define("best", "dsphipi::best(steps, TripletVtx2_Chi2)").Filter("best >= 0")
    chosen = chosen.Define("mass", "Triplet2_Mass[best]").Define("chi2", "TripletVtx2_Chi2[best]")
    return chosen, chosen.Histo1D(("mass", "", 62, 1.65, 2.01), "mass"), depth


def histograms(frame):
    _, mass, depth = book(frame)
    events = counts(depth)[1:-1]  # from "no candidate" to "all ten"
    return {"cutflow": [sum(events), *(sum(events[step + 1 :]) for step in range(1, 11))], "mass": counts(mass)}


def run(_, files, treename, chunk_entries):
    ROOT.gInterpreter.Declare(f"#ifndef DSPHIPI\n#define DSPHIPI\n{CODE}\n#endif")
    return histograms(ROOT.RDataFrame(treename, files))
