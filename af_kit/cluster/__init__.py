"""Ways to reach a Dask cluster: ``connect`` finds the one that is there, or starts one; ``logs`` of its jobs."""

from af_kit.cluster.connect import connect
from af_kit.cluster.detached.logs import logs

__all__ = ["connect", "logs"]
