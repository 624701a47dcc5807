"""The runs that are disturbed: dimuon, Ds -> phi pi and a skim, on a few thousand simulated entries.

A run's function is wrapped: each call is noted in a folder, and some calls stop at a gate until a fault has happened.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
from hist import Hist

import af_kit as af
from af_kit import simulate
from af_kit.analysis import dimuon, dsphipi
from af_kit.run.stage_out import stage_out

RUNS = ("dimuon", "dsphipi", "skim")
CHUNK = 250
# How long a call waits at a gate, if nothing opens it
_GATE_S = 30.0


def write_samples(folder: Path, seed: int) -> None:
    """Write the files of all runs: eight or nine chunks each."""
    folder.mkdir(parents=True)
    for i, entries in enumerate((1000, 500, 750)):
        simulate.dimuon(folder / f"dimuon_{i}.root", entries, seed, file_index=i, cluster_entries=CHUNK)
    for kind, era, entries in (("data", "2017B", 750), ("data", "2017C", 500), ("mc", "2017B", 750)):
        path = folder / f"dsphipi_{kind}_{era}.root"
        simulate.dsphipi(path, entries, seed, kind=kind, era=era, cluster_entries=CHUNK)
    simulate.muon_scale_factors(folder / "muon_Run2017_ID.json")


def fileset(run: str, folder: str) -> dict[str, Any]:
    """Return the fileset of a run; ``folder`` is a path or a URL with the samples."""
    if run == "dsphipi":
        samples = [("data", "2017B"), ("data", "2017C"), ("mc", "2017B")]
        return {
            f"{kind}_{era}": {
                "files": {f"{folder}/dsphipi_{kind}_{era}.root": dsphipi.TREENAME},
                "metadata": {"isMC": kind == "mc", "era": era, "sqrt_s_TeV": 13},
            }
            for kind, era in samples
        }
    names = [f"{folder}/dimuon_{i}.root" for i in range(3)]
    return {"first": {"files": dict.fromkeys(names[:2], "Events")}, "second": {"files": {names[2]: "Events"}}}


def function(run: str, samples: Path, output: str) -> Callable[[Any], dict[str, Any]]:
    """Return the function of a run; a skim is written to ``output``."""
    if run == "dimuon":
        return dimuon.analyse
    if run == "skim":
        return functools.partial(_skim, folder=output)
    factors = dsphipi.load_scale_factors(samples / "muon_Run2017_ID.json")
    return functools.partial(dsphipi.analyse, scale_factors=factors)


def _skim(events: Any, *, folder: str) -> dict[str, Any]:
    pairs = events[ak.num(events.Muon) == 2]
    return {"n": len(pairs), "skim": stage_out(pairs[["run", "event", "Muon"]], folder, events, format="root")}


@dataclass(frozen=True)
class Watched:
    """A function that notes its calls in a folder, and waits in some of them.

    Parameters
    ----------
    function : callable
        What `af_kit.process` would take.
    folder : str
        ``call-N`` appears there for call N, of any process. If there is a ``gate-N``, the call adds ``reached-N`` and
        waits for ``passed-N``, after the function was called if the gate's content is "after". ``greedy-N`` makes it
        take memory until its worker is killed. If there is a ``poison``, the next chunk kills its worker, always.
    """

    function: Callable[[Any], dict[str, Any]]
    folder: str

    def __call__(self, events: Any) -> dict[str, Any]:
        about, folder = events.metadata, Path(self.folder)
        number = _note(folder, f"{about['entry_start']} {about['entry_stop']}")
        poisoned = folder / f"poison-{Path(about['file']).name}-{about['entry_start']}"
        with contextlib.suppress(FileNotFoundError):
            (folder / "poison").rename(poisoned)
        if poisoned.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        gate = folder / f"gate-{number}"
        when = gate.read_text() if gate.exists() else ""
        if when == "before":
            _wait_at(folder, number)
        output = self.function(events)
        if when == "after":
            _wait_at(folder, number)
        return output


def _note(folder: Path, text: str) -> int:
    number = 0
    while True:
        try:
            handle = os.open(folder / f"call-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            number += 1
            continue
        os.write(handle, text.encode())
        os.close(handle)
        return number


def _wait_at(folder: Path, number: int) -> None:
    (folder / f"reached-{number}").touch()
    deadline = time.monotonic() + _GATE_S
    while not (folder / f"passed-{number}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if (folder / f"greedy-{number}").exists():
        taken: list[Any] = []
        while time.monotonic() < deadline:  # much more than the limit, in case nobody watches it
            taken.append(np.ones(4 << 20) if len(taken) < 64 else None)
            time.sleep(0.02)


def bits(value: Any) -> Any:
    """Return a result, or a part of it, in a form that == compares to the last bit."""
    if isinstance(value, Hist):
        return [list(axis) for axis in value.axes], value.view(flow=True).tobytes()
    if isinstance(value, pa.Table):
        return {name: _column(name, value[name]) for name in value.column_names}
    if isinstance(value, Mapping):
        return {key: bits(item) for key, item in value.items()}
    return value


def _column(name: str, column: pa.ChunkedArray) -> Any:
    if name in ("file", "source"):  # its folder differs: the samples, their copy for the case, a server
        return [path and path.rpartition("/")[2] for path in column.to_pylist()]
    if pa.types.is_floating(column.type):
        return str(column.type), column.to_numpy().tobytes()
    return str(column.type), column.to_pylist()


def is_close(value: Any, other: Any) -> bool:
    """Return whether two results are the same, sums of weights to 1e-12: they may be added in another order."""
    if isinstance(value, Hist) and value.view().dtype.names:
        mine, theirs = value.view(flow=True), other.view(flow=True)
        return [list(axis) for axis in value.axes] == [list(axis) for axis in other.axes] and all(
            np.allclose(mine[name], theirs[name], rtol=1e-12, atol=1e-12) for name in mine.dtype.names
        )
    if isinstance(value, Mapping):
        return list(value) == list(other) and all(is_close(item, other[key]) for key, item in value.items())
    return bool(bits(value) == bits(other))


def undisturbed(run: str, source: Any, samples: Path, output: str) -> af.Result:
    """Return the result of a run, or of a list of its chunks, by threads of this process."""
    size = None if isinstance(source, list) else CHUNK
    return af.process(function(run, samples, output), source, chunk_entries=size, progress=False)
