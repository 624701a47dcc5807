"""Regions in the mass of the two muons, and channels by jets and b tags."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu.campaign import VBF

__all__ = ["CHANNELS", "REGIONS", "channel_of", "passes_vbf", "region_of"]

REGIONS = ("none", "z_peak", "sidebands", "signal")
CHANNELS = ("ggh_0jet", "ggh_1jet", "ggh_2jets", "vbf", "tth_or_vh")

Z_PEAK = (76.0, 106.0)
SIDEBANDS = (110.0, 150.0)
SIGNAL = (115.03, 135.03)


def region_of(mass: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return the number of the region in `REGIONS`: Z peak 76..106, signal 115.03..135.03 (both ends belong to it),
    sidebands the rest of 110..150 GeV."""
    region = np.zeros(mass.size, np.int8)
    region[(mass >= Z_PEAK[0]) & (mass <= Z_PEAK[1])] = REGIONS.index("z_peak")
    region[(mass >= SIDEBANDS[0]) & (mass <= SIDEBANDS[1])] = REGIONS.index("sidebands")
    region[(mass >= SIGNAL[0]) & (mass <= SIGNAL[1])] = REGIONS.index("signal")
    return region


def passes_vbf(cuts: VBF, n_jets: Any, dijet_mass: Any, delta_eta: Any, leading_pt: Any) -> NDArray[np.bool_]:
    """Return which events pass the cuts on the two leading jets, whatever their b tags."""
    with np.errstate(invalid="ignore"):  # NaN where there are fewer than two jets
        passed: NDArray[np.bool_] = (
            (n_jets >= 2)
            & (dijet_mass > cuts.min_mass)
            & (delta_eta > cuts.min_delta_eta)
            & (leading_pt > cuts.leading_pt)
        )
    return passed


def channel_of(n_jets: Any, n_loose: Any, n_medium: Any, vbf: Any) -> NDArray[np.int8]:
    """Return the number of the channel in `CHANNELS`.

    Events with two loose b tags or a medium one are for ttH and VH. Of the others, those that pass the VBF cuts are
    ``vbf``; the rest is ggH with no, one, or more jets.
    """
    channel = np.minimum(n_jets, 2).astype(np.int8)
    channel[np.asarray(vbf)] = CHANNELS.index("vbf")
    channel[(np.asarray(n_loose) >= 2) | (np.asarray(n_medium) >= 1)] = CHANNELS.index("tth_or_vh")
    return channel
