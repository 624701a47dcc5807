"""Start and stop the provider; its users' passwords are made on the spot, for they open a hub on this machine."""

from __future__ import annotations

import json
import os
import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
    save_state,
    spawn,
    stop_all,
    wait_until_listening,
)
from services.node import installed as node_installed
from services.node import package

__all__ = ["GROUP", "OIDC", "PROGRAMS", "installed"]

PROGRAMS = ["node"]
ORGANISATION = "Test IAM"
# Those who may use the hub; as at INDIGO IAM, a group below another one has its name in front.
GROUP = "cms/analysis"
USERS = {"alice": ("Alice Analyst", ["cms", GROUP]), "mallory": ("Mallory Muon", ["cms"])}


def installed() -> bool:
    """Whether the provider can be started here, given its programs."""
    return node_installed("oidc-provider")


@dataclass(frozen=True)
class OIDC:
    """A provider below one scratch folder.

    Attributes
    ----------
    folder : Path
        State, log and the users' passwords; another folder, another provider.
    """

    folder: Path = field(default_factory=lambda: default_folder("oidc"))

    def start(self, clients: Mapping[str, Iterable[str]] | None = None) -> OIDC:
        """Start it if it does not run.

        Parameters
        ----------
        clients : mapping of str to str
            Client ids, and the addresses to which a login may lead back. They are kept: without, those of last time.
        """
        with alone(make_folder(self.folder)):
            self.folder.chmod(0o700)  # it holds passwords
            state = load_state(self.folder)
            if state and is_running(state):
                return self
            port = state["port"] if state and is_free(state["port"]) else free_ports(1)[0]
            script = package("oidc-provider").parents[1] / "oidc" / "provider.js"
            self._configure(port, clients)
            command = [find_program("node"), str(script), str(self._settings)]
            process = spawn(command, self.log, environment={"NODE_ENV": "production"})
            save_state(self.folder, {**process, "port": port})
            wait_until_listening(port, process, self.log, within_s=60)
        return self

    def stop(self) -> None:
        """Stop it; users and clients stay for the next start, sessions do not."""
        if state := load_state(self.folder):
            stop_all([state])

    @property
    def issuer(self) -> str:
        """Its address; ``/.well-known/openid-configuration`` below it tells the rest."""
        state = load_state(self.folder)
        if not state:
            raise ServiceError(f"The provider was not started in {self.folder}.")
        return f"http://127.0.0.1:{state['port']}"

    def password(self, user: str) -> str:
        """The password of ``alice``, who is in the group, or ``mallory``, who is not."""
        return str(self._load()["users"][user]["password"])

    def secret(self, client: str) -> str:
        """The secret of a client."""
        known = {entry["client_id"]: entry["client_secret"] for entry in self._load()["clients"]}
        return str(known[client])

    @property
    def log(self) -> Path:
        """The log file."""
        return self.folder / "provider.log"

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.json"

    def _load(self) -> dict:
        return json.loads(self._settings.read_text()) if self._settings.exists() else {}

    def _configure(self, port: int, clients: Mapping[str, Iterable[str]] | None) -> None:
        old = self._load()
        users = old.get("users") or {
            name: {"sub": str(uuid.uuid4()), "password": secrets.token_urlsafe(9), "full_name": full, "groups": groups}
            for name, (full, groups) in USERS.items()
        }
        known = {entry["client_id"]: entry for entry in old.get("clients", [])}
        for client, addresses in (clients or {}).items():
            back = list(addresses)
            known[client] = {
                "client_id": client,
                "client_secret": known.get(client, {}).get("client_secret") or secrets.token_urlsafe(24),
                "redirect_uris": back,
                "post_logout_redirect_uris": [address.split("/hub/")[0] + "/hub/login" for address in back],
                "grant_types": ["authorization_code"],
                "response_types": ["code"],
            }
        content = {
            "issuer": f"http://127.0.0.1:{port}",
            "port": port,
            "organisation": ORGANISATION,
            "users": users,
            "clients": list(known.values()),
        }
        new = self._settings.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)
        new.replace(self._settings)
