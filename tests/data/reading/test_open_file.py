"""Opening files: missing, not permitted, truncated, replaced; what stays open."""

import gc
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import SAMPLES, whole, write_nano, write_tree
from damage import basket_of, descriptors, overwrite, unprivileged

from af_kit.data.reading.describe import describe
from af_kit.data.reading.open_file import open_tree
from af_kit.data.reading.read import read
from af_kit.errors import ReadError
from af_kit.run.plan import plan


def error_of(path, match, transient=False):
    with pytest.raises(ReadError, match=match) as caught:
        describe(str(path), "Events")
    assert caught.value.transient is transient
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    error_of(tmp_path / "none.root", "does not exist")
    error_of(tmp_path / "no" / "folder" / "none.root", "does not exist")


def test_a_directory(tmp_path):
    error_of(tmp_path, r"is a directory, not a ROOT file\. Name its files, or `.*/\*\.root`")


def test_a_file_used_as_a_directory(path):
    error_of(path / "inner.root", "Not a directory|does not exist", transient=True)


def test_an_empty_file(tmp_path):
    (tmp_path / "f.root").touch()
    error_of(tmp_path / "f.root", r"is empty \(0 bytes\)")


def test_a_file_that_is_not_a_root_file(tmp_path):
    (tmp_path / "f.root").write_text("<html>404 Not Found</html>")
    error_of(tmp_path / "f.root", r"is not a ROOT file \(its first bytes are b'<htm'\)")
    (tmp_path / "g.root").write_bytes(b"ro")
    error_of(tmp_path / "g.root", "is not a ROOT file")


def test_a_file_without_read_permission(tmp_path, path):
    describe(str(path), "Events")  # so that everything is imported
    path.chmod(0)
    with unprivileged():
        error_of(path, r"cannot be read by this user \(permission denied\)")


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("name", ["plain_zlib", "rntuple", "embedded"])
def test_a_truncated_file(tmp_path, name, part):
    data = (SAMPLES / f"{name}.root").read_bytes()
    path = tmp_path / "f.root"
    path.write_bytes(data[: max(int(part * len(data)), 5)])
    error_of(path, f"is truncated: it should have {len(data)} bytes and has {path.stat().st_size}|fewer than a header")


def test_a_file_truncated_after_a_basket(path):
    seek, size, *_ = basket_of(whole(path), "run", 1)
    data = path.read_bytes()
    path.write_bytes(data[: seek + size])
    error_of(path, "is truncated: it should have")


@pytest.mark.parametrize("replace", ["in place", "by another"])
@pytest.mark.parametrize("kind", ["tree", "ntuple"])
def test_a_replaced_file_is_opened_again(tmp_path, kind, replace):
    """After a notebook has written the same path again, the file that uproot has open must not be read."""
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


def test_files_without_an_identifier_in_their_header(tmp_path):
    """ROOT writes zeros for a file with only an RNTuple. These two files also have the same length."""
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


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list open files")
def test_few_files_stay_open(tmp_path):
    paths = [write_tree(tmp_path / f"{i}.root", {"x": np.zeros((3, 2))}) for i in range(12)]
    for path in paths:
        _ = read(whole(path)).x.to_list()
    gc.collect()
    assert sum(descriptors(path) > 0 for path in paths) <= 4


def test_an_error_closes_the_file(tmp_path):
    path = write_tree(tmp_path / "f.root", {"x": np.arange(6.0).reshape(3, 2)})
    chunk = whole(path)
    data = path.read_bytes()
    _ = read(chunk).x.to_list()
    path.write_bytes(data[:300])
    with pytest.raises(ReadError):
        _ = read(chunk).x.to_list()
    path.write_bytes(data)
    assert read(chunk).x.to_list() == [[0, 1], [2, 3], [4, 5]]
    assert open_tree(str(path), chunk.layout).num_entries == 3


@pytest.mark.parametrize("name", ["a:b.root", "with space.root", "ünï.root", "x#y.root", "100%.root", "~.root"])
def test_paths_with_special_characters(tmp_path, name):
    folder = tmp_path / "run:7"
    folder.mkdir()
    path = write_tree(tmp_path / "plain.root", {"x": np.zeros((5, 2)), "y": np.arange(5)}).replace(folder / name)
    (chunk,) = plan({"d": {"files": {str(path): "Events"}}})
    events = read(chunk)
    assert events.y.to_list() == [0, 1, 2, 3, 4]
    assert len(events.x.to_list()) == 5  # read with uproot


def test_a_header_version_below_zero_is_no_truncation(tmp_path):
    path = write_nano(tmp_path / "f.root", 5)
    overwrite(path, 4, (-62406 % 2**32).to_bytes(4, "big"))
    assert len(read(whole(path)).Muon.pt) == 5
