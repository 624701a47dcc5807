"""I/O errors of any library as one `ReadError`, with the path and the reason."""

from __future__ import annotations

from af_kit.data.transport import uploaded_copies
from af_kit.errors import ReadError

__all__ = ["as_read_error", "is_remote", "local_path", "short_read"]


def is_remote(path: str) -> bool:
    """Whether the path is a URL of a remote file (``root://``, ``https://``, ...)."""
    return "://" in path and not path.startswith("file://")


def local_path(path: str) -> str:
    """Return a local path without its ``file://`` prefix."""
    return path.removeprefix("file://")


def as_read_error(path: str, error: BaseException) -> ReadError:
    """Convert an exception of uproot, fsspec or a codec to a `ReadError` that names the path."""
    if isinstance(error, ReadError):
        return error
    text = uploaded_copies.with_original_path(local_path(path), str(error))
    reason = " ".join(text.split())[:400] or "its content is not consistent"
    permanent = isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError))
    if isinstance(error, FileNotFoundError) and not is_remote(path):
        return ReadError(f"{path} does not exist.", transient=False)
    if "not a ROOT file" in reason:
        return ReadError(f"{path} is not a ROOT file (its first bytes are not 'root').", transient=False)
    if reason.startswith("expected Chunk of length"):  # uproot's words
        return ReadError(f"{path} is truncated or was changed while it was read ({reason}).", transient=True)
    return ReadError(f"{path} cannot be read: {type(error).__name__}: {reason}", transient=not permanent)


def short_read(path: str, start: int, stop: int, received: int) -> ReadError:
    """Return the error for a byte range of which only ``received`` bytes arrived."""
    return ReadError(
        f"{path} is truncated or was changed while it was read: requested bytes {start} to {stop}, "
        f"received {received} of {stop - start}.",
        transient=True,
    )
