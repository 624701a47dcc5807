"""The engine for this process: one thread per core."""

from __future__ import annotations

import ctypes
import functools
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from af_kit import config
from af_kit.run.bookkeeping import Partial, combine
from af_kit.run.engines.base import Merger, Outcome, Step, stops_the_run
from af_kit.run.live import LiveView, Ready
from af_kit.run.task import Context, Group, Span, run_group, spans

__all__ = ["keep_freed_memory", "run_on_threads"]

# Parameters of mallopt(3), from glibc's malloc.h, by the environment variable of the same meaning.
_MALLOPT = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3}


def run_on_threads(
    context: Context,
    groups: Sequence[Group],
    step: Step,
    threads: int | None = None,
    *,
    live: LiveView | None = None,
) -> Outcome:
    """Run all groups on threads of this process; ``live`` looks at what is merged in the meantime.

    Raises
    ------
    MergeError
        Outputs of two chunks cannot be merged.
    """
    merger = Merger(len(groups), combine)
    running: dict[Future[Partial], int] = {}
    # Not concurrent.futures.wait(): an interrupt in the middle of it can leave a future locked.
    ended: queue.SimpleQueue[Future[Partial]] = queue.SimpleQueue()
    reasons: dict[int, str] = {}
    stopped: BaseException | None = None

    def take(future: Future[Partial]) -> BaseException | None:
        number, error = running.pop(future), future.exception()
        if error is not None and stops_the_run(error):
            return error
        if error is not None:
            reasons[number] = f"{type(error).__name__}: {error}"
        partial = future.result() if error is None else Partial()
        # before the merge, which may join the value with its neighbours' values
        failed = sum(failure.entries for failure in partial.bookkeeping.failures)
        step(number, partial.bookkeeping.entries.total(), failed, lambda: partial)
        merger.finish(number, partial)
        return None

    keep_freed_memory()
    threads = threads or _cores()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="af-kit")
    try:
        for number in range(len(groups)):
            future = pool.submit(_in_thread, context, groups, number, threads)
            running[future] = number
            future.add_done_callback(ended.put)
        while running and stopped is None:
            stopped = take(ended.get())
            if live is not None:
                live.look(merger, Ready)
    except KeyboardInterrupt as interrupt:
        stopped = interrupt
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    for future in [future for future in running if not future.cancelled()]:
        take(future)  # it ran to its end while the others were stopped
    return Outcome(combine([partial for _, partial in merger.remaining()]), reasons, stopped, threads=threads)


def _in_thread(context: Context, groups: Sequence[Group], number: int, threads: int) -> Partial:
    def upcoming(take: Callable[[Sequence[Span]], None]) -> None:
        take(spans(groups[number + threads]) if number + threads < len(groups) else ())

    return run_group(context, spans(groups[number]), threading.current_thread().name, upcoming)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def keep_freed_memory() -> bool:
    """Make glibc's allocator keep freed memory for the next chunk, as ``af_kit.cluster.environment`` does on workers.

    By default every array of more than 128 KiB (later up to 32 MiB) is a new mapping, which the kernel clears page by
    page and takes back after use: a quarter of the time of reading. A running process ignores the environment
    variables, so mallopt sets the thresholds, once.

    Returns
    -------
    bool
        Whether the thresholds were set. They are not if the user has set one of the variables, or without glibc.
    """
    wanted = config.get("cluster.environment")
    if any(name in os.environ for name in _MALLOPT):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    values = {code: wanted.get(name) for name, code in _MALLOPT.items()}
    answers = [mallopt(code, int(value)) for code, value in values.items() if value is not None]
    return all(answer == 1 for answer in answers)
