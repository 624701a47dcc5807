"""Simulate Ds -> phi(mu mu) pi candidates, in the format of the ntuple of the search for tau -> 3 mu."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.errors import InputError, nearest
from af_kit.simulate.kinematics import MUON_MASS, Floats, power_law
from af_kit.simulate.triplets import HLT_MENUS, L1_MENUS, crystal_ball, momenta, polar, triggers, two_body
from af_kit.simulate.vectors import VectorSchema, write_vectors
from af_kit.simulate.writer import Block, blocks, check_count

TREENAME = "Tree3Mu/ntuple"

LUMI_IFB = MappingProxyType({"2017B": 4.80, "2017C": 9.57, "2017D": 4.25, "2017E": 9.31, "2017F": 13.54})
"""Nominal integrated luminosity of each era in 1/fb."""

_PION_MASS = 0.13957
_PHI_MASS, _PHI_RESOLUTION = 1.01946, 0.009

# Fractions of events with a true Ds and D+ decay; the others only have combinations of unrelated tracks.
_SHARES = {"data": (0.10, 0.05), "mc": (0.65, 0.30)}
# Candidates per event, 0 to 5; an event with a true decay has at least one.
_MULTIPLICITY = np.array([0.30, 0.38, 0.18, 0.08, 0.04, 0.02])


class _Peak(NamedTuple):
    mass: float
    width: float


# Ds and D+, mass and resolution in GeV; the shape is a Crystal Ball with a tail on the left.
_PEAKS = (_Peak(1.96835, 0.0095), _Peak(1.86966, 0.0090))
_ALPHA, _N = 1.6, 3.0
_BACKGROUND_SLOPE = 1.1  # per GeV
_BACKGROUND_RANGE = (1.55, 2.15)

_MOMENTUM = ("Pt", "Eta", "Phi")
_CANDIDATE = {
    "Triplet2_Mass": "float64",
    "RefittedPV2_NTracks": "int32",
    "FlightDistBS_SV_Significance": "float64",
    **{f"{one}_{part}": "float64" for one in ("Mu01", "Mu02", "Tr", "RefTrack1", "RefTrack2") for part in _MOMENTUM},
    "Mu1_dRtriggerMatch_2017": "float64",
    "Mu2_dRtriggerMatch_2017": "float64",
    "TripletVtx2_Chi2": "float64",
}
_MUON = {"MuonPt": "float64", "Muon_isGlobal": "int32", "Muon_isPF": "int32"}
_TRACK = {"Track_pt": "float64", "Track_dz": "float64", "Track_dxy": "float64"}
_TRIGGER = {
    "Trigger_hltname": "string",
    "Trigger_hltdecision": "int32",
    "Trigger_l1name": "string",
    "Trigger_l1decision": "int32",
}
_SCHEMA = VectorSchema(
    {**_CANDIDATE, **_MUON, **_TRACK, **_TRIGGER},
    counts={
        **dict.fromkeys(_CANDIDATE, "candidate"),
        **dict.fromkeys(_MUON, "muon"),
        **dict.fromkeys(_TRACK, "track"),
        "Trigger_hltdecision": "hlt",
        "Trigger_l1decision": "l1",
    },
    strings={"Trigger_hltname": HLT_MENUS, "Trigger_l1name": L1_MENUS},
)


def dsphipi(
    path: str | Path,
    entries: int,
    seed: int,
    *,
    file_index: int = 0,
    kind: str = "data",
    era: str = "2017B",
    cluster_entries: int = 100_000,
    compression: str = "ZSTD-1",
) -> Path:
    """Write a ROOT file of simulated candidates of two muons and a track; tree ``Tree3Mu/ntuple``.

    Every branch is a vector. Branches of candidates: mass, vertex, muons ``Mu01``, ``Mu02`` and track ``Tr``, the muons
    after the vertex fit (``RefTrack1``, ``RefTrack2``), and the distance of the muons to a trigger object (999 if there
    is none). Branches of the event: the muons and tracks, with the quantities of the selection, and names and decisions
    of the triggers. Momenta and masses are in GeV, lengths in cm, angles in rad.

    Ds and D+ mesons decay to phi(mu mu) pi with a Crystal Ball resolution (alpha 1.6, n 3 on the left). The mass of
    combinations of unrelated tracks falls exponentially; some of them contain a true phi. Every combination of passed
    and failed steps of the selection occurs. As in real files, some vertex fits have no chi2 (NaN), some candidates
    have equal chi2, and some muons and tracks are missing from their collections.

    Parameters
    ----------
    path : path
        The file to write; an existing file is replaced.
    entries : int
        Number of events.
    seed : int
        The same seed reproduces all columns bit by bit; a longer sample starts with the events of a shorter one.
    file_index : int
        Number of the file in the sample; files of different index are independent.
    kind : {"data", "mc"}
        Like recorded data, mostly background; or like a simulation of the two decays, mostly signal.
    era : str
        One of `LUMI_IFB`; eras are independent of each other.
    cluster_entries : int
        Entries per cluster: every branch has one basket per cluster.
    compression : str
        ``"ZLIB-1"``, ``"ZSTD-5"``, ``"LZ4-4"``, ``"LZMA-1"``, ... or ``"none"``.

    Raises
    ------
    InputError
        If a number is negative or not an integer, an option is unknown, or the file cannot be written.
    """
    check_count("entries", entries)
    check_count("seed", seed)
    check_count("file_index", file_index)
    if kind not in _SHARES:
        raise InputError(f"kind={kind!r} is neither 'data' nor 'mc'.{nearest(str(kind), _SHARES)}")
    if era not in LUMI_IFB:
        raise InputError(f"There is no era {era!r}.{nearest(str(era), LUMI_IFB)}")
    # A different stream of random numbers for each file, era and kind.
    stream = (file_index * len(LUMI_IFB) + list(LUMI_IFB).index(era)) * 2 + (kind == "mc")

    def draw(generator: np.random.Generator, first: int, number: int) -> Block:
        return _draw(generator, number, _SHARES[kind])

    events = blocks(draw, _SCHEMA, entries, seed, stream)
    return write_vectors(
        path, _SCHEMA, events, treename=TREENAME, cluster_entries=cluster_entries, compression=compression
    )


def _draw(generator: np.random.Generator, number: int, shares: tuple[float, float]) -> Block:
    source = np.searchsorted(np.cumsum(shares), generator.random(number), side="right")  # 0 Ds, 1 D+, 2 neither
    counts = generator.choice(len(_MULTIPLICITY), size=number, p=_MULTIPLICITY)
    counts = np.where(source < len(shares), np.maximum(counts, 1), counts)
    event = np.repeat(np.arange(number), counts)
    # The true decay is at a random position among the candidates of its event.
    rank = np.arange(event.size) - np.repeat(np.cumsum(counts) - counts, counts)
    true_rank = (generator.random(number) * counts).astype(np.int64)
    kind = np.where(rank == true_rank[event], source[event], len(shares))

    candidates = _candidates(generator, kind)
    _repeat_some(generator, candidates, (rank[1:] > 0) & (kind[1:] == len(shares)))
    collections, more = _collections(generator, event, candidates, number)
    menus, decisions = triggers(generator, number)
    return Block(
        number,
        {"candidate": counts.astype(np.uint32), **collections, **menus.counts},
        {**candidates, **more, **menus.lists, **decisions},
    )


def _candidates(generator: np.random.Generator, kind: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Draw the columns of candidates; ``kind`` is the number of their peak, or ``len(_PEAKS)`` for background."""
    size = kind.size
    is_true = kind < len(_PEAKS)
    low, high = _BACKGROUND_RANGE
    falling = np.exp(-_BACKGROUND_SLOPE * (high - low))
    mass = low - np.log(1 - generator.random(size) * (1 - falling)) / _BACKGROUND_SLOPE
    shape = crystal_ball(generator.random(size), _ALPHA, _N)
    for number, peak in enumerate(_PEAKS):
        mass = np.where(kind == number, np.maximum(peak.mass + peak.width * shape, low - 0.05), mass)

    from_phi = is_true | (generator.random(size) < 0.35)
    highest = np.minimum(mass - _PION_MASS, 1.4) - 0.01
    smooth = 2.5 * MUON_MASS + generator.random(size) * (highest - 2.5 * MUON_MASS)
    peaking = _PHI_MASS + _PHI_RESOLUTION * np.clip(generator.standard_normal(size), -5, 5)
    mumu = np.where(from_phi, peaking, smooth)

    pt = np.where(is_true, 12.0, 8.0) + power_law(generator.random(size), 10.0, 3.0)
    parent = momenta(pt, generator.uniform(-2.1, 2.1, size), generator.uniform(-np.pi, np.pi, size))
    pair, pion = two_body(parent, mass, mumu, _PION_MASS, *_angles(generator, size))
    first, second = two_body(pair, mumu, MUON_MASS, MUON_MASS, *_angles(generator, size))
    # Random tracks are not always close to each other: rotate some of them.
    apart = ~is_true & (generator.random(size) < 0.15)
    turned = polar(pion)[2] + np.where(apart, generator.uniform(0.3, 1.5, size), 0.0)

    columns: dict[str, NDArray[Any]] = {
        "Triplet2_Mass": mass,
        "RefittedPV2_NTracks": generator.poisson(np.where(is_true, 6.0, 3.5)).astype(np.int32),
        "FlightDistBS_SV_Significance": generator.exponential(np.where(is_true, 14.0, 4.0)),
    }
    for name, refitted, momentum in (("Mu01", "RefTrack1", first), ("Mu02", "RefTrack2", second), ("Tr", None, pion)):
        track_pt, eta, phi = polar(momentum)
        measured = track_pt * (1 + 0.008 * generator.standard_normal(size))
        columns |= dict(zip((f"{name}_{part}" for part in _MOMENTUM), (measured, eta, phi), strict=True))
        if refitted:
            columns |= dict(zip((f"{refitted}_{part}" for part in _MOMENTUM), (track_pt, eta, phi), strict=True))
    columns["Tr_Phi"] = np.where(apart, np.remainder(turned + np.pi, 2 * np.pi) - np.pi, columns["Tr_Phi"])
    for name in ("Mu1_dRtriggerMatch_2017", "Mu2_dRtriggerMatch_2017"):
        distance = generator.exponential(0.009, size)
        columns[name] = np.where(generator.random(size) < 0.08, 999.0, distance)
    chi2 = generator.gamma(1.5, np.where(is_true, 2.0, 5.0))
    chi2 = np.where(generator.random(size) < 0.05, np.round(2 * chi2) / 2, chi2)
    columns["TripletVtx2_Chi2"] = np.where(generator.random(size) < 0.01, np.nan, chi2)
    return {name: columns[name] for name in _CANDIDATE}


def _angles(generator: np.random.Generator, size: int) -> tuple[Floats, Floats]:
    return generator.uniform(-1, 1, size), generator.uniform(-np.pi, np.pi, size)


def _repeat_some(
    generator: np.random.Generator, candidates: dict[str, NDArray[Any]], may_repeat: NDArray[np.bool_]
) -> None:
    """Replace some candidates by the previous one with exchanged muons: same vertex, same chi2, same muons."""
    again = 1 + np.flatnonzero(may_repeat & (generator.random(may_repeat.size) < 0.06))
    exchanged = {"Mu01": "Mu02", "Mu02": "Mu01", "Mu1": "Mu2", "Mu2": "Mu1"}
    exchanged |= {"RefTrack1": "RefTrack2", "RefTrack2": "RefTrack1"}
    before = {name: values[again - 1] for name, values in candidates.items()}
    for name, values in candidates.items():
        head, _, rest = name.partition("_")
        values[again] = before[f"{exchanged.get(head, head)}_{rest}"]


def _collections(
    generator: np.random.Generator, event: NDArray[np.int64], candidates: dict[str, NDArray[Any]], number: int
) -> tuple[dict[str, NDArray[np.uint32]], dict[str, NDArray[Any]]]:
    """Draw the muons and tracks of each event: those of its candidates, others, and some twice; by falling pt."""
    counts: dict[str, NDArray[np.uint32]] = {}
    columns: dict[str, NDArray[Any]] = {}
    for name, pt_name, used in (("muon", "MuonPt", ("Mu01_Pt", "Mu02_Pt")), ("track", "Track_pt", ("Tr_Pt",))):
        others = generator.poisson(1.0, number)
        owner = np.concatenate([*(event for _ in used), np.repeat(np.arange(number), others)])
        pt = np.concatenate([*(candidates[column] for column in used), 0.8 + generator.exponential(3, others.sum())])
        times = generator.choice(3, size=pt.size, p=[0.02, 0.965, 0.015])  # missing, once, twice
        owner, pt = np.repeat(owner, times), np.repeat(pt, times)
        order = np.lexsort((-pt, owner))
        counts[name] = np.bincount(owner, minlength=number).astype(np.uint32)
        columns[pt_name] = pt[order]
    muons, tracks = columns["MuonPt"].size, columns["Track_pt"].size
    columns["Muon_isGlobal"] = (generator.random(muons) < 0.93).astype(np.int32)
    columns["Muon_isPF"] = (generator.random(muons) < 0.95).astype(np.int32)
    wide = generator.random(tracks) < 0.10
    columns["Track_dz"] = generator.standard_normal(tracks) * np.where(wide, 25.0, 4.0)
    columns["Track_dxy"] = generator.standard_normal(tracks) * np.where(wide, 0.5, 0.05)
    return counts, columns
