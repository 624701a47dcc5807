"""The bytes of a planned file: opened, and compared with the plan, when they are first read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from af_kit.data.reading.identity import check_file
from af_kit.data.reading.layout import Layout
from af_kit.data.transport.ranges import HEADER_BYTES
from af_kit.data.transport.source import Source, open_source

__all__ = ["PlannedFile", "ReadStats"]


@dataclass
class ReadStats:
    """Bytes and branches that were read for a range of entries; ``fallbacks`` are those read with uproot.

    ``waiting_s`` is the time until the bytes came, ``decoding_s`` the time to make columns of them, in seconds.
    ``bytes_cached`` are those of columns that came from the cache.
    """

    bytes_read: int = 0
    bytes_cached: int = 0
    waiting_s: float = 0.0
    decoding_s: float = 0.0
    branches: set[str] = field(default_factory=set)
    fallbacks: set[str] = field(default_factory=set)


class PlannedFile:
    """The replica at ``path`` of the file that a layout describes; what is read is added to ``stats``."""

    def __init__(self, path: str, layout: Layout, stats: ReadStats) -> None:
        self._path = path
        self._layout = layout
        self._stats = stats
        self._source: Source | None = None

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return the bytes of each ``(start, stop)``; raise `ReadError` if some are missing, or of another file."""
        return self._timed(ranges) if ranges else []

    def check(self) -> None:
        """Raise `ReadError` if the file is gone, or another file has replaced it."""
        if self._source is None:
            self._timed([])

    def _timed(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        begin = time.perf_counter()
        try:
            return self._read(ranges)
        finally:
            self._stats.waiting_s += time.perf_counter() - begin

    def _read(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        if self._source is None:
            source = open_source(self._path, self._layout.uuid)
            # The first bytes show whether this is the file of the layout, and not one that has replaced it or another
            # replica: its bytes would be read as numbers as well.
            head, *pieces = source.read([(0, min(HEADER_BYTES, self._layout.end)), *ranges])
            is_planned = self._path == self._layout.path
            check_file(self._path, bytes(head), self._layout, None if is_planned else source.read)
            self._source = source
        else:
            pieces = self._source.read(ranges)
        self._stats.bytes_read += sum(len(piece) for piece in pieces)
        return pieces

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._source is not None:
            self._source.close()
            self._source = None
