"""Parse the record of a TTree whose branches are all numbers or arrays of numbers with a counter, as in NanoAOD.

uproot makes a Python object of every streamed object, which takes a millisecond per branch. Here a branch is a few
reads at known positions. Every version and length is checked: whatever is not exactly as expected is left to uproot.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["FlatBranch", "FlatTree", "UnexpectedRecord", "parse_tree"]

_BYTE_COUNT = 0x40000000
_NEW_CLASS = 0xFFFFFFFF
_CLASS = 0x80000000
# References count from the start of the key, and by two more.
_REFERENCE_OFFSET = 2
_IS_REFERENCED = 1 << 4

_COUNT_AND_VERSION = struct.Struct(">IH")
_OBJECT = struct.Struct(">HII")
_ARRAY = struct.Struct(">ii")
_TREE = struct.Struct(">qqqqqdiiiiIqqqqqq")
_BRANCH_START = struct.Struct(">iiiiq")
_BRANCH_SIZES = struct.Struct(">iIiqqqq")
_LEAF = struct.Struct(">iii??")
_WORD = struct.Struct(">I")

# Letter of the leaf's class, whether it is unsigned: dtype in the file, C++ type
_TYPES = {
    ("O", False): ("?", "bool"),
    ("O", True): ("?", "bool"),
    ("B", False): ("i1", "int8_t"),
    ("B", True): ("u1", "uint8_t"),
    ("S", False): ("i2", "int16_t"),
    ("S", True): ("u2", "uint16_t"),
    ("I", False): ("i4", "int32_t"),
    ("I", True): ("u4", "uint32_t"),
    ("L", False): ("i8", "int64_t"),
    ("L", True): ("u8", "uint64_t"),
    ("F", False): ("f4", "float"),
    ("D", False): ("f8", "double"),
}


class UnexpectedRecord(Exception):
    """The record has something that only uproot can read."""


@dataclass
class FlatBranch:
    """A branch of one number per entry, or of an array whose length is in another branch."""

    name: str
    leaf: FlatLeaf
    uncompressed_bytes: int
    compressed_bytes: int
    edges: np.ndarray
    seeks: np.ndarray
    sizes: np.ndarray


@dataclass(eq=False)
class FlatLeaf:
    """The type of a branch, and the leaf that counts its elements."""

    name: str
    letter: str
    unsigned: bool
    counter: FlatLeaf | None

    @property
    def dtype(self) -> str:
        """Type of the numbers in the file, such as ``">f4"``."""
        return np.dtype(_TYPES[self.letter, self.unsigned][0]).newbyteorder(">").str

    @property
    def typename(self) -> str:
        """The C++ type of an entry: ``"float"``, ``"float[]"``."""
        return _TYPES[self.letter, self.unsigned][1] + ("[]" if self.counter else "")

    @property
    def counts(self) -> bool:
        """Whether it can count the elements of another branch: one integer per entry."""
        return self.counter is None and self.letter in "BSIL"


@dataclass
class FlatTree:
    """What a tree's record says."""

    entries: int
    branches: list[FlatBranch] = field(default_factory=list)


def parse_tree(record: bytes, key_length: int) -> FlatTree:
    """Return the branches of a TTree.

    Parameters
    ----------
    record : bytes
        The uncompressed object behind the key.
    key_length : int
        Bytes of the key, from which references within the record count.

    Raises
    ------
    UnexpectedRecord
        A branch is of another type, another class or version wrote it, or the record is damaged.
    """
    try:
        return _Parser(record, key_length).tree()
    except (struct.error, IndexError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise UnexpectedRecord(str(error)) from error


def _require(condition: Any, what: str) -> None:
    if not condition:
        raise UnexpectedRecord(what)


class _Parser:
    """Positions count from the start of the record. Every method gets one and returns the one behind what it read."""

    def __init__(self, data: bytes, key_length: int) -> None:
        self._data = data
        self._offset = key_length + _REFERENCE_OFFSET
        self._classes: dict[int, str] = {}
        self._leaves: dict[int, FlatLeaf] = {}

    def tree(self) -> FlatTree:
        at, end = self._begin(0, 20)
        _require(end == len(self._data), "bytes behind the tree")
        at, _, _ = self._named(at)
        for _ in ("TAttLine", "TAttFill", "TAttMarker"):
            at = self._skip(at)
        entries, *_, ranges, _, _, _, _, _, _ = _TREE.unpack_from(self._data, at)
        at = self._skip(at + _TREE.size + 2 * (1 + 8 * ranges))  # the ends and sizes of clusters; TIOFeatures
        at, end, number = self._array(at)
        tree = FlatTree(entries)
        for _ in range(number):
            at, branch = self._branch(at, entries)
            tree.branches.append(branch)
        _require(at == end, "length of the branches")
        return tree

    def _branch(self, at: int, entries: int) -> tuple[int, FlatBranch]:
        at, end, name_of_class = self._object(at)
        _require(name_of_class == "TBranch", name_of_class)
        at, inner_end = self._begin(at, 13)
        _require(inner_end == end, "length of a branch")
        at, name, _ = self._named(at)
        at = self._skip(at)  # TAttFill
        _, _, _, written, _ = _BRANCH_START.unpack_from(self._data, at)
        at = self._skip(at + _BRANCH_START.size)  # TIOFeatures
        _, most, _, filled, _, uncompressed, compressed = _BRANCH_SIZES.unpack_from(self._data, at)
        _require(filled == entries, "entries of a branch")
        at, inner_end, branches = self._array(at + _BRANCH_SIZES.size)
        _require(branches == 0 and at == inner_end, "branches of a branch")
        at, inner_end, leaves = self._array(at)
        _require(leaves == 1, "leaves of a branch")
        at, leaf = self._leaf(at)
        if at != inner_end or leaf is None:
            raise UnexpectedRecord("length of the leaves")
        at = self._skip(at)  # baskets in memory
        at, sizes = self._numbers(at, most, ">i4")
        at, edges = self._numbers(at, most, ">i8")
        at, seeks = self._numbers(at, most, ">i8")
        at, file = self._string(at)
        _require(at == end and not file, "data in another file")

        empty = np.flatnonzero(seeks[:written] == 0)
        baskets = int(empty[0]) if len(empty) else min(written, most)
        edges, seeks, sizes = edges[: baskets + 1], seeks[:baskets], sizes[:baskets]
        _require(len(edges) == baskets + 1 and edges[0] == 0 and edges[-1] == entries, "baskets in the tree's record")
        _require((np.diff(edges) >= 0).all() and (sizes > 0).all(), "baskets")
        return end, FlatBranch(name, leaf, uncompressed, compressed, edges, seeks, sizes)

    def _leaf(self, at: int) -> tuple[int, FlatLeaf | None]:
        """A leaf, or a reference to one that was read before."""
        start = at
        (count,) = _WORD.unpack_from(self._data, at)
        if not count & _BYTE_COUNT:
            return at + 4, self._leaves[count] if count else None
        at, end, name_of_class = self._object(at)
        letter = name_of_class.removeprefix("TLeaf")
        _require((letter, False) in _TYPES, name_of_class)
        at, inner_end = self._begin(at, 1)
        _require(inner_end == end, "length of a leaf")
        at, base_end = self._begin(at, 2)
        at, name, title = self._named(at)
        length, _, _, _, unsigned = _LEAF.unpack_from(self._data, at)
        at, counter = self._leaf(at + _LEAF.size)
        _require(at == base_end and end - at == 2 * np.dtype(_TYPES[letter, False][0]).itemsize, "length of a leaf")
        _require(length == 1 and title == (f"{name}[{counter.name}]" if counter else name), "array of a fixed length")
        leaf = self._leaves[start + self._offset] = FlatLeaf(name, letter, unsigned, counter)
        return end, leaf

    def _begin(self, at: int, version: int) -> tuple[int, int]:
        """The length and version before an object."""
        count, found = _COUNT_AND_VERSION.unpack_from(self._data, at)
        _require(count & _BYTE_COUNT and found == version, f"version {found}")
        return at + 6, at + 4 + (count & ~_BYTE_COUNT)

    def _skip(self, at: int) -> int:
        (count,) = _WORD.unpack_from(self._data, at)
        _require(count & _BYTE_COUNT, "no length")
        return at + 4 + (count & ~_BYTE_COUNT)

    def _object(self, at: int) -> tuple[int, int, str]:
        """The class of an object that is not a reference."""
        count, tag = struct.unpack_from(">II", self._data, at)
        _require(count & _BYTE_COUNT and count != _NEW_CLASS and tag & _CLASS, "a reference")
        end = at + 4 + (count & ~_BYTE_COUNT)
        if tag != _NEW_CLASS:
            return at + 8, end, self._classes[tag & ~_CLASS]
        stop = self._data.index(b"\0", at + 8)
        name = self._classes[at + 4 + self._offset] = self._data[at + 8 : stop].decode()
        return stop + 1, end, name

    def _array(self, at: int) -> tuple[int, int, int]:
        """The start of a TObjArray: its end, and the number of its objects."""
        at, end = self._begin(at, 3)
        at, _ = self._string(self._root_object(at))
        number, lowest = _ARRAY.unpack_from(self._data, at)
        _require(number >= 0 and lowest == 0, "an array")
        return at + _ARRAY.size, end, number

    def _named(self, at: int) -> tuple[int, str, str]:
        at, end = self._begin(at, 1)
        at, name = self._string(self._root_object(at))
        at, title = self._string(at)
        _require(at == end, "length of a name")
        return at, name, title

    def _root_object(self, at: int) -> int:
        version, _, bits = _OBJECT.unpack_from(self._data, at)
        _require(version == 1, "a TObject")
        return at + _OBJECT.size + (2 if bits & _IS_REFERENCED else 0)

    def _string(self, at: int) -> tuple[int, str]:
        length = self._data[at]
        at += 1
        if length == 255:
            (length,) = _WORD.unpack_from(self._data, at)
            at += 4
        _require(at + length <= len(self._data), "length of a string")
        return at + length, self._data[at : at + length].decode(errors="surrogateescape")

    def _numbers(self, at: int, number: int, dtype: str) -> tuple[int, np.ndarray]:
        """An array of a known length, behind a byte that says whether it is there."""
        _require(self._data[at] == 1, "an array that is not there")
        found = np.frombuffer(self._data, dtype, number, at + 1)
        return at + 1 + found.nbytes, found.astype(np.int64)
