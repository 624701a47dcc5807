"""Weights of Drell-Yan events by the Z boson's transverse momentum, from a table in JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.corrections.columns import Column, columns
from af_kit.corrections.files import once_per_file, read_text
from af_kit.corrections.weight import Weight
from af_kit.errors import InputError, nearest

__all__ = ["ZPt"]

_TABLE = "zpt_weights"
_BIN = re.compile(r"pt:\[([0-9.eE+]+),([0-9.eE+]+)\]")


@dataclass(frozen=True)
class ZPt:
    """The weights of one year, in bins of pt."""

    year: str
    _edges: Column = field(repr=False, compare=False)
    _weights: Column = field(repr=False, compare=False)

    @classmethod
    def load(cls, path: str | Path, *, year: str) -> ZPt:
        """Read the weights of a year: ``{"zpt_weights": {year: {"pt:[0.0,10.0]": {"value": ...}, ...}}}``.

        Raises
        ------
        InputError
            The file cannot be read or is of another format, lacks the year, or its bins have gaps.
        """
        years = _read(path)
        if year not in years:
            raise InputError(f"There are no weights for {year!r} in {path}.{nearest(str(year), years)}")
        return cls(year, *years[year])

    def weight(self, pt: Any) -> Weight:
        """Return the weight of each event; it has no variations.

        Parameters
        ----------
        pt : array
            Transverse momentum of the Z boson (the pair of muons) in GeV. Above the table the last bin is used.

        Raises
        ------
        InputError
            A pt is NaN, infinite or negative.
        """
        (values,), restore = columns("Z pt", {"pt": pt})
        if (values < 0).any():
            raise InputError(f"Z pt: pt is negative for {int((values < 0).sum())} events.")
        bins = np.searchsorted(self._edges, values, side="right") - 1
        return Weight(restore(self._weights[np.clip(bins, 0, len(self._weights) - 1)]), {})


@once_per_file
def _read(path: str) -> dict[str, tuple[Column, Column]]:
    try:
        tables = json.loads(read_text(path))[_TABLE]
        return {year: _table(bins) for year, bins in tables.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a table of Z pt weights: {type(error).__name__}: {error}") from error


def _table(bins: dict[str, Any]) -> tuple[Column, Column]:
    rows = []
    for name, content in bins.items():
        found = _BIN.fullmatch(name.replace(" ", ""))
        if found is None:
            raise ValueError(f"{name!r} is not a bin such as 'pt:[0.0,10.0]'")
        rows.append((float(found[1]), float(found[2]), float(content["value"])))
    low, high, values = np.array(sorted(rows)).T
    if not (np.array_equal(low[1:], high[:-1]) and (low < high).all() and np.isfinite(values).all()):
        raise ValueError("the bins have gaps or overlap, or a value is not finite")
    return np.append(low, high[-1]), values
