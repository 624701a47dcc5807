"""Content store: files travel to the scheduler once, and from there to each host once.

Content is identified by its SHA-256. The client puts it on the scheduler in pieces. A worker that needs it takes it
from its host's folder, or fetches it and leaves it there for the host's other workers, including later ones. The host's
folder is private to the user. Content that no worker uses is removed; a worker that starts an hour or more later also
removes what killed workers have left behind.

The scheduler keeps content until every client that wanted it has released it or is gone, or indefinitely if it was put
without an owner.
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

from af_kit.credentials.private_files import private_folder
from af_kit.errors import AfKitError, InputError

__all__ = ["PREFIX_OF_CLIENTS", "fetch", "give_back", "put", "registered_digests", "release", "sha256_of", "sweep"]

# The client sends large pieces. Workers fetch small ones: hundreds may fetch at once, from the scheduler's memory.
_PIECE, _SMALL_PIECE = 8 * 1024 * 1024, 1024 * 1024
_PLUGIN = "af-store"
# How long content without users stays on a host.
_UNUSED_S = 3600.0
# Concurrent downloads of a worker: a late one needs all files at once.
_MAX_DOWNLOADS = 2
_downloads: weakref.WeakKeyDictionary[Any, asyncio.Semaphore] = weakref.WeakKeyDictionary()

PREFIX_OF_CLIENTS = "af-upload-"
"""Prefix of the names of worker plugins that end with their client; the client's id follows."""


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class StorePlugin(SchedulerPlugin):
    """The scheduler's side: content by digest, in a temporary folder."""

    idempotent = True

    def __init__(self) -> None:
        self.name = _PLUGIN
        self._folder: Path | None = None
        self._owners: dict[str, set[str]] = {}
        """The clients that want each digest; an empty name keeps the content indefinitely."""

    async def start(self, scheduler: Any) -> None:
        """Create the folder, and register the handlers for clients and workers."""
        self._folder = Path(tempfile.mkdtemp(prefix="af-kit-store-"))
        scheduler.handlers["af_store_claim"] = self._claim
        scheduler.handlers["af_store_put"] = self._put
        scheduler.handlers["af_store_get"] = self._get
        scheduler.handlers["af_store_release"] = self._release

    async def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Release everything that a client has put, and unregister its plugins, when it disconnects."""
        plugins = [name for name in scheduler.worker_plugins if name.startswith(f"{PREFIX_OF_CLIENTS}{client}-")]
        digests = [digest for digest, owners in self._owners.items() if client in owners]
        if (plugins or digests) and scheduler.status == Status.running:
            scheduler.loop.add_callback(self._forget, scheduler, client, plugins, digests)

    async def _forget(self, scheduler: Any, client: str, plugins: list[str], digests: list[str]) -> None:
        for name in plugins:
            # It has just been unregistered, or a worker has just left.
            with suppress(ValueError, OSError):
                await scheduler.unregister_worker_plugin(comm=None, name=name)
        await self._release(client, digests)

    def _path(self, digest: str) -> Path:
        if self._folder is None or not digest.isalnum():
            raise InputError(f"{digest!r} is not a digest, or the store has not started.")
        return self._folder / digest

    async def _claim(self, digest: str, owner: str) -> bool:
        self._owners.setdefault(digest, set()).add(owner)
        return self._path(digest).exists()

    async def _put(self, digest: str, start: int, piece: bytes, last: bool) -> None:
        part = self._path(digest).with_suffix(".part")
        # Written at its offset: an interrupted client leaves a part, and two clients can send the same content.
        with part.open("r+b" if part.exists() else "w+b") as file:
            file.seek(start)
            file.write(piece)
            if last:
                file.truncate()
        if last:
            part.replace(self._path(digest))

    async def _release(self, owner: str, digests: Iterable[str]) -> None:
        for digest in digests:
            owners = self._owners.get(digest, set())
            owners.discard(owner)
            if not owners:
                self._owners.pop(digest, None)
                for path in (self._path(digest), self._path(digest).with_suffix(".part")):
                    path.unlink(missing_ok=True)

    async def _get(self, digest: str, start: int) -> bytes:
        with self._path(digest).open("rb") as file:
            file.seek(start)
            return file.read(_SMALL_PIECE)


def put(client: Any, path: str | Path, digest: str, owner: str = "") -> None:
    """Send a file's content to the scheduler, unless it is already there.

    Parameters
    ----------
    owner : str
        The id of the client whose `release` or end releases the content; empty to keep it indefinitely.

    Raises
    ------
    InputError
        The content of the file has changed.
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
                raise InputError(f"{path} changed while it was being sent. Send it when it is complete.")
            await scheduler.af_store_put(digest=digest, start=start, piece=piece, last=last)
            if last:
                return


def registered_digests(client: Any, prefix: str) -> dict[str, str]:
    """Return the digests of the registered worker plugins whose names start with a prefix, without that prefix."""
    found: dict[str, str] = client.run_on_scheduler(_registered_digests, prefix=prefix)
    return found


def _registered_digests(dask_scheduler: Any, prefix: str) -> dict[str, str]:
    from distributed.protocol.pickle import loads

    plugins = {name: blob for name, blob in dask_scheduler.worker_plugins.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): loads(blob).digest for name, blob in plugins.items()}


def release(client: Any, digests: Iterable[str]) -> None:
    """Release content that this client has put; the scheduler removes it unless others want it."""
    client.sync(client.scheduler.af_store_release, owner=client.id, digests=list(digests))


async def fetch(worker: Any, digest: str, target: Path) -> None:
    """Put the content with a digest at ``target``, through the host's folder.

    Raises
    ------
    AfKitError
        The received content has a different digest.
    """
    cached = _host_folder(worker) / digest
    loop = asyncio.get_running_loop()
    if worker not in _downloads:
        await loop.run_in_executor(None, sweep, cached.parent)
    async with _downloads.setdefault(worker, asyncio.Semaphore(_MAX_DOWNLOADS)):
        lock = await loop.run_in_executor(None, _locked, cached)
        with lock:
            if not cached.exists() or await loop.run_in_executor(None, sha256_of, cached) != digest:
                await _download(worker, digest, cached)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            _link(cached, target)


async def _download(worker: Any, digest: str, cached: Path) -> None:
    part = cached.with_suffix(f".{os.getpid()}.part")
    found = hashlib.sha256()
    with part.open("wb") as file:
        while piece := await worker.scheduler.af_store_get(digest=digest, start=file.tell()):
            found.update(piece)
            file.write(piece)
            if len(piece) < _SMALL_PIECE:
                break
    if found.hexdigest() != digest:
        part.unlink(missing_ok=True)
        raise AfKitError(f"A file arrived damaged at worker {worker.address}. Send it again.")
    part.chmod(0o400)
    part.replace(cached)


def give_back(worker: Any, digest: str, target: Path) -> None:
    """Remove a worker's file, and the host's copy if no other worker uses it."""
    cached = _host_folder(worker) / digest
    with _locked(cached) as lock:
        target.unlink(missing_ok=True)
        if cached.exists() and cached.stat().st_nlink == 1:
            cached.unlink()
        if not cached.exists():
            Path(lock.name).unlink()


def sweep(folder: Path, unused_s: float = _UNUSED_S) -> None:
    """Remove old content without users from a host's folder: what killed workers have left behind."""
    for path in folder.iterdir():
        with suppress(OSError):  # another worker is doing the same
            if path.suffix == ".lock" or time.time() - path.stat().st_ctime < unused_s:
                continue
            if path.suffix == ".part":
                path.unlink()
                continue
            with _locked(path) as lock:
                if path.stat().st_nlink == 1:
                    path.unlink()
                    Path(lock.name).unlink()


def _locked(cached: Path) -> TextIO:
    """Open and lock the content's lock file: one worker per host at a time, until the file is closed."""
    while True:
        lock = cached.with_suffix(".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if os.fstat(lock.fileno()).st_ino == Path(lock.name).stat().st_ino:
                return lock
        except FileNotFoundError:
            pass
        lock.close()  # the previous holder has removed it: lock the new one


def _host_folder(worker: Any) -> Path:
    """Return the private folder that all workers of this user on this host share."""
    return private_folder(
        Path(worker.local_directory).parent / f"af-kit-files-{os.geteuid()}",
        advice="Give the workers another temporary-directory.",
    )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)  # the number of links shows whether a worker still uses it
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
