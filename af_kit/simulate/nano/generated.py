"""The generator's collections of NanoAOD, GenPart and GenJet, and the indices by which leptons and jets match them."""

from __future__ import annotations

import numpy as np

from af_kit.simulate.nano import tables
from af_kit.simulate.nano.jets import lepton_jets
from af_kit.simulate.nano.tables import Table

LEAST_PT = 10.0


def particles(found: Table, muons: Table, electrons: Table) -> Table:
    """Return GenPart in the order of NanoAOD; sets ``genPartIdx`` of muons and electrons."""
    order = np.lexsort((-found["pt"], found["rank"], found["event"]))
    sorted_particles = tables.take(found, order)
    new = tables.inverse(order)
    index = tables.positions(sorted_particles["event"])
    mother = sorted_particles["mother"]
    sorted_particles["genPartIdxMother"] = np.where(mother >= 0, _at(index, _at(new, mother)), -1)
    for leptons in (muons, electrons):
        particle = leptons["particle"]
        leptons["genPartIdx"] = np.where(particle >= 0, _at(index, _at(new, particle)), -1)
    # NanoAOD stores the mass of heavy particles only.
    sorted_particles["mass"] = np.where(sorted_particles["mass"] > 10, sorted_particles["mass"], 0)
    return sorted_particles


def jets(hadronic: Table, found: Table, reconstructed: Table) -> Table:
    """Return GenJet in falling pt: of quarks and gluons, and of leptons; sets ``genJetIdx`` of the jets."""
    of_leptons = lepton_jets(found)
    number = tables.size(hadronic)
    names = ("event", "pt", "eta", "phi", "mass", "parton", "hadron")
    own = {**{name: hadronic[name] for name in names}, "lepton": np.full(number, -1)}
    everything = tables.join(own, of_leptons)
    stored = np.flatnonzero(everything["pt"] > LEAST_PT)
    result = tables.take(everything, stored)
    order = tables.by_pt(result)
    result = tables.take(result, order)
    row = np.full(tables.size(everything) + 1, -1)  # the last one is for "none"
    row[stored[order]] = np.arange(stored.size)
    of_particle = np.full(tables.size(found) + 1, -1)
    of_particle[of_leptons["lepton"]] = number + np.arange(tables.size(of_leptons))
    source = np.where(reconstructed["source"] >= 0, reconstructed["source"], of_particle[reconstructed["lepton"]])
    matched = row[source]
    index = tables.positions(result["event"])
    reconstructed["genJetIdx"] = np.where(matched >= 0, _at(index, matched), -1)
    return result


def _at(values: tables.Array, rows: tables.Array) -> tables.Array:
    """Return the values at these rows, anything where a row is -1."""
    return values[np.maximum(rows, 0)] if values.size else np.full(rows.shape, -1)
