"""The job of a lab in a Slurm queue."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from af_kit import config
from af_kit.cluster.batch.slurm import queue as slurm
from af_kit.cluster.batch.status import Job
from af_kit.cluster.request import Request, seconds
from af_kit.lab.labs import Lab
from af_kit.lab.queue import Queue, QueueError, ask, worker_shell

_SETTINGS = ("partition", "account", "qos", "reservation", "constraint")


class Slurm(Queue):
    """Labs as Slurm jobs."""

    title = "Slurm"
    submit_command = ("sbatch", "--parsable")
    job_id = re.compile(r"^(\d+)")
    advice = staticmethod(slurm.advice)
    is_permanent = staticmethod(slurm.is_permanent)

    def description(self, lab: Lab, request: Request, options: Mapping[str, Any]) -> str:
        """Return the job script: this session's Python on one machine. It does not contain the token."""
        site = config.get("cluster.slurm")
        walltime_s = request.walltime_s or (seconds(site["walltime"]) if site["walltime"] else None)
        directives = {
            "job-name": lab.name,
            "nodes": 1,
            "ntasks": 1,
            "cpus-per-task": request.cores,
            "mem": f"{math.ceil((request.memory or 0) / 2**20)}M",
            "time": None if walltime_s is None else slurm.time_limit(walltime_s),
            "output": str(lab.log),
            **{name: options.get(name) or site[name] for name in _SETTINGS},
        }
        lines = [f"--{name}={value}" for name, value in directives.items() if value]
        lines += [*site["directives"], *(options.get("directives") or [])]
        return "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), *worker_shell(str(lab.folder)), ""])

    def job(self, lab: Lab) -> Job:
        """Return the state of a lab's job, from squeue."""
        try:
            line = ask("squeue", "--noheader", "--states=all", f"--jobs={lab.job}", "--format=%i|%T|%r|%N|%e|%S")
        except QueueError as error:
            if "Invalid job id" not in str(error):
                return Job(lab.job, "pending", str(error))
            line = ""
        if not line.strip():
            return Job(lab.job, "ended", "no longer in the queue")
        number, state, reason, nodes, end, start = line.strip().splitlines()[0].split("|")
        job = slurm.parse(f"{number}|{state}|{reason}")[number]
        if job.state == "running":
            return replace(job, reason=f"{'' if state == 'RUNNING' else f'{state} '}on {nodes}, until {end}")
        if job.state == "pending" and start != "N/A":
            return replace(job, reason=f"{reason}, to start at {start}")
        return job

    def cancel_command(self, job: str) -> list[str]:
        """Return the command that ends a job, and succeeds if it has ended."""
        return ["scancel", "--quiet", job]


QUEUE = Slurm()
