"""`send_files`: deliver files (corrections, masks, ...) to every worker, including later ones, under checked names."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from af_kit.errors import InputError, nearest
from af_kit.plugins import store
from af_kit.plugins.spark import ask_executors, is_spark, sent_to

__all__ = ["FilePlugin", "WorkerFiles", "file", "files", "remove_files", "send_files", "verify", "verify_files"]

logger = logging.getLogger(__name__)

_PREFIX = "af-file-"


@dataclass(frozen=True)
class _File:
    """A file in this process."""

    path: str
    digest: str
    stamp: tuple[int, int] | None
    """Modification time and size of the user's own file when it was sent; None on a worker."""


# Two tables, because a worker can run in the client's own process and end before it.
_sent: dict[str, _File] = {}
_received: dict[str, _File] = {}


class FilePlugin(WorkerPlugin):
    """Delivers one file to a worker at its start, and removes it at its end.

    Parameters
    ----------
    name : str
        The name for `file`.
    filename : str
        The file name on the worker; readers depend on its suffix.
    digest : str
        SHA-256 of the content, which is in the scheduler's store.
    """

    def __init__(self, name: str, filename: str, digest: str) -> None:
        self.name = _PREFIX + name
        self.key, self.filename, self.digest = name, filename, digest

    def _target(self, worker: Any) -> Path:
        return Path(worker.local_directory) / "af-files" / self.key / self.filename

    async def setup(self, worker: Any) -> None:
        """Fetch the file before the worker's first task."""
        target = self._target(worker)
        await store.fetch(worker, self.digest, target)
        _received[self.key] = _File(str(target), self.digest, None)

    def teardown(self, worker: Any) -> None:
        """Remove the file."""
        target = self._target(worker)
        store.give_back(worker, self.digest, target)
        received = _received.get(self.key)
        if received is not None and received.path == str(target):
            del _received[self.key]


def send_files(client: Any, files: Mapping[str, str | Path], *, replace: bool = False) -> None:
    """Put files on all workers of a cluster, including those that join later.

    Parameters
    ----------
    client : distributed.Client, pyspark.sql.SparkSession or None
        The cluster. None only makes the names known in this process, for a run on threads.
    files : mapping
        Name to path. In your function, ``af_kit.file(name)`` returns the path, here and on every worker.
    replace : bool
        Replace files that were sent under the same names with different content.

    Raises
    ------
    InputError
        A file cannot be read, a name is not valid, or it was sent with different content and ``replace`` is not set.
    """
    new = {name: _local_file(name, Path(path).expanduser()) for name, path in files.items()}
    registered = _registered(client)
    for name, local in new.items():
        if registered.get(name, local.digest) != local.digest and not replace:
            raise InputError(
                f"{name!r} was already sent with different content (SHA-256 {registered[name][:12]}, now "
                f"{local.digest[:12]}). Use replace=True to replace it everywhere, or choose another name."
            )
    for name, local in new.items():
        if client is not None and registered.get(name) != local.digest:
            logger.info("send: the file %s, from %s", name, local.path)
            _send(client, name, local, again=name in registered)
        _sent[name] = local


def _registered(client: Any) -> dict[str, str]:
    """Return the digests of the files that were sent to a cluster, by name."""
    if client is None:
        return {name: known.digest for name, known in _sent.items()}
    return sent_to(client).digests(_PREFIX) if is_spark(client) else store.registered_digests(client, _PREFIX)


def _send(client: Any, name: str, local: _File, *, again: bool) -> None:
    if is_spark(client):
        arrive, leave = partial(_arrive, name), partial(_leave, name)
        sent_to(client).add(_PREFIX + name, local.path, local.digest, arrive=arrive, leave=leave)
        return
    if again:
        client.unregister_worker_plugin(_PREFIX + name)
    store.put(client, local.path, local.digest)
    client.register_plugin(FilePlugin(name, Path(local.path).name, local.digest), name=_PREFIX + name)


def _arrive(name: str, path: Path, digest: str) -> None:
    """Make a file known in a process of a Spark executor."""
    _received[name] = _File(str(path), digest, None)


def _leave(name: str, path: Path, digest: str) -> None:
    _received.pop(name, None)


def file(name: str) -> str:
    """Return the path of a file from `send_files` in this process: the same call works here and on a worker.

    Raises
    ------
    InputError
        No file was sent under this name, or the local one has changed since.
    """
    known = _received.get(name) or _sent.get(name)
    if known is None:
        hint = nearest(name, {**_received, **_sent})
        raise InputError(
            f"No file {name!r} was sent here."
            + (hint or ' Send it first: af_kit.send_files(client, {"' + name + '": path}).')
        )
    if known.stamp is not None and _stamp(Path(known.path)) != known.stamp:
        raise InputError(
            f"{known.path} has changed since it was sent as {name!r}: the workers have the old content. "
            "Send it again with replace=True."
        )
    return known.path


@dataclass(frozen=True)
class WorkerFiles:
    """The state of the files on the workers: ``ok``, ``missing`` or ``other content`` by worker and name."""

    workers: dict[str, dict[str, str]]

    @property
    def ok(self) -> bool:
        """Whether every worker has every file with its original content."""
        return all(state == "ok" for states in self.workers.values() for state in states.values())

    def __str__(self) -> str:
        if not self.workers:
            return "No workers."
        rows = [(worker, name, state) for worker, states in self.workers.items() for name, state in states.items()]
        return "\n".join(f"{worker}: {name} {state}" for worker, name, state in rows) or "No files were sent."

    __repr__ = __str__


def verify_files(client: Any, names: Iterable[str] | None = None) -> WorkerFiles:
    """Read the files on every worker again, and compare them with what was sent.

    Parameters
    ----------
    client : distributed.Client or pyspark.sql.SparkSession
        The cluster. Of Spark, those executors answer that have a free core.
    names : iterable of str, optional
        Only these files.
    """
    registered = _registered(client)
    wanted = {name: registered[name] for name in _known(names, registered)}
    states = ask_executors(client, _states, wanted) if is_spark(client) else client.run(_states, wanted)
    return WorkerFiles(dict(states))


verify = verify_files


def files(client: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """List the files on each worker: ``path``, ``bytes`` and ``sha256`` by worker and name."""
    return dict(ask_executors(client, _listing) if is_spark(client) else client.run(_listing))


def remove_files(client: Any, names: Iterable[str] | None = None) -> None:
    """Remove files from all current and later workers: those with the given names, or all."""
    for name in _known(names, _registered(client)):
        if is_spark(client):
            sent_to(client).remove(_PREFIX + name)
        else:
            client.unregister_worker_plugin(_PREFIX + name)
        _sent.pop(name, None)


def _known(names: Iterable[str] | None, registered: Mapping[str, str]) -> list[str]:
    wanted = list(registered if names is None else names)
    for name in wanted:
        if name not in registered:
            raise InputError(f"No file {name!r} was sent to this cluster.{nearest(name, registered)}")
    return wanted


def _local_file(name: str, path: Path) -> _File:
    if not name or name != Path(name).name or name.startswith("."):
        raise InputError(f"{name!r} is not a valid name for a file: use letters, digits, dots and dashes, no slash.")
    try:
        return _File(str(path.resolve()), store.sha256_of(path), _stamp(path))
    except OSError as error:
        raise InputError(f"{path}, to be sent as {name!r}, cannot be read: {error.strerror}.") from error


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, -1)
    return (status.st_mtime_ns, status.st_size)


def _states(digests: Mapping[str, str]) -> dict[str, str]:
    states = {}
    for name, digest in digests.items():
        received = _received.get(name)
        if received is None or not Path(received.path).exists():
            states[name] = "missing"
        else:
            states[name] = "ok" if store.sha256_of(received.path) == digest else "other content"
    return states


def _listing() -> dict[str, dict[str, Any]]:
    return {
        name: {"path": received.path, "bytes": Path(received.path).stat().st_size, "sha256": received.digest}
        for name, received in _received.items()
        if Path(received.path).exists()
    }
