"""Who may import whom (CONTRIBUTING.md, "Layers"), read from the source; and what an import costs, seen when run."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import af_kit

PACKAGE = Path(af_kit.__file__).parent

# Each room of the package, and the rooms that its modules may import beside their own.
LAYERS = {
    "errors": set(),
    "config": {"errors"},
    "credentials": {"errors", "config"},
    "data": {"errors", "config"},
    "run": {"errors", "config", "credentials", "data", "plugins"},
    "cluster": {"errors", "config", "credentials"},
    "plugins": {"errors", "config", "credentials"},
    "lab": {"errors", "config", "credentials", "cluster"},
    "corrections": {"errors", "config", "data"},
    "analysis": {"errors", "config", "data", "corrections"},
    "simulate": {"errors", "config", "data"},
}
# On top: these may import everything.
TOP = {"", "cli", "__main__", "doctor"}

# Dask is for those who run or reach a cluster.
KNOW_DASK = {"config", "run", "cluster", "plugins", "lab"} | TOP

# What `import af_kit` must not cost.
HEAVY = {
    "awkward", "coffea", "correctionlib", "dask", "dask_kubernetes", "distributed", "fsspec", "hist", "IPython",
    "jupyterlab", "matplotlib", "mplhep", "numba", "numpy", "pandas", "pyarrow", "uproot", "vector", "XRootD",
}  # fmt: skip


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    """The part of the package that a module belongs to; empty for ``af_kit`` itself."""
    return module.split(".")[1] if "." in module else ""


def imports(module: str) -> Iterator[str]:
    """The modules that ``module`` imports anywhere, but for type checking: what a name comes from, in full."""
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
            # `from af_kit import config` imports a module, `from af_kit.errors import nearest` a name; the version
            # stands in the package itself and loads nothing
            names = [f"{origin}.{alias.name}" for alias in node.names]
            yield from {name if name in MODULES else origin for name in names if name != "af_kit.__version__"}
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            nodes.extend(node.orelse)
        else:
            nodes.extend(ast.iter_child_nodes(node))


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "af_kit"


def test_the_rules_cover_the_package():
    assert len(MODULES) > 10
    assert {room(module) for module in MODULES} <= LAYERS.keys() | TOP
    seen = {(room(module), name) for module in MODULES for name in imports(module)}
    assert {("data", "af_kit.errors"), ("run", "distributed")} <= seen  # else `imports` is blind


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_the_layers_below(module):
    if room(module) in TOP:
        return
    allowed = LAYERS[room(module)] | {room(module)}
    if room(module) == "analysis" and module.endswith(".process"):
        allowed |= {"run"}
    wrong = sorted(name for name in imports(module) if is_ours(name) and room(name) not in allowed)
    assert not wrong, f"{module} may import {sorted(allowed)}, not {wrong}"


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) not in KNOW_DASK])
def test_a_module_that_needs_no_cluster_does_not_know_dask(module):
    dask = {name for name in imports(module) if name.split(".")[0] in {"dask", "distributed", "dask_kubernetes"}}
    assert not dask, f"{module} imports {sorted(dask)}"


def test_there_are_no_circles():
    graph = {module: {name for name in imports(module) if name in MODULES} - {module} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]), pytrace=False)


def fresh(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_importing_the_package_is_light():
    done = fresh("import sys, af_kit; print(*{name.partition('.')[0] for name in sys.modules})")
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


FIRST = """
import importlib, sys, traceback
for name in sys.argv[1:]:
    for ours in [known for known in sys.modules if known.partition(".")[0] == "af_kit"]:
        del sys.modules[ours]
    try:
        importlib.import_module(name)
    except BaseException:
        print(f"import {name}:", traceback.format_exc())
"""


def test_every_module_can_be_the_first_one_imported():
    # One interpreter that forgets our modules each time: one for each module would take minutes for other packages.
    names = [name for name in MODULES if not name.endswith("__main__")]
    done = fresh(FIRST, *names)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
