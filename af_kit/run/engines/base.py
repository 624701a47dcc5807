"""What the two engines share: the merge tree filled as tasks finish, and the outcome they hand back."""

from __future__ import annotations

import functools
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from af_kit.errors import AfKitError
from af_kit.run.allocator import keep_freed_memory
from af_kit.run.bookkeeping import Partial, combine
from af_kit.run.merge_tree import MergeTree
from af_kit.run.task import Context, Group, run_group, spans

__all__ = ["Merger", "Outcome", "Step", "run_on_threads", "stops_the_run"]

# Called for each finished group: its number, the entries that it processed and those that it could not, and a way to
# get its partial result.
Step = Callable[[int, int, int, Callable[[], Partial]], None]


@dataclass
class Outcome:
    """What an engine achieved before it ended or was stopped."""

    partial: Partial
    reasons: dict[int, str] = field(default_factory=dict)
    """Why a group has chunks without an answer, by its number."""
    stopped_by: BaseException | None = None
    """The interrupt, or the error of the user's function, that ended the run early."""


class Merger:
    """Keeps one handle per finished node and merges neighbours as soon as the tree allows it.

    A handle is whatever the engine works with: a partial result, or a future of one. ``None`` stands for a group
    without an answer.
    """

    def __init__(self, leaves: int, merge: Callable[[list[Any]], Any]) -> None:
        self._tree = MergeTree(leaves)
        self._merge = merge
        self._handles: dict[tuple[int, int], Any] = {}

    def finish(self, leaf: int, handle: Any) -> None:
        """Hand in a group's result."""
        node: tuple[int, int] = (0, leaf)
        self._handles[node] = handle
        while (parent := self._tree.finish(node)) is not None:
            children = [self._handles.pop(child) for child in self._tree.children(parent)]
            present = [child for child in children if child is not None]
            self._handles[parent] = self._merge(present) if len(present) > 1 else present[0] if present else None
            node = parent

    def remaining(self) -> list[tuple[range, Any]]:
        """The handles that are not merged further, each with the leaves it stands for, in their order."""
        left = [(self._tree.leaves(node), handle) for node, handle in self._handles.items() if handle is not None]
        return sorted(left, key=lambda item: item[0].start)


def stops_the_run(error: BaseException) -> bool:
    """Whether an error ends the run; any other belongs to a group, which is listed as failed."""
    return isinstance(error, AfKitError) or not isinstance(error, Exception)


def run_on_threads(context: Context, groups: Sequence[Group], step: Step, threads: int | None = None) -> Outcome:
    """Run all groups on threads of this process.

    Raises
    ------
    MergeError
        Outputs of two chunks cannot be merged.
    """
    merger = Merger(len(groups), combine)
    waiting: dict[Future[Partial], int] = {}
    # Not concurrent.futures.wait(): an interrupt in the middle of it can leave a future locked for ever.
    ended: queue.SimpleQueue[Future[Partial]] = queue.SimpleQueue()
    reasons: dict[int, str] = {}
    stopped: BaseException | None = None

    def take(future: Future[Partial]) -> BaseException | None:
        number, error = waiting.pop(future), future.exception()
        if error is not None and stops_the_run(error):
            return error
        if error is not None:
            reasons[number] = f"{type(error).__name__}: {error}"
        partial = future.result() if error is None else Partial()
        # before the merge: it may join the value with its neighbours'
        failed = sum(failure.entries for failure in partial.account.failures)
        step(number, partial.account.entries.total(), failed, functools.partial(_same, partial))
        merger.finish(number, partial)
        return None

    keep_freed_memory()
    pool = ThreadPoolExecutor(threads or _cores(), thread_name_prefix="af-kit")
    try:
        for number, group in enumerate(groups):
            future = pool.submit(_in_thread, context, group)
            waiting[future] = number
            future.add_done_callback(ended.put)
        while waiting and stopped is None:
            stopped = take(ended.get())
    except KeyboardInterrupt as interrupt:
        stopped = interrupt
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    for future in [future for future in waiting if not future.cancelled()]:
        take(future)  # it ran to its end while the others were stopped
    return Outcome(combine([partial for _, partial in merger.remaining()]), reasons, stopped)


def _same(partial: Partial) -> Partial:
    return partial


def _in_thread(context: Context, group: Group) -> Partial:
    import threading

    return run_group(context, spans(group), threading.current_thread().name)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
