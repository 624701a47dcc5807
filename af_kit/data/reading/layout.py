"""The layout of a tree in one ROOT file: which branches it has, and where their baskets are.

Planning makes a `Layout` with `describe` and sends it with each chunk, so that no worker parses the file's metadata. It
holds the entry edges, positions and sizes of the baskets of each branch that the fast path can read, the awkward form
of each other branch, and the pages of an RNTuple.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import zstandard

from af_kit.data.reading.page_table import PageTable

__all__ = ["Column", "Layout", "PackedLayout"]

# Planning uses these for every file; the rest is packed.
_UNPACKED = (
    "path",
    "uuid",
    "head",
    "digest",
    "end",
    "treename",
    "kind",
    "entries",
    "clusters",
    "bytes",
    "declared",
    "repeated",
    "longer",
    "types",
)


@dataclass(frozen=True, eq=False)
class Column:
    """A branch that the fast path reads: one number per entry, an array with a counter branch, or a ``std::vector``.

    Attributes
    ----------
    dtype : str
        Type of the numbers in the file, big endian, such as ``">f4"``.
    counter : str or None
        The branch with the number of elements per entry (``"nMuon"``); None for one number per entry, or a vector.
    edges : numpy.ndarray
        Entry at which each basket starts, and the entry after the last (int64, one longer than ``seeks``).
    seeks, sizes : numpy.ndarray
        Position and size in bytes of each basket's record in the file (int64).
    header : int
        Bytes before the numbers of each entry: 10 for a ``std::vector``, which include its length.
    strings : bool
        Whether the branch holds vectors of strings; ``dtype`` is then the type of the characters.
    """

    dtype: str
    counter: str | None
    edges: np.ndarray
    seeks: np.ndarray
    sizes: np.ndarray
    header: int = 0
    strings: bool = False

    def overlapping(self, start: int, stop: int) -> range:
        """Return the baskets with entries ``start`` to ``stop``."""
        first = int(self.edges.searchsorted(start, side="right")) - 1
        last = int(self.edges.searchsorted(stop, side="left"))
        return range(max(first, 0), min(last, len(self.seeks)))

    def part(self, start: int, stop: int) -> Column:
        """Return the column with only the baskets for entries ``start`` to ``stop``."""
        keep = self.overlapping(start, stop)
        return Column(  # replace() would take twice as long, for each branch of each task
            self.dtype,
            self.counter,
            self.edges[keep.start : keep.stop + 1],
            self.seeks[keep.start : keep.stop],
            self.sizes[keep.start : keep.stop],
            self.header,
            self.strings,
        )

    def covers(self, start: int, stop: int) -> bool:
        """Whether the baskets cover entries ``start`` to ``stop``."""
        return start >= stop or bool(len(self.seeks) and self.edges[0] <= start and stop <= self.edges[-1])


@dataclass(frozen=True, eq=False)
class Layout:
    """Everything that a reader needs to know about one tree in one file.

    Attributes
    ----------
    path : str
        The file, or the replica of it, that was described.
    uuid : str
        The file's own identifier.
    head, digest : str
        Digests of the file's header and of its content (see `identity`).
    end : int
        End of the file according to its header.
    treename : str
        Path of the tree in the file.
    kind : str
        ``"TTree"`` or ``"RNTuple"``.
    entries : int
        Number of entries in the tree.
    clusters : numpy.ndarray
        Entries at which the tree can be split without reading a basket twice (int64, from 0 to ``entries``).
    bytes : int
        Uncompressed size of the branches described here.
    columns : mapping
        Branches that the fast path reads.
    forms : mapping
        Awkward form (JSON) of each branch that is not in ``columns``: uproot reads it, or the kit from its pages.
    unreadable : mapping
        The reason for each branch that cannot be read, or not together with the dataset's other files.
    typenames : mapping
        C++ type of every branch.
    declared : bool
        Whether these are only the branches that the user declared.
    repeated : tuple of str
        Full names that several branches have; the first of them is read.
    longer : tuple of str
        Branches with more entries than the tree says that it has; the further ones are not read.
    pages : PageTable or None
        The columns of an RNTuple, and where their pages are.
    """

    path: str
    uuid: str
    head: str
    digest: str
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
    repeated: tuple[str, ...] = ()
    longer: tuple[str, ...] = ()
    pages: PageTable | None = field(default=None, repr=False)

    @property
    def names(self) -> list[str]:
        """All branches of the tree, in the order of the file."""
        return list(self.typenames)

    @functools.cached_property
    def schema(self) -> str:
        """Names and types of the branches: equal for files whose events have the same structure."""
        parts = [f"{name}={c.dtype}<{c.counter}{c.header}{c.strings}" for name, c in self.columns.items()]
        parts += [f"{name}:{form}" for name, form in self.forms.items()]
        return "\n".join([*parts, *self.unreadable])

    @functools.cached_property
    def types(self) -> str:
        """Digest of the types of all branches: planning compares it for every file, and unpacks none."""
        lines = [f"{name}\t{kind}" for name, kind in sorted(self.typenames.items())]
        # surrogates: names of branches are bytes, which need not be UTF-8
        return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()[:16]

    def stored_bytes(self, names: Iterable[str]) -> int:
        """Return the bytes that some branches take in the file, without those that only uproot reads."""
        total = 0
        for name in names:
            if name in self.columns:
                total += int(self.columns[name].sizes.sum())
            elif self.pages is not None and name in self.pages.fields:
                total += sum(int(self.pages.columns[number].sizes.sum()) for number in self.pages.fields[name].columns)
        return total

    def part(self, start: int, stop: int) -> Layout:
        """Return the layout with only the baskets for entries ``start`` to ``stop``, to send with a task."""
        columns = {name: column.part(start, stop) for name, column in self.columns.items()}
        for name, (first, last) in _counter_ranges(columns.values(), start, stop).items():
            if name in columns:
                columns[name] = self.columns[name].part(first, last)
        edges = self.clusters[(self.clusters >= start) & (self.clusters <= stop)]
        pages = None if self.pages is None else self.pages.part(start, stop)
        return replace(self.unpacked(), columns=columns, clusters=edges, pages=pages)

    def only(self, names: Iterable[str]) -> Layout:
        """Return the layout with only these branches and their counters."""
        keep = set(names)
        keep |= {c.counter for name, c in self.columns.items() if name in keep and c.counter}
        stored = {name: int(c.sizes.sum()) for name, c in self.columns.items()}
        share = sum(stored[name] for name in keep if name in stored) / max(sum(stored.values()), 1)
        pages = None if self.pages is None else self.pages.only(keep)
        size = int(self.bytes * share) if stored else self.bytes
        return replace(
            self.unpacked(),
            bytes=size if pages is None else pages.bytes,
            columns={k: v for k, v in self.columns.items() if k in keep},
            forms={k: v for k, v in self.forms.items() if k in keep},
            unreadable={k: v for k, v in self.unreadable.items() if k in keep},
            typenames={k: v for k, v in self.typenames.items() if k in keep},
            declared=True,
            repeated=tuple(name for name in self.repeated if name in keep),
            longer=tuple(name for name in self.longer if name in keep),
            pages=pages,
        )

    def without(self, reasons: Mapping[str, str]) -> Layout:
        """Return the layout with some branches marked as unreadable, each with its reason.

        Counters keep their column, which their collections need.
        """
        counters = {column.counter for column in self.columns.values()}
        return replace(
            self.unpacked(),
            columns={k: v for k, v in self.columns.items() if k not in reasons or k in counters},
            forms={k: v for k, v in self.forms.items() if k not in reasons},
            unreadable={**self.unreadable, **reasons},
        )

    def unpacked(self) -> Layout:
        """Return itself; for a packed layout, one with its branches decompressed."""
        return self

    def packed(self) -> PackedLayout:
        """Return the layout with its branches compressed until they are used."""
        return PackedLayout(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self._bytes(),)

    def _bytes(self) -> builtins.bytes:
        # Basket edges repeat from branch to branch: compressed, the layout of a chunk of a NanoAOD file with 1500
        # branches has 30 kB instead of 900.
        state = (
            self.path, self.uuid, self.head, self.digest, self.end,
            self.treename, self.kind, self.entries, self.clusters, self.bytes,
            [(name, c.dtype, c.counter, c.header, c.strings, len(c.seeks)) for name, c in self.columns.items()],
            _joined(c.edges for c in self.columns.values()),
            _joined(c.seeks for c in self.columns.values()),
            _joined(c.sizes for c in self.columns.values()),
            dict(self.forms), dict(self.unreadable), dict(self.typenames), self.declared, self.repeated, self.longer,
            self.pages,
        )  # fmt: skip
        return zstandard.compress(pickle.dumps(state, protocol=5), 1)


class PackedLayout(Layout):
    """A layout that takes little memory: a plan has one per file, possibly tens of thousands.

    The branches of a NanoAOD file take a megabyte, packed a tenth of that. The layouts used last stay unpacked.
    """

    def __init__(self, layout: Layout) -> None:
        light = {name: getattr(layout, name) for name in _UNPACKED}
        self.__dict__.update(light, _content=layout._bytes())

    columns = property(lambda self: self.unpacked().columns)
    forms = property(lambda self: self.unpacked().forms)
    unreadable = property(lambda self: self.unpacked().unreadable)
    typenames = property(lambda self: self.unpacked().typenames)
    schema = property(lambda self: self.unpacked().schema)
    pages = property(lambda self: self.unpacked().pages)

    def unpacked(self) -> Layout:
        """Return the layout with its branches decompressed."""
        return _last_unpacked(self.__dict__["_content"])

    def packed(self) -> PackedLayout:
        """Return itself."""
        return self

    def __repr__(self) -> str:
        return f"Packed{self.unpacked()!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_packed, (dict(self.__dict__),)


def _restore_packed(state: dict[str, Any]) -> PackedLayout:
    layout = PackedLayout.__new__(PackedLayout)
    layout.__dict__.update(state)
    return layout


def _counter_ranges(columns: Iterable[Column], start: int, stop: int) -> dict[str, tuple[int, int]]:
    """Return the entries for which each counter is needed: all in the baskets that overlap ``start`` to ``stop``."""
    ranges: dict[str, tuple[int, int]] = {}
    for column in columns:
        if column.counter and len(column.seeks):
            first, last = ranges.get(column.counter, (start, stop))
            ranges[column.counter] = min(first, int(column.edges[0])), max(last, int(column.edges[-1]))
    return ranges


def _joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *arrays])


def _unpacked(packed: bytes) -> Layout:
    state = pickle.loads(zstandard.decompress(packed))  # noqa: S301 - written by __reduce__ above, inside a pickle
    about, (heads, edges, seeks, sizes), rest = state[:10], state[10:14], state[14:]
    columns, at, edge_at = {}, 0, 0
    for name, dtype, counter, header, strings, baskets in heads:
        columns[name] = Column(
            dtype,
            counter,
            edges[edge_at : edge_at + baskets + 1],
            seeks[at : at + baskets],
            sizes[at : at + baskets],
            header,
            strings,
        )
        at += baskets
        edge_at += baskets + 1
    arguments: tuple[Any, ...] = (*about, columns, *rest)
    return Layout(*arguments)


_last_unpacked = functools.lru_cache(maxsize=32)(_unpacked)
