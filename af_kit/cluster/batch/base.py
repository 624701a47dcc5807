"""What clusters of batch jobs share, on top of dask-jobqueue. In the scheduler process, never in the user's session.

dask-jobqueue writes job scripts and submits them. This module adds that

- jobs have the worker's environment, a log in the cluster's folder, and a name that no other job has;
- refusals and jobs that die are reported to the user, and do not lead to an endless loop;
- results move to other workers before the cluster scales down, also if the user scales by hand;
- jobs that end while they are wanted (time limit, lost node) are replaced.

A subclass of `BatchCluster` lists the mixin before dask-jobqueue's cluster class and says how to ask its queue.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.deploy.adaptive import Adaptive

from af_kit import config
from af_kit.cluster.batch import status
from af_kit.cluster.batch.command import QueueError, ask
from af_kit.cluster.batch.job import MAX_DEAD_JOBS, JobHistory
from af_kit.cluster.batch.options import job_options, scheduler_options
from af_kit.cluster.batch.status import Job
from af_kit.cluster.detached import certificates

if TYPE_CHECKING:
    from af_kit.cluster.detached.spec import ClusterSpec

__all__ = ["BatchCluster"]

# The class that this one precedes among its bases. dask-jobqueue has no types.
_Next: Any = object

logger = logging.getLogger(__name__)

# Seconds for which an answer of the queue is used again: the queue serves all users, and a long one is slow.
_CACHE_S = 3.0


class _ResultKeepingAdaptive(Adaptive):
    """Closes only workers whose results could be moved."""

    async def scale_down(self, workers: Iterable[str]) -> None:
        names = list(workers)
        if names:
            await self.cluster.retire(names)


class BatchCluster(_Next):
    """A mixin that precedes a cluster class of dask-jobqueue.

    Parameters
    ----------
    spec : ClusterSpec
        The cluster to start.
    cancel : sequence of str
        The command that cancels all jobs of this cluster.
    **job
        Arguments of the job class, in addition to those set here.
    """

    _adaptive: Any

    def __init__(self, spec: ClusterSpec, *, cancel: Sequence[str], **job: Any) -> None:
        self.cluster_spec = spec
        self._cancel_command = list(cancel)
        self.history = JobHistory(Path(spec.folder))
        self.wanted = 0
        self.cancelled = False
        self._answer: dict[str, Job] | None = {}
        self._asked_at = -math.inf
        self._replacing: asyncio.Task[None] | None = None
        super().__init__(
            n_workers=0,
            asynchronous=True,
            name=spec.name,
            security=certificates.read(spec.security),
            silence_logs=False,
            protocol="tls://" if spec.security else "tcp://",
            interface=config.get("cluster.batch.interface"),
            scheduler_options=scheduler_options(),
            # one worker process per job, so that the queue counts, cancels and limits workers
            **{"processes": 1, "nanny": True, "history": self.history, **job_options(spec), **job},
        )

    # ------------------------------------------------------------------------------------------ for subclasses

    async def queue(self) -> dict[str, Job]:
        """Return the jobs of this cluster that the queue knows, including those that just ended, by their id."""
        raise NotImplementedError

    def advice(self, reason: str) -> str:
        """Return what to do about a refusal or the reason of a job, or an empty string."""
        return ""

    def is_permanent(self, reason: str) -> bool:
        """Return whether a job that is pending for this reason will never run."""
        return False

    # ------------------------------------------------------------------------ what the scheduler process calls

    async def jobs(self) -> list[Job]:
        """Return the jobs that are wanted, and those that died."""
        await self._ask_queue()
        wanted = {str(job.job_id): str(name) for name, job in self.workers.items() if job.job_id}
        connected = self._connected()
        self.history.joined |= connected
        if connected:
            self.history.dead_in_a_row = 0
        found = list(self.history.ended.values())
        for job_id, worker in wanted.items():
            job = (self._answer or {}).get(job_id)
            if job is None and self._answer is not None and self.history.submitted[job_id] < self._asked_at:
                job = Job(job_id, "ended", "the queue does not know it")
            elif job is None or (job.state == "pending" and worker in connected):
                # queues report a start seconds late: a connected worker proves it
                job = Job(job_id, "running" if worker in connected else "pending")
            log = f"{self.cluster_spec.logs}/{self.cluster_spec.job_name}-{job_id}.log"
            found.append(replace(job, worker=worker, joined=worker in self.history.joined, log=log))
        return found

    async def _ask_queue(self) -> None:
        """Ask the queue for the jobs, unless that was done just now."""
        asked_at = time.monotonic()
        if asked_at - self._asked_at < _CACHE_S:
            return
        try:
            self._answer = await self.queue()
        except QueueError as error:
            self._answer = None
            logger.warning("The queue does not answer: %s", error)
        self._asked_at = asked_at

    async def diagnose(self) -> str:
        """Return why workers do not join."""
        return status.diagnose(_recent(await self.jobs()), self.history.refusal, self.advice)

    async def pending_summary(self) -> str:
        """Return one line about the jobs that are still to come."""
        return status.pending_summary([job for job in await self.jobs() if job.id not in self.history.ended])

    async def fatal_reason(self) -> str:
        """Return why no worker will ever join, or an empty string."""
        found = await self.jobs()
        if self.history.gave_up and not any(job.joined and job.state == "running" for job in found):
            return f"{self.history.dead_in_a_row} jobs in a row died. {await self.diagnose()}"
        return status.fatal_reason(_recent(found), self.history.refusal, self.advice, self.is_permanent)

    async def resize(self, n: int) -> None:
        """Scale to ``n`` workers, and stop adapting."""
        if self._adaptive is not None:
            self._adaptive.stop()
            self._adaptive = None
        self.wanted = n
        self.history.reset()
        surplus = len(self.worker_spec) - n
        if surplus > 0:
            connected = self._connected()
            closing = [name for name in reversed(list(self.worker_spec)) if name not in connected][:surplus]
            if surplus > len(closing):
                count = surplus - len(closing)
                closing += list(await self.scheduler_comm.workers_to_close(n=count, attribute="name"))
                closing += [name for name in reversed(list(self.worker_spec)) if name not in closing]
            await self.retire(closing[:surplus], force=True)
        else:
            self.scale(n)
        self._start_replacing()

    async def follow(self, minimum: int, maximum: float, **options: Any) -> None:
        """Adapt the number of workers to the load, between ``minimum`` and ``maximum``."""
        self.wanted = 0
        self.history.reset()
        self.adapt(Adaptive=_ResultKeepingAdaptive, minimum=minimum, maximum=maximum, **options)
        self._start_replacing()

    async def retire(self, names: Sequence[str], *, force: bool = False) -> None:
        """Close workers after their results have moved to others.

        Parameters
        ----------
        names : sequence of str
            The names of the workers, including those whose jobs have not started.
        force : bool
            Whether to close also workers whose results no other worker can take.
        """
        connected = self._connected()
        joined = [name for name in names if name in connected]
        gone: set[str] = set()
        if joined:
            retired = await self.scheduler_comm.retire_workers(names=joined, remove=True, close_workers=True)
            gone = {str(worker["name"]) for worker in retired.values()}
        await self.scale_down([name for name in names if force or name in gone or name not in connected])

    # ------------------------------------------------------------------------------------------------ internal

    def new_worker_spec(self) -> dict[str, Any]:
        """Return the spec of the next worker. No name is used twice, so that a log belongs to one worker."""
        spec = super().new_worker_spec()
        self._i += 1
        return spec

    def _connected(self) -> set[str]:
        """Return the names of the connected workers."""
        return {str(worker.name) for worker in self.scheduler.workers.values()}

    def _start_replacing(self) -> None:
        if self._replacing is None:
            self._replacing = asyncio.ensure_future(self._keep_replacing())

    async def _keep_replacing(self) -> None:
        pause = config.get("cluster.batch.poll_s")
        while self.status == Status.running:
            await asyncio.sleep(pause)
            try:
                await self._replace_ended()
            except Exception:
                logger.exception("The check of the jobs failed and will be repeated")

    async def _replace_ended(self) -> None:
        """Drop jobs that ended or were refused, and submit others if they are wanted."""
        connected = self._connected()
        for job in await self.jobs():
            if job.state == "ended" and job.id not in self.history.ended and job.worker not in connected:
                self.history.ended[job.id] = job
                self.history.dead_in_a_row += not job.joined
                logger.warning("Job %s ended (%s); its log: %s", job.id, job.reason, job.log)
                self._forget(job.worker)
        for name, job in list(self.workers.items()):
            if job.job_id is None:
                self._forget(name)
        if self.history.may_submit and len(self.worker_spec) < self.wanted:
            self.scale(self.wanted)
        elif set(self.worker_spec) - set(self.workers):
            await self._correct_state()

    def _forget(self, name: str) -> None:
        self.worker_spec.pop(name, None)
        self.workers.pop(name, None)

    async def _close(self) -> None:
        if self._replacing is not None:
            self._replacing.cancel()
        if not self.history.closing:
            self.history.closing = True
            try:
                await ask(*self._cancel_command)
                self.cancelled = True
            except QueueError as error:
                logger.error("The jobs could not be cancelled; the guard process will try again: %s", error)
        await super()._close()


def _recent(found: Sequence[Job]) -> list[Job]:
    """Return the running and pending jobs, followed by the last few that died."""
    alive = [job for job in found if job.state != "ended"]
    return [*alive, *[job for job in found if job.state == "ended" and not job.joined][-MAX_DEAD_JOBS:]]
