"""The columns of a range of entries of one file; each is read once, when it is first used."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from af_kit.data.jit import jit
from af_kit.data.reading.baskets import basket_data, decode_strings, decode_vectors
from af_kit.data.reading.codecs import Buffer, CorruptBlock
from af_kit.data.reading.column_cache import ColumnCache, column_key
from af_kit.data.reading.fallback import flat_numbers, flat_strings, read_branch
from af_kit.data.reading.flat import copy_rows
from af_kit.data.reading.layout import Column, Layout
from af_kit.data.reading.page_reader import PageReader, verify_pages
from af_kit.data.reading.planned_file import PlannedFile, ReadStats
from af_kit.errors import ReadError

__all__ = ["ReadStats", "Reader", "Strings"]

T = TypeVar("T")


class Strings(NamedTuple):
    """A branch of vectors of strings."""

    offsets: np.ndarray
    """Index of each entry's first string (int64, entries + 1)."""
    starts: np.ndarray
    """Index of each string's first character (int64)."""
    stops: np.ndarray
    """Index after its last character."""
    characters: np.ndarray
    """Bytes, including some between the strings."""


class Reader:
    """Columns of the entries ``start`` to ``stop`` of one tree, read from the replica at ``path``.

    Numbers, vectors and strings take the fast path: the layout has the positions of the baskets, so one request fetches
    them. Their checksums are checked, for which ZLIB and LZMA blocks are decoded as a whole; with ``verify=False`` only
    their data part is decoded. The fields of an RNTuple are decoded from their pages. uproot opens the file and reads
    everything else.

    With a ``cache``, such columns of a TTree are taken from there, after a look at the file's header; a column that is
    not there is added. Fields of an RNTuple, and what uproot reads, are not cached.

    Attributes
    ----------
    error : ReadError or None
        The first error. Columns are read inside the user's expressions, so this is how a damaged file is distinguished
        from a bug in the user's function.
    stats : ReadStats
        What has been read.
    """

    def __init__(
        self,
        path: str,
        layout: Layout,
        start: int,
        stop: int,
        *,
        verify: bool = True,
        cache: ColumnCache | None = None,
    ) -> None:
        self.path = path
        self.layout = layout
        self.start, self.stop = start, stop
        self.verify = verify
        self._cache = cache
        self.stats = ReadStats()
        self.error: ReadError | None = None
        self._file = PlannedFile(path, layout, self.stats)
        self._records: dict[str, list[memoryview]] = {}
        self._numbers: dict[str, np.ndarray] = {}
        self._taken: set[str] = set()
        self._offsets: dict[str, np.ndarray] = {}
        self._wider_offsets: dict[tuple[str, int, int], np.ndarray] = {}
        self._arrays: dict[str, Any] = {}
        self._vector_offsets: dict[str, np.ndarray] = {}
        self._strings: dict[str, Strings] = {}
        self._not_cached: set[str] = set()
        self._agreeing: dict[tuple[int, str], np.ndarray] = {}
        self._depth = 0
        self._pages: PageReader | None = None
        if layout.pages is not None:
            self._pages = PageReader(path, layout.pages, start, stop, self._file.read, verify=verify)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; columns already read stay valid."""
        self._file.close()

    def is_fast(self, name: str) -> bool:
        """Whether the fast path can read this branch for these entries."""
        column = self.layout.columns.get(name)
        if column is None or not column.covers(self.start, self.stop):
            return False
        return column.counter is None or self.is_fast(column.counter)

    def is_native(self, name: str) -> bool:
        """Whether the kit decodes the pages of this field of an RNTuple."""
        pages = self.layout.pages
        return pages is not None and name in pages.fields and pages.fields[name].native

    def numbers(self, name: str) -> np.ndarray:
        """Return the flat content of a branch of numbers, in the machine's byte order."""
        if name not in self._numbers:
            with self._recorded(name):
                if self.is_fast(name):
                    if not self._from_cache(name):
                        self._numbers[name] = self._read_fast(name)
                        self._to_cache(name)
                elif self.is_native(name):
                    self._numbers[name] = self._page_reader.numbers(self._field_columns(name)[-1])
                else:
                    self._numbers[name] = flat_numbers(self.array(name))
        return self._numbers[name]

    def can_take(self, name: str) -> bool:
        """Whether `take` can read a branch: it has baskets of nothing but numbers, and is used for the first time."""
        if self._cache is not None or self.start >= self.stop or not self.is_fast(name):
            return False
        column = self.layout.columns[name]
        return name not in self._numbers and name not in self._taken and not column.header and not column.strings

    def take(self, name: str, index: np.ndarray) -> np.ndarray:
        """Return ``numbers(name)[index]``: some of the numbers of a branch, in any order.

        They are taken from one basket after the other, so the column is never in memory as a whole, and not kept. A
        branch that is used again should be read by `numbers`, as `can_take` says.
        """
        if (index[1:] < index[:-1]).any():
            order = np.argsort(index, kind="stable")
            ascending = self.take(name, index[order])
            found = np.empty_like(ascending)
            found[order] = ascending
            return found
        with self._recorded(name):
            self._taken.add(name)
            return self._take(name, index)

    def _take(self, name: str, index: np.ndarray) -> np.ndarray:
        column = self.layout.columns[name]
        edges = self._edges(column)
        positions, start, stop = self._positions(column, edges)
        if index.size and not 0 <= index[0] <= index[-1] < stop - start:
            raise IndexError(f"{name} has {stop - start} numbers here, not one at {index[0]} or at {index[-1]}")
        dtype = np.dtype(column.dtype)
        words = np.dtype(f"u{dtype.itemsize}")
        found = np.empty(index.size, dtype=words)
        ends = np.searchsorted(index, positions - start).tolist()  # of each basket in the index
        for i, (first, _, data) in enumerate(self._decoded(name, edges.tolist(), positions.tolist(), dtype.itemsize)):
            part = slice(ends[i], ends[i + 1])
            copy_rows(np.frombuffer(data, dtype=words), index[part], first - start, found[part])
        if dtype.newbyteorder("=") != dtype:
            found.byteswap(inplace=True)
        return found.view(dtype.newbyteorder("="))

    def column(self, name: str, number: int, start: int, stop: int, *, offsets: bool = False) -> np.ndarray:
        """Return the elements of a field's column for these entries, or where its lists start, counted from zero.

        ``start`` and ``stop`` are counted from the start of this range.
        """
        with self._recorded(name):
            first, last = self._page_reader.locate(number, start, stop)
            if offsets:
                found = self._page_reader.offsets(number)[first : last + 1]
                return found - found[0] if found[0] else found
            return self._page_reader.numbers(number)[first:last]

    def strings(self, name: str) -> Strings:
        """Return a branch of vectors of strings."""
        if name not in self._strings:
            with self._recorded(name):
                if self.is_fast(name):
                    if not self._from_cache(name):
                        self._strings[name] = self._read_strings(name)
                        self._to_cache(name)
                else:
                    self._strings[name] = Strings(*flat_strings(self.array(name)))
        return self._strings[name]

    def vector_offsets(self, name: str) -> np.ndarray:
        """Return the index of each entry's first number in a branch of vectors (int64, entries + 1)."""
        if name not in self._vector_offsets:
            if self.is_native(name):
                with self._recorded(name):
                    self._vector_offsets[name] = self._page_reader.offsets(self._field_columns(name)[0])
                return self._vector_offsets[name]
            self.numbers(name)
            if name not in self._vector_offsets:
                import awkward as ak

                self._vector_offsets[name] = np.cumsum([0, *ak.to_numpy(ak.num(self.array(name)))], dtype=np.int64)
        return self._vector_offsets[name]

    def offsets(self, counter: str) -> np.ndarray:
        """Return the index of each entry's first element in the counter's collection (int64, entries + 1)."""
        if counter not in self._offsets:
            counts = self.numbers(counter)
            if len(counts) and _as_signed(counts).min() < 0:
                error = ReadError(f"{self.path} is damaged: {counter!r} has counts below zero.")
                self.error = self.error or error
                raise error
            offsets = np.empty(len(counts) + 1, dtype=np.int64)
            offsets[0] = 0
            if "numba" in sys.modules:  # a compiled loop takes a seventh of numpy's time, loading numba half a second
                _add_up(counts, offsets)
            else:
                np.cumsum(counts, out=offsets[1:])
            self._offsets[counter] = offsets
        return self._offsets[counter]

    def agrees(self, offsets: np.ndarray, counter: str) -> bool:
        """Whether offsets equal those of a counter; the fields of an RNTuple's collection often share one array."""
        key = id(offsets), counter
        if key not in self._agreeing:
            if not np.array_equal(offsets, self.offsets(counter)):
                return False
            self._agreeing[key] = offsets  # kept, so that no other array gets its id
        return True

    def array(self, name: str) -> Any:
        """Return a branch as uproot reads it."""
        if name not in self._arrays:
            self.stats.fallbacks.add(name)
            with self._recorded(name):
                if self.verify and self.layout.pages is not None and name in self.layout.pages.fields:
                    verify_pages(self.path, self.layout.pages, name, self.start, self.stop, self._file.read)
                self._arrays[name], size = read_branch(self.path, self.layout, name, self.start, self.stop)
                self.stats.bytes_read += size
        return self._arrays[name]

    @contextmanager
    def _recorded(self, name: str) -> Iterator[None]:
        """Record a branch and the time in the statistics, and the first error."""
        self.stats.branches.add(name)
        begin, waited = time.perf_counter(), self.stats.waiting_s
        self._depth += 1  # a counter is read while its collection is
        try:
            yield
        except ReadError as error:
            self.error = self.error or error
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self.stats.decoding_s += time.perf_counter() - begin - (self.stats.waiting_s - waited)

    def prefetch(self, names: Iterable[str]) -> None:
        """Fetch the baskets of several branches and their counters in one request; they are decoded when used.

        So are the pages of an RNTuple, in a second request those whose place follows from the content of the first.
        """
        names = list(names)
        columns = [column for name in names if self.is_native(name) for column in self._field_columns(name)]
        if columns:
            self._page_reader.prefetch(columns)
        present = (self._records, self._numbers, self._strings)
        wanted = [n for n in names if not any(n in those for those in present) and self.is_fast(n)]
        wanted = [n for n in wanted if not self._from_cache(n)]
        wanted += sorted(
            {c for n in wanted if (c := self.layout.columns[n].counter) and c not in self._numbers} - {*wanted}
        )
        wanted = [n for n in wanted if n not in self._records and not self._from_cache(n)]
        pieces: list[tuple[str, int, int]] = []
        for name in wanted:
            column = self.layout.columns[name]
            baskets = column.overlapping(self.start, self.stop)
            seeks, sizes = (array[baskets.start : baskets.stop].tolist() for array in (column.seeks, column.sizes))
            pieces += [(name, seek, seek + size) for seek, size in zip(seeks, sizes, strict=True)]
        found: dict[str, list[memoryview]] = {name: [] for name in wanted}
        for (name, _, _), data in zip(pieces, self._file.read([(a, b) for _, a, b in pieces]), strict=True):
            found[name].append(data)
        self._records.update(found)

    def _from_cache(self, name: str) -> bool:
        """Take a column from the cache; return whether it was there."""
        if self._cache is None or self.start >= self.stop:
            return False
        if name not in self._not_cached:
            key = column_key(self.layout, name, self.start, self.stop, verify=self.verify)
            arrays = self._cache.get(key)
            if arrays is not None:
                self._file.check()
                self.stats.bytes_cached += sum(array.nbytes for array in arrays)
                self._set_arrays(name, arrays)
                return True
            self._not_cached.add(name)
        return False

    def _to_cache(self, name: str) -> None:
        if self._cache is not None and self.start < self.stop:
            key = column_key(self.layout, name, self.start, self.stop, verify=self.verify)
            self._cache.put(key, self._arrays_of(name))

    def _arrays_of(self, name: str) -> list[np.ndarray]:
        """Return a column as the arrays that the cache keeps."""
        if name in self._strings:
            return list(self._strings[name])
        return [array[name] for array in (self._numbers, self._vector_offsets) if name in array]

    def _set_arrays(self, name: str, arrays: Sequence[np.ndarray]) -> None:
        if self.layout.columns[name].strings:
            self._strings[name] = Strings(*arrays)
            return
        self._numbers[name], *offsets = arrays
        if offsets:
            self._vector_offsets[name] = offsets[0]

    @property
    def _page_reader(self) -> PageReader:
        assert self._pages is not None
        return self._pages

    def _field_columns(self, name: str) -> tuple[int, ...]:
        """Return the columns of a field, the outermost first."""
        assert self.layout.pages is not None
        return self.layout.pages.fields[name].columns

    def _read_fast(self, name: str) -> np.ndarray:
        column = self.layout.columns[name]
        if self.start >= self.stop:
            self._vector_offsets[name] = np.zeros(1, dtype=np.int64)
            return np.zeros(0, dtype=np.dtype(column.dtype).newbyteorder("="))
        if column.header:
            return self._read_vectors(name, column)
        edges = self._edges(column)
        positions, first, last = self._positions(column, edges)
        return self._decode(name, column, edges.tolist(), positions.tolist())[first:last]

    def _edges(self, column: Column) -> np.ndarray:
        """Return the entries at which the baskets for this range start, and the one after the last."""
        baskets = column.overlapping(self.start, self.stop)
        return column.edges[baskets.start : baskets.stop + 1]

    def _read_strings(self, name: str) -> Strings:
        header = self.layout.columns[name].header
        counts, starts, stops, characters = [], [], [], []
        before = 0
        for (basket_counts, basket_starts, basket_stops, data), first, last in self._baskets(
            name, lambda record, entries: decode_strings(record, entries, header, verify=self.verify)
        ):
            part = slice(int(basket_counts[:first].sum()), int(basket_counts[:last].sum()))
            counts.append(basket_counts[first:last])
            starts.append(basket_starts[part] + before)
            stops.append(basket_stops[part] + before)
            characters.append(data)
            before += len(data)
        none = np.zeros(0, dtype=np.int64)
        offsets = np.zeros(self.stop - self.start + 1, dtype=np.int64)
        np.cumsum(np.concatenate([none, *counts]), out=offsets[1:])
        return Strings(
            offsets,
            np.concatenate([none, *starts]),
            np.concatenate([none, *stops]),
            characters[0] if len(characters) == 1 else np.concatenate([none.astype(np.uint8), *characters]),
        )

    def _read_vectors(self, name: str, column: Column) -> np.ndarray:
        """Return the numbers of a branch of vectors; their offsets are found on the way."""
        dtype = np.dtype(column.dtype)
        counts, numbers = [], []
        for (basket_counts, basket_numbers), first, last in self._baskets(
            name, lambda record, entries: decode_vectors(record, entries, dtype, column.header, verify=self.verify)
        ):
            if first > 0 or last < len(basket_counts):
                basket_numbers = basket_numbers[basket_counts[:first].sum() : basket_counts[:last].sum()]
            counts.append(basket_counts[first:last])
            numbers.append(basket_numbers.astype(dtype.newbyteorder("=")))
        offsets = np.zeros(self.stop - self.start + 1, dtype=np.int64)
        np.cumsum(np.concatenate(counts), out=offsets[1:])
        self._vector_offsets[name] = offsets
        return numbers[0] if len(numbers) == 1 else np.concatenate(numbers)

    def _baskets(self, name: str, decode: Callable[[memoryview, int], T]) -> Iterator[tuple[T, int, int]]:
        """Decode each basket; yield the result, and the first and last of its entries that are in this range."""
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
        """Return the element positions of the baskets' edges, of ``start`` and of ``stop``."""
        if column.counter is None:
            return edges - edges[0], int(self.start - edges[0]), int(self.stop - edges[0])
        if edges[0] == self.start and edges[-1] == self.stop:
            offsets, base = self.offsets(column.counter), self.start
        else:
            offsets, base = self._offsets_between(column.counter, int(edges[0]), int(edges[-1])), int(edges[0])
        return offsets[edges - base], int(offsets[self.start - base]), int(offsets[self.stop - base])

    def _offsets_between(self, counter: str, start: int, stop: int) -> np.ndarray:
        """Return offsets over whole baskets, of which this range is a part: they need the counts of all entries."""
        key = (counter, start, stop)
        if key not in self._wider_offsets:
            wide = Reader(self.path, self.layout, start, stop, verify=self.verify)
            wide._file = self._file  # already open, with its identity checked
            try:
                self._wider_offsets[key] = wide.offsets(counter)
            finally:
                self.stats.bytes_read += wide.stats.bytes_read  # by uproot
                self.stats.fallbacks |= wide.stats.fallbacks
        return self._wider_offsets[key]

    def _decode(self, name: str, column: Column, edges: list[int], positions: list[int]) -> np.ndarray:
        dtype = np.dtype(column.dtype)
        try:
            numbers = np.empty(positions[-1], dtype=dtype.newbyteorder("="))
        except (MemoryError, ValueError) as error:  # a damaged counter can ask for billions of numbers
            raise ReadError(
                f"{self.path}: branch {name!r} cannot have {positions[-1]} numbers in entries {self.start} to "
                f"{self.stop}: {column.counter!r} is damaged, or the chunk is too large for this machine."
            ) from error
        for first, last, data in self._decoded(name, edges, positions, dtype.itemsize):
            numbers[first:last] = np.frombuffer(data, dtype=dtype)
        return numbers

    def _decoded(
        self, name: str, edges: list[int], positions: list[int], size: int
    ) -> Iterator[tuple[int, int, Buffer]]:
        """Decode numbers of ``size`` bytes each; yield where each basket starts and ends, and its data."""
        self.prefetch([name])
        for i, record in enumerate(self._records.pop(name)):
            first, last = positions[i], positions[i + 1]
            try:
                data = basket_data(record, (last - first) * size, edges[i + 1] - edges[i], verify=self.verify)
            except CorruptBlock as error:
                raise self._damaged(name, edges[i], edges[i + 1], error) from error
            yield first, last, data


def _as_signed(counts: np.ndarray) -> np.ndarray:
    """Return counts in the signed type in which they are summed."""
    return counts.view(np.int64) if counts.dtype == np.uint64 else counts


@jit
def _add_up(counts, offsets):  # type: ignore[no-untyped-def]
    end = np.int64(0)
    for i in range(counts.size):
        end += np.int64(counts[i])
        offsets[i + 1] = end
