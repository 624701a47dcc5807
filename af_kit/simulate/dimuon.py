"""Simulated collisions with muons, in the form of the CMS open data of 2012: the dimuon spectrum without a network."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.simulate.kinematics import MUON_MASS, breit_wigner, pairs, power_law
from af_kit.simulate.writer import EVENT_NUMBERS, Block, Schema, blocks, check_count, number_events, write_tree

__all__ = ["RESONANCES", "Resonance", "dimuon"]


class Resonance(NamedTuple):
    """A particle that decays to two muons.

    Attributes
    ----------
    name : str
        Its name.
    mass, width : float
        Mass and natural width in GeV (Review of Particle Physics 2024).
    low, high : float
        The mass range in GeV that is simulated.
    share : float
        The part of all pairs of opposite charge that come from it.
    """

    name: str
    mass: float
    width: float
    low: float
    high: float
    share: float


RESONANCES = (
    Resonance("eta", 0.547862, 1.31e-6, 0.54, 0.56, 0.0010),
    Resonance("rho", 0.77526, 0.1491, 0.3, 1.5, 0.0050),
    Resonance("omega", 0.78266, 8.68e-3, 0.65, 0.9, 0.0035),
    Resonance("phi", 1.019461, 4.249e-3, 0.95, 1.1, 0.0060),
    Resonance("J/psi", 3.096900, 9.26e-5, 3.05, 3.15, 0.1200),
    Resonance("psi(2S)", 3.686097, 2.93e-4, 3.65, 3.72, 0.0050),
    Resonance("Upsilon(1S)", 9.46040, 5.402e-5, 9.4, 9.5, 0.0220),
    Resonance("Upsilon(2S)", 10.0234, 3.198e-5, 10.0, 10.05, 0.0075),
    Resonance("Upsilon(3S)", 10.3551, 2.032e-5, 10.33, 10.38, 0.0050),
    Resonance("Z", 91.1880, 2.4955, 40.0, 250.0, 0.1700),
)
"""What stands out of the continuum. The shares are of the order seen in 2012, when the dimuon triggers asked for muons
of some 10 GeV: many Z, and of the light mesons only the fast ones."""

# Muons per event: half of the events have two, as in the recorded sample.
_MULTIPLICITY = np.array([0.006, 0.075, 0.5054, 0.26, 0.10, 0.035, 0.0126, 0.004, 0.002])
# Of the pairs of two-muon events, this part has opposite charge; the rest are muons from two unrelated decays.
_OPPOSITE = 0.774

_MUON = {"Muon_pt": "float32", "Muon_eta": "float32", "Muon_phi": "float32", "Muon_mass": "float32"}
_MUON["Muon_charge"] = "int32"


def dimuon(
    path: str | Path,
    entries: int,
    seed: int,
    *,
    file_index: int = 0,
    event_numbers: bool = True,
    cluster_entries: int = 100_000,
    compression: str = "ZLIB-1",
    kind: str = "ttree",
) -> Path:
    """Write a ROOT file of simulated events with muons; tree ``Events``.

    Branches: ``nMuon`` (uint32) and, jagged, ``Muon_pt``, ``Muon_eta``, ``Muon_phi``, ``Muon_mass`` (float32; GeV, rad)
    and ``Muon_charge`` (int32), sorted by falling pt; ``run``, ``luminosityBlock`` (uint32) and ``event`` (uint64).

    Pairs come from the `RESONANCES`, with natural width, or from a falling continuum, with falling transverse momenta;
    they decay isotropically and are kept if the detector would see both muons. Momenta are smeared with the resolution
    of CMS. Trigger and efficiency are not simulated.

    Parameters
    ----------
    path : path
        The file to write; an older one is replaced.
    entries : int
        Number of events.
    seed : int
        The same seed gives the same columns to the bit (with the same version of numpy), whatever the clusters and
        the compression; a longer sample begins with the shorter one.
    file_index : int
        Files of one sample differ in this: it makes them independent, and ``run`` is 1 + file_index, so that
        (run, luminosityBlock, event) names an event uniquely.
    event_numbers : bool
        False leaves out run, luminosityBlock and event, as in the open data.
    cluster_entries, compression, kind
        As in `write_tree`.

    Raises
    ------
    InputError
        A number that is negative or not whole, an unknown option, or a file that cannot be written.
    """
    check_count("entries", entries)
    check_count("seed", seed)
    run = 1 + check_count("file_index", file_index)
    schema = Schema({**(EVENT_NUMBERS if event_numbers else {}), **_MUON}, ("Muon",))

    def draw(generator: np.random.Generator, first: int, number: int) -> Block:
        counts, muons = _draw(generator, number)
        known = {**number_events(run, first, number), **muons}
        return Block(number, {"Muon": counts}, {name: known[name] for name in schema.columns})

    events = blocks(draw, schema, entries, seed, file_index)
    return write_tree(path, schema, events, cluster_entries=cluster_entries, compression=compression, kind=kind)


def _draw(generator: np.random.Generator, number: int) -> tuple[NDArray[np.uint32], dict[str, NDArray[Any]]]:
    """Muons of ``number`` events: how many each has, and the columns."""
    counts = generator.choice(len(_MULTIPLICITY), size=number, p=_MULTIPLICITY).astype(np.uint32)
    starts = np.cumsum(counts) - counts
    total = int(counts.sum())
    # Every muon is at first a soft one of its own; a pair then takes the first two places of its event.
    alone = np.repeat(counts == 1, counts)
    pt = 3.5 + power_law(generator.random(total), np.where(alone, 12.0, 3.5), 2.5)
    eta = generator.uniform(-2.4, 2.4, total)
    phi = generator.uniform(-np.pi, np.pi, total)
    charge = generator.integers(0, 2, total, dtype=np.int32) * 2 - 1

    first = starts[counts >= 2]
    opposite = generator.random(first.size) < _OPPOSITE
    for place, muons in zip((first, first + 1), pairs(generator, _masses(generator, opposite)), strict=True):
        pt[place], eta[place], phi[place] = muons
    charge[first + 1] = np.where(opposite, -charge[first], charge[first])

    order = np.lexsort((-pt, np.repeat(np.arange(number), counts)))
    columns: dict[str, NDArray[Any]] = {
        "Muon_pt": pt[order].astype(np.float32),
        "Muon_eta": eta[order].astype(np.float32),
        "Muon_phi": phi[order].astype(np.float32),
        "Muon_mass": np.full(total, MUON_MASS, np.float32),
        "Muon_charge": charge[order],
    }
    return counts, columns


def _masses(generator: np.random.Generator, opposite: NDArray[np.bool_]) -> NDArray[np.float64]:
    """True masses of pairs, in GeV; a resonance only where the charges are opposite."""
    uniform = generator.random(opposite.size)
    masses = np.interp(uniform, *_continuum())
    edges = np.cumsum([resonance.share for resonance in RESONANCES])
    source = np.where(opposite, np.searchsorted(edges, generator.random(opposite.size), side="right"), len(edges))
    for index, (_, mass, width, low, high, _) in enumerate(RESONANCES):
        mine = source == index
        masses[mine] = breit_wigner(uniform[mine], mass, width, low, high)
    return masses


@functools.cache
def _continuum() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Integral of the continuum's spectrum, and the masses in GeV where it is known: for drawing by interpolation.

    Three broad humps in the logarithm of the mass: light hadrons and cascades of one b quark, the decays of two b
    quarks, and what reaches beyond the Z. As density per GeV, it falls from 1 GeV on.
    """
    edge = 2 * MUON_MASS * (1 + 1e-9)
    mass = np.geomspace(edge, 600, 4000)

    def hump(middle: float, spread: float) -> NDArray[np.float64]:
        return np.exp(-0.5 * (np.log(mass / middle) / spread) ** 2) / spread

    density = 0.30 * hump(1.6, 0.85) + 0.62 * hump(13, 0.70) + 0.08 * hump(30, 0.85)
    density *= np.sqrt(np.maximum(1 - (2 * MUON_MASS / mass) ** 2, 0))
    integral = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(np.log(mass)))])
    return integral / integral[-1], mass
