"""Where everything lies in one ROOT file, written down once so that no worker parses the metadata again.

A `Layout` is made by `describe` while planning and travels with each chunk. It holds, for each branch that the fast
path can read, the entry edges, positions and sizes of its baskets; for each other branch, the shape of its array.
"""

from __future__ import annotations

import builtins
import functools
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import zstandard

__all__ = ["Column", "Layout", "PackedLayout"]

# What a plan looks at for every file; the rest is packed.
_LIGHT = ("uuid", "end", "treename", "kind", "entries", "clusters", "bytes", "declared")


@dataclass(frozen=True, eq=False)
class Column:
    """One branch that the fast path reads: plain numbers, one per entry or several, with a counter or as a vector.

    Or vectors of texts.

    Attributes
    ----------
    dtype : str
        Type of the numbers as they lie on disk, big endian, such as ``">f4"``.
    counter : str or None
        The branch that says how many numbers each entry has (``"nMuon"``); None for one number per entry, or a vector.
    edges : numpy.ndarray
        Entry at which each basket starts, and the entry after the last (int64, one longer than ``seeks``).
    seeks, sizes : numpy.ndarray
        Position and size in bytes of each basket's record in the file (int64).
    header : int
        Bytes before the numbers of each entry: 10 where each is a ``std::vector``, which says itself how long it is.
    texts : bool
        Whether those vectors are of texts, and ``dtype`` is of their characters.
    """

    dtype: str
    counter: str | None
    edges: np.ndarray
    seeks: np.ndarray
    sizes: np.ndarray
    header: int = 0
    texts: bool = False

    def overlapping(self, start: int, stop: int) -> range:
        """The baskets that hold entries ``start`` to ``stop``."""
        first = int(np.searchsorted(self.edges, start, side="right")) - 1
        last = int(np.searchsorted(self.edges, stop, side="left"))
        return range(max(first, 0), min(last, len(self.seeks)))

    def part(self, start: int, stop: int) -> Column:
        """The same column with only the baskets that hold entries ``start`` to ``stop``."""
        keep = self.overlapping(start, stop)
        return replace(
            self,
            edges=self.edges[keep.start : keep.stop + 1],
            seeks=self.seeks[keep.start : keep.stop],
            sizes=self.sizes[keep.start : keep.stop],
        )

    def covers(self, start: int, stop: int) -> bool:
        """Whether these baskets hold all of the entries ``start`` to ``stop``."""
        return start >= stop or bool(len(self.seeks) and self.edges[0] <= start and stop <= self.edges[-1])


@dataclass(frozen=True, eq=False)
class Layout:
    """What a reader needs to know of one tree in one file.

    Attributes
    ----------
    uuid : str
        The file's own identifier.
    end : int
        Where the file ends by its own header; with the uuid it tells whether a file is still the same.
    treename : str
        Path of the tree in the file.
    kind : str
        ``"TTree"`` or ``"RNTuple"``.
    entries : int
        Number of entries in the tree.
    clusters : numpy.ndarray
        Entry edges at which the data can be cut without reading anything twice (int64, from 0 to ``entries``).
    bytes : int
        Uncompressed size of the branches described here.
    columns : mapping
        Branches that the fast path reads.
    forms : mapping
        Awkward form (JSON text) of each branch that only uproot reads.
    unreadable : mapping
        Why a branch cannot be read at all, or not together with the dataset's other files.
    typenames : mapping
        C++ type of every branch, as in the file.
    declared : bool
        Whether these are only the branches that the user declared, and the file may have others.
    """

    uuid: str
    end: int
    treename: str
    kind: str
    entries: int
    clusters: np.ndarray
    bytes: int
    columns: Mapping[str, Column] = field(repr=False)
    forms: Mapping[str, str] = field(repr=False)
    unreadable: Mapping[str, str] = field(repr=False)
    typenames: Mapping[str, str] = field(repr=False)
    declared: bool = False

    @property
    def names(self) -> list[str]:
        """Every branch of the tree, in the file's order."""
        return list(self.typenames)

    @functools.cached_property
    def schema(self) -> str:
        """What the events look like, without the positions: equal for files that can share prepared forms."""
        parts = [f"{name}={c.dtype}<{c.counter}{c.header}{c.texts}" for name, c in self.columns.items()]
        parts += [f"{name}:{form}" for name, form in self.forms.items()]
        return "\n".join([*parts, *self.unreadable])

    def part(self, start: int, stop: int) -> Layout:
        """The layout of entries ``start`` to ``stop`` alone, as small as a task should be."""
        columns = {name: column.part(start, stop) for name, column in self.columns.items()}
        for name, (first, last) in _reach(columns.values(), start, stop).items():
            if name in columns:
                columns[name] = self.columns[name].part(first, last)
        edges = self.clusters[(self.clusters >= start) & (self.clusters <= stop)]
        return replace(self, columns=columns, clusters=edges)

    def only(self, names: Iterable[str]) -> Layout:
        """The layout with these branches, and the counters that they need."""
        keep = set(names)
        keep |= {c.counter for name, c in self.columns.items() if name in keep and c.counter}
        stored = {name: int(c.sizes.sum()) for name, c in self.columns.items()}
        share = sum(stored[name] for name in keep if name in stored) / max(sum(stored.values()), 1)
        return replace(
            self,
            bytes=int(self.bytes * share) if stored else self.bytes,
            columns={k: v for k, v in self.columns.items() if k in keep},
            forms={k: v for k, v in self.forms.items() if k in keep},
            unreadable={k: v for k, v in self.unreadable.items() if k in keep},
            typenames={k: v for k, v in self.typenames.items() if k in keep},
            declared=True,
        )

    def without(self, reasons: Mapping[str, str]) -> Layout:
        """The layout with some branches marked as unreadable, each with its reason."""
        return replace(
            self,
            columns={k: v for k, v in self.columns.items() if k not in reasons},
            forms={k: v for k, v in self.forms.items() if k not in reasons},
            unreadable={**self.unreadable, **reasons},
        )

    def packed(self) -> PackedLayout:
        """The same, with the branches compressed until they are asked for."""
        return PackedLayout(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self._bytes(),)

    def _bytes(self) -> builtins.bytes:
        # Basket edges repeat from branch to branch, names from chunk to chunk: compressed, a chunk of a NanoAOD
        # file with 1500 branches is some 30 kB on the wire instead of 900.
        state = (
            self.uuid, self.end, self.treename, self.kind, self.entries, self.clusters, self.bytes,
            [(name, c.dtype, c.counter, c.header, c.texts, len(c.seeks)) for name, c in self.columns.items()],
            _joined(c.edges for c in self.columns.values()),
            _joined(c.seeks for c in self.columns.values()),
            _joined(c.sizes for c in self.columns.values()),
            dict(self.forms), dict(self.unreadable), dict(self.typenames), self.declared,
        )  # fmt: skip
        return zstandard.compress(pickle.dumps(state, protocol=5), 1)


class PackedLayout(Layout):
    """A layout that takes little memory: a plan holds one per file, and there may be tens of thousands.

    The branches of a NanoAOD file take a megabyte, and a tenth of that packed. The last few that were asked for stay
    unpacked.
    """

    def __init__(self, layout: Layout) -> None:
        light = {name: getattr(layout, name) for name in _LIGHT}
        self.__dict__.update(light, _content=layout._bytes())

    columns = property(lambda self: self.unpacked().columns)
    forms = property(lambda self: self.unpacked().forms)
    unreadable = property(lambda self: self.unpacked().unreadable)
    typenames = property(lambda self: self.unpacked().typenames)
    schema = property(lambda self: self.unpacked().schema)

    def unpacked(self) -> Layout:
        """The layout as a plain one."""
        return _last_unpacked(self.__dict__["_content"])

    def packed(self) -> PackedLayout:
        """Itself."""
        return self

    def part(self, start: int, stop: int) -> Layout:
        """As for `Layout`."""
        return self.unpacked().part(start, stop)

    def only(self, names: Iterable[str]) -> Layout:
        """As for `Layout`."""
        return self.unpacked().only(names)

    def without(self, reasons: Mapping[str, str]) -> Layout:
        """As for `Layout`."""
        return self.unpacked().without(reasons)

    def __repr__(self) -> str:
        return f"Packed{self.unpacked()!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _packed_again, (dict(self.__dict__),)


def _packed_again(state: dict[str, Any]) -> PackedLayout:
    layout = PackedLayout.__new__(PackedLayout)
    layout.__dict__.update(state)
    return layout


def _reach(columns: Iterable[Column], start: int, stop: int) -> dict[str, tuple[int, int]]:
    """The entries whose counts are needed, by counter: all those in the baskets that hold ``start`` to ``stop``."""
    reach: dict[str, tuple[int, int]] = {}
    for column in columns:
        if column.counter and len(column.seeks):
            first, last = reach.get(column.counter, (start, stop))
            reach[column.counter] = min(first, int(column.edges[0])), max(last, int(column.edges[-1]))
    return reach


def _joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *arrays])


def _unpacked(packed: bytes) -> Layout:
    state = pickle.loads(zstandard.decompress(packed))  # noqa: S301 - made by __reduce__ above, inside a pickle
    uuid, end, treename, kind, entries, clusters, size, heads, edges, seeks, sizes, *rest = state
    columns, at, edge_at = {}, 0, 0
    for name, dtype, counter, header, texts, baskets in heads:
        columns[name] = Column(
            dtype,
            counter,
            edges[edge_at : edge_at + baskets + 1],
            seeks[at : at + baskets],
            sizes[at : at + baskets],
            header,
            texts,
        )
        at += baskets
        edge_at += baskets + 1
    return Layout(uuid, end, treename, kind, entries, clusters, size, columns, *rest)


_last_unpacked = functools.lru_cache(maxsize=32)(_unpacked)
