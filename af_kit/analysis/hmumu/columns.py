"""Columns of chosen events: the flat values of a collection, only for the events that are still of interest.

Most of the cost of a selection is spent on events that it rejects. So the first cuts run on the columns as they are
read, and everything that follows only on the events that are left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.data.reading.flat import flat_list

__all__ = ["Collection", "counts_of", "scalar"]

Ints = NDArray[np.int64]


class Collection:
    """The objects of a collection in chosen events, as flat columns that are read when they are used.

    Parameters
    ----------
    events
        The events of a chunk.
    name : str
        Such as ``"Muon"``: ``collection["pt"]`` is ``Muon_pt``.
    chosen : array of int
        Positions of the events in the chunk.

    Attributes
    ----------
    offsets : numpy.ndarray
        Position of each chosen event's first object (int64, one more than events).
    event : numpy.ndarray
        For each object, its event's position among the chosen ones.
    position : numpy.ndarray
        For each object, its index in the event, in the order of the file.
    """

    def __init__(self, events: Any, name: str, chosen: Ints, *, like: str) -> None:
        self._events, self._name = events, name
        self._columns: dict[str, NDArray[Any]] = {}
        every, _ = flat_list(events[f"{name}_{like}"], f"{name}_{like}")
        starts, counts = every[:-1][chosen], np.diff(every)[chosen]
        self.offsets: Ints = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.event: Ints = np.repeat(np.arange(chosen.size), counts)
        self.position: Ints = np.arange(self.offsets[-1]) - np.repeat(self.offsets[:-1], counts)
        self._index: Ints = np.repeat(starts, counts) + self.position
        self._size = int(every[-1])

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def __getitem__(self, field: str) -> NDArray[Any]:
        """Return a column: float64 for real numbers, otherwise the type of the file."""
        if field not in self._columns:
            branch = f"{self._name}_{field}"
            values = flat_list(self._events[branch], branch)[1][self._index]
            self._columns[field] = values.astype(np.float64) if values.dtype.kind == "f" else values
        return self._columns[field]

    def at(self, event: Ints, position: Ints, field: str, missing: float = np.nan) -> NDArray[np.float64]:
        """Return a field of the object with this index in each of these events; ``missing`` where there is none.

        An index that no object has, such as -1, gives ``missing``.
        """
        counts = np.diff(self.offsets)[event]
        valid = (position >= 0) & (position < counts)
        values = np.full(event.size, missing)
        values[valid] = self[field][self.offsets[event[valid]] + position[valid]]
        return values


def counts_of(mask: NDArray[np.bool_], offsets: Ints) -> Ints:
    """Return how many objects of each event pass a mask."""
    passed = np.concatenate([[0], np.cumsum(mask)])
    counts: Ints = passed[offsets[1:]] - passed[offsets[:-1]]
    return counts


def scalar(events: Any, branch: str, chosen: Ints | None = None) -> NDArray[Any]:
    """Return a branch with one number per event, of all events or the chosen ones; real numbers as float64."""
    values = np.asarray(events[branch])
    if chosen is not None:
        values = values[chosen]
    return values.astype(np.float64) if values.dtype.kind == "f" else values
