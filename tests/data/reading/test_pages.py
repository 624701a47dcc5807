"""Decoding pages: every encoding from any element on, compared with an encoder in numpy; checksums and sizes."""

import numpy as np
import pytest
import uproot
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from af_kit.data.reading.codecs import CorruptBlock
from af_kit.data.reading.pages import check_page, decode_ends, decode_numbers, encoding_of, page_content

PLAIN = {1: "u1", 2: "u1", 3: "i1", 4: "u1", 5: "i2", 6: "u2", 7: "i4", 8: "u4", 9: "i8", 10: "u8"} | {
    11: "f2",
    12: "f4",
    13: "f8",
}
SPLIT = {0x12: "u2", 0x14: "u4", 0x16: "u8", 0x17: "f2", 0x18: "f4", 0x19: "f8"}
ZIGZAG = {0x11: "i2", 0x13: "i4", 0x15: "i8"}


def split(values):
    """All first bytes, all second bytes, ..."""
    return np.frombuffer(values.tobytes(), np.uint8).reshape(len(values), -1).T.tobytes()


def zigzag(values):
    """0, -1, 1, -2, ... become 0, 1, 2, 3, ..."""
    bits = 8 * values.itemsize
    return np.asarray([(2 * x if x >= 0 else -2 * x - 1) % (1 << bits) for x in values.tolist()], f"u{values.itemsize}")


def encode(values, kind):
    if kind == 0:
        return np.packbits(values, bitorder="little").tobytes()
    if kind in ZIGZAG:
        return split(zigzag(values))
    return split(values) if kind in SPLIT else values.tobytes()


@pytest.mark.parametrize("kind", [0, *PLAIN, *SPLIT, *ZIGZAG])
@settings(max_examples=20)
@given(data=st.data())
def test_numbers_of_every_type(kind, data):
    dtype = np.dtype({0: "?", **PLAIN, **SPLIT, **ZIGZAG}[kind])
    elements = data.draw(st.integers(1, 70))
    raw = np.frombuffer(data.draw(st.binary(min_size=elements * 8, max_size=elements * 8)), np.uint8)
    values = raw[:elements] % 2 == 1 if kind == 0 else raw[: elements * dtype.itemsize].view(dtype)
    if kind in ZIGZAG:
        values = np.concatenate([values, [np.iinfo(dtype).min, np.iinfo(dtype).max, -1, 0]]).astype(dtype)
    first = data.draw(st.integers(0, len(values) - 1))
    last = data.draw(st.integers(first, len(values)))
    encoding = encoding_of(kind, 1 if kind == 0 else 8 * dtype.itemsize)
    out = np.empty(last - first, dtype)
    decode_numbers(np.frombuffer(encode(values, kind), np.uint8), len(values), encoding, first, out)
    assert out.tobytes() == values[first:last].tobytes()


def pack(integers, bits):
    """Integers of so many bits, one after the other, from the lowest bit on."""
    whole = sum(int(x) << (bits * i) for i, x in enumerate(integers))
    return np.frombuffer(whole.to_bytes((len(integers) * bits + 7) // 8, "little"), np.uint8)


@settings(max_examples=20)
@given(bits=st.integers(10, 31), seed=st.integers(0, 99), first=st.integers(0, 20))
def test_truncated_floats(bits, seed, first):
    stored = np.random.default_rng(seed).integers(0, 1 << bits, 21)
    out = np.empty(21 - first, "f4")
    decode_numbers(pack(stored, bits), 21, encoding_of(0x1C, bits), first, out)
    assert out.view("u4").tolist() == [x << (32 - bits) for x in stored.tolist()[first:]]


@settings(max_examples=20)
@given(bits=st.integers(1, 32), seed=st.integers(0, 99), first=st.integers(0, 20))
def test_quantized_floats(bits, seed, first):
    stored = np.random.default_rng(seed).integers(0, 1 << bits, 21)
    out = np.empty(21 - first, "f4")
    decode_numbers(pack(stored, bits), 21, encoding_of(0x1D, bits, (-3.0, 5.0)), first, out)
    np.testing.assert_allclose(out, (-3 + 8 * stored / (2**bits - 1))[first:], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "bits"), [(0x10, 96), (0x1E, 32), (7, 16), (0, 8), (0x1C, 9), (0x1C, 32), (0x1D, 33), (0x18, 64)]
)
def test_what_the_kit_does_not_decode(kind, bits):
    assert encoding_of(kind, bits, (0, 1)) is None
    assert encoding_of(0x1D, 8) is None  # quantized, without its range


@pytest.mark.parametrize("kind", [0x0E, 0x0F, 0x1A, 0x1B])
@settings(max_examples=20)
@given(data=st.data())
def test_ends_of_lists(kind, data):
    counts = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=50))
    before = data.draw(st.integers(0, 1000))  # the lists of earlier pages of the cluster
    ends = before + np.cumsum(counts)
    stored = ends if kind < 0x10 else np.diff(ends, prepend=0)
    encoding = encoding_of(kind, 32 if kind in (0x0E, 0x1A) else 64)
    assert encoding.index
    stored = stored.astype(encoding.dtype)
    content = np.frombuffer(split(stored) if kind > 0x10 else stored.tobytes(), np.uint8)
    first = data.draw(st.integers(0, len(ends) - 1))
    out = np.empty(len(ends) - first, np.int64)
    decode_ends(content, len(ends), encoding, first, 10**6, int(ends[-1]), out)
    assert out.tolist() == (10**6 + ends[first:]).tolist()
    if ends[-1] > 0:
        with pytest.raises(CorruptBlock, match="do not follow each other"):
            decode_ends(content, len(ends), encoding, first, 0, int(ends[-1]) - 1, out)


@pytest.mark.parametrize("ends", [[3, 2, 5], [-1, 2, 5], [2**31, 2**31, 2**32], [2**63, 1, 1]])
def test_lists_that_do_not_follow_each_other(ends):
    content = np.frombuffer(np.asarray([x % 2**64 for x in ends], "u8").tobytes(), np.uint8)
    with pytest.raises(CorruptBlock, match="do not follow each other"):
        decode_ends(content, 3, encoding_of(0x0F, 64), 0, 0, 100, np.empty(3, np.int64))


@pytest.mark.parametrize("codec", [uproot.ZLIB(1), uproot.LZMA(1), uproot.LZ4(1), uproot.ZSTD(1), None])
@pytest.mark.parametrize("checked", [True, False])
def test_the_content_of_a_page(codec, checked):
    data = b"abcd" * 100
    stored = data if codec is None else uproot.compression.compress(data, codec)
    record = stored + xxhash.xxh3_64_intdigest(stored).to_bytes(8, "little") * checked
    got = page_content(memoryview(record), len(stored), 50, 64)
    assert got.tobytes() == data
    wrong = bytearray(record)
    wrong[len(stored) // 2] ^= 1
    if checked:
        with pytest.raises(CorruptBlock, match="checksum of a page"):
            page_content(memoryview(wrong), len(stored), 50, 64)
        with pytest.raises(CorruptBlock, match="checksum of a page"):
            check_page(memoryview(wrong), len(stored))
    if codec is None:
        assert page_content(memoryview(wrong), len(stored), 50, 64, verify=False).tobytes() != data


@pytest.mark.parametrize("codec", [uproot.ZSTD(1), None])
@pytest.mark.parametrize("elements", [49, 51])
def test_a_page_of_another_size(codec, elements):
    data = bytes(400)
    stored = data if codec is None else uproot.compression.compress(data, codec)
    for verify in (True, False):
        with pytest.raises(CorruptBlock):
            page_content(memoryview(stored), len(stored), elements, 64, verify=verify)
