"""Generator jets: radiated with a boson, or the two tagging jets of vector-boson fusion and scattering."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from af_kit.simulate.kinematics import power_law
from af_kit.simulate.nano import tables
from af_kit.simulate.nano.momenta import Floats, momentum
from af_kit.simulate.nano.tables import Array, Table

LEAST_PT = 10.0
"""NanoAOD stores generator jets above 10 GeV."""


def radiated(
    generator: np.random.Generator,
    events: int,
    *,
    mean: float,
    spread: float = 0.55,
    power: float = 1.6,
    width: float = 0.78,
    gluons: float = 0.45,
) -> Table:
    """Draw jets that come with a hard process.

    Parameters
    ----------
    mean : float
        Mean number of jets above 10 GeV. It varies from event to event (gamma distribution of shape ``spread``).
    power : float
        The number of jets above a momentum falls as pt^-power.
    width : float
        Spread of atanh(eta / 5) at low momentum.
    gluons : float
        Fraction of gluons; 6% are charm and 4% bottom, and the others are light quarks.
    """
    number = np.minimum(generator.poisson(mean * generator.gamma(spread, 1 / spread, events)), 12)
    event = np.repeat(np.arange(events), number)
    pt = np.minimum(LEAST_PT * generator.random(event.size) ** (-1 / power), 1500)
    # Hard jets are central.
    eta = 5 * np.tanh(width * generator.standard_normal(event.size) / (1 + pt / 30))
    draw = generator.random(event.size)
    quark = generator.choice([1, 2, 3, -1, -2, -3], event.size)
    parton = np.where(draw < gluons, 21, np.where(draw < 0.90, quark, np.where(draw < 0.96, 4, 5)))
    return _jets(generator, event, pt, eta, parton)


def tagging(generator: np.random.Generator, events: int) -> Table:
    """Draw two quark jets in opposite directions of the beam, far apart."""
    distance = 1.0 + generator.gamma(4.0, 0.72, events)
    middle = 0.75 * generator.standard_normal(events)
    side = generator.integers(0, 2, events) * 2 - 1
    parts = []
    for sign in (1, -1):
        eta = np.clip(middle + sign * side * distance / 2, -5.1, 5.1)
        pt = 20 + power_law(generator.random(events), 85.0, 3.0)
        # A forward jet has less transverse momentum.
        pt = np.maximum(pt / (1 + 0.0025 * eta**4), LEAST_PT + 2 * generator.random(events))
        parton = generator.choice([1, 2, 3, 4, -1, -2], events, p=[0.25, 0.45, 0.06, 0.04, 0.08, 0.12])
        parts.append(_jets(generator, np.arange(events), pt, eta, parton))
    return tables.join(*parts)


def from_partons(generator: np.random.Generator, event: Array, where: Mapping[str, Floats], parton: int) -> Table:
    """Return the jets of quarks with these pt, eta and phi; nothing below 10 GeV."""
    jets = _jets(generator, event, where["pt"], where["eta"], np.full(event.size, parton))
    jets["phi"] = where["phi"]
    return tables.take(jets, (jets["pt"] > LEAST_PT) & (np.abs(jets["eta"]) < 5.2))


def recoil(generator: np.random.Generator, jets: Table, events: int, soft: float) -> tuple[Floats, Floats]:
    """Return the transverse momentum that balances the jets and soft activity of ``soft`` GeV per component."""
    px = tables.sums(jets["event"], jets["pt"] * np.cos(jets["phi"]), events)
    py = tables.sums(jets["event"], jets["pt"] * np.sin(jets["phi"]), events)
    return -px + generator.normal(0, soft, events), -py + generator.normal(0, soft, events)


def dijet_mass(jets: Table, events: int) -> Floats:
    """Return the mass of the two hardest jets of each event, 0 below two; the jets are sorted (`tables.by_pt`)."""
    first, _ = tables.leading(jets, events, 0)
    second, two = tables.leading(jets, events, 1)
    if not two.any():
        return np.zeros(events)
    p = momentum(jets["pt"], jets["eta"], jets["phi"], jets["mass"])
    pair = p[:, first] + p[:, second]
    return np.where(two, np.sqrt(np.maximum(pair[3] ** 2 - (pair[:3] ** 2).sum(axis=0), 0)), 0)


def _jets(generator: np.random.Generator, event: Array, pt: Floats, eta: Floats, parton: Array) -> Table:
    flavour = np.abs(parton)
    to_muon = np.where(flavour == 5, 0.15, np.where(flavour == 4, 0.07, 0.004))
    return {
        "event": event,
        "pt": pt,
        "eta": eta,
        "phi": generator.uniform(-np.pi, np.pi, event.size),
        "mass": pt * generator.uniform(0.08, 0.18, event.size),
        "parton": parton.astype(np.int64),
        "hadron": np.where((flavour == 4) | (flavour == 5), flavour, 0).astype(np.int64),
        # Part of the momentum that a muon in the jet has; 0 without one.
        "muon": np.where(generator.random(event.size) < to_muon, generator.beta(1.0, 4.0, event.size), 0.0),
    }
