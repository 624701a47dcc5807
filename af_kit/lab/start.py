"""A lab from its submission to its end: every wait tells the queue's own words, and ends in a reason."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from af_kit import config
from af_kit.cluster import request
from af_kit.cluster.batch.status import Job, end_of
from af_kit.cluster.detached import guard
from af_kit.errors import ConnectError
from af_kit.lab import labs, queue, tunnel
from af_kit.lab.labs import Lab, Where

Say = Callable[[str], None]

# Seconds between two questions to the queue: at first users want to see something, then the site wants peace.
_FIRST_LOOK_S = 0.5
_LAST_LOOK_S = 10.0
# Seconds for which a reason must stand before it is taken for the last word: Slurm begins with another one.
_SETTLED_S = 3.0


def submit(
    kind: str,
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
    """Hand in the job of a new lab.

    Parameters
    ----------
    kind : str
        ``"slurm"`` or ``"htcondor"``.
    root : Path
        The folder that JupyterLab shows.
    cores, memory, walltime : int, str, optional
        What the job asks for (default: ``af_kit.lab``, else what the site configured for its batch system).
    options : mapping, optional
        Of this batch system, as `af_kit.connect` takes them: ``partition``, ``account``, ``submit``, ...
    name : str, optional
        The lab's name (default: ``lab-1``, ``lab-2``, ...).
    login, listen : str, optional
        How ssh gets there (default: ``af_kit.lab.login``, ``af_kit.lab.listen``).
    local_port : int, optional
        The tunnel's port on the user's own machine (default: the lab's own).

    Raises
    ------
    InputError
        A value cannot be used.
    ConnectError
        The batch system refuses the job.
    """
    site = config.get("lab")
    asked = request.check(
        cores=cores or site["cores"], memory=memory or site["memory"], walltime=walltime or site["walltime"]
    )
    login = tunnel.login(login)
    settings: dict[str, Any] = {
        "root": str(root.absolute()),
        "listen": tunnel.listen(listen),
        "interface": site["interface"],
        "towards": [tunnel.login_host(login), socket.gethostname()],
        "local_port": local_port,
    }
    lab = labs.create(kind, name=name, settings=settings, login=login)
    try:
        return lab.submitted(queue.of(kind).submit(lab, asked, options or {}))
    except BaseException:
        lab.remove()
        raise


def own(lab: Lab) -> Any:
    """Let the end of this process be the end of the lab, also if it is killed.

    Returns
    -------
    subprocess.Popen
        The process that sees to it, to be kept.
    """
    return guard.start(lab.folder / "token", queue.of(lab.kind).cancel_command(lab.job))


def wait(lab: Lab, *, timeout_s: float, say: Say) -> Where:
    """Wait until the lab listens.

    Raises
    ------
    ConnectError
        It did not before the deadline, with the queue's reason; or its job ended, with the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    kind = queue.of(lab.kind)
    before: Job | None = None
    since = time.monotonic()
    for job in _looks(lab, say):
        where = lab.where() if job.state == "running" else None
        if where is not None:
            return where
        told = f"job {job.id} is {queue.words(job)}"
        if job.state == "ended":
            raise ConnectError(f"{lab.name} ended before JupyterLab ran: {told}.{_end_of(lab)}")
        if job != before:
            before, since = job, time.monotonic()
        elif kind.hopeless(job) and time.monotonic() > since + _SETTLED_S:
            raise ConnectError(f"{lab.name} will not run: {told}. {kind.explain(lab, job)}")
        if time.monotonic() > deadline:
            why = _end_of(lab) if job.state == "running" else f" {kind.explain(lab, job)}"
            raise ConnectError(f"{lab.name} does not run after {timeout_s:g} s: {told}.{why}".rstrip())
    raise AssertionError  # the looks have no end


def watch(lab: Lab) -> str:
    """Wait for the end of the lab's job; the queue's words for it."""
    for job in _looks(lab, say=lambda line: None):
        if job.state == "ended":
            lab.forget_token()
            return job.reason or "ended"
    raise AssertionError


def stop(lab: Lab) -> None:
    """End the lab's job, and remove its token; the log stays.

    Raises
    ------
    ConnectError
        The batch system does not end it, in its own words.
    """
    done = queue.ask(queue.of(lab.kind).cancel_command(lab.job))
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise ConnectError(f"{lab.name} may go on: job {lab.job} cannot be cancelled: {said}")
    lab.forget_token()


def look(lab: Lab) -> Job:
    """What the queue says of the lab's job; the token of one that has ended is removed."""
    if not lab.token():
        return Job(lab.job, "ended")
    job: Job = queue.of(lab.kind).look(lab)
    if job.state == "ended":
        lab.forget_token()
    return job


def _looks(lab: Lab, say: Say) -> Iterator[Job]:
    """The job, again and again, more seldom with time; what is new of it is said."""
    pause, told = _FIRST_LOOK_S, ""
    while True:
        job = queue.of(lab.kind).look(lab)
        if queue.words(job) != told:
            told = queue.words(job)
            say(f"{lab.name}: job {lab.job} is {told}")
            pause = _FIRST_LOOK_S
        yield job
        time.sleep(pause)
        pause = min(1.5 * pause, _LAST_LOOK_S)


def _end_of(lab: Lab) -> str:
    lines = end_of(str(lab.log))
    return f" The end of its log {lab.log}:\n{lines}" if lines else f" Its log: {lab.log}."
