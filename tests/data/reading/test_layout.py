"""Layouts: pickling, parts, selections, memory."""

import dataclasses
import pickle
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from bits import SAMPLES, cut, same, whole, write_nano
from hypothesis import given
from hypothesis import strategies as st

from af_kit.data.reading.layout import Column, Layout
from af_kit.data.reading.page_table import PageColumn
from af_kit.data.reading.read import read
from af_kit.run.plan import plan

# A real NanoAOD file with 1500 branches, if this machine has it.
REAL = Path(__file__).parents[4] / "shared" / "cms" / "nano_dimuon.root"


def equal(a, b):
    """Compare layouts array by array."""
    for field in dataclasses.fields(Layout):
        mine, yours = getattr(a, field.name), getattr(b, field.name)
        if field.name == "columns":
            assert list(mine) == list(yours)
            for name in mine:
                for part in dataclasses.fields(Column):
                    x, y = getattr(mine[name], part.name), getattr(yours[name], part.name)
                    assert np.array_equal(x, y), (name, part.name)
                    assert getattr(x, "dtype", None) == getattr(y, "dtype", None)
        elif field.name == "pages" and mine is not None:
            assert np.array_equal(mine.entries, yours.entries)
            assert (list(mine.columns), mine.fields) == (list(yours.columns), yours.fields)
            for number, column in mine.columns.items():
                for part in dataclasses.fields(PageColumn):
                    x, y = getattr(column, part.name), getattr(yours.columns[number], part.name)
                    assert np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y, (number, part.name)
                    assert getattr(x, "dtype", None) == getattr(y, "dtype", None)
        else:
            assert np.array_equal(mine, yours), field.name


@pytest.mark.parametrize(
    "name", [path.stem for path in sorted(SAMPLES.glob("*.root")) if path.stem not in ("folders", "unclosed")]
)
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_chunks_can_be_pickled(name, dumps):
    chunk = whole(SAMPLES / f"{name}.root")
    _ = chunk.layout.schema  # cached, but not pickled
    again = pickle.loads(dumps(chunk))
    assert again == chunk
    equal(again.layout, chunk.layout)
    equal(pickle.loads(dumps(chunk.layout.part(3, 15))), chunk.layout.part(3, 15))
    assert again.layout.schema == chunk.layout.schema
    branch = chunk.layout.names[0]
    same(read(again)[branch], read(chunk)[branch])


def test_chunks_and_layouts_are_frozen(tmp_path):
    chunk = whole(write_nano(tmp_path / "f.root", 5))
    for thing, name in [(chunk, "entry_stop"), (chunk.layout, "entries"), (chunk.layout.columns["run"], "dtype")]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, 0)
    assert len({chunk, pickle.loads(pickle.dumps(chunk))}) == 1


@pytest.mark.skipif(not REAL.exists(), reason="the machine has no real NanoAOD file with 1500 branches")
def test_a_pickled_chunk_of_nanoaod_is_small():
    chunk = whole(REAL)
    assert len(chunk.layout.names) > 1400
    assert len(pickle.dumps(chunk)) < 64_000
    assert len(pickle.dumps(chunk.layout.only(["Muon_pt", "Muon_eta"]))) < 2_000
    assert len(repr(chunk)) < 300


@given(data=st.data())
def test_a_part_has_only_the_baskets_of_its_entries(data):
    layout = whole(SAMPLES / "plain_zlib.root").layout
    start = data.draw(st.integers(0, 149))
    stop = data.draw(st.integers(start, 150))
    part = layout.part(start, stop)
    for name, column in part.columns.items():
        full = layout.columns[name]
        assert column.covers(start, stop)
        assert len(column.edges) == len(column.seeks) + 1 == len(column.sizes) + 1
        needed = [i for i in range(len(full.seeks)) if full.edges[i] < stop and full.edges[i + 1] > start]
        assert set(full.seeks[needed]) <= set(column.seeks)
        if column.counter:
            assert len(column.seeks) <= len(needed) + (start == stop)
    equal(part.part(start, stop), part)


def test_a_selection_includes_counters_and_its_share_of_the_bytes(tmp_path):
    layout = whole(write_nano(tmp_path / "f.root", 500)).layout
    small = layout.only(["Muon_pt", "MET_pt"])
    assert small.names == [name for name in layout.names if name in ("nMuon", "Muon_pt", "MET_pt")]
    assert 0 < small.bytes < layout.bytes / 3
    assert small.declared
    assert not layout.declared
    assert layout.only([]).names == []
    assert layout.only(layout.names).bytes == layout.bytes


def test_files_with_the_same_branches_have_one_schema(tmp_path):
    a = whole(write_nano(tmp_path / "a.root", 20, seed=1)).layout
    b = whole(write_nano(tmp_path / "b.root", 30, clusters=3, seed=2)).layout
    assert a.schema == b.schema
    assert a.only(["run"]).schema != a.schema
    assert a.without({"run": "no"}).schema != a.schema
    assert whole(SAMPLES / "rntuple.root").layout.schema != whole(SAMPLES / "stl.root").layout.schema


def test_a_range_outside_the_file_is_empty():
    chunk = whole(SAMPLES / "plain_none.root")
    column = chunk.layout.columns["i32"]
    assert not column.covers(100, 151)
    assert column.covers(150, 150)
    assert len(read(cut(chunk, 150, 150)).i32) == 0


def test_packed_layouts_take_little_memory(tmp_path):
    """A plan has packed layouts, which are equal to plain ones and much smaller."""
    import tracemalloc

    from af_kit.data.reading.describe import describe
    from af_kit.simulate import nanoaod

    nanoaod(tmp_path / "wide.root", 1000, 1)
    plain = describe(str(tmp_path / "wide.root"), "Events")
    tracemalloc.start()
    copies = [pickle.loads(pickle.dumps(plain)) for _ in range(10)]
    of_plain = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    packed = [copy.packed() for copy in copies]
    of_packed = tracemalloc.get_traced_memory()[0] - of_plain
    tracemalloc.stop()
    assert of_packed < of_plain / 5
    assert packed[0].schema == plain.schema
    assert pickle.loads(pickle.dumps(packed[0])).part(0, 10).schema == plain.schema
    assert type(plan([str(tmp_path / "wide.root")])[0].layout).__name__ == "PackedLayout"
