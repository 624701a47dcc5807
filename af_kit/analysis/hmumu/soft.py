"""Soft activity: the track jets that belong to neither the two muons nor the two leading jets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu.columns import Collection, scalar

__all__ = ["soft_activity"]

_DISTANCE = 0.4


def soft_activity(
    events: Any, chosen: NDArray[np.int64], objects: list[tuple[Any, Any]], threshold: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return number and scalar pt sum [GeV] of the soft jets above a threshold, without those of the hard objects.

    NanoAOD stores number and sum of all soft jets of an event, and at most six of the jets themselves. So those within
    Delta R 0.4 of an object are subtracted from the totals (never below 0), instead of counting the others.

    Parameters
    ----------
    chosen
        Positions of the events in the chunk.
    objects
        (eta, phi) of the two muons and the leading jets, one value per chosen event; NaN where there is none.
    threshold : {2, 5, 10}
        Minimum pt of a soft jet [GeV].
    """
    number = scalar(events, f"SoftActivityJetNjets{threshold}", chosen).astype(np.float64)
    total = scalar(events, f"SoftActivityJetHT{threshold}", chosen)
    jets = Collection(events, "SoftActivityJet", chosen, like="pt")
    close = np.zeros(len(jets), np.bool_)
    for eta, phi in objects:
        d_eta = jets["eta"] - np.asarray(eta)[jets.event]
        d_phi = (jets["phi"] - np.asarray(phi)[jets.event] + np.pi) % (2 * np.pi) - np.pi
        with np.errstate(invalid="ignore"):
            close |= np.hypot(d_eta, d_phi) < _DISTANCE
    close &= jets["pt"] > threshold
    event = jets.event[close]
    number -= np.bincount(event, minlength=chosen.size)
    total = total - np.bincount(event, weights=jets["pt"][close], minlength=chosen.size)
    return np.maximum(number, 0), np.maximum(total, 0)
