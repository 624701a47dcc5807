"""What Slurm says about jobs: the output of squeue, and what to do about its reasons and sbatch's refusals."""

from __future__ import annotations

from af_kit.cluster.batch.status import Job

__all__ = ["advice", "is_permanent", "parse", "time_limit"]

# What to do about Slurm's reasons for pending and ended jobs (`man squeue`, JOB REASON CODES).
_ADVICE = {
    "Resources": "the nodes are busy, or none has enough room. Wait (timeout_s=), or request less: cores=, memory=.",
    "Priority": "other jobs come first. Wait (timeout_s=), or choose another partition= (see `sinfo`).",
    "PartitionTimeLimit": "walltime= is longer than the partition allows (see `sinfo -o '%P %l'`): request less, or "
    "choose another partition=.",
    "PartitionNodeLimit": "the partition does not have enough nodes: request less, or choose another partition=.",
    "PartitionConfig": "no node of the partition has enough CPUs or memory, or walltime= is longer than it allows "
    "(see `sinfo -o '%P %c %m %l'`): reduce cores=, memory= or walltime=, or choose another partition=.",
    "PartitionDown": "the partition is closed for now: choose another partition= (see `sinfo`).",
    "PartitionInactive": "the partition is closed for now: choose another partition= (see `sinfo`).",
    "ReqNodeNotAvail": "the nodes that could run it are down, drained or reserved, perhaps for maintenance (see "
    "`sinfo -R`): a shorter walltime= may fit before that.",
    "Reservation": "its reservation has not started yet: see `scontrol show reservation`.",
    "InvalidAccount": "you cannot use this account=: see `sacctmgr show associations user=$USER`.",
    "InvalidQOS": "you cannot use this qos=: see `sacctmgr show associations user=$USER`.",
    "BadConstraints": "no node has the features in constraint=: see `sinfo -o '%N %f'`.",
    "JobHeldUser": "you put it on hold: `scontrol release JOB`.",
    "JobHeldAdmin": "an administrator put it on hold: ask them.",
    "TimeLimit": "It reached its time limit: request a longer walltime=.",
    "OutOfMemory": "It exceeded its memory limit: request more memory=.",
    "launch failed requeued held": "its node could not start it (see `scontrol show job`): tell the administrators.",
}
# The same, by a part of the reason or of sbatch's refusal.
_ADVICE_BY_PART = {
    "Invalid qos": "See `sacctmgr show associations user=$USER` for yours, and choose one with qos=.",
    "Job violates accounting": "A limit of your account (see `sacctmgr show associations user=$USER`): request less.",
    "Assoc": "a limit of your account or association: wait for your other jobs to end, or request less.",
    "QOS": "a limit of the quality of service: wait for your other jobs to end, request less, or choose another qos=.",
    "MaxCpu": "a limit of your account: request less.",
    "ReqNodeNotAvail": _ADVICE["ReqNodeNotAvail"],
    "invalid partition": "See `sinfo` for the partitions, and choose one with partition=.",
    "Invalid account": "See `sacctmgr show associations user=$USER` for your accounts, and choose one with account=.",
    "Requested node configuration": "No node has enough CPUs or memory (see `sinfo -o '%P %c %m'`): reduce cores= "
    "or memory=.",
    "Requested time limit": _ADVICE["PartitionTimeLimit"],
    "Requested reservation": "See `scontrol show reservation` for its name.",
    "Unable to contact": "Slurm's controller does not answer: try again later, or ask the administrators.",
    "Invalid feature": _ADVICE["BadConstraints"],
    "Memory specification": "Request less memory=.",
}
# Jobs that are pending for one of these reasons never run.
_PERMANENT = {
    "PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig",
    "InvalidAccount", "InvalidQOS", "BadConstraints", "AccountNotAllowed",
    "QOSNotAllowed", "DependencyNeverSatisfied",
}  # fmt: skip
_RUNNING = {"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"}
_PENDING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}


def advice(reason: str) -> str:
    """Return what to do about a reason of squeue or a refusal of sbatch, or an empty string."""
    for code in reason.strip("()").split(","):
        if code.strip() in _ADVICE:
            return _ADVICE[code.strip()]
    return next((text for part, text in _ADVICE_BY_PART.items() if part.lower() in reason.lower()), "")


def is_permanent(reason: str) -> bool:
    """Return whether a job that is pending for this reason will never run."""
    return reason.strip("()").split(",")[0] in _PERMANENT


def parse(text: str) -> dict[str, Job]:
    """Return the jobs in the output of ``squeue --format=%i|%T|%r``, by their id."""
    found = {}
    for line in text.splitlines():
        job_id, state, reason = (part.strip() for part in line.split("|", 2))
        if state in _PENDING:
            found[job_id] = Job(job_id, "pending", reason)
        elif state in _RUNNING:
            found[job_id] = Job(job_id, "running")
        else:
            # COMPLETED needs no reason; FAILED is shown with its reason
            how = state if reason in ("None", "", state) else f"{state}, {reason}"
            found[job_id] = Job(job_id, "ended", how)
    return found


def time_limit(seconds: int) -> str:
    """Return a time limit as sbatch accepts it; Slurm rounds it up to minutes."""
    hours, rest = divmod(seconds, 3600)
    return f"{hours // 24}-{hours % 24:02}:{rest // 60:02}:{rest % 60:02}"
