"""Local files for workers that do not see this machine's disk: looked for there, and carried where they are missing.

The scheduler keeps the content (`af_kit.plugins.store`), each worker has a copy before its first task, and
`af_kit.data` opens that where the path itself leads to nothing. So everything reads it by the path that the user knows:
`process`, and `af_kit.read` in a task of the user's own.

Copies stay for the next call, up to ``af_kit.data.upload_limit`` bytes in all; then the least recently used go.
A file that was changed or removed here has its old copy taken away at the next call. When the client closes, or its
process dies, the scheduler takes away all that it has carried: from the workers, and from its own disk.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from af_kit.data.transport.io_errors import is_remote, local_path
from af_kit.errors import AfKitError, ConnectError, InputError
from af_kit.run.progress import say
from af_kit.run.visibility import Stamp, amount, files_here, lacking, limit, same_machine, stamp_of

__all__ = ["carry", "carrying"]

# Files that the scheduler tells the workers of at the same time.
_AT_A_TIME = 16

_digests: dict[str, tuple[Stamp, str]] = {}
_loads: weakref.WeakKeyDictionary[Any, _Load] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


@contextmanager
def carrying(client: Any, files: Iterable[Sequence[str]], *, progress: bool | None = None) -> Iterator[list[str]]:
    """`carry`, and what was carried stays for the length of the block, whatever other calls carry meanwhile."""
    if client is None:
        yield []
        return
    given = [tuple(replicas) for replicas in files]
    places = Counter({local_path(path) for replicas in given for path in replicas if not is_remote(path)})
    with _guard:
        load = _loads.setdefault(client, _Load())
        load.in_use += places
    try:
        yield load.bring(client, given, progress)
    finally:
        with _guard:
            load.in_use -= places


def carry(client: Any, files: Iterable[Sequence[str]]) -> list[str]:
    """Carry those of the files to the workers of a client that lie on this machine and not on theirs.

    Parameters
    ----------
    client : distributed.Client or None
        Nothing is asked where its workers are this session's own processes on this machine.
    files : iterable of sequence of str
        The replicas of each file. A file that has a URL is left to that.

    Returns
    -------
    list of str
        Remarks for the report: what is carried, and what is not although a worker lacks it.

    Raises
    ------
    InputError
        No worker sees them, and they are more than ``af_kit.data.upload_limit`` bytes.
    """
    with carrying(client, files) as notes:
        return notes


@dataclass(frozen=True)
class _Item:
    """A file that was carried: what it was then, and the plugin that brings it."""

    stamp: Stamp
    digest: str
    plugin: str


class _Load:
    """What one client has carried; the longest unused first."""

    def __init__(self) -> None:
        self.items: dict[str, _Item] = {}
        self.in_use: Counter[str] = Counter()
        self._lock = threading.Lock()

    def bring(self, client: Any, files: Sequence[tuple[str, ...]], progress: bool | None) -> list[str]:
        here = files_here(files)
        if not (here or self.items) or same_machine(client):
            return []
        try:
            with self._lock:
                wanted, notes = lacking(client, files, here) if here else ({}, [])
                old = [path for path, item in self.items.items() if stamp_of(path) != item.stamp]
                if wanted or old:
                    self._update(client, wanted, old, progress)
                return notes
        except OSError as error:
            if isinstance(error, AfKitError):
                raise
            raise ConnectError(f"The cluster could not be asked for the files of this run: {error}") from error

    def _update(self, client: Any, wanted: Mapping[str, Stamp], old: Sequence[str], progress: bool | None) -> None:
        there = _registered(client)
        kept = {path: item for path, item in self.items.items() if path not in old and item.plugin in there}
        gone = {path: item for path, item in self.items.items() if path not in kept}
        self.items = kept
        room = limit() - sum(stamp[0] for stamp in wanted.values())
        for path in list(kept):  # in the order of their last use
            if path in wanted:
                continue
            if not self.in_use[path] and sum(i.stamp[0] for p, i in kept.items() if p not in wanted) > room:
                gone[path] = kept.pop(path)
        new = {}
        for path, stamp in wanted.items():
            digest = _digest(path, stamp)
            item = _Item(stamp, digest, _name(client, path, digest))
            if item.plugin in there:  # carried before, also where the file was only touched since
                gone.pop(path, None)
                kept.pop(path, None)
                kept[path] = item
            else:
                new[path] = item
        replaced = _others(there, new.values())
        try:
            if new:
                say(f"{amount(wanted[path] for path in new)} go to the workers, which do not see this disk.", progress)
                _send(client, new, kept)
        finally:
            # After the new content is there, so that no task finds neither.
            _take_off(client, {*(item.plugin for item in gone.values() if item.plugin in there), *replaced})
            _release(client, {item.digest for item in gone.values()} - {item.digest for item in kept.values()})


def _digest(path: str, stamp: Stamp) -> str:
    """SHA-256 of a file, found once for as long as the file is the same."""
    from af_kit.plugins.store import sha256_of

    known = _digests.get(path)
    if known is None or known[0] != stamp:
        try:
            known = _digests[path] = (stamp, sha256_of(path))
        except OSError as error:
            raise InputError(f"{path}, to be carried to the workers, cannot be read: {error.strerror}.") from error
    return known[1]


def _name(client: Any, path: str, digest: str) -> str:
    """Whose, from which machine, which path, which content."""
    from af_kit.plugins.store import PREFIX_OF_CLIENTS

    parts = (f"{socket.gethostname()} {os.getuid()}", path)
    machine, file = (hashlib.sha256(part.encode(errors="surrogatepass")).hexdigest()[:12] for part in parts)
    return f"{PREFIX_OF_CLIENTS}{client.id}-{machine}-{file}-{digest[:12]}"


def _registered(client: Any) -> set[str]:
    """The names of all that is carried to this cluster's workers, by any client."""
    from af_kit.plugins.store import PREFIX_OF_CLIENTS

    return set(client.run_on_scheduler(_registered_on, prefix=PREFIX_OF_CLIENTS))


def _registered_on(dask_scheduler: Any, prefix: str) -> list[str]:
    return [name for name in dask_scheduler.worker_plugins if name.startswith(prefix)]


def _others(there: Iterable[str], new: Iterable[_Item]) -> list[str]:
    """What other clients carry by the same paths, with other content: from this machine, and so out of date.

    Raises
    ------
    InputError
        From another machine: the workers could not tell the two apart.
    """
    ours = {item.plugin.split("-")[-2]: item for item in new}
    found = []
    for name in there:
        *_, machine, file, digest = name.split("-")
        item = ours.get(file)
        if item is None or item.digest.startswith(digest):
            continue
        if item.plugin.split("-")[-3] != machine:
            raise InputError(
                "A session on another machine has carried another file to these workers that has the same path as one "
                "of this run. Close that client, or give one of the files another name."
            )
        found.append(name)
    return found


def _send(client: Any, new: Mapping[str, _Item], kept: dict[str, _Item]) -> None:
    """Give the scheduler the content, and tell the workers to fetch it; what has arrived is added to ``kept``."""
    from af_kit.plugins import store

    digests: set[str] = set()
    try:
        for path, item in new.items():
            if item.digest not in digests:
                store.put(client, path, item.digest, client.id)
            digests.add(item.digest)
        client.sync(_register, client, new)
    except BaseException as error:
        _take_off(client, [item.plugin for item in new.values()])
        _release(client, digests - {item.digest for item in kept.values()})
        if isinstance(error, OSError) and client.status == "running":
            raise AfKitError(
                f"{amount([item.stamp for item in new.values()])} could not be carried to the workers: {error}"
            ) from error
        raise
    kept.update(new)


async def _register(client: Any, new: Mapping[str, _Item]) -> None:
    import asyncio

    from distributed.comm import CommClosedError

    from af_kit.run.upload_plugin import CarriedFile

    turns = asyncio.Semaphore(_AT_A_TIME)

    async def one(path: str, item: _Item) -> None:
        async with turns:
            # A worker that goes away meanwhile: the others have it, and who takes its place gets it.
            with suppress(CommClosedError):
                await client.register_plugin(CarriedFile(item.plugin, path, item.digest), name=item.plugin)

    await asyncio.gather(*(one(path, item) for path, item in new.items()))


def _take_off(client: Any, plugins: Iterable[str]) -> None:
    for name in plugins:
        # Taken off meanwhile, or a worker or the scheduler went away.
        with suppress(ValueError, OSError):
            client.unregister_worker_plugin(name)


def _release(client: Any, digests: Iterable[str]) -> None:
    from af_kit.plugins import store

    gone = list(digests)
    if gone:
        with suppress(OSError):
            store.release(client, gone)
