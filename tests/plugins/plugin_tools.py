"""Helpers of the tests of plugins."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

from distributed import LocalCluster
from waiting import until


def local_cluster(folder: Path, *, n_workers: int, **options) -> LocalCluster:
    """Return a cluster of processes with one thread each, which listens on 127.0.0.1 and writes into ``folder``."""
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        local_directory=str(folder),
        **options,
    )


def workers(client) -> set[str]:
    """Return the addresses of the current workers."""
    return set(client.scheduler_info(n_workers=-1)["workers"])


def look() -> dict:
    """Return the state of the proxy in the process that runs this."""
    named = os.environ.get("X509_USER_PROXY")
    path = Path(named or "/nowhere")
    if not path.exists():
        return {"path": named, "content": None}
    return {
        "path": named,
        "content": path.read_bytes(),
        "mode": stat.S_IMODE(path.stat().st_mode),
        "folder": stat.S_IMODE(path.parent.stat().st_mode),
        "authorities": os.path.realpath(os.environ["X509_CERT_DIR"]),
        "pid": os.getpid(),
    }


def looks(client) -> list[dict]:
    """Return the state of the proxy on each worker."""
    return list(client.run(look).values())


def kill_one_worker(client) -> None:
    """Kill a worker's process; its nanny starts another."""
    address, pid = min(client.run(os.getpid).items())
    os.kill(pid, signal.SIGKILL)
    until(lambda: len(there := workers(client)) == 2 and address not in there, "the successor of a killed worker")
