"""Collections of objects in a block of events: equally long columns, one of which is the event of each object."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Table = dict[str, Array]
"""Column name to values. The column ``event`` is the index of the object's event in the block."""


def size(table: Table) -> int:
    """Return the number of objects."""
    return int(table["event"].size)


def take(table: Table, rows: Array) -> Table:
    """Return the objects at these rows, or where the mask ``rows`` is true."""
    return {name: values[rows] for name, values in table.items()}


def join(*tables: Table) -> Table:
    """Concatenate objects; every table has the columns of the first."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def by_pt(table: Table) -> Array:
    """Return the rows in the order of NanoAOD: event by event, each in falling pt."""
    return np.lexsort((-table["pt"], table["event"]))


def counts(table: Table, events: int) -> NDArray[np.uint32]:
    """Return the number of objects of each event."""
    return np.bincount(table["event"], minlength=events).astype(np.uint32)


def positions(event: Array) -> Array:
    """Return the index of each object in its event; ``event`` does not decrease."""
    return np.arange(event.size) - np.searchsorted(event, event)


def inverse(order: Array) -> Array:
    """Return the new row of each old row."""
    new = np.empty(order.size, np.int64)
    new[order] = np.arange(order.size)
    return new


def leading(table: Table, events: int, rank: int) -> tuple[Array, Array]:
    """Return the row of the object at index ``rank`` of each event, and whether there is one (the row is 0 if not)."""
    number = counts(table, events).astype(np.int64)
    exists = number > rank
    return np.where(exists, np.cumsum(number) - number + rank, 0), exists


def sums(event: Array, values: Array, events: int) -> NDArray[np.float64]:
    """Return the sum of a column for each event."""
    return np.bincount(event, weights=values, minlength=events).astype(np.float64)


def stored(values: Array) -> NDArray[np.float32]:
    """Round to single precision with 16 bits of mantissa, as the files have it, so that they are small."""
    single = np.asarray(values).astype(np.float32)
    return (single.view(np.uint32) & np.uint32(0xFFFFFF80)).view(np.float32)
