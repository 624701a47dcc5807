"""Quantities of the generator: the dijet mass that separates the stitched samples of Drell-Yan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.data.jit import jit
from af_kit.data.reading.flat import flat_branch

__all__ = ["generator_dijet_mass", "stitched"]

STITCHING_MASS = 350.0
_MIN_DISTANCE = 0.3


def stitched(events: Any, kind: str) -> NDArray[np.bool_]:
    """Return which events of a stitched sample count: "filtered" above 350 GeV, "inclusive" the rest."""
    mass = generator_dijet_mass(events)
    with np.errstate(invalid="ignore"):
        above: NDArray[np.bool_] = mass > STITCHING_MASS
    return above if kind == "filtered" else ~above


def generator_dijet_mass(events: Any) -> NDArray[np.float64]:
    """Return the mass of the first two generator jets that are further than 0.3 in Delta R from all generator leptons.

    Leptons are the electrons, muons and taus of ``GenPart``; the jets are taken in the order of ``GenJet``.

    Returns
    -------
    numpy.ndarray
        One mass per event [GeV]; NaN where there are fewer than two such jets.
    """
    jets = [flat_branch(events, f"GenJet_{name}") for name in ("pt", "eta", "phi", "mass")]
    particles = [flat_branch(events, f"GenPart_{name}") for name in ("pdgId", "eta", "phi")]
    mass: NDArray[np.float64] = _masses(
        jets[0][0], *(values.astype(np.float64) for _, values in jets),
        particles[0][0], particles[0][1], *(values.astype(np.float64) for _, values in particles[1:]),
        _MIN_DISTANCE,
    )  # fmt: skip
    return mass


@jit
def _masses(jet_at, pt, eta, phi, mass, particle_at, pdg_id, lepton_eta, lepton_phi, distance):  # type: ignore[no-untyped-def]
    events = jet_at.size - 1
    found = np.full(events, np.nan)
    for event in range(events):
        first = -1
        for i in range(jet_at[event], jet_at[event + 1]):
            is_lepton = False
            for k in range(particle_at[event], particle_at[event + 1]):
                kind = abs(pdg_id[k])
                if kind == 11 or kind == 13 or kind == 15:
                    d_eta = eta[i] - lepton_eta[k]
                    d_phi = (phi[i] - lepton_phi[k] + np.pi) % (2 * np.pi) - np.pi
                    if d_eta * d_eta + d_phi * d_phi <= distance * distance:
                        is_lepton = True
                        break
            if is_lepton:
                continue
            if first < 0:
                first = i
                continue
            energy = px = py = pz = 0.0
            for j in (first, i):
                z = pt[j] * np.sinh(eta[j])
                energy += np.sqrt(pt[j] * pt[j] + z * z + mass[j] * mass[j])
                px += pt[j] * np.cos(phi[j])
                py += pt[j] * np.sin(phi[j])
                pz += z
            found[event] = np.sqrt(max(energy * energy - px * px - py * py - pz * pz, 0.0))
            break
    return found
