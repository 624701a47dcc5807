"""glibc's allocator for a process that reads columns: keep freed memory for the next chunk.

By default every array of more than 128 KiB (later up to 32 MiB) is a fresh mapping, which the kernel clears page by
page and takes back after use. Reading spends a quarter of its time on that. Workers that `connect` starts get the same
by environment variables (``af_kit.cluster.environment``), which a running process no longer looks at.
"""

from __future__ import annotations

import ctypes
import functools
import os

from af_kit import config

__all__ = ["keep_freed_memory"]

# Parameters of mallopt(3), from glibc's malloc.h, by the environment variable of the same meaning.
_PARAMETERS = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3}


@functools.cache
def keep_freed_memory() -> bool:
    """Set the thresholds of ``af_kit.cluster.environment`` in this process, once.

    Returns
    -------
    bool
        Whether they were set: not where the user has set any of them already, nor with another allocator than glibc's.
    """
    wanted = config.get("cluster.environment")
    if any(name in os.environ for name in _PARAMETERS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    values = {code: wanted.get(name) for name, code in _PARAMETERS.items()}
    answers = [mallopt(code, int(value)) for code, value in values.items() if value is not None]
    return all(answer == 1 for answer in answers)
