"""The plan: every entry of every file in exactly one chunk.

Chunks are cut where the file's own clusters end, because a chunk that begins in the middle of a cluster has to decode
the whole of it. A cluster larger than the chunk size is cut evenly; the pieces are read together where they can be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from af_kit import config
from af_kit.data.fileset.load import Dataset, File, Fileset
from af_kit.data.reading.branches import select_branches
from af_kit.data.reading.describe import describe
from af_kit.data.reading.layout import Layout
from af_kit.data.transport.servers import reachable_first
from af_kit.errors import AfKitError, InputError, ReadError

__all__ = ["Chunk", "Plan", "Unplanned", "make_plan", "split", "target_entries"]

# Fewer entries than this do not repay a task of their own; more make a result wait for its slowest task.
_LEAST, _MOST = 100_000, 500_000
# A small data set is cut into about this many chunks, so that a few workers have something to share.
_SHARES = 4
_THREADS = 16

_layouts: dict[tuple[str, str], Layout] = {}


@dataclass(frozen=True)
class Chunk:
    """A range of entries of one tree in one file, with all that is needed to read it.

    Attributes
    ----------
    dataset : str
        Name of the dataset in the fileset.
    file : str
        The file, as the fileset names it first.
    uuid : str
        The file's own identifier, which survives copying and renaming.
    treename : str
        Path of the tree in the file.
    entry_start, entry_stop : int
        First entry, and the entry after the last.
    replicas : tuple of str
        Where the same file can be read, in the order to try.
    metadata : mapping
        The dataset's metadata.
    layout : Layout
        Where the branches lie in the file.
    """

    dataset: str
    file: str
    uuid: str
    treename: str
    entry_start: int
    entry_stop: int
    replicas: tuple[str, ...] = field(repr=False)
    metadata: Mapping[str, Any] = field(repr=False, hash=False)
    layout: Layout = field(repr=False, compare=False)

    def __len__(self) -> int:
        return self.entry_stop - self.entry_start


@dataclass(frozen=True)
class Unplanned:
    """A file that could not be planned: its entries are unknown, and none of them is processed."""

    dataset: str
    file: File
    metadata: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class Plan:
    """What there is to do, in the order dataset, file, entry, and remarks on the data.

    A file that could not be planned keeps its place among the chunks, so that its rows come where they belong when it
    can be read later.
    """

    items: tuple[Chunk | Unplanned, ...]
    notes: tuple[str, ...] = ()
    files: int = 0

    @property
    def chunks(self) -> dict[int, Chunk]:
        """The chunks by their number in the plan."""
        return {i: item for i, item in enumerate(self.items) if isinstance(item, Chunk)}

    @property
    def unplanned(self) -> dict[int, Unplanned]:
        """The files without chunks by their number in the plan."""
        return {i: item for i, item in enumerate(self.items) if isinstance(item, Unplanned)}


def unplanned_message(plan: Plan) -> str:
    """One paragraph that names the files that cannot be used, and why."""
    unplanned, files = list(plan.unplanned.values()), plan.files
    shown = "; ".join(item.reason for item in unplanned[:5])
    more = f"; and {len(unplanned) - 5} more" if len(unplanned) > 5 else ""
    return f"{len(unplanned)} of {files} files cannot be used: {shown}{more}"


def make_plan(
    fileset: Fileset,
    chunk_entries: int | None = None,
    *,
    branches: Iterable[str] | None = None,
    client: Any = None,
) -> Plan:
    """The plan of a whole fileset, with the files that failed listed instead of raised."""
    check_chunk_entries(chunk_entries)
    places = [(dataset, file) for dataset in fileset.values() for file in dataset.files]
    wanted = None if branches is None else list(branches)
    found = _described([file for _, file in places], client)
    layouts: list[Layout | str] = []
    for (_, file), answer in zip(places, found, strict=True):
        if isinstance(answer, AfKitError):
            layouts.append(str(answer))
        else:
            layouts.append(
                answer if wanted is None else answer.only(select_branches(wanted, answer, file.path)).packed()
            )
    notes = _agree_on_types(places, layouts)
    target = chunk_entries or target_entries([layout for layout in layouts if isinstance(layout, Layout)])
    items: list[Chunk | Unplanned] = []
    for (dataset, file), layout in zip(places, layouts, strict=True):
        if isinstance(layout, str):
            items.append(Unplanned(dataset.name, file, dataset.metadata, layout))
            continue
        edges = split(layout.entries, layout.clusters, target)
        items += [_chunk(dataset, file, layout, a, b) for a, b in pairwise(edges)]
        # A dataset without any entry gets one empty chunk, so that its results exist and are empty.
        last = file is dataset.files[-1]
        if last and not any(item.dataset == dataset.name for item in items[-len(dataset.files) :]):
            items.append(_chunk(dataset, file, layout, 0, 0))
    return Plan(tuple(items), tuple(notes), len(places))


def check_chunk_entries(chunk_entries: int | None) -> None:
    """Refuse what is not a positive whole number."""
    if chunk_entries is not None and (not isinstance(chunk_entries, (int, np.integer)) or chunk_entries < 1):
        raise InputError(f"chunk_entries={chunk_entries!r}: give a whole number of entries, 1 or more.")


def split(entries: int, clusters: np.ndarray, target: int) -> list[int]:
    """Edges of chunks of at most ``target`` entries, on the clusters' edges where these are near enough.

    Parameters
    ----------
    entries : int
        Entries of the tree.
    clusters : numpy.ndarray
        Edges at which cutting costs nothing, from 0 to ``entries``.
    target : int
        Most entries of a chunk.

    Returns
    -------
    list of int
        Rising edges from 0 to ``entries``; just ``[0]`` for an empty tree.
    """
    cuts = [0]
    inner = [int(edge) for edge in clusters if 0 < edge < entries]
    begin = 0
    for end in [*inner, entries] if entries else []:
        if end - cuts[-1] > target:
            if begin > cuts[-1]:
                cuts.append(begin)
            if end - begin > target:
                pieces = -(-(end - begin) // target)
                cuts += [begin + (end - begin) * i // pieces for i in range(1, pieces + 1)]
        begin = end
    if cuts[-1] < entries:
        cuts.append(entries)
    return cuts


def target_entries(layouts: Sequence[Layout]) -> int:
    """A chunk size for these files: by their bytes per entry, and smaller where there is little to share out.

    It depends on the data alone, never on the workers: a result must not change with the cluster.
    """
    entries = sum(layout.entries for layout in layouts)
    size = sum(layout.bytes for layout in layouts)
    by_bytes = int(config.get("data.chunk_bytes") * entries / size) if size else _MOST
    return max(1, min(_MOST, max(_LEAST, entries // _SHARES), max(by_bytes, 1000)))


def _chunk(dataset: Dataset, file: File, layout: Layout, start: int, stop: int) -> Chunk:
    return Chunk(
        dataset.name, file.path, layout.uuid, layout.treename, start, stop, file.replicas, dataset.metadata, layout
    )


def _described(files: Sequence[File], client: Any) -> list[Layout | AfKitError]:
    known = [_known(file) for file in files]
    if client is None:
        with ThreadPoolExecutor(min(_THREADS, max(1, len(files)))) as pool:
            found = list(pool.map(_describe_any, files, known))
    else:
        futures = client.map(_describe_any, files, known, pure=False, key="af-plan", retries=2)
        found = [_answer(future) for future in futures]
    layouts: list[Layout | AfKitError] = []
    for file, answer in zip(files, found, strict=True):
        if answer is None:
            answer = _layouts[file.path, file.treename]
        elif isinstance(answer, Layout):
            _layouts[file.path, file.treename] = answer
        layouts.append(answer)
    return layouts


def _known(file: File) -> tuple[str, int] | None:
    layout = _layouts.get((file.path, file.treename))
    return (layout.uuid, layout.end) if layout else None


def _answer(future: Any) -> Layout | AfKitError | None:
    try:
        answer: Layout | AfKitError | None = future.result()
    except Exception as error:  # noqa: BLE001 - a worker that died while planning must not end the whole run
        return ReadError(f"The worker that planned a file failed: {error}", transient=True)
    return answer


def _describe_any(file: File, known: tuple[str, int] | None) -> Layout | AfKitError | None:
    """The layout by the first replica that answers; errors are returned, so that one file fails alone."""
    errors: list[AfKitError] = []
    for path in reachable_first(file.replicas):
        try:
            layout = describe(path, file.treename, known=known)
            return None if layout is None else layout.packed()
        except AfKitError as error:
            errors.append(error)
    if len(errors) == 1:
        return errors[0]
    return ReadError("; ".join(map(str, errors)), transient=any(getattr(error, "transient", False) for error in errors))


def _agree_on_types(places: Sequence[tuple[Dataset, File]], layouts: list[Layout | str]) -> list[str]:
    """Compare the branches' types between the files of each dataset; the layouts that differ are replaced.

    Numbers of another precision are read and noted. A branch of another kind (a list here, a number there) would end
    in results that mean different things: it is marked as unusable in the file that differs.
    """
    first: dict[str, tuple[File, Layout]] = {}
    differing: dict[tuple[str, str, str, str], list[str]] = {}
    for i, ((dataset, file), layout) in enumerate(zip(places, layouts, strict=True)):
        if isinstance(layout, str):
            continue
        reference_file, reference = first.setdefault(dataset.name, (file, layout))
        if layout.typenames == reference.typenames:
            continue
        bad: dict[str, str] = {}
        for name, here in layout.typenames.items():
            there = reference.typenames.get(name, here)
            if there == here:
                continue
            if _kind(layout, name) == _kind(reference, name):
                differing.setdefault((dataset.name, name, there, here), []).append(file.path)
            else:
                bad[name] = f"it is {here} here, but {there} in {reference_file.path} of the same dataset"
        if bad:
            layouts[i] = layout.without(bad).packed()
    return [
        f"{name} is {here} in {len(files)} file(s) of dataset {dataset!r} ({files[0]}, ...), {there} in its first file."
        for (dataset, name, there, here), files in differing.items()
    ]


def _kind(layout: Layout, name: str) -> str:
    """What a branch is, without its precision."""
    if name in layout.columns:
        column = layout.columns[name]
        if column.header:
            return "texts per entry" if column.strings else "numbers per entry"
        return f"number per {'entry' if column.counter is None else column.counter}"
    form = layout.forms.get(name, "{}")
    top = json.loads(form)
    if top.get("class") == "NumpyArray" and not top["inner_shape"]:
        return "number per entry"
    inner = top.get("content", {})
    if top.get("class") == "ListOffsetArray" and (inner.get("parameters") or {}).get("__array__") == "string":
        return "texts per entry"
    if top.get("class") == "ListOffsetArray" and inner.get("class") == "NumpyArray" and not inner.get("inner_shape"):
        return "numbers per entry"
    return re.sub(r"\b(u?int|float)\d+\b", r"\1", form)
