"""Which generator jet belongs to a jet of a simulated event.

The index in the file, ``Jet_genJetIdx``, matches in direction only, and loosely; `matches` is what the smearing needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["GeneratorJet", "generator_jet", "matches"]

# CMS's matching: half the radius of the jets, and three times the resolution
_MAX_DELTA_R = 0.2
_MAX_SIGMAS = 3.0


class GeneratorJet(NamedTuple):
    """The generator jet that belongs to each jet; pt is 0 where there is none."""

    pt: Any
    eta: Any
    phi: Any


def generator_jet(index: Any, gen_jets: Any) -> GeneratorJet:
    """Look up the generator jet of each jet.

    Parameters
    ----------
    index : jagged array of integers
        NanoAOD's ``Jet_genJetIdx``, also of jets that were selected or sorted.
    gen_jets : record array
        ``events.GenJet``, with pt, eta and phi, in the order of the file.

    Returns
    -------
    GeneratorJet
        Jagged like ``index``, with 0 where the index is negative, or beyond the stored generator jets: NanoAOD stores
        those above a threshold only, but the index counts all.
    """
    import awkward as ak

    counts = ak.num(gen_jets.pt, axis=1)
    found = (index >= 0) & (index < counts)
    start = np.cumsum(np.asarray(counts)) - np.asarray(counts)
    at = ak.flatten(ak.where(found, index, 0) + start)
    valid = np.asarray(ak.flatten(found))

    def values(column: Any) -> Any:
        flat = np.zeros(len(valid))
        flat[valid] = np.asarray(ak.flatten(column), dtype=float)[np.asarray(at)[valid]]
        return ak.unflatten(flat, ak.num(index, axis=1))

    return GeneratorJet(values(gen_jets.pt), values(gen_jets.eta), values(gen_jets.phi))


def matches(jets: Mapping[str, NDArray[np.float64]], sigma: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which jets match their generator jet: Delta R < 0.2 and |pt - pt_gen| < 3 sigma pt.

    Parameters
    ----------
    jets : mapping
        Flat columns JetPt, JetEta, JetPhi, gen_pt, gen_eta and gen_phi; gen_pt is 0 or less where there is none.
    sigma : array
        The relative resolution of each jet.
    """
    delta_eta = jets["JetEta"] - jets["gen_eta"]
    delta_phi = (jets["JetPhi"] - jets["gen_phi"] + np.pi) % (2 * np.pi) - np.pi
    near = delta_eta * delta_eta + delta_phi * delta_phi < _MAX_DELTA_R**2
    alike = np.abs(jets["JetPt"] - jets["gen_pt"]) < _MAX_SIGMAS * sigma * jets["JetPt"]
    found: NDArray[np.bool_] = near & alike & (jets["gen_pt"] > 0)
    return found
