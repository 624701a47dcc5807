"""Write tables in the YAML format of HEPData (https://hepdata-submission.readthedocs.io), ready to upload.

A submission is a folder with ``submission.yaml``, which describes the tables, and one file per table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.analysis.output import write_text
from af_kit.errors import InputError

# Significant digits, more than the precision of any error.
_DIGITS = 6


@dataclass(frozen=True)
class Column:
    """A variable of a table.

    Parameters
    ----------
    name, units
        Name and units of the variable; counts have no units.
    values
        Numbers or strings; for bins, pairs of edges.
    errors
        Label to errors: for each value a number, or a pair (minus, plus; minus is negative). Errors that are not
        finite are left out.
    qualifiers
        Conditions of the whole column, such as ``{"SQRT(S) [GEV]": 13000}``.
    """

    name: str
    values: Sequence[Any] | np.ndarray
    units: str = ""
    errors: Mapping[str, Sequence[Any] | np.ndarray] = field(default_factory=dict)
    qualifiers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table: columns of independent variables, and of the dependent variables measured for them."""

    name: str
    description: str
    independent: Sequence[Column]
    dependent: Sequence[Column]

    def __post_init__(self) -> None:
        lengths = {column.name: len(column.values) for column in (*self.independent, *self.dependent)}
        if len(set(lengths.values())) > 1:
            raise InputError(f"The columns of {self.name!r} differ in length: {lengths}.")

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.name.lower().replace(' ', '_')}.yaml"


def bins(edges: Sequence[float] | np.ndarray) -> list[tuple[float, float]]:
    """Return the edges of each bin, as values of a column."""
    return [(float(low), float(high)) for low, high in pairwise(edges)]


def write_hepdata(
    tables: Sequence[Table],
    folder: str | Path,
    *,
    comment: str = "",
    keywords: Mapping[str, Sequence[Any]] | None = None,
) -> list[Path]:
    """Write a submission into ``folder``.

    Parameters
    ----------
    comment
        The abstract in HEPData.
    keywords
        Keywords of all tables: ``{"reactions": ["P P --> DS+ X"], "cmenergies": [13000]}``.

    Returns
    -------
    list of Path
        The files that were written, ``submission.yaml`` first.
    """
    folder = Path(folder)
    listed = [{"name": name, "values": list(values)} for name, values in (keywords or {}).items()]
    documents: list[dict[str, Any]] = [{"comment": comment or "Written by af-kit."}]
    files = [folder / "submission.yaml"]
    for table in tables:
        documents.append(
            {"name": table.name, "description": table.description, "keywords": listed, "data_file": table.file}
        )
        content = {
            "independent_variables": [_column(column) for column in table.independent],
            "dependent_variables": [_column(column, is_dependent=True) for column in table.dependent],
        }
        files.append(write_text(_yaml(content), folder / table.file))
    write_text("---\n".join(map(_yaml, documents)), files[0])
    return files


def _column(column: Column, *, is_dependent: bool = False) -> dict[str, Any]:
    header = {"name": column.name, **({"units": column.units} if column.units else {})}
    values = [_value(value) for value in column.values]
    if not is_dependent:
        return {"header": header, "values": values}
    for label, errors in column.errors.items():
        for value, error in zip(values, errors, strict=True):
            if (one := _error(label, error)) is not None:
                value.setdefault("errors", []).append(one)
    qualifiers = [{"name": name, "value": _plain(value)} for name, value in column.qualifiers.items()]
    return {"header": header, **({"qualifiers": qualifiers} if qualifiers else {}), "values": values}


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, tuple):
        return {"low": _plain(value[0]), "high": _plain(value[1])}
    return {"value": "-" if value is None else _plain(value)}


def _error(label: str, error: Any) -> dict[str, Any] | None:
    if not np.isfinite(np.asarray(error, dtype=float)).all():
        return None
    if np.ndim(error):
        minus, plus = error
        return {"asymerror": {"minus": _plain(minus), "plus": _plain(plus)}, "label": label}
    return {"symerror": _plain(error), "label": label}


def _plain(value: Any) -> Any:
    """Convert numbers to plain numbers, rounded; strings stay."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if not np.isfinite(value):
        return "-"  # HEPData's sign for a missing value
    return float(f"{value:.{_DIGITS}g}")


def _yaml(content: Any) -> str:
    import yaml

    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
