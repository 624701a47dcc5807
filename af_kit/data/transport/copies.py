"""Where a local file is really opened: at its path, or, where this machine has none there, as the copy brought to it.

Who brings copies (a plugin of the workers) notes them here. Everything that opens a local file asks `place`, and goes
on naming the path that the user knows.
"""

from __future__ import annotations

import os

__all__ = ["forget", "note", "place", "told"]

# By path: who brought a copy, and where it lies. Several, as workers may share a process, and clients a worker.
_copies: dict[str, dict[str, str]] = {}


def place(path: str) -> str:
    """What to open for a local path: a file that is there comes first, then the copy that was brought last."""
    copies = _copies.get(path)
    if not copies or os.path.exists(path):  # noqa: PTH110 - this is asked for each file of each task
        return path
    return next(reversed(copies.values()), path)


def told(path: str, text: str) -> str:
    """What a library said of a copy, said of the path that the user knows."""
    for copy in _copies.get(path, {}).values():
        text = text.replace(copy, path)
    return text


def note(path: str, owner: str, copy: str) -> None:
    """Note a copy of the file at ``path``; ``owner`` is whose it is to forget."""
    copies = dict(_copies.get(path, {}))
    copies.pop(owner, None)
    _copies[path] = {**copies, owner: copy}


def forget(path: str, owner: str) -> None:
    """Forget an owner's copy."""
    copies = {name: copy for name, copy in _copies.get(path, {}).items() if name != owner}
    if copies:
        _copies[path] = copies
    else:
        _copies.pop(path, None)
