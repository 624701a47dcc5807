"""The base of all services: a scratch folder, free ports, processes stopped by their id, and waits with a deadline.

A service is a folder next to this file with the scripts ``start``, ``stop`` and ``logs``, and a subclass of `Service`.
The running processes are listed in ``state.json`` in the service's scratch folder, so that a second ``start`` finds
them, and ``stop`` ends only these.
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
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import psutil

__all__ = [
    "Service",
    "ServiceError",
    "find_program",
    "free_ports",
    "is_running",
    "locked",
    "make_folder",
    "processes_below",
    "responds",
    "run_as",
    "shared_folder",
    "stop_all",
    "wait_until",
]

ROOT = Path(__file__).parents[1]
"""The checkout."""
# Debian installs daemons here, which is not on every user's PATH.
DAEMONS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
Process = Mapping[str, int]
T = TypeVar("T")


class ServiceError(RuntimeError):
    """A service failed to start or stop; the message has the end of its log."""


# ------------------------------------------------------------------------------------------------------------- service


class Service:
    """A service in one scratch folder, running or not. A subclass defines `_start`.

    Parameters
    ----------
    folder : Path, optional
        State, configuration, logs and data. Services in different folders do not interfere.
    """

    name: ClassVar[str]
    processes: ClassVar[tuple[str, ...]]
    """The processes, in the order in which they start; all of them run, or the service does not."""
    private: ClassVar[bool] = False
    """Whether other users may not enter the folder, because it has passwords."""

    def __init__(self, folder: Path | None = None) -> None:
        # By default one folder per user, with a path short enough for Unix sockets.
        self.folder = folder or Path(tempfile.gettempdir()) / f"af-kit-services-{os.getuid()}" / self.name

    def start(self) -> Self:
        """Start the service if it is not running, and wait until it is ready."""
        with self._locked():
            if not self.is_running():
                self._stop()  # what is left of it
                self._start()
        return self

    def stop(self) -> None:
        """Stop the service; files and ports stay for the next start."""
        if self.folder.exists():
            with self._locked():
                self._stop()

    def running(self) -> dict[str, int]:
        """Return the names and ids of the processes that are running."""
        found = self._load().get("processes", {})
        return {name: process["pid"] for name, process in found.items() if is_running(process)}

    def is_running(self) -> bool:
        """Return whether all processes are running."""
        return set(self.processes) <= self.running().keys()

    def process(self, name: str) -> Process:
        """Return the ``pid`` and the ``born`` of a process that has been started."""
        found: Process = self._saved("processes", name)
        return found

    def port(self, name: str) -> int:
        """Return a port of the last start."""
        return int(self._saved("ports", name))

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.folder / f"{name}.log"

    def logs(self) -> list[Path]:
        """Return all log files."""
        return [self.log(name) for name in self.processes]

    # ---------------------------------------------------------------------------------------------- for subclasses

    def _start(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        """Stop all processes, in the reverse order."""
        stop_all([*self._load().get("processes", {}).values()][::-1])

    def _load(self) -> dict[str, Any]:
        """Return what the last start has saved; empty if there was none."""
        try:
            state: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        except FileNotFoundError:
            return {}
        return state

    def _save(self, section: str, values: Mapping[str, Any]) -> None:
        """Add to a section of the state in one step: a reader sees the old state or the new one."""
        state = self._load()
        state[section] = {**state.get(section, {}), **values}
        new = self.folder / f".state.json.{os.getpid()}"
        new.write_text(json.dumps(state, indent=2) + "\n")
        new.replace(self.folder / "state.json")

    def _saved(self, section: str, name: str) -> Any:
        try:
            return self._load()[section][name]
        except KeyError:
            raise ServiceError(f"{self.name} was not started in {self.folder}: there is no {name}.") from None

    def _spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a process in a new session, with its output in its log."""
        with self.log(name).open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
                cwd=self.folder,
            )
        process.returncode = 0  # it is meant to outlive this handle: no warning about that
        self._save("processes", {name: identify(process.pid)})

    def _choose_ports(self, *names: str) -> dict[str, int]:
        """Choose the ports of the last start if they are free, otherwise new ones."""
        old = self._load().get("ports", {})
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        ports.update({name: old[name] for name in names if name in old and _is_free(old[name])})
        self._save("ports", ports)
        return ports

    def _wait_until(self, name: str, condition: Callable[[], T], what: str, *, within_s: float = 30) -> T:
        """Wait as `wait_until` does, but stop at once with an error if the process ``name`` has ended."""
        process = self.process(name)

        def check() -> T:
            if not is_running(process):
                raise ServiceError(f"{name} ended as it started.{_end_of(self.log(name))}")
            return condition()

        return wait_until(check, what, within_s=within_s, log=self.log(name))

    def _wait_until_listening(self, name: str, port: int, *, within_s: float = 15) -> None:
        """Wait until a port of 127.0.0.1 accepts connections."""

        def accepts() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            return False

        self._wait_until(name, accepts, f"Port {port} does not answer", within_s=within_s)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Create the folder and lock it."""
        with locked(make_folder(self.folder, private=self.private)):
            yield


# ------------------------------------------------------------------------------------------------------------ programs


def find_program(name: str) -> str:
    """Return the path of a program, which may be a daemon that is not on the PATH."""
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *DAEMONS)))
    if found is None:
        raise ServiceError(f"There is no program {name!r} on this machine.")
    return found


def run_as(user: str) -> tuple[str | None, list[str]]:
    """Return the user that runs a daemon which refuses to run as root, and the start of its command.

    Returns
    -------
    str or None, list of str
        None and nothing if the current user is not root: the daemon then runs as that user.
    """
    if os.getuid() != 0:
        return None, []
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise ServiceError(f"There is no user {user!r} on this machine; the daemon's package creates one.") from None
    return user, [find_program("setpriv"), f"--reuid={user}", f"--regid={user}", "--init-groups"]


def shared_folder(folder: Path, user: str | None) -> Path:
    """Create a folder that the daemon's user can write to."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if user is not None:
        shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
    return folder


def make_folder(folder: Path, *, private: bool = False) -> Path:
    """Create a scratch folder, and refuse one that another user has put there.

    Other users may pass through the folder (a daemon that root starts runs as another user), but not list it.
    """
    folder.parent.mkdir(mode=0o711, exist_ok=True)
    folder.mkdir(mode=0o711, exist_ok=True)
    for created in (folder.parent, folder):
        if created == folder or created.name.startswith("af-kit-services-"):
            if created.is_symlink() or created.stat().st_uid != os.getuid():
                raise ServiceError(f"{created} belongs to another user. Choose another folder: --folder DIR.")
            created.chmod(0o700 if private and created == folder else 0o711)
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock: if a service is started twice at the same time, the second start finds the first."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --------------------------------------------------------------------------------------------------------------- ports


def free_ports(count: int) -> list[int]:
    """Return different ports of 127.0.0.1 that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def responds(url: str) -> bool:
    """Return whether a page can be read."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# ----------------------------------------------------------------------------------------------------------- processes


def identify(pid: int) -> dict[str, int]:
    """Return a process id and the start time in clock ticks since boot: together they never name another process."""
    return {"pid": pid, "born": _born(pid) or 0}


def is_running(process: Process) -> bool:
    """Return whether this process runs: neither a zombie, nor a later process with the same id."""
    return _born(process["pid"]) == process["born"]


def processes_below(process: Process) -> list[dict[str, int]]:
    """Return the children of a process, and theirs, as `identify` describes them."""
    if is_running(process):
        with suppress(psutil.NoSuchProcess):
            return [identify(child.pid) for child in psutil.Process(process["pid"]).children(recursive=True)]
    return []


def stop_all(processes: Sequence[Process], *, within_s: float = 10) -> None:
    """Terminate processes, and kill those that are still running after the deadline."""
    for number, deadline_s in ((signal.SIGTERM, within_s), (signal.SIGKILL, 5.0)):
        for process in processes:
            if is_running(process):
                with suppress(ProcessLookupError):
                    os.kill(process["pid"], number)
        deadline = time.monotonic() + deadline_s
        while any(is_running(process) for process in processes):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        else:
            return
    raise ServiceError(f"Processes {[p['pid'] for p in processes if is_running(p)]} cannot be stopped.")


def _born(pid: int) -> int | None:
    # Unlike af_kit.cluster.processes.birth, count a daemon as running if only its main thread has ended.
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of this process that has ended would stay a zombie
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    ended = fields[0] in "ZX" and int(fields[17]) <= 1
    return None if ended else int(fields[19])


# ------------------------------------------------------------------------------------------------------------- waiting


def wait_until(condition: Callable[[], T], what: str, *, within_s: float = 10, log: Path | None = None) -> T:
    """Wait until a condition is true, and return its value.

    Raises
    ------
    ServiceError
        It is not true before the deadline; the message has the end of the log.
    """
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise ServiceError(f"{what} within {within_s:g} s.{_end_of(log)}")
        time.sleep(0.01)
    return found


def _end_of(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return f" The end of {log}:\n" + "\n".join(lines)
