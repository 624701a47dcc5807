"""Write any result into a folder."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hist import Hist

from af_kit.analysis.output import read_histograms
from af_kit.analysis.save import draw, save


def histogram() -> Hist:
    return Hist.new.Reg(4, 0, 4, name="x", label="x [GeV]").Weight().fill([1, 2, 2], weight=[1.0, 2.0, 0.5])


def test_everything_is_written_once(tmp_path):
    result = {
        "h": histogram(),
        "data/2018": {"h": histogram(), "rows": pa.table({"x": [1, 2]}), "n": np.int64(3)},
        "frame": pd.DataFrame({"y": [1.5]}),
        "jagged": ak.Array([[1.0], [2.0, 3.0]]),
        "array": np.arange(3),
        "runs": {1, 3, 2},
        "scalar": np.array(2.5),
        5: "text",
    }
    files, problems = save(result, tmp_path, plots=False)
    assert problems == []
    assert {path.name for path in files} == {
        *("histograms.json", "data_2018_rows.parquet", "frame.parquet", "jagged.parquet", "array.npy", "values.json")
    }
    assert read_histograms(tmp_path / "histograms.json") == {"h": histogram(), "data/2018": {"h": histogram()}}
    assert ak.from_parquet(tmp_path / "jagged.parquet").to_list() == [[1.0], [2.0, 3.0]]
    assert pq.read_table(tmp_path / "data_2018_rows.parquet").num_rows == 2
    assert json.loads((tmp_path / "values.json").read_text()) == {
        "data/2018": {"n": 3},
        "runs": [1, 2, 3],
        "scalar": 2.5,
        "5": "text",
    }


def test_what_cannot_be_written_is_named_and_costs_nothing_else(tmp_path):
    files, problems = save({"good": 1, "bad": object(), "objects": np.array([object()])}, tmp_path)
    assert [path.name for path in files] == ["values.json"]
    assert len(problems) == 2
    assert problems[0].startswith("bad (object) is not written: TypeError")
    assert not (tmp_path / "objects.npy").exists()


def test_an_empty_result_writes_nothing(tmp_path):
    assert save({}, tmp_path) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_axis_is_drawn(tmp_path):
    result = {
        "regular": histogram(),
        "log": Hist.new.Log(10, 0.1, 100, name="m").Int64().fill([1, 2]),
        "text": Hist.new.StrCat(["a", "b"], name="c").Double().fill(["a"]),
        "integer": Hist.new.Int(0, 5, name="n").Int64(),
        "two": Hist.new.Reg(3, 0, 1, name="x").StrCat(["a", "b"], name="c").Int64().fill([0.5], ["a"]),
        "profile": Hist.new.Reg(3, 0, 1, name="x").Mean().fill([0.5], sample=[2.0]),
        "three": Hist.new.Reg(2, 0, 1).Reg(2, 0, 1).Reg(2, 0, 1).Int64(),
    }
    drawn = {path.name for path in draw(result, tmp_path) if path.suffix == ".png"}
    assert drawn == {f"{name}.png" for name in result if name != "three"}
    assert all(path.stat().st_size > 2000 for path in tmp_path.glob("*.png"))
