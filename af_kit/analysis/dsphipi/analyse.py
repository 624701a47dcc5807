"""Analyse one chunk of events: the function that ``process`` maps over the chunks, and its histograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import awkward as ak
import numpy as np
from hist import Hist

from af_kit.analysis.dsphipi import scale_factors as sf
from af_kit.analysis.dsphipi import steps
from af_kit.analysis.dsphipi.select import ALL_STEPS, Selected, select
from af_kit.analysis.dsphipi.table import columns, table

BINS, LOW, HIGH = 62, 1.65, 2.01


def analyse(events: ak.Array, *, scale_factors: sf.MuonScaleFactors | None = None) -> dict[str, Any]:
    """Analyse one chunk.

    Parameters
    ----------
    events
        Events of the ntuple, as from ``read``. They are simulation if ``events.metadata`` has ``isMC: True``, and
        data otherwise.
    scale_factors
        Muon scale factors for simulation (:func:`~af_kit.analysis.dsphipi.scale_factors.load`). Data have weight 1;
        so has simulation without scale factors.

    Returns
    -------
    dict
        ``mass`` (:class:`hist.Hist`): axes ``dataset``, ``variation`` ("nominal", and with scale factors "stat",
        "syst", "systup", "systdown") and ``mass`` [GeV], weighted.
        ``cutflow``, ``n_minus_1`` (:class:`hist.Hist`): see :func:`cutflow`.
        ``candidates`` (:class:`pyarrow.Table`): the selected candidates, see
        :func:`~af_kit.analysis.dsphipi.table.table`.
        ``weighted`` (dict): for each simulated dataset, the number of weighted ``muons``, and how many of them were
        outside the range of the scale factors in ``pt`` and ``abseta``; empty without scale factors.
        ``simulated`` (dict): the number of events of each simulated dataset; all other datasets are data.
    """
    return analyse_with(select, events, scale_factors)


def analyse_with(
    selection: Callable[[ak.Array], Selected], events: ak.Array, scale_factors: sf.MuonScaleFactors | None
) -> dict[str, Any]:
    """Analyse one chunk with any implementation of the selection; see :func:`analyse`."""
    metadata = getattr(events, "metadata", {})
    dataset = str(metadata.get("dataset", ""))
    selected = selection(events)
    quantities = columns(events, selected)
    weights = {"nominal": np.ones(len(quantities["mass"]))}
    weighted: dict[str, dict[str, int]] = {}
    if scale_factors is not None and metadata.get("isMC") is True:
        muons = [[quantities[f"{muon}_{name}"] for muon in ("mu1", "mu2")] for name in ("pt", "eta")]
        weights, clamped = sf.weights(scale_factors, metadata, *muons)
        number = 2 * len(quantities["mass"])
        weighted[dataset] = {"muons": number, **{name: clamped.get(name, 0) for name in ("pt", "abseta")}}
    return {
        "mass": fill(quantities["mass"], weights, dataset),
        **cutflow(selected, dataset),
        "candidates": table(events, selected, quantities, weights),
        "weighted": weighted,
        "simulated": {dataset: len(events)} if metadata.get("isMC") is True else {},
    }


def fill(mass: np.ndarray, weights: Mapping[str, Any], dataset: str = "") -> Hist:
    """Fill the mass of the selected candidates, once for each variation in ``weights``.

    The axes are ``dataset``, ``variation`` and ``mass``, which has under- and overflow; the upper edge, 2.01 GeV,
    belongs to the overflow.
    """
    histogram = (
        Hist.new.StrCat([dataset], growth=True, name="dataset", label="Dataset")
        .StrCat(["nominal"], growth=True, name="variation", label="Variation")
        .Reg(BINS, LOW, HIGH, name="mass", label=r"$m(\mu\mu\pi)$ [GeV]")
        .Weight()
    )
    for variation, weight in weights.items():
        histogram.fill(dataset=dataset, variation=variation, mass=mass, weight=weight)
    return histogram


def cutflow(selected: Selected, dataset: str = "") -> dict[str, Hist]:
    """Count the events and candidates that each step leaves.

    Returns
    -------
    dict
        ``cutflow`` (:class:`hist.Hist`): axes ``dataset``, ``count`` ("events", "candidates") and ``step``:
        candidates that pass this step and all before it, and events with at least one of them. Step "all" counts
        everything, "best" the events with a selected candidate.
        ``n_minus_1`` (:class:`hist.Hist`): the same axes; candidates that pass all other steps, and events with at
        least one of them.
    """
    counts = np.diff(selected.offsets)
    event = np.repeat(np.arange(counts.size), counts)
    failed = ALL_STEPS & ~selected.passed.astype(np.int64)
    depth = _FIRST_BIT[failed]  # the number of the first step that each candidate fails
    total = len(steps.STEPS)
    deepest = np.full(counts.size, -1)
    np.maximum.at(deepest, event, depth)
    best = selected.event.size
    rows = {
        "events": [counts.size, *_passing(deepest, total), best],
        "candidates": [event.size, *_passing(depth, total), best],
    }
    others: dict[str, list[int]] = {"events": [], "candidates": []}
    for bit in range(total):
        passing = event[failed & ~(1 << bit) == 0]
        others["candidates"].append(passing.size)
        others["events"].append(int((np.diff(passing) > 0).sum()) + bool(passing.size))
    return {"cutflow": _count(steps.ROWS, rows, dataset), "n_minus_1": _count(steps.NAMES, others, dataset)}


_FIRST_BIT = np.array([len(steps.STEPS), *((n & -n).bit_length() - 1 for n in range(1, ALL_STEPS + 1))])


def _passing(depth: np.ndarray, total: int) -> list[int]:
    """Return how many pass step 0 and all before it, step 1 and all before it, and so on."""
    ends = np.bincount(depth[depth >= 0], minlength=total + 1)
    return [int(ends[step + 1 :].sum()) for step in range(total)]


def _count(rows: tuple[str, ...], counts: Mapping[str, list[int]], dataset: str) -> Hist:
    histogram = (
        Hist.new.StrCat([dataset], growth=True, name="dataset", label="Dataset")
        .StrCat(["events", "candidates"], name="count", label="Counted")
        .StrCat(rows, name="step", label="Step")
        .Int64()
    )
    histogram.view()[0] = [counts["events"], counts["candidates"]]
    return histogram
