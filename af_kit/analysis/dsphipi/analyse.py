"""What ``process`` calls on each chunk of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np

from af_kit.analysis.dsphipi import scale_factors as sf
from af_kit.analysis.dsphipi.cutflow import cutflow
from af_kit.analysis.dsphipi.fill import fill
from af_kit.analysis.dsphipi.select import Selected, select
from af_kit.analysis.dsphipi.table import columns, table


def analyse(events: ak.Array, *, scale_factors: sf.MuonScaleFactors | None = None) -> dict[str, Any]:
    """The analysis of one chunk.

    Parameters
    ----------
    events
        Events of the ntuple, as from ``read``. What their dataset is, ``events.metadata`` says: a simulation where
        ``isMC`` is true, else data.
    scale_factors
        Muon scale factors for simulation (:func:`~af_kit.analysis.dsphipi.scale_factors.load`); data have weight 1, and
        so has simulation without them.

    Returns
    -------
    dict
        ``mass`` (:class:`hist.Hist`): axes ``dataset``, ``variation`` ("nominal", and with scale factors "stat",
        "syst", "systup", "systdown") and ``mass`` [GeV], weighted.
        ``cutflow``, ``n_minus_1`` (:class:`hist.Hist`): see :func:`~af_kit.analysis.dsphipi.cutflow.cutflow`.
        ``candidates`` (:class:`pyarrow.Table`): the chosen candidates, see
        :func:`~af_kit.analysis.dsphipi.table.table`.
        ``weighted`` (dict): for each simulated dataset how many ``muons`` were weighted, and how many of them were
        outside of the scale factors' range in ``pt`` and ``abseta``; empty without scale factors.
        ``simulated`` (dict): how many events each simulated dataset has; what is not in it counts as data.
    """
    return result_of(events, select, scale_factors)


def result_of(
    events: ak.Array, selection: Callable[[ak.Array], Selected], scale_factors: sf.MuonScaleFactors | None
) -> dict[str, Any]:
    """The same with any function that selects."""
    metadata = getattr(events, "metadata", {})
    dataset = str(metadata.get("dataset", ""))
    selected = selection(events)
    found = columns(events, selected)
    weights = {"nominal": np.ones(len(found["mass"]))}
    weighted: dict[str, dict[str, int]] = {}
    if scale_factors is not None and metadata.get("isMC") is True:
        muons = [[found[f"{muon}_{part}"] for muon in ("mu1", "mu2")] for part in ("pt", "eta")]
        weights, clamped = sf.weights(scale_factors, metadata, *muons)
        number = 2 * len(found["mass"])
        weighted[dataset] = {"muons": number, **{name: clamped.get(name, 0) for name in ("pt", "abseta")}}
    return {
        "mass": fill(found["mass"], weights, dataset),
        **cutflow(selected, dataset),
        "candidates": table(events, selected, found, weights),
        "weighted": weighted,
        "simulated": {dataset: len(events)} if metadata.get("isMC") is True else {},
    }
