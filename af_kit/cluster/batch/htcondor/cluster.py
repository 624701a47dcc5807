"""A cluster of HTCondor jobs, on top of dask-jobqueue's. In the scheduler process."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from af_kit import config
from af_kit.cluster.batch import jobqueue
from af_kit.cluster.batch.base import BatchCluster
from af_kit.cluster.batch.command import QueueError, ask
from af_kit.cluster.batch.htcondor import queue, submit
from af_kit.cluster.batch.htcondor.submit import Settings
from af_kit.cluster.batch.job import BatchJob
from af_kit.cluster.batch.options import job_options
from af_kit.cluster.batch.status import Job
from af_kit.cluster.detached.spec import ClusterSpec

# The certificates that a worker needs.
_WORKER_FILES = ("tls_ca_file", "tls_worker_cert", "tls_worker_key")


class HTCondorJob(BatchJob, jobqueue.HTCondorJob):
    """A job of dask-jobqueue's that runs a script, not a command line that every user of the pool sees in the queue."""

    def __init__(
        self, *args: Any, settings: Settings, spec_of_cluster: ClusterSpec, prologue: list[str], **kwargs: Any
    ) -> None:
        super().__init__(*args, disk=settings.disk, **kwargs)
        self._settings, self._cluster_spec, self._prologue = settings, spec_of_cluster, prologue

    def job_script(self) -> str:
        """Return the submit description, after writing the script that the job runs to a file."""
        spec, settings, command = self._cluster_spec, self._settings, self._command_template
        files = []
        if not settings.shared_filesystem:
            files = [Path(spec.security[name]) for name in _WORKER_FILES if name in spec.security]
        for file in files:  # they arrive in the working folder of the job
            command = command.replace(str(file), file.name)
        script = Path(spec.folder) / f"{self.name}.sh"
        submit.write_script(script, self._prologue, command)
        configured = [f"{key} = {value}" for key, value in (self.job_extra_directives or {}).items()]
        job = submit.Job(
            name=spec.job_name,
            script=script,
            logs=Path(spec.logs),
            cores=self.worker_cores,
            memory=int(self.worker_memory or 0),
            files=tuple(files),
        )
        return submit.describe(job, replace(settings, submit=[*configured, *settings.submit]))


class HTCondorCluster(BatchCluster, jobqueue.HTCondorCluster):
    """dask-jobqueue's HTCondor cluster with this kit's options."""

    job_cls = HTCondorJob  # type: ignore[assignment]  # dask-jobqueue's base narrows it

    def __init__(self, spec: ClusterSpec, *, cancel: Sequence[str], constraint: str) -> None:
        settings = Settings.from_options(spec.options, spec.walltime_s)
        options = job_options(replace(spec, walltime_s=settings.walltime_s))
        if settings.container_image and not (spec.options["python"] or config.get("cluster.batch.python")):
            options["python"] = "exec python3"
        self._constraint = constraint
        self._events = queue.Events(submit.event_log(Path(spec.logs)))
        super().__init__(
            spec,
            cancel=cancel,
            settings=settings,
            spec_of_cluster=spec,
            python=options["python"],
            worker_extra_args=options["worker_extra_args"],
            prologue=options["job_script_prologue"],
            job_script_prologue=[],  # dask-jobqueue would join it and the command in one line
        )

    async def queue(self) -> dict[str, Job]:
        """Return the jobs that condor_q lists, and those in the event log that the queue has forgotten."""
        text = await ask("condor_q", "-constraint", self._constraint, "-json", "-attributes", queue.ATTRIBUTES)
        return self._events.jobs(text)

    async def diagnose(self) -> str:
        """Return why workers do not join, with HTCondor's analysis of a pending job."""
        text = await super().diagnose()
        pending = next((job for job in await self.jobs() if job.state == "pending"), None)
        if pending is not None:
            with contextlib.suppress(QueueError):
                text += f" {queue.digest(await ask('condor_q', '-better-analyze', pending.id))}"
        return text

    def advice(self, reason: str) -> str:
        """Return what to do about a reason or a refusal, or an empty string."""
        return queue.advice(reason)
