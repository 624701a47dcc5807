"""Simulate collisions with muons, in the format of the CMS open data of 2012."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.simulate.kinematics import MUON_MASS, breit_wigner, pairs, power_law
from af_kit.simulate.writer import EVENT_NUMBERS, Block, Schema, blocks, check_count, number_events, write_tree


class Resonance(NamedTuple):
    """A particle that decays to two muons.

    Attributes
    ----------
    name : str
    mass, width : float
        Mass and natural width in GeV (Review of Particle Physics 2024).
    low, high : float
        Simulated mass range in GeV.
    share : float
        Fraction of all pairs of opposite charge that come from it.
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
"""The peaks above the continuum. The shares are similar to those of 2012, when the dimuon triggers required muons of
about 10 GeV: many Z bosons, and only fast light mesons."""

# Muons per event: half of the events have two, as in the recorded data.
_MULTIPLICITY = np.array([0.006, 0.075, 0.5054, 0.26, 0.10, 0.035, 0.0126, 0.004, 0.002])
# Fraction of two-muon events with opposite charge; the others are muons from two unrelated decays.
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

    Pairs come from the `RESONANCES`, with natural width, or from a falling continuum, with falling transverse momenta.
    They decay isotropically, and both muons are in the acceptance of the detector. Momenta are smeared with the
    resolution of CMS. Trigger and efficiency are not simulated.

    Parameters
    ----------
    path : path
        The file to write; an existing file is replaced.
    entries : int
        Number of events.
    seed : int
        The same seed reproduces all columns bit by bit (with the same version of numpy), independently of clusters and
        compression; a longer sample starts with the events of a shorter one.
    file_index : int
        Number of the file in the sample. Files of different index are independent, and ``run`` is 1 + file_index, so
        that (run, luminosityBlock, event) is unique.
    event_numbers : bool
        If False, omit run, luminosityBlock and event, as in the open data.
    cluster_entries : int
        Entries per cluster: in a TTree every branch has one basket per cluster.
    compression : str
        ``"ZLIB-1"``, ``"ZSTD-5"``, ``"LZ4-4"``, ``"LZMA-1"``, ... or ``"none"``.
    kind : str
        ``"ttree"`` or ``"rntuple"``.

    Raises
    ------
    InputError
        If a number is negative or not an integer, an option is unknown, or the file cannot be written.
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
    """Draw ``number`` events: the number of muons of each event, and the columns."""
    counts = generator.choice(len(_MULTIPLICITY), size=number, p=_MULTIPLICITY).astype(np.uint32)
    starts = np.cumsum(counts) - counts
    total = int(counts.sum())
    # First draw every muon as a soft single muon; a pair then replaces the first two muons of its event.
    single = np.repeat(counts == 1, counts)
    pt = 3.5 + power_law(generator.random(total), np.where(single, 12.0, 3.5), 2.5)
    eta = generator.uniform(-2.4, 2.4, total)
    phi = generator.uniform(-np.pi, np.pi, total)
    charge = generator.integers(0, 2, total, dtype=np.int32) * 2 - 1

    first = starts[counts >= 2]
    opposite = generator.random(first.size) < _OPPOSITE
    for index, muons in zip((first, first + 1), pairs(generator, _masses(generator, opposite)), strict=True):
        pt[index], eta[index], phi[index] = muons
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
    """Draw the true masses of pairs, in GeV; only pairs of opposite charge can come from a resonance."""
    uniform = generator.random(opposite.size)
    masses = np.interp(uniform, *_continuum())
    edges = np.cumsum([resonance.share for resonance in RESONANCES])
    source = np.where(opposite, np.searchsorted(edges, generator.random(opposite.size), side="right"), len(edges))
    for index, (_, mass, width, low, high, _) in enumerate(RESONANCES):
        chosen = source == index
        masses[chosen] = breit_wigner(uniform[chosen], mass, width, low, high)
    return masses


@functools.cache
def _continuum() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the normalised integral of the continuum and the masses in GeV, to draw masses by interpolation.

    The continuum is the sum of three broad Gaussians in the logarithm of the mass: light hadrons and cascades of a b
    quark, decays of two b quarks, and high masses. Its density per GeV falls above 1 GeV.
    """
    edge = 2 * MUON_MASS * (1 + 1e-9)
    mass = np.geomspace(edge, 600, 4000)

    def gaussian(middle: float, spread: float) -> NDArray[np.float64]:
        return np.exp(-0.5 * (np.log(mass / middle) / spread) ** 2) / spread

    density = 0.30 * gaussian(1.6, 0.85) + 0.62 * gaussian(13, 0.70) + 0.08 * gaussian(30, 0.85)
    density *= np.sqrt(np.maximum(1 - (2 * MUON_MASS / mass) ** 2, 0))
    integral = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(np.log(mass)))])
    return integral / integral[-1], mass
