"""One process of the fuzzer: reads mutated files as a user would, and judges what comes out.

A case is right if it ends in one of the kit's own errors, in the original's values, or in the values that uproot reads
from the mutated file as well (not every byte of a ROOT file has a checksum, so some changes make another good file).
An RNTuple that has a wrong checksum and is read all the same is "unchecked".
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import uproot
from rntuples import NotAnNtuple, breaks_a_checksum

import af_kit as af
from af_kit.errors import AfKitError

MEMORY = 6 << 30
TREES = "TTree", "TNtuple", "ROOT::RNTuple"


def main() -> None:
    """Judge the cases that come on standard input, a JSON line each; the verdict goes to standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        case = json.loads(line)
        try:
            verdict, detail = JUDGES[case["sort"]](Path(case["mutated"]), Path(case["original"]))
        except Exception:  # noqa: BLE001 - the finding itself
            verdict, detail = "foreign", traceback.format_exc(limit=-6)
        print(json.dumps([verdict, detail]), flush=True)


def _root(mutated: Path, original: Path) -> tuple[str, str]:
    try:
        got = _values(mutated, _trees(original))
    except AfKitError as error:
        return "refused", _sentence(error)
    want = _originals(original)
    refused = unchecked = ""
    for place, value in got.items():
        if isinstance(value, AfKitError):
            refused = _sentence(value)
        elif place in want and _same(value, want[place]):
            continue
        elif without := _missing_fields(value, want.get(place)):
            refused = f"{place[1]} without {without}"
        elif not _is_right(value, want.get(place), _by_uproot(mutated, *place)):
            if _is_stale(mutated):
                return "unchecked", f"{place[1]} of {place[0]} has other values, and a checksum does not hold"
            if place in want and not _is_right(want[place], None, _by_uproot(original, *place)):
                return "not covered", f"uproot does not read {place[1]} of {place[0]} of the original, either"
            return "wrong", f"{place[1]} of {place[0]} has other values than in the original, and than by uproot"
        else:
            unchecked = place[1]
    if unchecked and _is_stale(mutated):
        return "unchecked", f"{unchecked} has other values than in the original, and a checksum does not hold"
    lost = set(want) - set(got)
    return ("refused", refused or f"without {sorted(lost)[0]}") if refused or lost else ("same", "")


def _is_stale(path: Path) -> bool:
    """Whether it is an RNTuple with a checksum that does not hold."""
    try:
        return breaks_a_checksum(path.read_bytes())
    except NotAnNtuple:
        return False


_known: dict[Path, dict[tuple[str, str], Any]] = {}


def _originals(path: Path) -> dict[tuple[str, str], Any]:
    if path not in _known:
        _known[path] = _values(path, _trees(path))
    return _known[path]


_names: dict[Path, list[str]] = {}


def _trees(path: Path) -> list[str]:
    if path not in _names:
        with uproot.open(path) as file:
            _names[path] = sorted(set(file.keys(cycle=False, filter_classname=list(TREES))))
    return _names[path]


def _values(path: Path, trees: list[str]) -> dict[tuple[str, str], Any]:
    """What a user gets of each branch of each tree: an array, or the kit's error."""
    found: dict[tuple[str, str], Any] = {}
    for tree in trees:
        chunks = af.plan({"D": {"treename": tree, "files": [str(path)]}}, chunk_entries=10**9)
        for chunk in chunks:
            events = af.read(chunk)
            for name, get in _leaves(events, ""):
                try:
                    found[tree, name] = ak.materialize(get())
                except AfKitError as error:
                    found[tree, name] = error
                except (AttributeError, KeyError, ValueError, RuntimeError) as error:
                    found[tree, name] = _ours(error)
    return found


def _ours(error: BaseException) -> AfKitError:
    """The kit's error behind one of awkward's, which wraps what a lazy column raises."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AfKitError):
            return cause
        cause = cause.__cause__ or cause.__context__
    raise error


def _leaves(events: Any, prefix: str) -> list[tuple[str, Callable[[], Any]]]:
    return [(name, lambda name=name: events[name]) for name in events.fields]


def _by_uproot(path: Path, tree: str, name: str) -> dict[str, Any]:
    """What uproot reads of a branch (named ""), or of each branch of a collection, without those that it does not."""
    found: dict[str, Any] = {}
    try:
        with uproot.open(path) as file:
            branches = file[tree]
            names = {*branches.keys(), *branches.keys(full_paths=False)}
            if name in names:
                parts = {"": name}
            else:
                parts = {key.removeprefix(f"{name}_"): key for key in names if key.startswith(f"{name}_")}
            for part, key in parts.items():
                with contextlib.suppress(Exception):
                    found[part] = branches[key].array()
    except Exception:  # noqa: BLE001 - it does not read the file: then only the original's values are right
        return {}
    return found


def _is_right(got: Any, want: Any, by_uproot: dict[str, Any]) -> bool:
    """Whether an array has the values that it should have: a collection, each of its fields."""
    if _same(got, by_uproot.get("")):
        return True
    known = want is not None and not isinstance(want, AfKitError)
    return (
        hasattr(got, "fields")
        and bool(got.fields)
        and all(
            (known and part in want.fields and _same(got[part], want[part])) or _same(got[part], by_uproot.get(part))
            for part in got.fields
        )
    )


def _missing_fields(got: Any, want: Any) -> list[str]:
    """The fields that a collection lacks, if all others are the original's: each is an error if it is used."""
    if want is None or isinstance(want, AfKitError) or not got.fields or not set(got.fields) < set(want.fields):
        return []
    if not all(_same(got[part], want[part]) for part in got.fields):
        return []
    return sorted(set(want.fields) - set(got.fields))


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None or isinstance(other, AfKitError) or len(one) != len(other):
        return False
    try:
        return bool(ak.array_equal(one, other, equal_nan=True, dtype_exact=True, check_parameters=False))
    except Exception:  # noqa: BLE001 - of different structure
        return False


def _fileset(mutated: Path, original: Path) -> tuple[str, str]:
    try:
        fileset = af.load_fileset(mutated)
        result = af.process(lambda events: {"n": len(events)}, fileset, progress=False, on_error="collect")
        result.report.check()
    except AfKitError as error:
        return "refused", _sentence(error)
    return "same", str(result["n"])


def _corrections(mutated: Path, original: Path) -> tuple[str, str]:
    pt = ak.Array([[5.0, 25.0], [], [150.0]])
    eta = ak.Array([[0.1, 1.2], [], [2.0]])
    try:
        corrections = af.corrections.load(mutated)
        values = corrections["sf"].evaluate(pt=pt, eta=eta).values
    except AfKitError as error:
        return "refused", _sentence(error)
    if ak.num(values).tolist() != [2, 0, 1]:
        return "wrong", f"values of another shape: {values.tolist()}"
    return "same", ""


def _checkpoint(mutated: Path, original: Path) -> tuple[str, str]:
    """``mutated`` is one file of a checkpoint folder whose run gave 300; its fileset lies next to the folder."""
    folder = next(parent for parent in mutated.parents if parent.name == "checkpoint")
    fileset = json.loads((folder.parent / "fileset.json").read_text())
    try:
        result = af.process(count, fileset, checkpoint=folder, chunk_entries=100, progress=False)
    except AfKitError as error:
        return "refused", _sentence(error)
    result.report.check()
    if result["n"] != 300:
        return "wrong", f"{result['n']} instead of 300"
    return "same", ""


def count(events: Any) -> dict[str, int]:
    """The function of the checkpoint's run."""
    return {"n": len(events)}


def _sentence(error: AfKitError) -> str:
    text = str(error)
    if not text.strip():
        raise AssertionError(f"{type(error).__name__} without a message")
    return text[:200]


JUDGES = {"root": _root, "fileset": _fileset, "corrections": _corrections, "checkpoint": _checkpoint}

if __name__ == "__main__":
    main()
