"""The engine on a Dask cluster: one fused task per group, merges on the workers, the client decides the order.

The user's function and the options are one small task of their own, on which all others depend: a worker that comes
late fetches it from a neighbour, and if its holder dies the scheduler makes it again. (Scattered data would be lost.)
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from af_kit import config
from af_kit.errors import FunctionError, InputError
from af_kit.run.account import Partial, combine
from af_kit.run.code import dumps
from af_kit.run.engine import Merger, Outcome, Step
from af_kit.run.task import Context, Group, run_group

__all__ = ["run_on_dask"]

_TOPIC = "af-kit-failures"


def run_on_dask(context: Context, groups: Sequence[Group], step: Step, client: Any, sizes: Sequence[int]) -> Outcome:
    """Run all groups on the workers of ``client``.

    Parameters
    ----------
    sizes : sequence of int
        Entries of each group, for the progress bar.
    """
    return _Run(context, groups, step, client, sizes).outcome()


class _Run:
    def __init__(
        self, context: Context, groups: Sequence[Group], step: Step, client: Any, sizes: Sequence[int]
    ) -> None:
        self.context, self.groups, self.step, self.client, self.sizes = context, groups, step, client, sizes
        self.holder = client.submit(pickle.loads, dumps(context), key=f"af-context-{context.run}", pure=False)
        self.window = int(config.get("run.window"))
        self.next = 0
        self.waiting: dict[Any, tuple[int, int | None]] = {}
        """Future: number of its group, and number of the chunk in it where the group was taken apart."""
        self.apart: dict[int, dict[int, Any]] = {}
        """Groups that killed their worker, with the futures of their chunks."""
        self.reasons: dict[int, str] = {}
        self.merger = Merger(len(groups), self._merge)
        self.failed: dict[int, int] = {}

    def outcome(self) -> Outcome:
        from distributed import as_completed

        stopped: BaseException | None = None
        self.client.subscribe_topic(_TOPIC, self._note_failure)
        try:
            finished = as_completed([], raise_errors=False)
            self._refill(finished)
            while self.waiting and stopped is None:
                future = next(finished)
                stopped = self._take(future, finished)
                self._refill(finished)
        except KeyboardInterrupt as interrupt:
            stopped = interrupt
        finally:
            self.client.cancel(list(self.waiting), force=True) if self.waiting else None
            self.client.unsubscribe_topic(_TOPIC)
        rest = self.merger.remaining()
        partial = combine(self.client.gather(rest)) if rest else Partial()
        # At once, not when Python collects them: a worker that ends now would be said to lose results.
        for future in (*rest, self.holder):
            future.release()
        return Outcome(partial, self.reasons, stopped)

    def _refill(self, finished: Any) -> None:
        """Keep the scheduler busy, and no busier: a million tasks at once would be its memory."""
        room = self.window - len(self.waiting)
        if self.next >= len(self.groups) or room < self.window // 4:
            return
        numbers = range(self.next, min(self.next + room, len(self.groups)))
        self.next = numbers.stop
        self._submit([(number, None, self.groups[number]) for number in numbers], finished)

    def _submit(self, tasks: Sequence[tuple[int, int | None, Group]], finished: Any) -> None:
        futures = self.client.map(
            _on_worker,
            [pickle.dumps(group, protocol=5) for _, _, group in tasks],
            [number for number, _, _ in tasks],
            context=self.holder,
            key=[f"af-chunks-{self.context.run}-{n}" + ("" if i is None else f"-{i}") for n, i, _ in tasks],
            pure=False,
        )
        for future, (number, inside, _) in zip(futures, tasks, strict=True):
            self.waiting[future] = (number, inside)
            if inside is not None:
                self.apart[number][inside] = future
        finished.update(futures)

    def _take(self, future: Any, finished: Any) -> BaseException | None:
        """Deal with one finished future; the error that stops the run, if it is one."""
        number, inside = self.waiting.pop(future)
        error = _error_of(future)
        if isinstance(error, FunctionError):
            return error
        if error is not None and self.holder.status == "error":
            return _cannot_load(self.holder.exception())
        chunks = sum(len(span.cuts) for span in self.groups[number])
        if error is not None and inside is None and chunks > 1:
            # It may be one chunk that needs too much memory: find out which.
            self._take_apart(number, finished)
            return None
        if error is not None and inside is None:
            self._give_up(number, error)
            return None
        if inside is not None:
            return self._take_inside(number, error)
        self._done(number, future)
        return None

    def _take_apart(self, number: int, finished: Any) -> None:
        from af_kit.run.task import single

        cuts = [(span, cut) for span in self.groups[number] for cut in span.cuts]
        self.apart[number] = {}
        self._submit([(number, i, (single(span, cut),)) for i, (span, cut) in enumerate(cuts)], finished)

    def _take_inside(self, number: int, error: BaseException | None) -> BaseException | None:
        parts = self.apart[number]
        if any(future in self.waiting for future in parts.values()):
            return None
        good = [future for future in parts.values() if future.status == "finished"]
        bad = [future for future in parts.values() if future.status != "finished"]
        if bad:
            self.reasons[number] = _worker_reason(_error_of(bad[0]))
        if good:
            self._done(number, self._merge(good) if len(good) > 1 else good[0])
        else:
            self._give_up(number, error)
        return None

    def _give_up(self, number: int, error: BaseException | None) -> None:
        self.reasons[number] = _worker_reason(error)
        self.step(number, 0, self.sizes[number], Partial)
        self.merger.finish(number, None)

    def _done(self, number: int, future: Any) -> None:
        failed = self.failed.pop(number, 0)
        self.step(number, self.sizes[number] - failed, failed, future.result)
        self.merger.finish(number, future)

    def _merge(self, futures: list[Any]) -> Any:
        return self.client.submit(combine, futures, pure=False)

    def _note_failure(self, event: Any) -> None:
        _, message = event
        if message.get("run") == self.context.run:
            self.failed[message["group"]] = message["entries"]


def _on_worker(payload: bytes, number: int, *, context: Context) -> Partial:
    """The task: a group's chunks on this worker."""
    from distributed import get_worker

    worker = get_worker()
    group: Group = pickle.loads(payload)  # noqa: S301 - made by _submit, it came over the cluster's own connection
    partial = run_group(context, group, str(worker.name))
    failed = sum(failure.entries for failure in partial.account.failures)
    if failed:
        worker.log_event(_TOPIC, {"run": context.run, "group": number, "entries": failed})
    return partial


def _error_of(future: Any) -> BaseException | None:
    if future.status == "finished":
        return None
    if future.status == "error":
        error: BaseException = future.exception()
        return error
    return RuntimeError(f"its task was {future.status}: the scheduler went away, or somebody cancelled it")


def _worker_reason(error: BaseException | None) -> str:
    if type(error).__name__ == "KilledWorker":
        return (
            "the workers that tried it died (killed for memory, by the batch system, or crashed). Read the workers' "
            "logs; smaller chunks (chunk_entries=...) or more memory per worker may help"
        )
    return f"{type(error).__name__}: {error}"


def _cannot_load(error: BaseException | None) -> InputError:
    return InputError(
        f"The workers cannot load the function: {type(error).__name__}: {error}. What it imports must be installed in "
        "the workers' environment; what it refers to must be small and picklable."
    )
