"""Corrections of events: correctionlib files on jagged arrays, jets, and the weights of simulated events.

path = af_kit.file("muon_sf")                       # sent to every worker by af_kit.send_files
medium = corrections.load(path)["NUM_MediumID_DEN_TrackerMuons"]
weight = medium.evaluate(abseta=abs(muons.eta), pt=muons.pt, scale_factors="nominal", edges="clamp")
weight.values, weight.clamped

One module per correction, imported when it is used:

- `jet_energy`: JetEnergyScale, JetUncertainties
- `jet_resolution`: JetResolution, generator_jet, jet_gaussian
- `jet_id`: passes_jet_id, passes_pileup_id, tight_jet_id_2022, PileupIdWeights
- `quark_gluon`: quark_gluon_weight
- `btag`: BtagShape
"""

from af_kit.corrections.correctionset import Correction, Corrections, Evaluated, Varied, load, loads

__all__ = ["Correction", "Corrections", "Evaluated", "Varied", "load", "loads"]
