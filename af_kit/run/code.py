"""The user's code: carried to the workers as it is now, and recognised when it has changed.

Modules of the user's own (not installed, not the standard library) go to the workers by value: a worker that imported
yesterday's version, or that has no such file, runs today's.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle

from af_kit.errors import InputError

__all__ = ["dumps", "fingerprint", "user_modules"]

_INSTALLED = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def dumps(value: Any) -> bytes:
    """Pickle something for the workers, with the user's own modules by value.

    Raises
    ------
    InputError
        The function, or something it refers to, cannot be pickled.
    """
    modules = [module for module in user_modules(value) if not _is_ours(module)]
    try:
        return _by_value(value, modules)
    except Exception:  # noqa: BLE001 - something in those modules cannot be pickled; workers may have the modules
        try:
            return cloudpickle.dumps(value)
        except Exception as error:
            raise InputError(
                f"The function cannot be sent to workers: {error}. It, or a variable that it uses, holds something "
                "that cannot be pickled (an open file, a lock, a client): open or make that inside the function."
            ) from error


def _by_value(value: Any, modules: list[types.ModuleType]) -> bytes:
    registered = [module for module in modules if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    for module in registered:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(value)
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


def user_modules(value: Any) -> list[types.ModuleType]:
    """The user's modules that a function reaches: by its own home, its globals, closures, and theirs."""
    seen: dict[str, types.ModuleType] = {}
    for item in _reached(value):
        name = item.__name__ if isinstance(item, types.ModuleType) else getattr(item, "__module__", None)
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is not None and name != "__main__" and _is_user(module):
            seen[module.__name__] = module
    return [seen[name] for name in sorted(seen)]


def fingerprint(*values: Any) -> str:
    """A key that changes when what the values mean changes: code, closures, constants, helper functions, modules.

    It is the same in another process, for code typed into a notebook too.
    """
    digest = hashlib.sha256()
    for value in values:
        for item in _reached(value):
            for piece in _told(item):
                digest.update(len(piece).to_bytes(8, "little") + piece)
    for module in user_modules(list(values)):
        digest.update(_source(module))
    return digest.hexdigest()


def _told(item: Any) -> Iterator[bytes]:
    """What an object contributes by itself; the things it refers to come on their own."""
    if isinstance(item, types.CodeType):
        # neither file name nor line numbers: moving a cell does not change what it computes
        yield item.co_code
        yield repr((item.co_names, item.co_varnames, item.co_freevars, item.co_argcount, item.co_flags)).encode()
        yield repr([_ordered(c) for c in item.co_consts if not isinstance(c, types.CodeType)]).encode()
    elif isinstance(item, types.FunctionType):
        yield item.__qualname__.encode()
    elif isinstance(item, types.ModuleType):
        yield f"{item.__name__} {getattr(item, '__version__', '')}".encode()
    elif isinstance(item, type):
        yield f"{item.__module__}.{item.__qualname__}".encode()
    elif not isinstance(item, (list, tuple, dict, set, frozenset, types.MethodType)):
        yield _value(item)


def _ordered(constant: Any) -> Any:
    """A constant that looks the same in every process: sets of strings change their order."""
    return sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant


def _value(item: Any) -> bytes:
    try:
        return pickle.dumps(item, protocol=5)
    except Exception:  # noqa: BLE001 - an object with no stable bytes: its type must do
        return f"{type(item).__module__}.{type(item).__qualname__}".encode()


def _reached(value: Any, seen: dict[int, Any] | None = None) -> Iterator[Any]:
    """The value and what its code refers to, depth first, each once; installed packages are not entered."""
    seen = {} if seen is None else seen
    if id(value) in seen:
        return
    seen[id(value)] = value  # kept alive, so that no other object gets its id
    yield value
    for part in _parts(value):
        yield from _reached(part, seen)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple, set, frozenset)):
        yield from sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
    elif isinstance(value, dict):
        for key in value:
            yield key
            yield value[key]
    elif isinstance(value, types.MethodType):
        yield value.__func__
        yield value.__self__
    elif isinstance(value, types.FunctionType):
        if value.__module__ != "__main__" and not _is_user(sys.modules.get(value.__module__)):
            return
        yield value.__code__
        yield value.__defaults__
        yield value.__kwdefaults__
        for cell in value.__closure__ or ():
            yield _cell(cell)
        for name in sorted(_names(value.__code__)):
            if name in value.__globals__:
                yield value.__globals__[name]
    elif isinstance(value, types.CodeType):
        yield from (const for const in value.co_consts if isinstance(const, types.CodeType))
    elif isinstance(value, type):
        if value.__module__ == "__main__" or _is_user(sys.modules.get(value.__module__)):
            yield from (member for _, member in sorted(vars(value).items()) if isinstance(member, types.FunctionType))
            yield from value.__bases__
    elif callable(getattr(value, "py_func", None)):  # a numba kernel: the function that was compiled
        yield value.py_func
    elif isinstance(value, types.ModuleType):
        if _is_user(value):
            yield from (m for _, m in sorted(vars(value).items()) if isinstance(m, types.ModuleType) and _is_user(m))
    elif hasattr(value, "__wrapped__"):
        yield value.__wrapped__
    else:
        yield from _instance_parts(value)


def _instance_parts(value: Any) -> Iterator[Any]:
    """An object of the user's own class: the class's code, and what the object holds."""
    own = type(value)
    if own.__module__ == "__main__" or _is_user(sys.modules.get(own.__module__)):
        yield own
        yield dict(sorted(getattr(value, "__dict__", {}).items()))
    elif hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        yield value.func
        yield value.args
        yield dict(sorted(value.keywords.items()))


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _names(code: types.CodeType) -> set[str]:
    """The global names that a function uses, those of its inner functions too."""
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= _names(const)
    return names


def _is_user(module: types.ModuleType | None) -> bool:
    """Whether a module is the user's own: it has a file, and that is in no installation."""
    file = getattr(module, "__file__", None)
    if not file:
        return False
    path = str(Path(file).resolve())
    return not path.startswith(_INSTALLED) and "site-packages" not in path and "dist-packages" not in path


def _is_ours(module: types.ModuleType) -> bool:
    """The kit itself is installed on the workers, also where it is a checkout here."""
    return module.__name__.partition(".")[0] == "af_kit"


def _source(module: types.ModuleType) -> bytes:
    try:
        return Path(str(module.__file__)).read_bytes()
    except OSError:
        return module.__name__.encode()
