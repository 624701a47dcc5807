"""Find, for many points at once, the row of a table whose bins contain each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.errors import InputError

__all__ = ["Bins"]

_LARGEST = 20_000_000


class Bins:
    """Boxes along one or more axes, each for one row of a table; the edges may differ from row to row.

    All edges of an axis make up one grid, and each of its cells knows its row: a look-up is one search per axis,
    whatever the number of rows.

    Parameters
    ----------
    low, high : array of shape (rows, axes)
        A row holds for low <= value < high on each axis. Where rows overlap, the first one counts.
    """

    def __init__(self, low: Any, high: Any) -> None:
        low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        self.edges = [np.unique(np.concatenate([low[:, axis], high[:, axis]])) for axis in range(low.shape[1])]
        shape = [len(edges) - 1 for edges in self.edges]
        if np.prod(shape, dtype=float) > _LARGEST:
            raise InputError(f"A table of {len(low)} rows has too many different edges: {shape}.")
        self.rows = np.full(shape, -1, dtype=np.int32)
        first = np.stack([np.searchsorted(edges, low[:, axis]) for axis, edges in enumerate(self.edges)], axis=1)
        last = np.stack([np.searchsorted(edges, high[:, axis]) for axis, edges in enumerate(self.edges)], axis=1)
        for row in reversed(range(len(low))):
            self.rows[tuple(slice(*limits) for limits in zip(first[row], last[row], strict=True))] = row

    def find(self, values: Sequence[Any], *, clamp: Sequence[int] = ()) -> NDArray[np.int32]:
        """Return the row of each point, -1 where there is none.

        Parameters
        ----------
        values : sequence of arrays
            One array per axis, all of one length.
        clamp : sequence of int
            The axes on which a value outside the whole range is moved into the first or the last bin.
        """
        cell: Any = 0
        inside: Any = True
        for axis, (edges, value) in enumerate(zip(self.edges, values, strict=True)):
            last = len(edges) - 2
            index = np.searchsorted(edges, value, side="right") - 1
            if axis not in clamp:
                inside = inside & (index >= 0) & (index <= last)
            cell = cell * (last + 1) + np.clip(index, 0, last)
        return np.where(inside, self.rows.ravel()[cell], np.int32(-1))

    def same(self, other: Bins) -> bool:
        """Whether both have the same rows in the same places."""
        return (
            self.rows.shape == other.rows.shape
            and all(np.array_equal(mine, theirs) for mine, theirs in zip(self.edges, other.edges, strict=True))
            and np.array_equal(self.rows, other.rows)
        )
