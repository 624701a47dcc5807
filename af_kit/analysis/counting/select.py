"""Select events with two or three tight leptons and jets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import awkward as ak
import numpy as np

from af_kit.analysis.counting import objects
from af_kit.analysis.counting.objects import Objects
from af_kit.analysis.dimuon.select import pair_mass
from af_kit.errors import InputError

CHANNELS = {"dilepton": 2, "trilepton": 3}
"""The channels, and the number of tight leptons in their events."""

MASSES = {"muons": 0.1056584, "electrons": 0.0005110}
"""Masses of the leptons, GeV. The branch Electron_mass is rounding noise."""
Z_MASS = 91.1876
LEADING_PT = 25.0
LOOSE_PAIR_MASS = 12.0
DILEPTON_Z_WINDOW, TRILEPTON_Z_WINDOW = 10.0, 15.0
"""A pair of leptons is within the window if its mass is less than this from the Z boson's, GeV."""


class Selected(NamedTuple):
    """The objects of all events, and the channel of each event."""

    leptons: dict[str, Objects]
    """``muons`` and ``electrons``: all in the file, with a mask for each of the levels: loose, fakeable, tight."""
    jets: Objects
    """All jets in the file, with the masks ``selected`` and ``btagged`` (selected and b-tagged)."""
    channel: np.ndarray
    """2 for the events of the dilepton channel, 3 for those of the trilepton channel, and 0 for all others."""


def select(events: ak.Array, *, btag: float = objects.BTAG) -> Selected:
    """Identify leptons and jets, and assign each event to a channel.

    dilepton
        Exactly two tight leptons, of the same sign. Two electrons must not have a mass within 10 GeV of the Z boson's.
    trilepton
        Exactly three tight leptons. No two of them with the same flavour and opposite signs may have a mass within
        15 GeV of the Z boson's.

    In both channels, a tight lepton has pt > 25 GeV; the mass of any two loose leptons, of whatever flavour and charge,
    is at least 12 GeV; and at least one of the selected jets is b-tagged, and at least one is not. Muons and electrons
    close to each other all count.

    Parameters
    ----------
    events
        Events with NanoAODv9's branches in :data:`~af_kit.analysis.counting.objects.BRANCHES`.
    btag
        A selected jet is b-tagged if its ``btagDeepFlavB`` is larger. The default is the medium working point of 2018
        (:data:`~af_kit.analysis.counting.objects.BTAG`).

    Raises
    ------
    MissingBranchError
        The file lacks a branch.
    InputError
        ``btag`` is not between 0 and 1.
    """
    check_btag(btag)
    muons, electrons, jets = (objects.collection(events, name) for name in ("Muon", "Electron", "Jet"))
    muons.columns.update(objects.muon_levels(muons))
    electrons.columns.update(objects.electron_levels(electrons))
    leptons = {"muons": muons, "electrons": electrons}
    selected = objects.selected_jets(jets, merged(leptons, "fakeable"))
    jets.columns.update(selected=selected, btagged=selected & (jets["btagDeepFlavB"] > btag))
    return Selected(leptons, jets, _channel(leptons, jets))


def check_btag(btag: float) -> float:
    """Return a b-tagging working point, or raise an `InputError` if it is not between 0 and 1."""
    if not 0 <= btag <= 1:
        raise InputError(
            f"btag={btag!r} is not a working point of DeepJet: give a number from 0 to 1, such as {objects.BTAG}."
        )
    return btag


def merged(leptons: Mapping[str, Objects], level: str) -> Objects:
    """Return muons and electrons of a level in one list per event, muons first, in the file's order.

    The columns are ``pt``, ``eta``, ``phi``, ``charge``, ``mass``, ``is_electron``, ``loose`` and ``tight``.
    """
    parts = []
    for name, collection in leptons.items():
        chosen = collection.where(collection[level])
        columns = {field: chosen[field] for field in ("pt", "eta", "phi", "charge", "loose", "tight")}
        size = chosen["pt"].size
        columns |= {"mass": np.full(size, MASSES[name]), "is_electron": np.full(size, name == "electrons")}
        parts.append(Objects(chosen.offsets, columns))
    order = np.argsort(np.concatenate([part.event for part in parts]), kind="stable")
    return Objects(
        np.sum([part.offsets for part in parts], axis=0),
        {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0].columns},
    )


def _channel(leptons: Mapping[str, Objects], jets: Objects) -> np.ndarray:
    events = jets.offsets.size - 1
    tight = np.sum([collection.number("tight") for collection in leptons.values()], axis=0)
    n_jets, n_btagged = jets.number("selected"), jets.number("btagged")
    possible = np.isin(tight, list(CHANNELS.values())) & (n_btagged >= 1) & (n_jets > n_btagged)
    loose = merged(leptons, "loose")
    loose = loose.where(possible[loose.event])  # pairs are only built where they decide
    has_leading = np.zeros(events, bool)
    has_leading[loose.event[loose["tight"] & (loose["pt"] > LEADING_PT)]] = True

    first, second = loose.pairs()
    event = loose.event[first]
    mass = pair_mass(*({name: loose[name][at] for name in ("pt", "eta", "phi", "mass")} for at in (first, second)))
    from_z = abs(mass - Z_MASS)
    both_tight = loose["tight"][first] & loose["tight"][second]
    charges = loose["charge"][first] * loose["charge"][second]
    electrons = loose["is_electron"][first].astype(int) + loose["is_electron"][second]
    two_electrons_from_z = (electrons == 2) & (from_z < DILEPTON_Z_WINDOW)
    from_z_decay = (electrons != 1) & (charges < 0) & (from_z < TRILEPTON_Z_WINDOW)
    vetoes = np.where(tight[event] == 2, ~(charges > 0) | two_electrons_from_z, from_z_decay)

    vetoed = np.zeros(events, bool)
    vetoed[event[~(mass >= LOOSE_PAIR_MASS) | (both_tight & vetoes)]] = True
    return np.where(possible & has_leading & ~vetoed, tight, 0)
