"""Properties of a process, which the doctor compares between session, scheduler and workers."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from typing import Any

from af_kit.cluster.versions import IMAGE_VARIABLES
from af_kit.cluster.workers.environment import initial_environment, slow_allocator
from af_kit.cluster.workers.resource_limits import cgroup_memory_limits

__all__ = ["about_process"]


def about_process(dask_worker: Any = None, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return interpreter, image, allocator, memory and disk of this process.

    Parameters
    ----------
    dask_worker : distributed.Worker, optional
        Dask passes it on a worker.
    names : tuple of str
        Variables whose values at the start of the process are returned. They must not be secret.
    """
    variables = initial_environment()
    folder = getattr(dask_worker, "local_directory", None) or tempfile.gettempdir()
    try:
        free: int | None = shutil.disk_usage(folder).free
    except OSError:
        free = None
    memory = getattr(getattr(dask_worker, "memory_manager", None), "memory_limit", None)
    return {
        "host": platform.node(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "image": next((variables[name] for name in IMAGE_VARIABLES if variables.get(name)), ""),
        "slow_allocator": slow_allocator(variables),
        "variables": {name: variables.get(name) for name in names},
        "folder": str(folder),
        "free": free,
        "worker_memory": memory,
        "memory_limit": min(cgroup_memory_limits(), default=None),
    }
