"""Read calibration files, plain or compressed by gzip, once per process while they do not change."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from af_kit.errors import InputError

__all__ = ["cached", "content"]

Parsed = TypeVar("Parsed")


def content(path: str | Path) -> bytes:
    """Return the content of a file, decompressed.

    Raises
    ------
    InputError
        The file is missing, not readable or damaged.
    """
    try:
        raw = Path(path).read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"The calibration file {path} cannot be read: {reason}.") from error


def cached(parse: Callable[..., Parsed]) -> Callable[..., Parsed]:
    """Keep what ``parse(path, ...)`` returned, as long as the file does not change; other arguments must be hashable.

    A `load` can then be called for every chunk. What it returns is shared, so it must not be modified.
    """

    @functools.lru_cache(maxsize=64)
    def parsed(path: str, changed: int, size: int, arguments: tuple[Any, ...]) -> Parsed:
        return parse(Path(path), *arguments)

    @functools.wraps(parse)
    def load(path: str | Path, *arguments: Any) -> Parsed:
        try:
            where = Path(path).resolve()
            state = where.stat()
        except OSError as error:
            raise InputError(f"The calibration file {path} cannot be read: {error.strerror}.") from error
        return parsed(str(where), state.st_mtime_ns, state.st_size, arguments)

    return load
