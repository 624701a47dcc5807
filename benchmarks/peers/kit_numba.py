"""The kit with the compiled loop of its dimuon analysis."""

from af_kit.analysis.dimuon import histograms_numba
from benchmarks.peers.kit_awkward import process, session  # noqa: F401


def run(client, files, treename, chunk_entries):
    return process(client, files, treename, chunk_entries, histograms_numba)
