"""Check that the function creates its outputs for each chunk.

A histogram or list created outside the function, and filled from chunk to chunk, counts each chunk again with every
later one; a reused array is overwritten. Neither is visible in the result.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from af_kit.errors import MergeError

__all__ = ["Aliasing"]

# Lists and dicts have no weak references: those of this number of outputs are held. All others are held weakly.
_HELD = 4


class Aliasing:
    """The objects in the outputs of one run in one process, whichever thread returned them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, Callable[[], Any]] = {}
        self._held: deque[dict[int, Any]] = deque(maxlen=_HELD)

    def check(self, output: Mapping[Any, Any]) -> None:
        """Refuse an output that holds a non-empty object which was also in an earlier output.

        Raises
        ------
        MergeError
            The message names the object.
        """
        items = list(_items(output, "result"))
        with self._lock:
            for where, item in items:
                if self._is_known(item) and not _is_empty(item):
                    raise MergeError(
                        f"{where} is the same {type(item).__name__} object as for another chunk: it is created outside "
                        "the function, so the content of one chunk would be counted again with the next. Create it "
                        "inside the function."
                    )
            held: dict[int, Any] = {}
            for _, item in items:
                try:
                    self._known[id(item)] = weakref.ref(item, _Forget(self._known, id(item)))
                except TypeError:
                    held[id(item)] = item
            self._held.append(held)

    def _is_known(self, item: Any) -> bool:
        reference = self._known.get(id(item))
        return (reference is not None and reference() is item) or any(id(item) in held for held in self._held)


class _Forget:
    """Removes an object that no longer exists."""

    def __init__(self, known: dict[int, Callable[[], Any]], number: int) -> None:
        self._known, self._number = known, number

    def __call__(self, _: Any) -> None:
        self._known.pop(self._number, None)


def _items(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield where, value
        for key, item in value.items():
            yield from _items(item, f"{where}[{key!r}]")
    elif isinstance(value, tuple):
        for item in value:
            yield from _items(item, where)
    elif isinstance(value, (list, np.ndarray)) or _is_histogram(value) or hasattr(value, "iloc"):
        yield where, value


def _is_empty(item: Any) -> bool:
    """Return whether merging it again changes nothing: a constant for "nothing selected" may be returned often."""
    if isinstance(item, Mapping):
        return all(map(_is_empty, item.values()))
    if _is_histogram(item):  # without entries it is all zeros
        return not np.frombuffer(np.asarray(item.view(flow=True)).tobytes(), np.uint8).any()
    return isinstance(item, (str, set, frozenset)) or not _has_content(item)


def _has_content(item: Any) -> bool:
    """Return whether a number is not zero, and a container not empty."""
    try:
        return len(item) > 0
    except TypeError:
        return bool(item != 0)


def _is_histogram(item: Any) -> bool:
    return hasattr(item, "storage_type")
