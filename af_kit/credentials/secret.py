"""Secrets: a holder that never shows its content, and the one file that a secret may have.

What this guards against is the accident: a secret in a message, a log, a notebook's output, a pickle, or in a file that
others can read. Code that runs in the same process can read every secret in it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, SupportsIndex

from distributed.protocol import dask_deserialize, dask_serialize

from af_kit.errors import InputError

__all__ = ["SecretBytes", "file_of", "read_secret", "remove_secret", "write_secret"]

# A proxy with a long chain has 20 kB: a larger file is something else, given by mistake.
_MOST_BYTES = 1 << 20
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW


class SecretBytes:
    """Bytes that no repr, message, log or pickle shows.

    They leave the process over Dask's connections only, by a serializer of their own. ``pickle`` and everything built
    on it (``copy``, cloudpickle, a checkpoint, a spilled result, a function that refers to them) is refused.

    Parameters
    ----------
    content : bytes
        What to hide. ``reveal()`` gives it back: pass it on at once, a variable's value is in every traceback that
        shows variables.
    """

    __slots__ = ("_reveal",)

    def __init__(self, content: bytes) -> None:
        # In a closure, where tools that print an object's attributes find nothing to print.
        self._reveal: Callable[[], bytes] = lambda: content

    def reveal(self) -> bytes:
        """The content."""
        return self._reveal()

    def digest(self) -> str:
        """A name for the content that does not tell it: the same for equal contents, in any process."""
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
            "A secret is not pickled: the pickle could end up in a file or in a task. send_proxy and send_token bring "
            "credentials to the workers; a function finds them there by X509_USER_PROXY or BEARER_TOKEN_FILE."
        )


@dask_serialize.register(SecretBytes)
def _to_comm(secret: SecretBytes) -> tuple[dict[str, Any], list[bytes]]:
    return {}, [secret.reveal()]


@dask_deserialize.register(SecretBytes)
def _from_comm(header: dict[str, Any], frames: list[Any]) -> SecretBytes:
    return SecretBytes(b"".join(frames))


def read_secret(path: Path) -> tuple[SecretBytes, os.stat_result]:
    """The content of a file, and what the file system says about that very file.

    Raises
    ------
    InputError
        It is not a regular file, or far too large for a credential.
    OSError
        It cannot be read.
    """
    # A pipe that nobody writes to would block for ever.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a regular file.")
        if status.st_size > _MOST_BYTES:
            raise InputError(f"{path} has {status.st_size:,} bytes: that is not a credential.")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return SecretBytes(file.read()), status
    finally:
        os.close(handle)


def file_of(folder: str | Path, name: str) -> Path:
    """Where the secret ``name`` lies in a worker's own folder: the same path for as long as the worker lives."""
    return Path(folder) / "af-secrets" / name


def write_secret(path: Path, secret: SecretBytes) -> None:
    """Write a secret that only this user can read; at no moment is it readable by others, partly there, or absent.

    Parameters
    ----------
    path : Path
        Its folder is made with mode 0700. A file that is there is replaced in one step.

    Raises
    ------
    OSError
        The folder or the file cannot be written, or the folder is open to others.
    """
    with suppress(FileExistsError):
        path.parent.mkdir(mode=0o700)
    with _private_folder(path.parent) as folder:
        new = f".{path.name}.{secrets.token_hex(8)}"
        handle = os.open(new, _OPEN | os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secret.reveal())
            os.replace(new, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(new, dir_fd=folder)
            raise


def remove_secret(path: Path) -> None:
    """Remove a secret's file, and its folder if nothing else is in it; what is not there is no error."""
    with suppress(FileNotFoundError):
        path.unlink()
    with suppress(OSError):
        path.parent.rmdir()


@contextmanager
def _private_folder(folder: Path) -> Any:
    """The folder, open; what is done in it then cannot be led elsewhere by a link."""
    handle = os.open(folder, _OPEN | os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(
                f"{folder} is open to others (owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}): "
                "a credential is only written into a folder of one's own with mode 0700"
            )
        yield handle
    finally:
        os.close(handle)
