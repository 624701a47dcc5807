"""Files that are broken, missing, or not what they seem: a clear message at once, never other numbers."""

import contextlib
import os
import struct

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import CODECS, SAMPLES, cut, jagged, same, whole, write_nano, write_tree

from af_kit.data.reading.baskets import content
from af_kit.data.reading.codecs import CorruptBlock
from af_kit.data.reading.describe import describe
from af_kit.data.reading.read import read
from af_kit.errors import BranchError, ReadError
from af_kit.run.plan import plan
from af_kit.simulate.vectors import VectorSchema, write_vectors
from af_kit.simulate.writer import Block

CHECKED = ["zlib", "lzma", "lz4"]  # codecs with a checksum


@pytest.fixture
def path(tmp_path):
    return write_nano(tmp_path / "nano.root", 200)


def broken(path, position, change):
    """Overwrite bytes of a file; ``change`` is bytes, or a function of the old byte."""
    data = bytearray(path.read_bytes())
    if callable(change):
        data[position] = change(data[position])
    else:
        data[position : position + len(change)] = change
    path.write_bytes(data)


def basket(chunk, name, number=0):
    """Position, size and key length of a basket's record, and where its data ends in the payload."""
    column = chunk.layout.columns[name]
    seek, size = int(column.seeks[number]), int(column.sizes[number])
    with open(chunk.file, "rb") as file:  # noqa: PTH123
        record = os.pread(file.fileno(), size, seek)
    _, _, uncompressed, _, key, _ = struct.unpack_from(">iHiIHH", record)
    return seek, size, key, uncompressed


# ---- no file, or no ROOT file --------------------------------------------------------------------------------------


def refused(path, match, transient=False):
    with pytest.raises(ReadError, match=match) as caught:
        describe(str(path), "Events")
    assert caught.value.transient is transient
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    refused(tmp_path / "none.root", "does not exist")
    refused(tmp_path / "no" / "folder" / "none.root", "does not exist")


def test_a_folder(tmp_path):
    refused(tmp_path, r"is a directory, not a ROOT file\. Name its files, or `.*/\*\.root`")


def test_a_file_used_as_a_folder(path):
    refused(path / "inner.root", "Not a directory|does not exist", transient=True)


def test_an_empty_file(tmp_path):
    (tmp_path / "f.root").touch()
    refused(tmp_path / "f.root", r"is empty \(0 bytes\)")


def test_a_text_file_and_an_error_page(tmp_path):
    (tmp_path / "f.root").write_text("<html>404 Not Found</html>")
    refused(tmp_path / "f.root", r"is not a ROOT file \(its first bytes are b'<htm'\)")
    (tmp_path / "g.root").write_bytes(b"ro")
    refused(tmp_path / "g.root", "is not a ROOT file")


@contextlib.contextmanager
def somebody():
    """As an ordinary user, where the tests run as root, to whom nothing is forbidden."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_permission(tmp_path, path):
    describe(str(path), "Events")  # all that has to be imported is
    path.chmod(0)
    with somebody():
        refused(path, r"may not be read by this user \(permission denied\)")


def test_permission_that_is_lost_after_planning(path):
    chunk = whole(path)
    _ = read(chunk).run.to_list()
    path.chmod(0)
    with somebody(), pytest.raises(ReadError, match=r"[Pp]ermission denied") as caught:
        _ = read(chunk).run.to_list()
    assert not caught.value.transient


# ---- truncated -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("name", ["plain_zlib", "rntuple", "embedded"])
def test_a_file_cut_short_is_refused_when_it_is_planned(tmp_path, name, part):
    data = (SAMPLES / f"{name}.root").read_bytes()
    path = tmp_path / "f.root"
    path.write_bytes(data[: max(int(part * len(data)), 5)])
    refused(path, f"is truncated: it should have {len(data)} bytes and has {path.stat().st_size}|fewer than a header")


def test_a_file_cut_at_the_end_of_a_basket_is_refused(path):
    seek, size, *_ = basket(whole(path), "run", 1)
    data = path.read_bytes()
    path.write_bytes(data[: seek + size])
    refused(path, "is truncated: it should have")


def test_a_file_that_shrinks_after_planning_fails_where_it_ends(path):
    chunk = whole(path)
    seek, size, *_ = basket(chunk, "SV_mass", 1)
    data = path.read_bytes()
    path.write_bytes(data[: seek + size - 1])
    events = read(chunk)
    same(events.run, ak.Array(np.full(200, 7, np.uint32)))
    with pytest.raises(
        ReadError, match=rf"is truncated or changed while it was read: bytes {seek} to {seek + size}"
    ) as caught:
        _ = events.SV_mass.to_list()
    assert caught.value.transient
    with pytest.raises(ReadError):
        read(chunk, ["SV_mass"])


def test_a_longer_file_is_no_error(path):
    """Some transfer tools pad a file."""
    want = read(whole(path)).Muon.pt.to_list()
    with path.open("ab") as file:
        file.write(b"\0" * 1000)
    assert read(whole(path)).Muon.pt.to_list() == want


@pytest.mark.parametrize("name", ["plain_zlib", "embedded", "rntuple", "plain_none"])
def test_damage_in_the_metadata_is_one_paragraph_of_ours(tmp_path, name):
    """Whatever uproot, a codec or numpy make of it: a `ReadError` with the file's name, or the same numbers."""
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
            broken(path, place, lambda old: old ^ 0xFF)
            try:
                (chunk,) = plan({"d": {"files": {str(path): "Events"}}})
                answer = str(read(chunk)["Muon_pt"].to_list())
            except (ReadError, BranchError) as error:
                answer, failed = str(error), failed + 1
            assert answer == str(want) or str(path) in answer
    assert failed > 5


# ---- damaged baskets -----------------------------------------------------------------------------------------------


def damaged(chunk, name, match, **options):
    with pytest.raises(ReadError, match=match) as caught:
        _ = read(chunk, **options)[name].to_list()
    assert chunk.file in str(caught.value)
    return caught.value


@pytest.mark.parametrize("codec", CHECKED)
@pytest.mark.parametrize("name", ["event", "Muon_mass", "nMuon"])
def test_verify_notices_a_flipped_bit_in_the_data(tmp_path, codec, name):
    path = write_nano(tmp_path / "f.root", 400, compression=CODECS[codec])
    chunk = whole(path)
    seek, size, key, uncompressed = basket(chunk, name, 1)
    assert size - key < uncompressed, "not compressed: there is no checksum"
    branch = "Muon_mass" if name == "nMuon" else name
    missed = 0
    for at in range(seek + key + 30, seek + size, max(1, (size - key) // 20)):
        broken(path, at, lambda old: old ^ 0x10)
        error = damaged(chunk, branch, rf"branch '{name}' is damaged in entries 200 to 400: .*replica", verify=True)
        assert error.transient  # another try, another replica may have it right
        same(read(cut(chunk, 0, 200), verify=True).Muon_pt, read(cut(chunk, 0, 200)).Muon_pt)
        with contextlib.suppress(ReadError):
            _ = read(chunk)[branch].to_list()
            missed += 1
        broken(path, at, lambda old: old ^ 0x10)
    assert codec != "lz4" or name == "nMuon" or missed  # why there is `verify`


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_what_has_no_checksum_cannot_be_verified(tmp_path, codec):
    """ROOT writes neither uncompressed baskets nor ZSTD blocks with a checksum: only their sizes can be checked."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 100, 4000).astype("f4")
    path = write_tree(tmp_path / "f.root", {"x": x}, compression=CODECS[codec])
    chunk = whole(path)
    seek, size, key, _ = basket(chunk, "x")
    silent = 0
    for at in range(seek + key + 40, seek + size, size // 50):
        broken(path, at, lambda old: old ^ 0x10)
        with contextlib.suppress(ReadError):
            got = read(chunk, verify=True).x.to_numpy()
            assert len(got) == len(x)
            silent += 1
        broken(path, at, lambda old: old ^ 0x10)
    assert silent


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("verify", [False, True])
def test_a_damaged_key_is_noticed_without_verify_too(tmp_path, codec, verify):
    path = write_nano(tmp_path / "f.root", 400, compression=CODECS[codec])
    chunk = whole(path)
    seek, size, key, _ = basket(chunk, "Muon_pt", 1)
    data = path.read_bytes()
    for at, change in [
        (0, struct.pack(">i", size + 1)),  # the record's length
        (0, struct.pack(">i", 0)),
        (6, struct.pack(">i", 3)),  # uncompressed bytes
        (14, struct.pack(">H", key + 1)),  # the key's length
        (14, struct.pack(">H", 65535)),
        (14, struct.pack(">H", 3)),
        (key - 5, struct.pack(">i", key)),  # where the data ends
        (key - 5, struct.pack(">i", -1)),
        (key - 5, struct.pack(">i", 2**31 - 1)),
        (0, b"\0" * size),  # a hole, as a failed copy leaves it
        (0, data[seek + size : seek + 2 * size]),  # what comes next, as if the position were wrong
    ]:
        broken(path, seek + at, change)
        damaged(chunk, "Muon_pt", r"branch 'Muon_pt' is damaged in entries 200 to 400", verify=verify)
        path.write_bytes(data)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_a_payload_that_ends_early_is_noticed_without_verify(tmp_path, codec):
    path = write_nano(tmp_path / "f.root", 400, compression=CODECS[codec])
    chunk = whole(path)
    seek, size, key, _ = basket(chunk, "event", 1)
    middle = seek + key + 9 + (size - key - 9) // 2
    broken(path, middle, b"\0" * (seek + size - middle))
    with contextlib.suppress(ReadError):  # a codec may take zeros for data; then there are as many bytes as entries
        assert len(read(chunk)["event"].to_list()) == 400
    if codec in CHECKED:
        damaged(chunk, "event", r"'event' is damaged in entries 200 to 400", verify=True)
    broken(path, seek + key + 3, (100).to_bytes(3, "little"))  # the block itself is shorter
    damaged(chunk, "event", r"'event' is damaged in entries 200 to 400")


@pytest.mark.parametrize("value", [0, 2, 3, -1, -100, 2**31 - 1])
def test_a_counter_that_contradicts_the_data_is_noticed(tmp_path, value):
    rng = np.random.default_rng(2)
    columns = {"v": jagged(rng, np.ones(50, int)), "w": jagged(rng, np.ones(50, int))}
    path = write_tree(tmp_path / "f.root", columns, columns, compression=None)
    chunk = whole(path)
    seek, size, *_ = basket(chunk, "nv", 1)
    broken(path, seek + size - 4 * 7, struct.pack(">i", value))
    error = damaged(chunk, "v", "below zero" if value < 0 else "branch 'v'.* (its entries need|cannot have)")
    assert error.transient
    same(read(chunk).w, ak.concatenate([columns["w"]] * 2))
    same(read(cut(chunk, 0, 50)).v, columns["v"])


def test_counters_that_say_billions_are_an_error_and_not_all_the_memory(tmp_path):
    rng = np.random.default_rng(2)
    path = write_tree(tmp_path / "f.root", {"v": jagged(rng, np.ones(5000, int), "f8")}, compression=None)
    chunk = whole(path)
    seek, size, *_ = basket(chunk, "nv")
    broken(path, seek + size - 4 * 5000, struct.pack(">i", 2**31 - 1) * 5000)
    damaged(chunk, "v", "cannot have .* numbers|its entries need")


def test_a_jagged_branch_is_right_or_refused_in_any_range_when_its_counter_is_wrong(tmp_path):
    """Two counts exchanged between baskets: each basket's sum is wrong, and no range of entries hides it."""
    counts = np.asarray([1] * 10 + [2] * 10)
    rng = np.random.default_rng(3)
    v = jagged(rng, counts)
    path = write_tree(tmp_path / "f.root", {"v": v[:10]}, {"v": v[10:]}, compression=None)
    chunk = whole(path)
    for number, value in ((0, 2), (1, 1)):
        seek, size, *_ = basket(chunk, "nv", number)
        broken(path, seek + size - 4, struct.pack(">i", value))
    for start, stop in [(0, 20), (0, 5), (3, 4), (9, 11), (12, 13)]:
        damaged(cut(chunk, start, stop), "v", "its entries need")


def test_damage_in_what_uproot_reads_is_a_read_error_too(tmp_path):
    path = write_tree(tmp_path / "f.root", {"x": np.arange(3000.0).reshape(1000, 3)})
    chunk = whole(path)
    with uproot.open(path) as file:
        seek = int(file["Events/x"].member("fBasketSeek")[0])
        size = int(file["Events/x"].member("fBasketBytes")[0])
    broken(path, seek + size // 2, b"\xff" * 40)
    error = damaged(chunk, "x", r"cannot be read")
    assert error.transient


# ---- one basket alone ----------------------------------------------------------------------------------------------


def record(payload, border, *, uncompressed=None, key=37):
    head = struct.pack(">iHiIHH", key + len(payload), 4, uncompressed or len(payload), 0, key, 1)
    tail = struct.pack(">Hiiii", 3, 32000, 4, 5, key + border) + b"\0"
    return memoryview(head + b"x" * (key - len(head) - len(tail)) + tail + payload)


def test_a_basket_gives_its_data_without_its_offsets():
    assert bytes(content(record(b"abcdEFGH", 4), 4)) == b"abcd"
    assert bytes(content(record(b"", 0), 0)) == b""
    assert bytes(content(record(b"abcdEFGH", 4, key=77), 4)) == b"abcd"  # a longer name, or a file over 2 GB
    packed = uproot.compression.compress(b"abcd" * 100, uproot.ZLIB(1))
    assert bytes(content(record(packed, 200, uncompressed=400), 200)) == b"abcd" * 50
    for wrong in [b"", b"\0" * 10, bytes(record(b"abcd", 4))[:30]]:
        with pytest.raises(CorruptBlock):
            content(memoryview(wrong), 4)


@pytest.mark.parametrize("verify", [False, True])
def test_a_basket_with_less_data_than_its_key_says(verify):
    with pytest.raises(CorruptBlock, match="8 bytes of data in 4"):
        content(record(b"abcd", 8), 8, verify=verify)


# ---- vectors, which say themselves how long they are -----------------------------------------------------------------


@pytest.fixture
def vector_file(tmp_path):
    """Six entries of vectors, not compressed: 0, 1, 2, 0, 1, 2 numbers."""
    schema = VectorSchema({"v": "float64"}, counts={"v": "n"})
    counts = np.arange(6, dtype=np.uint32) % 3
    block = Block(6, {"n": counts}, {"v": np.arange(6.0)})
    return write_vectors(tmp_path / "v.root", schema, [block], treename="Events", compression="none")


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        (10 + 9, 2, "are not as long as they say"),  # the length of the second
        (6 * 10 + 6 * 8 + 3, 9, "does not say where its 6 entries begin"),  # how many entries it has
        (6 * 10 + 6 * 8 + 4 + 4 + 3, 1, "do not begin where it says"),  # where the second begins
    ],
)
def test_damaged_vectors(vector_file, place, value, match):
    chunk = whole(vector_file)
    assert read(chunk).v.to_list() == [[], [0], [1, 2], [], [3], [4, 5]]
    seek, _, key, _ = basket(chunk, "v")
    broken(vector_file, seek + key + place, bytes([value]))
    with pytest.raises(ReadError, match=rf"branch 'v' is damaged in entries 0 to 6: .*{match}") as caught:
        _ = read(chunk).v.to_list()
    assert caught.value.transient
