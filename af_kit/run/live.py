"""The live view: the histograms that are merged so far, drawn while a run goes on.

An engine lets the view look at its merge tree. The view takes copies of the histograms in the finished nodes, the
largest nodes first, and merges these copies in the session: the tree itself, and so the result, stays as it is. Workers
send only the histograms of their nodes, and the run does not wait for them. Drawing takes the session's time, so the
view keeps account of it and waits until it is a small part of what the run is expected to take. More of that is spent
at the beginning, when one wants to know whether the histograms make sense.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from af_kit.display.histograms import MOST_PANELS, axes_of, is_histogram, panel_s, picture, png
from af_kit.display.live import screen
from af_kit.display.tables import mark, panel
from af_kit.errors import InputError, nearest
from af_kit.run.accumulate import merge
from af_kit.run.bookkeeping import Partial
from af_kit.run.engines.base import ARITY, Merger

if TYPE_CHECKING:
    from af_kit.run.report import Report

__all__ = ["Fetching", "Glimpse", "LiveView", "Ready", "Wanted", "glimpse"]

# The session's share of the run's time: of the promised 1 %, the rest is for what other processes do for the view.
# Until the end of the run, the share of the time so far may be this many times as large.
_SHARE, _ADVANCE = 0.008, 5
# The least time between two pictures, and between two texts, in seconds.
_PICTURE_S, _TEXT_S = 2.0, 2.0
# New nodes in one look, and the bytes of histograms that the session holds for the view.
_NODES, _BYTES = 48, 200 << 20

Node = tuple[int, int]


class Wanted(NamedTuple):
    """Which values the view shows."""

    names: tuple[str, ...] | None = None
    """Names of histograms, or paths such as ``"signal/mass"``; None: all."""
    everything: bool = False
    """All histograms and numbers, for a function; otherwise histograms of one dimension."""

    def take(self, path: str, value: Any) -> bool:
        """Return whether the view shows the value at this path of the output."""
        if self.everything:
            return is_histogram(value) or isinstance(value, int | float | complex)
        if self.names is not None:
            return is_histogram(value) and any(name in (path, path.rpartition("/")[2]) for name in self.names)
        return is_histogram(value) and len(axes_of(value)) == 1


class Glimpse(NamedTuple):
    """What the view shows of one node of the merge tree."""

    node: Node
    entries: int
    values: dict[Any, Any]
    size: int
    """Bytes of the histograms."""
    known: frozenset[str]
    """Names and paths of all histograms, for a hint."""


class Fetching(Protocol):
    """Glimpses that are on their way."""

    def poll(self) -> Sequence[Glimpse] | None:
        """Return those that came; None as long as it is not known which ones will come."""

    def cancel(self) -> None:
        """Give up on them."""


class Ready:
    """Glimpses of nodes in this process, which are there at once."""

    def __init__(self, nodes: Mapping[Node, Partial], wanted: Wanted) -> None:
        self._found = [glimpse(partial, node, wanted) for node, partial in nodes.items()]

    def poll(self) -> Sequence[Glimpse]:
        """Return them."""
        return self._found

    def cancel(self) -> None:
        """Do nothing."""


def glimpse(partial: Partial, node: Node, wanted: Wanted) -> Glimpse:
    """Return what the view shows of a partial result. It shares the histograms, and changes none."""
    parts = [_chosen(segment.value, wanted) for segment in partial.segments]
    values = merge(parts) if parts else {}
    size = sum(histogram.view(flow=True).nbytes for _, histogram in _histograms(values))
    known = frozenset().union(*(_names(segment.value) for segment in partial.segments))
    return Glimpse(node, sum(partial.bookkeeping.entries.values()), values, size, known)


def _names(values: Mapping[Any, Any]) -> frozenset[str]:
    paths = [path for path, _ in _histograms(values)]
    return frozenset([path[-1] for path in paths] + ["/".join(path) for path in paths])


def _chosen(value: Mapping[Any, Any], wanted: Wanted, above: str = "") -> dict[Any, Any]:
    """Return a mapping with only what the view shows; named tuples become mappings, too."""
    chosen = {}
    for key, item in value.items():
        path = f"{above}{key}"
        if isinstance(item, tuple) and hasattr(item, "_asdict"):
            item = item._asdict()
        if isinstance(item, Mapping):
            chosen[key] = _chosen(item, wanted, f"{path}/")
        elif wanted.take(path, item):
            chosen[key] = item
    return chosen


def _histograms(values: Mapping[Any, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield all histograms with their paths."""
    for key, item in values.items():
        if isinstance(item, Mapping):
            yield from _histograms(item, (*above, str(key)))
        elif is_histogram(item):
            yield (*above, str(key)), item


class LiveView:
    """What `process` shows while it runs.

    Parameters
    ----------
    live : bool, str, sequence of str, or callable, optional
        See `process`.

    Raises
    ------
    InputError
        ``live`` is something else.
    """

    def __init__(self, live: Any = None) -> None:
        self._function: Callable[[dict[Any, Any]], Any] | None = live if callable(live) else None
        names = [live] if isinstance(live, str) else live
        if self._function is None and not isinstance(live, bool | None):
            if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
                raise InputError(
                    f"live={live!r} is not valid: give True, names of histograms, or a function of the merged output."
                )
            self._wanted = Wanted(tuple(names))
        else:
            self._wanted = Wanted(everything=self._function is not None)
        self._screen = screen() if live else None
        # Once per session, and before the run: matplotlib is loaded.
        self._panel_s = panel_s() if self._screen is not None or self._function is not None else 0.0
        self.problem = ""
        """Why the view ended before the run."""
        self._active = False
        self.begin(0)
        self._active = bool(live) and (self._screen is not None or self._function is not None)

    def begin(self, planned: int, loaded: Sequence[Partial] = ()) -> None:
        """Start with a run of so many entries; ``loaded`` are results that are there already."""
        self._planned, self._loaded, self._processed, self._failed = planned, 0, 0, 0
        self._held: dict[Node, Glimpse] = {}
        self._base: list[Glimpse] = []
        self._fetching: Fetching | None = None
        self._begun = self._drawn = time.monotonic()
        self._told = float("-inf")
        self._spent, self._last = 0.0, self._panel_s
        self._remark = ""
        self._undrawn = self._stopped = False
        with self._ending_at_errors():
            self._base = [glimpse(partial, (0, 0), self._wanted) for partial in loaded] if self._active else []
            self._processed = self._loaded = sum(each.entries for each in self._base)
            self.count(0, 0)

    def count(self, done: int, failed: int) -> None:
        """Add to the processed and the failed entries."""
        self._processed += done
        self._failed += failed
        if self._active and time.monotonic() - self._told >= _TEXT_S:
            with self._ending_at_errors():
                self._tell("")

    def look(self, merger: Merger, fetch: Callable[[Mapping[Node, Any], Wanted], Fetching]) -> None:
        """Look at the merge tree, if it is time for it: fetch what is new, or draw what came.

        Parameters
        ----------
        merger : Merger
            The engine's.
        fetch : callable
            Starts to fetch the glimpses of some nodes, given by their handles.
        """
        if not self._active:
            return
        with self._ending_at_errors():
            if self._fetching is None and self._is_time() and (new := self._new(merger.finished())):
                self._fetching = fetch(new, self._wanted)
            if self._fetching is not None and (found := self._fetching.poll()) is not None:
                self._fetching = None
                self._keep(found)
            if self._undrawn and self._fetching is None and self._is_time():
                self._draw_partial()

    def stop(self) -> None:
        """Fetch nothing more: the run has ended."""
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None
        self._held, self._base = {}, []

    def finish(self, values: Mapping[Any, Any], report: Report) -> Report:
        """Show the merged output of the run, as a part if the run was stopped early.

        Return the report, with a note if the view ended at an error.
        """
        if self._active:
            with suppress(KeyboardInterrupt):  # whoever stops this picture wants the result all the same
                self._show_end(values, report)
        return replace(report, notes=(*report.notes, self.problem)) if self.problem else report

    def _show_end(self, values: Mapping[Any, Any], report: Report) -> None:
        entries = report.entries
        if report.complete:
            title = f"all {entries['planned']:,} entries"
        else:
            part = "part of the run, which was stopped" if report.stopped else "INCOMPLETE"
            title = f"{part}: {entries['processed']:,} of {entries['planned']:,} entries"
        self._planned, self._processed, self._failed = (entries[key] for key in ("planned", "processed", "failed"))
        self._stopped = report.stopped
        with self._ending_at_errors():
            self._remark = ""
            self._tell(title)
            if values and (reason := self._without(_names(values))):
                raise InputError(reason)
            if values:
                self._draw(_chosen(values, self._wanted), title)

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._drawn < _PICTURE_S:
            return False
        elapsed, done = now - self._begun, self._processed + self._failed - self._loaded
        expected = elapsed * (self._planned - self._loaded) / done if done > 0 else elapsed
        # Grows fast at first, and reaches the share of the whole run at its end
        budget = _SHARE * min(math.sqrt(elapsed * max(elapsed, expected)), _ADVANCE * elapsed)
        return self._spent + self._last <= budget

    def _new(self, finished: Mapping[Node, Any]) -> dict[Node, Any]:
        """Return the largest nodes that are not known yet."""
        size = sum(held.size for held in self._held.values())
        each = size // len(self._held) if self._held else 0
        most = max(1, min(_NODES, (_BYTES - size) // max(each, 1)))
        nodes = sorted((node for node in finished if node not in self._held), key=lambda node: (-node[0], node[1]))
        return {node: finished[node] for node in nodes[:most]}

    def _keep(self, found: Sequence[Glimpse]) -> None:
        """Keep these, and drop those that they include."""
        self._held |= {each.node: each for each in found}
        self._undrawn = bool(self._held)
        panels = max([sum(1 for _ in _histograms(each.values)) for each in found], default=0)
        self._last = max(self._last, self._panel_s * min(panels, MOST_PANELS))
        top = max((level for level, _ in self._held), default=0)
        for level, number in list(self._held):
            above = ((level + i, number // ARITY**i) for i in range(1, top - level + 1))
            if any(node in self._held for node in above):
                del self._held[level, number]

    def _draw_partial(self) -> None:
        nodes = sorted(self._held.values(), key=lambda each: each.node[1] * ARITY ** each.node[0])
        parts = [*self._base, *nodes]
        if not parts:
            return
        begin = time.thread_time()
        self._undrawn = False
        entries = sum(part.entries for part in parts)
        title = f"part of the run: {entries:,} of {self._planned:,} entries"
        self._remark = self._without(frozenset().union(*(part.known for part in parts)))
        self._draw(merge([part.values for part in parts]), title)
        self._tell("")
        self._drawn, self._last = time.monotonic(), time.thread_time() - begin

    def _draw(self, values: Mapping[Any, Any], title: str) -> None:
        drawn = self._drawn_by_function(values, title) if self._function else self._drawn_here(values, title)
        if drawn and self._screen is not None:
            self._screen.picture(drawn, title)

    def _drawn_here(self, values: Mapping[Any, Any], title: str) -> bytes | None:
        found = dict(_histograms(values))
        for path, histogram in found.items():
            if (axes := len(axes_of(histogram))) != 1:
                raise InputError(
                    f"{'/'.join(path)!r} has {axes} axes. To draw it, give a function: "
                    f"live=lambda output: output[{path[0]!r}]..."
                )
        panels: dict[str, dict[str, Any]] = {}
        for path, histogram in found.items():  # equal names of several datasets share a panel, if their axes agree
            lines = panels.setdefault(path[-1], {})
            if lines and axes_of(histogram) != axes_of(next(iter(lines.values()))):
                lines = panels.setdefault("/".join(path), {})
            lines["/".join(path[:-1])] = histogram
        return picture(panels, title) if panels else None

    def _without(self, known: frozenset[str]) -> str:
        """Return which of the names is not among those of the output; another dataset may still bring it."""
        missing = [name for name in self._wanted.names or () if name not in known]
        return f"The output has no histogram {missing[0]!r}.{nearest(missing[0], sorted(known))}" if missing else ""

    def _drawn_by_function(self, values: Mapping[Any, Any], title: str) -> bytes | None:
        """Call the function with a new figure as the current one; return what it drew there, or its own figure."""
        import matplotlib.pyplot as plt

        assert self._function is not None
        with plt.ioff():
            figure = plt.figure(layout="constrained")
            try:
                answer = self._function(_copied(values))
                own = answer if hasattr(answer, "savefig") and answer is not plt else figure
                if not own.axes or self._screen is None:
                    return None
                own.suptitle(title, fontsize=11)
                return png(own)
            finally:
                plt.close(figure)

    def _tell(self, state: str) -> None:
        """Show the account."""
        self._told = time.monotonic()
        if self._screen is None:
            return
        rest = "not processed" if self._stopped else "failed"
        numbers = f"{self._processed:,} of {self._planned:,} entries processed, {self._failed:,} {rest}."
        lines = [f"The histograms hold {state}.", numbers] if state else [numbers]
        lines += [self._remark] if self._remark else []
        problem = self.problem and f"{self.problem[0].upper()}{self.problem[1:].rstrip('.')}. The run is not affected."
        self._screen.text(
            panel("Live view", *lines, mark(problem, "warning") if problem else ""),
            " ".join(["Live view:", *lines, problem]).rstrip(),
        )

    @contextmanager
    def _ending_at_errors(self) -> Iterator[None]:
        """Count the time, and end the view at an error: the run goes on."""
        begin = time.thread_time()
        try:
            with _interrupts_wait():
                yield
        except Exception as error:  # noqa: BLE001 - a picture is not worth a run
            self._active = False
            self.problem = f"the live view ended: {type(error).__name__}: {error}"
            try:
                self.stop()
                self._tell("")
            except Exception as another:  # noqa: BLE001 - the notebook does not answer
                self.problem += f" ({another})"
        finally:
            self._spent += time.thread_time() - begin


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Hold an interrupt back until the picture is drawn; a second one comes through at once.

    Matplotlib would turn it into another error, or lose it in a callback of a weak reference, and the run would go on.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    waiting: list[Any] = []

    def wait(number: int, frame: Any) -> None:
        if waiting:
            handler(number, frame)
        waiting.append(frame)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if waiting:
            handler(signal.SIGINT, waiting[0])


def _copied(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a copy: the function may scale its histograms in place, and they may be the run's own."""
    return {
        key: _copied(item) if isinstance(item, Mapping) else item.copy() if is_histogram(item) else item
        for key, item in values.items()
    }
