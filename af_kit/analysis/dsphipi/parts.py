"""The data of a result, and its simulation: what must not be added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hist import Hist

DATA, SIMULATION = "data", "simulation"


def parts(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The result of :func:`analyse` or ``process``, for data and for simulation apart.

    Returns
    -------
    dict
        "data" and "simulation", those that there are; each a mapping like ``result``, of the datasets of its kind.
    """
    names = list(result["mass"].axes["dataset"])
    simulated = set(result.get("simulated", ()))
    kinds = {
        DATA: [name for name in names if name not in simulated],
        SIMULATION: [name for name in names if name in simulated],
    }
    there = {kind: chosen for kind, chosen in kinds.items() if chosen}
    if len(there) == 1:
        return dict.fromkeys(there, result)
    return {kind: only(result, chosen) for kind, chosen in there.items()}


def only(result: Mapping[str, Any], datasets: Sequence[str]) -> dict[str, Any]:
    """A result of some of its datasets."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, Hist):
            found[name] = _rows(value, datasets)
        elif isinstance(value, pa.Table):
            column = value["dataset"].cast(pa.string())
            found[name] = value.filter(pc.is_in(column, value_set=pa.array(list(datasets))))
        elif isinstance(value, Mapping):
            found[name] = {key: inner for key, inner in value.items() if key in datasets}
    return found


def _rows(histogram: Hist, datasets: Sequence[str]) -> Hist:
    old = histogram.axes["dataset"]
    axis = type(old)(list(datasets), growth=True, name=old.name, label=old.label)
    chosen = Hist(axis, *list(histogram.axes)[1:], storage=histogram.storage_type())
    for row, name in enumerate(datasets):
        chosen.view(flow=True)[row] = histogram.view(flow=True)[old.index(name)]
    return chosen


def is_varied(result: Mapping[str, Any]) -> bool:
    """Whether its events were weighted in every variation. (Data in one histogram with weighted simulation are not.)"""
    names = list(result["mass"].axes["variation"])
    return "systup" in names and bool(result["mass"].values(flow=True)[:, names.index("systup")].any())
