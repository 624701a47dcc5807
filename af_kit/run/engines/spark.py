"""The engine for Apache Spark: one job per block of groups, merged on an executor, in an order set by the session.

A block is `ARITY` neighbouring groups, the children of one node of the merge tree. Its job runs each group as a task,
which leaves its result on its executor's disk. A second job of one task merges them there, and only that result comes
to the session. Only so many blocks are submitted at a time that all cores have work. So memory does not grow with the
data: an executor holds one chunk per core, and the session one merged result for each block that has just finished.

Spark runs a failed task again, also a task whose executor has died. If it gives up, the groups without a result are
tried once more, one after the other and at last chunk by chunk: only a chunk that fails alone is listed as failed.
"""

from __future__ import annotations

import functools
import pickle
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from af_kit import __version__, config
from af_kit.errors import ConnectError, InputError
from af_kit.plugins.spark import sent_to, spark_context
from af_kit.run.bookkeeping import Partial, combine
from af_kit.run.engines.base import ARITY, Merger, Outcome, Step, stops_the_run
from af_kit.run.engines.spark_failures import Executors, is_cancelled, reason_of, session_lost
from af_kit.run.engines.spark_tasks import Inbox, Note, load_function, loaded, merge_block, pass_on, run_groups
from af_kit.run.pickling import Packed, dumps
from af_kit.run.task import Context, Group, spans

__all__ = ["run_on_spark"]

# How often to look for messages, in seconds.
_POLL_S = 0.5
# Blocks that wait for their merge, because Spark starts the tasks of older jobs first: this many times those that run.
_BEHIND = 3
# Seconds in which cancelled jobs end: Spark kills the Python worker of a cancelled task after two.
_CANCEL_S = 30.0


def run_on_spark(
    context: Context,
    groups: Sequence[Group],
    step: Step,
    session: Any,
    sizes: Sequence[int],
    progress: bool | None = None,
    *,
    each: bool = False,
) -> Outcome:
    """Run all groups on the executors of a Spark session.

    Parameters
    ----------
    session : pyspark.sql.SparkSession
        A classic session. af-kit must be installed in the executors' Python.
    sizes : sequence of int
        Entries of each group, for the progress bar.
    progress : bool, optional
        Whether to say that there are no executors.
    each : bool
        Whether ``step`` needs the result of each group, for a checkpoint. They then come to the session, one block at
        a time, and are merged here.

    Raises
    ------
    ConnectError
        The session is stopped.
    InputError
        The function cannot be sent, or the executors cannot load it.
    MergeError
        Outputs of two chunks cannot be merged.
    """
    return _Run(context, groups, step, session, sizes, progress, each).outcome()


@dataclass
class _Block:
    """Neighbouring groups, and what has become of them."""

    number: int
    groups: range
    parts: Any = None
    """The results of the groups, as an RDD with one partition per group, on the executors' disks."""
    has_turn: bool = False
    merged: Partial | None = None
    single: dict[int, Partial] = field(default_factory=dict)
    """The results that came to the session one by one, by group."""
    reasons: dict[int, str] = field(default_factory=dict)
    error: BaseException | None = None
    """What stops the run."""


class _Run:
    def __init__(
        self,
        context: Context,
        groups: Sequence[Group],
        step: Step,
        session: Any,
        sizes: Sequence[int],
        progress: bool | None,
        each: bool,
    ) -> None:
        from pyspark import inheritable_thread_target

        self.groups, self.step, self.sizes, self.each = groups, step, sizes, each
        self.spark, self.sent = spark_context(session), sent_to(session)
        self.name = f"af-kit-{context.run}"
        self.messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.done: set[int] = set()
        """Groups whose tasks have ended, and whose results are on an executor."""
        self.function = self.spark.broadcast(Packed(dumps(replace(context, travels=True))))
        self.inbox = Inbox(self._note)
        self.notes = self.spark.accumulator([], self.inbox)
        self.blocks = [_Block(i // ARITY, range(i, min(i + ARITY, len(groups)))) for i in range(0, len(groups), ARITY)]
        self.next = 0
        self.running: dict[int, _Block] = {}
        self.computing: set[int] = set()
        """Running blocks whose groups have not all ended."""
        self.threads: list[threading.Thread] = []
        self.inherit = inheritable_thread_target(session)(_call)
        self.merger = Merger(len(self.blocks), combine)
        self.slots = self._slots()
        self.stepped: set[int] = set()
        self.stopping = threading.Event()
        self.turn = threading.Semaphore()
        """For the one block whose results are brought to the session one by one."""
        self.reasons: dict[int, str] = {}
        self.watch = Executors(self.spark, self.messages.put, progress)

    def outcome(self) -> Outcome:
        self.watch.start()
        try:
            stopped = self._run()
            self._stop(rescue=not isinstance(stopped, ConnectError) and not self.watch.reason)
        finally:
            self.watch.stop()
            self._stop()
            self.inbox.close()
            with suppress(Exception):  # the session has ended
                self.function.destroy()
        if self.watch.reason:  # for those groups that have no result
            self.reasons |= dict.fromkeys(range(len(self.groups)), self.watch.reason)
        merged = combine([partial for _, partial in self.merger.remaining()])
        return Outcome(merged, self.reasons, stopped, threads=self.slots)

    # ------------------------------------------------------------------------------------------------- the main thread
    # It makes no call to Spark, which would be cut in the middle by an interrupt.

    def _run(self) -> BaseException | None:
        """Submit blocks and take what comes until all are done; return what stopped the run early, if anything."""
        try:
            self._in_thread(self._load)
            if (stopped := self._take(self.messages.get())) is not None:
                return stopped
            while not self.watch.reason and self._refill():
                if (stopped := self._take(self.messages.get())) is not None:
                    return stopped
        except KeyboardInterrupt as interrupt:
            return interrupt
        return None

    def _refill(self) -> bool:
        """Submit blocks until there are two groups for each core; return whether anything is running."""
        most = max(2, min(2 * self.slots, int(config.get("run.window"))) // ARITY + 1)
        while self.next < len(self.blocks) and len(self.computing) < most and len(self.running) < _BEHIND * most:
            block = self.blocks[self.next]
            self.next += 1
            self.running[block.number] = block
            self.computing.add(block.number)
            self._in_thread(functools.partial(self._process, block))
        return bool(self.running)

    def _take(self, message: Any) -> BaseException | None:
        """Process a message; return what it says that stops the run."""
        if isinstance(message, BaseException):
            return self._why(message)
        if isinstance(message, Note):
            return self._take_note(message)
        if isinstance(message, _Block):
            return self._take_block(message)
        if isinstance(message, int):
            self.computing.discard(message)
        return None

    def _take_note(self, note: Note) -> BaseException | None:
        if note.error:
            error: BaseException = pickle.loads(note.error)  # noqa: S301 - from run_groups, over Spark's connection
            return error
        if not self.each:
            self._count(note.group, note.done, note.failed, lambda: self._fetched(note.group))
        return None

    def _take_block(self, block: _Block) -> BaseException | None:
        """Merge a finished block into the result."""
        self.running.pop(block.number, None)
        self.computing.discard(block.number)
        if block.error is not None:
            return self._why(block.error)
        self.reasons |= block.reasons
        for number in block.groups:
            partial = block.single.get(number)
            if partial is not None or number in block.reasons:
                self._count_partial(number, partial or Partial())
        found = [block.single[number] for number in sorted(block.single)]
        if block.merged is None and found:
            block.merged = combine(found) if len(found) > 1 else found[0]
        self.merger.finish(block.number, block.merged)
        block.parts, block.merged, block.single = None, None, {}
        if block.has_turn:
            self.turn.release()
        return None

    def _count_partial(self, number: int, partial: Partial) -> None:
        done = partial.bookkeeping.entries.total()
        self._count(number, done, self.sizes[number] - done, lambda: partial)

    def _count(self, number: int, done: int, failed: int, partial: Callable[[], Partial]) -> None:
        if number not in self.stepped:
            self.stepped.add(number)
            self.step(number, done, failed, partial)

    def _why(self, error: BaseException) -> BaseException:
        """Return the error of a job, or that the whole session has ended."""
        return error if stops_the_run(error) or not self.watch.is_stopped() else session_lost(error)

    def _stop(self, *, rescue: bool = False) -> None:
        """Cancel what is running; ``rescue`` the results of its finished groups."""
        self.stopping.set()
        threads = [thread for thread in self.threads if thread.is_alive()]
        self.turn.release(len(threads) + 1)
        if self.running and threads and self.sent.status == "running":
            self._in_thread(functools.partial(self._cancel, threads)).join(_CANCEL_S + _POLL_S)
        if rescue:
            while not self.messages.empty():  # these finished in the meantime
                self._take(self.messages.get())
            for block in list(self.running.values()):
                self._in_thread(functools.partial(self._rescue, block)).join()
                self._take_block(block)

    # -------------------------------------------------------------------------------------------------- other threads

    def _in_thread(self, work: Callable[[], None]) -> threading.Thread:
        """Run something in a thread with the properties that the user has set for Spark in this one."""
        thread = threading.Thread(target=self.inherit, args=(work,), name=self.name, daemon=True)
        thread.start()
        self.threads = [*(other for other in self.threads if other.is_alive()), thread]
        return thread

    def _note(self, note: Note) -> None:
        if not note.error and note.group >= 0:
            self.done.add(note.group)
        self.messages.put(note)

    def _load(self) -> None:
        """Have one executor load the function; put an error, or None, into the queue."""
        try:
            self._job()
            load = functools.partial(load_function, __version__, self.function, self.sent.delivery())
            (problem,) = self.spark.parallelize([0], 1).mapPartitions(load).collect()
        except Exception as error:  # noqa: BLE001 - of Java, of Python there, or of the connection
            if self.sent.status == "running" and not is_cancelled(error):
                problem = f"The executors cannot run af-kit: {reason_of(error)}."
            else:
                self.messages.put(error)
                return
        self.messages.put(InputError(problem) if problem else "the function is loaded")

    def _process(self, block: _Block) -> None:
        """Run a block, in a thread of its own."""
        try:
            self._run_block(block)
        except BaseException as error:  # noqa: BLE001 - the main thread decides
            # An interrupt cancels all jobs a moment before the main thread knows.
            if self.stopping.wait(_POLL_S if is_cancelled(error) else 0):
                return  # the main thread looks for what is done
            if is_cancelled(error):
                self._rescue(block)
                left = set(block.groups) - block.single.keys()
                block.reasons = dict.fromkeys(left, "its job was cancelled by another user of the session")
            else:
                block.error = error
        parts = block.parts
        self.messages.put(block)
        if parts is not None:
            with suppress(Exception):  # the session has ended
                parts.unpersist()

    def _run_block(self, block: _Block) -> None:
        self.slots = self._slots()
        self._job()
        block.parts = self._submitted([(number, self.groups[number]) for number in block.groups])
        try:
            # In Java: through Python, all results would be sent to a second Python process to count them.
            block.parts._jrdd.count()
        except Exception as error:  # noqa: BLE001 - of Java, or of Python there
            self._give_up(error)
            self._one_by_one(block)
            return
        self.messages.put(block.number)
        if not self.each and len(self.done.intersection(block.groups)) == len(block.groups) > 1:
            try:
                self._job()
                block.merged = loaded(block.parts.coalesce(1).mapPartitions(merge_block).collect())
                return
            except Exception as error:  # noqa: BLE001 - as above
                self._give_up(error)  # or the merged result is too large for an executor, or for Spark's limit
        self._bring(block)

    def _bring(self, block: _Block) -> None:
        """Bring the results of a block to the session, while no other block does."""
        self.turn.acquire()
        block.has_turn = True
        self._job()
        try:
            block.single = self._results(block, [n for n in block.groups if n in self.done])
        except Exception as error:  # noqa: BLE001 - of Java, or of Python there
            self._give_up(error)
            self._one_by_one(block)

    def _one_by_one(self, block: _Block) -> None:
        """Get the result of each group alone, and of the chunks of a group that fails."""
        for number in block.groups:
            if number in self.done:
                try:
                    block.single |= self._results(block, [number])
                    continue
                except Exception as error:  # noqa: BLE001 - as above
                    self._give_up(error)
            partial, reason = self._alone(number, self.groups[number])
            if partial is None and len(self.groups[number]) > 1:
                tried = [self._alone(number, (chunk,)) for chunk in self.groups[number]]
                good = [found for found, _ in tried if found is not None]
                reason = next(why for _, why in tried if why) if len(good) < len(tried) else ""
                partial = combine(good) if good else None
            if partial is not None:
                block.single[number] = partial
            if reason:
                block.reasons[number] = reason

    def _alone(self, number: int, group: Group) -> tuple[Partial | None, str]:
        """Return the result of some chunks of a group, in a job of their own; or None and the reason."""
        self._job()
        try:
            pieces = self._submitted([(number, group)], alone=True).collect()
        except Exception as error:  # noqa: BLE001 - of Java, or of Python there
            self._give_up(error)
            return None, reason_of(error)
        if not pieces:
            raise InterruptedError("its error stops the run")
        return loaded(piece for _, piece in pieces), ""

    def _submitted(self, groups: Sequence[tuple[int, Group]], *, alone: bool = False) -> Any:
        """Return the results of groups as an RDD with a partition for each; on disk unless ``alone``."""
        payloads = [(number, pickle.dumps(spans(group), protocol=5)) for number, group in groups]
        run = functools.partial(
            run_groups, function=self.function, delivery=self.sent.delivery(), notes=self.notes, alone=alone
        )
        parts = self.spark.parallelize(payloads, len(payloads)).mapPartitions(run)
        if alone:
            return parts
        from pyspark import StorageLevel

        return parts.persist(StorageLevel.DISK_ONLY)

    def _results(self, block: _Block, numbers: Sequence[int]) -> dict[int, Partial]:
        """Return results of a block's groups, from the executors' disks; Spark makes a lost one again."""
        indices = [number - block.groups.start for number in numbers]
        pieces: dict[int, list[bytes]] = {}
        for number, piece in self.spark.runJob(block.parts, pass_on, indices) if indices else ():
            pieces.setdefault(number, []).append(piece)
        return {number: loaded(found) for number, found in pieces.items()}

    def _fetched(self, number: int) -> Partial:
        block = self.blocks[number // ARITY]
        return self._results(block, [number])[number]

    def _rescue(self, block: _Block) -> None:
        """Get what is done of a block that was cancelled."""
        if block.parts is None:
            return
        try:
            self.spark.setJobGroup(f"{self.name}-rescue", "af_kit.process: results of a stopped run", True)
            left = [n for n in block.groups if n in self.done and n not in block.single]
            block.single |= self._results(block, left)
        except Exception:  # noqa: BLE001 - these groups are then listed as not done
            block.single = {}

    def _cancel(self, threads: Sequence[threading.Thread]) -> None:
        """Cancel the jobs until the threads that submit them have ended."""
        deadline = time.monotonic() + _CANCEL_S
        while time.monotonic() < deadline:
            with suppress(Exception):  # the session has just ended
                self.spark.cancelJobGroup(self.name)
            for thread in threads:
                thread.join(_POLL_S / max(1, len(threads)))
            if not any(thread.is_alive() for thread in threads):
                return

    def _job(self) -> None:
        """Put the next jobs of this thread into the run's group, by which they are cancelled."""
        if self.stopping.is_set():
            raise InterruptedError("the run was stopped")
        self.spark.setJobGroup(self.name, "af_kit.process", True)

    def _give_up(self, error: Exception) -> None:
        """Raise an error after which nothing more can be tried."""
        if self.stopping.is_set() or self.sent.status != "running" or is_cancelled(error) or stops_the_run(error):
            raise error
        if self.watch.is_stopped():
            raise session_lost(error) from error

    def _slots(self) -> int:
        return max(1, int(self.spark.defaultParallelism))


def _call(work: Callable[[], None]) -> None:
    work()
