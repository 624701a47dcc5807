"""The executor's half of the engine for Spark: what its tasks do, and the notes that they send to the session."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from af_kit import __version__
from af_kit.errors import FunctionError
from af_kit.plugins import xrootd_preload
from af_kit.plugins.spark import Delivery, executor_folder, executor_name, receive
from af_kit.run.bookkeeping import Partial, combine
from af_kit.run.engines.base import stops_the_run
from af_kit.run.engines.threads import keep_freed_memory
from af_kit.run.task import Context, Span, run_group

__all__ = ["Inbox", "Note", "load_function", "loaded", "merge_block", "pass_on", "run_groups"]

# Spark keeps a record in memory as a whole, so a result travels in pieces of this size, in bytes.
_PIECE = 4 << 20

Piece = tuple[int, bytes]
"""A piece of a pickled result, with the number of its group."""


@dataclass
class Note:
    """A task has ended: entries processed and failed, or the pickled error that stops the run."""

    group: int
    done: int = 0
    failed: int = 0
    error: bytes = b""


class Inbox:
    """The accumulator that brings notes from tasks at once. Spark may bring one twice."""

    def __init__(self, notes: Callable[[Any], None] | None = None) -> None:
        self._notes = notes

    def zero(self, value: list[Note]) -> list[Note]:
        """Return the start value (the name is Spark's)."""
        return []

    def addInPlace(self, value: list[Note], more: list[Note]) -> list[Note]:
        """Add notes (the name is Spark's); in the session, pass them on."""
        if self._notes is None:
            return value + more
        for note in more:
            self._notes(note)
        return []

    def close(self) -> None:
        """Forget the run: Spark keeps every accumulator as long as the session lives."""
        self._notes = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Inbox, ()


def load_function(version: str, function: Any, delivery: Delivery, _: Iterable[int]) -> Iterator[str]:
    """Load the function as a task does, and yield the problem, or an empty text."""
    if version != __version__:
        yield f"The executors have af-kit {__version__}, and this session {version}: install the same version."
        return
    try:
        _prepare(delivery)
        function.value.value()
        yield ""
    except Exception as error:  # noqa: BLE001 - whatever the user's modules raise
        yield (
            f"The executor {executor_name()} cannot load the function: {type(error).__name__}: {error}. The packages "
            "that it imports must be installed in the executors' Python."
        )


def run_groups(
    payloads: Iterable[tuple[int, bytes]], *, function: Any, delivery: Delivery, notes: Any, alone: bool
) -> Iterator[Piece]:
    """Run groups: the task. An error that stops the run is a note, because Spark would run the task again."""
    _prepare(delivery)
    for number, payload in payloads:
        context: Context = function.value.value()
        group: tuple[Span, ...] = pickle.loads(payload)  # noqa: S301 - from _submitted, over Spark's connection
        try:
            partial = run_group(context, group, executor_name())
        except Exception as error:
            if not stops_the_run(error):
                raise
            if isinstance(error, FunctionError):
                error.__cause__ = None  # the message has it, and its class may not be picklable
            notes.add([Note(number, error=pickle.dumps(error))])
            return
        book = partial.bookkeeping
        yield from ((number, piece) for piece in _pieces(partial))
        if not alone:
            notes.add([Note(number, book.entries.total(), sum(failure.entries for failure in book.failures))])


def merge_block(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Merge the results of a block; an error of merging is returned, because Spark would merge again."""
    parts: dict[int, list[bytes]] = {}
    for number, piece in pieces:
        parts.setdefault(number, []).append(piece)
    try:
        merged: Any = combine([loaded(parts.pop(number)) for number in sorted(parts)])
    except Exception as error:
        if not stops_the_run(error):
            raise
        merged = error
    yield from _pieces(merged)


@functools.cache
def _prepare_process() -> None:
    keep_freed_memory()
    # XRootD keeps the paths of its first login: they must be those of a proxy that comes later.
    xrootd_preload.dask_setup(SimpleNamespace(local_directory=str(executor_folder())))


def _prepare(delivery: Delivery) -> None:
    _prepare_process()
    receive(delivery)


def pass_on(pieces: Iterable[Piece]) -> Iterable[Piece]:
    """Return results as they are, from an executor's disk."""
    return pieces


def _pieces(value: Any) -> Iterator[bytes]:
    from distributed.protocol.pickle import dumps

    data = memoryview(dumps(value, protocol=5))
    for start in range(0, len(data), _PIECE):
        yield bytes(data[start : start + _PIECE])


def loaded(pieces: Iterable[bytes]) -> Partial:
    """Return a result from its pieces.

    Raises
    ------
    AfKitError
        It is the error that an executor met.
    """
    value = pickle.loads(b"".join(pieces))  # noqa: S301 - from _pieces, over Spark's connection
    if isinstance(value, BaseException):
        raise value
    partial: Partial = value
    return partial
