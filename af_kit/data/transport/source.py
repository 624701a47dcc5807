"""Bytes of a file: many ranges in one call, from the local disk or from a remote server."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

from af_kit.data.transport import copies
from af_kit.data.transport.io_errors import as_read_error, is_remote, local_path
from af_kit.data.transport.xrootd import XRootDFile, is_xrootd
from af_kit.errors import ReadError

__all__ = ["Source", "open_source"]

# Remote ranges nearer than this are asked for as one: the bytes between cost less than another request.
_GAP = 32 * 1024


class Source(Protocol):
    """An open file that gives byte ranges."""

    path: str

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """The bytes of each ``(start, stop)``; a short answer is a `ReadError`."""

    def close(self) -> None:
        """Give the file back."""


def open_source(path: str, uuid: str = "") -> Source:
    """Open a local path or a URL: ``root://``, and those that fsspec knows (``https://``, ...).

    Parameters
    ----------
    path : str
        Where the file is.
    uuid : str
        Its identifier, where it is known: a file on a server may still be open from an earlier task.
    """
    if is_xrootd(path):
        return XRootDFile(path, uuid)
    return _Remote(path) if is_remote(path) else _Local(local_path(path))


class _Local:
    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(copies.place(path), os.O_RDONLY)
        except OSError as error:
            raise as_read_error(path, error) from error
        # events read by hand are never closed, they just go away
        self._close = weakref.finalize(self, os.close, self._fd)

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        try:
            # pread, not a memory map: a file that shrinks or a broken disk is an error here, not a killed process
            pieces = [os.pread(self._fd, stop - start, start) for start, stop in ranges]
        except OSError as error:
            raise as_read_error(self.path, error) from error
        return _complete(self.path, ranges, pieces)

    def close(self) -> None:
        self._close()


class _Remote:
    def __init__(self, path: str) -> None:
        import fsspec

        self.path = path
        try:
            self._files, self._name = fsspec.core.url_to_fs(path)
        except Exception as error:
            raise as_read_error(path, error) from error

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        wide = _coalesced(ranges)
        try:
            answers: list[Any] = self._files.cat_ranges(
                [self._name] * len(wide), [start for start, _ in wide], [stop for _, stop in wide], on_error="raise"
            )
        except Exception as error:
            raise as_read_error(self.path, error) from error
        views = _complete(self.path, wide, answers)
        found = []
        for start, stop in ranges:
            at = next(i for i, (first, last) in enumerate(wide) if first <= start and stop <= last)
            found.append(views[at][start - wide[at][0] : stop - wide[at][0]])
        return found

    def close(self) -> None:
        pass  # fsspec keeps its connections for the next file


def _coalesced(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    wide: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if wide and start - wide[-1][1] <= _GAP:
            wide[-1] = (wide[-1][0], max(wide[-1][1], stop))
        else:
            wide.append((start, stop))
    return wide


def _complete(path: str, ranges: Sequence[tuple[int, int]], pieces: Sequence[Any]) -> list[memoryview]:
    for (start, stop), piece in zip(ranges, pieces, strict=True):
        if len(piece) != stop - start:
            raise ReadError(
                f"{path} is truncated or changed while it was read: bytes {start} to {stop} were asked for, "
                f"{len(piece)} of {stop - start} came.",
                transient=True,
            )
    return [memoryview(piece) for piece in pieces]
