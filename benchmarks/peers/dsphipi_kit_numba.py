"""The Ds selection with the kit and a compiled loop."""

from af_kit.analysis.dsphipi import select_numba
from benchmarks.peers.dsphipi_kit_awkward import process, session  # noqa: F401


def run(client, files, treename, chunk_entries):
    return process(client, files, treename, chunk_entries, select_numba)
