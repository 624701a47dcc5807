"""Byte ranges of a file, local or remote: many in one call."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

from af_kit.data.transport.io_errors import as_read_error, is_remote, local_path, short_read
from af_kit.data.transport.ranges import coalesce, pieces
from af_kit.data.transport.uploaded_copies import path_to_open
from af_kit.data.transport.xrootd import XRootDFile, is_xrootd

__all__ = ["Source", "open_source"]

# Over HTTP and the like, these bytes are cheaper than another request.
_GAP = 32 * 1024


class Source(Protocol):
    """An open file that returns byte ranges."""

    path: str

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return the bytes of each ``(start, stop)``; raise `ReadError` if some are missing."""

    def close(self) -> None:
        """Close the file."""


def open_source(path: str, uuid: str = "") -> Source:
    """Open a local path or a URL (``root://``, or any protocol of fsspec, such as ``https://``).

    With the file's ``uuid``, a file on an XRootD server may be reused from an earlier task.
    """
    if is_xrootd(path):
        return XRootDFile(path, uuid)
    return _Remote(path) if is_remote(path) else _Local(local_path(path))


class _Local:
    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path_to_open(path), os.O_RDONLY)
        except OSError as error:
            raise as_read_error(path, error) from error
        # events that the user reads by hand are never closed, only garbage collected
        self._close = weakref.finalize(self, os.close, self._fd)

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        try:
            # pread, not a memory map: there, a shrinking file or a broken disk kills the process
            data = [os.pread(self._fd, stop - start, start) for start, stop in ranges]
        except OSError as error:
            raise as_read_error(self.path, error) from error
        return _complete(self.path, ranges, data)

    def close(self) -> None:
        self._close()


class _Remote:
    def __init__(self, path: str) -> None:
        import fsspec

        self.path = path
        try:
            self._filesystem, self._name = fsspec.core.url_to_fs(path)
        except Exception as error:
            raise as_read_error(path, error) from error

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        merged, index = coalesce(ranges, _GAP)
        starts, stops = [start for start, _ in merged], [stop for _, stop in merged]
        try:
            data: list[Any] = self._filesystem.cat_ranges([self._name] * len(merged), starts, stops, on_error="raise")
        except Exception as error:
            raise as_read_error(self.path, error) from error
        return pieces(ranges, merged, index, _complete(self.path, merged, data))

    def close(self) -> None:
        pass  # fsspec reuses its connections for the next file


def _complete(path: str, ranges: Sequence[tuple[int, int]], data: Sequence[Any]) -> list[memoryview]:
    for (start, stop), piece in zip(ranges, data, strict=True):
        if len(piece) != stop - start:
            raise short_read(path, start, stop, len(piece))
    return [memoryview(piece) for piece in data]
