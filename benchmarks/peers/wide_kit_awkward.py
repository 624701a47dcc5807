"""The wide selection with the kit and array expressions."""

import af_kit as af
from benchmarks.peers.kit_awkward import session  # noqa: F401
from benchmarks.wide import analyse


def process(client, files, treename, chunk_entries, function, **options):
    fileset = {"wide": {"files": dict.fromkeys(files, treename)}}
    result = af.process(function, fileset, client, chunk_entries=chunk_entries, progress=False, **options)
    result.report.check()
    return {name: result[name].values(flow=True) for name in ("dimuon_mass", "dijet_mass")}


def run(client, files, treename, chunk_entries):
    return process(client, files, treename, chunk_entries, analyse)
