"""Checks of processes, with a deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


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
