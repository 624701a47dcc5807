"""Errors of files and servers told in the kit's words: one `ReadError`, with the path and the reason."""

from __future__ import annotations

from af_kit.data.transport import copies
from af_kit.errors import ReadError

__all__ = ["as_read_error", "is_remote", "local_path"]


def is_remote(path: str) -> bool:
    """Whether a path has to be reached over a protocol (``root://``, ``https://``, ...)."""
    return "://" in path and not path.startswith("file://")


def local_path(path: str) -> str:
    """The plain path of a local file, without ``file://``."""
    return path.removeprefix("file://")


def as_read_error(path: str, error: BaseException) -> ReadError:
    """Turn whatever uproot, fsspec or a codec raised into one `ReadError` with the path and the reason."""
    if isinstance(error, ReadError):
        return error
    reason = " ".join(copies.told(local_path(path), str(error)).split())[:400] or type(error).__name__
    final = isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError))
    if isinstance(error, FileNotFoundError) and not is_remote(path):
        return ReadError(f"{path} does not exist.", transient=False)
    if "not a ROOT file" in reason:
        return ReadError(f"{path} is not a ROOT file (its first bytes are not 'root').", transient=False)
    return ReadError(f"{path} cannot be read: {type(error).__name__}: {reason}", transient=not final)
