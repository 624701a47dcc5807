"""Make command-line options of a function's parameters: ``pt_min: float = 20`` becomes ``--pt-min``."""

from __future__ import annotations

import argparse
import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from af_kit.errors import InputError

__all__ = ["add_derived"]

# The types of values, and their names in the help
_TYPES: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def add_derived(group: Any, function: Callable[..., Any], *, skip: int, where: str) -> None:
    """Add an option for each parameter that has a default and a type with a value on the command line.

    These are numbers, text, paths, bool (``--name`` and ``--no-name``), ``Literal`` (a choice), and lists of them (the
    option is repeated), also with ``| None``. The type is that of the annotation, else of the default. The help is the
    parameter's text in the docstring.

    Parameters
    ----------
    group
        An argparse parser or group. The value of an option that is not given is None.
    function
        Its signature and its docstring are read.
    skip
        Leading parameters that are not options, such as the events.
    where
        What the function is, for errors.

    Raises
    ------
    InputError
        A parameter has the name of another option.
    """
    texts = described(inspect.getdoc(function) or "")
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        kind = None if parameter.default is parameter.empty else _kind(function, parameter)
        if kind is None:
            continue
        flag = f"--{parameter.name.replace('_', '-')}"
        about = texts.get(parameter.name, "").rstrip(".").replace("%", "%%")
        about = about[:1].lower() + about[1:] if about[1:2].islower() else about
        default = "" if parameter.default is None else f"(default: {parameter.default})".replace("%", "%%")
        if kind.get("action") == "append":
            default = f"{default} (can be repeated)".strip()
        try:
            group.add_argument(flag, dest=parameter.name, default=None, help=f"{about} {default}".strip(), **kind)
        except argparse.ArgumentError:
            raise InputError(
                f"{where} has a parameter {parameter.name!r}, and {flag} is another option of af-kit run. Rename it."
            ) from None


def _kind(function: Callable[..., Any], parameter: inspect.Parameter) -> dict[str, Any] | None:
    """Return how argparse reads a parameter; None if it has no value on the command line."""
    try:
        target = function.__init__ if inspect.isclass(function) else function
        annotation = typing.get_type_hints(target).get(parameter.name)
    except Exception:  # noqa: BLE001 - an annotation that names what only type checkers import
        annotation = None
    if annotation is None or annotation is Any:
        annotation = type(parameter.default)
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    for one in typing.get_args(annotation) if union else (annotation,):
        if (found := _of_type(one)) is not None:
            return found
    return None


def _of_type(annotation: Any) -> dict[str, Any] | None:
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    if annotation in _TYPES:
        return {"type": annotation, "metavar": _TYPES[annotation]}
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return {"type": type(inner[0]), "choices": inner}
    if annotation in (list, tuple):
        return {"action": "append", "metavar": "TEXT"}
    if isinstance(origin, type) and issubclass(origin, Sequence) and inner:
        union = typing.get_origin(inner[0]) in (typing.Union, types.UnionType)
        first = typing.get_args(inner[0])[0] if union else inner[0]
        return {"action": "append", "type": first, "metavar": _TYPES[first]} if first in _TYPES else None
    return None


def described(docstring: str) -> dict[str, str]:
    """Return the first sentence about each parameter of a numpydoc docstring."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", docstring, re.DOTALL | re.MULTILINE)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in (section[1] if section else "").splitlines():
        if line and not line[0].isspace():
            names = [name.strip().lstrip("*") for name in line.partition(":")[0].split(",")]
            found |= dict.fromkeys(names, "")
        else:
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    plain = {name: re.sub(r":\w+:|[`~]", "", text) for name, text in found.items()}
    return {name: re.split(r"(?<=\.)\s", text, maxsplit=1)[0] for name, text in plain.items()}
