"""Chunks: ranges of entries of one file, cut so that every entry is in exactly one of them.

Chunks are cut at the edges of the file's own clusters, because a chunk that starts in the middle of a cluster has to
decode all of it. A cluster larger than the chunk size is cut into equal pieces, which are read together if possible.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from af_kit import config
from af_kit.data.fileset.load import Dataset, File
from af_kit.data.fileset.locations import redacted
from af_kit.data.reading.describe import describe
from af_kit.data.reading.identity import Identity
from af_kit.data.reading.layout import Layout
from af_kit.data.transport.servers import reachable_first
from af_kit.display.tables import items, panel
from af_kit.errors import AfKitError, FilesetError, InputError, ReadError

__all__ = ["Chunk", "check_types", "chunks_of_file", "describe_file", "split", "target_entries"]

# A task of fewer entries than the first costs more than it is worth; one of more than the second delays the result.
_LEAST, _MOST = 100_000, 500_000
# A small dataset is cut into about this many chunks, so that a few workers can share it.
_SHARES = 4


@dataclass(frozen=True, repr=False)
class Chunk:
    """A range of entries of one tree in one file, with everything needed to read it.

    Attributes
    ----------
    dataset : str
        Name of the dataset in the fileset.
    file : str
        The file's first replica in the fileset.
    uuid : str
        The identifier stored in the file, which survives copying and renaming.
    digest : str
        A digest of the file's content: files that were made separately may share the uuid.
    treename : str
        Path of the tree in the file.
    entry_start, entry_stop : int
        First entry, and the entry after the last one.
    replicas : tuple of str
        Paths or URLs of identical copies of the file, in the order to try.
    metadata : mapping
        The dataset's metadata.
    layout : Layout
        Where the branches are in the file.
    """

    dataset: str
    file: str
    uuid: str
    digest: str
    treename: str
    entry_start: int
    entry_stop: int
    replicas: tuple[str, ...]
    metadata: Mapping[str, Any] = field(hash=False)
    layout: Layout = field(compare=False)

    def __len__(self) -> int:
        return self.entry_stop - self.entry_start

    @property
    def shown_file(self) -> str:
        """``file`` for people to read: without passwords and tokens of its URL."""
        return redacted(self.file)

    def __repr__(self) -> str:
        where = f"tree {self.treename!r}, dataset {self.dataset!r}"
        return f"<Chunk {self.entry_start}:{self.entry_stop} of {self.shown_file!r}, {where}>"

    def _repr_html_(self) -> str:
        clusters = int(np.sum((self.layout.clusters > self.entry_start) & (self.layout.clusters < self.entry_stop))) + 1
        return panel(
            f"Chunk: {len(self):,} entries",
            items(
                [
                    ("dataset", self.dataset),
                    ("file", self.shown_file),
                    *(("replica", redacted(replica)) for replica in self.replicas[1:]),
                    ("treename", self.treename),
                    ("entries", f"{self.entry_start:,} to {self.entry_stop:,} of {self.layout.entries:,}"),
                    ("clusters", f"{clusters:,}"),
                    ("branches", f"{len(self.layout.names):,}"),
                    ("metadata", ", ".join(f"{name}: {value}" for name, value in self.metadata.items())),
                    ("uuid", self.uuid),
                ]
            ),
        )


def chunks_of_file(dataset: Dataset, file: File, layout: Layout, target: int) -> list[Chunk]:
    """Return the chunks of one file, with at most ``target`` entries each; none if the file has no entries."""
    edges = split(layout.entries, layout.clusters, target)
    return [make_chunk(dataset, file, layout, start, stop) for start, stop in pairwise(edges)]


def make_chunk(dataset: Dataset, file: File, layout: Layout, start: int, stop: int) -> Chunk:
    """Return the chunk of these entries of a file."""
    return Chunk(
        dataset.name,
        file.path,
        layout.uuid,
        layout.digest,
        layout.treename,
        start,
        stop,
        file.replicas,
        dataset.metadata,
        layout,
    )


def split(entries: int, clusters: np.ndarray, target: int) -> list[int]:
    """Return the edges of chunks of at most ``target`` entries, at the edges of clusters if these are close enough.

    Parameters
    ----------
    entries : int
        Entries of the tree.
    clusters : numpy.ndarray
        Edges at which a cut costs nothing, from 0 to ``entries``.
    target : int
        Maximum number of entries in a chunk.

    Returns
    -------
    list of int
        Ascending edges from 0 to ``entries``; only ``[0]`` for an empty tree.
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
    """Return a chunk size for these files, from their bytes per entry; smaller if there are few entries to share.

    It depends only on the data, never on the workers: a result must not change with the cluster.
    """
    entries = sum(layout.entries for layout in layouts)
    size = sum(layout.bytes for layout in layouts)
    by_bytes = int(config.get("data.chunk_bytes") * entries / size) if size else _MOST
    return max(1, min(_MOST, max(_LEAST, entries // _SHARES), max(by_bytes, 1000)))


def check_chunk_entries(chunk_entries: int | None) -> None:
    """Refuse a chunk size that is not a positive whole number."""
    if chunk_entries is not None and (not isinstance(chunk_entries, (int, np.integer)) or chunk_entries < 1):
        raise InputError(f"chunk_entries={chunk_entries!r}: give a whole number of entries, 1 or more.")


def describe_file(file: File, known: Identity | None = None) -> Layout | AfKitError | None:
    """Return the layout of a file, read from the first replica that answers.

    Errors are returned, not raised, so that one bad file does not stop the planning of the others. None means that the
    file is still the ``known`` one.
    """
    errors: list[AfKitError] = []
    if file.uuid or file.entries is not None:
        known = None  # compare again
    for path in reachable_first(file.replicas):
        try:
            layout = describe(path, file.treename, known=known)
            if layout is None:
                return None
            _check_expected(path, file, layout)
            return layout.packed()
        except AfKitError as error:
            errors.append(error)
    if len(errors) == 1:
        return errors[0]
    return ReadError("; ".join(map(str, errors)), transient=any(getattr(error, "transient", False) for error in errors))


def _check_expected(path: str, file: File, layout: Layout) -> None:
    """Refuse a file that is not the one that the fileset describes."""
    for key, said, found in (("uuid", file.uuid, layout.uuid), ("num_entries", file.entries, layout.entries)):
        if said not in (None, found):
            raise FilesetError(
                f"{path} is not the file that the fileset describes: its {key} is {found}, not {said}. It has been "
                f"rewritten since, or is another file. Remove '{key}' from the fileset, or preprocess it again."
            )


def check_types(files: Sequence[tuple[Dataset, File]], layouts: list[Layout | str]) -> list[str]:
    """Compare the types of the branches between the files of each dataset, and return notes about differences.

    Numbers of another precision are read and noted. A branch of another kind (a list instead of a number, an integer
    instead of a bool, which selects by index instead of masking) would change the meaning of the result: the file's
    layout is replaced by one in which this branch is unusable. A ``str`` in ``layouts`` is a file that cannot be
    opened.
    """
    first: dict[str, tuple[File, Layout]] = {}
    differing: dict[tuple[str, str, str, str], list[str]] = {}
    for i, ((dataset, file), layout) in enumerate(zip(files, layouts, strict=True)):
        if isinstance(layout, str):
            continue
        reference_file, reference = first.setdefault(dataset.name, (file, layout))
        if layout.types == reference.types:
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
    return _oddities(files, layouts) + [
        f"{name} is {here} in {len(paths)} file(s) of dataset {dataset!r} ({paths[0]}, ...), {there} in its first file."
        for (dataset, name, there, here), paths in differing.items()
    ]


def _oddities(files: Sequence[tuple[Dataset, File]], layouts: Sequence[Layout | str]) -> list[str]:
    """Return notes on branches that share a name, and on those with more entries than their tree."""
    repeated: dict[tuple[str, ...], list[str]] = {}
    longer: dict[tuple[str, ...], list[str]] = {}
    for (_, file), layout in zip(files, layouts, strict=True):
        if isinstance(layout, Layout) and layout.repeated:
            repeated.setdefault(layout.repeated, []).append(file.path)
        if isinstance(layout, Layout) and layout.longer:
            longer.setdefault(layout.longer, []).append(file.path)
    return [
        f"{len(paths)} file(s) ({paths[0]}, ...) have several branches called {_first(names)}: the first of each name "
        "is read, as by uproot and ROOT."
        for names, paths in repeated.items()
    ] + [
        f"{len(paths)} file(s) ({paths[0]}, ...) have branches with more entries than the tree says that it has "
        f"({_first(names)}): the further ones are not read, as by uproot and ROOT."
        for names, paths in longer.items()
    ]


def _first(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _kind(layout: Layout, name: str) -> str:
    """Return what a branch holds, without its precision: bool, signed, unsigned and float are different."""
    if name in layout.columns:
        column = layout.columns[name]
        if column.header:
            return "texts per entry" if column.strings else f"numbers per entry {np.dtype(column.dtype).kind}"
        return f"number per {'entry' if column.counter is None else column.counter} {np.dtype(column.dtype).kind}"
    form = layout.forms.get(name, "{}")
    top = json.loads(form)
    if top.get("class") == "NumpyArray" and not top["inner_shape"]:
        return f"number per entry {np.dtype(top['primitive']).kind}"
    inner = top.get("content", {})
    if top.get("class") == "ListOffsetArray" and (inner.get("parameters") or {}).get("__array__") == "string":
        return "texts per entry"
    if top.get("class") == "ListOffsetArray" and inner.get("class") == "NumpyArray" and not inner.get("inner_shape"):
        return f"numbers per entry {np.dtype(inner['primitive']).kind}"
    return re.sub(r"\b(u?int|float)\d+\b", r"\1", json.dumps(_structure(top)))


def _structure(form: Any) -> Any:
    """Return a form without what differs between files of the same type: the columns that it reads, their offsets."""
    if isinstance(form, list):
        return [_structure(part) for part in form]
    if isinstance(form, dict):
        return {k: _structure(v) for k, v in form.items() if k not in ("form_key", "offsets", "index")}
    return form
