"""Write simulated events to ROOT files: clusters of a given size, one counter per collection, any compression."""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray
from uproot.writing._cascadetree import Tree

from af_kit.errors import InputError, nearest

EVENT_NUMBERS = {"run": "uint32", "luminosityBlock": "uint32", "event": "uint64"}
"""The columns that identify an event, as in NanoAOD."""

LUMI_BLOCK_ENTRIES = 1000

BLOCK_ENTRIES = 20_000
"""Events are drawn in blocks of this size, each with its own seed, so that they do not depend on the clusters, and a
longer sample starts with the events of a shorter one."""

_watching: list[Callable[[int], None]] = []

_CODECS = {"ZLIB": uproot.ZLIB, "ZSTD": uproot.ZSTD, "LZ4": uproot.LZ4, "LZMA": uproot.LZMA}
_LEVELS = {"ZLIB": 9, "ZSTD": 22, "LZ4": 12, "LZMA": 9}
_KINDS = ("ttree", "rntuple")
_LEAVES = [getattr(uproot.models.TLeaf, f"Model_TLeaf{letter}_v1") for letter in "BSILFDCO"]


@dataclass(frozen=True)
class Schema:
    """The branches of a tree.

    Attributes
    ----------
    columns : mapping of str to str
        Branch name to numpy type, without the counters.
    collections : tuple of str
        With ``"Muon"``, every column ``Muon_*`` is jagged, with the counter ``nMuon`` (uint32); so is a column
        ``Muon``.
    titles : mapping of str to str
        Titles of some branches of a TTree; the others have none of interest.
    """

    columns: Mapping[str, str]
    collections: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)

    def collection_of(self, column: str) -> str | None:
        """Return the collection of a column; None if the column has one value per event."""
        head = column.partition("_")[0]
        return head if head in self.collections else None


@dataclass(frozen=True)
class Block:
    """Some events: the number of objects per event for each collection, and the flat values of each column."""

    entries: int
    counts: dict[str, NDArray[np.uint32]]
    columns: dict[str, NDArray[Any]]

    def part(self, schema: Schema, start: int, stop: int) -> Block:
        """Return the events from ``start`` to ``stop``."""
        edges = {name: (int(counts[:start].sum()), int(counts[:stop].sum())) for name, counts in self.counts.items()}
        columns = {}
        for name, values in self.columns.items():
            first, last = edges.get(schema.collection_of(name) or "", (start, stop))
            columns[name] = values[first:last]
        return Block(stop - start, {name: counts[start:stop] for name, counts in self.counts.items()}, columns)

    @staticmethod
    def joined(parts: Sequence[Block]) -> Block:
        """Concatenate the events of all parts."""
        return Block(
            sum(part.entries for part in parts),
            {name: np.concatenate([part.counts[name] for part in parts]) for name in parts[0].counts},
            {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        )


def blocks(
    draw: Callable[[np.random.Generator, int, int], Block],
    schema: Schema,
    entries: int,
    seed: int,
    file_index: int,
    *,
    size: int = BLOCK_ENTRIES,
) -> Iterator[Block]:
    """Draw ``entries`` events reproducibly, block by block, with ``draw(generator, first_entry, number)``.

    Parameters
    ----------
    seed, file_index : int
        Samples with different seeds or file indices are independent.
    size : int
        Events that are drawn together.
    """
    for number, first in enumerate(range(0, entries, size)):
        # Children of one seed sequence are independent.
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(file_index, number)))
        block = draw(generator, first, size)
        block = block if first + size <= entries else block.part(schema, 0, entries - first)
        yield block
        for drawn in _watching:
            drawn(block.entries)


@contextlib.contextmanager
def watched(drawn: Callable[[int], None]) -> Iterator[None]:
    """Call ``drawn`` during the block with the number of events of each block that has been drawn and handed on."""
    _watching.append(drawn)
    try:
        yield
    finally:
        _watching.remove(drawn)


def number_events(run: int, first: int, number: int) -> dict[str, NDArray[Any]]:
    """Return run, luminosityBlock and event of the entries from ``first``; each file has a different run."""
    event = np.arange(first, first + number, dtype=np.uint64)
    return {
        "run": np.full(number, run, np.uint32),
        "luminosityBlock": (1 + event // LUMI_BLOCK_ENTRIES).astype(np.uint32),
        "event": 1 + event,
    }


def write_tree(
    path: str | Path,
    schema: Schema,
    events: Iterable[Block],
    *,
    cluster_entries: int = 100_000,
    compression: str = "ZLIB-1",
    kind: str = "ttree",
    treename: str = "Events",
    finish: Callable[[Any], None] | None = None,
) -> Path:
    """Write events to a ROOT file, which gets its name only when it is complete.

    Parameters
    ----------
    path : path
        The file; its folder is created, and an existing file is replaced.
    schema : Schema
        The branches.
    events : iterable of Block
        Blocks of any size, which are split and joined into clusters.
    cluster_entries : int
        Entries per cluster: in a TTree every branch has one basket per cluster.
    compression : str
        ``"ZLIB-1"``, ``"ZSTD-5"``, ``"LZ4-4"``, ``"LZMA-1"``, ... or ``"none"``.
    kind : str
        ``"ttree"`` or ``"rntuple"``.
    finish : function, optional
        Called with the open uproot file after the last event, to write what is known only then.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If an option has no such value, or the file cannot be written.
    """
    check_count("cluster_entries", cluster_entries, least=1)
    compressor = codec(compression)
    if kind not in _KINDS:
        raise InputError(f"kind={kind!r} is neither 'ttree' nor 'rntuple'.{nearest(str(kind), _KINDS)}")
    with replacing(path) as unfinished, uproot.recreate(unfinished, compression=compressor) as file:
        extend = (_tree if kind == "ttree" else _ntuple)(file, treename, schema, cluster_entries)
        for cluster in clusters(events, schema, cluster_entries):
            extend(_arrays(schema, cluster, with_counters=kind == "rntuple"))
        if finish:
            finish(file)
    return Path(path)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` after the block; convert an OSError to an InputError."""
    path = Path(path)
    unfinished = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error


def check_count(name: str, value: object, *, least: int = 0) -> int:
    """Return ``value`` as an int; raise an InputError unless it is an integer of at least ``least``."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise InputError(f"{name}={value!r} must be an integer of at least {least}.")
    return number


def codec(compression: str) -> uproot.compression.Compression | None:
    """Return the compression of uproot for a name such as ``"ZSTD-5"``; None for ``"none"``."""
    if compression == "none":
        return None
    match = re.fullmatch(r"([A-Z0-9]+)-(\d+)", str(compression))
    if match and match[1] in _CODECS and 1 <= int(match[2]) <= _LEVELS[match[1]]:
        return _CODECS[match[1]](int(match[2]))
    valid = ", ".join(f"{name}-1 to {name}-{level}" for name, level in _LEVELS.items())
    raise InputError(f"compression={compression!r} is not one of none, {valid}.")


def clusters(events: Iterable[Block], schema: Schema, size: int) -> Iterator[Block]:
    """Split and join blocks into clusters of ``size`` entries."""
    parts: list[Block] = []
    for block in events:
        start = 0
        while start < block.entries:
            room = size - sum(part.entries for part in parts)
            stop = min(start + room, block.entries)
            parts.append(block.part(schema, start, stop))
            if stop - start == room:
                yield Block.joined(parts)
                parts = []
            start = stop
    if parts:
        yield Block.joined(parts)


def _arrays(schema: Schema, cluster: Block, *, with_counters: bool) -> dict[str, Any]:
    offsets = {
        name: ak.index.Index64(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))
        for name, counts in cluster.counts.items()
    }
    arrays: dict[str, Any] = {}
    for name, values in cluster.columns.items():
        collection = schema.collection_of(name)
        if collection is None:
            arrays[name] = values
            continue
        if with_counters:
            arrays[f"n{collection}"] = cluster.counts[collection]
        arrays[name] = ak.Array(ak.contents.ListOffsetArray(offsets[collection], ak.contents.NumpyArray(values)))
    return arrays


def _types(schema: Schema, *, with_counters: bool) -> dict[str, Any]:
    # Objects, not text: uproot and awkward parse the text of each branch, a second for 200 of them.
    types: dict[str, Any] = {}
    for name, dtype in schema.columns.items():
        collection = schema.collection_of(name)
        if collection and with_counters:
            types[f"n{collection}"] = np.dtype("uint32")
        types[name] = ak.types.ListType(ak.types.NumpyType(dtype)) if collection else np.dtype(dtype)
    return types


def _ntuple(file: Any, treename: str, schema: Schema, cluster_entries: int) -> Callable[[dict[str, Any]], None]:
    return file.mkrntuple(treename, _types(schema, with_counters=True)).extend


def _tree(file: Any, treename: str, schema: Schema, cluster_entries: int) -> Callable[[dict[str, Any]], None]:
    def counter(column: str) -> str:
        return f"n{schema.collection_of(column)}"

    # As file.mktree, with properties of real files for which uproot has no option: counters are unsigned (NanoAOD's
    # nMuon is uint32), branches have titles, and fAutoFlush is the size of the clusters, which ROOT would otherwise
    # guess. The record of the tree is written once, after that: it takes uproot half a second for 200 branches.
    directory = file._cascading
    types = _types(schema, with_counters=False)
    cascade = Tree(directory, treename, "", types, directory._freesegments, counter, None, 10, 10.0)
    for branch in cascade._branch_data:
        if branch["kind"] == "counter":
            branch.update(dtype=np.dtype(">u4"), fTitle=f"{branch['fName']}/i")
        elif branch["fName"] in schema.titles:
            branch["fTitle"] = schema.titles[branch["fName"]]
    cascade._metadata["fAutoFlush"] = cluster_entries
    cascade.write_anew(file._file.sink)
    tree = uproot.WritableTree((*file._path, treename), file._file, cascade)
    file._file._new_tree(tree)
    streamers = {
        rawstreamer[-2:]: uproot.writing._cascade.RawStreamerInfo(*rawstreamer)
        for model in (*_LEAVES, uproot.models.TBranch.Model_TBranch_v13, uproot.models.TTree.Model_TTree_v20)
        for rawstreamer in model.class_rawstreamers
    }
    file._file._cascading.streamers.update_streamers(file._file.sink, list(streamers.values()))
    return tree.extend
