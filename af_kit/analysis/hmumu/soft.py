"""Soft activity: the track jets that belong to neither the two muons nor the two leading jets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu.columns import Collection, scalar

__all__ = ["soft_activity"]

_DISTANCE = 0.4


def soft_activity(
    events: Any, chosen: NDArray[np.int64], objects: list[tuple[Any, Any]], thresholds: tuple[int, ...] = (2, 5)
) -> dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return number and scalar pt sum [GeV] of the soft jets above each threshold, without those of the hard objects.

    NanoAOD stores number and sum of all soft jets of an event, and at most six of the jets themselves. So those within
    Delta R 0.4 of an object are subtracted from the totals (never below 0), instead of counting the others.

    Parameters
    ----------
    chosen
        Positions of the events in the chunk.
    objects
        (eta, phi) of the two muons and the leading jets, one value per chosen event; NaN where there is none.
    thresholds : tuple of int
        Of 2, 5 and 10: the minimum pt of a soft jet [GeV].
    """
    jets = Collection(events, "SoftActivityJet", chosen, like="pt")
    close = np.zeros(len(jets), np.bool_)
    for eta, phi in objects:
        d_eta = jets["eta"] - np.asarray(eta)[jets.event]
        rows = np.flatnonzero(np.abs(d_eta) < _DISTANCE)  # few, and none where there is no object
        d_phi = (jets["phi"][rows] - np.asarray(phi)[jets.event[rows]] + np.pi) % (2 * np.pi) - np.pi
        close[rows] |= np.hypot(d_eta[rows], d_phi) < _DISTANCE
    near, event = jets["pt"][close], jets.event[close]
    found = {}
    for threshold in thresholds:
        above = near > threshold
        number = scalar(events, f"SoftActivityJetNjets{threshold}", chosen).astype(np.float64)
        number -= np.bincount(event[above], minlength=chosen.size)
        total = scalar(events, f"SoftActivityJetHT{threshold}", chosen)
        total = total - np.bincount(event[above], weights=near[above], minlength=chosen.size)
        found[threshold] = np.maximum(number, 0), np.maximum(total, 0)
    return found
