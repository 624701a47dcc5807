"""Which events were accepted by a trigger of a certain name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import awkward as ak
import numpy as np

from af_kit.data.reading.flat import flat_list
from af_kit.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def fired(events: ak.Array, level: str, patterns: Sequence[str]) -> np.ndarray:
    """Whether each event has a trigger whose name contains one of ``patterns`` and whose decision is 1.

    Parameters
    ----------
    level : {"hlt", "l1"}
        The names are in ``Trigger_hltname``, the decisions in ``Trigger_hltdecision``, one for one.
    patterns
        Texts to look for, in upper and lower case as they are written.
    """
    offsets, decisions = flat_list(events[f"Trigger_{level}decision"])
    names = ak.materialize(events[f"Trigger_{level}name"])
    if not np.array_equal(ak.to_numpy(ak.num(names)), np.diff(offsets)):
        raise InputError(
            f"There are not as many Trigger_{level}name as Trigger_{level}decision in each event: which decision is "
            "whose cannot be told."
        )
    wanted = np.flatnonzero(decisions == 1)
    if not wanted.size:
        return np.zeros(len(offsets) - 1, bool)
    hits = np.zeros(decisions.size + 1, np.int64)
    hits[wanted[_contain(ak.flatten(names), wanted, patterns)] + 1] = 1
    before = np.cumsum(hits)
    accepted: np.ndarray = before[offsets[1:]] > before[offsets[:-1]]
    return accepted


def _contain(texts: ak.Array, wanted: np.ndarray, patterns: Sequence[str]) -> np.ndarray:
    """Whether each of the ``wanted`` texts contains one of the patterns."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found, step = _as_they_lie(ak.to_layout(texts), wanted), 2
    if found is None:
        found, step = ak.to_arrow(texts, extensionarray=False).take(pa.array(wanted)), 1
    return np.logical_or.reduce(
        [pc.match_substring(found, pattern).to_numpy(zero_copy_only=False)[::step] for pattern in patterns]
    )


def _as_they_lie(layout: ak.contents.Content, wanted: np.ndarray) -> pa.LargeBinaryArray | None:
    """The texts without a copy, and between any two of them what lies there; None where they are in another order."""
    import pyarrow as pa

    if not isinstance(layout, ak.contents.ListArray):
        return None
    begins, ends = np.asarray(layout.starts.data)[wanted], np.asarray(layout.stops.data)[wanted]
    if np.any(begins[1:] < ends[:-1]):
        return None
    edges = np.column_stack([begins, ends]).ravel()
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(np.asarray(layout.content.data))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(edges) - 1, buffers)
