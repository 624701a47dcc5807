"""Binned calibration tables in ROOT files: read once, looked up by numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.columns import Column
from af_kit.corrections.files import once_per_file
from af_kit.errors import InputError, ReadError, nearest

__all__ = ["Histogram", "average", "names", "read", "read_graph"]


@dataclass(frozen=True, eq=False)
class Histogram:
    """A histogram in one to three dimensions, without its flow bins.

    Attributes
    ----------
    name : str
        Its name and file, for messages.
    edges : tuple of array
        The edges of the bins of each axis; a bin contains its lower edge.
    values, errors : array
        Content and error of each bin.
    """

    name: str
    edges: tuple[Column, ...] = field(repr=False)
    values: Column = field(repr=False)
    errors: Column = field(repr=False)

    def bins(self, *coordinates: Column) -> NDArray[np.intp]:
        """Return the bin of each point, as an index of the flat table; outside the range that of the nearest edge."""
        flat = np.zeros(len(coordinates[0]), dtype=np.intp)
        for edges, coordinate in zip(self.edges, coordinates, strict=True):
            bins = np.searchsorted(edges, coordinate, side="right") - 1
            flat = flat * (len(edges) - 1) + np.clip(bins, 0, len(edges) - 2)
        return flat

    def at(self, *coordinates: Column) -> tuple[Column, Column]:
        """Return value and error at each point; outside the range those of the nearest edge."""
        bins = self.bins(*coordinates)
        return self.values.ravel()[bins], self.errors.ravel()[bins]


def average(tables: Sequence[tuple[float, Histogram]]) -> tuple[tuple[float, Histogram], ...]:
    """Return (share, table) with tables of the same bins made one, whose values and errors are the averages."""
    shares = [share for share, _ in tables]
    first = tables[0][1]
    edges = [edge.tolist() for edge in first.edges]
    if any([edge.tolist() for edge in table.edges] != edges for _, table in tables):
        return tuple(tables)
    values, errors = (
        np.average([getattr(table, name) for _, table in tables], axis=0, weights=shares)
        for name in ("values", "errors")
    )
    return ((sum(shares), Histogram(first.name, first.edges, values, errors)),)


@once_per_file
def names(path: str) -> dict[str, str]:
    """Return the names of the objects of a ROOT file (folders with ``/``), and their classes."""
    with _open(path) as file:
        return dict(file.classnames(cycle=False))


@once_per_file
def read(path: str, name: str) -> Histogram:
    """Return a histogram (TH1, TH2 or TH3) of a ROOT file.

    Raises
    ------
    InputError
        The file cannot be read, has no such histogram, or a bin is NaN or infinite.
    """
    with _open(path) as file:
        found = _get(file, path, name)
        if not hasattr(found, "axes"):
            raise InputError(f"{name!r} in {path} is a {found.classname}, not a histogram.")
        edges = tuple(np.asarray(axis.edges(), dtype=np.float64) for axis in found.axes)
        values, errors = (np.asarray(array, dtype=np.float64) for array in (found.values(), found.errors()))
    where = f"{name} in {Path(path).name}"
    if not (np.isfinite(values).all() and np.isfinite(errors).all()):
        raise InputError(f"The histogram {where} has bins that are NaN or infinite: the file {path} cannot be used.")
    return Histogram(where, edges, values, errors)


@once_per_file
def read_graph(path: str, name: str) -> tuple[Column, Column]:
    """Return the points x and y of a graph (TGraph, TGraphErrors) of a ROOT file, in increasing x.

    Raises
    ------
    InputError
        The file cannot be read, has no such graph, or a point is NaN or infinite.
    """
    with _open(path) as file:
        found = _get(file, path, name)
        if not str(found.classname).startswith("TGraph"):
            raise InputError(f"{name!r} in {path} is a {found.classname}, not a graph.")
        x, y = (np.array(found.member(axis), dtype=np.float64) for axis in ("fX", "fY"))
    if not (len(x) and np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(f"The graph {name} in {path} is empty, or has points that are NaN or infinite.")
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def _open(path: str):  # type: ignore[no-untyped-def]  # uproot has no types
    from af_kit.data.reading.open_file import open_file

    try:
        return open_file(path)
    except ReadError as error:
        raise InputError(f"The correction file cannot be read: {error}") from error


def _get(file, path: str, name: str):  # type: ignore[no-untyped-def]
    known = list(file.classnames(cycle=False))
    if name not in known:
        raise InputError(f"There is no {name!r} in {path}.{nearest(name, known)}")
    return file[name]
