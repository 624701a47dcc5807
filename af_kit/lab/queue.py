"""What a lab needs of a batch system, and what Slurm and HTCondor share of it."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from af_kit import config
from af_kit.cluster.batch import command
from af_kit.cluster.batch.command import QueueError
from af_kit.cluster.batch.status import Job
from af_kit.cluster.request import Request
from af_kit.errors import ConnectError
from af_kit.lab.labs import Lab

__all__ = ["Queue", "ask", "get", "state", "worker_shell"]


class Queue:
    """A batch system: Slurm or HTCondor."""

    title: ClassVar[str]
    """The name of the batch system in messages."""
    submit_command: ClassVar[tuple[str, ...]]
    """The command that reads a job description from its standard input."""
    job_id: ClassVar[re.Pattern[str]]
    """Where this command prints the id of the job."""

    def description(self, lab: Lab, request: Request, options: Mapping[str, Any]) -> str:
        """Return the description of a lab's job, as the submit command reads it."""
        raise NotImplementedError

    def job(self, lab: Lab) -> Job:
        """Return the state of a lab's job. A queue that does not answer counts as pending: the job may run."""
        raise NotImplementedError

    def cancel_command(self, job: str) -> list[str]:
        """Return the command that ends a job, and succeeds if it has ended."""
        raise NotImplementedError

    @staticmethod
    def advice(reason: str) -> str:
        """Return what to do about a reason or a refusal, or an empty string."""
        raise NotImplementedError

    @staticmethod
    def is_permanent(reason: str) -> bool:
        """Return whether a job that is pending for this reason never runs."""
        return False

    def diagnose(self, job: Job) -> str:
        """Return why a job is pending and what to do, or an empty string."""
        return self.advice(job.reason) if job.state == "pending" else ""

    def submit(self, lab: Lab, request: Request, options: Mapping[str, Any]) -> str:
        """Submit the job of a lab, and return its id, or raise ConnectError with the reason of the batch system."""
        try:
            answer = ask(*self.submit_command, stdin=self.description(lab, request, options))
            found = self.job_id.search(answer)
            if found is None:
                raise QueueError(answer.strip())
        except QueueError as error:
            raise ConnectError(f"{self.title} refuses the job: {error} {self.advice(str(error))}".rstrip()) from None
        return found[1]


def get(backend: str) -> Queue:
    """Return the batch system of this name: ``slurm`` or ``htcondor``."""
    queue: Queue = importlib.import_module(f"{__package__}.{backend}").QUEUE
    return queue


def ask(*line: str, stdin: str = "") -> str:
    """Run a command of the batch system, and return what it prints."""
    command.require(line[0])
    return asyncio.run(command.ask(*line, stdin=stdin))


def state(job: Job) -> str:
    """Return the state of a job for a message: ``pending (Priority)``."""
    return f"{job.state} ({job.reason})" if job.reason else job.state


def worker_shell(folder: str, python: str | None = None) -> list[str]:
    """Return the shell commands of the job: inherited variables, the site's prologue, and the server."""
    settings = config.get("cluster.batch")
    names = [name for name in settings["inherit"] if name in os.environ]
    program = python or settings["python"] or sys.executable
    return [
        *(f"export {name}={shlex.quote(os.environ[name])}" for name in names),
        *settings["prologue"],
        # exec: the batch system's signal reaches the server, not a shell that would swallow it
        f"exec {shlex.quote(program)} -m af_kit.lab.serve {shlex.quote(folder)}",
    ]
