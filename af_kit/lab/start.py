"""A lab from the submission of its job to its end. Every wait shows the queue's state, and ends with a reason."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from af_kit import config
from af_kit.cluster import request
from af_kit.cluster.batch.command import QueueError
from af_kit.cluster.batch.status import Job, quote_log
from af_kit.cluster.detached import guard
from af_kit.errors import ConnectError
from af_kit.lab import labs, queue, tunnel
from af_kit.lab.labs import Lab
from af_kit.lab.serve import Endpoint

Say = Callable[[str], None]

# Seconds between two queries of the queue: few at first, when users wait, then more, to spare the site.
POLL_S = (0.5, 10.0)
# Seconds for which a reason must last before it counts as final: Slurm reports another one at first.
SETTLED_S = 3.0


def submit(
    backend: str,
    *,
    root: Path,
    cores: int | None = None,
    memory: str | int | None = None,
    walltime: str | int | None = None,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
    login: str | None = None,
    listen: str | None = None,
    local_port: int | None = None,
) -> Lab:
    """Submit the job of a new lab.

    The arguments are the options of ``af-kit lab``, which override ``af_kit.lab`` and the site's configuration of the
    batch system. ``root`` is the folder that JupyterLab opens, and ``options`` are options of the batch system, as for
    `af_kit.connect`.
    """
    site = config.get("lab")
    resources = request.check(
        cores=cores or site["cores"], memory=memory or site["memory"], walltime=walltime or site["walltime"]
    )
    login = tunnel.login(login)
    settings: dict[str, Any] = {
        "root": str(root.absolute()),
        "listen": tunnel.listen(listen),
        "interface": site["interface"],
        "login_hosts": [tunnel.login_host(login), socket.gethostname()],
        "local_port": local_port,
    }
    lab = labs.create(backend, name=name, settings=settings, login=login)
    try:
        return lab.submitted(queue.get(backend).submit(lab, resources, options or {}))
    except BaseException:
        shutil.rmtree(lab.folder)
        raise


def end_with_process(lab: Lab) -> subprocess.Popen[bytes]:
    """Make the lab end when this process ends, even if it is killed. The caller must keep a reference to the result."""
    return guard.start(lab.folder / "token", queue.get(lab.backend).cancel_command(lab.job))


def wait(lab: Lab, *, timeout_s: float, say: Say) -> Endpoint:
    """Wait until the lab listens.

    Raises
    ------
    ConnectError
        The lab does not listen before the deadline, with the queue's reason; or its job ended, with the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    batch = queue.get(lab.backend)
    before: Job | None = None
    since = time.monotonic()
    jobs = _poll(lab, say)
    while True:
        job = next(jobs)
        endpoint = lab.endpoint() if job.state == "running" else None
        if endpoint is not None:
            return endpoint
        state = f"job {job.id} is {queue.state(job)}"
        if job.state == "ended":
            raise ConnectError(f"{lab.name} ended before JupyterLab ran: {state}.{quote_log(str(lab.log))}")
        if job != before:
            before, since = job, time.monotonic()
        elif job.state == "pending" and batch.is_permanent(job.reason) and time.monotonic() > since + SETTLED_S:
            raise ConnectError(f"{lab.name} will not run: {state}. {batch.diagnose(job)}")
        if time.monotonic() > deadline:
            why = quote_log(str(lab.log)) if job.state == "running" else f" {batch.diagnose(job)}"
            raise ConnectError(f"{lab.name} does not run after {timeout_s:g} s: {state}.{why}".rstrip())


def wait_for_end(lab: Lab) -> str:
    """Wait for the end of the lab's job, and return how it ended."""
    job = next(job for job in _poll(lab, lambda line: None) if job.state == "ended")
    lab.remove_token()
    return job.reason or "ended"


def stop(lab: Lab) -> None:
    """Cancel the lab's job, and remove its token; the log stays."""
    try:
        queue.ask(*queue.get(lab.backend).cancel_command(lab.job))
    except QueueError as error:
        raise ConnectError(f"{lab.name} may still run: job {lab.job} cannot be cancelled: {error}") from error
    lab.remove_token()


def status(lab: Lab) -> Job:
    """Return the state of the lab's job. If it has ended, its token is removed."""
    if not lab.token():
        return Job(lab.job, "ended")
    job = queue.get(lab.backend).job(lab)
    if job.state == "ended":
        lab.remove_token()
    return job


def _poll(lab: Lab, say: Say) -> Iterator[Job]:
    """Yield the job without end, less often with time, and say when its state changes."""
    pause, said = POLL_S[0], ""
    while True:
        job = queue.get(lab.backend).job(lab)
        if queue.state(job) != said:
            said = queue.state(job)
            say(f"{lab.name}: job {lab.job} is {said}")
            pause = POLL_S[0]
        yield job
        time.sleep(pause)
        pause = min(1.5 * pause, POLL_S[1])
