"""This machine: disk and memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dask.config
from dask.utils import format_bytes, parse_bytes

from af_kit.doctor.configuration import setting
from af_kit.doctor.findings import Finding, ok, problem, warning
from af_kit.doctor.process import memory_limit

__all__ = ["check_allocator", "check_disk", "check_memory"]

# The pieces that fill disks: files that grow unseen.
_MAKE_ROOM = "Make room (`du -sh ~/* ~/.cache`), or choose another folder."


def check_disk() -> Iterator[Finding]:
    """Home, scratch, and where workers put what does not fit into memory."""
    least = parse_bytes(setting("doctor.free_space"))
    places = {
        "home": Path.home(),
        "scratch": Path(os.environ.get("TMPDIR") or tempfile.gettempdir()),
        "Dask's local directory": Path(dask.config.get("temporary-directory", None) or tempfile.gettempdir()),
    }
    for name, place in places.items():
        try:
            usage = shutil.disk_usage(place)
        except OSError as error:
            yield problem(name, f"{place}: {error.strerror}", "Set it to a folder that is there.")
            continue
        seen = f"{place}: {format_bytes(usage.free)} free of {format_bytes(usage.total)}"
        if not os.access(place, os.W_OK):
            yield problem(name, f"{place}: you may not write there", "Choose another folder.")
        elif usage.free == 0:
            yield problem(name, seen, _MAKE_ROOM)
        elif usage.free < least:
            yield warning(name, seen, _MAKE_ROOM)
        else:
            yield ok(name, seen)


def check_memory() -> Iterator[Finding]:
    """What this session may use, and what workers that it starts would be given."""
    from distributed.system import MEMORY_LIMIT

    limit = memory_limit()
    whence = "by its cgroup" if limit is not None and limit <= MEMORY_LIMIT else "all of this machine"
    seen = f"{format_bytes(int(min(limit or MEMORY_LIMIT, MEMORY_LIMIT)))} for this session, {whence}"
    local = setting("cluster.local")
    if local["memory"] != "auto":
        from dask.system import CPU_COUNT

        each, count = int(parse_bytes(local["memory"])), local["n_workers"] or max(1, CPU_COUNT // local["cores"])
        if each * count > MEMORY_LIMIT:
            asked = f"af_kit.cluster.local gives {count} workers {format_bytes(each)} each"
            yield warning("memory", f"{asked}: more than {seen}", "The system kills what exceeds it: configure less.")
            return
    if MEMORY_LIMIT < 1 << 30:
        yield warning("memory", seen, "Wide files need more: a chunk of all branches takes up to 600 MB.")
    else:
        yield ok("memory", seen)


def check_allocator() -> Iterator[Finding]:
    """How this process's allocator was told to behave; on threads, `process` sets it itself."""
    from af_kit.cluster.workers.environment import initial_environment, slow_allocator

    if slow_allocator(initial_environment()):
        advice = "export MALLOC_MMAP_THRESHOLD_=33554432 before the session starts."
        yield warning("allocator", "this process maps every array afresh: reading costs about twice the CPU", advice)
    else:
        yield ok("allocator", "this process is not told to give memory back after every array")
