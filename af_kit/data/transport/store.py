"""Folders that results are written to: on a shared disk, or on an XRootD server. A file is there whole, or not at all.

A file is written under a temporary name, which begins with a dot and ends in ``.part``, and then renamed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import urlsplit

from af_kit.data.transport.io_errors import is_remote, local_path
from af_kit.data.transport.xrootd import XRootDFile, channel, client, is_xrootd, status_error
from af_kit.errors import InputError, ReadError, WriteError

__all__ = ["Store", "open_store", "temporary"]

# Bytes of one write request
_PIECE = 8 << 20


class Store(Protocol):
    """A folder. Names of files are relative to it, with ``/`` between their parts."""

    folder: str

    def path(self, name: str) -> str:
        """The whole path, or URL, of a file."""

    def put(self, name: str, content: bytes) -> None:
        """Write a file, in the place of one that may be there; folders are made. A `WriteError` if it cannot be."""

    def get(self, name: str) -> bytes:
        """The content of a file; a `ReadError` if it cannot be read."""

    def names(self, below: str = "") -> list[str]:
        """The files in the folder ``below``, temporary ones too; none if there is no such folder."""

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""


def open_store(folder: str | Path) -> Store:
    """The store for a folder, which need not exist yet.

    Raises
    ------
    InputError
        The folder is on a kind of server that cannot be written to.
    """
    place = os.fspath(folder)
    if is_xrootd(place):
        return _OnServer(place)
    if is_remote(place):
        raise InputError(
            f"{place} is a folder on a server that the kit does not write to. Give a path on a shared disk, or root://."
        )
    return _OnDisk(local_path(place))


def temporary(name: str) -> str:
    """A temporary name beside ``name``, another one at each call."""
    place = PurePosixPath(name)
    return str(place.with_name(f".{place.name}.{secrets.token_hex(6)}.part"))


class _OnDisk:
    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(os.path.expanduser(folder))  # noqa: PTH100, PTH111 - links stay as typed

    def path(self, name: str) -> str:
        return str(Path(self.folder, name))

    def put(self, name: str, content: bytes) -> None:
        final, new = Path(self.path(name)), Path(self.path(temporary(name)))
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                with new.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())  # a machine that goes down must not leave the name and lose the content
                new.replace(final)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
        except OSError as error:
            final_error = isinstance(error, (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError))
            raise WriteError(
                f"{final} cannot be written: {error.strerror or error}.", transient=not final_error
            ) from error

    def get(self, name: str) -> bytes:
        try:
            return Path(self.path(name)).read_bytes()
        except FileNotFoundError:
            raise ReadError(f"{self.path(name)} does not exist.", transient=False) from None
        except OSError as error:
            raise ReadError(f"{self.path(name)} cannot be read: {error.strerror or error}.") from error

    def names(self, below: str = "") -> list[str]:
        place = Path(self.path(below))
        if not place.is_dir():
            return []
        return sorted(str(PurePosixPath(below, path.name)) for path in place.iterdir() if path.is_file())

    def remove(self, name: str) -> None:
        try:
            Path(self.path(name)).unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(f"{self.path(name)} cannot be removed: {error.strerror or error}.") from error


class _OnServer:
    def __init__(self, folder: str) -> None:
        self.folder = folder.rstrip("/")
        parts = urlsplit(self.folder)
        self._server = f"{parts.scheme}://{parts.netloc}/"
        self._top = "/" + parts.path.lstrip("/")

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def put(self, name: str, content: bytes) -> None:
        new = temporary(name)
        file = client().File()
        flags = client().flags.OpenFlags
        try:
            self._do(name, file.open(channel(self.path(new)), flags.NEW | flags.MAKEPATH, 0o644))
            for begin in range(0, len(content), _PIECE):
                self._do(name, file.write(content[begin : begin + _PIECE], begin))
            self._do(name, file.close())
            self._rename(new, name)
        except BaseException:
            if file.is_open():
                file.close()
            self._ask(lambda server: server.rm(self._below(new)))
            raise

    def _rename(self, new: str, name: str) -> None:
        # Not over a file that is there: stores differ in whether they allow it, and XRootD's own goes on giving the old
        # content to all for as long as anybody has it open.
        for _ in range(2):  # the same task on another worker may be at it as well
            status, _ = self._ask(lambda server: server.stat(self._below(name)))
            if status.ok:
                self._ask(lambda server: server.rm(self._below(name)))
            answer = self._ask(lambda server: server.mv(self._below(new), self._below(name)))
            if answer[0].ok:
                return
        self._do(name, answer)

    def get(self, name: str) -> bytes:
        file = XRootDFile(self.path(name))
        try:
            return b"".join(file.read([(0, file.size)]))
        finally:
            file.close()

    def names(self, below: str = "") -> list[str]:
        status, found = self._ask(lambda server: server.dirlist(self._below(below), client().flags.DirListFlags.STAT))
        if not status.ok:
            error = status_error(self.path(below), status)
            if "does not exist" in str(error):
                return []
            raise error
        is_folder = client().flags.StatInfoFlags.IS_DIR
        return sorted(str(PurePosixPath(below, entry.name)) for entry in found if not entry.statinfo.flags & is_folder)

    def remove(self, name: str) -> None:
        status, _ = self._ask(lambda server: server.rm(self._below(name)))
        if not status.ok:
            error = status_error(self.path(name), status, "removed")
            if "does not exist" not in str(error):
                raise WriteError(str(error), transient=error.transient)

    def _below(self, name: str) -> str:
        return f"{self._top}/{name}".rstrip("/")

    def _ask(self, request: Callable[[Any], Any]) -> Any:
        return request(client().FileSystem(channel(self._server)))

    def _do(self, name: str, answer: Any) -> None:
        if not answer[0].ok:
            error = status_error(self.path(name), answer[0], "written")
            raise WriteError(str(error), transient=error.transient)
