"""Parse the page lists of an RNTuple: where the pages of each cluster and column are."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

import xxhash

from af_kit.data.reading.codecs import CorruptBlock

__all__ = ["Cluster", "ColumnPages", "parse_page_list"]

_PAGE_LIST = 3  # the envelope's type
_CHECKSUM = 8
_LARGE = 1  # the type of a locator with more than 2 GiB
_SHARDED = 1


@dataclass(frozen=True)
class ColumnPages:
    """The pages of one column in one cluster."""

    pages: list[tuple[int, int, int, bool]]
    """Elements, position and bytes in the file, and whether a checksum follows, of each page."""
    first: int
    """Index of the first element in the whole column; negative if this representation is not used in the cluster."""


@dataclass(frozen=True)
class Cluster:
    """One cluster: its entries, and the pages of each column."""

    start: int
    entries: int
    columns: list[ColumnPages]


def parse_page_list(envelope: bytes, header_checksum: int) -> list[Cluster]:
    """Return the clusters of one page list envelope (uncompressed).

    Parameters
    ----------
    envelope : bytes
        The envelope with its checksum.
    header_checksum : int
        The checksum of the RNTuple's header, which the envelope repeats.

    Raises
    ------
    CorruptBlock
        The envelope's checksum does not match, or it belongs to another RNTuple.
    """
    (stored,) = struct.unpack_from("<Q", envelope, len(envelope) - _CHECKSUM)
    if xxhash.xxh3_64_intdigest(envelope[:-_CHECKSUM]) != stored:
        raise CorruptBlock("the checksum of a page list does not match")
    about, header = struct.unpack_from("<QQ", envelope)
    if about & 0xFFFF != _PAGE_LIST or about >> 16 != len(envelope) or header != header_checksum:
        raise CorruptBlock("a page list does not belong to this RNTuple")
    summaries, at = _frames(envelope, 16)
    clusters, _ = _frames(envelope, at)
    if len(summaries) != len(clusters):
        raise CorruptBlock(f"a page list has {len(summaries)} clusters, but pages of {len(clusters)}")
    found = []
    for (summary, _), (columns, _) in zip(summaries, clusters, strict=True):
        start, entries = struct.unpack_from("<QQ", envelope, summary + 8)
        if entries >> 56 & _SHARDED:
            raise NotImplementedError("sharded clusters")
        inner, _ = _frames(envelope, columns)
        found.append(Cluster(start, entries & (1 << 56) - 1, [_column(envelope, *where) for where in inner]))
    return found


def _frames(data: bytes, at: int) -> tuple[list[tuple[int, int]], int]:
    """Return where each frame in a list frame begins and ends, and where the list itself ends."""
    size, count = struct.unpack_from("<qI", data, at)
    edges = [at + 12]
    # a frame has at least its own size: a damaged count must not cost time and memory
    if at + abs(size) > len(data) or 8 * count > abs(size) - 12:
        raise CorruptBlock(f"a page list has {count} items in {abs(size)} bytes")
    for _ in range(count):
        (inner,) = struct.unpack_from("<q", data, edges[-1])
        edges.append(edges[-1] + abs(inner))
        if abs(inner) < 8 or edges[-1] > at + abs(size):
            raise CorruptBlock("an item of a page list has a wrong length")
    return list(pairwise(edges)), at + abs(size)


def _column(data: bytes, at: int, stop: int) -> ColumnPages:
    _, count = struct.unpack_from("<qI", data, at)
    at += 12
    pages = []
    if 16 * count > stop - at:
        raise CorruptBlock(f"a page list has {count} pages in {stop - at} bytes")
    for _ in range(count):
        elements, size, seek = struct.unpack_from("<iiQ", data, at)
        at += 16
        if size < 0:
            if -size >> 24 != _LARGE:
                raise NotImplementedError(f"pages in a storage of type {-size >> 24}")
            size, seek = struct.unpack_from("<QQ", data, at - 8)
            at += 8
        pages.append((abs(elements), seek, size, elements < 0))
    (first,) = struct.unpack_from("<q", data, at)
    if at > stop:
        raise CorruptBlock("a page list has a wrong length")
    return ColumnPages(pages, first)
