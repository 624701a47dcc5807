"""What happened to each chunk, in a form that merges: the basis of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from af_kit.errors import MergeError
from af_kit.run.accumulate import merge

__all__ = ["Account", "Failure", "Partial", "Segment", "combine"]


@dataclass(frozen=True)
class Failure:
    """Entries that were not processed, and why.

    Attributes
    ----------
    chunk : int
        Number in the plan of the chunk, or of the file that could not be opened.
    dataset, file : str
        Where the entries are.
    entry_start, entry_stop : int or None
        Their range; None where the file could not be opened, so that nobody knows how many there are.
    kind : str
        ``"io"``, ``"function"``, ``"worker"`` (it died, or lost what it had merged) or ``"interrupted"``.
    reason : str
        One line.
    traceback : str
        Of the user's function, where that failed.
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
        """Number of entries; 0 where it is not known."""
        return 0 if self.entry_start is None or self.entry_stop is None else self.entry_stop - self.entry_start

    @property
    def where(self) -> str:
        """Dataset, file and range in words."""
        if self.entry_start is None:
            return f"{self.dataset}: {self.file} (entries unknown)"
        return f"{self.dataset}: {self.file} entries {self.entry_start} to {self.entry_stop}"


@dataclass
class Account:
    """Sums over the chunks that were tried."""

    entries: Counter[str] = field(default_factory=Counter)
    """Processed entries per dataset."""
    bytes_read: int = 0
    cpu_s: float = 0.0
    retries: int = 0
    branches: set[str] = field(default_factory=set)
    fallbacks: dict[str, str] = field(default_factory=dict)
    """Branch (or reason) that did not go the fast way, and what read it."""
    replicas: Counter[str] = field(default_factory=Counter)
    """Reads that had to turn to another replica, by that replica's path."""
    workers: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Worker: (entries, seconds spent on them)."""
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Account) -> None:
        """Take another account's sums into this one."""
        self.entries.update(other.entries)
        self.bytes_read += other.bytes_read
        self.cpu_s += other.cpu_s
        self.retries += other.retries
        self.branches |= other.branches
        self.fallbacks.update(other.fallbacks)
        self.replicas.update(other.replicas)
        for worker, (entries, seconds) in other.workers.items():
            before = self.workers.get(worker, (0, 0.0))
            self.workers[worker] = (before[0] + entries, before[1] + seconds)
        self.failures += other.failures


@dataclass(frozen=True)
class Segment:
    """The merged output of the chunks ``first`` to ``last`` of the plan (``last`` not included), none missing."""

    first: int
    last: int
    value: Any


@dataclass
class Partial:
    """What a part of the chunks gave: merged output, one segment per unbroken run of chunks, and the account.

    Segments stay apart where a chunk failed between them: when it is run again, its rows take their place.
    """

    segments: list[Segment] = field(default_factory=list)
    account: Account = field(default_factory=Account)


def combine(partials: Sequence[Partial]) -> Partial:
    """Merge partial results; the order of the chunks decides, not the order of arrival."""
    whole = Partial()
    for partial in partials:
        whole.account.add(partial.account)
    runs: list[list[Segment]] = []
    for segment in sorted((s for partial in partials for s in partial.segments), key=lambda s: s.first):
        if runs and runs[-1][-1].last == segment.first:
            runs[-1].append(segment)
        else:
            runs.append([segment])
    whole.segments = [Segment(run[0].first, run[-1].last, merge([s.value for s in run])) for run in runs]
    return whole


def covered(partial: Partial, chunks: int) -> set[int]:
    """Which of the chunks 0 to ``chunks`` are in the segments; a chunk that is in two is an error of the kit."""
    seen: set[int] = set()
    for segment in partial.segments:
        numbers = set(range(segment.first, segment.last))
        if seen & numbers or segment.last > chunks:
            raise MergeError(f"Chunks {sorted(seen & numbers) or segment} were merged twice: do not use this result.")
        seen |= numbers
    return seen
