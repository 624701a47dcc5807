"""Which room may import which (CONTRIBUTING.md, "Layers"), read from the source, and what imports cost."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import af_kit
from af_kit import config
from af_kit.cluster.backends import ENTRY_POINTS
from af_kit.errors import InputError

PACKAGE = Path(af_kit.__file__).parent
ROOT = PACKAGE.parent

# Each room of the package, and the rooms that its modules may import in addition to their own.
LAYERS = {
    "errors": set(),
    "display": set(),
    "config": {"errors"},
    "credentials": {"errors", "config"},
    "data": {"errors", "config", "display"},
    "run": {"errors", "config", "display", "credentials", "data", "plugins"},
    "cluster": {"errors", "config", "credentials"},
    "plugins": {"errors", "config", "credentials"},
    "lab": {"errors", "config", "credentials", "cluster"},
    "corrections": {"errors", "config", "data"},
    "analysis": {"errors", "config", "display", "data", "corrections"},
    "simulate": {"errors", "config", "display", "data"},
    "facility": {"errors", "config", "display", "data", "run", "analysis", "simulate"},
}
# These may import everything.
TOP = {"", "cli", "__main__", "doctor"}

# Only these may import Dask.
KNOW_DASK = {"config", "run", "cluster", "plugins", "lab", "facility"} | TOP

# Modules that are named in a string of another room, because another process imports them.
OTHER_PROCESSES = {("af_kit.cluster.kubernetes.proxy_secret", "af_kit.plugins.mounted_proxy_preload")}
# Tables of names that are imported on request: the public names, the backends, the batch systems of labs.
TABLES = {"af_kit", "af_kit.cluster.backends", "af_kit.lab.queue"}

# What `import af_kit` must not import.
HEAVY = {
    "awkward", "coffea", "correctionlib", "dask", "dask_kubernetes", "distributed", "fsspec", "hist", "IPython",
    "jupyterlab", "matplotlib", "mplhep", "numba", "numpy", "pandas", "pyarrow", "uproot", "vector", "XRootD",
}  # fmt: skip


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


# Without the files that `af-kit new` copies, which are no part of the package
MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "new_analysis"}


def room(module: str) -> str:
    """The part of the package that a module belongs to; empty for ``af_kit`` itself."""
    return module.split(".")[1] if "." in module else ""


def imports(module: str, *, on_import: bool = False) -> Iterator[str]:
    """Yield the modules that ``module`` imports anywhere, except for type checking; or only while it is imported."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    nodes = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            source = [*parents[: len(parents) - node.level + 1], node.module] if node.level else [node.module]
            origin = ".".join(part for part in source if part)
            # `from af_kit import config` imports a module, `from af_kit.errors import nearest` a name; the version is
            # defined in the package itself
            names = [f"{origin}.{alias.name}" for alias in node.names]
            yield from {name if name in MODULES else origin for name in names if name != "af_kit.__version__"}
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            nodes.extend(node.orelse)
        elif not (on_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            nodes.extend(ast.iter_child_nodes(node))


def named_in_strings(module: str) -> set[str]:
    """Return the modules that a string of ``module`` names: for ``import_module``, ``python -m``, an entry point."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value.partition(":")[0]} & MODULES.keys() - {"af_kit"}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            # f"af_kit.analysis.{name}" may import any module of that package
            text = ast.unparse(node.args[0]).removeprefix("f")[1:-1]
            text = text.replace("{__name__}", module).replace("{__package__}", package)
            pattern = re.sub(r"\\{.*?\\}", r"\\w+", re.escape(text))
            if text.startswith("af_kit."):
                matching = {name for name in MODULES if re.fullmatch(pattern, name)}
                assert matching, f"{module} imports {text}, which is not a module"
                found |= matching
    return found - {module}


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "af_kit"


def test_the_table_in_contributing_has_the_same_rules():
    rows = re.findall(r"^\| (`.*?) \| .*? \| (.*?) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    table = {}
    for rooms, allowed in rows:
        for name in re.findall(r"`(\w+)`", rooms):
            table[name] = None if allowed == "everything" else set(re.findall(r"`(\w+)`", allowed.partition(";")[0]))
    on_top = dict.fromkeys(TOP - {"", "__main__"})
    assert table == {**LAYERS, **on_top}


def test_the_rules_cover_the_package():
    assert len(MODULES) > 10
    assert {room(module) for module in MODULES} <= LAYERS.keys() | TOP
    seen = {(room(module), name) for module in MODULES for name in imports(module)}
    assert {("data", "af_kit.errors"), ("run", "distributed")} <= seen  # else `imports` finds nothing
    by_name = {(module, name) for module in MODULES for name in named_in_strings(module)}
    assert by_name >= {
        ("af_kit", "af_kit.run.process"),
        ("af_kit.cli.analysis_module", "af_kit.analysis.dimuon"),
        ("af_kit.analysis", "af_kit.analysis.dimuon"),
        ("af_kit.cluster.backends", "af_kit.cluster.local"),
        ("af_kit.cluster.detached.launch", "af_kit.cluster.detached.scheduler_process"),
        *OTHER_PROCESSES,
    }


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_the_layers_below(module):
    if room(module) in TOP:
        return
    allowed = LAYERS[room(module)] | {room(module)}
    if room(module) == "analysis" and module.endswith(".process"):
        allowed |= {"run"}
    imported = {name for name in imports(module) if is_ours(name)}
    named = {name for name in named_in_strings(module) if (module, name) not in OTHER_PROCESSES}
    wrong = sorted(name for name in imported | named if room(name) not in allowed)
    assert not wrong, f"{module} may import {sorted(allowed)}, not {wrong}"


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) not in KNOW_DASK])
def test_a_module_that_needs_no_cluster_does_not_know_dask(module):
    dask = {name for name in imports(module) if name.split(".")[0] in {"dask", "distributed", "dask_kubernetes"}}
    assert not dask, f"{module} imports {sorted(dask)}"


def test_there_are_no_circles():
    graph = {}
    for module in MODULES:
        named = set() if module in TABLES else named_in_strings(module)
        graph[module] = {name for name in imports(module) if name in MODULES} - {module} | named
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]), pytrace=False)


def fresh(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def test_importing_the_package_is_light():
    done = fresh("import sys, af_kit; print(*{name.partition('.')[0] for name in sys.modules})")
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


FIRST = """
import importlib, json, sys, traceback
after = json.loads(sys.argv[1])

def ours():
    return {name for name in sys.modules if name.partition(".")[0] == "af_kit"}

def import_those_after(module):
    for name in [name for name in after if after[name] == module]:
        before = ours()
        try:
            importlib.import_module(name)
            print("imported", name)
        except BaseException:
            print(f"import {name}:", traceback.format_exc())
        import_those_after(name)
        for added in ours() - before:  # forgotten, also as an attribute of its package
            package, _, attribute = added.rpartition(".")
            if package in before:
                vars(sys.modules[package]).pop(attribute, None)
            del sys.modules[added]

import_those_after(None)
"""


def test_every_module_can_be_the_first_one_imported():
    """A module is imported where nothing is loaded but modules that it imports.

    One interpreter imports all modules, as a tree: it imports a module after the largest of its imports, and then
    forgets it. So a module that needs one that it does not import fails, and most modules are executed once or twice.
    """
    names = [name for name in MODULES if not name.endswith("__main__")]
    direct = {}
    for name in names:
        parts = name.split(".")
        packages = {".".join(parts[:i]) for i in range(1, len(parts))}
        direct[name] = packages | {other for other in imports(name, on_import=True) if other in MODULES} - {name}
    loaded = {}
    for name in names:
        loaded[name], todo = set(), [name]
        while todo:
            for other in direct[todo.pop()] - loaded[name]:
                loaded[name].add(other)
                todo.append(other)
    after = {}
    for name in names:
        package = name.rpartition(".")[0]
        # A package that imports its modules comes before each of them, whichever is asked for.
        others = [package] if name in loaded.get(package, ()) else [n for n in loaded[name] if name not in loaded[n]]
        after[name] = max(others, key=lambda other: (len(loaded[other]), other), default=None)
    assert sum(1 for other in after.values() if other is None) == 1  # af_kit itself
    done = fresh(FIRST, json.dumps(after))
    imported = [line.removeprefix("imported ") for line in done.stdout.splitlines() if line.startswith("imported ")]
    assert (done.returncode, sorted(imported)) == (0, sorted(names)), done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(names), done.stdout


# ------------------------------------------------------------------------------------------------- names in other files

DOTTED = re.compile(r"(?<![\w./-])af_kit(?:\.\w+)+")
FILES = ("*.md", "*.yaml", "*.yml", "*.json", "*.toml", "*.ipynb", "*.tpl", "*.sh", "docker/*", ".ci/*")


def texts() -> Iterator[tuple[str, str]]:
    """Yield the texts that may name our modules: pages, configuration, scripts, and strings in Python files."""
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "--"]
    for name in subprocess.run([*git, *FILES], capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            yield name, (ROOT / name).read_text(encoding="utf-8")
    python = ["af_kit/*.py", "services/*.py", "benchmarks/*.py"]
    for name in subprocess.run([*git, *python], capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield name, node.value


def is_key(name: str) -> bool:
    """Return whether ``name`` is a key of the configuration, or below a key whose names are the user's own."""
    key = name.removeprefix("af_kit.")
    try:
        config.get(key)
    except InputError:
        return any(key.startswith(f"{free}.") for free in config._FREE)
    return True


def exists(name: str) -> bool:
    """Import what a dotted name stands for."""
    module = name
    while module not in MODULES:
        module = module.rpartition(".")[0]
    found = importlib.import_module(module)
    for attribute in name.removeprefix(module).split(".")[1:]:
        if not hasattr(found, attribute):
            return False
        found = getattr(found, attribute)
    return True


def test_every_dotted_name_in_a_file_exists():
    places: dict[str, set[str]] = {}
    for place, text in texts():
        for name in DOTTED.findall(text):
            places.setdefault(name, set()).add(place)
    assert {"af_kit.plugins.xrootd_preload", "af_kit.cluster.jupyter.extension", "af_kit.cli"} <= places.keys()
    files = {"af_kit.yaml", "af_kit.json"}
    wrong = {
        name: sorted(found)
        for name, found in places.items()
        if name not in {*files, ENTRY_POINTS} and not is_key(name) and not exists(name)
    }
    assert not wrong
