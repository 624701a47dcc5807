"""A lab's job in an HTCondor queue.

The job's description, its container, its time limit and the files that travel with it are those of the workers
(`af_kit.cluster.batch.htcondor.submit`). Token and settings travel with the job, encrypted, whether or not machines
share files: only the log must be seen here, and HTCondor brings that back while the job runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from af_kit import config
from af_kit.cluster.batch.htcondor import submit as describing
from af_kit.cluster.batch.htcondor.analysis import digest
from af_kit.cluster.batch.htcondor.events import Events
from af_kit.cluster.batch.status import Job
from af_kit.cluster.request import Request
from af_kit.errors import ConnectError
from af_kit.lab import queue
from af_kit.lab.labs import Lab

KIND = "htcondor"
OPTIONS = ("disk", "container_image", "requirements", "rank", "submit", "shared_filesystem", "proxy")
_ATTRIBUTES = "ClusterId,ProcId,JobStatus,HoldReason,RemoveReason"


def description(lab: Lab, request: Request, options: Mapping[str, Any]) -> str:
    """The submit description; what it runs is written beside the log."""
    settings = describing.Settings.of(options, request.walltime_s)
    image = settings.container_image and not config.get("cluster.batch.python")
    script = lab.folder / "job.sh"
    with os.fdopen(os.open(script, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "w") as file:
        *prologue, command = queue.shell(".", "python3" if image else None)
        file.write(describing.script(prologue, command))
    job = describing.Job(
        name=lab.name,
        script=script,
        logs=lab.folder,
        cores=request.cores or 1,
        memory=request.memory or 0,
        files=(lab.folder / "token", lab.folder / "settings.json"),
    )
    return describing.describe(job, replace(settings, submit=[*settings.submit, f"output = {lab.log}"]))


def submit(lab: Lab, request: Request, options: Mapping[str, Any]) -> str:
    """Hand in the job; its id.

    Raises
    ------
    ConnectError
        HTCondor refuses it, in its own words.
    """
    done = queue.ask(["condor_submit"], given=description(lab, request, options))
    found = re.search(r"submitted to cluster (\d+)", done.stdout)
    if done.returncode or not found:
        said = done.stderr.strip() or done.stdout.strip()
        raise ConnectError(f"HTCondor refuses the job: {said} {queue.jobs_of(KIND).advice(said)}".strip())
    return f"{found[1]}.0"


def look(lab: Lab) -> Job:
    """What condor_q says of the job, or the events of one that it has forgotten."""
    done = queue.ask(["condor_q", lab.job, "-json", "-attributes", _ATTRIBUTES])
    if done.returncode:  # HTCondor itself is away: the job may well run
        return Job(lab.job, "pending", done.stderr.strip())
    events = Events(describing.events(lab.folder))
    events.read()
    job: Job | None = queue.jobs_of(KIND).parse(done.stdout).get(lab.job)
    if job is None:
        return Job(lab.job, "ended", events.ends.get(lab.job, "no longer in the queue"))
    if job.state == "pending" and lab.job in events.troubles:
        return replace(job, reason=f"idle again: {events.troubles[lab.job]}")
    return job


def explain(lab: Lab, job: Job) -> str:
    """What HTCondor finds about a job that waits."""
    told = [queue.jobs_of(KIND).advice(job.reason)]
    if job.state == "pending":
        analysis = queue.ask(["condor_q", "-better-analyze", lab.job]).stdout
        told.append(digest(analysis))
    return " ".join(filter(None, told))


def hopeless(job: Job) -> bool:
    """Never to be told: a machine may join the pool at any time."""
    return False


def cancel_command(job: str) -> list[str]:
    """What ends the job. condor_rm fails where there is nothing to remove, so that is looked at first."""
    line = 'job=$(condor_q "$0" -af ClusterId) && { test -z "$job" || condor_rm "$0"; }'
    return ["sh", "-c", line, job]
