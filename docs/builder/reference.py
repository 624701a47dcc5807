"""The API reference: one page per module with public names, taken from its ``__all__``, in its order."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import names

# Sub-packages whose modules are public if the docstring of the sub-package names them
_WITH_MODULES = ("af_kit.analysis", "af_kit.corrections")
# Rooms whose public names are those of af_kit itself, in the order of an analysis
_ROOMS = ("simulate", "data", "cluster", "plugins", "run", "doctor")


# What a chunk remembers of its file; users pass it on, but do not look inside
_OPAQUE = ("af_kit.data.reading.layout", "af_kit.data.reading.structure")


@dataclass(frozen=True)
class Name:
    """A documented name.

    Attributes
    ----------
    path : str
        What the user types: ``af_kit.process``.
    value : object
        What it stands for.
    returned : bool
        Whether it is documented only because a public function returns it.
    """

    path: str
    value: Any
    returned: bool = False

    @property
    def is_data(self) -> bool:
        """Whether it is a constant."""
        return not (inspect.isclass(self.value) or callable(self.value))

    @functools.cached_property
    def members(self) -> list[str]:
        """The public methods and properties of a class that have a docstring."""
        if not inspect.isclass(self.value):
            return []
        found: dict[str, None] = {}
        for base in self.value.__mro__:
            if not base.__module__.startswith("af_kit"):
                continue
            for name, member in vars(base).items():
                function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                function = getattr(function, "func", function)  # of a cached property
                if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
                    found[name] = None
        return list(found)


def public_modules() -> list[str]:
    """Return the modules that have a page, in the order of the reference."""
    modules = [f"af_kit.{room}" for room in _ROOMS]
    for package in _WITH_MODULES:
        modules.append(package)
        modules += _modules_of(package)
    return [*modules, "af_kit.errors"]


def _modules_of(package: str) -> list[str]:
    module = importlib.import_module(package)
    maps = [line for line in (module.__doc__ or "").splitlines() if line.startswith("    ")]
    words = re.findall(r"\w+", "\n".join(maps))
    found = {entry.name for entry in pkgutil.iter_modules(module.__path__)}
    return [f"{package}.{name}" for name in dict.fromkeys(words) if name in found]


def exported(module: str) -> list[str]:
    """Return the names that a module exports: its ``__all__``, or what it defines."""
    found = importlib.import_module(module)
    if hasattr(found, "__all__"):
        return list(found.__all__)
    return [
        name
        for name, value in vars(found).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module
    ]


@functools.cache
def names_of(module: str) -> list[Name]:
    """Return the names on a module's page: those of ``af_kit`` that live there, its own, and what they return."""
    found: dict[Any, Name] = {}

    def add(path: str, value: Any) -> None:
        key = id(value) if inspect.isclass(value) or inspect.isfunction(value) else path
        found.setdefault(key, Name(path, value))

    package = importlib.import_module("af_kit")
    for name in package.__all__:
        home = package._MODULE_OF.get(name, "af_kit.doctor" if name == "doctor" else "")
        if f"{home}.".startswith(f"{module}.") and module.removeprefix("af_kit.") in _ROOMS:
            value = getattr(importlib.import_module(home), name)
            add(f"af_kit.{name}", value)
    if module.removeprefix("af_kit.") not in _ROOMS or hasattr(importlib.import_module(module), "__all__"):
        for name in exported(module):
            value = getattr(importlib.import_module(module), name)
            if not inspect.ismodule(value):
                add(f"{module}.{name}", value)
    return list(found.values())


@functools.cache
def everything() -> dict[str, list[Name]]:
    """Return the documented names of every page; what public functions return comes last on its page."""
    pages = {module: list(names_of(module)) for module in public_modules()}
    known = {id(name.value) for page in pages.values() for name in page}
    for page in pages.values():
        for name in page:  # grows: what a returned class returns in turn
            for value in _returned(name):
                if id(value) not in known:
                    known.add(id(value))
                    page.append(Name(f"{value.__module__}.{value.__name__}", value, returned=True))
    return pages


def documented() -> dict[str, str]:
    """Return the module in which each documented name is defined, for every name with its members and every page."""
    found = {module: module for module in ["af_kit", *public_modules()]}
    for page in everything().values():
        for name in page:
            home = getattr(name.value, "__module__", None) or name.path.rpartition(".")[0]
            found[name.path] = home
            found |= {f"{name.path}.{member}": home for member in name.members}
    return found


def _returned(name: Name) -> Iterator[type]:
    """Yield the kit's classes that a function, or a method or a documented attribute of a class, gives to the user."""
    value = name.value
    if inspect.isfunction(value):
        yield from _classes(value.__annotations__.get("return"), value.__module__)
    elif inspect.isclass(value):
        for attribute, annotation in vars(value).get("__annotations__", {}).items():
            if re.search(rf"^\s*{attribute}\b.* : ", value.__doc__ or "", re.MULTILINE):
                yield from _classes(annotation, value.__module__)
        for member in [*name.members, *(["__getitem__"] if "__getitem__" in vars(value) else [])]:
            found = inspect.getattr_static(value, member)
            function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
            function = getattr(function, "func", function)
            yield from _classes(function.__annotations__.get("return"), function.__module__)


def _classes(annotation: Any, module: str) -> Iterator[type]:
    for word in re.findall(r"[A-Za-z_]\w*", str(annotation or "")):
        found = getattr(sys.modules[module], word, None)
        if (
            inspect.isclass(found)
            and found.__module__.startswith("af_kit.")
            and not word.startswith("_")
            and found.__module__ not in _OPAQUE
        ):
            yield found


# ------------------------------------------------------------------------------------------------------------- pages


def pages() -> dict[str, str]:
    """Return the text of each page, by its name without suffix."""
    texts = {"reference/api": _overview()}
    for module, page in everything().items():
        texts[f"reference/{module}"] = _page(module, page)
    if _unknown:
        raise LookupError("unknown names:\n" + "\n".join(dict.fromkeys(_unknown)))
    return texts


def _overview() -> str:
    package = importlib.import_module("af_kit")
    parts = [
        _title("Python API"),
        ".. module:: af_kit\n   :no-index-entry:\n",
        "::\n\n    import af_kit as af\n",
        "The names of ``af_kit`` itself, in the order in which an analysis uses them. "
        "Each is imported when it is first used, so ``import af_kit`` is fast.\n",
    ]
    by_value = {name.path: name for page in everything().values() for name in page}
    parts.append(_table([by_value[f"af_kit.{name}"] for name in package.__all__ if f"af_kit.{name}" in by_value]))
    parts.append("``af_kit.__version__`` is the version, as text.\n")
    for title, chosen in (
        ("Modules", [f"af_kit.{room}" for room in _ROOMS] + ["af_kit.errors"]),
        ("Analyses and fits", [name for name in everything() if name.startswith("af_kit.analysis")]),
        ("Corrections", [name for name in everything() if name.startswith("af_kit.corrections")]),
    ):
        rows = [
            (f":doc:`{module} <{module}>`", _first_sentence(_doc(importlib.import_module(module)), module))
            for module in chosen
        ]
        parts += [_title(title, "-"), _list_table(rows)]
    parts.append(".. toctree::\n   :hidden:\n\n" + "".join(f"   {module}\n" for module in everything()))
    return "\n".join(parts)


def _page(module: str, page: list[Name]) -> str:
    found = importlib.import_module(module)
    parts = [_title(module), f".. module:: {module}\n   :no-index-entry:\n"]
    parts.append(_linked(_with_maps_as_code(inspect.cleandoc(_doc(found))), module) + "\n")
    own = [name for name in page if not name.returned]
    if len(own) > 1:
        parts.append(_table(own))
    parts += [_entry(name) for name in own]
    returned = [name for name in page if name.returned]
    if returned:
        parts += [
            _title("Types of results", "-"),
            "Objects that these functions return, or that are attributes of those.\n",
        ]
        parts += [_entry(name) for name in returned]
    return "\n".join(parts)


def _entry(name: Name) -> str:
    if name.is_data:
        text = _linked(_comment(name), name.path.rpartition(".")[0])
        module, _, variable = name.path.rpartition(".")
        return f".. py:data:: {variable}\n   :module: {module}\n\n{textwrap.indent(text, '   ')}\n"
    if name.path == "af_kit.doctor":  # a package that can be called: autodoc would show a module
        return f".. autofunction:: {name.path}.doctor\n"
    if inspect.isclass(name.value):
        members = f"   :members: {', '.join(name.members)}\n" if name.members else ""
        return f".. autoclass:: {name.path}\n   :member-order: bysource\n{members}"
    return f".. autofunction:: {name.path}\n"


def _table(page: list[Name]) -> str:
    rows = []
    for name in page:
        text = _comment(name) if name.is_data else _doc(name.value)
        target = "af_kit.doctor.doctor" if name.path == "af_kit.doctor" else name.path
        home = getattr(name.value, "__module__", None) or name.path.rpartition(".")[0]
        rows.append((f":py:obj:`{name.path.rpartition('.')[2]} <{target}>`", _first_sentence(text, home)))
    return _list_table(rows)


def _list_table(rows: list[tuple[str, str]]) -> str:
    lines = [".. list-table::", "   :class: summary", "   :widths: 30 70", ""]
    for left, right in rows:
        lines += [f"   * - {left}", f"     - {right}"]
    return "\n".join(lines) + "\n"


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


_unknown: list[str] = []


def _linked(text: str, module: str) -> str:
    return names.linked(text, module, None, unknown=_unknown)


def _doc(value: Any) -> str:
    return inspect.getdoc(value) or ""


def _first_sentence(text: str, module: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    sentence = re.match(r".*?[.:](?=\s+[A-Z`]|$)", paragraph)
    return _linked((sentence[0] if sentence else paragraph).removesuffix(":"), module)


def _with_maps_as_code(text: str) -> str:
    """Show the maps in a package's docstring, which are indented, as they are in the file."""
    return re.sub(r"^(\S.*)(?<!::)\n\n(?= {4})", r"\1\n\n.. code-block:: text\n\n", text, flags=re.MULTILINE)


def _comment(name: Name) -> str:
    """Return the comment on a constant: above its assignment, or behind it; or the value, if it has none."""
    module, _, variable = name.path.rpartition(".")
    path, name_there = _definition(module, variable)
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in ast.parse("\n".join(lines)).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name_there for target in targets):
            start = node.lineno - 1
            above = []
            while start > 0 and lines[start - 1].startswith("#"):
                start -= 1
                above.insert(0, lines[start].lstrip("#: "))
            behind = re.search(r"#:? (.*)", lines[(node.end_lineno or node.lineno) - 1])
            comment = " ".join(above) or (behind[1] if behind else "")
            value = repr(name.value)
            shown = f"``{value}``" if len(value) < 200 and not re.search("0x|<", value) else ""
            return "\n\n".join(part for part in (comment and comment[0].upper() + comment[1:], shown) if part)
    raise LookupError(f"no assignment of {name_there} in {path}")


def _definition(module: str, variable: str) -> tuple[Path, str]:
    """Return the file that assigns a constant, and its name there: follow ``from ... import ...``."""
    found: types.ModuleType = importlib.import_module(module)
    path = Path(found.__file__ or "")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == variable and node.module:
                    return _definition(node.module, alias.name)
    return path, variable
