"""The kinds of clusters that ``connect`` can start: one file each, beside this one.

A kind is a module with

- ``start(request, **options) -> distributed.deploy.Cluster``: starts a scheduler and asks for the request's workers;
  its keyword-only arguments are the kind's own options. It raises ``ConnectError`` with a reason;
- ``WAIT_FOR_ALL`` (optional, default False): whether ``connect`` waits for all workers or, where they come from a
  queue, goes on with the first;
- ``SAME_ENVIRONMENT`` (optional, default False): workers run this session's own Python, so versions cannot differ;
- ``explain(cluster) -> str`` (optional): why workers have not joined, where the kind can find out.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from af_kit.errors import InputError, nearest

# A name counts only where its file is part of this version.
_NAMES = ("local", "slurm", "htcondor", "gateway", "kubernetes")
_SHARED = ("n_workers", "cores", "memory", "adapt", "timeout_s", "security", "quiet")


def available() -> list[str]:
    """The kinds that this version can start."""
    return [name for name in _NAMES if importlib.util.find_spec(f"{__package__}.{name}") is not None]


def load(name: str, options: Mapping[str, Any]) -> ModuleType:
    """The module of one kind, after a look at the options meant for it.

    Raises
    ------
    InputError
        There is no such kind in this version, or it has no such option.
    """
    kinds = available()
    if name not in kinds:
        reason = f"There is no kind of cluster {name!r}.{nearest(name, kinds)}"
        if name in _NAMES:
            reason = f"This version of af-kit cannot start a {name} cluster. There is: {', '.join(kinds)}."
        raise InputError(f"{reason} The address of a running scheduler looks like tcp://host:8786.")
    module = importlib.import_module(f"{__package__}.{name}")
    own = [key for key, value in inspect.signature(module.start).parameters.items() if value.kind is value.KEYWORD_ONLY]
    for option in options:
        if option not in own:
            raise InputError(f"connect({name!r}) has no option {option!r}.{nearest(option, [*own, *_SHARED])}")
    return module
