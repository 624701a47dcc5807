"""Small files, and functions for the tests of `process`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot


def write_events(path: Path, entries: int, seed: int, *, cluster: int = 250) -> Path:
    """A NanoAOD-like tree ``Events``; ``event`` numbers the entries of all files through, by the seed."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, 4, entries)
    total = int(counts.sum())
    muons = {name: random.exponential(20, total).astype(np.float32) for name in ("pt", "eta", "phi", "mass")}
    muons["charge"] = random.choice(np.array([-1, 1], np.int32), total)
    columns = {
        "run": np.full(entries, 1, np.uint32),
        "luminosityBlock": (np.arange(entries) // 100 + 1).astype(np.uint32),
        "event": np.arange(entries, dtype=np.uint64) + np.uint64(seed * 100_000),
        "genWeight": random.normal(1, 0.3, entries).astype(np.float32),
    }
    jagged = ak.zip({name: ak.unflatten(values, counts) for name, values in muons.items()})
    with uproot.recreate(path) as file:
        fields = "pt: float32, eta: float32, phi: float32, mass: float32, charge: int32"
        types: dict[str, Any] = {name: values.dtype for name, values in columns.items()}
        tree = file.mktree("Events", {**types, "Muon": f"var * {{{fields}}}"})
        for begin in range(0, entries, cluster):
            part = slice(begin, begin + cluster)
            tree.extend({**{name: values[part] for name, values in columns.items()}, "Muon": jagged[part]})
    return path


def damage(path: Path, branch: str, basket: int) -> None:
    """Overwrite the content of one basket, and leave its header."""
    with uproot.open(path) as file:
        found = file["Events"][branch]
        begin, size = int(found.member("fBasketSeek")[basket]), int(found.member("fBasketBytes")[basket])
    with path.open("r+b") as raw:
        raw.seek(begin + 80)
        raw.write(b"\xff" * (size - 80))


def truncate(path: Path) -> None:
    """Leave the first half."""
    os.truncate(path, path.stat().st_size // 2)


def call_noted(folder: Path | str, events: Any) -> None:
    """Leave a trace of a call, whichever process it happens in."""
    about = events.metadata
    name = f"{Path(about['file']).stem}-{about['entry_start']}-{about['entry_stop']}-{time.monotonic_ns()}"
    Path(folder, name).touch()


def calls(folder: Path) -> list[tuple[str, int, int]]:
    """What `call_noted` left: file, first and last entry of each call, sorted."""
    parts = [path.name.split("-") for path in folder.iterdir()]
    return sorted((part[0], int(part[1]), int(part[2])) for part in parts)


def once(flag: Path | str) -> bool:
    """True for the first caller in any process, and for no other."""
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def wait_for(condition: Callable[[], object], *, within_s: float = 20) -> None:
    """Return when ``condition`` comes true; an error after the deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(0.01)
