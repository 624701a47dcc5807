"""Mergeable records of processed and failed entries: the basis of the report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from af_kit.errors import MergeError
from af_kit.run.accumulate import merge

__all__ = ["Bookkeeping", "Failure", "Partial", "Segment", "combine"]


@dataclass(frozen=True)
class Failure:
    """Entries that were not processed, with the reason.

    Attributes
    ----------
    chunk : int
        Number of the chunk in the plan, or of the file that could not be opened.
    dataset, file : str
        Where the entries are.
    entry_start, entry_stop : int or None
        Their range; None if the file could not be opened, so that their number is unknown.
    kind : str
        ``"io"``, ``"function"``, ``"worker"`` (it died, or lost its results) or ``"interrupted"``.
    reason : str
        One line.
    traceback : str
        The traceback of the user's function, if that failed.
    """

    chunk: int
    dataset: str
    file: str
    entry_start: int | None
    entry_stop: int | None
    kind: str
    reason: str
    traceback: str = field(default="", repr=False)

    @property
    def entries(self) -> int:
        """Number of entries; 0 if it is unknown."""
        return 0 if self.entry_start is None or self.entry_stop is None else self.entry_stop - self.entry_start

    @property
    def where(self) -> str:
        """Dataset, file and range as text."""
        if self.entry_start is None:
            return f"{self.dataset}: {self.file} (entries unknown)"
        return f"{self.dataset}: {self.file} entries {self.entry_start} to {self.entry_stop}"


@dataclass
class Bookkeeping:
    """Sums over the chunks that were processed or failed."""

    entries: Counter[str] = field(default_factory=Counter)
    """Processed entries per dataset."""
    bytes_read: int = 0
    bytes_cached: int = 0
    cpu_s: float = 0.0
    retries: int = 0
    branches: set[str] = field(default_factory=set)
    fallbacks: dict[str, str] = field(default_factory=dict)
    """Branches that the fast reader could not read, and what read them instead."""
    replicas: Counter[str] = field(default_factory=Counter)
    """Number of reads from another replica than the first, by its path."""
    workers: dict[str, tuple[int, float]] = field(default_factory=dict)
    """For each worker its entries and the seconds spent on them."""
    times: dict[str, float] = field(default_factory=dict)
    """Seconds of all workers, by what they were spent on: ``waiting``, ``decoding``, ``function``, ``merging``."""
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Bookkeeping) -> None:
        """Add the sums of another one."""
        self.entries.update(other.entries)
        self.bytes_read += other.bytes_read
        self.bytes_cached += other.bytes_cached
        self.cpu_s += other.cpu_s
        self.retries += other.retries
        self.branches |= other.branches
        self.fallbacks.update(other.fallbacks)
        self.replicas.update(other.replicas)
        for worker, (entries, seconds) in other.workers.items():
            before = self.workers.get(worker, (0, 0.0))
            self.workers[worker] = (before[0] + entries, before[1] + seconds)
        for what, seconds in other.times.items():
            self.spent(what, seconds)
        self.failures += other.failures

    def spent(self, what: str, seconds: float) -> None:
        """Add to the times."""
        self.times[what] = self.times.get(what, 0.0) + seconds


@dataclass(frozen=True)
class Segment:
    """The merged output of the chunks ``first`` to ``last`` of the plan (``last`` not included), none missing."""

    first: int
    last: int
    value: Any


@dataclass
class Partial:
    """The result of a part of the chunks: merged output, one segment per unbroken run of chunks, and the bookkeeping.

    Segments stay separate if a chunk failed between them: when it is run again, its rows go in between.
    """

    segments: list[Segment] = field(default_factory=list)
    bookkeeping: Bookkeeping = field(default_factory=Bookkeeping)

    def __sizeof__(self) -> int:
        """Return the bytes with those of the values, for `dask.sizeof`: where Dask merges, and what it spills."""
        from dask.sizeof import sizeof

        return object.__sizeof__(self) + sum(int(sizeof(segment.value)) for segment in self.segments)


def combine(partials: Sequence[Partial]) -> Partial:
    """Merge partial results in the order of their chunks, not of their arrival."""
    begin = time.perf_counter()
    whole = Partial()
    for partial in partials:
        whole.bookkeeping.add(partial.bookkeeping)
    runs: list[list[Segment]] = []
    for segment in sorted((s for partial in partials for s in partial.segments), key=lambda s: s.first):
        if runs and runs[-1][-1].last == segment.first:
            runs[-1].append(segment)
        else:
            runs.append([segment])
    whole.segments = [Segment(run[0].first, run[-1].last, merge([s.value for s in run])) for run in runs]
    whole.bookkeeping.spent("merging", time.perf_counter() - begin)
    return whole


def covered(partial: Partial, chunks: int) -> set[int]:
    """Return which of the chunks 0 to ``chunks`` are in the segments; a chunk in two of them is a bug of af-kit."""
    seen: set[int] = set()
    for segment in partial.segments:
        numbers = set(range(segment.first, segment.last))
        if seen & numbers or segment.last > chunks:
            raise MergeError(f"Chunks {sorted(seen & numbers) or segment} were merged twice: do not use this result.")
        seen |= numbers
    return seen
