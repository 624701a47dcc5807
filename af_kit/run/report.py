"""The report of a run: the planned, processed and failed entries, the reasons of failures, and the cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from af_kit.display.tables import fold, items, lines, mark, panel, paragraph, table
from af_kit.errors import IncompleteError
from af_kit.run.bookkeeping import Bookkeeping, Failure

__all__ = ["Report"]

_SHOWN = 5


@dataclass(frozen=True)
class Report:
    """What happened to every entry in a run of `process`.

    Attributes
    ----------
    entries : dict
        ``planned``, ``processed`` and ``failed`` entries. Entries of a file that could not be opened are not included,
        because their number is unknown: see ``files``.
    files : dict
        ``planned`` and ``failed`` files; a file has failed if at least one of its entries was not processed.
    datasets : dict
        The same three numbers of entries for each dataset.
    chunks : int
        Number of chunks in the plan.
    failures : tuple of Failure
        Every range of entries that was not processed, with the reason.
    bytes_read : int
        Bytes fetched from the files (compressed).
    bytes_cached : int
        Bytes of columns that came from the cache on the workers' disks (decoded), and not from the files.
    wall_s, cpu_s : float
        Time from the call to the result, in seconds; CPU time of the tasks, summed over the workers.
    retries : int
        Number of reads that were repeated.
    replicas : dict
        How often another replica than the first was used.
    workers : dict
        For each worker (or thread) its ``entries`` and the ``seconds`` spent on them.
    times : dict
        Seconds that the workers spent, summed over their threads: ``waiting`` for data, ``decoding`` them, in the
        ``function`` (with the rest of its task), ``merging`` results, and ``idle``: between tasks, and during planning.
        If a run is slow, the largest of these says where to look.
    branches : tuple of str
        Branches that were read.
    fallbacks : dict
        Branches that the fast reader could not read, and what read them instead.
    notes : tuple of str
        Notes on the data, such as a branch whose precision changes between files, or chunks that ``max_chunks`` leaves
        out.
    """

    entries: dict[str, int]
    files: dict[str, int]
    datasets: dict[str, dict[str, int]]
    chunks: int
    failures: tuple[Failure, ...]
    bytes_read: int
    wall_s: float
    cpu_s: float
    retries: int
    replicas: dict[str, int]
    workers: dict[str, dict[str, float]]
    branches: tuple[str, ...]
    fallbacks: dict[str, str]
    notes: tuple[str, ...]
    times: dict[str, float] = field(default_factory=dict)
    bytes_cached: int = 0
    _lost: tuple[int, ...] = field(default=(), repr=False)

    @property
    def entries_per_s(self) -> float:
        """Processed entries per second of wall time."""
        return self.entries["processed"] / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def complete(self) -> bool:
        """Whether every entry of every file was processed."""
        return not self.failures and not self._lost and self.entries["planned"] == self.entries["processed"]

    @property
    def stopped(self) -> bool:
        """Whether the run ended early, stopped by someone or by an error: the result is then a part."""
        return any(failure.kind == "interrupted" for failure in self.failures)

    def check(self) -> Report:
        """Return the report if every planned entry was processed exactly once; raise otherwise.

        Raises
        ------
        IncompleteError
            Entries failed or are unaccounted for. The message lists file, range and reason.
        """
        total = self.entries["processed"] + self.entries["failed"]
        if self._lost or total != self.entries["planned"]:
            raise IncompleteError(
                f"The entries do not add up: {self.entries['planned']} entries planned, {total} accounted for "
                f"(chunks {list(self._lost)[:_SHOWN]}). This is a bug in af-kit: report it, and do not use the result."
            )
        if self.failures:
            raise IncompleteError(f"{self.summary()}\nresult.retry() runs only these.")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain numbers, text, lists and dicts."""
        return {
            "complete": self.complete,
            "entries": dict(self.entries),
            "files": dict(self.files),
            "datasets": {name: dict(numbers) for name, numbers in self.datasets.items()},
            "chunks": self.chunks,
            "bytes_read": self.bytes_read,
            "bytes_cached": self.bytes_cached,
            "wall_s": round(self.wall_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            "entries_per_s": round(self.entries_per_s, 1),
            "retries": self.retries,
            "replicas": dict(self.replicas),
            "workers": {name: dict(numbers) for name, numbers in self.workers.items()},
            "times": dict(self.times),
            "branches": list(self.branches),
            "fallbacks": dict(self.fallbacks),
            "notes": list(self.notes),
            "failures": [asdict(failure) for failure in self.failures],
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the report as JSON text, and write it to ``path`` if that is given."""
        text = json.dumps(self.to_dict(), indent=2) + "\n"
        if path is not None:
            Path(path).write_text(text)
        return text

    def summary(self) -> str:
        """Return the failures in a few lines; one line if there are none."""
        if not self.failures:
            return f"All {self.entries['planned']:,} entries were processed."
        return f"{self._failed_line()}\n{self._failure_lines()}"

    def _failed_line(self) -> str:
        unknown = sum(failure.entry_start is None for failure in self.failures)
        files = f"{unknown:,} {'file' if unknown == 1 else 'files'} could not be opened"
        part = "the run was stopped early, and its result is a part: " if self.stopped else ""
        if unknown and not self.entries["failed"]:
            return f"{part}{files}:"
        entries = f"{self.entries['failed']:,} of {self.entries['planned']:,} entries were not processed"
        return f"{part}{entries}, and {files}:" if unknown else f"{part}{entries}:"

    def _failure_lines(self) -> str:
        lines = [f"  - {failure.where}: {failure.reason}" for failure in self.failures[:_SHOWN]]
        if len(self.failures) > _SHOWN:
            lines.append(f"  - and {len(self.failures) - _SHOWN} more in report.failures")
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            ("entries", " / ".join(f"{self.entries[key]:,} {key}" for key in ("planned", "processed", "failed"))),
            ("files", f"{self.files['planned']:,} planned / {self.files['failed']:,} failed; {self.chunks:,} chunks"),
            ("read", f"{self.bytes_read / 1e6:,.1f} MB, {len(self.branches)} branches, {self.retries} retries"),
            ("time", f"{self.wall_s:.2f} s wall, {self.cpu_s:.2f} s CPU in tasks: {self.entries_per_s:,.0f} entries/s"),
            *([("spent", _shares(self.times))] if self.times else []),
            ("workers", ", ".join(f"{name} {w['entries']:,.0f}" for name, w in list(self.workers.items())[:8])),
        ]
        if self.bytes_cached:
            rows.insert(3, ("cache", f"{self.bytes_cached / 1e6:,.1f} MB of decoded columns, in place of reading them"))
        if self.replicas:
            rows.append(("replicas", ", ".join(f"{path} ({n} times)" for path, n in self.replicas.items())))
        if self.fallbacks:
            rows.append(("fallback", ", ".join(f"{name} ({by})" for name, by in self.fallbacks.items())))
        rows += [("note", note) for note in self.notes]
        return rows

    def __str__(self) -> str:
        head = "Report: every entry processed" if self.complete else f"Report: INCOMPLETE, {self._failed_line()}"
        lines = [head] + ([self._failure_lines()] if self.failures else [])
        return "\n".join([*lines, *(f"  {name:<9} {text}" for name, text in self._rows())])

    def __repr__(self) -> str:
        entries, state = self.entries, "complete" if self.complete else "INCOMPLETE"
        return f"<Report: {entries['processed']:,} of {entries['planned']:,} entries processed, {state}>"

    def _repr_html_(self) -> str:
        state = (
            mark("every entry processed", "ok") if self.complete else mark(self._failed_line().rstrip(":"), "problem")
        )
        parts: list[str] = [paragraph(state)]
        if self.failures:
            rows = [(failure.where, failure.reason) for failure in self.failures[:_SHOWN]]
            parts.append(table(rows, head=("failed", "reason"), most=_SHOWN))
            if len(self.failures) > _SHOWN:
                parts.append(mark(f"and {len(self.failures) - _SHOWN} more in report.failures", "soft"))
        parts.append(items(row for row in self._rows() if row[0] != "note"))
        if len(self.datasets) > 1:
            counts = ((name, n["planned"], n["processed"], n["failed"]) for name, n in self.datasets.items())
            parts.append(fold("datasets", table(counts, head=("dataset", "planned", "processed", "failed"))))
        if self.notes:
            parts.append(fold("notes", lines(self.notes), is_open=True))
        return panel("Report", *parts)


def _shares(times: Mapping[str, float]) -> str:
    """Return what the time was spent on, the largest part first."""
    total = sum(times.values()) or 1.0
    words = {"waiting": "waiting for data", "function": "in the function", "idle": "idle"}
    parts = sorted(times.items(), key=lambda item: -item[1])
    return ", ".join(f"{100 * seconds / total:.0f} % {words.get(what, what)}" for what, seconds in parts)


def make_report(
    planned: Mapping[str, int],
    chunks: int,
    files: int,
    bookkeeping: Bookkeeping,
    *,
    lost: tuple[int, ...] = (),
    wall_s: float = 0.0,
    threads: int = 0,
    notes: tuple[str, ...] = (),
) -> Report:
    """Compare the bookkeeping of the tasks with the plan.

    Parameters
    ----------
    planned : mapping
        Planned entries per dataset.
    chunks, files : int
        Size of the plan.
    bookkeeping : Bookkeeping
        The sums of the tasks.
    lost : tuple of int
        Chunks that are neither in the result nor among the failures, if any: this would be a bug.
    threads : int
        Threads of all workers, 0 if that is unknown.
    """
    idle = threads * wall_s - sum(bookkeeping.times.values())
    failed: Counter[str] = Counter()
    for failure in bookkeeping.failures:
        failed[failure.dataset] += failure.entries
    names = list(dict.fromkeys([*planned, *failed]))
    return Report(
        entries={
            "planned": sum(planned.values()),
            "processed": sum(bookkeeping.entries.values()),
            "failed": sum(failed.values()),
        },
        files={"planned": files, "failed": len({(f.dataset, f.file) for f in bookkeeping.failures})},
        datasets={
            name: {"planned": planned.get(name, 0), "processed": bookkeeping.entries[name], "failed": failed[name]}
            for name in names
        },
        chunks=chunks,
        failures=tuple(sorted(bookkeeping.failures, key=lambda f: (f.chunk, f.entry_start or 0))),
        bytes_read=bookkeeping.bytes_read,
        bytes_cached=bookkeeping.bytes_cached,
        wall_s=wall_s,
        cpu_s=bookkeeping.cpu_s,
        retries=bookkeeping.retries,
        replicas=dict(bookkeeping.replicas),
        workers={k: {"entries": n, "seconds": round(s, 3)} for k, (n, s) in sorted(bookkeeping.workers.items())},
        branches=tuple(sorted(bookkeeping.branches)),
        fallbacks=dict(sorted(bookkeeping.fallbacks.items())),
        notes=notes,
        times={k: round(s, 3) for k, s in {**bookkeeping.times, "idle": idle if threads else 0.0}.items() if s > 0},
        _lost=lost,
    )
