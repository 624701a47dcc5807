"""Columns of chosen events: the flat values of a collection, only for the events that are still of interest.

Most of the cost of a selection is spent on events that it rejects. So the first cuts run on the columns as they are
read, and everything that follows only on the events that are left.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.data.jit import jit
from af_kit.data.reading.flat import flat_branch, gather, scalar_branch, take_branch

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
    counts : numpy.ndarray
        How many objects each chosen event has.
    """

    def __init__(self, events: Any, name: str, chosen: Ints, *, like: str) -> None:
        self._events, self._name = events, name
        self._columns: dict[str, NDArray[Any]] = {}
        self._last: tuple[Ints, Ints] | None = None
        every, _ = flat_branch(events, f"{name}_{like}")
        self._starts: Ints
        self.counts: Ints
        self.offsets: Ints
        self._starts, self.counts, self.offsets = _lists(every, chosen)

    @cached_property
    def event(self) -> Ints:
        """For each object, its event's position among the chosen ones."""
        return np.repeat(np.arange(self.counts.size), self.counts)

    @cached_property
    def position(self) -> Ints:
        """For each object, its index in the event, in the order of the file."""
        return _numbered(np.zeros_like(self._starts), self.offsets)

    @cached_property
    def _index(self) -> Ints:
        """For each object, its index in the branches."""
        return _numbered(self._starts, self.offsets)

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def __getitem__(self, field: str) -> NDArray[Any]:
        """Return a column: float64 for real numbers, otherwise the type of the file."""
        if field not in self._columns:
            self._columns[field] = self._take(field, self._index)
        return self._columns[field]

    def of(self, rows: Ints, field: str) -> NDArray[Any]:
        """Return ``self[field][rows]``, but read only these rows of a column that nobody has used."""
        if field in self._columns:
            return self._columns[field][rows]
        if self._last is None or self._last[0] is not rows:  # often, several fields of the same rows
            self._last = rows, self._index[rows]
        return self._take(field, self._last[1])

    def _take(self, field: str, index: Ints) -> NDArray[Any]:
        return _double(take_branch(self._events, f"{self._name}_{field}", index))

    def rows(self, event: Ints, position: Ints) -> Ints:
        """Return the rows of the objects with these indices in these events; -1 for an index that no object has."""
        valid = (position >= 0) & (position < self.counts[event])
        return np.where(valid, self.offsets[event] + position, -1)

    def at(self, event: Ints, position: Ints, field: str, missing: float = np.nan) -> NDArray[np.float64]:
        """Return a field of the object with this index in each of these events; ``missing`` where there is none."""
        rows = self.rows(event, position)
        values = np.full(rows.size, missing)
        values[rows >= 0] = self.of(rows[rows >= 0], field)
        return values


@jit
def counts_of(mask, offsets):  # type: ignore[no-untyped-def]
    """Return how many objects of each event pass a mask (int64)."""
    counts = np.zeros(offsets.size - 1, np.int64)
    for i in range(counts.size):
        for j in range(offsets[i], offsets[i + 1]):
            counts[i] += mask[j]
    return counts


def scalar(events: Any, branch: str, chosen: Ints | None = None) -> NDArray[Any]:
    """Return a branch with one number per event, of all events or the chosen ones; real numbers as float64."""
    values = scalar_branch(events, branch)
    if chosen is not None:
        values = gather(values, chosen)
    return _double(values)


def _double(values: NDArray[Any]) -> NDArray[Any]:
    """Return real numbers as float64, others as they are."""
    return values.astype(np.float64, copy=False) if values.dtype.kind == "f" else values


@jit
def _lists(every, chosen):  # type: ignore[no-untyped-def]
    """Return where the lists of some events start, how long they are, and their offsets."""
    starts, counts = np.empty(chosen.size, np.int64), np.empty(chosen.size, np.int64)
    offsets = np.zeros(chosen.size + 1, np.int64)
    for i in range(chosen.size):
        starts[i] = every[chosen[i]]
        counts[i] = every[chosen[i] + 1] - starts[i]
        offsets[i + 1] = offsets[i] + counts[i]
    return starts, counts, offsets


@jit
def _numbered(starts, offsets):  # type: ignore[no-untyped-def]
    """Count up in each list, from its start."""
    numbers = np.empty(offsets[-1], np.int64)
    for i in range(starts.size):
        for j in range(offsets[i], offsets[i + 1]):
            numbers[j] = starts[i] + j - offsets[i]
    return numbers
