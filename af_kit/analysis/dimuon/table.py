"""Make a flat table with one row per candidate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# NanoAOD's types, whatever the types in a file, so that the tables of all files can be concatenated.
_EVENT_ID = {"run": pa.uint32(), "luminosityBlock": pa.uint32(), "event": pa.uint64()}


def table(events: ak.Array, candidates: ak.Array) -> pa.Table:
    """Return the ``candidates`` that :func:`select` found in ``events`` as a flat table, in the file's order.

    Returns
    -------
    pyarrow.Table
        Origin of the event: ``dataset``, ``file``, ``entry`` (its number in the file); ``run``, ``luminosityBlock`` and
        ``event``, null if the file does not have them. The pair: ``mass``, ``pt`` [GeV], ``eta``, ``phi`` [rad].
        Its muons: ``mu_plus_pt``, ``mu_plus_eta``, ``mu_plus_phi``, and the same of ``mu_minus``.
    """
    first, second = (
        {name: np.asarray(candidates[muon, name]) for name in ("pt", "eta", "phi", "charge")}
        for muon in ("first", "second")
    )
    return make_table(events, np.asarray(candidates.index), first, second, np.asarray(candidates.mass))


def make_table(
    events: ak.Array,
    index: np.ndarray,
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
    mass: np.ndarray,
) -> pa.Table:
    """Return the same table from columns: the position in ``events``, the muons and the mass of each candidate."""
    columns = {**origin(events, index), "mass": mass, **pair_momentum(first, second)}
    plus_first = first["charge"] > 0
    for sign, is_first in (("plus", plus_first), ("minus", ~plus_first)):
        for name in ("pt", "eta", "phi"):
            columns[f"mu_{sign}_{name}"] = np.where(is_first, first[name], second[name])
    return pa.table(columns)


def pair_momentum(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return ``pt`` [GeV], ``eta`` and ``phi`` [rad] of the sum of two momenta."""
    px = first["pt"] * np.cos(first["phi"]) + second["pt"] * np.cos(second["phi"])
    py = first["pt"] * np.sin(first["phi"]) + second["pt"] * np.sin(second["phi"])
    pz = first["pt"] * np.sinh(first["eta"]) + second["pt"] * np.sinh(second["eta"])
    pt = np.sqrt(px**2 + py**2)
    with np.errstate(divide="ignore", invalid="ignore"):  # a pair along the beam has infinite eta
        eta = np.arcsinh(pz / pt)
    return {"pt": pt, "eta": eta, "phi": np.arctan2(py, px)}


def origin(events: ak.Array, index: np.ndarray) -> dict[str, Any]:
    """Return the columns that say where the events at ``index`` come from, from ``dataset`` to ``event``."""
    metadata = getattr(events, "metadata", {})
    return {
        "dataset": repeat(metadata.get("dataset", ""), len(index)),
        "file": repeat(metadata.get("file", ""), len(index)),
        "entry": metadata.get("entry_start", 0) + index,
        **{name: _event_id(events, index, name, kind) for name, kind in _EVENT_ID.items()},
    }


def _event_id(events: ak.Array, index: np.ndarray, name: str, kind: pa.DataType) -> pa.Array:
    if name not in events.fields:
        return pa.nulls(len(index), kind)
    return pa.array(np.asarray(events[name])[index].astype(kind.to_pandas_dtype()))


def repeat(value: Any, length: int) -> pa.DictionaryArray:
    """Return a column with the same string in each row, stored once."""
    return pa.DictionaryArray.from_arrays(np.zeros(length, dtype=np.int32), pa.array([str(value)]))


def z_window(candidates: pa.Table, *, centre: float = 90.0, half_width: float = 30.0) -> pa.Table:
    """Return the candidates for a Z boson: rows with a mass less than ``half_width`` from ``centre`` [GeV]."""
    distance = pc.abs(pc.subtract(candidates["mass"], centre))
    return candidates.filter(pc.less(distance, half_width))
