"""Environment variables that are set in a worker's process for as long as a credential is there, and then put back.

Several workers may share one process, which may be the user's own session (a cluster of threads). So each worker's
settings are a layer: the last one counts, and when all are gone the environment is as it was before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

__all__ = ["given", "put_back", "set_for"]

_lock = threading.Lock()
_layers: dict[str, dict[str, str | None]] = {}
_before: dict[str, str | None] = {}
"""The values that were there before the first layer."""


def set_for(owner: str, values: Mapping[str, str | None]) -> None:
    """Set variables of this process on behalf of ``owner``; None removes one. Replaces what the owner had set."""
    with _lock:
        names = set(_layers.get(owner, ())) | set(values)
        _layers[owner] = dict(values)
        _apply(names)


def put_back(owner: str) -> None:
    """End the owner's settings: what another owner set, or what was there before, is in force again."""
    with _lock:
        _apply(set(_layers.pop(owner, ())))


def given(name: str) -> str | None:
    """The value that the user or the site gave to a variable, whatever is set for workers now."""
    with _lock:
        return _before[name] if name in _before else os.environ.get(name)


def _apply(names: set[str]) -> None:
    for name in names:
        settings = [layer[name] for layer in _layers.values() if name in layer]
        if settings:
            _before.setdefault(name, os.environ.get(name))
            _set(name, settings[-1])
        elif name in _before:
            _set(name, _before.pop(name))


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
