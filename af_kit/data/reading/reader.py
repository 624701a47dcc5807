"""The columns of one range of entries of one file, each read when it is first asked for, and only once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from af_kit.data.reading.baskets import content, texts, vectors
from af_kit.data.reading.codecs import CorruptBlock
from af_kit.data.reading.layout import Column, Layout
from af_kit.data.reading.open_file import HEAD, as_read_error, check_identity, file_uuid, forget, open_tree
from af_kit.data.transport.source import Source, open_source
from af_kit.errors import AfKitError, BranchError, FilesetError, ReadError

__all__ = ["ReadStats", "Reader"]

T = TypeVar("T")


@dataclass
class ReadStats:
    """What reading one range of entries took."""

    bytes_read: int = 0
    branches: set[str] = field(default_factory=set)
    fallbacks: set[str] = field(default_factory=set)


class Texts(NamedTuple):
    """A branch of vectors of texts."""

    offsets: np.ndarray
    """Where each entry's texts begin among all (int64, one more than entries)."""
    begins: np.ndarray
    """Where each text begins in the characters (int64)."""
    ends: np.ndarray
    """Where it ends."""
    characters: np.ndarray
    """As bytes; there may be others between the texts."""


class Reader:
    """Columns of the entries ``start`` to ``stop`` of one tree.

    Plain numbers come by the fast path: the baskets' positions are in the layout, so one read fetches them and only
    their data part is decoded. Everything else is read by uproot, which opens the file for it.

    Parameters
    ----------
    path : str
        Where to read the file: one of its replicas.
    layout : Layout
        The tree's structure, at least for these entries.
    start, stop : int
        Range of entries.
    verify : bool
        Check the codecs' checksums as well; the fast path then decodes whole baskets.

    Notes
    -----
    ``error`` keeps the first `ReadError`: the columns are read inside the user's expressions, and whoever runs the
    user's function must be able to tell a broken file from a bug in the function.
    """

    def __init__(self, path: str, layout: Layout, start: int, stop: int, *, verify: bool = False) -> None:
        self.path = path
        self.layout = layout
        self.start, self.stop = start, stop
        self.verify = verify
        self.stats = ReadStats()
        self.error: ReadError | None = None
        self._source: Source | None = None
        self._records: dict[str, list[memoryview]] = {}
        self._numbers: dict[str, np.ndarray] = {}
        self._offsets: dict[str, np.ndarray] = {}
        self._wide: dict[tuple[str, int, int], np.ndarray] = {}
        self._slow: dict[str, Any] = {}
        self._vectors: dict[str, np.ndarray] = {}
        self._texts: dict[str, Texts] = {}

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; columns already read stay valid."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def is_fast(self, name: str) -> bool:
        """Whether the fast path knows this branch for these entries."""
        column = self.layout.columns.get(name)
        if column is None or not column.covers(self.start, self.stop):
            return False
        return column.counter is None or self.is_fast(column.counter)

    def numbers(self, name: str) -> np.ndarray:
        """The flat content of a branch for these entries, in the machine's byte order."""
        if name not in self._numbers:
            with self._noted(name):
                self._numbers[name] = self._read_fast(name) if self.is_fast(name) else self._slow_numbers(name)
        return self._numbers[name]

    def texts(self, name: str) -> Texts:
        """A branch of vectors of texts for these entries."""
        if name not in self._texts:
            with self._noted(name):
                self._texts[name] = self._read_texts(name) if self.is_fast(name) else self._slow_texts(name)
        return self._texts[name]

    def vector_offsets(self, name: str) -> np.ndarray:
        """Where each entry's numbers begin in the flat content of a branch of vectors (one more than entries)."""
        if name not in self._vectors:
            self.numbers(name)
            if name not in self._vectors:
                import awkward as ak

                self._vectors[name] = np.cumsum([0, *ak.to_numpy(ak.num(self.array(name)))], dtype=np.int64)
        return self._vectors[name]

    def offsets(self, counter: str) -> np.ndarray:
        """Where each entry's elements begin in its collection's flat content (int64, one more than entries)."""
        if counter not in self._offsets:
            counts = self.numbers(counter)
            if len(counts) and _as_signed(counts).min() < 0:
                error = ReadError(f"{self.path} is damaged: {counter!r} has counts below zero.")
                self.error = self.error or error
                raise error
            offsets = np.empty(len(counts) + 1, dtype=np.int64)
            offsets[0] = 0
            np.cumsum(counts, out=offsets[1:])
            self._offsets[counter] = offsets
        return self._offsets[counter]

    def array(self, name: str) -> Any:
        """A branch as uproot reads it, for types that the fast path does not know."""
        if name not in self._slow:
            self.stats.fallbacks.add(name)
            with self._noted(name):
                self._slow[name] = self._read_slow(name)
        return self._slow[name]

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        """Account for a branch that is being read."""
        self.stats.branches.add(name)
        try:
            yield
        except ReadError as error:
            self.error = self.error or error
            raise

    def prefetch(self, names: Iterable[str]) -> None:
        """Fetch the baskets of several branches in one request; what they need is decoded when it is used."""
        here = (self._records, self._numbers, self._texts)
        wanted = [n for n in names if not any(n in those for those in here) and self.is_fast(n)]
        wanted += sorted(
            {c for n in wanted if (c := self.layout.columns[n].counter) and c not in self._numbers} - {*wanted}
        )
        wanted = [n for n in wanted if n not in self._records]
        pieces: list[tuple[str, int, int]] = []
        for name in wanted:
            column = self.layout.columns[name]
            pieces += [
                (name, int(column.seeks[i]), int(column.seeks[i] + column.sizes[i]))
                for i in column.overlapping(self.start, self.stop)
            ]
        found: dict[str, list[memoryview]] = {name: [] for name in wanted}
        for (name, _, _), data in zip(pieces, self._fetch([(a, b) for _, a, b in pieces]), strict=True):
            found[name].append(data)
        self._records.update(found)

    def _fetch(self, ranges: list[tuple[int, int]]) -> list[memoryview]:
        if not ranges:
            return []
        if self._source is None:
            source = open_source(self.path, self.layout.uuid)
            # With the first bytes comes the proof that the positions are of this file, and not of one that was
            # written over it, or of another replica: they would be read as numbers all the same.
            head, *pieces = source.read([(0, min(HEAD, self.layout.end)), *ranges])
            check_identity(self.path, file_uuid(bytes(head)), self.layout.uuid)
            self._source = source
        else:
            pieces = self._source.read(ranges)
        self.stats.bytes_read += sum(len(piece) for piece in pieces)
        return pieces

    def _read_fast(self, name: str) -> np.ndarray:
        column = self.layout.columns[name]
        if self.start >= self.stop:
            self._vectors[name] = np.zeros(1, dtype=np.int64)
            return np.zeros(0, dtype=np.dtype(column.dtype).newbyteorder("="))
        if column.header:
            return self._read_vectors(name, column)
        edges = self._edges(column)
        positions, first, last = self._positions(column, edges)
        return self._decode(name, column, positions)[first:last]

    def _edges(self, column: Column) -> np.ndarray:
        """The entries at which the baskets for this range begin, and the one after the last."""
        baskets = column.overlapping(self.start, self.stop)
        return column.edges[baskets.start : baskets.stop + 1]

    def _read_texts(self, name: str) -> Texts:
        column = self.layout.columns[name]
        counts, begins, ends, characters = [], [], [], []
        before = 0
        for (own, own_begins, own_ends, data), begin, end in self._baskets(
            name, lambda record, entries: texts(record, entries, column.header, verify=self.verify)
        ):
            part = slice(int(own[:begin].sum()), int(own[:end].sum()))
            counts.append(own[begin:end])
            begins.append(own_begins[part] + before)
            ends.append(own_ends[part] + before)
            characters.append(data)
            before += len(data)
        none = np.zeros(0, dtype=np.int64)
        offsets = np.zeros(self.stop - self.start + 1, dtype=np.int64)
        np.cumsum(np.concatenate([none, *counts]), out=offsets[1:])
        return Texts(
            offsets,
            np.concatenate([none, *begins]),
            np.concatenate([none, *ends]),
            characters[0] if len(characters) == 1 else np.concatenate([none.astype(np.uint8), *characters]),
        )

    def _slow_texts(self, name: str) -> Texts:
        import awkward as ak

        entries = ak.to_layout(self.array(name)).to_ListOffsetArray64(True)
        each = entries.content.to_ListOffsetArray64(True)
        where = np.asarray(each.offsets.data)
        return Texts(np.asarray(entries.offsets.data), where[:-1], where[1:], np.asarray(each.content.data))

    def _read_vectors(self, name: str, column: Column) -> np.ndarray:
        """Numbers of a branch of vectors; where each entry's begin is found on the way."""
        dtype = np.dtype(column.dtype)
        counts, numbers = [], []
        for (own_counts, own), begin, end in self._baskets(
            name, lambda record, entries: vectors(record, entries, dtype, column.header, verify=self.verify)
        ):
            if begin > 0 or end < len(own_counts):
                own = own[own_counts[:begin].sum() : own_counts[:end].sum()]
            counts.append(own_counts[begin:end])
            numbers.append(own.astype(dtype.newbyteorder("=")))
        offsets = np.zeros(self.stop - self.start + 1, dtype=np.int64)
        np.cumsum(np.concatenate(counts), out=offsets[1:])
        self._vectors[name] = offsets
        return numbers[0] if len(numbers) == 1 else np.concatenate(numbers)

    def _baskets(self, name: str, decode: Callable[[memoryview, int], T]) -> Iterator[tuple[T, int, int]]:
        """What ``decode`` gives for each basket's record and entries, and which of its entries are of this range."""
        if self.start >= self.stop:
            return
        edges = self._edges(self.layout.columns[name])
        self.prefetch([name])
        for i, record in enumerate(self._records.pop(name)):
            first, last = int(edges[i]), int(edges[i + 1])
            try:
                found = decode(record, last - first)
            except CorruptBlock as error:
                raise self._damaged(name, first, last, error) from error
            yield found, max(self.start - first, 0), min(self.stop, last) - first

    def _damaged(self, name: str, first: int, last: int, error: CorruptBlock) -> ReadError:
        return ReadError(
            f"{self.path}: branch {name!r} is damaged in entries {first} to {last}: {error}. "
            "Copy the file again, or read another replica.",
            transient=True,
        )

    def _positions(self, column: Column, edges: np.ndarray) -> tuple[np.ndarray, int, int]:
        """Element positions of the baskets' edges, and of ``start`` and ``stop`` among them."""
        if column.counter is None:
            return edges - edges[0], int(self.start - edges[0]), int(self.stop - edges[0])
        if edges[0] == self.start and edges[-1] == self.stop:
            offsets, base = self.offsets(column.counter), self.start
        else:
            offsets, base = self._wide_offsets(column.counter, int(edges[0]), int(edges[-1])), int(edges[0])
        return offsets[edges - base], int(offsets[self.start - base]), int(offsets[self.stop - base])

    def _wide_offsets(self, counter: str, start: int, stop: int) -> np.ndarray:
        """Offsets over baskets that reach out of this range: all their counts are needed to find its numbers."""
        key = (counter, start, stop)
        if key not in self._wide:
            wide = Reader(self.path, self.layout, start, stop, verify=self.verify)
            wide._source = self._source  # the file is open already, and has shown who it is
            try:
                self._wide[key] = wide.offsets(counter)
            finally:
                self._source = wide._source
                self.stats.bytes_read += wide.stats.bytes_read
                self.stats.fallbacks |= wide.stats.fallbacks
        return self._wide[key]

    def _decode(self, name: str, column: Column, positions: np.ndarray) -> np.ndarray:
        self.prefetch([name])
        records = self._records.pop(name)
        dtype = np.dtype(column.dtype)
        try:
            numbers = np.empty(int(positions[-1]), dtype=dtype.newbyteorder("="))
        except (MemoryError, ValueError) as error:  # a damaged counter says that there are billions of numbers
            raise ReadError(
                f"{self.path}: branch {name!r} cannot have {positions[-1]} numbers in entries {self.start} to "
                f"{self.stop}: {column.counter!r} is damaged, or the chunk is too large for this machine."
            ) from error
        for i, record in enumerate(records):
            first, last = int(positions[i]), int(positions[i + 1])
            try:
                data = content(record, (last - first) * dtype.itemsize, verify=self.verify)
            except CorruptBlock as error:
                edges = column.edges[column.overlapping(self.start, self.stop).start :]
                raise self._damaged(name, int(edges[i]), int(edges[i + 1]), error) from error
            numbers[first:last] = np.frombuffer(data, dtype=dtype)
        return numbers

    def _slow_numbers(self, name: str) -> np.ndarray:
        """Flat content of a branch that uproot reads: plain numbers, or lists of them."""
        import awkward as ak

        array = self.array(name)
        return np.asarray(ak.flatten(array) if array.ndim > 1 else array)

    def _read_slow(self, name: str) -> Any:
        import awkward as ak

        if name in self.layout.unreadable:
            raise BranchError(f"Branch {name!r} of {self.path} cannot be read: {self.layout.unreadable[name]}.")
        try:
            tree = open_tree(self.path, self.layout.treename, self.layout.uuid)
            branch = tree[name]
            array = branch.array(entry_start=self.start, entry_stop=self.stop, library="ak")
        except FilesetError as error:  # the tree was there when the file was planned: this copy of it is damaged
            raise ReadError(str(error), transient=False) from error
        except AfKitError:
            raise
        except Exception as error:
            forget(self.path)
            raise as_read_error(self.path, error) from error
        if len(array) != self.stop - self.start:
            raise ReadError(
                f"{self.path}: branch {name!r} gave {len(array)} entries of {self.stop - self.start} asked for."
            )
        self.stats.bytes_read += _touched_bytes(branch, self.start, self.stop)
        array = ak.to_packed(array)
        form = self.layout.forms.get(name)
        if form is not None and array.layout.form.to_dict() != json.loads(form):
            array = ak.enforce_type(array, ak.forms.from_json(form).type)
        return array


def _as_signed(counts: np.ndarray) -> np.ndarray:
    """Counts as they are added up, in eight bytes with a sign."""
    return counts.view(np.int64) if counts.dtype == np.uint64 else counts


def _touched_bytes(branch: Any, start: int, stop: int) -> int:
    """Compressed bytes of the baskets that hold these entries (TTree); what an ntuple read is not told by uproot."""
    if not hasattr(branch, "entry_offsets"):
        return 0
    edges = branch.entry_offsets
    return sum(
        int(branch.basket_compressed_bytes(i))
        for i in range(len(edges) - 1)
        if edges[i] < stop and edges[i + 1] > start
    )
