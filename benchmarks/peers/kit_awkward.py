"""The kit with array expressions, as in a notebook."""

from contextlib import contextmanager

import awkward as ak
from hist import Hist

import af_kit as af


@contextmanager
def session(workers):
    with af.connect("local", n_workers=workers) as client:
        yield client


def analyse(events):
    multiplicity = Hist.new.Reg(6, 0, 6, name="multiplicity").Int64().fill(events.nMuon)
    muons = events.Muon[ak.num(events.Muon) == 2]
    muons = muons[ak.sum(muons.charge, axis=1) == 0]
    mass = (muons[:, 0] + muons[:, 1]).mass
    return {"multiplicity": multiplicity, "mass": Hist.new.Log(1000, 0.2, 200, name="mass").Int64().fill(mass)}


def process(client, files, treename, chunk_entries, function, **options):
    """Return the histograms of a function of events by name, and raise if an entry is lost."""
    fileset = {"dimuon": {"files": dict.fromkeys(files, treename)}}
    result = af.process(function, fileset, client, chunk_entries=chunk_entries, progress=False, **options)
    result.report.check()
    return {name: result[name].values(flow=True) for name in ("multiplicity", "mass")}


def run(client, files, treename, chunk_entries):
    return process(client, files, treename, chunk_entries, analyse)
