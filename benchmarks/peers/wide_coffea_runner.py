"""The wide selection with coffea's Runner, DaskExecutor and NanoAOD schema, and defaults."""

from coffea import processor
from coffea.nanoevents import NanoAODSchema

from benchmarks.peers.clusters import stock_cluster as session  # noqa: F401
from benchmarks.wide import analyse


class Selection(processor.ProcessorABC):
    def process(self, events):
        return analyse(events)

    def postprocess(self, accumulator):
        return accumulator


def run(client, files, treename, chunk_entries):
    size = {} if chunk_entries is None else {"chunksize": chunk_entries}
    runner = processor.Runner(
        executor=processor.DaskExecutor(client=client, status=False), schema=NanoAODSchema, **size
    )
    out = runner({"wide": {"files": dict.fromkeys(files, treename)}}, processor_instance=Selection())
    return {name: out[name].values(flow=True) for name in ("dimuon_mass", "dijet_mass")}
