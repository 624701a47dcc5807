"""Ways to reach a Dask cluster: ``connect`` finds the one that is there, or starts one."""

from af_kit.cluster.connect import connect

__all__ = ["connect"]
