"""Mutations of files by seed: random ones, and ones that aim at the structure of a ROOT file or of a document."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Literal

import xxhash
from rntuples import NotAnNtuple, Ntuple, keys_of, set_end

from af_kit.data.reading.codecs import CorruptBlock, decompress

__all__ = ["mutate"]

Order = Literal["big", "little"]
_INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_BLOCKS = (b"ZL", b"XZ", b"L4", b"ZS", b"CS")
_CLASSES = (b"TBasket", b"TTree", b"TBranch", b"TLeaf", b"ROOT::RNTuple", b"TKey", b"TStreamerInfo", b"TList")


def mutate(data: bytes, seed: int, *, document: bool = False) -> tuple[bytes, str]:
    """Return a changed copy of a file, and what was done to it.

    Parameters
    ----------
    data : bytes
        The intact file.
    seed : int
        The same seed gives the same mutation.
    document : bool
        Whether it is text with a structure (JSON, YAML) rather than a ROOT file.
    """
    rng = random.Random(seed)
    content = bytearray(data)
    done = []
    kinds = [*_ANY, *(_TEXT if document else _ROOT)]
    if not document:
        kinds += _NTUPLE if b"\x0dROOT::RNTuple" in data else _TREE
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
        content += bytes(max(2 - len(content), 0))  # a document of which nothing is left
        kind = rng.choice(kinds)
        done.append(f"{kind.__name__.lstrip('_')} {kind(content, rng)}")
    return bytes(content), "; ".join(done)


def _flip_bit(content: bytearray, rng: random.Random) -> str:
    place = rng.randrange(len(content))
    content[place] ^= 1 << rng.randrange(8)
    return f"at {place}"


def _set_byte(content: bytearray, rng: random.Random) -> str:
    place = rng.randrange(len(content))
    content[place] = rng.choice((rng.randrange(256), 0, 255, 127, 128))
    return f"at {place}"


def _zero_range(content: bytearray, rng: random.Random) -> str:
    place, size = rng.randrange(len(content)), rng.choice((4, 16, 64, 512))
    size = min(size, len(content) - place)
    content[place : place + size] = bytes(size)
    return f"{size} bytes at {place}"


def _copy_range(content: bytearray, rng: random.Random) -> str:
    size = min(rng.choice((4, 8, 32, 256)), len(content))
    source, place = (rng.randrange(len(content) - size + 1) for _ in range(2))
    content[place : place + size] = content[source : source + size]
    return f"{size} bytes from {source} to {place}"


def _truncate(content: bytearray, rng: random.Random) -> str:
    del content[rng.randrange(1, len(content)) :]
    return f"to {len(content)}"


def _remove_range(content: bytearray, rng: random.Random) -> str:
    place = rng.randrange(len(content))
    del content[place : place + rng.choice((1, 2, 8, 100))]
    return f"at {place}"


def _insert_range(content: bytearray, rng: random.Random) -> str:
    place = rng.randrange(len(content))
    content[place:place] = rng.randbytes(rng.choice((1, 2, 8, 100)))
    return f"at {place}"


def _near(content: bytearray, rng: random.Random, marks: tuple[bytes, ...], before: int, after: int) -> int:
    """A place near one of the marks, or anywhere where there are none."""
    places = [place for mark in marks for place in _all(content, mark)]
    if not places:
        return rng.randrange(len(content))
    return min(max(rng.choice(places) + rng.randrange(-before, after), 0), len(content) - 1)


def _number(
    content: bytearray, rng: random.Random, place: int, orders: tuple[Order, ...] = ("big", "big", "little")
) -> str:
    width = rng.choice((1, 2, 4, 8))
    place = min(place, max(len(content) - width, 0))
    order = rng.choice(orders)
    old = int.from_bytes(content[place : place + width], order)
    new = rng.choice((rng.choice(_INTERESTING), old + 1, old - 1, 2 * old, old // 2)) % (1 << 8 * width)
    content[place : place + width] = new.to_bytes(width, order)
    return f"{old} to {new} at {place}"


def _file_header(content: bytearray, rng: random.Random) -> str:
    return _number(content, rng, rng.randrange(min(100, len(content))))


def _compressed_block(content: bytearray, rng: random.Random) -> str:
    return _number(content, rng, _near(content, rng, _BLOCKS, 1, 18))


def _record_key(content: bytearray, rng: random.Random) -> str:
    return _number(content, rng, _near(content, rng, _CLASSES, 40, 80))


def _basket_end(content: bytearray, rng: random.Random) -> str:
    """One of the numbers at the end of a basket's key: version, buffer size, entry offsets, entries, end of data."""
    place = _near(content, rng, (b"TBasket",), 1, 1)
    for end in range(place, min(place + 120, len(content) - 19)):
        if content[end : end + 2] == b"\0\x03":
            return _number(content, rng, end + rng.choice((2, 6, 10, 14)))
    return _number(content, rng, place)


def _swap_blocks(content: bytearray, rng: random.Random) -> str:
    """Two compressed blocks of one size change places: each checksum still holds."""
    starts: dict[bytes, list[int]] = {}
    for mark in _BLOCKS:
        place = content.find(mark)
        while 0 <= place < len(content) - 9:
            starts.setdefault(bytes(content[place : place + 9]), []).append(place)
            place = content.find(mark, place + 1)
    pairs = [places for places in starts.values() if len(places) > 1]
    if not pairs:
        return _flip_bit(content, rng)
    one, other = rng.sample(rng.choice(pairs), 2)
    size = 9 + int.from_bytes(content[one + 3 : one + 6], "little")
    if abs(one - other) < size or max(one, other) + size > len(content):
        return _flip_bit(content, rng)
    content[one : one + size], content[other : other + size] = content[other : other + size], content[one : one + size]
    return f"at {one} and {other}"


def _checked_block(content: bytearray, rng: random.Random) -> str:
    """A byte of a ZLIB or LZ4 block changes, and its checksum with it: the content is consistent, but another one."""
    places = [i for mark in (b"ZL\x08", b"L4\x01") for i in _all(content, mark)]
    if not places:
        return _flip_bit(content, rng)
    start = rng.choice(places)
    stop = start + 9 + int.from_bytes(content[start + 3 : start + 6], "little")
    if not start + 20 < stop <= len(content):
        return _flip_bit(content, rng)
    if content[start : start + 2] == b"L4":
        place = rng.randrange(start + 17, stop)
        content[place] ^= 1 << rng.randrange(8)
        content[start + 9 : start + 17] = xxhash.xxh64_digest(bytes(content[start + 17 : stop]))
        return f"at {place}"
    place = rng.randrange(start + 11, stop - 4)
    content[place] ^= 1 << rng.randrange(8)
    try:
        data = zlib.decompressobj(-15).decompress(bytes(content[start + 11 : stop - 4]), 1 << 20)
    except zlib.error:
        return f"at {place}, which ends the stream"
    content[stop - 4 : stop] = zlib.adler32(data).to_bytes(4, "big")
    return f"at {place}"


def _tree_metadata(content: bytearray, rng: random.Random) -> str:
    """One number in the metadata of a tree, which are compressed: positions, sizes and entries of its baskets, types.

    The changed metadata are appended, and the folder's key leads there.
    """
    keys = [key for mark in (b"\x05TTree", b"\x07TNtuple") for key in keys_of(content, mark)]
    records = [key for key in keys if key[0] == key[4]]
    if not records:
        return _flip_bit(content, rng)
    start, size, length, key_length, _ = rng.choice(records)
    stored = memoryview(bytes(content[start + key_length : start + size]))
    try:
        metadata = bytearray(stored if len(stored) == length else decompress(stored, length, length))
    except CorruptBlock:
        return _flip_bit(content, rng)
    if rng.random() < 0.5:
        place = rng.randrange(len(metadata))
    else:
        place = _near(metadata, rng, (b"TBranch", b"TLeaf", b"TBasket", b"TObjArray"), 8, 250)
    done = _number(metadata, rng, place)
    seek = len(content)
    content += content[start : start + key_length] + metadata
    for at, *_, old in keys:
        if old == start and int.from_bytes(content[at + 4 : at + 6], "big") <= 1000:
            content[at : at + 4] = (key_length + len(metadata)).to_bytes(4, "big")
            content[at + 18 : at + 22] = seek.to_bytes(4, "big")
    content[seek : seek + key_length] = content[start : start + key_length]
    set_end(content)
    return f"{done} of the metadata at {start}"


def _ntuple_page(content: bytearray, rng: random.Random) -> str:
    """A byte of a page; its checksum changes with it, or not."""
    try:
        ntuple = Ntuple(content)
        pages = [page for name in ntuple.envelopes if name.startswith("list") for page in ntuple.pages(name)]
    except NotAnNtuple:
        return _flip_bit(content, rng)
    pages = [page for page in pages if page.size and page.offset + page.size + 8 <= len(content)]
    if not pages:
        return _flip_bit(content, rng)
    page = rng.choice(pages)
    place = page.offset + rng.randrange(page.size)
    content[place] ^= rng.randrange(1, 256)
    if not page.has_checksum or rng.random() < 0.5:
        return f"at {place}"
    stop = page.offset + page.size
    content[stop : stop + 8] = xxhash.xxh3_64_intdigest(bytes(content[page.offset : stop])).to_bytes(8, "little")
    return f"at {place}, with its checksum"


def _ntuple_envelope(content: bytearray, rng: random.Random) -> str:
    """One number in the header, the footer or a page list; its checksum changes with it, or not."""
    try:
        ntuple = Ntuple(content)
    except NotAnNtuple:
        return _flip_bit(content, rng)
    name = rng.choice(list(ntuple.envelopes))
    envelope = ntuple.envelopes[name]
    done = _number(envelope, rng, rng.randrange(len(envelope) - 8), ("little", "little", "big"))
    stale = rng.random() < 0.25
    content[:] = ntuple.sealed(name if stale else None)
    return f"{done} of the {name}" + (", whose checksum is stale" if stale else "")


def _ntuple_anchor(content: bytearray, rng: random.Random) -> str:
    """One number of the anchor; its checksum changes with it, or not."""
    try:
        ntuple = Ntuple(content)
    except NotAnNtuple:
        return _flip_bit(content, rng)
    done = _number(ntuple.content, rng, rng.randrange(*ntuple.anchor))
    if rng.random() < 0.75:
        ntuple.seal_anchor()
    content[:] = ntuple.content
    return done


def _all(content: bytearray, mark: bytes) -> list[int]:
    places = []
    place = content.find(mark)
    while place >= 0:
        places.append(place)
        place = content.find(mark, place + 1)
    return places


def _float(content: bytearray, rng: random.Random) -> str:
    place = rng.randrange(max(len(content) - 8, 1))
    content[place : place + 8] = struct.pack(">d", rng.choice((float("nan"), float("inf"), -0.0, 1e308)))
    return f"at {place}"


def _value(content: bytearray, rng: random.Random) -> str:
    """Another value in place of one of a JSON document; in other documents, and broken ones, another line."""
    try:
        document = json.loads(content)
    except ValueError:
        lines = content.split(b"\n")
        place = rng.randrange(len(lines))
        lines[place] = rng.choice((b"", b"? x", b"- 1", b"\t", lines[rng.randrange(len(lines))] + b":", b"{"))
        content[:] = b"\n".join(lines)
        return f"in line {place}"
    places: list[tuple[object, object]] = []
    todo = [document]
    while todo:
        item = todo.pop()
        if isinstance(item, (dict, list)):
            keys = list(item) if isinstance(item, dict) else list(range(len(item)))
            places += [(item, key) for key in keys]
            todo += [item[key] for key in keys]
    if not places:
        return _flip_bit(content, rng)
    holder, key = rng.choice(places)
    others = (None, True, -1, 0, 1.5, 1e400, "", "x" * 300, [], {}, [[]], {"": None}, "root://", "../..", 2**70)
    holder[key] = rng.choice(others)  # type: ignore[index]
    content[:] = json.dumps(document).encode()
    return f"of {str(key)[:40]!r}"


_ANY: tuple[Callable[[bytearray, random.Random], str], ...] = (
    _flip_bit, _flip_bit, _set_byte, _zero_range, _copy_range, _truncate, _remove_range, _insert_range,
)  # fmt: skip
_ROOT: tuple[Callable[[bytearray, random.Random], str], ...] = (
    _file_header,
    _compressed_block,
    _compressed_block,
    _record_key,
    _record_key,
    _basket_end,
    _swap_blocks,
    _float,
)
_TREE = (_tree_metadata, _tree_metadata, _tree_metadata, _checked_block, _checked_block)
_NTUPLE = (*[_ntuple_page] * 5, *[_ntuple_envelope] * 8, _ntuple_anchor, _ntuple_anchor)
_TEXT = (_value, _value, _value, _value)
