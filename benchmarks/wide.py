"""NanoAOD-like events of about 180 branches, of which an analysis reads 22: the VBF H -> mumu selection.

Physics is kept to what decides the cost: realistic multiplicities, some events that pass, and columns whose bytes
compress like NanoAOD's (floats of reduced precision, flags, small integers). The cuts are below, and every peer has the
same; they are the muon, electron and jet cuts of a 2018 selection without corrections.
"""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from hist import Hist

TREENAME = "Events"
BRANCHES = (
    *("HLT_IsoMu24", "Flag_goodVertices"),
    *("nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge", "Muon_mediumId", "Muon_pfRelIso04_all"),
    *("nElectron", "Electron_pt", "Electron_eta", "Electron_mvaFall17V2Iso_WP90"),
    *("nJet", "Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_jetId", "Jet_puId", "Jet_btagDeepB"),
)
# mean multiplicity, and how many floats, integers and flags each object has beside the named ones
COLLECTIONS = {
    "Muon": (1.4, 16, 5, 6),
    "Electron": (0.7, 16, 5, 4),
    "Jet": (5.0, 16, 4, 0),
    "Photon": (0.6, 10, 3, 2),
    "Tau": (0.5, 12, 4, 2),
}
TRIGGERS = 26
SCALARS = 9


def analyse(events):
    """What coffea and the kit both run: the lines a user types are the same."""
    events = events[events.HLT.IsoMu24 & events.Flag.goodVertices]
    muons, electrons, jets = events.Muon, events.Electron, events.Jet
    muons = muons[(muons.pt > 20) & (abs(muons.eta) < 2.4) & muons.mediumId & (muons.pfRelIso04_all < 0.25)]
    electrons = electrons[(electrons.pt > 20) & (abs(electrons.eta) < 2.5) & electrons.mvaFall17V2Iso_WP90]
    jets = jets[(jets.pt > 25) & (abs(jets.eta) < 4.7) & (jets.jetId >= 2) & ((jets.puId >= 4) | (jets.pt > 50))]
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


def simulate(path: Path, entries: int, *, seed: int, step: int = 50_000) -> None:
    """Write `entries` events; the same seed gives the same file."""
    random = np.random.default_rng(seed)
    first = _events(np.random.default_rng(seed), 1000)
    with uproot.recreate(path, compression=uproot.ZSTD(1)) as file:
        types = {name: getattr(value, "dtype", None) or value.type.content for name, value in first.items()}
        file.mktree(TREENAME, types)
        for start in range(0, entries, step):
            file[TREENAME].extend(_events(random, min(step, entries - start)))


def _events(random: np.random.Generator, n: int) -> dict[str, ak.Array | np.ndarray]:
    events: dict[str, ak.Array | np.ndarray] = {
        "run": np.full(n, 315_000, np.uint32),
        "luminosityBlock": np.sort(random.integers(1, 2000, n).astype(np.uint32)),
        "event": random.integers(1, 2**40, n).astype(np.uint64),
        "HLT_IsoMu24": random.random(n) < 0.6,
        "Flag_goodVertices": random.random(n) < 0.99,
    }
    for i in range(TRIGGERS):
        events[f"HLT_path{i}"] = random.random(n) < 0.02 * (i % 7)
    for i in range(SCALARS):
        events[f"MET_scalar{i}"] = _coarse(random.exponential(30, n))
    for name, (mean, floats, integers, flags) in COLLECTIONS.items():
        counts = np.minimum(random.poisson(mean, n), 30)
        total = int(counts.sum())
        columns = _named(random, name, total)
        columns |= {f"float{i}": _coarse(random.normal(0, 1 + i, total)) for i in range(floats)}
        columns |= {f"int{i}": random.integers(0, 2 + 3 * i, total).astype(np.int32) for i in range(integers)}
        columns |= {f"flag{i}": random.random(total) < 0.5 for i in range(flags)}
        jagged = {column: ak.unflatten(values, counts) for column, values in columns.items()}
        jagged["pt"] = ak.sort(jagged["pt"], ascending=False)
        events[name] = ak.zip(jagged)
    return events


def _named(random: np.random.Generator, name: str, n: int) -> dict[str, np.ndarray]:
    columns = {
        "pt": _coarse(15 + random.exponential(25, n)),
        "eta": _coarse(random.normal(0, 2.2 if name == "Jet" else 1.2, n)),
        "phi": _coarse(random.uniform(-np.pi, np.pi, n)),
        "mass": _coarse(random.exponential(8, n)) if name == "Jet" else np.full(n, 0.10565837, np.float32),
    }
    if name == "Jet":
        columns |= {
            "jetId": random.choice(np.array([0, 2, 6], np.int32), n, p=[0.05, 0.1, 0.85]),
            "puId": random.choice(np.array([0, 4, 6, 7], np.int32), n, p=[0.1, 0.1, 0.1, 0.7]),
            "btagDeepB": _coarse(random.beta(0.5, 4, n)),
        }
    elif name != "Photon":
        columns["charge"] = random.choice(np.array([-1, 1], np.int32), n)
    if name == "Muon":
        columns |= {"mediumId": random.random(n) < 0.9, "pfRelIso04_all": _coarse(random.exponential(0.1, n))}
    if name == "Electron":
        columns["mvaFall17V2Iso_WP90"] = random.random(n) < 0.7
    return columns


def _coarse(values: np.ndarray) -> np.ndarray:
    """Floats with ten bits of mantissa, as NanoAOD stores most of them."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x1000) & 0xFFFFE000).view(np.float32)
