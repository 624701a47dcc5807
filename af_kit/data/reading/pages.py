"""Decode one page of an RNTuple column: from its bytes in the file to its numbers.

A page holds the elements of one column, little endian, as plain or compressed bytes, often followed by a checksum of
eight bytes. A split column stores all first bytes of its elements, then all second bytes, and so on; signed integers
are zigzag-encoded before (0, -1, 1, -2, ...). An index column stores where each list ends, counted from the start of
its cluster; if it is split, the numbers of a page are differences, except the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xxhash

from af_kit.data.jit import jit
from af_kit.data.reading.codecs import CorruptBlock, decompress

__all__ = [
    "CHECKSUM_BYTES",
    "Encoding",
    "check_page",
    "decode_ends",
    "decode_numbers",
    "encoding_of",
    "page_content",
]

CHECKSUM_BYTES = 8


@dataclass(frozen=True)
class Encoding:
    """How a column stores its elements.

    Attributes
    ----------
    dtype : str
        Type of the decoded elements.
    bits : int
        Bits of one element in a page.
    split, zigzag : bool
        Whether it is split, and zigzag-encoded.
    index : bool
        Whether the elements are the ends of lists.
    packed : str
        ``"bits"``, ``"truncated"`` or ``"quantized"`` if an element is not a whole number of bytes.
    limits : tuple of float
        The values of the smallest and the largest quantized number.
    """

    dtype: str
    bits: int
    split: bool = False
    zigzag: bool = False
    index: bool = False
    packed: str = ""
    limits: tuple[float, float] = (0.0, 0.0)


# The numbers of the types are ROOT's; 0x10, the switch of a variant, is read with uproot.
_TYPES = {
    0x00: ("?", "packed"),
    **dict.fromkeys((0x01, 0x02, 0x04), ("u1", "")),
    **{0x03: ("i1", ""), 0x05: ("i2", ""), 0x06: ("u2", ""), 0x07: ("i4", ""), 0x08: ("u4", ""), 0x09: ("i8", "")},
    **{0x0A: ("u8", ""), 0x0B: ("f2", ""), 0x0C: ("f4", ""), 0x0D: ("f8", ""), 0x0E: ("i4", "index")},
    **{0x0F: ("i8", "index"), 0x11: ("i2", "zigzag"), 0x12: ("u2", "split"), 0x13: ("i4", "zigzag")},
    **{0x14: ("u4", "split"), 0x15: ("i8", "zigzag"), 0x16: ("u8", "split"), 0x17: ("f2", "split")},
    **{0x18: ("f4", "split"), 0x19: ("f8", "split"), 0x1A: ("i4", "split index"), 0x1B: ("i8", "split index")},
    **{0x1C: ("f4", "truncated"), 0x1D: ("f4", "quantized")},
}


def encoding_of(kind: int, bits: int, limits: tuple[float, float] | None = None) -> Encoding | None:
    """Return the encoding of a column from its record in the file, or None if the kit cannot decode it.

    Parameters
    ----------
    kind : int
        ROOT's number for the type of the column.
    bits : int
        Bits of an element in a page.
    limits : tuple of float, optional
        The range of a quantized column.
    """
    dtype, how = _TYPES.get(kind, ("", ""))
    if how in ("packed", "truncated", "quantized"):
        least, most = {"packed": (1, 1), "truncated": (10, 31), "quantized": (1, 32)}[how]
        if not least <= bits <= most or (how == "quantized" and limits is None):
            return None
        return Encoding(dtype, bits, packed="bits" if how == "packed" else how, limits=limits or (0.0, 0.0))
    if not dtype or bits != 8 * np.dtype(dtype).itemsize:
        return None
    return Encoding(dtype, bits, split=how not in ("", "index"), zigzag=how == "zigzag", index="index" in how)


def check_page(record: memoryview, size: int) -> None:
    """Raise `CorruptBlock` if a page of ``size`` bytes does not match the checksum that follows it."""
    if xxhash.xxh3_64_intdigest(record[:size]) != int.from_bytes(record[size:], "little"):
        raise CorruptBlock("the checksum of a page does not match its data")


def page_content(record: memoryview, size: int, elements: int, bits: int, *, verify: bool = True) -> np.ndarray:
    """Return the uncompressed bytes of a page.

    Parameters
    ----------
    record : memoryview
        The page, and its checksum if it has one.
    size : int
        Bytes of the page without the checksum.
    elements, bits : int
        Number of its elements, and the bits of each.
    verify : bool
        Check the page's checksum, and those of the codec.

    Raises
    ------
    CorruptBlock
        A checksum or a size does not match.
    """
    if verify and len(record) > size:
        check_page(record, size)
    data = record[:size]
    expected = (elements * bits + 7) // 8
    if size > expected:
        raise CorruptBlock(f"a page has {size} bytes, its {elements} elements need {expected}")
    if size == expected:  # stored without compression
        return np.frombuffer(data, dtype=np.uint8)
    return np.frombuffer(decompress(data, expected, expected, verify=verify), dtype=np.uint8)


def decode_numbers(content: np.ndarray, elements: int, encoding: Encoding, first: int, out: np.ndarray) -> None:
    """Decode the elements from ``first`` of a page into ``out``, as many as it has room for.

    Parameters
    ----------
    content : numpy.ndarray
        The uncompressed bytes of the page (uint8).
    elements : int
        Number of elements of the page.
    encoding : Encoding
        How they are stored.
    first : int
        The first element to decode.
    out : numpy.ndarray
        Contiguous, of the type of the encoding.
    """
    last = first + len(out)
    if encoding.packed == "bits":
        out[:] = np.unpackbits(content, bitorder="little", count=last)[first:].view(np.bool_)
    elif encoding.packed:
        _unpack_floats(content, encoding, first, out)
    elif encoding.split:
        _unsplit(content, elements, first, out, encoding.zigzag)
    else:
        out[:] = content.view(out.dtype)[first:last]


def decode_ends(
    content: np.ndarray, elements: int, encoding: Encoding, first: int, base: int, most: int, out: np.ndarray
) -> None:
    """Decode the elements from ``first`` of an index page into ``out`` (int64).

    Parameters
    ----------
    content, elements, encoding, first
        As in `decode_numbers`.
    base : int
        Is added to each element: where the first list of the cluster begins.
    most : int
        The number of elements in all lists of the cluster; no list can end beyond.

    Raises
    ------
    CorruptBlock
        The lists do not follow each other, or end beyond the cluster.
    """
    stored = np.empty(first + len(out), dtype=f"u{encoding.bits // 8}")
    decode_numbers(content, elements, encoding, 0, stored)
    if not _ends(stored, encoding.split, first, base, most, out):
        raise CorruptBlock("the lists in a page of offsets do not follow each other")


def _unsplit(planes: np.ndarray, elements: int, first: int, out: np.ndarray, zigzag: bool) -> None:
    kernel = {2: _unsplit_2, 4: _unsplit_4, 8: _unsplit_8}[out.itemsize]
    kernel(planes, elements, first, out.view(f"u{out.itemsize}"), zigzag)


@jit
def _unsplit_2(planes, elements, first, out, zigzag):  # type: ignore[no-untyped-def]
    a, b = planes[first:], planes[elements + first :]
    for i in range(len(out)):
        x = np.uint16(a[i]) | np.uint16(np.uint16(b[i]) << np.uint16(8))
        if zigzag:
            x = np.uint16(x >> np.uint16(1)) ^ np.uint16(-np.int16(x & np.uint16(1)))
        out[i] = x


@jit
def _unsplit_4(planes, elements, first, out, zigzag):  # type: ignore[no-untyped-def]
    n = elements
    a, b, c, d = planes[first:], planes[n + first :], planes[2 * n + first :], planes[3 * n + first :]
    for i in range(len(out)):
        x = np.uint32(a[i]) | np.uint32(b[i]) << np.uint32(8)
        x |= np.uint32(c[i]) << np.uint32(16) | np.uint32(d[i]) << np.uint32(24)
        if zigzag:
            x = np.uint32(x >> np.uint32(1)) ^ np.uint32(-np.int32(x & np.uint32(1)))
        out[i] = x


@jit
def _unsplit_8(planes, elements, first, out, zigzag):  # type: ignore[no-untyped-def]
    n = elements
    a, b, c, d = planes[first:], planes[n + first :], planes[2 * n + first :], planes[3 * n + first :]
    e, f, g, h = planes[4 * n + first :], planes[5 * n + first :], planes[6 * n + first :], planes[7 * n + first :]
    for i in range(len(out)):
        x = np.uint64(a[i]) | np.uint64(b[i]) << np.uint64(8)
        x |= np.uint64(c[i]) << np.uint64(16) | np.uint64(d[i]) << np.uint64(24)
        x |= np.uint64(e[i]) << np.uint64(32) | np.uint64(f[i]) << np.uint64(40)
        x |= np.uint64(g[i]) << np.uint64(48) | np.uint64(h[i]) << np.uint64(56)
        if zigzag:
            x = (x >> np.uint64(1)) ^ np.uint64(-np.int64(x & np.uint64(1)))
        out[i] = x


@jit
def _ends(stored, differences, first, base, most, out):  # type: ignore[no-untyped-def]
    end = np.int64(0)
    for i in range(len(stored)):
        value = np.int64(stored[i])
        if differences:
            value += end
        if value < end or value > most:
            return False
        end = value
        if i >= first:
            out[i - first] = base + end
    return True


def _unpack_floats(content: np.ndarray, encoding: Encoding, first: int, out: np.ndarray) -> None:
    """Decode floats of which only some bits are stored, one after the other: rare, so numpy is fast enough."""
    bits = encoding.bits
    stored = np.unpackbits(content, bitorder="little", count=(first + len(out)) * bits)[first * bits :]
    whole = np.zeros((len(out), 32), dtype=np.uint8)
    if encoding.packed == "truncated":  # the leading bits of the float
        whole[:, 32 - bits :] = stored.reshape(-1, bits)
        out[:] = np.packbits(whole, axis=1, bitorder="little").view("<f4")[:, 0]
    else:
        whole[:, :bits] = stored.reshape(-1, bits)
        least, most = encoding.limits
        steps = np.packbits(whole, axis=1, bitorder="little").view("<u4")[:, 0]
        out[:] = least + steps * (most - least) / ((1 << bits) - 1)
