"""A cluster whose scheduler runs in another process, as an object of this session: ``client.cluster``."""

from __future__ import annotations

import asyncio
import contextlib
import math
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from distributed.core import Status, rpc
from distributed.deploy import Cluster
from distributed.utils import format_dashboard_link

from af_kit.cluster.batch.status import Job
from af_kit.cluster.detached import certificates, registry
from af_kit.cluster.detached.spec import HANDLER

# Seconds until the scheduler process must have ended its workers and itself.
_END_S = 40.0
# Seconds between updates of the list of workers.
_UPDATE_S = 2.0


@dataclass(frozen=True)
class Limits:
    """The limits of a cluster that adapts to its load."""

    minimum: int
    maximum: float


class ClusterHandle(Cluster):
    """Scales, adapts and ends a cluster that has a scheduler process.

    Parameters
    ----------
    entry : registry.Entry
        The cluster.
    process : subprocess.Popen, optional
        Its scheduler process, if this session started it.
    owned : bool
        Whether ``close`` ends the cluster; otherwise it only disconnects.
    first : int
        Workers that it was started with.
    asynchronous : bool
        True for use in an event loop: the handle and its methods are then awaited.
    loop : tornado.ioloop.IOLoop, optional
        As for Dask's clusters.
    """

    def __init__(
        self,
        entry: registry.Entry,
        *,
        process: subprocess.Popen[bytes] | None = None,
        owned: bool = False,
        first: int = 0,
        asynchronous: bool = False,
        loop: Any = None,
    ) -> None:
        super().__init__(asynchronous=asynchronous, loop=loop, quiet=True, name=entry.name)
        self.entry = entry
        self.owned = owned
        self.first = first
        self.security = certificates.read(entry.security)
        self._process = process
        self._updates: asyncio.Task[None] | None = None
        if not self.called_from_running_loop:
            self._loop_runner.start()
            self.sync(self._start)

    @property
    def scheduler_address(self) -> str:
        """The address of the scheduler."""
        return self.entry.address

    @property
    def dashboard_link(self) -> str:
        """The URL of the dashboard. By default, only the scheduler's machine can open it."""
        if not self.entry.dashboard:
            return ""
        host, _, port = self.entry.dashboard.rpartition(":")
        return str(format_dashboard_link(host, int(port)))

    def scale(self, n: int) -> Any:
        """Scale to ``n`` workers. Results of workers that are closed move to others first."""
        return self.sync(self._ask, "scale", n=int(n))

    def adapt(self, *, minimum: int = 0, maximum: float = math.inf, **options: Any) -> Any:
        """Adapt the number of workers to the load.

        Parameters
        ----------
        minimum, maximum : int
            Fewest and most workers.
        **options
            ``interval``, ``wait_count``, ``target_duration``: see ``distributed.deploy.Adaptive``.

        Returns
        -------
        Limits
        """
        return self.sync(self._adapt, Limits(int(minimum), maximum), options)

    def jobs(self) -> list[Job]:
        """Return the jobs of the cluster, as the queue lists them."""
        found: list[Job] = [Job(**job) for job in self.sync(self._ask, "jobs")]
        return found

    def diagnose(self) -> str:
        """Return why workers have not joined, in the words of the queue."""
        return str(self.sync(self._ask, "diagnose"))

    def pending_summary(self) -> str:
        """Return one line about jobs that are still to come."""
        return str(self.sync(self._ask, "pending_summary"))

    def fatal_reason(self) -> str:
        """Return why no worker will ever join, or an empty string."""
        return str(self.sync(self._ask, "fatal_reason"))

    def is_alive(self) -> bool:
        """Return whether the scheduler process runs."""
        return not self._has_ended()

    def shutdown(self) -> Any:
        """End the cluster, even if it is detached: its jobs, its scheduler, and its entry in the registry."""
        self.owned = True
        return self.close()

    def close(self, timeout: float | None = None) -> Any:
        """End an owned cluster, or disconnect from a detached one."""
        result = super().close(timeout)
        if not self.asynchronous and not self.called_from_running_loop:
            self._loop_runner.stop()
        return result

    def __await__(self) -> Generator[Any, Any, ClusterHandle]:
        async def started() -> ClusterHandle:
            if self.status == Status.created:
                await self._start()
            return self

        return started().__await__()

    async def _start(self) -> None:
        arguments = self.security.get_connection_args("client") if self.security else {}
        self.scheduler_comm = rpc(self.entry.address, connection_args=arguments)
        # Poll for workers: a scheduler notifies only one cluster object, which is that of the scheduler process.
        await self._update()
        self._updates = asyncio.ensure_future(self._keep_updating())
        self.status = Status.running

    async def _update(self) -> None:
        self.scheduler_info = await self.scheduler_comm.identity(n_workers=-1)

    async def _keep_updating(self) -> None:
        while True:
            await asyncio.sleep(_UPDATE_S)
            with contextlib.suppress(OSError, TimeoutError):
                await self._update()

    async def _ask(self, action: str, **arguments: Any) -> Any:
        return await getattr(self.scheduler_comm, HANDLER)(action=action, **arguments)

    async def _adapt(self, limits: Limits, options: dict[str, Any]) -> Limits:
        await self._ask("adapt", minimum=limits.minimum, maximum=limits.maximum, **options)
        return limits

    async def _close(self) -> None:
        if self.status in (Status.closing, Status.closed):
            return
        if self._updates is not None:
            self._updates.cancel()
        if self.owned:
            try:
                await asyncio.wait_for(self._ask("stop"), 10)
            except (OSError, TimeoutError):
                self._kill_process()
        await super()._close()
        if self.owned:
            await self._wait_for_end()

    async def _wait_for_end(self) -> None:
        deadline = asyncio.get_running_loop().time() + _END_S
        while not self._has_ended():
            if asyncio.get_running_loop().time() > deadline:
                self._kill_process()
                return
            await asyncio.sleep(0.05)

    def _has_ended(self) -> bool:
        if self._process is not None:
            return self._process.poll() is not None
        return not registry.is_alive(self.entry)

    def _kill_process(self) -> None:
        """Kill a scheduler process that does not answer; its guard cleans up."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
