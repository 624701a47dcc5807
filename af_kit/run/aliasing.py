"""Outputs must be made anew for each chunk.

A histogram or list that lives outside the function, filled on from chunk to chunk, would count each chunk again with
every later one; an array that is used again would be overwritten. Neither shows in the result by itself.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from af_kit.errors import MergeError

__all__ = ["check_fresh"]

_given = threading.local()


def check_fresh(output: Mapping[Any, Any]) -> None:
    """Refuse an output that holds, and not empty, an object of the output before it in this thread.

    Raises
    ------
    MergeError
        The message names the place.
    """
    before: Mapping[int, Callable[[], Any]] = getattr(_given, "before", {})
    items = list(_items(output, "result"))
    for where, item in items:
        known = before.get(id(item))
        if known is not None and known() is item and not _is_empty(item):
            raise MergeError(
                f"{where} is the same {type(item).__name__} object as for another chunk: it is made outside the "
                "function, and what it holds of one chunk would be counted again with the next. Make it inside the "
                "function."
            )
    _given.before = {id(item): _reference(item) for _, item in items}


def _items(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _items(item, f"{where}[{key!r}]")
    elif isinstance(value, tuple):
        for item in value:
            yield from _items(item, where)
    elif isinstance(value, (list, np.ndarray)) or _is_histogram(value) or hasattr(value, "iloc"):
        yield where, value


def _reference(item: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(item)
    except TypeError:  # a list
        return lambda: item


def _is_empty(item: Any) -> bool:
    """Whether merging it again changes nothing: a constant that stands for "nothing selected" may be given often."""
    if _is_histogram(item):  # unfilled, it is all zeros
        return not np.frombuffer(np.asarray(item.view(flow=True)).tobytes(), np.uint8).any()
    return len(item) == 0


def _is_histogram(item: Any) -> bool:
    return hasattr(item, "storage_type")
