"""Remote files: fetch what a chunk needs in one request, and the next chunk's data while this one is computed.

A request to a remote server costs a round trip, however small it is. A function that does not declare its branches
uses one after the other, so they are learned: a chunk fetches those that the last chunk of its dataset has used, the
first chunk those that the function's code mentions. Any other branch is read when it is used. Local files do not need
this.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from af_kit.data.reading.column_cache import column_cache
from af_kit.data.reading.layout import Layout
from af_kit.data.reading.reader import Reader
from af_kit.data.transport.io_errors import is_remote
from af_kit.data.transport.servers import reachable_first
from af_kit.run.dependencies import mentioned

if TYPE_CHECKING:
    from af_kit.run.task import Context, Span

__all__ = ["ReadAhead", "Upcoming", "likely_branches"]

Upcoming = Callable[[Callable[[Sequence["Span"]], None]], None]
"""Calls a function with what this process will read next, now or later, if that is known."""

# The first chunk fetches what the code mentions up to this size: above it, round trips take less time than the data.
_MOST_GUESSED = 64 << 20

_Key = tuple[str, str, int, int]


class ReadAhead:
    """The readers that wait for their chunks, in one process and for one run.

    No more chunks are read ahead than are being processed, so that memory is at most doubled.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: dict[str, frozenset[str]] = {}
        self._last: frozenset[str] | None = None
        self._waiting: dict[_Key, Future[Reader]] = {}
        self._active = 0

    @contextmanager
    def reader(self, context: Context, span: Span, path: str, upcoming: Upcoming | None) -> Iterator[Reader]:
        """Open the reader of a span, with the branches that are likely to be used; then start on the upcoming one."""
        with self._lock:
            waiting = self._waiting.pop(_key(span, path), None)
            self._active += 1
        try:
            if waiting is None:
                opened = _opened(context, span, path, self._wanted(context, span, path))
            else:
                opened = _waited_for(waiting)
            with opened as reader:
                if upcoming is not None and is_remote(path):
                    upcoming(lambda spans: self._start(context, spans))
                yield reader
                self._note(span, reader)
        finally:
            with self._lock:
                self._active -= 1

    def _wanted(self, context: Context, span: Span, path: str) -> list[str]:
        """Return the branches to fetch together: those declared or, of a remote file, those that are likely."""
        if context.prefetch:
            return span.layout.names
        return self._likely(context, span) if is_remote(path) else []

    def _likely(self, context: Context, span: Span) -> list[str]:
        """Return the branches that the last chunk of the dataset has used, or the last one of another dataset."""
        with self._lock:
            used = self._used.get(span.dataset, self._last)
        names = [name for name in span.layout.names if name in (context.likely if used is None else used)]
        return [] if used is None and span.layout.stored_bytes(names) > _MOST_GUESSED else names

    def _note(self, span: Span, reader: Reader) -> None:
        used = frozenset(reader.stats.branches - reader.stats.fallbacks)
        with self._lock:
            self._used[span.dataset] = self._last = used

    def _start(self, context: Context, spans: Sequence[Span]) -> None:
        """Read the first of these spans in the background."""
        if not spans:
            return
        span = spans[0]
        path = reachable_first(span.replicas)[0]
        key, names = _key(span, path), self._wanted(context, span, path)
        if not is_remote(path) or not names:
            return
        future: Future[Reader] = Future()
        with self._lock:
            if key in self._waiting:
                return
            while len(self._waiting) >= max(self._active, 1):  # another worker has taken these
                self._waiting.pop(next(iter(self._waiting))).add_done_callback(_close)
            self._waiting[key] = future

        def work() -> None:
            try:
                future.set_result(_opened(context, span, path, names))
            except BaseException as error:  # noqa: BLE001 - raised where the span is read, which then tries again
                future.set_exception(error)

        threading.Thread(target=work, name="af-kit-read-ahead", daemon=True).start()


def _key(span: Span, path: str) -> _Key:
    return path, span.layout.uuid, span.start, span.stop


def _opened(context: Context, span: Span, path: str, names: Iterable[str]) -> Reader:
    """Return the reader of a span, with these branches fetched."""
    cache = None if context.cache is None else column_cache(context.cache)
    reader = Reader(path, span.layout, span.start, span.stop, verify=context.verify, cache=cache)
    try:
        reader.prefetch(names)
    except BaseException:
        reader.close()
        raise
    return reader


def _waited_for(future: Future[Reader]) -> Reader:
    begin = time.perf_counter()
    reader = future.result()
    reader.stats.waiting_s = time.perf_counter() - begin  # the rest passed while another chunk was processed
    return reader


def _close(future: Future[Reader]) -> None:
    if future.exception() is None:
        future.result().close()


def likely_branches(function: Any, layouts: Iterable[Layout]) -> frozenset[str]:
    """Return the branches of some layouts that a function's code mentions: ``Muon_pt``, or both ``Muon`` and ``pt``."""
    words = mentioned(function)
    names = {name for layout in layouts for name in layout.names}
    return frozenset(name for name in names if name in words or words.issuperset(name.partition("_")[::2]))
