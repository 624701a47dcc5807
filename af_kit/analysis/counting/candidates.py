"""Make a flat table with one row per event of the two channels."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pyarrow as pa

from af_kit.analysis.counting.objects import Objects
from af_kit.analysis.counting.select import CHANNELS, Selected, merged
from af_kit.analysis.dimuon.table import origin


def candidates(events: ak.Array, selected: Selected) -> pa.Table:
    """Return the events of the dilepton and trilepton channels as a flat table, in the file's order.

    Returns
    -------
    pyarrow.Table
        Origin of the event: ``dataset``, ``file``, ``entry`` (its number in the file); ``run``, ``luminosityBlock`` and
        ``event``, null if the file does not have them. ``channel``: "dilepton" or "trilepton". ``n_electrons`` among
        the tight leptons. ``n_loose`` leptons, ``n_jets`` (selected), ``n_btagged``. ``jet1_pt`` of the leading
        selected jet [GeV]. The tight leptons by falling pt: ``lepton1_pt`` [GeV], ``lepton1_eta``, ``lepton1_phi``
        [rad], ``lepton1_pdgId`` (13 and 11 have negative charge), and the same of ``lepton2`` and ``lepton3``, which is
        null in the dilepton channel.
    """
    index = np.flatnonzero(selected.channel)
    channel = selected.channel[index]
    tight = merged(selected.leptons, "tight")
    tight = tight.where(selected.channel[tight.event] > 0)
    jet1_pt = np.zeros(len(selected.channel))
    jets = selected.jets.where(selected.jets["selected"])
    np.maximum.at(jet1_pt, jets.event, jets["pt"])
    names = list(CHANNELS)
    columns = {
        **origin(events, index),
        "channel": pa.DictionaryArray.from_arrays((channel == CHANNELS[names[1]]).astype(np.int32), pa.array(names)),
        "n_electrons": tight.number("is_electron")[index].astype(np.int32),
        "n_loose": merged(selected.leptons, "loose").number("loose")[index].astype(np.int32),
        "n_jets": selected.jets.number("selected")[index].astype(np.int32),
        "n_btagged": selected.jets.number("btagged")[index].astype(np.int32),
        "jet1_pt": jet1_pt[index],
        **_leptons(tight, tight.offsets[index], channel),
    }
    return pa.table(columns)


def _leptons(tight: Objects, first: np.ndarray, number: np.ndarray) -> dict[str, pa.Array]:
    """Return the columns of the leptons of events that have ``number`` of them, the first one at ``first``."""
    order = np.lexsort((-tight["pt"], tight.event))  # stable: leptons of equal pt stay in order
    values = {name: tight[name][order] for name in ("pt", "eta", "phi")}
    pdg_id = -tight["charge"] * np.where(tight["is_electron"], 11, 13)
    values["pdgId"] = pdg_id[order].astype(np.int32)
    columns: dict[str, pa.Array] = {}
    for rank in range(max(CHANNELS.values())):
        absent = rank >= number
        at = np.where(absent, first, first + rank)
        columns |= {f"lepton{rank + 1}_{name}": pa.array(value[at], mask=absent) for name, value in values.items()}
    return columns
