"""The branches of 2022: what NanoAOD 12 calls differently from the version for Run 2, lacks, or has in addition."""

from __future__ import annotations

import re

import numpy as np

from af_kit.simulate.nano.tables import Table

_RENAMED = {
    "fixedGridRhoFastjetAll": "Rho_fixedGridRhoFastjetAll",
    "fixedGridRhoFastjetCentral": "Rho_fixedGridRhoFastjetCentral",
    "Electron_mvaFall17V2Iso": "Electron_mvaIso",
    "Electron_mvaFall17V2Iso_WP80": "Electron_mvaIso_WP80",
    "Electron_mvaFall17V2Iso_WP90": "Electron_mvaIso_WP90",
    "Electron_mvaFall17V2noIso": "Electron_mvaNoIso",
    "Electron_mvaFall17V2noIso_WP80": "Electron_mvaNoIso_WP80",
    "Electron_mvaFall17V2noIso_WP90": "Electron_mvaNoIso_WP90",
    "HTXS_stage1_1_fine_cat_pTjet30GeV": "HTXS_stage1_2_fine_cat_pTjet30GeV",
}
_ABSENT = {
    *("Jet_puId", "Jet_qgl", "Jet_btagDeepB", "Jet_btagDeepC", "Jet_btagCSVV2", "Jet_bRegCorr", "Jet_bRegRes"),
    *("Electron_mvaFall17V2Iso_WPL", "Electron_mvaFall17V2noIso_WPL"),
}
_ADDED = {
    "Jet_chMultiplicity": "uint8",
    "Jet_neMultiplicity": "uint8",
    "Flag_BadPFMuonDzFilter": "bool",
    "Flag_hfNoisyHitsFilter": "bool",
}
_BYTES = ("Jet_jetId", "Jet_nConstituents")

SOURCES = {new: old for old, new in _RENAMED.items()} | {
    "Flag_BadPFMuonDzFilter": "Flag_BadPFMuonFilter",
    "Flag_hfNoisyHitsFilter": "Flag_HBHENoiseFilter",
}
"""Name of a branch of 2022 to the simulated column with its values, where that has another name."""


def schema(columns: dict[str, str]) -> dict[str, str]:
    """Return names and types of the branches of 2022 from those of Run 2. Indices have 16 bits instead of 32."""
    found = {}
    for name, dtype in columns.items():
        if name not in _ABSENT:
            is_index = re.search(r"Idx[12]?(Mother)?$", name) is not None
            found[_RENAMED.get(name, name)] = "int16" if is_index else "uint8" if name in _BYTES else dtype
    return found | _ADDED


def jet_content(jets: Table, *, bad: int) -> None:
    """Set what the identification of jets is computed from: numbers of charged and neutral particles, and fractions.

    A jet with the ``bad`` value of ``jetId`` consists of noise in the hadron calorimeter.
    """
    noise = jets["jetId"] == bad
    for name, value in (("chHEF", 0.005), ("neHEF", 0.995), ("neEmEF", 0.0), ("chEmEF", 0.0), ("muEF", 0.0)):
        jets[name] = np.where(noise, value, jets[name])
    charged = jets["chHEF"] + jets["chEmEF"] + jets["muEF"]
    tracks = np.where(np.abs(jets["eta"]) < 2.5, np.round(charged * jets["nConstituents"]), 0)
    jets["chMultiplicity"] = np.minimum(tracks, jets["nConstituents"]).astype(np.int64)
    jets["neMultiplicity"] = jets["nConstituents"] - jets["chMultiplicity"]
