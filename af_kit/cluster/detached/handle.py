"""A cluster whose scheduler runs in another process (`head`), as an object here: ``client.cluster``."""

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

# Seconds that a head process has to end its workers and itself.
_END_S = 40.0
# Seconds between two looks at the workers.
_LOOK_S = 2.0


@dataclass(frozen=True)
class Limits:
    """How many workers a cluster may have that follows its load."""

    minimum: int
    maximum: float


class ClusterHandle(Cluster):
    """Scales and adapts a cluster that is led by a process of its own, and ends it.

    Parameters
    ----------
    entry : registry.Entry
        Which cluster.
    process : subprocess.Popen, optional
        Its head process, where this session has started it.
    owned : bool
        Whether ``close`` ends the cluster; otherwise it only lets go of it.
    first : int
        Workers that it was started with.
    asynchronous : bool
        For use in an event loop: await it before its use, and its methods.
    loop : tornado.ioloop.IOLoop, optional
        As in Dask's other clusters.
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
        self._looking: asyncio.Task[None] | None = None
        if not self.called_from_running_loop:
            self._loop_runner.start()
            self.sync(self._start)

    @property
    def scheduler_address(self) -> str:
        """Where the scheduler listens."""
        return self.entry.address

    @property
    def dashboard_link(self) -> str:
        """The dashboard; by default it listens on the scheduler's machine only."""
        if not self.entry.dashboard:
            return ""
        host, _, port = self.entry.dashboard.rpartition(":")
        return str(format_dashboard_link(host, int(port)))

    def scale(self, n: int) -> Any:
        """Have ``n`` workers; results on those that go are moved to others first."""
        return self.sync(self._ask, "scale", n=int(n))

    def adapt(self, *, minimum: int = 0, maximum: float = math.inf, **how: Any) -> Any:
        """Follow the load.

        Parameters
        ----------
        minimum, maximum : int
            Fewest and most workers.
        **how
            ``interval``, ``wait_count``, ``target_duration``: see ``distributed.deploy.Adaptive``.

        Returns
        -------
        Limits
        """
        limits = Limits(int(minimum), maximum)
        return self.sync(self._adapt, limits, how)

    def jobs(self) -> list[Job]:
        """The cluster's jobs, as their queue tells of them."""
        found: list[Job] = [Job(**job) for job in self.sync(self._ask, "jobs")]
        return found

    def diagnose(self) -> str:
        """Why workers have not joined, in the queue's words."""
        return str(self.sync(self._ask, "diagnose"))

    def pending_summary(self) -> str:
        """A line about what is waited for."""
        return str(self.sync(self._ask, "pending_summary"))

    def fatal_reason(self) -> str:
        """Why no worker will come, if that is so; else an empty text."""
        return str(self.sync(self._ask, "fatal_reason"))

    def is_alive(self) -> bool:
        """Whether its head process runs."""
        return not self._has_ended()

    def shutdown(self) -> Any:
        """End the cluster, also a detached one: its jobs, its scheduler, its entry in the registry."""
        self.owned = True
        return self.close()

    def close(self, timeout: float | None = None) -> Any:
        """End an owned cluster; let go of a detached one."""
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
        # Not Dask's own way to hear of workers: the scheduler speaks to one cluster object only, which is the head's.
        await self._look()
        self._looking = asyncio.ensure_future(self._keep_looking())
        self.status = Status.running

    async def _look(self) -> None:
        self.scheduler_info = await self.scheduler_comm.identity(n_workers=-1)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            with contextlib.suppress(OSError, TimeoutError):
                await self._look()

    async def _ask(self, action: str, **arguments: Any) -> Any:
        return await getattr(self.scheduler_comm, HANDLER)(action=action, **arguments)

    async def _adapt(self, limits: Limits, how: dict[str, Any]) -> Limits:
        await self._ask("adapt", minimum=limits.minimum, maximum=limits.maximum, **how)
        return limits

    async def _close(self) -> None:
        if self.status in (Status.closing, Status.closed):
            return
        if self._looking is not None:
            self._looking.cancel()
        if self.owned:
            try:
                await asyncio.wait_for(self._ask("stop"), 10)
            except (OSError, TimeoutError):
                self._end_process()
        await super()._close()
        if self.owned:
            await self._wait_for_the_end()

    async def _wait_for_the_end(self) -> None:
        deadline = asyncio.get_running_loop().time() + _END_S
        while not self._has_ended():
            if asyncio.get_running_loop().time() > deadline:
                self._end_process()
                return
            await asyncio.sleep(0.05)

    def _has_ended(self) -> bool:
        if self._process is not None:
            return self._process.poll() is not None
        return not registry.is_alive(self.entry)

    def _end_process(self) -> None:
        """Kill a head that does not answer; its guard cleans up."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
