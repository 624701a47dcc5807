"""Decays to two muons: masses, momenta, and the resolution and acceptance of a detector like CMS."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MUON_MASS = 0.105658
"""GeV, as in NanoAOD."""

Floats = NDArray[np.float64]


class Muons(NamedTuple):
    """One muon of each pair: transverse momentum in GeV, pseudorapidity, azimuth in rad."""

    pt: Floats
    eta: Floats
    phi: Floats


def breit_wigner(uniform: Floats, mass: float, width: float, low: float, high: float) -> Floats:
    """Convert uniform numbers in 0..1 to masses with a Breit-Wigner distribution between ``low`` and ``high``."""
    first, last = np.arctan((np.array([low, high]) - mass) / (width / 2))
    return mass + width / 2 * np.tan(first + uniform * (last - first))


def power_law(uniform: Floats, scale: Floats | float, exponent: float) -> Floats:
    """Convert uniform numbers in 0..1 to transverse momenta with dN/dpt ~ pt / (1 + (pt/scale)^2)^exponent.

    The spectrum rises linearly, peaks near ``scale`` and falls as a power law, as in hadron and Z production.
    """
    return scale * np.sqrt((1 - uniform) ** (1 / (1 - exponent)) - 1)


def decay(
    mass: Floats, pt: Floats, rapidity: Floats, phi: Floats, cos_theta: Floats, azimuth: Floats
) -> tuple[Muons, Muons]:
    """Decay particles to two muons each.

    Parameters
    ----------
    mass, pt, rapidity, phi : array
        The particle in the laboratory frame; mass and pt in GeV.
    cos_theta, azimuth : array
        Direction of the first muon in the particle's rest frame, with the axes of the laboratory frame.

    Returns
    -------
    two Muons
        In the laboratory frame; their momenta add up to that of the particle.
    """
    transverse_mass = np.hypot(mass, pt)
    energy = transverse_mass * np.cosh(rapidity)
    parent = np.stack([pt * np.cos(phi), pt * np.sin(phi), transverse_mass * np.sinh(rapidity)])
    momentum = np.sqrt(np.maximum(mass**2 / 4 - MUON_MASS**2, 0))
    sin_theta = np.sqrt(1 - cos_theta**2)
    at_rest = momentum * np.stack([sin_theta * np.cos(azimuth), sin_theta * np.sin(azimuth), cos_theta])
    # Lorentz boost of (mass/2, at_rest) with the parent's velocity.
    along = (parent * at_rest).sum(axis=0) / (mass * (energy + mass)) + 0.5
    first = at_rest + along * parent
    return _muons(first), _muons(parent - first)


def momentum_resolution(eta: Floats, pt: Floats) -> Floats:
    """Return the relative resolution of a muon's transverse momentum: 0.8% (barrel) to 2% (endcap) at low momentum.

    Approximates the muon performance of CMS at 7 TeV, https://arxiv.org/abs/1206.4071.
    """
    return np.hypot(0.0075 + 0.0022 * eta**2, 1e-4 * pt)


def accepted(muons: Muons) -> NDArray[np.bool_]:
    """Return whether each muon reaches the muon chambers: |eta| < 2.4, and enough momentum to cross the iron."""
    return (np.abs(muons.eta) < 2.4) & (muons.pt > 2) & (muons.pt * np.cosh(muons.eta) > 3.5)


def pairs(generator: np.random.Generator, masses: Floats) -> tuple[Muons, Muons]:
    """Draw the measured muons of pairs with these masses, again and again until both muons are accepted."""
    done = np.empty((2, 3, masses.size))
    pending = np.arange(masses.size)
    while pending.size:
        mass = masses[pending]
        uniform = generator.random((5, mass.size))
        # The muons of slow light particles stop in the iron: skip transverse momenta that cannot be accepted.
        pt = 7 * np.exp(-mass / 4) + power_law(uniform[0], 6 + 0.06 * mass, 2.5)
        rapidity = 4.8 * uniform[1] - 2.4
        angles = (2 * uniform[2:] - 1) * np.array([np.pi, 1, np.pi])[:, None]
        pair = [_measured(generator, muons) for muons in decay(mass, pt, rapidity, *angles)]
        both = accepted(pair[0]) & accepted(pair[1])
        done[:, :, pending[both]] = np.array(pair)[:, :, both]
        pending = pending[~both]
    return Muons(*done[0]), Muons(*done[1])


def _measured(generator: np.random.Generator, muons: Muons) -> Muons:
    smear = 1 + momentum_resolution(muons.eta, muons.pt) * generator.standard_normal(muons.pt.size)
    return muons._replace(pt=muons.pt * smear)


def _muons(momentum: Floats) -> Muons:
    pt = np.hypot(momentum[0], momentum[1])
    return Muons(pt, np.arcsinh(momentum[2] / pt), np.arctan2(momentum[1], momentum[0]))
