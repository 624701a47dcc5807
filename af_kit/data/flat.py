"""Flat content for kernels: the numbers of a collection and where each event's begin, without a copy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from af_kit.errors import InputError

__all__ = ["Flat", "flat"]


class Flat(NamedTuple):
    """A jagged collection as a compiled kernel wants it."""

    offsets: np.ndarray
    """Where each event's elements begin in the arrays (int64, one more than events)."""
    fields: dict[str, np.ndarray]
    """One array per field, all of the same length."""


def flat(collection: Any, *fields: str) -> Flat:
    """The flat content of a collection.

    Parameters
    ----------
    collection : awkward.Array
        A list of records per event, such as ``events.Muon``, or a masked one.
    *fields : str
        The fields to take, such as ``"pt", "eta"``.

    Returns
    -------
    Flat
        ``offsets`` and ``fields``; element ``j`` of event ``i`` is ``fields["pt"][offsets[i] + j]``. The arrays are
        views of what was read, where the collection has not been masked.

    Raises
    ------
    InputError
        The collection is not a list of records per event.
    """
    import awkward as ak

    if not isinstance(collection, ak.Array) or collection.ndim != 2:
        raise InputError("flat() takes a list of records per event, such as events.Muon.")
    offsets: np.ndarray | None = None
    arrays: dict[str, np.ndarray] = {}
    for field in fields:
        layout = ak.to_layout(collection[field]).to_ListOffsetArray64(start_at_zero=True)
        ends = np.asarray(ak.materialize(layout).offsets.data)
        content = np.asarray(ak.to_numpy(ak.materialize(layout.content)))
        offsets = ends if offsets is None else offsets
        arrays[field] = content[: ends[-1]]
    if offsets is None:
        raise InputError('flat() needs the fields to take: flat(events.Muon, "pt", "eta").')
    return Flat(offsets, arrays)
