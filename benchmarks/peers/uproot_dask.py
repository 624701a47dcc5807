"""uproot.dask: a dask-awkward collection, whose graph finds out which columns it needs."""

from contextlib import contextmanager

import dask
import dask_awkward as dak
import hist.dask
import uproot
import vector
from hist import axis

from benchmarks.peers.clusters import stock_cluster

CHUNK_ENTRIES = 500_000

vector.register_awkward()
# dask-awkward's other optimization, "layer-chains", fails with dask newer than it declares (2025.3). On 2025.3 the
# speed is the same with and without it.
dask.config.set({"awkward.optimization.which": ["columns"]})


@contextmanager
def session(workers):
    with stock_cluster(workers) as client:
        client.run(vector.register_awkward)  # the graph refers to the behaviours by name
        yield client


def run(client, files, treename, chunk_entries):
    events = uproot.dask(dict.fromkeys(files, treename), step_size=chunk_entries or CHUNK_ENTRIES)
    multiplicity = hist.dask.Hist(axis.Regular(6, 0, 6)).fill(events.nMuon)
    columns = {name: events[f"Muon_{name}"] for name in ("pt", "eta", "phi", "mass", "charge")}
    muons = dak.zip(columns, with_name="Momentum4D")
    muons = muons[dak.num(muons) == 2]
    muons = muons[dak.sum(muons.charge, axis=1) == 0]
    mass = hist.dask.Hist(axis.Regular(1000, 0.2, 200, transform=axis.transform.log)).fill(
        (muons[:, 0] + muons[:, 1]).mass
    )
    multiplicity, mass = dask.compute(multiplicity, mass)
    return {"multiplicity": multiplicity.values(flow=True), "mass": mass.values(flow=True)}
