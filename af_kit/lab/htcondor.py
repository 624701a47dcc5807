"""The job of a lab in an HTCondor queue.

Its description, container, time limit and proxy are those of the workers' jobs (`cluster.batch.htcondor.submit`). Token
and settings travel with the job, encrypted, even if machines share files. Only the log must be readable here, and
HTCondor brings that back while the job runs.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from af_kit import config
from af_kit.cluster.batch.htcondor import queue as htcondor
from af_kit.cluster.batch.htcondor import submit
from af_kit.cluster.batch.status import Job
from af_kit.cluster.request import Request
from af_kit.lab.labs import Lab
from af_kit.lab.queue import Queue, QueueError, ask, worker_shell


class HTCondor(Queue):
    """Labs as HTCondor jobs."""

    title = "HTCondor"
    submit_command = ("condor_submit",)
    job_id = re.compile(r"submitted to cluster (\d+)")
    advice = staticmethod(htcondor.advice)

    def description(self, lab: Lab, request: Request, options: Mapping[str, Any]) -> str:
        """Return the submit description, after writing the script that the job runs to a file."""
        settings = submit.Settings.from_options(options, request.walltime_s)
        image = settings.container_image and not config.get("cluster.batch.python")
        script = lab.folder / "job.sh"
        *prologue, server = worker_shell(".", "python3" if image else None)
        submit.write_script(script, prologue, server)
        job = submit.Job(
            name=lab.name,
            script=script,
            logs=lab.folder,
            cores=request.cores or 1,
            memory=request.memory or 0,
            files=(lab.folder / "token", lab.folder / "settings.json"),
        )
        return submit.describe(job, replace(settings, submit=[*settings.submit, f"output = {lab.log}"]))

    def job(self, lab: Lab) -> Job:
        """Return the state of a lab's job, from condor_q, or from the event log if the queue has forgotten the job."""
        try:
            text = ask("condor_q", lab.job, "-json", "-attributes", htcondor.ATTRIBUTES)
        except QueueError as error:
            return Job(lab.job, "pending", str(error))
        found = htcondor.Events(submit.event_log(lab.folder)).jobs(text)
        return found.get(lab.job, Job(lab.job, "ended", "no longer in the queue"))

    def submit(self, lab: Lab, request: Request, options: Mapping[str, Any]) -> str:
        """Submit the job of a lab, and return its id, as for every `Queue`."""
        return f"{super().submit(lab, request, options)}.0"

    def diagnose(self, job: Job) -> str:
        """Return why a job is pending and what to do, with HTCondor's analysis, or an empty string."""
        parts = [self.advice(job.reason)]
        if job.state == "pending":
            with contextlib.suppress(QueueError):
                parts.append(htcondor.digest(ask("condor_q", "-better-analyze", job.id)))
        return " ".join(filter(None, parts))

    def cancel_command(self, job: str) -> list[str]:
        """Return the command that ends a job, and succeeds if it has ended."""
        return htcondor.cancel_command(f"ClusterId == {job.partition('.')[0]}")


QUEUE = HTCondor()
