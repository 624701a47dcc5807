"""Which candidates pass which step, and which of them an event is represented by."""

from __future__ import annotations

from typing import Any, NamedTuple

import awkward as ak
import numpy as np

from af_kit.analysis.dimuon.select import pair_mass
from af_kit.analysis.dsphipi import steps
from af_kit.analysis.dsphipi.match import first_equal
from af_kit.analysis.dsphipi.trigger import fired
from af_kit.data.reading.flat import flat_list


class Selected(NamedTuple):
    """What a selection found: every candidate's steps, and the chosen ones.

    Attributes
    ----------
    offsets : numpy.ndarray
        Where the candidates of each event begin among all (one more than events).
    passed : numpy.ndarray
        For each candidate a number whose bit k says whether it passes step k.
    event, candidate : numpy.ndarray
        The chosen candidates: the event, and which of its candidates, counted from 0.
    """

    offsets: np.ndarray
    passed: np.ndarray
    event: np.ndarray
    candidate: np.ndarray

    @property
    def position(self) -> np.ndarray:
        """Where the chosen candidates are among all."""
        place: np.ndarray = self.offsets[self.event] + self.candidate
        return place


ALL_STEPS = (1 << len(steps.STEPS)) - 1


def select(events: ak.Array) -> Selected:
    """The candidates that pass all steps, and of each event the one with the smallest vertex chi2 among them."""
    found = masks(events)
    offsets, _ = flat_list(events["Triplet2_Mass"])
    passed = np.zeros(offsets[-1], np.uint16)
    for bit, name in enumerate(steps.NAMES):
        passed |= flat_list(found[name])[1].astype(np.uint16) << np.uint16(bit)
    return Selected(offsets, passed, *best(offsets, passed == ALL_STEPS, flat_list(events["TripletVtx2_Chi2"])[1]))


def best(offsets: np.ndarray, passes: np.ndarray, chi2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each event the passing candidate of smallest chi2: the event, and which of its candidates.

    Of equal chi2 the first is taken. One that is not a number is never taken, and an event with no other has none.
    """
    usable = np.flatnonzero(passes & ~np.isnan(chi2))
    event = np.searchsorted(offsets, usable, side="right") - 1
    order = np.lexsort((chi2[usable], event))  # stable: equals stay in the file's order
    event, first = np.unique(event[order], return_index=True)
    return event, usable[order][first] - offsets[event]


def masks(events: ak.Array) -> dict[str, ak.Array]:
    """For each step and candidate, whether the candidate passes it, whatever it does at the others.

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
    found = {
        "trigger": ak.broadcast_arrays(accepted, mass)[0],
        "mass": _between(mass, steps.MASS),
        "vertex": events["RefittedPV2_NTracks"] > 1,
        "displacement": events["FlightDistBS_SV_Significance"] > steps.SIGNIFICANCE,
        "acceptance": _seen(first) & _seen(second) & (track["pt"] > steps.TRACK_PT),
        "separation": _between(muon_muon, steps.DELTA_R)
        & _between(first_track, steps.DELTA_R)
        & _between(second_track, steps.DELTA_R),
        "muon_id": _identified(events, "Mu01_Pt") & _identified(events, "Mu02_Pt"),
        "impact": _near_vertex(events),
        "phi": _between(mumu, steps.PHI_MASS),
        "trigger_match": (events["Mu1_dRtriggerMatch_2017"] < steps.TRIGGER_DELTA_R)
        & (events["Mu2_dRtriggerMatch_2017"] < steps.TRIGGER_DELTA_R),
    }
    return {name: found[name] for name in steps.NAMES}


def phi_mass(events: ak.Array) -> ak.Array:
    """Mass of the two muons as the vertex fit left them, in GeV."""
    muons = ({**_momentum(events, name), "mass": steps.MUON_MASS} for name in ("RefTrack1", "RefTrack2"))
    return pair_mass(*muons)


def delta_r(first: Any, second: Any) -> Any:
    """Distance of two directions (``eta``, ``phi``), the azimuth the short way round."""
    phi = (first["phi"] - second["phi"] + np.pi) % (2 * np.pi) - np.pi
    return np.sqrt((first["eta"] - second["eta"]) ** 2 + phi**2)


def _momentum(events: ak.Array, name: str) -> dict[str, Any]:
    return {part.lower(): events[f"{name}_{part}"] for part in ("Pt", "Eta", "Phi")}


def _between(value: Any, limits: tuple[float, float]) -> Any:
    return (value > limits[0]) & (value < limits[1])


def _seen(muon: Any) -> Any:
    """Whether a muon is where the detector triggers on such: the iron takes more of those in the middle."""
    eta = abs(muon["eta"])
    in_barrel = (eta < steps.BARREL_ETA) & (muon["pt"] > steps.BARREL_PT)
    in_endcap = (eta >= steps.BARREL_ETA) & (eta < steps.ENDCAP_ETA) & (muon["pt"] > steps.ENDCAP_PT)
    return in_barrel | in_endcap


def _identified(events: ak.Array, pt: str) -> ak.Array:
    """Whether the muon of each candidate is in the muon collection, global and by particle flow."""
    offsets, values = flat_list(events[pt])
    muon_offsets, muon_pt = flat_list(events["MuonPt"])
    at = first_equal(offsets, values, muon_offsets, muon_pt)
    good = (flat_list(events["Muon_isGlobal"])[1] != 0) & (flat_list(events["Muon_isPF"])[1] != 0)
    return ak.unflatten(_picked(good, at), np.diff(offsets))


def _near_vertex(events: ak.Array) -> ak.Array:
    """Whether the track of each candidate is in the track collection, and comes from near the vertex."""
    offsets, values = flat_list(events["Tr_Pt"])
    track_offsets, track_pt = flat_list(events["Track_pt"])
    at = first_equal(offsets, values, track_offsets, track_pt)
    dz, dxy = (abs(flat_list(events[name])[1]) for name in ("Track_dz", "Track_dxy"))
    return ak.unflatten(_picked((dz < steps.TRACK_DZ) & (dxy < steps.TRACK_DXY), at), np.diff(offsets))


def _picked(flags: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The flags at these positions; False where there is none."""
    return np.append(flags, False)[at]  # position -1 is the one at the end
