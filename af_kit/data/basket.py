"""One basket of a TTree branch, from its record in the file to its numbers.

A record begins with a key, big endian: record bytes, version, uncompressed bytes, date, key length, cycle. The last
19 bytes of the key are the basket's own: version, buffer size, size of an offset, entries, end of the data (counted
from the record's begin), one flag. What follows the data in the uncompressed payload are the entry offsets of a jagged
branch, which its counter branch gives as well.
"""

from __future__ import annotations

import struct

from af_kit.data.codecs import CorruptBlock, decompress

__all__ = ["content"]

_KEY = struct.Struct(">iHiIHH")
_BASKET = struct.Struct(">Hiiii")


def content(record: memoryview, expected: int, *, verify: bool = False) -> bytes | memoryview:
    """The data bytes of a basket, without the key and without the entry offsets.

    Parameters
    ----------
    record : memoryview
        The basket's whole record, as long as the branch says.
    expected : int
        How many bytes of data the entries of this basket have, counted independently of it.
    verify : bool
        Check the codec's checksum too, which takes the whole payload.

    Raises
    ------
    CorruptBlock
        The record contradicts itself or ``expected``.
    """
    if len(record) < _KEY.size:
        raise CorruptBlock("the basket's record is too short for a key")
    size, _, uncompressed, _, key_length, _ = _KEY.unpack_from(record)
    if size != len(record) or not _KEY.size + 19 <= key_length <= size:
        raise CorruptBlock(
            f"the basket's key says {size} bytes with a key of {key_length}; its branch says {len(record)}"
        )
    _, _, _, _, last = _BASKET.unpack_from(record, key_length - 19)
    border = last - key_length
    if border != expected:
        raise CorruptBlock(f"the basket holds {border} bytes of data, its entries need {expected}")
    if border > uncompressed:
        raise CorruptBlock(f"the basket's key says {border} bytes of data in {uncompressed} bytes")
    payload = record[key_length:]
    if len(payload) == uncompressed:
        return payload[:border]
    return decompress(payload, uncompressed, border, verify=verify)
