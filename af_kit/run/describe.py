"""Describe the files of a plan on the workers of a cluster: many files per task, and few tasks at a time.

The scheduler imports this module when it unpickles a task: what reads files is imported inside the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from af_kit import config
from af_kit.data.fileset.load import File
from af_kit.data.transport.io_errors import is_remote
from af_kit.errors import AfKitError, ConnectError, ReadError
from af_kit.run.engines.absence import Absence
from af_kit.run.engines.client_calls import connection_lost, is_lost

if TYPE_CHECKING:
    from af_kit.data.reading.identity import Identity
    from af_kit.data.reading.layout import Layout

    Description = Layout | AfKitError | None
    """The layout of a file, why there is none, or None if the file is still the known one."""

__all__ = ["describe_files", "describe_on_workers"]

# Files of one task: the scheduler and the client spend more on a task than on a file. Few files are spread over all
# threads instead, some tasks for each, because files take different times.
_MOST, _TASKS_PER_THREAD = 32, 4
# Remote files that a task describes at a time.
_CONNECTIONS = 8


def describe_on_workers(
    files: Sequence[File], known: Sequence[Identity | None], client: Any, step: Callable[[int], None]
) -> list[Description]:
    """Return the description of each file.

    Parameters
    ----------
    known : sequence of Identity or None
        What this process knows of each file.
    step : callable
        Called with the number of files that were just described.

    Raises
    ------
    ConnectError
        The connection to the scheduler is lost, or the cluster has no workers and none come.
    """
    from distributed import as_completed

    threads = sum(client.nthreads().values()) or 1
    size = min(_MOST, -(-len(files) // (_TASKS_PER_THREAD * threads))) or 1
    if any(is_remote(file.path) for file in files):  # those of a task are described side by side
        size = max(size, min(_CONNECTIONS, -(-len(files) // threads)))
    waiting = [range(first, min(first + size, len(files))) for first in reversed(range(0, len(files), size))]
    answers: list[Description] = [None] * len(files)
    absence = Absence(client)
    finished = as_completed([], loop=client.loop, raise_errors=False)
    pending: dict[Any, range] = {}
    try:
        while waiting or pending:
            room = max(1, int(config.get("run.window"))) - len(pending)
            if waiting and (room >= len(pending) or not pending):
                batches = [waiting.pop() for _ in range(min(room, len(waiting)))]
                given = [([files[i] for i in batch], [known[i] for i in batch]) for batch in batches]
                futures = client.map(describe_files, *zip(*given, strict=True), pure=False, key="af-plan", retries=2)
                pending |= dict(zip(futures, batches, strict=True))
                finished.update(futures)
            done, reason = absence.wait_for_some(finished)
            if reason:
                raise ConnectError(f"No file was planned: {reason}.")
            for future, result in zip(done, _gathered(client, done), strict=True):
                batch = pending.pop(future)
                future.release()
                if isinstance(result, list):
                    answers[batch.start : batch.stop] = result
                elif len(batch) > 1:  # one of its files may have killed the worker
                    waiting += [range(i, i + 1) for i in batch]
                    continue
                else:
                    reason = f"The worker that planned a file failed: {result}"
                    answers[batch.start] = ReadError(reason, transient=True)
                step(len(batch))
    finally:
        for future in pending:  # now, also if an error is raised, whose traceback would hold them
            future.release()
    return answers


def describe_files(files: Sequence[File], known: Sequence[Identity | None]) -> list[Description]:
    """Return the description of each of a few files: the task.

    Remote files are described side by side, because most of the time is spent waiting for their server.
    """
    from af_kit.data.chunks import describe_file

    if len(files) > 1 and any(is_remote(file.path) for file in files):
        with ThreadPoolExecutor(min(_CONNECTIONS, len(files))) as pool:
            return list(pool.map(describe_file, files, known))
    return [describe_file(file, identity) for file, identity in zip(files, known, strict=True)]


def _gathered(client: Any, futures: Sequence[Any]) -> list[list[Description] | str]:
    """Return the results of finished tasks, or why there is none; all good ones in one request."""
    good = [future for future in futures if future.status == "finished"]
    try:
        results = dict(zip(good, client.gather(good), strict=True))
        errors = {future: _problem(future) for future in futures if future not in results}
    except Exception as error:  # a worker that died while planning must not end the whole run
        if is_lost(client, error):
            raise connection_lost(client) from error
        return [f"{type(error).__name__}: {error}"] * len(futures)
    if client.status != "running":  # a client that loses its scheduler cancels its tasks
        raise connection_lost(client)
    return [results[future] if future in results else errors[future] for future in futures]


def _problem(future: Any) -> str:
    return str(future.exception()) if future.status == "error" else f"its task was {future.status}"
