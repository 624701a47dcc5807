"""LZMA blocks by the newest liblzma that is installed.

liblzma 5.6 and later decode twice as fast as the 5.4 that many Python builds and distributions have. Pillow, which
matplotlib needs, brings a new one in its wheel; without it, Python's own module does the work.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["decode_start", "decode_whole"]

# The first version with the faster decoder, as liblzma numbers it: 5.6.0, stable
_FAST = 50060002
_NO_LIMIT = ctypes.c_uint64(2**64 - 1)
_OK = 0
_ERRORS = {5: "out of memory", 7: "not an xz stream", 8: "unknown options", 9: "corrupt data", 10: "truncated data"}

Decode = Callable[[memoryview, int], "bytes | memoryview"]


def decode_whole(block: memoryview, size: int) -> bytes | memoryview:
    """Return the ``size`` bytes of an xz stream, after checking them. `lzma.LZMAError` is raised if it is damaged."""
    return _decoder()(block, size)


def decode_start(block: memoryview, size: int) -> bytes:
    """Return the first ``size`` bytes of an xz stream, or as many as it has; nothing is checked."""
    return _started(lzma.LZMADecompressor(format=lzma.FORMAT_XZ), block, size)


@functools.cache
def _decoder() -> Decode:
    library = _library()
    return _by_python if library is None else functools.partial(_by_library, library)


def _library() -> ctypes.CDLL | None:
    """Return a liblzma with the faster decoder, if there is one."""
    pillow = importlib.util.find_spec("PIL")
    if pillow is None or pillow.origin is None:
        return None
    for path in sorted(Path(pillow.origin).parents[1].glob("pillow.libs/liblzma-*.so*")):
        try:
            library = ctypes.CDLL(str(path))
            if library.lzma_version_number() >= _FAST:
                library.lzma_stream_buffer_decode.argtypes = [
                    *(ctypes.POINTER(ctypes.c_uint64), ctypes.c_uint32, ctypes.c_void_p),
                    *(ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t), ctypes.c_size_t),
                    *(ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t), ctypes.c_size_t),
                ]
                return library
        except (OSError, AttributeError):  # for another machine or C library
            continue
    return None


def _by_library(library: ctypes.CDLL, block: memoryview, size: int) -> memoryview:
    data, out = np.frombuffer(block, np.uint8), np.empty(size, np.uint8)
    read, written = ctypes.c_size_t(0), ctypes.c_size_t(0)
    status = library.lzma_stream_buffer_decode(
        *(ctypes.byref(_NO_LIMIT), 0, None),
        *(data.ctypes.data, ctypes.byref(read), data.nbytes),
        *(out.ctypes.data, ctypes.byref(written), size),
    )
    if status != _OK:
        raise lzma.LZMAError(_ERRORS.get(status, f"error {status} of liblzma"))
    if read.value != data.nbytes or written.value != size:
        raise lzma.LZMAError(f"{written.value} of {size} bytes from {read.value} of {data.nbytes}")
    return out.data


def _started(decoder: lzma.LZMADecompressor, block: memoryview, size: int) -> bytes:
    data = decoder.decompress(block, size)
    while len(data) < size and not decoder.eof:
        more = decoder.decompress(b"", size - len(data))
        if not more:
            break
        data += more
    return data


def _by_python(block: memoryview, size: int) -> bytes:
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    data = _started(decoder, block, size)
    if not decoder.eof:  # the check value follows the last byte of data
        data += decoder.decompress(b"", 1)
    if len(data) != size or not decoder.eof or decoder.unused_data:
        raise lzma.LZMAError(f"{len(data)} bytes instead of {size}")
    return data
