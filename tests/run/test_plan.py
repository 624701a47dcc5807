"""The plan: the chunks of every file in order, each file parsed once, here or on the workers."""

import itertools
import pickle
import threading

import numpy as np
import pytest
from bits import SAMPLES, write_nano, write_tree
from hypothesis import given
from hypothesis import strategies as st

from af_kit.data.fileset.load import load_fileset
from af_kit.data.reading.read import read
from af_kit.errors import MissingBranchError, ReadError
from af_kit.run import plan as module
from af_kit.run.plan import make_plan, plan


@given(st.lists(st.integers(0, 60), max_size=6), st.integers(1, 70))
def test_the_plan_holds_every_entry_of_any_files_once(tmp_path_factory, sizes, target):
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
    """A file with ``size`` entries; each size is written once, then copied with another identifier."""
    if size not in _files:
        _files[size] = write_tree(path, {"x": np.arange(size)}).read_bytes()
    data = bytearray(_files[size])
    data[47:63] = path.name.encode().ljust(16)
    path.write_bytes(data)
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


# ---- planned once -------------------------------------------------------------------------------------------------


@pytest.fixture
def described(monkeypatch):
    """A list that grows each time the metadata of a file are parsed."""
    parsed = []
    from af_kit.data.reading import describe

    def noting(original):
        def noted(*arguments):
            found = original(*arguments)
            if found is not None:  # else the tree is left to the next way
                parsed.append(found.path)
            return found

        return noted

    for kind in ("_describe_flat", "_describe_ttree", "describe_rntuple"):
        monkeypatch.setattr(describe, kind, noting(getattr(describe, kind)))
    return parsed


def test_a_file_is_parsed_once_and_again_after_it_was_rewritten(tmp_path, described):
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


def test_a_removed_file_is_not_planned_from_memory(tmp_path):
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


def test_files_that_cannot_be_opened_are_all_named_and_keep_their_position(tmp_path):
    good = write_nano(tmp_path / "good.root", 20)
    (tmp_path / "text.root").write_text("no")
    fileset = {"d": {"files": {str(tmp_path / "text.root"): "Events", str(good): "Events", str(good) + "x": "Events"}}}
    with pytest.raises(ReadError, match=r"2 of 3 files cannot be used: .*text\.root is not a ROOT file.*exist"):
        plan(fileset)
    made = make_plan(load_fileset(fileset))
    assert list(made.unplanned) == [0, 2]
    assert list(made.chunks) == [1]
    assert made.files == 3


def test_planning_on_the_workers_gives_the_same_plan(tmp_path):
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


def test_declared_branches_are_checked_in_every_file(tmp_path):
    good = write_nano(tmp_path / "good.root", 5)
    other = write_tree(tmp_path / "other.root", {"run": np.arange(3)})
    with pytest.raises(MissingBranchError, match=r"no branch 'Muon_pt' in tree 'Events' of .*other\.root"):
        plan([str(good), str(other)], branches=["Muon_pt"])
    assert sum(map(len, plan([str(good), str(other)], branches=["run"]))) == 8


# ---- on workers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prefix", "together"), [("root://server//store", 8), ("/store", 1)])
def test_a_task_describes_remote_files_side_by_side(monkeypatch, prefix, together):
    from af_kit.data import chunks
    from af_kit.data.fileset.load import File
    from af_kit.run import describe

    here, most, lock = 0, 0, threading.Lock()
    all_here = threading.Barrier(together)

    def described(file, known):
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        all_here.wait(20)  # fails if fewer than these are here at a time
        with lock:
            here -= 1
        return file.path

    monkeypatch.setattr(chunks, "describe_file", described)
    files = [File((f"{prefix}/{i}.root",), "Events") for i in range(16)]
    assert describe.describe_files(files, [None] * 16) == [file.path for file in files]
    assert most == together
