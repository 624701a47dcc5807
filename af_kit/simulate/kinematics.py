"""Particles that decay to two muons: masses, momenta, and what a detector like CMS measures of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MUON_MASS",
    "Floats",
    "Muons",
    "accepted",
    "breit_wigner",
    "decay",
    "momentum_resolution",
    "pairs",
    "power_law",
]

MUON_MASS = 0.105658
"""GeV, as NanoAOD stores it."""

Floats = NDArray[np.float64]


class Muons(NamedTuple):
    """One muon of each of many pairs: transverse momentum in GeV, pseudorapidity, azimuth in rad."""

    pt: Floats
    eta: Floats
    phi: Floats


def breit_wigner(uniform: Floats, mass: float, width: float, low: float, high: float) -> Floats:
    """Masses distributed as a Breit-Wigner curve between ``low`` and ``high``, from numbers uniform in 0..1."""
    first, last = np.arctan((np.array([low, high]) - mass) / (width / 2))
    return mass + width / 2 * np.tan(first + uniform * (last - first))


def power_law(uniform: Floats, scale: Floats | float, exponent: float) -> Floats:
    """Transverse momenta with dN/dpt ~ pt / (1 + (pt/scale)^2)^exponent, from numbers uniform in 0..1.

    It rises linearly, turns over near ``scale`` and falls as a power: the shape of hadron and Z production.
    """
    return scale * np.sqrt((1 - uniform) ** (1 / (1 - exponent)) - 1)


def decay(
    mass: Floats, pt: Floats, rapidity: Floats, phi: Floats, cos_theta: Floats, azimuth: Floats
) -> tuple[Muons, Muons]:
    """Decay particles to two muons each.

    Parameters
    ----------
    mass, pt, rapidity, phi : array
        The particle in the laboratory; mass and pt in GeV.
    cos_theta, azimuth : array
        Direction of the first muon in the particle's rest frame, whose axes are the laboratory's.

    Returns
    -------
    two Muons
        In the laboratory; their momenta add up to the particle's.
    """
    transverse_mass = np.hypot(mass, pt)
    energy = transverse_mass * np.cosh(rapidity)
    parent = np.stack([pt * np.cos(phi), pt * np.sin(phi), transverse_mass * np.sinh(rapidity)])
    momentum = np.sqrt(np.maximum(mass**2 / 4 - MUON_MASS**2, 0))
    sin_theta = np.sqrt(1 - cos_theta**2)
    resting = momentum * np.stack([sin_theta * np.cos(azimuth), sin_theta * np.sin(azimuth), cos_theta])
    # Lorentz boost of (mass/2, resting) with the parent's velocity.
    along = (parent * resting).sum(axis=0) / (mass * (energy + mass)) + 0.5
    first = resting + along * parent
    return _muons(first), _muons(parent - first)


def momentum_resolution(eta: Floats, pt: Floats) -> Floats:
    """Relative resolution of a muon's transverse momentum in CMS: 0.8% in the middle to 2% at the edge, plus curvature.

    After the muon performance of CMS at 7 TeV, https://arxiv.org/abs/1206.4071.
    """
    return np.hypot(0.0075 + 0.0022 * eta**2, 1e-4 * pt)


def accepted(muons: Muons) -> NDArray[np.bool_]:
    """Whether a muon reaches the muon chambers: |eta| < 2.4, and momentum enough to get through the iron."""
    return (np.abs(muons.eta) < 2.4) & (muons.pt > 2) & (muons.pt * np.cosh(muons.eta) > 3.5)


def pairs(generator: np.random.Generator, masses: Floats) -> tuple[Muons, Muons]:
    """Measured muons of pairs of these masses; production and decay are drawn again until both muons are accepted."""
    done = np.empty((2, 3, masses.size))
    waiting = np.arange(masses.size)
    while waiting.size:
        mass = masses[waiting]
        uniform = generator.random((5, mass.size))
        # A light particle must be fast, or its muons stop in the iron: do not draw those that cannot be seen.
        pt = 7 * np.exp(-mass / 4) + power_law(uniform[0], 6 + 0.06 * mass, 2.5)
        rapidity = 4.8 * uniform[1] - 2.4
        angles = (2 * uniform[2:] - 1) * np.array([np.pi, 1, np.pi])[:, None]
        pair = [_measured(generator, muons) for muons in decay(mass, pt, rapidity, *angles)]
        seen = accepted(pair[0]) & accepted(pair[1])
        done[:, :, waiting[seen]] = np.array(pair)[:, :, seen]
        waiting = waiting[~seen]
    return Muons(*done[0]), Muons(*done[1])


def _measured(generator: np.random.Generator, muons: Muons) -> Muons:
    smear = 1 + momentum_resolution(muons.eta, muons.pt) * generator.standard_normal(muons.pt.size)
    return muons._replace(pt=muons.pt * smear)


def _muons(momentum: Floats) -> Muons:
    pt = np.hypot(momentum[0], momentum[1])
    return Muons(pt, np.arcsinh(momentum[2] / pt), np.arctan2(momentum[1], momentum[0]))
