"""Servers that did not answer lately: in this process, their copies of a file are tried after the others.

Else every chunk would wait for the same dead server first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import urlsplit

__all__ = ["answered", "did_not_answer", "in_order", "is_resting"]

# A server that was only restarted is back by then.
_REST_S = 60.0
_failed: dict[str, float] = {}


def did_not_answer(path: str) -> None:
    """Note that the server of a path cannot be reached."""
    _failed[urlsplit(path).netloc] = time.monotonic()


def answered(path: str) -> None:
    """Note that it can."""
    _failed.pop(urlsplit(path).netloc, None)


def is_resting(path: str) -> bool:
    """Whether the server of a path did not answer when it was last asked, less than a minute ago."""
    since = _failed.get(urlsplit(path).netloc)
    return since is not None and time.monotonic() - since < _REST_S


def in_order(replicas: Sequence[str]) -> list[str]:
    """The copies of a file in the order to try: as given, those on servers that do not answer at the end."""
    return sorted(replicas, key=is_resting)
