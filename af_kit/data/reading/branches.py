"""Select branches of a file by names, patterns and collections."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from af_kit.data.reading.layout import Layout
from af_kit.errors import BranchError, InputError, MissingBranchError, nearest

__all__ = ["select_branches"]


def select_branches(branches: Iterable[str], layout: Layout, file: str) -> list[str]:
    """Return the branches of ``layout`` that match ``branches``, in the order of the file.

    A name or pattern without a match raises `MissingBranchError`, a branch that cannot be read `BranchError`.
    """
    if isinstance(branches, str):
        raise InputError(f"branches={branches!r} is one string: give a list, such as branches=[{branches!r}].")
    names = layout.names
    found: set[str] = set()
    for wanted in branches:
        matches = _matching(wanted, names)
        if not matches:
            collections = {n[1:] for n in names if n.startswith("n")}
            raise MissingBranchError(
                f"There is no branch {wanted!r} in tree {layout.treename!r} of {file}."
                f"{nearest(wanted, [*names, *collections])}"
            )
        if len(matches) == 1 and matches[0] in layout.unreadable:
            raise BranchError(f"Branch {matches[0]!r} of {file} cannot be used: {layout.unreadable[matches[0]]}.")
        found.update(matches)
    return [name for name in names if name in found]


def _matching(wanted: str, names: list[str]) -> list[str]:
    if wanted in names:
        return [wanted]
    if any(sign in wanted for sign in "*?["):
        return [name for name in names if fnmatchcase(name, wanted)]
    members = [name for name in names if name.startswith((wanted + "_", wanted + "."))]
    return [*members, *(["n" + wanted] if members and "n" + wanted in names else [])]
