"""One row per chosen candidate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa

from af_kit.analysis.dimuon.select import pair_mass
from af_kit.analysis.dimuon.table import pair_momentum
from af_kit.analysis.dsphipi import steps
from af_kit.analysis.dsphipi.scale_factors import VARIATIONS
from af_kit.analysis.dsphipi.select import Selected
from af_kit.data.reading.flat import flat_list

_PARTICLES = {"mu1": "Mu01", "mu2": "Mu02", "track": "Tr"}
_OTHERS = {
    "chi2": "TripletVtx2_Chi2",
    "significance": "FlightDistBS_SV_Significance",
    "vertex_tracks": "RefittedPV2_NTracks",
}


def columns(events: ak.Array, selected: Selected) -> dict[str, np.ndarray]:
    """What the ntuple says of the chosen candidates, and what follows from it: see :func:`table`."""
    at = selected.position

    def of(branch: str) -> np.ndarray:
        return flat_list(events[branch], branch)[1][at].astype(np.float64)

    particles = {
        name: {part: of(f"{branch}_{part.title()}") for part in ("pt", "eta", "phi")}
        for name, branch in {**_PARTICLES, "refitted1": "RefTrack1", "refitted2": "RefTrack2"}.items()
    }
    refitted = ({**particles[name], "mass": steps.MUON_MASS} for name in ("refitted1", "refitted2"))
    total = pair_momentum(pair_momentum(particles["mu1"], particles["mu2"]), particles["track"])
    return {
        "mass": of("Triplet2_Mass"),
        "phi_mass": pair_mass(*refitted),
        **total,
        **{f"{name}_{part}": values for name in _PARTICLES for part, values in particles[name].items()},
        **{name: of(branch) for name, branch in _OTHERS.items()},
    }


def table(
    events: ak.Array, selected: Selected, found: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
) -> pa.Table:
    """The chosen candidates as a flat table, in the file's order.

    Parameters
    ----------
    found
        What :func:`columns` gave.
    weights
        A weight for each variation; those that are missing are the nominal one.

    Returns
    -------
    pyarrow.Table
        Where the candidate is: ``dataset``, ``file``, ``entry`` (the event's number in the file), ``candidate`` (which
        of the event's). ``mass`` of the two muons and the track, ``phi_mass`` of the two refitted muons, ``pt`` of all
        three together [GeV], ``eta``, ``phi`` [rad]; the same three of ``mu1_``, ``mu2_`` and ``track_``; ``chi2`` of
        the vertex, ``significance`` of its distance from the beam, ``vertex_tracks`` at the primary vertex. ``weight``,
        and ``weight_stat``, ``weight_syst``, ``weight_systup``, ``weight_systdown``: 1 for data.
    """
    metadata = getattr(events, "metadata", {})
    nominal = weights["nominal"]
    return pa.table(
        {
            "dataset": _repeat(metadata.get("dataset", ""), len(nominal)),
            "file": _repeat(metadata.get("file", ""), len(nominal)),
            "entry": metadata.get("entry_start", 0) + selected.event.astype(np.int64),
            "candidate": selected.candidate.astype(np.int32),
            **found,
            "vertex_tracks": found["vertex_tracks"].astype(np.int32),
            "weight": nominal,
            **{f"weight_{name}": weights.get(name, nominal) for name in VARIATIONS[1:]},
        }
    )


def _repeat(word: Any, length: int) -> pa.DictionaryArray:
    """A column that holds one word, stored once."""
    return pa.DictionaryArray.from_arrays(np.zeros(length, dtype=np.int32), pa.array([str(word)]))
