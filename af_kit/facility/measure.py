"""Measure one run on a connected cluster."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from af_kit.data.fileset.load import load_fileset
from af_kit.errors import ConnectError, InputError
from af_kit.facility import probes
from af_kit.facility.phases import Phases, phases_of, task_times
from af_kit.facility.point import Point
from af_kit.facility.workloads import Workload, workload

__all__ = ["first_result", "measure"]

# Tasks that the stream must have seen, as a share of their time: its buffer is finite.
_SEEN = 0.9


def measure(
    what: str | Callable[[Any], Any] | Workload,
    fileset: Any,
    client: Any,
    *,
    first_result_s: float | None = None,
    warm_up: bool = True,
    **options: Any,
) -> Point:
    """Run a workload on a cluster, and return what it did and what that cost.

    Parameters
    ----------
    what : str, callable or Workload
        One of `WORKLOADS`, or a function of the events of one chunk, as `af_kit.process` takes.
    fileset : path, mapping or Fileset
        The files: anything that `load_fileset` takes.
    client : distributed.Client
        The cluster, from `connect`.
    first_result_s : float, optional
        The time to the first result, if it has been measured; otherwise it is measured first.
    warm_up : bool
        Run everything once before the run that is measured, so that each worker has imported and compiled what it
        needs.
    **options
        As of `af_kit.process`: ``chunk_entries``, ``branches``, ``progress``, ...

    Returns
    -------
    Point
        `limit_of` says what limits it.

    Raises
    ------
    IncompleteError
        Entries failed: the rate of a part of the events would mislead.
    InputError
        There is no such workload, or no client; otherwise as the workload.
    """
    if not hasattr(client, "submit") or getattr(client, "asynchronous", False):
        raise InputError(f"client: a plain distributed.Client is needed, such as connect() returns, not {client!r}.")
    chosen = workload(what)
    loaded = load_fileset(fileset, default_treename=chosen.treename)
    if first_result_s is None:
        first_result_s = first_result(chosen, loaded, client, **options)
    with _without_warnings():
        if warm_up:
            _check(chosen.run(loaded, client, **options))
        passed = _Pass(client)
        with passed:
            result = chosen.run(loaded, client, **options)
    _check(result)
    return passed.point(chosen.name, result.report, first_result_s)


def first_result(what: str | Callable[[Any], Any] | Workload, fileset: Any, client: Any, **options: Any) -> float:
    """Return the seconds from the call to the result of one chunk of the first dataset."""
    chosen = workload(what)
    loaded = load_fileset(fileset, default_treename=chosen.treename)
    begin = time.perf_counter()
    with _without_warnings():
        result = chosen.run(loaded, client, **{**options, "max_chunks": 1, "datasets": [next(iter(loaded))]})
    seconds = time.perf_counter() - begin
    _check(result)
    return seconds


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Hide warnings about the physics of results, which nobody looks at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _check(result: Any) -> None:
    """Raise if entries are missing."""
    if any(failure.kind == "interrupted" for failure in result.report.failures):
        raise KeyboardInterrupt
    result.report.check()


@dataclass
class _Pass:
    """The state of all processes around the block, and Dask's task stream of it."""

    client: Any
    before: probes.Snapshot = field(init=False)
    after: probes.Snapshot = field(init=False)
    stream: list[Mapping[str, Any]] = field(default_factory=list)
    begin: float = 0.0
    wall_s: float = 0.0
    client_cpu_s: float = 0.0

    def __enter__(self) -> _Pass:
        from distributed import get_task_stream

        self.before = probes.snapshot(self.client, reset_peaks=True)
        if not self.before.workers:
            raise ConnectError("The cluster has no workers. Wait for them, or connect again.")
        self._stream = get_task_stream(self.client)
        try:
            self._stream.__enter__()
        except Exception:  # noqa: BLE001 - a scheduler that does not have it: the phases are then unknown
            self._stream = None
        self.begin, self._clock, self._cpu = time.time(), time.perf_counter(), time.process_time()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self.wall_s = time.perf_counter() - self._clock
        self.client_cpu_s = time.process_time() - self._cpu
        if kind is not None:
            return
        self.after = probes.snapshot(self.client)
        if self._stream is not None:
            with contextlib.suppress(Exception):  # the phases are then unknown
                self._stream.__exit__(None, None, None)
                self.stream = self._stream.data

    def point(self, name: str, report: Any, first_result_s: float) -> Point:
        used = probes.between(self.before, self.after, self.wall_s)
        busy = sum(worker["seconds"] for worker in report.workers.values())
        threads = self.after.threads
        notes = []
        if len(self.before.workers) != len(self.after.workers):
            notes.append(f"there were {len(self.before.workers)} workers before and {len(self.after.workers)} after")
        phases = self._phases(busy, threads)
        if phases is None:
            notes.append("Dask's task stream does not cover the run: its phases are unknown")
        # The session's CPU includes that of a scheduler, or of workers, in this process.
        client_cpu_s = self.client_cpu_s - (used.scheduler_cpu_s if self.after.scheduler_is_here else 0.0)
        worker_cpu_s = used.worker_cpu_s
        if self.after.workers_are_here:
            client_cpu_s, worker_cpu_s = 0.0, report.cpu_s
            notes.append("the workers are threads of this process: the client's CPU is unknown")
        return Point(
            workload=name,
            workers=len(self.after.workers),
            threads=threads,
            events=report.entries["processed"],
            wall_s=self.wall_s,
            first_result_s=first_result_s,
            chunks=report.chunks,
            bytes_read=report.bytes_read,
            busy_s=busy,
            task_cpu_s=report.cpu_s,
            times={what: seconds for what, seconds in report.times.items() if what != "idle"},
            worker_cpu_s=worker_cpu_s,
            scheduler_cpu_s=used.scheduler_cpu_s,
            client_cpu_s=max(0.0, client_cpu_s),
            scheduler_memory=self.after.scheduler_memory,
            client_memory=probes.memory(),
            worker_memory=max(state.peak for state in self.after.workers.values()),
            sent=used.sent,
            link_use=used.link_use,
            host_bytes=used.host_bytes,
            queued_s=used.queued_s,
            load=max(state.load for state in self.before.workers.values()),
            phases=phases,
            notes=tuple(notes),
        )

    def _phases(self, busy: float, threads: int) -> Phases | None:
        delays = {address: state.delay for address, state in self.after.workers.items()}
        tasks = task_times(self.stream, delays)
        begin = self.begin + self.before.scheduler_ahead
        seen = sum(task.stop - task.start for task in tasks if task.key.startswith("af-chunks-"))
        if seen < _SEEN * busy:
            return None
        return phases_of(tasks, begin=begin, end=begin + self.wall_s, threads=threads)
