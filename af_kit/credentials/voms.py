"""VOMS attributes inside a proxy: the VO, its groups and roles, and their expiry.

A VOMS server signs them as an attribute certificate (RFC 5755), which is in an extension of the proxy. They are only
read here; the storage verifies them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["VOMS_EXTENSION", "Voms", "read_voms"]

VOMS_EXTENSION = "1.3.6.1.4.1.8005.100.100.5"
# The attribute with the groups and roles (1.3.6.1.4.1.8005.100.100.4)
_FQAN = bytes.fromhex("2b06010401be45646404")

_OCTETS, _OID, _SEQUENCE, _TIME = 0x04, 0x06, 0x30, 0x18
_URI = 0x86


@dataclass(frozen=True)
class Voms:
    """The attributes from a VO.

    Attributes
    ----------
    vo : str
        ``"cms"``, or ``"unknown"`` if it cannot be read.
    fqans : tuple of str
        Groups and roles: ``"/cms/Role=NULL/Capability=NULL"``.
    until : datetime or None
        Their expiry, which can be before the proxy's.
    """

    vo: str
    fqans: tuple[str, ...]
    until: datetime | None


def read_voms(extension: bytes) -> Voms:
    """Read the extension's content; unreadable parts are left out."""
    try:
        elements = list(_walk(extension))
    except (IndexError, ValueError):
        return Voms("unknown", (), None)
    times = [content for tag, content in elements if tag == _TIME]
    # The groups' attribute starts with its identifier; all of its strings follow.
    start = next((i for i, element in enumerate(elements) if element == (_OID, _FQAN)), len(elements))
    texts = [content.decode(errors="replace") for tag, content in elements[start:] if tag == _OCTETS]
    fqans = tuple(text for text in texts if text.startswith("/"))
    uris = [content.decode(errors="replace") for tag, content in elements[start:] if tag == _URI]
    named = [uri.partition("://")[0] for uri in uris if "://" in uri] + [fqan.split("/")[1] for fqan in fqans]
    return Voms(named[0] if named else "unknown", fqans, _time(times[1]) if len(times) > 1 else None)


def _walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and content of the primitive elements of DER-encoded data, in order."""
    position = 0
    while position < len(data):
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[position : position + size], "big")
            position += size
        if position + length > len(data):
            raise ValueError("the encoding is cut off")
        content = data[position : position + length]
        position += length
        if tag & 0x20:  # a constructed element
            yield from _walk(content)
        else:
            yield tag, content


def _time(content: bytes) -> datetime | None:
    try:
        return datetime.strptime(content.decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
