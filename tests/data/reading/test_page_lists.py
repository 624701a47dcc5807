"""Parsing page lists: made by hand, with every kind of locator; a flipped bit anywhere."""

import struct

import pytest
import xxhash

from af_kit.data.reading.codecs import CorruptBlock
from af_kit.data.reading.page_lists import Cluster, ColumnPages, parse_page_list

HEADER = 0x1234567890ABCDEF


def record_frame(content):
    return struct.pack("<q", len(content) + 8) + content


def list_frame(parts, after=b""):
    content = b"".join(parts) + after
    return struct.pack("<qI", -(len(content) + 12), len(parts)) + content


def page(elements, seek, size, checked, large=False):
    count = struct.pack("<i", -elements if checked else elements)
    if large:
        return count + struct.pack("<iQQ", -(1 << 24) - 20, size, seek)
    return count + struct.pack("<iQ", size, seek)


def column(pages, first=0):
    return list_frame([page(*p) for p in pages], struct.pack("<q", first) + (b"" if first < 0 else b"\0" * 4))


def envelope(summaries, clusters, *, kind=3, header=HEADER):
    content = struct.pack("<Q", header) + list_frame(
        [record_frame(struct.pack("<QQ", *summary) + b"later") for summary in summaries]  # an unknown addition
    )
    content += list_frame([list_frame(columns) for columns in clusters])
    content = struct.pack("<Q", kind | (len(content) + 16) << 16) + content
    return content + struct.pack("<Q", xxhash.xxh3_64_intdigest(content))


GOOD = envelope(
    [(0, 70), (70, 30)],
    [
        [column([(50, 1000, 20, True), (20, 1020, 30, False)]), column([], first=-1)],
        [column([(30, 2**40, 2**33, True, True)], first=70), column([(5, 7, 8, True)])],
    ],
)


def test_all_kinds_of_pages():
    assert parse_page_list(GOOD, HEADER) == [
        Cluster(0, 70, [ColumnPages([(50, 1000, 20, True), (20, 1020, 30, False)], 0), ColumnPages([], -1)]),
        Cluster(70, 30, [ColumnPages([(30, 2**40, 2**33, True)], 70), ColumnPages([(5, 7, 8, True)], 0)]),
    ]
    assert parse_page_list(envelope([], []), HEADER) == []


def test_every_flipped_bit_is_detected():
    for at in range(len(GOOD)):
        wrong = bytearray(GOOD)
        wrong[at] ^= 4
        with pytest.raises(CorruptBlock, match="checksum of a page list"):
            parse_page_list(bytes(wrong), HEADER)


def test_the_page_list_of_another_ntuple():
    with pytest.raises(CorruptBlock, match="does not belong"):
        parse_page_list(GOOD, HEADER + 1)
    with pytest.raises(CorruptBlock, match="does not belong"):
        parse_page_list(envelope([], [], kind=2), HEADER)
    with pytest.raises(CorruptBlock, match="1 clusters, but pages of 0"):
        parse_page_list(envelope([(0, 5)], []), HEADER)


def test_what_the_kit_cannot_read():
    with pytest.raises(NotImplementedError, match="sharded"):
        parse_page_list(envelope([(0, 5 | 1 << 56)], [[]]), HEADER)
    elsewhere = list_frame([struct.pack("<iiQQ", 5, -(2 << 24), 0, 0)], b"\0" * 12)
    with pytest.raises(NotImplementedError, match="storage of type 2"):
        parse_page_list(envelope([(0, 5)], [[elsewhere]]), HEADER)


@pytest.mark.parametrize(
    ("at", "number", "reason"),
    [
        (24, 2**31, "2147483648 items"),  # the number of clusters
        (28, 0, "an item of a page list has a wrong length"),  # the size of the first summary
        (28, 10**9, "an item of a page list has a wrong length"),
        (118, 1000, "1000 pages"),  # of the first column
    ],
)
def test_numbers_that_do_not_fit_cost_nothing(at, number, reason):
    wrong = bytearray(GOOD[:-8])
    struct.pack_into("<I", wrong, at, number)
    wrong += struct.pack("<Q", xxhash.xxh3_64_intdigest(bytes(wrong)))
    with pytest.raises(CorruptBlock, match=reason):
        parse_page_list(bytes(wrong), HEADER)
