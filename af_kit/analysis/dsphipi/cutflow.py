"""How many events and candidates are left after each step, and how many a step alone takes away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from hist import Hist

from af_kit.analysis.dsphipi import steps
from af_kit.analysis.dsphipi.select import ALL_STEPS, Selected

if TYPE_CHECKING:
    import pandas as pd

BEST = "best"
"""The last row: one candidate of each event, by its vertex."""
_ROWS = ("all", *steps.NAMES, BEST)


def cutflow(selected: Selected, dataset: str = "") -> dict[str, Hist]:
    """Count a selection.

    Returns
    -------
    dict
        ``cutflow`` (:class:`hist.Hist`): axes ``dataset``, ``count`` ("events", "candidates") and ``step``: candidates
        that pass this and all steps before it, and events with at least one of them. Step "all" counts what there is,
        "best" the events with a chosen candidate.
        ``n_minus_1`` (:class:`hist.Hist`): the same axes; candidates that pass all steps but this one, which it may
        pass or not, and events with at least one.
    """
    counts = np.diff(selected.offsets)
    event = np.repeat(np.arange(counts.size), counts)
    # How far each candidate comes: the place of the first step that it fails.
    failed = ALL_STEPS & ~selected.passed.astype(np.int64)
    depth = _FIRST_BIT[failed]
    total = len(steps.STEPS)
    furthest = np.full(counts.size, -1)
    np.maximum.at(furthest, event, depth)
    chosen = selected.event.size
    rows = {
        "events": [counts.size, *_at_least(furthest, total), chosen],
        "candidates": [event.size, *_at_least(depth, total), chosen],
    }
    without: dict[str, list[int]] = {"events": [], "candidates": []}
    for bit in range(total):
        kept = event[failed & ~(1 << bit) == 0]
        without["candidates"].append(kept.size)
        without["events"].append(int((np.diff(kept) > 0).sum()) + bool(kept.size))
    return {"cutflow": _filled(_ROWS, rows, dataset), "n_minus_1": _filled(steps.NAMES, without, dataset)}


_FIRST_BIT = np.array([len(steps.STEPS), *((n & -n).bit_length() - 1 for n in range(1, ALL_STEPS + 1))])


def _at_least(depth: np.ndarray, total: int) -> list[int]:
    """How many come further than step 0, 1, ..."""
    ends = np.bincount(depth[depth >= 0], minlength=total + 1)
    return [int(ends[step + 1 :].sum()) for step in range(total)]


def _filled(rows: tuple[str, ...], counts: Mapping[str, list[int]], dataset: str) -> Hist:
    histogram = (
        Hist.new.StrCat([dataset], growth=True, name="dataset", label="Dataset")
        .StrCat(["events", "candidates"], name="count", label="Counted")
        .StrCat(rows, name="step", label="Step")
        .Int64()
    )
    histogram.view()[0] = [counts["events"], counts["candidates"]]
    return histogram


def cutflow_table(result: Mapping[str, Any], datasets: list[str] | None = None) -> pd.DataFrame:
    """The cutflow as a table: one row per step.

    Parameters
    ----------
    result
        ``cutflow`` and ``n_minus_1`` of :func:`analyse`, or what ``process`` merged.
    datasets
        The datasets to add up; all by default.

    Returns
    -------
    pandas.DataFrame
        Index: the steps. ``events`` and ``candidates`` left, ``efficiency`` of the step and ``total`` of all until
        then (events), ``events_n_minus_1`` and ``candidates_n_minus_1``: left by all other steps.
    """
    import pandas as pd

    left = summed(result["cutflow"], datasets)
    without = summed(result["n_minus_1"], datasets)
    table = pd.DataFrame({"events": left[0], "candidates": left[1]}, index=pd.Index(_ROWS, name="step"))
    with np.errstate(invalid="ignore"):
        table["efficiency"] = table["events"] / table["events"].shift(1, fill_value=left[0][0])
        table["total"] = table["events"] / left[0][0]
    for name, counts in zip(("events_n_minus_1", "candidates_n_minus_1"), without, strict=True):
        table[name] = pd.array([None, *counts.tolist(), None], dtype="Int64")
    return table


def summed(histogram: Hist, datasets: list[str] | None = None) -> np.ndarray:
    """Events and candidates by step, of these datasets together."""
    names = list(histogram.axes["dataset"])
    keep = [names.index(name) for name in (names if datasets is None else datasets)]
    counts: np.ndarray = histogram.values()[keep].sum(axis=0).astype(np.int64)
    return counts
