"""The same RDataFrame, distributed over Dask workers by ROOT."""

import ROOT

from benchmarks.peers.clusters import stock_cluster as session  # noqa: F401
from benchmarks.peers.rdataframe import book, counts


def run(client, files, treename, chunk_entries):
    parts = {} if chunk_entries is None else {"npartitions": 0}
    frame = ROOT.RDataFrame(treename, files, executor=client, **parts)
    multiplicity, mass = book(frame)
    return {"multiplicity": counts(multiplicity), "mass": counts(mass)}
