"""Corrections on jagged arrays. From correctionlib files: scale factors, variations, and values outside the range::

    path = af_kit.file("muon_sf")                       # sent to every worker by af_kit.send_files
    medium = corrections.load(path)["NUM_MediumID_DEN_TrackerMuons"]
    weight = medium.evaluate(abseta=abs(muons.eta), pt=muons.pt, scale_factors="nominal", edges="clamp")
    weight.values, weight.clamped

From the files and formulas of CMS, each in a module of its own (``from af_kit.corrections import rochester``):

    muons      rochester, fsr, geofit, muon_efficiency, mass_resolution
    jets       jet_energy, jet_resolution, jet_id, quark_gluon, btag
    weights    pileup, prefiring, nnlops, zpt, lhe, vbf_theory
    datasets   golden (which data to use), normalisation (sum of generator weights)
    shared     randoms (numbers of the event's own), weight (nominal and variations)
"""

from af_kit.corrections.correctionset import Correction, Corrections, Evaluated, Varied, load, loads

__all__ = ["Correction", "Corrections", "Evaluated", "Varied", "load", "loads"]
