"""Reconstructed electrons."""

from __future__ import annotations

import numpy as np

from af_kit.simulate.nano import tables
from af_kit.simulate.nano.momenta import wrapped
from af_kit.simulate.nano.tables import Table

FAKES = 0.07
"""Mean number of electrons of an event without a generated one: hadrons and photons."""


def reconstruct(generator: np.random.Generator, particles: Table, events: int) -> Table:
    """Return the electrons, sorted as in NanoAOD: its columns, and ``particle`` (row, or -1) and ``prompt``."""
    real = (np.abs(particles["pdgId"]) == 11) & (particles["status"] == 1)
    real &= (particles["pt"] > 5) & (np.abs(particles["eta"]) < 2.5)
    rows = np.flatnonzero(real & (generator.random(real.size) < 0.94))
    event = np.repeat(np.arange(events), generator.poisson(FAKES, events))
    size = rows.size + event.size
    eta = np.concatenate([particles["eta"][rows], generator.uniform(-2.5, 2.5, event.size)])
    pt = np.concatenate([particles["pt"][rows], 5 + generator.exponential(6.0, event.size)])
    barrel = np.abs(eta) < 1.479
    charge = np.concatenate([-np.sign(particles["pdgId"][rows]), generator.integers(0, 2, event.size) * 2 - 1])
    prompt = np.arange(size) < rows.size
    electrons: Table = {
        "event": np.concatenate([particles["event"][rows], event]),
        "pt": pt * np.maximum(1 + np.where(barrel, 0.015, 0.03) * generator.standard_normal(size), 0.3),
        "eta": eta,
        "phi": wrapped(
            np.concatenate([particles["phi"][rows], generator.uniform(-np.pi, np.pi, event.size)])
            + generator.normal(0, 1e-3, size)
        ),
        "mass": np.full(size, 0.000511),
        "charge": np.where(generator.random(size) < 0.01, -charge, charge),
        "particle": np.concatenate([rows, np.full(event.size, -1)]),
        "genPartFlav": np.concatenate([particles["flavour"][rows], np.zeros(event.size, np.int64)]),
        "prompt": prompt,
    }
    electrons["pdgId"] = -11 * electrons["charge"]
    far = np.where(prompt, 0.003, 0.02)
    electrons["dxy"] = far * generator.standard_normal(size)
    electrons["dz"] = 2 * far * generator.standard_normal(size)
    electrons["dxyErr"] = 0.003 * generator.lognormal(0, 0.3, size)
    electrons["dzErr"] = 0.006 * generator.lognormal(0, 0.3, size)
    electrons["ip3d"] = np.hypot(electrons["dxy"], 0.4 * electrons["dz"])
    electrons["sip3d"] = electrons["ip3d"] / np.hypot(electrons["dxyErr"], 0.4 * electrons["dzErr"])
    electrons["deltaEtaSC"] = generator.normal(0, 0.02, size)
    electrons["sieie"] = np.where(barrel, 0.0085, 0.025) * generator.lognormal(np.where(prompt, 0, 0.15), 0.08, size)
    electrons["hoe"] = generator.exponential(np.where(prompt, 0.015, 0.08), size)
    electrons["eInvMinusPInv"] = generator.normal(0, np.where(prompt, 0.003, 0.02), size)
    electrons["r9"] = np.minimum(generator.normal(0.93, 0.05, size), 1.0)
    electrons["miniPFRelIso_all"] = generator.exponential(np.where(prompt, 0.04, 0.5), size)
    electrons["pfRelIso03_all"] = 1.3 * electrons["miniPFRelIso_all"]
    score = np.where(prompt, 1 - 2 * generator.beta(0.5, 8, size), 2 * generator.beta(0.7, 2.5, size) - 1)
    electrons["mvaFall17V2noIso"] = score
    isolated = electrons["pfRelIso03_all"] < 0.15
    electrons["mvaFall17V2Iso"] = np.where(isolated, score, -np.abs(score))
    for working_point, least in (("WPL", -0.8), ("WP90", 0.4), ("WP80", 0.8)):
        electrons[f"mvaFall17V2noIso_{working_point}"] = score > least
        electrons[f"mvaFall17V2Iso_{working_point}"] = electrons["mvaFall17V2Iso"] > least
    electrons["cutBased"] = np.clip(np.floor(2.5 * (score + 1)), 0, 4) * isolated
    electrons["mvaTTH"] = np.where(prompt, 1 - 2 * generator.beta(0.5, 7, size), 2 * generator.beta(0.5, 5, size) - 1)
    electrons["tightCharge"] = generator.choice([0, 1, 2], size, p=[0.02, 0.08, 0.9])
    electrons["lostHits"] = np.where(prompt, generator.random(size) < 0.03, generator.integers(0, 3, size))
    electrons["convVeto"] = generator.random(size) < np.where(prompt, 0.98, 0.7)
    electrons = tables.take(electrons, electrons["pt"] > 5)
    return tables.take(electrons, tables.by_pt(electrons))
