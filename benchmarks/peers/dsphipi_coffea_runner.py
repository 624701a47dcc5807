"""The Ds selection in coffea's Runner: coffea's reader and chunks, with the kit's array expressions."""

from coffea import processor
from coffea.nanoevents import BaseSchema

from af_kit.analysis import dsphipi
from benchmarks.peers.clusters import stock_cluster as session  # noqa: F401
from benchmarks.peers.dsphipi_kit_awkward import histograms, numbers


class Selection(processor.ProcessorABC):
    def process(self, events):
        return histograms(dsphipi.select, events)

    def postprocess(self, accumulator):
        return accumulator


def run(client, files, treename, chunk_entries):
    size = {} if chunk_entries is None else {"chunksize": chunk_entries}
    runner = processor.Runner(executor=processor.DaskExecutor(client=client, status=False), schema=BaseSchema, **size)
    out = runner({"dsphipi": {"files": dict.fromkeys(files, treename)}}, processor_instance=Selection())
    return numbers(out)
