"""What this session may use of its machine: inside a batch job, the job's share and not the whole node.

A batch system may hold a job to its share (control groups, affinity) or only write it down. Dask knows the affinity and
the limits of a container; the group of a job lies deeper, and what was only written down is in the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dask.system import CPU_COUNT as DASKS_CORES
from distributed.system import MEMORY_LIMIT as DASKS_MEMORY

_MIB = 1 << 20
_GROUPS = Path("/sys/fs/cgroup")


def cores(environment: Mapping[str, str] = os.environ) -> int:
    """The cores that this session may use: at least one."""
    told = [_number(environment, "SLURM_CPUS_PER_TASK") or _number(environment, "SLURM_CPUS_ON_NODE")]
    told.append(_condor(environment, "Cpus"))
    return min([DASKS_CORES, *filter(None, told)])


def memory(environment: Mapping[str, str] = os.environ) -> int:
    """The bytes of memory that this session may use."""
    per_node = _number(environment, "SLURM_MEM_PER_NODE")
    if per_node is None and (per_core := _number(environment, "SLURM_MEM_PER_CPU")):
        per_node = per_core * (_number(environment, "SLURM_CPUS_ON_NODE") or 1)
    told = [per_node, _condor(environment, "Memory")]
    limits = [size * _MIB for size in told if size]
    return min([DASKS_MEMORY, *limits, *_group_limits()])


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """A whole number that Slurm tells, only inside a job (the names also serve as options of its commands)."""
    text = environment.get(name, "") if "SLURM_JOB_ID" in environment else ""
    return int(text) if text.isdecimal() else None


def _condor(environment: Mapping[str, str], attribute: str) -> int | None:
    """A whole number of the slot that HTCondor made for this job."""
    try:
        slot = Path(environment["_CONDOR_MACHINE_AD"]).read_text(encoding="utf-8", errors="replace")
    except (KeyError, OSError):
        return None
    found = re.search(rf"^{attribute}\s*=\s*(\d+)\s*$", slot, re.MULTILINE | re.IGNORECASE)
    return int(found[1]) if found else None


def _group_limits() -> Iterator[int]:
    """Memory limits of this process's control group and of those above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = _GROUPS / controllers
        group = top / path.lstrip("/")
        for folder in (group, *(above for above in group.parents if above.is_relative_to(top))):
            for name in ("memory.max", "memory.limit_in_bytes"):
                try:
                    yield int((folder / name).read_text())
                except (OSError, ValueError):  # not there, or "max"
                    continue


CPU_COUNT = cores()
"""The cores of this session, as Dask's constant of that name, but inside a job the job's."""
MEMORY_LIMIT = memory()
"""The bytes of this session, likewise."""
