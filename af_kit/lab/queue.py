"""What a lab needs of a batch system; ``slurm`` and ``htcondor`` are modules of this form.

- ``OPTIONS``: the names of its own options, as `af_kit.connect` takes them.
- ``submit(lab, request, options) -> str``: hands in the lab's job, and gives its id.
- ``look(lab) -> Job``: what the queue says of it now.
- ``explain(lab, job) -> str``: why it waits, and what to do; may be empty.
- ``hopeless(job) -> bool``: whether it will wait for ever.
- ``cancel_command(job) -> list``: ends it; no error where it has ended.
"""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from types import ModuleType

from af_kit import config
from af_kit.cluster.batch.status import Job
from af_kit.errors import ConnectError, InputError

KINDS = ("slurm", "htcondor")

# A batch system that is busy may take long to answer; one that hangs must not hold the user for ever.
_ANSWER_S = 60


def of(kind: str) -> ModuleType:
    """The module of a batch system."""
    return importlib.import_module(f"{__package__}.{kind}")


def jobs_of(kind: str) -> ModuleType:
    """The module that knows what the words of this queue mean."""
    return importlib.import_module(f"af_kit.cluster.{kind}_jobs")


def words(job: Job) -> str:
    """What to tell of a job: ``pending (Priority)``."""
    return f"{job.state} ({job.reason})" if job.reason else job.state


def shell(folder: str, python: str | None = None) -> list[str]:
    """The lines of shell that the job runs: the site's, what it needs of this environment, and the server."""
    settings = config.get("cluster.batch")
    names = [name for name in settings["inherit"] if name in os.environ]
    program = python or settings["python"] or sys.executable
    return [
        *(f"export {name}={shlex.quote(os.environ[name])}" for name in names),
        *settings["prologue"],
        # exec: the queue's signal goes to the server, not to a shell that keeps it
        f"exec {shlex.quote(program)} -m af_kit.lab.serve {shlex.quote(folder)}",
    ]


def ask(command: Sequence[str], *, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of a batch system's commands. Ctrl-C goes to us, not to it: it would leave a job nobody knows of.

    Raises
    ------
    InputError
        The command is not there.
    ConnectError
        It does not answer.
    """
    try:
        return subprocess.run(
            command,
            input=given or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWER_S,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise InputError(
            f"There is no command {command[0]} here: log in to a machine that submits to this queue."
        ) from None
    except subprocess.TimeoutExpired:
        raise ConnectError(f"{command[0]} does not answer within {_ANSWER_S} s: is the batch system down?") from None
