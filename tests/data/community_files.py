"""The public ROOT files that projects of the field use as test data, and what the kit makes of every branch of them.

The files belong to those projects and are not part of this repository. To bring them into a folder, and to count:

    python tests/data/community_files.py bring FOLDER      # needs git; from clones in DIR: --clones DIR
    python tests/data/community_files.py count FOLDER
    AF_KIT_COMMUNITY_FILES=FOLDER python -m pytest tests/data/test_community_files.py

A file is at ``FOLDER/OWNER/NAME/path/in/the/repository.root``. A clone in DIR is a git directory ``OWNER+NAME``, or one
below it; a file that a shallow clone lacks is left out.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import psutil
import uproot

import af_kit as af
from af_kit.errors import AfKitError

REPOSITORIES = (
    "scikit-hep/scikit-hep-testdata",
    "scikit-hep/coffea",
    "scikit-hep/uproot5",
    "JuliaHEP/UnROOT.jl",
    "go-hep/hep",
)
# One file must not take the machine's memory, or hold up the others
MEMORY = 4 << 30
DEADLINE_S = 300.0
_POINTER = b"version https://git-lfs"
# uproot cannot read lists without offsets whose baskets end elsewhere than those of their counter. Another file has the
# same events with offsets.
TWINS = {"uproot-small-dy-nooffsets.root": "uproot-small-dy-withoffsets.root"}
TREES = "TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a branch, or of a whole file or tree if it has no name.

    ``verdict`` is "equal", "refused" (by the kit with a sentence, which is the ``reason``), or "wrong".
    """

    tree: str
    branch: str
    verdict: str
    reason: str = ""
    kind: str = ""
    uproot_reads: bool = False


def bring(folder: Path, clones: Path | None) -> None:
    """Export the ROOT files of each repository to a folder."""
    for name in REPOSITORIES:
        with tempfile.TemporaryDirectory() as temporary:
            if clones is None:
                url = f"https://github.com/{name}.git"
                subprocess.run(["git", "clone", "--bare", "--depth", "1", url, temporary], check=True)
                git = Path(temporary)
            else:
                base = clones / name.replace("/", "+")
                git = next(
                    (p.parent for p in [base / "HEAD", *base.glob("*/HEAD"), *base.glob("*/*/HEAD")] if p.exists()),
                    base,
                )
            there = list(_export(git, folder / name))
        print(f"{name}: {sum(there)} of {len(there)} files")


def _export(git: Path, folder: Path) -> Iterator[bool]:
    """Yield whether each file could be brought: a shallow clone lacks the content of some, or has a pointer to it."""
    listing = _git(git, "ls-tree", "-r", "-z", "HEAD").decode().split("\0")
    for line in filter(None, listing):
        about, path = line.split("\t", 1)
        blob = about.split()[2]
        if not path.endswith(".root") or about.startswith("120000"):  # a link
            continue
        target = folder / path
        try:
            content = _git(git, "cat-file", "blob", blob)
        except subprocess.CalledProcessError:
            content = _POINTER
        if content.startswith(_POINTER):
            yield False
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        yield True


def _git(git: Path, *arguments: str) -> bytes:
    command = ["git", "-c", "safe.directory=*", f"--git-dir={git}", *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


class Child:
    """A process that is bounded in memory and time, and replaced when it dies or is killed."""

    def __init__(self) -> None:
        self._process: Any = None

    def outcomes(self, path: Path) -> list[Outcome]:
        """Compare every branch of every tree of a file with plain uproot."""
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")
            self._pipe, pipe = context.Pipe()
            self._process = context.Process(target=_answer, args=(pipe,), daemon=True)
            self._process.start()
            pipe.close()
        try:
            self._pipe.send(path)
            if self._answers():
                found: list[Outcome] = self._pipe.recv()
                return found
            reason = f"no answer within {DEADLINE_S:g} s of processor time"
        except (EOFError, OSError, psutil.Error):
            self._process.join()
            reason = f"the process ended with exit code {self._process.exitcode}"
        self.close()
        return [Outcome("", "", "wrong", reason)]

    def _answers(self) -> bool:
        """Wait for the answer. On a busy machine its processor time counts, not the time that passes."""
        process, end = psutil.Process(self._process.pid), time.monotonic() + 20 * DEADLINE_S
        began = sum(process.cpu_times()[:2])
        while not (ready := self._pipe.poll(1.0)):
            if sum(process.cpu_times()[:2]) - began > DEADLINE_S or time.monotonic() > end:
                return False
        return bool(ready)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _answer(pipe: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while True:
        try:
            found = _outcomes(pipe.recv())
        except EOFError:
            return
        except Exception:  # noqa: BLE001 - the finding itself
            found = [Outcome("", "", "wrong", traceback.format_exc(limit=-4))]
        pipe.send(found)


def _outcomes(path: Path) -> list[Outcome]:
    warnings.simplefilter("ignore")
    try:
        with uproot.open(path) as file:
            trees = sorted(set(file.keys(cycle=False, filter_classname=list(TREES))))
    except Exception as error:  # noqa: BLE001 - not for uproot to read: then the kit says why
        return [_whole(path, "Events", str(error))]
    return [outcome for tree in trees for outcome in _of_tree(path, tree)]


def _whole(path: Path, tree: str, words: str) -> Outcome:
    try:
        af.plan({"D": {"treename": tree, "files": [str(path)]}})
    except AfKitError as error:
        return Outcome(tree, "", "refused", str(error))
    return Outcome(tree, "", "wrong", f"the kit reads a file that uproot does not: {words}")


def _of_tree(path: Path, treename: str) -> Iterator[Outcome]:
    with uproot.open(path) as file:
        try:
            tree = file[treename]
        except Exception as error:  # noqa: BLE001 - as above
            yield _whole(path, treename, str(error))
            return
        try:
            chunks = af.plan({"D": {"treename": treename, "files": [str(path)]}}, chunk_entries=10**9)
        except AfKitError as error:
            yield Outcome(treename, "", "refused", str(error), uproot_reads=True)
            return
        if len(chunks) != 1:
            entries = tree.num_entries
            fine = not chunks and not entries
            yield Outcome(treename, "", "equal" if fine else "wrong", f"{len(chunks)} chunks for {entries} entries")
            return
        chunk, layout = chunks[0], chunks[0].layout
        ranges = [(0, chunk.entry_stop), (chunk.entry_stop // 3, min(2 * chunk.entry_stop // 3 + 1, chunk.entry_stop))]
        parts = [
            (*edges, af.read(dataclasses.replace(chunk, entry_start=edges[0], entry_stop=edges[1]))) for edges in ranges
        ]
        twin = path.with_name(TWINS[path.name]) if path.name in TWINS else None
        for name in layout.names:
            yield dataclasses.replace(_of_branch(tree, parts, name, twin), tree=treename, kind=layout.kind)


def _of_branch(tree: Any, parts: list[tuple[int, int, Any]], name: str, twin: Path | None) -> Outcome:
    entries = parts[0][1]
    try:
        try:
            want = tree[name].array(library="ak")[:entries]
        except ValueError:
            if twin is None:
                raise
            with uproot.open(twin) as file:
                want = file[tree.name][name].array(library="ak")
    except Exception as error:  # noqa: BLE001 - a type that uproot cannot read
        want = error
    try:
        for start, stop, events in parts:
            difference = _difference(_read(events, name), want if isinstance(want, Exception) else want[start:stop])
            if difference:
                return Outcome("", name, "wrong", f"in entries {start} to {stop}: {difference}")
    except AfKitError as error:
        reads = not isinstance(want, Exception) and len(want) == entries
        return Outcome("", name, "refused", str(error), uproot_reads=reads)
    return Outcome("", name, "equal")


def _read(events: Any, name: str) -> Any:
    try:
        return ak.materialize(events[name])
    except (AttributeError, KeyError, ValueError, RuntimeError, OSError, TypeError) as error:
        cause: BaseException | None = error  # awkward wraps what a lazy column raises
        while cause is not None:
            if isinstance(cause, AfKitError):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise


def _difference(got: Any, want: Any) -> str:
    if isinstance(want, Exception):
        return f"uproot does not read it: {type(want).__name__}: {str(want)[:200]}"
    if len(got) != len(want):
        return f"{len(got)} entries instead of {len(want)}"
    if ak.array_equal(got, want, equal_nan=True, dtype_exact=True, check_parameters=False):
        return ""
    return f"{got.type} instead of {want.type}" if str(got.type) != str(want.type) else "other values"


def files(folder: Path) -> list[Path]:
    """Return the ROOT files below a folder."""
    return sorted(folder.rglob("*.root"))


def count(folder: Path) -> None:
    """Print the counts, and every branch that is wrong, or that only uproot reads."""
    total: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    child = Child()
    for path in files(folder):
        print(path.relative_to(folder), file=sys.stderr, flush=True)
        found = child.outcomes(path)
        total["files"] += 1
        total["trees"] += len({outcome.tree for outcome in found})
        for outcome in found:
            what = "branches" if outcome.branch else "files and trees"
            total[f"{what} {outcome.kind} {outcome.verdict}"] += 1
            if outcome.verdict == "refused":
                reasons[f"{'only uproot reads: ' if outcome.uproot_reads else ''}{_kind(outcome.reason)}"] += 1
            if outcome.verdict == "wrong" or (outcome.verdict == "refused" and outcome.uproot_reads):
                print(f"{path.relative_to(folder)}: {outcome}", flush=True)
    child.close()
    _print(total.items())
    _print(reasons.most_common())


def _kind(reason: str) -> str:
    for words in (
        "cannot interpret its type",
        "cannot read its type",
        "is truncated",
        "not a ROOT file",
        "entries, the tree has",
    ):
        if words in reason:
            return words
    return reason.rpartition(".root")[2][:80]


def _print(rows: Iterable[tuple[str, int]]) -> None:
    for name, number in rows:
        print(f"{number:8,}  {name}")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("bring", "count"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clones", type=Path, metavar="DIR", help="take the repositories from here, not from GitHub")
    arguments = parser.parse_args()
    if arguments.command == "bring":
        bring(arguments.folder, arguments.clones)
    else:
        count(arguments.folder)


if __name__ == "__main__":
    sys.exit(main())
