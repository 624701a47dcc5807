"""The worker's half of the engine for Dask: what its tasks do.

The scheduler unpickles each task, and so imports this module: what reads files is imported inside the functions. With
it, a scheduler would do nothing else for half a second, and take 40 MiB more.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from af_kit.errors import FunctionError, InputError
from af_kit.run.bookkeeping import Partial
from af_kit.run.pickling import Packed

if TYPE_CHECKING:
    from af_kit.run.task import Context, Span

__all__ = ["TOPIC", "on_worker"]

TOPIC = "af-kit-failures"
# The scheduler sends a worker its next task some milliseconds after the last one: how often a task looks for it, and
# the seconds in between.
_LOOKS, _LOOK_S = 10, 0.01


def on_worker(payload: bytes, number: int, *, context: Packed) -> Partial:
    """Run the chunks of one group on this worker: the task.

    Parameters
    ----------
    payload : bytes
        The pickled spans of the group.
    number : int
        Number of the group.
    context : Packed
        The run's `Context`.
    """
    from distributed import get_worker

    from af_kit.run.task import run_group

    worker = get_worker()
    try:
        loaded: Context = context.value()
    except Exception as error:
        raise InputError(
            f"The worker {worker.name} cannot load the function: {type(error).__name__}: {error}. The packages that it "
            "imports must be installed in the workers' environment."
        ) from error
    group: tuple[Span, ...] = pickle.loads(payload)  # noqa: S301 - from the engine, over the cluster's connection
    try:
        partial = run_group(loaded, group, str(worker.name), functools.partial(_upcoming, worker, loaded.run))
    except FunctionError as error:
        error.__cause__ = None  # the message has it, and its class may not be picklable
        raise
    failed = sum(failure.entries for failure in partial.bookkeeping.failures)
    if failed:
        worker.log_event(TOPIC, {"run": loaded.run, "group": number, "entries": failed})
    return partial


def _upcoming(worker: Any, run: str, take: Callable[[Sequence[Span]], None], tries: int = _LOOKS) -> None:
    """Call ``take`` with the spans of the task that this worker runs next, once the scheduler has sent it.

    The queue belongs to the worker's event loop, which therefore looks at it.
    """

    def look() -> None:
        ready = worker.state.ready
        task = ready.peek() if ready else None
        if task is None and tries:
            worker.loop.call_later(_LOOK_S, _upcoming, worker, run, take, tries - 1)
        elif task is not None and str(task.key).startswith(f"af-chunks-{run}-"):
            take(pickle.loads(task.run_spec.args[0]))  # noqa: S301 - as in on_worker

    worker.loop.add_callback(look)
