"""Run the commands of a batch system, such as ``squeue``."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Mapping

from af_kit.errors import ConnectError

__all__ = ["QueueError", "ask", "require"]


class QueueError(RuntimeError):
    """A command of the batch system failed. The message is what the command printed."""


def require(program: str) -> None:
    """Raise ConnectError if this machine does not have a program of the batch system."""
    if not _is_found(program):
        raise ConnectError(
            f"There is no {program} on this machine: use a machine that can submit jobs, such as a login node."
        )


def _is_found(program: str) -> bool:
    try:
        return shutil.which(program) is not None
    except PermissionError:
        return False


async def ask(
    *command: str, stdin: str = "", environment: Mapping[str, str] | None = None, timeout_s: float = 60.0
) -> str:
    """Run a command of the batch system and return what it prints.

    Raises
    ------
    QueueError
        The command failed, did not answer in time, or does not exist.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if environment is None else dict(environment),
            # Ctrl-C must not stop a submission halfway: its job would run, and nobody would know its id
            start_new_session=True,
        )
    except OSError as error:
        reason = error.strerror or str(error)
        # a folder of PATH that this user may not enter hides that the program is nowhere
        if isinstance(error, PermissionError) and "/" not in command[0] and not _is_found(command[0]):
            reason = os.strerror(errno.ENOENT)
        raise QueueError(f"{command[0]} cannot be run: {reason}") from error
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), timeout_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise QueueError(f"{command[0]} did not answer within {timeout_s:g} s") from None
    printed, errors = (text.decode(errors="replace") for text in (out, err))
    if process.returncode:
        message = "; ".join((errors.strip() or printed.strip()).splitlines())
        raise QueueError(message or f"{command[0]} failed (exit code {process.returncode}).")
    return printed
