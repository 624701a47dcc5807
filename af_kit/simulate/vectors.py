"""Write branches of ``std::vector``, as in the ntuples of experiments: numbers, and strings from a few lists.

uproot writes jagged numbers as C arrays with a counter, and cannot write lists of strings. Here, each branch is equal
to that of ROOT's ``tree->Branch(name, &vector)``: a TBranchElement whose entries start with ten bytes (size, version,
length). uproot manages the file, its folders and its free space; the record of the tree is written last.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray
from uproot.models.TBasket import _tbasket_format2 as _BASKET
from uproot.models.TBranch import _tbranch13_format1 as _BRANCH_1
from uproot.models.TBranch import _tbranch13_format2 as _BRANCH_2
from uproot.models.TTree import _ttree20_format1 as _TREE
from uproot.reading import _key_format_big as _KEY

from af_kit.simulate.writer import Block, Schema, check_count, clusters, codec, replacing

# The class of each type in ROOT, its checksum and version.
_CLASSES = {
    "float64": ("vector<double>", 269370212),
    "int32": ("vector<int>", 9976712),
    "string": ("vector<string>", 269382332),
}
_CLASS_VERSION = 6
_STREAMED_VERSION = 10  # of a vector inside a basket
_BYTE_COUNT = 0x40000000
_NEW_CLASS = 0xFFFFFFFF
# Every record has a date; with a fixed one, the same seed reproduces the same file.
_NO_DATE = 0


@dataclass(frozen=True)
class VectorSchema(Schema):
    """Branches of vectors.

    Attributes
    ----------
    columns : mapping of str to str
        Branch name to ``"float64"``, ``"int32"`` or ``"string"``.
    counts : mapping of str to str
        Branch name to the name of its counts in a `Block`.
    strings : mapping of str to sequence of lists of str
        For each branch of strings, the possible lists; its column in a `Block` has the index of the list of each event.
    """

    counts: Mapping[str, str] = field(default_factory=dict)
    strings: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)

    def collection_of(self, column: str) -> str | None:
        """Return the name of the counts of a column; None for strings, which have one index per event."""
        return self.counts.get(column)


def write_vectors(
    path: str | Path,
    schema: VectorSchema,
    events: Iterable[Block],
    *,
    treename: str,
    cluster_entries: int = 100_000,
    compression: str = "ZSTD-1",
) -> Path:
    """Write events to a ROOT file, which gets its name only when it is complete.

    Parameters
    ----------
    path, schema, events, cluster_entries, compression
        As in `write_tree`.
    treename : str
        Name of the tree, with its folder if any: ``"Tree3Mu/ntuple"``.
    """
    check_count("cluster_entries", cluster_entries, least=1)
    compressor = codec(compression)
    folder, _, name = treename.rpartition("/")
    with replacing(path) as unfinished, uproot.recreate(unfinished, compression=compressor) as file:
        directory = file.mkdir(folder) if folder else file
        tree = _Tree(directory, name, schema, compressor, cluster_entries)
        for cluster in clusters(events, schema, cluster_entries):
            tree.extend(cluster)
        tree.close()
    return Path(path)


class _Branch:
    """A branch while it is written: positions and sizes of its baskets."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.class_name, self.checksum = _CLASSES[kind]
        self.seeks: list[int] = []
        self.sizes: list[int] = []
        self.total = 0


class _Tree:
    def __init__(self, directory: Any, name: str, schema: VectorSchema, codec: Any, cluster_entries: int) -> None:
        self.directory = directory
        self.name = name
        self.schema = schema
        self.codec = codec
        self.cluster_entries = cluster_entries
        self.edges = [0]
        self.branches = {column: _Branch(column, kind) for column, kind in schema.columns.items()}
        self.strings = {
            column: [_streamed_strings(strings) for strings in lists] for column, lists in schema.strings.items()
        }

    def extend(self, cluster: Block) -> None:
        """Write one basket of each branch."""
        for name, branch in self.branches.items():
            values = cluster.columns[name]
            if name in self.strings:
                pieces = self.strings[name]
                data = b"".join([pieces[i] for i in values.tolist()])
                sizes = np.array([len(piece) for piece in pieces], np.int64)[values]
            else:
                kind = np.dtype(self.schema.columns[name]).newbyteorder(">")
                data, sizes = _streamed_numbers(cluster.counts[self.schema.counts[name]], values.astype(kind))
            self._basket(branch, data, sizes)
        self.edges.append(self.edges[-1] + cluster.entries)

    def _basket(self, branch: _Branch, data: bytes, sizes: NDArray[np.int64]) -> None:
        cascade = self.directory._cascading
        strings = b"".join(_string(text) for text in ("TBasket", branch.name, self.name))
        key_length = _KEY.size + len(strings) + _BASKET.size + 1
        offsets = np.zeros(len(sizes) + 1, ">i4")
        offsets[0] = key_length
        np.cumsum(sizes[:-1], out=offsets[1:-1])
        offsets[1:-1] += key_length
        content = data + struct.pack(">i", len(offsets)) + offsets.tobytes()
        packed = uproot.compression.compress(content, self.codec)
        size = key_length + len(packed)
        where = cascade._freesegments.allocate(size, dry_run=False)
        key = _KEY.pack(size, 1004, len(content), _NO_DATE, key_length, 0, where, cascade._key.location)
        about = _BASKET.pack(3, 32000, len(offsets) + 1, len(sizes), key_length + len(data))
        self.directory._file.sink.write(where, b"".join([key, strings, about, b"\x00", packed]))
        branch.seeks.append(where)
        branch.sizes.append(size)
        branch.total += key_length + len(content)

    def close(self) -> None:
        """Write the record of the tree."""
        directory = self.directory
        directory._cascading._freesegments.write(directory._file.sink)
        record = _Record(_KEY.size + sum(len(_string(text)) for text in ("TTree", self.name, self.name)))
        self._write(record)
        content = bytes(record.data)
        directory._cascading.add_object(
            directory._file.sink, "TTree", self.name, self.name, content, len(content), big=True
        )
        seen: dict[tuple[str, int], Any] = {}
        for model in (uproot.models.TBranch.Model_TBranch_v13, uproot.models.TTree.Model_TTree_v20):
            for streamer in model.class_rawstreamers:
                seen.setdefault(streamer[-2:], uproot.writing._cascade.RawStreamerInfo(*streamer))
        directory._file._cascading.streamers.update_streamers(directory._file.sink, list(seen.values()))

    def _write(self, record: _Record) -> None:
        stored = sum(sum(branch.sizes) for branch in self.branches.values())
        total = sum(branch.total for branch in self.branches.values())
        leaves = []
        with record.versioned(20):
            record.named(self.name, self.name)
            for version, attributes in ((2, ">hhh"), (2, ">hh"), (2, ">hhf")):  # TAttLine, TAttFill, TAttMarker
                with record.versioned(version):
                    numbers = {">hhh": (602, 1, 1), ">hh": (0, 1001), ">hhf": (1, 1, 1.0)}[attributes]
                    record.add(struct.pack(attributes, *numbers))
            record.add(
                _TREE.pack(
                    self.edges[-1], total, stored, 0, 0, 1.0, 0, 25, 0, 1000, 0,
                    1_000_000_000_000, 1_000_000_000_000, 0, -300_000_000, self.cluster_entries, 1_000_000,
                )
            )  # fmt: skip
            record.add(b"\x00\x00")  # no cluster ranges: all clusters have the same size
            record.io_features()
            with record.array(len(self.branches)):
                for branch in self.branches.values():
                    leaves.append(self._write_branch(record, branch))
            with record.array(len(leaves)):
                record.add(np.array(leaves, ">u4").tobytes())
            record.add(bytes(28))  # no aliases, indices, friends, user information or references

    def _write_branch(self, record: _Record, branch: _Branch) -> int:
        """Write a branch, and return the number of the reference to its leaf."""
        baskets, entries = len(branch.seeks), self.edges[-1]
        longest = int(np.diff(self.edges).max(initial=0))
        with record.object("TBranchElement"), record.versioned(10):
            with record.versioned(13):
                record.named(branch.name, branch.name)
                with record.versioned(2):
                    record.add(struct.pack(">hh", 0, 1001))
                record.add(_BRANCH_1.pack(0, 32000, 4 * (longest + 1), baskets, entries))
                record.io_features()
                record.add(_BRANCH_2.pack(0, baskets + 1, 99, entries, 0, branch.total, sum(branch.sizes)))
                with record.array(0):
                    pass
                with record.array(1):
                    leaf = record.reference()
                    with record.object("TLeafElement"), record.versioned(1):
                        with record.versioned(2):
                            record.named(branch.name, branch.name)
                            record.add(struct.pack(">iii??i", 1, 0, 0, False, False, 0))
                        record.add(struct.pack(">ii", -1, -1))
                with record.array(0):
                    pass
                record.add(b"\x01" + np.array([*branch.sizes, 0], ">i4").tobytes())
                record.add(b"\x01" + np.array(self.edges, ">i8").tobytes())
                record.add(b"\x01" + np.array([*branch.seeks, 0], ">i8").tobytes())
                record.add(b"\x00")  # the baskets are in this file
            record.add(_string(branch.class_name) + _string("") + _string(""))
            record.add(struct.pack(">IHiiiiII", branch.checksum, _CLASS_VERSION, -1, 0, -1, 0, 0, 0))
        return leaf


class _Record:
    """The bytes of an object as ROOT streams it: each part after its size, and references by position."""

    def __init__(self, key_length: int) -> None:
        self.data = bytearray()
        self.key_length = key_length

    def add(self, data: bytes) -> None:
        self.data += data

    def reference(self) -> int:
        """Return the number of references to an object that starts here."""
        return self.key_length + len(self.data) + 2

    @contextmanager
    def versioned(self, version: int) -> Iterator[None]:
        with self._sized():
            self.add(struct.pack(">H", version))
            yield

    @contextmanager
    def object(self, class_name: str) -> Iterator[None]:
        with self._sized():
            self.add(struct.pack(">I", _NEW_CLASS) + class_name.encode() + b"\x00")
            yield

    @contextmanager
    def array(self, length: int) -> Iterator[None]:
        """Write a TObjArray without a name."""
        with self.versioned(3):
            self.add(struct.pack(">HII", 1, 0, 0x03000000) + b"\x00" + struct.pack(">ii", length, 0))
            yield

    def named(self, name: str, title: str) -> None:
        """Write a TNamed."""
        with self.versioned(1):
            self.add(struct.pack(">HII", 1, 0, 0x03000000) + _string(name) + _string(title))

    def io_features(self) -> None:
        with self._sized():
            self.add(b"\x00\x00\x1a\xa1\x2f\x10\x00")

    @contextmanager
    def _sized(self) -> Iterator[None]:
        at = len(self.data)
        self.add(bytes(4))
        yield
        struct.pack_into(">I", self.data, at, _BYTE_COUNT | (len(self.data) - at - 4))


def _string(text: str) -> bytes:
    encoded: bytes = uproot.serialization.string(text)
    return encoded


def _header(count: Any, size: Any) -> Any:
    """Return the header of a vector: five words of two bytes."""
    size = size + 6
    return [_BYTE_COUNT >> 16 | size >> 16, size & 0xFFFF, _STREAMED_VERSION, count >> 16, count & 0xFFFF]


def _streamed_strings(strings: Sequence[str]) -> bytes:
    body = b"".join(_string(text) for text in strings)
    return np.array(_header(len(strings), len(body)), ">u2").tobytes() + body


def _streamed_numbers(counts: NDArray[Any], values: NDArray[Any]) -> tuple[bytes, NDArray[np.int64]]:
    """Return the entries of a basket, and the size of each in bytes."""
    counts = counts.astype(np.int64)
    words = counts * values.itemsize // 2
    starts = np.cumsum(words + 5) - words - 5
    basket = np.empty(int((words + 5).sum()), ">u2")
    is_number = np.ones(len(basket), bool)
    for position, word in enumerate(_header(counts, 2 * words)):
        basket[starts + position] = word
        is_number[starts + position] = False
    basket[is_number] = values.view(">u2")
    return basket.tobytes(), 2 * (words + 5)
