"""Check that the function creates its outputs for each chunk.

A histogram or list created outside the function, and filled from chunk to chunk, counts each chunk again with every
later one; a reused array is overwritten. Neither is visible in the result.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from af_kit.errors import MergeError

__all__ = ["check_aliasing"]

_last = threading.local()


def check_aliasing(output: Mapping[Any, Any]) -> None:
    """Refuse an output that holds a non-empty object which was also in the previous output of this thread.

    Raises
    ------
    MergeError
        The message names the object.
    """
    before: Mapping[int, Callable[[], Any]] = getattr(_last, "before", {})
    items = list(_items(output, "result"))
    for where, item in items:
        known = before.get(id(item))
        if known is not None and known() is item and not _is_empty(item):
            raise MergeError(
                f"{where} is the same {type(item).__name__} object as for another chunk: it is created outside the "
                "function, so the content of one chunk would be counted again with the next. Create it inside the "
                "function."
            )
    _last.before = {id(item): _reference(item) for _, item in items}


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
    """Return whether merging it again changes nothing: a constant for "nothing selected" may be returned often."""
    if _is_histogram(item):  # without entries it is all zeros
        return not np.frombuffer(np.asarray(item.view(flow=True)).tobytes(), np.uint8).any()
    return len(item) == 0


def _is_histogram(item: Any) -> bool:
    return hasattr(item, "storage_type")
