"""Secrets: a container that never shows its content, and the private file that holds it on disk.

This guards against accidents: a secret in a message, a log, a notebook's output or a pickle, or in a file that others
can read. It cannot guard against code in the same process, which can read every secret there.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, SupportsIndex

from af_kit.credentials.private_files import write_private
from af_kit.errors import InputError

__all__ = ["SecretBytes", "read_secret", "remove_secret", "secret_path", "write_secret"]

# A proxy with a long chain has 20 kB. A larger file was given by mistake.
_MAX_BYTES = 1 << 20


class SecretBytes:
    """Bytes that no repr, message, log or pickle shows.

    ``pickle`` and everything based on it (cloudpickle, a checkpoint, a spilled result, a function that refers to the
    secret) refuse it. `af_kit.plugins` sends it over Dask's connections with a dedicated serializer.

    Parameters
    ----------
    content : bytes
        What to hide. Pass the return value of ``reveal()`` on at once: a traceback with local variables would show it.
    """

    __slots__ = ("_reveal",)

    def __init__(self, content: bytes) -> None:
        # Tools that print an object's attributes find nothing to print in a closure.
        self._reveal: Callable[[], bytes] = lambda: content

    def reveal(self) -> bytes:
        """Return the content."""
        return self._reveal()

    def digest(self) -> str:
        """Return a hash that identifies the content in any process without revealing it."""
        return hashlib.sha256(self._reveal()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._reveal())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return NotImplemented
        return hmac.compare_digest(self._reveal(), other._reveal())

    def __hash__(self) -> int:
        return hash(self._reveal())

    def __repr__(self) -> str:
        return f"<SecretBytes: {len(self)} bytes, not shown>"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __copy__(self) -> SecretBytes:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretBytes:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "A secret is not pickled: the pickle could end up in a file or in a task. Use send_proxy or send_token to "
            "send credentials to the workers; a function finds them there by X509_USER_PROXY or BEARER_TOKEN_FILE."
        )


def read_secret(path: Path) -> tuple[SecretBytes, os.stat_result]:
    """Read a file, and return its content and the status of exactly that file.

    Raises
    ------
    InputError
        It is not a regular file, or far too large for a credential.
    OSError
        It cannot be read.
    """
    # Opening a pipe without a writer would block indefinitely.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a regular file.")
        if status.st_size > _MAX_BYTES:
            raise InputError(f"{path} has {status.st_size:,} bytes: that is not a credential.")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return SecretBytes(file.read()), status
    finally:
        os.close(handle)


def secret_path(worker_folder: str | Path, name: str) -> Path:
    """Return the path of a secret in a worker's folder: the same for as long as the worker lives."""
    return Path(worker_folder) / "af-secrets" / name


def write_secret(path: Path, secret: SecretBytes) -> None:
    """Write a secret so that only this user can ever read it, and readers never find it incomplete or missing.

    Parameters
    ----------
    path : Path
        The file, replaced in one step if it exists. Its folder is created with mode 0700.

    Raises
    ------
    OSError
        The folder or the file cannot be written, or the folder is open to others.
    """
    with suppress(FileExistsError):
        path.parent.mkdir(mode=0o700)
    with _private_folder(path.parent) as folder:
        write_private(path, secret.reveal(), folder=folder)


def remove_secret(path: Path) -> None:
    """Remove a secret's file if it exists, and its folder if that is then empty."""
    with suppress(FileNotFoundError):
        path.unlink()
    with suppress(OSError):
        path.parent.rmdir()


@contextmanager
def _private_folder(folder: Path) -> Iterator[int]:
    """Open a folder after a check of its owner and mode, so that no link can redirect what is done in it."""
    handle = os.open(folder, os.O_CLOEXEC | os.O_NOFOLLOW | os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(
                f"{folder} is open to others (owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}): "
                "a credential is only written to a folder that you own, with mode 0700"
            )
        yield handle
    finally:
        os.close(handle)
