"""The schedulers that belong to one Jupyter server: of its Dask panel, and of the notebooks that it runs.

Server and notebooks are processes of one user. Each leaves a note in the user's Jupyter runtime folder, which nobody
else may read: by the notes the server knows whose dashboards it may show, and ``connect()`` finds the panel's cluster.
A note goes when its cluster or client is closed; one that outlived its process does not count, and is removed.
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

# {base}proxy/{host}:{port}/..., as jupyter-server-proxy has it; without a host it is the server's own machine
_PROXIED = re.compile(r"/proxy/(?:absolute/)?(?:(?P<host>[^/:@]+):)?(?P<port>\d+)(?P<path>/.*)?$")


@dataclass(frozen=True)
class Dashboard:
    """Where a dashboard is served, seen from the user's processes.

    Attributes
    ----------
    host, port : str, int
        Where its web server listens.
    path : str
        What comes before the pages' names there: empty for a scheduler's own server, ``/clusters/NAME`` at a gateway.
    """

    host: str
    port: int
    path: str = ""

    def below(self, base_url: str) -> str:
        """The path of its first page through the Jupyter server at ``base_url``."""
        return f"{base_url.rstrip('/')}/proxy/{self.host}:{self.port}{self.path}/status"


def dashboard_of(link: str | None) -> Dashboard | None:
    """Where the dashboard is that Dask's ``link`` leads to; None where that cannot be told, or is no plain http."""
    parts = urlsplit(link or "")
    proxied = _PROXIED.search(parts.path)
    if proxied is not None:
        path = (proxied["path"] or "").removesuffix("/").removesuffix("/status")
        return Dashboard(proxied["host"] or "localhost", int(proxied["port"]), path)
    if parts.scheme != "http" or not parts.hostname:
        return None
    return Dashboard(parts.hostname, parts.port or 80, parts.path.removesuffix("/").removesuffix("/status"))


def note(*, address: str, link: str | None, server: int, panel: bool = False, grows: bool = False) -> Path | None:
    """Leave a note about a scheduler.

    Parameters
    ----------
    address : str
        What ``connect`` takes to reach it.
    link : str or None
        Dask's link to its dashboard.
    server : int
        The process id of the Jupyter server.
    panel : bool
        Whether it is a cluster of the server's Dask panel.
    grows : bool
        Whether it may have no workers until there is something to do.

    Returns
    -------
    Path or None
        The note, to be removed when the scheduler is not used any more; None where it cannot be written.
    """
    dashboard = dashboard_of(link)
    content = {
        "server": server,
        "machine": socket.gethostname(),
        "process": os.getpid(),
        "born": _born(os.getpid()),
        "panel": panel,
        "grows": grows,
        "address": address,
        "dashboard": asdict(dashboard) if dashboard else None,
    }
    try:
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{uuid.uuid4().hex}.json"
        new = path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
        new.replace(path)
    except OSError:  # no home, or a full one: the cluster works without
        return None
    return path


def remove(path: Path | None) -> None:
    """Take a note away."""
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def dashboards(server: int) -> set[Dashboard]:
    """The dashboards of the schedulers that belong to a Jupyter server of this machine."""
    return {Dashboard(**known["dashboard"]) for known, _ in _notes(server) if known["dashboard"]}


def by_address(server: int, address: str) -> Dashboard | None:
    """The dashboard of the scheduler at ``address``, if it belongs to the server and has one."""
    for known, _ in _notes(server):
        if known["dashboard"] and known["address"].rstrip("/") == address.rstrip("/"):
            return Dashboard(**known["dashboard"])
    return None


def grows(address: str) -> bool:
    """In a notebook: whether the panel's cluster at ``address`` begins without workers, and grows with its load."""
    server = jupyter_server()
    return server is not None and any(
        known["panel"] and known["grows"] and known["address"] == address for known, _ in _notes(server)
    )


def panel_cluster() -> str | None:
    """In a notebook: the address of the newest cluster of the Dask panel beside it, if there is one."""
    server = jupyter_server()
    if server is None:
        return None
    clusters = [(written, known["address"]) for known, written in _notes(server) if known["panel"]]
    return max(clusters)[1] if clusters else None


def jupyter_server() -> int | None:
    """The process id of the Jupyter server that runs this notebook, or None outside a notebook."""
    given = os.environ.get("JPY_PARENT_PID", "")
    return int(given) if given.isdecimal() else None


def _folder() -> Path:
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir()) / "af-kit"


def _notes(server: int) -> Iterator[tuple[dict[str, Any], float]]:
    """The notes of one server that count, and when each was written."""
    for path in _folder().glob("*.json"):
        try:
            known, written = json.loads(path.read_text()), path.stat().st_mtime
        except (OSError, ValueError):  # removed just now
            continue
        if known["machine"] != socket.gethostname():
            continue  # home folders are shared, process ids are not
        if _born(known["process"]) != known["born"]:
            remove(path)
        elif known["server"] == server:
            yield known, written


def _born(process: int) -> str | None:
    """When a process was started; with its id it names no later one. None if there is none; empty if it is not told."""
    if not Path("/proc/self").exists():
        return "" if _exists(process) else None
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
