"""The user's code on its way to the workers: as it is now, whatever they imported before.

Modules of the user's own (not installed, not the standard library) travel by value: a worker that imported yesterday's
version, or that has no such file, runs today's.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import types
import warnings
from collections.abc import Mapping
from typing import Any

import cloudpickle

from af_kit.errors import InputError
from af_kit.run.reach import Reach, is_users

__all__ = ["Packed", "dumps"]

Modules = Mapping[str, types.ModuleType]


class Packed:
    """Bytes of `dumps`, and their value, unpickled once in each process that asks for it.

    The bytes go from worker to worker as they are: pickled again there, a function would lose its own modules.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._loaded: list[Any] = []

    def value(self) -> Any:
        """The value; what its functions import inside themselves is in place."""
        if not self._loaded:
            origin, modules, value = pickle.loads(self._data)  # noqa: S301 - made by dumps, over the cluster's connection
            if origin != _process():
                sys.modules.update(modules)
            self._loaded.append(value)
        return self._loaded[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return Packed, (self._data,)


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
    except Exception:  # noqa: BLE001 - one of the modules, or the value itself
        modules = {name: module for name, module in modules.items() if _travels(module, modules)}
    try:
        return _packed(value, modules, reach.imported_inside)
    except Exception as error:
        raise InputError(
            f"The function cannot be sent to workers: {type(error).__name__}: {error}. It, or a variable that it uses, "
            "holds something that cannot be pickled (an open file, a lock, a client): open or make that inside the "
            "function."
        ) from error


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


def _travels(module: types.ModuleType, among: Modules) -> bool:
    """Whether a module can go by value; said aloud if not, as the workers' own copy may be an older one."""
    try:
        _by_value(module, among)
    except Exception as error:  # noqa: BLE001 - whatever refuses to be pickled: a lock, an open file, a handle
        warnings.warn(
            f"The module {module.__name__} cannot be sent to the workers ({type(error).__name__}: {error}): they "
            "import their own copy. After an edit, restart them; or make what cannot be pickled inside a function.",
            stacklevel=6,
        )
        return False
    return True


def _by_value(value: Any, modules: Modules) -> bytes:
    registered = [module for name, module in modules.items() if name not in cloudpickle.list_registry_pickle_by_value()]
    for module in registered:
        cloudpickle.register_pickle_by_value(module)
    try:
        data: bytes = cloudpickle.dumps(value)
        return data
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


def _process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


def _is_ours(name: str) -> bool:
    """The kit itself is installed on the workers, also where it is a checkout here."""
    return name.partition(".")[0] == "af_kit"
