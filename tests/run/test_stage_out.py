"""Skims written by the workers: whole files or none, one copy of each, and a manifest that can be held against them."""

from __future__ import annotations

import json
import os
import pickle
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from run_tools import call_noted, calls, once, write_events

from af_kit.data.reading.read import read
from af_kit.data.transport.store import open_store
from af_kit.errors import FunctionError, IncompleteError, InputError, ReadError, WriteError
from af_kit.run.plan import plan
from af_kit.run.process import process
from af_kit.run.skims import encode
from af_kit.run.stage_out import clean, read_manifest, stage_out, verify, write_manifest


def skim(folder: Path | str, **options: Any) -> Callable[[Any], dict[str, Any]]:
    """A function that writes the events with two muons, and counts them."""

    def function(events: Any) -> dict[str, Any]:
        pairs = events[ak.num(events.Muon) == 2]
        return {"n": len(pairs), "skim": stage_out(pairs[["event", "genWeight", "Muon"]], folder, events, **options)}

    return function


def written(folder: Path) -> list[str]:
    """All files below a folder but the manifest."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != "manifest.json")


def selected(files: list[Path]) -> np.ndarray:
    """The numbers of the events with two muons, in the order of the files, by plain uproot."""
    found = []
    for path in files:
        with uproot.open(path) as file:
            columns = file["Events"].arrays(["event", "nMuon"])
        found.append(ak.to_numpy(columns.event[columns.nMuon == 2]))
    return np.concatenate(found)


# ---------------------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("on_dask", [False, True], ids=["threads", "dask"])
def test_a_skim_in_parquet_holds_what_was_selected(files, fileset, tmp_path, client, on_dask):
    folder = tmp_path / "skim"
    result = process(skim(folder), fileset, client if on_dask else None, chunk_entries=1000)
    result.report.check()
    manifest = verify(write_manifest(result["skim"], folder))
    assert manifest.entries == result["n"] == sum(row["entries"] for row in manifest.rows)
    assert written(folder) == sorted(row["file"] for row in manifest.rows if row["file"])
    assert {path.name for path in folder.iterdir()} == {"signal", "background", "manifest.json"}
    events = np.concatenate([pq.read_table(path)["event"].to_numpy() for path in manifest.files])
    assert events.tolist() == selected(files).tolist()  # and in the order of the plan
    assert manifest.bytes == sum(Path(path).stat().st_size for path in manifest.files)
    assert read_manifest(folder) == manifest
    assert f"{len(manifest.files)} files" in repr(manifest)


def test_a_skim_in_root_is_read_again(files, fileset, tmp_path, client):
    folder = tmp_path / "skim"
    result = process(skim(folder, format="root"), fileset, client, chunk_entries=1000)
    manifest = verify(write_manifest(result["skim"], folder))

    def again(events: Any) -> dict[str, Any]:
        return {events.metadata["dataset"]: len(events), "event": np.asarray(events.event), "pt": events.Muon.pt}

    second = process(again, manifest.fileset())
    assert second.report.check().fallbacks == {}
    assert second["signal"] + second["background"] == manifest.entries
    assert second["event"].tolist() == selected(files).tolist()
    assert set(ak.num(second["pt"])) == {2}


def test_every_row_says_which_chunk_it_is_about(files, tmp_path):
    result = process(skim(tmp_path / "skim"), [str(files[0])], chunk_entries=1000)
    rows = write_manifest(result["skim"], tmp_path / "skim").rows
    (uuid,) = {chunk.uuid for chunk in plan([str(files[0])])}
    assert [(row["entry_start"], row["entry_stop"]) for row in rows] == [(i, i + 1000) for i in range(0, 6000, 1000)]
    assert {(row["source"], row["uuid"], row["treename"], row["dataset"]) for row in rows} == {
        (str(files[0]), uuid, "Events", "file0")
    }
    listed = json.loads((tmp_path / "skim" / "manifest.json").read_text())
    assert listed["rows"] == [dict(row) for row in rows]
    assert listed["entries"] == result["n"]


def test_a_chunk_with_nothing_to_write_has_a_row_and_no_file(files, tmp_path):
    def nothing(events: Any) -> dict[str, Any]:
        return {"skim": stage_out(events[events.event < 0][["event"]], tmp_path / "skim", events)}

    result = process(nothing, [str(files[0])], chunk_entries=3000)
    manifest = verify(write_manifest(result["skim"], tmp_path / "skim"))
    assert [(row["file"], row["entries"], row["checksum"]) for row in manifest.rows] == [(None, 0, None)] * 2
    assert written(tmp_path / "skim") == manifest.files == []
    assert manifest.fileset() == {}


@pytest.mark.parametrize("format", ["parquet", "root"])
@pytest.mark.parametrize(
    "table",
    [
        {"a": np.arange(3, dtype=np.uint64), "b": ak.Array([[1.5], [], [2.5, 3.5]])},
        ak.Array({"a": np.arange(3), "p": ak.Array([{"x": 1.5, "y": True}] * 3)}),
        pd.DataFrame({"a": [1, 2, 3], "b": np.float32([1, 2, 3])}, index=[7, 8, 9]),
        pa.table({"a": [1, 2, 3]}),
    ],
    ids=["mapping", "awkward", "pandas", "arrow"],
)
def test_tables_of_all_kinds(format, table, tmp_path):
    entries, content = encode(table, format, "t", seed="x")
    assert entries == 3
    path = tmp_path / f"f.{format}"
    path.write_bytes(content)
    if format == "root":
        with uproot.open(path) as file:
            assert file["t"].num_entries == 3
            assert file["t"]["a"].array().to_list() == ak.Array(table["a"]).to_list()
    else:
        assert pq.read_table(path)["a"].to_pylist() == ak.Array(table["a"]).to_list()


_TEXT = ["ab", "", "\u00e4" * 300]


@pytest.mark.parametrize("format", ["parquet", "root"])
@pytest.mark.parametrize(
    "table",
    [
        {"a": _TEXT, "n": [1, 2, 3]},
        {"a": np.array(_TEXT)},
        {"a": ak.str.to_categorical(ak.Array(_TEXT))},
        ak.with_name(ak.Array({"a": _TEXT}), "Event"),
        pd.DataFrame({"a": pd.Categorical(_TEXT)}),
        pd.DataFrame({"a": pd.array(_TEXT, dtype="string")}),
        pd.DataFrame({"a": pd.Series(_TEXT, dtype=object)}),
        pa.table({"a": pa.chunked_array([pa.array(part).dictionary_encode() for part in (_TEXT[:1], _TEXT[1:])])}),
    ],
    ids=["list", "numpy", "categorical", "named", "category", "string", "object", "dictionary"],
)
def test_text_stays_text(format, table, tmp_path):
    path = tmp_path / f"f.{format}"
    path.write_bytes(encode(table, format, "t", seed="x")[1])
    if format == "root":
        with uproot.open(path) as file:
            assert file["t"]["a"].array().to_list() == _TEXT
            assert str(file["t"]["a"].array().type) == "3 * string"
        assert read(plan([f"{path}:t"])[0]).a.to_list() == _TEXT
    else:
        assert pq.read_table(path)["a"].to_pylist() == _TEXT
        assert pq.ParquetFile(path).schema.column(0).logical_type.type == "STRING"


def test_bytes_and_lists_of_text(tmp_path):
    table = ak.Array({"b": [b"x", b"\xff"], "l": [["a"], ["b", None]], "m": ["a", None]})
    (tmp_path / "f.parquet").write_bytes(encode(table, "parquet", "t", seed="x")[1])
    found = pq.read_table(tmp_path / "f.parquet")
    assert found.to_pydict() == {"b": [b"x", b"\xff"], "l": [["a"], ["b", None]], "m": ["a", None]}
    (tmp_path / "f.root").write_bytes(encode(table[["b"]][:1], "root", "t", seed="x")[1])
    with uproot.open(tmp_path / "f.root") as file:
        assert file["t"]["b"].array().to_list() == ["x"]
    for name in ("l", "m"):
        with pytest.raises(InputError, match=f"this table as root: column '{name}' is of type .*string.*parquet"):
            encode(table[["b", name]], "root", "t", seed="x")


def test_categories_of_numbers_are_numbers():
    entries, content = encode(pd.DataFrame({"a": pd.Categorical([5, 7, 5])}), "parquet", "t", seed="x")
    assert entries == 3
    assert pq.read_table(pa.BufferReader(content))["a"].to_pylist() == [5, 7, 5]


@pytest.mark.parametrize(
    ("table", "format", "match"),
    [
        ([1, 2], "parquet", "takes a table first .* not a list"),
        (ak.Array([1, 2]), "root", "not an array without named columns"),
        ({"a": ak.Array([[1, None]])}, "root", "cannot write this table as root"),
        ({"a": [1]}, "rootfile", "'rootfile'.* Did you mean 'root'"),
    ],
)
def test_what_cannot_be_written_is_named_with_the_chunk(files, tmp_path, table, format, match):
    with pytest.raises(FunctionError, match=match):
        process(lambda events: {"s": stage_out(table, tmp_path, events, format=format)}, [str(files[1])])
    assert written(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_listed_as_failed(files, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="250 of 250 entries"):
        result = process(skim(tmp_path / "file" / "skim"), [str(files[1])])
    (failure,) = result.report.failures
    assert failure.kind == "io"
    assert "cannot be written: Not a directory" in failure.reason
    with pytest.raises(FunctionError, match="does not write to"):
        process(skim("https://host/folder"), [str(files[1])])


def test_events_must_be_those_of_the_function(files, tmp_path):
    (chunk,) = plan([str(files[1])], chunk_entries=1000)
    events = read(chunk)
    row = stage_out(events[["event"]], tmp_path, events)
    assert row.num_rows == 1
    with pytest.raises(InputError, match=r"third argument.*'dataset' is missing"):
        stage_out({"a": [1]}, tmp_path, ak.Array([1]))
    (latin,) = plan({"caf\udce9": {"files": {str(files[1]): "Events"}}}, chunk_entries=1000)
    with pytest.raises(InputError, match=r"list the dataset 'caf\\udce9': its name is not UTF-8"):
        stage_out({"a": [1]}, tmp_path, read(latin))
    error = pickle.loads(pickle.dumps(WriteError("no space", transient=False)))
    assert (type(error), str(error), error.transient) == (WriteError, "no space", False)


# ------------------------------------------------------------------------------------------------ exactly one copy


@pytest.mark.parametrize("format", ["parquet", "root"])
def test_a_task_that_runs_twice_leaves_one_copy_of_the_same_bytes(files, tmp_path, format):
    """The second is later than the resolution of the times in a ROOT file."""
    function = skim(tmp_path / "skim", format=format)
    first = process(function, [str(files[0])], chunk_entries=1000)
    before = {name: (tmp_path / "skim" / name).read_bytes() for name in written(tmp_path / "skim")}
    second = time.time()
    while int(time.time()) == int(second):
        time.sleep(0.01)
    again = process(function, [str(files[0])], chunk_entries=1000)
    assert {name: (tmp_path / "skim" / name).read_bytes() for name in written(tmp_path / "skim")} == before
    assert again["skim"].to_pylist() == first["skim"].to_pylist()
    verify(write_manifest(first["skim"], tmp_path / "skim"))


def test_a_worker_killed_while_it_writes(files, fileset, tmp_path, cluster_of):
    folder, flag, trace = tmp_path / "skim", tmp_path / "flag", tmp_path / "trace"
    trace.mkdir()

    def deadly(events: Any) -> dict[str, Any]:
        call_noted(trace, events)
        if events.metadata["entry_start"] == 2000 and once(flag):

            def killed(*_: object) -> None:  # between the last byte and the rename
                os.kill(os.getpid(), signal.SIGKILL)

            Path.replace = killed
        return skim(folder)(events)

    with cluster_of(2) as client:
        result = process(deadly, fileset, client, chunk_entries=1000)
    result.report.check()
    assert len(calls(trace)) > len(set(calls(trace)))  # some were run again, and the one that was killed
    manifest = verify(write_manifest(result["skim"], folder))
    assert manifest.entries == len(selected(files))
    files_there = {row["file"] for row in manifest.rows if row["file"]}
    left = sorted(set(written(folder)) - files_there)
    assert [name for name in left if name.endswith(".part")]
    assert clean(folder, manifest) == left
    assert written(folder) == sorted(files_there)
    assert clean(folder, manifest) == []


def test_only_files_of_an_earlier_cut_are_removed(files, tmp_path):
    folder = tmp_path / "skim"
    process(skim(folder), [str(files[0])], chunk_entries=500)
    old = written(folder)
    result = process(skim(folder), [str(files[0])], chunk_entries=1000)
    manifest = write_manifest(result["skim"], folder)
    mine = ["file0/notes.txt", "file0/histograms.root", "other/a-0123456789ab-0-10.parquet"]
    for name in mine:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert clean(folder, manifest) == old
    assert set(written(folder)) == {row["file"] for row in manifest.rows} | set(mine)
    verify(manifest)


def test_files_of_the_same_name_and_datasets_of_any_name_do_not_collide(tmp_path):
    paths = []
    for i, name in enumerate(["a", "b"]):
        (tmp_path / name).mkdir()
        paths.append(str(write_events(tmp_path / name / "f.root", 100, i)))
    fileset = {name: {"files": [path]} for name, path in zip(["../x/ü", ".."], paths, strict=True)}
    fileset["both"] = {"files": [f"{tmp_path}/c.root"]}
    write_events(tmp_path / "c.root", 100, 2)
    result = process(skim(tmp_path / "skim"), fileset)
    manifest = verify(write_manifest(result["skim"], tmp_path / "skim"))
    assert len(written(tmp_path / "skim")) == 3
    assert {name.split("/")[0] for name in written(tmp_path / "skim")} == {"..%2Fx%2F%C3%BC", "%2E%2E", "both"}
    assert clean(tmp_path / "skim", manifest) == []


# ------------------------------------------------------------------------------------------------ the manifest


def test_files_that_differ_from_the_manifest_are_named(files, tmp_path):
    folder = tmp_path / "skim"
    result = process(skim(folder), [str(files[0])], chunk_entries=1000)
    manifest = write_manifest(result["skim"], folder)
    one, two, three = (Path(path) for path in manifest.files[:3])
    one.unlink()
    two.write_bytes(two.read_bytes()[:-1])
    three.write_bytes(b"x" + three.read_bytes()[1:])
    with pytest.raises(IncompleteError) as caught:
        verify(read_manifest(folder))
    assert "3 of 6 files" in str(caught.value)
    assert f"{one} does not exist" in str(caught.value)
    assert f"{two} differs from what was written" in str(caught.value)
    assert f"{three} differs from what was written" in str(caught.value)


def test_two_outputs_to_the_same_place_are_refused(files, tmp_path):
    def twice(events: Any) -> dict[str, Any]:
        rows = [stage_out(events[[name]], tmp_path, events) for name in ("event", "run")]
        return {"skim": pa.concat_tables(rows)}

    result = process(twice, [str(files[1])])
    with pytest.raises(InputError, match=r"Entries 0 to 250 of .*file1\.root were written twice"):
        write_manifest(result["skim"], tmp_path)
    with pytest.raises(InputError, match="takes the merged rows"):
        write_manifest({"a": 1}, tmp_path)


def test_a_folder_without_a_manifest(tmp_path):
    with pytest.raises(ReadError, match=r"manifest\.json does not exist"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"rows": [{"file": 1}]}')
    with pytest.raises(InputError, match="is not a manifest"):
        read_manifest(tmp_path)


def test_a_store_shows_files_whole_or_not_at_all(tmp_path, monkeypatch):
    store = open_store(tmp_path / "store")
    assert store.names("d") == []
    store.put("d/f", b"one")
    store.put("d/f", b"two")
    assert store.get("d/f") == b"two"

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(WriteError, match=r"d/f cannot be written: No space left on device") as caught:
        store.put("d/f", b"three")
    assert caught.value.transient
    assert store.names("d") == ["d/f"]
    assert store.get("d/f") == b"two"
    store.remove("d/f")
    store.remove("d/f")
    assert store.names("d") == []
