"""The jobs of a Slurm cluster: their script, their states, and what Slurm's words mean. Runs in the head process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.config

from af_kit import config
from af_kit.cluster.batch.base import BatchCluster, BatchJob, ask
from af_kit.cluster.batch.jobqueue import SLURMCluster, SLURMJob
from af_kit.cluster.batch.status import Job
from af_kit.cluster.detached.spec import ClusterSpec
from af_kit.cluster.request import seconds

# Slurm's codes of jobs that wait (see `man squeue`, JOB REASON CODES) and of those that ended, and what to do.
_ADVICE = {
    "Resources": "the nodes are busy, or none has so much left. Wait (timeout_s=), or ask for less cores=, memory=.",
    "Priority": "other jobs come first. Wait (timeout_s=), or see `sinfo` for another partition=.",
    "PartitionTimeLimit": "walltime= is longer than the partition allows: see `sinfo -o '%P %l'`, and give less, or "
    "another partition=.",
    "PartitionNodeLimit": "the partition has not so many nodes: ask for less, or give another partition=.",
    "PartitionConfig": "no node of the partition has so many CPUs or so much memory, or walltime= is longer than it "
    "allows: see `sinfo -o '%P %c %m %l'`; ask for less cores=, memory= or walltime=, or give another partition=.",
    "PartitionDown": "the partition is closed for now: give another partition=, see `sinfo`.",
    "PartitionInactive": "the partition is closed for now: give another partition=, see `sinfo`.",
    "ReqNodeNotAvail": "nodes that could run it are down, drained or reserved (a maintenance?): see `sinfo -R`; a "
    "shorter walltime= may end before it.",
    "Reservation": "it waits for its reservation to begin: see `scontrol show reservation`.",
    "InvalidAccount": "account= is not one of yours: see `sacctmgr show associations user=$USER`.",
    "InvalidQOS": "qos= is not one of yours: see `sacctmgr show associations user=$USER`.",
    "BadConstraints": "no node has what constraint= asks for: see `sinfo -o '%N %f'`.",
    "JobHeldUser": "you held it: `scontrol release JOB`.",
    "JobHeldAdmin": "an administrator held it: ask them.",
    "BeginTime": "its begin time has not come, or it was put back after a failure.",
    "Dependency": "it waits for another job that a directive names.",
    "Licenses": "it waits for a licence.",
    "NonZeroExitCode": "",
    "TimeLimit": "It reached its time limit: give a longer walltime=.",
    "OutOfMemory": "It took more memory than it had asked for: give more memory=.",
    "NodeFail": "Its node failed.",
    "launch failed requeued held": "its node could not start it: see `scontrol show job`, and tell the administrators.",
}
_BEGINNINGS = {
    "Assoc": "a limit of your account or association: wait for your other jobs to end, or ask for less.",
    "QOS": "a limit of the quality of service: wait for your other jobs to end, ask for less, or give another qos=.",
    "MaxCpu": "a limit of your account: ask for less.",
    "ReqNodeNotAvail": _ADVICE["ReqNodeNotAvail"],
    "invalid partition": "See `sinfo` for the partitions, and give one as partition=.",
    "Invalid account": "See `sacctmgr show associations user=$USER` for your accounts, and give one as account=.",
    "Invalid qos": "See `sacctmgr show associations user=$USER` for yours, and give one as qos=.",
    "Requested node configuration": "No node has so many CPUs or so much memory: see `sinfo -o '%P %c %m'`, and ask "
    "for less cores= or memory=.",
    "Requested time limit": _ADVICE["PartitionTimeLimit"],
    "Requested reservation": "See `scontrol show reservation` for the name.",
    "Unable to contact": "Slurm's controller does not answer: try later, or ask the administrators.",
    "Invalid feature": _ADVICE["BadConstraints"],
    "Memory specification": "Ask for less memory=.",
    "Job violates accounting": "A limit of your account: ask for less, or see `sacctmgr show associations user=$USER`.",
}
_LASTING = {
    "PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig",
    "InvalidAccount", "InvalidQOS", "BadConstraints", "AccountNotAllowed",
    "QOSNotAllowed", "DependencyNeverSatisfied",
}  # fmt: skip
_RUNS = {"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"}
_WAITS = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}


def advice(reason: str) -> str:
    """What to do about a reason of squeue's or a refusal of sbatch's; an empty text where nothing is known."""
    for word in reason.strip("()").split(","):
        if word.strip() in _ADVICE:
            return _ADVICE[word.strip()]
    return next((told for words, told in _BEGINNINGS.items() if words.lower() in reason.lower()), "")


def lasting(reason: str) -> bool:
    """Whether a job that waits for this reason will never run."""
    return reason.strip("()").split(",")[0] in _LASTING


def parse(text: str) -> dict[str, Job]:
    """The jobs of ``squeue --format=%i|%T|%r``, by their id."""
    found = {}
    for line in text.splitlines():
        job_id, state, reason = (part.strip() for part in line.split("|", 2))
        if state in _WAITS:
            found[job_id] = Job(job_id, "pending", reason)
        elif state in _RUNS:
            found[job_id] = Job(job_id, "running")
        else:
            # COMPLETED says all; FAILED is told with its reason
            how = state if reason in ("None", "", state) else f"{state}, {reason}"
            found[job_id] = Job(job_id, "ended", how)
    return found


def limit(seconds: int) -> str:
    """A time limit as sbatch takes it; Slurm counts in minutes, and rounds up."""
    hours, rest = divmod(seconds, 3600)
    return f"{hours // 24}-{hours % 24:02}:{rest // 60:02}:{rest % 60:02}"


class SlurmJob(BatchJob, SLURMJob):
    """A job of dask-jobqueue's, with one log for both outputs."""

    def __init__(self, *args: Any, log: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        lines = [
            line for line in str(self.job_header).splitlines() if not line.startswith(("#SBATCH -e ", "#SBATCH -o "))
        ]
        self.job_header = "\n".join([*lines, f"#SBATCH --output={log}", "#SBATCH --open-mode=append"])


class SlurmCluster(BatchCluster, SLURMCluster):
    """dask-jobqueue's cluster, with the kit's words."""

    job_cls: Any = SlurmJob

    def __init__(self, spec: ClusterSpec, *, cancel: Sequence[str]) -> None:
        settings = {**config.get("cluster.slurm"), **{key: value for key, value in spec.options.items() if value}}
        directives = [*config.get("cluster.slurm.directives"), *spec.options["directives"]]
        for name in ("qos", "reservation", "constraint"):
            if settings[name]:
                directives.append(f"--{name}={settings[name]}")
        walltime_s = spec.walltime_s or (seconds(settings["walltime"]) if settings["walltime"] else None)
        more: dict[str, Any] = {}
        if spec.memory:  # to the megabyte: dask-jobqueue rounds up to whole gigabytes, which other jobs then lack
            more["job_mem"] = f"{math.ceil(spec.memory / 2**20)}M"
        if walltime_s is None and dask.config.get("jobqueue.slurm.walltime", default=None) == _DASKS_WALLTIME:
            more["job_directives_skip"] = [f"-t {_DASKS_WALLTIME}"]  # the partition's own default is meant
        super().__init__(
            spec,
            cancel=cancel,
            queue=settings["partition"],
            account=settings["account"],
            walltime=None if walltime_s is None else limit(walltime_s),
            job_extra_directives=[*dask.config.get("jobqueue.slurm.job-extra-directives", default=[]), *directives],
            log=str(Path(spec.logs) / f"{spec.job_name}-%j.log"),
            **more,
        )

    async def queue(self) -> dict[str, Job]:
        """As squeue tells, with those that ended in the last minutes."""
        name = f"--name={self.cluster_spec.job_name}"
        return parse(await ask("squeue", "--noheader", "--states=all", "--format=%i|%T|%r", name))

    def advice(self, reason: str) -> str:
        """See `advice`."""
        return advice(reason)

    def lasting(self, reason: str) -> bool:
        """See `lasting`."""
        return lasting(reason)


_DASKS_WALLTIME = "00:30:00"
