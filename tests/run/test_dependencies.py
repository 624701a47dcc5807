"""The key of a function: the same wherever nothing changed, another one after any edit."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from af_kit.run import dependencies
from af_kit.run.dependencies import fingerprint, mentioned, unseen_lookups
from af_kit.run.process import process

IMPORTS = """
import collections, contextlib, dataclasses, enum, functools, json, re
import awkward as ak, correctionlib, numba, numpy as np, pandas as pd
from hist import Hist

def corrections(value):
    data = {"name": "c", "version": 1, "inputs": [{"name": "x", "type": "real"}],
            "output": {"name": "y", "type": "real"}, "data": value}
    return correctionlib.CorrectionSet.from_string(json.dumps({"schema_version": 2, "corrections": [data]}))
"""


def key_of(source: str, above: str = "") -> str:
    """The key of ``f`` where ``source`` is typed into a notebook."""
    cell: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(f"{IMPORTS}{above}\n{textwrap.dedent(source)}", "<cell>", "exec"), cell)
    return fingerprint(cell["f"])


# Notebook cells with an edit «before|after» that must be seen.
CELLS = {
    "a constant": "f = lambda e: e > «20|25»",
    "a type": "f = lambda e: e > 20«|.0»",
    "an operator": "f = lambda e: e >«|=» 20",
    "a default": "def f(e, cut=«20|25»): return cut",
    "a keyword": "def f(e, *, cut=«20|25»): return cut",
    "an exception": "def f(e):\n    try: return e\n    except «Value|Key»Error: return 1",
    "a comprehension": "f = lambda e: [x * «1|2» for x in e]",
    "an inner function": "def f(e):\n    def g(): return «1|2»\n    return g()",
    "a closure": "def make(a):\n    return lambda e: a\nf = make(«1|2»)",
    "a global": "CUT = «20|25»\nf = lambda e: CUT",
    "a nesting": "BINS = «[[20, 30], [2]]|[[20], [30, 2]]»\nf = lambda e: BINS",
    "a repetition": "BINS = (20, 30, «2|3»0)\nf = lambda e: BINS",
    "a container": "BINS = «(20, 30)|[20, 30]»\nf = lambda e: BINS",
    "a key": "CUTS = {'«pt|eta»': 20}\nf = lambda e: CUTS",
    "a set": "f = lambda e: e in {'a', '«b|c»'}",
    "an array": "A = np.zeros(9999)«|; A[5000] = 1»\nf = lambda e: A",
    "an array's shape": "A = np.eye(4)[:2]«|.reshape(4, 2)»\nf = lambda e: A",
    "an awkward array": "A = ak.Array([[1], [«2|3»]])\nf = lambda e: A",
    "a frame": "D = pd.DataFrame({'a': [«1|2»]})\nf = lambda e: D",
    "an axis": "H = Hist.new.Reg(2, 0, «1|2»).Int64()\nf = lambda e: H",
    "a filled histogram": "H = Hist.new.Reg(2, 0, 1).Double()«|.fill([0.1])»\nf = lambda e: H",
    "a correction": "C = corrections(«1|2».0)\nf = lambda e: C",
    "one of the corrections": "C = corrections(«1|2».0)['c']\nf = lambda e: C",
    "a helper": "def g(x): return «1|2»\ndef h(x): return g(x)\nf = lambda e: h(e)",
    "a circle of helpers": "def g(x): return f(x) + «1|2»\ndef f(e): return g(e)",
    "a table of functions": "def a(): return 1\ndef b(): return 2\nT = {'x': «a|b»}\nf = lambda e: T['x']()",
    "a function's attribute": "def f(e): return f.cut\nf.cut = «1|2»",
    "a decorator": "def w(g):\n    @functools.wraps(g)\n    def i(): return «1|2»\n    return i\nf = w(json.dumps)",
    "what a decorator wraps": "@contextlib.contextmanager\ndef g(): yield «1|2»\nf = lambda e: g()",
    "a cached function": "@functools.lru_cache\ndef g(): return «1|2»\nf = lambda e: g()",
    "one of several by type": "@functools.singledispatch\ndef f(e): return 0\n@f.register\ndef _(e: int): return «1|2»",
    "partial": "def g(a, e): return 1\nf = functools.partial(g, «1|2»)",
    "partial of another": "def g(a, e): return «1|2»\nf = functools.partial(g, 1)",
    "a pattern": "R = re.compile('«a|b»')\nf = lambda e: R",
    "a default factory": "D = collections.defaultdict(lambda: «1|2»)\nf = lambda e: D",
    "a bound method's object": "class C:\n    def __init__(s, a): s.a = a\n    def m(s, e): return s.a\nf = C(«1|2»).m",
    "an attribute of an object": "class C: pass\nc = C()\nc.x = lambda: «1|2»\nf = lambda e: c.x()",
    "a slot": "class C:\n    __slots__ = ('x',)\nc = C()\nc.x = «1|2»\nf = lambda e: c.x",
    "a kernel": "@numba.njit\ndef k(x): return x + «1|2»\nf = lambda e: k(e)",
    "a kernel's constant": "A = «1|2»\n@numba.njit\ndef k(x): return x + A\nf = lambda e: k(e)",
    "a kernel's option": "@numba.njit«|(fastmath=True)»\ndef k(x): return x + 1\nf = lambda e: k(e)",
    "a ufunc": "@numba.vectorize\ndef k(x): return x + «1|2»\nf = lambda e: k(e)",
}
for kind, body in {
    "attribute": "cut = «1|2»",
    "method": "def m(s): return «1|2»",
    "property": "@property\n    def m(s): return «1|2»",
    "static method": "@staticmethod\n    def m(): return «1|2»",
    "class method": "@classmethod\n    def m(c): return «1|2»",
    "cached property": "@functools.cached_property\n    def m(s): return «1|2»",
    "nested class": "class D:\n        x = «1|2»",
}.items():
    CELLS[f"a class's {kind}"] = f"class C:\n    {body}\nf = lambda e: C()"
    CELLS[f"a base's {kind}"] = f"class B:\n    {body}\nclass C(B): pass\nf = lambda e: C()"
    CELLS[f"a data class's {kind}"] = f"@dataclasses.dataclass\nclass C:\n    y: int = 0\n    {body}\nf = lambda e: C()"
CELLS["a data class's default"] = "@dataclasses.dataclass\nclass C:\n    y: int = «1|2»\nf = lambda e: C()"
CELLS["an enumeration"] = "class C(enum.Enum):\n    A = «1|2»\nf = lambda e: C.A"

EDITS = {name: tuple(re.sub("«(.*?)\\|(.*?)»", rf"\{i}", cell) for i in (1, 2)) for name, cell in CELLS.items()}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_the_key(edit):
    before, after = EDITS[edit]
    assert key_of(before) != key_of(after)


@pytest.mark.parametrize("edit", EDITS)
def test_typed_in_again_the_key_is_the_same(edit):
    source = EDITS[edit][0]
    assert key_of(source) == key_of(source, above="\n\n# a comment, and other lines\nunrelated = 1\n")


def test_the_key_is_the_same_in_other_processes():
    """Also if Python orders sets differently."""
    script = "import sys\nsys.path.insert(0, sys.argv[1])\nfrom test_dependencies import EDITS, key_of\n"
    script += "print(*(key_of(pair[0]) for pair in EDITS.values()))"
    here = [key_of(pair[0]) for pair in EDITS.values()]
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split() == here


# ---------------------------------------------------------------- modules


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``module(name, source)`` writes a module; it is imported, or reloaded unless ``load=False``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made: set[str] = set()

    def module(name: str, source: str, *, load: bool = True) -> Any:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        made.update((name, name.partition(".")[0]))
        if not load:
            return None
        return importlib.reload(sys.modules[name]) if name in sys.modules else importlib.import_module(name)

    yield module
    for name in made:
        sys.modules.pop(name, None)


def test_helpers_in_modules(module):
    module("fp_deep", "CUT = 1\ndef cut(x):\n    return x > CUT")
    module("fp_helper", "import fp_deep\ndef select(x):\n    return fp_deep.cut(x)")
    mine = module("fp_mine", "from fp_helper import select\ndef f(e):\n    return select(e)")
    keys = [fingerprint(mine.f)]

    assert (
        fingerprint(module("fp_mine", "from fp_helper import select\n\n# moved\ndef f(e):\n    return select(e)").f)
        == keys[0]
    )

    module("fp_deep", "CUT = 1\ndef cut(x):\n    return x < CUT")  # two levels down
    keys.append(fingerprint(mine.f))
    module("fp_deep", "CUT = 2\ndef cut(x):\n    return x < CUT")
    keys.append(fingerprint(mine.f))
    sys.modules["fp_deep"].CUT = 3  # in the session only
    keys.append(fingerprint(mine.f))
    assert len(set(keys)) == len(keys)


def test_an_edit_that_is_not_loaded_yet(module):
    """The old code still runs: its results must not be found under the key that the new code will have."""
    module("fp_stale", "def region(x):\n    return 1")

    def f(e: Any) -> Any:
        import fp_stale  # type: ignore[import-not-found]

        return getattr(fp_stale, "reg" + "ion")(e)  # found by no name in the code

    keys = [fingerprint(f)]
    module("fp_stale", "def region(x):\n    return 2", load=False)
    keys.append(fingerprint(f))
    importlib.reload(sys.modules["fp_stale"])
    keys.append(fingerprint(f))
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    "function",
    [
        "def f(e):\n    import fp_inner\n    return fp_inner.cut(e)",
        "def f(e):\n    from fp_inner import cut\n    return cut(e)",
        "def f(e):\n    def g():\n        from fp_inner import cut\n        return cut(e)\n    return g()",
        "import fp_inner as other\ndef f(e):\n    return other.cut(e)",
        "import fp_folder.inside\ndef f(e):\n    return fp_folder.inside.cut(e)",
        "def f(e):\n    from fp_folder import inside\n    return inside.cut(e)",
    ],
)
def test_ways_to_import(module, function):
    keys = set()
    for value in (1, 1, 2):
        module("fp_inner", f"def cut(x):\n    return {value}", load="import fp_inner as" in function)
        module("fp_folder.inside", f"def cut(x):\n    return {value}", load="fp_folder" in function)
        for name in ("fp_inner", "fp_folder", "fp_folder.inside"):
            sys.modules.pop(name, None)
        cell: dict[str, Any] = {"__name__": "__main__"}
        exec(function, cell)
        keys.add(fingerprint(cell["f"]))
    assert len(keys) == 2


def test_an_installed_function_is_identified_by_name_and_version(monkeypatch):
    import numpy as np

    key = fingerprint(np.mean, np.sqrt, np)
    assert key == fingerprint(np.mean, np.sqrt, np)
    assert fingerprint(np.mean) != fingerprint(np.median)
    monkeypatch.setattr(np, "__version__", "0.0")
    assert fingerprint(np) != fingerprint("np")
    assert key != fingerprint(np.mean, np.sqrt, np)


def test_what_hides_its_content_never_matches():
    class Handle:
        """As of a C++ library."""

        def __reduce_ex__(self, version: int) -> Any:
            raise TypeError("cannot pickle")

    handle = Handle()
    assert fingerprint(handle) != fingerprint(handle)
    lock = threading.Lock()
    assert fingerprint(lock) == fingerprint(threading.Lock())  # says nothing about a result


def test_pickling_does_not_change_the_key():
    """Python adds members to a class when one of its objects is first pickled."""

    class Sum:
        def __init__(self, n: int) -> None:
            self.n = n

    def f(e: Any) -> Any:
        return Sum(1)

    key = fingerprint(f)
    cloudpickle.dumps(f(1))
    assert fingerprint(f) == key


def test_arguments_are_distinguished():
    assert fingerprint(1, 2) != fingerprint(2, 1)
    assert fingerprint([1], 2) != fingerprint([1, 2])
    assert fingerprint(None) != fingerprint("None")


def reads_the_environment(events):
    return {"n": len(events) > int(os.environ["AF_KIT_TEST_CUT"])}


def gets_from_the_environment(events):
    return {"n": [len(events) > int(os.getenv("AF_KIT_TEST_CUT", "1")) for _ in range(2)]}


@pytest.mark.parametrize("function", [reads_the_environment, gets_from_the_environment])
def test_an_environment_variable_that_is_read_by_name_counts(function, monkeypatch):
    monkeypatch.setenv("AF_KIT_TEST_CUT", "10")
    before = fingerprint(function)
    monkeypatch.setenv("AF_KIT_TEST_ELSE", "1")
    assert fingerprint(function) == before
    monkeypatch.setenv("AF_KIT_TEST_CUT", "500")
    assert fingerprint(function) != before
    assert unseen_lookups(function) == []


def opens_a_file(events):
    with open("cuts.txt") as file:  # noqa: PTH123
        return {"n": len(file.read())}


def looks_up_by_name(events):
    return {"n": globals()["cut"]}


def calls_one_that_reads(events):
    return {"n": Path("cuts.txt").read_text(), **opens_a_file(events)}


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (opens_a_file, ["open() in opens_a_file"]),
        (looks_up_by_name, ["globals() in looks_up_by_name"]),
        (calls_one_that_reads, ["open() in opens_a_file", "read_text() in calls_one_that_reads"]),
        (lambda events: {"n": len(events)}, []),
    ],
)
def test_what_the_key_cannot_include_is_named(function, found):
    assert unseen_lookups(function) == found


class Hidden:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("not to be pickled")


def test_the_state_of_the_kit_is_no_part_of_a_key(monkeypatch):
    def f(events: Any) -> Any:
        return process, events

    key = fingerprint(f)
    monkeypatch.setattr(sys.modules["af_kit.run.process"], "logger", Hidden())
    assert fingerprint(f) == key
    assert fingerprint(process) == fingerprint(process)


def test_an_edit_of_the_kit_is_a_part_of_a_key(monkeypatch):
    key = fingerprint(process)
    monkeypatch.setattr(dependencies, "_digest_of_kit", lambda: "edited")
    assert fingerprint(process) != key
    edited = fingerprint(process)
    monkeypatch.setattr(dependencies, "_SOURCE_AT_START", "edited")  # in the next session
    assert fingerprint(process) not in (key, edited)


def test_the_branches_of_the_kits_own_analyses_are_found():
    from af_kit.analysis.hmumu import analyse

    assert {"Jet_qgl", "Jet_genJetIdx", "Muon"} <= mentioned(analyse)
    assert len(mentioned(lambda events: process(events.Muon))) < 10
