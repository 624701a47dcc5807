"""Environment variables that are set while a credential is in place, and restored afterwards.

Several workers can share one process, which can also be the user's own session (a cluster of threads). Each worker
therefore adds a layer of settings. The last layer is in effect; the original environment returns with the end of all
layers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

__all__ = ["restore", "set_for", "user_value"]

_lock = threading.Lock()
_layers: dict[str, dict[str, str | None]] = {}
_originals: dict[str, str | None] = {}
"""The values from before the first layer."""


def set_for(owner: str, values: Mapping[str, str | None]) -> None:
    """Set this process's variables on behalf of ``owner``, in place of its earlier settings; None unsets a variable."""
    with _lock:
        names = set(_layers.get(owner, ())) | set(values)
        _layers[owner] = dict(values)
        _apply(names)


def restore(owner: str) -> None:
    """Drop the owner's settings; those of another owner, or else the original values, take effect again."""
    with _lock:
        _apply(set(_layers.pop(owner, ())))


def user_value(name: str) -> str | None:
    """Return the value that the user or the site gave to a variable, regardless of the workers' settings."""
    with _lock:
        return _originals[name] if name in _originals else os.environ.get(name)


def _apply(names: set[str]) -> None:
    for name in names:
        settings = [layer[name] for layer in _layers.values() if name in layer]
        if settings:
            _originals.setdefault(name, os.environ.get(name))
            _set(name, settings[-1])
        elif name in _originals:
            _set(name, _originals.pop(name))


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
