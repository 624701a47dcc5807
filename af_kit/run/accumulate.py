"""The merge algebra: what two chunks gave becomes what both gave.

    numbers                       added, as Python's own (whole numbers of any size, double precision)
    histograms                    added (axes must be the same; growing categories are united)
    mappings, named tuples        merged field by field; a key that only one has is kept
    numpy and awkward arrays      concatenated along the first axis
    pandas and Arrow tables       rows appended
    lists, sets                   appended, united
    text                          kept, if all chunks agree
    objects with their own +      added by it (coffea accumulators are such)

Order is kept: chunk by chunk as in the plan, so rows come out by dataset, file and entry. What would change the values
(event numbers that become floats because one chunk's column is of another type) is an error.
"""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cloudpickle
import numpy as np

from af_kit.errors import MergeError
from af_kit.run import columns

__all__ = ["check_output", "check_travels", "detach", "merge"]

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
    """The value in the form that is merged: of the same type for one chunk as for many, and free of the chunk.

    Numbers become Python's own: numpy's wrap around at their few bits, and single precision does not hold a sum of
    weights. Arrays are compact copies, so that a result does not hold the chunk's columns or its file.
    """
    if isinstance(value, Mapping):
        kind = Counter if isinstance(value, Counter) else dict
        return kind({key: detach(item) for key, item in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(detach(item) for item in value))
    if type(value) is list:
        known = {type(item) for item in value} <= {int, float, str, bool}
        return value if known else [detach(item) for item in value]
    if isinstance(value, (np.number, np.bool_)) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if isinstance(value, np.ndarray):
        return value if value.base is None else value.copy()
    return columns.detach(value)


def check_travels(value: Any, where: str = "result") -> None:
    """Refuse what cannot be sent from a worker; looked into is what may hold anything.

    Raises
    ------
    MergeError
        Something cannot be pickled; the message names the place. (Dask would try to send it for ever.)
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_travels(item, f"{where}[{key!r}]")
    elif _rule(value) in (_lists, _sets, _named_tuples, _own):
        try:
            cloudpickle.dumps(value)
        except Exception as error:
            raise MergeError(f"{where} cannot be sent from a worker: {error}. Return {_CAN}.") from error


Rule = Callable[[Sequence[Any], str], Any]


def _rule(value: Any) -> Rule | None:
    """The rule for a kind of value; types are told apart without importing the libraries they come from."""
    if isinstance(value, Mapping):
        return _mappings
    if isinstance(value, str):  # numpy's text as well
        return _constants
    if isinstance(value, (numbers.Number, np.number, np.bool_)):
        return _numbers
    if isinstance(value, np.ndarray):
        return columns.arrays if value.ndim else _numbers
    if isinstance(value, tuple):
        return _named_tuples if hasattr(value, "_fields") else None
    if isinstance(value, list):
        return _lists
    if isinstance(value, (set, frozenset)):
        return _sets
    return columns.rule(value) or _rule_of_own(value)


def _rule_of_own(value: Any) -> Rule | None:
    """The rule for what brings its own addition; that of arrays' libraries adds element by element, so it is not it."""
    kinds = [(kind, kind.__module__.partition(".")[0]) for kind in type(value).__mro__]
    if any((home, kind.__name__) == ("boost_histogram", "Histogram") for kind, home in kinds):
        return _histograms
    if any(home in ("numpy", "awkward", "pandas", "pyarrow", "dask") for _, home in kinds):
        return None
    return _own if any("__add__" in vars(kind) for kind, home in kinds if home != "builtins") else None


def _mappings(values: Sequence[Mapping[Any, Any]], where: str) -> dict[Any, Any]:
    keys = dict.fromkeys(key for value in values for key in value)
    merged = {key: merge([value[key] for value in values if key in value], f"{where}[{key!r}]") for key in keys}
    return Counter(merged) if isinstance(values[0], Counter) else merged


def _named_tuples(values: Sequence[Any], where: str) -> Any:
    kind = type(values[0])
    fields = kind._fields
    return kind(*(merge([getattr(v, name) for v in values], f"{where}.{name}") for name in fields))


def _numbers(values: Sequence[Any], where: str) -> Any:
    total = detach(values[0])
    for value in values[1:]:
        total = total + detach(value)
    return total


def _histograms(values: Sequence[Any], where: str) -> Any:
    try:
        return _own(values, where)
    except Exception as error:
        raise MergeError(
            f"{where}: the histograms of two chunks cannot be added: {error}. Make it with the same axes (edges, name, "
            "label) and the same storage in every chunk; only category axes may grow."
        ) from error


def _own(values: Sequence[Any], where: str) -> Any:
    total = values[0] + values[1]
    for value in values[2:]:
        total = total + value
    return total


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
