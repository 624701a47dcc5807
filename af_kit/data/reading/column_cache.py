"""Decoded columns on a disk near the worker, for another pass over the same files.

Each column of a range of entries is one file, named after the identity of the ROOT file (see `identity`), the tree, the
branch and the entries, so that a file with other content never finds it. All processes of a machine share the folder
without a daemon: a file appears under its name when it is complete, and is read as a whole and compared with its
checksum. A lock is held only to count bytes and to remove what was used longest ago. Whatever goes wrong with the
folder, the column is read from the ROOT file instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash

from af_kit.data.reading.layout import Layout

__all__ = ["CacheSettings", "ColumnCache", "column_cache", "column_key"]

# Changes when decoding or the form of the files changes.
_VERSION = 1
_DIGEST, _ALIGNED = 16, 16
# Files take whole blocks of the disk.
_BLOCK = 4096
# Removing files goes on until this part of the limit is used, so that it is not done for each new file.
_KEEP = 0.9
# A column that takes more than this part of the limit would push out too much.
_LARGEST = 0.25
# After an error of the disk, nothing is written for so many seconds.
_PAUSE_S = 60.0
# A file that is not complete after so many seconds belongs to a process that has died.
_DEAD_S = 600.0
_SUFFIX, _PART, _TOTAL = ".column", ".part", "total"


class CacheSettings(NamedTuple):
    """Where columns are kept on each machine, and how many bytes; travels to the workers."""

    limit: int
    folder: str = ""
    """Variables and ``~`` are expanded there. Empty: a folder of the user in the temporary directory."""


def column_key(layout: Layout, name: str, start: int, stop: int, *, verify: bool) -> str:
    """Return the name of a column: it changes with the content of the file, and with whatever changes the numbers."""
    parts = [_VERSION, layout.uuid, layout.head, layout.digest, layout.end, layout.treename, name, start, stop, verify]
    return str(xxhash.xxh3_128_hexdigest(json.dumps(parts).encode()))


@functools.cache
def column_cache(settings: CacheSettings) -> ColumnCache:
    """Return the cache of this process with these settings."""
    name = os.path.expandvars(settings.folder)
    # The user's own folder may be a link; one in the temporary directory may be someone else's link.
    folder = Path(name).expanduser().resolve() if name else Path(tempfile.gettempdir(), f"af-kit-columns-{os.getuid()}")
    return ColumnCache(folder, settings.limit)


class ColumnCache:
    """The columns in one folder.

    Parameters
    ----------
    folder : Path
        On a local disk, and the user's own: in a folder that belongs to or can be written by someone else, nothing is
        read or written.
    limit : int
        Bytes that all files there take together, those being written included.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._paused = float("-inf")
        self._lock = threading.Lock()

    def get(self, key: str) -> list[np.ndarray] | None:
        """Return the arrays of a column; None if they are not there, or damaged."""
        path = self._path(key)
        try:
            if not self._is_own():
                return None
            data = np.fromfile(path, dtype=np.uint8)
        except OSError:
            return None
        arrays = _unpacked(key, data)
        with contextlib.suppress(OSError):
            if arrays is None:
                path.unlink()
            else:
                os.utime(path)  # the time of the last use: many disks do not record when a file is read
        return arrays

    def put(self, key: str, arrays: Sequence[np.ndarray]) -> None:
        """Keep the arrays of a column, if the disk has room; the limit is never exceeded."""
        if time.monotonic() - self._paused < _PAUSE_S:
            return
        head, parts = _packed(key, arrays)
        size = len(head) + sum(part.nbytes for part in parts)
        if _on_disk(size) > _LARGEST * self.limit:
            return
        part: str | None = None
        try:
            handle, part = self._reserved(key, size)
            if part is None:
                return
            with os.fdopen(handle, "wb", buffering=0) as file:
                for piece in (memoryview(head), *(part.data for part in parts)):
                    _write(file.fileno(), piece.cast("B"))
            with self._locked():  # whoever counts the files would miss one that is renamed meanwhile
                Path(part).replace(self._path(key))
        except OSError:
            self._paused = time.monotonic()
            if part is not None:
                with contextlib.suppress(OSError):
                    Path(part).unlink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _is_own(self) -> bool:
        """Return whether nobody else can write into the folder."""
        status = self.folder.lstat()
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022

    def _reserved(self, key: str, size: int) -> tuple[int, str | None]:
        """Return a new file of this size, which counts from now on; None if the column is there."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._is_own():
            raise PermissionError(f"{self.folder} belongs to someone else")
        with self._locked() as total_file:
            if self._path(key).exists():
                return -1, None
            need = _on_disk(size)
            total = _number(total_file)
            if total is None or total + need > self.limit:
                total = self._make_room(need)
            handle, part = tempfile.mkstemp(dir=self.folder, suffix=_PART)
            try:
                os.ftruncate(handle, size)
                os.pwrite(total_file, f"{total + need:<20}".encode(), 0)
            except BaseException:
                os.close(handle)
                Path(part).unlink()
                raise
            return handle, part

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the folder's lock, which ends with the process that holds it."""
        with self._lock:
            handle = os.open(self.folder / _TOTAL, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield handle
            finally:
                os.close(handle)

    def _make_room(self, need: int) -> int:
        """Remove what was used longest ago until there is room for so many bytes; return the bytes that are left."""
        now, found, total = time.time(), [], 0
        for entry in os.scandir(self.folder):
            if not entry.name.endswith((_SUFFIX, _PART)):
                continue
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(_PART) and now - status.st_mtime > _DEAD_S:
                    Path(entry.path).unlink()
                    continue
                total += _on_disk(status.st_size)
                if entry.name.endswith(_SUFFIX):
                    found.append((status.st_mtime, _on_disk(status.st_size), entry.path))
        if total + need <= self.limit:
            return total
        for _, size, path in sorted(found):
            if total + need <= _KEEP * self.limit:
                break
            Path(path).unlink(missing_ok=True)
            total -= size
        if total + need > self.limit:
            raise OSError("other processes are writing, and there is no room")
        return total


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _number(handle: int) -> int | None:
    """Return the number in an open file; None if there is none."""
    try:
        return int(os.pread(handle, 20, 0))
    except ValueError:
        return None


def _write(handle: int, data: memoryview) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _packed(key: str, arrays: Sequence[np.ndarray]) -> tuple[bytes, list[np.ndarray]]:
    """Return the start of a file, with the checksum of the rest, and the rest: the arrays, and bytes between them."""
    about = json.dumps([key, [(array.dtype.str, len(array)) for array in arrays]]).encode()
    rest = len(about).to_bytes(8, "little") + about
    rest += bytes(_padding(_DIGEST + len(rest)))
    digest = xxhash.xxh3_128(rest)
    parts = []
    for array in arrays:
        for part in (np.ascontiguousarray(array), np.zeros(_padding(array.nbytes), dtype=np.uint8)):
            if part.size:
                digest.update(part.data)
                parts.append(part)
    return digest.digest() + rest, parts


def _padding(size: int) -> int:
    """Return the bytes to add, so that the next number is aligned in memory."""
    return -size % _ALIGNED


def _unpacked(key: str, data: np.ndarray) -> list[np.ndarray] | None:
    """Return the arrays in a file; None if it is damaged."""
    if len(data) < _DIGEST + 8 or xxhash.xxh3_128_digest(data[_DIGEST:].data) != data[:_DIGEST].tobytes():
        return None
    at = _DIGEST + 8
    stop = at + int.from_bytes(data[_DIGEST:at].tobytes(), "little")
    found, about = json.loads(data[at:stop].tobytes())
    if found != key:
        return None
    at = stop + _padding(stop)
    arrays = []
    for dtype, length in about:
        size = np.dtype(dtype).itemsize * length
        arrays.append(data[at : at + size].view(dtype))
        at += size + _padding(size)
    return arrays
