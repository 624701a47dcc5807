"""Bring the inputs of a correction to one shape, flatten them, and give the result that shape again.

A value that is missing in one input (None, masked in numpy, NA in pandas) is missing in the result.
"""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from af_kit.errors import InputError

Restore = Callable[[np.ndarray], Any]


def flatten(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Restore]:
    """Flatten the inputs, without missing values.

    Parameters
    ----------
    inputs : mapping
        Name to a number, text, a list, or an array of awkward, numpy or pandas.

    Returns
    -------
    dict
        Each array as a one-dimensional numpy array, all of one length; numbers and text as they are.
    callable
        Takes the flat values of the correction, and returns them in the shape of the inputs: awkward if one of them is
        awkward, else a pandas Series if one of them is, else numpy, else a number.

    Raises
    ------
    InputError
        The shapes are incompatible, or an input is not of these types.
    """
    arrays = {name: array for name, value in inputs.items() if (array := _array(name, value)) is not None}
    if not arrays:
        return dict(inputs), lambda values: float(np.asarray(values).item())
    try:
        if any(_home(array) == "awkward" for array in arrays.values()):
            flat, restore = _awkward(arrays)
        else:
            flat, restore = _numpy(arrays)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"The shapes of the inputs {', '.join(arrays)} are incompatible: {str(error).splitlines()[0]}"
        ) from error
    return {**inputs, **flat}, restore


def _home(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _array(name: str, value: Any) -> Any:
    """Return an array of awkward or numpy, or a pandas Series; None for a number or text."""
    import awkward as ak

    if isinstance(value, (str, bool, numbers.Number, np.generic)):
        return None
    if isinstance(value, (list, tuple)):
        try:
            rectangular = np.asarray(value)
        except ValueError:  # lists of different lengths
            return ak.Array(value)
        return ak.Array(value) if rectangular.dtype == object else rectangular
    kind = type(value).__name__
    if isinstance(value, ak.Array) or (_home(value) == "pandas" and kind == "Series"):
        return value
    if isinstance(value, np.ndarray):
        return _without_objects(value) if value.dtype == object else value
    if _home(value) == "pandas" and hasattr(value, "isna") and getattr(value, "ndim", 0) == 1:  # an Index, or its array
        return _masked(value)
    got = "missing" if value is None or kind == "NAType" else f"a {kind}"
    raise InputError(f"{name} is {got}. Pass a number, text, or an array of awkward, numpy or pandas (a Series).")


def _without_objects(array: np.ndarray) -> np.ndarray:
    """Return numpy objects as numbers, with a mask where they are None."""
    values = np.ma.getdata(array)
    missing = np.array([value is None for value in values.ravel()], dtype=bool).reshape(values.shape)
    mask = np.ma.getmaskarray(array) | missing
    return np.ma.array(np.where(mask, 0.0, values).astype(float), mask=mask)


def _masked(column: Any) -> np.ndarray:
    """Return a column of pandas as numpy, masked where pandas has NA or None; NaN is not a missing value here."""
    if isinstance(column.dtype, np.dtype):
        values = column.to_numpy()
        return _without_objects(values) if values.dtype == object else values
    mask = np.asarray(column.isna())
    if not mask.any():
        return np.asarray(column.to_numpy())
    kind = getattr(column.dtype, "numpy_dtype", np.dtype(float))
    return np.ma.array(column.to_numpy(dtype=kind, na_value=kind.type(0)), mask=mask)


def _numpy(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], Restore]:
    series = {name: array for name, array in arrays.items() if _home(array) == "pandas"}
    index = next(iter(series.values())).index if series else None
    for name, column in series.items():
        if not column.index.equals(index):
            raise InputError(f"The index of {name} differs from that of {next(iter(series))}. Align the columns first.")
    plain = {name: _masked(array) if name in series else array for name, array in arrays.items()}
    shape = np.broadcast_shapes(*(array.shape for array in plain.values()))
    if index is not None and shape != (len(index),):
        raise ValueError(f"a Series of {len(index)} values with an array of shape {shape}")
    full = {name: np.broadcast_to(np.ma.getdata(array), shape).ravel() for name, array in plain.items()}
    masks = [
        np.broadcast_to(np.ma.getmaskarray(array), shape).ravel()
        for array in plain.values()
        if isinstance(array, np.ma.MaskedArray)
    ]
    mask = np.logical_or.reduce(masks) if masks else None
    flat = full if mask is None else {name: array[~mask] for name, array in full.items()}
    return flat, functools.partial(_like_numpy, shape, mask, index)


def _like_numpy(shape: tuple[int, ...], mask: np.ndarray | None, index: Any, values: Any) -> Any:
    if mask is None:
        shaped = np.asarray(values).reshape(shape)
    else:
        filled = np.full(mask.shape, np.nan)
        filled[~mask] = values
        shaped = np.ma.array(filled.reshape(shape), mask=mask.reshape(shape))
    if index is None:
        return shaped
    import pandas as pd

    if mask is None or not mask.any():
        return pd.Series(np.asarray(shaped), index=index)
    return pd.Series(pd.arrays.FloatingArray(np.ma.getdata(shaped), mask), index=index)


def _awkward(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], Restore]:
    import awkward as ak

    aligned = {name: ak.Array(_masked(array) if _home(array) == "pandas" else array) for name, array in arrays.items()}
    if len(aligned) > 1 and any("?" in str(array.type) or "option" in str(array.type) for array in aligned.values()):
        # awkward does not broadcast missing values to lists of a fixed length
        aligned = {name: ak.from_regular(array, axis=None) for name, array in aligned.items()}
    together = ak.zip(aligned, optiontype_outside_record=True).layout
    leaf = _leaf(together)
    flat = {name: np.asarray(leaf.content(name).to_backend_array()) for name in arrays}
    return flat, functools.partial(_like_awkward, together)


def _leaf(layout: Any) -> Any:
    """Return the records inside nested lists, without missing and unreachable ones."""
    while not layout.is_record:
        if layout.is_option or layout.is_indexed:
            layout = layout.project()
        elif layout.is_list:
            offsets = layout.to_ListOffsetArray64(True)
            layout = offsets.content[: offsets.offsets[-1]]
        else:
            raise TypeError("an array of several types has no single shape")
    return layout


def _like_awkward(layout: Any, values: np.ndarray) -> Any:
    import awkward as ak

    return ak.Array(_with_leaf(layout, np.asarray(values, dtype=float)))


def _with_leaf(layout: Any, values: np.ndarray) -> Any:
    """Return the lists and missing values of `layout` with numbers instead of its records."""
    import awkward as ak

    contents = ak.contents
    if layout.is_record:
        return contents.NumpyArray(values)
    if layout.is_option:
        valid = np.asarray(layout.mask_as_bool(valid_when=True))
        index = np.where(valid, np.cumsum(valid) - 1, -1)
        return contents.IndexedOptionArray(ak.index.Index64(index), _with_leaf(layout.project(), values))
    if layout.is_indexed:
        return _with_leaf(layout.project(), values)
    inner = layout.to_ListOffsetArray64(True)
    inside = _with_leaf(inner.content[: inner.offsets[-1]], values)
    if layout.is_regular:
        return contents.RegularArray(inside, layout.size, zeros_length=len(layout))
    return contents.ListOffsetArray(inner.offsets, inside)
