"""Baskets of vectors, of numbers and of texts, made here byte by byte."""

from __future__ import annotations

import struct

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import bits, whole
from hypothesis import given
from hypothesis import strategies as st

from af_kit.data.reading.baskets import texts, vectors
from af_kit.data.reading.codecs import CorruptBlock
from af_kit.data.reading.read import read
from af_kit.run.plan import plan
from af_kit.simulate.vectors import VectorSchema, write_vectors
from af_kit.simulate.writer import Block

KEY = 37


def basket(entries):
    """The record of a basket whose entries are these bytes, not compressed."""
    edges = np.cumsum([0, *map(len, entries)])
    tail = struct.pack(f">{len(entries) + 1}i", len(entries) + 1, *(edges[:-1] + KEY))
    payload = b"".join(entries) + tail
    head = struct.pack(">iHiIHH", KEY + len(payload), 4, len(payload), 0, KEY, 1)
    return memoryview(head + struct.pack(">Hiiii", 3, 32000, 4, len(entries), KEY + int(edges[-1])) + b"\0" + payload)


def entry(count, body):
    return struct.pack(">IHI", (6 + len(body)) | 0x40000000, 1, count) + body


def of_numbers(lists, dtype):
    return basket([entry(len(numbers), np.asarray(numbers, dtype).tobytes()) for numbers in lists])


def of_texts(lists):
    def body(text):
        size = bytes([len(text)]) if len(text) < 255 else b"\xff" + struct.pack(">I", len(text))
        return size + text

    return basket([entry(len(one), b"".join(map(body, one))) for one in lists])


LENGTHS = st.lists(st.integers(0, 20), max_size=30)


@given(lengths=LENGTHS, dtype=st.sampled_from([">f8", ">f4", ">i4", ">i2", "|i1", "|b1"]))
def test_numbers_of_any_length_few_or_many_to_a_vector(lengths, dtype):
    numbers = np.arange(sum(lengths)).astype(dtype)
    lists = np.split(numbers, np.cumsum(lengths)[:-1]) if lengths else []
    counts, found = vectors(of_numbers(lists, dtype), len(lists), np.dtype(dtype), 10)
    assert counts.tolist() == lengths
    assert (found.dtype, found.tobytes()) == (np.dtype(dtype), numbers.tobytes())


SOME = st.one_of(st.binary(max_size=6), st.integers(250, 260).map(lambda size: b"x" * size))


def parts(counts, begins, ends, characters):
    each = [bytes(characters[begin:end]) for begin, end in zip(begins, ends, strict=True)]
    return [[each.pop(0) for _ in range(count)] for count in counts]


@given(lists=st.lists(st.lists(SOME, max_size=5), max_size=12))
def test_texts_of_any_length(lists):
    assert parts(*texts(of_texts(lists), len(lists), 10)) == lists


@given(
    lists=st.lists(st.lists(SOME, max_size=3), min_size=1, max_size=6),
    place=st.integers(0, 10_000),
    value=st.integers(0, 255),
)
def test_a_wrong_byte_is_an_error_or_changes_no_entry_but_its_own(lists, place, value):
    damaged = bytearray(of_texts(lists))
    place = KEY + place % (len(damaged) - KEY)
    damaged[place] = value
    try:
        found = parts(*texts(memoryview(damaged), len(lists), 10))
    except CorruptBlock:
        return
    assert sum(a != b for a, b in zip(found, lists, strict=True)) <= 1


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ([entry(2, b"\1a")], "not as long as they say|lies outside"),
        ([entry(1, b"\1ab")], "not as long as they say"),
        ([entry(1, b"\2a"), entry(0, b"")], "not as long as they say"),
        ([entry(1, b"\xff\0\0"), entry(0, b"")], "lies outside of its entry"),
        ([entry(1, b"\xff\xff\xff\xff\xff")], "not as long as they say"),
        ([entry(2, b"\xff\0\0\0\1"), entry(0, b"")], "not as long as they say|lies outside"),
        ([entry(0, b"")[:9]], "do not begin where it says"),
        ([entry(0x7FFFFFFF, b"\1a")], "not as long as they say"),
    ],
)
def test_damaged_texts(entries, match):
    with pytest.raises(CorruptBlock, match=match):
        texts(basket(entries), len(entries), 10)


# ------------------------------------------------------------------------------------------------------- in a file


TEXTS = [["HLT_Mu", "é"], [], ["e" * 300, "", "L1"], ["x"]]


@pytest.fixture
def file(tmp_path):
    schema = VectorSchema({"s": "string"}, counts={"s": "c"}, strings={"s": TEXTS})
    block = Block(8, {"c": np.array([2, 0, 3, 1] * 2, np.uint32)}, {"s": np.arange(8) % 4})
    return write_vectors(tmp_path / "x.root", schema, [block] * 3, treename="Events", cluster_entries=8)


@pytest.mark.parametrize("size", [3, 8, 100])
def test_texts_of_a_file_in_chunks_of_any_size(file, size):
    chunks = plan(str(file), treename="Events", chunk_entries=size)
    assert all(chunk.layout.columns["s"].texts for chunk in chunks)
    found = ak.concatenate([read(chunk)["s"] for chunk in chunks])
    assert found.to_list() == TEXTS * 6
    with uproot.open(file) as opened:
        assert bits(found) == bits(opened["Events"]["s"].array())


def test_texts_are_as_any_others_to_awkward_and_arrow(file, tmp_path):
    texts = read(whole(file)).s
    assert ak.to_arrow(texts, extensionarray=False).to_pylist() == TEXTS * 6
    assert ak.sum(texts == "L1") == 6
    assert ak.str.starts_with(texts, "HLT").to_list()[:2] == [[True, False], []]
    assert texts[::-1][:2].to_list() == [TEXTS[3], TEXTS[2]]
    ak.to_parquet(texts, tmp_path / "x.parquet")
    assert ak.from_parquet(tmp_path / "x.parquet").to_list() == TEXTS * 6
