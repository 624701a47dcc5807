"""The hard processes: bosons, leptons, neutrinos and generator jets of each kind of collision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from af_kit.simulate.kinematics import breit_wigner, power_law
from af_kit.simulate.nano import momenta, radiation, tables
from af_kit.simulate.nano.decays import lepton_pair, w_boson
from af_kit.simulate.nano.tables import Table
from af_kit.simulate.nano.truth import BOSON, Truth

Z_MASS, Z_WIDTH, HIGGS_MASS, W_MASS, TOP_MASS, B_MASS = 91.188, 2.4955, 125.0, 80.38, 172.5, 4.8
MUONS, ALL_LEPTONS = (0.0, 1.0, 0.0), (1 / 3, 1 / 3, 1 / 3)  # shares of electrons, muons and taus

Process = Callable[[np.random.Generator, int], Truth]


@dataclass(frozen=True)
class Boson:
    """Production of a Z or Higgs boson that decays to two leptons.

    Attributes
    ----------
    pdg_id : int
        23 or 25.
    mass_range : (float, float)
        Range of the lepton pair's mass in GeV.
    flavours : tuple of float
        Shares of electrons, muons and taus.
    is_tagged : bool
        With the two tagging jets of vector-boson fusion and little other radiation.
    jets : float
        Mean number of radiated jets above 10 GeV.
    forward : float
        How far forward the soft ones are; see `af_kit.simulate.nano.radiation.radiated`.
    soft : float
        Recoil against soft activity, in GeV per component.
    gluons : float
        Fraction of gluons among the radiated jets.
    least_dijet_mass : float
        Only events in which the two hardest jets have at least this mass, in GeV.
    """

    pdg_id: int
    mass_range: tuple[float, float]
    flavours: tuple[float, float, float] = MUONS
    is_tagged: bool = False
    jets: float = 2.7
    forward: float = 0.78
    soft: float = 5.0
    gluons: float = 0.45
    least_dijet_mass: float = 0.0

    def __call__(self, generator: np.random.Generator, events: int) -> Truth:
        """Draw events."""
        truth = Truth(events)
        jets = self._filtered_jets(generator, events)
        truth.jets.append(jets)
        uniform = generator.random(events)
        if self.pdg_id == 23:
            mass = breit_wigner(uniform, Z_MASS, Z_WIDTH, *self.mass_range)
            # The photon adds pairs that fall with the mass; their share grows away from the peak.
            low, high = self.mass_range
            photon = generator.random(events) < (0.02 if low < Z_MASS < high else 0.25)
            mass = np.where(photon, 1 / (1 / low + uniform * (1 / high - 1 / low)), mass)
        else:
            mass = breit_wigner(uniform, HIGGS_MASS, 0.0041, *self.mass_range)
        px, py = radiation.recoil(generator, jets, events, self.soft)
        rapidity = 2.6 * np.tanh(0.45 * generator.standard_normal(events)) * (1.25 if self.pdg_id == 23 else 1.0)
        p = momenta.from_rapidity(px, py, rapidity, mass)
        truth.boson, truth.y = np.stack([px, py]), rapidity
        everything = np.arange(events)
        row = truth.particles.add(everything, p, self.pdg_id, BOSON)
        angles = momenta.z_angles if self.pdg_id == 23 else momenta.isotropic
        lepton_pair(generator, truth, everything, p, row, self.flavours, angles(generator, events))
        return truth

    def _filtered_jets(self, generator: np.random.Generator, events: int) -> Table:
        if not self.least_dijet_mass:
            return self._jets(generator, events)
        found: list[Table] = []
        missing = events
        while missing:
            trial = 8 * missing + 200
            jets = self._jets(generator, trial)
            passing = np.flatnonzero(radiation.dijet_mass(jets, trial) > self.least_dijet_mass)[:missing]
            number = np.full(trial, -1)
            number[passing] = np.arange(events - missing, events - missing + passing.size)
            jets["event"] = number[jets["event"]]
            found.append(tables.take(jets, jets["event"] >= 0))
            missing -= passing.size
        return tables.join(*found)

    def _jets(self, generator: np.random.Generator, events: int) -> Table:
        jets = radiation.radiated(generator, events, mean=self.jets, width=self.forward, gluons=self.gluons)
        if self.is_tagged:
            jets = tables.join(radiation.tagging(generator, events), jets)
        return tables.take(jets, tables.by_pt(jets))


def top_pairs(generator: np.random.Generator, events: int) -> Truth:
    """Draw top-quark pairs, both of which decay to b, lepton and neutrino."""
    truth = Truth(events)
    everything = np.arange(events)
    extra = radiation.radiated(generator, events, mean=3.0)
    truth.jets.append(extra)
    px, py = radiation.recoil(generator, extra, events, 8.0)
    pt, phi = power_law(generator.random(events), 170.0, 3.2), generator.uniform(-np.pi, np.pi, events)
    for sign in (1, -1):
        x, y = sign * pt * np.cos(phi) + px / 2, sign * pt * np.sin(phi) + py / 2
        top = momenta.from_rapidity(x, y, 0.95 * generator.standard_normal(events), np.full(events, TOP_MASS))
        w, b = momenta.two_body(top, (W_MASS, B_MASS), *momenta.isotropic(generator, events))
        row = truth.particles.add(everything, top, 6 * sign, BOSON)
        w_boson(generator, truth, everything, w, sign, row, ALL_LEPTONS)
        quark = momenta.coordinates(b)
        truth.jets.append(radiation.from_partons(generator, everything, quark, 5 * sign))
    return truth


DIBOSONS_PB = {"WW": 12.178, "WZ": 4.102, "WZ to 2l2q": 5.606, "ZZ": 0.5664}
"""Cross-sections in pb of WW to 2l2nu, WZ to 3l nu, WZ to 2l2q and ZZ to 4l; the sample has all four."""


def dibosons(generator: np.random.Generator, events: int) -> Truth:
    """Draw pairs of W and Z bosons, mixed by cross-section."""
    truth = Truth(events)
    shares = np.array(list(DIBOSONS_PB.values()))
    kind = generator.choice(4, events, p=shares / shares.sum())
    extra = radiation.radiated(generator, events, mean=2.2)
    truth.jets.append(extra)
    px, py = radiation.recoil(generator, extra, events, 5.0)
    pt, phi = power_law(generator.random(events), 60.0, 2.8), generator.uniform(-np.pi, np.pi, events)
    middle = generator.standard_normal(events)
    charge = generator.integers(0, 2, events) * 2 - 1
    for sign in (1, -1):
        is_z = (kind == 3) | ((kind > 0) & (sign > 0))
        uniform = generator.random(events)
        mass = np.where(
            is_z, breit_wigner(uniform, Z_MASS, Z_WIDTH, 40, 200), breit_wigner(uniform, W_MASS, 2.1, 50, 150)
        )
        rapidity = middle + sign * 0.6 * generator.standard_normal(events)
        x, y = sign * pt * np.cos(phi) + px / 2, sign * pt * np.sin(phi) + py / 2
        boson = momenta.from_rapidity(x, y, rapidity, mass)
        hadronic = (kind == 2) & (sign < 0)
        z, w, quarks = (np.flatnonzero(of) for of in (is_z, ~is_z & ~hadronic, hadronic))
        row = truth.particles.add(z, boson[:, z], 23, BOSON)
        lepton_pair(generator, truth, z, boson[:, z], row, ALL_LEPTONS, momenta.z_angles(generator, z.size))
        # The two bosons of WW have opposite charges.
        no_mother = np.full(w.size, -1)
        w_boson(generator, truth, w, boson[:, w], sign * charge[w], no_mother, ALL_LEPTONS)
        truth.particles.add(quarks, boson[:, quarks], 24 * charge[quarks], BOSON)
        for quark in momenta.two_body(boson[:, quarks], (0.3, 0.3), *momenta.isotropic(generator, quarks.size)):
            truth.jets.append(radiation.from_partons(generator, quarks, momenta.coordinates(quark), 2))
    return truth


def single_muons(generator: np.random.Generator, events: int) -> Truth:
    """Draw what a single-muon trigger selects most: W bosons, and bottom quarks that decay to a hard muon."""
    truth = Truth(events)
    is_w = generator.random(events) < 0.55
    w_events = np.flatnonzero(is_w)
    extra = radiation.radiated(generator, events, mean=2.2)
    truth.jets.append(extra)
    px, py = (axis[w_events] for axis in radiation.recoil(generator, extra, events, 5.0))
    mass = breit_wigner(generator.random(w_events.size), W_MASS, 2.1, 50, 150)
    p = momenta.from_rapidity(px, py, 1.3 * generator.standard_normal(w_events.size), mass)
    sign = np.where(generator.random(w_events.size) < 0.58, 1, -1)
    w_boson(generator, truth, w_events, p, sign, np.full(w_events.size, -1), MUONS)
    event = np.flatnonzero(~is_w)
    for sign_of_quark in (1, -1):
        pt = 40 + power_law(generator.random(event.size), 30.0, 3.0)
        eta = 2.4 * np.tanh(0.8 * generator.standard_normal(event.size))
        phi = generator.uniform(-np.pi, np.pi, event.size)
        jets = radiation.from_partons(generator, event, {"pt": pt, "eta": eta, "phi": phi}, 5 * sign_of_quark)
        if sign_of_quark > 0:  # the muon that fires the trigger
            jets["muon"] = generator.uniform(0.4, 0.9, tables.size(jets))
        truth.jets.append(jets)
    return truth


def low_mass_pairs(generator: np.random.Generator, events: int) -> Truth:
    """Draw pairs of muons below the Z peak, as a trigger for two soft muons selects them."""
    truth = Truth(events)
    jets = radiation.radiated(generator, events, mean=2.2)
    truth.jets.append(jets)
    px, py = radiation.recoil(generator, jets, events, 6.0)
    mass = 12 * (50 / 12) ** generator.random(events)
    p = momenta.from_rapidity(px, py, 1.2 * generator.standard_normal(events), mass)
    everything = np.arange(events)
    row = truth.particles.add(everything, p, 23, BOSON)
    lepton_pair(generator, truth, everything, p, row, MUONS, momenta.z_angles(generator, events))
    return truth


def mixture(shares: list[tuple[Process, float]]) -> Process:
    """Return a process that is one of several in each event, with these probabilities."""

    def draw(generator: np.random.Generator, events: int) -> Truth:
        kind = generator.choice(len(shares), events, p=[share for _, share in shares])
        truth = Truth(events)
        for index, (process, _) in enumerate(shares):
            number = np.flatnonzero(kind == index)
            if number.size:
                truth.absorb(process(generator, number.size), number)
        return truth

    return draw
