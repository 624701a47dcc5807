"""Open calibration files: each once per process, with errors that name the file."""

from __future__ import annotations

import functools
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from af_kit.errors import InputError

T = TypeVar("T")

__all__ = ["once_per_file", "read_text"]


def once_per_file(parse: Callable[..., T]) -> Callable[..., T]:
    """Cache a function of a path and other hashable arguments, until the file changes.

    So ``load`` can be called in the function of events, for every chunk.
    """

    @functools.lru_cache(maxsize=64)
    def parsed(path: str, changed: int, size: int, *args: Any) -> T:
        return parse(path, *args)

    @functools.wraps(parse)
    def wrapper(path: str | Path, *args: Any) -> T:
        try:
            state = Path(path).stat()
        except OSError as error:
            raise InputError(f"The correction file {path} cannot be read: {error.strerror}.") from error
        return parsed(str(Path(path).resolve()), state.st_mtime_ns, state.st_size, *args)

    return wrapper


def read_text(path: str) -> str:
    """Return the text of a file, compressed by gzip or not; InputError if it cannot be read or is damaged."""
    try:
        raw = Path(path).read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except OSError as error:
        raise InputError(f"The correction file {path} cannot be read: {error.strerror or error}.") from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"The correction file {path} is damaged or is not text: {error}. Copy it again.") from error
