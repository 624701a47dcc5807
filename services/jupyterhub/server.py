"""A JupyterHub, its proxy and its login provider."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from af_kit.credentials.private_files import write_private
from services.common import ROOT, Service, ServiceError, find_program, processes_below, responds, stop_all
from services.npm import missing as npm_missing
from services.npm import package
from services.oidc.server import GROUP, OIDC, ORGANISATION

__all__ = ["PROGRAMS", "JupyterHub", "missing"]

PROGRAMS = ["node"]
CLIENT = "jupyterhub"


def missing() -> str:
    """Return why the hub cannot run here, apart from missing `PROGRAMS`; empty if it can."""
    return npm_missing("configurable-http-proxy", "oidc-provider")


class JupyterHub(Service):
    """The hub of one folder, which also has its secrets and the users' homes."""

    name = "jupyterhub"
    processes = ("hub",)
    private = True

    def start(self, environment: Mapping[str, str] | None = None) -> JupyterHub:
        """Start the hub and its login provider if they are not running.

        Parameters
        ----------
        environment : mapping of str to str, optional
            Variables for the users' servers.
        """
        with self._locked():
            if self.is_running():
                self.oidc.start()
                return self
            ports = self._choose_ports("port", "hub_port", "proxy_port")
            self.oidc.start({CLIENT: [f"{self.url}/hub/oauth_callback"]})
            self._configure(ports, environment or {})
            config = Path(__file__).with_name("jupyterhub_config.py")
            command = [sys.executable, "-m", "jupyterhub", "--config", str(config)]
            self._spawn("hub", command, {"AF_KIT_HUB_SETTINGS": str(self._settings), "PYTHONPATH": str(ROOT)})
            self._wait_until_listening("hub", ports["port"], within_s=120)
            # The proxy listens before it has a route to the hub.
            health = f"{self.url}/hub/health"
            self._wait_until("hub", lambda: responds(health), f"{self.url} does not lead to the hub", within_s=120)
        return self

    def _stop(self) -> None:
        """Stop the hub, the users' servers, the proxy and the login provider."""
        if "hub" in self._load().get("processes", {}):
            hub = self.process("hub")
            below = processes_below(hub)
            with suppress(ServiceError):  # the hub does not always stop its proxy and the servers in time
                stop_all([hub], within_s=30)
            stop_all([hub, *below])
        self.oidc.stop()

    @property
    def oidc(self) -> OIDC:
        """The login provider."""
        return OIDC(self.folder / "oidc")

    @property
    def url(self) -> str:
        """The hub's address for a browser."""
        return f"http://127.0.0.1:{self.port('port')}"

    def home(self, user: str) -> Path:
        """Return a user's home folder."""
        return self.folder / "homes" / user

    def logs(self) -> list[Path]:
        """Return the logs: of the hub, its proxy and the users' servers in one, and of the login provider."""
        return [*super().logs(), *self.oidc.logs()]

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.json"

    def _configure(self, ports: Mapping[str, int], environment: Mapping[str, str]) -> None:
        old: dict[str, Any] = json.loads(self._settings.read_text()) if self._settings.exists() else {}
        proxy = package("configurable-http-proxy") / "bin" / "configurable-http-proxy"
        content = {
            "folder": str(self.folder.absolute()),
            **ports,
            "proxy": [find_program("node"), str(proxy)],
            **{name: old.get(name) or secrets.token_hex(32) for name in ("proxy_token", "cookie_secret", "crypt_key")},
            "issuer": self.oidc.issuer,
            "organisation": ORGANISATION,
            "group": GROUP,
            "client": CLIENT,
            "client_secret": self.oidc.secret(CLIENT),
            "notebooks": str(ROOT / "notebooks"),
            "environment": dict(environment),
        }
        write_private(self._settings, json.dumps(content))
