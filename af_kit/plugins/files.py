"""Files on every worker, whenever it comes: corrections, masks, anything; each by one name, its content checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from af_kit.errors import InputError, nearest
from af_kit.plugins import store

__all__ = ["FilePlugin", "WorkerFiles", "file", "files", "remove_files", "send_files", "verify", "verify_files"]

_PREFIX = "af-file-"


@dataclass(frozen=True)
class _Known:
    """A file as this process knows it."""

    path: str
    digest: str
    stamp: tuple[int, int] | None
    """Time of change and size when it was sent, for the user's own copy; None on a worker."""


# Apart, because a worker may live in the client's own process, and end before it.
_sent: dict[str, _Known] = {}
_held: dict[str, _Known] = {}


class FilePlugin(WorkerPlugin):
    """Puts one file on a worker when it starts, and takes it away when it ends.

    Parameters
    ----------
    name : str
        The name by which `file` finds it.
    filename : str
        Its file name on the worker (readers look at the suffix).
    digest : str
        SHA-256 of its content, which the scheduler's store holds.
    """

    def __init__(self, name: str, filename: str, digest: str) -> None:
        self.name = _PREFIX + name
        self.key, self.filename, self.digest = name, filename, digest

    def _target(self, worker: Any) -> Path:
        return Path(worker.local_directory) / "af-files" / self.key / self.filename

    async def setup(self, worker: Any) -> None:
        """Fetch the file; tasks start after this."""
        target = self._target(worker)
        await store.fetch(worker, self.digest, target)
        _held[self.key] = _Known(str(target), self.digest, None)

    def teardown(self, worker: Any) -> None:
        """Remove it."""
        store.give_back(worker, self.digest, self._target(worker))
        held = _held.get(self.key)
        if held is not None and held.path == str(self._target(worker)):
            del _held[self.key]


def send_files(client: Any, files: Mapping[str, str | Path], *, replace: bool = False) -> None:
    """Put files on every worker of a cluster, also on those that come later.

    Parameters
    ----------
    client : distributed.Client or None
        The cluster. None just makes the names known in this process, for a run on threads.
    files : mapping
        Name: path. In the function of events, ``af_kit.file(name)`` is the path, here and on every worker.
    replace : bool
        Whether a name that stands for other content already may be given this one.

    Raises
    ------
    InputError
        A file cannot be read, a name is not usable, or it stands for other content and ``replace`` is not set.
    """
    prepared = {name: _prepared(name, Path(path)) for name, path in files.items()}
    there = _registered(client) if client is not None else {}
    for name, known in prepared.items():
        before = there.get(name) or (_sent[name].digest if client is None and name in _sent else None)
        if before is not None and before != known.digest and not replace:
            raise InputError(
                f"{name!r} was sent with other content before (SHA-256 {before[:12]}, now {known.digest[:12]}). "
                "Give replace=True to replace it everywhere, or choose another name."
            )
    for name, known in prepared.items():
        if client is not None and there.get(name) != known.digest:
            if name in there:
                client.unregister_worker_plugin(_PREFIX + name)
            store.put(client, known.path, known.digest)
            client.register_plugin(FilePlugin(name, Path(known.path).name, known.digest), name=_PREFIX + name)
        _sent[name] = known


def file(name: str) -> str:
    """The path of a file that `send_files` sent, in this process: the same call works here and on a worker.

    Raises
    ------
    InputError
        No file was sent under this name, or the one here was changed since it was sent.
    """
    known = _held.get(name) or _sent.get(name)
    if known is None:
        hint = nearest(name, {**_held, **_sent}) or ' Send it first: af_kit.send_files(client, {"' + name + '": path}).'
        raise InputError(f"No file {name!r} was sent here.{hint}")
    if known.stamp is not None and _stamp(Path(known.path)) != known.stamp:
        raise InputError(
            f"{known.path} has changed since it was sent as {name!r}: the workers have the old content. "
            "Send it again with replace=True."
        )
    return known.path


@dataclass(frozen=True)
class WorkerFiles:
    """What lies on the workers: for each worker and name ``ok``, ``missing`` or ``other content``."""

    workers: dict[str, dict[str, str]]

    @property
    def ok(self) -> bool:
        """Whether every worker has every file, unchanged."""
        return all(state == "ok" for states in self.workers.values() for state in states.values())

    def __str__(self) -> str:
        if not self.workers:
            return "No workers."
        rows = [(worker, name, state) for worker, states in self.workers.items() for name, state in states.items()]
        return "\n".join(f"{worker}: {name} {state}" for worker, name, state in rows) or "No files were sent."

    __repr__ = __str__


def verify_files(client: Any, names: Iterable[str] | None = None) -> WorkerFiles:
    """Read the files on every worker again and compare them with what was sent.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    names : iterable of str, optional
        Only these files.
    """
    wanted = _registered(client)
    if names is not None:
        for name in (names := list(names)):
            if name not in wanted:
                raise InputError(f"No file {name!r} was sent to this cluster.{nearest(name, wanted)}")
        wanted = {name: wanted[name] for name in names}
    return WorkerFiles(dict(client.run(_states, wanted)))


verify = verify_files  # deprecated name


def files(client: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """What lies on each worker: for each worker and name the ``path``, the ``bytes`` and the ``sha256``."""
    return dict(client.run(_listing))


def remove_files(client: Any, names: Iterable[str] | None = None) -> None:
    """Take files away from every worker, and from those to come; all that were sent, if none are named."""
    there = _registered(client)
    for name in list(there) if names is None else list(names):
        if name not in there:
            raise InputError(f"No file {name!r} was sent to this cluster.{nearest(name, there)}")
        client.unregister_worker_plugin(_PREFIX + name)
        _sent.pop(name, None)


def _prepared(name: str, path: Path) -> _Known:
    if not name or name != Path(name).name or name.startswith("."):
        raise InputError(f"{name!r} is not a usable name for a file: letters, digits, dots and dashes, no slash.")
    try:
        return _Known(str(path.expanduser().resolve()), store.sha256_of(path.expanduser()), _stamp(path.expanduser()))
    except OSError as error:
        raise InputError(f"{path}, to be sent as {name!r}, cannot be read: {error.strerror}.") from error


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return (0, -1)
    return (state.st_mtime_ns, state.st_size)


def _registered(client: Any) -> dict[str, str]:
    """Name and digest of the files that the scheduler gives to its workers."""
    found: dict[str, str] = client.run_on_scheduler(_registered_on, prefix=_PREFIX)
    return found


def _registered_on(dask_scheduler: Any, prefix: str) -> dict[str, str]:
    from distributed.protocol.pickle import loads

    plugins = {name: loads(blob) for name, blob in dask_scheduler.worker_plugins.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): plugin.digest for name, plugin in plugins.items()}


def _states(wanted: Mapping[str, str]) -> dict[str, str]:
    states = {}
    for name, digest in wanted.items():
        known = _held.get(name)
        if known is None or not Path(known.path).exists():
            states[name] = "missing"
        else:
            states[name] = "ok" if store.sha256_of(known.path) == digest else "other content"
    return states


def _listing() -> dict[str, dict[str, Any]]:
    return {
        name: {"path": known.path, "bytes": Path(known.path).stat().st_size, "sha256": known.digest}
        for name, known in _held.items()
        if Path(known.path).exists()
    }
