"""What HTCondor says about jobs: its queue, its event log, its analysis of pending jobs, and what to do about each."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from af_kit.cluster.batch.status import Job

__all__ = ["ATTRIBUTES", "Events", "advice", "cancel_command", "digest", "parse"]

ATTRIBUTES = "ClusterId,ProcId,JobStatus,HoldReason,RemoveReason"
"""The attributes of a job that `parse` needs."""

# What to do about a reason or a refusal, by a part of it in lower case.
_ADVICE = {
    "as standard output": "Is this machine's disk or your quota full? Logs are below af_kit.cluster.folder.",
    "transfer input files failure": "A file that travels with the job cannot be read: check "
    "transfer_input_files in submit=.",
    "via condor_hold": "`condor_release JOB` lets it run; the cluster submits another one meanwhile.",
    "memory": "Request more memory=.",
    "disk": "Request more disk=.",
    "proxy": "Make a new one with voms-proxy-init, or use proxy=False.",
    "docker": "Is the name of the image right, and can the pool's machines fetch it? container_image=",
    "singularity": "Is the path of the image right, and do the pool's machines have it? container_image=",
    "image": "Is the name of the image right, and can the pool's machines fetch it? container_image=",
    "exit code 127": "Does python= exist on the workers' machines, or in the image?",
    "failed to parse": "Check submit=, requirements= and rank=.",
    "parse error": "Check submit=, requirements= and rank=.",
    "can't find address of local schedd": "This machine has no queue: ask the administrators which one to use.",
}


# condor_rm fails both if there are no jobs and if it cannot reach the queue. condor_q distinguishes the two.
_CANCEL = 'jobs=$(condor_q -constraint "$0" -af ClusterId) && { test -z "$jobs" || condor_rm -constraint "$0"; }'


def cancel_command(constraint: str) -> list[str]:
    """Return the command that cancels the jobs for which an expression is true, and succeeds if there are none."""
    return ["sh", "-c", _CANCEL, constraint]


def advice(reason: str) -> str:
    """Return what to do about a reason or a refusal, or an empty string."""
    return next((text for part, text in _ADVICE.items() if part in reason.lower()), "")


def parse(text: str) -> dict[str, Job]:
    """Return the jobs in the output of ``condor_q -json``, by their id."""
    found = {}
    for job in json.loads(text or "[]"):
        job_id = f"{job['ClusterId']}.{job['ProcId']}"
        match job.get("JobStatus"):
            case 1:
                found[job_id] = Job(job_id, "pending", "idle")
            case 5:  # it does not continue by itself, so another job replaces it
                found[job_id] = Job(job_id, "ended", f"held: {job.get('HoldReason', 'no reason given')}")
            case 3:
                found[job_id] = Job(job_id, "ended", f"removed: {job.get('RemoveReason', 'no reason given')}")
            case 4:
                found[job_id] = Job(job_id, "ended", "completed")
            case _:  # running, transferring its output, suspended
                found[job_id] = Job(job_id, "running")
    return found


_EVENT_END = b"\n...\n"
_EVENT = re.compile(r"^(\d{3}) \((\d+)\.(\d+)\.\d+\) \S+ \S+ (.*)\n((?:(?!\.\.\.$).*\n)*)\.\.\.$", re.MULTILINE)
_HOW = re.compile(r"\((?:return value|signal) (\d+)\)")
_EXECUTING, _TERMINATED, _ABORTED = "001", "005", "009"
# The shadow, the starter or the connection between them failed: HTCondor tries again, perhaps indefinitely.
_TROUBLES = {"007", "021", "022", "024"}


class Events:
    """The event log of the jobs of one cluster. The queue forgets jobs as soon as they end; this file does not.

    Parameters
    ----------
    path : Path
        The file that HTCondor writes; it may not exist yet.

    Attributes
    ----------
    ends : dict
        How jobs ended, by their id.
    troubles : dict
        Why jobs were put back into the queue after they had a machine, by their id.
    """

    def __init__(self, path: Path) -> None:
        self.ends: dict[str, str] = {}
        self.troubles: dict[str, str] = {}
        self._path = path
        self._read = 0

    def jobs(self, text: str) -> dict[str, Job]:
        """Return the jobs in the output of ``condor_q -json``, and those that the queue has forgotten, by their id."""
        self.read()
        found = parse(text)
        for job_id, trouble in self.troubles.items():
            if job_id in found and found[job_id].state == "pending":
                found[job_id] = replace(found[job_id], reason=f"idle again: {trouble}")
        return {**found, **{job_id: Job(job_id, "ended", how) for job_id, how in self.ends.items()}}

    def read(self) -> None:
        """Read what was written since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:
            return
        whole = new.rfind(_EVENT_END) + len(_EVENT_END)  # the last event may be incomplete
        if whole < len(_EVENT_END):
            return
        self._read += whole
        for event in _EVENT.finditer(new[:whole].decode(errors="replace")):
            code, cluster, proc, title, text = event.groups()
            self._record(code, f"{int(cluster)}.{int(proc)}", title, text.strip().split("\n")[0].strip())

    def _record(self, code: str, job_id: str, title: str, first: str) -> None:
        if code == _EXECUTING:
            self.troubles.pop(job_id, None)
        elif code in _TROUBLES:
            self.troubles[job_id] = f"{title.rstrip('.!')}: {first}" if first else title
        elif code == _ABORTED:
            self.ends[job_id] = f"removed: {first or 'no reason given'}"
        elif code == _TERMINATED:
            how = _HOW.search(first)
            self.ends[job_id] = f"{'signal' if 'signal' in first else 'exit code'} {how[1]}" if how else first


# The lines of the analysis that matter.
_STEP = re.compile(r"^\[\d+\]\s+(\d+)\s+(.+)$", re.MULTILINE)
# Such as "[1] && [3]", a combination of steps that are listed above it.
_COMPOUND = re.compile(r"^[\[\]\d\s&|()!]+$")
_MACHINES = re.compile(r"Of (\d+) machines")
_COUNTS = re.compile(r"^\s+(\d+) (are rejected|reject your job|match|are able).*$", re.MULTILINE)
_REQUESTS = re.compile(r"^    (Request\w+) = (.+)$", re.MULTILINE)
_LAST_FAILURE = re.compile(r"^(?:Reason for last match failure|Hold reason): (.+?)\s*$", re.MULTILINE)
_NOT_CONSIDERED = re.compile(r"^Job has not yet been considered by the matchmaker\.", re.MULTILINE)
_OTHER_CONTAINERS = (
    "the machines cannot run container_image=: does the pool need another af_kit.cluster.htcondor.container?"
)
_CONDITION_ADVICE = {
    "RequestMemory": "request less memory=",
    "RequestCpus": "request fewer cores=",
    "RequestDisk": "request less disk=",
    "HasContainer": _OTHER_CONTAINERS,
    "HasDocker": _OTHER_CONTAINERS,
    "HasSingularity": _OTHER_CONTAINERS,
    "FileSystemDomain": "no machine shares files with this one: shared_filesystem=False",
    "HasFileTransfer": "no machine transfers files: shared_filesystem=True",
}


def digest(text: str) -> str:
    """Return why a job is pending, in a sentence or two, or an empty string if its analysis has no reason.

    Parameters
    ----------
    text : str
        The output of ``condor_q -better-analyze JOB``, which fills a page.
    """
    parts = []
    machines = _MACHINES.search(text)
    counts = [line.group(0).strip() for line in _COUNTS.finditer(text) if int(line[1])]
    if machines:
        parts.append(f"of {machines[1]} machines, {', '.join(counts) or 'none is free'}")
    unmet = [
        condition.strip()
        for matched, condition in _STEP.findall(text)
        if matched == "0" and not _COMPOUND.match(condition)
    ]
    if unmet:
        values = [f"{name} = {value}" for name, value in _REQUESTS.findall(text) if any(name in line for line in unmet)]
        requested = f" ({', '.join(values)})" if values else ""
        parts.append(f"no machine has {' or '.join(unmet)}{requested}")
    if last := _LAST_FAILURE.search(text):
        parts.append(last[1])
    elif _NOT_CONSIDERED.search(text):
        parts.append("the matchmaker has not considered it yet")
    if not parts:
        return ""
    todo = [action for name, action in _CONDITION_ADVICE.items() if any(name in line for line in unmet)]
    if unmet and not todo:
        todo = ["check requirements= and submit="]
    help_text = f" What to do: {'; '.join(dict.fromkeys(todo))}." if todo else ""
    return f"condor_q -better-analyze says: {'; '.join(parts)}.{help_text}"
