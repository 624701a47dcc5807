"""The labs of this user. Each has a folder with the files

    lab.json        the batch system, the job and the login node
    settings.json   what the job needs to know; it travels to the worker
    token           the password of the lab, mode 0600; it also travels to the worker, and is removed when the lab ends
    log             the output of the job; it stays

below ``af_kit.cluster.folder``, by default in the home folder, which login nodes and workers share at most sites.
"""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from af_kit.cluster.detached import registry
from af_kit.credentials.private_files import write_private
from af_kit.errors import AfKitError, InputError, nearest
from af_kit.lab.serve import ANNOUNCEMENT

_RECORD = "lab.json"
# The name becomes part of paths, and is the name of the job.
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,39}")


@dataclass(frozen=True)
class Endpoint:
    """Where a lab listens."""

    host: str
    address: str
    port: int


@dataclass(frozen=True)
class Lab:
    """A lab that is pending, running or ended.

    Attributes
    ----------
    name : str
        The name of the lab and of its job.
    backend : str
        The batch system: ``slurm`` or ``htcondor``.
    folder : Path
        The folder of its files.
    settings : dict
        What the job needs to know (see ``serve``).
    login : str
        The host for ssh: ``[user@]host[:port]``.
    job : str
        The id of its job; empty before it is submitted.
    """

    name: str
    backend: str
    folder: Path
    settings: dict[str, Any]
    login: str
    job: str = ""

    @property
    def log(self) -> Path:
        """The output of the job."""
        return self.folder / "log"

    def log_text(self) -> str:
        """Return the log so far; empty if there is none."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def token(self) -> str:
        """Return the token; empty if the lab has ended."""
        try:
            return (self.folder / "token").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def remove_token(self) -> None:
        """Remove the token, because the lab has ended."""
        (self.folder / "token").unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder of a lab that has no job."""
        shutil.rmtree(self.folder)

    def submitted(self, job: str) -> Lab:
        """Return the lab with the id of its job, after saving it."""
        lab = dataclasses.replace(self, job=job)
        lab.save()
        return lab

    def save(self) -> None:
        """Write the lab to its folder."""
        record = {"backend": self.backend, "job": self.job, "login": self.login}
        write_private(self.folder / _RECORD, json.dumps(record))
        write_private(self.folder / "settings.json", json.dumps(self.settings))

    def endpoint(self) -> Endpoint | None:
        """Return where the lab listens according to its log, or None before it listens."""
        return endpoint(self.log_text())


def endpoint(log: str) -> Endpoint | None:
    """Return the last announcement in a log: a job that was restarted listens elsewhere."""
    _, found, rest = log.rpartition(ANNOUNCEMENT)
    line, newline, _ = rest.partition("\n")
    if not found or not newline:  # perhaps incomplete
        return None
    content = json.loads(line)
    return Endpoint(content["host"], content["address"], content["port"])


def create(backend: str, *, name: str | None, settings: dict[str, Any], login: str) -> Lab:
    """Create a lab with a new token. Its job is not submitted yet.

    Raises
    ------
    InputError
        The name is invalid, or another lab has it.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is not a valid name for a lab: give up to 40 letters, digits, dots, dashes or underscores."
        )
    top = _top()
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = 0
    while True:
        number += 1
        folder = top / (name or f"lab-{number}")
        try:
            folder.mkdir(mode=0o700)
            break
        except FileExistsError:
            if name:
                raise InputError(
                    f"A lab named {name!r} exists already (af-kit lab list --all). Choose another name."
                ) from None
    lab = Lab(folder.name, backend, folder, settings, login)
    write_private(folder / "token", secrets.token_urlsafe(32))
    lab.save()
    return lab


def load(name: str) -> Lab:
    """Return the lab with this name.

    Raises
    ------
    InputError
        There is none.
    """
    names = _names()
    if name not in names:
        raise InputError(f"There is no lab named {name!r} in {_top()}.{nearest(name, names)}")
    folder = _top() / name
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        return Lab(name, record["backend"], folder, settings, record["login"], record["job"])
    except (OSError, ValueError, LookupError) as error:
        raise AfKitError(f"The record of the lab {name!r} cannot be read ({error}): {folder / _RECORD}.") from error


def load_all() -> list[Lab]:
    """Return all labs of this user, oldest first."""
    names = sorted(_names(), key=lambda name: (_top() / name / _RECORD).stat().st_mtime)
    return [load(name) for name in names]


def _top() -> Path:
    return registry.base() / "labs"


def _names() -> list[str]:
    return [path.parent.name for path in _top().glob(f"*/{_RECORD}")]
