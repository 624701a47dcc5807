"""Decode one basket of a TTree branch: from its record in the file to its numbers.

A record starts with a key, big endian: record bytes, version, uncompressed bytes, date, key length, cycle. The last
19 bytes of the key belong to the basket: version, buffer size, size of an offset, entries, end of the data (counted
from the start of the record), one flag. In the uncompressed payload, the data of a jagged branch are followed by the
entry offsets, which also follow from its counter branch.
"""

from __future__ import annotations

import struct

import numpy as np

from af_kit.data.jit import jit
from af_kit.data.reading.codecs import Buffer, CorruptBlock, decompress

__all__ = ["CorruptBlock", "basket_data", "decode_strings", "decode_vectors"]

_KEY = struct.Struct(">iHiIHH")
_BASKET = struct.Struct(">Hiiii")
# The first byte of a string is its length; if it has this value, the next four bytes are.
_LONG_STRING = 255
# What the loops return for an inconsistent basket
_WRONG_EDGES, _WRONG_COUNT, _BEYOND_ENTRY, _WRONG_LENGTH = -1, -2, -3, -4


def decode_vectors(
    record: memoryview, entries: int, dtype: np.dtype, header: int, *, verify: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Decode a basket of vectors of numbers: the number of elements per entry, and all elements in one array.

    ``dtype`` is the type of the numbers in the file. Each entry starts with ``header`` bytes; the last four of them are
    its number of elements. ``verify`` also checks the codec's checksum. An inconsistent record raises `CorruptBlock`.
    """
    data, edges = _entry_edges(record, entries, verify)
    counts = np.empty(entries, dtype=np.int64)
    numbers = np.empty(_counts(data, edges, header, dtype.itemsize, counts), dtype=f"u{dtype.itemsize}")
    if numbers.size:
        _copy_vectors(_words(data, numbers.dtype), edges, header, counts, numbers)
    return counts, numbers.view(dtype)


def decode_strings(
    record: memoryview, entries: int, header: int, *, verify: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Decode a basket of vectors of strings: strings per entry, start and stop of each string, and the characters.

    The characters are all bytes of the basket, including those between the strings. See `decode_vectors`.
    """
    data, edges = _entry_edges(record, entries, verify)
    characters = np.frombuffer(data, dtype=np.uint8, count=int(edges[-1]))
    counts = np.empty(entries, dtype=np.int64)
    starts, stops = np.empty((2, _counts(data, edges, header, 0, counts)), dtype=np.int64)
    if starts.size:
        found = _find_strings(characters, edges, header, counts, starts, stops)
        if found == _BEYOND_ENTRY:
            raise CorruptBlock("a string in the basket extends beyond its entry")
        if found == _WRONG_LENGTH:
            raise CorruptBlock("a string in the basket has a wrong length")
    return counts, starts, stops, characters


def _counts(data: Buffer, edges: np.ndarray, header: int, size: int, counts: np.ndarray) -> int:
    """Fill in how many elements of ``size`` bytes each entry has, and return their sum; a string has a size of 0."""
    total = _count(_words(data, np.dtype(np.uint32)), edges, header, size, counts)
    if total == _WRONG_EDGES:
        raise CorruptBlock("the basket has wrong entry offsets")
    if total == _WRONG_COUNT:
        raise CorruptBlock("a vector in the basket has a wrong length")
    return int(total)


def _words(data: Buffer, dtype: np.dtype) -> np.ndarray:
    """Return the word that starts at each byte."""
    return np.ndarray(max(len(data) - dtype.itemsize + 1, 0), dtype, buffer=data, strides=(1,))


@jit
def _count(heads, edges, header, size, counts):  # type: ignore[no-untyped-def]
    total, end = np.int64(0), edges[-1]
    for i in range(counts.size):
        start, stop = edges[i] + header, edges[i + 1]
        if not start <= stop <= end or (size > 0 and (stop - start) % size != 0):
            return _WRONG_EDGES
        head = np.int64(heads[start - 4])  # big endian
        number = (head & 0xFF) << 24 | (head & 0xFF00) << 8 | (head >> 8) & 0xFF00 | (head >> 24) & 0xFF
        # each string has at least one byte
        if (size > 0 and number * size != stop - start) or number > stop - start:
            return _WRONG_COUNT
        counts[i] = number
        total += number
    return total


@jit
def _copy_vectors(words, edges, header, counts, out):  # type: ignore[no-untyped-def]
    k = 0
    for i in range(counts.size):
        at = edges[i] + header
        for _ in range(counts[i]):
            out[k] = words[at]
            at += out.itemsize
            k += 1


@jit
def _find_strings(characters, edges, header, counts, starts, stops):  # type: ignore[no-untyped-def]
    k = 0
    for i in range(counts.size):
        at, end = edges[i] + header, edges[i + 1]
        for _ in range(counts[i]):
            if at >= end:
                return _BEYOND_ENTRY
            size = np.int64(characters[at])
            at += 1
            if size == _LONG_STRING:
                if at + 4 > end:
                    return _BEYOND_ENTRY
                size = np.int64(0)
                for _ in range(4):
                    size = size << 8 | characters[at]
                    at += 1
            starts[k] = at
            at += size
            stops[k] = at
            k += 1
        if at != end:
            return _WRONG_LENGTH
    return k


def _entry_edges(record: memoryview, entries: int, verify: bool) -> tuple[Buffer, np.ndarray]:
    """Return the data of a basket with entries of varying length, and the entries' edges (int64, entries + 1).

    The caller checks that each entry has room for its header, which also excludes decreasing edges.
    """
    uncompressed, key_length, data_bytes = _parse_key(record, entries)
    payload = record[key_length:]
    # Decode all of it: the entry offsets are at the end.
    data = payload if len(payload) == uncompressed else decompress(payload, uncompressed, uncompressed, verify=verify)
    count = min(entries + 1, (uncompressed - data_bytes) // 4)
    tail = np.frombuffer(data, dtype=">i4", offset=data_bytes, count=count)
    if len(tail) != entries + 1 or not entries <= tail[0] <= entries + 1:
        raise CorruptBlock(f"the basket lacks the offsets of its {entries} entries")
    edges = np.empty(entries + 1, dtype=np.int64)
    edges[:entries] = tail[1:]
    edges[:entries] -= key_length
    edges[entries] = data_bytes
    if edges[0] != 0:
        raise CorruptBlock("the basket has wrong entry offsets")
    return data, edges


def basket_data(record: memoryview, expected: int, entries: int | None = None, *, verify: bool = True) -> Buffer:
    """Return the data bytes of a basket, without the key and the entry offsets.

    ``expected`` is the number of bytes that its entries need, and ``entries`` their number, known from elsewhere.
    ``verify`` also checks the codec's checksum, which requires decoding whole blocks. An inconsistent record raises
    `CorruptBlock`.
    """
    uncompressed, key_length, data_bytes = _parse_key(record, entries)
    if data_bytes != expected:
        raise CorruptBlock(f"the basket holds {data_bytes} bytes of data, its entries need {expected}")
    payload = record[key_length:]
    if len(payload) == uncompressed:
        return payload[:data_bytes]
    return decompress(payload, uncompressed, data_bytes, verify=verify)


def _parse_key(record: memoryview, entries: int | None) -> tuple[int, int, int]:
    """Return uncompressed bytes, length of the key, and bytes of data from a basket's key, after checking them."""
    if len(record) < _KEY.size:
        raise CorruptBlock("the basket's record is too short for a key")
    size, _, uncompressed, _, key_length, _ = _KEY.unpack_from(record)
    if size != len(record) or not _KEY.size + 19 <= key_length <= size:
        raise CorruptBlock(
            f"the basket's key says {size} bytes with a key of {key_length}; its branch says {len(record)}"
        )
    _, _, _, own_entries, last = _BASKET.unpack_from(record, key_length - 19)
    if entries is not None and own_entries != entries:
        raise CorruptBlock(f"the basket's key says {own_entries} entries, its branch {entries}")
    data_bytes = last - key_length
    if not 0 <= data_bytes <= uncompressed:
        raise CorruptBlock(f"the basket's key says {data_bytes} bytes of data in {uncompressed} bytes")
    return uncompressed, key_length, data_bytes
