"""The object of a gateway's cluster: Dask's own, with a registry entry, logs and a quiet end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from dask_gateway import GatewayCluster

from af_kit.cluster.detached import registry
from af_kit.cluster.gateway.client import is_running
from af_kit.credentials.private_files import write_private

__all__ = ["Cluster"]

# Seconds for scheduler and workers to send their logs.
_LOGS_S = 10.0


class Cluster(GatewayCluster):
    """A cluster of a gateway; ``scale``, ``adapt`` and ``shutdown`` are Dask's.

    Attributes
    ----------
    entry : registry.Entry
        Its registry entry. Missing if the cluster has no name and is not detached.
    """

    entry: registry.Entry

    def fetch_logs(self) -> list[Path]:
        """Write the recent log lines of scheduler and workers to files, while they run, and return the paths."""
        entry = getattr(self, "entry", None)
        folder = Path(entry.logs) if entry and entry.logs else registry.base() / "logs" / self.name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        logs = self.gateway.sync(self._logs)
        return [
            write_private(folder / f"{name}.log", "\n".join(line for _, line in lines) + "\n")
            for name, lines in logs.items()
        ]

    async def _logs(self) -> dict[str, Any]:
        async with asyncio.timeout(_LOGS_S):
            scheduler = await self.scheduler_comm.logs(n=None)
            workers = await self.scheduler_comm.worker_logs(n=None, workers=None, nanny=False)
        by_name = {address.rpartition("/")[2].replace(":", "-"): lines for address, lines in workers.items()}
        return {**by_name, "scheduler": scheduler}

    def close(self, shutdown: bool | None = None) -> Any:
        """Disconnect from the cluster, and end it if it is not detached or if ``shutdown`` is true."""
        if self.status == "closed":
            return
        super().close(shutdown=shutdown)
        # Dask's __del__ would look for the event loop, which has ended, and print an error. It skips asynchronous ones.
        self.gateway._asynchronous = True
        ended = self.shutdown_on_close if shutdown is None else shutdown
        if ended and hasattr(self, "entry") and self.entry.folder:
            registry.remove(self.entry)

    def is_alive(self) -> bool:
        """Return whether the gateway still has the cluster, as far as this object knows."""
        return self.status == "running" and (not hasattr(self, "entry") or is_running(self.entry))
