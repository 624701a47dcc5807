"""Files and folders that only their owner can read."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from af_kit.errors import InputError

__all__ = ["private_folder", "write_private"]


def write_private(path: Path, content: str | bytes, *, folder: int | None = None) -> Path:
    """Write a file of mode 0600 in one step: readers see the old content or the new, and others never see any.

    Parameters
    ----------
    path : Path
        The file, replaced if it exists. Its folder must exist.
    content : str or bytes
        Text is written as UTF-8.
    folder : int, optional
        The open folder of ``path``, so that no symbolic link can redirect the file after a check of that folder.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    where = path.parent if folder is None else Path()
    new, target = where / f".{path.name}.{secrets.token_hex(8)}", where / path.name
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(new, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(new, target, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise
    return path


def private_folder(folder: Path, *, advice: str = "") -> Path:
    """Create a folder of mode 0700, or set that mode on one that exists.

    Raises
    ------
    InputError
        The folder belongs to another user; ``advice`` ends the message.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise InputError(f"{folder} belongs to another user.{' ' if advice else ''}{advice}")
    folder.chmod(0o700)
    return folder
