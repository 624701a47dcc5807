"""This machine, as the harness sees it: its own processes, mounts, and small disks that can be filled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

MARK = "AF_KIT_FAULTS"
"""A variable that all processes of the harness have in their environment."""
_SMALL = "6m"


class Finding(Exception):
    """What is not right: the verdict, and the details."""

    def __init__(self, verdict: str, detail: str) -> None:
        super().__init__(verdict, detail)
        self.verdict, self.detail = verdict, detail


def wait_until(condition: Callable[[], Any], what: str | Callable[[], str], within_s: float) -> Any:
    """Wait until a condition is true and return its value; a `Finding` after the deadline."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Finding("late", f"not within {within_s:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.1)
    return found


# ------------------------------------------------------------------------------------------------------------ processes


def processes() -> list[psutil.Process]:
    """Return the processes of this harness that still run."""
    mark, found = os.environ[MARK], []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def orphans() -> list[psutil.Process]:
    """Return processes of this harness whose parent has ended: their parent now is no process of the harness."""
    return [process for process in processes() if _is_orphan(process)]


def _is_orphan(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        if process.pid == os.getpid() or is_helper(process):
            return False
        return bool(psutil.Process(process.ppid()).environ().get(MARK) != os.environ[MARK])
    return False


def is_helper(process: psutil.Process) -> bool:
    """Return whether a process is none of a cluster: an XRootD server, or one that Python starts for its own use."""
    with contextlib.suppress(psutil.Error):
        return process.name() == "xrootd" or "multiprocessing.resource_tracker" in " ".join(process.cmdline())
    return True  # it has just ended


def described(found: Sequence[psutil.Process]) -> str:
    """Return the ids and commands of processes as text."""
    lines = []
    for process in found:
        with contextlib.suppress(psutil.Error):
            lines.append(f"{process.pid} (of {process.ppid()}) {' '.join(process.cmdline())[-120:]}")
    return "; ".join(lines)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process, if it still runs."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


# --------------------------------------------------------------------------------------------------------------- mounts


def mounts() -> set[str]:
    """Return the folders on which something is mounted."""
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def mount_small(folder: Path) -> None:
    """Mount a disk of a few megabytes."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SMALL}", "small", str(folder)], check=True)


def unmount(folder: Path) -> None:
    """Unmount a small disk; it is a finding if something still uses it."""
    done = subprocess.run(["umount", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Finding("left", f"{done.stderr.strip()}: {described(processes())}")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk for the time of a block."""
    mount_small(folder)
    try:
        yield folder
    finally:
        unmount(folder)
