"""The arguments that dask-jobqueue gets, from the configuration and the cluster's spec. In the scheduler process."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import dask.config

from af_kit import config
from af_kit.cluster.workers.environment import exported

if TYPE_CHECKING:
    from af_kit.cluster.detached.spec import ClusterSpec

__all__ = ["job_options", "scheduler_options"]


def scheduler_options() -> dict[str, Any]:
    """Return the arguments of the scheduler."""
    settings = config.get("cluster.batch")
    dashboard = settings["dashboard"]
    where = {"host": settings["scheduler_host"]} if settings["scheduler_host"] else {}
    if not where and settings["interface"]:
        where = {"interface": settings["interface"]}
    return {
        **where,
        "port": settings["scheduler_port"],
        # The pages are added when they are first opened, and listen on this machine only: they have no login.
        "dashboard": False,
        "dashboard_address": dashboard if isinstance(dashboard, str) else "127.0.0.1:0",
    }


def job_options(spec: ClusterSpec) -> dict[str, Any]:
    """Return the arguments that all job classes of dask-jobqueue take."""
    settings = config.get("cluster.batch")
    site = f"jobqueue.{spec.backend}"
    options = spec.options
    preload = [part for module in settings["preload"] for part in ("--preload", module)]
    lifetime = []
    if spec.walltime_s and settings["before_end_s"]:
        early = min(settings["before_end_s"], spec.walltime_s / 10)
        lifetime = ["--lifetime", f"{spec.walltime_s - early:.0f}s"]
    memory = spec.memory or dask.config.get(f"{site}.memory", default=None) or settings["memory"]
    config.as_worker_memory(memory, "memory")
    return {
        "cores": spec.cores or dask.config.get(f"{site}.cores", default=None) or settings["cores"],
        "memory": memory,
        # exec: the batch system's signal reaches the worker, not a shell that would swallow it
        "python": f"exec {shlex.quote(options.get('python') or settings['python'] or sys.executable)}",
        "worker_command": "af_kit.cluster.workers.worker",
        "worker_extra_args": ["--as-is", *preload, *lifetime, *settings["worker_options"]],
        "job_script_prologue": [
            *exported(options.get("environment")),
            *settings["prologue"],
            *(options.get("prologue") or []),
        ],
        "death_timeout": settings["death_timeout_s"],
        "local_directory": options.get("local_directory") or settings["local_directory"],
        "log_directory": spec.logs,
        "job_name": spec.job_name,
    }
