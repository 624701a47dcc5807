"""One basket of a TTree branch, from its record in the file to its numbers.

A record begins with a key, big endian: record bytes, version, uncompressed bytes, date, key length, cycle. The last
19 bytes of the key are the basket's own: version, buffer size, size of an offset, entries, end of the data (counted
from the record's begin), one flag. What follows the data in the uncompressed payload are the entry offsets of a jagged
branch, which its counter branch gives as well.
"""

from __future__ import annotations

import struct
import threading

import numpy as np

from af_kit.data.codecs import CorruptBlock, decompress

__all__ = ["CorruptBlock", "content", "vectors"]

_KEY = struct.Struct(">iHiIHH")
_BASKET = struct.Struct(">Hiiii")
_last = threading.local()


def vectors(
    record: memoryview, entries: int, dtype: np.dtype, header: int, *, verify: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """How many numbers each entry of a basket of vectors has, and all numbers one after another.

    Parameters
    ----------
    record : memoryview
        The basket's whole record, as long as the branch says.
    entries : int
        How many entries it has.
    dtype : numpy.dtype
        Type of the numbers as they lie in the file.
    header : int
        Bytes before the numbers of each entry; the last four of them say how many.
    verify : bool
        Check the codec's checksum too.

    Raises
    ------
    CorruptBlock
        The record contradicts itself.
    """
    uncompressed, key_length, border = _key(record)
    payload = record[key_length:]
    # All of it, for where the entries begin stands at the end.
    data = payload if len(payload) == uncompressed else decompress(payload, uncompressed, uncompressed, verify=verify)
    tail = np.frombuffer(data, dtype=">i4", offset=border, count=min(entries + 1, (uncompressed - border) // 4))
    if len(tail) != entries + 1 or not entries <= tail[0] <= entries + 1:
        raise CorruptBlock(f"the basket does not say where its {entries} entries begin")
    edges = np.empty(entries + 1, dtype=np.int64)
    edges[:entries] = tail[1:]
    edges[:entries] -= key_length
    edges[entries] = border
    counts, rest = np.divmod(np.diff(edges) - header, dtype.itemsize)
    if (edges[0] != 0 or counts.min() < 0 or rest.any()) if entries else border:
        raise CorruptBlock("the entries of the basket do not begin where it says")
    # Two bytes at a time where numbers have as many: half the work.
    word = 2 if dtype.itemsize % 2 == 0 else 1
    words = np.frombuffer(data, dtype=f">u{word}", count=border // word)
    starts = edges[:-1] // word
    said = np.zeros(entries, dtype=np.int64)
    for place in range((header - 4) // word, header // word):
        said = said << (8 * word) | words[starts + place]
    if not np.array_equal(said, counts):
        raise CorruptBlock("the vectors of the basket are not as long as they say")
    return counts, words[_numbers(edges, header, word)].view(dtype)


def _numbers(edges: np.ndarray, header: int, word: int) -> np.ndarray:
    """Which words of a basket belong to numbers.

    Branches of one collection have the same: each thread keeps the last.
    """
    known: dict[int, tuple[np.ndarray, np.ndarray]] = _last.__dict__.setdefault("masks", {})
    if word in known and np.array_equal(known[word][0], edges):
        return known[word][1]
    mask = np.ones(edges[-1] // word, dtype=bool)
    starts = edges[:-1] // word
    for place in range(header // word):
        mask[starts + place] = False
    known[word] = edges, mask
    return mask


def content(record: memoryview, expected: int, *, verify: bool = False) -> bytes | memoryview:
    """The data bytes of a basket, without the key and without the entry offsets.

    Parameters
    ----------
    record : memoryview
        The basket's whole record, as long as the branch says.
    expected : int
        How many bytes of data the entries of this basket have, counted independently of it.
    verify : bool
        Check the codec's checksum too, which takes the whole payload.

    Raises
    ------
    CorruptBlock
        The record contradicts itself or ``expected``.
    """
    uncompressed, key_length, border = _key(record)
    if border != expected:
        raise CorruptBlock(f"the basket holds {border} bytes of data, its entries need {expected}")
    payload = record[key_length:]
    if len(payload) == uncompressed:
        return payload[:border]
    return decompress(payload, uncompressed, border, verify=verify)


def _key(record: memoryview) -> tuple[int, int, int]:
    """What a basket's key says: uncompressed bytes, length of the key, and bytes of data."""
    if len(record) < _KEY.size:
        raise CorruptBlock("the basket's record is too short for a key")
    size, _, uncompressed, _, key_length, _ = _KEY.unpack_from(record)
    if size != len(record) or not _KEY.size + 19 <= key_length <= size:
        raise CorruptBlock(
            f"the basket's key says {size} bytes with a key of {key_length}; its branch says {len(record)}"
        )
    _, _, _, _, last = _BASKET.unpack_from(record, key_length - 19)
    border = last - key_length
    if not 0 <= border <= uncompressed:
        raise CorruptBlock(f"the basket's key says {border} bytes of data in {uncompressed} bytes")
    return uncompressed, key_length, border
