"""Reading ranges: only once, only the needed baskets; damaged, truncated and rewritten files."""

import contextlib
import gc
import importlib
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from bits import CODECS, bits, cut, jagged, opened, same, whole, write_nano, write_tree
from damage import basket_of, descriptors, overwrite, unprivileged

from af_kit.data.reading.events import build
from af_kit.data.reading.read import read
from af_kit.data.reading.reader import Reader
from af_kit.errors import ReadError
from af_kit.run.plan import plan


def test_a_branch_is_read_once(nano, monkeypatch):
    events, reader = opened(nano)
    _ = ak.sum(events.Muon.pt)
    before = reader.stats.bytes_read
    _ = ak.sum(events.Muon.pt), events["Muon_pt"].to_list(), ak.num(events.Muon), reader.numbers("Muon_pt")
    assert reader.stats.bytes_read == before


def test_counting_muons_reads_only_the_counter(nano):
    events, reader = opened(nano)
    _ = ak.num(events.Muon).to_list()
    assert reader.stats.branches == {"nMuon"}


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i4", "i8", "u8"])
def test_counts_are_added_up_with_and_without_numba(tmp_path, monkeypatch, dtype):
    counts = np.random.default_rng(1).poisson(3, 500).astype(dtype)
    chunk = whole(write_tree(tmp_path / "counts.root", {"nMuon": counts}))
    found = []
    for loaded in (True, False):
        if loaded:
            importlib.import_module("numba")
        else:
            monkeypatch.delitem(sys.modules, "numba")
        found.append(Reader(chunk.file, chunk.layout, 0, 500).offsets("nMuon"))
    for offsets in found:
        assert offsets.dtype == np.int64
        np.testing.assert_array_equal(offsets, [0, *np.cumsum(counts.astype(np.int64))])


def test_a_range_reads_only_the_baskets_that_it_overlaps(nano):
    _, reader = opened(cut(nano, 120, 180))
    reader.numbers("event")
    assert reader.stats.bytes_read == nano.layout.columns["event"].sizes[1]


def test_parts_of_one_reader_equal_separate_reads(nano):
    reader = Reader(nano.file, nano.layout, 50, 250)
    for start, stop in [(50, 100), (100, 101), (101, 101), (101, 250)]:
        part = build(reader, start, stop, {})
        want = read(cut(nano, start, stop))
        for name in ("event", "Muon_pt", "SV_x", "HLT_Mu50"):
            same(part[name], want[name])
        same(ak.num(part.Muon), ak.num(want.Muon))
        same(part.Muon.pt, want.Muon.pt)


@pytest.mark.parametrize("branch", ["run", "Muon_pt"])
def test_a_file_rewritten_since_planning_is_refused(nano, branch):
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


def test_all_branches_of_a_rewritten_file_are_refused(nano):
    events = read(nano)
    write_nano(Path(nano.file), 300, clusters=3, seed=9)
    for name in ("run", "event"):
        with pytest.raises(ReadError, match="is not the file that was planned"):
            _ = events[name].to_list()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list open files")
def test_deleted_events_close_their_file(nano):
    for _ in range(20):
        events = read(nano)
        _ = events.run.to_list()
        del events
    gc.collect()
    assert descriptors(nano.file) == 0


def test_columns_stay_valid_after_the_reader_is_closed(nano):
    with Reader(nano.file, nano.layout, 0, 300) as reader:
        events = build(reader, 0, 300, {})
        want = events.Muon.pt.to_list()
    reader.close()
    assert events.Muon.pt.to_list() == want
    _ = events.Muon.eta.to_list()  # reading another branch opens the file again


def test_threads_can_read_the_same_file(tmp_path):
    rng = np.random.default_rng(1)
    parts = [{"x": rng.normal(size=(20, 2)), "v": jagged(rng, rng.integers(0, 3, 20)), "i": np.arange(20)}] * 8
    path = write_tree(tmp_path / "f.root", *parts)
    want = {name: bits(read(whole(path))[name]) for name in ("x", "v", "i")}

    def all_of(_):
        chunks = plan(str(path), chunk_entries=20)
        return {name: bits(ak.concatenate([read(chunk)[name] for chunk in chunks])) for name in want}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(all_of, range(8))) == [want] * 8


CHECKED = ["zlib", "lzma", "lz4"]  # codecs with a checksum


def test_read_permission_lost_after_planning(path):
    chunk = whole(path)
    _ = read(chunk).run.to_list()
    path.chmod(0)
    with unprivileged(), pytest.raises(ReadError, match=r"[Pp]ermission denied") as caught:
        _ = read(chunk).run.to_list()
    assert not caught.value.transient


def test_a_file_truncated_after_planning(path):
    chunk = whole(path)
    seek, size, *_ = basket_of(chunk, "SV_mass", 1)
    data = path.read_bytes()
    path.write_bytes(data[: seek + size - 1])
    events = read(chunk)
    same(events.run, ak.Array(np.full(200, 7, np.uint32)))
    with pytest.raises(
        ReadError, match=rf"is truncated or was changed while it was read: requested bytes {seek} to {seek + size}"
    ) as caught:
        _ = events.SV_mass.to_list()
    assert caught.value.transient
    with pytest.raises(ReadError):
        read(chunk, ["SV_mass"])


def test_a_padded_file_is_read(path):
    """Some transfer tools pad a file."""
    want = read(whole(path)).Muon.pt.to_list()
    with path.open("ab") as file:
        file.write(b"\0" * 1000)
    assert read(whole(path)).Muon.pt.to_list() == want


def read_error(chunk, name, match, **options):
    with pytest.raises(ReadError, match=match) as caught:
        _ = read(chunk, **options)[name].to_list()
    assert chunk.file in str(caught.value)
    return caught.value


@pytest.mark.parametrize("codec", CHECKED)
@pytest.mark.parametrize("name", ["event", "Muon_mass", "nMuon"])
def test_verify_detects_a_flipped_bit(tmp_path, codec, name):
    path = write_nano(tmp_path / "f.root", 400, compression=CODECS[codec])
    chunk = whole(path)
    seek, size, key, uncompressed = basket_of(chunk, name, 1)
    assert size - key < uncompressed, "not compressed: there is no checksum"
    branch = "Muon_mass" if name == "nMuon" else name
    missed = 0
    for at in range(seek + key + 30, seek + size, max(1, (size - key) // 20)):
        overwrite(path, at, lambda old: old ^ 0x10)
        error = read_error(chunk, branch, rf"branch '{name}' is damaged in entries 200 to 400: .*replica")
        assert error.transient  # a retry or another replica may be right
        same(read(cut(chunk, 0, 200)).Muon_pt, read(cut(chunk, 0, 200), verify=False).Muon_pt)
        with contextlib.suppress(ReadError):
            _ = read(chunk, verify=False)[branch].to_list()
            missed += 1
        overwrite(path, at, lambda old: old ^ 0x10)
    assert codec != "lz4" or name == "nMuon" or missed  # the reason for `verify`


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_data_without_a_checksum_cannot_be_verified(tmp_path, codec):
    """ROOT writes neither uncompressed baskets nor ZSTD blocks with a checksum: only their sizes can be checked."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 100, 4000).astype("f4")
    path = write_tree(tmp_path / "f.root", {"x": x}, compression=CODECS[codec])
    chunk = whole(path)
    seek, size, key, _ = basket_of(chunk, "x")
    silent = 0
    for at in range(seek + key + 40, seek + size, size // 50):
        overwrite(path, at, lambda old: old ^ 0x10)
        with contextlib.suppress(ReadError):
            got = read(chunk).x.to_numpy()
            assert len(got) == len(x)
            silent += 1
        overwrite(path, at, lambda old: old ^ 0x10)
    assert silent


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("verify", [False, True])
def test_a_damaged_key_is_detected_without_verify(tmp_path, codec, verify):
    path = write_nano(tmp_path / "f.root", 400, compression=CODECS[codec])
    chunk = whole(path)
    seek, size, key, _ = basket_of(chunk, "Muon_pt", 1)
    data = path.read_bytes()
    for at, change in [
        (0, struct.pack(">i", size + 1)),  # the record's length
        (0, struct.pack(">i", 0)),
        (6, struct.pack(">i", 3)),  # uncompressed bytes
        (14, struct.pack(">H", key + 1)),  # the key's length
        (14, struct.pack(">H", 65535)),
        (14, struct.pack(">H", 3)),
        (key - 9, struct.pack(">i", 201)),  # the entries
        (key - 5, struct.pack(">i", key)),  # where the data ends
        (key - 5, struct.pack(">i", -1)),
        (key - 5, struct.pack(">i", 2**31 - 1)),
        (0, b"\0" * size),  # a hole, as after a failed copy
        (0, data[seek + size : seek + 2 * size]),  # the bytes that follow, as if the position were wrong
    ]:
        overwrite(path, seek + at, change)
        read_error(chunk, "Muon_pt", r"branch 'Muon_pt' is damaged in entries 200 to 400", verify=verify)
        path.write_bytes(data)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_a_truncated_payload_is_detected_without_verify(tmp_path, codec):
    path = write_nano(tmp_path / "f.root", 400, compression=CODECS[codec])
    chunk = whole(path)
    seek, size, key, _ = basket_of(chunk, "event", 1)
    middle = seek + key + 9 + (size - key - 9) // 2
    overwrite(path, middle, b"\0" * (seek + size - middle))
    with contextlib.suppress(ReadError):  # a codec may accept zeros; the number of bytes is right then
        assert len(read(chunk, verify=False)["event"].to_list()) == 400
    if codec in CHECKED:
        read_error(chunk, "event", r"'event' is damaged in entries 200 to 400")
    overwrite(path, seek + key + 3, (100).to_bytes(3, "little"))  # the block itself is shorter
    read_error(chunk, "event", r"'event' is damaged in entries 200 to 400")


@pytest.mark.parametrize("value", [0, 2, 3, -1, -100, 2**31 - 1])
def test_a_wrong_counter_is_detected(tmp_path, value):
    rng = np.random.default_rng(2)
    columns = {"v": jagged(rng, np.ones(50, int)), "w": jagged(rng, np.ones(50, int))}
    path = write_tree(tmp_path / "f.root", columns, columns, compression=None)
    chunk = whole(path)
    seek, size, *_ = basket_of(chunk, "nv", 1)
    overwrite(path, seek + size - 4 * 7, struct.pack(">i", value))
    error = read_error(chunk, "v", "below zero" if value < 0 else "branch 'v'.* (its entries need|cannot have)")
    assert error.transient
    same(read(chunk).w, ak.concatenate([columns["w"]] * 2))
    same(read(cut(chunk, 0, 50)).v, columns["v"])


def test_a_huge_counter_is_an_error_and_allocates_nothing(tmp_path):
    rng = np.random.default_rng(2)
    path = write_tree(tmp_path / "f.root", {"v": jagged(rng, np.ones(5000, int), "f8")}, compression=None)
    chunk = whole(path)
    seek, size, *_ = basket_of(chunk, "nv")
    overwrite(path, seek + size - 4 * 5000, struct.pack(">i", 2**31 - 1) * 5000)
    read_error(chunk, "v", "cannot have .* numbers|its entries need")


def test_a_wrong_counter_is_detected_in_any_range(tmp_path):
    """Two counts swapped between baskets: the sum of each basket is wrong, whatever the range."""
    counts = np.asarray([1] * 10 + [2] * 10)
    rng = np.random.default_rng(3)
    v = jagged(rng, counts)
    path = write_tree(tmp_path / "f.root", {"v": v[:10]}, {"v": v[10:]}, compression=None)
    chunk = whole(path)
    for number, value in ((0, 2), (1, 1)):
        seek, size, *_ = basket_of(chunk, "nv", number)
        overwrite(path, seek + size - 4, struct.pack(">i", value))
    for start, stop in [(0, 20), (0, 5), (3, 4), (9, 11), (12, 13)]:
        read_error(cut(chunk, start, stop), "v", "its entries need")
