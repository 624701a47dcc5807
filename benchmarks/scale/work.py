"""The function and the chunks of a measurement."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from hist import Hist

from af_kit.data.chunks import Chunk


class Work:
    """A function for `process` whose output has about the given size in bytes.

    It only takes the length of the events, and their numbers if they are a `range`, as protocol workers pass it.
    """

    def __init__(self, size: int = 10_000) -> None:
        self.size = size

    def __call__(self, events: Any) -> dict[str, Any]:
        first = events.start if isinstance(events, range) else 0
        return {"n": len(events), "weight": 0.1 * len(events) + 1e-7 * first, "mass": _histogram(self.size // 8)}


_histograms: dict[int, Any] = {}


def _histogram(bins: int) -> Any:
    """Return a histogram with one entry of weight 0.1 in its first bin; merges do not change it."""
    if bins not in _histograms:
        histogram = Hist.new.Reg(bins, 0, bins).Double()
        histogram.fill(np.zeros(1), weight=0.1)
        _histograms[bins] = histogram
    return _histograms[bins]


def many_chunks(model: Chunk, number: int, entries: int, per_file: int = 1) -> list[Chunk]:
    """Return chunks of files that do not exist, so many per file, which have the model's layout."""
    chunks = []
    for i in range(-(-number // per_file)):
        path = f"root://storage.invalid//data/file{i:07}.root"
        digest = hashlib.sha256(path.encode()).hexdigest()
        about = {"file": path, "replicas": (path,), "uuid": digest[:32], "digest": digest}
        for start in range(0, per_file * entries, entries):
            chunks.append(replace(model, entry_start=start, entry_stop=start + entries, **about))
    return chunks[:number]
