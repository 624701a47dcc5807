"""The chunks of a plan: a list that shows itself as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, SupportsIndex, overload

from af_kit.data.chunks import Chunk
from af_kit.display.tables import fold, lines, panel, table

__all__ = ["Chunks"]


class Chunks(list[Chunk]):
    """A list of chunks; a slice of it is one, too.

    Attributes
    ----------
    notes : tuple of str
        Notes of the plan on the data, such as a branch whose type differs between files.
    """

    def __init__(self, chunks: Iterable[Chunk] = (), *, notes: Iterable[str] = ()) -> None:
        super().__init__(chunks)
        self.notes = tuple(notes)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> Chunks: ...
    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Chunks(found, notes=self.notes) if isinstance(index, slice) else found

    @property
    def entries(self) -> int:
        """Entries of all chunks together."""
        return sum(map(len, self))

    def __repr__(self) -> str:
        # Dask makes lists of the same type: client.scatter(chunks) returns futures in one.
        return f"<{self._title()}>" if all(isinstance(chunk, Chunk) for chunk in self) else super().__repr__()

    def _title(self) -> str:
        files = len({(chunk.dataset, chunk.file) for chunk in self})
        chunks = f"{len(self):,} chunk{'s' * (len(self) != 1)}"
        return f"{chunks} of {files:,} file{'s' * (files != 1)}: {self.entries:,} entries"

    def _repr_html_(self) -> str | None:
        if not all(isinstance(chunk, Chunk) for chunk in self):
            return None
        by_dataset: dict[str, list[Chunk]] = {}
        for chunk in self:
            by_dataset.setdefault(chunk.dataset, []).append(chunk)
        sums = table(
            (
                (name, len({chunk.file for chunk in own}), len(own), sum(map(len, own)), _range(list(map(len, own))))
                for name, own in by_dataset.items()
            ),
            head=("dataset", "files", "chunks", "entries", "entries per chunk"),
            numbers=(4,),
        )
        rows = (
            (number, chunk.dataset, chunk.shown_file, chunk.entry_start, chunk.entry_stop)
            for number, chunk in enumerate(self)
        )
        each = table(rows, head=("", "dataset", "file", "entry_start", "entry_stop"))
        notes = [fold("notes", lines(self.notes), is_open=True)] if self.notes else []
        return panel(self._title(), sums, fold("chunks", each), *notes)


def _range(sizes: list[int]) -> str:
    low, high = min(sizes), max(sizes)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
