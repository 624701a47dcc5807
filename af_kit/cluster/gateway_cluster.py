"""Dask's object of a gateway's cluster, with an end that is quiet."""

from __future__ import annotations

from typing import Any

from dask_gateway import GatewayCluster

__all__ = ["Cluster"]


class Cluster(GatewayCluster):
    """A cluster of a gateway; ``scale``, ``adapt`` and ``close`` are Dask's.

    Once it is closed and its event loop has ended, Dask's own object looks for that loop when it is collected, and
    prints the error that this gives.
    """

    def close(self, shutdown: bool | None = None) -> Any:
        """Leave the cluster; it ends where it was started to, or where ``shutdown`` is true."""
        if self.status == "closed":
            return
        super().close(shutdown=shutdown)
        self.gateway._asynchronous = True  # which its __del__ leaves alone
