"""Decoding compressed blocks: any length, and damage."""

import itertools
import lzma

import pytest
import uproot
import zstandard
from bits import CODECS
from hypothesis import given, settings
from hypothesis import strategies as st

from af_kit.data.reading import liblzma
from af_kit.data.reading.codecs import CorruptBlock, decompress

COMPRESSED = [name for name in CODECS if name != "none"]


CHECKED = ["zlib", "lzma", "lz4"]  # codecs with a checksum; ROOT writes ZSTD without one


# Repeating numbers, so that every codec compresses each block.
PLAIN = b"".join(i.to_bytes(4, "big") + b"\0\0\0\1" for i in range(3000))


def blocks(name, *pieces):
    return b"".join(uproot.compression.compress(piece, CODECS[name]) for piece in pieces)


def detected(data, size, wanted, verify):
    try:
        return bytes(decompress(memoryview(data), size, wanted, verify=verify))
    except CorruptBlock:
        return None


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("verify", [False, True])
@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, len(PLAIN) - 1), max_size=3, unique=True), wanted=st.integers(0, len(PLAIN)))
def test_any_number_of_bytes_and_blocks(name, verify, cuts, wanted):
    edges = [0, *sorted(cuts), len(PLAIN)]
    pieces = [PLAIN[a:b] for a, b in itertools.pairwise(edges) if b - a > 1000]  # shorter ones are not compressed
    plain = b"".join(pieces)
    wanted = min(wanted, len(plain))
    data = memoryview(blocks(name, *pieces))
    assert bytes(decompress(data, len(plain), wanted, verify=verify)) == plain[:wanted]


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("wanted", [1, 9000, len(PLAIN)])
def test_truncated_data_are_detected(name, wanted):
    data = blocks(name, PLAIN[:12000], PLAIN[12000:])
    for end in [0, 5, 9, 12, len(data) // 4, len(data) - 1]:
        got = detected(data[:end], len(PLAIN), wanted, verify=False)
        assert got is None or got == PLAIN[:wanted]
    assert detected(data[: len(data) // 4], len(PLAIN), len(PLAIN), verify=False) is None


@pytest.mark.parametrize("name", CHECKED)
def test_verify_detects_every_flipped_bit(name):
    data = blocks(name, PLAIN)
    step = max(1, len(data) // 250)
    for at in range(9, len(data), step):
        for bit in (0x01, 0x80):
            broken = bytearray(data)
            broken[at] ^= bit
            # some bits have no effect, such as a flag for the operating system: then the data must be right
            got = detected(bytes(broken), len(PLAIN), 100, verify=True)
            assert got is None or (
                got == PLAIN[:100] and detected(bytes(broken), len(PLAIN), len(PLAIN), True) == PLAIN
            )


def test_the_checksum_of_a_zstd_frame_is_checked_if_it_has_one():
    frame = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN))
    head = b"ZS\1" + len(frame).to_bytes(3, "little") + len(PLAIN).to_bytes(3, "little")
    assert detected(head + frame, len(PLAIN), len(PLAIN), True) == PLAIN
    frame[-1] ^= 1
    assert detected(head + frame, len(PLAIN), len(PLAIN), True) is None


@pytest.mark.parametrize("wanted", [len(PLAIN) // 2, len(PLAIN), 20 * len(PLAIN) // 2, 20 * len(PLAIN)])
def test_the_size_in_a_zstd_frame_is_not_believed(wanted):
    plain = PLAIN * (20 if wanted > len(PLAIN) else 1)
    data = bytearray(blocks("zstd", plain))
    assert detected(bytes(data), len(plain), wanted, True) == plain[:wanted]
    frame = data.index(zstandard.FRAME_HEADER)
    width = 2 if len(plain) < 65536 else 4
    size = slice(frame + 5, frame + 5 + width)  # after the magic number and a byte of flags
    assert int.from_bytes(data[size], "little") + (256 if width == 2 else 0) == len(plain)
    data[size] = b"\xff" * width
    assert detected(bytes(data), len(plain), wanted, True) in (None, plain[:wanted])


@pytest.mark.parametrize("name", COMPRESSED)
def test_all_blocks_must_add_up_to_the_object(name):
    data = blocks(name, PLAIN[:12000], PLAIN[12000:])
    assert detected(data, len(PLAIN), 100, True) == PLAIN[:100]
    for wrong in (data[:-1], data + b"\0", data[: len(blocks(name, PLAIN[:12000]))]):
        assert detected(wrong, len(PLAIN), 100, True) is None
    assert detected(data, len(PLAIN) - 1, 100, True) is None


@pytest.mark.parametrize("name", COMPRESSED)
@settings(max_examples=150)
@given(data=st.data())
def test_damaged_data_raise_only_corrupt_block(name, data):
    broken = bytearray(blocks(name, PLAIN[:6000], PLAIN[6000:]))
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    wanted = data.draw(st.integers(0, len(PLAIN)))
    got = detected(bytes(broken), len(PLAIN), wanted, verify=data.draw(st.booleans()))
    assert got is None or len(got) == wanted


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("change", [-1, 1, -4000, 4000])
def test_a_block_with_a_wrong_size(name, verify, change):
    data = bytearray(blocks(name, PLAIN[:12000], PLAIN[12000:]))
    data[6:9] = (12000 + change).to_bytes(3, "little")
    assert detected(bytes(data), len(PLAIN), len(PLAIN), verify) is None


def test_an_unknown_codec():
    with pytest.raises(CorruptBlock, match=r"unknown compression b'CS' \(known: ZLIB, LZMA, LZ4, ZSTD\)"):
        decompress(memoryview(b"CS" + blocks("zlib", PLAIN)[2:]), len(PLAIN), 1)


@pytest.mark.parametrize("verify", [False, True])
def test_more_bytes_than_the_object_has(verify):
    data = memoryview(blocks("zlib", PLAIN))
    with pytest.raises(CorruptBlock):
        decompress(data, len(PLAIN), len(PLAIN) + 8, verify=verify)


@pytest.fixture(params=["installed", "Python's own"])
def liblzma_decoder(request, monkeypatch):
    if request.param == "installed":
        assert liblzma._library() is not None, "Pillow's wheel brings one"
    else:
        monkeypatch.setattr(liblzma, "_library", lambda: None)
    liblzma._decoder.cache_clear()
    yield
    liblzma._decoder.cache_clear()


@pytest.mark.usefixtures("liblzma_decoder")
@pytest.mark.parametrize("check", [lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256, lzma.CHECK_NONE])
def test_whole_lzma_streams(check):
    data = lzma.compress(PLAIN, check=check)
    assert bytes(liblzma.decode_whole(memoryview(data), len(PLAIN))) == PLAIN
    assert bytes(liblzma.decode_whole(memoryview(lzma.compress(b"")), 0)) == b""
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    wrong = [(data, len(PLAIN) - 1), (data, len(PLAIN) + 1), (data[:-1], len(PLAIN)), (data + b"....", len(PLAIN))]
    wrong += [(b"", 3), (PLAIN, len(PLAIN))] + [(bytes(damaged), len(PLAIN))] * (check != lzma.CHECK_NONE)
    for block, size in wrong:
        with pytest.raises(lzma.LZMAError):
            liblzma.decode_whole(memoryview(block), size)
