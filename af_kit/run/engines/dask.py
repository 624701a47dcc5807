"""The engine on a Dask cluster: one fused task per group, merges on the workers, the client decides the order.

A large function is a task of its own, on which all others depend: a worker that comes late fetches it from a neighbour,
and if its holder dies the scheduler makes it again. (Scattered data would be lost.)

A task that loses its worker too often is under suspicion, and so is each task that was waiting there. The chunks of
suspects are tried once more, so few at a time that each is alone on its worker: one that brings it down again is
listed as failed, and no other is.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from af_kit import config
from af_kit.errors import ConnectError, FunctionError, InputError, MergeError
from af_kit.run.bookkeeping import Partial, combine
from af_kit.run.engines.base import Merger, Outcome, Step, stops_the_run
from af_kit.run.pickling import Packed, dumps
from af_kit.run.task import Context, Group, Span, run_group, spans

__all__ = ["run_on_dask"]

_TOPIC = "af-kit-failures"
# The function goes along with each task: were it a task of its own, Dask would send the others to the worker that has
# it, and a few tasks would all wait for one worker. A large one (a look-up table in a closure) travels once.
_MOST_INLINE = 64 * 1024
# Merges go before chunks that wait: what is merged takes less memory.
_MERGE_PRIORITY = 10
# Seconds between two looks at whether there is still a scheduler.
_LOOK_S = 0.5

_failed: dict[str, dict[int, int]] = {}
"""By run and group, the entries that failed: workers tell at once, so that the progress bar can show them."""


def run_on_dask(context: Context, groups: Sequence[Group], step: Step, client: Any, sizes: Sequence[int]) -> Outcome:
    """Run all groups on the workers of ``client``.

    Parameters
    ----------
    sizes : sequence of int
        Entries of each group, for the progress bar.

    Raises
    ------
    ConnectError
        The scheduler went away.
    MergeError
        Outputs of two chunks cannot be merged.
    """
    return _Run(context, groups, step, client, sizes).outcome()


@dataclass
class _Suspect:
    """A group whose chunks are tried one by one, as its task lost its worker."""

    missing: int
    good: list[Any] = field(default_factory=list)
    entries: int = 0
    reason: str = ""


class _Run:
    def __init__(
        self, context: Context, groups: Sequence[Group], step: Step, client: Any, sizes: Sequence[int]
    ) -> None:
        self.context, self.groups, self.step, self.client, self.sizes = context, groups, step, client, sizes
        self.packed: Any = Packed(raw := dumps(replace(context, travels=True)))
        if len(raw) > _MOST_INLINE:
            self.packed = client.submit(Packed, raw, key=f"af-context-{context.run}", pure=False)
        self.window = max(1, int(config.get("run.window")))
        self.next = 0
        self.waiting: dict[Any, tuple[int, int | None]] = {}
        """Future: number of its group, and the entries of its chunk where it is one of a suspect's."""
        self.suspects: dict[int, _Suspect] = {}
        self.to_probe: deque[tuple[int, Group, int]] = deque()
        """Chunks of suspects that wait for their second try: number of the group, the chunk, its entries."""
        self.probing = 0
        self.reasons: dict[int, str] = {}
        self.merger = Merger(len(groups), self._merge)

    def outcome(self) -> Outcome:
        _failed[self.context.run] = {}
        self.client.subscribe_topic(_TOPIC, _note_failure)
        try:
            stopped = self._run()
            # What is done, but was not looked at when the run was stopped.
            for future in [future for future in self.waiting if future.status == "finished"]:
                self._take(future)
            for number in list(self.suspects):
                self._close_case(number)
        finally:
            del _failed[self.context.run]
            self._let_go()
        rest = self.merger.remaining()
        try:
            return Outcome(self._gathered(rest), self.reasons, stopped)
        finally:
            # At once, not when Python collects them: a worker that ends now would be said to lose results.
            held = [self.packed] if hasattr(self.packed, "release") else []
            for future in (*(future for _, future in rest), *held):
                future.release()

    def _run(self) -> BaseException | None:
        """Hand out tasks and take what they gave, until all is done; what stopped it before, if anything did."""
        from distributed import as_completed

        try:
            finished = as_completed([], raise_errors=False)
            self._refill(finished)
            while self.waiting:
                if not self._wait_for(finished):
                    return self._gone()
                stopped = self._take(next(finished))
                if stopped is not None:
                    return stopped
                self._refill(finished)
                self._probe(finished)
        except KeyboardInterrupt as interrupt:
            return interrupt
        except OSError:  # a call to the scheduler
            if self.client.status == "running":
                raise
            return self._gone()
        return None

    def _wait_for(self, finished: Any) -> bool:
        """Wait until one has finished; False if none will, as the client has lost its scheduler.

        It cancels those that it knows then. One that was asked for while it tried to come back is told nothing.
        """
        while not finished.has_ready():
            if self.client.status != "running":
                return False
            with finished.thread_condition:
                finished.thread_condition.wait(_LOOK_S)
        return True

    def _let_go(self) -> None:
        """Cancel what is not finished; a scheduler that is gone needs no telling."""
        if self.client.status != "running":
            return
        if self.waiting:
            self.client.cancel(list(self.waiting), force=True)
        if not _failed:
            self.client.unsubscribe_topic(_TOPIC)

    def _gathered(self, rest: Sequence[tuple[range, Any]]) -> Partial:
        """What was merged on the workers, brought here; a part that is lost is noted with its reason."""
        from distributed import CancelledError, wait

        try:
            merged = [future for _, future in rest]
            while merged:
                with suppress(TimeoutError):
                    wait(merged, timeout=_LOOK_S)
                    break
                if self.client.status != "running":
                    raise self._gone()
            errors = [self._error_of(future) for _, future in rest]
            for error in errors:
                if error is not None and stops_the_run(error):
                    raise error
            for (numbers, _), error in zip(rest, errors, strict=True):
                if error is not None:
                    self.reasons.update(dict.fromkeys(numbers, f"merging failed: {_worker_reason(error)}"))
            good = [future for (_, future), error in zip(rest, errors, strict=True) if error is None]
            return combine(self.client.gather(good)) if good else Partial()
        except CancelledError as error:
            raise self._gone() from error
        except OSError as error:  # a call to the scheduler
            if self.client.status == "running":
                raise
            raise self._gone() from error

    def _refill(self, finished: Any) -> None:
        """Keep the scheduler busy, and no busier: a million tasks at once would be its memory."""
        room = self.window - len(self.waiting)
        if self.next >= len(self.groups) or room < max(1, self.window // 4):
            return
        numbers = range(self.next, min(self.next + room, len(self.groups)))
        self.next = numbers.stop
        self._submit([(number, self.groups[number], None) for number in numbers], finished)

    def _submit(self, tasks: Sequence[tuple[int, Group, int | None]], finished: Any) -> None:
        futures = self.client.map(
            _on_worker,
            [pickle.dumps(spans(group), protocol=5) for _, group, _ in tasks],
            [number for number, _, _ in tasks],
            context=self.packed,
            key=[f"af-chunks-{self.context.run}-{_label(*task)}" for task in tasks],
            pure=False,
        )
        for future, (number, _, alone) in zip(futures, tasks, strict=True):
            self.waiting[future] = (number, alone)
        finished.update(futures)

    def _take(self, future: Any) -> BaseException | None:
        """Deal with one finished future; the error that stops the run, if it is one."""
        number, alone = self.waiting.pop(future)
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
        """Try chunks of suspects again, with most workers left to the others."""
        if not self.to_probe:
            return
        most = max(1, len(self.client.nthreads()) // 4)
        while self.to_probe and self.probing < most:
            self.probing += 1
            self._submit([self.to_probe.popleft()], finished)

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
            self._close_case(number)

    def _close_case(self, number: int) -> None:
        suspect = self.suspects.pop(number)
        if suspect.reason:
            self.reasons[number] = suspect.reason
        merged = self._merge(suspect.good) if len(suspect.good) > 1 else (suspect.good or [None])[0]
        self._done(number, merged, suspect.entries)

    def _done(self, number: int, future: Any, entries: int) -> None:
        failed = min(_failed[self.context.run].pop(number, 0), entries)
        missing = self.sizes[number] - entries
        self.step(number, entries - failed, failed + missing, Partial if future is None else future.result)
        self.merger.finish(number, future)

    def _merge(self, futures: list[Any]) -> Any:
        for future in futures:
            error = self._error_of(future) if future.status == "error" else None
            if isinstance(error, MergeError):  # seen now: the rest of the run would be for nothing
                raise error
        return self.client.submit(combine, futures, pure=False, priority=_MERGE_PRIORITY)

    def _error_of(self, future: Any) -> BaseException | None:
        if future.status == "finished":
            return None
        if future.status == "error":
            error: BaseException = future.exception()
            return error
        if self.client.status != "running" or getattr(self.packed, "status", "") in ("cancelled", "lost"):
            return self._gone()
        return RuntimeError(f"its task was {future.status}: somebody cancelled it")

    def _gone(self) -> ConnectError:
        address = getattr(self.client.scheduler, "address", "its address")
        return ConnectError(
            f"The scheduler at {address} went away, or its cluster was restarted, and with it what the workers held. "
            "Connect again and run again; with checkpoint=... a run goes on where it was."
        )


def _label(number: int, group: Group, alone: int | None) -> str:
    return f"{number}" if alone is None else f"{number}-{group[0][0]}"


def _note_failure(event: Any) -> None:
    _, message = event
    if message.get("run") in _failed:
        _failed[message["run"]][message["group"]] = message["entries"]


def _on_worker(payload: bytes, number: int, *, context: Packed) -> Partial:
    """The task: a group's chunks on this worker."""
    from distributed import get_worker

    worker = get_worker()
    try:
        given: Context = context.value()
    except Exception as error:
        raise InputError(
            f"The worker {worker.name} cannot load the function: {type(error).__name__}: {error}. What it imports must "
            "be installed in the workers' environment."
        ) from error
    group: tuple[Span, ...] = pickle.loads(payload)  # noqa: S301 - made by _submit, it came over the cluster's own connection
    try:
        partial = run_group(given, group, str(worker.name))
    except FunctionError as error:
        error.__cause__ = None  # the message has it; by itself it may be of a class that cannot be sent
        raise
    failed = sum(failure.entries for failure in partial.account.failures)
    if failed:
        worker.log_event(_TOPIC, {"run": given.run, "group": number, "entries": failed})
    return partial


def _worker_reason(error: BaseException | None) -> str:
    if type(error).__name__ == "KilledWorker":
        return (
            "the workers that tried it died (killed for memory, by the batch system, or crashed). Read the workers' "
            "logs; smaller chunks (chunk_entries=...) or more memory per worker may help"
        )
    return f"{type(error).__name__}: {error}"
