"""The login provider. Its users' passwords are random, because they open a hub on this machine."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from af_kit.credentials.private_files import write_private
from services.common import Service, find_program
from services.npm import missing as npm_missing
from services.npm import package

__all__ = ["GROUP", "OIDC", "PROGRAMS", "missing"]

PROGRAMS = ["node"]
ORGANISATION = "Test IAM"
# The members may use the hub. As in INDIGO IAM, the name of a subgroup starts with the name of its parent.
GROUP = "cms/analysis"
USERS = {"alice": ("Alice Analyst", ["cms", GROUP]), "mallory": ("Mallory Muon", ["cms"])}


def missing() -> str:
    """Return why the provider cannot run here, apart from missing `PROGRAMS`; empty if it can."""
    return npm_missing("oidc-provider")


class OIDC(Service):
    """The provider of one folder, which also has the users' passwords."""

    name = "oidc"
    processes = ("provider",)
    private = True

    def start(self, clients: Mapping[str, Iterable[str]] | None = None) -> OIDC:
        """Start the provider if it is not running.

        Parameters
        ----------
        clients : mapping of str to str, optional
            Client ids and their redirect URIs, in addition to the clients of earlier starts.
        """
        with self._locked():
            if not self.is_running():
                (port,) = self._choose_ports("http").values()
                self._configure(port, clients or {})
                # Node looks for modules next to the script.
                script = package("oidc-provider").parents[1] / "oidc" / "provider.js"
                command = [find_program("node"), str(script), str(self._settings)]
                self._spawn("provider", command, {"NODE_ENV": "production"})
                self._wait_until_listening("provider", port, within_s=60)
        return self

    @property
    def issuer(self) -> str:
        """The provider's address."""
        return f"http://127.0.0.1:{self.port('http')}"

    def password(self, user: str) -> str:
        """Return the password of ``alice``, who is in the group, or ``mallory``, who is not."""
        return str(self._configuration()["users"][user]["password"])

    def secret(self, client: str) -> str:
        """Return the secret of a client."""
        secrets = {entry["client_id"]: entry["client_secret"] for entry in self._configuration()["clients"]}
        return str(secrets[client])

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.json"

    def _configuration(self) -> dict[str, Any]:
        return json.loads(self._settings.read_text()) if self._settings.exists() else {}

    def _configure(self, port: int, new_clients: Mapping[str, Iterable[str]]) -> None:
        old = self._configuration()
        users = old.get("users") or {
            name: {"sub": str(uuid.uuid4()), "password": secrets.token_urlsafe(9), "full_name": full, "groups": groups}
            for name, (full, groups) in USERS.items()
        }
        clients = {entry["client_id"]: entry for entry in old.get("clients", [])}
        for client, addresses in new_clients.items():
            redirects = list(addresses)
            clients[client] = {
                "client_id": client,
                "client_secret": clients.get(client, {}).get("client_secret") or secrets.token_urlsafe(24),
                "redirect_uris": redirects,
                "post_logout_redirect_uris": [address.split("/hub/")[0] + "/hub/login" for address in redirects],
                "grant_types": ["authorization_code"],
                "response_types": ["code"],
            }
        content = {
            "issuer": f"http://127.0.0.1:{port}",
            "port": port,
            "organisation": ORGANISATION,
            "users": users,
            "clients": list(clients.values()),
        }
        write_private(self._settings, json.dumps(content))
