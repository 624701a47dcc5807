"""Branches that uproot reads."""

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import SAMPLES, opened, whole, write_tree
from damage import overwrite

from af_kit.data.reading import fallback
from af_kit.data.reading.read import read
from af_kit.errors import ReadError


def test_fallbacks_to_uproot_are_recorded():
    events, reader = opened(whole(SAMPLES / "plain_zlib.root"))
    _ = events.i32.to_list(), events.fixed.to_list()
    assert reader.stats.fallbacks == {"fixed"}
    with uproot.open(SAMPLES / "plain_zlib.root") as file:
        stored = sum(file["Events"][name].compressed_bytes for name in ("i32", "fixed"))
    assert stored <= reader.stats.bytes_read < stored + 2000


def read_error(chunk, name, match, **options):
    with pytest.raises(ReadError, match=match) as caught:
        _ = read(chunk, **options)[name].to_list()
    assert chunk.file in str(caught.value)
    return caught.value


def test_damaged_data_read_with_uproot_raise_a_read_error(tmp_path):
    path = write_tree(tmp_path / "f.root", {"x": np.arange(3000.0).reshape(1000, 3)})
    chunk = whole(path)
    with uproot.open(path) as file:
        seek = int(file["Events/x"].member("fBasketSeek")[0])
        size = int(file["Events/x"].member("fBasketBytes")[0])
    overwrite(path, seek + size // 2, b"\xff" * 40)
    error = read_error(chunk, "x", r"cannot be read")
    assert error.transient


def test_counts_that_contradict_each_other_raise_a_read_error(monkeypatch):
    """uproot does not check the offsets in a damaged file, nor does awkward until they are used."""
    chunk = whole(SAMPLES / "stl.root")

    class Branch:
        @staticmethod
        def array(**_):
            offsets = ak.index.Index64(np.array([0, 2, 1]))
            return ak.Array(ak.contents.ListOffsetArray(offsets, ak.contents.NumpyArray(np.arange(2))))

    monkeypatch.setattr(fallback, "open_tree", lambda path, layout: {"x": Branch})
    with pytest.raises(ReadError, match=r"stl\.root: branch 'x' is damaged in entries 0 to 2: its counts contradict"):
        fallback.read_branch(chunk.file, chunk.layout, "x", 0, 2)
