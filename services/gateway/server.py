"""A Dask Gateway: its server, the proxy that it starts, and the clusters that it starts for users."""

from __future__ import annotations

import json
import secrets
import sys
from contextlib import suppress
from pathlib import Path

from af_kit.credentials.private_files import write_private
from services.common import Service, identify, responds, stop_all

__all__ = ["PROGRAMS", "Gateway"]

PROGRAMS = (str(Path(sys.executable).with_name("dask-gateway-server")),)
"""The programs that the service needs: from this Python's environment, wherever PATH leads."""
CONFIGURATION = Path(__file__).with_name("configuration.py")


class Gateway(Service):
    """The gateway of one folder, which also has the clusters' folders."""

    name = "gateway"
    processes = ("gateway",)

    @property
    def password_file(self) -> Path:
        """The file with the password of all users, mode 0600."""
        return self.folder / "password"

    @property
    def password(self) -> str:
        """The password of all users."""
        return self.password_file.read_text().strip()

    @property
    def address(self) -> str:
        """The address at which clients request clusters."""
        return f"http://127.0.0.1:{self.port('http')}"

    @property
    def proxy_address(self) -> str:
        """The address at which clients reach the schedulers."""
        return f"gateway://127.0.0.1:{self.port('tcp')}"

    def logs(self) -> list[Path]:
        """Return the logs of the server and its proxy, and of the clusters that are running."""
        return [*super().logs(), *sorted((self.folder / "clusters").glob("*/logs/*.log"))]

    def _start(self) -> None:
        ports = self._choose_ports("http", "tcp", "private")
        if not self.password_file.exists():
            write_private(self.password_file, secrets.token_urlsafe(24) + "\n")
        (self.folder / "ports.json").write_text(json.dumps(ports))
        self._spawn("gateway", [PROGRAMS[0], "-f", str(CONFIGURATION)], {"AF_KIT_GATEWAY": str(self.folder)})
        for port in ports.values():
            self._wait_until_listening("gateway", port, within_s=60)
        # The proxy listens before it has its routes.
        health = f"{self.address}/api/health"
        self._wait_until("gateway", lambda: responds(health), "The gateway does not answer")

    def _stop(self) -> None:
        """Stop the server, which stops its clusters and its proxy."""
        if "gateway" in self._load().get("processes", {}):
            stop_all([self.process("gateway")], within_s=40)
            stop_all(self._orphans(), within_s=5)

    def _orphans(self) -> list[dict[str, int]]:
        """Return the schedulers and workers of a server that was killed: their environment has its address."""
        ours = f"DASK_GATEWAY_API_URL={self.address}/api".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # another user's, or a process that has ended
                if ours in entry.read_bytes().split(b"\0"):
                    found.append(identify(int(entry.parent.name)))
        return found
