"""The jobs of an HTCondor cluster: their states, and what HTCondor's words mean. Runs in the head process."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from af_kit import config
from af_kit.cluster.batch.base import BatchCluster, BatchJob, QueueError, ask, job_options
from af_kit.cluster.batch.htcondor import submit
from af_kit.cluster.batch.htcondor.analysis import digest
from af_kit.cluster.batch.htcondor.events import Events
from af_kit.cluster.batch.htcondor.submit import Settings
from af_kit.cluster.batch.jobqueue import HTCondorCluster as DasksCluster
from af_kit.cluster.batch.jobqueue import HTCondorJob as DasksJob
from af_kit.cluster.batch.status import Job
from af_kit.cluster.detached.spec import ClusterSpec

_ATTRIBUTES = "ClusterId,ProcId,JobStatus,HoldReason,RemoveReason"
# Parts of reasons, in lower case, and what to do about them.
_ADVICE = {
    "as standard output": "Is the disk of this machine full, or the quota? The log's folder: af_kit.cluster.folder.",
    "transfer input files failure": "A file that the job takes along cannot be read, or was not taken: see "
    "transfer_input_files in submit=.",
    "via condor_hold": "`condor_release JOB` lets it run; another one is asked for meanwhile.",
    "memory": "Give more memory=.",
    "disk": "Give more disk=.",
    "proxy": "Make a new one: voms-proxy-init; without one: proxy=False.",
    "docker": "Is the image's name right, and may this pool's machines fetch it? container_image=",
    "singularity": "Is the image's path right, and do this pool's machines have it? container_image=",
    "image": "Is the image's name right, and may this pool's machines fetch it? container_image=",
    "exit code 127": "Is python= on the workers' machines, or in the image?",
    "failed to parse": "Is a line of submit= wrong, or requirements= or rank=?",
    "parse error": "Is a line of submit= wrong, or requirements= or rank=?",
    "can't find address of local schedd": "No queue runs on this machine: ask the administrators which one is yours.",
}


def advice(reason: str) -> str:
    """What to do about a reason or a refusal; an empty text where nothing is known."""
    lower = reason.lower()
    return next((told for words, told in _ADVICE.items() if words in lower), "")


def parse(text: str) -> dict[str, Job]:
    """The jobs of ``condor_q -json``, by their id."""
    found = {}
    for one in json.loads(text or "[]"):
        job_id = f"{one['ClusterId']}.{one['ProcId']}"
        match one.get("JobStatus"):
            case 1:
                found[job_id] = Job(job_id, "pending", "idle")
            case 5:  # it does not go on by itself: others are asked for
                found[job_id] = Job(job_id, "ended", f"held: {one.get('HoldReason', 'no reason given')}")
            case 3:
                found[job_id] = Job(job_id, "ended", f"removed: {one.get('RemoveReason', 'no reason given')}")
            case 4:
                found[job_id] = Job(job_id, "ended", "completed")
            case _:  # running, transferring its output, suspended
                found[job_id] = Job(job_id, "running")
    return found


class HTCondorJob(BatchJob, DasksJob):
    """A job of dask-jobqueue's, which runs a script instead of a line that every user of the pool sees in the queue."""

    def __init__(self, *args: Any, settings: Settings, whole: ClusterSpec, prologue: list[str], **kwargs: Any) -> None:
        super().__init__(*args, disk=settings.disk, **kwargs)
        self._settings, self._cluster_spec, self._prologue = settings, whole, prologue

    def job_script(self) -> str:
        """The submit description; what it runs is written to a file of its own."""
        spec, settings, command = self._cluster_spec, self._settings, self._command_template
        files = [] if settings.shared_filesystem else [spec.security[name] for name in _FILES if name in spec.security]
        for file in files:  # they arrive in the job's own folder
            command = command.replace(file, Path(file).name)
        script = Path(spec.folder) / f"{self.name}.sh"
        with os.fdopen(os.open(script, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "w") as written:
            written.write(submit.script(self._prologue, command))
        configured = [f"{key} = {value}" for key, value in (self.job_extra_directives or {}).items()]
        return submit.describe(
            submit.Job(
                name=spec.job_name,
                script=script,
                logs=Path(spec.logs),
                cores=self.worker_cores,
                memory=int(self.worker_memory or 0),
                files=tuple(map(Path, files)),
            ),
            replace(settings, submit=[*configured, *settings.submit]),
        )


class HTCondorCluster(BatchCluster, DasksCluster):
    """dask-jobqueue's cluster, with the kit's words."""

    job_cls = HTCondorJob  # type: ignore[assignment]  # dask-jobqueue's base narrows it

    def __init__(self, spec: ClusterSpec, *, cancel: Sequence[str], constraint: str) -> None:
        settings = Settings.of(spec.options, spec.walltime_s)
        options = job_options(replace(spec, walltime_s=settings.walltime_s))
        if settings.container_image and not (spec.options["python"] or config.get("cluster.batch.python")):
            options["python"] = "exec python3"
        self._constraint = constraint
        self._events = Events(submit.events(Path(spec.logs)))
        super().__init__(
            spec,
            cancel=cancel,
            settings=settings,
            whole=spec,
            python=options["python"],
            worker_extra_args=options["worker_extra_args"],
            prologue=options["job_script_prologue"],
            job_script_prologue=[],  # dask-jobqueue would make one line of it and the command
        )

    async def queue(self) -> dict[str, Job]:
        """As condor_q tells, and HTCondor's events of those that it has forgotten."""
        text = await ask("condor_q", "-constraint", self._constraint, "-json", "-attributes", _ATTRIBUTES)
        self._events.read()
        found = parse(text)
        for job_id, trouble in self._events.troubles.items():
            if job_id in found and found[job_id].state == "pending":
                found[job_id] = replace(found[job_id], reason=f"idle again: {trouble}")
        return {**found, **{job_id: Job(job_id, "ended", how) for job_id, how in self._events.ends.items()}}

    async def diagnose(self) -> str:
        """Why workers do not join: for a job that waits, with what HTCondor finds about it."""
        told = await super().diagnose()
        waits = next((job for job in await self.jobs() if job.state == "pending"), None)
        if waits is not None:
            with contextlib.suppress(QueueError):
                told += f" {digest(await ask('condor_q', '-better-analyze', waits.id))}"
        return told

    def advice(self, reason: str) -> str:
        """See `advice`."""
        return advice(reason)


# The worker's part of the cluster's certificates.
_FILES = ("tls_ca_file", "tls_worker_cert", "tls_worker_key")
