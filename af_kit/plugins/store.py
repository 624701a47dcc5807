"""Content on its way to the workers: kept once by the scheduler, fetched once by each host.

What is sent is known by its SHA-256. The client puts it to the scheduler in pieces; a worker that needs it takes it
from its host's folder, or, if it is the first there, fetches it and leaves it for its neighbours. A worker that comes
late does the same. The host's folder belongs to the user alone; content that no worker uses any more is removed. What
killed workers have left there goes when one comes an hour later.

The scheduler keeps content for as long as somebody wants it: for good, or until the client that put it releases it or
goes away.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin

from af_kit.errors import AfKitError, InputError

__all__ = ["PREFIX_OF_CLIENTS", "fetch", "give_back", "put", "release", "sha256_of", "sweep"]

# What the client sends at a time, and what a worker fetches: hundreds may do so together, from the scheduler's memory.
_PIECE, _SMALL_PIECE = 8 * 1024 * 1024, 1024 * 1024
_PLUGIN = "af-store"
# A content that has no user is left for the next one for so long.
_UNUSED_S = 3600.0
# Files that a worker fetches at a time: one that comes late needs all of them at once.
_AT_A_TIME = 2
_turns: weakref.WeakKeyDictionary[Any, asyncio.Semaphore] = weakref.WeakKeyDictionary()

PREFIX_OF_CLIENTS = "af-carried-"
"""What the names of worker plugins begin with that go with their client; its identifier follows."""


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
        self._wanted: dict[str, set[str]] = {}
        """By digest, the clients that want it; an empty name for what is wanted for good."""

    async def start(self, scheduler: Any) -> None:
        """Make the folder and answer the clients and workers."""
        self._folder = Path(tempfile.mkdtemp(prefix="af-kit-store-"))
        scheduler.handlers["af_store_claim"] = self._claim
        scheduler.handlers["af_store_put"] = self._put
        scheduler.handlers["af_store_get"] = self._get
        scheduler.handlers["af_store_release"] = self._release

    async def close(self) -> None:
        """Remove what was kept."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Give back what a client has put here for itself alone, now that it has gone."""
        plugins = [name for name in scheduler.worker_plugins if name.startswith(f"{PREFIX_OF_CLIENTS}{client}-")]
        digests = [digest for digest, owners in self._wanted.items() if client in owners]
        if (plugins or digests) and scheduler.status == Status.running:
            scheduler.loop.add_callback(self._forget, scheduler, client, plugins, digests)

    async def _forget(self, scheduler: Any, client: str, plugins: list[str], digests: list[str]) -> None:
        for name in plugins:
            # It is taken off meanwhile, or a worker has just gone away.
            with suppress(ValueError, OSError):
                await scheduler.unregister_worker_plugin(comm=None, name=name)
        await self._release(client, digests)

    def _path(self, digest: str) -> Path:
        if self._folder is None or not digest.isalnum():
            raise InputError(f"{digest!r} is not a digest, or the store has not started.")
        return self._folder / digest

    async def _claim(self, digest: str, owner: str) -> bool:
        self._wanted.setdefault(digest, set()).add(owner)
        return self._path(digest).exists()

    async def _put(self, digest: str, start: int, piece: bytes, last: bool) -> None:
        part = self._path(digest).with_suffix(".part")
        # At its place: a client that broke off leaves a part, and two may send the same content.
        with part.open("r+b" if part.exists() else "w+b") as file:
            file.seek(start)
            file.write(piece)
            if last:
                file.truncate()
        if last:
            part.replace(self._path(digest))

    async def _release(self, owner: str, digests: Iterable[str]) -> None:
        for digest in digests:
            owners = self._wanted.get(digest, set())
            owners.discard(owner)
            if not owners:
                self._wanted.pop(digest, None)
                for path in (self._path(digest), self._path(digest).with_suffix(".part")):
                    path.unlink(missing_ok=True)

    async def _get(self, digest: str, start: int) -> bytes:
        with self._path(digest).open("rb") as file:
            file.seek(start)
            return file.read(_SMALL_PIECE)


def put(client: Any, path: str | Path, digest: str, owner: str = "") -> None:
    """Give the scheduler a file's content, unless it has it.

    Parameters
    ----------
    owner : str
        The identifier of the client that wants it, which may `release` it, and with which it goes; empty for good.

    Raises
    ------
    InputError
        The file has another content by now.
    """
    client.register_plugin(StorePlugin())
    client.sync(_put, client.scheduler, Path(path), digest, owner)


async def _put(scheduler: Any, path: Path, digest: str, owner: str) -> None:
    if await scheduler.af_store_claim(digest=digest, owner=owner):
        return
    left, found = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        while True:
            start, piece = file.tell(), file.read(_PIECE)
            left -= len(piece)
            found.update(piece)
            last = left <= 0 or not piece
            if last and found.hexdigest() != digest:
                raise InputError(f"{path} was changed while it was sent. Send it when it is complete.")
            await scheduler.af_store_put(digest=digest, start=start, piece=piece, last=last)
            if last:
                return


def release(client: Any, digests: Iterable[str]) -> None:
    """Let the scheduler remove what this client has put for itself, but for what others want."""
    client.sync(client.scheduler.af_store_release, owner=client.id, digests=list(digests))


async def fetch(worker: Any, digest: str, target: Path) -> None:
    """Put the content with this digest at ``target``, by way of the host's folder.

    Raises
    ------
    AfKitError
        What arrived has another digest.
    """
    kept = _host_folder(worker) / digest
    loop = asyncio.get_running_loop()
    if worker not in _turns:
        await loop.run_in_executor(None, sweep, kept.parent)
    async with _turns.setdefault(worker, asyncio.Semaphore(_AT_A_TIME)):
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
            if len(piece) < _SMALL_PIECE:
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


def sweep(folder: Path, unused_s: float = _UNUSED_S) -> None:
    """Remove from a host's folder what nobody has used for a while: its workers were killed, and Dask cleared up."""
    for path in folder.iterdir():
        with suppress(OSError):  # a neighbour is doing the same
            if path.suffix == ".lock" or time.time() - path.stat().st_ctime < unused_s:
                continue
            if path.suffix == ".part":
                path.unlink()
                continue
            with _locked(path) as lock:
                if path.stat().st_nlink == 1:
                    path.unlink()
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
