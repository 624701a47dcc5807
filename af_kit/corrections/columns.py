"""The inputs of a correction as flat columns of checked numbers, and the way back to their shape."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.shapes import Restore, flatten
from af_kit.errors import InputError

__all__ = ["Column", "checked", "columns"]

Column = NDArray[np.float64]


def columns(
    correction: str, inputs: Mapping[str, Any], *, may_be_nan: Collection[str] = ()
) -> tuple[list[Column], Restore]:
    """Return the inputs as float64 columns of one length, in their order, and a function that restores the shape.

    One-dimensional numpy arrays of one length pass without a detour through awkward; they may be the caller's own
    arrays, so a column is never written to.

    Parameters
    ----------
    correction : str
        What the inputs are for, named in errors.
    inputs : mapping
        Name to a number, or an array of awkward (also jagged), numpy or pandas.
    may_be_nan : collection of str
        Inputs in which NaN has a meaning, such as "no photon".

    Raises
    ------
    InputError
        The shapes are incompatible, an input is not a number, or one is NaN or infinite.
    """
    values = list(inputs.values())
    flat: Mapping[str, Any] = inputs
    restore: Restore = _as_it_is
    if not all(type(value) is np.ndarray and value.ndim == 1 and len(value) == len(values[0]) for value in values):
        flat, restore = flatten(inputs)
    size = next((len(value) for value in flat.values() if isinstance(value, np.ndarray)), 1)
    return [checked(correction, name, flat[name], size, name in may_be_nan) for name in inputs], restore


def _as_it_is(values: np.ndarray) -> np.ndarray:
    return values


def checked(correction: str, name: str, values: Any, size: int, may_be_nan: bool = False) -> Column:
    """Return one flat input as float64; InputError if it is not numeric, or is NaN or infinite."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{correction}: {name} must be numbers, and is of type {array.dtype}.")
    column: Column = array.astype(np.float64, copy=False)
    if column.ndim == 0:
        column = np.broadcast_to(column, (size,))
    bad = np.isinf(column) if may_be_nan else ~np.isfinite(column)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{correction}: {name} is {column[first]} for {int(bad.sum())} of {size} elements (the first is number "
            f"{first}). Find out where it comes from, or remove these elements before the correction."
        )
    return column
