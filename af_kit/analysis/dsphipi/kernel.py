"""The same selection as one loop over the events, compiled by numba.

The loop reads each branch as a flat column: the values of all events in one array, and offsets, the position of each
event's first value. It finds a candidate's muons and track in the same pass, and allocates nothing per event.
"""

from __future__ import annotations

import math
from typing import Any

import awkward as ak
import numpy as np

from af_kit.analysis.dsphipi import scale_factors as sf
from af_kit.analysis.dsphipi import steps
from af_kit.analysis.dsphipi.analyse import analyse_with
from af_kit.analysis.dsphipi.select import ALL_STEPS, Selected, fired
from af_kit.data.jit import jit
from af_kit.data.reading.flat import flat_list
from af_kit.errors import InputError

_MUONS = ("MuonPt", "Muon_isGlobal", "Muon_isPF")
_TRACKS = ("Track_pt", "Track_dz", "Track_dxy")
_CANDIDATES = (
    "Triplet2_Mass",
    "RefittedPV2_NTracks",
    "FlightDistBS_SV_Significance",
    "Mu1_dRtriggerMatch_2017",
    "Mu2_dRtriggerMatch_2017",
    "TripletVtx2_Chi2",
    *(f"{one}_{part}" for one in ("Mu01", "Mu02", "Tr", "RefTrack1", "RefTrack2") for part in ("Pt", "Eta", "Phi")),
)


def analyse_numba(events: ak.Array, *, scale_factors: sf.MuonScaleFactors | None = None) -> dict[str, Any]:
    """Analyse one chunk with the compiled loop; returns the same candidates and counts as :func:`analyse`."""
    return analyse_with(select_numba, events, scale_factors)


def select_numba(events: ak.Array) -> Selected:
    """Select candidates with the compiled loop; returns the same as :func:`select`."""
    accepted = fired(events, "hlt", steps.HLT_PATHS) & fired(events, "l1", steps.L1_SEEDS)
    offsets, candidates = _columns(events, _CANDIDATES)
    muon_offsets, muons = _columns(events, _MUONS)
    track_offsets, tracks = _columns(events, _TRACKS)
    all_offsets = offsets, muon_offsets, track_offsets
    return Selected(offsets, *_loop(_LIMITS, accepted, *all_offsets, *muons, *tracks, *candidates))


def _columns(events: ak.Array, names: tuple[str, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the offsets of a collection and its columns."""
    columns = [flat_list(events[name], name) for name in names]
    offsets = columns[0][0]
    for name, (others, _) in zip(names, columns, strict=True):
        if not np.array_equal(others, offsets):
            raise InputError(f"Branches {name!r} and {names[0]!r} differ in their number of values in some events.")
    return offsets, [values for _, values in columns]


# The cut values are an argument of the loop: a compiled kernel on disk would not notice an edit in steps.py.
_LIMITS = (
    *steps.MASS, *steps.PHI_MASS, steps.MUON_MASS, steps.SIGNIFICANCE,
    steps.BARREL_ETA, steps.ENDCAP_ETA, steps.BARREL_PT, steps.ENDCAP_PT, steps.TRACK_PT,
    *steps.DELTA_R, steps.TRACK_DZ, steps.TRACK_DXY, steps.TRIGGER_DELTA_R,
)  # fmt: skip


@jit
def _loop(  # type: ignore[no-untyped-def]
    limits, accepted, offsets, muon_offsets, track_offsets,
    muon_pt, is_global, is_pf, track_pt, track_dz, track_dxy,
    mass, vertex_tracks, significance, match1, match2, chi2,
    pt1, eta1, phi1, pt2, eta2, phi2, pt3, eta3, phi3,
    ref_pt1, ref_eta1, ref_phi1, ref_pt2, ref_eta2, ref_phi2,
):  # fmt: skip
    """Return the steps that each candidate passes as bits, in the order of STEPS, and the best candidate per event."""
    (
        mass_low, mass_high, phi_low, phi_high, muon_mass, least_significance,
        barrel, endcap, barrel_pt, endcap_pt, least_track_pt,
        near, far, largest_dz, largest_dxy, match,
    ) = limits  # fmt: skip

    def in_acceptance(pt, eta):  # type: ignore[no-untyped-def]
        eta = abs(eta)
        return (eta < barrel and pt > barrel_pt) or (barrel <= eta < endcap and pt > endcap_pt)

    def apart(d_eta, d_phi):  # type: ignore[no-untyped-def]
        d_phi = (d_phi + math.pi) % (2 * math.pi) - math.pi
        return near < math.sqrt(d_eta**2 + d_phi**2) < far

    events = offsets.size - 1
    passed = np.zeros(mass.size, np.uint16)
    chosen_event = np.empty(events, np.int64)
    chosen = np.empty(events, np.int64)
    found = 0
    for event in range(events):
        best = -1
        for i in range(offsets[event], offsets[event + 1]):
            first = second = track = False
            for j in range(muon_offsets[event], muon_offsets[event + 1]):
                if muon_pt[j] == pt1[i]:
                    first = is_global[j] != 0 and is_pf[j] != 0
                    break
            for j in range(muon_offsets[event], muon_offsets[event + 1]):
                if muon_pt[j] == pt2[i]:
                    second = is_global[j] != 0 and is_pf[j] != 0
                    break
            for j in range(track_offsets[event], track_offsets[event + 1]):
                if track_pt[j] == pt3[i]:
                    track = abs(track_dz[j]) < largest_dz and abs(track_dxy[j]) < largest_dxy
                    break

            # The formula of pair_mass.
            p1, p2 = ref_pt1[i] * math.cosh(ref_eta1[i]), ref_pt2[i] * math.cosh(ref_eta2[i])
            m2 = muon_mass**2
            mixed = m2 * p2**2 + m2 * p1**2 + m2 * m2
            energies = math.sqrt((p1**2 + m2) * (p2**2 + m2))
            half_eta, half_phi = (ref_eta1[i] - ref_eta2[i]) / 2, (ref_phi1[i] - ref_phi2[i]) / 2
            angle = 2 * ref_pt1[i] * ref_pt2[i] * (math.sinh(half_eta) ** 2 + math.sin(half_phi) ** 2)
            pair = math.sqrt(m2 + m2 + 2 * (mixed / (energies + p1 * p2) + angle))

            passed[i] = (
                accepted[event] << 0
                | (mass_low < mass[i] < mass_high) << 1
                | (vertex_tracks[i] > 1) << 2
                | (significance[i] > least_significance) << 3
                | (in_acceptance(pt1[i], eta1[i]) and in_acceptance(pt2[i], eta2[i]) and pt3[i] > least_track_pt) << 4
                | (
                    apart(eta1[i] - eta2[i], phi1[i] - phi2[i])
                    and apart(eta1[i] - eta3[i], phi1[i] - phi3[i])
                    and apart(eta2[i] - eta3[i], phi2[i] - phi3[i])
                )
                << 5
                | (first and second) << 6
                | track << 7
                | (phi_low < pair < phi_high) << 8
                | (match1[i] < match and match2[i] < match) << 9
            )
            if passed[i] == ALL_STEPS and not math.isnan(chi2[i]) and (best < 0 or chi2[i] < chi2[best]):
                best = i
        if best >= 0:
            chosen_event[found], chosen[found] = event, best - offsets[event]
            found += 1
    return passed, chosen_event[:found].copy(), chosen[:found].copy()
