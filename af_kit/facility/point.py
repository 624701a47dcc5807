"""What was measured of one run: a point of the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from af_kit.errors import InputError
from af_kit.facility.phases import Phases

__all__ = ["Point", "read_points"]


@dataclass(frozen=True)
class Point:
    """One run on a cluster: what it did, and what that cost.

    Attributes
    ----------
    workload : str
        What ran.
    workers, threads : int
        Worker processes, and threads of all of them.
    events : int
        Events that were processed.
    wall_s : float
        From the call to the result [s], with planning and merging.
    first_result_s : float
        From the call to the result of one chunk, on workers that had not run this workload before [s]: with the
        imports and compilations that come first.
    chunks : int
        Chunks of the plan.
    bytes_read : int
        Bytes fetched from the files (compressed).
    busy_s, task_cpu_s : float
        Seconds and CPU seconds of the tasks, summed over the threads.
    times : dict
        Seconds of the workers, as in `af_kit.Report`: ``waiting`` for data, ``decoding``, ``function``, ``merging``.
    worker_cpu_s : float
        CPU seconds of the worker processes.
    scheduler_cpu_s, client_cpu_s : float
        CPU seconds of the scheduler's event loop, and of this session without it.
    scheduler_memory, client_memory, worker_memory : int
        Resident memory of their processes [bytes]: at the end, and for workers the largest during the run.
    sent : int
        Bytes that workers sent to each other and to the client: results.
    link_use : float
        The largest share of a network interface's speed in use on a worker's host, also by others; 0 if its speed is
        unknown.
    host_bytes : int
        Bytes that passed the network interfaces of the workers' hosts, also of others.
    queued_s : float, optional
        Seconds in which threads of the workers were ready to run, but had no core; None if the system does not tell.
    load : float
        Load average (one minute) of the busiest host, divided by its cores, when the run began.
    phases : Phases, optional
        How the time divides; None if Dask's task stream did not cover the run.
    notes : tuple of str
        What a reader of the figures should know.
    """

    workload: str
    workers: int
    threads: int
    events: int
    wall_s: float
    first_result_s: float = 0.0
    chunks: int = 0
    bytes_read: int = 0
    busy_s: float = 0.0
    task_cpu_s: float = 0.0
    times: Mapping[str, float] = field(default_factory=dict)
    worker_cpu_s: float = 0.0
    scheduler_cpu_s: float = 0.0
    client_cpu_s: float = 0.0
    scheduler_memory: int = 0
    client_memory: int = 0
    worker_memory: int = 0
    sent: int = 0
    link_use: float = 0.0
    host_bytes: int = 0
    queued_s: float | None = None
    load: float = 0.0
    phases: Phases | None = None
    notes: tuple[str, ...] = ()

    @property
    def events_per_s(self) -> float:
        """Events per second of wall time."""
        return self.events / self.wall_s

    @property
    def bytes_per_s(self) -> float:
        """Bytes read per second of wall time."""
        return self.bytes_read / self.wall_s

    @property
    def cpu_per_event(self) -> float:
        """CPU seconds of the worker processes per event."""
        return self.worker_cpu_s / self.events if self.events else 0.0

    @property
    def idle(self) -> float:
        """The share of the threads' time in which they ran no task, from the call to the result."""
        return max(0.0, 1 - (self.busy_s + self._merging_s) / (self.threads * self.wall_s))

    @property
    def scheduler_load(self) -> float:
        """The share of one core that the scheduler's event loop used."""
        return self.scheduler_cpu_s / self.wall_s

    @property
    def shape(self) -> str:
        """Workers by threads: ``"4 x 2"``."""
        each, rest = divmod(self.threads, max(1, self.workers))
        return f"{self.workers} x {each}" if not rest else f"{self.workers} workers, {self.threads} threads"

    @property
    def _merging_s(self) -> float:
        """Seconds of merges that are tasks of their own; those inside a chunk's task are part of ``busy_s``."""
        inside = sum(self.times.get(name, 0.0) for name in ("waiting", "decoding", "function"))
        return max(0.0, self.times.get("merging", 0.0) - max(0.0, self.busy_s - inside))

    def to_dict(self) -> dict[str, Any]:
        """Return the point and the figures derived from it as plain values."""
        derived = {
            name: getattr(self, name)
            for name in ("events_per_s", "bytes_per_s", "cpu_per_event", "idle", "scheduler_load")
        }
        return {**asdict(self), **derived}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Point:
        """Return the point that `to_dict` wrote; further keys are ignored."""
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        if values.get("phases") is not None:
            values["phases"] = Phases(**values["phases"])
        return cls(**{**values, "notes": tuple(values.get("notes", ()))})


def read_points(path: str | Path) -> list[Point]:
    """Return the points in a ``bench.json``.

    Raises
    ------
    InputError
        It cannot be read, or is not a ``bench.json``.
    """
    try:
        return [Point.from_dict(point) for point in json.loads(Path(path).read_text(encoding="utf-8"))["points"]]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. Give the bench.json of af-kit bench facility.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a bench.json of af-kit bench facility: {error!r}.") from error
