"""Decays of Z, Higgs and W bosons and tau leptons, and photons that muons radiate."""

from __future__ import annotations

from typing import Any

import numpy as np

from af_kit.simulate.kinematics import MUON_MASS
from af_kit.simulate.nano import momenta
from af_kit.simulate.nano.momenta import Floats
from af_kit.simulate.nano.radiation import from_partons
from af_kit.simulate.nano.tables import Array
from af_kit.simulate.nano.truth import BOSON, FLAGS, LEPTON, PHOTON, TAU, Truth

_MASSES = {11: 0.000511, 13: MUON_MASS, 15: 1.777}
_TO_MUON, _TO_ELECTRON = 0.174, 0.178  # branching fractions of the tau
RADIATION = 0.09
"""Probability that a muon of a boson radiates a photon above 2 GeV."""


def lepton_pair(
    generator: np.random.Generator,
    truth: Truth,
    event: Array,
    p: Floats,
    mother: Array,
    flavours: tuple[float, float, float],
    angles: tuple[Floats, Floats],
) -> None:
    """Decay neutral bosons to two leptons of opposite charge; ``flavours`` are the shares of e, mu and tau."""
    pdg_id = generator.choice([11, 13, 15], event.size, p=flavours)
    for flavour in (11, 13, 15):
        chosen = np.flatnonzero(pdg_id == flavour)
        masses = (
            _virtual_masses(generator, flavour, chosen.size),
            _virtual_masses(generator, flavour, chosen.size),
        )
        pair = momenta.two_body(p[:, chosen], masses, angles[0][chosen], angles[1][chosen])
        for sign, product in zip((1, -1), pair, strict=True):
            _lepton(generator, truth, event[chosen], product, sign * flavour, mother[chosen])


def w_boson(
    generator: np.random.Generator,
    truth: Truth,
    event: Array,
    p: Floats,
    sign: Any,
    mother: Array,
    flavours: tuple[float, float, float],
) -> None:
    """Decay W bosons of this charge to a lepton and a neutrino."""
    sign = np.broadcast_to(sign, event.shape)
    row = truth.particles.add(event, p, 24 * sign, BOSON, mother=mother)
    pdg_id = generator.choice([11, 13, 15], event.size, p=flavours)
    angles = momenta.isotropic(generator, event.size)
    for flavour in (11, 13, 15):
        chosen = np.flatnonzero(pdg_id == flavour)
        masses = (_virtual_masses(generator, flavour, chosen.size), 0.0)
        product, neutrino = momenta.two_body(p[:, chosen], masses, angles[0][chosen], angles[1][chosen])
        truth.lose(event[chosen], neutrino)
        _lepton(generator, truth, event[chosen], product, -flavour * sign[chosen], row[chosen])


def _lepton(generator: np.random.Generator, truth: Truth, event: Array, p: Floats, pdg_id: Any, mother: Array) -> None:
    """Add leptons of one flavour."""
    pdg_id = np.broadcast_to(pdg_id, event.shape)
    if not event.size:
        return
    if abs(int(pdg_id[0])) == 15:
        _tau(generator, truth, event, p, pdg_id, mother)
    elif abs(int(pdg_id[0])) == 13:
        _radiating_muon(generator, truth, event, p, pdg_id, mother)
    else:
        truth.particles.add(event, p, pdg_id, LEPTON, mother=mother)


def _tau(generator: np.random.Generator, truth: Truth, event: Array, p: Floats, pdg_id: Array, mother: Array) -> None:
    row = truth.particles.add(event, p, pdg_id, TAU, mother=mother, status=2)
    draw = generator.random(event.size)
    sign = np.sign(pdg_id)
    visible = np.where(
        draw < _TO_MUON + _TO_ELECTRON, generator.beta(1.2, 2.0, event.size), generator.uniform(0.3, 1, event.size)
    )
    product = p * visible
    truth.lose(event, p - product)
    for flavour, chosen in (
        (13, draw < _TO_MUON),
        (11, (draw >= _TO_MUON) & (draw < _TO_MUON + _TO_ELECTRON)),
    ):
        direction = momenta.coordinates(product[:, chosen])
        truth.particles.add(
            event[chosen], momenta.momentum(**direction, mass=_MASSES[flavour]), flavour * sign[chosen], LEPTON,
            mother=row[chosen], flavour=15, statusFlags=FLAGS["tau product"],
        )  # fmt: skip
    hadrons = draw >= _TO_MUON + _TO_ELECTRON
    truth.jets.append(from_partons(generator, event[hadrons], momenta.coordinates(product[:, hadrons]), 0))


def _virtual_masses(generator: np.random.Generator, flavour: int, size: int) -> Floats:
    """Return the masses of leptons before they radiate: that of muon and photon where there is a photon."""
    if flavour != 13:
        return np.full(size, _MASSES[flavour])
    radiates = generator.random(size) < RADIATION
    return np.where(radiates, 0.2 * 60 ** generator.random(size), MUON_MASS)


def _radiating_muon(
    generator: np.random.Generator, truth: Truth, event: Array, p: Floats, pdg_id: Array, mother: Array
) -> None:
    """Add muons and the photons of those that are heavier than a muon; the photon's density is 1 / energy."""
    mass = momenta.mass_of(p)
    radiates = mass > 0.15
    virtual, mass = p[:, radiates], mass[radiates]
    least = np.minimum(2.0 / virtual[3], 0.5)
    fraction = least * (0.9 / least) ** generator.random(mass.size)
    cos_alpha = np.clip(2 * fraction / (1 - (MUON_MASS / mass) ** 2) - 1, -1, 1)
    azimuth = generator.uniform(-np.pi, np.pi, mass.size)
    photon, muon = momenta.two_body(virtual, (0.0, MUON_MASS), cos_alpha, azimuth, is_along=True)
    rest = p.copy()
    rest[:, radiates] = muon
    row = truth.particles.add(event, rest, pdg_id, LEPTON, mother=mother)
    truth.particles.add(event[radiates], photon, 22, PHOTON, mother=row[radiates], statusFlags=FLAGS["prompt"])
