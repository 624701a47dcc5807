"""An uproot source for files on XRootD servers: for metadata, and for branches that the fast path does not read.

uproot's own XRootD sources use neither the kit's time-outs nor a renewed token, and keep files open per thread.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable
from typing import Any

import numpy as np
from uproot.source.chunk import Chunk, Source
from uproot.source.futures import TrivialFuture

from af_kit.data.transport.ranges import samples
from af_kit.data.transport.xrootd import XRootDFile

__all__ = ["XRootDSource"]

# ROOT writes a tree's metadata last. A file's end of this size comes with the first request: at most so many bytes, and
# this share of the file.
_END_BYTES, _END_SHARE = 256 << 10, 1 / 16


class XRootDSource(Source):
    """Byte ranges for uproot, each group in one request."""

    def __init__(self, file_path: str, **options: Any) -> None:
        super().__init__()
        self._file_path = file_path
        self._open()

    def _open(self) -> None:
        self._file: XRootDFile | None = XRootDFile(self._file_path)
        self._num_bytes = self._file.size
        # What identifies the file comes with the first request, and its end, which often holds the tree's metadata.
        self._samples: dict[tuple[int, int], memoryview] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_file", "_samples")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self._open()

    def __repr__(self) -> str:
        return f"<XRootDSource {self._file_path!r}>"

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return one range."""
        return self._fetch([(start, stop)])[0]

    def chunks(self, ranges: list[tuple[int, int]], notifications: queue.Queue[Chunk]) -> list[Chunk]:
        """Return several ranges, all of them complete."""
        chunks = self._fetch(ranges)
        for chunk in chunks:
            notifications.put(chunk)
        return chunks

    def keep(self, uuid: str) -> None:
        """Leave the file open for a few seconds after it is closed here, for a task that reads this very file."""
        if self._file is not None:
            self._file.keep(uuid)

    def fetch_ahead(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch ranges in one request, and keep them until they are asked for."""
        unique = dict.fromkeys((int(start), int(stop)) for start, stop in ranges)
        wanted = [each for each in unique if self._sampled(*each) is None]
        if wanted and self._file is not None:
            self._samples.update(zip(wanted, self._file.read(wanted), strict=True))

    def _fetch(self, ranges: list[tuple[int, int]]) -> list[Chunk]:
        if self._file is None:
            raise OSError(f"{self._file_path} is closed")
        # When uproot reads the header, it requests more bytes than a small file has.
        ranges = [(int(start), min(int(stop), self._num_bytes)) for start, stop in ranges]
        self._num_requests += 1
        self._num_requested_chunks += len(ranges)
        self._num_requested_bytes += sum(stop - start for start, stop in ranges)
        extra = [] if self._samples else [*samples(self._num_bytes), self._end()]
        data = self._read([*ranges, *extra])
        self._samples.update(zip(extra, data[len(ranges) :], strict=True))
        return [
            Chunk(self, start, stop, TrivialFuture(np.frombuffer(piece, dtype=Chunk._dtype)))
            for (start, stop), piece in zip(ranges, data[: len(ranges)], strict=True)
        ]

    def _end(self) -> tuple[int, int]:
        return self._num_bytes - min(_END_BYTES, int(_END_SHARE * self._num_bytes)), self._num_bytes

    def _read(self, ranges: list[tuple[int, int]]) -> list[memoryview]:
        """Return ranges, from the samples if they are in one of these."""
        found = {wanted: self._sampled(*wanted) for wanted in ranges}
        missing = [wanted for wanted, piece in found.items() if piece is None]
        assert self._file is not None
        fetched = dict(zip(missing, self._file.read(missing), strict=True)) if missing else {}
        return [piece if (piece := found[wanted]) is not None else fetched[wanted] for wanted in ranges]

    def _sampled(self, start: int, stop: int) -> memoryview | None:
        for (first, last), piece in self._samples.items():
            if first <= start and stop <= last:
                return piece[start - first : stop - first]
        return None

    @property
    def closed(self) -> bool:
        """Whether the file was closed."""
        return self._file is None

    def __enter__(self) -> XRootDSource:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
