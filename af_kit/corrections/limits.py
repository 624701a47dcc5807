"""Move values that are outside the range of a correction's input to its edge, or find them.

The range of an input can depend on the other inputs: on a category, or on their bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from af_kit.corrections.bounds import edges_of


class Outside(NamedTuple):
    """Values outside the range of an input: their positions in the flat arrays, and the range."""

    name: str
    rows: np.ndarray
    first: float
    low: float
    high: float
    checked: int


class Limits:
    """The ranges of the inputs of a correction.

    Parameters
    ----------
    data : mapping
        The ``data`` of a correction in schema version 2.
    """

    def __init__(self, data: Any) -> None:
        self._root = _compile(data, frozenset())

    def clamp(self, columns: dict[str, Any], size: int) -> Iterator[Outside]:
        """Yield the values outside each range, after moving them to its edge in ``columns``.

        Parameters
        ----------
        columns : dict
            Input to a number, text, or a flat array. Arrays are replaced in it, not changed.
        size : int
            Length of the arrays; 1 without arrays.
        """
        yield from _clamp(self._root, _Columns(columns, size), np.arange(size) if _selects(self._root) else None)


# A transformed input is "hidden": only correctionlib knows its values, and raises outside the range.
@dataclass(frozen=True)
class _Axis:
    name: str
    edges: tuple[float, ...]
    hidden: bool


@dataclass(frozen=True)
class _Binning:
    """Bins, and the ranges in each: one item if they are the same in all bins, None if there are none."""

    axes: tuple[_Axis, ...]
    flow: str
    inner: tuple[Any, ...]
    default: Any


@dataclass(frozen=True)
class _Category:
    name: str
    hidden: bool
    inner: tuple[tuple[Any, Any], ...]
    default: Any


@dataclass(frozen=True)
class _Both:
    first: Any
    second: Any


def _compile(data: Any, hidden: frozenset[str]) -> Any:
    """Return the parts of a correction that limit its inputs, or None."""
    kind = data.get("nodetype") if isinstance(data, Mapping) else None
    if kind == "transform":
        rule, content = _compile(data["rule"], hidden), _compile(data["content"], hidden | {data["input"]})
        return _Both(rule, content) if rule and content else rule or content
    if kind == "category":
        items = tuple((item["key"], _compile(item["value"], hidden)) for item in data["content"])
        default = _compile(data.get("default"), hidden)
        if default is None and not any(inner for _, inner in items):
            return None
        if all(inner == items[0][1] for _, inner in items) and (data.get("default") is None or default == items[0][1]):
            return items[0][1]
        return _Category(data["input"], data["input"] in hidden, items, default)
    if kind not in ("binning", "multibinning"):
        return None
    names, edges = (data["inputs"], data["edges"]) if kind == "multibinning" else ([data["input"]], [data["edges"]])
    flow = data["flow"] if isinstance(data["flow"], str) else "default"
    inner = tuple(_compile(item, hidden) for item in data["content"])
    default = _compile(data["flow"], hidden)
    if flow != "error" and default is None and not any(inner):
        return None
    axes = tuple(_Axis(name, tuple(edges_of(edge)), name in hidden) for name, edge in zip(names, edges, strict=True))
    if all(item == inner[0] for item in inner) and (flow != "default" or default == inner[0]):
        if flow != "error":
            return inner[0]
        inner = inner[:1]
    return _Binning(axes, flow, inner, default)


def _selects(node: Any) -> bool:
    """Whether ranges depend on other inputs."""
    if isinstance(node, _Binning) and len(node.inner) == 1:
        return _selects(node.inner[0])
    return node is not None


class _Columns:
    """The flat inputs; numbers become arrays only where a range is checked."""

    def __init__(self, columns: dict[str, Any], size: int) -> None:
        self.columns, self.size = columns, size

    def get(self, name: str, rows: np.ndarray | None) -> Any:
        column = self.columns[name]
        if not isinstance(column, np.ndarray):
            column = np.broadcast_to(np.asarray(column), (self.size,))
        return column if rows is None else column[rows]

    def replace(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        column = np.array(self.get(name, None), dtype=float)
        column[rows] = values
        self.columns[name] = column


def _clamp(node: Any, columns: _Columns, rows: np.ndarray | None) -> Iterator[Outside]:
    if node is None or (rows is not None and not len(rows)):
        return
    if isinstance(node, _Both):
        yield from _clamp(node.first, columns, rows)
        yield from _clamp(node.second, columns, rows)
    elif isinstance(node, _Category):
        yield from _clamp_category(node, columns, rows)
    else:
        yield from _clamp_binning(node, columns, rows)


def _clamp_category(node: _Category, columns: _Columns, rows: Any) -> Iterator[Outside]:
    if node.hidden:
        return
    given = columns.columns[node.name]
    if not isinstance(given, np.ndarray):
        yield from _clamp(dict(node.inner).get(given, node.default), columns, rows)
        return
    keys = columns.get(node.name, rows)
    known = np.isin(keys, [key for key, _ in node.inner])
    for key, inner in node.inner:
        yield from _clamp(inner, columns, rows[keys == key])
    yield from _clamp(node.default, columns, rows[~known])


def _clamp_binning(node: _Binning, columns: _Columns, rows: Any) -> Iterator[Outside]:
    if node.flow == "error":
        for axis in node.axes:
            if axis.hidden:
                continue
            low, high = axis.edges[0], axis.edges[-1]
            values = np.asarray(columns.get(axis.name, rows), dtype=float)
            # the upper edge itself belongs to no bin
            last = high if np.isinf(high) else np.nextafter(high, -np.inf)
            outside = (values < low) | (values > last)
            if outside.any():
                where = np.flatnonzero(outside) if rows is None else rows[outside]
                columns.replace(axis.name, where, np.clip(values[outside], low, last))
                yield Outside(axis.name, where, float(values[outside][0]), low, high, len(values))
    if len(node.inner) == 1:
        yield from _clamp(node.inner[0], columns, rows)
        return
    if any(axis.hidden for axis in node.axes):
        return
    at, beyond = np.zeros(len(rows), dtype=int), np.zeros(len(rows), dtype=bool)
    for axis in node.axes:
        edges = np.asarray(axis.edges)
        values = np.asarray(columns.get(axis.name, rows), dtype=float)
        if node.flow == "wrap":
            values = edges[0] + np.mod(values - edges[0], edges[-1] - edges[0])
        bins = np.searchsorted(edges, values, side="right") - 1
        beyond |= (bins < 0) | (bins >= len(edges) - 1)
        at = at * (len(edges) - 1) + np.clip(bins, 0, len(edges) - 2)
    if node.flow == "default":
        yield from _clamp(node.default, columns, rows[beyond])
        at[beyond] = -1
    for position in np.unique(at[at >= 0]):
        yield from _clamp(node.inner[position], columns, rows[at == position])
