"""Decode ROOT's compressed blocks, only as far as needed.

A compressed object is a sequence of blocks, each with a header of nine bytes: two letters for the codec, one byte for
the method, the compressed and the uncompressed size (three bytes each, little endian). The streaming decoders stop
after ``wanted`` bytes: the tail of a jagged basket repeats the content of its counter branch, and decoding it takes up
to half of the time.
"""

from __future__ import annotations

import lzma
import threading
from collections.abc import Callable

import cramjam
import numpy as np
import xxhash
import zstandard
from isal import isal_zlib

__all__ = ["CorruptBlock", "decompress"]

_HEADER = 9
_LZ4_CHECKSUM = 8
_local = threading.local()


class CorruptBlock(ValueError):
    """The compressed bytes do not match their header."""


def decompress(data: memoryview, uncompressed: int, wanted: int, *, verify: bool = False) -> bytes | memoryview:
    """Return the first ``wanted`` bytes of an object of ``uncompressed`` bytes.

    ``data`` are all blocks of the object, including their headers. ``verify`` decodes everything and checks the codec's
    checksum, if it has one (ZLIB, LZMA, LZ4). A damaged, unknown or short block raises `CorruptBlock`.
    """
    if wanted > uncompressed:
        raise CorruptBlock(f"{wanted} bytes were requested of an object of {uncompressed} bytes")
    pieces: list[bytes | memoryview] = []
    have = at = 0
    stop = uncompressed if verify else wanted
    while have < stop:
        head = data[at : at + _HEADER]
        if len(head) < _HEADER:
            raise CorruptBlock(f"the data ends after {have} of {stop} bytes")
        compressed = int.from_bytes(head[3:6], "little")
        size = int.from_bytes(head[6:9], "little")
        block = data[at + _HEADER : at + _HEADER + compressed]
        if len(block) < compressed or size == 0:
            raise CorruptBlock(f"a block of {compressed} bytes has only {len(block)}")
        decode = _CODECS.get(bytes(head[:2]))
        if decode is None:
            raise CorruptBlock(f"unknown compression {bytes(head[:2])!r} (known: ZLIB, LZMA, LZ4, ZSTD)")
        need = min(size, stop - have)
        try:
            piece = decode(block, size, need, verify)
        except CorruptBlock:
            raise
        except Exception as error:
            raise CorruptBlock(f"{bytes(head[:2]).decode()}: {error}") from error
        if len(piece) < need or (need == size and len(piece) != size):
            raise CorruptBlock(f"a block decoded to {len(piece)} bytes instead of {need}")
        pieces.append(piece)
        have += need
        at += _HEADER + compressed
    whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return whole if len(whole) == wanted else memoryview(whole)[:wanted]


def _zlib(block: memoryview, size: int, need: int, verify: bool) -> bytes:
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


def _lzma(block: memoryview, size: int, need: int, verify: bool) -> bytes:
    decoder = lzma.LZMADecompressor()
    data = decoder.decompress(block, need)
    while len(data) < need and not decoder.eof:
        more = decoder.decompress(b"", need - len(data))
        if not more:
            break
        data += more
    if verify and not decoder.eof:  # the check value follows the last byte of data
        decoder.decompress(b"", 1)
    return data


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


def _zstd(block: memoryview, size: int, need: int, verify: bool) -> memoryview:
    # Creating a decoder takes as long as decoding a small basket, so each thread reuses one. The memory is not cleared.
    decoder = _local.__dict__.get("zstd")
    if decoder is None:
        decoder = _local.zstd = zstandard.ZstdDecompressor()
    out = np.empty(need, dtype=np.uint8).data
    with decoder.stream_reader(block) as stream:
        have = 0
        while have < need:
            got = stream.readinto(out[have:])
            if not got:
                break
            have += got
    return out[:have]


_CODECS: dict[bytes, Callable[[memoryview, int, int, bool], bytes | memoryview]] = {
    b"ZL": _zlib,
    b"XZ": _lzma,
    b"L4": _lz4,
    b"ZS": _zstd,
}
