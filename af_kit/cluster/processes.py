"""Processes of this machine, told apart from later ones with the same process id."""

from __future__ import annotations

from pathlib import Path

import psutil

__all__ = ["birth"]


def birth(pid: int) -> float | None:
    """Return when a process started, or None if it has ended. With the process id this names one process.

    On Linux it is counted in clock ticks since boot: psutil's time is that of the wall clock, and would differ after
    the clock was set.
    """
    if Path("/proc/self/stat").exists():
        try:
            state, *values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if state in "ZX" else int(values[18])
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
