"""Copies of the client's local files on this worker.

A worker plugin that receives such a copy registers it here. Code that opens a local file calls `path_to_open`, and uses
the original path everywhere else: in names, reports and messages.
"""

from __future__ import annotations

import os

__all__ = ["path_to_open", "register", "unregister", "with_original_path"]

# By original path: each owner's copy. One process may host several workers, and one worker may serve several clients.
_copies: dict[str, dict[str, str]] = {}


def path_to_open(path: str) -> str:
    """Return the path to open for a local path: the file itself if it exists, else the copy registered last."""
    copies = _copies.get(path)
    if not copies or os.path.exists(path):  # noqa: PTH110 - called for each file of each task
        return path
    return next(reversed(copies.values()), path)


def with_original_path(path: str, text: str) -> str:
    """Replace the copies' paths in an error message with the original path."""
    for copy in _copies.get(path, {}).values():
        text = text.replace(copy, path)
    return text


def register(path: str, owner: str, copy: str) -> None:
    """Register ``owner``'s copy of the file at ``path``."""
    copies = dict(_copies.get(path, {}))
    copies.pop(owner, None)
    _copies[path] = {**copies, owner: copy}


def unregister(path: str, owner: str) -> None:
    """Remove ``owner``'s copy from the register."""
    copies = {name: copy for name, copy in _copies.get(path, {}).items() if name != owner}
    if copies:
        _copies[path] = copies
    else:
        _copies.pop(path, None)
