"""Run the fuzzer: ``python tests/fuzz/driver.py --cases 1000 --seed 1``. See `case` for what counts as right."""

from __future__ import annotations

import argparse
import collections
import fnmatch
import gzip
import json
import random
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))

from mutations import mutate

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "samples"
DEADLINE_S = 30.0
RIGHT = ("same", "refused", "not covered")

CORRECTIONS = {
    "schema_version": 2,
    "corrections": [
        {
            "name": "sf",
            "version": 1,
            "inputs": [{"name": "pt", "type": "real"}, {"name": "eta", "type": "real"}],
            "output": {"name": "weight", "type": "real"},
            "data": {
                "nodetype": "multibinning",
                "inputs": ["pt", "eta"],
                "edges": [[0.0, 20.0, 200.0], [0.0, 1.0, 2.5]],
                "content": [0.9, 0.95, 0.98, 1.02],
                "flow": "clamp",
            },
        }
    ],
}


@dataclass(frozen=True)
class Finding:
    """A case that is not right: it can be repeated by its seed."""

    seed: int
    original: str
    mutation: str
    verdict: str
    detail: str


class Child:
    """The process that judges, started again when it died or was killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, question: dict[str, str]) -> tuple[str, str]:
        """The verdict on one case: also "hang" and "crash"."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "case.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            ready = self._wait(process)
            answer = process.stdout.readline() if ready else ""
        except BrokenPipeError:
            ready, answer = True, ""
        if answer:
            verdict, detail = json.loads(answer)
            return verdict, detail
        self.close()
        if not ready:
            return "hang", f"no answer within {DEADLINE_S:g} s of processor time"
        return "crash", f"exit code {process.returncode}: {(process.stderr.read() if process.stderr else '')[-1500:]}"

    def _wait(self, process: subprocess.Popen[str]) -> bool:
        """Wait for the answer. On a busy machine its processor time counts, not the time that passes."""
        began, end = _processor_time(process), time.monotonic() + 20 * DEADLINE_S
        while not (ready := select.select([process.stdout], [], [], 1.0)[0]):
            if _processor_time(process) - began > DEADLINE_S or time.monotonic() > end:
                return False
        return bool(ready)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _processor_time(process: subprocess.Popen[str]) -> float:
    try:
        return sum(psutil.Process(process.pid).cpu_times()[:2])
    except psutil.Error:
        return 0.0


def originals(folder: Path) -> list[tuple[str, Path]]:
    """The intact files, each with what it is."""
    files = [("root", path) for path in sorted(SAMPLES.glob("*.root"))]
    files += [("root", path) for path in (*ntuples(folder), *flat_trees(folder))]
    fileset = folder / "fileset.json"
    data = folder / "data.root"
    import numpy as np
    import uproot

    with uproot.recreate(data) as file:
        file["Events"] = {"x": np.arange(300)}
    fileset.write_text(json.dumps({"D": {"treename": "Events", "files": [str(data)], "metadata": {"year": 2018}}}))
    (folder / "fileset.yaml").write_text(
        f"D:\n  treename: Events\n  files:\n    - {data}\n  metadata: {{year: 2018, xsec_pb: 1.5}}\n"
    )
    corrections = folder / "corrections.json"
    corrections.write_text(json.dumps(CORRECTIONS))
    (folder / "corrections.json.gz").write_bytes(gzip.compress(corrections.read_bytes(), mtime=0))
    from case import count

    import af_kit as af

    checkpoint = folder / "checkpoint"
    af.process(count, json.loads(fileset.read_text()), checkpoint=checkpoint, chunk_entries=100, progress=False)
    saved = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    documents = [("fileset", fileset), ("fileset", fileset.with_suffix(".yaml"))]
    documents += [("corrections", corrections), ("corrections", corrections.with_suffix(".json.gz"))]
    return [*files, *documents, *(("checkpoint", path) for path in saved)]


def ntuples(folder: Path) -> list[Path]:
    """An RNTuple for each codec, with a checksum for each page."""
    import awkward as ak
    import numpy as np
    import uproot
    from rntuples import with_page_checksums

    written = []
    for name, codec in _codecs().items():
        path = folder / f"rntuple_{name}.root"
        with uproot.recreate(path, compression=codec) as file:
            for first in (0, 120):
                i = np.arange(first, first + 120)
                columns = {
                    "event": i.astype(np.uint64),
                    "pt": (i % 17 / 8).astype(np.float32),
                    "flag": i % 3 == 0,
                    "muons": ak.unflatten(np.arange(np.sum(i % 4)) % 50 / 4, i % 4),
                    "names": ak.Array([f"name {k % 7}" for k in i]),
                    "points": ak.unflatten(ak.zip({"x": np.arange(np.sum(i % 3)), "y": np.sqrt(first)}), i % 3),
                }
                if first:
                    file["Events"].extend(columns)
                else:
                    file.mkrntuple("Events", columns)
        path.write_bytes(with_page_checksums(path.read_bytes()))
        written.append(path)
    return written


def flat_trees(folder: Path) -> list[Path]:
    """A TTree for each codec with the branches of a NanoAOD file: numbers, and lists whose counters they share.

    The kit parses the metadata of such a tree by itself.
    """
    import awkward as ak
    import numpy as np
    import uproot

    types = ("f4", "f4", "i4", "u1", "?", "i2", "u8", "f8")
    written = []
    for name, codec in _codecs().items():
        path = folder / f"flat_{name}.root"
        with uproot.recreate(path, compression=codec) as file:
            for first in (0, 90):
                i = np.arange(first, first + 90)
                columns = {"run": i // 50, "event": i.astype(np.uint64), "weight": np.sqrt(i).astype(np.float32)}
                columns |= {f"HLT_path{k}": i % (k + 2) == 0 for k in range(12)}
                for c, collection in enumerate(("Muon", "Jet", "GenPart")):
                    counts = (i * 7 + c) % (3 + c)
                    numbers = np.arange(counts.sum()) % 97 + c
                    columns[collection] = ak.zip(
                        {f"x{k}": ak.unflatten(numbers.astype(dtype), counts) for k, dtype in enumerate(types)}
                    )
                if not first:
                    file.mktree("Events", {key: ak.type(ak.Array(value)).content for key, value in columns.items()})
                file["Events"].extend(columns)
        written.append(path)
    return written


def _codecs() -> dict[str, Any]:
    import uproot

    return {
        "zlib": uproot.ZLIB(1),
        "lzma": uproot.LZMA(1),
        "lz4": uproot.LZ4(1),
        "zstd": uproot.ZSTD(1),
        "none": None,
    }


def run(cases: int, seed: int, pattern: str = "*") -> Iterator[tuple[str, Finding | None]]:
    """Judge so many cases from a seed on: the verdict of each, and the finding if it is not right."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = [(sort, path) for sort, path in originals(folder) if fnmatch.fnmatch(path.name, pattern)]
        child = Child()
        try:
            for number in range(seed, seed + cases):
                sort, original = random.Random(number).choice(sources)
                content, mutation = mutate(
                    original.read_bytes(),
                    number,
                    document=original.suffix != ".gz" and sort in ("fileset", "corrections"),
                )
                mutated = _place(folder, sort, original)
                mutated.write_bytes(content)
                question = {"sort": sort, "mutated": str(mutated), "original": str(original)}
                verdict, detail = child.ask(question)
                if verdict in ("wrong", "unchecked") and _is_not_covered(original, mutation):
                    verdict = "not covered"
                wrong = verdict not in RIGHT
                yield verdict, Finding(number, original.name, mutation, verdict, detail) if wrong else None
        finally:
            child.close()


def _is_not_covered(original: Path, mutation: str) -> bool:
    """Whether other values, which uproot does not read either, can follow from a change that no checksum covers.

    No checksum covers which block is where, so two that change places are two good blocks. Nor can a checksum help that
    changed with its block or page. Baskets with ZSTD or without compression have none, nor have the pages of some
    RNTuples: the kit and uproot differ if a change reaches both numbers and their entry offsets, as the kit takes the
    offsets from the counter.
    """
    has_none = original.name in (
        *("plain_none.root", "plain_zstd.root", "flat_none.root", "flat_zstd.root", "ntuple_plain.root"),
    )
    return has_none or bool(re.search(r"swap_blocks at \d+ and|checked_block at|with its checksum", mutation))


def _place(folder: Path, sort: str, original: Path) -> Path:
    """Where the mutated file goes: a checkpoint's among the others of its folder."""
    if sort != "checkpoint":
        return folder / f"mutated{''.join(original.suffixes)}"
    copy = folder / "mutated" / "checkpoint"
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(folder / "checkpoint", copy)
    shutil.copy(folder / "fileset.json", copy.parent)
    return copy / original.relative_to(folder / "checkpoint")


def main() -> int:
    """Run from the command line; 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the first one; each case has the next")
    parser.add_argument("--originals", default="*", metavar="PATTERN", help="mutate files of such names only: flat_*")
    arguments = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    began = time.monotonic()
    for verdict, finding in run(arguments.cases, arguments.seed, arguments.originals):
        counts[verdict] += 1
        if finding is not None:
            where = f"seed {finding.seed}, {finding.original}: {finding.mutation}"
            print(f"{finding.verdict}: {where}\n    {finding.detail}", flush=True)
    print(f"{sum(counts.values())} cases in {time.monotonic() - began:.0f} s: {dict(counts)}")
    return int(bool(set(counts) - set(RIGHT)))


if __name__ == "__main__":
    sys.exit(main())
