"""The kit on Spark, with the compiled loop of its dimuon analysis."""

from af_kit.analysis.dimuon import histograms_numba
from benchmarks.peers.clusters import spark_cluster as session  # noqa: F401
from benchmarks.peers.kit_awkward import process


def run(spark, files, treename, chunk_entries):
    return process(None, files, treename, chunk_entries, histograms_numba, spark=spark)
