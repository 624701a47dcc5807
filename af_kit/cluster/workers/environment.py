"""The environment that worker processes start with: the allocator's settings above all.

Why the allocator matters is told in ``af_kit.yaml`` at ``cluster.environment``. glibc reads these variables when a
process starts; set later, they do nothing. That is why the nanny sets them before it starts the process.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit import config

# Arrays above this size are mapped afresh each time; below it, an allocation is a matter of a few instructions.
_MAPPED_TOO_OFTEN = 1 << 20
# What nannies of this process were told to set: Dask writes it to os.environ, where it looks as if the user had.
_placed: dict[str, str] = {}


def worker_environment(given: Mapping[str, Any] | None = None) -> dict[str, str | None]:
    """The variables for new workers.

    Parameters
    ----------
    given : mapping, optional
        The user's own, which come before everything else; None as a value removes a variable.

    Returns
    -------
    dict
        ``af_kit.cluster.environment``, without what the user set in this process's environment or in Dask's
        configuration, and with ``given``.
    """
    import dask.config

    key = "distributed.nanny.pre-spawn-environ"
    shipped = dask.config.get(key, config=dask.config.merge(*dask.config.defaults))
    chosen = dask.config.get(key)
    variables: dict[str, str | None] = {}
    for name, value in config.get("cluster.environment").items():
        by_dask = {str(shipped.get(name)), _placed.get(name)}
        users = name in os.environ and os.environ[name] not in by_dask
        sites = name in chosen and chosen[name] != shipped.get(name)
        if not users and not sites:
            variables[name] = None if value is None else str(value)
    variables |= {name: None if value is None else str(value) for name, value in (given or {}).items()}
    _placed.update({name: value for name, value in variables.items() if value is not None})
    return variables


def exported(given: Mapping[str, Any] | None = None) -> list[str]:
    """The lines of a shell script that give a worker this session's environment.

    A batch system may start jobs with an environment of its own. So what matters is named: the variables of
    `worker_environment`, Dask's own, and those of ``af_kit.cluster.batch.inherit``, with the values they have here.
    """
    import dask.config

    chosen = worker_environment(given)
    names = [*config.get("cluster.batch.inherit"), *config.get("cluster.environment")]
    variables: dict[str, str | None] = {name: os.environ[name] for name in names if name in os.environ}
    by_dask = dask.config.get("distributed.nanny.pre-spawn-environ")
    variables = {**{name: str(value) for name, value in by_dask.items()}, **variables, **chosen}
    return [
        f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}" for name, value in variables.items()
    ]


def initial_environment() -> dict[str, str]:
    """The environment that this process started with, which is the one that its allocator has seen."""
    try:
        lines = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    return dict(line.decode(errors="replace").partition("=")[::2] for line in lines if b"=" in line)


def slow_allocator(variables: Mapping[str, str]) -> bool:
    """Whether a process that started with ``variables`` maps every array afresh.

    Naming one of glibc's thresholds stops it from adapting the mmap threshold, which then stays at 128 KiB unless it is
    named too. Other allocators do not read these variables.
    """
    if any(other in variables.get("LD_PRELOAD", "") for other in ("jemalloc", "tcmalloc", "mimalloc")):
        return False
    mapped = variables.get("MALLOC_MMAP_THRESHOLD_")
    if mapped is None:
        return "MALLOC_TRIM_THRESHOLD_" in variables
    return mapped.isdecimal() and int(mapped) < _MAPPED_TOO_OFTEN
