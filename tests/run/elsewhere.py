"""A cluster whose workers cannot see a folder of this machine: real processes, in mount namespaces that hide it."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from run_tools import scheduler_address, wait_for

_DASK = [sys.executable, "-m", "dask"]
_HIDE = ["sh", "-c", 'mount -t tmpfs none "$1" && shift && exec "$@"', "hide"]


@functools.cache
def _unshare() -> tuple[str, ...]:
    """The command that starts a process with its own mounts; skips if this user may not."""
    ways = [("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount")]
    said = ""
    for way in ways if os.geteuid() == 0 else ways[1:]:
        try:
            done = subprocess.run(
                [*way, *_HIDE, "/mnt", "true"], capture_output=True, text=True, timeout=30, check=False
            )
        except OSError as error:
            pytest.skip(f"unshare cannot be run: {error}")
        if done.returncode == 0:
            return way
        said = done.stderr.strip()
    pytest.skip(f"unshare is not permitted here: {said}")


class Elsewhere:
    """A scheduler and its workers, which cannot see the folder ``hidden`` unless a worker is started with ``sees``.

    Parameters
    ----------
    hidden : Path
        A folder of this machine.
    scratch : Path
        A folder that all can see.
    """

    def __init__(self, hidden: Path, scratch: Path, workers: int = 1) -> None:
        self.unshare = _unshare()
        self.hidden, self.scratch = hidden, scratch
        self.file = scratch / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file)]
        self._start([*_DASK, "scheduler", *options])
        scheduler_address(self.file)
        self.client = self.another_client()
        for _ in range(workers):
            self.add()

    def another_client(self) -> Client:
        """A client that connects by the scheduler's address, like a notebook on another machine."""
        return Client(scheduler_file=str(self.file), timeout="60s")

    def add(self, *, sees: bool = False, wait: bool = True) -> str:
        """Start a worker and return its address."""
        before = set(self.addresses())
        number = len(self.processes)
        command = [*_DASK, "worker", "--scheduler-file", str(self.file), "--host", "127.0.0.1", "--nthreads", "1"]
        command += ["--no-dashboard", "--local-directory", str(self.scratch / f"host{number}")]
        command += ["--preload", "af_kit.plugins.xrootd_preload"]  # as af-kit starts its own
        self._start(command if sees else [*self.unshare, *_HIDE, str(self.hidden), *command])
        if not wait:
            return ""
        wait_for(lambda: set(self.addresses()) - before, within_s=60)
        return (set(self.addresses()) - before).pop()

    def remove(self, address: str) -> None:
        """End a worker."""
        self.client.retire_workers([address])
        wait_for(lambda: address not in self.addresses())

    def addresses(self) -> list[str]:
        return list(self.client.scheduler_info(n_workers=-1)["workers"])

    def kept(self) -> list[str]:
        """The content that the scheduler stores."""
        return self.client.run_on_scheduler(_kept)

    def copies(self) -> list[str]:
        """The copies on the workers' machines, without lock files."""
        folders = os.walk(self.scratch)  # which tolerates that a folder disappears meanwhile
        there = [
            folder for folder in folders if re.search(r"/host[^/]*/.*(/af-upload|/af-kit-files-[^/]*)$", folder[0])
        ]
        paths = [Path(folder, name) for folder, _, names in there for name in names]
        return [str(path) for path in paths if path.suffix != ".lock"]

    def _start(self, command: list[str]) -> None:
        log = (self.scratch / f"process{len(self.processes)}.log").open("wb")
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}  # for the functions of the tests
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))

    def close(self) -> None:
        self.client.close()
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)


def _kept(dask_scheduler: Any) -> list[str]:
    plugin = dask_scheduler.plugins.get("af-store")
    return sorted(path.name for path in plugin._folder.iterdir()) if plugin else []
