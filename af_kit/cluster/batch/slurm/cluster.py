"""A cluster of Slurm jobs, on top of dask-jobqueue's. In the scheduler process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import dask.config

from af_kit import config
from af_kit.cluster.batch.base import BatchCluster
from af_kit.cluster.batch.command import ask
from af_kit.cluster.batch.job import BatchJob
from af_kit.cluster.batch.jobqueue import SLURMCluster, SLURMJob
from af_kit.cluster.batch.slurm import queue
from af_kit.cluster.batch.status import Job
from af_kit.cluster.detached.spec import ClusterSpec
from af_kit.cluster.request import seconds

# dask-jobqueue's default time limit of a job.
_DASK_WALLTIME = "00:30:00"


class SlurmJob(BatchJob, SLURMJob):
    """A job of dask-jobqueue's with one log for both outputs."""

    def __init__(self, *args: Any, log: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        header = str(self.job_header).splitlines()
        lines = [line for line in header if not line.startswith(("#SBATCH -e ", "#SBATCH -o "))]
        self.job_header = "\n".join([*lines, f"#SBATCH --output={log}", "#SBATCH --open-mode=append"])


class SlurmCluster(BatchCluster, SLURMCluster):
    """dask-jobqueue's Slurm cluster with this kit's options."""

    job_cls: Any = SlurmJob

    def __init__(self, spec: ClusterSpec, *, cancel: Sequence[str]) -> None:
        site = config.get("cluster.slurm")
        settings = {**site, **{key: value for key, value in spec.options.items() if value}}
        directives = [*site["directives"], *spec.options["directives"]]
        for name in ("qos", "reservation", "constraint"):
            if settings[name]:
                directives.append(f"--{name}={settings[name]}")
        walltime_s = spec.walltime_s or (seconds(settings["walltime"]) if settings["walltime"] else None)
        more: dict[str, Any] = {}
        if spec.memory:  # in megabytes: dask-jobqueue rounds up to whole gigabytes, which other jobs then lack
            more["job_mem"] = f"{math.ceil(spec.memory / 2**20)}M"
        if walltime_s is None and dask.config.get("jobqueue.slurm.walltime", default=None) == _DASK_WALLTIME:
            more["job_directives_skip"] = [f"-t {_DASK_WALLTIME}"]  # use the partition's default instead
        super().__init__(
            spec,
            cancel=cancel,
            queue=settings["partition"],
            account=settings["account"],
            walltime=None if walltime_s is None else queue.time_limit(walltime_s),
            job_extra_directives=[*dask.config.get("jobqueue.slurm.job-extra-directives", default=[]), *directives],
            log=f"{spec.logs}/{spec.job_name}-%j.log",
            **more,
        )

    async def queue(self) -> dict[str, Job]:
        """Return the jobs that squeue lists, including those that ended in the last minutes."""
        name = f"--name={self.cluster_spec.job_name}"
        return queue.parse(await ask("squeue", "--noheader", "--states=all", "--format=%i|%T|%r", name))

    def advice(self, reason: str) -> str:
        """Return what to do about a reason or a refusal, or an empty string."""
        return queue.advice(reason)

    def is_permanent(self, reason: str) -> bool:
        """Return whether a job that is pending for this reason will never run."""
        return queue.is_permanent(reason)
