"""A lab from its submission to its end: every wait tells the queue's own words, and ends in a reason."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from af_kit import config
from af_kit.errors import ConnectError
from af_kit.lab import labs, queue, tunnel
from af_kit.lab.labs import Lab, Where
from af_kit.lab.queue import State, Words

Say = Callable[[str], None]

# Seconds between two questions to the queue: at first users want to see something, then the site wants peace.
_FIRST_LOOK_S = 0.5
_LAST_LOOK_S = 15.0
# Lines of the log that a message quotes.
_END = 12


def submit(
    kind: str,
    words: Words,
    *,
    root: Path,
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
    words : Words
        What the job asks for.
    root : Path
        The folder that JupyterLab shows.
    name : str, optional
        The lab's name (default: ``lab-1``, ``lab-2``, ...).
    login, listen : str, optional
        How ssh gets there (default: ``af_kit.lab.login``, ``af_kit.lab.listen``).
    local_port : int, optional
        The tunnel's port on the user's own machine (default: the lab's own).

    Raises
    ------
    ConnectError
        The batch system refuses the job.
    """
    login = tunnel.login(login)
    settings: dict[str, Any] = {
        "root": str(root.absolute()),
        "listen": listen or config.get("lab.listen"),
        "interface": config.get("lab.interface"),
        "towards": [tunnel.login_host(login), socket.gethostname()],
        "local_port": local_port,
    }
    lab = labs.create(kind, name=name, settings=settings, login=login)
    try:
        return lab.submitted(queue.of(kind).submit(lab, words))
    except BaseException:
        lab.remove()
        raise


def wait(lab: Lab, *, timeout_s: float, say: Say) -> Where:
    """Wait until the lab listens.

    Raises
    ------
    ConnectError
        It did not before the deadline, with the queue's reason; or its job ended, with the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    for state in _states(lab, say):
        where = lab.where() if state.phase == "running" else None
        if where is not None:
            return where
        if state.phase == "ended":
            raise ConnectError(
                f"The job {lab.job} of {lab.name} ended before JupyterLab ran: {state.words}.{_end_of(lab)}"
            )
        if time.monotonic() > deadline:
            late = _end_of(lab) if state.phase == "running" else ""
            raise ConnectError(
                f"{lab.name} does not run after {timeout_s:g} s: its job {lab.job} is {state.words}.{late}"
            )
    raise AssertionError  # the states have no end


def watch(lab: Lab, *, say: Say) -> str:
    """Wait for the end of the lab's job; the queue's words for it."""
    for state in _states(lab, say=lambda line: None):
        if state.phase == "ended":
            lab.forget_token()
            return state.words
    raise AssertionError


def stop(lab: Lab) -> None:
    """End the lab's job, and remove its token; the log stays."""
    queue.of(lab.kind).cancel(lab)
    lab.forget_token()


def look(lab: Lab) -> State:
    """What the queue says of the lab's job; the token of one that has ended is removed."""
    if not lab.token():
        return State("ended", "ended")
    state: State = queue.of(lab.kind).look(lab)
    if state.phase == "ended":
        lab.forget_token()
    return state


def _states(lab: Lab, say: Say) -> Any:
    """The job's state, again and again, more seldom with time; what is new in it is said."""
    pause, told = _FIRST_LOOK_S, ""
    while True:
        state = queue.of(lab.kind).look(lab)
        if state.words != told:
            told = state.words
            say(f"{lab.name}: job {lab.job} is {told}")
            pause = _FIRST_LOOK_S
        yield state
        time.sleep(pause)
        pause = min(1.5 * pause, _LAST_LOOK_S)


def _end_of(lab: Lab) -> str:
    lines = lab.log_text().strip().splitlines()[-_END:]
    told = " It printed nothing." if not lines else " The end of its log:\n" + "\n".join(f"  {line}" for line in lines)
    return f"{told}\nThe log: {lab.log}"
