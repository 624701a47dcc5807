"""The faults: each is a function that starts one on a stage, and returns how to undo it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusters import Cluster
from machine import kill
from runs import RUNS, fileset

from af_kit.errors import ConnectError, InputError, ReadError

Undo = Callable[[], None]


@dataclass
class Stage:
    """What a fault may touch: the parts of one case."""

    run: str
    folder: Path
    """The case's files: samples in ``data``, notes on the calls in ``calls``."""
    others: Path = Path()
    """Files of the same names and sizes with other events."""
    cluster: Cluster | None = None
    servers: Any = None
    relay: Any = None
    disk: Path | None = None
    """A small disk, if the case needs one."""
    clocks: dict[str, Path] = field(default_factory=dict)
    proxy: Any = None
    """The handle of the workers' proxy."""
    gate: int = -1
    """The number of the call that waits while the fault starts; -1 before the run."""

    @property
    def data(self) -> Path:
        """The samples of this case."""
        return self.folder / "data"

    @property
    def calls(self) -> Path:
        """Where the function notes its calls."""
        return self.folder / "calls"

    def file(self, rng: random.Random) -> Path:
        """Return one of the files that the run reads."""
        datasets = fileset(self.run, str(self.data)).values()
        return Path(rng.choice([path for dataset in datasets for path in dataset["files"]]))


@dataclass(frozen=True)
class Kind:
    """One kind of fault, and the cases that it fits."""

    start: Callable[[Stage, random.Random], Undo]
    clusters: tuple[str, ...] = ("threads", "local", "detached", "remote")
    runs: tuple[str, ...] = RUNS
    files: str = ""
    """Where the files must be: "disk", on a "server", or on one that asks for a "proxy"; empty if it doesn't matter."""
    disk: str = ""
    """What must be on the small disk: "checkpoint", "output", "spill"."""
    needs: str = ""
    """What must be there: "root", "xrootd", "gcc"."""
    lasts_s: tuple[float | None, ...] = (None,)
    """How long it may last; None for the rest of the run."""
    before: bool = True
    """Whether it may start before the run."""
    errors: tuple[type[Exception], ...] = ()
    """What `af_kit.process` may raise."""


# ------------------------------------------------------------------------------------------------------------ processes


def _victims(stage: Stage, rng: random.Random) -> list[int]:
    assert stage.cluster is not None
    workers = [pid for _, pid in sorted(stage.cluster.workers().items())]
    return workers if rng.random() < 0.2 else [rng.choice(workers)] if workers else []


def _kill_worker(stage: Stage, rng: random.Random) -> Undo:
    for pid in _victims(stage, rng):
        kill(pid)
    return lambda: None


def _stop_worker(stage: Stage, rng: random.Random) -> Undo:
    pids = _victims(stage, rng)

    def send(number: int) -> None:
        for pid in pids:
            kill(pid, number)

    send(signal.SIGSTOP)
    return lambda: send(signal.SIGCONT)


def _take_memory(stage: Stage, rng: random.Random) -> Undo:
    (stage.calls / f"greedy-{stage.gate}").touch()
    return lambda: None


def _poison_chunk(stage: Stage, rng: random.Random) -> Undo:
    (stage.calls / "poison").touch()

    def undo() -> None:
        for path in stage.calls.glob("poison*"):
            path.unlink()

    return undo


def _kill_nanny(stage: Stage, rng: random.Random) -> Undo:
    assert stage.cluster is not None
    nannies = sorted(stage.cluster.nannies().values())
    for pid in nannies if rng.random() < 0.2 else nannies[:1]:
        kill(pid)
    return stage.cluster.replace_jobs


def _kill_scheduler(stage: Stage, rng: random.Random) -> Undo:
    assert stage.cluster is not None
    stage.cluster.broken = True
    kill(stage.cluster.scheduler_pid)
    return lambda: None


def _stop_scheduler(stage: Stage, rng: random.Random) -> Undo:
    assert stage.cluster is not None
    pid = stage.cluster.scheduler_pid
    kill(pid, signal.SIGSTOP)
    return lambda: kill(pid, signal.SIGCONT)


def _cut_network(stage: Stage, rng: random.Random) -> Undo:
    cluster = stage.cluster
    assert cluster is not None
    names = sorted(cluster.jobs) if rng.random() < 0.2 else [rng.choice(sorted(cluster.jobs))]

    def connect(*, up: bool) -> None:
        for name in names:
            cluster.set_network(name, up=up)

    connect(up=False)
    return lambda: connect(up=True)


def _jump_clock(stage: Stage, rng: random.Random) -> Undo:
    """The clock of this machine, of the workers' machine, or of both jumps, by seconds to a year."""
    clocks = rng.choice([("here",), ("workers",), ("here", "workers")])
    if stage.cluster is None:
        clocks = ("here",)
    jump = rng.choice((-1, 1)) * rng.choice((3, 60, 3600, 86_400, 365 * 86_400))

    def move(seconds: int) -> None:
        for name in clocks:
            with stage.clocks[name].open("r+b") as file:  # in place: it is mapped into the processes
                file.write(seconds.to_bytes(8, "little", signed=True))

    def back() -> None:
        # If the clock is set back within 2 ms of a message, Dask keeps the next ones until it shows the old time again.
        time.sleep(0.1)
        move(0)

    move(jump)
    return back


# ---------------------------------------------------------------------------------------------------------------- files


def _kept(path: Path) -> Path:
    """Return where a file is kept while it is damaged."""
    return path.with_name(f"kept-{path.name}")


def _back(path: Path) -> Undo:
    def undo() -> None:
        if path.is_dir():
            path.rmdir()
        _kept(path).replace(path)

    return undo


def _truncate(stage: Stage, rng: random.Random) -> Undo:
    path = stage.file(rng)
    if _kept(path).exists():
        return lambda: None  # the case's other fault has damaged it
    shutil.copy2(path, _kept(path))
    os.truncate(path, int(path.stat().st_size * rng.choice((0, 0.001, rng.random(), 0.99))))
    return _back(path)


def _remove(stage: Stage, rng: random.Random) -> Undo:
    path = stage.file(rng)
    if _kept(path).exists():
        return lambda: None
    path.rename(_kept(path))
    return _back(path)


def _replace(stage: Stage, rng: random.Random) -> Undo:
    """Another file of the same run takes its place, as if it had been written again."""
    path = stage.file(rng)
    if _kept(path).exists():
        return lambda: None
    other = stage.others / path.name
    if rng.random() < 0.5:
        path.rename(_kept(path))
        shutil.copy(other, path)
    else:
        shutil.copy2(path, _kept(path))
        path.write_bytes(other.read_bytes())  # into the file that others may have open
    return _back(path)


def _make_unreadable(stage: Stage, rng: random.Random) -> Undo:
    """The file's path leads to a folder, to itself, or to an I/O error; nothing is forbidden to root."""
    path = stage.file(rng)
    if _kept(path).exists():
        return lambda: None
    path.rename(_kept(path))
    if (how := rng.choice(("folder", "loop", "error"))) == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if how == "loop" else "/proc/self/mem")
    return _back(path)


def _fill_disk(stage: Stage, rng: random.Random) -> Undo:
    assert stage.disk is not None
    filler = stage.disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(b"\0")
    return lambda: filler.unlink(missing_ok=True)


# -------------------------------------------------------------------------------------------------------------- servers


def _stop_server(stage: Stage, rng: random.Random) -> Undo:
    stage.servers.stop(["anonymous"])
    return lambda: stage.servers.start(["anonymous"]) and None


def _slow_server(stage: Stage, rng: random.Random) -> Undo:
    stage.relay.delay_s = rng.choice((0.02, 0.1, 0.5))

    def undo() -> None:
        stage.relay.delay_s = 0.0

    return undo


def _silence_server(stage: Stage, rng: random.Random) -> Undo:
    stage.relay.silent = True

    def undo() -> None:
        stage.relay.silent = False

    return undo


def _cut_connections(stage: Stage, rng: random.Random) -> Undo:
    stage.relay.cut()
    return lambda: None


def _expire_proxy(stage: Stage, rng: random.Random) -> Undo:
    """The proxy of the workers expires while the first call waits; sometimes it is renewed before."""
    source, until = Path(stage.proxy.info.source), stage.proxy.info.until.timestamp()

    def renew() -> None:
        stage.servers.proxy(source)
        stage.proxy.refresh()

    if rng.random() < 0.3:
        renew()
    while time.time() < until + 1:
        time.sleep(0.05)
    return renew


_CLUSTERS = ("local", "detached", "remote")
_AWHILE = (0.3, 1.0, 3.0, 8.0, None)

KINDS: dict[str, Kind] = {
    "worker killed": Kind(_kill_worker, (*_CLUSTERS, "spilling"), errors=(ConnectError,)),
    "worker out of memory": Kind(_take_memory, _CLUSTERS, before=False),
    "worker stopped": Kind(_stop_worker, (*_CLUSTERS, "spilling"), lasts_s=_AWHILE, errors=(ConnectError,)),
    "chunk kills": Kind(_poison_chunk, _CLUSTERS),
    "nanny killed": Kind(_kill_nanny, ("remote",), lasts_s=_AWHILE, errors=(ConnectError,)),
    "scheduler killed": Kind(_kill_scheduler, ("detached", "remote"), errors=(ConnectError,)),
    # not for the rest of the run: such a scheduler can't be told from a busy one
    "scheduler stopped": Kind(_stop_scheduler, ("detached", "remote"), lasts_s=_AWHILE[:-1], errors=(ConnectError,)),
    "network cut": Kind(_cut_network, ("remote",), needs="root", lasts_s=_AWHILE, errors=(ConnectError,)),
    "clock jumped": Kind(_jump_clock, needs="gcc", lasts_s=_AWHILE, errors=(ConnectError,)),
    "file truncated": Kind(_truncate, files="disk", lasts_s=_AWHILE),
    "file removed": Kind(_remove, files="disk", lasts_s=_AWHILE),
    "file replaced": Kind(_replace, files="disk", before=False, lasts_s=_AWHILE),
    "file unreadable": Kind(_make_unreadable, files="disk", lasts_s=_AWHILE),
    "server stopped": Kind(
        _stop_server, ("threads", "local"), files="server", needs="xrootd", lasts_s=_AWHILE, errors=(ReadError,)
    ),
    "server slow": Kind(_slow_server, ("threads", "local"), files="server", needs="xrootd"),
    "server silent": Kind(
        _silence_server, ("threads", "local"), files="server", needs="xrootd", lasts_s=_AWHILE, errors=(ReadError,)
    ),
    "connections cut": Kind(_cut_connections, ("threads", "local"), files="server", needs="xrootd", before=False),
    "proxy expired": Kind(
        _expire_proxy, ("local",), ("dimuon", "dsphipi"), files="proxy", needs="xrootd", before=False
    ),
    "spill disk full": Kind(_fill_disk, ("spilling",), files="disk", disk="spill", needs="root", lasts_s=_AWHILE),
    "checkpoint disk full": Kind(_fill_disk, disk="checkpoint", needs="root", lasts_s=_AWHILE, errors=(InputError,)),
    "output disk full": Kind(_fill_disk, runs=("skim",), disk="output", needs="root", lasts_s=_AWHILE),
    # by the case itself, which then continues from the checkpoint
    "client killed": Kind(lambda stage, rng: lambda: None, ("local", "remote"), files="disk", before=False),
}
