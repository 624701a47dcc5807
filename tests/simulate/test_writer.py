"""Blocks of events to files: clusters, and complete files only."""

import awkward as ak
import numpy as np
import pytest

from af_kit.simulate.writer import Block, Schema, write_tree


def test_an_incomplete_file_does_not_replace_an_existing_one(tmp_path):
    schema = Schema({"x": "float32"})
    path = write_tree(tmp_path / "x.root", schema, [Block(1, {}, {"x": np.zeros(1, "f4")})])
    before = path.read_bytes()

    def broken():
        yield Block(2, {}, {"x": np.zeros(2, "f4")})
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="power"):
        write_tree(path, schema, broken(), cluster_entries=1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_blocks_of_any_size_make_the_same_clusters(tmp_path, events, same):
    schema = Schema({"x": "int64", "Hit_y": "float32"}, ("Hit",))
    counts = np.arange(100, dtype=np.uint32) % 4
    whole = Block(100, {"Hit": counts}, {"x": np.arange(100), "Hit_y": np.arange(counts.sum(), dtype=np.float32)})
    pieces = [
        whole.part(schema, start, stop) for start, stop in [(0, 1), (1, 1), (1, 17), (17, 60), (60, 61), (61, 100)]
    ]
    read = [
        events(write_tree(tmp_path / f"{number}.root", schema, parts, cluster_entries=16))
        for number, parts in enumerate([[whole], pieces])
    ]
    assert same(*read)
    assert ak.to_list(read[0].Hit_y[:4]) == [[], [0], [1, 2], [3, 4, 5]]
