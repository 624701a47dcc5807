"""A key for what a result depends on: the function, all that it reaches, and how it is run."""

from __future__ import annotations

from typing import Any

from af_kit.run.dependencies import Reach

__all__ = ["fingerprint"]


def fingerprint(*values: Any) -> str:
    """A key that changes when what the values mean changes: code, constants, closures, helpers, modules, numbers.

    It is the same in another process, for code typed into a notebook too, and where code has only moved. What cannot
    be told from its content (an object of a library that cannot be pickled) gives another key each time, so that an
    old result is never taken for a new one. A file that the function opens by its path is not looked into.
    """
    return Reach().digest(values).hex()
