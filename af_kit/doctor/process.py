"""What a process says of itself: this session, a scheduler, a worker. Sent to them, so it stands alone and is plain."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from af_kit.cluster.workers.environment import initial_environment, slow_allocator

__all__ = ["about_process", "memory_limit"]

# Where hubs, batch systems and container programs say which image a process runs in, the most precise first.
_IMAGES = ("JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "CONTAINER_IMAGE")


def about_process(dask_worker: Any = None, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Interpreter, image, allocator, memory and disk of this process.

    Parameters
    ----------
    dask_worker : distributed.Worker, optional
        Dask fills it in on a worker.
    names : tuple of str
        Variables whose values at the start of the process are told; never ones that could hold a secret.
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
        "image": next((variables[name] for name in _IMAGES if variables.get(name)), ""),
        "slow_allocator": slow_allocator(variables),
        "variables": {name: variables.get(name) for name in names},
        "folder": str(folder),
        "free": free,
        "worker_memory": memory,
        "memory_limit": memory_limit(),
    }


def memory_limit() -> int | None:
    """Bytes that this process's cgroup may use; None where there is no limit."""
    limits = []
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", *_own_cgroups()):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdecimal() and int(text) < 1 << 60:  # the first version writes a number near 2**63 for none
            limits.append(int(text))
    return min(limits, default=None)


def _own_cgroups() -> list[str]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    paths = [line.partition("::")[2].strip("/") for line in lines if line.startswith("0::")]
    levels = [path.split("/")[: n + 1] for path in paths for n in range(len(path.split("/")))]
    return [os.path.join("/sys/fs/cgroup", *level, "memory.max") for level in levels]  # noqa: PTH118
