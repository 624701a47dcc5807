"""Predict the throughput of a facility with other numbers of workers, from the costs that were measured with a few.

    costs = costs_of(point)                       # or Costs(function_s=..., ...), measured with 1 or 2 workers
    site = Site(storage_bytes_per_s=2e9)          # what the facility shares; infinite unless given
    for prediction in predict(costs, site, events=10**9, workers=[10, 100, 1000, 5000]):
        print(prediction.workers, prediction.events_per_s, prediction.limit)

The tasks are simulated one by one: each takes the worker that is free first, after the storage, the scheduler and the
client have served it, which serve one task at a time. Planning comes before, the last merges and the fetching of the
result after. The model knows nothing of other users, of slow hosts or of cores that share their memory's bandwidth.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from af_kit.errors import InputError

__all__ = ["Costs", "Prediction", "Site", "costs_of", "heartbeats", "predict"]

# Of more tasks, the last ones are simulated, and the others take the average time.
_MOST_SIMULATED = 20_000
# As many neighbours are merged at a time (the merge tree of `af_kit.run`).
_ARITY = 16


@dataclass(frozen=True)
class Costs:
    """What one event, one task and one file of a workload cost.

    The defaults of the scheduler, the client and the merges are those of ``docs/scaling.md``, where 1000 workers did
    nothing but keep the protocol.

    Attributes
    ----------
    function_s, decoding_s : float
        Seconds of a worker's thread per event: in the function, and decompressing and decoding its columns.
    bytes_per_event : float
        Compressed bytes that are read per event.
    events_per_task : float
        Events of one task.
    task_s : float
        Seconds of a worker's thread per task, whatever its size.
    spread : float
        Standard deviation of the duration of tasks, as a fraction of their mean.
    result_bytes : float
        Size of a task's result; merged results are as large.
    merge_s : float
        Seconds of a worker's thread to add one result to another.
    scheduler_s, client_s : float
        CPU seconds of the scheduler and of the client per task, with its share of the merges.
    heartbeat_s : float
        CPU seconds of the scheduler per heartbeat of a worker.
    files : int
        Files to plan.
    plan_s, plan_client_s : float
        Seconds to plan one file: of a worker, and of the client.
    start_s : float
        Seconds before the first task and after the last one that depend on nothing else: imports, compilation.
    """

    function_s: float
    decoding_s: float = 0.0
    bytes_per_event: float = 0.0
    events_per_task: float = 500_000
    task_s: float = 0.002
    spread: float = 0.1
    result_bytes: float = 10_000
    merge_s: float = 0.0002
    scheduler_s: float = 0.0025
    client_s: float = 0.0012
    heartbeat_s: float = 0.0007
    files: int = 0
    plan_s: float = 0.0
    plan_client_s: float = 0.0
    start_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0 or math.isinf(value):
                raise InputError(f"Costs: {name}={value!r} is not valid: give a number, 0 or more.")
        if self.events_per_task < 1 or self.function_s + self.decoding_s + self.task_s == 0:
            raise InputError("Costs: a task needs an event at least, and some time: see function_s, events_per_task.")


@dataclass(frozen=True)
class Site:
    """What all workers share.

    Attributes
    ----------
    storage_bytes_per_s : float
        Bytes per second that the storage delivers to all workers together.
    worker_bytes_per_s : float
        Bytes per second over the network of one worker: its share of its host's interface.
    client_bytes_per_s : float
        Bytes per second to the client.
    """

    storage_bytes_per_s: float = math.inf
    worker_bytes_per_s: float = math.inf
    client_bytes_per_s: float = math.inf

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise InputError(f"Site: {name}={value!r} is not valid: give bytes per second, more than 0.")


@dataclass(frozen=True)
class Prediction:
    """The predicted run with one number of workers.

    Attributes
    ----------
    workers : int
        Workers with one thread each.
    events : int
        Events of the run.
    wall_s : float
        Seconds from the call to the result.
    seconds : dict
        Wall seconds that each part would need if it were the only one: ``storage``, ``network``, ``decompression``,
        ``function``, ``merge``, ``scheduler``, ``balance``, ``client`` (the words of ``af-kit bench facility``).
        ``balance`` is the time in which some workers have no task, because there are too few for all.
    limit : str
        The part that sets the pace.
    """

    workers: int
    events: int
    wall_s: float
    seconds: Mapping[str, float]
    limit: str

    @property
    def events_per_s(self) -> float:
        """Events per second of wall time."""
        return self.events / self.wall_s

    @property
    def bounds(self) -> dict[str, float]:
        """Events per second that each part alone would allow."""
        return {part: self.events / seconds for part, seconds in self.seconds.items() if seconds > 0}


def predict(costs: Costs, site: Site | None = None, *, events: int, workers: Iterable[int]) -> list[Prediction]:
    """Return what to expect for each number of workers.

    Parameters
    ----------
    costs : Costs
        Costs of the workload.
    site : Site, optional
        What the workers share. By default storage and network are never a limit.
    events : int
        Events of the run.
    workers : iterable of int
        Numbers of workers, each with one thread.

    Raises
    ------
    InputError
        A number is not valid.
    """
    numbers = list(workers)
    for name, given in (("events", [events]), ("workers", numbers)):
        if any(isinstance(number, bool) or number < 1 for number in given):
            raise InputError(f"{name}={given[0] if name == 'events' else given}: give whole numbers, 1 or more.")
    return [_predict(costs, site or Site(), events, number) for number in numbers]


def _predict(costs: Costs, site: Site, events: int, workers: int) -> Prediction:
    tasks = math.ceil(events / costs.events_per_task)
    size = events / tasks * costs.bytes_per_event
    # A worker fetches the bytes of its next task while it computes.
    computing = events / tasks * (costs.function_s + costs.decoding_s) + costs.task_s
    task = max(computing, size / site.worker_bytes_per_s) + costs.merge_s * _ARITY / (_ARITY - 1)
    pace = {
        "storage": size / site.storage_bytes_per_s,
        "scheduler": costs.scheduler_s / (1 - min(0.9, heartbeats(workers) * costs.heartbeat_s)),
        "client": costs.client_s,
    }
    ideal = tasks * max(task / workers, *pace.values())
    running = _running_s(tasks, workers, task, costs.spread, max(pace.values()))
    planning = costs.files * max(costs.plan_s / workers, costs.plan_client_s)
    # After the last task: on each level of the tree, one merge that needs its inputs from other workers.
    levels = math.ceil(math.log(tasks, _ARITY) - 1e-9) if tasks > 1 else 0
    merging = levels * (_ARITY - 1) * (costs.merge_s + costs.result_bytes / site.worker_bytes_per_s)
    gathering = costs.result_bytes / site.client_bytes_per_s
    seconds = {
        "storage": tasks * pace["storage"],
        "network": tasks * size / site.worker_bytes_per_s / workers,
        "decompression": events * costs.decoding_s / workers,
        "function": events * costs.function_s / workers,
        "merge": tasks * costs.merge_s / workers + merging,
        "scheduler": tasks * pace["scheduler"],
        "balance": running - ideal,
        "client": tasks * pace["client"] + costs.start_s + planning + gathering,
    }
    wall = costs.start_s + planning + running + merging + gathering
    return Prediction(workers, events, wall, seconds, max(seconds, key=seconds.__getitem__))


def heartbeats(workers: int) -> float:
    """Return the heartbeats per second that Dask's scheduler asks of all workers: less often of many."""
    interval_s = 0.5 if workers <= 10 else 1 if workers < 50 else 2 if workers < 200 else workers / 200 + 1
    return workers / interval_s


def _running_s(tasks: int, workers: int, task_s: float, spread: float, served_s: float) -> float:
    """Return the seconds from the first task to the end of the last one; each is served for ``served_s`` before it."""
    simulated = min(tasks, _MOST_SIMULATED)
    draw = random.Random(1)  # the same tasks for any number of workers
    free = [0.0] * min(workers, simulated)
    served = end = 0.0
    for _ in range(simulated):
        served = max(served, free[0]) + served_s
        done = served + task_s * max(0.0, draw.gauss(1.0, spread))
        heapq.heapreplace(free, done)
        end = max(end, done)
    return end + (tasks - simulated) * max(task_s / workers, served_s)


def costs_of(measured: Any, *, tasks: int | None = None, **other: float) -> Costs:
    """Return the costs of a workload from a measured run.

    Parameters
    ----------
    measured : Report or Point
        The report of `process`, or a point of ``af-kit bench facility``, which also has what the scheduler and the
        client cost.
    tasks : int, optional
        Tasks of the run, if the point does not know them. By default its chunks, which the kit may have grouped.
    **other
        Costs that were not measured in this run, or measured elsewhere: fields of `Costs`.

    Raises
    ------
    InputError
        The run processed no event.
    """
    events = getattr(measured, "events", None)
    if events is None:
        events = measured.entries["processed"]
    phases = getattr(measured, "phases", None)
    tasks = tasks or getattr(phases, "tasks", 0) or measured.chunks
    if not events or not tasks:
        raise InputError("The run processed no event, so it does not say what one costs.")
    times = measured.times
    found = Costs(
        function_s=times.get("function", 0.0) / events,
        decoding_s=times.get("decoding", 0.0) / events,
        bytes_per_event=measured.bytes_read / events,
        events_per_task=events / tasks,
        merge_s=times.get("merging", 0.0) / tasks,
    )
    for name, total in (("scheduler_s", "scheduler_cpu_s"), ("client_s", "client_cpu_s")):
        if getattr(measured, total, 0.0):
            found = replace(found, **{name: getattr(measured, total) / tasks})
    return replace(found, **other)  # type: ignore[arg-type]
