"""Upload local files to workers that cannot see this machine's disk.

The workers are asked which files they see. The others are sent to the scheduler (`af_kit.plugins.store`), and each
worker gets a copy before its first task. `af_kit.data` opens the copy if there is no file at the path itself, so
everything reads a file by the path that the user knows: `process`, and `af_kit.read` in the user's own tasks.

Copies stay for the next call, up to ``af_kit.data.upload_limit`` bytes in total; the least recently used are removed
first. If a file changes or disappears here, its old copy is removed at the next call. When the client closes or its
process dies, the scheduler removes everything that the client uploaded, from the workers and from its own disk.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from af_kit import config
from af_kit.data.transport.io_errors import is_remote, local_path
from af_kit.display.progress import Progress, say
from af_kit.errors import AfKitError, ConnectError, InputError
from af_kit.run.engines.absence import Absence
from af_kit.run.engines.client_calls import is_lost

__all__ = ["uploaded_files"]

logger = logging.getLogger(__name__)

# Files that the scheduler distributes to the workers at the same time.
_AT_A_TIME = 16
_SHOWN = 3
# Up to so many answers, every worker is asked about every file: more would take minutes, and keep a file server busy.
_MOST_ANSWERS = 1_000_000

Stamp = tuple[int, int, int]
"""Size, time of the last change and inode of a file: one of them differs when it has been rewritten."""

_uploads: weakref.WeakKeyDictionary[Any, _Uploads] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def uploaded_files(client: Any, files: Iterable[Sequence[str]], *, progress: bool | None = None) -> Iterator[list[str]]:
    """Upload the files that workers of a client cannot see; they stay at least until the end of the ``with`` block.

    Parameters
    ----------
    client : distributed.Client or None
        Nothing is uploaded if its workers are processes of this session on this machine.
    files : iterable of sequence of str
        The replicas of each file. A file with a remote replica is not uploaded.
    progress : bool, optional
        Whether to print a line about an upload; by default on a terminal and in a notebook.

    Yields
    ------
    list of str
        Notes for the report: what was uploaded, and what was not although a worker cannot see it.

    Raises
    ------
    InputError
        No worker can see the files, and these exceed ``af_kit.data.upload_limit``.
    """
    if client is None:
        yield []
        return
    given = [tuple(replicas) for replicas in files]
    paths = Counter({local_path(path) for replicas in given for path in replicas if not is_remote(path)})
    with _lock:
        uploads = _uploads.setdefault(client, _Uploads())
        uploads.in_use += paths
    try:
        yield uploads.upload(client, given, progress)
    finally:
        with _lock:
            uploads.in_use -= paths


@dataclass(frozen=True)
class _Upload:
    """An uploaded file: its state at that time, its content, and the name of the worker plugin that brings it."""

    stamp: Stamp
    digest: str
    plugin: str


class _Uploads:
    """The files that one client has uploaded, the least recently used first."""

    def __init__(self) -> None:
        self.current: dict[str, _Upload] = {}
        self.in_use: Counter[str] = Counter()
        self._lock = threading.Lock()

    def upload(self, client: Any, files: Sequence[tuple[str, ...]], progress: bool | None) -> list[str]:
        """Bring the uploads up to date for these files; return notes for the report."""
        local = _local_files(files)
        if not (local or self.current) or _on_this_machine(client):
            return []
        try:
            with self._lock:
                wanted, notes = _unseen_files(client, files, local) if local else ({}, [])
                outdated = {path for path, item in self.current.items() if stamp_of(path) != item.stamp}
                if wanted or outdated:
                    self._update(client, wanted, outdated, progress)
                return notes
        except OSError as error:
            if isinstance(error, AfKitError) or is_lost(client, error):
                raise
            raise ConnectError(f"The cluster did not answer which files of this run it can see: {error}") from error

    def _update(self, client: Any, wanted: Mapping[str, Stamp], outdated: set[str], progress: bool | None) -> None:
        present = _uploaded_plugins(client)
        before = self.current
        self.current = current = {p: i for p, i in before.items() if p not in outdated and i.plugin in present}
        room = upload_limit() - sum(size for size, *_ in wanted.values())
        for path in [path for path in current if path not in wanted]:  # the least recently used first
            used = sum(item.stamp[0] for other, item in current.items() if other not in wanted)
            if used > room and not self.in_use[path]:
                del current[path]
        new: dict[str, _Upload] = {}
        for path, stamp in wanted.items():
            item = current.pop(path, None)
            if item is None or item.stamp != stamp:
                item = _Upload(stamp, digest := _digest(path), _plugin_name(client, path, digest))
            (current if item.plugin in present else new)[path] = item  # present also if the file was only touched
        kept = {item.plugin for item in current.values()}
        removed = [item for item in before.values() if item.plugin not in kept]
        try:
            if new:
                amount = _amount(wanted[path] for path in new)
                say(f"Uploading {amount} that the workers cannot see.", progress)
                logger.info("upload: %s that the workers cannot see", amount)
                _send(client, new, {item.digest for item in current.values()}, progress)
                current |= new
        finally:
            # After the new content has arrived, so that a task always finds one of the two.
            _unregister(client, present & ({item.plugin for item in removed} | _outdated_uploads(present, new)))
            _release(client, {item.digest for item in removed} - {item.digest for item in current.values()})


def stamp_of(path: str) -> Stamp | None:
    """Return the present state of a file; None if there is no file."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every file of every run
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def upload_limit() -> int:
    """Return ``af_kit.data.upload_limit`` in bytes; 0 means never to upload."""
    size = config.get("data.upload_limit")
    return 0 if size in (0, "0") else config.as_bytes(size, "af_kit.data.upload_limit")


def _local_files(files: Sequence[tuple[str, ...]]) -> dict[str, Stamp]:
    """Return the files that exist on this machine, of those without a remote replica, with their state."""
    paths = [local_path(path) for replicas in files if not any(map(is_remote, replicas)) for path in replicas]
    return {path: stamp for path in paths if (stamp := stamp_of(path)) is not None}


def _on_this_machine(client: Any) -> bool:
    """Return whether the workers are processes or threads that this session has started here."""
    from distributed import LocalCluster

    address = str(getattr(client.scheduler, "address", ""))
    return isinstance(client.cluster, LocalCluster) or address.startswith("inproc://")


def _unseen_files(
    client: Any, files: Sequence[tuple[str, ...]], local: Mapping[str, Stamp]
) -> tuple[dict[str, Stamp], list[str]]:
    """Return the files to upload because a worker cannot see them, and notes for the report.

    For many files and workers, it is enough if each worker sees one file of every folder: a file system is mounted as a
    whole, and a file that is missing after all is listed as failed.
    """
    paths = list(local)
    if len(paths) * len(client.nthreads()) > _MOST_ANSWERS:
        of_folders = list({os.path.dirname(path): path for path in paths}.values())  # noqa: PTH120 - many paths
        expected = [local[path][0] for path in of_folders]
        if all(sizes == expected for sizes in _sizes_on_workers(client, of_folders)):
            return {}, []
    answers = [dict(zip(paths, sizes, strict=True)) for sizes in _sizes_on_workers(client, paths)]
    missing: dict[str, Stamp] = {}
    seen_nowhere = False
    for replicas in files:
        own = [path for path in map(local_path, replicas) if path in local]
        sees = [any(sizes[path] >= 0 for path in own) for sizes in answers]
        if own and not all(sees):
            missing[own[0]] = local[own[0]]
            seen_nowhere = seen_nowhere or not any(sees)
    notes: list[str] = []
    for path, (size, *_) in local.items():
        others = {sizes[path] for sizes in answers} - {-1, size}
        if others and len(notes) < _SHOWN:
            notes.append(f"{path} has {size} bytes here and {min(others)} on a worker, which reads its own file.")
    if not missing:
        return {}, notes
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    names = ", ".join(list(missing)[:_SHOWN]) + more
    amount = _amount(missing.values())
    if sum(size for size, *_ in missing.values()) <= upload_limit():
        return missing, [*notes, f"{amount} on this machine, which workers cannot see, were uploaded to them."]
    if not seen_nowhere:
        note = f"{amount} ({names}) are not seen by every worker, and exceed af_kit.data.upload_limit: not uploaded."
        return {}, [*notes, note]
    raise InputError(
        f"The workers cannot see {amount} of this run on this machine's disk ({names}), and these exceed "
        f"af_kit.data.upload_limit ({config.get('data.upload_limit')}). Put the files where the workers can read them: "
        "behind a URL (root://, https://), or in a folder that they mount (on Kubernetes: volumes=[...], "
        'volume_mounts=[...]); or raise the limit: dask.config.set({"af_kit.data.upload_limit": "4 GiB"}).'
    )


def _sizes_on_workers(client: Any, paths: list[str]) -> list[list[int]]:
    """Return what each worker sees at these paths; if there are no workers yet, the first to come answers."""
    from af_kit.plugins.credential_handle import ask_workers

    answers = ask_workers(client, _sizes, paths)
    if answers:
        return list(answers.values())
    future = client.submit(_sizes, paths, pure=False, retries=2)
    try:
        if reason := Absence(client).wait([future]):
            raise ConnectError(f"No worker says which files it can see: {reason}.")
        return [future.result()]
    finally:
        future.release()


def _sizes(paths: Sequence[str]) -> list[int]:
    """Return the sizes of the files at these paths; -1 if there is no file."""
    stamps = [stamp_of(path) for path in paths]
    return [-1 if stamp is None else stamp[0] for stamp in stamps]


def _amount(stamps: Iterable[Stamp]) -> str:
    """Return the number of files and their size, as text."""
    from dask.utils import format_bytes

    sizes = [size for size, *_ in stamps]
    return f"{len(sizes)} file{'' if len(sizes) == 1 else 's'} ({format_bytes(sum(sizes))})"


def _digest(path: str) -> str:
    """Return the SHA-256 of a file."""
    from af_kit.plugins.store import sha256_of

    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read to upload it to the workers: {error.strerror}.") from error


def _plugin_name(client: Any, path: str, digest: str) -> str:
    """Return a name for the worker plugin that says which client, which path, which content."""
    from af_kit.plugins.store import PREFIX_OF_CLIENTS

    file = hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{PREFIX_OF_CLIENTS}{client.id}-{file}-{digest[:12]}"


def _outdated_uploads(present: Iterable[str], new: Mapping[str, _Upload]) -> set[str]:
    """Return the plugins by which another client has uploaded other content for the path of a new upload."""
    digests = {path: digest for *_, path, digest in (item.plugin.split("-") for item in new.values())}
    found = set()
    for name in present:
        *_, path, digest = name.split("-")
        if digests.get(path, digest) != digest:
            found.add(name)
    return found


def _uploaded_plugins(client: Any) -> set[str]:
    """Return the names of the plugins by which any client has uploaded files to this cluster."""
    from af_kit.plugins.store import PREFIX_OF_CLIENTS

    return set(client.run_on_scheduler(_registered_plugins, prefix=PREFIX_OF_CLIENTS))


def _registered_plugins(dask_scheduler: Any, prefix: str) -> list[str]:
    return [name for name in dask_scheduler.worker_plugins if name.startswith(prefix)]


def _send(client: Any, new: Mapping[str, _Upload], present: set[str], progress: bool | None) -> None:
    """Send the content to the scheduler, and make the workers fetch it; ``present`` are digests to keep on failure."""
    from af_kit.plugins import store

    digests: set[str] = set()
    size = sum(item.stamp[0] for item in new.values())
    try:
        with Progress(size, progress, what="upload", unit="B", brief=True) as bar:
            for path, item in new.items():
                if item.digest not in digests:
                    store.put(client, path, item.digest, client.id)
                digests.add(item.digest)
                bar.update(item.stamp[0])
        with Progress(len(new), progress, what="distribute", unit="files", brief=True) as bar:
            client.sync(_register, client, new, bar.update)
    except BaseException as error:
        _unregister(client, [item.plugin for item in new.values()])
        _release(client, digests - present)
        if isinstance(error, OSError) and not is_lost(client, error):
            amount = _amount([item.stamp for item in new.values()])
            raise AfKitError(f"{amount} could not be uploaded to the workers: {error}") from error
        raise


async def _register(client: Any, new: Mapping[str, _Upload], step: Callable[[], None]) -> None:
    import asyncio

    from distributed.comm import CommClosedError

    from af_kit.run.upload_plugin import UploadedFile

    turns = asyncio.Semaphore(_AT_A_TIME)

    async def one(path: str, item: _Upload) -> None:
        async with turns:
            # If a worker goes away meanwhile, the others have the file, and so will its successor.
            with suppress(CommClosedError):
                await client.register_plugin(UploadedFile(item.plugin, path, item.digest), name=item.plugin)
        step()

    await asyncio.gather(*(one(path, item) for path, item in new.items()))


def _unregister(client: Any, plugins: Iterable[str]) -> None:
    for name in plugins:
        # Removed meanwhile, or a worker or the scheduler went away.
        with suppress(ValueError, OSError):
            client.unregister_worker_plugin(name)


def _release(client: Any, digests: set[str]) -> None:
    from af_kit.plugins import store

    if digests:
        with suppress(OSError):
            store.release(client, digests)
