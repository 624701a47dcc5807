"""Byte ranges: neighbours are fetched in one request."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["HEADER_BYTES", "coalesce", "pieces", "samples"]

HEADER_BYTES = 512
"""The first bytes of a ROOT file, which hold its identifier, its length, and when it was made and last changed."""

# A file of up to this size is identified by all its bytes; a larger one by its end, where ROOT writes the list of
# baskets of each tree, and by samples in between.
_WHOLE = 32 << 10
_END = 8 << 10
_SAMPLES, _SAMPLE = 16, 256


def samples(end: int, *, number: int = _SAMPLES, whole: int = _WHOLE) -> list[tuple[int, int]]:
    """Return the ranges by which a file of ``end`` bytes is identified, the header first.

    Parameters
    ----------
    end : int
        The length of the file, in bytes.
    number : int
        Samples at equal distances, in addition to both ends of the file.
    whole : int
        The length up to which a file is read as a whole.
    """
    if end <= whole:
        return [(0, end)]
    step = max(end // number, _SAMPLE)
    inner = [(at, at + _SAMPLE) for at in range(step // 2, end - _END, step)]
    return [(0, HEADER_BYTES), *inner, (max(end - _END, 0), end)]


def coalesce(
    ranges: Sequence[tuple[int, int]], gap: int, longest: int | None = None
) -> tuple[list[tuple[int, int]], list[int]]:
    """Merge ranges that overlap or are at most ``gap`` bytes apart, unless the result has more than ``longest`` bytes.

    Return the merged ranges in the order of the file, without empty ones, and for each of ``ranges`` the index of the
    merged range that contains it (-1 for an empty one).
    """
    merged: list[tuple[int, int]] = []
    index = [-1] * len(ranges)
    for i in sorted(range(len(ranges)), key=ranges.__getitem__):
        start, stop = ranges[i]
        if start >= stop:
            continue
        first, last = merged[-1] if merged else (0, 0)
        near = bool(merged) and start - last <= gap and (longest is None or stop - first <= longest)
        if near or (merged and stop <= last):
            merged[-1] = (first, max(last, stop))
        else:
            merged.append((start, stop))
        index[i] = len(merged) - 1
    return merged, index


def pieces(
    ranges: Sequence[tuple[int, int]],
    merged: Sequence[tuple[int, int]],
    index: Sequence[int],
    data: Sequence[memoryview],
) -> list[memoryview]:
    """Cut the bytes of each of ``ranges`` out of the data of the ``merged`` ranges."""
    return [
        data[i][start - merged[i][0] : stop - merged[i][0]] if start < stop else memoryview(b"")
        for i, (start, stop) in zip(index, ranges, strict=True)
    ]
