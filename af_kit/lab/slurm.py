"""A lab's job in a Slurm queue."""

from __future__ import annotations

import math
import re
import shlex
import sys

from af_kit.errors import ConnectError
from af_kit.lab.labs import Lab
from af_kit.lab.queue import State, Words, ask

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESIZING"}
_RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "STAGE_OUT", "SIGNALING"}


def script(lab: Lab, words: Words) -> str:
    """The job: this session's Python, one machine, no token."""
    options = words.options
    lines = ["#!/bin/bash"]
    directives = {
        "job-name": lab.name,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": words.cores,
        "mem": f"{math.ceil(words.memory / 2**20)}M",
        "time": math.ceil(words.walltime_s / 60),
        "output": str(lab.log),
        **{name: options.get(name) for name in ("partition", "account", "qos", "reservation")},
    }
    lines += [f"#SBATCH --{name}={value}" for name, value in directives.items() if value is not None]
    lines += [f"#SBATCH {directive}" for directive in options.get("extra_directives") or []]
    lines += options.get("prologue") or []
    lines.append(f"exec {shlex.quote(sys.executable)} -m af_kit.lab.serve {shlex.quote(str(lab.folder))}")
    return "\n".join(lines) + "\n"


def submit(lab: Lab, words: Words) -> str:
    """Hand in the job; its id.

    Raises
    ------
    ConnectError
        Slurm refuses it, in its own words.
    """
    done = ask(["sbatch", "--parsable"], given=script(lab, words))
    found = re.match(r"\d+", done.stdout)
    if done.returncode or not found:
        raise ConnectError(f"Slurm refuses the job: {done.stderr.strip() or done.stdout.strip()}")
    return found[0]


def look(lab: Lab) -> State:
    """What squeue says of the job."""
    done = ask(["squeue", "--noheader", "--states=all", f"--jobs={lab.job}", "--format=%T|%r|%S|%N|%e"])
    if done.returncode and "Invalid job id" not in done.stderr:  # Slurm itself is away: the job may well run
        return State("waiting", f"squeue: {done.stderr.strip()}")
    if not done.stdout.strip():
        return State("ended", "no longer in the queue")
    state, reason, start, nodes, end = done.stdout.strip().splitlines()[0].split("|")
    told = "" if reason in ("None", "") else f" ({reason})"
    if state in _WAITING:
        return State("waiting", f"{state}{told}" + (f", to start at {start}" if start != "N/A" else ""))
    if state in _RUNNING:
        return State("running", f"{state} on {nodes}, until {end}")
    return State("ended", state + told)


def cancel(lab: Lab) -> None:
    """End the job.

    Raises
    ------
    ConnectError
        Slurm does not, in its own words.
    """
    done = ask(["scancel", lab.job])
    if done.returncode and "Invalid job id" not in done.stderr:
        raise ConnectError(f"Slurm does not end job {lab.job} of the lab {lab.name}: {done.stderr.strip()}")
