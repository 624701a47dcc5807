"""Content on its way to the workers: kept once by the scheduler, fetched once by each host.

What is sent is known by its SHA-256. The client puts it to the scheduler in pieces; a worker that needs it takes it
from its host's folder, or, if it is the first there, fetches it and leaves it for its neighbours. A worker that comes
late does the same. The host's folder belongs to the user alone; content that no worker uses any more is removed.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, TextIO

from distributed.diagnostics.plugin import SchedulerPlugin

from af_kit.errors import AfKitError, InputError

__all__ = ["fetch", "give_back", "put", "sha256_of"]

_PIECE = 16 * 1024 * 1024
_PLUGIN = "af-store"


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class StorePlugin(SchedulerPlugin):
    """The scheduler's part: content by digest, in a folder of its own that goes with it."""

    idempotent = True

    def __init__(self) -> None:
        self.name = _PLUGIN
        self._folder: Path | None = None

    async def start(self, scheduler: Any) -> None:
        """Make the folder and answer the clients and workers."""
        self._folder = Path(tempfile.mkdtemp(prefix="af-kit-store-"))
        scheduler.handlers["af_store_has"] = self._has
        scheduler.handlers["af_store_put"] = self._put
        scheduler.handlers["af_store_get"] = self._get

    async def close(self) -> None:
        """Remove what was kept."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, digest: str) -> Path:
        if self._folder is None or not digest.isalnum():
            raise InputError(f"{digest!r} is not a digest, or the store has not started.")
        return self._folder / digest

    async def _has(self, digest: str) -> bool:
        return self._path(digest).exists()

    async def _put(self, digest: str, piece: bytes, last: bool) -> None:
        part = self._path(digest).with_suffix(".part")
        with part.open("ab") as file:
            file.write(piece)
        if last:
            part.replace(self._path(digest))

    async def _get(self, digest: str, start: int) -> bytes:
        with self._path(digest).open("rb") as file:
            file.seek(start)
            return file.read(_PIECE)


def put(client: Any, path: str | Path, digest: str) -> None:
    """Give the scheduler a file's content, unless it has it."""
    client.register_plugin(StorePlugin())
    client.sync(_put, client.scheduler, Path(path), digest)


async def _put(scheduler: Any, path: Path, digest: str) -> None:
    if await scheduler.af_store_has(digest=digest):
        return
    left = path.stat().st_size
    with path.open("rb") as file:
        while True:
            piece = file.read(_PIECE)
            left -= len(piece)
            await scheduler.af_store_put(digest=digest, piece=piece, last=left <= 0)
            if left <= 0 or not piece:
                return


async def fetch(worker: Any, digest: str, target: Path) -> None:
    """Put the content with this digest at ``target``, by way of the host's folder.

    Raises
    ------
    AfKitError
        What arrived has another digest.
    """
    kept = _host_folder(worker) / digest
    loop = asyncio.get_running_loop()
    lock = await loop.run_in_executor(None, _locked, kept)
    with lock:
        if not kept.exists() or await loop.run_in_executor(None, sha256_of, kept) != digest:
            await _download(worker, digest, kept)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        _link(kept, target)


async def _download(worker: Any, digest: str, kept: Path) -> None:
    part = kept.with_suffix(f".{os.getpid()}.part")
    found = hashlib.sha256()
    with part.open("wb") as file:
        while piece := await worker.scheduler.af_store_get(digest=digest, start=file.tell()):
            found.update(piece)
            file.write(piece)
            if len(piece) < _PIECE:
                break
    if found.hexdigest() != digest:
        part.unlink(missing_ok=True)
        raise AfKitError(f"A file arrived at worker {worker.address} with other content than was sent. Send it again.")
    part.chmod(0o400)
    part.replace(kept)


def give_back(worker: Any, digest: str, target: Path) -> None:
    """Remove a worker's file, and the host's copy if no other worker uses it."""
    kept = _host_folder(worker) / digest
    with _locked(kept) as lock:
        target.unlink(missing_ok=True)
        if kept.exists() and kept.stat().st_nlink == 1:
            kept.unlink()
        if not kept.exists():
            Path(lock.name).unlink()


def _locked(kept: Path) -> TextIO:
    """The content's lock file, open and locked: one worker of a host at a time; closing it lets the next one in."""
    while True:
        lock = kept.with_suffix(".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if os.fstat(lock.fileno()).st_ino == Path(lock.name).stat().st_ino:
                return lock
        except FileNotFoundError:
            pass
        lock.close()  # the one before removed it while we waited: take the new one


def _host_folder(worker: Any) -> Path:
    """One folder for all workers of this user on this host."""
    base = Path(worker.local_directory).parent
    folder = base / f"af-kit-files-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise AfKitError(f"{folder} belongs to another user. Give the workers another temporary-directory.")
    return folder


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)  # the number of links says whether a neighbour still uses it
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
