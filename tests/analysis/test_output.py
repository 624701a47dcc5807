from __future__ import annotations

import itertools
import json
import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hist import Hist

from af_kit.analysis.output import read_histograms, write_histograms, write_table, write_text


def words(word: str, number: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(number, np.int32), pa.array([word]))


def test_histograms_come_back_equal(tmp_path):
    log = Hist.new.Log(10, 0.2, 200, name="mass", label="m [GeV]").Int64().fill([0.1, 3.1, 3.1, 91, 500])
    weighted = Hist.new.Reg(5, 0, 1).StrCat(["a", "b"]).Weight().fill([0.1, 0.7], ["a", "b"], weight=[0.3, 2])
    outputs = {"mass": log, "2017": {"weighted": weighted, "events": 7}, "candidates": pa.table({"x": [1]}), "n": 3}
    found = read_histograms(write_histograms(outputs, tmp_path / "new" / "histograms.json"))
    assert found.keys() == {"mass", "2017"}
    assert found["mass"] == log
    assert found["mass"].axes[0].label == "m [GeV]"
    assert found["mass"].values(flow=True)[[0, -1]].tolist() == [1, 1]
    assert found["2017"]["weighted"] == weighted


def test_sums_of_weights_do_not_come_back_as_counts(tmp_path):
    counts = Hist.new.Reg(2, 0, 2).Double().fill([0.5])
    weights = Hist.new.Reg(2, 0, 2).Double().fill([0.5], weight=[2])
    path = write_histograms({"counts": counts, "weights": weights}, tmp_path / "histograms.json")
    found = read_histograms(path)
    assert found["counts"].variances().tolist() == [1, 0]
    assert found["weights"].variances() is None
    assert found["weights"].values().tolist() == [2, 0]
    path.write_text(path.read_text().replace("af-kit", "another"))
    assert read_histograms(path)["counts"].variances() is None


def test_histograms_are_the_same_bytes_in_any_order(tmp_path):
    one, two = Hist.new.Reg(5, 0, 1).Int64().fill([0.1]), Hist.new.Reg(5, 0, 1).Int64().fill([0.2])
    first = write_histograms({"one": one, "two": two}, tmp_path / "a.json").read_bytes()
    assert first == write_histograms({"two": two, "one": one}, tmp_path / "b.json").read_bytes()
    assert json.loads(first)["one"]["uhi_schema"] == 1


def test_a_table_is_the_same_bytes_from_any_chunks(tmp_path):
    x = np.random.default_rng(1).normal(size=600_000)
    whole = pa.concat_tables(
        [pa.table({"file": words(f, n), "x": x[a : a + n]}) for f, a, n in [("a", 0, 250_000), ("b", 250_000, 350_000)]]
    )
    cuts = [0, 1, 77_777, 250_000, 500_001, 600_000]
    parts = pa.concat_tables([whole.slice(a, b - a) for a, b in itertools.pairwise(cuts)])
    assert parts["x"].num_chunks > whole["x"].num_chunks
    first = write_table(whole, tmp_path / "whole.parquet").read_bytes()
    assert first == write_table(parts, tmp_path / "parts.parquet").read_bytes()
    found = pq.read_table(tmp_path / "whole.parquet")
    assert found["x"].equals(whole["x"])
    assert found["file"].cast(pa.string()).equals(whole["file"].cast(pa.string()))


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    found = pq.read_table(write_table(pa.table({"x": pa.array([], pa.float64())}), tmp_path / "none.parquet"))
    assert found.num_rows == 0
    assert found.schema.field("x").type == pa.float64()


def test_a_failed_write_leaves_the_existing_file(tmp_path):
    class Broken:
        def _to_uhi_(self):
            raise RuntimeError("broken")

    path = write_histograms({"x": Hist.new.Reg(5, 0, 1).Int64()}, tmp_path / "histograms.json")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="broken"):
        write_histograms({"x": Broken()}, path)
    with pytest.raises(pa.ArrowNotImplementedError):
        write_table(pa.table({"x": pa.array([None], pa.dense_union([pa.field("y", pa.int8())]))}), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["histograms.json"]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text("x" * 100_000, path),
        lambda path: write_table(pa.table({"x": np.random.default_rng(1).random(50_000)}), path),
    ],
    ids=["text", "table"],
)
def test_a_disk_without_room_is_an_error_with_the_file(tmp_path, write):
    """A limit on the size of files stands for it: the error of a write does not name the file."""
    path = tmp_path / "folder" / "output"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match=rf"too large.*{path}"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(path.parent.iterdir()) == []
