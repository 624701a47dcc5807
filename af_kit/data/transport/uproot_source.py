"""uproot's view of a file on an XRootD server: metadata, and what the fast path does not read, by the kit's client.

uproot's own ways to such a server know neither the kit's patience nor a renewed token, and keep files open per thread.
"""

from __future__ import annotations

import queue
from typing import Any

import numpy as np
from uproot.source.chunk import Chunk, Source
from uproot.source.futures import TrivialFuture

from af_kit.data.transport.xrootd import XRootDFile

__all__ = ["XRootDSource"]


class XRootDSource(Source):
    """Byte ranges for uproot, each group of them in one request."""

    def __init__(self, file_path: str, **options: Any) -> None:
        super().__init__()
        self._file_path = file_path
        self._open()

    def _open(self) -> None:
        self._file: XRootDFile | None = XRootDFile(self._file_path)
        self._num_bytes = self._file.size

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self._open()

    def __repr__(self) -> str:
        return f"<XRootDSource {self._file_path!r}>"

    def chunk(self, start: int, stop: int) -> Chunk:
        """One range."""
        return self._fetched([(start, stop)])[0]

    def chunks(self, ranges: list[tuple[int, int]], notifications: queue.Queue[Chunk]) -> list[Chunk]:
        """Several ranges; all are there when this returns."""
        chunks = self._fetched(ranges)
        for chunk in chunks:
            notifications.put(chunk)
        return chunks

    def _fetched(self, ranges: list[tuple[int, int]]) -> list[Chunk]:
        if self._file is None:
            raise OSError(f"{self._file_path} is closed")
        # uproot asks for more than a small file has when it looks at the header.
        ranges = [(int(start), min(int(stop), self._num_bytes)) for start, stop in ranges]
        self._num_requests += 1
        self._num_requested_chunks += len(ranges)
        self._num_requested_bytes += sum(stop - start for start, stop in ranges)
        found = self._file.read(ranges)
        return [
            Chunk(self, start, stop, TrivialFuture(np.frombuffer(data, dtype=Chunk._dtype)))
            for (start, stop), data in zip(ranges, found, strict=True)
        ]

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
