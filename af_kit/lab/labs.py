"""The labs of this user. Each has a folder with the files

    lab.json        the batch system, the job and the login node
    settings.json   what the job needs to know; it travels to the worker
    token           the password of the lab, mode 0600; it also travels to the worker, and is removed when the lab ends
    log             the output of the job; it stays

below ``af_kit.cluster.folder``, by default in the home folder, which login nodes and workers share at most sites.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from af_kit.cluster.detached import registry
from af_kit.credentials.private_files import write_private
from af_kit.errors import InputError, nearest
from af_kit.lab.serve import Endpoint

_RECORD = "lab.json"


@dataclass(frozen=True)
class Lab:
    """A lab that is pending, running or ended. Its job has the same name."""

    name: str
    backend: str
    folder: Path
    settings: dict[str, Any]
    """What the job needs to know (see ``serve``)."""
    login: str
    """The host for ssh: ``[user@]host[:port]``."""
    job: str = ""
    """The id of its job; empty before it is submitted."""

    @property
    def log(self) -> Path:
        """The output of the job."""
        return self.folder / "log"

    def log_text(self) -> str:
        """Return the log so far; empty if there is none."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def endpoint(self) -> Endpoint | None:
        """Return where the lab listens according to its log, or None before it listens."""
        return Endpoint.last_in(self.log_text())

    def token(self) -> str:
        """Return the token; empty if the lab has ended."""
        try:
            return (self.folder / "token").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def remove_token(self) -> None:
        """Remove the token, because the lab has ended."""
        (self.folder / "token").unlink(missing_ok=True)

    def submitted(self, job: str) -> Lab:
        """Return the lab with the id of its job, after saving it: it can be found from now on."""
        record = {"backend": self.backend, "job": job, "login": self.login}
        write_private(self.folder / _RECORD, json.dumps(record))
        return dataclasses.replace(self, job=job)


def create(backend: str, *, name: str | None, settings: dict[str, Any], login: str) -> Lab:
    """Create a lab with a new token. Its job is not submitted yet.

    Raises
    ------
    InputError
        The name is invalid, or another lab has it.
    """
    names = (f"lab-{number}" for number in itertools.count(1)) if name is None else [registry.check_name(name)]
    _top().mkdir(mode=0o700, parents=True, exist_ok=True)
    for candidate in names:
        lab = Lab(candidate, backend, _top() / candidate, settings, login)
        try:
            lab.folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        write_private(lab.folder / "token", secrets.token_urlsafe(32))
        write_private(lab.folder / "settings.json", json.dumps(settings))
        return lab
    raise InputError(f"A lab named {name!r} exists already (af-kit lab list --all). Choose another name.")


def load(name: str) -> Lab:
    """Return the lab with this name, or raise InputError."""
    found = {lab.name: lab for lab in load_all()}
    if name not in found:
        raise InputError(f"There is no lab named {name!r} in {_top()}.{nearest(name, found)}")
    return found[name]


def load_all() -> list[Lab]:
    """Return all labs of this user, oldest first."""
    records = sorted(_top().glob(f"*/{_RECORD}"), key=lambda path: path.stat().st_mtime)
    return [
        Lab(
            name=path.parent.name,
            folder=path.parent,
            settings=json.loads((path.parent / "settings.json").read_text(encoding="utf-8")),
            **json.loads(path.read_text(encoding="utf-8")),
        )
        for path in records
    ]


def _top() -> Path:
    return registry.base() / "labs"
