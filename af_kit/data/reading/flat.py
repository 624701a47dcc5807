"""Flat content for kernels: the numbers of a collection and where each event's begin, without a copy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from af_kit.errors import InputError, nearest

__all__ = ["Flat", "flat", "flat_list"]


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
        found, arrays[field] = flat_list(collection[field], field)
        offsets = found if offsets is None else offsets
    return Flat(np.asarray(offsets), arrays)


def flat_list(array: Any, name: str = "array") -> tuple[np.ndarray, np.ndarray]:
    """Where each event's numbers begin (int64, one more than events), and all numbers one after another.

    Parameters
    ----------
    array : awkward.Array
        A list of plain numbers per event, such as ``events.Muon.pt``.
    name : str
        What to call it in an error.

    Raises
    ------
    InputError
        It is something else, or has values missing.
    """
    import awkward as ak

    lists = _straight(ak.to_layout(ak.materialize(array)), name)
    if not lists.is_list:
        raise InputError(f"{name!r} is not a list of numbers per event.")
    lists = lists.to_ListOffsetArray64(start_at_zero=True)
    content = _straight(lists.content, name)
    if content.is_unknown:  # nobody has any: no type either
        content = content.to_NumpyArray(dtype=np.float64)
    if not content.is_numpy:
        raise InputError(f"{name!r} does not hold plain numbers, so that it has no flat content.")
    offsets = np.asarray(lists.offsets.data)
    return offsets, np.asarray(content.data)[: offsets[-1]]


def _straight(layout: Any, field: str) -> Any:
    """A layout without the indices that a mask left in it."""
    while layout.is_indexed or layout.is_option:
        if layout.is_option:
            raise InputError(f"Field {field!r} has missing values; take those that are there: ak.drop_none(...).")
        layout = layout.project()
    return layout
