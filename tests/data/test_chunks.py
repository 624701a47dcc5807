"""Chunks: every entry in exactly one, cut at the edges of clusters; and what the files of a dataset must share."""

import dataclasses

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import SAMPLES, jagged, same, whole, write_nano, write_tree
from hypothesis import example, given
from hypothesis import strategies as st

from af_kit.data.chunks import split, target_entries
from af_kit.data.fileset.load import load_fileset
from af_kit.data.reading.read import read
from af_kit.errors import BranchError, FilesetError, InputError, ReadError
from af_kit.run.plan import make_plan, plan


@st.composite
def trees(draw):
    """Entries and cluster edges: none, one large cluster, many tiny ones, empty ones, unsorted edges."""
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
def test_chunks_start_and_end_at_cluster_edges_if_clusters_are_small_enough(tree, target):
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


@pytest.mark.parametrize("name", ["unaligned", "unflushed"])
def test_branches_whose_baskets_do_not_line_up(name):
    """No edge is shared by all branches: the tree is one cluster, cut into equal pieces."""
    layout = whole(SAMPLES / f"{name}.root").layout
    assert layout.clusters.tolist() == [0, layout.entries]
    sizes = [len(chunk) for chunk in plan(str(SAMPLES / f"{name}.root"), chunk_entries=40)]
    assert sum(sizes) == layout.entries
    assert max(sizes) - min(sizes) <= 1


def test_one_small_branch_with_other_baskets_does_not_change_the_clusters(tmp_path):
    assert whole(SAMPLES / "merged.root").layout.clusters.tolist()[:4] == [0, 60, 120, 150]


@pytest.mark.parametrize("bad", [0, -5, 2.5, "all"])
def test_an_invalid_chunk_size_is_refused(tmp_path, bad):
    with pytest.raises(InputError, match=r"chunk_entries=.*: give a whole number of entries, 1 or more"):
        plan(str(write_nano(tmp_path / "f.root", 4)), chunk_entries=bad)


def test_the_default_chunk_size_depends_only_on_the_data(tmp_path):
    layout = whole(write_nano(tmp_path / "f.root", 10)).layout.unpacked()
    small = dataclasses.replace(layout, entries=10**7, bytes=10**8)
    wide = dataclasses.replace(layout, entries=10**6, bytes=10**12)
    few = dataclasses.replace(layout, entries=500, bytes=5000)
    assert target_entries([small]) == 500_000
    assert target_entries([wide]) == 1000
    assert target_entries([few]) >= 500
    assert target_entries([dataclasses.replace(layout, entries=0, bytes=0)]) >= 1


def test_another_precision_is_noted_and_read(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, 10)
    x = np.arange(10)
    for i, kind in enumerate(["f4", "f8"]):
        write_tree(
            tmp_path / f"{i}.root",
            {"x": x.astype(kind), "v": ak.unflatten(np.arange(counts.sum()).astype(kind), counts)},
        )
    made = make_plan(load_fileset([str(tmp_path / f"{i}.root") for i in range(2)]))
    assert any(
        "x is double in 1 file(s)" in note and "1.root" in note and "float in its first" in note for note in made.notes
    )
    arrays = [read(chunk) for chunk in made.chunks.values()]
    assert [str(events.x.type.content) for events in arrays] == ["float32", "float64"]
    for events in arrays:
        assert events.x.to_list() == x.tolist()
        assert ak.flatten(events.v).to_list() == list(range(counts.sum()))


@pytest.mark.parametrize("use", [lambda chunk: read(chunk)["x"], lambda chunk: read(chunk, ["x", "y"])])
def test_a_branch_of_another_kind_is_refused_and_both_files_are_named(tmp_path, use):
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


@pytest.mark.parametrize(
    ("one", "other", "types"),
    [
        ("bool", "u1", "uint8_t here, but bool"),
        ("i4", "u4", "uint32_t here, but int32_t"),
        ("i4", "f4", "float here, but int32_t"),
        ("u8", "f8", "double here, but uint64_t"),
        ("f8", "bool", "bool here, but double"),
    ],
)
@pytest.mark.parametrize("jagged_too", [False, True])
def test_numbers_of_another_kind_are_refused_when_used(tmp_path, one, other, types, jagged_too):
    values = np.asarray([1, 0, 1, 1])
    files = []
    for kind in (one, other):
        x = values.astype(kind)
        column = ak.unflatten(x, [1, 2, 0, 1]) if jagged_too else x
        files.append(str(write_tree(tmp_path / f"{kind}.root", {"x": column, "y": values})))
    first, second = plan(files)
    assert ak.flatten(read(first).x, axis=None).to_list() == values.tolist()
    assert read(second).y.to_list() == values.tolist()
    types = types.replace(" here", r"(\[\])? here")
    with pytest.raises(BranchError, match=rf"'x' of .*{other}\.root cannot be used: it is {types}.* in .*{one}\.root"):
        _ = read(second)["x"]


def test_an_optional_number_is_of_another_kind(tmp_path):
    files = []
    for name, x in [("plain", ak.Array([1.0, 2.0])), ("optional", ak.Array([1.0, None]))]:
        files.append(str(tmp_path / f"{name}.root"))
        with uproot.recreate(files[-1]) as file:
            file.mkrntuple("Events", {"x": x})
    _, second = plan(files)
    with pytest.raises(BranchError, match=r"optional\.root cannot be used.*plain\.root"):
        _ = read(second)["x"]


def test_a_counter_of_another_kind_still_counts(tmp_path):
    """Older NanoAOD has unsigned counters, newer one signed: the collections are the same."""
    chunk = whole(write_nano(tmp_path / "f.root", 50))
    want = read(chunk)
    got = read(dataclasses.replace(chunk, layout=chunk.layout.without({"nMuon": "it is unsigned"})))
    assert [name for name in want.fields if name not in got.fields] == ["nMuon"]
    same(got.Muon.pt, want.Muon.pt)
    with pytest.raises(BranchError, match=r"'nMuon' of .* cannot be used: it is unsigned"):
        _ = got.nMuon
    chosen = dataclasses.replace(chunk, layout=chunk.layout.without({"nMuon": "it is unsigned"}))
    same(read(chosen, ["Muon"]).Muon.pt, want.Muon.pt)


def test_two_datasets_may_differ(tmp_path):
    rng = np.random.default_rng(0)
    write_tree(tmp_path / "number.root", {"x": np.arange(4.0)})
    write_tree(tmp_path / "list.root", {"x": jagged(rng, np.ones(4, int))})
    made = make_plan(load_fileset({"a": [str(tmp_path / "number.root")], "b": [str(tmp_path / "list.root")]}))
    assert not made.notes
    assert [read(chunk).x.ndim for chunk in made.chunks.values()] == [1, 2]


def test_ttree_and_rntuple_in_one_dataset(tmp_path):
    """The same numbers, one part written as TTree and the other as RNTuple in another precision."""
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


def test_an_object_that_is_not_a_tree_is_named():
    for name, kind in [("histogram", "TH1D"), ("tree/i", "TBranch"), ("ntuples", "folder")]:
        with pytest.raises(
            (ReadError, FilesetError), match=f"'{name}' in .*folders.root is a {kind}, not a TTree or RNTuple"
        ):
            plan(str(SAMPLES / "folders.root"), treename=name)


def test_a_file_that_was_never_closed_and_one_without_a_tree(tmp_path):
    with pytest.raises(ReadError, match=r"unclosed\.root\. The file is empty: the program that wrote it ended before"):
        plan(str(SAMPLES / "unclosed.root"), treename="Events")
    with uproot.recreate(tmp_path / "f.root") as file:
        file["h"] = np.histogram([1.0])
    with pytest.raises(ReadError, match=r"f\.root\. The file contains no tree\."):
        plan(str(tmp_path / "f.root"), treename="Events")
