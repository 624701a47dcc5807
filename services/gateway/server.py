"""Start and stop a Dask Gateway: its server, which starts its proxy, and the clusters that it starts for users."""

from __future__ import annotations

import json
import os
import secrets
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from services.common import (
    alone,
    default_folder,
    free_ports,
    is_free,
    is_running,
    load_state,
    make_folder,
    save_state,
    spawn,
    stop_all,
    wait_until,
    wait_until_listening,
)

__all__ = ["PROGRAMS", "Gateway"]

PROGRAMS = (str(Path(sys.executable).with_name("dask-gateway-server")),)
"""The programs that must be there: in this Python's own environment, wherever PATH leads."""

CONFIGURATION = Path(__file__).with_name("configuration.py")
PORTS = ("http", "tcp", "private")


@dataclass(frozen=True)
class Gateway:
    """The gateway of one folder, running or not.

    Parameters
    ----------
    folder : Path
        Its scratch folder: the state, the password, logs, the clusters' own folders.
    """

    folder: Path = field(default_factory=lambda: default_folder("gateway"))

    @property
    def log(self) -> Path:
        """The log of the server and its proxy."""
        return self.folder / "gateway.log"

    @property
    def password_file(self) -> Path:
        """The password of all users, mode 0600."""
        return self.folder / "password"

    @property
    def password(self) -> str:
        """The password of all users."""
        return self.password_file.read_text().strip()

    @property
    def address(self) -> str:
        """Where clients ask for clusters."""
        return f"http://127.0.0.1:{load_state(self.folder)['ports']['http']}"

    @property
    def proxy_address(self) -> str:
        """Where clients reach the schedulers."""
        return f"gateway://127.0.0.1:{load_state(self.folder)['ports']['tcp']}"

    def cluster_logs(self, name: str = "*") -> list[Path]:
        """The logs of the schedulers and workers of clusters that run."""
        return sorted((self.folder / "clusters").glob(f"{name}/logs/*.log"))

    def start(self) -> Gateway:
        """Start what does not run; returns when it answers."""
        make_folder(self.folder)
        with alone(self.folder):
            state = load_state(self.folder)
            if "process" in state and is_running(state["process"]):
                return self
            ports = state.get("ports", {})
            if not ports or not all(map(is_free, ports.values())):
                ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
            if not self.password_file.exists():
                handle = os.open(self.password_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                with os.fdopen(handle, "w") as file:
                    file.write(secrets.token_urlsafe(24) + "\n")
            (self.folder / "ports.json").write_text(json.dumps(ports))
            command = [PROGRAMS[0], "-f", str(CONFIGURATION)]
            process = spawn(command, self.log, environment={"AF_KIT_GATEWAY": str(self.folder)})
            save_state(self.folder, {"ports": ports, "process": process})
            for port in ports.values():
                wait_until_listening(port, process, self.log, within_s=60)
            # The proxy listens before it knows where to.
            wait_until(self._is_healthy, "The gateway does not answer", within_s=30, log=self.log)
        return self

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/api/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self) -> None:
        """Stop the server, which ends its clusters and its proxy; ports and password stay for the next start."""
        if not self.folder.exists():
            return
        with alone(self.folder):
            state = load_state(self.folder)
            if "process" in state:
                stop_all([state["process"]], within_s=40)
                stop_all(self._left_behind(), within_s=5)
                save_state(self.folder, {"ports": state["ports"]})

    def _left_behind(self) -> list[dict[str, int]]:
        """Schedulers and workers of a server that was killed: each has the server's address in its environment."""
        ours = f"DASK_GATEWAY_API_URL={self.address}/api".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if ours in entry.read_bytes().split(b"\0"):
                    fields = (entry.parent / "stat").read_text().rpartition(")")[2].split()
                    found.append({"pid": int(entry.parent.name), "born": int(fields[19])})
            except OSError:
                continue  # another user's, or ended meanwhile
        return found
