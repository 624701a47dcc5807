"""The labs of this user: a folder for each, with what is needed to get back to it.

    lab.json        which job of which batch system it is
    settings.json   what the job is to do; it travels to the worker
    token           what opens it, 0600; it travels there, too, and goes when the lab has ended
    log             what the job prints; it stays

The folders are below ``af_kit.cluster.folder``, by default in the home, which login nodes and workers share at most
sites.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from af_kit.cluster.detached import registry
from af_kit.errors import AfKitError, InputError, nearest
from af_kit.lab.serve import ANNOUNCEMENT

_RECORD = "lab.json"
# It becomes part of paths, and the name of a job.
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,39}")


@dataclass(frozen=True)
class Lab:
    """One lab, in the queue, running or ended.

    Attributes
    ----------
    name : str
        Its name, which is its job's, too.
    kind : str
        The batch system: ``slurm`` or ``htcondor``.
    folder : Path
        Where its files are.
    settings : dict
        What the job is to do (see ``serve``).
    login : str
        The host through which ssh leads to it: ``[user@]host[:port]``.
    job : str
        The batch system's id of its job; empty before it is submitted.
    """

    name: str
    kind: str
    folder: Path
    settings: dict[str, Any]
    login: str
    job: str = ""

    @property
    def log(self) -> Path:
        """What the job prints."""
        return self.folder / "log"

    def token(self) -> str:
        """What opens the lab; empty when it has ended."""
        try:
            return (self.folder / "token").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def forget_token(self) -> None:
        """Remove the token: the lab has ended."""
        (self.folder / "token").unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove its folder: no job knows of it."""
        shutil.rmtree(self.folder)

    def submitted(self, job: str) -> Lab:
        """The same lab with its job's id, which is kept."""
        lab = dataclasses.replace(self, job=job)
        lab.save()
        return lab

    def save(self) -> None:
        """Write down which lab this is."""
        record = {"kind": self.kind, "job": self.job, "login": self.login}
        write_private(self.folder / _RECORD, json.dumps(record))
        write_private(self.folder / "settings.json", json.dumps(self.settings))

    def where(self) -> Where | None:
        """Where it listens, as its log tells; None before it does."""
        return where(self.log_text())

    def log_text(self) -> str:
        """The log so far; empty while there is none."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""


@dataclass(frozen=True)
class Where:
    """Where a lab listens: on which port of which address of which machine."""

    host: str
    address: str
    port: int


def where(log: str) -> Where | None:
    """What the last announcement in a log says: a job that was started again listens elsewhere."""
    _, found, rest = log.rpartition(ANNOUNCEMENT)
    line, newline, _ = rest.partition("\n")
    if not found or not newline:  # perhaps half written
        return None
    told = json.loads(line)
    return Where(told["host"], told["address"], told["port"])


def create(kind: str, *, name: str | None, settings: dict[str, Any], login: str) -> Lab:
    """A new lab with a new token, not submitted yet.

    Raises
    ------
    InputError
        There is a lab of that name, or it cannot be one.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot name a lab: give up to 40 letters, digits, dots, dashes or underscores.")
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
                    f"There is a lab {name!r} already (af-kit lab list --all). Choose another name."
                ) from None
    lab = Lab(folder.name, kind, folder, settings, login)
    write_private(folder / "token", secrets.token_urlsafe(32))
    lab.save()
    return lab


def load(name: str) -> Lab:
    """A lab by its name.

    Raises
    ------
    InputError
        There is none of that name.
    """
    names = _names()
    if name not in names:
        raise InputError(f"There is no lab {name!r} in {_top()}.{nearest(name, names)}")
    folder = _top() / name
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        return Lab(name, record["kind"], folder, settings, record["login"], record["job"])
    except (OSError, ValueError, LookupError) as error:
        raise AfKitError(f"The record of the lab {name!r} cannot be read ({error}): {folder / _RECORD}.") from error


def everyone() -> list[Lab]:
    """All labs of this user, the oldest first."""
    names = sorted(_names(), key=lambda name: (_top() / name / _RECORD).stat().st_mtime)
    return [load(name) for name in names]


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _top() -> Path:
    return registry.base() / "labs"


def _names() -> list[str]:
    return [path.parent.name for path in _top().glob(f"*/{_RECORD}")]
