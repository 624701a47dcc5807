"""Lazy reading: only what is used, only once, what is declared is checked, and nothing stays open."""

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import SAMPLES, bits, cut, jagged, same, whole, write_nano, write_tree

from af_kit.data.reading.events import build
from af_kit.data.reading.open_file import open_tree
from af_kit.data.reading.read import read
from af_kit.data.reading.reader import Reader
from af_kit.errors import BranchError, InputError, MissingBranchError, ReadError
from af_kit.run.plan import plan


@pytest.fixture
def nano(tmp_path):
    return whole(write_nano(tmp_path / "nano.root", 300, clusters=3))


def opened(chunk):
    """Events and their reader, whose account can be looked at."""
    reader = Reader(chunk.replicas[0], chunk.layout, chunk.entry_start, chunk.entry_stop)
    return build(reader, chunk.entry_start, chunk.entry_stop, {}), reader


# ---- what is read --------------------------------------------------------------------------------------------------


def test_nothing_is_read_until_it_is_used(nano):
    events, reader = opened(nano)
    assert len(events) == 300
    assert "Muon" in events.fields
    assert events.Muon.fields == ["pt", "eta", "phi", "mass", "charge"]
    assert str(events.run.type) == "300 * uint32"
    repr(events)
    assert hasattr(events, "HLT")
    assert events.metadata == {}
    assert reader.stats.branches == set()
    assert reader.stats.bytes_read == 0


def test_only_the_branches_of_an_expression_are_read_and_masks_stay_lazy(nano):
    events, reader = opened(nano)
    good = events[events.HLT.IsoMu24]
    assert reader.stats.branches == {"HLT_IsoMu24"}
    muons = good.Muon[good.Muon.pt > 20]
    assert reader.stats.branches == {"HLT_IsoMu24", "nMuon", "Muon_pt"}
    pairs = muons[ak.num(muons) == 2]
    assert reader.stats.branches == {"HLT_IsoMu24", "nMuon", "Muon_pt"}
    mass = (pairs[:, 0] + pairs[:, 1]).mass
    assert len(mass) == len(pairs)
    wanted = {"HLT_IsoMu24", "nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass"}
    assert reader.stats.branches == wanted
    with uproot.open(nano.file) as file:
        sizes = {name: file["Events"][name].compressed_bytes for name in wanted}
    assert sum(sizes.values()) <= reader.stats.bytes_read < 1.3 * sum(sizes.values()) + 6 * 3 * 100


def test_a_branch_is_read_once(nano, monkeypatch):
    events, reader = opened(nano)
    _ = ak.sum(events.Muon.pt)
    before = reader.stats.bytes_read
    _ = ak.sum(events.Muon.pt), events["Muon_pt"].to_list(), ak.num(events.Muon), reader.numbers("Muon_pt")
    assert reader.stats.bytes_read == before


def test_the_number_of_muons_needs_the_counter_alone(nano):
    events, reader = opened(nano)
    _ = ak.num(events.Muon).to_list()
    assert reader.stats.branches == {"nMuon"}


def test_an_odd_range_reads_the_baskets_that_it_overlaps_and_no_others(nano):
    _, reader = opened(cut(nano, 120, 180))
    reader.numbers("event")
    assert reader.stats.bytes_read == nano.layout.columns["event"].sizes[1]


def test_what_falls_back_to_uproot_is_told_and_counted():
    events, reader = opened(whole(SAMPLES / "plain_zlib.root"))
    _ = events.i32.to_list(), events.fixed.to_list()
    assert reader.stats.fallbacks == {"fixed"}
    with uproot.open(SAMPLES / "plain_zlib.root") as file:
        stored = sum(file["Events"][name].compressed_bytes for name in ("i32", "fixed"))
    assert stored <= reader.stats.bytes_read < stored + 2000


def test_events_of_several_cuts_of_one_reader_are_those_of_their_own(nano):
    reader = Reader(nano.file, nano.layout, 50, 250)
    for start, stop in [(50, 100), (100, 101), (101, 101), (101, 250)]:
        part = build(reader, start, stop, {})
        want = read(cut(nano, start, stop))
        for name in ("event", "Muon_pt", "SV_x", "HLT_Mu50"):
            same(part[name], want[name])
        same(ak.num(part.Muon), ak.num(want.Muon))
        same(part.Muon.pt, want.Muon.pt)


# ---- what is declared ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "there"),
    [
        (["run"], {"run"}),
        (["Muon_pt"], {"nMuon", "Muon_pt"}),
        (["Muon_p*"], {"nMuon", "Muon_pt", "Muon_phi"}),
        (["HLT"], {"HLT_IsoMu24", "HLT_Mu50"}),
        (["SV"], {"nSV", "SV_pt", "SV_eta", "SV_phi", "SV_mass", "SV_x", "SV_y", "SV_z"}),
        (["*_pt", "run"], {"nMuon", "Muon_pt", "nSV", "SV_pt", "MET_pt", "run"}),
        ([], set()),
    ],
)
def test_names_patterns_and_collections_can_be_declared(nano, declared, there):
    events = read(nano, declared)
    assert len(events) == 300
    full = read(nano)
    found = {
        f"{field}_{part}" if part else field for field in events.fields for part in (ak.fields(events[field]) or [""])
    }
    assert found == there
    for name in found:
        same(events[name], full[name])


def test_what_is_declared_is_fetched_at_once_and_decoded_when_used(nano):
    events = read(nano, ["Muon", "run"])
    Path(nano.file).unlink()
    same(events.run, ak.Array(np.full(300, 7, np.uint32)))
    assert ak.all(events.Muon.mass == np.float32(0.105))


def test_a_declared_branch_that_is_missing_names_the_nearest(nano):
    for wrong, right in [("Muon_tp", "Muon_pt"), ("Muno", "Muon"), ("rum", "run")]:
        with pytest.raises(
            MissingBranchError, match=rf"no branch '{wrong}' in tree 'Events' of .*nano\.root\. .*'{right}'"
        ):
            read(nano, [wrong])
    with pytest.raises(MissingBranchError, match=r"no branch 'Tau_\*'"):
        read(nano, ["run", "Tau_*"])


def test_one_string_is_no_list_of_branches(nano):
    with pytest.raises(InputError, match=r"give a list, such as branches=\['run'\]"):
        read(nano, "run")


@pytest.mark.parametrize(
    "use", [lambda e: e.Muon.eta, lambda e: e["Muon_eta"], lambda e: e.Muon_eta, lambda e: e.SV, lambda e: e["MET_pt"]]
)
def test_what_was_not_declared_cannot_be_used(nano, use):
    events = read(nano, ["Muon_pt"])
    with pytest.raises(AttributeError):
        use(events)


def test_the_error_says_that_the_branch_was_not_declared(nano):
    events = read(nano, ["Muon_pt"])
    with pytest.raises(
        MissingBranchError, match=r"'SV' is not among the declared branches of .*nano\.root\..*`branches`"
    ):
        _ = events.SV
    with pytest.raises(MissingBranchError, match=r"'Muon_eta' is not among the declared branches"):
        _ = events["Muon_eta"]
    with pytest.raises(MissingBranchError, match=r"no branch or collection 'Tau' in"):
        _ = read(nano).Tau


def test_a_branch_that_cannot_be_read_cannot_be_declared_by_name():
    chunk = whole(SAMPLES / "stl.root")
    with pytest.raises(BranchError, match=r"Branch 'whole' of .* cannot be used"):
        read(chunk, ["whole"])
    assert set(chunk.layout.names) - set(read(chunk, ["*"]).fields) == {"whole"}


# ---- the right file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("branch", ["run", "Muon_pt"])
def test_a_file_that_was_written_anew_since_it_was_planned_is_refused(nano, branch):
    write_nano(Path(nano.file), 300, clusters=3, seed=9)
    with pytest.raises(ReadError, match=r"nano\.root is not the file that was planned .* Plan again") as caught:
        _ = read(nano)[branch].to_list()
    assert not caught.value.transient


def test_a_replica_with_other_content_is_refused(tmp_path, nano):
    import dataclasses

    other = write_nano(tmp_path / "other.root", 300, clusters=3, seed=9)
    chunk = dataclasses.replace(nano, replicas=(nano.file, str(other)))
    _ = read(chunk, replica=0).run.to_list()
    with pytest.raises(ReadError, match=r"other\.root is not the file that was planned.* is not an identical replica"):
        _ = read(chunk, replica=1).run.to_list()
    with pytest.raises(ReadError, match=r"other\.root is not the file"):
        read(chunk, ["run"], replica=1)


def test_after_a_refusal_the_next_branch_is_refused_too(nano):
    events = read(nano)
    write_nano(Path(nano.file), 300, clusters=3, seed=9)
    for name in ("run", "event"):
        with pytest.raises(ReadError, match="is not the file that was planned"):
            _ = events[name].to_list()


@pytest.mark.parametrize("replace", ["in place", "by another"])
@pytest.mark.parametrize("kind", ["tree", "ntuple"])
def test_a_file_that_is_kept_open_for_uproot_is_not_the_old_one(tmp_path, kind, replace):
    """A notebook that simulates again into the same path: what uproot had open must not be read."""
    path = tmp_path / "f.root"

    def write(to, seed):
        rng = np.random.default_rng(seed)
        columns = {"x": rng.normal(size=(20, 2)), "y": rng.normal(size=20)}
        if kind == "tree":
            write_tree(to, columns, compression=None)
        else:
            with uproot.recreate(to, compression=None) as file:
                file.mkrntuple("Events", {"x": ak.from_regular(ak.Array(columns["x"])), "y": columns["y"]})
        return columns["x"]

    write(path, 1)
    old = whole(path)
    _ = read(old).x.to_list()
    if replace == "in place":
        want = write(path, 2)
    else:
        want = write(tmp_path / "new.root", 2)
        (tmp_path / "new.root").replace(path)
    assert read(whole(path)).x.to_list() == want.tolist()
    with pytest.raises(ReadError, match="is not the file that was planned"):
        _ = read(old).x.to_list()


def test_files_without_an_identifier_in_their_header_are_told_apart(tmp_path):
    """ROOT writes zeros there for a file with nothing but an RNTuple; these two have also the same length."""
    one, two = SAMPLES / "twin_1.root", SAMPLES / "twin_2.root"
    assert one.stat().st_size == two.stat().st_size
    assert uproot.open(one).file.uuid == uproot.open(two).file.uuid
    path = tmp_path / "f.root"
    path.write_bytes(one.read_bytes())
    first = whole(path)
    assert first.uuid == whole(one).uuid
    assert read(first).i.to_list() == list(range(50))
    path.write_bytes(two.read_bytes())
    assert whole(path).uuid != first.uuid
    assert read(whole(path)).i.to_list() == list(range(50, 100))
    with pytest.raises(ReadError, match="is not the file that was planned"):
        _ = read(first).i.to_list()


# ---- nothing stays open --------------------------------------------------------------------------------------------


def descriptors(path):
    return sum(link.exists() and str(link.readlink()) == str(path) for link in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell which files are open")
def test_events_that_go_away_close_their_file(nano):
    for _ in range(20):
        events = read(nano)
        _ = events.run.to_list()
        del events
    gc.collect()
    assert descriptors(nano.file) == 0


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell which files are open")
def test_few_files_are_kept_open_for_uproot(tmp_path):
    paths = [write_tree(tmp_path / f"{i}.root", {"x": np.zeros((3, 2))}) for i in range(12)]
    for path in paths:
        _ = read(whole(path)).x.to_list()
    gc.collect()
    assert sum(descriptors(path) > 0 for path in paths) <= 4


def test_columns_stay_valid_when_the_reader_is_closed(nano):
    with Reader(nano.file, nano.layout, 0, 300) as reader:
        events = build(reader, 0, 300, {})
        want = events.Muon.pt.to_list()
    reader.close()
    assert events.Muon.pt.to_list() == want
    _ = events.Muon.eta.to_list()  # and what was not read yet opens the file again


def test_a_failure_leaves_no_stale_handle(tmp_path):
    path = write_tree(tmp_path / "f.root", {"x": np.arange(6.0).reshape(3, 2)})
    chunk = whole(path)
    data = path.read_bytes()
    _ = read(chunk).x.to_list()
    path.write_bytes(data[:300])
    with pytest.raises(ReadError):
        _ = read(chunk).x.to_list()
    path.write_bytes(data)
    assert read(chunk).x.to_list() == [[0, 1], [2, 3], [4, 5]]
    assert open_tree(str(path), "Events", chunk.uuid).num_entries == 3


def test_threads_that_read_the_same_file_do_not_disturb_each_other(tmp_path):
    rng = np.random.default_rng(1)
    parts = [{"x": rng.normal(size=(20, 2)), "v": jagged(rng, rng.integers(0, 3, 20)), "i": np.arange(20)}] * 8
    path = write_tree(tmp_path / "f.root", *parts)
    want = {name: bits(read(whole(path))[name]) for name in ("x", "v", "i")}

    def all_of(_):
        chunks = plan(str(path), chunk_entries=20)
        return {name: bits(ak.concatenate([read(chunk)[name] for chunk in chunks])) for name in want}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(all_of, range(8))) == [want] * 8


# ---- names that are no NanoAOD -------------------------------------------------------------------------------------


def test_names_with_dots_and_slashes_and_two_of_the_same_name(tmp_path):
    chunk = whole(SAMPLES / "stl.root")
    events = read(chunk)
    assert events["point."].fields
    assert str(events["tracks.fX"].type) == "150 * var * float64"
    rng = np.random.default_rng(0)
    path = write_tree(
        tmp_path / "f.root", {"a.b": np.arange(3), "a b": np.arange(3.0), "Muon": jagged(rng, np.ones(3, int))}
    )
    for name in ("a.b", "a b", "Muon"):
        with uproot.open(path) as file:
            same(read(whole(path))[name], file["Events"][name].array())


@pytest.mark.parametrize("name", ["a:b.root", "with space.root", "ünï.root", "x#y.root", "100%.root", "~.root"])
def test_paths_with_signs_that_mean_something_elsewhere(tmp_path, name):
    folder = tmp_path / "run:7"
    folder.mkdir()
    path = write_tree(tmp_path / "plain.root", {"x": np.zeros((5, 2)), "y": np.arange(5)}).replace(folder / name)
    (chunk,) = plan({"d": {"files": {str(path): "Events"}}})
    events = read(chunk)
    assert events.y.to_list() == [0, 1, 2, 3, 4]
    assert len(events.x.to_list()) == 5  # this one by uproot
