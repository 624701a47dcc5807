"""A candidate's muons and track, found in the event's collections."""

from __future__ import annotations

import numpy as np


def first_equal(offsets: np.ndarray, values: np.ndarray, pool_offsets: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """For each value, where the first entry of its event's pool is that equals it exactly.

    The ntuple has no index from a candidate to its muons: their transverse momenta are copies, equal to the last bit.

    Parameters
    ----------
    offsets, values
        Values of all events one after another, and where each event's begin (one more than events).
    pool_offsets, pool
        The same of what is searched, such as the muons of the events.

    Returns
    -------
    numpy.ndarray
        Positions in ``pool``; -1 where there is none.
    """
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    at, stop = pool_offsets[event], pool_offsets[event + 1]
    found = np.full(values.size, -1, np.int64)
    # As many rounds as the fullest event has entries, each with those values that are still being looked for.
    waiting = np.flatnonzero(at < stop)
    while waiting.size:
        place = at[waiting]
        equal = pool[place] == values[waiting]
        found[waiting[equal]] = place[equal]
        waiting = waiting[~equal]
        at[waiting] += 1
        waiting = waiting[at[waiting] < stop[waiting]]
    return found
