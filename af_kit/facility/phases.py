"""How the time of a run divides between the cluster and the client, from the tasks that Dask's task stream lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Phases", "TaskTimes", "phases_of", "task_times"]

# Names of the engine's tasks: chunks of the events, and merges of their results.
_CHUNKS = "af-chunks-"
_MERGE = "combine-"


@dataclass(frozen=True)
class TaskTimes:
    """One task: when it ran [s, on the scheduler's clock], on which thread of which worker.

    ``transfer_s`` is the time that its worker took to fetch its inputs from other workers.
    """

    key: str
    worker: str
    thread: int
    start: float
    stop: float
    transfer_s: float = 0.0


@dataclass(frozen=True)
class Phases:
    """How the time of a run divides.

    Attributes
    ----------
    tasks : int
        Tasks that processed chunks.
    planning_s : float
        From the call to the start of the first of them: opening files, planning, sending the function.
    main_s : float
        From there to the end of the last of them.
    final_merge_s : float
        From there to the end of the last merge on a worker.
    gather_s : float
        From there to the result: it travels to the client, and is completed there.
    first_chunk_s : float
        From the call to the end of the first task.
    unused_s : float
        Seconds of all threads in which there was no further task for them, while others still worked.
    gaps_s : float
        Seconds of all threads between tasks: the scheduler sends the next one, and its inputs arrive.
    transfer_s : float
        Seconds in which workers fetched results from each other, to merge them.
    """

    tasks: int
    planning_s: float
    main_s: float
    final_merge_s: float
    gather_s: float
    first_chunk_s: float
    unused_s: float
    gaps_s: float
    transfer_s: float


def task_times(stream: Iterable[Mapping[str, Any]], delays: Mapping[str, float]) -> list[TaskTimes]:
    """Return the tasks in a task stream of Dask.

    Parameters
    ----------
    stream : iterable of mappings
        As ``distributed.get_task_stream`` collects them.
    delays : mapping
        For each worker, by how many seconds the scheduler's clock is ahead of its own.
    """
    found = []
    for task in stream:
        computed = [part for part in task["startstops"] if part["action"] == "compute"]
        if not computed:
            continue
        moved = sum(part["stop"] - part["start"] for part in task["startstops"] if part["action"] == "transfer")
        delay = delays.get(task["worker"], 0.0)
        found.append(
            TaskTimes(
                str(task["key"]),
                task["worker"],
                int(task["thread"] or 0),
                computed[-1]["start"] + delay,
                computed[-1]["stop"] + delay,
                moved,
            )
        )
    return found


def phases_of(tasks: Sequence[TaskTimes], *, begin: float, end: float, threads: int) -> Phases | None:
    """Return the phases of the run that ended last among the tasks; None if there is none.

    Parameters
    ----------
    tasks : sequence of TaskTimes
        All tasks since the call. Runs that prepare this one (sums of weights) count as planning.
    begin, end : float
        When the call began and returned, on the scheduler's clock.
    threads : int
        Threads of all workers.
    """
    chunks = [task for task in tasks if task.key.startswith(_CHUNKS)]
    if not chunks:
        return None
    run = max(chunks, key=lambda task: task.stop).key.removeprefix(_CHUNKS).partition("-")[0]
    chunks = [task for task in chunks if task.key.startswith(f"{_CHUNKS}{run}-")]
    first, last = min(task.start for task in chunks), max(task.stop for task in chunks)
    merges = [task for task in tasks if task.key.startswith(_MERGE) and task.start >= first]
    merged = max([last, *(task.stop for task in merges)])
    ends: dict[tuple[str, int], float] = {}
    for task in chunks:
        thread = (task.worker, task.thread)
        ends[thread] = max(task.stop, ends.get(thread, 0.0))
    main = last - first
    unused = sum(last - stop for stop in ends.values()) + max(0, threads - len(ends)) * main
    busy = sum(task.stop - task.start for task in chunks)
    busy += sum(max(0.0, min(task.stop, last) - task.start) for task in merges)
    return Phases(
        tasks=len(chunks),
        planning_s=max(0.0, first - begin),
        main_s=main,
        final_merge_s=merged - last,
        gather_s=max(0.0, end - merged),
        first_chunk_s=max(0.0, min(task.stop for task in chunks) - begin),
        unused_s=unused,
        gaps_s=max(0.0, threads * main - busy - unused),
        transfer_s=sum(task.transfer_s for task in (*chunks, *merges)),
    )
