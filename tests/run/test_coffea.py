"""coffea processors, unchanged: coffea's events and accumulation, af-kit's report."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from coffea import processor
from coffea.nanoevents import BaseSchema, NanoAODSchema
from coffea.processor import IterativeExecutor, Runner, column_accumulator, defaultdict_accumulator
from hist import Hist
from run_tools import call_noted, calls, damage, write_events

from af_kit.errors import FunctionError, InputError, MergeError
from af_kit.run.process import process

REAL_NANOAOD = Path(__file__).parents[3] / "shared" / "cms" / "nano_dimuon.root"

# coffea's remarks on branches that these files do not have
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


class Everything(processor.ProcessorABC):
    """A processor that returns one of each type of output."""

    def __init__(self, cut: float = 20.0) -> None:
        self.cut = cut

    def process(self, events: Any) -> dict[str, Any]:
        about = events.metadata
        muons = events.Muon[events.Muon.pt > self.cut]
        cutflow = defaultdict_accumulator(int)
        cutflow["all"] += len(events)
        cutflow["muons"] += int(ak.sum(ak.num(muons)))
        by_charge: defaultdict[str, int] = defaultdict(int, {"plus": int(ak.sum(ak.flatten(muons.charge) > 0))})
        return {
            about["dataset"]: {
                "sumw": float(np.sum(np.asarray(events.genWeight, np.float64))),
                "pt": Hist.new.Reg(20, 0, 100, name="pt").Int64().fill(ak.flatten(muons.pt)),
                "cutflow": cutflow,
                "by_charge": by_charge,
                "events": column_accumulator(np.asarray(events.event)),
                "jagged": column_accumulator(muons.pt),
                "counts": np.histogram(np.asarray(ak.num(muons)), bins=5, range=(0, 5))[0],
                "files": {Path(about["filename"]).name},
                "chunks": [(about["entrystart"], about["entrystop"], about["treename"], len(about["fileuuid"]))],
            }
        }

    def postprocess(self, accumulator: dict[str, Any]) -> None:
        for name in accumulator:
            accumulator[name]["scaled"] = accumulator[name]["sumw"] * 2
            accumulator[name]["times"] = accumulator[name].get("times", 0) + 1


@pytest.fixture(scope="module")
def by_coffea(fileset) -> dict[str, Any]:
    run = Runner(executor=IterativeExecutor(status=False), schema=NanoAODSchema, chunksize=1000)
    return run(fileset, Everything(), treename="Events")


def test_the_first_chunks_of_each_dataset(fileset):
    result = process(Everything(), fileset, chunk_entries=1000, max_chunks=2)
    assert {name: output["cutflow"]["all"] for name, output in result.items()} == {"signal": 2000, "background": 2000}
    assert result.report.check().entries == {"planned": 4000, "processed": 4000, "failed": 0}


def assert_like_coffea(result: Any, reference: dict[str, Any]) -> None:
    assert set(result) == set(reference) == {"signal", "background"}
    for name, theirs in reference.items():
        mine = result[name]
        assert {key: type(value) for key, value in mine.items()} == {key: type(value) for key, value in theirs.items()}
        assert mine["pt"] == theirs["pt"]
        assert mine["cutflow"] == theirs["cutflow"]
        assert mine["by_charge"] == theirs["by_charge"]
        assert mine["by_charge"]["unknown"] == 0  # it is a defaultdict still
        assert mine["counts"].tolist() == theirs["counts"].tolist()  # added, not put behind each other
        assert sorted(mine["events"].value.tolist()) == sorted(theirs["events"].value.tolist())
        assert len(mine["jagged"].value) == len(theirs["jagged"].value)
        assert mine["files"] == theirs["files"] - {"file3.root"}  # which has no entries: coffea calls the processor
        assert mine["sumw"] == pytest.approx(theirs["sumw"], rel=1e-12)
        assert mine["scaled"] == pytest.approx(2 * mine["sumw"], rel=1e-15)
        assert mine["times"] == 1  # postprocess, once


@pytest.mark.parametrize("on_cluster", [False, True], ids=["threads", "cluster"])
def test_the_result_is_coffeas(fileset, by_coffea, client, on_cluster):
    result = process(Everything(), fileset, client if on_cluster else None, chunk_entries=1000)
    assert_like_coffea(result, by_coffea)
    report = result.report.check()
    assert report.entries == {"planned": 20_000, "processed": 20_000, "failed": 0}
    assert "coffea NanoEvents" in report.fallbacks["(all branches)"]
    assert {"genWeight", "nMuon", "Muon_pt", "Muon_charge", "event"} <= set(report.branches)
    assert "Muon_eta" not in report.branches
    assert report.bytes_read > 0


def test_rows_are_in_the_order_of_the_plan(fileset):
    result = process(Everything(), {"signal": fileset["signal"]}, chunk_entries=777)
    events = result["signal"]["events"].value.tolist()
    assert events == [i * 100_000 + entry for i, n in enumerate([6000, 250, 5001]) for entry in range(n)]
    starts = [start for start, _, _, _ in result["signal"]["chunks"]]
    assert starts[:2] == [0, 750]
    assert result["signal"]["chunks"][0][2:] == ("Events", 36)


def test_a_chunk_is_read_once_per_column(files, tmp_path):
    class Counts(processor.ProcessorABC):
        def process(self, events: Any) -> dict[str, Any]:
            call_noted(tmp_path, events)
            return {"n": len(events)}

        def postprocess(self, accumulator: Any) -> Any:
            return {"n": accumulator["n"], "done": True}

    result = process(Counts(), [str(files[0])], chunk_entries=250)
    assert dict(result) == {"n": 6000, "done": True}
    assert len(calls(tmp_path)) == 24


# ---------------------------------------------------------------- faults


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    path = write_events(tmp_path / "damaged.root", 1000, 1)
    damage(path, "Muon_pt", 2)
    return path


def test_a_damaged_column_is_not_a_bug_of_the_processor(damaged):
    with pytest.warns(UserWarning, match=r"damaged.root entries 500 to 750: .*damaged.root cannot be read"):
        result = process(Everything(), {"data": {"files": {str(damaged): "Events"}}}, chunk_entries=250)
    assert [(f.kind, f.entry_start) for f in result.report.failures] == [("io", 500)]
    assert result["data"]["cutflow"]["all"] == 750
    assert result["data"]["scaled"] == pytest.approx(2 * result["data"]["sumw"])


def test_a_processor_that_swallows_a_read_error(damaged):
    class Careless(Everything):
        def process(self, events: Any) -> dict[str, Any]:
            try:
                return super().process(events)
            except Exception:  # noqa: BLE001
                return {}

    with pytest.warns(UserWarning, match="500 to 750"):
        result = process(Careless(), {"data": {"files": {str(damaged): "Events"}}}, chunk_entries=250)
    assert [f.kind for f in result.report.failures] == ["io"]


def test_a_retry_merges_before_postprocess(fileset, by_coffea, tmp_path):
    class Fails(Everything):
        def process(self, events: Any) -> dict[str, Any]:
            if events.metadata["entrystart"] == 0 and not (tmp_path / "mended").exists():
                raise ValueError("not yet")
            return super().process(events)

    with pytest.warns(UserWarning, match="not yet"):
        result = process(Fails(), fileset, chunk_entries=5000, on_error="collect")
    assert result["signal"]["times"] == 1
    (tmp_path / "mended").touch()
    again = result.retry()
    assert_like_coffea(again, by_coffea)
    again.report.check()


def test_a_bug_names_file_and_line(fileset):
    class Buggy(Everything):
        def process(self, events: Any) -> dict[str, Any]:
            return {"n": events.Muon.no_such_field}

    with pytest.raises(FunctionError, match=r"entries \d+ to \d+ of .*root[\s\S]*events.Muon.no_such_field"):
        process(Buggy(), fileset, chunk_entries=1000)


@pytest.mark.parametrize(
    ("output", "words"), [(None, r"returned nothing \(None\)"), (3, "returned a int"), ([1], "returned a list")]
)
def test_an_output_that_is_not_a_dict(fileset, output, words):
    class Odd(Everything):
        def process(self, events: Any) -> Any:
            return output

    with pytest.raises(FunctionError, match=rf"process\(\) of Odd {words}"):
        process(Odd(), fileset)


def test_outputs_that_coffea_cannot_add(fileset):
    class Odd(Everything):
        def process(self, events: Any) -> Any:
            return {"n": None}

    with pytest.raises(MergeError, match="incompatible type"):
        process(Odd(), fileset, chunk_entries=1000)


def test_a_postprocess_that_fails_loses_nothing(fileset):
    class Odd(Everything):
        def postprocess(self, accumulator: Any) -> Any:
            accumulator.clear()
            raise ZeroDivisionError("no luminosity")

    with pytest.raises(FunctionError, match=r"Odd.postprocess failed: ZeroDivisionError: no luminosity") as caught:
        process(Odd(), fileset, chunk_entries=5000)
    result = caught.value.result
    assert result["signal"]["cutflow"]["all"] == 11251
    result.report.check()


def test_an_accumulator_that_the_processor_keeps(fileset):
    """Whether it is filled again or overwritten cannot be told apart, so it is refused."""

    class Keeps(processor.ProcessorABC):
        def __init__(self) -> None:
            self.output: dict[str, Any] = {"n": np.zeros(1)}

        def process(self, events: Any) -> dict[str, Any]:
            self.output["n"][:] = len(events)
            return self.output

        def postprocess(self, accumulator: Any) -> None: ...

    with pytest.raises(FunctionError, match="The function changes Keeps, which exists outside it"):
        process(Keeps(), {"d": fileset["background"]}, chunk_entries=250)


# ---------------------------------------------------------------- schemas, and a checkpoint


def test_schemas(files):
    class Counts(processor.ProcessorABC):
        def process(self, events: Any) -> dict[str, Any]:
            return {"n": int(ak.sum(events.nMuon)), "fields": set(events.fields)}

        def postprocess(self, accumulator: Any) -> None: ...

    for schema in ("BaseSchema", BaseSchema):
        result = process(Counts(), str(files[1]), schema=schema)
        assert "Muon_pt" in result["fields"]
    with pytest.raises(InputError, match="Did you mean 'NanoAODSchema'"):
        process(Counts(), str(files[1]), schema="NanoAODShema")


def test_a_checkpoint_knows_the_processor(files, tmp_path):
    notes = tmp_path / "calls"
    notes.mkdir()

    class Counts(Everything):
        def process(self, events: Any) -> dict[str, Any]:
            call_noted(notes, events)
            return super().process(events)

    one = {"d": {"files": {str(files[1]): "Events"}}}
    done = []
    for cut in (20.0, 20.0, 30.0):
        result = process(Counts(cut), one, checkpoint=tmp_path / "kept")
        done.append((len(calls(notes)), result["d"]["cutflow"]["muons"]))
    assert [count for count, _ in done] == [1, 1, 2]
    assert done[0][1] == done[1][1] > done[2][1]


@pytest.mark.skipif(not REAL_NANOAOD.exists(), reason="the CMS sample is not here")
def test_on_real_nanoaod():
    class Dimuon(processor.ProcessorABC):
        def process(self, events: Any) -> dict[str, Any]:
            pairs = events.Muon[ak.num(events.Muon) == 2]
            mass = (pairs[:, 0] + pairs[:, 1]).mass
            return {"mass": Hist.new.Reg(60, 60, 120, name="mass").Int64().fill(mass), "n": len(events)}

        def postprocess(self, accumulator: Any) -> None: ...

    result = process(Dimuon(), str(REAL_NANOAOD), chunk_entries=20)
    assert result["n"] == result.report.check().entries["processed"] == 40
    assert result["mass"].sum(flow=True) > 10


def test_a_schema_that_does_not_fit_is_not_the_processors_fault(files, tmp_path):
    class Strict(NanoAODSchema):
        def __init__(self, base_form: Any, *args: Any, **kwargs: Any) -> None:
            raise KeyError("nJet")

    with pytest.raises(InputError, match=r"coffea's Strict cannot build events from tree .*'nJet'.*schema="):
        process(Everything(), [str(files[1])], schema=Strict)
    with pytest.warns(UserWarning, match="coffea's Strict cannot build events"):
        result = process(Everything(), [str(files[1])], schema=Strict, on_error="collect")
    assert result.report.entries["failed"] == 250
