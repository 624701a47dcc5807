"""The user's code on its way to the workers: as it is now, whatever they imported before.

Modules of the user's own (not installed, not the standard library) travel by value: a worker that imported yesterday's
version, or that has no such file, runs today's.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import socket
import sys
import threading
import types
import warnings
from collections.abc import Mapping
from typing import Any

import cloudpickle

from af_kit.errors import InputError
from af_kit.run.dependencies import Reach, is_users

__all__ = ["Packed", "dumps"]

Modules = Mapping[str, types.ModuleType]

_lock = threading.RLock()
_MACHINERY = {"__builtins__", "__spec__", "__loader__", "__path__", "__cached__"}


class Packed:
    """Bytes of `dumps`, and their value, unpickled once in each process that asks for it.

    The bytes go from worker to worker as they are: pickled again there, a function would lose its own modules.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def value(self) -> Any:
        """The value; what its functions import inside themselves is in place."""
        with _lock:  # a kernel that is compiled in one thread is not compiled again in the next
            return _loaded(self._data)

    def __reduce__(self) -> tuple[Any, ...]:
        return Packed, (self._data,)


@functools.lru_cache(maxsize=4)
def _loaded(data: bytes) -> Any:
    origin, modules, value = pickle.loads(data)  # noqa: S301 - made by dumps, over the cluster's connection
    if origin != _process():
        sys.modules.update(modules)
    return value


def dumps(value: Any) -> bytes:
    """Pickle something for the workers, with the user's own modules; `Packed` undoes it.

    Raises
    ------
    InputError
        The function, or something it refers to, cannot be pickled.
    """
    reach = Reach()
    reach.digest(value)
    modules = _with_neighbours(reach.modules)
    try:
        return _packed(value, modules, reach.imported_inside)
    except Exception as error:  # noqa: BLE001 - something in one of the modules, or in the value itself
        refused = error
    stuck = {name: why for name, module in modules.items() if (why := _why_it_stays(module, modules))}
    for staying in (*([name] for name in stuck), list(stuck)):  # one alone may be the cause
        rest = {name: module for name, module in modules.items() if name not in staying}
        try:
            data = _packed(value, rest, reach.imported_inside)
        except Exception:  # noqa: BLE001 - as above; the first reason is told in the end
            continue
        for name in staying:
            warnings.warn(
                f"The module {name} cannot be sent to the workers ({stuck[name]}): they import their own copy. "
                "After an edit, restart them; or make what cannot be pickled inside a function.",
                stacklevel=5,
            )
        return data
    raise InputError(
        f"The function cannot be sent to workers: {type(refused).__name__}: {refused}. It, or a variable that it uses, "
        "holds something that cannot be pickled (an open file, a lock, a client): open or make that inside the "
        "function."
    ) from refused


def _packed(value: Any, modules: Modules, imported_inside: set[str]) -> bytes:
    inside = {name: module for name, module in modules.items() if name in imported_inside}
    return _by_value((_process(), inside, value), modules)


def _with_neighbours(modules: Modules) -> Modules:
    """The modules, and the user's other modules that they refer to: a module goes as a whole."""
    found: dict[str, types.ModuleType] = {}
    left = [module for name, module in modules.items() if not _is_ours(name)]
    while left:
        module = left.pop()
        found[module.__name__] = module
        for member in list(vars(module).values()):
            name = member.__name__ if isinstance(member, types.ModuleType) else getattr(member, "__module__", None)
            other = sys.modules.get(name) if isinstance(name, str) else None
            if other is not None and name not in (*found, "__main__") and not _is_ours(str(name)) and is_users(other):
                left.append(other)
    return found


def _why_it_stays(module: types.ModuleType, among: Modules) -> str:
    """Why a module cannot go by value as a whole (a lock, an open file, a handle in it); empty if it can."""
    try:
        _by_value(module, among)
    except Exception as error:  # noqa: BLE001 - each kind of object refuses in its own words
        return f"{type(error).__name__}: {error}"
    return ""


def _by_value(value: Any, modules: Modules) -> bytes:
    with _lock:  # cloudpickle's list is one for the process, and two runs may start at a time
        known = cloudpickle.list_registry_pickle_by_value()
        registered = [module for name, module in modules.items() if name not in known]
        for module in registered:
            cloudpickle.register_pickle_by_value(module)
        try:
            with io.BytesIO() as file:
                _Pickler(file, modules).dump(value)
                return file.getvalue()
        finally:
            for module in registered:
                cloudpickle.unregister_pickle_by_value(module)


class _Pickler(cloudpickle.Pickler):
    """Modules go empty first and are filled then, as packages refer to themselves; how they were found stays here."""

    def __init__(self, file: io.BytesIO, modules: Modules) -> None:
        super().__init__(file, protocol=5)
        self._modules = modules

    def reducer_override(self, obj: Any) -> Any:
        """How an object is pickled."""
        if not (isinstance(obj, types.ModuleType) and obj.__name__ in self._modules):
            return super().reducer_override(obj)
        own = {name: member for name, member in vars(obj).items() if name not in _MACHINERY}
        return types.ModuleType, (obj.__name__,), own, None, None, _fill


def _fill(module: types.ModuleType, members: dict[str, Any]) -> None:
    vars(module).update(members)


def _process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


def _is_ours(name: str) -> bool:
    """The kit itself is installed on the workers, also where it is a checkout here."""
    return name.partition(".")[0] == "af_kit"
