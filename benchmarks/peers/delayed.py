"""A delayed graph of uproot reads, as in a Dask tutorial."""

from itertools import pairwise

import awkward as ak
import dask
import numpy as np
import uproot
import vector
from hist import Hist

from benchmarks.peers.clusters import stock_cluster as session  # noqa: F401

CHUNK_ENTRIES = 500_000
COLUMNS = ["nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge"]


@dask.delayed
def one_chunk(path, treename, start, stop):
    vector.register_awkward()
    with uproot.open(path) as file:
        events = file[treename].arrays(COLUMNS, entry_start=start, entry_stop=stop)
    multiplicity = Hist.new.Reg(6, 0, 6).Int64().fill(events.nMuon)
    columns = {name: events[f"Muon_{name}"] for name in ("pt", "eta", "phi", "mass", "charge")}
    muons = ak.zip(columns, with_name="Momentum4D")
    muons = muons[ak.num(muons) == 2]
    muons = muons[ak.sum(muons.charge, axis=1) == 0]
    mass = (muons[:, 0] + muons[:, 1]).mass
    return multiplicity, Hist.new.Log(1000, 0.2, 200).Int64().fill(mass)


def run(client, files, treename, chunk_entries):
    parts = []
    for path in files:
        with uproot.open(path) as file:
            entries = file[treename].num_entries
        steps = max(1, round(entries / (chunk_entries or CHUNK_ENTRIES)))
        edges = np.linspace(0, entries, steps + 1).astype(int).tolist()
        parts += [one_chunk(path, treename, a, b) for a, b in pairwise(edges)]
    done = dask.compute(*parts)
    multiplicity, mass = (sum(histograms[1:], histograms[0]) for histograms in zip(*done, strict=True))
    return {"multiplicity": multiplicity.values(flow=True), "mass": mass.values(flow=True)}
