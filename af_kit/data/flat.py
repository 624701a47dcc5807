"""Flat content for kernels: the numbers of a collection and where each event's begin, without a copy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from af_kit.errors import InputError, nearest

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
        The collection is not a list of records per event, has values missing, or has no such field of plain numbers.
    """
    import awkward as ak

    if not isinstance(collection, ak.Array) or collection.ndim != 2 or not ak.fields(collection):
        raise InputError("flat() takes a list of records per event, such as events.Muon.")
    if not fields:
        raise InputError('flat() needs the fields to take: flat(events.Muon, "pt", "eta").')
    offsets: np.ndarray | None = None
    arrays: dict[str, np.ndarray] = {}
    for field in fields:
        if field not in ak.fields(collection):
            raise InputError(f"There is no field {field!r} in this collection.{nearest(field, ak.fields(collection))}")
        lists = _straight(ak.materialize(collection[field]).layout, field)
        if not lists.is_list:
            raise InputError("flat() takes a list of records per event, such as events.Muon.")
        lists = lists.to_ListOffsetArray64(start_at_zero=True)
        offsets = np.asarray(lists.offsets.data) if offsets is None else offsets
        content = _straight(lists.content, field)
        if not content.is_numpy:
            raise InputError(f"Field {field!r} does not hold plain numbers, so that flat() cannot take it.")
        arrays[field] = np.asarray(content.data)[: offsets[-1]]
    return Flat(np.asarray(offsets), arrays)


def _straight(layout: Any, field: str) -> Any:
    """A layout without the indices that a mask left in it."""
    while layout.is_indexed or layout.is_option:
        if layout.is_option:
            raise InputError(f"Field {field!r} has missing values; take those that are there: ak.drop_none(...).")
        layout = layout.project()
    return layout
