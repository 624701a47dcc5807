"""Checks of processes, with a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(condition: Callable[[], object], *, within_s: float = 10) -> bool:
    """Return whether ``condition`` becomes true before the deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def scheduler_address(file: Path, *, within_s: float = 60) -> str:
    """Return the address in a scheduler file, which Dask may still be writing."""
    found: list[str] = []

    def is_written() -> bool:
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads(file.read_text())["address"])
        return bool(found)

    if not eventually(is_written, within_s=within_s):
        raise TimeoutError(f"no scheduler has written {file} within {within_s} s")
    return found[0]
