"""Start Dask clusters and connect to them: `connect`, and `logs` of a cluster's jobs."""

from af_kit.cluster.connect import connect
from af_kit.cluster.detached.logs import logs

__all__ = ["connect", "logs"]
