"""The clusters that run in a process of their own (`head`): how they are found again, by name or by address.

Each has a folder of its own below ``clusters``, with what it was asked for, its certificates and, as soon as it can be
used, its ``entry.json``; the folder goes when the cluster ends. The logs of its jobs are below ``logs``, and stay.
All of it is for its owner only: who can read a cluster's certificates can run code on it.
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

from af_kit import config
from af_kit.errors import ConnectError, InputError, nearest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Entry:
    """A cluster that can be found.

    Attributes
    ----------
    name, backend : str
        What the user calls it, and the backend that started it.
    job_name : str
        The name of its jobs in the queue, of no other cluster's ever.
    address, dashboard : str
        Of its scheduler; an empty text where there is no dashboard.
    host, pid, born : str, int, int
        Where its head process runs, and which one it is (clock ticks after boot).
    started : float
        Seconds since the epoch.
    detached : bool
        Whether it outlives the session that started it.
    idle_timeout_s : float or None
        Seconds without a task after which it ends.
    folder, logs : str
        Its own folder, and that of its logs.
    security : dict
        Arguments of ``distributed.Security``: paths of files. Empty without TLS.
    more : dict
        What else a kind wants to find again.
    """

    name: str
    backend: str
    job_name: str
    address: str
    dashboard: str
    host: str
    pid: int
    born: int
    started: float
    detached: bool
    idle_timeout_s: float | None
    folder: str
    logs: str
    security: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


def base() -> Path:
    """The folder below which everything is: ``af_kit.cluster.folder``, by default where programs keep their state."""
    configured = os.path.expanduser(os.path.expandvars(config.get("cluster.folder")))  # noqa: PTH111
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(configured) if configured else Path(state) / "af_kit"


def check_name(name: Any) -> str:
    """A cluster's name, if it can be one: it becomes a part of job names and of paths.

    Raises
    ------
    InputError
        It cannot.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"name={name!r}: give a name of letters, digits, - and _, at most 40, such as name='big'.")
    return name


def reserve(name: str | None, backend: str) -> tuple[str, str, Path, Path]:
    """Make the folders of a new cluster.

    Returns
    -------
    (str, str, Path, Path)
        Its name (one of its own where none was given), the name of its jobs, its folder, that of its logs.

    Raises
    ------
    InputError
        A cluster of this name is there.
    """
    token = secrets.token_hex(4)
    job_name = f"{name or backend}-{token}"
    name = name or job_name
    folder = _private(base() / "clusters") / name
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        there = _load(folder)
        if there is None or is_alive(there):
            raise InputError(
                f"A cluster named {name!r} is there already: connect(name={name!r}) connects to it, "
                f"`af-kit cluster stop {name}` ends it."
            ) from None
        remove(there)
        folder.mkdir(mode=0o700)
    logs = _private(base() / "logs") / job_name
    logs.mkdir(mode=0o700)
    _forget_old_logs(logs.parent)
    return name, job_name, folder, logs


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read, in one step."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
    return path


def save(entry: Entry) -> None:
    """Let others find a cluster."""
    write_private(Path(entry.folder) / "entry.json", json.dumps(asdict(entry)))


def remove(entry: Entry) -> None:
    """Forget a cluster, with its certificates; its logs stay."""
    shutil.rmtree(entry.folder, ignore_errors=True)


def entries() -> list[Entry]:
    """The clusters that run, oldest first; what is left of those that were killed is removed."""
    found = [_load(folder) for folder in (base() / "clusters").glob("*")]
    alive = []
    for entry in found:
        if entry is None:
            continue  # it is about to start, or its start failed just now
        if is_alive(entry):
            alive.append(entry)
        elif entry.host in ("", socket.gethostname()):
            remove(entry)
    return sorted(alive, key=lambda entry: entry.started)


def find(name: str, also: Iterable[Entry] = ()) -> Entry:
    """The cluster of this name, one of this registry or of those in ``also``.

    Raises
    ------
    ConnectError
        None of this name runs.
    """
    there = {entry.name: entry for entry in [*also, *entries()]}
    if name not in there:
        start = f" Start one: connect(KIND, name={name!r}, detach=True)."
        raise ConnectError(f"No cluster named {name!r} runs.{nearest(name, there)}{'' if there else start}")
    return there[name]


def at(address: str) -> Entry | None:
    """The cluster whose scheduler has this address, if it is one of these."""
    return next((entry for entry in entries() if entry.address == address), None)


def log_folder(name: str) -> Path:
    """The logs of the cluster of this name that was started last; it may have ended.

    Raises
    ------
    InputError
        There are none.
    """
    folders = [path for path in (base() / "logs").glob("*") if path.is_dir()]
    ours = [path for path in folders if name in (path.name, path.name.rpartition("-")[0])]
    if not ours:
        raise InputError(
            f"There are no logs of a cluster named {name!r}.{nearest(name, [path.name for path in folders])}"
        )
    return max(ours, key=lambda path: path.stat().st_mtime)


def born(pid: int) -> int | None:
    """When a process was started, in clock ticks after boot: with the pid it names this process, and no later one."""
    try:
        state, *values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(values[18])


def is_alive(entry: Entry) -> bool:
    """Whether the cluster runs: by its head process, or from another machine by its scheduler's port.

    A cluster without a host belongs to a service, which its backend asks (`backends.running`); here it is taken to run.
    """
    if not entry.host:
        return True
    if entry.host == socket.gethostname():
        return born(entry.pid) == entry.born
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
    except (OSError, ValueError, TypeError):  # another version's, or another program's
        pass
    return None


# A folder without an entry that is older belongs to a start that was killed.
_STARTS_WITHIN_S = 600


def _private(folder: Path) -> Path:
    """Make a folder that only its owner can look into; refuse one that somebody else has put there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder} belongs to somebody else. Set af_kit.cluster.folder to a folder of your own.")
    folder.chmod(0o700)
    return folder


def _forget_old_logs(folder: Path) -> None:
    kept = config.get("cluster.keep_logs")
    running = {entry.job_name for entry in entries()}
    old = [path for path in folder.glob("*") if path.is_dir() and path.name not in running]
    for path in sorted(old, key=lambda path: path.stat().st_mtime, reverse=True)[max(kept, 1) :]:
        shutil.rmtree(path, ignore_errors=True)
