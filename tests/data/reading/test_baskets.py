"""Decoding baskets that the tests build byte by byte, and a file of strings."""

import functools
import struct

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import bits, whole
from damage import basket_of, overwrite
from hypothesis import given
from hypothesis import strategies as st

from af_kit.data.reading import baskets
from af_kit.data.reading.baskets import basket_data, decode_strings, decode_vectors
from af_kit.data.reading.codecs import CorruptBlock
from af_kit.data.reading.read import read
from af_kit.errors import ReadError
from af_kit.run.plan import plan
from af_kit.simulate.vectors import VectorSchema, write_vectors
from af_kit.simulate.writer import Block

KEY = 37


def basket(entries):
    """The uncompressed record of a basket with these entries."""
    edges = np.cumsum([0, *map(len, entries)])
    tail = struct.pack(f">{len(entries) + 1}i", len(entries) + 1, *(edges[:-1] + KEY))
    payload = b"".join(entries) + tail
    head = struct.pack(">iHiIHH", KEY + len(payload), 4, len(payload), 0, KEY, 1)
    return memoryview(head + struct.pack(">Hiiii", 3, 32000, 4, len(entries), KEY + int(edges[-1])) + b"\0" + payload)


def entry(count, body):
    return struct.pack(">IHI", (6 + len(body)) | 0x40000000, 1, count) + body


def of_numbers(lists, dtype):
    return basket([entry(len(numbers), np.asarray(numbers, dtype).tobytes()) for numbers in lists])


def of_strings(lists):
    def body(text):
        size = bytes([len(text)]) if len(text) < 255 else b"\xff" + struct.pack(">I", len(text))
        return size + text

    return basket([entry(len(one), b"".join(map(body, one))) for one in lists])


LENGTHS = st.lists(st.integers(0, 20), max_size=30)


@given(lengths=LENGTHS, dtype=st.sampled_from([">f8", ">f4", ">i4", ">i2", "|i1", "|b1"]))
def test_vectors_of_any_length(lengths, dtype):
    numbers = np.arange(sum(lengths)).astype(dtype)
    lists = np.split(numbers, np.cumsum(lengths)[:-1]) if lengths else []
    counts, found = decode_vectors(of_numbers(lists, dtype), len(lists), np.dtype(dtype), 10)
    assert counts.tolist() == lengths
    assert (found.dtype, found.tobytes()) == (np.dtype(dtype), numbers.tobytes())


SOME = st.one_of(st.binary(max_size=6), st.integers(250, 260).map(lambda size: b"x" * size))


def parts(counts, begins, ends, characters):
    each = [bytes(characters[begin:end]) for begin, end in zip(begins, ends, strict=True)]
    return [[each.pop(0) for _ in range(count)] for count in counts]


CHANGES = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4)


@pytest.mark.parametrize("decode", [decode_strings, functools.partial(decode_vectors, dtype=np.dtype(">f4"))])
@given(lists=st.lists(st.lists(SOME, max_size=3), min_size=1, max_size=12), changes=CHANGES)
def test_damaged_bytes_lead_to_nothing_outside_the_basket(decode, lists, changes):
    """A compiled loop would read there; the same loop of Python raises an IndexError."""
    record = bytearray(of_strings(lists))
    for at, value in changes:
        record[KEY + at % (len(record) - KEY)] = value

    def outcome():
        try:
            return [part.tobytes() for part in decode(memoryview(record), entries=len(lists), header=10)]
        except CorruptBlock as error:
            return str(error)

    compiled = outcome()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_count", "_copy_vectors", "_find_strings"):
            patch.setattr(baskets, name, getattr(baskets, name).__wrapped__)
        assert outcome() == compiled


@given(lists=st.lists(st.lists(SOME, max_size=5), max_size=12))
def test_strings_of_any_length(lists):
    assert parts(*decode_strings(of_strings(lists), len(lists), 10)) == lists


@given(
    lists=st.lists(st.lists(SOME, max_size=3), min_size=1, max_size=6),
    place=st.integers(0, 10_000),
    value=st.integers(0, 255),
)
def test_a_wrong_byte_changes_at_most_one_entry(lists, place, value):
    damaged = bytearray(of_strings(lists))
    place = KEY + place % (len(damaged) - KEY)
    damaged[place] = value
    try:
        found = parts(*decode_strings(memoryview(damaged), len(lists), 10))
    except CorruptBlock:
        return
    assert sum(a != b for a, b in zip(found, lists, strict=True)) <= 1


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ([entry(2, b"\1a")], "wrong length|extends beyond"),
        ([entry(1, b"\1ab")], "wrong length"),
        ([entry(1, b"\2a"), entry(0, b"")], "wrong length"),
        ([entry(1, b"\xff\0\0"), entry(0, b"")], "extends beyond its entry"),
        ([entry(1, b"\xff\xff\xff\xff\xff")], "wrong length"),
        ([entry(2, b"\xff\0\0\0\1"), entry(0, b"")], "wrong length|extends beyond"),
        ([entry(0, b"")[:9]], "wrong entry offsets"),
        ([entry(0x7FFFFFFF, b"\1a")], "wrong length"),
    ],
)
def test_damaged_strings(entries, match):
    with pytest.raises(CorruptBlock, match=match):
        decode_strings(basket(entries), len(entries), 10)


STRINGS = [["HLT_Mu", "é"], [], ["e" * 300, "", "L1"], ["x"]]


@pytest.fixture
def file(tmp_path):
    schema = VectorSchema({"s": "string"}, counts={"s": "c"}, strings={"s": STRINGS})
    block = Block(8, {"c": np.array([2, 0, 3, 1] * 2, np.uint32)}, {"s": np.arange(8) % 4})
    return write_vectors(tmp_path / "x.root", schema, [block] * 3, treename="Events", cluster_entries=8)


@pytest.mark.parametrize("size", [3, 8, 100])
def test_strings_in_chunks_of_any_size(file, size):
    chunks = plan(str(file), treename="Events", chunk_entries=size)
    assert all(chunk.layout.columns["s"].strings for chunk in chunks)
    found = ak.concatenate([read(chunk)["s"] for chunk in chunks])
    assert found.to_list() == STRINGS * 6
    with uproot.open(file) as opened:
        assert bits(found) == bits(opened["Events"]["s"].array())


def test_strings_work_in_awkward_and_arrow(file, tmp_path):
    strings = read(whole(file)).s
    assert ak.to_arrow(strings, extensionarray=False).to_pylist() == STRINGS * 6
    assert ak.sum(strings == "L1") == 6
    assert ak.str.starts_with(strings, "HLT").to_list()[:2] == [[True, False], []]
    assert strings[::-1][:2].to_list() == [STRINGS[3], STRINGS[2]]
    ak.to_parquet(strings, tmp_path / "x.parquet")
    assert ak.from_parquet(tmp_path / "x.parquet").to_list() == STRINGS * 6


def record(payload, border, *, uncompressed=None, key=37):
    head = struct.pack(">iHiIHH", key + len(payload), 4, uncompressed or len(payload), 0, key, 1)
    tail = struct.pack(">Hiiii", 3, 32000, 4, 5, key + border) + b"\0"
    return memoryview(head + b"x" * (key - len(head) - len(tail)) + tail + payload)


def test_basket_data_leave_out_the_offsets():
    assert bytes(basket_data(record(b"abcdEFGH", 4), 4)) == b"abcd"
    assert bytes(basket_data(record(b"", 0), 0)) == b""
    assert bytes(basket_data(record(b"abcdEFGH", 4, key=77), 4)) == b"abcd"  # a longer name, or a file over 2 GB
    packed = uproot.compression.compress(b"abcd" * 100, uproot.ZLIB(1))
    assert bytes(basket_data(record(packed, 200, uncompressed=400), 200)) == b"abcd" * 50
    for wrong in [b"", b"\0" * 10, bytes(record(b"abcd", 4))[:30]]:
        with pytest.raises(CorruptBlock):
            basket_data(memoryview(wrong), 4)


@pytest.mark.parametrize("verify", [False, True])
def test_a_basket_with_less_data_than_in_its_key(verify):
    with pytest.raises(CorruptBlock, match="8 bytes of data in 4"):
        basket_data(record(b"abcd", 8), 8, verify=verify)


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
        (10 + 9, 2, "a vector in the basket has a wrong length"),  # the length of the second
        (6 * 10 + 6 * 8 + 3, 9, "lacks the offsets of its 6 entries"),  # the number of entries
        (6 * 10 + 6 * 8 + 4 + 4 + 3, 1, "has wrong entry offsets"),  # the start of the second
    ],
)
def test_damaged_vectors(vector_file, place, value, match):
    chunk = whole(vector_file)
    assert read(chunk).v.to_list() == [[], [0], [1, 2], [], [3], [4, 5]]
    seek, _, key, _ = basket_of(chunk, "v")
    overwrite(vector_file, seek + key + place, bytes([value]))
    with pytest.raises(ReadError, match=rf"branch 'v' is damaged in entries 0 to 6: .*{match}") as caught:
        _ = read(chunk).v.to_list()
    assert caught.value.transient
