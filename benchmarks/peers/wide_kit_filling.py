"""The wide selection with the kit and the compiled loop, while it keeps the columns in its cache on the disk."""

import tempfile
from contextlib import contextmanager

import dask

from benchmarks.peers import kit_awkward
from benchmarks.peers.wide_kit_awkward import process
from benchmarks.peers.wide_kit_numba import analyse


@contextmanager
def session(workers):
    with (
        tempfile.TemporaryDirectory(prefix="af-kit-bench-columns-") as folder,
        dask.config.set({"af_kit.run.cache.folder": folder}),
        kit_awkward.session(workers) as client,
    ):
        yield client


def run(client, files, treename, chunk_entries):
    return process(client, files, treename, chunk_entries, analyse, cache="20 GiB")
