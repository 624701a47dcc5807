"""Everything that is read equals what uproot reads, for all types, compressions, ranges and chunks."""

import itertools

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import CODECS, SAMPLES, bits, cut, jagged, same, whole, write_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from af_kit.data.reading.events import build
from af_kit.data.reading.read import read
from af_kit.data.reading.reader import Reader
from af_kit.errors import ReadError
from af_kit.run.plan import plan

PLAIN = ["b", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64"]


MUON = ["nMuon", "Muon_pt", "Muon_x", "Muon_ok", "Muon_charge", "Muon_id"]


JET = ["nJet", "Jet_id", "Jet_pt"]


FEW = [f"few_{kind}{more}" for kind in ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64") for more in ("", "s")]


# sample -> the branches that must use the fast path; uproot reads all others
FAST = {
    **{f"plain_{codec}": [*PLAIN, *MUON, *JET] for codec in CODECS},
    "unaligned": [*PLAIN, *MUON, *JET],
    "unflushed": ["nJet"],
    "merged": [*PLAIN, *MUON, *JET],
    "embedded": [],
    "counters": [*FEW, "size", "values", "m"],
    "offsetmap": ["nHit", "Hit_x", "v"],
    "stl": ["vf", "vd", "vi", "vb", "vh", "vs"],
    "objects": [
        f"{start}.f{part}"
        for start in ("one/fCoordinates/fCoordinates", "two/fCoordinates/fCoordinates", "three.fCoordinates")
        for part in ("Pt", "Eta", "Phi", "M")
    ],
    "rntuple": ["*"],  # all of them
    "ntuple_pages": ["*"],
    "ntuple_plain": ["*"],
    "ntuple_floats": ["*"],
    "ntuple_import": ["*"],
    "ntuple_variant": ["i"],
}


def sample(name):
    return SAMPLES / f"{name}.root"


def compare(chunk, names, tree):
    """Compare every branch of one chunk with uproot; return the statistics of the reader."""
    with Reader(chunk.replicas[0], chunk.layout, chunk.entry_start, chunk.entry_stop) as reader:
        events = build(reader, chunk.entry_start, chunk.entry_stop, {})
        for name in names:
            same(events[name], tree[name].array()[chunk.entry_start : chunk.entry_stop])
    return reader.stats


@pytest.mark.parametrize("name", FAST)
def test_all_branches_of_all_samples_equal_uproot(name):
    chunk = whole(sample(name))
    names = [n for n in chunk.layout.names if n not in chunk.layout.unreadable]
    with uproot.open(sample(name)) as file:
        stats = compare(chunk, names, file["Events"])
    assert stats.branches == set(names)
    assert stats.branches - stats.fallbacks == set(names if FAST[name] == ["*"] else FAST[name])


@pytest.mark.parametrize("name", FAST)
@settings(max_examples=8)
@given(data=st.data())
def test_any_range_equals_a_slice_of_the_whole(name, data):
    chunk = whole(sample(name))
    entries = chunk.layout.entries
    start = data.draw(st.integers(0, entries))
    stop = data.draw(st.integers(start, entries))
    part = cut(chunk, start, stop)
    names = [n for n in chunk.layout.names if n not in chunk.layout.unreadable]
    names = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=8, unique=True))
    with uproot.open(sample(name)) as file:
        compare(part, names, file["Events"])
        for branch in names:
            same(read(part)[branch], file["Events"][branch].array()[start:stop])


@pytest.mark.parametrize("name", ["stl", "unaligned", "merged"])
def test_a_range_that_ends_with_a_basket(name):
    """As most chunks do: with uproot alone, a strided object such as TLorentzVector fails there."""
    chunk = whole(sample(name))
    names = [n for n in chunk.layout.names if n not in chunk.layout.unreadable]
    with uproot.open(sample(name)) as file:
        edges = {int(edge) for branch in names for edge in file["Events"][branch].entry_offsets}
        for stop in sorted(edges):
            compare(cut(chunk, max(stop - 70, 0), stop), names, file["Events"])


@pytest.mark.parametrize("name", ["unaligned", "merged", "plain_lz4", "counters", "offsetmap", "stl"])
@settings(max_examples=10)
@given(data=st.data())
def test_a_partial_layout_uses_the_fast_path(name, data):
    """A worker must not open the file with uproot for baskets that extend beyond its range."""
    chunk = whole(sample(name))
    names = [n for n in FAST[name] if chunk.layout.columns[n].counter or chunk.layout.columns[n].header]
    covered = min(int(chunk.layout.columns[n].edges[-1]) for n in FAST[name])
    start = data.draw(st.integers(0, covered))
    stop = data.draw(st.integers(start, covered))
    part = chunk.layout.part(start, stop)
    want = {branch: read(chunk)[branch][start:stop] for branch in names}
    with pytest.MonkeyPatch.context() as patch, Reader(str(sample(name)), part, start, stop) as reader:
        patch.setattr("af_kit.data.reading.fallback.open_tree", lambda *_: pytest.fail("uproot opened the file"))
        events = build(reader, start, stop, {})
        for branch in names:
            same(events[branch], want[branch])
        assert not reader.stats.fallbacks


@pytest.mark.parametrize(
    "name", ["plain_zstd", "unaligned", "merged", "embedded", "rntuple", "ntuple_pages", "ntuple_import", "stl"]
)
@pytest.mark.parametrize("size", [1, 7, 64, 149, 10**6])
def test_chunks_of_any_size_add_up_to_the_whole(name, size):
    chunks = plan(str(sample(name)), treename="Events", chunk_entries=size if size > 1 or name == "embedded" else 13)
    branch = {"stl": "lv.fCoordinates.fPt"}.get(name, "Muon_pt")
    with uproot.open(sample(name)) as file:
        want = file["Events"][branch].array()
    got = ak.concatenate([read(chunk)[branch] for chunk in chunks])
    assert bits(got) == bits(want)


def test_the_samples():
    """Check the samples: otherwise the tests of unusual files may test ordinary ones."""

    def baskets(name, branch):
        with uproot.open(sample(name)) as file:
            found = file["Events"][branch]
            return found._num_normal_baskets, len(found.embedded_baskets)

    assert baskets("embedded", "Muon_pt") == (0, 1)
    assert baskets("unflushed", "Muon_x") == (2, 1)
    edges = {name: whole(sample("unaligned")).layout.columns[name].edges.tolist() for name in MUON}
    assert len(edges["nMuon"]) == 4
    assert len({str(edge) for edge in edges.values()}) > 3


DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def of_all_types(rng, entries):
    """Plain, fixed-size and jagged branches of random bytes, of every type."""
    columns = {}
    for dtype in map(np.dtype, DTYPES):
        kind = dtype.str[1:].replace("?", "b1")
        raw = rng.integers(0, 2, entries).astype(bool) if dtype == "?" else None
        columns[f"x_{kind}"] = np.frombuffer(rng.bytes(entries * dtype.itemsize), dtype) if raw is None else raw
        if dtype != "?":
            counts = rng.integers(0, 4, entries)
            columns[f"{kind}s"] = jagged(rng, counts, dtype)
    columns["place"] = rng.normal(size=(entries, 3)).astype("f4")
    return columns


@pytest.mark.parametrize("codec", CODECS)
def test_all_types_and_compressions_of_uproot(tmp_path, codec):
    rng = np.random.default_rng(3)
    sizes = (40, 1, 160, 7)
    path = write_tree(tmp_path / "f.root", *(of_all_types(rng, n) for n in sizes), compression=CODECS[codec])
    chunk = whole(path)
    assert chunk.layout.clusters.tolist() == [0, 40, 41, 201, 208]
    with uproot.open(path) as file:
        for start, stop in [(0, 208), (0, 40), (39, 42), (41, 201), (100, 101), (208, 208)]:
            stats = compare(cut(chunk, start, stop), chunk.layout.names, file["Events"])
            assert stats.fallbacks == {"place"}


@pytest.mark.parametrize("baskets", [1, 9, 10, 11, 20, 21, 100])
def test_any_number_of_baskets(tmp_path, baskets):
    """ROOT's tables of baskets grow in steps; at their ends an edge is easily lost."""
    rng = np.random.default_rng(4)
    parts = [{"x": rng.normal(size=3), "v": jagged(rng, rng.integers(0, 3, 3))} for _ in range(baskets)]
    path = write_tree(tmp_path / "f.root", *parts)
    chunk = whole(path)
    assert chunk.layout.clusters.tolist() == list(range(0, 3 * baskets + 1, 3))
    with uproot.open(path) as file:
        for part in (chunk, cut(chunk, 3 * baskets - 2, 3 * baskets)):
            assert not compare(part, ["x", "v", "nv"], file["Events"]).fallbacks


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "lzma"])
def test_a_basket_of_more_than_one_compressed_block(tmp_path, codec):
    """A block has at most 16 MB; the rest must be read from the next one. (LZMA takes too long here.)"""
    x = np.arange(2_200_000, dtype="f8") % 1000
    columns = {"x": x, "v": ak.unflatten(x.astype("f4"), np.tile([0, 1, 2, 1], 550_000))}
    path = write_tree(tmp_path / "f.root", columns, compression=CODECS[codec])
    chunk = whole(path)
    # the data of v ends in the first block, its offsets in the second
    assert not {"x", "v"} - set(chunk.layout.columns)
    for start, stop in [(0, 2_200_000), (2_199_000, 2_200_000)]:
        events = read(cut(chunk, start, stop), verify=True)
        assert events.x.to_numpy().tobytes() == x[start:stop].tobytes()
        same(events.v, uproot.open(path)["Events/v"].array(entry_start=start, entry_stop=stop))


def test_empty_collections_and_empty_trees(tmp_path):
    path = tmp_path / "f.root"
    rng = np.random.default_rng(5)
    nothing = np.zeros(6, int)
    with uproot.recreate(path) as file:
        file.mktree("Events", {"x": "i8", "v": "var * float32", "u": "var * float32"})
        file["Events"].extend({"x": np.arange(6), "v": jagged(rng, nothing), "u": jagged(rng, nothing + 1)})
        file.mktree("none", {"x": "f8", "v": "var * float32"})
    chunk = whole(path)
    with uproot.open(path) as file:
        compare(chunk, chunk.layout.names, file["Events"])
        compare(cut(chunk, 2, 3), chunk.layout.names, file["Events"])
        none = whole(path, "none")
        assert (none.entry_start, none.entry_stop) == (0, 0)
        compare(none, none.layout.names, file["none"])


def test_an_rntuple_without_entries(tmp_path):
    with uproot.recreate(tmp_path / "f.root") as file:
        file.mkrntuple("Events", {"x": np.zeros(0), "nMuon": np.zeros(0, "i4"), "Muon_pt": ak.Array([[1.0]])[:0]})
    chunk = whole(tmp_path / "f.root")
    assert len(chunk) == 0
    events = read(chunk)
    assert str(events.x.type) == "0 * float64"
    assert str(events.Muon.pt.type) == "0 * var * float64"


def test_a_bool_keeps_its_byte(tmp_path):
    """Files contain uninitialised flags, which must be read as they are."""
    path = write_tree(tmp_path / "f.root", {"b": np.asarray([True, False, True])}, compression=None)
    chunk = whole(path)
    end = int((chunk.layout.columns["b"].seeks + chunk.layout.columns["b"].sizes)[0])
    data = bytearray(path.read_bytes())
    data[end - 3 : end] = b"\x02\x00\xff"
    path.write_bytes(data)
    with uproot.open(path) as file:
        assert bits(read(chunk).b) == bits(file["Events/b"].array())
    assert read(chunk)[read(chunk).b].b.to_list() == [True, True]


def test_rntuples_that_uproot_writes(tmp_path):
    path = tmp_path / "f.root"
    rng = np.random.default_rng(6)

    def columns(entries):
        counts = rng.integers(0, 4, entries)
        return {
            **{f"x_{d.replace('?', 'b1')}": rng.integers(0, 2, entries).astype(d) for d in DTYPES},
            "nMuon": counts.astype("i4"),
            "Muon_pt": jagged(rng, counts),
            "words": ak.Array([str(i) * (i % 4) for i in range(entries)]),
            "hits": ak.zip({"a": jagged(rng, counts, "i4"), "b": jagged(rng, counts, "f8")}),
            "deep": ak.Array([[[i] * k for k in range(i % 3)] for i in range(entries)]),
        }

    first = columns(30)
    with uproot.recreate(path) as file:
        ntuple = file.mkrntuple("Events", first)
        ntuple.extend(columns(11))
    chunk = whole(path)
    assert chunk.layout.kind == "RNTuple"
    assert chunk.layout.clusters.tolist() == [0, 30, 41]
    with uproot.open(path) as file:
        for start, stop in [(0, 41), (0, 30), (30, 41), (29, 31), (5, 5), (7, 8)]:
            compare(cut(chunk, start, stop), chunk.layout.names, file["Events"])
    assert read(chunk).Muon.fields == ["pt"]


KINDS = ["number", "list", "deep", "records", "text", "array", "option"]


def column_of(kind, dtype, most, rng, entries):
    """A column of random bytes for an RNTuple; lists have fewer than ``most`` elements."""

    def numbers(n):
        raw = np.frombuffer(rng.bytes(int(n) * np.dtype(dtype).itemsize), np.uint8)
        return raw % 2 == 1 if dtype == "?" else raw.view(dtype)

    counts = rng.integers(0, most, entries)
    inner = rng.integers(0, 3, counts.sum())
    if kind == "list":
        return ak.unflatten(numbers(counts.sum()), counts)
    if kind == "deep":
        return ak.unflatten(ak.unflatten(numbers(inner.sum()), inner), counts)
    if kind == "records":
        fields = {"x": numbers(counts.sum()), "y": ak.unflatten(numbers(inner.sum()), inner)}
        return ak.unflatten(ak.zip(fields, depth_limit=1), counts)
    if kind == "text":
        return ak.Array(["", *("ab" * int(n) for n in counts)])[1:]  # has a type also without entries
    if kind == "array":
        return ak.Array(numbers(3 * entries).reshape(-1, 3))
    if kind == "option":
        masked = ak.mask(ak.Array(numbers(entries)), rng.integers(0, 2, entries) == 1)
        return ak.Array(masked.layout.to_IndexedOptionArray64())
    return numbers(entries)


@settings(max_examples=25)
@given(data=st.data())
def test_any_rntuple_equals_uproot(tmp_path_factory, data):
    """Random fields, clusters and compression, written by uproot; any range, also within a cluster."""
    kinds = data.draw(
        st.lists(
            st.tuples(st.sampled_from(KINDS), st.sampled_from(DTYPES), st.sampled_from([2, 5, 40])),
            min_size=1,
            max_size=4,
        )
    )
    sizes = [data.draw(st.integers(1, 60)), *data.draw(st.lists(st.integers(0, 60), max_size=3))]
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    parts = [{f"f{i}": column_of(*kind, rng, n) for i, kind in enumerate(kinds)} for n in sizes]
    path = tmp_path_factory.mktemp("any") / "f.root"
    with uproot.recreate(path, compression=CODECS[data.draw(st.sampled_from(sorted(CODECS)))]) as file:
        ntuple = file.mkrntuple("Events", parts[0])
        for part in parts[1:]:
            ntuple.extend(part)
    chunk = whole(path)
    stop = data.draw(st.integers(0, sum(sizes)))
    start = data.draw(st.integers(0, stop))
    with uproot.open(path) as file:
        for one in (chunk, cut(chunk, start, stop)):
            assert not compare(one, chunk.layout.names, file["Events"]).fallbacks


@settings(max_examples=25)
@given(data=st.data())
def test_any_range_of_fields_that_were_added_later(data):
    """uproot 5.7 shifts the elements of such an array in a range within the file."""
    chunk = whole(sample("ntuple_late"))
    want = {name: read(chunk)[name] for name in chunk.layout.names}
    start = data.draw(st.integers(0, 200))
    stop = data.draw(st.integers(start, 200))
    for layout in (chunk.layout, chunk.layout.part(start, stop)):
        with Reader(chunk.file, layout, start, stop) as reader:
            events = build(reader, start, stop, {})
            for name, whole_column in want.items():
                same(events[name], whole_column[start:stop])


def test_optional_values_that_are_stored_wrongly_are_refused(tmp_path):
    """uproot 5.7 also stores the values behind None of a masked array, so that all later ones would be wrong."""
    masked = ak.mask(ak.Array([1, 2, 3]), [True, False, True])
    with uproot.recreate(tmp_path / "f.root") as file:
        file.mkrntuple("Events", {"x": masked, "y": masked.layout.to_IndexedOptionArray64()})
    with uproot.open(tmp_path / "f.root") as file:
        assert file["Events/x"].array().to_list() == [1, None, 2]
    events = read(whole(tmp_path / "f.root"))
    assert events.y.to_list() == [1, None, 3]
    with pytest.raises(ReadError, match=r"'x' is damaged .*do not have as many elements as their cluster"):
        _ = events.x.to_list()


def test_a_tree_reads_the_same_as_an_rntuple(tmp_path):
    rng = np.random.default_rng(7)
    counts = rng.integers(0, 4, 50)
    columns = {"nMuon": counts.astype("i4"), "Muon_pt": jagged(rng, counts), "run": np.arange(50, dtype="u4")}
    with uproot.recreate(tmp_path / "n.root") as file:
        file.mkrntuple("Events", columns)
    write_tree(tmp_path / "t.root", {"Muon": ak.zip({"pt": columns["Muon_pt"]}), "run": columns["run"]})
    ntuple, tree = read(whole(tmp_path / "n.root")), read(whole(tmp_path / "t.root"))
    for name in ("nMuon", "Muon_pt", "run"):
        same(ntuple[name], tree[name])
    assert sorted(ntuple.fields) == sorted(tree.fields)


def test_entries_are_in_order(tmp_path):
    """The simplest check, independent of uproot's reader: entry i has the value i."""
    parts = [np.arange(a, b) for a, b in itertools.pairwise([0, 1, 2, 50, 51, 90, 130])]
    parts = [{"i": i, "v": ak.unflatten(np.repeat(i, i % 3), i % 3)} for i in parts]
    path = write_tree(tmp_path / "f.root", *parts)
    for size in (1, 2, 30, 49, 50, 130):
        at = 0
        for chunk in plan(str(path), chunk_entries=size):
            events = read(chunk)
            i = np.arange(chunk.entry_start, chunk.entry_stop)
            assert chunk.entry_start == at
            assert events.i.to_list() == i.tolist()
            assert events.v.to_list() == [[k] * (k % 3) for k in i]
            at = chunk.entry_stop
        assert at == 130
