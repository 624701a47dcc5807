"""One task: read a group of chunks, run the user's function on each, merge the outputs.

The same code runs in a thread of this process and on a Dask worker. It does not raise for a broken file: failures are
listed in the bookkeeping. It raises `FunctionError` for a bug in the user's function, if the caller wants that.
"""

from __future__ import annotations

import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from af_kit.data.chunks import Chunk
from af_kit.data.reading.column_cache import CacheSettings
from af_kit.data.reading.events import build, possible_splits
from af_kit.data.reading.layout import Layout
from af_kit.data.reading.read import metadata
from af_kit.data.reading.reader import Reader
from af_kit.data.transport.servers import is_unreachable, reachable_first
from af_kit.errors import AfKitError, FunctionError, MergeError, ReadError, nearest
from af_kit.run.accumulate import check_output, check_travels, detach
from af_kit.run.aliasing import Aliasing
from af_kit.run.bookkeeping import Bookkeeping, Failure, Partial, Segment, combine
from af_kit.run.coffea import SchemaError
from af_kit.run.read_ahead import ReadAhead, Upcoming
from af_kit.run.shared_state import SharedState

__all__ = ["Context", "Group", "Span", "run_group", "spans"]

# Longest traceback, in characters: Dask truncates a longer exception in a way that loses its type.
_LONGEST = 4000
# How awkward says that a record has no such field.
_NO_FIELD = re.compile(r"no field(?: named)? '([^']+)'")


@dataclass(frozen=True)
class Span:
    """Neighbouring chunks of one file, read together."""

    dataset: str
    file: str
    replicas: tuple[str, ...]
    metadata: Mapping[str, Any] = field(repr=False)
    layout: Layout = field(repr=False)
    cuts: tuple[tuple[int, int, int], ...]
    """For each chunk its number in the plan, its first entry, and the entry after its last one."""

    @property
    def start(self) -> int:
        """The first entry."""
        return self.cuts[0][1]

    @property
    def stop(self) -> int:
        """The entry after the last one."""
        return self.cuts[-1][2]


Group = tuple[tuple[int, Chunk], ...]
"""The chunks of one task, each with its number in the plan."""


class Watch:
    """What is known from chunk to chunk in one process; it starts again in each process that unpickles it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: SharedState | None = None
        self.aliasing = Aliasing()
        self.ahead = ReadAhead()

    def state(self, function: Any) -> SharedState:
        """Return the content of what the function could change, as it was before the first chunk."""
        with self._lock:
            if self._state is None:
                self._state = SharedState(getattr(function, "processor", function))
            return self._state

    def __reduce__(self) -> tuple[Any, ...]:
        return Watch, ()


@dataclass(frozen=True)
class Context:
    """The settings that all tasks of a run share."""

    function: Callable[[Any], Mapping[Any, Any]]
    run: str = ""
    raise_errors: bool = True
    retries: int = 3
    backoff_s: float = 0.5
    verify: bool = False
    prefetch: bool = False
    """Whether the layouts hold only the branches in use, so that all can be fetched in one request."""
    likely: frozenset[str] = frozenset()
    """Branches of remote files that the function's code mentions."""
    travels: bool = False
    """Whether outputs go to other processes, so that one that cannot be pickled is an error of the function."""
    coffea_schema: Any = None
    """For coffea processors: the schema of the NanoEvents that they get instead of af-kit's events."""
    cache: CacheSettings | None = None
    """Where columns are kept for another run."""
    watch: Watch = field(default_factory=Watch, repr=False, compare=False)

    def output(self, events: Any) -> Any:
        """Return the function's output for these events, in the form that is merged.

        Raises
        ------
        MergeError
            It cannot be merged, or the function accumulates outside itself.
        """
        output = self.watch.state(self.function).call(self.function, events)
        check_output(output)
        self.watch.aliasing.check(output)
        output = detach(output)
        if self.travels:
            check_travels(output)
        return output


def spans(group: Group) -> tuple[Span, ...]:
    """Return what the task of a group reads: consecutive chunks of one file are read together."""
    runs: list[list[tuple[int, Chunk]]] = []
    for number, chunk in group:
        last = runs[-1][-1] if runs else None
        if (
            last
            and last[1].layout is chunk.layout
            and last[1].entry_stop == chunk.entry_start
            and last[0] + 1 == number
        ):
            runs[-1].append((number, chunk))
        else:
            runs.append([(number, chunk)])
    return tuple(_span(run) for run in runs)


def _span(run: Sequence[tuple[int, Chunk]]) -> Span:
    first, last = run[0][1], run[-1][1]
    layout = first.layout
    if first.entry_start > 0 or last.entry_stop < layout.entries:  # of a whole file, the layout is packed already
        layout = layout.part(first.entry_start, last.entry_stop)
    return Span(
        first.dataset,
        first.file,
        first.replicas,
        metadata(first),
        layout,
        tuple((number, chunk.entry_start, chunk.entry_stop) for number, chunk in run),
    )


def run_group(context: Context, group: Sequence[Span], worker: str = "", upcoming: Upcoming | None = None) -> Partial:
    """Process one group; return the merged output of the chunks that succeeded, and the bookkeeping of all.

    ``upcoming`` finds the spans that this process will read next, so that their data can be fetched in the meantime.
    """
    begin, cpu = time.perf_counter(), time.thread_time()
    context.watch.state(context.function)
    partials: list[Partial] = []
    for number, span in enumerate(group, start=1):
        rest = group[number:]
        partials += _run_span(context, span, partial(_given, rest) if rest else upcoming)
    whole = combine(partials)
    done = sum(whole.bookkeeping.entries.values())
    seconds = time.perf_counter() - begin
    whole.bookkeeping.cpu_s = time.thread_time() - cpu
    whole.bookkeeping.workers = {worker: (done, seconds)}
    whole.bookkeeping.spent("function", seconds - sum(whole.bookkeeping.times.values()))
    return whole


def _given(spans: Sequence[Span], take: Callable[[Sequence[Span]], None]) -> None:
    take(spans)


def _run_span(context: Context, span: Span, upcoming: Upcoming | None = None) -> list[Partial]:
    """Process one span from the first replica that works; if none does, process each of its chunks alone."""
    bookkeeping = Bookkeeping()
    errors: dict[str, ReadError] = {}
    replicas = reachable_first(span.replicas)
    for path in replicas:
        for attempt in range(context.retries + 1):
            if errors:
                bookkeeping.retries += 1
            try:
                chunks = _chunks(context, span, path, bookkeeping, upcoming)
                partials = [_run_chunk(context, span, reader, cut) for reader, cut in chunks]
                if path != span.replicas[0]:
                    bookkeeping.replicas[path] += 1
                return [*partials, Partial(bookkeeping=bookkeeping)]
            except ReadError as failed:
                errors[path] = failed
                if not failed.transient or attempt == context.retries:
                    break
                if is_unreachable(path) and path != replicas[-1]:
                    break  # its server does not answer: try the next one at once
                time.sleep(context.backoff_s * 2**attempt)
    if len(span.cuts) > 1 and not is_unreachable(replicas[-1]):
        alone = [_single(span, cut) for cut in span.cuts]
        return [Partial(bookkeeping=bookkeeping), *(partial for part in alone for partial in _run_span(context, part))]
    reason = "; ".join(map(str, errors.values()))
    bookkeeping.failures += [_failure(span, cut, "io", reason) for cut in span.cuts]
    return [Partial(bookkeeping=bookkeeping)]


def _chunks(
    context: Context, span: Span, path: str, bookkeeping: Bookkeeping, upcoming: Upcoming | None
) -> Iterator[tuple[Reader, tuple[int, int, int]]]:
    """Yield each chunk of the span with the reader that they share."""
    with context.watch.ahead.reader(context, span, path, upcoming) as reader:
        for cut in span.cuts:
            yield reader, cut
        bookkeeping.bytes_read += reader.stats.bytes_read
        bookkeeping.bytes_cached += reader.stats.bytes_cached
        bookkeeping.spent("waiting", reader.stats.waiting_s)
        bookkeeping.spent("decoding", reader.stats.decoding_s)
        bookkeeping.branches |= reader.stats.branches
        bookkeeping.fallbacks.update(dict.fromkeys(reader.stats.fallbacks, "uproot"))


def _run_chunk(context: Context, span: Span, reader: Reader, cut: tuple[int, int, int]) -> Partial:
    number, start, stop = cut
    output, error = _call(context, span, reader, start, stop)
    if isinstance(reader.error, ReadError):
        # awkward wraps the error of a column, and the function may even have caught it: the reader remembers that the
        # file failed, not the function
        raised, reader.error = reader.error, None
        raise raised from error
    if isinstance(error, ReadError):
        raise error
    bookkeeping = Bookkeeping()
    if error is not None:
        reason, text = str(error), ""
        if not isinstance(error, (MergeError, SchemaError)):  # these are not about a line of the function
            reason, text = _short(error) + _about_field(error, span), _user_traceback(error)
        if context.raise_errors and isinstance(error, SchemaError):
            raise error
        if context.raise_errors:
            raise _function_error(span, cut, reason, text) from error
        bookkeeping.failures.append(_failure(span, cut, "function", reason, text))
        return Partial(bookkeeping=bookkeeping)
    bookkeeping.entries[span.dataset] += stop - start
    if context.coffea_schema is not None:
        bookkeeping.fallbacks["(all branches)"] = "coffea NanoEvents, for a coffea processor"
    return Partial([Segment(number, number + 1, output)], bookkeeping)


def _call(context: Context, span: Span, reader: Reader, start: int, stop: int) -> tuple[Any, BaseException | None]:
    """Return the function's output for these entries, ready to be merged, or the error that it raised."""
    about = {**span.metadata, "entry_start": start, "entry_stop": stop}
    if context.coffea_schema is not None:
        return _call_coffea(context, reader, start, stop, about)
    try:
        return context.output(build(reader, start, stop, about)), None
    except BaseException as error:  # noqa: BLE001 - shown by _run_chunk; exit() and the like would end the worker
        return None, error


def _call_coffea(
    context: Context, reader: Reader, start: int, stop: int, about: dict[str, Any]
) -> tuple[Any, BaseException | None]:
    from af_kit.run.coffea import Columns, nanoevents

    columns, output, error = Columns(reader), None, None
    try:
        events = nanoevents(context.coffea_schema, columns, reader, start, stop, about)
        output = context.output(events)
    except BaseException as raised:  # noqa: BLE001 - as in _call
        error = raised
    columns.close(error)
    return output, error


def _single(span: Span, cut: tuple[int, int, int]) -> Span:
    """Return one chunk of a span as a span."""
    return Span(span.dataset, span.file, span.replicas, span.metadata, span.layout, (cut,))


def _failure(span: Span, cut: tuple[int, int, int], kind: str, reason: str, text: str = "") -> Failure:
    return Failure(cut[0], span.dataset, span.file, cut[1], cut[2], kind, reason, text)


def _function_error(span: Span, cut: tuple[int, int, int], reason: str, text: str = "") -> FunctionError:
    where = f"entries {cut[1]} to {cut[2]} of {span.file} (dataset {span.dataset!r})"
    return FunctionError(f"The function failed on {where}: {reason}" + (f"\n\n{text}" if text else ""))


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}" + (" [...]" if len(text) > 500 else "")


def _about_field(error: BaseException, span: Span) -> str:
    """Return why a collection lacks the field that the function used, or the nearest one that the file has."""
    if isinstance(error, AfKitError) or not (found := _NO_FIELD.search(str(error))):
        return ""
    field, unreadable = found.group(1), span.layout.unreadable
    for name in unreadable:
        if field in _possible_fields(name):
            return f". Branch {name!r} cannot be used: {unreadable[name]}."
    hint = nearest(field, set().union(*(_possible_fields(n) for n in span.layout.names if n not in unreadable)))
    return f".{hint}" if "Did you mean" in hint else ""


def _possible_fields(branch: str) -> set[str]:
    """Return what the branch may be called in a collection."""
    return {field for _, field in possible_splits(branch)} or {branch}


def _user_traceback(error: BaseException) -> str:
    """Return the traceback from the user's function on, without af-kit's frames above it."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    shown = traceback.format_exception(type(error), error, frames or error.__traceback__, chain=False)
    text = "".join(shown).strip()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}\n[...]\n{text[-_LONGEST // 2 :]}"
