"""Corrections from correctionlib files on jagged arrays: scale factors, variations, and values outside the range.

path = af_kit.file("muon_sf")                       # sent to every worker by af_kit.send_files
medium = corrections.load(path)["NUM_MediumID_DEN_TrackerMuons"]
weight = medium.evaluate(abseta=abs(muons.eta), pt=muons.pt, scale_factors="nominal", edges="clamp")
weight.values, weight.clamped
"""

from af_kit.corrections.correctionset import Correction, Corrections, Evaluated, Varied, load, loads

__all__ = ["Correction", "Corrections", "Evaluated", "Varied", "load", "loads"]
