"""coffea's Runner with its DaskExecutor and NanoAOD schema, and defaults (100 000 entries per chunk)."""

import awkward as ak
from coffea import processor
from coffea.nanoevents import NanoAODSchema
from hist import Hist

from benchmarks.peers.clusters import stock_cluster as session  # noqa: F401


class Schema(NanoAODSchema):
    error_missing_event_ids = False  # the open-data files have no run, luminosityBlock, event


class Dimuon(processor.ProcessorABC):
    def process(self, events):
        muons = events.Muon
        multiplicity = Hist.new.Reg(6, 0, 6).Int64().fill(ak.num(muons))
        muons = muons[ak.num(muons) == 2]
        muons = muons[ak.sum(muons.charge, axis=1) == 0]
        mass = (muons[:, 0] + muons[:, 1]).mass
        return {"multiplicity": multiplicity, "mass": Hist.new.Log(1000, 0.2, 200).Int64().fill(mass)}

    def postprocess(self, accumulator):
        return accumulator


def run(client, files, treename, chunk_entries):
    size = {} if chunk_entries is None else {"chunksize": chunk_entries}
    runner = processor.Runner(executor=processor.DaskExecutor(client=client, status=False), schema=Schema, **size)
    out = runner({"dimuon": {"files": dict.fromkeys(files, treename)}}, processor_instance=Dimuon())
    return {name: out[name].values(flow=True) for name in ("multiplicity", "mass")}
