"""The process that runs a cluster's scheduler and requests its workers from the batch system.

A separate process, so that the scheduler shares no Python lock with a notebook, a detached cluster outlives the
notebook, and an owned cluster ends however the notebook ends. Usually it runs on the machine of the session that
started it. If login nodes end long processes, it can itself be a job (``af-kit cluster start --foreground``).

Clients talk to it through the scheduler, which accepts only clients with the certificates of the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dask.config

from af_kit import config
from af_kit.cluster import backends
from af_kit.cluster.detached import guard, registry
from af_kit.cluster.detached.spec import HANDLER, ClusterSpec
from af_kit.cluster.jupyter.dashboard import pages_on_demand, scheduler_routes
from af_kit.cluster.processes import birth
from af_kit.cluster.scheduler_settings import SHORT_LOGS, collect_rarely, unless_configured
from af_kit.credentials.private_files import write_private
from af_kit.errors import AfKitError

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_CLOSE_S = 30.0
# What clients may request by `SchedulerProcess.handle`.
_ACTIONS = {"scale", "adapt", "jobs", "diagnose", "pending_summary", "fatal_reason", "stop"}


class SchedulerProcess:
    """A cluster, and the requests that clients can make.

    Parameters
    ----------
    spec : ClusterSpec
        The cluster to start.
    """

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self.cluster: Any = None
        self._ending = asyncio.Event()
        self._fewest = spec.adapt[0] if spec.adapt else spec.n_workers or 0

    async def start(self) -> registry.Entry:
        """Start the scheduler, request the workers, and enter the cluster in the registry."""
        spec = self.spec
        self.cluster = await backends.get(spec.backend).build(spec)
        scheduler = self.cluster.scheduler
        scheduler.handlers[HANDLER] = self.handle
        entry = registry.Entry(
            name=spec.name,
            backend=spec.backend,
            job_name=spec.job_name,
            address=scheduler.contact_address or scheduler.address,
            dashboard=self._dashboard(),
            host=socket.gethostname(),
            pid=os.getpid(),
            born=birth(os.getpid()) or 0,
            started=time.time(),
            detached=spec.detached,
            idle_timeout_s=spec.idle_timeout_s,
            folder=spec.folder,
            logs=spec.logs,
            security=spec.security,
        )
        if spec.adapt:
            await self.adapt(*spec.adapt)
        elif spec.n_workers:
            await self.scale(spec.n_workers)
        registry.save(entry)
        return entry

    def _dashboard(self) -> str:
        if config.get(f"cluster.{'local' if self.spec.backend == 'local' else 'batch'}.dashboard") is False:
            return ""
        pages_on_demand(self.cluster.scheduler)
        server = self.cluster.scheduler.http_server
        return f"{server.address}:{server.port}"

    async def handle(self, *, action: str, **arguments: Any) -> Any:
        """Carry out the request of a client."""
        if action not in _ACTIONS:
            raise ValueError(f"{action!r} is not a request that a cluster knows: {', '.join(sorted(_ACTIONS))}.")
        return await getattr(self, action)(**arguments)

    async def scale(self, n: int) -> None:
        """Scale to ``n`` workers."""
        self._fewest = n
        if hasattr(self.cluster, "resize"):
            await self.cluster.resize(n)
        else:
            with contextlib.suppress(AttributeError):
                self.cluster._adaptive.stop()
            self.cluster.scale(n)

    async def adapt(self, minimum: int, maximum: float, **options: Any) -> None:
        """Adapt the number of workers to the load."""
        self._fewest = minimum
        if hasattr(self.cluster, "follow"):
            await self.cluster.follow(minimum, maximum, **options)
        else:
            self.cluster.adapt(minimum=minimum, maximum=maximum, **options)

    async def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs of the cluster, if it has any."""
        return [asdict(job) for job in await self._call("jobs", [])]

    async def diagnose(self) -> str:
        """Return why workers do not join."""
        return str(await self._call("diagnose", ""))

    async def pending_summary(self) -> str:
        """Return one line about jobs that are still to come."""
        return str(await self._call("pending_summary", ""))

    async def fatal_reason(self) -> str:
        """Return why no worker will ever join, or an empty string."""
        return str(await self._call("fatal_reason", ""))

    async def _call(self, method: str, default: Any) -> Any:
        return await getattr(self.cluster, method)() if hasattr(self.cluster, method) else default

    async def stop(self) -> None:
        """End the cluster, after the client has its answer."""
        asyncio.get_running_loop().call_later(0.05, self._ending.set)

    async def wait_for_end(self) -> str:
        """Wait until the cluster must end, and return the reason."""
        loop = asyncio.get_running_loop()
        reasons: list[str] = []

        def end() -> None:
            reasons.append("a signal")
            self._ending.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        requested = asyncio.ensure_future(self._ending.wait())
        closed = asyncio.ensure_future(self.cluster.scheduler.finished())
        while not (requested.done() or closed.done()):
            await asyncio.wait([requested, closed], timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED)
            self._start_idle_timeout()
            if self.spec.parent is not None and os.getppid() != self.spec.parent:
                return "the session that started it has ended"
        if closed.done():
            return "its scheduler has ended: it was idle, or a client shut it down"
        return reasons[0] if reasons else "a client stopped it"

    def _start_idle_timeout(self) -> None:
        """Start the idle timeout with the first worker: a cluster whose jobs are pending is not idle."""
        scheduler = self.cluster.scheduler
        if self.spec.idle_timeout_s and not scheduler.idle_timeout and (scheduler.workers or not self._fewest):
            scheduler.idle_since = time.time()
            scheduler.idle_timeout = self.spec.idle_timeout_s

    async def close(self) -> None:
        """End the workers and the scheduler."""
        if self.cluster is not None:
            await asyncio.wait_for(self.cluster._close(), _CLOSE_S)


async def serve(spec: ClusterSpec) -> None:
    """Run a cluster from its start to its end."""
    guarded = guard.start(Path(spec.folder), backends.get(spec.backend).cancel_command(spec))
    process = SchedulerProcess(spec)
    try:
        entry = await process.start()
        logger.warning("The cluster %s (%s) runs at %s", spec.name, spec.backend, entry.address)
        reason = await process.wait_for_end()
        logger.warning("The cluster ends: %s", reason)
    finally:
        try:
            await process.close()
            if getattr(process.cluster, "cancelled", True):
                guard.stand_down(guarded)
        except Exception:  # the guard cleans up
            logger.exception("The cluster did not end normally")


def main(folder: Path) -> int:
    """Run the cluster whose spec is in ``folder``, and return the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    spec = ClusterSpec.read(folder)
    if spec.configuration:
        dask.config.config.clear()
        dask.config.config.update(dask.config.deserialize(spec.configuration))
    dask.config.set({**scheduler_routes(), **unless_configured(SHORT_LOGS)})
    collect_rarely()
    failure = Path(spec.logs) / "failure.json"  # not in the cluster's folder, which the guard removes
    try:
        asyncio.run(serve(spec))
    except AfKitError as error:
        write_private(failure, json.dumps([type(error).__name__, str(error)]))
        return 2
    except Exception as error:
        logger.exception("The cluster did not start")
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        write_private(failure, json.dumps(["", f"{type(cause).__name__}: {cause}"]))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
