"""The ten steps of the selection: their names, in order, and their numbers."""

from __future__ import annotations

from typing import NamedTuple


class Step(NamedTuple):
    """A step of the selection: the name of its mask, and what it asks, for tables and plots."""

    name: str
    label: str


STEPS = (
    Step("trigger", "HLT and L1 trigger"),
    Step("mass", r"1.62 < $m(\mu\mu\,\mathrm{track})$ < 2.02"),
    Step("vertex", "> 1 track at the PV"),
    Step("displacement", "SV significance > 2"),
    Step("acceptance", r"$p_\mathrm{T}$ and $|\eta|$"),
    Step("separation", r"0.0001 < $\Delta R$ < 0.8"),
    Step("muon_id", "global, particle flow"),
    Step("impact", r"$|d_z|$ < 20, $|d_{xy}|$ < 0.3"),
    Step("phi", r"1.00 < $m(\mu\mu)$ < 1.04"),
    Step("trigger_match", "trigger objects"),
)
"""Each asks of one candidate; a candidate is selected when it passes all of them."""

NAMES = tuple(step.name for step in STEPS)

HLT_PATHS = ("HLT_DoubleMu3_Trk_Tau3mu_v",)
"""One path whose name contains this must have accepted the event."""
L1_SEEDS = ("L1_DoubleMu", "L1_TripleMu")
"""One seed whose name contains one of these must have accepted it, too."""

MASS = (1.62, 2.02)
"""Of two muons and a track, GeV."""
PHI_MASS = (1.00, 1.04)
"""Of the two refitted muons, GeV."""
MUON_MASS = 0.10566
SIGNIFICANCE = 2.0
BARREL_ETA, ENDCAP_ETA = 1.2, 2.4
BARREL_PT, ENDCAP_PT = 3.5, 2.0
TRACK_PT = 1.2
DELTA_R = (0.0001, 0.8)
TRACK_DZ, TRACK_DXY = 20.0, 0.3
"""Largest distances of the track from the vertex, without sign, cm."""
TRIGGER_DELTA_R = 0.03

TREENAME = "Tree3Mu/ntuple"
"""Where the ntuple is in its files."""
