"""The engine for a Dask cluster: one task per group of chunks, merges on the workers, in an order set by the client.

A large function is a separate task on which all others depend: a late worker fetches it from a neighbour, and the
scheduler makes it again if its holder dies. (Scattered data would be lost.)

A task that loses its worker too often is a suspect, and so is each task that was queued on that worker. The chunks of
suspects are tried once more, so few at a time that each is alone on its worker: only a chunk that kills its worker
again is listed as failed. Merges that went down with such a worker are tried again at the end.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import pickle
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from af_kit import config
from af_kit.errors import ConnectError, MergeError
from af_kit.run.bookkeeping import Partial, combine
from af_kit.run.engines.absence import Absence
from af_kit.run.engines.base import Merger, Outcome, Step, stops_the_run
from af_kit.run.engines.client_calls import connection_lost, is_lost
from af_kit.run.engines.dask_tasks import TOPIC, on_worker
from af_kit.run.live import Fetching, Glimpse, LiveView, Wanted, glimpse
from af_kit.run.pickling import Packed, dumps
from af_kit.run.task import Context, Group, spans

__all__ = ["run_on_dask"]

# A function up to this size travels inside each task: if all tasks depended on one that holds it, Dask would prefer the
# worker that has it, and a few tasks would all queue there. A larger one (a look-up table in a closure) travels once.
_MOST_INLINE = 64 * 1024
# Merges run before queued chunks, because they free memory.
_MERGE_PRIORITY = 10
# How often merges are tried again whose workers died; seconds until the client knows that they are not failed any more.
_MERGE_TRIES, _NOTICE_S = 3, 5.0
# The window is at least as many tasks for each thread of the cluster: one runs, one waits on the worker, and the rest
# bridge the time until the client submits more.
_PER_THREAD = 4
# Tasks are submitted in slices of at most this number and about this size: while the scheduler takes one in, it does
# nothing else. Dask warns of more than 10 MB.
_SLICE, _SLICE_BYTES = 250, 4_000_000
# Seconds between two checks that the scheduler is still there.
_POLL_S = 0.5

_failed: dict[str, dict[int, int]] = {}
"""Failed entries by run and group, which workers report at once, so that the progress bar can show them."""


def run_on_dask(
    context: Context,
    groups: Sequence[Group],
    step: Step,
    client: Any,
    sizes: Sequence[int],
    progress: bool | None = None,
    *,
    live: LiveView | None = None,
) -> Outcome:
    """Run all groups on the workers of ``client``.

    Parameters
    ----------
    sizes : sequence of int
        Entries of each group, for the progress bar.
    progress : bool, optional
        Whether to say that the cluster has no workers.
    live : LiveView, optional
        Looks at what is merged in the meantime.

    Raises
    ------
    ConnectError
        The connection to the scheduler is lost.
    MergeError
        Outputs of two chunks cannot be merged.
    """
    return _Run(context, groups, step, client, sizes, progress, live or LiveView()).outcome()


@dataclass
class _Suspect:
    """A group whose chunks are tried one by one because its task lost its worker."""

    missing: int
    good: list[Any] = field(default_factory=list)
    entries: int = 0
    reason: str = ""


class _Run:
    def __init__(
        self,
        context: Context,
        groups: Sequence[Group],
        step: Step,
        client: Any,
        sizes: Sequence[int],
        progress: bool | None,
        live: LiveView,
    ) -> None:
        self.live = live
        self.context, self.groups, self.step, self.client, self.sizes = context, groups, step, client, sizes
        self.packed: Any = Packed(raw := dumps(replace(context, travels=True)))
        if len(raw) > _MOST_INLINE:
            self.packed = client.submit(Packed, raw, key=f"af-context-{context.run}", pure=False)
        self.window = max(1, int(config.get("run.window")))
        self.next = 0
        self.pending: dict[Any, tuple[int, int | None]] = {}
        """Each future with the number of its group, and the entries of its chunk if it is a suspect's."""
        self.suspects: dict[int, _Suspect] = {}
        self.to_probe: deque[tuple[int, Group, int]] = deque()
        """Chunks of suspects to be tried again: number of the group, the chunk, its entries."""
        self.probing, self.most_probes = 0, 1
        self.reasons: dict[int, str] = {}
        self.merger = Merger(len(groups), self._merge)
        self.merging: dict[Any, list[Any]] = {}
        """The inputs of each merge that is not done, kept in case that it has to be tried again."""
        self.absence = Absence(client, progress)
        self.ended = ""
        """Why the cluster has no workers any more, which ends the run."""

    def outcome(self) -> Outcome:
        _failed[self.context.run] = {}
        self.client.subscribe_topic(TOPIC, _note_failure)
        try:
            stopped = self._run()
            # These finished while the run was being stopped.
            for future in [future for future in self.pending if future.status == "finished"]:
                self._take(future)
            unfinished = {*(number for number, _ in self.pending.values()), *self.suspects}
            for number in list(self.suspects):
                self._finish_suspect(number)
            if self.ended:
                self.reasons |= dict.fromkeys([*unfinished, *range(self.next, len(self.groups))], self.ended)
        finally:
            del _failed[self.context.run]
            self.live.stop()
            self._cancel_pending()
        rest = self.merger.remaining()
        try:
            gathered = self._gathered(rest)
            return Outcome(gathered, self.reasons, stopped, threads=self._threads())
        finally:
            # At once, not when Python collects them: otherwise the scheduler reports lost results when a worker ends.
            held = [self.packed] if hasattr(self.packed, "release") else []
            self.merging.clear()
            for future in (*(future for _, future in rest), *held):
                future.release()

    def _run(self) -> BaseException | None:
        """Submit tasks and take their results until all are done; return what stopped the run early, if anything."""
        from distributed import as_completed

        try:
            finished = as_completed([], loop=self.client.loop, raise_errors=False)  # not that of a default client
            self._refill(finished)
            while self.pending:
                if not self._wait_for(finished):
                    return None if self.ended else connection_lost(self.client)
                stopped = self._take(next(finished))
                if stopped is not None:
                    return stopped
                self._refill(finished)
                self._probe(finished)
                self.live.look(self.merger, self._glimpses)
        except KeyboardInterrupt as interrupt:
            return interrupt
        except ConnectError as lost:
            return lost
        except OSError as error:  # a call to the scheduler
            if not is_lost(self.client, error):
                raise
            return connection_lost(self.client)
        return None

    def _wait_for(self, finished: Any) -> bool:
        """Wait until a task has finished; return False if the client has lost its scheduler, or that all its workers.

        A client that loses its scheduler cancels the futures that it knows, but a future that is submitted while it
        reconnects never ends.
        """
        while not finished.has_ready():
            if self.client.status != "running":
                return False
            with finished.thread_condition:
                finished.thread_condition.wait(_POLL_S)
            if not finished.has_ready() and self._without_workers():
                return False
            self.live.look(self.merger, self._glimpses)
        return True

    def _without_workers(self) -> bool:
        """Return whether the cluster has lost its workers for good."""
        self.ended = self.ended or self.absence.end_reason()
        return bool(self.ended)

    def _threads(self) -> int:
        try:
            return sum(self.client.nthreads().values()) if self.client.status == "running" else 0
        except OSError:  # the scheduler is lost
            return 0

    def _cancel_pending(self) -> None:
        """Cancel the tasks that are not finished, if the scheduler is still there."""
        if self.client.status != "running":
            return
        if self.pending:
            self.client.cancel(list(self.pending), force=True)
        if not _failed:
            self.client.unsubscribe_topic(TOPIC)

    def _gathered(self, rest: Sequence[tuple[range, Any]]) -> Partial:
        """Fetch what was merged on the workers; a part that is lost is noted with its reason."""
        self._wait_for_merges([future for _, future in rest])
        self._release_merged()
        errors = [self._error_of(future) for _, future in rest]
        for error in errors:
            if error is not None and stops_the_run(error):
                raise error
        for (numbers, future), error in zip(rest, errors, strict=True):
            if self.ended and future.status not in ("finished", "error"):
                self._note_lost(numbers)
            elif error is not None:
                self.reasons.update(dict.fromkeys(numbers, f"merging failed: {_worker_reason(error)}"))
        good = [(numbers, future) for (numbers, future), error in zip(rest, errors, strict=True) if error is None]
        if not good:
            return Partial()
        try:
            found, gone = self.absence.fetch([future for _, future in good])
        except Exception as error:
            if not any(future.status == "error" for _, future in good):
                raise
            _forgotten(error)
            return self._gathered(good)  # a result was lost with its worker, and computing it again failed
        if gone:
            self.ended = gone
            for numbers, _ in good:
                self._note_lost(numbers)
        return combine(found) if found else Partial()

    def _wait_for_merges(self, merged: Sequence[Any]) -> None:
        """Wait until the merges are done. Those that were given up because their workers died are tried again."""
        for left in reversed(range(1 + _MERGE_TRIES)):
            if not self.ended:
                self.ended = self.absence.wait(merged)
            killed = [future for future in merged if _is_killed(self._error_of(future))]
            if self.ended or not killed or not left:
                return
            # Not client.retry: that fails for a task that the client has released, on which these may depend.
            self.client.sync(self.client.scheduler.retry, keys=[each.key for each in killed], client=self.client.id)
            deadline = time.monotonic() + _NOTICE_S
            while any(future.status == "error" for future in killed) and time.monotonic() < deadline:
                time.sleep(0.01)  # until the client has been told

    def _release_merged(self) -> None:
        for future in [future for future in self.merging if future.status == "finished"]:
            del self.merging[future]

    def _note_lost(self, numbers: range) -> None:
        self.reasons.update(dict.fromkeys(numbers, f"the workers that held the results are gone: {self.ended}"))

    def _refill(self, finished: Any) -> None:
        """Submit more tasks, up to the window: a million tasks at once would fill the scheduler's memory."""
        room = self.window - len(self.pending)
        if self.next >= len(self.groups) or room < max(1, self.window // 4):
            return
        self.window = max(self.window, _PER_THREAD * sum(self.client.nthreads().values()))
        last = min(len(self.groups), self.next + self.window - len(self.pending))
        while self.next < last:
            tasks: list[tuple[int, Group, int | None, bytes]] = []
            size = 0
            while self.next < last and len(tasks) < _SLICE and size < _SLICE_BYTES:
                group = self.groups[self.next]
                payload = _payload(group)
                tasks.append((self.next, group, None, payload))
                self.next += 1
                size += len(payload)
            self._submit(tasks, finished)

    def _submit(self, tasks: Sequence[tuple[int, Group, int | None, bytes]], finished: Any) -> None:
        futures = self.client.map(
            on_worker,
            [payload for *_, payload in tasks],
            [number for number, *_ in tasks],
            context=self.packed,
            key=[f"af-chunks-{self.context.run}-{_label(number, group, alone)}" for number, group, alone, _ in tasks],
            pure=False,
        )
        for future, (number, _, alone, _) in zip(futures, tasks, strict=True):
            self.pending[future] = (number, alone)
        finished.update(futures)

    def _take(self, future: Any) -> BaseException | None:
        """Process one finished future; return its error if that stops the run."""
        number, alone = self.pending.pop(future)
        self._release_merged()
        error = self._error_of(future)
        if error is not None and stops_the_run(error):
            return error
        if alone is not None:
            self._take_chunk(number, future, alone, error)
        elif error is None:
            self._done(number, future, self.sizes[number])
        else:
            self.suspects[number] = _Suspect(len(self.groups[number]))
            self.to_probe.extend((number, (chunk,), len(chunk[1])) for chunk in self.groups[number])
        return None

    def _probe(self, finished: Any) -> None:
        """Try chunks of suspects again, on a quarter of the workers at most."""
        if not self.to_probe or self.probing >= self.most_probes:
            return  # without asking the scheduler
        self.most_probes = max(1, len(self.client.nthreads()) // 4)
        while self.to_probe and self.probing < self.most_probes:
            self.probing += 1
            number, group, entries = self.to_probe.popleft()
            self._submit([(number, group, entries, _payload(group))], finished)

    def _take_chunk(self, number: int, future: Any, entries: int, error: BaseException | None) -> None:
        self.probing -= 1
        suspect = self.suspects[number]
        suspect.missing -= 1
        if error is None:
            suspect.good.append(future)
            suspect.entries += entries
        else:
            suspect.reason = _worker_reason(error)
        if not suspect.missing:
            self._finish_suspect(number)

    def _finish_suspect(self, number: int) -> None:
        suspect = self.suspects.pop(number)
        if suspect.reason:
            self.reasons[number] = suspect.reason
        merged = self._merge(suspect.good) if len(suspect.good) > 1 else (suspect.good or [None])[0]
        self._done(number, merged, suspect.entries)

    def _done(self, number: int, future: Any, entries: int) -> None:
        failed = min(_failed[self.context.run].pop(number, 0), entries)
        missing = self.sizes[number] - entries
        self.step(number, entries - failed, failed + missing, functools.partial(self._fetched, future))
        self.merger.finish(number, future)

    def _fetched(self, future: Any) -> Partial:
        """Return a group's result, for the checkpoint; it may have to be made again, if its worker is gone."""
        if future is None:
            return Partial()
        found: list[Partial] = []
        if not self.ended:
            try:
                found, self.ended = self.absence.fetch([future])
            except Exception as error:  # noqa: BLE001 - of the task
                raise ConnectError(_forgotten(error)) from None
        if self.ended:
            raise ConnectError(self.ended)
        return found[0]

    def _glimpses(self, nodes: Mapping[tuple[int, int], Any], wanted: Wanted) -> Fetching:
        return _Glimpses(self.client, nodes, wanted)

    def _merge(self, futures: list[Any]) -> Any:
        for future in futures:
            error = self._error_of(future) if future.status == "error" else None
            if isinstance(error, MergeError):  # raised now: the rest of the run would be in vain
                raise error
        merged = self.client.submit(combine, futures, pure=False, priority=_MERGE_PRIORITY)
        self.merging[merged] = futures
        return merged

    def _error_of(self, future: Any) -> BaseException | None:
        if future.status == "finished":
            return None
        if future.status == "error":
            error: BaseException = future.exception()
            return error
        if self.client.status != "running" or getattr(self.packed, "status", "") in ("cancelled", "lost"):
            return connection_lost(self.client)
        return RuntimeError(f"its task was {future.status} by another client or user")


class _Glimpses:
    """Glimpses from the workers that hold the nodes. These make them at once, and not as tasks behind the others."""

    def __init__(self, client: Any, nodes: Mapping[tuple[int, int], Any], wanted: Wanted) -> None:
        keys = {future.key: node for node, future in nodes.items()}
        asking = client.run(_glimpses_here, keys, wanted, on_error="ignore", asynchronous=True)
        self._answer = asyncio.run_coroutine_threadsafe(asking, client.loop.asyncio_loop)

    def poll(self) -> Sequence[Glimpse] | None:
        if not self._answer.done():
            return None
        try:
            found = {each.node: each for part in self._answer.result().values() for each in part}
            return list(found.values())
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - if the scheduler is lost, the run finds out
            return ()

    def cancel(self) -> None:
        """Do nothing: the answers of the workers are dropped when they come."""


def _glimpses_here(keys: Mapping[str, tuple[int, int]], wanted: Wanted, dask_worker: Any) -> list[Glimpse]:
    held = {node: dask_worker.data.get(key) for key, node in keys.items()}
    return [glimpse(partial, node, wanted) for node, partial in held.items() if partial is not None]


def _payload(group: Group) -> bytes:
    """Return what the task of a group reads, pickled: the scheduler passes it on as it is."""
    return pickle.dumps(spans(group), protocol=5)


def _forgotten(error: Exception) -> str:
    """Return the text of the error with which fetching a result has failed, and let go of the task.

    The client keeps the error of a task as long as anyone refers to the task. So do the frames of the error, and a
    cycle in Dask's gather: the cluster would work on the task until Python happens to collect it.
    """
    reason = str(error.with_traceback(None))
    gc.collect()
    return reason


def _label(number: int, group: Group, alone: int | None) -> str:
    return f"{number}" if alone is None else f"{number}-{group[0][0]}"


def _note_failure(event: Any) -> None:
    _, message = event
    if message.get("run") in _failed:
        _failed[message["run"]][message["group"]] = message["entries"]


def _is_killed(error: BaseException | None) -> bool:
    """Return whether a task was given up because too many of its workers died."""
    return type(error).__name__ == "KilledWorker"


def _worker_reason(error: BaseException | None) -> str:
    if _is_killed(error):
        return (
            "the workers that ran it died (out of memory, ended by the batch system, or crashed). Read the workers' "
            "logs; try smaller chunks (chunk_entries=...) or more memory per worker"
        )
    return f"{type(error).__name__}: {error}"
