"""The wide selection with the kit and the compiled loop, when its cache has all columns: another run over the same."""

from benchmarks.peers.wide_kit_filling import run, session  # noqa: F401


def prepare(client, files, treename):
    """Fill the cache."""
    run(client, files, treename, None)
    return files
