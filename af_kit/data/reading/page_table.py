"""The page table of an RNTuple: everything that a reader needs to know about its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from af_kit.data.reading.pages import Encoding

__all__ = ["Field", "PageColumn", "PageTable"]


class Field(NamedTuple):
    """A field at the top of an RNTuple."""

    native: bool
    """Whether the kit decodes its pages; otherwise uproot does, after the kit has verified them."""
    columns: tuple[int, ...]
    """Its columns, by their number in the file, in the order of its awkward form."""


@dataclass(frozen=True, eq=False)
class PageColumn:
    """The pages of one column.

    Attributes
    ----------
    encodings : tuple of Encoding
        How the elements are stored. A column may have several representations, one in each cluster.
    parent : int
        The index column of the lists that contain the elements; -1 if each entry has the same number of them.
    repeat : int
        Elements for each entry, or for each element of the lists.
    pages : numpy.ndarray
        Number of the first page of each cluster, and the number of all pages (int64, clusters + 1).
    edges : numpy.ndarray
        Index of the first element of each page, and that after the last (int64, pages + 1). The elements before the
        first page are zero: they belong to entries from before the field was added.
    seeks, sizes : numpy.ndarray
        Position in the file and bytes of each page, without the checksum (int64).
    flags : numpy.ndarray
        For each page, the number of its encoding, plus 128 if a checksum follows (uint8).
    content : numpy.ndarray
        For an index column: index of the first element in the lists of each cluster, and that after the last (int64,
        clusters + 1). Empty for others.
    """

    encodings: tuple[Encoding, ...]
    parent: int
    repeat: int
    pages: np.ndarray
    edges: np.ndarray
    seeks: np.ndarray
    sizes: np.ndarray
    flags: np.ndarray
    content: np.ndarray

    @property
    def is_index(self) -> bool:
        """Whether the elements are the ends of lists."""
        return self.encodings[0].index

    @property
    def dtype(self) -> np.dtype:
        """Type of the decoded elements, wide enough for all representations."""
        return np.result_type(*(np.dtype(encoding.dtype) for encoding in self.encodings))

    @property
    def first_elements(self) -> np.ndarray:
        """Index of the first element of each cluster, and that after the last (int64, clusters + 1)."""
        return self.edges[self.pages]

    @property
    def uncompressed(self) -> int:
        """Bytes of all pages when they are decompressed."""
        which = self.flags & 127
        bits = np.asarray([encoding.bits for encoding in self.encodings], dtype=np.int64)
        return int((np.diff(self.edges) * bits[which] // 8).sum())

    def encoding(self, page: int) -> Encoding:
        """Return the encoding of a page."""
        return self.encodings[self.flags[page] & 127]

    def has_checksum(self, page: int) -> bool:
        """Whether a checksum follows the page."""
        return bool(self.flags[page] & 128)

    def cluster(self, page: int) -> int:
        """Return the cluster of a page."""
        return int(np.searchsorted(self.pages, page, side="right")) - 1

    def overlapping(self, start: int, stop: int) -> range:
        """Return the pages with elements ``start`` to ``stop``."""
        if start >= stop:
            return range(0)
        first = int(np.searchsorted(self.edges, start, side="right")) - 1
        return range(max(first, 0), min(int(np.searchsorted(self.edges, stop, side="left")), len(self.seeks)))

    def part(self, first: int, last: int) -> PageColumn:
        """Return the column with only the clusters ``first`` to ``last``."""
        start, stop = int(self.pages[first]), int(self.pages[last])
        return replace(
            self,
            pages=self.pages[first : last + 1] - start,
            edges=self.edges[start : stop + 1],
            seeks=self.seeks[start:stop],
            sizes=self.sizes[start:stop],
            flags=self.flags[start:stop],
            content=self.content[first : last + 1],
        )


@dataclass(frozen=True, eq=False)
class PageTable:
    """The clusters, columns and fields of an RNTuple.

    Attributes
    ----------
    entries : numpy.ndarray
        First entry of each cluster, and the entry after the last (int64, clusters + 1).
    columns : mapping
        The columns by their number in the file.
    fields : mapping
        The fields at the top, by name.
    """

    entries: np.ndarray
    columns: Mapping[int, PageColumn]
    fields: Mapping[str, Field]

    def clusters(self, start: int, stop: int) -> tuple[int, int]:
        """Return the first cluster with entries ``start`` to ``stop``, and that after the last."""
        first = max(int(np.searchsorted(self.entries, start, side="right")) - 1, 0)
        last = int(np.searchsorted(self.entries, stop, side="left"))
        first = min(first, len(self.entries) - 1)
        return first, max(min(last, len(self.entries) - 1), first)

    def covers(self, start: int, stop: int) -> bool:
        """Whether the table has all clusters with entries ``start`` to ``stop``."""
        return start >= stop or bool(self.entries[0] <= start and stop <= self.entries[-1])

    def part(self, start: int, stop: int) -> PageTable:
        """Return the table with only the clusters with entries ``start`` to ``stop``."""
        first, last = self.clusters(start, stop)
        columns = {number: column.part(first, last) for number, column in self.columns.items()}
        return replace(self, entries=self.entries[first : last + 1], columns=columns)

    def only(self, names: Iterable[str]) -> PageTable:
        """Return the table with only these fields."""
        keep = set(names)
        fields = {name: field for name, field in self.fields.items() if name in keep}
        needed = {number for field in fields.values() for number in self.with_parents(field.columns)}
        return replace(self, columns={n: c for n, c in self.columns.items() if n in needed}, fields=fields)

    def with_parents(self, columns: Iterable[int]) -> list[int]:
        """Return these columns and the index columns that they depend on, each before those that it contains."""
        found: dict[int, None] = {}
        for number in columns:
            chain = [number]
            while (parent := self.columns[chain[-1]].parent) >= 0:
                chain.append(parent)
            found.update(dict.fromkeys(reversed(chain)))
        return list(found)

    @property
    def bytes(self) -> int:
        """Uncompressed bytes of all columns."""
        return sum(column.uncompressed for column in self.columns.values())

    # Most columns of a file have the same edges: joined, they take little space after compression.
    def __reduce__(self) -> tuple[Any, ...]:
        columns = list(self.columns.values())
        heads = [(n, c.encodings, c.parent, c.repeat, len(c.seeks), len(c.content)) for n, c in self.columns.items()]
        arrays: list[np.ndarray] = [
            np.concatenate([getattr(c, name) for c in columns]) if columns else np.zeros(0) for name in _ARRAYS
        ]
        return _restore, (self.entries, heads, arrays, dict(self.fields))


_ARRAYS = ("pages", "edges", "seeks", "sizes", "flags", "content")


def _restore(
    entries: np.ndarray, heads: list[tuple[Any, ...]], arrays: list[np.ndarray], fields: dict[str, Field]
) -> PageTable:
    columns = {}
    at = [0] * len(arrays)
    for number, encodings, parent, repeat, pages, content in heads:
        lengths = (len(entries), pages + 1, pages, pages, pages, content)
        parts = [array[a : a + n] for array, a, n in zip(arrays, at, lengths, strict=True)]
        at = [a + n for a, n in zip(at, lengths, strict=True)]
        columns[number] = PageColumn(encodings, parent, repeat, *parts)
    return PageTable(entries, columns, fields)
