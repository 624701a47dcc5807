"""The schedulers that belong to one Jupyter server: those of its Dask panel, and of the notebooks that it runs.

Server and notebooks are processes of one user. Each writes a record of its schedulers to the user's Jupyter runtime
folder, which nobody else can read. From these records the server knows whose dashboards it may show, and ``connect()``
finds the panel's cluster. A record is removed when its cluster or client is closed. One whose process has ended is
ignored, and removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from af_kit.cluster.processes import birth
from af_kit.credentials.private_files import private_folder, write_private
from af_kit.errors import InputError

# jupyter-server-proxy's {base}proxy/{host}:{port}/...; a path without a host is on the server's own machine
_PROXIED = re.compile(r"/proxy/(?:absolute/)?(?:(?P<host>[^/:@]+):)?(?P<port>\d+)(?P<path>/.*)?$")


@dataclass(frozen=True)
class Dashboard:
    """The address of a dashboard, as the user's processes reach it.

    Attributes
    ----------
    host, port : str, int
        Address of its web server.
    path : str
        Path above the pages: empty for a scheduler's own server, ``/clusters/NAME`` at a gateway.
    """

    host: str
    port: int
    path: str = ""

    def below(self, base_url: str) -> str:
        """Return the path of its first page through the Jupyter server at ``base_url``."""
        return f"{base_url.rstrip('/')}/proxy/{self.host}:{self.port}{self.path}/status"


def dashboard_of(link: str | None) -> Dashboard | None:
    """Return the dashboard that Dask's ``link`` leads to, or None if that is unknown or not plain http."""
    parts = urlsplit(link or "")
    proxied = _PROXIED.search(parts.path)
    if proxied is not None:
        path = (proxied["path"] or "").removesuffix("/").removesuffix("/status")
        return Dashboard(proxied["host"] or "localhost", int(proxied["port"]), path)
    if parts.scheme != "http" or not parts.hostname:
        return None
    return Dashboard(parts.hostname, parts.port or 80, parts.path.removesuffix("/").removesuffix("/status"))


def register(
    *, address: str, link: str | None, server: int, panel: bool = False, may_be_empty: bool = False
) -> Path | None:
    """Write a record of a scheduler.

    Parameters
    ----------
    address : str
        Address by which ``connect`` reaches it.
    link : str or None
        Dask's link to its dashboard.
    server : int
        Process id of the Jupyter server.
    panel : bool
        Whether it is a cluster of the server's Dask panel.
    may_be_empty : bool
        Whether it may have no workers while there are no tasks.

    Returns
    -------
    Path or None
        The record, for `unregister`; None if it could not be written.
    """
    dashboard = dashboard_of(link)
    content = {
        "server": server,
        "machine": socket.gethostname(),
        "process": os.getpid(),
        "born": birth(os.getpid()),
        "panel": panel,
        "may_be_empty": may_be_empty,
        "address": address,
        "dashboard": asdict(dashboard) if dashboard else None,
    }
    try:
        return write_private(private_folder(_folder()) / f"{uuid.uuid4().hex}.json", json.dumps(content))
    except (OSError, InputError):  # no home, or a full one: the cluster also works without a record
        return None


def unregister(path: Path | None) -> None:
    """Remove a record."""
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def dashboards(server: int) -> set[Dashboard]:
    """Return the dashboards of the schedulers that belong to a Jupyter server of this machine."""
    return {Dashboard(**record["dashboard"]) for record, _ in _records(server) if record["dashboard"]}


def by_address(server: int, address: str) -> Dashboard | None:
    """Return the dashboard of the scheduler at ``address``, if it belongs to the server and has one."""
    for record, _ in _records(server):
        if record["dashboard"] and record["address"].rstrip("/") == address.rstrip("/"):
            return Dashboard(**record["dashboard"])
    return None


def may_be_empty(address: str) -> bool:
    """In a notebook, return whether the panel's cluster at ``address`` may have no workers while it has no tasks."""
    server = jupyter_server()
    return server is not None and any(
        record["panel"] and record["may_be_empty"] and record["address"] == address for record, _ in _records(server)
    )


def panel_cluster() -> str | None:
    """In a notebook, return the address of the newest cluster of JupyterLab's Dask panel, if there is one."""
    server = jupyter_server()
    if server is None:
        return None
    clusters = [(written, record["address"]) for record, written in _records(server) if record["panel"]]
    return max(clusters)[1] if clusters else None


def jupyter_server() -> int | None:
    """Return the process id of the Jupyter server that runs this notebook, or None outside a notebook."""
    pid = os.environ.get("JPY_PARENT_PID", "")
    return int(pid) if pid.isdecimal() else None


def _folder() -> Path:
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir()) / "af-kit"


def _records(server: int) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield the valid records of one server, and when each was written."""
    for path in _folder().glob("*.json"):
        try:
            record, written = json.loads(path.read_text()), path.stat().st_mtime
        except (OSError, ValueError):  # it was removed a moment ago
            continue
        if record["machine"] != socket.gethostname():
            continue  # machines share home folders, but not process ids
        if birth(record["process"]) != record["born"]:
            unregister(path)
        elif record["server"] == server:
            yield record, written
