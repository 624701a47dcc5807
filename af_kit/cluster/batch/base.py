"""What the kinds of clusters share whose workers are jobs of a batch system: dask-jobqueue's, and what it leaves open.

A kind puts `BatchJob` before dask-jobqueue's job class and `BatchCluster` before its cluster class, and says how to ask
its queue. These run in the cluster's head process (`head`), never in the user's session. dask-jobqueue knows how to
write a job's script and how to submit it; here is the rest:

- jobs have the worker's environment, its log in the cluster's folder, and a name of which there is only one;
- a refusal and a job that dies are remembered, to be told to the user, and do not end in an endless loop;
- scaling down first moves the results to other workers, also by hand;
- jobs that end while they are wanted (a time limit, a lost node) are replaced.
"""

from __future__ import annotations

import asyncio
import logging
import math
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive

from af_kit import config
from af_kit.cluster.batch import status as words
from af_kit.cluster.batch.job import MOST_DEAD, BatchJob, Ledger, QueueError, ask
from af_kit.cluster.batch.status import Job
from af_kit.cluster.detached.certificates import read as read_certificates
from af_kit.cluster.workers.environment import exported

if TYPE_CHECKING:
    from af_kit.cluster.detached.spec import ClusterSpec

__all__ = ["BatchCluster", "BatchJob", "QueueError", "ask", "job_options", "scheduler_options"]

# What this goes before; nothing is known of it here, as dask-jobqueue has no types.
_Before: Any = object

logger = logging.getLogger(__name__)

# Seconds for which an answer of the queue is good.
_FRESH_S = 3.0


class _KeepingAdaptive(Adaptive):
    """Closes only workers whose results could be moved."""

    async def scale_down(self, workers: Iterable[str]) -> None:
        names = list(workers)
        if names:
            await self.cluster.retire(names)


class BatchCluster(_Before):
    """Goes before a cluster class of dask-jobqueue's, in the head process.

    Parameters
    ----------
    spec : ClusterSpec
        What was asked for.
    cancel : sequence of str
        The command that cancels all jobs of this cluster.
    **job
        Arguments of the job class, besides those that are set here.
    """

    _adaptive: Any

    def __init__(self, spec: ClusterSpec, *, cancel: Sequence[str], **job: Any) -> None:
        self.cluster_spec = spec
        self._cancel_all = list(cancel)
        self.ledger = Ledger(Path(spec.folder))
        self.wanted = 0
        self.cancelled = False
        self._known: dict[str, Job] | None = {}
        self._asked_at = -math.inf
        self._sweeping: asyncio.Task[None] | None = None
        settings = config.get("cluster.batch")
        super().__init__(
            n_workers=0,
            asynchronous=True,
            name=spec.name,
            security=read_certificates(spec.security),
            silence_logs=False,
            protocol="tls://" if spec.security else "tcp://",
            interface=settings["interface"],
            scheduler_options=scheduler_options(spec),
            # one process a job: the queue counts, cancels and limits jobs
            **{"processes": 1, "nanny": True, "ledger": self.ledger, **job_options(spec), **job},
        )

    # ------------------------------------------------------------------------------------------- a kind says

    async def queue(self) -> dict[str, Job]:
        """The jobs of this cluster that the queue knows of, also those that ended a moment ago, by their id."""
        raise NotImplementedError

    def advice(self, reason: str) -> str:
        """What to do about one of the queue's words, a refusal's or a job's; empty if nothing is known."""
        return ""

    def lasting(self, reason: str) -> bool:
        """Whether a job that waits for this reason will never run."""
        return False

    def log_of(self, job_id: str) -> str:
        """The path of a job's log."""
        return str(Path(self.cluster_spec.logs) / f"{self.cluster_spec.job_name}-{job_id}.log")

    # ------------------------------------------------------------------------------------- what the head asks for

    async def jobs(self) -> list[Job]:
        """The jobs that are wanted, and those that died."""
        await self._ask_queue()
        wanted = {str(job.job_id): str(name) for name, job in self.workers.items() if job.job_id}
        now = self._here()
        self.ledger.joined |= now
        if now:
            self.ledger.dead = 0
        found = list(self.ledger.ended.values())
        for job_id, worker in wanted.items():
            job = (self._known or {}).get(job_id)
            if job is None and self._known is not None and self.ledger.submitted[job_id] < self._asked_at:
                job = Job(job_id, "ended", "the queue does not know it")
            elif job is None or (job.state == "pending" and worker in now):
                # Queues tell of a start seconds later: a worker that is here knows better.
                job = Job(job_id, "running" if worker in now else "pending")
            found.append(replace(job, worker=worker, joined=worker in self.ledger.joined, log=self.log_of(job_id)))
        return found

    async def _ask_queue(self) -> None:
        """See what the queue knows, unless that was done just now: it is everybody's, and slow when it is long."""
        asked_at = time.monotonic()
        if asked_at - self._asked_at < _FRESH_S:
            return
        try:
            self._known = await self.queue()
        except QueueError as error:
            self._known = None
            logger.warning("The queue cannot be asked: %s", error)
        self._asked_at = asked_at

    async def diagnose(self) -> str:
        """Why workers do not join."""
        return words.diagnose(_recent(await self.jobs()), self.ledger.refusal, self.advice)

    async def pending_summary(self) -> str:
        """A line about jobs that are waited for."""
        return words.pending_summary([job for job in await self.jobs() if job.id not in self.ledger.ended])

    async def fatal_reason(self) -> str:
        """Why no worker will ever come, if that is so."""
        found = await self.jobs()
        if self.ledger.given_up and not any(job.joined and job.state == "running" for job in found):
            return f"{self.ledger.dead} jobs in a row died. {await self.diagnose()}"
        return words.fatal_reason(_recent(found), self.ledger.refusal, self.advice, self.lasting)

    async def resize(self, n: int) -> None:
        """Have ``n`` workers, from now on."""
        if self._adaptive is not None:
            self._adaptive.stop()
            self._adaptive = None
        self.wanted = n
        self._try_again()
        surplus = len(self.worker_spec) - n
        if surplus > 0:
            here = self._here()
            closing = [name for name in reversed(list(self.worker_spec)) if name not in here][:surplus]
            if surplus > len(closing):
                count = surplus - len(closing)
                closing += list(await self.scheduler_comm.workers_to_close(n=count, attribute="name"))
                closing += [name for name in reversed(list(self.worker_spec)) if name not in closing]
            await self.retire(closing[:surplus], force=True)
        else:
            self.scale(n)
        self._sweep()

    async def follow(self, minimum: int, maximum: float, **how: Any) -> None:
        """Follow the load, from now on."""
        self.wanted = 0
        self._try_again()
        self.adapt(Adaptive=_KeepingAdaptive, minimum=minimum, maximum=maximum, **how)
        self._sweep()

    async def retire(self, names: Sequence[str], *, force: bool = False) -> None:
        """Close workers after their results have been moved to others.

        Parameters
        ----------
        names : sequence of str
            The workers', also of jobs that have not started.
        force : bool
            Close as well those whose results no other worker can take.
        """
        here = self._here()
        there = [name for name in names if name in here]
        gone: set[str] = set()
        if there:
            retired = await self.scheduler_comm.retire_workers(names=there, remove=True, close_workers=True)
            gone = {str(worker["name"]) for worker in retired.values()}
        await self.scale_down([name for name in names if force or name in gone or name not in here])

    # ----------------------------------------------------------------------------------------------------- inside

    def new_worker_spec(self) -> dict[str, Any]:
        """The next worker's; a name is given once, so that a log belongs to one worker."""
        spec = super().new_worker_spec()
        self._i += 1
        return spec

    def _here(self) -> set[str]:
        """The names of the workers that are connected."""
        return {str(worker.name) for worker in self.scheduler.workers.values()}

    def _try_again(self) -> None:
        self.ledger.refusal, self.ledger.refused_at, self.ledger.dead = "", -math.inf, 0

    def _sweep(self) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.ensure_future(self._keep_sweeping())

    async def _keep_sweeping(self) -> None:
        pause = config.get("cluster.batch.poll_s")
        while self.status == Status.running:
            await asyncio.sleep(pause)
            try:
                await self._replace_ended()
            except Exception:
                logger.exception("Looking after the jobs failed; it is tried again")

    async def _replace_ended(self) -> None:
        """Forget jobs that ended or were refused, and ask for others where they are wanted."""
        here = self._here()
        for job in await self.jobs():
            if job.state == "ended" and job.id not in self.ledger.ended and job.worker not in here:
                self.ledger.ended[job.id] = job
                self.ledger.dead += not job.joined
                logger.warning("Job %s ended (%s); its log: %s", job.id, job.reason, job.log)
                self._forget(job.worker)
        for name, job in list(self.workers.items()):
            if job.job_id is None:
                self._forget(name)
        if self.ledger.may_submit and len(self.worker_spec) < self.wanted:
            self.scale(self.wanted)
        elif set(self.worker_spec) - set(self.workers):
            await self._correct_state()

    def _forget(self, name: str) -> None:
        self.worker_spec.pop(name, None)
        self.workers.pop(name, None)

    async def _close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        if not self.ledger.closing:
            self.ledger.closing = True
            try:
                await ask(*self._cancel_all)
                self.cancelled = True
            except QueueError as error:
                logger.error("The jobs could not be cancelled; the guard tries again: %s", error)
        await super()._close()


def scheduler_options(spec: ClusterSpec) -> dict[str, Any]:
    """Arguments of the scheduler that runs in a head process."""
    settings = config.get("cluster.batch")
    dashboard = settings["dashboard"]
    where = {"host": settings["scheduler_host"]} if settings["scheduler_host"] else {}
    if not where and settings["interface"]:
        where = {"interface": settings["interface"]}
    return {
        **where,
        "port": settings["scheduler_port"],
        # Pages are added when they are asked for; and for this machine only, as nobody has to log in.
        "dashboard": False,
        "dashboard_address": dashboard if isinstance(dashboard, str) else "127.0.0.1:0",
    }


def job_options(spec: ClusterSpec) -> dict[str, Any]:
    """Arguments that all job classes of dask-jobqueue's take."""
    settings = config.get("cluster.batch")
    own = f"jobqueue.{spec.backend}"
    options = spec.options
    preload = [part for module in settings["preload"] for part in ("--preload", module)]
    lifetime = []
    if spec.walltime_s and settings["before_end_s"]:
        early = min(settings["before_end_s"], spec.walltime_s / 10)
        lifetime = ["--lifetime", f"{spec.walltime_s - early:.0f}s"]
    return {
        "cores": spec.cores or dask.config.get(f"{own}.cores", default=None) or settings["cores"],
        "memory": spec.memory or dask.config.get(f"{own}.memory", default=None) or settings["memory"],
        # exec: the queue's signal goes to the worker, not to a shell that keeps it
        "python": f"exec {shlex.quote(options.get('python') or settings['python'] or sys.executable)}",
        "worker_command": "af_kit.cluster.workers.worker",
        "worker_extra_args": ["--as-is", *preload, *lifetime, *settings["worker_options"]],
        "job_script_prologue": [
            *exported(options.get("environment")),
            *settings["prologue"],
            *(options.get("prologue") or []),
        ],
        "death_timeout": settings["death_timeout_s"],
        "local_directory": options.get("local_directory") or settings["local_directory"],
        "log_directory": spec.logs,
        "job_name": spec.job_name,
    }


def _recent(found: Sequence[Job]) -> list[Job]:
    """Those that run or wait; where there are none, those that died."""
    alive = [job for job in found if job.state != "ended"]
    return [*alive, *[job for job in found if job.state == "ended" and not job.joined][-MOST_DEAD:]]
