"""The ten steps of the selection: their names, in order, and their cut values."""

from __future__ import annotations

from typing import NamedTuple


class Step(NamedTuple):
    """A step of the selection: the name of its mask, and a label for tables and plots."""

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
"""Each step is a condition on one candidate; a candidate is selected if it passes all of them."""

NAMES = tuple(step.name for step in STEPS)
ROWS = ("all", *NAMES, "best")
"""The rows of the cutflow; "best" counts one candidate per event."""

HLT_PATHS = ("HLT_DoubleMu3_Trk_Tau3mu_v",)
"""A path whose name contains this string must have accepted the event."""
L1_SEEDS = ("L1_DoubleMu", "L1_TripleMu")
"""A seed whose name contains one of these strings must have accepted it, too."""

MASS = (1.62, 2.02)
"""Mass of the two muons and the track, GeV."""
PHI_MASS = (1.00, 1.04)
"""Mass of the two refitted muons, GeV."""
MUON_MASS = 0.10566
SIGNIFICANCE = 2.0
BARREL_ETA, ENDCAP_ETA = 1.2, 2.4
BARREL_PT, ENDCAP_PT = 3.5, 2.0
TRACK_PT = 1.2
DELTA_R = (0.0001, 0.8)
TRACK_DZ, TRACK_DXY = 20.0, 0.3
"""Largest absolute distances of the track from the vertex, cm."""
TRIGGER_DELTA_R = 0.03

TREENAME = "Tree3Mu/ntuple"
"""Path of the ntuple in its files."""
