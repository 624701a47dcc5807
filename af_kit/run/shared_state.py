"""Refuse functions that accumulate outside themselves: such counts would be merged again with every later chunk.

``total["n"] += len(events); return total`` is right for one chunk; for three it counts the first chunk three times. So
the objects that a function refers to and could change (globals, closures, defaults, attributes of a callable) are
compared with their content before the run. Loading something once is allowed: None may become an evaluator, a model or
an array, a mapping may get one as a new entry, and a flag may change. Other changes could be counts.
"""

from __future__ import annotations

import builtins
import dis
import functools
import itertools
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, MutableSequence
from typing import Any

import numpy as np
import xxhash

from af_kit.errors import MergeError
from af_kit.run.dependencies import is_users

__all__ = ["SharedState"]

_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_MISSING = object()
_DESCRIPTORS = (property, functools.cached_property, types.MemberDescriptorType, types.GetSetDescriptorType)
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
        return other.value is self.value or not _is_column(self.value)

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
        self._places = [_Place(name, get) for name, get in dict(_places(function)).items()]
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
    """The content of a value, to be compared later; what cannot change is told by its kind."""
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
    if isinstance(value, (dict, types.MappingProxyType)) or (isinstance(value, Mapping) and _is_open(type(value))):
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
    state = _state_of(value)
    return _Opaque(value) if state is None else _Fields({name: _frozen(item, seen) for name, item in state.items()})


def _hash(array: Any) -> bytes:
    return xxhash.xxh3_64_digest(np.ascontiguousarray(array).reshape(-1).view("u1").data)


def _key(key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        return repr(key)
    return key


def _is_column(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] in ("awkward", "numpy", "pandas", "polars", "pyarrow")


def _is_open(kind: type) -> bool:
    """Whether to look into objects of a type: the user's, and containers; a mapping of a library may be a file."""
    return kind.__module__ in ("collections", "types") or _is_own(kind)


def _state_of(value: Any) -> dict[str, Any] | None:
    """The attributes of an object of a class of the user's, or of an accumulator; None for other objects."""
    kind = type(value)
    adds = any(("__add__" in vars(base) or "__iadd__" in vars(base)) for base in kind.__mro__ if base is not object)
    if not _is_open(kind) and not (adds and not _is_column(value)):
        return None
    slots = {name: getattr(value, name, None) for base in kind.__mro__ for name in _slots(base)}
    found = {**slots, **getattr(value, "__dict__", {})}
    if not found and not _is_open(kind):
        return None
    cached = functools.cached_property
    return {name: item for name, item in found.items() if not isinstance(getattr(kind, name, None), cached)}


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _module_of(kind: Any) -> types.ModuleType | None:
    return sys.modules.get(str(getattr(kind, "__module__", "")))


# ------------------------------------------------------------------------------------------------ where state can be


def _places(function: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names of what a callable could change, each with a way to get it now."""
    todo: list[tuple[str, Any]] = [(_name_of(function), function)]
    done: set[int] = set()
    while todo:
        name, item = todo.pop()
        if id(item) in done:
            continue
        done.add(id(item))
        for place, value, get in _around(name, item):
            if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)) or _is_wrapper(value):
                todo.append((_name_of(value), value))
            elif isinstance(value, type):
                if _is_own(value):
                    todo.append((place, value))
            elif not isinstance(value, types.ModuleType):
                yield place, get
                if callable(value) and _state_of(value) is not None:
                    todo.append((place, value))


def _around(name: str, item: Any) -> Iterator[tuple[str, Any, Callable[[], Any]]]:
    if isinstance(item, functools.partial):
        yield f"the function of {name}", item.func, lambda: None
        for i, value in enumerate([*item.args, *item.keywords.values()]):
            yield f"argument {i} of {name}", value, functools.partial(_itself, value)
    elif isinstance(item, types.MethodType):
        yield name, item.__func__, lambda: None
        yield f"the object of {name}", item.__self__, functools.partial(_itself, item.__self__)
    elif isinstance(item, types.FunctionType):
        if _is_own(item):
            yield from _around_function(name, item)
    elif _is_wrapper(item):
        yield name, item.__wrapped__, lambda: None
    elif isinstance(item, type):
        for key, value in list(vars(item).items()):
            if isinstance(value, (staticmethod, classmethod)):
                value = value.__func__
            of_python = key.startswith("__") and key.endswith("__") and not isinstance(value, types.FunctionType)
            if not of_python and not isinstance(value, _DESCRIPTORS):
                yield f"{item.__name__}.{key}", value, functools.partial(getattr, item, key, None)
    else:  # a callable object: its own attributes are yielded with it, its methods are functions
        yield f"the class of {name}", type(item), lambda: None
        yield name, _Opaque(item), functools.partial(_itself, item)


def _around_function(name: str, function: types.FunctionType) -> Iterator[tuple[str, Any, Callable[[], Any]]]:
    for cell_name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        value = _cell(cell)
        yield f"{cell_name!r} of the function around {name}", value, functools.partial(_cell, cell)
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    for argument, value in zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True):
        yield f"the default of {argument!r} of {name}", value, functools.partial(_itself, value)
    for argument, value in (function.__kwdefaults__ or {}).items():
        yield f"the default of {argument!r} of {name}", value, functools.partial(_itself, value)
    for attribute, value in vars(function).items():
        yield f"{name}.{attribute}", value, functools.partial(getattr, function, attribute, None)
    if not vars(function):
        yield f"an attribute of {name}", {}, functools.partial(vars, function)
    yield from _globals_of(function.__code__, function.__globals__)


def _globals_of(code: types.CodeType, names: dict[str, Any]) -> Iterator[tuple[str, Any, Callable[[], Any]]]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"):
            value = names.get(instruction.argval, _MISSING)
            loads = instruction.opname.startswith("LOAD")
            if loads and (value is None or (value is _MISSING and hasattr(builtins, instruction.argval))):
                if instruction.argval in ("globals", "vars"):
                    yield "a global", {}, functools.partial(_variables, names)
                continue  # a builtin, or None: code that replaces it is met elsewhere
            if isinstance(value, types.ModuleType) and _is_users(value):
                yield from _attributes(value, set(code.co_names))
            else:
                get = functools.partial(names.get, instruction.argval)
                yield f"the global {instruction.argval!r}", None if value is _MISSING else value, get
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_of(constant, names)


def _attributes(module: types.ModuleType, names: set[str]) -> Iterator[tuple[str, Any, Callable[[], Any]]]:
    for name in sorted(names & vars(module).keys()):
        value = getattr(module, name)
        if not isinstance(value, types.ModuleType):
            yield f"the global {name!r} of {module.__name__}", value, functools.partial(getattr, module, name, None)
        elif _is_users(value) and value is not module:
            yield from _attributes(value, names - {name})


def _variables(names: dict[str, Any]) -> dict[str, Any]:
    """The values among the globals of a module, for a function that can get any of them."""
    hidden = (types.FunctionType, types.ModuleType, type)
    return {name: item for name, item in list(names.items()) if name[0] != "_" and not isinstance(item, hidden)}


def _itself(value: Any) -> Any:
    return value


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _is_wrapper(value: Any) -> bool:
    return isinstance(getattr(value, "__wrapped__", None), types.FunctionType) and not isinstance(value, type)


def _is_own(item: Any) -> bool:
    module = _module_of(item)
    if str(getattr(item, "__module__", "")).partition(".")[0] == "af_kit":
        return False  # also if it is a checkout
    return module is None or module.__name__ == "__main__" or is_users(module)


def _is_users(module: types.ModuleType) -> bool:
    return is_users(module) and module.__name__.partition(".")[0] != "af_kit"


def _name_of(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return str(name).replace("<locals>.", "")
