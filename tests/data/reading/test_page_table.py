"""The page table: parts, selections, and which pages hold which elements."""

import pickle

import numpy as np
import pytest
from bits import SAMPLES, whole

from af_kit.data.reading.page_table import Field, PageColumn, PageTable
from af_kit.data.reading.pages import Encoding

NAMES = ["rntuple", "ntuple_pages", "ntuple_late", "ntuple_forms", "ntuple_import"]


@pytest.fixture(scope="module", params=NAMES)
def table(request):
    return whole(SAMPLES / f"{request.param}.root").layout.pages


def test_a_part_has_the_pages_of_its_clusters(table):
    for start, stop in [(0, 1), (0, 70), (69, 71), (100, 101), (70, 140), (140, 150)]:
        part = table.part(start, stop)
        assert part.covers(start, stop)
        clusters = [
            i for i in range(len(table.entries) - 1) if table.entries[i] < stop and table.entries[i + 1] > start
        ]
        first, last = clusters[0], clusters[-1] + 1
        assert part.entries.tolist() == table.entries[first : last + 1].tolist()
        for number, column in part.columns.items():
            full = table.columns[number]
            begin, end = full.pages[[first, last]]
            assert column.seeks.tolist() == full.seeks[begin:end].tolist()
            assert column.edges.tolist() == full.edges[begin : end + 1].tolist()
            assert column.first_elements.tolist() == full.first_elements[first : last + 1].tolist()
    assert table.part(5, 5).covers(5, 5)


def test_a_range_outside_is_not_covered(table):
    assert not table.covers(0, int(table.entries[-1]) + 1)
    if len(table.entries) > 2:
        assert not table.part(100, 110).covers(0, 1)


def test_a_selection_keeps_the_columns_of_its_fields(table):
    name, field = next((name, field) for name, field in table.fields.items() if len(field.columns) > 1)
    small = table.only([name, "nothing"])
    assert small.fields == {name: field}
    assert set(small.columns) == set(field.columns)
    assert 0 < small.bytes < table.bytes


def test_pickling_restores_every_column(table):
    again = pickle.loads(pickle.dumps(table.part(60, 80)))
    want = table.part(60, 80)
    assert again.fields == want.fields
    for number, column in want.columns.items():
        got = again.columns[number]
        assert (got.encodings, got.parent, got.repeat) == (column.encodings, column.parent, column.repeat)
        for part in ("pages", "edges", "seeks", "sizes", "flags", "content"):
            assert np.array_equal(getattr(got, part), getattr(column, part))
    assert pickle.loads(pickle.dumps(PageTable(np.zeros(1, np.int64), {}, {}))).columns == {}


def column(**changes):
    """Three pages of 4, 0 and 2 elements, in clusters with one page and with two."""
    values = {
        "encodings": (Encoding("u2", 16), Encoding("f8", 64)), "parent": -1, "repeat": 1,
        "pages": np.asarray([0, 1, 3]), "edges": np.asarray([0, 4, 4, 6]), "seeks": np.asarray([100, 200, 300]),
        "sizes": np.asarray([8, 0, 16]), "flags": np.asarray([128, 0, 1], np.uint8), "content": np.zeros(0, np.int64),
    }  # fmt: skip
    return PageColumn(**values | changes)


def test_the_pages_of_a_column():
    one = column()
    assert [one.cluster(page) for page in range(3)] == [0, 1, 1]
    assert one.first_elements.tolist() == [0, 4, 6]
    assert [one.encoding(page).dtype for page in range(3)] == ["u2", "u2", "f8"]
    assert [one.has_checksum(page) for page in range(3)] == [True, False, False]
    assert one.dtype == "f8"
    assert one.uncompressed == 4 * 2 + 2 * 8
    assert list(one.overlapping(0, 4)) == [0]
    assert 2 in one.overlapping(4, 5)
    assert 0 not in one.overlapping(4, 5)
    assert list(one.overlapping(3, 3)) == []
    assert column(pages=np.asarray([0, 0, 0]), edges=np.asarray([9]), seeks=np.zeros(0)).overlapping(0, 5) == range(0)


def test_parents_come_first():
    columns = {0: column(parent=2), 1: column(parent=0), 2: column(), 3: column(parent=2)}
    table = PageTable(np.asarray([0, 4, 6]), columns, {"a": Field(True, (2, 0, 1)), "b": Field(True, (2, 3))})
    assert table.with_parents([1, 3]) == [2, 0, 1, 3]
    assert set(table.only(["b"]).columns) == {2, 3}
