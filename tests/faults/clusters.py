"""Clusters to harm: two worker processes each. The workers of a remote one are in network namespaces, as root.

local      connect("local"): the scheduler and the nannies are in this process
spilling   the same; its workers keep every result on a small disk
detached   connect("local", name=...): the scheduler and the nannies are in a process of their own
remote     a scheduler and two `af-kit worker`, as a batch system starts them; connect(ADDRESS)
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import Finding, wait_until

import af_kit as af

CLUSTERS = ("local", "spilling", "detached", "remote")
WORKERS = 2
MEMORY = "1 GiB"
# Until a cluster is complete: a busy machine takes seconds to start a worker.
READY_S = 120.0
# Until all processes of a cluster have ended.
END_S = 90.0
_ADDRESS = "10.213.77."


class Cluster:
    """A cluster of one of the kinds, running.

    Parameters
    ----------
    kind : str
        One of `CLUSTERS`.
    folder : Path
        For its files, and for those of its workers.
    clock : Path
        The file by which the workers' clock can jump.
    networks : bool
        Whether to put the workers of a remote cluster into network namespaces.
    """

    def __init__(self, kind: str, folder: Path, clock: Path, *, networks: bool) -> None:
        self.kind, self.folder, self.clock, self.networks = kind, folder, clock, networks and kind == "remote"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.jobs: dict[str, subprocess.Popen[bytes]] = {}
        """The `af-kit worker` processes of a remote cluster, by the name of the worker."""
        self.broken = False
        """Whether it can't be used any more."""
        self.incomplete = False
        """Whether it has lost a worker, so that the next case needs another one."""
        folder.mkdir(parents=True, exist_ok=True)
        self.client = self._start()
        self.scheduler_pid = int(self.client.run_on_scheduler(os.getpid))
        """The process of the scheduler, asked while it answers: of a kind other than local, one of its own."""

    def _start(self) -> Any:
        if self.kind == "remote":
            return self._start_remote()
        environment = {"AF_KIT_CLOCK": str(self.clock)}
        if self.kind == "spilling":
            environment["DASK_DISTRIBUTED__WORKER__MEMORY__TARGET"] = "0.00001"
        options: dict[str, Any] = {"name": "faults"} if self.kind == "detached" else {}
        return af.connect(
            "local",
            n_workers=WORKERS,
            memory=MEMORY,
            timeout_s=READY_S,
            quiet=True,
            dashboard=False,
            environment=environment,
            local_directory=str(self.folder),
            **options,
        )

    def _start_remote(self) -> Any:
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        if self.networks:
            _ip("link", "add", "faults", "type", "bridge")
            _ip("address", "add", f"{_ADDRESS}1/24", "dev", "faults")
            _ip("link", "set", "faults", "up")
        host = f"{_ADDRESS}1" if self.networks else "127.0.0.1"
        options = ["--host", host, "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        self.scheduler = self._spawn([sys.executable, "-m", "dask", "scheduler", *options], "scheduler")
        wait_until(lambda: _address(file), "the scheduler's address", READY_S)
        for i in range(WORKERS):
            if self.networks:
                self._add_network(i)
            self.add_job(f"w{i}")
        return af.connect(_address(file), n_workers=WORKERS, timeout_s=READY_S, quiet=True)

    def _add_network(self, i: int) -> None:
        name = f"w{i}"
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", name, "master", "faults", "up")
        _ip("-netns", name, "address", "add", f"{_ADDRESS}{i + 2}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-netns", name, "link", "set", device, "up")

    def add_job(self, name: str) -> None:
        """Start a worker of a remote cluster, as the batch system does when a job has ended."""
        options = ["--name", name, "--memory", MEMORY, "--timeout-s", "40", "--local-directory", str(self.folder)]
        address = _address(self.folder / "scheduler.json")
        command = [sys.executable, "-m", "af_kit.cluster.workers.worker", address, *options]
        if self.networks:
            command = ["nsenter", f"--net=/run/netns/{name}", *command]
        self.jobs[name] = self._spawn(command, name, {"AF_KIT_CLOCK": str(self.clock)})

    def replace_jobs(self) -> None:
        """Start the workers of a remote cluster that have ended."""
        for name, job in list(self.jobs.items()):
            if job.poll() is not None:
                self.add_job(name)

    def set_network(self, name: str, *, up: bool) -> None:
        """Connect or cut a worker of a remote cluster: packets are lost, and nobody is told."""
        _ip("link", "set", name, "up" if up else "down")

    def workers(self) -> dict[str, int]:
        """Return the process ids of the workers by their addresses."""
        pids: dict[str, int] = self.client.run(os.getpid, on_error="ignore")
        return pids

    def nannies(self) -> dict[str, int]:
        """Return the process ids of the nannies of a remote cluster, by the name of the worker."""
        return {name: job.pid for name, job in self.jobs.items() if job.poll() is None}

    def recover(self) -> None:
        """Wait for the workers, and replace what is missing of a remote cluster; one worker is enough to go on."""
        self.replace_jobs()
        wait_until(lambda: self._has_workers(1), "a worker again", READY_S)
        try:
            wait_until(lambda: self._has_workers(WORKERS), f"{WORKERS} workers again", 15)
        except Finding:
            self.incomplete = True  # Dask doesn't start a worker again if that has failed once

    def _has_workers(self, n: int) -> bool:
        with contextlib.suppress(OSError):
            return len(self.client.nthreads()) >= n and len(self.client.run(os.getpid)) >= n
        return False

    def tasks(self) -> list[str]:
        """Return the tasks and results that the scheduler holds."""
        return list(self.client.run_on_scheduler(_tasks))

    def is_idle(self) -> bool:
        """Return whether no worker runs a task, also none that nobody waits for any more."""
        return not any(self.client.run(_active).values())

    def close(self) -> None:
        """End it; what it has started ends by itself if its scheduler was lost."""
        lost = self.client.status != "running" or self.broken
        self.client.close()
        if self.scheduler is None:
            return
        if not lost:
            for job in self.jobs.values():
                job.terminate()
        deadline = time.monotonic() + END_S
        for process in (*self.jobs.values(), self.scheduler):
            if process is self.scheduler:
                process.terminate()
            try:
                process.wait(max(1.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise Finding("left", f"{process.args!r} did not end within {END_S:g} s") from None
        if self.networks:
            for name in self.jobs:
                _ip("netns", "delete", name)
            _ip("link", "delete", "faults")

    def _spawn(self, command: list[str], name: str, environment: dict[str, str] | None = None) -> Any:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **(environment or {})})


def _tasks(dask_scheduler: Any) -> list[str]:
    return [str(key) for key in dask_scheduler.tasks]


def _active(dask_worker: Any) -> int:
    return len(dask_worker.active_threads)


def _address(file: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError):
        return str(json.loads(file.read_text())["address"])
    return ""


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
