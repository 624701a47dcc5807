"""The merge algebra: what two chunks gave becomes what both gave.

    numbers                       added
    histograms                    added (axes must be the same; growing categories are united)
    mappings, named tuples        merged field by field; a key that only one has is kept
    numpy and awkward arrays      concatenated along the first axis (arrays without an axis are added)
    pandas and Arrow tables       rows appended
    lists, sets                   appended, united
    strings, None-free constants  kept, if all chunks agree
    coffea accumulators           by their own ``add``

Order is kept: chunk by chunk as in the plan, so rows come out by dataset, file and entry.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from af_kit.errors import MergeError

__all__ = ["check_output", "detach", "merge"]

_CAN = "numbers, hist.Hist, numpy or awkward arrays, pandas or Arrow tables, lists, sets, and mappings of these"


def merge(values: Sequence[Any], where: str = "result") -> Any:
    """Merge what several chunks gave, in order.

    Parameters
    ----------
    values : sequence
        At least one value; all of the same kind. They are not changed.
    where : str
        How to name the value in an error, such as ``"result['mass']"``.

    Raises
    ------
    MergeError
        The values are of kinds that do not go together.
    """
    first = values[0]
    if len(values) == 1:
        return first
    rule = _rule(first)
    if rule is None:
        raise MergeError(f"{where} is a {type(first).__name__}, which cannot be merged. Return {_CAN}.")
    for value in values[1:]:
        if _rule(value) is not rule:
            raise MergeError(
                f"{where} is a {type(first).__name__} in one chunk and a {type(value).__name__} in another. "
                "Return the same kind for every chunk, also where nothing was selected."
            )
    try:
        return rule(values, where)
    except MergeError:
        raise
    except Exception as error:  # the library's own reason (axes, columns, types) is the useful part
        raise MergeError(f"{where}: two chunks' {type(first).__name__} cannot be merged: {error}") from error


def check_output(value: Any, where: str = "result") -> None:
    """Refuse what a function must not return, before it is sent anywhere.

    Raises
    ------
    MergeError
        Not a mapping, or something in it cannot be merged; the message names the place.
    """
    if not isinstance(value, Mapping):
        got = "nothing (None)" if value is None else f"a {type(value).__name__}"
        raise MergeError(f'The function returned {got}. Return a mapping, such as {{"mass": histogram}}.')
    for key, item in value.items():
        _check_item(item, f"{where}[{key!r}]")


def _check_item(item: Any, where: str) -> None:
    if item is None or _rule(item) is None:
        got = "None" if item is None else f"a {type(item).__name__}"
        raise MergeError(f"{where} is {got}, which cannot be merged. Return {_CAN}.")
    if isinstance(item, Mapping):
        for key, inner in item.items():
            _check_item(inner, f"{where}[{key!r}]")
    elif isinstance(item, tuple):
        for name, inner in zip(item._fields, item, strict=True):  # type: ignore[attr-defined]
            _check_item(inner, f"{where}.{name}")


def detach(value: Any) -> Any:
    """Replace awkward arrays by compact copies, so that a result does not hold the chunk's columns or its file."""
    if isinstance(value, Mapping):
        return {key: detach(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(detach(item) for item in value))
    if _module(value) == "awkward":
        import awkward as ak

        return ak.to_packed(ak.materialize(value))
    return value


Rule = Callable[[Sequence[Any], str], Any]


def _module(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _rule(value: Any) -> Rule | None:
    """The rule for a kind of value; types are told apart without importing the libraries they come from."""
    if isinstance(value, Mapping):
        return _mappings
    if isinstance(value, (numbers.Number, np.generic)):
        return _numbers
    if isinstance(value, np.ndarray):
        return _arrays
    if isinstance(value, tuple):
        return _named_tuples if hasattr(value, "_fields") else None
    if isinstance(value, list):
        return _lists
    if isinstance(value, (set, frozenset)):
        return _sets
    if isinstance(value, str):
        return _constants
    return _library_rule(value)


def _library_rule(value: Any) -> Rule | None:
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(value).__mro__}
    if "boost_histogram.Histogram" in names:
        return _sum
    if names & {"awkward.Array"}:
        return _awkward
    if names & {"pandas.DataFrame", "pandas.Series"}:
        return _pandas
    if "pyarrow.Table" in names or "pyarrow.lib.Table" in names:
        return _arrow
    if "coffea.AccumulatorABC" in names:
        return _coffea
    own = type(value)
    return _sum if "__add__" in vars(own) and own.__module__ != "builtins" else None


def _mappings(values: Sequence[Mapping[Any, Any]], where: str) -> dict[Any, Any]:
    keys = dict.fromkeys(key for value in values for key in value)
    return {key: merge([value[key] for value in values if key in value], f"{where}[{key!r}]") for key in keys}


def _named_tuples(values: Sequence[Any], where: str) -> Any:
    kind = type(values[0])
    fields = kind._fields
    return kind(*(merge([getattr(v, name) for v in values], f"{where}.{name}") for name in fields))


def _numbers(values: Sequence[Any], where: str) -> Any:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _sum(values: Sequence[Any], where: str) -> Any:
    total = values[0] + values[1]
    for value in values[2:]:
        total = total + value
    return total


def _arrays(values: Sequence[np.ndarray], where: str) -> np.ndarray:
    return np.sum(values, axis=0) if values[0].ndim == 0 else np.concatenate(values)


def _awkward(values: Sequence[Any], where: str) -> Any:
    import awkward as ak

    return ak.to_packed(ak.concatenate(list(values)))


def _pandas(values: Sequence[Any], where: str) -> Any:
    import pandas as pd

    return pd.concat(values, ignore_index=isinstance(values[0].index, pd.RangeIndex))


def _arrow(values: Sequence[Any], where: str) -> Any:
    import pyarrow as pa

    # Dictionaries of file names differ from chunk to chunk; unified, the column stays one small integer per row.
    return pa.concat_tables(values, promote_options="default").unify_dictionaries()


def _lists(values: Sequence[list[Any]], where: str) -> list[Any]:
    return [item for value in values for item in value]


def _sets(values: Sequence[Any], where: str) -> Any:
    return values[0].union(*values[1:])


def _constants(values: Sequence[str], where: str) -> str:
    if len(set(values)) > 1:
        raise MergeError(
            f"{where} is text that differs between chunks ({', '.join(map(repr, sorted(set(values))[:2]))}). "
            "Use it as a key of the mapping instead."
        )
    return values[0]


def _coffea(values: Sequence[Any], where: str) -> Any:
    from coffea.processor import accumulate

    return accumulate(values)
