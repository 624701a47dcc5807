"""The same RDataFrame, distributed over Dask workers by ROOT: one task for each worker, which is ROOT's default."""

import ROOT

from benchmarks.peers.clusters import stock_cluster as session  # noqa: F401
from benchmarks.peers.rdataframe import book, counts


def run(executor, files, treename, chunk_entries):
    multiplicity, mass = book(ROOT.RDataFrame(treename, files, executor=executor))
    return {"multiplicity": counts(multiplicity), "mass": counts(mass)}
