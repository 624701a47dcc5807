"""Make a flat table with one row per selected candidate."""

from __future__ import annotations

from collections.abc import Mapping

import awkward as ak
import numpy as np
import pyarrow as pa

from af_kit.analysis.dimuon.select import pair_mass
from af_kit.analysis.dimuon.table import pair_momentum, repeat
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
    """Return the quantities of the selected candidates, by the names of the columns of :func:`table`."""
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
    events: ak.Array, selected: Selected, quantities: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
) -> pa.Table:
    """Return the selected candidates as a flat table, in the file's order.

    Parameters
    ----------
    quantities
        The result of :func:`columns`.
    weights
        A weight for each variation; missing variations have the nominal weight.

    Returns
    -------
    pyarrow.Table
        Origin of the candidate: ``dataset``, ``file``, ``entry`` (the event's number in the file), ``candidate``
        (its number in the event). ``mass`` of the two muons and the track, ``phi_mass`` of the two refitted muons,
        ``pt`` of all three together [GeV], ``eta``, ``phi`` [rad]; the same three of ``mu1_``, ``mu2_`` and
        ``track_``; ``chi2`` of the vertex, ``significance`` of its distance from the beam, ``vertex_tracks``, the
        number of tracks at the primary vertex. ``weight``, ``weight_stat``, ``weight_syst``, ``weight_systup`` and
        ``weight_systdown``: 1 for data.
    """
    metadata = getattr(events, "metadata", {})
    nominal = weights["nominal"]
    return pa.table(
        {
            "dataset": repeat(metadata.get("dataset", ""), len(nominal)),
            "file": repeat(metadata.get("file", ""), len(nominal)),
            "entry": metadata.get("entry_start", 0) + selected.event.astype(np.int64),
            "candidate": selected.candidate.astype(np.int32),
            **quantities,
            "vertex_tracks": quantities["vertex_tracks"].astype(np.int32),
            "weight": nominal,
            **{f"weight_{name}": weights.get(name, nominal) for name in VARIATIONS[1:]},
        }
    )
