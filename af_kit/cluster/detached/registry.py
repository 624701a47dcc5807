"""The user's clusters that have a scheduler process: how they are found again, by name or by address.

Each cluster has a folder below ``clusters`` with its spec, its certificates and, once it can be used, its
``entry.json``. The folder is removed when the cluster ends. Its logs are below ``logs`` and stay. Only their owner can
read all of this: anyone who can read a cluster's certificates can run code on it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from af_kit import config
from af_kit.cluster.processes import birth
from af_kit.credentials.private_files import private_folder, write_private
from af_kit.errors import ConnectError, InputError, nearest

# A folder without an entry that is older than this belongs to a start that was killed.
_STARTS_WITHIN_S = 600
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Entry:
    """A running cluster.

    Attributes
    ----------
    name, backend : str
        The name that the user gave it, and the backend that started it.
    job_name : str
        The name of its jobs in the queue; no other cluster ever has it.
    address, dashboard : str
        Addresses of its scheduler; without a dashboard, the latter is empty.
    host, pid, born : str, int, float
        The machine, process id and start (see `processes.birth`) of its scheduler process.
    started : float
        Seconds since the epoch.
    detached : bool
        Whether it outlives the session that started it.
    idle_timeout_s : float or None
        Seconds without a task after which it ends.
    folder, logs : str
        Its folder, and the folder of its logs.
    security : dict
        Arguments of ``distributed.Security``: paths of files. Empty without TLS.
    more : dict
        Other values that the backend needs to find it again.
    """

    name: str
    backend: str
    job_name: str
    address: str
    dashboard: str
    host: str
    pid: int
    born: float
    started: float
    detached: bool
    idle_timeout_s: float | None
    folder: str
    logs: str
    security: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


def base() -> Path:
    """Return the folder for all of this: ``af_kit.cluster.folder``, by default the user's folder for program state."""
    configured = os.path.expanduser(os.path.expandvars(config.get("cluster.folder")))  # noqa: PTH111
    return Path(configured) if configured else user_state_path("af_kit")


def check_name(name: Any) -> str:
    """Return the name of a cluster if it is valid: it becomes a part of job names and paths.

    Raises
    ------
    InputError
        It is not valid.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"name={name!r}: give a name of letters, digits, - and _, at most 40 of them, as in name='big'."
        )
    return name


def reserve(name: str | None, backend: str) -> tuple[str, str, Path, Path]:
    """Create the folders of a new cluster.

    Returns
    -------
    (str, str, Path, Path)
        Its name (a generated one if ``name`` is None), the name of its jobs, its folder, and the folder of its logs.

    Raises
    ------
    InputError
        A cluster with this name runs, or the folder belongs to another user.
    """
    token = secrets.token_hex(4)
    job_name = f"{name or backend}-{token}"
    name = name or job_name
    folder = _private("clusters") / name
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        existing = _load(folder)
        if existing is None or is_alive(existing):
            raise InputError(
                f"A cluster named {name!r} exists already: connect(name={name!r}) connects to it, "
                f"`af-kit cluster stop {name}` ends it."
            ) from None
        remove(existing)
        folder.mkdir(mode=0o700)
    logs = _private("logs") / job_name
    logs.mkdir(mode=0o700)
    _remove_old_logs(logs.parent)
    return name, job_name, folder, logs


def save(entry: Entry) -> None:
    """Write the entry of a cluster, so that it can be found."""
    write_private(Path(entry.folder) / "entry.json", json.dumps(asdict(entry)))


def remove(entry: Entry) -> None:
    """Remove the folder of a cluster, with its certificates; its logs stay."""
    shutil.rmtree(entry.folder, ignore_errors=True)


def entries() -> list[Entry]:
    """Return the running clusters, oldest first, and remove the folders of those that were killed."""
    found = [_load(folder) for folder in (base() / "clusters").glob("*")]
    alive = []
    for entry in found:
        if entry is None:
            continue  # it is starting, or its start has just failed
        if is_alive(entry):
            alive.append(entry)
        elif entry.host in ("", socket.gethostname()):
            remove(entry)
    return sorted(alive, key=lambda entry: entry.started)


def find(name: str, also: Iterable[Entry] = ()) -> Entry:
    """Return the cluster with this name, in this registry or in ``also``.

    Raises
    ------
    ConnectError
        No cluster with this name runs.
    """
    running = {entry.name: entry for entry in [*also, *entries()]}
    if name not in running:
        start = f" Start one: connect(BACKEND, name={name!r}, detach=True)."
        raise ConnectError(f"No cluster named {name!r} runs.{nearest(name, running)}{'' if running else start}")
    return running[name]


def at(address: str) -> Entry | None:
    """Return the cluster whose scheduler has this address, or None."""
    return next((entry for entry in entries() if entry.address == address), None)


def log_folder(name: str) -> Path:
    """Return the folder with the logs of the last cluster that had this name.

    Raises
    ------
    InputError
        There are no such logs.
    """
    folders = [path for path in (base() / "logs").glob("*") if path.is_dir()]
    matching = [path for path in folders if name in (path.name, path.name.rpartition("-")[0])]
    if not matching:
        raise InputError(
            f"There are no logs of a cluster named {name!r}.{nearest(name, [path.name for path in folders])}"
        )
    return max(matching, key=lambda path: path.stat().st_mtime)


def is_alive(entry: Entry) -> bool:
    """Return whether a cluster runs: by its scheduler process, or from another machine by its scheduler's port.

    A cluster without a host belongs to a service, which its backend asks (`backends.running`); here it counts as
    running.
    """
    if not entry.host:
        return True
    if entry.host == socket.gethostname():
        return birth(entry.pid) == entry.born
    host, _, port = entry.address.partition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=3).close()
    except (OSError, ValueError):
        return False
    return True


def _load(folder: Path) -> Entry | None:
    try:
        values = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        return Entry(**{one.name: values[one.name] for one in fields(Entry) if one.name in values})
    except FileNotFoundError:
        if folder.is_dir() and time.time() - folder.stat().st_mtime > _STARTS_WITHIN_S:
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, ValueError, TypeError):  # written by another version, or not an entry
        pass
    return None


def _private(name: str) -> Path:
    return private_folder(base() / name, advice="Set af_kit.cluster.folder to a folder of your own.")


def _remove_old_logs(folder: Path) -> None:
    keep = config.get("cluster.keep_logs")
    running = {entry.job_name for entry in entries()}
    old = [path for path in folder.glob("*") if path.is_dir() and path.name not in running]
    for path in sorted(old, key=lambda path: path.stat().st_mtime, reverse=True)[max(keep, 1) :]:
        shutil.rmtree(path, ignore_errors=True)
