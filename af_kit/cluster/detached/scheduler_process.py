"""The process in which a cluster's scheduler runs, and which asks the batch system for its workers.

It is of its own, so that the scheduler shares no Python lock with a notebook, a detached cluster outlives it, and an
owned one ends however the notebook ends. Usually it runs beside the session that started it; where login nodes end
long processes it can itself be a job (``af-kit cluster start --foreground``).

Clients speak to it through the scheduler, whose connection knows by its certificates who may.
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
from af_kit.cluster.jupyter.dashboard import pages_on_demand
from af_kit.errors import AfKitError

logger = logging.getLogger(__name__)

_LOOK_S = 0.5
_CLOSE_S = 30.0
_ROUTES = "distributed.scheduler.http.routes"
# Leads to dashboards of single workers, which these workers do not have.
_WORKER_PAGES = "distributed.http.proxy"


class SchedulerProcess:
    """A cluster, and what can be asked of it from outside.

    Parameters
    ----------
    spec : ClusterSpec
        What to start.
    """

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self.cluster: Any = None
        self.ending = asyncio.Event()
        self._fewest = spec.adapt[0] if spec.adapt else spec.n_workers or 0

    async def start(self) -> registry.Entry:
        """Start the scheduler, ask for the workers, and be found."""
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
            born=registry.born(os.getpid()) or 0,
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
        """Do what a client asks for."""
        allowed = {"scale", "adapt", "jobs", "diagnose", "pending_summary", "fatal_reason", "stop"}
        if action not in allowed:
            raise ValueError(f"{action!r} is nothing that a cluster can be asked for.")
        return await getattr(self, action)(**arguments)

    async def scale(self, n: int) -> None:
        """Have ``n`` workers."""
        self._fewest = n
        if hasattr(self.cluster, "resize"):
            await self.cluster.resize(n)
        else:
            with contextlib.suppress(AttributeError):
                self.cluster._adaptive.stop()
            self.cluster.scale(n)

    async def adapt(self, minimum: int, maximum: float, **how: Any) -> None:
        """Follow the load."""
        self._fewest = minimum
        if hasattr(self.cluster, "follow"):
            await self.cluster.follow(minimum, maximum, **how)
        else:
            self.cluster.adapt(minimum=minimum, maximum=maximum, **how)

    async def jobs(self) -> list[dict[str, Any]]:
        """The cluster's jobs, if it has any."""
        return [asdict(job) for job in await self._of_jobs("jobs", [])]

    async def diagnose(self) -> str:
        """Why workers do not join."""
        return str(await self._of_jobs("diagnose", ""))

    async def pending_summary(self) -> str:
        """What is waited for, in a line."""
        return str(await self._of_jobs("pending_summary", ""))

    async def fatal_reason(self) -> str:
        """Why no worker will come, if that is so."""
        return str(await self._of_jobs("fatal_reason", ""))

    async def _of_jobs(self, what: str, otherwise: Any) -> Any:
        return await getattr(self.cluster, what)() if hasattr(self.cluster, what) else otherwise

    async def stop(self) -> None:
        """End everything, after the answer to who asked."""
        asyncio.get_running_loop().call_later(0.05, self.ending.set)

    async def until_the_end(self) -> str:
        """Return when the cluster is to end, with the reason."""
        loop = asyncio.get_running_loop()
        reasons: list[str] = []

        def end() -> None:
            reasons.append("a signal")
            self.ending.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        told = asyncio.ensure_future(self.ending.wait())
        closed = asyncio.ensure_future(self.cluster.scheduler.finished())
        while not (told.done() or closed.done()):
            await asyncio.wait([told, closed], timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            self._count_idle_time()
            if self.spec.parent is not None and os.getppid() != self.spec.parent:
                return "the session that started it has ended"
        if closed.done():
            return "its scheduler has ended: nobody used it, or a client shut it down"
        return reasons[0] if reasons else "it was told to"

    def _count_idle_time(self) -> None:
        """Let the idle time begin with the first worker: a cluster that waits in a queue is not idle."""
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
    kept = guard.start(Path(spec.folder), backends.get(spec.backend).cancel_command(spec))
    process = SchedulerProcess(spec)
    try:
        entry = await process.start()
        logger.warning("The cluster %s (%s) runs at %s", spec.name, spec.backend, entry.address)
        reason = await process.until_the_end()
        logger.warning("The cluster ends: %s", reason)
    finally:
        try:
            await process.close()
            if getattr(process.cluster, "cancelled", True):
                guard.stand_down(kept)
        except Exception:  # the guard does the rest
            logger.exception("The cluster did not end in order")
        del kept


def main(folder: Path) -> int:
    """Run the cluster whose spec is in ``folder``; 0 when it ran."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    spec = ClusterSpec.read(folder)
    if spec.configuration:
        dask.config.config.clear()
        dask.config.config.update(dask.config.deserialize(spec.configuration))
    routes = [route for route in dask.config.get(_ROUTES) if route != _WORKER_PAGES]
    dask.config.set({_ROUTES: routes})
    failure = Path(spec.logs) / "failure.json"  # not in its own folder, which the guard removes
    try:
        asyncio.run(serve(spec))
    except AfKitError as error:
        registry.write_private(failure, json.dumps([type(error).__name__, str(error)]))
        return 2
    except Exception as error:
        logger.exception("The cluster did not start")
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        registry.write_private(failure, json.dumps(["", f"{type(cause).__name__}: {cause}"]))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
