"""Single-backtick names in docstrings become links, or code if they have no page; an unknown name is a warning."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Collection, Iterator
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

_LOGGER = logging.getLogger(__name__)
# `name`, but not ``code``, :role:`name`, nor `text <address>`_
_NAME = re.compile(r"(?<![`:\w])`([^`<>\n]+)`(?![`_])")
_ROLE = re.compile(r":(?:mod|func|class|meth|attr|data):`~?([^`<>]+)`")
# |eta| is an absolute value, not a substitution of reStructuredText
_BARS = re.compile(r"(``.+?``|:math:`[^`]+`)|\|")


@functools.cache
def _documented() -> dict[str, str]:
    from builder import reference

    return reference.documented()


def linked(text: str, module: str, owner: Any, *, unknown: list[str]) -> str:
    """Return a text with links.

    Parameters
    ----------
    text : str
        reStructuredText.
    module : str
        The module whose docstring it is, in which its names are looked up.
    owner : object
        The class or function whose docstring it is, if there is one: its attributes and parameters are also names.
    unknown : list of str
        Names that do not exist are added to it.
    """

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        target = _target(name.removesuffix("()"), module, owner)
        if target is not None:
            return f":py:obj:`{name} <{target}>`"
        if not _exists(name.removesuffix("()"), module, owner):
            unknown.append(f"`{name}` in a docstring of {module}: {getattr(owner, '__qualname__', 'the module')}")
        return f"``{name}``"

    def in_prose(part: str) -> str:
        part = _BARS.sub(lambda match: match[1] or r"\|", part)
        return _NAME.sub(replace, _ROLE.sub(r"`\1`", part))

    return "".join(part if is_code else in_prose(part) for part, is_code in _parts(text))


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """Split a text into prose and code: what follows a line that ends in two colons, and examples with >>>."""
    indent: int | None = None  # that of the line with the colons
    example = False
    for line in text.splitlines(keepends=True):
        here = len(line) - len(line.lstrip())
        if indent is not None and line.strip() and here <= indent:
            indent = None
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        yield line, indent is not None or example
        if indent is None and re.search(r"::\s*$|^\s*\.\. code-block::", line):
            indent = here


def _target(name: str, module: str, owner: Any) -> str | None:
    """Return the documented name that is meant: the nearest one, else the only one that ends so."""
    found = _documented()
    if not re.fullmatch(r"[A-Za-z_][\w.]*", name) or name in _parameters(owner):
        return None
    if name in found:
        return name
    value = _lookup(name, module, owner)
    if value is not None:
        for path in found:
            last = getattr(value, "__name__", None)
            if last and path.rpartition(".")[2] == last and _value_of(path) is value:
                return path
    owner_name = getattr(owner, "__qualname__", "").partition(".")[0]
    prefixes = [f"{module}.{owner_name}", module, f"af_kit.{owner_name}"]
    parent = module
    while "." in parent:
        parent = parent.rpartition(".")[0]
        prefixes += [f"{parent}.{owner_name}", parent]
    for prefix in prefixes:
        if f"{prefix}.{name}" in found:
            return f"{prefix}.{name}"
    ending = [path for path in found if path.endswith(f".{name}")]
    return ending[0] if len(ending) == 1 and value is None else None


@functools.cache
def _value_of(path: str) -> Any:
    module = path
    while module not in sys.modules and "." in module:
        module = module.rpartition(".")[0]
    value: Any = sys.modules[module]
    for part in path.removeprefix(module).strip(".").split("."):
        if part:
            value = getattr(value, part, None)
    return value


def _lookup(name: str, module: str, owner: Any) -> Any:
    """Return what a name stands for in a module: something that it defines or imports, or a module beside it."""
    if "." in name:
        try:
            return pkgutil.resolve_name(name)
        except (ImportError, AttributeError, ValueError):
            pass
    first, *rest = name.split(".")
    names_there = vars(importlib.import_module(module))
    value = names_there.get(first)
    if value is None:
        for package in (module, module.rpartition(".")[0]):
            try:
                value = importlib.import_module(f"{package}.{first}") if package else None
                break
            except ImportError:
                continue
    for part in rest:
        # a field of a dataclass without a default is not an attribute of the class
        value = getattr(value, part, getattr(value, "__annotations__", {}).get(part))
    return value


def _parameters(owner: Any) -> Collection[str]:
    return inspect.signature(owner).parameters if inspect.isfunction(owner) else ()


def _exists(name: str, module: str, owner: Any) -> bool:
    if _lookup(name, module, owner) is not None:
        return True
    if name in _parameters(owner):
        return True
    if inspect.isclass(owner):
        return (
            hasattr(owner, name)
            or name in getattr(owner, "__annotations__", {})
            or name in getattr(owner, "_fields", ())
        )
    return False


def _process(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    function = value.fget if isinstance(value, property) else inspect.unwrap(getattr(value, "__func__", value))
    module = getattr(function, "__module__", None)
    if module is not None and module.startswith("af_kit"):
        owner = function
        if what in ("method", "property", "attribute") and inspect.isfunction(function):
            owner = getattr(sys.modules[module], function.__qualname__.partition(".")[0], function)
        unknown: list[str] = []
        lines[:] = linked("\n".join(lines), module, owner, unknown=unknown).split("\n")
        for message in unknown:
            _LOGGER.warning("unknown name %s", message, location=name, type="kit", subtype="name")


def _signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str | None, result: str | None
) -> Any:
    """Leave private parameters of a class out: users do not pass them."""
    if what == "class" and signature and re.search(r"[(,] ?_\w|<factory>", signature):
        shown = [part for part in signature.strip("()").split(", ") if not part.startswith("_")]
        return "(" + ", ".join(part.replace("=<factory>", "=...") for part in shown) + ")", result
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension, after numpydoc's own changes of docstrings."""
    app.connect("autodoc-process-docstring", _process, priority=900)
    app.connect("autodoc-process-signature", _signature)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
