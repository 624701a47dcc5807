"""Small files, and functions for the tests of `process`."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import uproot
from hist import Hist


def write_events(path: Path, entries: int, seed: int, *, cluster: int = 250) -> Path:
    """A NanoAOD-like tree ``Events``; ``event`` counts entries from 100 000 times the seed on."""
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
    """Cut off the second half."""
    os.truncate(path, path.stat().st_size // 2)


def call_noted(folder: Path | str, events: Any) -> None:
    """Record a call, in whatever process it happens."""
    about = events.metadata
    name = f"{Path(about['file']).stem}-{about['entry_start']}-{about['entry_stop']}-{time.monotonic_ns()}"
    Path(folder, name).touch()


def calls(folder: Path) -> list[tuple[str, int, int]]:
    """The calls recorded by `call_noted`: file, first and last entry of each call, sorted."""
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
    """Return when ``condition`` is true; raise after the deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(0.01)


def scheduler_address(file: Path, *, within_s: float = 60) -> str:
    """Return the address in a scheduler file, which Dask may still be writing."""
    found: list[str] = []

    def is_written() -> bool:
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads(file.read_text())["address"])
        return bool(found)

    wait_for(is_written, within_s=within_s)
    return found[0]


class Found(NamedTuple):
    entries: int
    weight: float


def everything(events: Any) -> dict[str, Any]:
    """One of each type of output, so that a lost, doubled or misplaced entry is visible."""
    about, muons = events.metadata, events.Muon
    weight = np.asarray(events.genWeight, np.float64)
    per_muon = np.repeat(weight, np.asarray(ak.num(muons)))
    selected = muons[muons.pt > 20]
    return {
        "entries": len(events),
        "weight": weight.sum(),
        "pt": Hist.new.Reg(50, 0, 100, name="pt").Int64().fill(ak.flatten(muons.pt)),
        "weighted": Hist.new.StrCat([], growth=True, name="dataset")
        .Reg(20, 0, 100, name="pt")
        .Weight()
        .fill(dataset=about["dataset"], pt=ak.flatten(muons.pt), weight=per_muon),
        "event": np.asarray(events.event),
        "muons": ak.Array({"pt": selected.pt, "charge": selected.charge}),
        "table": pd.DataFrame({"dataset": about["dataset"], "event": np.asarray(events.event)}),
        "arrow": pa.table({"event": np.asarray(events.event), "file": [Path(about["file"]).name] * len(events)}),
        "found": Found(len(events), float(weight.sum())),
        about["dataset"]: {"files": {Path(about["file"]).name}, "year": str(about["year"])},
    }


def bits(result: Any) -> dict[str, Any]:
    """A result in a form that == compares to the last bit."""

    def exact(value: Any) -> Any:
        if isinstance(value, Hist):
            return [list(axis) for axis in value.axes], value.view(flow=True).tobytes()
        if isinstance(value, np.ndarray):
            return str(value.dtype), value.tobytes()
        if isinstance(value, ak.Array):
            return str(value.type), value.to_list()
        if isinstance(value, pd.DataFrame):
            return value.to_dict("list"), value.index.tolist()
        if isinstance(value, pa.Table):
            return value.to_pydict()
        if isinstance(value, dict):
            return {key: exact(item) for key, item in value.items()}
        return value.hex() if isinstance(value, float) else value

    return {key: exact(value) for key, value in result.items() if key != "found"} | {"found": tuple(result["found"])}


def assert_close(result: Any, other: Any) -> None:
    """Assert that integers and rows are equal, and sums of weights equal to 1e-12."""
    assert result["pt"] == other["pt"]
    assert result["entries"] == other["entries"]
    assert result["event"].tolist() == other["event"].tolist()
    assert result["muons"].to_list() == other["muons"].to_list()
    assert result["table"].equals(other["table"])
    assert result["arrow"].to_pydict() == other["arrow"].to_pydict()
    assert result["weight"] == pytest.approx(other["weight"], rel=1e-12)
    assert result["found"].weight == pytest.approx(other["weight"], rel=1e-12)
    for field in ("value", "variance"):
        mine, theirs = result["weighted"].view(flow=True)[field], other["weighted"].view(flow=True)[field]
        assert mine == pytest.approx(theirs, rel=1e-12, abs=1e-12)
