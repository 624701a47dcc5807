"""What a function depends on: its code, constants, closures, helpers and modules, each by its content.

One walk serves two purposes: a digest that is equal in every process and changes after an edit, and the list of the
user's own modules that were met. Installed packages are identified by name and version, and not searched; af-kit by its
version and, because it may run from a checkout, by its source.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import importlib.util
import os
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Dependencies", "cell_content", "fingerprint", "is_users", "mentioned", "unseen_lookups"]

_INSTALLED = tuple(
    os.path.join(os.path.realpath(sysconfig.get_path(name)), "")  # noqa: PTH118 - for the closing slash
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_ANALYSES = "af_kit.analysis."
# Names by which code reads the environment; and those by which it reads what a digest of the code cannot include.
_ENVIRONMENT = {"environ", "environb", "getenv"}
_UNSEEN = {
    *("globals", "vars", "eval", "exec", "__import__", "import_module"),
    *("open", "read_text", "read_bytes", "read_csv", "read_json", "read_parquet"),
    *("loadtxt", "genfromtxt", "fromfile", "memmap"),
}
_ATOMS = (type(None), bool, int, float, complex, str, bytes, bytearray, type(...), type(NotImplemented), range, slice)


def fingerprint(*values: Any) -> str:
    """Return a key that changes when the values change: code, constants, closures, helpers, modules, numbers.

    It is the same in another process, also for code typed into a notebook, and if code has only moved. If an object
    hides its content (an object of a library that cannot be pickled), the key is different each time, so that an old
    result is never taken for a new one. Environment variables that the code reads by name are included, with their
    values in this process. Files that the function opens are not: see `unseen_lookups`.
    """
    return Dependencies().digest(values).hex()


def unseen_lookups(function: Any) -> list[str]:
    """Return how a function reads things that its `fingerprint` does not include: ``["open() in select"]``."""
    found = Dependencies()
    found.digest(function)
    return sorted(found.unseen)


def mentioned(function: Any) -> set[str]:
    """Return the names and strings in the code of a function and of what it calls, such as names of branches."""
    found = Dependencies(into_analyses=True)
    found.digest(function)
    return found.mentioned


class Dependencies:
    """A walk through values and everything that their code refers to.

    Parameters
    ----------
    into_analyses : bool
        Whether to look into the analyses of af-kit, too.

    Attributes
    ----------
    modules : dict
        The user's own modules that were found, by name.
    imported_inside : set of str
        Those that a function imports in its body, with their parent packages.
    unseen : set of str
        Calls in the user's functions that may read what the digest does not include, such as ``"open() in select"``.
    mentioned : set of str
        The names and strings in the code of all functions.
    """

    def __init__(self, *, into_analyses: bool = False) -> None:
        self._into_analyses = into_analyses
        self.modules: dict[str, types.ModuleType] = {}
        self.imported_inside: set[str] = set()
        self.unseen: set[str] = set()
        self.mentioned: set[str] = set()
        self._sources: dict[str, bytes] = {}
        self._known: dict[int, tuple[Any, bytes]] = {}
        self._open: dict[int, int] = {}

    def digest(self, value: Any) -> bytes:
        """Return the digest of a value, from its type and the digests of its parts."""
        if type(value) in _ATOMS:
            if type(value) is str:
                self.mentioned.add(value)
            return hashlib.sha256(f"{type(value).__name__} {value!r}".encode(errors="surrogatepass")).digest()
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in self._open:  # a cycle, such as functions that call each other
            return b"cycle %d" % self._open[id(value)]
        self._open[id(value)] = len(self._open)
        digest = hashlib.sha256()
        try:
            for part in self._parts(value):
                piece = part if isinstance(part, bytes) else part.encode()
                digest.update(len(piece).to_bytes(8, "little") + piece)
        except RecursionError:
            digest.update(os.urandom(16))
        del self._open[id(value)]
        self._known[id(value)] = (value, digest.digest())  # holds the value, so that no other object gets its id
        return digest.digest()

    def _looks_into(self, item: types.FunctionType | type) -> bool:
        """Return whether the code of a function or class counts, not only its name and version."""
        return self._counts_from(_home_of(item)) and _is_users_own(item)

    def _counts(self, module: types.ModuleType) -> bool:
        """Return whether the source of a module counts."""
        return self._counts_from(module.__name__) and is_users(module)

    def _counts_from(self, name: str) -> bool:
        """Return whether to look into what a module defines.

        The kit's modules hold open connections and caches, which would give the same function another key each time.
        """
        return not is_af_kit(name) or (self._into_analyses and name.startswith(_ANALYSES))

    def _by_name(self, item: Any) -> str:
        """Identify an installed function, class or module by its name and the version of its package."""
        module = item.__name__ if isinstance(item, types.ModuleType) else str(getattr(item, "__module__", ""))
        package = sys.modules.get(module.partition(".")[0])
        name = getattr(item, "__qualname__", None) or getattr(item, "__name__", "")
        source = self._source_of_kit if is_af_kit(module) else ""
        return f"{module} {name} {getattr(package, '__version__', '')}{source}"

    @functools.cached_property
    def _source_of_kit(self) -> str:
        """Digests of af-kit's source as it was imported, and as it is: after an edit, the old code is running."""
        return f" {_SOURCE_AT_START} {_digest_of_kit()}"

    def _all(self, values: Iterable[Any]) -> Iterator[bytes]:
        return (self.digest(value) for value in values)

    def _parts(self, value: Any) -> Iterator[bytes | str]:
        kind = type(value)
        yield f"{kind.__module__}.{kind.__qualname__}"
        if kind in (list, tuple):
            yield from self._all(value)
        elif kind in (dict, types.MappingProxyType):
            yield from self._all(part for item in value.items() for part in item)
        elif kind in (set, frozenset):
            yield from sorted(self._all(value))
        elif isinstance(value, types.CodeType):
            yield from self._of_code(value)
        elif isinstance(value, types.FunctionType):
            yield from self._of_function(value)
        elif isinstance(value, type):
            yield from self._of_class(value)
        elif isinstance(value, types.ModuleType):
            yield from self._of_module(value)
        elif kind is types.MethodType:
            yield from self._all([value.__func__, value.__self__])
        elif kind in (property, staticmethod, classmethod, functools.cached_property):
            names = ("fget", "fset", "fdel", "__func__", "func")
            yield from self._all(getattr(value, name, None) for name in names)
        elif kind is np.ndarray and not value.dtype.hasobject:
            yield from (repr(value.dtype.descr), repr(value.shape), np.ascontiguousarray(value).tobytes())
        elif value is os.environ:
            yield "the environment"  # of which the variables that code names are included
        elif isinstance(value, types.CellType):
            yield self.digest(cell_content(value))
        else:
            yield from self._of_object(value)

    def _of_code(self, code: types.CodeType) -> Iterator[bytes | str]:
        """The code without its file name and line numbers: moving a cell changes nothing."""
        yield code.co_code
        yield code.co_exceptiontable
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, counts))
        self.mentioned.update(code.co_names)
        yield from self._all(code.co_consts)

    def _of_function(self, function: types.FunctionType) -> Iterator[bytes | str]:
        if not self._looks_into(function):
            yield self._by_name(function)
            yield from self._all([*(function.__closure__ or ()), getattr(function, "__wrapped__", None)])  # a decorator
            return
        yield function.__qualname__
        yield from self._all([function.__code__, function.__defaults__, function.__kwdefaults__])
        yield from self._all(vars(function).items())
        yield from self._all(function.__closure__ or ())
        names = _names(function.__code__)
        if names & _ENVIRONMENT:  # any constant may be a variable's name
            yield from (f"${name}={os.environ.get(name)!r}" for name in sorted(_strings(function.__code__)))
        if not is_af_kit(_home_of(function)):
            where = function.__qualname__.replace("<locals>.", "")
            self.unseen |= {f"{name}() in {where}" for name in names & _UNSEEN - function.__globals__.keys()}
        for name in sorted(names & function.__globals__.keys()):
            yield name
            yield from self._of_name(function.__globals__[name], names)
        for module in _imported_inside(function):
            yield from self._of_name(module, names)
            self._note_inside(module.__name__)
        yield from self._home(function)

    def _of_name(self, value: Any, names: set[str]) -> Iterator[bytes]:
        """A value that code refers to; for a user's module also the values in it that the code may use."""
        yield self.digest(value)
        if isinstance(value, types.ModuleType) and self._counts(value):
            for name in sorted(names.intersection(dir(value))):
                inner = getattr(value, name, None)
                if inner is not value and id(inner) not in self._open:
                    yield from self._of_name(inner, names - {name})

    def _of_class(self, kind: type) -> Iterator[bytes | str]:
        if not self._looks_into(kind):
            yield self._by_name(kind)
            return
        yield kind.__qualname__
        yield from self._all(kind.__bases__)
        for name, member in sorted(vars(kind).items()):
            if _is_written(name, member):
                yield name
                yield self.digest(member)
        yield from self._home(kind)

    def _of_module(self, module: types.ModuleType) -> Iterator[bytes | str]:
        """A user's module by its source and its loaded content, which differ after an edit until a reload."""
        yield self._by_name(module)
        if not self._counts(module):
            return
        self.modules[module.__name__] = module
        yield self._source(module)
        for name, member in sorted(vars(module).items()):
            own = getattr(member, "__module__", None) == module.__name__
            if own and isinstance(member, (types.FunctionType, type)):
                yield name
                yield self.digest(member)

    def _home(self, item: Any) -> Iterator[bytes]:
        """The user's module that defines a function or class, which may look up anything there by name."""
        module = sys.modules.get(_home_of(item))
        if module is not None and module.__name__ != "__main__" and is_users(module):
            self.modules[module.__name__] = module
            yield self._source(module)

    def _source(self, module: types.ModuleType) -> bytes:
        """The digest of the code in a module's file now, without comments, blank lines and positions."""
        file = getattr(module, "__file__", None) or ""
        if file not in self._sources:
            try:
                code = compile(Path(file).read_bytes(), "", "exec", dont_inherit=True) if file else None
            except (OSError, SyntaxError, ValueError):
                code = None
            before = set(self.mentioned)  # a module may have functions for other files
            self._sources[file] = self.digest(code)
            self.mentioned = before
        return self._sources[file]

    def _note_inside(self, name: str) -> None:
        parents = [".".join(name.split(".")[: i + 1]) for i in range(name.count(".") + 1)]
        for parent in parents:
            module = sys.modules.get(parent)
            if module is not None and is_users(module):
                self.modules[parent] = module
                self.imported_inside.add(parent)

    def _of_object(self, value: Any) -> Iterator[bytes | str]:
        """Any other object by the parts that pickle would store; a wrapped function by the function."""
        inner = _wrapped(value)
        if inner is not None:
            yield from self._all(inner)
            return
        reduced = _reduced(value)
        if isinstance(reduced, str):
            yield self._by_name(value)
        elif reduced is not None:
            # its constructor, the arguments, its state, the items of a list, the pairs of a dict
            yield from self._all(part if i < 3 or part is None else list(part) for i, part in enumerate(reduced[:5]))
        elif type(value).__module__.partition(".")[0] not in sys.stdlib_module_names:
            yield os.urandom(16)  # its content is hidden, and may have changed


def _is_written(name: str, member: Any) -> bool:
    """Return whether a member of a class is in its source; Python adds others (some only when it is first pickled)."""
    if isinstance(member, (types.GetSetDescriptorType, types.MemberDescriptorType)) or name == "_abc_impl":
        return False
    if name.startswith("__") and name.endswith("__"):
        methods = (types.FunctionType, property, staticmethod, classmethod)
        return name == "__slots__" or (isinstance(member, methods) and not name.startswith("__annotate"))
    return True


def cell_content(cell: types.CellType) -> Any:
    """Return what a closure's cell holds; None if it is not filled yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _reduced(value: Any) -> Any:
    """Return what pickle stores for an object: a name, or parts; None if it cannot be pickled."""
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        return reduce(value) if reduce else value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - locks, open files, handles of C++ libraries: each raises another error
        return None


def _wrapped(value: Any) -> list[Any] | None:
    """Return the function inside a numba kernel or a cache, with its options."""
    if isinstance(value, functools._lru_cache_wrapper):
        return [value.__wrapped__]
    if type(value).__module__.partition(".")[0] != "numba":
        return None
    for holder in (value, getattr(value, "_dispatcher", None), getattr(value, "gufunc_builder", None)):
        function = getattr(holder, "py_func", None) or getattr(holder, "_pyfunc", None)
        if function is not None:
            options = getattr(value, "targetoptions", None) or getattr(holder, "targetoptions", None)
            return [function, {key: repr(option) for key, option in dict(options or {}).items()}]
    return None


def _digest_of_kit() -> str:
    """Return a digest of af-kit's source if it runs from a checkout."""
    folder = Path(__file__).parents[1]
    if not _is_users_path(str(folder)):
        return ""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _names(code: types.CodeType) -> set[str]:
    """Return the global names and attributes that a function and its inner functions use."""
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _strings(code: types.CodeType) -> set[str]:
    """Return the strings in a function that may be the name of an environment variable."""
    own = {text for text in code.co_consts if isinstance(text, str) and text and "\0" not in text and "=" not in text}
    return own.union(*(_strings(const) for const in code.co_consts if isinstance(const, types.CodeType)))


def _imported_inside(function: types.FunctionType) -> list[types.ModuleType]:
    """Import and return the user's modules that a function imports in its body."""
    package = function.__globals__.get("__package__") or ""
    found: dict[str, types.ModuleType] = {}
    for name, members in _import_statements(function.__code__, package):
        for candidate in (name, *(f"{name}.{member}" for member in members)):
            module = _imported(candidate)
            if module is not None and is_users(module):
                found[candidate] = module
    return [found[name] for name in sorted(found)]


def _import_statements(code: types.CodeType, package: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    instructions = list(dis.get_instructions(code))
    for i, instruction in enumerate(instructions):
        if instruction.opname == "IMPORT_NAME":
            level, members = (before.argval for before in instructions[i - 2 : i])
            above = package.split(".")[: len(package.split(".")) - (level - 1)] if level else []
            yield ".".join([*above, *filter(None, [instruction.argval])]), tuple(members or ())
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _import_statements(const, package)


def _imported(name: str) -> types.ModuleType | None:
    if name in sys.modules:
        return sys.modules[name]
    try:
        # the top package first: looking for a module below it imports it, and it may be large
        for part in (name.partition(".")[0], name):
            spec = importlib.util.find_spec(part)
            paths = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
            if not any(map(_is_users_path, paths)):
                return None
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001 - it may exist only on the workers, or not at all: the function will fail there
        return None


def _home_of(item: Any) -> str:
    """Return the module that defines a function or class; a wrapper copies ``__module__``, but not the globals."""
    home = item.__globals__.get("__name__") if isinstance(item, types.FunctionType) else item.__module__
    return str(home or "")


def _is_users_own(item: types.FunctionType | type) -> bool:
    """Return whether a function or class is the user's: typed in, or from a module of the user."""
    module = sys.modules.get(_home_of(item))
    return module is None or module.__name__ == "__main__" or is_users(module)


def is_af_kit(name: str) -> bool:
    """Return whether a module is the kit's, which is the user's own if it runs from a checkout."""
    return name.partition(".")[0] == "af_kit"


def is_users(module: types.ModuleType) -> bool:
    """Return whether a module is the user's own: its file or folder is not in an installation."""
    if getattr(module, "__file__", None):
        return _is_users_path(module.__file__)
    return any(_is_users_path(path) for path in getattr(module, "__path__", ()))  # a folder without __init__.py


@functools.cache
def _is_users_path(path: str | None) -> bool:
    if not path or path in ("built-in", "frozen", "namespace"):
        return False
    real = os.path.realpath(path)
    return not real.startswith(_INSTALLED) and "site-packages" not in real and "dist-packages" not in real


_SOURCE_AT_START = _digest_of_kit()
