"""One batch job, from its submission to its end, and the history of a cluster's jobs. In the scheduler process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed.core import Status

from af_kit.cluster.batch.command import ask
from af_kit.cluster.batch.status import Job
from af_kit.credentials.private_files import write_private

# The class that this one precedes among its bases. dask-jobqueue has no types.
_Next: Any = object

logger = logging.getLogger(__name__)

# Commands of the batch system that run at the same time: a login node is shared by all users.
_CONCURRENT_COMMANDS = 8
# After this many jobs in a row died before their workers joined, no more are submitted.
MAX_DEAD_JOBS = 5
# Seconds before another job is submitted after a refusal.
_AFTER_REFUSAL_S = 30.0


@dataclass
class JobHistory:
    """What happened to the jobs of one cluster."""

    folder: Path
    """Where a job script is while it is submitted."""
    submitted: dict[str, float] = field(default_factory=dict)
    """When each job was submitted, on the monotonic clock."""
    joined: set[str] = field(default_factory=set)
    """Workers that have connected to the scheduler at some time."""
    ended: dict[str, Job] = field(default_factory=dict)
    """Jobs that ended although they were wanted."""
    refusal: str = ""
    """What the batch system said when it last refused a job."""
    refused_at: float = -math.inf
    dead_in_a_row: int = 0
    """Jobs that died before their workers joined, since the last worker that did join."""
    closing: bool = False
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENT_COMMANDS))

    @property
    def gave_up(self) -> bool:
        """Whether no more jobs are submitted, because all of them die."""
        return self.dead_in_a_row >= MAX_DEAD_JOBS

    @property
    def may_submit(self) -> bool:
        """Whether another job may be submitted now."""
        return not self.gave_up and not self.closing and time.monotonic() - self.refused_at > _AFTER_REFUSAL_S

    def reset(self) -> None:
        """Forget refusals and dead jobs: the user asks for workers again."""
        self.refusal, self.refused_at, self.dead_in_a_row = "", -math.inf, 0


class BatchJob(_Next):
    """A mixin that precedes a job class of dask-jobqueue."""

    job_id: Any

    def __init__(self, *args: Any, history: JobHistory, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.history = history

    async def start(self) -> None:
        """Submit the job. A refusal is recorded and is not an error: other jobs may be accepted."""
        self.job_id = None
        async with self.history.slots:
            if self.history.may_submit:  # this may have changed during the wait for a slot
                try:
                    await super().start()
                    self.history.submitted[self.job_id] = time.monotonic()
                except (RuntimeError, ValueError, OSError) as error:
                    self.history.refusal = str(error)
                    self.history.refused_at = time.monotonic()
                    logger.error("A job was refused: %s", error)
        if self.history.closing:
            await self._cancel()  # all others were cancelled while this one was submitted
        self.status = Status.running  # distributed's ProcessInterface expects this

    async def close(self) -> None:
        """Cancel the job, which may have ended."""
        self.status = Status.closed
        if not self.history.closing:  # otherwise one command cancels all jobs
            async with self.history.slots:
                await self._cancel()

    async def _cancel(self) -> None:
        if self.job_id:
            await self._close_job(self.job_id, self.cancel_command)

    @contextlib.contextmanager
    def job_file(self) -> Iterator[str]:
        """Write the job script for its owner only, as it holds the variables that the user gave."""
        path = write_private(self.history.folder / f"{self.name}.job", self.job_script())
        try:
            yield str(path)
        finally:
            path.unlink(missing_ok=True)

    @staticmethod
    async def _call(cmd: Sequence[str], **kwargs: Any) -> str:
        return await ask(*cmd, **kwargs)
