"""Find an analysis by its name, file or module: the kit's own analyses and the user's come through the same door.

An analysis is a module. ``af-kit run`` uses these names of it:

    analyse(events)                 what `af_kit.process` takes; or a coffea processor, or
    process(fileset, client, ...)   the whole run, if `analyse` alone is not enough
    finish(result)                  what is done once with the merged output, such as normalisation
    plot(result, folder)            figures; by default every histogram is drawn
    write(result, folder, ...)      all files, if histograms, tables, values and figures are not enough
    summary(result)                 a text to print
    add_options(parser)             options; by default the parameters of `analyse` or `process` that have a default
    TREENAME                        the tree to read, if the fileset names none
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from af_kit.cli.analysis_options import add_derived
from af_kit.errors import InputError, nearest

if TYPE_CHECKING:
    from af_kit.run.result import Result

__all__ = ["Analysis", "built_in", "load_analysis"]

_BUILT_IN = Path(__file__).parents[1] / "analysis"
_DOCS = "See docs/your-analysis.md, or start from: af-kit new NAME"


@dataclass(frozen=True)
class Analysis:
    """An analysis that ``af-kit run`` can run.

    Attributes
    ----------
    name : str
        As on the command line.
    module : module
        Where it was found.
    function : callable, coffea processor or None
        What `af_kit.process` takes; None if the module has its own ``process``.
    build : callable or None
        The class of a coffea processor, whose arguments are the analysis' options.
    """

    name: str
    module: ModuleType
    function: Any = None
    build: Callable[..., Any] | None = None

    @property
    def treename(self) -> str | None:
        """The tree to read, if the fileset names none."""
        return getattr(self.module, "TREENAME", None)

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the analysis' own options, which are arguments of its function."""
        group = parser.add_argument_group(f"options of {self.name}")
        before = {action.dest for action in parser._actions}
        if (add := self._own("add_options")) is not None:
            add(group)
        elif self.build is not None:
            add_derived(group, self.build, skip=0, where=f"{self.build.__name__}() of {self.name}")
        elif self.function is None:
            add_derived(group, self.module.process, skip=2, where=f"process() of {self.name}")
        elif not hasattr(self.function, "postprocess"):  # not an instance of a coffea processor
            add_derived(group, self.function, skip=1, where=f"analyse() of {self.name}")
        added = tuple(action.dest for action in parser._actions if action.dest not in before)
        parser.set_defaults(analysis_options=added)

    def process(self, fileset: Any, client: Any, own: Mapping[str, Any], **options: Any) -> Result:
        """Run over a fileset, with the analysis' ``own`` options and those of `af_kit.process`."""
        from af_kit.run.process import process

        if self.function is None and self.build is None:
            result: Result = self.module.process(fileset, client, **own, **options)
            return result
        function = self.function
        if self.build is not None:
            function = self.build(**own)
        elif own:
            function = functools.partial(function, **own)
        if (finish := self._own("finish")) is not None and _positional(finish) > 1:
            finish = functools.partial(_with_fileset, finish, fileset)
        return process(function, fileset, client, finish=finish, **options)

    def write(
        self, result: Mapping[Any, Any], folder: Path, *, metadata: Mapping[str, Any], plots: bool
    ) -> tuple[list[Path], list[str]]:
        """Write a result into a folder; return the files, and what went wrong."""
        if (write := self._own("write")) is not None:
            return list(write(result, folder, metadata=metadata, plots=plots)), []
        from af_kit.analysis.save import save

        return save(result, folder, metadata=metadata, plots=plots, plot=self._own("plot"))

    def summary(self, result: Mapping[Any, Any]) -> str | None:
        """Return a text about the result, if the analysis has one."""
        summary = self._own("summary")
        return None if summary is None else str(summary(result))

    def _own(self, name: str) -> Any:
        found = getattr(self.module, name, None)
        return found if callable(found) else None


def built_in() -> dict[str, str]:
    """Return the kit's analyses, with a line about each; nothing is imported."""
    found = {}
    for path in sorted(_BUILT_IN.glob("*/process.py")):
        text = ast.get_docstring(ast.parse(path.with_name("__init__.py").read_text(encoding="utf-8"))) or ""
        found[path.parent.name] = text.partition("\n")[0].rstrip(".")
    return found


def load_analysis(name: str) -> Analysis:
    """Import an analysis: one of the kit, a Python file, a folder with ``analysis.py``, or a module.

    Raises
    ------
    InputError
        There is no such module, it cannot be imported, or it has nothing to run.
    """
    if name in built_in():
        module = importlib.import_module(f"af_kit.analysis.{name}")
    elif name.endswith(".py") or "/" in name or Path(name).is_dir():
        module = _from_file(name)
    else:
        module = _from_module(name)
    return _analysis_of(name, module)


def _from_file(name: str) -> ModuleType:
    path = Path(name).expanduser()
    if path.is_dir():
        inside = path / "analysis.py"
        if not inside.is_file():
            raise InputError(f"{name} is a folder without analysis.py. Name the Python file of the analysis. {_DOCS}")
        path = inside
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        hint = nearest(path.name, [one.name for one in folder.glob("*.py")])
        raise InputError(f"{name}: there is no such file.{hint}")
    path = path.resolve()
    package, parts = path.parent, [path.stem]
    while (package / "__init__.py").is_file():  # a file of a package, which may use relative imports
        parts.insert(0, package.name)
        package = package.parent
    _put_first(package)
    dotted = ".".join(parts)
    if len(parts) > 1:
        return _imported(name, lambda: importlib.import_module(dotted))
    if dotted in sys.modules or dotted in sys.stdlib_module_names:
        dotted = f"{dotted}_analysis"  # a file may have the name of another module, such as select.py
    return _imported(name, lambda: _executed(dotted, path))


def _executed(dotted: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(dotted, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[dotted] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[dotted]
        raise
    return module


def _from_module(name: str) -> ModuleType:
    kit = built_in()
    unknown = InputError(
        f"There is no analysis {name!r}.{nearest(name, kit)} It is one of {', '.join(kit)}, the path of a Python file "
        "(analysis.py), or an importable module (my_package.analysis)."
    )
    if not all(part.isidentifier() for part in name.split(".")):
        raise unknown
    _put_first(Path.cwd())  # as `python -m` does
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            return _imported(name, lambda: importlib.import_module(name))  # an import inside a package fails
        raise unknown from None
    except Exception:  # noqa: BLE001 - a package that fails when it is imported
        return _imported(name, lambda: importlib.import_module(name))
    if found is None:
        raise unknown
    return _imported(name, lambda: importlib.import_module(name))


def _put_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _imported(name: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except Exception as error:
        where = ""
        if isinstance(error, SyntaxError):
            where = f" ({error.filename}, line {error.lineno})"
        elif frames := [frame for frame in inspect.trace() if "importlib" not in frame.filename][1:]:
            where = f" ({frames[-1].filename}, line {frames[-1].lineno})"
        text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
        raise InputError(f"{name} cannot be imported: {type(error).__name__}: {text}{where}.") from error


def _analysis_of(name: str, module: ModuleType) -> Analysis:
    """Return the analysis in a module: its ``process``, its ``analyse``, or its coffea processor."""
    from af_kit.run.coffea import is_processor, is_processor_class

    members = vars(module)
    home = module.__name__.startswith("af_kit.analysis.")
    if home or (callable(members.get("process")) and not callable(members.get("analyse")) and _is_own_process(module)):
        return Analysis(name, module)
    if "analyse" in members:
        analyse = members["analyse"]
        if is_processor(analyse):
            return Analysis(name, module, analyse)
        _check_signature(name, analyse)
        return Analysis(name, module, analyse)
    instances = {key: value for key, value in members.items() if is_processor(value)}
    kinds = {key: value for key, value in members.items() if inspect.isclass(value) and not inspect.isabstract(value)}
    classes = {
        key: kind for key, kind in kinds.items() if kind.__module__ == module.__name__ and is_processor_class(kind)
    }
    found = instances or classes
    if len(found) == 1:
        (only,) = found.values()
        return Analysis(name, module, only) if instances else Analysis(name, module, build=only)
    if found:
        raise InputError(
            f"{name} has several coffea processors ({', '.join(found)}). Name the one to run: analyse = {min(found)}()"
        )
    own = [key for key, value in members.items() if inspect.isfunction(value) and value.__module__ == module.__name__]
    has = f"Its functions are {', '.join(own)}." if own else "It has no function."
    raise InputError(
        f"{name} has no function analyse(events) and no coffea processor. {has}{nearest('analyse', own)} {_DOCS}"
    )


def _is_own_process(module: ModuleType) -> bool:
    """Return whether ``process`` is the module's own, not `af_kit.process` that it imported."""
    from af_kit.run.process import process

    return module.process is not process


def _check_signature(name: str, function: Any) -> None:
    if not callable(function):
        raise InputError(f"analyse in {name} is a {type(function).__name__}. Make it a function of the events.")
    needed = [parameter.name for parameter in _parameters(function) if parameter.default is parameter.empty]
    if not needed:
        raise InputError(f"analyse() in {name} takes no argument. It gets the events of one chunk: analyse(events)")
    if len(needed) > 1:
        raise InputError(
            f"analyse() in {name} takes {', '.join(needed)}, but gets only the events. Give the others a default, such "
            f"as {needed[1]}=...: then they are options of af-kit run (--{needed[1].replace('_', '-')})."
        )


def _parameters(function: Any) -> Iterator[inspect.Parameter]:
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            yield parameter


def _positional(function: Any) -> int:
    """Return how many arguments a function needs."""
    return sum(1 for parameter in _parameters(function) if parameter.default is parameter.empty)


def _with_fileset(finish: Callable[[Any, Any], Any], fileset: Any, merged: Any) -> Any:
    return finish(merged, fileset)


def name_of_analysis(argv: Sequence[str], takes_value: Mapping[str, bool]) -> str | None:
    """Return the analysis among the arguments of ``af-kit run``: the first that is no option and no option's value."""
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            return word
        if "=" not in word and takes_value.get(word, False):
            next(words, None)
    return None
