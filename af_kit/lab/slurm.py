"""A lab's job in a Slurm queue."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from af_kit import config
from af_kit.cluster.batch.status import Job
from af_kit.cluster.request import Request, seconds
from af_kit.errors import ConnectError
from af_kit.lab import queue
from af_kit.lab.labs import Lab

KIND = "slurm"
OPTIONS = ("partition", "account", "qos", "reservation", "constraint", "directives")


def script(lab: Lab, request: Request, options: Mapping[str, Any]) -> str:
    """The job: this session's Python on one machine, and no token."""
    site = config.get("cluster.slurm")
    walltime_s = request.walltime_s or (seconds(site["walltime"]) if site["walltime"] else None)
    directives = {
        "job-name": lab.name,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": request.cores,
        "mem": f"{math.ceil((request.memory or 0) / 2**20)}M",
        "time": None if walltime_s is None else queue.jobs_of(KIND).limit(walltime_s),
        "output": str(lab.log),
        **{name: options.get(name) or site[name] for name in OPTIONS if name != "directives"},
    }
    lines = [f"--{name}={value}" for name, value in directives.items() if value]
    lines += [*site["directives"], *(options.get("directives") or [])]
    return "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), *queue.shell(str(lab.folder)), ""])


def submit(lab: Lab, request: Request, options: Mapping[str, Any]) -> str:
    """Hand in the job; its id.

    Raises
    ------
    ConnectError
        Slurm refuses it, in its own words.
    """
    done = queue.ask(["sbatch", "--parsable"], given=script(lab, request, options))
    found = re.match(r"\d+", done.stdout)
    if done.returncode or not found:
        said = done.stderr.strip() or done.stdout.strip()
        raise ConnectError(f"Slurm refuses the job: {said}. {queue.jobs_of(KIND).advice(said)}".strip())
    return found[0]


def look(lab: Lab) -> Job:
    """What squeue says of the job."""
    asked = ["squeue", "--noheader", "--states=all", f"--jobs={lab.job}", "--format=%i|%T|%r|%N|%e|%S"]
    done = queue.ask(asked)
    if done.returncode and "Invalid job id" not in done.stderr:  # Slurm itself is away: the job may well run
        return Job(lab.job, "pending", done.stderr.strip())
    if not done.stdout.strip():
        return Job(lab.job, "ended", "no longer in the queue")
    number, state, reason, nodes, end, start = done.stdout.strip().splitlines()[0].split("|")
    job = queue.jobs_of(KIND).parse(f"{number}|{state}|{reason}")[number]
    if job.state == "running":
        return replace(job, reason=f"{'' if state == 'RUNNING' else f'{state} '}on {nodes}, until {end}")
    if job.state == "pending" and start != "N/A":
        return replace(job, reason=f"{reason}, to start at {start}")
    return job


def explain(lab: Lab, job: Job) -> str:
    """What to do about the reason for which the job waits."""
    return queue.jobs_of(KIND).advice(job.reason) if job.state == "pending" else ""


def hopeless(job: Job) -> bool:
    """Whether the job waits for something that will not come."""
    return job.state == "pending" and queue.jobs_of(KIND).lasting(job.reason)


def cancel_command(job: str) -> list[str]:
    """What ends the job; quiet where it has ended."""
    return ["scancel", "--quiet", job]
