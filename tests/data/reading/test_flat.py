"""Flat arrays of collections."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from bits import CODECS, cut, jagged, opened, whole, write_tree
from damage import basket_of, overwrite

from af_kit.data.reading.events import build
from af_kit.data.reading.flat import flat, flat_branch, flat_list, has_branch, scalar_branch, take_branch
from af_kit.data.reading.reader import Reader
from af_kit.errors import InputError, MissingBranchError, ReadError


def check_flat(collection, *fields):
    offsets, arrays = flat(collection, *fields)
    assert offsets.dtype == np.int64
    assert offsets[0] == 0
    assert list(arrays) == list(fields)
    assert len(offsets) == len(collection) + 1
    np.testing.assert_array_equal(np.diff(offsets), ak.num(collection))
    for field in fields:
        assert isinstance(arrays[field], np.ndarray)
        want = ak.to_numpy(ak.flatten(collection[field]))
        assert arrays[field].dtype == want.dtype
        assert arrays[field].tobytes() == want.tobytes()


@pytest.mark.parametrize(
    "select",
    [
        lambda e: e.Muon,
        lambda e: e.SV,
        lambda e: e[20:60].Muon,
        lambda e: e[e.HLT.IsoMu24].Muon,
        lambda e: e.Muon[e.Muon.pt > 20],
        lambda e: e.Muon[ak.argsort(e.Muon.pt, axis=1, ascending=False)],
        lambda e: e.Muon[ak.num(e.Muon) == 2],
        lambda e: e.Muon[:, :1],
        lambda e: e.Muon[:0],
        lambda e: e.Muon[e.Muon.pt > 1e9],
        lambda e: e[::-1].Muon,
        lambda e: ak.to_packed(e.Muon[e.Muon.charge > 0]),
    ],
)
def test_flat_returns_offsets_and_one_array_per_field(events, select):
    check_flat(select(events), "pt", "mass")


def test_flat_makes_no_copy(events):
    one, two = flat(events.Muon, "pt"), flat(events.Muon, "pt")
    assert np.shares_memory(one.fields["pt"], two.fields["pt"])
    assert np.shares_memory(one.offsets, two.offsets)


def test_flat_requires_lists_of_records(events):
    for wrong in (events.MET, events.run, [1, 2], events, events.Muon.pt):
        with pytest.raises(InputError, match=r"list of records per event, such as events\.Muon"):
            flat(wrong, "pt")
    with pytest.raises(InputError, match="needs the fields to take"):
        flat(events.Muon)
    with pytest.raises(InputError, match=r"There is no field 'tp'.*'pt'"):
        flat(events.Muon, "tp")
    maybe = ak.mask(events.Muon, ak.num(events.Muon) > 1)
    with pytest.raises(InputError, match="missing"):
        flat(maybe, "pt")
    with pytest.raises(InputError, match="missing"):
        flat(ak.pad_none(events.Muon, 2), "pt")


def check_branch(events, name):
    """The same arrays as by way of awkward, from the same branches."""
    for found, wanted in zip(flat_branch(events, name), flat_list(events[name]), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("span", [(0, 300), (120, 250), (150, 150)])
def test_branches_come_from_the_reader_without_awkward(nano, monkeypatch, span):
    events, reader = opened(cut(nano, *span))
    other, _ = opened(cut(nano, *span))
    wanted = {name: flat_list(other[name]) for name in ("Muon_pt", "SV_x")}
    number = np.asarray(other["MET_pt"])
    monkeypatch.setattr(ak.Array, "__getitem__", lambda *_: pytest.fail("awkward is not needed"))
    assert reader.stats.branches == set()
    for name, (offsets, values) in wanted.items():
        found = flat_branch(events, name)
        assert [array.dtype for array in found] == [np.int64, values.dtype]
        np.testing.assert_array_equal(found[0], offsets)
        np.testing.assert_array_equal(found[1], values)
    np.testing.assert_array_equal(scalar_branch(events, "MET_pt"), number)
    assert reader.stats.branches == {"nMuon", "Muon_pt", "nSV", "SV_x", "MET_pt"}
    assert flat_branch(events, "Muon_eta")[0] is flat_branch(events, "Muon_pt")[0]  # one collection, one array


def test_branches_of_selected_or_changed_events_are_those_of_the_array(events):
    for some in (events[50:90], events[events.HLT.IsoMu24], ak.to_packed(events)):
        check_branch(some, "Muon_pt")
        np.testing.assert_array_equal(scalar_branch(some, "MET_pt"), some.MET.pt)
    events["Muon"] = events.Muon[events.Muon.pt > 20]
    check_branch(events, "Muon_pt")
    assert (flat_branch(events, "Muon_pt")[1] > 20).all()


def orders(rng, size):
    """Indices into so many numbers: none, some, all, repeated, and in another order."""
    some = np.sort(rng.choice(size, size // 3, replace=False))
    return [some[:0], some, np.arange(size), np.sort(np.r_[some, some]), rng.permutation(some), some[::-1].copy()]


@pytest.mark.parametrize("span", [(0, 300), (120, 250), (199, 201), (150, 150)])
@pytest.mark.parametrize("name", ["Muon_pt", "Muon_charge", "SV_x"])
def test_some_numbers_of_a_branch(nano, span, name):
    chunk = cut(nano, *span)
    wanted = flat_branch(opened(chunk)[0], name)[1]
    for index in orders(np.random.default_rng(1), len(wanted)):
        events, reader = opened(chunk)
        for _ in range(3):  # by baskets, then as a whole, then as kept
            found = take_branch(events, name, index)
            assert found.dtype == wanted.dtype
            assert found.tobytes() == wanted[index].tobytes()
        assert reader.stats.branches == {name, f"n{name.partition('_')[0]}"}
        np.testing.assert_array_equal(flat_branch(events, name)[1], wanted)


@pytest.mark.parametrize("codec", ["zlib", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "u2", "i4", "u8", "?"])
def test_some_numbers_of_any_type(tmp_path, dtype, codec):
    rng = np.random.default_rng(1)
    size = "u1" if dtype == "?" else dtype
    parts = [
        {"x": ak.values_astype(values, bool) if dtype == "?" else values}
        for values in (jagged(rng, rng.integers(0, 4, 50), size) for _ in range(3))
    ]
    chunk = whole(write_tree(tmp_path / "x.root", *parts, compression=CODECS[codec]))
    wanted = ak.to_numpy(ak.flatten(ak.concatenate([part["x"] for part in parts])))
    for index in orders(rng, len(wanted)):
        found = take_branch(opened(chunk)[0], "x", index)
        assert found.dtype == wanted.dtype
        assert found.tobytes() == wanted[index].tobytes()


def test_some_numbers_are_not_kept_the_first_time(nano):
    events, reader = opened(nano)
    index = np.arange(3)
    read = []
    for _ in range(3):
        take_branch(events, "Muon_pt", index)
        read.append(reader.stats.bytes_read)
    assert read[0] < read[1] == read[2]
    with pytest.raises(IndexError, match="Muon_eta has"):
        reader.take("Muon_eta", np.array([0, 10**6]))


def test_chunks_that_share_a_reader_read_a_branch_once(nano):
    reader = Reader(nano.file, nano.layout, 0, 300)
    parts = [build(reader, start, start + 100, {}) for start in (0, 100, 200)]
    before = None
    for start, part in zip((0, 100, 200), parts, strict=True):
        offsets, wanted = flat_branch(opened(cut(nano, start, start + 100))[0], "Muon_pt")
        index = np.arange(0, offsets[-1], 2)
        np.testing.assert_array_equal(take_branch(part, "Muon_pt", index), wanted[index])
        assert before in (None, reader.stats.bytes_read)
        before = reader.stats.bytes_read


def test_some_numbers_of_a_damaged_branch(nano):
    seek, size, key, _ = basket_of(nano, "Muon_pt", 1)
    overwrite(Path(nano.file), seek + key + (size - key) // 2, lambda old: old ^ 0x10)
    events, reader = opened(nano)
    with pytest.raises(ReadError, match="'Muon_pt' is damaged in entries 100 to 200"):
        take_branch(events, "Muon_pt", np.arange(2))
    assert reader.error is not None


def test_branches_of_any_array():
    events = ak.Array({"Muon_pt": [[1.0], [], [2.0, 3.0]], "run": [1, 2, 3]})
    assert [array.tolist() for array in flat_branch(events, "Muon_pt")] == [[0, 1, 1, 3], [1, 2, 3]]
    assert take_branch(events, "Muon_pt", np.array([2, 0])).tolist() == [3, 1]
    assert scalar_branch(events, "run").tolist() == [1, 2, 3]
    assert has_branch(events, "run")
    assert not has_branch(events, "Muon_eta")


def test_branches_with_counters_of_their_own(tmp_path):
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, 50)
    same, different = (jagged(rng, number) for number in (counts, counts + 1))
    path = write_tree(tmp_path / "own.root", {"A_x": same, "A_y": same, "A_z": different, "alone": different})
    events = opened(whole(path))[0]
    for name in ("A_x", "A_y", "A_z", "alone"):
        check_branch(events, name)
        index = np.arange(0, len(flat_branch(events, name)[1]), 3)
        taken = take_branch(opened(whole(path))[0], name, index)
        assert taken.tobytes() == flat_branch(events, name)[1][index].tobytes()
    assert len(flat_branch(events, "A_z")[1]) == len(flat_branch(events, "A_x")[1]) + 50


def test_branches_that_do_not_exist(events):
    assert has_branch(events, "Muon_pt")
    assert has_branch(events, "HLT_IsoMu24")
    assert not has_branch(events, "Muon_tp")
    for read in (flat_branch, scalar_branch):
        with pytest.raises(MissingBranchError, match="Did you mean"):
            read(events, "Muon_tp")
    with pytest.raises(InputError, match="not a list of numbers per event"):
        flat_branch(events, "MET_pt")
