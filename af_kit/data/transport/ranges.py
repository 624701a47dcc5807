"""Byte ranges: neighbours are fetched in one request."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["coalesce", "pieces"]


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
