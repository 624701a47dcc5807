"""Damage files, lose privileges, count open files."""

import contextlib
import os
import struct
from pathlib import Path


def overwrite(path, position, change):
    """Overwrite bytes of a file; ``change`` is bytes, or a function of the old byte."""
    data = bytearray(path.read_bytes())
    if callable(change):
        data[position] = change(data[position])
    else:
        data[position : position + len(change)] = change
    path.write_bytes(data)


def basket_of(chunk, name, number=0):
    """Position, size and key length of a basket's record, and its uncompressed bytes."""
    column = chunk.layout.columns[name]
    seek, size = int(column.seeks[number]), int(column.sizes[number])
    with open(chunk.file, "rb") as file:  # noqa: PTH123
        record = os.pread(file.fileno(), size, seek)
    _, _, uncompressed, _, key, _ = struct.unpack_from(">iHiIHH", record)
    return seek, size, key, uncompressed


@contextlib.contextmanager
def unprivileged():
    """Run as an ordinary user: if the tests run as root, nothing is forbidden."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def descriptors(path):
    """The number of file descriptors of this process that are open for a file."""
    return sum(link.exists() and str(link.readlink()) == str(path) for link in Path("/proc/self/fd").iterdir())
