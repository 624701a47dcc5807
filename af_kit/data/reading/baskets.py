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

from af_kit.data.reading.codecs import CorruptBlock, decompress

__all__ = ["CorruptBlock", "content", "texts", "vectors"]

_KEY = struct.Struct(">iHiIHH")
_BASKET = struct.Struct(">Hiiii")
# A text's first byte says how long it is; this one, that the next four do.
_LONG = 255
# Taking one number out of a basket takes as long as looking at so many words.
_WORDS_EACH = 4.5
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
    data, edges = _entries(record, entries, verify)
    spans = np.diff(edges) - header
    counts = spans // dtype.itemsize
    if entries and (spans.min() < 0 or np.any(counts * dtype.itemsize != spans)):
        raise CorruptBlock("the entries of the basket do not begin where it says")
    if not np.array_equal(_anywhere(data, ">u4", edges[:-1] + (header - 4)), counts):
        raise CorruptBlock("the vectors of the basket are not as long as they say")
    return counts, _numbers(data, edges, counts, header, dtype)


def texts(
    record: memoryview, entries: int, header: int, *, verify: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """How many texts each entry of a basket of vectors has, where each text begins and ends, and all characters.

    The characters are the basket's bytes as they lie there, with what stands between the texts. ``header`` bytes are
    before the texts of each entry; the last four of them say how many. For the rest see `vectors`.
    """
    data, edges = _entries(record, entries, verify)
    characters = np.frombuffer(data, dtype=np.uint8, count=int(edges[-1]))
    at = edges[:-1] + header
    if np.any(at > edges[1:]):
        raise CorruptBlock("the entries of the basket do not begin where it says")
    counts = _anywhere(data, ">u4", at - 4).astype(np.int64)
    if np.any(counts > edges[1:] - at):  # each text has a byte at least
        raise CorruptBlock("the vectors of the basket are not as long as they say")
    first = np.cumsum(counts) - counts
    begins, ends = np.empty((2, int(counts.sum())), dtype=np.int64)
    having = np.arange(entries)
    for place in range(int(counts.max(initial=0))):
        having = having[counts[having] > place]
        here, end = at[having], edges[having + 1]
        if np.any(here >= end):
            raise CorruptBlock("a text of the basket lies outside of its entry")
        size = characters[here].astype(np.int64)
        here = here + 1
        long = np.flatnonzero(size == _LONG)
        if long.size:
            if np.any(here[long] + 4 > end[long]):
                raise CorruptBlock("a text of the basket lies outside of its entry")
            size[long] = _anywhere(data, ">u4", here[long])
            here[long] += 4
        begins[first[having] + place], ends[first[having] + place] = here, here + size
        at[having] = here + size
    if not np.array_equal(at, edges[1:]):
        raise CorruptBlock("the texts of the basket are not as long as they say")
    return counts, begins, ends, characters


def _anywhere(data: bytes | memoryview, dtype: np.dtype | str, at: np.ndarray) -> np.ndarray:
    """The numbers that begin at these bytes."""
    dtype = np.dtype(dtype)
    if not at.size:
        return np.empty(0, dtype=dtype)
    every: np.ndarray = np.ndarray(len(data) - dtype.itemsize + 1, dtype, buffer=data, strides=(1,))
    return every[at]


def _entries(record: memoryview, entries: int, verify: bool) -> tuple[bytes | memoryview, np.ndarray]:
    """The data of a basket whose entries differ in length, and where each begins (int64, one more than entries).

    Whether each entry has room for its header is left to who reads them: it tells of edges that go back, too.
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
    if edges[0] != 0:
        raise CorruptBlock("the entries of the basket do not begin where it says")
    return data, edges


def _numbers(
    data: bytes | memoryview, edges: np.ndarray, counts: np.ndarray, header: int, dtype: np.dtype
) -> np.ndarray:
    """The numbers of a basket without the headers between them.

    Where those are few to a header they are taken one by one, else all that is between two headers. Branches of one
    collection have the same places: each thread keeps the last.
    """
    size = dtype.itemsize
    # Two bytes at a time where numbers have as many: half the work.
    word = 2 if size % 2 == 0 else 1
    words = int(edges[-1]) // word
    one_by_one = words > _WORDS_EACH * int(counts.sum())
    known: dict[tuple[int, bool], tuple[np.ndarray, np.ndarray]] = _last.__dict__.setdefault("places", {})
    kept = known.get((size, one_by_one))
    if kept is not None and np.array_equal(kept[0], edges):
        places = kept[1]
    elif one_by_one:
        before = np.cumsum(counts) - counts
        places = np.repeat(edges[:-1] + header - size * before, counts) + size * np.arange(counts.sum())
    else:
        places = np.ones(words, dtype=bool)
        starts = edges[:-1] // word
        for place in range(header // word):
            places[starts + place] = False
    known[size, one_by_one] = edges, places
    if one_by_one:
        return _anywhere(data, dtype, places)
    return np.frombuffer(data, dtype=f">u{word}", count=words)[places].view(dtype)


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
