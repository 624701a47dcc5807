"""Records of trees that are parsed without uproot: the same layout as by uproot, or left to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import SAMPLES
from cms_files import FOLDER

import af_kit as af
from af_kit.data.reading import describe
from af_kit.data.reading.layout import Layout
from af_kit.data.reading.open_file import find_tree, open_file
from af_kit.data.reading.tree_record import UnexpectedRecord, parse_tree

ABOUT = {"uuid": "", "digest": "", "head": "", "end": 0}
DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def layouts(path: Path, treename: str) -> tuple[Layout | None, Layout]:
    """The layout by the kit, None if it leaves the tree to uproot, and the one by uproot."""
    about = {**ABOUT, "path": str(path), "treename": treename}
    with open_file(str(path)) as file:
        flat = describe._describe_flat(file, about)
        return flat, describe._describe_ttree(find_tree(file, str(path), treename), about)


def plain(layout: Layout) -> dict[str, Any]:
    """The layout with lists in place of arrays."""
    columns = {
        name: (c.dtype, c.counter, c.header, c.strings, c.edges.tolist(), c.seeks.tolist(), c.sizes.tolist())
        for name, c in layout.columns.items()
    }
    names = ("kind", "entries", "bytes", "forms", "unreadable", "typenames", "repeated", "longer")
    rest = {name: getattr(layout, name) for name in names}
    return {**rest, "columns": columns, "order": list(columns), "clusters": layout.clusters.tolist()}


def trees(path: Path) -> list[str]:
    with uproot.open({path: None}) as file:
        return file.keys(filter_classname="TTree")


@pytest.fixture(scope="module")
def every_type(tmp_path_factory) -> Path:
    """A tree of every type that uproot writes as plain branches, in two clusters."""
    path = tmp_path_factory.mktemp("flat") / "flat.root"
    counts = np.arange(40) % 4
    numbers = {f"one_{dtype}": np.arange(40).astype(dtype) for dtype in DTYPES if dtype != "?"} | {
        "one_?": np.arange(40) % 3 == 0
    }
    lists = {
        f"x_{i}": ak.unflatten(np.arange(counts.sum()).astype(dtype), counts) for i, dtype in enumerate(DTYPES[1:])
    }
    with uproot.recreate(path, compression=None) as file:
        file.mktree("Events", {name: ak.type(ak.Array(value)).content for name, value in (numbers | lists).items()})
        for _ in range(2):
            file["Events"].extend(numbers | lists)
    return path


def test_every_type_has_the_layout_of_uproot(every_type):
    flat, other = layouts(every_type, "Events")
    assert flat is not None
    assert plain(flat) == plain(other)
    assert len(flat.clusters) == 3


FILES = [path for path in [*sorted(SAMPLES.glob("*.root")), *sorted(FOLDER.glob("*.root"))] if path.stem != "unclosed"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_sample_has_the_layout_of_uproot_or_is_left_to_it(path):
    for treename in trees(path):
        flat, other = layouts(path, treename)
        if flat is not None:
            assert plain(flat) == plain(other)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("embedded", "baskets in the tree's record"),
        ("late", "entries of a branch"),
        ("stl", "TBranchElement"),
        ("packed", "TLeaf[DF]"),
        ("plain_zlib", "array of a fixed length"),
    ],
)
def test_what_is_left_to_uproot(name, why):
    with uproot.open({SAMPLES / f"{name}.root": None}) as file:
        key = file.key(trees(SAMPLES / f"{name}.root")[0])
        record, _ = key.get_uncompressed_chunk_cursor()
        with pytest.raises(UnexpectedRecord, match=why):
            parse_tree(bytes(record.raw_data), key.fKeylen)


def test_a_damaged_record_is_an_unexpected_one_or_has_other_numbers(every_type):
    with uproot.open({every_type: None}) as file:
        key = file.key("Events")
        record, _ = key.get_uncompressed_chunk_cursor()
        data, length = bytes(record.raw_data), key.fKeylen
    random = np.random.default_rng(4)
    refused = 0
    for place in random.integers(0, len(data), 2000):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(random.integers(8))
        try:
            parse_tree(bytes(damaged), length)
        except UnexpectedRecord:
            refused += 1
    assert refused > 300
    for stop in range(0, len(data), 97):
        with pytest.raises(UnexpectedRecord):
            parse_tree(data[:stop], length)


def test_equal_names_are_left_to_uproot(every_type, tmp_path):
    path = tmp_path / "same.root"
    path.write_bytes(every_type.read_bytes().replace(b"one_i4", b"one_u4"))
    flat, other = layouts(path, "Events")
    assert flat is None
    assert other.repeated


def test_a_name_that_is_not_utf8_is_read_as_by_uproot(every_type, tmp_path):
    path = tmp_path / "latin.root"
    path.write_bytes(every_type.read_bytes().replace(b"one_f8", b"caf\xe9_8"))
    (chunk,) = af.plan({"D": {"files": {str(path): "Events"}}}, chunk_entries=10**9)
    name = "caf\udce9_8"  # as Python shows such bytes
    with uproot.open(path) as file:
        assert ak.materialize(af.read(chunk)[name]).tolist() == file["Events"][name].array().tolist()
