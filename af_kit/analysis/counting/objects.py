"""Identify muons, electrons and jets: one mask per rule, with one value per object.

Quantities are in GeV and cm. Every cut is strict: an object exactly at a cut fails it, and so does NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import awkward as ak
import numpy as np

from af_kit.analysis.dsphipi.select import delta_r
from af_kit.data.reading.flat import flat
from af_kit.errors import MissingBranchError

LEVELS = ("loose", "fakeable", "tight")
"""The qualities of a lepton. Each includes the one before it: a tight lepton is also fakeable and loose."""

BRANCHES = {
    "Muon": (
        *("pt", "eta", "phi", "charge", "dxy", "dz", "sip3d", "miniPFRelIso_all"),
        *("looseId", "mediumId", "tightCharge", "mvaTTH"),
    ),
    "Electron": (
        *("pt", "eta", "phi", "charge", "dxy", "dz", "sip3d", "miniPFRelIso_all"),
        *("mvaFall17V2noIso", "lostHits", "sieie", "hoe", "eInvMinusPInv"),
        *("convVeto", "tightCharge", "mvaTTH"),
    ),
    "Jet": ("pt", "eta", "phi", "btagDeepFlavB"),
}
"""The branches that are read, by collection, with the names of NanoAODv9."""

MUON_ETA, ELECTRON_ETA = 2.4, 2.5
BARREL_ETA = 1.479
"""Electrons with a smaller |eta| are in the barrel, all others in the endcaps."""
MUON_PT, ELECTRON_PT, FAKEABLE_PT = 5.0, 7.0, 15.0
DXY, DZ = 0.05, 0.1
SIP3D = 8.0
MINI_ISOLATION = 0.4
ELECTRON_MVA = (0.0, 0.7)
"""Lower limits of mvaFall17V2noIso for a loose electron; here and below (barrel, endcaps)."""
LOOSE_LOST_HITS = 2
SIEIE, HOE = (0.011, 0.03), (0.1, 0.07)
LOWEST_EP, HIGHEST_EP = -0.05, (0.01, 0.005)
"""Limits of 1/E - 1/p (eInvMinusPInv) of a fakeable electron, 1/GeV."""
PROMPT_MVA = 0.9
"""Lower limit of mvaTTH, which separates prompt leptons from those in jets, for a tight lepton."""

JET_PT = 25.0
JET_LEPTON_DELTA_R = 0.4
BTAG = 0.2783
"""Medium working point of DeepJet for 2018, ultra-legacy campaign, from memory: compare it with the b-tag group's page,
and use the number of your own campaign."""


@dataclass(frozen=True)
class Objects:
    """Objects of one kind in all events, as flat arrays: the objects of the first event come first."""

    offsets: np.ndarray
    """Index of each event's first object (one more than events)."""
    columns: dict[str, np.ndarray]
    """Quantities and masks, each with one value per object."""

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column."""
        return self.columns[name]

    @property
    def event(self) -> np.ndarray:
        """The event of each object, counted from 0."""
        counts = np.diff(self.offsets)
        return np.repeat(np.arange(counts.size), counts)

    def number(self, mask: str) -> np.ndarray:
        """Return how many objects of each event have this mask."""
        return np.bincount(self.event[self.columns[mask]], minlength=self.offsets.size - 1)

    def where(self, mask: np.ndarray) -> Objects:
        """Return only the objects with ``mask``, of the same events."""
        before = np.append(0, np.cumsum(mask))
        return Objects(before[self.offsets], {name: values[mask] for name, values in self.columns.items()})

    def jagged(self, name: str) -> ak.Array:
        """Return a column as one list per event, to apply it to the events: ``events.Muon[muons.jagged("tight")]``."""
        return ak.unflatten(self.columns[name], np.diff(self.offsets))

    def pairs(self, others: Objects | None = None) -> list[np.ndarray]:
        """Return the indices of all pairs in an event: two of these objects, or one of these and one of others."""
        mine, theirs = (
            ak.unflatten(np.arange(each.offsets[-1]), np.diff(each.offsets)) for each in (self, others or self)
        )
        pairs = ak.combinations(mine, 2) if others is None else ak.cartesian([mine, theirs])
        return [np.asarray(ak.flatten(side)) for side in ak.unzip(pairs)]


def collection(events: ak.Array, name: str) -> Objects:
    """Return a collection with the columns in `BRANCHES`, in double precision.

    NanoAOD stores single precision, in which 0.01 is less than the cut at 0.01. In double precision the same value
    passes or fails everywhere: here, in a compiled loop and in ROOT.

    Raises
    ------
    MissingBranchError
        The file lacks a branch; the message lists all that are missing in the collection.
    """
    present = ak.fields(events[name]) if name in ak.fields(events) else []
    missing = [f"{name}_{field}" for field in BRANCHES[name] if field not in present]
    if missing:
        try:
            events[missing[0]]  # raises the reason: absent, not readable, or not declared
        except MissingBranchError as error:
            needed = f"The counting analysis reads NanoAODv9; missing here: {', '.join(missing)}."
            raise MissingBranchError(f"{error} {needed}") from error
    offsets, columns = flat(events[name], *BRANCHES[name])
    return Objects(offsets, {field: values.astype(np.float64) for field, values in columns.items()})


def muon_levels(muons: Objects) -> dict[str, np.ndarray]:
    """Return for each level which muons have it.

    loose
        |eta| < 2.4, pt > 5, looseId, near the vertex and isolated: |dxy| < 0.05, |dz| < 0.1, sip3d < 8,
        miniPFRelIso_all < 0.4.
    fakeable
        Loose, with pt > 15.
    tight
        Fakeable, tightCharge > 0, mediumId, mvaTTH > 0.9.
    """
    loose = (
        _near_and_isolated(muons) & (abs(muons["eta"]) < MUON_ETA) & (muons["pt"] > MUON_PT) & (muons["looseId"] > 0)
    )
    fakeable = loose & (muons["pt"] > FAKEABLE_PT)
    tight = fakeable & (muons["tightCharge"] > 0) & (muons["mediumId"] > 0) & (muons["mvaTTH"] > PROMPT_MVA)
    return dict(zip(LEVELS, (loose, fakeable, tight), strict=True))


def electron_levels(electrons: Objects) -> dict[str, np.ndarray]:
    """Return for each level which electrons have it. Pairs of numbers are for the barrel and for the endcaps.

    loose
        |eta| < 2.5, pt > 7, near the vertex and isolated as a muon, lostHits < 2, mvaFall17V2noIso > 0 or 0.7.
    fakeable
        Loose, pt > 15, lostHits == 0, sieie < 0.011 or 0.03, hoe < 0.1 or 0.07, and 1/E - 1/p > -0.05 and < 0.01 or
        0.005.
    tight
        Fakeable, mvaTTH > 0.9, convVeto, tightCharge > 0.

    The barrel is |eta| < 1.479, where ``eta`` is that of the electron, not of its supercluster.
    """
    in_barrel = abs(electrons["eta"]) < BARREL_ETA
    mva, sieie, hoe, highest = (np.where(in_barrel, *cuts) for cuts in (ELECTRON_MVA, SIEIE, HOE, HIGHEST_EP))
    loose = (
        _near_and_isolated(electrons)
        & (abs(electrons["eta"]) < ELECTRON_ETA)
        & (electrons["pt"] > ELECTRON_PT)
        & (electrons["lostHits"] < LOOSE_LOST_HITS)
        & (electrons["mvaFall17V2noIso"] > mva)
    )
    fakeable = (
        loose
        & (electrons["pt"] > FAKEABLE_PT)
        & (electrons["lostHits"] == 0)
        & (electrons["sieie"] < sieie)
        & (electrons["hoe"] < hoe)
        & (electrons["eInvMinusPInv"] > LOWEST_EP)
        & (electrons["eInvMinusPInv"] < highest)
    )
    tight = fakeable & (electrons["mvaTTH"] > PROMPT_MVA) & (electrons["convVeto"] > 0) & (electrons["tightCharge"] > 0)
    return dict(zip(LEVELS, (loose, fakeable, tight), strict=True))


def selected_jets(jets: Objects, leptons: Objects) -> np.ndarray:
    """Return which jets are selected: pt > 25, and further than Delta R 0.4 from each of the ``leptons``.

    ``leptons`` are the fakeable muons and electrons of the same events (``eta``, ``phi`` [rad]). The rule has no limit
    in eta and no jet identification.
    """
    selected: np.ndarray = jets["pt"] > JET_PT
    jet, lepton = jets.pairs(leptons)
    sides = ({name: each[name][at] for name in ("eta", "phi")} for each, at in ((jets, jet), (leptons, lepton)))
    distance = delta_r(*sides)
    selected[jet[~(distance > JET_LEPTON_DELTA_R)]] = False
    return selected


def _near_and_isolated(leptons: Objects) -> np.ndarray:
    near: np.ndarray = (
        (abs(leptons["dxy"]) < DXY)
        & (abs(leptons["dz"]) < DZ)
        & (leptons["sip3d"] < SIP3D)
        & (leptons["miniPFRelIso_all"] < MINI_ISOLATION)
    )
    return near
