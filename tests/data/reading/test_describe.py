"""Describing trees: damaged metadata, and branches that cannot be read."""

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import SAMPLES, cut, same, whole, write_tree
from damage import overwrite

from af_kit.data.fileset.load import load_fileset
from af_kit.data.reading.describe import _without_hidden
from af_kit.data.reading.read import read
from af_kit.errors import BranchError, MissingBranchError, ReadError
from af_kit.run.plan import make_plan, plan
from af_kit.run.process import process


@pytest.mark.parametrize("name", ["plain_zlib", "embedded", "rntuple", "plain_none"])
def test_damaged_metadata_raise_a_read_error(tmp_path, name):
    """Any error of uproot, a codec or numpy becomes a `ReadError` with the path, or the numbers are the same."""
    path = tmp_path / "f.root"
    data = (SAMPLES / f"{name}.root").read_bytes()
    path.write_bytes(data)
    want = read(whole(path))["Muon_pt"].to_list()
    with uproot.open(path) as file:
        key = file.key("Events")
        parts = [(0, 60), (key.fSeekKey, key.fSeekKey + key.fNbytes)]
        if name == "rntuple":
            parts += [
                (a := file["Events"].member(f"fSeek{part}"), a + file["Events"].member(f"fNBytes{part}"))
                for part in ("Header", "Footer")
            ]
    rng = np.random.default_rng(8)
    failed = 0
    for start, stop in parts:
        for place in rng.integers(start, stop, 25):
            path.write_bytes(data)
            overwrite(path, place, lambda old: old ^ 0xFF)
            try:
                (chunk,) = plan({"d": {"files": {str(path): "Events"}}})
                answer = str(read(chunk)["Muon_pt"].to_list())
            except (ReadError, BranchError) as error:
                answer, failed = str(error), failed + 1
            assert answer == str(want) or str(path) in answer
    assert failed > 5


def sample(name):
    return SAMPLES / f"{name}.root"


def test_a_class_that_uproot_cannot_read():
    chunk = whole(sample("stl"))
    assert list(chunk.layout.unreadable) == ["whole"]
    with pytest.raises(AttributeError, match=r"Branch 'whole' of .*stl\.root cannot be used: uproot cannot interpret"):
        read(chunk)["whole"]


def test_branches_with_the_same_name_have_their_paths():
    chunk = whole(sample("objects"))
    events = read(chunk)
    for path, first in [("one/fCoordinates/fCoordinates.fPt", 0), ("two/fCoordinates/fCoordinates.fPt", 100)]:
        assert events[path].to_list() == [first + i for i in range(50)]
    assert events["three.fCoordinates.fPt"][0] == 100
    assert "fCoordinates.fPt" not in chunk.layout.names  # ambiguous


def test_a_variant_in_several_clusters_is_refused():
    """If uproot is fixed, this fails, and `describe` no longer needs to refuse it."""
    chunk = whole(sample("rntuple"))
    with uproot.open(sample("rntuple")) as file:
        values = file["Events/var"].array().to_list()
    assert values != [i if i % 2 else i / 2 for i in range(200)]
    with pytest.raises(AttributeError, match=r"Branch 'var' of .* cannot be used: uproot reads its type .* wrongly"):
        read(chunk)["var"]


@pytest.mark.parametrize("name", ["array_d_range", "list_d_range", "arrays_d_range"])
def test_numbers_with_fewer_bits_are_refused_in_shapes_that_uproot_misreads(name):
    """If uproot is fixed, this fails, and `describe` no longer needs to refuse it."""
    with uproot.open(sample("packed")) as file:
        values = np.ravel(ak.flatten(file["Events"][name].array()[3:4], axis=None))
    assert not np.allclose(values, 3 + np.arange(len(values)), atol=1e-2)
    with pytest.raises(AttributeError, match=r"Branch .* cannot be used: uproot reads its type .* wrongly"):
        read(whole(sample("packed")))[name]


def test_other_numbers_with_fewer_bits_are_read():
    events = read(whole(sample("packed")))
    for name in ("number_d", "number_d_range", "number_f", "number_f_range"):
        assert np.allclose(events[name], np.arange(12), atol=2e-3)
    assert events.array_d[3].to_list() == events.list_d[3].to_list() == [3, 4, 5]
    assert events.arrays_d[2].to_list() == [[2, 3, 4], [5, 6, 7]]
    with pytest.raises(AttributeError, match=r"Branch 'list_f' of .* cannot be used: uproot cannot interpret its type"):
        events["list_f"]


def test_baskets_that_are_not_in_order(tmp_path):
    path = tmp_path / "f.root"
    edges = whole(sample("plain_none")).layout.columns["Muon_pt"].edges
    damaged = edges.copy()
    damaged[1] = 65339
    data = sample("plain_none").read_bytes()
    assert edges.astype(">i8").tobytes() in data
    path.write_bytes(data.replace(edges.astype(">i8").tobytes(), damaged.astype(">i8").tobytes()))
    with pytest.raises(AttributeError, match="baskets of this branch are not in the order of its entries"):
        read(whole(path))["Muon_pt"]


def test_a_branch_with_fewer_entries_than_its_tree():
    chunk = whole(sample("late"))
    same(read(chunk).i, ak.Array(np.arange(160, dtype="i4")))
    with pytest.raises(
        AttributeError, match=r"Branch 'late' of .* cannot be used: it has 60 entries, the tree has 160"
    ):
        read(chunk)["late"]


def test_the_counter_is_found_by_its_leaf():
    columns = whole(sample("counters")).layout.columns
    assert columns["values"].counter == "size"  # its leaf has the name m of another branch
    assert "hit_x" not in columns  # its counter is one leaf of several in a branch, so uproot reads it


@pytest.mark.parametrize("kind", ["fast", "slow"])
def test_of_two_branches_with_one_name_the_first_is_read_and_noted(tmp_path, kind):
    first = np.arange(3.0) if kind == "fast" else np.arange(6.0).reshape(3, 2)
    path = write_tree(tmp_path / "f.root", {"xa": first, "xb": first + 10}, compression=None)
    path.write_bytes(path.read_bytes().replace(b"\2xb", b"\2xa"))
    made = make_plan(load_fileset(str(path)))
    (chunk,) = made.chunks.values()
    assert any("several branches called xa: the first" in note for note in made.notes)
    assert read(chunk).xa.to_list() == first.tolist()
    assert read(chunk, ["xa"]).xa.to_list() == first.tolist()


def test_vectors_of_streamed_objects():
    """uproot gives zero entries of such a vector another form than the others."""
    path = SAMPLES / "streamed.root"
    want = uproot.open(path)["Events"].arrays()
    for chunk in (whole(path), cut(whole(path), 0, 1), cut(whole(path), 4, 9)):
        events = read(chunk)
        for name in want.fields:
            part = want[name][chunk.entry_start : chunk.entry_stop]
            assert events[name].to_list() == part.to_list()
            assert events[name].type.content == part.type.content
    assert process(lambda events: {"x": events.jets.fP.fX}, str(path))["x"].to_list() == want.jets.fP.fX.to_list()


def test_an_odd_leaf_is_one_unreadable_branch(tmp_path, monkeypatch):
    path = write_tree(tmp_path / "f.root", {"x": np.arange(3), "odd": np.ones((3, 2))})
    original = uproot.TBranch.interpretation

    def interpretation(branch):
        if branch.name == "odd":
            raise NotImplementedError("a leaf of an unknown kind")
        return original.fget(branch)

    monkeypatch.setattr(uproot.TBranch, "interpretation", property(interpretation))
    chunk = whole(path)
    assert read(chunk).x.to_list() == [0, 1, 2]
    with pytest.raises(MissingBranchError, match=r"'odd' .*cannot be used: .*a leaf of an unknown kind"):
        _ = read(chunk).odd


def test_branches_with_more_entries_than_their_tree(tmp_path):
    """uproot and ROOT read as many entries as the tree says; here the report says so."""
    path = write_tree(tmp_path / "f.root", {"x": np.arange(300)}, compression=None)
    data = path.read_bytes()
    assert data.count((300).to_bytes(8, "big")) >= 2  # of the tree, and of its branch
    at = data.index((300).to_bytes(8, "big"))
    path.write_bytes(data[:at] + (200).to_bytes(8, "big") + data[at + 8 :])
    assert uproot.open(path)["Events"].num_entries == 200
    result = process(lambda events: {"x": events.x}, str(path))
    assert result["x"].to_list() == list(range(200))
    assert any("more entries than the tree says that it has (x)" in note for note in result.report.notes)


def test_the_hidden_fields_of_an_object_are_in_no_form():
    number = {"class": "NumpyArray", "primitive": "uint32"}
    point = {"class": "RecordArray", "fields": ["@pidf", "x"], "contents": [number, number]}
    record = {"class": "RecordArray", "fields": ["ref", "@other1", "point"], "contents": [number, number, point]}
    found = _without_hidden({"class": "ListOffsetArray", "offsets": "i64", "content": record})
    assert str(ak.forms.from_dict(found).type) == "var * {ref: uint32, point: {x: uint32}}"
