"""Take an RNTuple apart, and put it together again with changed parts whose checksums hold, or do not.

An anchor (big endian, the content of a key) refers to the header and the footer, the footer to the page lists, and
those to the pages. Header, footer and page list are envelopes: little endian, with a checksum in the last eight bytes.
A page may be followed by its checksum. Changed envelopes are appended to the file, so that nothing else moves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from af_kit.data.reading.codecs import decompress

__all__ = ["NotAnNtuple", "Ntuple", "Page", "breaks_a_checksum", "with_page_checksums"]

_KEY = struct.Struct(">iHiIHH")
_CLASS = b"\x0dROOT::RNTuple"
_ANCHOR = struct.Struct(">HHHHQQQQQQQ")
_SEEK_HEADER, _SEEK_FOOTER = 4, 7  # each is followed by the stored and by the uncompressed size
_LARGEST = 1 << 24


class NotAnNtuple(ValueError):
    """There is no RNTuple in the file, or it is damaged already."""


@dataclass(frozen=True)
class Page:
    """One page, and where its entry is in the page list."""

    entry: int
    elements: int
    offset: int
    size: int

    @property
    def has_checksum(self) -> bool:
        return self.elements < 0


class Ntuple:
    """The first RNTuple of a file.

    Attributes
    ----------
    envelopes : dict
        The uncompressed bytes of ``"header"``, ``"footer"``, and of each page list (``"list 0"``, ...).
    """

    def __init__(self, content: bytes | bytearray) -> None:
        self.content = bytearray(content)
        try:
            self._anchor_at = _find_anchor(self.content)
            anchor = _ANCHOR.unpack_from(self.content, self._anchor_at)
            self.envelopes = {
                "header": self._read(*anchor[_SEEK_HEADER : _SEEK_HEADER + 3]),
                "footer": self._read(*anchor[_SEEK_FOOTER : _SEEK_FOOTER + 3]),
            }
            self._links = list(_links(self.envelopes["footer"]))
            for i, (_, length, stored, offset) in enumerate(self._links):
                self.envelopes[f"list {i}"] = self._read(offset, stored, length)
        except (struct.error, ValueError, IndexError) as error:
            raise NotAnNtuple(str(error)) from error

    def _read(self, seek: int, stored: int, length: int) -> bytearray:
        if length > _LARGEST or length < 16 or seek + stored > len(self.content):
            raise NotAnNtuple("an envelope is not in the file")
        data = memoryview(bytes(self.content[seek : seek + stored]))
        return bytearray(data if stored == length else decompress(data, length, length))

    def pages(self, name: str) -> list[Page]:
        """Return the pages of a page list."""
        try:
            return list(_pages(self.envelopes[name]))
        except (struct.error, ValueError) as error:
            raise NotAnNtuple(str(error)) from error

    def append(self, data: bytes) -> int:
        """Append bytes to the file; return their position."""
        position = len(self.content)
        self.content += data
        return position

    def sealed(self, stale: str | None = None) -> bytearray:
        """Return the file with its envelopes as they are now, with correct checksums except that of ``stale``."""
        header, footer = self.envelopes["header"], self.envelopes["footer"]
        _seal(header, stale == "header")
        for i, (link, *_) in enumerate(self._links):
            pages = self.envelopes[f"list {i}"]
            pages[8:16] = header[-8:]
            _seal(pages, stale == f"list {i}")
            if link + 20 <= len(footer) - 8 and struct.unpack_from("<i", footer, link + 8)[0] >= 0:
                struct.pack_into("<QiQ", footer, link, len(pages), len(pages), self.append(pages))
        footer[16:24] = header[-8:]
        _seal(footer, stale == "footer")
        anchor = list(_ANCHOR.unpack_from(self.content, self._anchor_at))
        for first, envelope in ((_SEEK_HEADER, header), (_SEEK_FOOTER, footer)):
            anchor[first : first + 3] = self.append(envelope), len(envelope), len(envelope)
        _ANCHOR.pack_into(self.content, self._anchor_at, *anchor)
        self.seal_anchor()
        set_end(self.content)
        return self.content

    @property
    def anchor(self) -> tuple[int, int]:
        """Start and stop of the anchor in the file."""
        return self._anchor_at, self._anchor_at + _ANCHOR.size

    def seal_anchor(self) -> None:
        """Correct the anchor's checksum."""
        start, stop = self.anchor
        struct.pack_into(">Q", self.content, stop, xxhash.xxh3_64_intdigest(bytes(self.content[start:stop])))


def set_end(content: bytearray) -> None:
    """Write the file's size into its header."""
    if int.from_bytes(content[4:8], "big") >= 1_000_000:
        content[12:20] = len(content).to_bytes(8, "big")
    else:
        content[12:16] = len(content).to_bytes(4, "big")


def keys_of(content: bytes | bytearray, classname: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield position, record size, object size, key length and the stored position of each key with this class.

    A key that stands at the position that it gives comes with its object; the others are in a folder's list of keys.
    """
    at = content.find(classname)
    while at >= 0:
        for big, start in ((False, at - 26), (True, at - 34)):
            if start < 0:
                continue
            size, version, length, _, key_length, _ = _KEY.unpack_from(content, start)
            if (version > 1000) == big and at - start < key_length < size:
                seek = int.from_bytes(content[start + 18 : start + (26 if big else 22)], "big")
                yield start, size, length, key_length, seek
        at = content.find(classname, at + 1)


def breaks_a_checksum(content: bytes) -> bool:
    """Whether a page or a page list of the file has a checksum that does not hold (uproot checks neither)."""
    ntuple = Ntuple(content)
    for name, envelope in ntuple.envelopes.items():
        if _checksum(envelope[:-8]) != bytes(envelope[-8:]):
            return True
        for page in ntuple.pages(name) if name.startswith("list") else []:
            stored = content[page.offset : page.offset + page.size]
            if page.has_checksum and _checksum(stored) != content[page.offset + page.size :][:8]:
                return True
    return False


def with_page_checksums(content: bytes) -> bytes:
    """Return a file that uproot has written with a checksum after each page, as ROOT writes them."""
    ntuple = Ntuple(content)
    for name in [name for name in ntuple.envelopes if name.startswith("list")]:
        for page in ntuple.pages(name):
            stored = bytes(ntuple.content[page.offset : page.offset + page.size])
            offset = ntuple.append(stored + _checksum(stored))
            struct.pack_into("<iiQ", ntuple.envelopes[name], page.entry, -page.elements, page.size, offset)
    return bytes(ntuple.sealed())


def _find_anchor(content: bytearray) -> int:
    for start, size, length, key_length, seek in keys_of(content, _CLASS):
        if start == seek and size - key_length == length == _ANCHOR.size + 14:
            return start + key_length + 6
    raise NotAnNtuple("no anchor")


def _seal(envelope: bytearray, stale: bool) -> None:
    if not stale:
        envelope[-8:] = _checksum(envelope[:-8])


def _checksum(data: bytes | bytearray) -> bytes:
    return xxhash.xxh3_64_intdigest(bytes(data)).to_bytes(8, "little")


def _frame(data: bytearray, at: int) -> tuple[int, int, int]:
    """Return the number of items of a list frame, the position of the first, and the one after the frame."""
    size, items = struct.unpack_from("<qI", data, at)
    if size >= 0 or at - size > len(data):
        raise NotAnNtuple("not a list frame")
    return items, at + 12, at - size


def _links(footer: bytearray) -> Iterator[tuple[int, int, int, int]]:
    """Yield each link to a page list: its position in the footer, uncompressed and stored size, and where it leads."""
    (size,) = struct.unpack_from("<q", footer, 24)  # the schema extension
    groups, at, _ = _frame(footer, 24 + size)
    for _ in range(groups):
        (size,) = struct.unpack_from("<q", footer, at)
        link = at + 8 + 20
        yield (link, *struct.unpack_from("<QiQ", footer, link))
        at += size


def _pages(envelope: bytearray) -> Iterator[Page]:
    _, _, at = _frame(envelope, 16)  # the summaries of the clusters
    clusters, at, _ = _frame(envelope, at)
    for _ in range(clusters):
        columns, first, after_columns = _frame(envelope, at)
        at = first
        for _ in range(columns):
            pages, first, after_pages = _frame(envelope, at)
            for i in range(pages):
                entry = first + 16 * i
                elements, size, offset = struct.unpack_from("<iiQ", envelope, entry)
                if size < 0:
                    raise NotAnNtuple("a large page")
                yield Page(entry, elements, offset, size)
            at = after_pages
        at = after_columns
