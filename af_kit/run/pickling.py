"""Pickle the user's code for the workers as it is now, whatever they imported before.

The user's own modules (not installed, not the standard library) are pickled by value: a worker that imported an older
version, or that does not have the file, runs the present one.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import pickle
import socket
import sys
import threading
import types
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import cloudpickle

from af_kit.errors import InputError
from af_kit.run.dependencies import Dependencies, is_af_kit, is_users

__all__ = ["Packed", "dumps"]

logger = logging.getLogger(__name__)

Modules = Mapping[str, types.ModuleType]

# Up to this size, what `dumps` returns is compressed. It is part of each task, and a message in which Dask finds the
# text "__main__", as in any function of a notebook, is pickled a second time, more slowly.
_MOST_COMPRESSED = 1 << 20

_lock = threading.RLock()
_MACHINERY = {"__builtins__", "__spec__", "__loader__", "__path__", "__cached__"}


class Packed:
    """Bytes from `dumps`, unpickled once in each process that needs the value.

    The bytes go unchanged from worker to worker: if a worker pickled the function again, its modules would be lost.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def value(self) -> Any:
        """Return the value, after adding the modules that its functions import in their bodies."""
        with _lock:  # so that a kernel compiled in one thread is not compiled again in the next
            return _loaded(self._data)

    def __reduce__(self) -> tuple[Any, ...]:
        return Packed, (self._data,)


@functools.lru_cache(maxsize=4)
def _loaded(data: bytes) -> Any:
    if not data.startswith(pickle.PROTO):
        data = zlib.decompress(data)
    origin, modules, value = pickle.loads(data)  # noqa: S301 - from dumps, over the cluster's connection
    if origin != _process():
        sys.modules.update(modules)
    return value


def dumps(value: Any) -> bytes:
    """Pickle a value for the workers, with the user's own modules; `Packed` unpickles it.

    Raises
    ------
    InputError
        The function, or something it refers to, cannot be pickled.
    """
    # af-kit itself is installed on the workers, even if it is a checkout here.
    found = Dependencies()
    found.digest(value)
    modules = _with_neighbours(found.modules)
    if modules:
        logger.info("run: these modules go to the workers with the function: %s", ", ".join(sorted(modules)))
    try:
        return _packed(value, modules, found.imported_inside)
    except Exception as error:  # noqa: BLE001 - raised by one of the modules, or by the value itself
        refused = error
    stuck = {name: why for name, module in modules.items() if (why := _why_it_stays(module, modules))}
    for staying in (*([name] for name in stuck), list(stuck)):  # leaving out one of them may be enough
        rest = {name: module for name, module in modules.items() if name not in staying}
        try:
            data = _packed(value, rest, found.imported_inside)
        except Exception:  # noqa: BLE001 - as above; the first error is raised at the end
            continue
        for name in staying:
            warnings.warn(
                f"The module {name} cannot be sent to the workers ({stuck[name]}): they import their own copy. "
                "After an edit, restart them; or create what cannot be pickled inside a function.",
                stacklevel=5,
            )
        return data
    raise InputError(
        f"The function cannot be sent to workers: {type(refused).__name__}: {refused}. It, or a variable that it uses, "
        "holds an object that cannot be pickled (an open file, a lock, a client): create that inside the function."
    ) from refused


def _packed(value: Any, modules: Modules, imported_inside: set[str]) -> bytes:
    inside = {name: module for name, module in modules.items() if name in imported_inside}
    data = _by_value((_process(), inside, value), modules)
    return zlib.compress(data, 1) if len(data) <= _MOST_COMPRESSED else data


def _with_neighbours(modules: Modules) -> Modules:
    """Return the modules and the user's other modules that they refer to, because a module is pickled as a whole."""
    found: dict[str, types.ModuleType] = {}
    left = [module for name, module in modules.items() if not is_af_kit(name)]
    while left:
        module = left.pop()
        found[module.__name__] = module
        for member in list(vars(module).values()):
            name = member.__name__ if isinstance(member, types.ModuleType) else getattr(member, "__module__", None)
            other = sys.modules.get(name) if isinstance(name, str) else None
            if other is not None and name not in (*found, "__main__") and not is_af_kit(str(name)) and is_users(other):
                left.append(other)
    return found


def _why_it_stays(module: types.ModuleType, among: Modules) -> str:
    """Return why a module cannot be pickled by value (a lock or an open file in it); empty if it can."""
    try:
        _by_value(module, among)
    except Exception as error:  # noqa: BLE001 - each type of object raises another error
        return f"{type(error).__name__}: {error}"
    return ""


def _by_value(value: Any, modules: Modules) -> bytes:
    with _lock:  # cloudpickle has one list per process, and two runs may start at the same time
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
    """Pickles a module as an empty one that is filled later, because packages refer to themselves."""

    def __init__(self, file: io.BytesIO, modules: Modules) -> None:
        super().__init__(file, protocol=5)
        self._modules = modules

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is pickled."""
        if not (isinstance(obj, types.ModuleType) and obj.__name__ in self._modules):
            return super().reducer_override(obj)
        own = {name: member for name, member in vars(obj).items() if name not in _MACHINERY}
        return types.ModuleType, (obj.__name__,), own, None, None, _fill


def _fill(module: types.ModuleType, members: dict[str, Any]) -> None:
    vars(module).update(members)


def _process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()
