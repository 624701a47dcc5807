"""What happened in a block of events before the detector: particles, jets of particles, and neutrinos."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from af_kit.simulate.nano import tables
from af_kit.simulate.nano.momenta import Floats, coordinates, mass_of
from af_kit.simulate.nano.tables import Array, Table

# Order of the particles in GenPart: what decays stands before its products.
BOSON, HADRON, TAU, LEPTON, PHOTON = range(5)
_LAST_COPY, _FIRST_COPY, _HARD, _FROM_HARD, _TAU_PRODUCT, _PROMPT = 1 << 13, 1 << 12, 1 << 7, 1 << 8, 1 << 2, 1
FLAGS = {
    "hard": _PROMPT | _HARD | _FROM_HARD | _FIRST_COPY | _LAST_COPY,
    "prompt": _PROMPT | _FROM_HARD | _FIRST_COPY | _LAST_COPY,
    "tau product": _TAU_PRODUCT | (1 << 3) | (1 << 5) | _FIRST_COPY | _LAST_COPY,
    "hadron product": (1 << 1) | _FIRST_COPY | _LAST_COPY,
}
"""NanoAOD's GenPart_statusFlags of some kinds of particles."""

_COLUMNS = {
    **dict.fromkeys(("pt", "eta", "phi", "mass"), np.float64),
    **dict.fromkeys(("event", "pdgId", "status", "statusFlags", "mother", "flavour", "rank", "jet"), np.int64),
}


class Particles:
    """Generated particles, while they are collected.

    Their columns are those of GenPart, and ``mother`` (row of the mother, -1 without one), ``flavour`` (the
    genPartFlav of leptons that match it), ``rank`` (see `LEPTON`) and ``jet`` (row of the generator jet that it is
    from, or -1).
    """

    def __init__(self) -> None:
        self._parts: list[Table] = []
        self._size = 0

    def add(self, event: Array, p: Floats, pdg_id: Any, rank: int, **columns: Any) -> Array:
        """Add particles with these four-momenta, and return their rows."""
        defaults = {
            "status": 62 if rank <= TAU else 1,
            "statusFlags": FLAGS["hard"],
            "mother": -1,
            "flavour": 1,
            "jet": -1,
        }
        values = {
            "event": event,
            "pdgId": pdg_id,
            "rank": rank,
            "mass": mass_of(p),
            **coordinates(p),
            **defaults,
            **columns,
        }
        part = {name: np.broadcast_to(values[name], event.shape).astype(kind) for name, kind in _COLUMNS.items()}
        self._parts.append(part)
        rows = np.arange(self._size, self._size + event.size)
        self._size += event.size
        return rows

    def append(self, table: Table) -> None:
        """Add the particles of another collection; its mothers and jets are rows of that collection."""
        mother = np.where(table["mother"] >= 0, table["mother"] + self._size, -1)
        self._parts.append({**table, "mother": mother})
        self._size += tables.size(table)

    def table(self) -> Table:
        """Return all particles."""
        if not self._parts:
            return {name: np.empty(0, kind) for name, kind in _COLUMNS.items()}
        return tables.join(*self._parts)


@dataclass
class Truth:
    """A block of events before the detector.

    Attributes
    ----------
    events : int
    particles : Particles
    jets : list of Table
        Generator jets without those that are leptons: event, pt, eta, phi, mass, parton and hadron (flavours), and
        muon (part of the momentum that a muon in the jet has, or 0).
    neutrinos : array
        Sum of the transverse momenta that leave the detector; shape (2, events).
    boson : array
        Transverse momentum of the Z or Higgs boson in GeV, 0 without one; shape (2, events).
    y : array
        Its rapidity.
    """

    events: int
    particles: Particles = field(default_factory=Particles)
    jets: list[Table] = field(default_factory=list)
    neutrinos: Floats = field(init=False)
    boson: Floats = field(init=False)
    y: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.neutrinos = np.zeros((2, self.events))
        self.boson = np.zeros((2, self.events))
        self.y = np.zeros(self.events)

    def lose(self, event: Array, p: Floats) -> None:
        """Add neutrinos."""
        for axis in (0, 1):
            self.neutrinos[axis] += tables.sums(event, p[axis], self.events)

    def absorb(self, other: Truth, number: Array) -> None:
        """Add the events of ``other``, of which event i is event ``number[i]`` here."""
        table = other.particles.table()
        self.particles.append({**table, "event": number[table["event"]]})
        self.jets += [{**jets, "event": number[jets["event"]]} for jets in other.jets]
        self.neutrinos[:, number] = other.neutrinos
        self.boson[:, number], self.y[number] = other.boson, other.y

    @property
    def boson_pt(self) -> Floats:
        """Transverse momentum of the boson in GeV."""
        return np.hypot(*self.boson)
