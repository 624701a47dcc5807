"""What a function could change outside itself: globals, closures, defaults, and attributes of callables and classes.

Only the user's own code is looked at, and what it refers to; installed packages and the kit are not.
"""

from __future__ import annotations

import builtins
import dis
import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from af_kit.run.dependencies import cell_content, is_users

__all__ = ["attributes_of", "is_column", "is_open", "mutable_places"]

_MISSING = object()
_DESCRIPTORS = (property, functools.cached_property, types.MemberDescriptorType, types.GetSetDescriptorType)


def mutable_places(function: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the names of what a callable could change, each with a function that returns its present value."""
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
                if callable(value) and attributes_of(value) is not None:
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
        yield name, _MISSING, functools.partial(_itself, item)


def _around_function(name: str, function: types.FunctionType) -> Iterator[tuple[str, Any, Callable[[], Any]]]:
    for cell_name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        value = cell_content(cell)
        yield f"{cell_name!r} of the function around {name}", value, functools.partial(cell_content, cell)
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


def is_column(value: Any) -> bool:
    """Return whether a value is an array or table, which is loaded or replaced as a whole."""
    return type(value).__module__.partition(".")[0] in ("awkward", "numpy", "pandas", "polars", "pyarrow")


def is_open(kind: type) -> bool:
    """Whether to look into objects of a type: the user's, and containers; a mapping of a library may be a file."""
    return kind.__module__ in ("collections", "types") or _is_own(kind)


def attributes_of(value: Any) -> dict[str, Any] | None:
    """The attributes of an object of a class of the user's, or of an accumulator; None for other objects."""
    kind = type(value)
    adds = any(("__add__" in vars(base) or "__iadd__" in vars(base)) for base in kind.__mro__ if base is not object)
    if not is_open(kind) and not (adds and not is_column(value)):
        return None
    slots = {name: getattr(value, name, None) for base in kind.__mro__ for name in _slots(base)}
    found = {**slots, **getattr(value, "__dict__", {})}
    if not found and not is_open(kind):
        return None
    cached = functools.cached_property
    return {name: item for name, item in found.items() if not isinstance(getattr(kind, name, None), cached)}


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _module_of(kind: Any) -> types.ModuleType | None:
    return sys.modules.get(str(getattr(kind, "__module__", "")))
