"""Which events were accepted by a trigger of a certain name."""

from __future__ import annotations

from collections.abc import Sequence

import awkward as ak
import numpy as np

from af_kit.data.flat import flat_list
from af_kit.errors import InputError


def fired(events: ak.Array, level: str, patterns: Sequence[str]) -> np.ndarray:
    """Whether each event has a trigger whose name contains one of ``patterns`` and whose decision is 1.

    Parameters
    ----------
    level : {"hlt", "l1"}
        The names are in ``Trigger_hltname``, the decisions in ``Trigger_hltdecision``, one for one.
    patterns
        Texts to look for, in upper and lower case as they are written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

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
    texts = ak.to_arrow(ak.flatten(names), extensionarray=False).take(pa.array(wanted))
    found = np.zeros(wanted.size, bool)
    for pattern in patterns:
        found |= pc.match_substring(texts, pattern).to_numpy(zero_copy_only=False)
    hits = np.zeros(decisions.size + 1, np.int64)
    hits[wanted[found] + 1] = 1
    before = np.cumsum(hits)
    accepted: np.ndarray = before[offsets[1:]] > before[offsets[:-1]]
    return accepted
