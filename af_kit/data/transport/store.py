"""Folders that results are written to, on a shared disk or an XRootD server.

Files appear complete or not at all: they are written under a temporary name (``.NAME.XXXX.part``) and then renamed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import urlsplit

from af_kit.data.transport.io_errors import is_remote, local_path
from af_kit.data.transport.xrootd import XRootDFile, client, connection_url, is_xrootd, status_error
from af_kit.errors import InputError, ReadError, WriteError

__all__ = ["Store", "open_store", "temporary_name"]

# Bytes per write request
_WRITE_BYTES = 8 << 20


class Store(Protocol):
    """A folder. File names are relative to it, with ``/`` between their parts."""

    folder: str

    def path(self, name: str) -> str:
        """Return the full path or URL of a file."""

    def put(self, name: str, content: bytes) -> None:
        """Write or replace a file, creating its folder if needed; raise `WriteError` on failure."""

    def get(self, name: str) -> bytes:
        """Return the content of a file; raise `ReadError` on failure."""

    def names(self, below: str = "") -> list[str]:
        """List the files in the folder ``below``, including temporary ones; empty if the folder does not exist."""

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""


def open_store(folder: str | Path) -> Store:
    """Return the store for a folder, which need not exist yet; raise `InputError` for a protocol without writing."""
    path = os.fspath(folder)
    if is_xrootd(path):
        return _XRootDStore(path)
    if is_remote(path):
        raise InputError(
            f"{path}: af-kit does not write to such servers. Use a path on a shared disk, or a root:// URL."
        )
    return _LocalStore(local_path(path))


def temporary_name(name: str) -> str:
    """Return a new temporary name in the same folder as ``name``."""
    path = PurePosixPath(name)
    return str(path.with_name(f".{path.name}.{secrets.token_hex(6)}.part"))


class _LocalStore:
    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(os.path.expanduser(folder))  # noqa: PTH100, PTH111 - links stay as typed

    def path(self, name: str) -> str:
        return str(Path(self.folder, name))

    def put(self, name: str, content: bytes) -> None:
        final, new = Path(self.path(name)), Path(self.path(temporary_name(name)))
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                with new.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())  # else a crash of the machine may leave the name without the content
                new.replace(final)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
        except OSError as error:
            permanent = isinstance(error, (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError))
            raise WriteError(
                f"{final} cannot be written: {error.strerror or error}.", transient=not permanent
            ) from error

    def get(self, name: str) -> bytes:
        try:
            return Path(self.path(name)).read_bytes()
        except FileNotFoundError:
            raise ReadError(f"{self.path(name)} does not exist.", transient=False) from None
        except OSError as error:
            raise ReadError(f"{self.path(name)} cannot be read: {error.strerror or error}.") from error

    def names(self, below: str = "") -> list[str]:
        folder = Path(self.path(below))
        if not folder.is_dir():
            return []
        return sorted(str(PurePosixPath(below, path.name)) for path in folder.iterdir() if path.is_file())

    def remove(self, name: str) -> None:
        try:
            Path(self.path(name)).unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(f"{self.path(name)} cannot be removed: {error.strerror or error}.") from error


class _XRootDStore:
    def __init__(self, folder: str) -> None:
        self.folder = folder.rstrip("/")
        parts = urlsplit(self.folder)
        self._server = f"{parts.scheme}://{parts.netloc}/"
        self._root = "/" + parts.path.lstrip("/")

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def put(self, name: str, content: bytes) -> None:
        new = temporary_name(name)
        file = client().File()
        flags = client().flags.OpenFlags
        try:
            self._check(name, file.open(connection_url(self.path(new)), flags.NEW | flags.MAKEPATH, 0o644))
            for begin in range(0, len(content), _WRITE_BYTES):
                self._check(name, file.write(content[begin : begin + _WRITE_BYTES], begin))
            self._check(name, file.close())
            self._rename(new, name)
        except BaseException:
            if file.is_open():
                file.close()
            self._request(lambda server: server.rm(self._server_path(new)))
            raise

    def _rename(self, new: str, name: str) -> None:
        # An existing file is removed first: not every server allows a rename onto it, and XRootD's own keeps returning
        # the old content to everybody while anyone has it open.
        for _ in range(2):  # the same task on another worker may be renaming as well
            status, _ = self._request(lambda server: server.stat(self._server_path(name)))
            if status.ok:
                self._request(lambda server: server.rm(self._server_path(name)))
            answer = self._request(lambda server: server.mv(self._server_path(new), self._server_path(name)))
            if answer[0].ok:
                return
        self._check(name, answer)

    def get(self, name: str) -> bytes:
        file = XRootDFile(self.path(name))
        try:
            return b"".join(file.read([(0, file.size)]))
        finally:
            file.close()

    def names(self, below: str = "") -> list[str]:
        status, entries = self._request(
            lambda server: server.dirlist(self._server_path(below), client().flags.DirListFlags.STAT)
        )
        if not status.ok:
            error = status_error(self.path(below), status)
            if "does not exist" in str(error):
                return []
            raise error
        is_folder = client().flags.StatInfoFlags.IS_DIR
        return sorted(
            str(PurePosixPath(below, entry.name)) for entry in entries if not entry.statinfo.flags & is_folder
        )

    def remove(self, name: str) -> None:
        status, _ = self._request(lambda server: server.rm(self._server_path(name)))
        if not status.ok:
            error = status_error(self.path(name), status, "removed")
            if "does not exist" not in str(error):
                raise WriteError(str(error), transient=error.transient)

    def _server_path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _request(self, request: Callable[[Any], Any]) -> Any:
        return request(client().FileSystem(connection_url(self._server)))

    def _check(self, name: str, answer: Any) -> None:
        if not answer[0].ok:
            error = status_error(self.path(name), answer[0], "written")
            raise WriteError(str(error), transient=error.transient)
