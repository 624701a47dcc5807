"""The dimuon masses that the shape fit takes: normalised rows of data, signal and background, by channel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from af_kit.analysis.hmumu.normalise import Factors, row_factors
from af_kit.analysis.hmumu.sample import GROUPS
from af_kit.analysis.hmumu.variations import NOMINAL
from af_kit.errors import InputError

__all__ = ["CHANNELS", "WINDOW", "Masses", "read_masses"]

CHANNELS = ("ggh_0jet", "ggh_1jet", "ggh_2jets", "vbf")
"""The categories of the fit."""

WINDOW = (110.0, 150.0)
"""The range of the dimuon mass that is fitted [GeV]."""

_COLUMNS = ["dataset", "process", "channel", "dimuon_mass", "n_jets", "weight"]


class Masses(NamedTuple):
    """Masses [GeV] and weights of the selected events of one channel; signal and background are simulation."""

    data: np.ndarray
    signal: np.ndarray
    signal_weights: np.ndarray
    background: np.ndarray
    background_weights: np.ndarray

    def scaled(self, factor: float) -> Masses:
        """Return the masses with the simulation scaled by a factor."""
        return self._replace(
            signal_weights=factor * self.signal_weights, background_weights=factor * self.background_weights
        )


def read_masses(
    candidates: Any, *, normalisation: Any = None, window: tuple[float, float] = WINDOW
) -> tuple[dict[str, Masses], float | None]:
    """Return the masses of each channel in a range, and the luminosity [1/fb] if there is simulation.

    Parameters
    ----------
    candidates
        A result of :func:`~af_kit.analysis.hmumu.process.process`, or the folder that
        :func:`~af_kit.analysis.hmumu.write.write` left: both have the normalisation. Or rows: a path of a Parquet
        file, a pyarrow table or a pandas frame, with ``normalisation``.
    normalisation
        The content or the path of ``normalisation.json``, with the factors on the weights of simulated rows.

    Raises
    ------
    InputError
        A column or a dataset's factors are missing, or a weight is not a finite number.
    """
    if isinstance(candidates, (str, Path)) and Path(candidates).is_dir():
        folder = Path(candidates)
        candidates, normalisation = folder / "candidates.parquet", normalisation or folder / "normalisation.json"
    elif isinstance(candidates, Mapping) and "candidates" in candidates:
        candidates, normalisation = candidates["candidates"], normalisation or candidates["normalisation"]
    table = _table(candidates)
    if isinstance(normalisation, (str, Path)):
        normalisation = json.loads(Path(normalisation).read_text(encoding="utf-8"))
    factors = (normalisation or {}).get("datasets", normalisation or {})
    mass = table["dimuon_mass"].to_numpy()
    table = table.filter(pa.array((mass >= window[0]) & (mass < window[1])))
    parts: dict[str, dict[str, list[Any]]] = {name: {key: [] for key in Masses._fields} for name in CHANNELS}
    luminosities = set()
    for dataset in sorted(set(table["dataset"].to_pylist())):
        rows = table.filter(pc.equal(table["dataset"], dataset))
        process, channels = rows["process"][0].as_py(), np.array(rows["channel"].to_pylist())
        mass, weight = rows["dimuon_mass"].to_numpy(), _weights(rows, dataset, process, factors)
        if process != "data":
            luminosities.add(factors[dataset].get("lumi_ipb"))
        kind = "data" if process == "data" else "signal" if process in GROUPS["H"] else "background"
        for name in CHANNELS:
            parts[name][kind].append(mass[channels == name])
            if kind != "data":
                parts[name][f"{kind}_weights"].append(weight[channels == name])
    masses = {
        name: Masses(**{key: np.concatenate([np.zeros(0), *values]) for key, values in own.items()})
        for name, own in parts.items()
    }
    luminosity = luminosities.pop() if len(luminosities) == 1 else None
    return masses, None if luminosity is None else luminosity / 1000


def _table(candidates: Any) -> pa.Table:
    if isinstance(candidates, (str, Path)):
        schema = pq.read_schema(candidates)
        _check(schema.names)
        return _plain(pq.read_table(candidates, columns=_COLUMNS))
    table = candidates if isinstance(candidates, pa.Table) else pa.Table.from_pandas(candidates, preserve_index=False)
    _check(table.column_names)
    return _plain(table.select(_COLUMNS))


def _plain(table: pa.Table) -> pa.Table:
    """Return the table with names as text instead of numbers of a dictionary."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table


def _check(names: list[str]) -> None:
    if missing := [name for name in _COLUMNS if name not in names]:
        raise InputError(
            f"The rows have no column {', '.join(missing)}. The shape fit needs candidates.parquet of "
            "`af-kit run hmumu`, with all its columns."
        )


def _weights(rows: pa.Table, dataset: str, process: str, factors: Mapping[str, Any]) -> np.ndarray:
    if process == "data":
        return np.ones(rows.num_rows)
    if dataset not in factors:
        raise InputError(
            f"The normalisation has no factors for the dataset {dataset!r}: pass normalisation=, the file "
            "normalisation.json of the same run."
        )
    own = factors[dataset]["factors"][NOMINAL]
    scale = row_factors(own if isinstance(own, Factors) else Factors(**own), rows["n_jets"].to_numpy())
    weights: np.ndarray = rows["weight"].to_numpy() * scale
    if not np.isfinite(weights).all():
        raise InputError(f"Dataset {dataset!r}: {np.count_nonzero(~np.isfinite(weights))} weights are not finite.")
    return weights
