"""What the two engines share: the merge tree filled as tasks finish, and the outcome they hand back."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from af_kit.run.account import Partial, combine
from af_kit.run.task import Context, Group, run_group
from af_kit.run.tree import MergeTree

__all__ = ["Merger", "Outcome", "Step", "run_on_threads"]

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

    def remaining(self) -> list[Any]:
        """The handles that are not merged further, in the order of the chunks."""
        span = {node: node[1] * 16 ** node[0] for node in self._handles}
        return [self._handles[node] for node in sorted(span, key=span.__getitem__) if self._handles[node] is not None]


def run_on_threads(context: Context, groups: Sequence[Group], step: Step, threads: int | None = None) -> Outcome:
    """Run all groups on threads of this process."""
    merger = Merger(len(groups), combine)
    waiting: dict[Future[Partial], int] = {}
    stopped: BaseException | None = None
    pool = ThreadPoolExecutor(threads or _cores(), thread_name_prefix="af-kit")
    try:
        for number, group in enumerate(groups):
            waiting[pool.submit(_in_thread, context, group)] = number
        while waiting and stopped is None:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=waiting.__getitem__):
                number = waiting.pop(future)
                if future.exception() is not None:
                    stopped = stopped or future.exception()
                    continue
                partial = future.result()
                account = partial.account
                failed = sum(failure.entries for failure in account.failures)
                # before the merge: it may join the value with its neighbours'
                step(number, account.entries.total(), failed, functools.partial(_same, partial))
                merger.finish(number, partial)
    except KeyboardInterrupt as interrupt:
        stopped = interrupt
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return Outcome(combine(merger.remaining()), stopped_by=stopped)


def _same(partial: Partial) -> Partial:
    return partial


def _in_thread(context: Context, group: Group) -> Partial:
    import threading

    return run_group(context, group, threading.current_thread().name)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
