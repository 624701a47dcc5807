"""Check this machine: disk, memory, and the allocator and compiled modules of this process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dask.config
from dask.utils import format_bytes

from af_kit.cluster.workers.resource_limits import cgroup_memory_limits
from af_kit.config import as_bytes
from af_kit.doctor.configuration import setting
from af_kit.doctor.findings import Finding, ok, problem, warning

__all__ = ["check_allocator", "check_bytecode", "check_disk", "check_memory"]

_MAKE_ROOM = "Free some space (`du -sh ~/* ~/.cache` shows what is large), or choose another folder."


def check_disk() -> Iterator[Finding]:
    """Check the space for home, scratch, and Dask's folder for data that does not fit into memory."""
    least = as_bytes(setting("doctor.free_space"), "af_kit.doctor.free_space")
    folders = {
        "home": Path.home(),
        "scratch": Path(os.environ.get("TMPDIR") or tempfile.gettempdir()),
        "Dask's local directory": Path(dask.config.get("temporary-directory", None) or tempfile.gettempdir()),
    }
    for name, folder in folders.items():
        try:
            usage = shutil.disk_usage(folder)
        except OSError as error:
            yield problem(name, f"{folder}: {error.strerror}", "Set it to a folder that exists.")
            continue
        seen = f"{folder}: {format_bytes(usage.free)} free of {format_bytes(usage.total)}"
        if not os.access(folder, os.W_OK):
            yield problem(name, f"{folder}: you cannot write to it", "Choose another folder.")
        elif usage.free == 0:
            yield problem(name, seen, _MAKE_ROOM)
        elif usage.free < least:
            yield warning(name, seen, _MAKE_ROOM)
        else:
            yield ok(name, seen)


def check_memory() -> Iterator[Finding]:
    """Check the memory of this session, and the configured memory of local workers."""
    from distributed.system import MEMORY_LIMIT

    limit = min(cgroup_memory_limits(), default=None)
    origin = "the limit of its cgroup" if limit is not None and limit <= MEMORY_LIMIT else "all of this machine"
    seen = f"{format_bytes(int(min(limit or MEMORY_LIMIT, MEMORY_LIMIT)))} for this session, {origin}"
    local = setting("cluster.local")
    if local["memory"] != "auto":
        from dask.system import CPU_COUNT

        each = as_bytes(local["memory"], "af_kit.cluster.local.memory")
        count = local["n_workers"] or max(1, CPU_COUNT // local["cores"])
        if each * count > MEMORY_LIMIT:
            configured = f"af_kit.cluster.local: {count} workers with {format_bytes(each)} each"
            yield warning(
                "memory",
                f"{configured}, more than {seen}",
                "The system kills processes that exceed it: configure less.",
            )
            return
    if MEMORY_LIMIT < 1 << 30:
        yield warning("memory", seen, "Files with many branches need more: a chunk of all branches takes up to 600 MB.")
    else:
        yield ok("memory", seen)


def check_allocator() -> Iterator[Finding]:
    """Check the allocator's settings in this process. `process` sets them itself when it runs on threads."""
    from af_kit.cluster.workers.environment import initial_environment, slow_allocator

    if slow_allocator(initial_environment()):
        advice = "export MALLOC_MMAP_THRESHOLD_=33554432 before the session starts."
        yield warning(
            "allocator",
            "this process returns memory to the system after every array: reading takes about twice the CPU time",
            advice,
        )
    else:
        yield ok("allocator", "this process does not return memory to the system after every array")


def check_bytecode() -> Iterator[Finding]:
    """Check that Python finds its modules compiled. Otherwise every process, each worker too, compiles them itself."""
    import awkward

    compiled = Path(importlib.util.cache_from_source(awkward.__file__))  # it was imported now, if not before
    if compiled.exists():
        yield ok("bytecode", "modules are compiled")
        return
    packages = Path(awkward.__file__).parents[1]
    forbidden = sys.dont_write_bytecode
    reason = "PYTHONDONTWRITEBYTECODE is set" if forbidden else f"you cannot write to {packages}"
    who = "Compile them once" if forbidden else "Ask whoever installed them to compile them once"
    yield warning(
        "bytecode",
        f"modules are not compiled, and {reason}: every worker takes about 3 s longer to start",
        f"{who}: python -m compileall -q {packages}",
    )
