"""The state of the cluster's processes before and after a run: CPU, memory, network.

The functions run in the event loops of workers and scheduler (``client.run``), where ``time.thread_time`` is the CPU
time of that loop.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Snapshot", "Usage", "WorkerState", "between", "memory", "snapshot"]


@dataclass(frozen=True)
class WorkerState:
    """A worker process.

    ``queued_s`` are the seconds in which its threads were ready to run without a core, None if the system does not
    tell; ``delay`` is by how many seconds the scheduler's clock is ahead; ``nics`` has the bytes that each network
    interface of its host has sent and received, and its speed [bytes/s, 0 if unknown].
    """

    host: str
    pid: int
    threads: int
    cpu_s: float
    peak: int
    sent: int
    delay: float
    load: float
    queued_s: float | None = None
    nics: Mapping[str, tuple[int, int, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """The state of all processes at one time. A scheduler that does not answer counts as one that costs nothing."""

    at: float
    workers: Mapping[str, WorkerState]
    scheduler_cpu_s: float = 0.0
    scheduler_memory: int = 0
    scheduler_ahead: float = 0.0
    """By how many seconds the scheduler's clock is ahead of this session's."""
    scheduler_is_here: bool = False
    """Whether it is in this process."""

    @property
    def threads(self) -> int:
        """Threads of all workers."""
        return sum(state.threads for state in self.workers.values())

    @property
    def workers_are_here(self) -> bool:
        """Whether workers are threads of this process."""
        return any(_here(state.host, state.pid) for state in self.workers.values())


@dataclass(frozen=True)
class Usage:
    """What was used between two snapshots; as in `af_kit.facility.point.Point`."""

    worker_cpu_s: float
    scheduler_cpu_s: float
    sent: int
    link_use: float
    host_bytes: int
    queued_s: float | None = None


def snapshot(client: Any, *, reset_peaks: bool = False) -> Snapshot:
    """Ask all processes; ``reset_peaks`` lets the workers' peaks of memory begin now."""
    workers = client.run(_worker_state, reset_peaks, on_error="ignore")
    asked = time.time()
    try:
        scheduler = client.run_on_scheduler(_scheduler_state)
    except Exception:  # noqa: BLE001 - a scheduler that runs no functions
        return Snapshot(time.perf_counter(), workers)
    ahead = scheduler["time"] - (asked + time.time()) / 2
    return Snapshot(
        time.perf_counter(),
        workers,
        scheduler_cpu_s=scheduler["cpu_s"],
        scheduler_memory=scheduler["memory"],
        scheduler_ahead=ahead,
        scheduler_is_here=_here(scheduler["host"], scheduler["pid"]),
    )


def between(before: Snapshot, after: Snapshot, wall_s: float) -> Usage:
    """Return what was used from one snapshot to the other, by the workers that are in both."""
    both = [(before.workers[address], state) for address, state in after.workers.items() if address in before.workers]
    processes = {(new.host, new.pid): new.cpu_s - old.cpu_s for old, new in both}
    queued = {
        (new.host, new.pid): max(0.0, new.queued_s - old.queued_s)
        for old, new in both
        if new.queued_s is not None and old.queued_s is not None
    }
    hosts = {new.host: (old.nics, new.nics) for old, new in both}
    moved, use = 0, 0.0
    seconds = max(after.at - before.at, wall_s)
    for old_nics, new_nics in hosts.values():
        for name, (sent, received, speed) in new_nics.items():
            if name not in old_nics:
                continue
            out, into = sent - old_nics[name][0], received - old_nics[name][1]
            moved += out + into
            if speed:
                use = max(use, max(out, into) / seconds / speed)
    return Usage(
        worker_cpu_s=sum(processes.values()),
        scheduler_cpu_s=max(0.0, after.scheduler_cpu_s - before.scheduler_cpu_s),
        sent=sum(new.sent - old.sent for old, new in both),
        link_use=use,
        host_bytes=moved,
        queued_s=sum(queued.values()) if len(queued) == len(processes) else None,
    )


def memory() -> int:
    """Return the resident memory of this process [bytes]."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def _worker_state(reset_peak: bool, dask_worker: Any = None) -> WorkerState:
    import psutil

    process = psutil.Process()
    times = process.cpu_times()
    resident = process.memory_info().rss
    if reset_peak:
        with contextlib.suppress(OSError):  # only on Linux
            Path("/proc/self/clear_refs").write_text("5")
    return WorkerState(
        host=socket.gethostname(),
        pid=os.getpid(),
        threads=dask_worker.state.nthreads,
        cpu_s=times.user + times.system,
        peak=max(resident, _peak()),
        sent=dask_worker.transfer_outgoing_bytes_total,
        delay=dask_worker.scheduler_delay,
        load=os.getloadavg()[0] / (os.cpu_count() or 1),
        queued_s=_queued_s(),
        nics=_nics(),
    )


def _scheduler_state() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "time": time.time(),
        "cpu_s": time.thread_time(),
        "memory": memory(),
    }


def _peak() -> int:
    """Return the largest resident memory since it was reset [bytes], 0 if the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) << 10
    return 0


def _queued_s() -> float | None:
    """Return for how long the threads of this process have been ready to run without a core; None if unknown."""
    total, found = 0, False
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # the thread has ended
            total += int(path.read_text().split()[1])
            found = True
    return total / 1e9 if found else None


def _nics() -> dict[str, tuple[int, int, float]]:
    """Return what each network interface of this host has sent and received, and its speed; without the loopback."""
    import psutil

    try:
        speeds = psutil.net_if_stats()
        counters = psutil.net_io_counters(pernic=True)
    except OSError:  # a container that does not show them
        return {}
    return {
        name: (count.bytes_sent, count.bytes_recv, max(0, speeds[name].speed) * 1e6 / 8)
        for name, count in counters.items()
        if name in speeds and name != "lo"
    }


def _here(host: str, pid: int) -> bool:
    return (host, pid) == (socket.gethostname(), os.getpid())
