"""Refuse functions that accumulate outside themselves: such counts would be merged again with every later chunk.

``total["n"] += len(events); return total`` is right for one chunk; for three it counts the first chunk three times. So
the objects that a function refers to and could change (globals, closures, defaults, attributes of a callable) are
compared with their content before the run. Loading something once is allowed: None may become an evaluator, a model or
an array, a mapping may get one as a new entry, and a flag may change. Other changes could be counts.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
import types
from collections.abc import Callable, Mapping, MutableSequence
from typing import Any

import numpy as np
import xxhash

from af_kit.errors import MergeError
from af_kit.run.mutable_places import attributes_of, is_column, is_open, mutable_places

__all__ = ["SharedState"]

_ATOMS = (type(None), bool, int, float, complex, str, bytes)
# Comparing may take this part of the time that the function takes; state too large for that is compared less often.
_SHARE = 0.02
# Comparing one object may always take this time, in seconds.
_ALWAYS_S = 1e-4


class _Fields(dict[str, Any]):
    """The attributes of an object of a class of the user's."""


class _Loaded(tuple[Any, ...]):
    """The content of an array or table, which may be new: it is loaded, and may not change afterwards."""

    __slots__ = ()


class _Opaque:
    """Stands for an object whose content is not looked at: an evaluator, a model, a function, an immutable array."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Opaque) or type(other.value) is not type(self.value):
            return False
        # An awkward array or an Arrow table is not changed in place, but replaced by a longer one.
        return other.value is self.value or not is_column(self.value)

    __hash__ = None  # type: ignore[assignment]


class _Place:
    """Something that the function could change: its name, a way to get it, and its content when last compared."""

    def __init__(self, name: str, get: Callable[[], Any]) -> None:
        self.name, self.get, self.due = name, get, 1
        self.content = self.now()

    def now(self) -> Any:
        return _frozen(self.get(), {})


class SharedState:
    """What a function could change of the objects around it, compared with their content at the start.

    Parameters
    ----------
    function : callable or coffea processor
        As it is called for each chunk of this process, by any thread.
    """

    def __init__(self, function: Any) -> None:
        self._lock = threading.Lock()
        self._places = [_Place(name, get) for name, get in dict(mutable_places(function)).items()]
        self._calls = 0
        self._first = threading.Lock()
        self._loaded = not any(_can_be_filled(place.content) for place in self._places)

    def call(self, function: Callable[[Any], Any], events: Any) -> Any:
        """Return ``function(events)``, after a `check`.

        If there is something that the function may load once, its first call in this process is alone, so that what
        it loads is not taken for counts of several chunks.
        """
        if not self._places:
            return function(events)
        if not self._loaded:
            with self._first:
                if not self._loaded:
                    output = self._timed(function, events, alone=True)
                    self._loaded = True
                    return output
        return self._timed(function, events)

    def _timed(self, function: Callable[[Any], Any], events: Any, *, alone: bool = False) -> Any:
        began = time.perf_counter()
        output = function(events)
        self.check(time.perf_counter() - began, alone=alone)
        return output

    def check(self, took_s: float, *, alone: bool = False) -> None:
        """Raise if the function has changed something since the start.

        Parameters
        ----------
        took_s : float
            The time of its last call, in seconds.
        alone : bool
            Whether it is the only call so far: anything may then be new, but may not change later.

        Raises
        ------
        MergeError
            The message names the object.
        """
        if not self._places:
            return
        share = max(_SHARE * took_s / len(self._places), _ALWAYS_S)
        with self._lock:
            self._calls += 1
            for place in self._places:
                if self._calls < place.due:
                    continue
                began = time.perf_counter()
                now = place.now()
                changed = _counts(place.content, now, alone)
                place.due = self._calls + 1 if time.perf_counter() - began < share else 2 * self._calls
                if changed:
                    place.due = self._calls + 1
                    raise MergeError(
                        f"The function changes {place.name}, which exists outside it: what one chunk adds there would "
                        "be counted again with the next chunk. Create it inside the function and return it. To load "
                        "something once per process, use a function with functools.cache."
                    )
                place.content = now


def _counts(before: Any, now: Any, alone: bool) -> bool:
    """Whether a change is one that accumulates, rather than something loaded once and kept."""
    if before is None:
        return now is not None and not alone and _holds_counts(now)
    if isinstance(before, bool) and isinstance(now, bool):
        return False  # a flag, such as "initialised"
    if isinstance(before, dict) and isinstance(now, dict):
        if any(key not in now for key in before):
            return True
        return any(
            _counts(before[key], now[key], alone) if key in before else not alone and _holds_counts(now[key])
            for key in now
        )
    return bool(before != now)


def _holds_counts(value: Any) -> bool:
    """Whether something new could be a count: a number, a string, a histogram, or a container of these."""
    if isinstance(value, (_Fields, _Opaque, _Loaded)):
        return False
    if isinstance(value, (dict, tuple)):
        return any(map(_holds_counts, value.values() if isinstance(value, dict) else value))
    return bool(value)


def _can_be_filled(content: Any) -> bool:
    """Whether there is a None or an empty mapping, which a function may replace or fill once."""
    if isinstance(content, dict):
        return not content or any(map(_can_be_filled, content.values()))
    return content is None


def _frozen(value: Any, seen: dict[int, Any]) -> Any:
    """Return the content of a value in a form to compare later; for what cannot change, its type."""
    if type(value) in _ATOMS:
        return value if not isinstance(value, float) or value == value else "nan"
    if isinstance(value, np.generic):
        return value.tobytes()
    if id(value) in seen:
        return seen[id(value)][1]
    seen[id(value)] = (value, "again")  # holds the value, so that no other object gets its id
    try:
        frozen = _content_of(value, seen)
    except Exception:  # noqa: BLE001 - another thread changes it, or an object that cannot be looked at
        frozen = _Opaque(value)
    seen[id(value)] = (value, frozen)
    return frozen


def _content_of(value: Any, seen: dict[int, Any]) -> Any:
    if isinstance(value, (dict, types.MappingProxyType)) or (isinstance(value, Mapping) and is_open(type(value))):
        return {_key(key): _frozen(item, seen) for key, item in list(value.items())}
    if isinstance(value, (bytearray, itertools.count)):
        return repr(value)
    if isinstance(value, (list, tuple, MutableSequence)):
        return tuple([_frozen(item, seen) for item in list(value)])
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(map(repr, list(value))))
    if isinstance(value, np.ndarray):
        if not value.flags.writeable:
            return _Opaque(value)
        if value.dtype.hasobject:
            return tuple([_frozen(item, seen) for item in value.ravel().tolist()])
        return _Loaded((value.shape, _hash(value)))
    if hasattr(value, "storage_type") and hasattr(value, "view"):  # a histogram
        return _hash(value.view(flow=True))
    if hasattr(value, "iloc") and hasattr(value, "to_numpy"):  # a pandas table
        from pandas.util import hash_pandas_object

        return _Loaded((len(value), _hash(hash_pandas_object(value).to_numpy())))
    if isinstance(value, (types.FunctionType, types.MethodType, types.ModuleType, type, functools.partial)):
        return _Opaque(value)
    state = attributes_of(value)
    return _Opaque(value) if state is None else _Fields({name: _frozen(item, seen) for name, item in state.items()})


def _hash(array: Any) -> bytes:
    return xxhash.xxh3_64_digest(np.ascontiguousarray(array).reshape(-1).view("u1").data)


def _key(key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        return repr(key)
    return key
