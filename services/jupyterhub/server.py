"""Start and stop the hub, its proxy and the login provider."""

from __future__ import annotations

import json
import os
import secrets
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.common import (
    ServiceError,
    alone,
    default_folder,
    find_program,
    free_ports,
    is_free,
    is_running,
    load_state,
    make_folder,
    processes_below,
    save_state,
    spawn,
    stop_all,
    wait_until,
    wait_until_listening,
)
from services.node import installed as node_installed
from services.node import package
from services.oidc.server import GROUP, OIDC, ORGANISATION

__all__ = ["PROGRAMS", "JupyterHub", "installed"]

PROGRAMS = ["node"]
ROOT = Path(__file__).parents[2]
CLIENT = "jupyterhub"


def installed() -> bool:
    """Whether the hub can be started here, given its programs."""
    return node_installed("configurable-http-proxy", "oidc-provider")


@dataclass(frozen=True)
class JupyterHub:
    """A hub below one scratch folder.

    Attributes
    ----------
    folder : Path
        State, logs, secrets and the users' homes; another folder, another hub.
    """

    folder: Path = field(default_factory=lambda: default_folder("jupyterhub"))

    def start(self, environment: Mapping[str, str] | None = None) -> JupyterHub:
        """Start what does not run.

        Parameters
        ----------
        environment : mapping of str to str, optional
            Variables for the users' servers.
        """
        with alone(make_folder(self.folder)):
            self.folder.chmod(0o700)  # homes, logs and passwords are nobody else's
            state = load_state(self.folder)
            if state and is_running(state):
                self.oidc.start()
                return self
            names = ("port", "hub_port", "proxy_port")
            ports = dict(zip(names, free_ports(len(names)), strict=True))
            ports.update({name: state[name] for name in names if name in state and is_free(state[name])})
            address = f"http://127.0.0.1:{ports['port']}"
            self.oidc.start({CLIENT: [f"{address}/hub/oauth_callback"]})
            self._configure(ports, environment or {})
            config = Path(__file__).with_name("jupyterhub_config.py")
            command = [sys.executable, "-m", "jupyterhub", "--config", str(config)]
            process = spawn(
                command, self.log, environment={"AF_KIT_HUB_SETTINGS": str(self._settings), "PYTHONPATH": str(ROOT)}
            )
            save_state(self.folder, {**process, **ports})
            wait_until_listening(ports["port"], process, self.log, within_s=120)
            # The proxy listens before it knows where the hub is.
            wait_until(self._answers, f"{address} leads to no hub", within_s=120, log=self.log)
        return self

    def stop(self, *, within_s: float = 30) -> None:
        """Stop the hub, the users' servers, the proxy and the provider; homes and ports stay for the next start."""
        if state := load_state(self.folder):
            # The hub ends its own, if it ends in time: it does not always.
            below = processes_below(state)
            with suppress(ServiceError):
                stop_all([state], within_s=within_s)
            stop_all([state, *below])
        self.oidc.stop()

    @property
    def oidc(self) -> OIDC:
        """Where its users log in."""
        return OIDC(self.folder / "oidc")

    @property
    def url(self) -> str:
        """Its address, for a browser."""
        state = load_state(self.folder)
        if not state:
            raise ServiceError(f"The hub was not started in {self.folder}.")
        return f"http://127.0.0.1:{state['port']}"

    @property
    def log(self) -> Path:
        """The log of hub and proxy, and of the users' servers."""
        return self.folder / "hub.log"

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/hub/health", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def home(self, user: str) -> Path:
        """A user's home folder."""
        return self.folder / "homes" / user

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
            "proxy_token": old.get("proxy_token") or secrets.token_hex(32),
            "cookie_secret": old.get("cookie_secret") or secrets.token_hex(32),
            "crypt_key": old.get("crypt_key") or secrets.token_hex(32),
            "issuer": self.oidc.issuer,
            "organisation": ORGANISATION,
            "group": GROUP,
            "client": CLIENT,
            "client_secret": self.oidc.secret(CLIENT),
            "notebooks": str(ROOT / "notebooks"),
            "environment": dict(environment),
        }
        new = self._settings.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
        new.replace(self._settings)
