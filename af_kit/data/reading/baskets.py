"""Decode one basket of a TTree branch: from its record in the file to its numbers.

A record starts with a key, big endian: record bytes, version, uncompressed bytes, date, key length, cycle. The last
19 bytes of the key belong to the basket: version, buffer size, size of an offset, entries, end of the data (counted
from the start of the record), one flag. In the uncompressed payload, the data of a jagged branch are followed by the
entry offsets, which also follow from its counter branch.
"""

from __future__ import annotations

import struct
import threading

import numpy as np

from af_kit.data.reading.codecs import Buffer, CorruptBlock, decompress

__all__ = ["CorruptBlock", "basket_data", "decode_strings", "decode_vectors"]

_KEY = struct.Struct(">iHiIHH")
_BASKET = struct.Struct(">Hiiii")
# The first byte of a string is its length; if it has this value, the next four bytes are.
_LONG_STRING = 255
# Picking one number by its position takes as long as masking this many words.
_WORDS_PER_PICK = 4.5
_cache = threading.local()


def decode_vectors(
    record: memoryview, entries: int, dtype: np.dtype, header: int, *, verify: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Decode a basket of vectors of numbers: the number of elements per entry, and all elements in one array.

    ``dtype`` is the type of the numbers in the file. Each entry starts with ``header`` bytes; the last four of them are
    its number of elements. ``verify`` also checks the codec's checksum. An inconsistent record raises `CorruptBlock`.
    """
    data, edges = _entry_edges(record, entries, verify)
    spans = np.diff(edges) - header
    counts = spans // dtype.itemsize
    if entries and (spans.min() < 0 or np.any(counts * dtype.itemsize != spans)):
        raise CorruptBlock("the basket has wrong entry offsets")
    if not np.array_equal(_pick(data, ">u4", edges[:-1] + (header - 4)), counts):
        raise CorruptBlock("a vector in the basket has a wrong length")
    return counts, _vector_numbers(data, edges, counts, header, dtype)


def decode_strings(
    record: memoryview, entries: int, header: int, *, verify: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Decode a basket of vectors of strings: strings per entry, start and stop of each string, and the characters.

    The characters are all bytes of the basket, including those between the strings. See `decode_vectors`.
    """
    data, edges = _entry_edges(record, entries, verify)
    characters = np.frombuffer(data, dtype=np.uint8, count=int(edges[-1]))
    at = edges[:-1] + header
    if np.any(at > edges[1:]):
        raise CorruptBlock("the basket has wrong entry offsets")
    counts = _pick(data, ">u4", at - 4).astype(np.int64)
    if np.any(counts > edges[1:] - at):  # each string has at least one byte
        raise CorruptBlock("a vector in the basket has a wrong length")
    first = np.cumsum(counts) - counts
    starts, stops = np.empty((2, int(counts.sum())), dtype=np.int64)
    remaining = np.arange(entries)
    for i in range(int(counts.max(initial=0))):  # the i-th string of all entries that have one
        remaining = remaining[counts[remaining] > i]
        here, end = at[remaining], edges[remaining + 1]
        if np.any(here >= end):
            raise CorruptBlock("a string in the basket extends beyond its entry")
        size = characters[here].astype(np.int64)
        here = here + 1
        long = np.flatnonzero(size == _LONG_STRING)
        if long.size:
            if np.any(here[long] + 4 > end[long]):
                raise CorruptBlock("a string in the basket extends beyond its entry")
            size[long] = _pick(data, ">u4", here[long])
            here[long] += 4
        starts[first[remaining] + i], stops[first[remaining] + i] = here, here + size
        at[remaining] = here + size
    if not np.array_equal(at, edges[1:]):
        raise CorruptBlock("a string in the basket has a wrong length")
    return counts, starts, stops, characters


def _pick(data: Buffer, dtype: np.dtype | str, at: np.ndarray) -> np.ndarray:
    """Return the numbers at these byte positions."""
    dtype = np.dtype(dtype)
    if not at.size:
        return np.empty(0, dtype=dtype)
    every: np.ndarray = np.ndarray(len(data) - dtype.itemsize + 1, dtype, buffer=data, strides=(1,))
    return every[at]


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


def _vector_numbers(data: Buffer, edges: np.ndarray, counts: np.ndarray, header: int, dtype: np.dtype) -> np.ndarray:
    """Return the numbers of a basket without the headers between them.

    Few numbers per header are picked by position, else the headers are masked. The branches of a collection share the
    positions, so each thread caches the last ones.
    """
    size = dtype.itemsize
    # Words of two bytes, if the size of the numbers allows it, halve the work.
    word = 2 if size % 2 == 0 else 1
    words = int(edges[-1]) // word
    pick = words > _WORDS_PER_PICK * int(counts.sum())
    cache: dict[tuple[int, bool], tuple[np.ndarray, np.ndarray]] = _cache.__dict__.setdefault("positions", {})
    last = cache.get((size, pick))
    if last is not None and np.array_equal(last[0], edges):
        positions = last[1]
    elif pick:
        before = np.cumsum(counts) - counts
        positions = np.repeat(edges[:-1] + header - size * before, counts) + size * np.arange(counts.sum())
    else:
        positions = np.ones(words, dtype=bool)
        starts = edges[:-1] // word
        for i in range(header // word):
            positions[starts + i] = False
    cache[size, pick] = edges, positions
    if pick:
        return _pick(data, dtype, positions)
    return np.frombuffer(data, dtype=f">u{word}", count=words)[positions].view(dtype)


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
