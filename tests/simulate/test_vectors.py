"""Branches of vectors, read by uproot."""

import numpy as np
import uproot

from af_kit.simulate.vectors import VectorSchema, write_vectors
from af_kit.simulate.writer import Block


def test_strings_and_clusters_of_any_length(tmp_path):
    strings = [["a", "bcd"], [], ["e" * 300, ""]]
    schema = VectorSchema({"x": "float64", "s": "string"}, counts={"x": "c"}, strings={"s": strings})
    counts = np.array([0, 1, 3, 2, 0], np.uint32)
    which = np.array([0, 1, 2, 0, 1])
    block = Block(5, {"c": counts}, {"x": np.arange(6.0), "s": which})
    path = write_vectors(tmp_path / "x.root", schema, [block, block], treename="a/b/tree", cluster_entries=4)
    with uproot.open(path) as file:
        tree = file["a/b/tree"]
        assert tree["x"].entry_offsets == [0, 4, 8, 10]
        assert tree["s"].array().to_list() == 2 * [strings[i] for i in which]
        assert tree["x"].array().to_list() == 2 * [[], [0], [1, 2, 3], [4, 5], []]
