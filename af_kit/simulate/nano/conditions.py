"""The event as a whole: pile-up, vertex, filters, triggers, missing momentum, and soft activity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from af_kit.simulate.nano import detector, tables
from af_kit.simulate.nano.campaigns import Campaign
from af_kit.simulate.nano.momenta import Floats, wrapped
from af_kit.simulate.nano.tables import Array, Table
from af_kit.simulate.nano.truth import Truth

FILTERS = (
    *("BadPFMuonFilter", "BadChargedCandidateFilter", "EcalDeadCellTriggerPrimitiveFilter", "HBHENoiseFilter"),
    *("HBHENoiseIsoFilter", "globalSuperTightHalo2016Filter", "eeBadScFilter", "ecalBadCalibFilter"),
)
TRIGGERS = (
    *("IsoMu20", "IsoMu24", "IsoMu27", "IsoMu30", "IsoTkMu24", "Mu27", "Mu50"),
    *("Mu17_TrkIsoVVL_Mu8_TrkIsoVVL", "Mu17_TrkIsoVVL_Mu8_TrkIsoVVL_DZ", "Ele27_WPTight_Gsf", "Ele32_WPTight_Gsf"),
)
DOUBLE_MUON = "HLT_Mu17_TrkIsoVVL_Mu8_TrkIsoVVL_DZ"
SINGLE_MUON = ("HLT_IsoMu20", "HLT_IsoMu24", "HLT_IsoMu27", "HLT_IsoTkMu24", "HLT_Mu27", "HLT_Mu50")


@dataclass(frozen=True)
class Conditions:
    """Run, pile-up and energy density of each event.

    Attributes
    ----------
    run : array
    true, interactions : array
        Mean of the distribution from which the number of interactions is drawn, and that number.
    rho : array
        Energy density in GeV per unit of area.
    """

    run: Array
    true: Floats
    interactions: Array
    rho: Floats


def draw(generator: np.random.Generator, run: Array, campaign: Campaign, *, is_data: bool) -> Conditions:
    """Draw the pile-up of events."""
    profile = campaign.pileup("data" if is_data else "mc")
    true = generator.choice(profile.size, run.size, p=profile) + generator.random(run.size)
    interactions = generator.poisson(true)
    # Up to 70, the end of the corrections of jets.
    rho = np.clip(1.0 + 0.60 * interactions * generator.normal(1, 0.08, run.size), 0.5, 69.0)
    return Conditions(run, true, interactions, rho)


def columns(
    generator: np.random.Generator, truth: Truth, conditions: Conditions, muons: Table, *, is_data: bool
) -> dict[str, Array]:
    """Return the columns of vertex, density, filters and missing momentum."""
    size = truth.events
    good = 1 + generator.binomial(conditions.interactions, 0.68)
    good[generator.random(size) < 1e-4] = 0
    found: dict[str, Array] = {
        "fixedGridRhoFastjetAll": conditions.rho,
        "fixedGridRhoFastjetCentral": conditions.rho * generator.normal(1.05, 0.05, size),
        "PV_npvsGood": good,
        "PV_npvs": good + generator.binomial(conditions.interactions, 0.12),
        "PV_x": generator.normal(0.01, 0.001, size),
        "PV_y": generator.normal(-0.03, 0.001, size),
        "PV_z": generator.normal(0.5, 3.5, size),
        "PV_chi2": generator.normal(1, 0.1, size),
        "PV_ndof": 20 + generator.exponential(60, size),
        "PV_score": 200 + generator.exponential(8000, size),
        "Flag_goodVertices": good > 0,
    }
    failing = 2e-3 if is_data else 2e-4
    for name in FILTERS:
        found[f"Flag_{name}"] = generator.random(size) >= failing
    resolution = 8 + 0.35 * conditions.interactions
    for prefix, spread in (("MET", 1.0), ("PuppiMET", 0.8), ("RawMET", 1.1)):
        x, y = (axis + spread * resolution * generator.standard_normal(size) for axis in truth.neutrinos)
        found |= {f"{prefix}_pt": np.hypot(x, y), f"{prefix}_phi": np.arctan2(y, x)}
        found[f"{prefix}_sumEt"] = 150 + 35 * conditions.interactions + generator.exponential(150, size)
    found["MET_covXX"], found["MET_covYY"] = resolution**2, resolution**2
    found["MET_covXY"] = 0.02 * resolution**2 * generator.standard_normal(size)
    found["MET_significance"] = (found["MET_pt"] / resolution) ** 2
    return found


def triggers(
    generator: np.random.Generator, muons: Table, electrons: Table, events: int, campaign: Campaign, *, is_data: bool
) -> dict[str, Array]:
    """Return the decisions of the triggers, with the efficiencies of the simulated calibration files."""

    def fired(leptons: Table, passing: Array) -> Array:
        return np.bincount(leptons["event"][passing], minlength=events)

    bins = detector.muon_bin(muons["eta"])
    pt, isolated = muons["pt"], muons["pfRelIso04_all"] < 0.25

    def passes(threshold: float) -> Array:
        efficiency = detector.trigger_efficiency(pt, bins, threshold, is_data=is_data)
        return (muons["passes"] < efficiency) & muons["mediumId"]

    decisions: dict[str, Array] = {}
    for threshold in (20, 24, 27, 30):
        decisions[f"IsoMu{threshold}"] = fired(muons, passes(threshold) & isolated) > 0
    other = (pt > 24) & isolated & muons["mediumId"] & (generator.random(pt.size) < 0.5) & (muons["passes"] < 0.9)
    decisions["IsoTkMu24"] = fired(muons, other) > 0
    # Without isolation, and prescaled at low momentum.
    decisions["Mu27"] = (fired(muons, passes(27)) > 0) & (generator.random(events) < 0.02)
    decisions["Mu50"] = fired(muons, passes(50)) > 0
    soft, hard = (fired(muons, (pt > least) & (muons["tkRelIso"] < 0.4)) for least in (8, 17))
    double = (soft > 1) & (hard > 0) & (generator.random(events) < 0.93)
    decisions["Mu17_TrkIsoVVL_Mu8_TrkIsoVVL"] = double & (generator.random(events) < 0.5)
    decisions["Mu17_TrkIsoVVL_Mu8_TrkIsoVVL_DZ"] = double
    for threshold in (27, 32):
        good = (electrons["pt"] > threshold) & electrons["mvaFall17V2Iso_WP80"]
        decisions[f"Ele{threshold}_WPTight_Gsf"] = fired(electrons, good) > 0
    return {f"HLT_{name}": decisions[name] for name in TRIGGERS}


def soft_activity(
    generator: np.random.Generator, events: int, muons: Table, jets: Table, mean: float
) -> tuple[Table, dict[str, Array]]:
    """Return the soft-activity jets, the six hardest of each event, and the sums over all of them.

    Some lie along the two hardest jets and the muons: an analysis subtracts these from the sums.
    """
    number = generator.poisson(mean * generator.gamma(3, 1 / 3, events))
    event = np.repeat(np.arange(events), number)
    near_jets = np.flatnonzero((tables.positions(jets["event"]) < 2) & (generator.random(tables.size(jets)) < 0.6))
    near_muons = np.flatnonzero(generator.random(tables.size(muons)) < 0.3)
    near = [(jets, near_jets), (muons, near_muons)]
    rows = sum(chosen.size for _, chosen in near)

    def beside(name: str) -> Array:
        return np.concatenate([table[name][chosen] for table, chosen in near]) + generator.normal(0, 0.1, rows)

    found: Table = {
        "event": np.concatenate([event, *(table["event"][chosen] for table, chosen in near)]),
        "pt": 1 + generator.exponential(2.2, event.size + rows),
        "eta": np.clip(np.concatenate([generator.uniform(-2.5, 2.5, event.size), beside("eta")]), -2.7, 2.7),
        "phi": wrapped(np.concatenate([generator.uniform(-np.pi, np.pi, event.size), beside("phi")])),
    }
    found["pt"][event.size :] += generator.exponential(4, rows)
    found = tables.take(found, tables.by_pt(found))
    sums: dict[str, Any] = {"HT": tables.sums(found["event"], found["pt"], events)}
    for least in (2, 5, 10):
        above = found["pt"] > least
        sums[f"HT{least}"] = tables.sums(found["event"][above], found["pt"][above], events)
        sums[f"Njets{least}"] = np.bincount(found["event"][above], minlength=events)
    return tables.take(found, tables.positions(found["event"]) < 6), {f"SoftActivityJet{k}": v for k, v in sums.items()}


def prefiring(jets: Table, events: int) -> dict[str, Array]:
    """Return the weights for the first-level trigger not firing early: less with jets at 2 < |eta| < 3."""
    forward = (np.abs(jets["eta"]) > 2.0) & (np.abs(jets["eta"]) < 3.0) & (jets["pt"] > 40)
    loss = np.clip(0.03 + 0.0015 * (jets["pt"] - 40), 0, 0.25) * forward
    # As in NanoAOD: "Up" is a higher rate of early triggers, and so the smaller weight.
    return {
        f"L1PreFiringWeight_{name}": np.exp(tables.sums(jets["event"], np.log1p(-size * loss), events))
        for name, size in (("Nom", 1.0), ("Up", 1.2), ("Dn", 0.8))
    }
