"""The cores and memory that this session may use. Inside a batch job, that is the job's share, not the whole node.

A batch system may enforce the share of a job (by control groups and CPU affinity), or only announce it in the job's
environment. Dask knows the affinity and the limits of a container, but neither the control group of a job nor its
environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from dask.system import CPU_COUNT as DASK_CPU_COUNT
from distributed.system import MEMORY_LIMIT as DASK_MEMORY_LIMIT

__all__ = ["CPU_COUNT", "MEMORY_LIMIT", "cgroup_memory_limits", "cores", "memory"]

_MIB = 1 << 20
_CGROUPS = Path("/sys/fs/cgroup")
# Version 1 of control groups writes a number near 2**63 if there is no limit.
_NO_LIMIT = 1 << 60


def cores(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of cores that this session may use: at least one."""
    job = [_slurm(environment, "SLURM_CPUS_PER_TASK") or _slurm(environment, "SLURM_CPUS_ON_NODE")]
    job.append(_htcondor(environment, "Cpus"))
    return min([DASK_CPU_COUNT, *filter(None, job)])


def memory(environment: Mapping[str, str] = os.environ) -> int:
    """Return the bytes of memory that this session may use."""
    per_node = _slurm(environment, "SLURM_MEM_PER_NODE")
    if per_node is None and (per_core := _slurm(environment, "SLURM_MEM_PER_CPU")):
        per_node = per_core * (_slurm(environment, "SLURM_CPUS_ON_NODE") or 1)
    job = [size * _MIB for size in (per_node, _htcondor(environment, "Memory")) if size]
    return min([DASK_MEMORY_LIMIT, *job, *cgroup_memory_limits()])


def cgroup_memory_limits() -> list[int]:
    """Return the memory limits in bytes of this process's control group, and of all groups above it.

    The group is read from ``/proc/self/cgroup``, the limits from the files of both versions of control groups. Groups
    without a limit are left out.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = _CGROUPS / controllers
        group = top / path.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(top))):
            for name in ("memory.max", "memory.limit_in_bytes"):
                try:
                    limits.append(int((folder / name).read_text()))
                except (OSError, ValueError):  # no such file, or "max"
                    continue
    return [limit for limit in limits if limit < _NO_LIMIT]


def _slurm(environment: Mapping[str, str], name: str) -> int | None:
    """Return a whole number that Slurm announces. Only inside a job: outside, these variables are options of srun."""
    text = environment.get(name, "") if "SLURM_JOB_ID" in environment else ""
    return int(text) if text.isdecimal() else None


def _htcondor(environment: Mapping[str, str], attribute: str) -> int | None:
    """Return a whole number of the slot in which HTCondor runs this job."""
    try:
        slot = Path(environment["_CONDOR_MACHINE_AD"]).read_text(encoding="utf-8", errors="replace")
    except (KeyError, OSError):
        return None
    found = re.search(rf"^{attribute}\s*=\s*(\d+)\s*$", slot, re.MULTILINE | re.IGNORECASE)
    return int(found[1]) if found else None


CPU_COUNT = cores()
"""The cores of this session: like Dask's constant of this name, but inside a job the job's cores."""
MEMORY_LIMIT = memory()
"""The bytes of memory of this session: like Dask's constant, but inside a job the job's memory."""
