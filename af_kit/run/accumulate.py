"""The merge algebra: how the outputs of several chunks become one.

    numbers                       added, as Python numbers (integers of any size, double precision)
    histograms                    added (axes must be the same; growing categories are united)
    mappings, named tuples        merged field by field; a key that only one has is kept
    numpy and awkward arrays      concatenated along the first axis
    pandas and Arrow tables       rows appended
    lists, sets                   appended, united
    text                          kept, if all chunks agree
    other objects with +          added (coffea's accumulators, for example)

The order is that of the plan, chunk by chunk, so rows are sorted by dataset, file and entry. A merge that would change
values (event numbers that become floats because one chunk's column has another type) is an error.
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

_MERGEABLE = "numbers, hist.Hist, numpy or awkward arrays, pandas or Arrow tables, lists, sets, and mappings of these"


def merge(values: Sequence[Any], where: str = "result") -> Any:
    """Merge the outputs of several chunks, in order.

    Parameters
    ----------
    values : sequence
        At least one value; all of the same type. They are not changed.
    where : str
        The name of the value in errors, such as ``"result['mass']"``.

    Raises
    ------
    MergeError
        The values cannot be merged.
    """
    first = values[0]
    if len(values) == 1:
        return first
    rule = _rule(first)
    if rule is None:
        raise MergeError(f"{where} is a {type(first).__name__}, which cannot be merged. Return {_MERGEABLE}.")
    for value in values[1:]:
        if _rule(value) is not rule:
            raise MergeError(
                f"{where} is a {type(first).__name__} in one chunk and a {type(value).__name__} in another. "
                "Return the same type for every chunk, also if nothing was selected."
            )
    try:
        return rule(values, where)
    except MergeError:
        raise
    except Exception as error:  # the library's reason (axes, columns, types) is the useful part
        raise MergeError(f"{where}: two chunks' {type(first).__name__} cannot be merged: {error}") from error


def check_output(value: Any, where: str = "result") -> None:
    """Refuse an output that cannot be merged, before it is sent anywhere.

    Raises
    ------
    MergeError
        It is not a mapping, or a value in it cannot be merged; the message names the value.
    """
    if not isinstance(value, Mapping):
        got = "nothing (None)" if value is None else f"a {type(value).__name__}"
        raise MergeError(f'The function returned {got}. Return a mapping, such as {{"mass": histogram}}.')
    for key, item in value.items():
        _check_item(item, f"{where}[{key!r}]")


def _check_item(item: Any, where: str) -> None:
    if item is None or _rule(item) is None:
        got = "None" if item is None else f"a {type(item).__name__}"
        raise MergeError(f"{where} is {got}, which cannot be merged. Return {_MERGEABLE}.")
    if isinstance(item, Mapping):
        for key, inner in item.items():
            _check_item(inner, f"{where}[{key!r}]")
    elif isinstance(item, tuple):
        for name, inner in zip(item._fields, item, strict=True):  # type: ignore[attr-defined]
            _check_item(inner, f"{where}.{name}")


def detach(value: Any) -> Any:
    """Return the value in the form that is merged: of the same type for one chunk as for many, without the chunk.

    Numbers become Python numbers, because numpy's overflow, and single precision cannot hold a sum of weights. Arrays
    become compact copies, so that a result does not keep the chunk's columns or its file in memory.
    """
    if isinstance(value, Mapping):
        mapping = Counter if isinstance(value, Counter) else dict
        return mapping({key: detach(item) for key, item in value.items()})
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
    """Refuse an output that cannot be sent from a worker; only values that may hold any object are checked.

    Raises
    ------
    MergeError
        A value cannot be pickled; the message names it. (Dask would try to send it again and again.)
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_travels(item, f"{where}[{key!r}]")
    elif _rule(value) in (_lists, _sets, _named_tuples, _own):
        try:
            cloudpickle.dumps(value)
        except Exception as error:
            raise MergeError(f"{where} cannot be sent from a worker: {error}. Return {_MERGEABLE}.") from error


Rule = Callable[[Sequence[Any], str], Any]


def _rule(value: Any) -> Rule | None:
    """Return the rule for a type of value, without importing the libraries that the types come from."""
    if isinstance(value, Mapping):
        return _mappings
    if isinstance(value, str):  # also numpy's text
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
    """Return the rule for a type that defines ``+``, except arrays and tables, whose ``+`` acts on the elements."""
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
        total = _own(values, where)
        # A sum of histograms that were filled without weights is one, too; boost-histogram forgets that when it adds.
        if hasattr(total, "_variance_known"):
            total._variance_known = all(getattr(value, "_variance_known", False) for value in values)
        return total
    except Exception as error:
        raise MergeError(
            f"{where}: the histograms of two chunks cannot be added: {error}. Create it with the same axes (edges, "
            "name, label) and the same storage in every chunk; only category axes may grow."
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
