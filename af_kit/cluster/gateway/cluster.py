"""Dask's object of a gateway's cluster, with an end that is quiet, and what `connect` keeps about it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from dask_gateway import GatewayCluster

from af_kit.cluster.detached import registry
from af_kit.cluster.gateway.lookup import is_running

__all__ = ["Cluster"]


_ANSWER_S = 10.0


class Cluster(GatewayCluster):
    """A cluster of a gateway; ``scale``, ``adapt`` and ``shutdown`` are Dask's.

    Once it is closed and its event loop has ended, Dask's own object looks for that loop when it is collected, and
    prints the error that this gives.

    Attributes
    ----------
    entry : registry.Entry
        Its place in the registry; missing where it has neither a name nor is detached.
    """

    entry: registry.Entry  # only where it was set

    def fetch_logs(self) -> list[Path]:
        """Write what scheduler and workers keep of their logs into files, while they run: a gateway hands out none.

        Returns
        -------
        list of Path
            ``scheduler.log`` is the scheduler's. A worker that has ended took its log along.
        """
        folder = (
            Path(self.entry.logs)
            if hasattr(self, "entry") and self.entry.logs
            else registry.base() / "logs" / self.name
        )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = self.gateway.sync(self._logs)
        return [
            registry.write_private(folder / f"{name}.log", "\n".join(line for _, line in lines) + "\n")
            for name, lines in kept.items()
        ]

    async def _logs(self) -> dict[str, Any]:
        async with asyncio.timeout(_ANSWER_S):
            scheduler = await self.scheduler_comm.logs(n=None)
            workers = await self.scheduler_comm.worker_logs(n=None, workers=None, nanny=False)
        names = {address: address.rpartition("/")[2].replace(":", "-") for address in workers}
        return {**{names[address]: lines for address, lines in workers.items()}, "scheduler": scheduler}

    def close(self, shutdown: bool | None = None) -> Any:
        """Leave the cluster; it ends where it was started to, or where ``shutdown`` is true."""
        if self.status == "closed":
            return
        super().close(shutdown=shutdown)
        self.gateway._asynchronous = True  # which its __del__ leaves alone
        ended = self.shutdown_on_close if shutdown is None else shutdown
        if ended and hasattr(self, "entry") and self.entry.folder:
            registry.remove(self.entry)

    def is_alive(self) -> bool:
        """Whether the gateway still has it, as far as this object was told."""
        return self.status == "running" and (not hasattr(self, "entry") or is_running(self.entry))
