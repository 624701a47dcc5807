"""The environment variables that worker processes start with, above all those of the allocator.

``af_kit.yaml`` explains at ``cluster.environment`` why the allocator matters. glibc reads these variables only when a
process starts, so the nanny sets them before it starts the worker.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit import config

# A smaller mmap threshold is slow: larger arrays are mapped and zeroed each time, others cost a few instructions.
_SLOW_THRESHOLD = 1 << 20
# Variables that nannies of this process set. Dask writes them to os.environ, where they look like the user's.
_set_by_nannies: dict[str, str] = {}


def worker_environment(given: Mapping[str, Any] | None = None) -> dict[str, str | None]:
    """Return the environment variables of new workers.

    Parameters
    ----------
    given : mapping, optional
        The user's variables, which take precedence; None removes a variable.

    Returns
    -------
    dict
        ``af_kit.cluster.environment`` without the variables that the user set in this process's environment or in
        Dask's configuration, and with ``given``.
    """
    import dask.config

    key = "distributed.nanny.pre-spawn-environ"
    shipped = dask.config.get(key, config=dask.config.merge(*dask.config.defaults))
    chosen = dask.config.get(key)
    variables: dict[str, str | None] = {}
    for name, value in config.get("cluster.environment").items():
        set_by_dask = {str(shipped.get(name)), _set_by_nannies.get(name)}
        set_by_user = name in os.environ and os.environ[name] not in set_by_dask
        set_by_site = name in chosen and chosen[name] != shipped.get(name)
        if not set_by_user and not set_by_site:
            variables[name] = None if value is None else str(value)
    variables |= {name: None if value is None else str(value) for name, value in (given or {}).items()}
    _set_by_nannies.update({name: value for name, value in variables.items() if value is not None})
    return variables


def exported(given: Mapping[str, Any] | None = None) -> list[str]:
    """Return the lines of a shell script that give a worker this session's environment.

    A batch system may start jobs with a different environment. So these are set explicitly, with their values in this
    session: the variables of `worker_environment`, those of Dask, and those in ``af_kit.cluster.batch.inherit``.
    """
    import dask.config

    chosen = worker_environment(given)
    names = [*config.get("cluster.batch.inherit"), *config.get("cluster.environment")]
    variables: dict[str, str | None] = {name: os.environ[name] for name in names if name in os.environ}
    dask_variables = dask.config.get("distributed.nanny.pre-spawn-environ")
    variables = {**{name: str(value) for name, value in dask_variables.items()}, **variables, **chosen}
    return [
        f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}" for name, value in variables.items()
    ]


def initial_environment() -> dict[str, str]:
    """Return the environment that this process started with, which is the one that its allocator has read."""
    try:
        lines = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    return dict(line.decode(errors="replace").partition("=")[::2] for line in lines if b"=" in line)


def slow_allocator(variables: Mapping[str, str]) -> bool:
    """Return whether a process that started with ``variables`` creates a new memory mapping for every array.

    glibc adapts its mmap threshold unless one of its thresholds is set. The mmap threshold then stays at 128 KiB, if it
    is not the one that is set. Other allocators ignore these variables.
    """
    if any(other in variables.get("LD_PRELOAD", "") for other in ("jemalloc", "tcmalloc", "mimalloc")):
        return False
    mapped = variables.get("MALLOC_MMAP_THRESHOLD_")
    if mapped is None:
        return "MALLOC_TRIM_THRESHOLD_" in variables
    return mapped.isdecimal() and int(mapped) < _SLOW_THRESHOLD
