"""The VO's attributes inside a proxy: which VO, which groups and roles, until when.

A VOMS server signs them as an attribute certificate (RFC 5755), which the proxy carries in an extension. Only what is
to be told is read, and nothing verified: the storage decides.
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
    """The attributes that a VO gave.

    Attributes
    ----------
    vo : str
        ``"cms"``; ``"unknown"`` if it could not be read.
    fqans : tuple of str
        Groups and roles: ``"/cms/Role=NULL/Capability=NULL"``.
    until : datetime or None
        When they end, which may be before the proxy does.
    """

    vo: str
    fqans: tuple[str, ...]
    until: datetime | None


def read_voms(extension: bytes) -> Voms:
    """Read the extension's content, as far as it can be understood."""
    try:
        elements = list(_walk(extension))
    except (IndexError, ValueError):
        return Voms("unknown", (), None)
    times = [content for tag, content in elements if tag == _TIME]
    # All text strings of the groups' attribute follow its name, in the order of the encoding.
    start = next((i for i, element in enumerate(elements) if element == (_OID, _FQAN)), len(elements))
    texts = [content.decode(errors="replace") for tag, content in elements[start:] if tag == _OCTETS]
    fqans = tuple(text for text in texts if text.startswith("/"))
    uris = [content.decode(errors="replace") for tag, content in elements[start:] if tag == _URI]
    named = [uri.partition("://")[0] for uri in uris if "://" in uri] + [fqan.split("/")[1] for fqan in fqans]
    return Voms(named[0] if named else "unknown", fqans, _time(times[1]) if len(times) > 1 else None)


def _walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The primitive elements of DER-encoded data, in order: tag and content."""
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
        if tag & 0x20:  # made of further elements
            yield from _walk(content)
        else:
            yield tag, content


def _time(content: bytes) -> datetime | None:
    try:
        return datetime.strptime(content.decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
