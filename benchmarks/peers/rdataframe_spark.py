"""The same RDataFrame, distributed over Spark's executors by ROOT."""

from benchmarks.peers import rdataframe_dask
from benchmarks.peers.clusters import spark_cluster as session  # noqa: F401


def run(spark, files, treename, chunk_entries):
    return rdataframe_dask.run(spark.sparkContext, files, treename, chunk_entries)
