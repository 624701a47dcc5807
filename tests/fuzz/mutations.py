"""Mutations of files by seed: random ones, and ones that aim at the structure of a ROOT file or of a document."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable

__all__ = ["mutate"]

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
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
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
    content += b"\0" * (not content)
    return f"at {place}"


def _insert_range(content: bytearray, rng: random.Random) -> str:
    place = rng.randrange(len(content))
    content[place:place] = rng.randbytes(rng.choice((1, 2, 8, 100)))
    return f"at {place}"


def _near(content: bytearray, rng: random.Random, marks: tuple[bytes, ...], before: int, after: int) -> int:
    """A place near one of the marks, or anywhere where there are none."""
    places = []
    for mark in marks:
        place = content.find(mark)
        while place >= 0:
            places.append(place)
            place = content.find(mark, place + 1)
    if not places:
        return rng.randrange(len(content))
    return min(max(rng.choice(places) + rng.randrange(-before, after), 0), len(content) - 1)


def _number(content: bytearray, rng: random.Random, place: int) -> str:
    width = rng.choice((1, 2, 4, 8))
    place = min(place, max(len(content) - width, 0))
    old = int.from_bytes(content[place : place + width], "big")
    new = rng.choice((rng.choice(_INTERESTING), old + 1, old - 1, 2 * old, old // 2)) % (1 << 8 * width)
    content[place : place + width] = new.to_bytes(width, rng.choice(("big", "big", "little")))
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
_ROOT = (
    _file_header,
    _compressed_block,
    _compressed_block,
    _record_key,
    _record_key,
    _basket_end,
    _swap_blocks,
    _float,
)
_TEXT = (_value, _value, _value, _value)
