"""The Ds selection with the kit and array expressions: cutflow and mass, without the table of candidates."""

import functools

import af_kit as af
from af_kit.analysis import dsphipi
from af_kit.data.reading.flat import flat_list
from benchmarks.peers.kit_awkward import session  # noqa: F401


def histograms(selection, events):
    """Fill the histograms of all peers with one of the kit's selections."""
    selected = selection(events)
    mass = flat_list(events["Triplet2_Mass"])[1][selected.position]
    return {**dsphipi.cutflow(selected), "mass": dsphipi.fill(mass, {"nominal": 1.0})}


def numbers(result):
    """Return the result in the format of all peers."""
    events = result["cutflow"].values()[0, 0]
    return {"cutflow": events[:-1], "mass": dsphipi.spectrum(result).values(flow=True)}


def process(client, files, treename, chunk_entries, selection):
    """Run a selection, and raise if an entry is lost."""
    fileset = {"dsphipi": {"files": dict.fromkeys(files, treename)}}
    function = functools.partial(histograms, selection)
    result = af.process(function, fileset, client, chunk_entries=chunk_entries, progress=False)
    result.report.check()
    return numbers(result)


def run(client, files, treename, chunk_entries):
    return process(client, files, treename, chunk_entries, dsphipi.select)
