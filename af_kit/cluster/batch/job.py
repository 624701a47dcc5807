"""One job of a batch system: its submission, its end, and what is remembered of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed.core import Status

from af_kit.cluster.batch.status import Job
from af_kit.cluster.detached.registry import write_private

# What this goes before; nothing is known of it here, as dask-jobqueue has no types.
_Before: Any = object

logger = logging.getLogger(__name__)

# Commands of the queue at a time: a login node is for all of its users.
_AT_A_TIME = 8
# Seconds that one may take.
_ANSWERS_WITHIN_S = 60.0
# So many jobs that died before their workers joined, without one that lived, and no more are asked for.
MOST_DEAD = 5
# Seconds in which a refused job is not asked for again.
_AFTER_REFUSAL_S = 30.0


class QueueError(RuntimeError):
    """A command of the batch system failed; the message is what it said."""


async def ask(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """What a command of the batch system prints.

    Raises
    ------
    QueueError
        It failed, or it is not there.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if environment is None else dict(environment),
        )
    except OSError as error:
        raise QueueError(f"{command[0]} cannot be run: {error.strerror or error}") from error
    try:
        out, err = await asyncio.wait_for(process.communicate(), _ANSWERS_WITHIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise QueueError(f"{command[0]} did not answer within {_ANSWERS_WITHIN_S:g} s") from None
    if process.returncode:
        said = (err.decode(errors="replace").strip() or out.decode(errors="replace").strip()).splitlines()
        raise QueueError("; ".join(said) or f"{command[0]} failed (exit code {process.returncode}).")
    return out.decode(errors="replace")


@dataclass
class Ledger:
    """What became of the jobs of one cluster."""

    folder: Path
    """Where a job's script lies while it is submitted."""
    submitted: dict[str, float] = field(default_factory=dict)
    """When each job was, on the monotonic clock."""
    joined: set[str] = field(default_factory=set)
    """Workers that came to the scheduler once."""
    ended: dict[str, Job] = field(default_factory=dict)
    """Jobs that ended though they were wanted."""
    refusal: str = ""
    refused_at: float = -math.inf
    dead: int = 0
    closing: bool = False
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_A_TIME))

    @property
    def given_up(self) -> bool:
        """Whether jobs only die."""
        return self.dead >= MOST_DEAD

    @property
    def may_submit(self) -> bool:
        """Whether another job is worth a try."""
        return not self.given_up and not self.closing and time.monotonic() - self.refused_at > _AFTER_REFUSAL_S


class BatchJob(_Before):
    """Goes before a job class of dask-jobqueue's."""

    job_id: Any

    def __init__(self, *args: Any, ledger: Ledger, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ledger = ledger

    async def start(self) -> None:
        """Submit the job; a refusal is remembered, and no error: others may be accepted."""
        self.job_id = None
        async with self.ledger.slots:
            if self.ledger.may_submit:  # still, after the wait for a slot
                try:
                    await super().start()
                    self.ledger.submitted[self.job_id] = time.monotonic()
                except (RuntimeError, ValueError, OSError) as error:
                    self.ledger.refusal = str(error)
                    self.ledger.refused_at = time.monotonic()
                    logger.error("A job was refused: %s", error)
        if self.ledger.closing:
            await self._cancel()  # all others were cancelled while this one was submitted
        self.status = Status.running  # ProcessInterface wants to see that this was done

    async def close(self) -> None:
        """Cancel the job; it may have ended."""
        self.status = Status.closed
        if not self.ledger.closing:  # else all are cancelled at once
            async with self.ledger.slots:
                await self._cancel()

    async def _cancel(self) -> None:
        if self.job_id:
            await self._close_job(self.job_id, self.cancel_command)

    @contextlib.contextmanager
    def job_file(self) -> Iterator[str]:
        """The script, for its owner only: the variables that the user gave are in it."""
        path = write_private(self.ledger.folder / f"{self.name}.job", self.job_script())
        try:
            yield str(path)
        finally:
            path.unlink(missing_ok=True)

    @staticmethod
    async def _call(cmd: Sequence[str], **kwargs: Any) -> str:
        return await ask(*cmd, **kwargs)
