"""Decode ROOT's compressed blocks, only as far as needed, and check their checksums.

A compressed object is a sequence of blocks, each with a header of nine bytes: two letters for the codec, one byte for
the method, the compressed and the uncompressed size (three bytes each, little endian). ZLIB, LZMA and LZ4 blocks have a
checksum over all of their bytes; ROOT writes ZSTD blocks without one. Without a checksum to verify, the streaming
decoders stop after ``wanted`` bytes: the tail of a jagged basket repeats the content of its counter branch, and
decoding it takes up to half of the time. Those of ZSTD do so only if that saves them a whole block of theirs.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import TypeAlias

import cramjam
import deflate
import numpy as np
import xxhash
import zstandard
from isal import isal_zlib

from af_kit.data.reading import liblzma

__all__ = ["Buffer", "CorruptBlock", "decompress"]

# Two letters, the method, and two sizes of three bytes.
_HEADER = struct.Struct("<2sxHBHB")
_LZ4_CHECKSUM = 8
_ZSTD_BLOCK = 128 << 10
_local = threading.local()

Buffer: TypeAlias = bytes | bytearray | memoryview


class CorruptBlock(ValueError):
    """The compressed bytes do not match their header."""


def decompress(data: memoryview, uncompressed: int, wanted: int, *, verify: bool = True) -> Buffer:
    """Return the first ``wanted`` bytes of an object of ``uncompressed`` bytes.

    ``data`` are all blocks of the object, including their headers. ``verify`` checks the
    codec's checksum (ZLIB, LZMA, LZ4) of each block with wanted bytes, which is then decoded as a whole, and the sizes
    of all blocks, which are also checked if all bytes are wanted. A damaged, unknown or short block raises
    `CorruptBlock`.
    """
    if wanted > uncompressed:
        raise CorruptBlock(f"{wanted} bytes were requested of an object of {uncompressed} bytes")
    if wanted and len(data) >= _HEADER.size:
        codec, compressed, size = _header(data, 0)
        if size == uncompressed and compressed == len(data) - _HEADER.size:  # one block: most baskets
            return _decoded(codec, data[_HEADER.size :], size, wanted, verify)
    if verify or wanted == uncompressed:
        _check_sizes(data, uncompressed)
    pieces: list[Buffer] = []
    have = at = 0
    while have < wanted:
        if at + _HEADER.size > len(data):
            raise CorruptBlock(f"the data ends after {have} of {wanted} bytes")
        codec, compressed, size = _header(data, at)
        at += _HEADER.size
        block = data[at : at + compressed]
        if len(block) < compressed or size == 0:
            raise CorruptBlock(f"a block of {compressed} bytes has only {len(block)}")
        need = min(size, wanted - have)
        pieces.append(_decoded(codec, block, size, need, verify))
        have += need
        at += compressed
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _decoded(codec: bytes, block: memoryview, size: int, need: int, verify: bool) -> Buffer:
    """Return the first ``need`` of the ``size`` bytes of a block."""
    decode = _CODECS.get(codec)
    if decode is None:
        raise CorruptBlock(f"unknown compression {codec!r} (known: ZLIB, LZMA, LZ4, ZSTD)")
    try:
        piece = decode(block, size, need, verify)
    except CorruptBlock:
        raise
    except Exception as error:
        raise CorruptBlock(f"{codec.decode()}: {error}") from error
    if len(piece) == need:
        return piece
    if len(piece) < need or need == size:
        raise CorruptBlock(f"a block decoded to {len(piece)} bytes instead of {need}")
    return memoryview(piece)[:need]


def _header(data: memoryview, at: int) -> tuple[bytes, int, int]:
    """Return the letters of the codec, and the compressed and uncompressed size, from the header of a block."""
    codec, low, high, size_low, size_high = _HEADER.unpack_from(data, at)
    return codec, low | high << 16, size_low | size_high << 16


def _check_sizes(data: memoryview, uncompressed: int) -> None:
    """Refuse blocks that do not add up to the object: to all of its compressed and uncompressed bytes."""
    have = at = 0
    while at + _HEADER.size <= len(data):
        _, compressed, size = _header(data, at)
        have += size
        at += _HEADER.size + compressed
    if at != len(data) or have != uncompressed:
        raise CorruptBlock(
            f"the blocks have {at} compressed bytes for {have} bytes, the object {len(data)} for {uncompressed}"
        )


def _zlib(block: memoryview, size: int, need: int, verify: bool) -> Buffer:
    if verify:  # decodes whole blocks only, and checks them, in two thirds of the time
        whole: bytearray = deflate.zlib_decompress(block, size)
        return whole
    if need == size:  # decoding to the end also checks the stream's checksum
        return bytes(isal_zlib.decompress(block, bufsize=size))
    decoder = isal_zlib.decompressobj()
    data: bytes = decoder.decompress(block, need)
    while len(data) < need and not decoder.eof:
        more = decoder.decompress(decoder.unconsumed_tail, need - len(data))
        if not more:
            break
        data += more
    return data


def _lzma(block: memoryview, size: int, need: int, verify: bool) -> Buffer:
    if verify or need == size:
        return liblzma.decode_whole(block, size)
    return liblzma.decode_start(block, need)


def _lz4(block: memoryview, size: int, need: int, verify: bool) -> memoryview:
    # The format has no streaming decoder; at several GB/s it needs none.
    body = block[_LZ4_CHECKSUM:]
    if verify and xxhash.xxh64_digest(body) != bytes(block[:_LZ4_CHECKSUM]):
        raise CorruptBlock("the checksum of an LZ4 block does not match its data")
    data = np.empty(size, dtype=np.uint8).data
    got = cramjam.lz4.decompress_block_into(body, data)  # decompress_block would pad a short block with zeros
    if got != size:
        raise CorruptBlock(f"an LZ4 block decoded to {got} bytes instead of {size}")
    return data


def _zstd(block: memoryview, size: int, need: int, verify: bool) -> Buffer:
    # Creating a decoder takes as long as decoding a small basket, so each thread reuses one. The memory is not cleared.
    decoder = _local.__dict__.get("zstd")
    if decoder is None:
        decoder = _local.zstd = zstandard.ZstdDecompressor()
    # ZSTD decodes up to 128 KiB at a time: a stream that cannot leave out as much only takes longer. The size in the
    # frame's header is compared first, because the decoder allocates what it says.
    if size - need < _ZSTD_BLOCK and zstandard.frame_content_size(block) == size:
        whole: bytes = decoder.decompress(block)
        return whole
    out = np.empty(need, dtype=np.uint8).data
    with decoder.stream_reader(block) as stream:
        have = 0
        while have < need:
            got = stream.readinto(out[have:])
            if not got:
                break
            have += got
        # The checksum of a frame, if it has one, follows the last byte of data.
        if verify and need == size and stream.read(1):
            raise CorruptBlock(f"a ZSTD block has more than {size} bytes")
    return out[:have]


_CODECS: dict[bytes, Callable[[memoryview, int, int, bool], Buffer]] = {
    b"ZL": _zlib,
    b"XZ": _lzma,
    b"L4": _lz4,
    b"ZS": _zstd,
}
