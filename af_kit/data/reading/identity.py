"""The identity of a ROOT file: its identifier, and a digest of its content.

The identifier alone (ROOT's uuid) is not enough: a job that writes a file again may keep it, and two skims of one
source may share it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash

from af_kit.data.transport.ranges import HEADER_BYTES, samples
from af_kit.errors import ReadError

if TYPE_CHECKING:
    from af_kit.data.reading.layout import Layout

Read = Callable[[Sequence[tuple[int, int]]], Sequence[Any]]
"""Returns the bytes of each range ``(start, stop)`` of a file."""

__all__ = ["Identity", "check_file", "identify"]


def file_uuid(head: bytes) -> str:
    """Return a file's identifier (which its replicas share) from its first `HEADER_BYTES` bytes.

    If ROOT wrote only an RNTuple, the header has no identifier, but the top folder has.
    """
    head = head.ljust(HEADER_BYTES, b"\0")
    at = 59 if _is_wide(head) else 47
    own = uuid.UUID(bytes=head[at : at + 16])
    if not own.int:
        folder = _top_folder(head)
        at = folder + (44 if int.from_bytes(head[folder : folder + 2], "big") > 1000 else 32)
        own = uuid.UUID(bytes=head[at : at + 16].ljust(16, b"\0"))
    return str(own)


def header_digest(head: bytes) -> str:
    """Return a digest of the header and the record of the top folder, which are read anyway."""
    return xxhash.xxh64_hexdigest(head[: _top_folder(head.ljust(HEADER_BYTES, b"\0")) + 60])


def _is_wide(head: bytes) -> bool:
    """Return whether positions have eight bytes, as in a file over 2 GB."""
    return int.from_bytes(head[4:8], "big", signed=True) >= 1_000_000


def _top_folder(head: bytes) -> int:
    """Return the position of the record of the top folder."""
    name = head[36:40] if _is_wide(head) else head[28:32]
    return int.from_bytes(head[8:12], "big") + int.from_bytes(name, "big")


class Identity(NamedTuple):
    """What identifies a file and its identical copies."""

    uuid: str
    head: str
    """Digest of the header."""
    digest: str
    """Digest of the content."""


def identify(read: Read, ranges: Sequence[tuple[int, int]]) -> Identity:
    """Return the identity of a file from these ranges (see `samples`), with one call of ``read``."""
    pieces = read(ranges)
    digest = xxhash.xxh3_128()
    for piece in pieces:
        digest.update(piece)
    head = bytes(pieces[0][:HEADER_BYTES])
    return Identity(file_uuid(head), header_digest(head), str(digest.hexdigest()))


def check_file(path: str, head: bytes, layout: Layout, read: Read | None = None) -> None:
    """Raise `ReadError` if a file is not the one that the layout describes: its numbers would be wrong.

    Parameters
    ----------
    path : str
        The file, for the message.
    head : bytes
        Its first bytes.
    layout : Layout
        What was planned.
    read : callable, optional
        Reads ranges of another replica than the planned one, to compare its content as well.
    """
    if (found := file_uuid(head)) != layout.uuid:
        raise _not_planned(path, f"its identifier is {found}, not {layout.uuid}")
    if header_digest(head) != layout.head:
        raise _not_planned(path, "its header has changed")
    if read is not None and identify(read, samples(layout.end)).digest != layout.digest:
        raise _not_planned(path, f"its content differs from that of {layout.path}")


def _not_planned(path: str, difference: str) -> ReadError:
    return ReadError(
        f"{path} is not the file that was planned ({difference}): it has been rewritten since it was planned, or is "
        "not an identical replica. Plan again.",
        transient=False,
    )
