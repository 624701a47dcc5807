"""Select candidates: which pass which step, and the best one of each event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import awkward as ak
import numpy as np

from af_kit.analysis.dimuon.select import pair_mass
from af_kit.analysis.dsphipi import steps
from af_kit.data.jit import jit
from af_kit.data.reading.flat import flat_list, projected
from af_kit.errors import InputError

ALL_STEPS = (1 << len(steps.STEPS)) - 1


class Selected(NamedTuple):
    """The result of a selection: the steps that every candidate passes, and the selected candidates.

    Attributes
    ----------
    offsets : numpy.ndarray
        Index of the first candidate of each event among all candidates (one more than events).
    passed : numpy.ndarray
        For each candidate, a number whose bit k is set if it passes step k.
    event, candidate : numpy.ndarray
        The selected candidates: the event, and which of its candidates, counted from 0.
    """

    offsets: np.ndarray
    passed: np.ndarray
    event: np.ndarray
    candidate: np.ndarray

    @property
    def position(self) -> np.ndarray:
        """Indices of the selected candidates among all candidates."""
        index: np.ndarray = self.offsets[self.event] + self.candidate
        return index


def select(events: ak.Array) -> Selected:
    """Select the candidates that pass all steps, and of those the one with the smallest vertex chi2 in each event."""
    by_step = masks(events)
    offsets, _ = flat_list(events["Triplet2_Mass"])
    passed = np.zeros(offsets[-1], np.uint16)
    for bit, name in enumerate(steps.NAMES):
        passed |= flat_list(by_step[name])[1].astype(np.uint16) << np.uint16(bit)
    return Selected(offsets, passed, *best(offsets, passed == ALL_STEPS, flat_list(events["TripletVtx2_Chi2"])[1]))


def best(offsets: np.ndarray, passes: np.ndarray, chi2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the passing candidate of smallest chi2 in each event: the event, and which of its candidates.

    Of equal chi2 the first candidate is selected. A candidate whose chi2 is NaN is never selected.
    """
    usable = np.flatnonzero(passes & ~np.isnan(chi2))
    event = np.searchsorted(offsets, usable, side="right") - 1
    order = np.lexsort((chi2[usable], event))  # stable: equal chi2 stay in the file's order
    event, first = np.unique(event[order], return_index=True)
    return event, usable[order][first] - offsets[event]


def masks(events: ak.Array) -> dict[str, ak.Array]:
    """Return for each step which candidates pass it, independently of the other steps.

    Parameters
    ----------
    events
        Events of the ntuple, as from ``read``.

    Returns
    -------
    dict of str to awkward.Array
        The names of :data:`~af_kit.analysis.dsphipi.steps.STEPS`, in order, each with a list of bool per event. Their
        conjunction, candidate by candidate, is the selection.
    """
    first, second, track = (_momentum(events, name) for name in ("Mu01", "Mu02", "Tr"))
    mass = events["Triplet2_Mass"]
    accepted = fired(events, "hlt", steps.HLT_PATHS) & fired(events, "l1", steps.L1_SEEDS)
    muon_muon, first_track, second_track = delta_r(first, second), delta_r(first, track), delta_r(second, track)
    mumu = phi_mass(events)
    by_step = {
        "trigger": ak.broadcast_arrays(accepted, mass)[0],
        "mass": _between(mass, steps.MASS),
        "vertex": events["RefittedPV2_NTracks"] > 1,
        "displacement": events["FlightDistBS_SV_Significance"] > steps.SIGNIFICANCE,
        "acceptance": _in_acceptance(first) & _in_acceptance(second) & (track["pt"] > steps.TRACK_PT),
        "separation": _between(muon_muon, steps.DELTA_R)
        & _between(first_track, steps.DELTA_R)
        & _between(second_track, steps.DELTA_R),
        "muon_id": _identified(events, "Mu01_Pt") & _identified(events, "Mu02_Pt"),
        "impact": _near_vertex(events),
        "phi": _between(mumu, steps.PHI_MASS),
        "trigger_match": (events["Mu1_dRtriggerMatch_2017"] < steps.TRIGGER_DELTA_R)
        & (events["Mu2_dRtriggerMatch_2017"] < steps.TRIGGER_DELTA_R),
    }
    return {name: by_step[name] for name in steps.NAMES}


def phi_mass(events: ak.Array) -> ak.Array:
    """Return the mass of the two muons after the vertex fit, in GeV."""
    muons = ({**_momentum(events, name), "mass": steps.MUON_MASS} for name in ("RefTrack1", "RefTrack2"))
    return pair_mass(*muons)


def delta_r(first: Any, second: Any) -> Any:
    """Return the distance of two directions (``eta``, ``phi`` [rad]); the difference in phi is at most pi."""
    phi = (first["phi"] - second["phi"] + np.pi) % (2 * np.pi) - np.pi
    return np.sqrt((first["eta"] - second["eta"]) ** 2 + phi**2)


def _momentum(events: ak.Array, name: str) -> dict[str, Any]:
    return {part.lower(): events[f"{name}_{part}"] for part in ("Pt", "Eta", "Phi")}


def _between(value: Any, limits: tuple[float, float]) -> Any:
    return (value > limits[0]) & (value < limits[1])


def _in_acceptance(muon: Any) -> Any:
    eta = abs(muon["eta"])
    in_barrel = (eta < steps.BARREL_ETA) & (muon["pt"] > steps.BARREL_PT)
    in_endcap = (eta >= steps.BARREL_ETA) & (eta < steps.ENDCAP_ETA) & (muon["pt"] > steps.ENDCAP_PT)
    return in_barrel | in_endcap


def _identified(events: ak.Array, pt: str) -> ak.Array:
    """Return whether each candidate's muon is in the muon collection, and is a global and a particle-flow muon."""
    good = (flat_list(events["Muon_isGlobal"])[1] != 0) & (flat_list(events["Muon_isPF"])[1] != 0)
    return _flag_of(events, pt, "MuonPt", good)


def _near_vertex(events: ak.Array) -> ak.Array:
    """Return whether each candidate's track is in the track collection, and close to the vertex."""
    dz, dxy = (abs(flat_list(events[name])[1]) for name in ("Track_dz", "Track_dxy"))
    return _flag_of(events, "Tr_Pt", "Track_pt", (dz < steps.TRACK_DZ) & (dxy < steps.TRACK_DXY))


def _flag_of(events: ak.Array, pt: str, collection_pt: str, flags: np.ndarray) -> ak.Array:
    """Return for each candidate the flag of its particle in a collection; False if the collection lacks it."""
    offsets, values = flat_list(events[pt])
    at = first_equal(offsets, values, *flat_list(events[collection_pt]))
    return ak.unflatten(np.append(flags, False)[at], np.diff(offsets))  # position -1 is the False at the end


def first_equal(offsets: np.ndarray, values: np.ndarray, pool_offsets: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Return for each value the position of the first exactly equal entry in its event's pool.

    The ntuple has no index from a candidate to its muons; their transverse momenta are copies, equal to the last bit.

    Parameters
    ----------
    offsets, values
        The values of all events in one array, and the position of each event's first value (one more than events).
    pool_offsets, pool
        The same of the collection to search, such as the muons of the events.

    Returns
    -------
    numpy.ndarray
        Positions in ``pool``; -1 for values without an equal entry.
    """
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    at, stop = pool_offsets[event], pool_offsets[event + 1]
    found = np.full(values.size, -1, np.int64)
    # One round per entry of the fullest event; each compares only the values that are not found yet.
    missing = np.flatnonzero(at < stop)
    while missing.size:
        position = at[missing]
        equal = pool[position] == values[missing]
        found[missing[equal]] = position[equal]
        missing = missing[~equal]
        at[missing] += 1
        missing = missing[at[missing] < stop[missing]]
    return found


def fired(events: ak.Array, level: str, patterns: Sequence[str]) -> np.ndarray:
    """Return whether each event has a trigger whose name contains one of ``patterns`` and whose decision is 1.

    Parameters
    ----------
    level : {"hlt", "l1"}
        The branches are ``Trigger_hltname`` and ``Trigger_hltdecision``, with one decision for each name.
    patterns
        Strings to look for; upper and lower case matter.
    """
    offsets, decisions = flat_list(events[f"Trigger_{level}decision"])
    names = ak.materialize(events[f"Trigger_{level}name"])
    if not np.array_equal(ak.to_numpy(ak.num(names)), np.diff(offsets)):
        raise InputError(
            f"Trigger_{level}name and Trigger_{level}decision differ in length in some events: it is unknown which "
            "decision belongs to which name."
        )
    positive = np.flatnonzero(decisions == 1)
    if not positive.size:
        return np.zeros(len(offsets) - 1, bool)
    layout = projected(ak.to_layout(ak.flatten(names)), f"Trigger_{level}name")
    hits = np.zeros(decisions.size + 1, np.int64)
    hits[positive[_contain(layout, positive, patterns)] + 1] = 1
    before = np.cumsum(hits)
    accepted: np.ndarray = before[offsets[1:]] > before[offsets[:-1]]
    return accepted


def _contain(strings: ak.contents.Content, at: np.ndarray, patterns: Sequence[str]) -> np.ndarray:
    """Return whether each of the strings at these positions contains one of the patterns."""
    starts, stops = np.asarray(strings.starts.data)[at], np.asarray(strings.stops.data)[at]
    words = [pattern.encode() for pattern in patterns]
    ends = np.cumsum([0, *map(len, words)])
    found = np.zeros(at.size, bool)
    _search(np.asarray(strings.content.data), starts, stops, np.frombuffer(b"".join(words), np.uint8), ends, found)
    return found


@jit
def _search(characters, starts, stops, words, ends, found):  # type: ignore[no-untyped-def]
    for i in range(found.size):
        for word in range(ends.size - 1):
            size = ends[word + 1] - ends[word]
            for at in range(starts[i], stops[i] - size + 1):
                same = 0
                while same < size and characters[at + same] == words[ends[word] + same]:
                    same += 1
                if same == size:
                    found[i] = True
                    break
            if found[i]:
                break
