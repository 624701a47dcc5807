"""Read a merged result: the mass spectrum and the cutflow of some datasets, data and simulation separately."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from hist import Hist

from af_kit.analysis.dsphipi import steps

if TYPE_CHECKING:
    import pandas as pd

DATA, SIMULATION = "data", "simulation"


def spectrum(result: Mapping[str, Any], *, datasets: list[str] | None = None, variation: str = "nominal") -> Hist:
    """Return the mass histogram of some datasets together, in one variation: one axis, ready to plot and to fit.

    Parameters
    ----------
    result
        A mapping with ``mass``, as :func:`analyse` and ``process`` return it.
    datasets
        The datasets to add up; all by default.
    """
    histogram = result["mass"]
    names = list(histogram.axes["dataset"])
    column = list(histogram.axes["variation"]).index(variation)
    total = Hist(histogram.axes["mass"], storage=histogram.storage_type())
    for name in names if datasets is None else datasets:
        for sums in ("value", "variance"):
            total.view(flow=True)[sums] += histogram.view(flow=True)[names.index(name), column][sums]
    return total


def cutflow_table(result: Mapping[str, Any], datasets: list[str] | None = None) -> pd.DataFrame:
    """Return the cutflow as a table, one row per step.

    Parameters
    ----------
    result
        A mapping with ``cutflow`` and ``n_minus_1``, as :func:`analyse` and ``process`` return it.
    datasets
        The datasets to add up; all by default.

    Returns
    -------
    pandas.DataFrame
        Index: the steps. ``events`` and ``candidates`` left, ``efficiency`` of the step and ``total`` of all steps so
        far (events), ``events_n_minus_1`` and ``candidates_n_minus_1``: left by all other steps.
    """
    import pandas as pd

    left = step_counts(result["cutflow"], datasets)
    others = step_counts(result["n_minus_1"], datasets)
    table = pd.DataFrame({"events": left[0], "candidates": left[1]}, index=pd.Index(steps.ROWS, name="step"))
    with np.errstate(invalid="ignore"):
        table["efficiency"] = table["events"] / table["events"].shift(1, fill_value=left[0][0])
        table["total"] = table["events"] / left[0][0]
    for name, counts in zip(("events_n_minus_1", "candidates_n_minus_1"), others, strict=True):
        table[name] = pd.array([None, *counts.tolist(), None], dtype="Int64")
    return table


def step_counts(histogram: Hist, datasets: list[str] | None = None) -> np.ndarray:
    """Return events and candidates by step, summed over these datasets."""
    names = list(histogram.axes["dataset"])
    rows = [names.index(name) for name in (names if datasets is None else datasets)]
    counts: np.ndarray = histogram.values()[rows].sum(axis=0).astype(np.int64)
    return counts


def parts(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Separate data and simulation, which must not be added up.

    Returns
    -------
    dict
        "data" and "simulation", if the result has them: each a mapping like ``result``, of its datasets only.
    """
    simulated = set(result.get("simulated", ()))
    datasets: dict[str, list[str]] = {}
    names = list(result["mass"].axes["dataset"])
    for name in sorted(names, key=lambda name: name in simulated):
        datasets.setdefault(SIMULATION if name in simulated else DATA, []).append(name)
    if len(datasets) == 1:
        return dict.fromkeys(datasets, result)
    return {part: _of_datasets(result, names) for part, names in datasets.items()}


def is_varied(result: Mapping[str, Any]) -> bool:
    """Return whether a result has weighted events. (Data merged with weighted simulation have an empty "systup".)"""
    names = list(result["mass"].axes["variation"])
    return "systup" in names and bool(result["mass"].values(flow=True)[:, names.index("systup")].any())


def _of_datasets(result: Mapping[str, Any], datasets: Sequence[str]) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, Hist):
            axis = value.axes["dataset"]
            new = type(axis)(list(datasets), growth=True, name=axis.name, label=axis.label)
            chosen[name] = Hist(new, *list(value.axes)[1:], storage=value.storage_type())
            for row, dataset in enumerate(datasets):
                chosen[name].view(flow=True)[row] = value.view(flow=True)[axis.index(dataset)]
        elif isinstance(value, pa.Table):
            column = value["dataset"].cast(pa.string())
            chosen[name] = value.filter(pc.is_in(column, value_set=pa.array(list(datasets))))
        elif isinstance(value, Mapping):
            chosen[name] = {key: inner for key, inner in value.items() if key in datasets}
    return chosen
