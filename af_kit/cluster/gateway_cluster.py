"""Dask's object of a gateway's cluster, with an end that is quiet, and what `connect` keeps about it."""

from __future__ import annotations

from typing import Any

from dask_gateway import GatewayCluster

from af_kit.cluster import registry
from af_kit.cluster.gateway_kept import is_there

__all__ = ["Cluster"]


class Cluster(GatewayCluster):
    """A cluster of a gateway; ``scale``, ``adapt`` and ``shutdown`` are Dask's.

    Once it is closed and its event loop has ended, Dask's own object looks for that loop when it is collected, and
    prints the error that this gives.

    Attributes
    ----------
    entry : registry.Entry or None
        Its place in the registry, if it has a name or is detached.
    """

    entry: registry.Entry | None = None

    def close(self, shutdown: bool | None = None) -> Any:
        """Leave the cluster; it ends where it was started to, or where ``shutdown`` is true."""
        if self.status == "closed":
            return
        super().close(shutdown=shutdown)
        self.gateway._asynchronous = True  # which its __del__ leaves alone
        ended = self.shutdown_on_close if shutdown is None else shutdown
        if ended and self.entry is not None and self.entry.folder:
            registry.remove(self.entry)

    def is_alive(self) -> bool:
        """Whether the gateway still has it, as far as this object was told."""
        return self.status == "running" and (self.entry is None or is_there(self.entry))
