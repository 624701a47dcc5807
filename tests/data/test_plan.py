"""The plan: every entry of every file in exactly one chunk, cut where it costs nothing, and planned once."""

import dataclasses
import itertools
import pickle

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import SAMPLES, jagged, same, whole, write_nano, write_tree
from hypothesis import example, given
from hypothesis import strategies as st

from af_kit.data import chunks as module
from af_kit.data.chunks import make_plan, split
from af_kit.data.fileset.load import load_fileset
from af_kit.data.reading.read import read
from af_kit.errors import BranchError, FilesetError, InputError, MissingBranchError, ReadError
from af_kit.run.plan import plan


@st.composite
def trees(draw):
    """Entries and cluster edges: none, one giant, many tiny ones, empty ones, edges that are not in order."""
    sizes = draw(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 400)), max_size=40))
    edges = np.cumsum([0, *sizes])
    return int(edges[-1]), draw(st.permutations(edges.tolist())) if draw(st.booleans()) else edges


@given(tree=trees(), target=st.integers(1, 500))
@example(tree=(0, [0]), target=10)
@example(tree=(1, [0, 1]), target=10)
@example(tree=(9, [0, 9]), target=10)
@example(tree=(10, [0, 10]), target=10)
@example(tree=(11, [0, 11]), target=10)
@example(tree=(21, [0, 1, 21]), target=10)
@example(tree=(10**12, [0, 10**12]), target=10**10)
def test_every_entry_is_in_exactly_one_chunk_and_no_chunk_is_too_large(tree, target):
    entries, clusters = tree
    cuts = split(entries, np.sort(np.asarray(clusters)), target)
    assert cuts[0] == 0
    assert cuts[-1] == entries
    sizes = np.diff(cuts)
    assert (sizes > 0).all()
    assert (sizes <= target).all()


@given(tree=trees(), target=st.integers(1, 500))
@example(tree=(10, [0, 5, 10]), target=10)
@example(tree=(20, [0, 5, 10, 15, 20]), target=10)
@example(tree=(10, [0, 3, 10]), target=9)
def test_chunks_begin_and_end_with_clusters_where_these_are_small_enough(tree, target):
    entries, clusters = tree
    clusters = np.sort(np.asarray(clusters))
    inside = np.diff(clusters)
    cuts = split(entries, clusters, target)
    for edge in cuts:
        if edge not in clusters:  # only a cluster larger than a chunk is cut
            around = np.searchsorted(clusters, edge) - 1
            assert inside[around] > target
    if (inside <= target).all():
        # neighbours that fit into one chunk are in one
        assert all(stop - start > target for start, stop in zip(cuts[:-2], cuts[2:], strict=True))


@given(st.lists(st.integers(0, 60), max_size=6), st.integers(1, 70))
def test_whatever_the_files_hold_the_plan_holds_it_once(tmp_path_factory, sizes, target):
    folder = tmp_path_factory.mktemp("plan")
    paths = [_counted(folder / f"{i}.root", size) for i, size in enumerate(sizes)] or [_counted(folder / "a.root", 0)]
    found = plan({"data": {"files": [str(path) for path in paths], "treename": "Events"}}, chunk_entries=target)
    ranges = {str(path): [] for path in paths}
    for chunk in found:
        assert len(chunk) == chunk.entry_stop - chunk.entry_start <= target
        ranges[chunk.file] += range(chunk.entry_start, chunk.entry_stop)
    for path, size in zip(paths, sizes, strict=False):
        assert ranges[str(path)] == list(range(size))
    assert [chunk.file for chunk in found] == sorted((chunk.file for chunk in found), key=[*ranges].index)
    if not any(sizes):  # nothing at all: one empty chunk, so that the results exist
        assert [len(chunk) for chunk in found] == [0]
        assert len(read(found[0])) == 0


_files = {}


def _counted(path, size):
    """A file with ``size`` entries; each size is written once, then copied."""
    if size not in _files:
        _files[size] = write_tree(path, {"x": np.arange(size)}).read_bytes()
    path.write_bytes(_files[size])
    return path


def test_a_dataset_without_entries_gets_one_empty_chunk_and_the_others_none(tmp_path):
    empty = [_counted(tmp_path / f"{i}.root", 0) for i in range(3)]
    full = _counted(tmp_path / "full.root", 5)
    found = plan(
        {
            "full": {"files": {str(full): "Events", str(empty[0]): "Events"}},
            "empty": {"files": {str(empty[1]): "Events", str(empty[2]): "Events"}, "metadata": {"xsec": 1.0}},
        }
    )
    assert [(chunk.dataset, len(chunk)) for chunk in found] == [("full", 5), ("empty", 0)]
    assert read(found[1]).metadata["xsec"] == 1.0
    assert read(found[1]).fields == ["x"]


def test_the_order_is_dataset_file_entry(tmp_path):
    paths = [_counted(tmp_path / f"{name}.root", 25) for name in ("z", "a", "m")]
    found = plan({"second": [str(paths[0]), str(paths[1])], "first": [str(paths[2])]}, chunk_entries=10)
    assert [(c.dataset, c.file) for c in found[::3]] == [
        ("second", str(paths[0])),
        ("second", str(paths[1])),
        ("first", str(paths[2])),
    ]
    assert all(a.entry_stop == b.entry_start for a, b in itertools.pairwise(found) if a.file == b.file)


@pytest.mark.parametrize("name", ["unaligned", "unflushed"])
def test_branches_whose_baskets_do_not_line_up(name):
    """No edge is shared by all: the clusters are the whole tree, and it is cut evenly."""
    layout = whole(SAMPLES / f"{name}.root").layout
    assert layout.clusters.tolist() == [0, layout.entries]
    sizes = [len(chunk) for chunk in plan(str(SAMPLES / f"{name}.root"), chunk_entries=40)]
    assert sum(sizes) == layout.entries
    assert max(sizes) - min(sizes) <= 1


def test_one_small_branch_of_another_rhythm_does_not_spoil_the_clusters(tmp_path):
    assert whole(SAMPLES / "merged.root").layout.clusters.tolist()[:4] == [0, 60, 120, 150]


@pytest.mark.parametrize("bad", [0, -5, 2.5, "all"])
def test_a_chunk_size_that_is_none_is_refused(tmp_path, bad):
    with pytest.raises(InputError, match=r"chunk_entries=.*: give a whole number of entries, 1 or more"):
        plan(str(write_nano(tmp_path / "f.root", 4)), chunk_entries=bad)


def test_a_default_chunk_size_depends_on_the_data_alone(tmp_path):
    layout = whole(write_nano(tmp_path / "f.root", 10)).layout.unpacked()
    small = dataclasses.replace(layout, entries=10**7, bytes=10**8)
    wide = dataclasses.replace(layout, entries=10**6, bytes=10**12)
    few = dataclasses.replace(layout, entries=500, bytes=5000)
    assert module.target_entries([small]) == 500_000
    assert module.target_entries([wide]) == 1000
    assert module.target_entries([few]) >= 500
    assert module.target_entries([dataclasses.replace(layout, entries=0, bytes=0)]) >= 1


# ---- planned once -------------------------------------------------------------------------------------------------


@pytest.fixture
def described(monkeypatch):
    """How often a file's metadata was really parsed."""
    parsed = []
    from af_kit.data.reading import describe

    for kind in ("_describe_ttree", "_describe_rntuple"):
        original = getattr(describe, kind)
        monkeypatch.setattr(describe, kind, lambda *a, original=original: (parsed.append(a[1]), original(*a))[1])
    return parsed


def test_a_file_is_parsed_once_and_anew_when_it_was_written_anew(tmp_path, described):
    path = write_nano(tmp_path / "f.root", 20)
    first = plan(str(path))
    again = plan(str(path))
    assert len(described) == 1
    assert again == first
    write_nano(path, 30, seed=2)
    third = plan(str(path))
    assert len(described) == 2
    assert sum(map(len, third)) == 30
    assert third[0].uuid != first[0].uuid
    assert plan(str(path)) == third


def test_a_file_that_goes_away_is_not_planned_from_memory(tmp_path):
    path = write_nano(tmp_path / "f.root", 20)
    plan(str(path))
    path.unlink()
    with pytest.raises(ReadError, match="does not exist"):
        plan({"d": {"files": {str(path): "Events"}}})


def test_two_trees_of_one_file_are_two_plans():
    path = str(SAMPLES / "folders.root")
    assert [len(plan(path, treename=name)[0]) for name in ("ntuples/Events", "tree", "tree;1")] == [11, 8, 5]
    assert [len(plan(path, treename=name)[0]) for name in ("ntuples/Events", "tree", "tree;1")] == [11, 8, 5]
    assert read(plan(path, treename="ntuples/small")[0]).y.to_list() == [2]


def test_a_replica_that_answers_is_enough(tmp_path):
    path = write_nano(tmp_path / "f.root", 20)
    missing = tmp_path / "missing.root"
    fileset = load_fileset({"d": {"files": [{"replicas": [str(missing), str(path)]}], "treename": "Events"}})
    (chunk,) = plan(fileset)
    assert chunk.file == str(missing)
    assert chunk.replicas == (str(missing), str(path))
    assert len(read(chunk, replica=1).run) == 20


def test_files_that_cannot_be_planned_are_all_named_and_keep_their_place(tmp_path):
    good = write_nano(tmp_path / "good.root", 20)
    (tmp_path / "text.root").write_text("no")
    fileset = {"d": {"files": {str(tmp_path / "text.root"): "Events", str(good): "Events", str(good) + "x": "Events"}}}
    with pytest.raises(ReadError, match=r"2 of 3 files cannot be used: .*text\.root is not a ROOT file.*exist"):
        plan(fileset)
    made = make_plan(load_fileset(fileset))
    assert list(made.unplanned) == [0, 2]
    assert list(made.chunks) == [1]
    assert made.files == 3


def test_planning_on_the_workers_is_planning_here(tmp_path):
    from distributed import Client

    paths = [write_nano(tmp_path / f"{i}.root", 10 + i, seed=i) for i in range(3)]
    fileset = {"d": {"files": [str(path) for path in paths], "treename": "Events"}}
    bad = {"d": {"files": [str(paths[0]), str(tmp_path / "none.root")], "treename": "Events"}}
    local = plan(fileset, chunk_entries=4)
    module._layouts.clear()
    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as client:
        there = plan(fileset, chunk_entries=4, client=client)
        assert there == local
        assert [pickle.dumps(c.layout) for c in there] == [pickle.dumps(c.layout) for c in local]
        assert plan(fileset, chunk_entries=4, client=client) == local  # nothing is parsed again
        with pytest.raises(ReadError, match=r"1 of 2 files cannot be used: .*none\.root does not exist"):
            plan(bad, client=client)


# ---- what the files of a dataset have to have in common ------------------------------------------------------------


def test_declared_branches_are_checked_in_every_file(tmp_path):
    good = write_nano(tmp_path / "good.root", 5)
    other = write_tree(tmp_path / "other.root", {"run": np.arange(3)})
    with pytest.raises(MissingBranchError, match=r"no branch 'Muon_pt' in tree 'Events' of .*other\.root"):
        plan([str(good), str(other)], branches=["Muon_pt"])
    assert sum(map(len, plan([str(good), str(other)], branches=["run"]))) == 8


def test_another_precision_is_noted_and_read(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, 10)
    x = np.arange(10)
    for i, kind in enumerate(["f4", "f8", "i4"]):
        write_tree(
            tmp_path / f"{i}.root",
            {"x": x.astype(kind), "v": ak.unflatten(np.arange(counts.sum()).astype(kind), counts)},
        )
    made = make_plan(load_fileset([str(tmp_path / f"{i}.root") for i in range(3)]))
    assert any(
        "x is double in 1 file(s)" in note and "1.root" in note and "float in its first" in note for note in made.notes
    )
    arrays = [read(chunk) for chunk in made.chunks.values()]
    assert [str(events.x.type.content) for events in arrays] == ["float32", "float64", "int32"]
    for events in arrays:
        assert events.x.to_list() == x.tolist()
        assert ak.flatten(events.v).to_list() == list(range(counts.sum()))


@pytest.mark.parametrize("use", [lambda chunk: read(chunk)["x"], lambda chunk: read(chunk, ["x", "y"])])
def test_another_kind_is_refused_and_both_files_are_named(tmp_path, use):
    rng = np.random.default_rng(0)
    write_tree(tmp_path / "number.root", {"x": np.arange(4.0), "y": np.arange(4.0)})
    write_tree(tmp_path / "list.root", {"x": jagged(rng, np.ones(4, int)), "y": np.arange(4.0)})
    files = [str(tmp_path / "number.root"), str(tmp_path / "list.root")]
    first, second = plan(files)
    same(read(first).x, ak.Array(np.arange(4.0)))
    same(read(second).y, ak.Array(np.arange(4.0)))
    with pytest.raises(
        BranchError, match=r"'x' of .*list\.root cannot be used: it is float\[\] here, but double in .*number\.root"
    ):
        use(second)


def test_two_datasets_may_differ(tmp_path):
    rng = np.random.default_rng(0)
    write_tree(tmp_path / "number.root", {"x": np.arange(4.0)})
    write_tree(tmp_path / "list.root", {"x": jagged(rng, np.ones(4, int))})
    made = make_plan(load_fileset({"a": [str(tmp_path / "number.root")], "b": [str(tmp_path / "list.root")]}))
    assert not made.notes
    assert [read(chunk).x.ndim for chunk in made.chunks.values()] == [1, 2]


def test_the_same_numbers_stored_in_another_way_are_the_same_numbers(tmp_path):
    """A dataset of which one part was written as TTree and another as RNTuple, and in another precision."""
    write_tree(tmp_path / "t.root", {"x": np.arange(5.0)})
    with uproot.recreate(tmp_path / "n.root") as file:
        file.mkrntuple("Events", {"x": np.arange(5, dtype="f4")})
    made = make_plan(load_fileset([str(tmp_path / "t.root"), str(tmp_path / "n.root")]))
    assert [read(chunk).x.to_list() for chunk in made.chunks.values()] == [list(range(5))] * 2
    assert "x is float in 1 file(s)" in made.notes[0]


def test_a_missing_tree_names_the_nearest(tmp_path):
    path = write_nano(tmp_path / "f.root", 5)
    with pytest.raises(ReadError, match=r"no tree 'Event' in .*f\.root\. Did you mean 'Events'\?"):
        plan(str(path), treename="Event")


def test_what_is_no_tree_is_said():
    for name, kind in [("histogram", "TH1D"), ("tree/i", "TBranch"), ("ntuples", "folder")]:
        with pytest.raises(
            (ReadError, FilesetError), match=f"'{name}' in .*folders.root is a {kind}, not a TTree or RNTuple"
        ):
            plan(str(SAMPLES / "folders.root"), treename=name)


def test_a_file_that_was_never_closed_is_told_from_one_without_a_tree(tmp_path):
    with pytest.raises(
        ReadError, match=r"unclosed\.root\. The file holds nothing at all: whatever wrote it ended before"
    ):
        plan(str(SAMPLES / "unclosed.root"), treename="Events")
    with uproot.recreate(tmp_path / "f.root") as file:
        file["h"] = np.histogram([1.0])
    with pytest.raises(ReadError, match=r"f\.root\. The file holds no tree at all\."):
        plan(str(tmp_path / "f.root"), treename="Events")
