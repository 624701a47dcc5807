"""Values of jets as flat columns, and their products per event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.shapes import flatten
from af_kit.errors import InputError

__all__ = ["numbers", "per_event", "product"]


def numbers(flat: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Return flat inputs as arrays of float64 of one length.

    Raises
    ------
    InputError
        A value is NaN, which belongs to no bin and passes or fails cuts at random.
    """
    arrays = {name: np.atleast_1d(np.asarray(value, dtype=float)) for name, value in flat.items()}
    size = next((len(array) for array in arrays.values() if len(array) != 1), 1)
    for name, array in arrays.items():
        if missing := int(np.isnan(array).sum()):
            raise InputError(f"{missing} of {len(array)} values of {name} are NaN.")
        if len(array) != size:
            arrays[name] = np.broadcast_to(array, (size,))
    return arrays


def per_event(
    inputs: Mapping[str, Any], counts: Any = None
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    """Return the jets of all events as flat columns, and the number of jets of each event.

    Parameters
    ----------
    inputs : mapping
        Name to values: in lists per event, or flat if ``counts`` is given.
    counts : array of integers, optional
        The number of jets of each event.

    Raises
    ------
    InputError
        The values are flat and counts are missing or have another sum, or values are missing or NaN.
    """
    import awkward as ak

    if counts is None:
        lists = [value for value in inputs.values() if isinstance(value, ak.Array) and value.ndim == 2]
        if not lists:
            raise InputError("Pass the jets in lists per event, or flat with counts=, the number of jets per event.")
        counts = ak.num(lists[0], axis=1)
    counts = np.asarray(counts, dtype=np.int64)
    flat, _ = flatten(inputs)
    columns = numbers(flat)
    for name, column in columns.items():
        if len(column) != counts.sum():
            raise InputError(f"{name} has {len(column)} values, but the events have {counts.sum()} jets.")
    return columns, counts


def product(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the product of the jets' values in each event; 1 in events without jets."""
    result = np.ones(len(counts))
    filled = counts > 0
    if filled.any():
        starts = (np.cumsum(counts) - counts)[filled]
        result[filled] = np.multiply.reduceat(values, starts)
    return result
