"""Servers that did not answer recently. Their replicas are tried last, so that not every chunk waits for a dead server.

The record is per process.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import urlsplit

__all__ = ["is_unreachable", "mark_reachable", "mark_unreachable", "reachable_first"]

# A server that is only restarting is usually back after this time.
_UNREACHABLE_S = 60.0
_failed: dict[str, float] = {}


def mark_unreachable(path: str) -> None:
    """Record that the server of ``path`` did not answer."""
    _failed[urlsplit(path).netloc] = time.monotonic()


def mark_reachable(path: str) -> None:
    """Record that the server of ``path`` answers."""
    _failed.pop(urlsplit(path).netloc, None)


def is_unreachable(path: str) -> bool:
    """Whether the server of ``path`` failed to answer during the last minute."""
    since = _failed.get(urlsplit(path).netloc)
    return since is not None and time.monotonic() - since < _UNREACHABLE_S


def reachable_first(replicas: Sequence[str]) -> list[str]:
    """Return the replicas in their order, with those on unreachable servers at the end."""
    return sorted(replicas, key=is_unreachable)
