"""The H -> mu mu selection in coffea's Runner, with DaskExecutor, NanoAOD schema, and array expressions.

The rules are those of docs/hmumu.md for 2018 with `--corrections none`: FSR recovery and GeoFit, but no calibration
file. Events are dropped as soon as a mask is known, and only momenta that enter a result are in double precision.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
from coffea import processor
from coffea.nanoevents import NanoAODSchema
from coffea.nanoevents.methods import vector
from hist import Hist

from benchmarks.hmumu import FLAGS, STEPS
from benchmarks.peers.clusters import stock_cluster as session  # noqa: F401

GEOFIT = (650.84, 988.37, 1484.6)  # |eta| below 0.9, below 1.7, above
JET_ETA = np.float64(4.7)  # the nearest number in single precision is smaller, and some jets have it
LOOSE, MEDIUM = 0.1241, 0.4184
Z_PEAK, SIDEBANDS, SIGNAL = (76, 106), (110, 150), (115.03, 135.03)
VBF, TTH_OR_VH = 3, 4  # channels; 0 to 2 is the number of jets
CHANNELS = 5


def analyse(events: ak.Array) -> dict[str, Any]:
    """Return the cutflow, and the histograms of the dimuon mass by region and channel and of the dijet mass in VBF."""
    cutflow = {"all": len(events)}
    events = preselected(events, cutflow)
    events, muons = pairs(events, cutflow)
    dimuon = np.asarray((muons[:, 0] + muons[:, 1]).mass)
    n_jets, tagged, dijet, vbf = jets(events, muons)
    channel = np.where(tagged, TTH_OR_VH, np.where(vbf, VBF, np.minimum(n_jets, 2)))
    cutflow["two_jets"] = int(np.sum(n_jets >= 2))
    cutflow["vbf"] = int(np.sum(channel == VBF))
    category = CHANNELS * region(dimuon) + channel
    return {
        "cutflow": {name: int(number) for name, number in cutflow.items()},
        "dimuon_mass": Hist.new.Int(0, 4 * CHANNELS, name="category", flow=False)
        .Reg(160, 70, 150, name="mass")
        .Int64()
        .fill(category, dimuon),
        "dijet_mass": Hist.new.Reg(60, 0, 3000, name="mass").Int64().fill(dijet[channel == VBF]),
    }


def preselected(events: ak.Array, cutflow: dict[str, Any]) -> ak.Array:
    """Require the trigger, two muons, all filters and a vertex, and then two muons that can pass the selection."""
    mask = np.asarray(events.HLT.IsoMu24)
    cutflow["trigger"] = mask.sum()
    mask = mask & np.asarray(ak.num(events.Muon) >= 2)
    cutflow["two_muons"] = mask.sum()
    for flag in FLAGS:
        mask = mask & np.asarray(events.Flag[flag])
    cutflow["filters"] = mask.sum()
    mask = mask & np.asarray(events.PV.npvsGood >= 1)
    cutflow["vertex"] = mask.sum()
    return events[mask]


def pairs(events: ak.Array, cutflow: dict[str, Any]) -> tuple[ak.Array, ak.Array]:
    """Return the events with two muons of opposite charge and no electron, and their corrected muons."""
    muons = events.Muon
    muons = ak.with_field(muons, ak.local_index(muons, axis=1), "position")
    muons = muons[(muons.pt > 20) & (abs(muons.eta) < 2.4) & muons.mediumId]
    two = ak.num(muons) >= 2
    events, muons = events[two], corrected(muons[two])
    muons = muons[(muons.isolation < 0.25) & (muons.pt > 0)]
    two = ak.num(muons) == 2
    cutflow["two_selected"] = ak.sum(two)
    events, muons = events[two], muons[two]
    opposite = muons.charge[:, 0] != muons.charge[:, 1]
    cutflow["opposite_charge"] = ak.sum(opposite)
    leading = opposite & (np.maximum(muons.raw_pt[:, 0], muons.raw_pt[:, 1]) > 26)
    cutflow["leading_pt"] = ak.sum(leading)
    electrons = events.Electron
    electrons = (electrons.pt > 20) & (abs(electrons.eta) < 2.5) & electrons.mvaFall17V2Iso_WP90
    chosen = leading & ~ak.any(electrons, axis=1)
    cutflow["electron_veto"] = ak.sum(chosen)
    return events[chosen], muons[chosen]


def momenta(objects: ak.Array, **more: Any) -> ak.Array:
    """Return four-momenta in double precision, with more fields."""
    columns = {name: ak.values_astype(objects[name], np.float64) for name in ("pt", "eta", "phi", "mass")}
    return ak.zip({**columns, **more}, with_name="PtEtaPhiMLorentzVector", behavior=vector.behavior)


def corrected(muons: ak.Array) -> ak.Array:
    """Add photons to the muons that radiated them, and apply GeoFit to the others."""
    raw, photons = momenta(muons), muons.matched_fsrPhoton
    columns = {name: ak.values_astype(photons[name], np.float64) for name in ("pt", "eta", "phi")}
    is_radiated = (
        (photons.relIso03 < 1.8)
        & (photons.dROverEt2 < 0.012)
        & (columns["pt"] < 0.4 * raw.pt)
        & (abs(columns["eta"]) < 2.4)
    )
    is_radiated = ak.fill_none(is_radiated, False)
    columns = {name: ak.where(is_radiated, ak.fill_none(values, 0.0), 0.0) for name, values in columns.items()}
    total = raw + ak.zip(
        {**columns, "mass": 0 * raw.mass}, with_name="PtEtaPhiMLorentzVector", behavior=vector.behavior
    )
    size = abs(raw.eta)
    factor = ak.where(size < 0.9, GEOFIT[0], ak.where(size < 1.7, GEOFIT[1], GEOFIT[2]))
    geofit = raw.pt - factor * muons.dxybs * muons.charge * raw.pt**2 / 1e4
    isolation = ak.values_astype(muons.pfRelIso04_all, np.float64)
    return ak.zip(
        {
            "pt": ak.where(is_radiated, total.pt, geofit),
            "eta": ak.where(is_radiated, total.eta, raw.eta),
            "phi": ak.where(is_radiated, total.phi, raw.phi),
            "mass": ak.where(is_radiated, total.mass, raw.mass),
            "isolation": ak.where(is_radiated, (isolation * raw.pt - columns["pt"]) / total.pt, isolation),
            "charge": muons.charge,
            "raw_pt": muons.pt,
            "position": muons.position,
        },
        with_name="PtEtaPhiMLorentzVector",
        behavior=vector.behavior,
    )


def jets(events: ak.Array, muons: ak.Array) -> tuple[Any, Any, Any, Any]:
    """Return for each event the number of jets, whether they are b tagged, the dijet mass, and the VBF cuts."""
    jets = events.Jet
    jets = jets[(jets.pt > 25) & (abs(jets.eta) < JET_ETA) & (jets.qgl > -2) & (jets.jetId >= 2)]
    jets = jets[(jets.puId >= 4) | (jets.pt > 50)]
    for position in (muons.position[:, 0], muons.position[:, 1]):
        jets = jets[(jets.muonIdx1 != position) & (jets.muonIdx2 != position)]
    scores = jets.btagDeepB[abs(jets.eta) < 2.5]
    tagged = np.asarray((ak.sum(scores > LOOSE, axis=1) >= 2) | ak.any(scores > MEDIUM, axis=1))
    n_jets = np.asarray(ak.num(jets))

    two = n_jets >= 2
    jets = jets[two]
    jets = momenta(jets[ak.argsort(jets.pt, axis=1, ascending=False)][:, :2])
    first, second = jets[:, 0], jets[:, 1]
    dijet, vbf = np.full(len(events), np.nan), np.zeros(len(events), bool)
    dijet[two] = (first + second).mass
    vbf[two] = (dijet[two] > 400) & (abs(first.eta - second.eta) > 2.5) & (first.pt > 35)
    return n_jets, tagged, dijet, vbf


def region(mass: np.ndarray) -> np.ndarray:
    """Return the number of the region: 0 none, 1 Z peak, 2 sidebands, 3 signal."""
    found = np.zeros(len(mass), int)
    for number, (low, high) in enumerate((Z_PEAK, SIDEBANDS, SIGNAL), start=1):
        found[(mass >= low) & (mass <= high)] = number
    return found


class Schema(NanoAODSchema):
    warn_missing_crossrefs = False  # to taus, photons, ..., which the simulation does not have


class Selection(processor.ProcessorABC):
    def process(self, events):
        return analyse(events)

    def postprocess(self, accumulator):
        return accumulator


def run(client, files, treename, chunk_entries):
    size = {} if chunk_entries is None else {"chunksize": chunk_entries}
    runner = processor.Runner(executor=processor.DaskExecutor(client=client, status=False), schema=Schema, **size)
    out = runner({"hmumu": {"files": dict.fromkeys(files, treename)}}, processor_instance=Selection())
    return numbers(out)


def numbers(out):
    """Return the result in the format of all peers."""
    return {
        "cutflow": [out["cutflow"][step] for step in STEPS],
        "dimuon_mass": out["dimuon_mass"].values(flow=True).ravel(),
        "dijet_mass": out["dijet_mass"].values(flow=True),
    }
