"""Flat arrays and offsets of a collection for compiled kernels, without a copy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from af_kit.data.jit import jit
from af_kit.errors import InputError, nearest

__all__ = [
    "Flat",
    "copy_rows",
    "flat",
    "flat_branch",
    "flat_list",
    "gather",
    "has_branch",
    "projected",
    "scalar_branch",
    "take_branch",
]


class Flat(NamedTuple):
    """A jagged collection as flat arrays."""

    offsets: np.ndarray
    """Index of each event's first element in the arrays (int64, events + 1)."""
    fields: dict[str, np.ndarray]
    """One array per field, all of the same length."""


def flat(collection: Any, *fields: str) -> Flat:
    """Return offsets and flat arrays of a collection.

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
        views of the data as read, unless the collection has been masked.

    Raises
    ------
    InputError
        The collection is not a list of records per event, has missing values, or has no such field of plain numbers.

    Examples
    --------
    >>> import af_kit as af
    >>> import awkward as ak
    >>> muons = ak.Array([[{"pt": 20.0}, {"pt": 10.0}], [], [{"pt": 30.0}]])
    >>> offsets, fields = af.flat(muons, "pt")
    >>> offsets.tolist(), fields["pt"].tolist()
    ([0, 2, 2, 3], [20.0, 10.0, 30.0])
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
    """Return offsets (int64, events + 1) and flat content of a list of numbers per event, such as ``events.Muon.pt``.

    Anything else, or missing values, raises `InputError`, in which ``name`` stands for the array.
    """
    import awkward as ak

    lists = projected(ak.to_layout(ak.materialize(array)), name)
    if not lists.is_list:
        raise InputError(f"{name!r} is not a list of numbers per event.")
    # As read, the lists are in this form already: awkward would copy the offsets, once for each field.
    if not isinstance(lists, ak.contents.ListOffsetArray) or lists.offsets.dtype != np.int64 or lists.offsets[0] != 0:
        lists = lists.to_ListOffsetArray64(start_at_zero=True)
    content = projected(lists.content, name)
    if content.is_unknown:  # no event has any elements, so there is no type
        content = content.to_NumpyArray(dtype=np.float64)
    if not content.is_numpy:
        raise InputError(f"{name!r} does not contain plain numbers, so it has no flat content.")
    offsets = np.asarray(lists.offsets.data)
    return offsets, np.asarray(content.data)[: offsets[-1]]


def has_branch(events: Any, name: str) -> bool:
    """Whether events have this branch of numbers: by its name, or as a field of a collection (``Muon_pt``)."""
    import awkward as ak

    branches = getattr(events, "flat_branches", None)
    if branches is not None and branches.is_list(name) is not None:
        return True
    collection, _, field = name.partition("_")
    return name in events.fields or (collection in events.fields and field in ak.fields(events[collection]))


def flat_branch(events: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets (int64, events + 1) and flat content of a branch with a list of numbers per event.

    It is ``flat_list(events[name])``, for any array of events. From events as read, the numbers come straight from the
    file's baskets: building the arrays of awkward in between takes longer than decoding a small branch.
    """
    branches = getattr(events, "flat_branches", None)
    if branches is not None and branches.is_list(name):
        return branches.offsets(name), branches.numbers(name)
    return flat_list(events[name], name)


def take_branch(events: Any, name: str, index: np.ndarray) -> np.ndarray:
    """Return ``flat_branch(events, name)[1][index]``: some of the numbers of a branch, in any order.

    From events as read, a branch that is used once is decoded basket by basket, and never in memory as a whole.
    """
    branches = getattr(events, "flat_branches", None)
    if branches is not None and branches.is_list(name):
        numbers: np.ndarray = branches.take(name, index)
        return numbers
    return gather(flat_list(events[name], name)[1], index)


def scalar_branch(events: Any, name: str) -> np.ndarray:
    """Return a branch with one number per event as a numpy array; the same as `flat_branch` for such a branch."""
    branches = getattr(events, "flat_branches", None)
    if branches is not None and branches.is_list(name) is False:
        numbers: np.ndarray = branches.numbers(name)
        return numbers
    return np.asarray(events[name])


def projected(layout: Any, field: str) -> Any:
    """Return the layout without the indices of a mask; missing values raise `InputError`."""
    while layout.is_indexed or layout.is_option:
        if layout.is_option:
            raise InputError(f"Field {field!r} has missing values; remove them first: ak.drop_none(...).")
        layout = layout.project()
    return layout


def gather(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return ``values[index]``, by a compiled loop that takes half of numpy's time."""
    if values.dtype == np.float16:  # numba has no such numbers
        return values[index]
    found = np.empty(index.size, dtype=values.dtype)
    copy_rows(values, index, 0, found)
    return found


@jit
def copy_rows(values, index, shift, out):  # type: ignore[no-untyped-def]
    """Set ``out`` to ``values[index - shift]``, without checking bounds."""
    for i in range(index.size):
        out[i] = values[index[i] - shift]
