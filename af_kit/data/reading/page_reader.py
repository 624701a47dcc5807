"""The columns of an RNTuple for a range of entries: only the pages that these need are fetched and decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from af_kit.data.reading.codecs import CorruptBlock
from af_kit.data.reading.page_table import PageColumn, PageTable
from af_kit.data.reading.pages import CHECKSUM_BYTES, check_page, decode_ends, decode_numbers, page_content
from af_kit.errors import InputError, ReadError

__all__ = ["PageReader", "verify_pages"]

Fetch = Callable[[list[tuple[int, int]]], list[memoryview]]


class PageReader:
    """Columns of the entries ``start`` to ``stop``, each decoded once.

    The elements of a list are found by its index column, which is therefore decoded first. If many columns are asked
    for together, all those whose pages are known are fetched in one request: usually all, if the range starts and ends
    with clusters; otherwise the index columns, then the rest.

    Parameters
    ----------
    path : str
        The file, for messages.
    table : PageTable
        Where the pages are.
    start, stop : int
        First entry, and the entry after the last.
    fetch : callable
        Returns the bytes of each range ``(start, stop)`` of the file.
    verify : bool
        Check the checksum of each page that has one.
    """

    def __init__(self, path: str, table: PageTable, start: int, stop: int, fetch: Fetch, *, verify: bool) -> None:
        if not table.covers(start, stop):
            raise InputError(
                f"The layout of {path} has entries {table.entries[0]} to {table.entries[-1]}, not {start} to {stop}."
            )
        self._path = path
        self._table = table
        self._start, self._stop = start, stop
        self._fetch = fetch
        self._verify = verify
        self._records: dict[int, list[memoryview]] = {}
        self._numbers: dict[int, np.ndarray] = {}
        self._offsets: dict[int, np.ndarray] = {}
        self._first: dict[int, int] = {}

    def numbers(self, number: int) -> np.ndarray:
        """Return the elements of a column; of an index column, the number of elements in each list."""
        if number not in self._numbers:
            column = self._table.columns[number]
            if column.is_index:
                self._numbers[number] = np.diff(self.offsets(number)).astype(column.dtype)
            else:
                self._numbers[number] = self._read_numbers(number, column)
        return self._numbers[number]

    def offsets(self, number: int) -> np.ndarray:
        """Return where each list of an index column starts, and the last one ends, counted from the first (int64).

        Columns with the same lists share one array.
        """
        if number not in self._offsets:
            self.prefetch([number])
            self._first[number], self._offsets[number] = self._equal_offsets(number)
        return self._offsets[number]

    def locate(self, number: int, start: int, stop: int) -> tuple[int, int]:
        """Return the elements of a column that belong to these entries, both counted from the start of the range."""
        column = self._table.columns[number]
        first, last = start, stop
        if column.parent >= 0:
            first, last = self.locate(column.parent, start, stop)
            offsets = self.offsets(column.parent)
            first, last = int(offsets[first]), int(offsets[last])
        return first * column.repeat, last * column.repeat

    def prefetch(self, numbers: Iterable[int]) -> None:
        """Fetch the pages of several columns, and of the index columns that they need; they are decoded when used."""
        done = (self._records, self._numbers, self._offsets)
        wanted = [n for n in self._table.with_parents(numbers) if not any(n in those for those in done)]
        while wanted:
            spans = {number: self._span(number) for number in wanted}
            found = [(number, span) for number, span in spans.items() if span is not None]
            self._fetch_pages([(number, self._pages(number, *span)) for number, span in found])
            wanted = [number for number in wanted if spans[number] is None]
            for number in wanted:  # the parents of some are now fetched
                parent = self._table.columns[number].parent
                if parent in self._records:
                    self.offsets(parent)

    def _span(self, number: int) -> tuple[int, int] | None:
        """Return the elements of this range in the whole file, or None as long as the lists are not decoded."""
        column = self._table.columns[number]
        if column.parent < 0:
            return self._start * column.repeat, self._stop * column.repeat
        if column.parent in self._offsets:
            first, offsets = self._first[column.parent], self._offsets[column.parent]
            return first * column.repeat, (first + int(offsets[-1])) * column.repeat
        lists = self._span(column.parent)
        parent = self._table.columns[column.parent]
        if lists is None:
            return None
        at = np.searchsorted(parent.first_elements, lists)
        if not np.array_equal(parent.first_elements[np.minimum(at, len(parent.pages) - 1)], lists):
            return None
        first, last = parent.content[at].tolist()  # whole clusters
        return first * column.repeat, last * column.repeat

    def _known_span(self, number: int) -> tuple[int, int]:
        span = self._span(number)
        if span is None:
            self.offsets(self._table.columns[number].parent)
            span = self._span(number)
            assert span is not None
        return span

    def _pages(self, number: int, start: int, stop: int) -> range:
        """Return the pages for the elements of a column."""
        column = self._table.columns[number]
        if column.is_index and start < stop:
            start = _first_end(column, start)
        return column.overlapping(start, stop)

    def _fetch_pages(self, wanted: list[tuple[int, range]]) -> None:
        places: list[tuple[int, int]] = []
        for number, pages in wanted:
            places += page_ranges(self._table.columns[number], pages, verify=self._verify)
        records = iter(self._fetch(places))
        for number, pages in wanted:
            self._records[number] = [next(records) for _ in pages]

    def _read_numbers(self, number: int, column: PageColumn) -> np.ndarray:
        self.prefetch([number])
        start, stop = self._known_span(number)
        numbers = self._empty(number, stop - start, column.dtype)
        before = min(max(int(column.edges[0]) - start, 0), len(numbers))
        numbers[:before] = 0
        records = self._records.pop(number)
        for page, record in zip(self._pages(number, start, stop), records, strict=True):
            first, last = int(column.edges[page]), int(column.edges[page + 1])
            at, end = max(first, start), min(last, stop)
            if at >= end:
                continue
            encoding = column.encoding(page)
            part = numbers[at - start : end - start]
            out = part if part.dtype == encoding.dtype else np.empty(len(part), dtype=encoding.dtype)
            try:
                content = page_content(
                    record, int(column.sizes[page]), last - first, encoding.bits, verify=self._verify
                )
                decode_numbers(content, last - first, encoding, at - first, out)
            except CorruptBlock as error:
                raise self._damaged(number, page, error) from error
            if out is not part:
                part[:] = out
        return numbers

    def _equal_offsets(self, number: int) -> tuple[int, np.ndarray]:
        """Return the first element of an index column's lists in the whole file, and their offsets.

        If its pages equal those of a column that is decoded, it is the same array: ROOT writes an index column
        for each of `Muon_pt`, `Muon_eta`, ..., and comparing the bytes of their pages takes little time.
        """
        column = self._table.columns[number]
        mine = self._records[number]
        for other, offsets in self._offsets.items():
            theirs = self._records.get(other)
            if theirs is not None and self._same_lists(column, self._table.columns[other]) and _equal(mine, theirs):
                return self._first[other], offsets
        offsets = self._read_offsets(number, column)
        first = int(offsets[0])
        if first:
            offsets -= first
        return first, offsets

    def _same_lists(self, one: PageColumn, other: PageColumn) -> bool:
        names = ("pages", "edges", "sizes", "flags", "content")
        return (one.encodings, one.parent, one.repeat) == (other.encodings, other.parent, other.repeat) and all(
            np.array_equal(getattr(one, name), getattr(other, name)) for name in names
        )

    def _read_offsets(self, number: int, column: PageColumn) -> np.ndarray:
        start, stop = self._known_span(number)
        if start >= stop:
            return np.zeros(1, dtype=np.int64)
        offsets: np.ndarray = self._empty(number, stop - start + 1, np.dtype(np.int64))
        begin = _first_end(column, start)
        if begin == start:  # a cluster starts here
            cluster = int(np.searchsorted(column.first_elements, start, side="right")) - 1
            offsets[0] = column.content[max(cluster, 0)]
        before = min(max(int(column.edges[0]) - start, 0), stop - start)
        offsets[: before + 1 if before else 0] = column.content[0]
        previous = int(column.content[0])
        for page, record in zip(self._pages(number, start, stop), self._records[number], strict=True):
            first, last = int(column.edges[page]), int(column.edges[page + 1])
            at, end = max(first, begin), min(last, stop)
            if at >= end:
                continue
            cluster = column.cluster(page)
            base, most = int(column.content[cluster]), int(column.content[cluster + 1] - column.content[cluster])
            encoding = column.encoding(page)
            out = offsets[at - start + 1 : end - start + 1]
            try:
                content = page_content(
                    record, int(column.sizes[page]), last - first, encoding.bits, verify=self._verify
                )
                decode_ends(content, last - first, encoding, at - first, base, most, out)
                is_last = page + 1 == column.pages[cluster + 1]
                if out[0] < previous or (is_last and end == last and out[-1] != base + most):
                    raise CorruptBlock("the lists in a page of offsets do not have as many elements as their cluster")
            except CorruptBlock as error:
                raise self._damaged(number, page, error) from error
            previous = int(out[-1])
        return offsets

    def _empty(self, number: int, length: int, dtype: np.dtype) -> np.ndarray:
        try:
            return np.empty(length, dtype=dtype)
        except MemoryError as error:
            raise ReadError(
                f"{self._path}: field {self._name(number)!r} has {length} numbers in entries {self._start} to "
                f"{self._stop}, too many for this machine. Use smaller chunks: chunk_entries=..."
            ) from error

    def _name(self, number: int) -> str:
        return next(name for name, field in self._table.fields.items() if number in field.columns)

    def _damaged(self, number: int, page: int, error: CorruptBlock) -> ReadError:
        cluster = self._table.columns[number].cluster(page)
        return damaged_page(self._path, self._name(number), self._table, cluster, error)


def verify_pages(path: str, table: PageTable, name: str, start: int, stop: int, fetch: Fetch) -> None:
    """Check the checksums of all pages of a field in the clusters of these entries: uproot does not check them.

    A page that does not match raises `ReadError`.
    """
    first, last = table.clusters(start, stop)
    columns = [table.columns[number] for number in table.fields[name].columns]
    pages = [(c, p) for c in columns for p in range(int(c.pages[first]), int(c.pages[last])) if c.has_checksum(p)]
    records = fetch([place for column, page in pages for place in page_ranges(column, [page], verify=True)])
    for (column, page), record in zip(pages, records, strict=True):
        try:
            check_page(record, int(column.sizes[page]))
        except CorruptBlock as error:
            raise damaged_page(path, name, table, column.cluster(page), error) from error


def page_ranges(column: PageColumn, pages: Iterable[int], *, verify: bool) -> list[tuple[int, int]]:
    """Return the byte ranges of pages, with their checksums if these will be checked."""
    return [
        (
            int(column.seeks[page]),
            int(column.seeks[page] + column.sizes[page]) + CHECKSUM_BYTES * (verify and column.has_checksum(page)),
        )
        for page in pages
    ]


def damaged_page(path: str, name: str, table: PageTable, cluster: int, error: CorruptBlock) -> ReadError:
    """Return the error for a damaged page of a field in a cluster."""
    first, last = table.entries[[cluster, cluster + 1]].tolist()
    return ReadError(
        f"{path}: field {name!r} is damaged in entries {first} to {last}: {error}. "
        "Copy the file again, or read another replica.",
        transient=True,
    )


def _first_end(column: PageColumn, start: int) -> int:
    """Return the first element to decode for the offset of the list ``start``: the end of the list before.

    At the start of a cluster, the offset is known.
    """
    return start if start == 0 or np.any(column.first_elements == start) else start - 1


def _equal(one: list[memoryview], other: list[memoryview]) -> bool:
    return len(one) == len(other) and all(bytes(a) == bytes(b) for a, b in zip(one, other, strict=True))
