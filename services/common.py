"""What all services need: a folder, free ports, processes that are found again and stopped by their id, waiting.

A service is a folder beside this file with ``start``, ``stop`` and ``logs``. What runs is written to ``state.json`` in
the service's scratch folder, so that a second ``start`` finds it and ``stop`` ends just that.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "ServiceError",
    "alone",
    "default_folder",
    "find_program",
    "free_ports",
    "identify",
    "is_free",
    "is_running",
    "load_state",
    "make_folder",
    "processes_below",
    "run_as",
    "save_state",
    "shared_folder",
    "spawn",
    "stop_all",
    "wait_until",
    "wait_until_listening",
]

# Where Debian keeps daemons; not on every user's PATH
DAEMONS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
STATE = "state.json"
T = TypeVar("T")


class ServiceError(RuntimeError):
    """A service did not start, or stop; the message has the end of its log."""


def find_program(name: str) -> str:
    """The path of a program, looked for where daemons are, too."""
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *DAEMONS)))
    if found is None:
        raise ServiceError(f"There is no program {name!r} on this machine.")
    return found


# ------------------------------------------------------------------------------------------------------------- folders


def default_folder(name: str) -> Path:
    """The scratch folder of a service that is used by hand: one per user, short enough for Unix sockets below it."""
    return Path(tempfile.gettempdir()) / f"af-kit-services-{os.getuid()}" / name


def make_folder(folder: Path) -> Path:
    """Make a service's scratch folder, and refuse one that somebody else has put there.

    Other users may pass through it (a daemon that root starts runs as a user of its own), not look into it.
    """
    folder.parent.mkdir(mode=0o711, exist_ok=True)
    folder.mkdir(mode=0o711, exist_ok=True)
    for place in (folder.parent, folder):
        if place == folder or place.name.startswith("af-kit-services-"):
            if place.stat(follow_symlinks=False).st_uid != os.getuid() or place.is_symlink():
                raise ServiceError(f"{place} belongs to somebody else. Give another folder: --folder DIR.")
            place.chmod(0o711)
    return folder


def shared_folder(folder: Path, user: str | None) -> Path:
    """Make a folder that the daemon's user may write."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if user is not None:
        shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
    return folder


def run_as(user: str) -> tuple[str | None, list[str]]:
    """The user a daemon runs as that refuses to be root, and what to put before its command.

    Returns
    -------
    str or None, list of str
        None and nothing where this is no root: the daemon then runs as whoever starts it.
    """
    if os.getuid() != 0:
        return None, []
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise ServiceError(f"There is no user {user!r} on this machine; the daemon's package makes one.") from None
    return user, [find_program("setpriv"), f"--reuid={user}", f"--regid={user}", "--init-groups"]


# --------------------------------------------------------------------------------------------------------------- state


def load_state(folder: Path) -> dict[str, Any]:
    """What is known to run, empty if nothing was started here."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text())
    except FileNotFoundError:
        return {}
    return state


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state in one step: a reader sees the old one or the new one."""
    new = folder / f".{STATE}.{os.getpid()}"
    new.write_text(json.dumps(state, indent=2) + "\n")
    new.replace(folder / STATE)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: of two that start a service at the same time, the second finds what the first began."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of 127.0.0.1."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


# ----------------------------------------------------------------------------------------------------------- processes


def spawn(command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> dict[str, int]:
    """Start a process in a session of its own; its output goes to ``log``.

    Returns
    -------
    dict
        ``pid`` and ``born`` (clock ticks after boot): together they name this process, and no later one.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
            cwd=log.parent,
        )
    process.returncode = 0  # it outlives this call on purpose: no warning when the handle goes away
    return identify(process.pid)


def identify(pid: int) -> dict[str, int]:
    """What names a process for good: see `spawn`."""
    return {"pid": pid, "born": _born(pid) or 0}


def is_running(process: Mapping[str, int]) -> bool:
    """Whether this very process runs; a pid that another one has by now does not count, nor does a zombie."""
    return _born(process["pid"]) == process["born"]


def processes_below(process: Mapping[str, int]) -> list[dict[str, int]]:
    """All processes that a process has started, and those that these have, as `spawn` describes one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    below, found = [process["pid"]] if is_running(process) else [], []
    while below:
        born = [(pid, _born(pid)) for pid in children.get(below.pop(), [])]
        found += [{"pid": pid, "born": when} for pid, when in born if when is not None]
        below += [pid for pid, _ in born]
    return found


def stop_all(processes: Sequence[Mapping[str, int]], *, within_s: float = 10) -> None:
    """End processes: first asked, after the deadline killed."""
    for number, patience_s in ((signal.SIGTERM, within_s), (signal.SIGKILL, 5.0)):
        for process in processes:
            if is_running(process):
                with suppress(ProcessLookupError):
                    os.kill(process["pid"], number)
        deadline = time.monotonic() + patience_s
        while any(is_running(process) for process in processes):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        else:
            return
    raise ServiceError(f"Processes {[p['pid'] for p in processes if is_running(p)]} cannot be stopped.")


def _born(pid: int) -> int | None:
    """When a process was started, in clock ticks after boot; None if it does not run."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # one of ours that has ended would stay a zombie
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Its first thread may have ended while another one still holds the ports.
    ended = fields[0] in "ZX" and int(fields[17]) <= 1
    return None if ended else int(fields[19])


# ------------------------------------------------------------------------------------------------------------- waiting


def wait_until(condition: Callable[[], T], what: str, *, within_s: float = 10, log: Path | None = None) -> T:
    """What ``condition`` gives as soon as that is true.

    Raises
    ------
    ServiceError
        It was not within the deadline; with the end of the log.
    """
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise ServiceError(f"{what}: not within {within_s:g} s.{_end_of(log)}")
        time.sleep(0.01)
    return found


def wait_until_listening(port: int, process: Mapping[str, int], log: Path, *, within_s: float = 15) -> None:
    """Return when a port of 127.0.0.1 answers; an error at once if the process ended."""

    def answers() -> bool:
        if not is_running(process):
            raise ServiceError(f"The process ended before it listened on port {port}.{_end_of(log)}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    wait_until(answers, f"Port {port} does not answer", within_s=within_s, log=log)


def _end_of(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return f" The end of {log}:\n" + "\n".join(lines)
