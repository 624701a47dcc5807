from __future__ import annotations

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
import vector

import af_kit as af
from af_kit.analysis.dimuon import analyse, select, table, z_window

PLACE = ["dataset", "file", "entry", "run", "luminosityBlock", "event"]
PAIR = ["mass", "pt", "eta", "phi"]
MUONS = [f"mu_{sign}_{name}" for sign in ("plus", "minus") for name in ("pt", "eta", "phi")]


def test_columns_and_types(events):
    rows = analyse(events)["candidates"]
    assert rows.column_names == [*PLACE, *PAIR, *MUONS]
    assert rows.schema.field("entry").type == pa.int64()
    assert rows.schema.field("event").type == pa.uint64()
    assert all(rows.schema.field(name).type == pa.float64() for name in PAIR + MUONS)


def test_each_row_has_the_origin_of_its_event(sample, events):
    chunk = af.plan({"simulated": {"files": {str(sample): "Events"}}}, chunk_entries=3000)[2]
    rows = analyse(af.read(chunk))["candidates"]
    assert set(rows["dataset"].to_pylist()) == {"simulated"}
    assert set(rows["file"].to_pylist()) == {str(sample)}
    entries = rows["entry"].to_numpy()
    assert chunk.entry_start <= entries.min() < entries.max() < chunk.entry_stop
    assert np.array_equal(rows["event"].to_numpy(), np.asarray(events.event)[entries])
    assert (ak.num(events.Muon)[entries] == 2).to_list() == [True] * len(rows)


def test_chunks_add_up_to_the_whole(sample, events):
    parts = [
        analyse(af.read(chunk))["candidates"]
        for chunk in af.plan({"simulated": {"files": {str(sample): "Events"}}}, chunk_entries=3000)
    ]
    whole = analyse(events)["candidates"]
    assert pa.concat_tables(parts).drop_columns(PAIR) == whole.drop_columns(PAIR)
    for name in PAIR:
        assert np.allclose(pa.concat_tables(parts)[name], whole[name], rtol=1e-12, atol=1e-12)


def test_without_event_numbers_the_columns_are_null(events_of):
    events = events_of([[(20, 0.1, 0.2, -1), (15, -0.3, 2.0, 1)]])
    rows = table(events, select(events))
    assert rows.column_names == [*PLACE, *PAIR, *MUONS]
    assert [rows[name].to_pylist() for name in ("entry", "run", "luminosityBlock", "event")] == [[0]] + 3 * [[None]]
    assert rows["mu_plus_pt"].to_pylist() == [15]
    assert rows["mu_minus_eta"].to_pylist() == pytest.approx([0.1], rel=1e-7)


def test_files_with_and_without_event_numbers_have_the_same_columns(events_of):
    muons = [[(20, 0.1, 0.2, -1), (15, -0.3, 2.0, 1)]]
    numbers = {"run": np.array([1], np.int32), "luminosityBlock": np.array([2], np.int64), "event": np.array([3])}
    without, complete = events_of(muons), events_of(muons, **numbers)
    both = pa.concat_tables([table(events, select(events)) for events in (without, complete)])
    assert both["run"].to_pylist() == [None, 1]
    assert both["event"].to_pylist() == [None, 3]


def test_the_pair_is_the_sum_of_its_muons(events):
    rows = analyse(events)["candidates"]
    columns = {name: rows[name].to_numpy() for name in PAIR + MUONS}
    plus, minus = (
        vector.array(
            {name: columns[f"mu_{sign}_{name}"] for name in ("pt", "eta", "phi")} | {"mass": 0 * columns["pt"]}
        )
        for sign in ("plus", "minus")
    )
    pair = plus + minus
    for name in ("pt", "eta", "phi"):
        assert np.allclose(getattr(pair, name), columns[name], rtol=1e-9, atol=1e-9)


def test_a_pair_along_the_beam_has_infinite_eta(events_of):
    events = events_of([[(10, 1.0, 0.0, 1), (10, 1.0, np.pi, -1)], [(10, 0.5, 0.0, 1), (10, 0.5, 0.0, -1)]])
    events["Muon", "phi"] = ak.Array([[0.0, np.pi], [0.0, 0.0]])
    rows = table(events, select(events))
    assert rows["pt"][0].as_py() < 1e-14
    assert rows["eta"][0].as_py() > 30
    assert rows["eta"][1].as_py() == pytest.approx(0.5)


def test_z_window():
    rows = pa.table({"mass": [59.9, 60.0, 60.1, 90.0, 119.9, 120.0, float("nan")], "other": range(7)})
    assert z_window(rows)["other"].to_pylist() == [2, 3, 4]
    assert z_window(rows, centre=91, half_width=2)["other"].to_pylist() == [3]
