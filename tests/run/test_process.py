"""`process` on threads: every entry once, the same result for any chunk size, rows in order, clear errors."""

from __future__ import annotations

import copy
import queue
from typing import Any

import awkward as ak
import dask
import numpy as np
import pytest
import uproot
from hist import Hist
from run_tools import assert_close, bits, everything, write_events

from af_kit.errors import FunctionError, InputError, MergeError
from af_kit.run.plan import plan
from af_kit.run.process import process


def count(events: Any) -> dict[str, Any]:
    return {"n": len(events), "event": np.asarray(events.event)}


@pytest.fixture(scope="module")
def whole(fileset) -> Any:
    """The reference: cut into 250 entries each."""
    with dask.config.set({"af_kit.data.chunk_bytes": 1}):
        return process(everything, fileset, chunk_entries=250)


def test_every_entry_is_there_once_and_in_order(whole, files):
    expected = [i * 100_000 + entry for i, n in enumerate([6000, 250, 5001, 0, 3749, 5000]) for entry in range(n)]
    assert whole["entries"] == 20_000
    assert whole["event"].tolist() == expected
    assert whole["table"]["event"].tolist() == expected
    assert whole["arrow"]["event"].to_pylist() == expected
    assert whole["table"]["dataset"].tolist() == ["signal"] * 11251 + ["background"] * 8749
    names = [path.name for path, n in zip(files, [6000, 250, 5001, 0, 3749, 5000], strict=True) for _ in range(n)]
    assert whole["arrow"]["file"].to_pylist() == names
    assert whole["signal"] == {"files": {"file0.root", "file1.root", "file2.root"}, "year": "2018"}
    assert whole["found"].entries == 20_000


def test_the_report(whole):
    report = whole.report.check()
    assert report.complete
    assert report.entries == {"planned": 20_000, "processed": 20_000, "failed": 0}
    assert report.datasets == {
        "signal": {"planned": 11251, "processed": 11251, "failed": 0},
        "background": {"planned": 8749, "processed": 8749, "failed": 0},
    }
    assert report.files == {"planned": 6, "failed": 0}
    assert sum(worker["entries"] for worker in report.workers.values()) == 20_000
    assert set(report.branches) == {"event", "genWeight", "nMuon", "Muon_pt", "Muon_charge"}
    assert report.bytes_read > 0
    assert report.retries == 0


def test_the_same_call_gives_the_same_bits(whole, fileset):
    assert bits(process(everything, fileset, chunk_entries=250)) == bits(whole)


@pytest.mark.parametrize("chunk_entries", [1000, 777, 6000, None])
def test_any_chunk_size_gives_the_same(whole, fileset, chunk_entries):
    result = process(everything, fileset, chunk_entries=chunk_entries)
    result.report.check()
    assert_close(result, whole)


def test_chunks_of_one_entry(files):
    def count(events: Any) -> dict[str, Any]:
        assert len(events) == 1
        return {"event": np.asarray(events.event), "muons": int(ak.sum(ak.num(events.Muon)))}

    result = process(count, [str(files[1])], chunk_entries=1)
    whole = process(lambda events: {"muons": int(ak.sum(ak.num(events.Muon)))}, [str(files[1])])
    assert result["event"].tolist() == list(range(100_000, 100_250))
    assert result["muons"] == whole["muons"]
    assert result.report.check().chunks == 250


def test_declared_branches_give_the_same(whole, fileset):
    branches = ["event", "genWeight", "Muon_pt", "Muon_charge"]
    result = process(everything, fileset, chunk_entries=250, branches=branches)
    assert bits(result) == bits(whole)
    with pytest.raises(FunctionError, match="luminosityBlock"):
        process(lambda events: {"n": ak.sum(events.luminosityBlock)}, fileset, branches=branches)


def test_a_list_of_chunks(whole, fileset):
    chunks = plan(fileset, chunk_entries=250)
    assert bits(process(everything, chunks)) == bits(whole)
    some = process(everything, chunks[5:9])
    assert some["event"].tolist() == list(range(1250, 2250))
    assert process(everything, chunks[7])["event"].tolist() == list(range(1750, 2000))
    declared = process(lambda events: {"n": ak.sum(events.event)}, chunks[:2], branches=["event"])
    assert set(declared.report.branches) == {"event"}
    assert (
        declared.report.bytes_read < process(lambda events: {"n": ak.sum(events.Muon.pt)}, chunks[:2]).report.bytes_read
    )


def test_a_list_of_chunks_counts_no_entry_twice(fileset):
    chunks = plan(fileset, chunk_entries=1000)
    finer = plan(fileset, chunk_entries=250)
    for picked in ([*chunks, chunks[0]], [chunks[0], finer[1]], [finer[3], chunks[0]]):
        with pytest.raises(InputError, match=r"file0.root \(dataset 'signal'\) twice, from entry"):
            process(everything, picked)


def test_the_first_chunks_of_each_dataset(fileset):
    result = process(count, fileset, chunk_entries=250, max_chunks=6)
    events = [*range(1500), *range(400_000, 401_500)]
    assert result["event"].tolist() == events
    report = result.report.check()
    assert report.entries == {"planned": 3000, "processed": 3000, "failed": 0}
    assert report.datasets["background"] == {"planned": 1500, "processed": 1500, "failed": 0}
    assert report.files == {"planned": 2, "failed": 0}
    assert report.chunks == 12
    assert report.notes == ("max_chunks=6: 69 of 81 chunks are left out.",)
    picked = process(count, plan(fileset, chunk_entries=250), max_chunks=6)
    assert picked["event"].tolist() == events
    everything_planned = process(count, fileset, chunk_entries=250, max_chunks=1000).report.check()
    assert everything_planned.entries["processed"] == 20_000
    assert everything_planned.notes == ()


@pytest.mark.parametrize("bad", [0, -1, 1.5, "all"])
def test_an_invalid_max_chunks_is_refused(fileset, bad):
    with pytest.raises(InputError, match=r"max_chunks=.*: give a whole number of chunks per dataset, 1 or more"):
        process(count, fileset, max_chunks=bad)


def test_a_retry_keeps_to_max_chunks(tmp_path):
    paths = [write_events(tmp_path / f"{name}.root", 1000, i) for i, name in enumerate("abc")]
    paths[0].rename(tmp_path / "later")
    with pytest.warns(UserWarning, match=r"a\.root.*does not exist"):
        result = process(count, [str(path) for path in paths], chunk_entries=250, max_chunks=6)
    assert result["event"].tolist() == [*range(100_000, 101_000), *range(200_000, 200_250)]
    (tmp_path / "later").rename(paths[0])
    again = result.retry()
    assert again["event"].tolist() == [*range(250), *range(100_000, 101_000), *range(200_000, 200_250)]
    assert again.report.check().entries == {"planned": 1500, "processed": 1500, "failed": 0}
    assert again.report.notes == (
        "max_chunks=6: 3 of 9 chunks are left out.",
        "max_chunks=6: 3 chunks of files that were opened later are left out.",
    )


def test_one_dataset_only(fileset):
    result = process(everything, fileset, datasets=["background"])
    assert result["entries"] == 8749
    assert list(result.report.datasets) == ["background"]


def test_files_without_entries(files):
    result = process(lambda events: {"n": len(events), "pt": ak.flatten(events.Muon.pt)}, str(files[3]))
    assert result["n"] == 0
    assert len(result["pt"]) == 0
    assert result.report.check().entries == {"planned": 0, "processed": 0, "failed": 0}


def test_outputs_hold_no_file_and_no_view(tmp_path):
    def views(events: Any) -> dict[str, Any]:
        return {"first": np.asarray(events.event)[:1], "lists": [events.Muon.pt[:1]], "events": events[["event"]][:1]}

    path = write_events(tmp_path / "gone.root", 1000, 1)
    result = process(views, str(path), chunk_entries=250)
    path.unlink()  # nothing can be read any more
    assert result["first"].tolist() == [100_000, 100_250, 100_500, 100_750]
    assert result["first"].base is None
    assert len(ak.flatten(result["lists"], axis=None)) > 0
    assert result["events"].event.to_list() == result["first"].tolist()


# ---------------------------------------------------------------- what a function must not return


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda events: None, r"returned nothing \(None\)"),
        (lambda events: Hist.new.Reg(3, 0, 3).Int64(), "returned a Hist"),
        (lambda events: (len(events),), "returned a tuple"),
        (lambda events: {"a": {"b": (x for x in "ab")}}, r"result\['a'\]\['b'\] is a generator"),
        (lambda events: {"f": lambda: 1}, r"result\['f'\] is a function"),
        (lambda events: {"a": None}, r"result\['a'\] is None"),
    ],
)
def test_an_output_that_cannot_be_merged_is_named_with_its_entries(fileset, function, words):
    with pytest.raises(FunctionError, match=rf"entries \d+ to \d+ of .*file\d.root \(dataset '\w+'\): .*{words}"):
        process(function, fileset, chunk_entries=250)


def test_histograms_whose_axes_depend_on_the_chunk(fileset):
    def wrong(events: Any) -> dict[str, Any]:
        return {"n": {"mass": Hist.new.Reg(3, 0, float(ak.max(events.Muon.pt)), name="x").Int64()}}

    with pytest.raises(MergeError, match=r"result\['n'\]\['mass'\].*same axes"):
        process(wrong, fileset, chunk_entries=250)


def test_types_that_differ_between_chunks(fileset):
    def wrong(events: Any) -> dict[str, Any]:
        return {"rows": [] if events.metadata["entry_start"] else np.zeros(1)}

    with pytest.raises(MergeError, match=r"result\['rows'\] is a .* in one chunk and a .* in another"):
        process(wrong, fileset, chunk_entries=250)


HISTOGRAM = Hist.new.Reg(1, 0, 1, name="x").Int64()
EMPTY = {"rows": [], "h": Hist.new.Reg(1, 0, 1, name="x").Int64(), "a": np.zeros(0)}


def fills_on(events: Any) -> dict[str, Any]:
    return {"h": HISTOGRAM.fill(np.zeros(len(events)))}


def fills_a_default(events: Any, *, kept: dict[str, Any] = {"h": Hist.new.Reg(1, 0, 1).Weight()}) -> dict[str, Any]:  # noqa: B006, B008
    kept["h"].fill(np.zeros(len(events)))
    return {"a": kept}


def fills_a_list(events: Any, *, rows: list[int] = []) -> dict[str, Any]:  # noqa: B006
    rows.append(len(events))
    return {"rows": rows}


def fills_a_buffer(events: Any, *, buffer: Any = np.zeros(10)) -> dict[str, Any]:  # noqa: B008
    buffer[:] = len(events)
    return {"buffer": buffer}


@pytest.mark.parametrize("function", [fills_on, fills_a_default, fills_a_list, fills_a_buffer])
def test_an_output_that_is_filled_on_from_chunk_to_chunk(fileset, function):
    """It would count the first chunk as often as there are chunks."""
    with pytest.raises(FunctionError, match=r"The function changes .*exists outside it.*inside the function"):
        process(function, fileset, chunk_entries=250)


def test_a_constant_for_nothing_selected_and_one_object_under_two_names(fileset):
    def analyse(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] % 500:
            return EMPTY
        h = Hist.new.Reg(1, 0, 1, name="x").Int64().fill(np.zeros(len(events)))
        return {"rows": [1], "h": h, "same": h, "a": np.ones(1)}

    result = process(analyse, fileset, chunk_entries=250)
    assert result["h"] == result["same"]
    assert len(result["rows"]) == len(result["a"]) > 30


# ---------------------------------------------------------------- arguments


def test_invalid_arguments(fileset, files):
    with pytest.raises(InputError, match="Did you mean 'collect'"):
        process(everything, fileset, on_error="colect")
    with pytest.raises(InputError, match="takes a function of the events first, not a dict"):
        process(fileset, everything)
    with pytest.raises(InputError, match="chunk_entries=0"):
        process(everything, fileset, chunk_entries=0)
    with pytest.raises(InputError, match=r"client: a plain distributed.Client is needed.*not 'tcp://127.0.0.1:8786'"):
        process(everything, fileset, "tcp://127.0.0.1:8786")
    with pytest.raises(InputError, match="A list of chunks is a plan already"):
        process(everything, plan(fileset), chunk_entries=10)


@pytest.mark.parametrize("retries", [-1, 1.5, "3", True])
def test_invalid_numbers_of_retries(fileset, retries):
    with pytest.raises(InputError, match=r"retries=.* is not valid: give a whole number, 0 \(read once\) or more"):
        process(everything, fileset, retries=retries)


def test_metadata_of_each_chunk(fileset):
    def about(events: Any) -> dict[str, Any]:
        m = events.metadata
        return {"all": [(m["dataset"], m["file"], m["entry_start"], m["entry_stop"], m["xsec_pb"], len(events))]}

    rows = process(about, fileset, chunk_entries=250)["all"]
    assert all(stop - start == entries for _, _, start, stop, _, entries in rows)
    assert {(dataset, xsec) for dataset, _, _, _, xsec, _ in rows} == {("signal", 2.0), ("background", 30.0)}
    assert len({row[:3] for row in rows}) == len(rows) == 81


# ---------------------------------------------------------------- the result


def test_the_result_is_a_mapping(whole):
    assert {"entries", "pt"} <= set(whole)
    with pytest.raises(KeyError, match="Did you mean 'weighted'"):
        whole["weightd"]
    assert "20,000 entries, complete" in repr(whole)
    assert "<td>&#x27;pt&#x27;</td><td>histogram of " in whole._repr_html_()
    assert whole.retry() is whole


def test_what_the_user_does_to_a_partial_result_does_not_reach_a_retry(tmp_path):
    write_events(tmp_path / "a.root", 500, 1)
    write_events(tmp_path / "b.root", 300, 2)
    (tmp_path / "b.root").rename(tmp_path / "later")

    def fill(events: Any) -> dict[str, Any]:
        return {"h": Hist.new.Reg(1, 0, 1).Double().fill(np.zeros(len(events))), "n": [len(events)]}

    with pytest.warns(UserWarning, match=r"b.root.*does not exist"):
        result = process(fill, [str(tmp_path / "a.root"), str(tmp_path / "b.root")])
    result["h"].view()[...] *= 1000  # scaled in place, as one does before a plot
    result["n"].clear()
    (tmp_path / "later").rename(tmp_path / "b.root")
    again = result.retry()
    assert again["h"].sum() == 800
    assert again["n"] == [500, 300]


def test_finish_gets_the_merged_output_and_again_after_a_retry(tmp_path):
    write_events(tmp_path / "a.root", 500, 1)
    write_events(tmp_path / "b.root", 300, 2)
    (tmp_path / "b.root").rename(tmp_path / "later")

    def halve(merged: Any) -> dict[str, Any]:
        merged["h"] /= 2  # in place, as one might
        return {"half": merged["h"], "events": merged["n"]}

    def fill(events: Any) -> dict[str, Any]:
        return {"h": Hist.new.Reg(1, 0, 1).Double().fill(np.zeros(len(events))), "n": len(events)}

    with pytest.warns(UserWarning, match=r"b.root.*does not exist"):
        result = process(fill, [str(tmp_path / "a.root"), str(tmp_path / "b.root")], finish=halve)
    assert (set(result), result["half"].sum(), result["events"]) == ({"half", "events"}, 250, 500)
    (tmp_path / "later").rename(tmp_path / "b.root")
    again = result.retry()
    assert (set(again), again["half"].sum(), again["events"]) == ({"half", "events"}, 400, 800)
    again.report.check()


@pytest.mark.parametrize(
    ("finish", "told"), [(lambda merged: 1 / 0, "ZeroDivisionError"), (lambda merged: None, "returned a NoneType")]
)
def test_a_finish_that_fails_costs_nothing_that_was_merged(finish, told, fileset):
    with pytest.raises(FunctionError, match=told) as raised:
        process(count, fileset, finish=finish)
    assert raised.value.result["n"] == 20_000
    raised.value.result.report.check()


def test_an_output_that_the_function_keeps_is_not_changed_by_merging(fileset):
    kept: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def keeps(events: Any) -> dict[str, Any]:
        output = {"h": Hist.new.Reg(1, 0, 1).Int64().fill(np.zeros(len(events))), "l": [1], "s": {1}, "m": {"n": 1}}
        kept.put((output, copy.deepcopy(output)))
        return output

    process(keeps, fileset, chunk_entries=1000)
    assert kept.qsize() > 16
    assert all(output == before for output, before in (kept.get() for _ in range(kept.qsize())))


def test_a_flipped_byte_is_an_error_by_default_and_the_report_names_the_choice(tmp_path):
    path = tmp_path / "f.root"
    with uproot.recreate(path, compression=uproot.LZ4(1)) as file:
        file.mktree("Events", {"x": np.int64}).extend({"x": np.arange(2000)})
    data = bytearray(path.read_bytes())
    block = data.index(b"L4")
    data[block + 9 : block + 17] = bytes(8)  # its checksum
    path.write_bytes(data)

    def total(events: Any) -> dict[str, Any]:
        return {"x": int(np.sum(events.x))}

    with pytest.warns(UserWarning, match="checksum of an LZ4 block"):
        result = process(total, path, retries=0)
    assert result.report.entries["failed"] == 2000
    assert not any("checksums" in note for note in result.report.notes)
    result = process(total, path, verify=False)
    assert result["x"] == 1999 * 1000
    assert "checksums were not verified (verify=False)" in result.report.notes


def test_a_field_with_an_underscore_that_a_collection_does_not_have(tmp_path):
    with uproot.recreate(tmp_path / "nano.root") as file:
        file.mktree("Events", {"Muon": ak.type(ak.Array([[{"pfRelIso04_all": 0.1}]])).content})
        file["Events"].extend({"Muon": ak.Array([[{"pfRelIso04_all": 0.1}], []])})
    with pytest.raises(FunctionError, match="Did you mean 'pfRelIso04_all'"):
        process(lambda events: {"n": events.Muon.pfRelIso4_all}, str(tmp_path / "nano.root"))


@pytest.mark.parametrize(
    ("function", "nearest"),
    [
        (lambda events: {"n": events.Muon.ptt}, "Did you mean 'pt'?"),
        (lambda events: {"n": events.Muon["chargee"]}, "Did you mean 'charge'?"),
        (lambda events: {"n": events.Muon.nothing_like_it}, ""),
    ],
)
def test_a_field_that_a_collection_does_not_have(files, function, nearest):
    """awkward's error names neither the file nor the field that was meant."""
    with pytest.raises(FunctionError) as caught:
        process(function, [str(files[1])])
    first = str(caught.value).splitlines()[0]
    assert str(files[1]) in first
    assert first.endswith(nearest)
    assert ("Did you mean" in first) == bool(nearest)
