"""Reading pages: only those that the entries need, in few requests; a changed byte in any page is an error."""

import contextlib
import gc
import weakref

import awkward as ak
import numpy as np
import pytest
import uproot
from bits import CODECS, SAMPLES, bits, cut, jagged, opened, same, whole
from damage import overwrite

from af_kit.data.reading.page_reader import PageReader
from af_kit.data.reading.read import read
from af_kit.data.reading.reader import Reader
from af_kit.errors import InputError, ReadError
from af_kit.run.process import process


class File:
    """A file in memory that remembers what was read of it."""

    def __init__(self, name):
        self.chunk = whole(SAMPLES / f"{name}.root")
        self.table = self.chunk.layout.pages
        self.data = bytearray((SAMPLES / f"{name}.root").read_bytes())
        self.requests = []

    def fetch(self, ranges):
        if ranges:
            self.requests.append(ranges)
        return [memoryview(bytes(self.data[a:b])) for a, b in ranges]

    def reader(self, start=0, stop=None, verify=True):
        stop = self.chunk.entry_stop if stop is None else stop
        return PageReader("f.root", self.table, start, stop, self.fetch, verify=verify)

    def content(self, field, **options):
        """All elements of a field."""
        reader = self.reader(**options)
        return [reader.numbers(number).tolist() for number in self.table.fields[field].columns]


@pytest.fixture
def pages():
    return File("ntuple_pages")


def test_only_the_pages_of_the_entries_are_read(pages):
    (column,) = (pages.table.columns[number] for number in pages.table.fields["i64"].columns)
    assert len(column.seeks) > 20  # of eight numbers each
    pages.reader(81, 83).numbers(pages.table.fields["i64"].columns[0])
    ((request,),) = pages.requests
    assert request[0] in column.seeks[column.overlapping(81, 83)]
    assert request[1] - request[0] == column.sizes[column.seeks == request[0]][0] + 8


def test_columns_are_read_in_one_request_for_whole_clusters_and_in_two_for_parts(pages):
    columns = [n for field in ("nMuon", "Muon_pt", "Muon_charge", "b") for n in pages.table.fields[field].columns]
    for (start, stop), requests in {(0, 200): 1, (70, 140): 1, (70, 200): 1, (71, 140): 2, (70, 139): 2}.items():
        pages.requests.clear()
        reader = pages.reader(start, stop)
        reader.prefetch(columns)
        for number in columns:
            reader.numbers(number)
        assert len(pages.requests) == requests
        reader.prefetch(columns)
        assert len(pages.requests) == requests
    pages.requests.clear()
    pages.reader(71, 139).prefetch(pages.table.fields["vv"].columns)
    assert len(pages.requests) == 3  # lists of lists


def test_columns_with_the_same_lists_are_decoded_once(pages):
    fields = pages.table.fields
    assert fields["Muon_pt"].columns[0] == fields["Muon_charge"].columns[0]  # ROOT has stored them once
    assert fields["Muon_pt"].columns[0] != fields["s"].columns[0]
    plain = File("ntuple_plain")  # here it has not
    one, other = (plain.table.fields[name].columns[0] for name in ("Muon_pt", "Muon_charge"))
    assert one != other
    reader = plain.reader(30, 150)
    assert reader.offsets(one) is reader.offsets(other)
    assert reader.offsets(one) is not reader.offsets(plain.table.fields["s"].columns[0])
    plain.data[int(plain.table.columns[other].seeks[-1]) + 2] ^= 1
    reader = plain.reader(30, 200)
    reader.offsets(one)
    with pytest.raises(ReadError, match="'Muon_charge' is damaged in entries 140 to 200"):
        reader.offsets(other)


def pages_of(file):
    """The field, and the place of each page in the file."""
    for name, field in file.table.fields.items():
        for number in field.columns:
            column = file.table.columns[number]
            for page in range(len(column.seeks)):
                yield name, number, page, int(column.seeks[page]), int(column.sizes[page])


@pytest.mark.parametrize("name", ["rntuple", "ntuple_pages", "ntuple_floats", "ntuple_late", "ntuple_forms"])
def test_a_changed_byte_in_any_page_is_an_error(name):
    file = File(name)
    rng = np.random.default_rng(1)
    seen = set()
    for field, _, _, seek, size in pages_of(file):
        if seek in seen:
            continue
        seen.add(seek)
        at = seek + int(rng.integers(size + 8))  # or in its checksum
        file.data[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(
            ReadError, match=rf"f\.root: field '{field}' is damaged in entries \d+ to \d+: the checksum"
        ):
            file.content(field)
        file.data[:] = (SAMPLES / f"{name}.root").read_bytes()
    assert len(seen) > 30


def test_without_verify_changed_bytes_are_numbers_but_sizes_are_right():
    """The reason for `verify`."""
    file = File("ntuple_pages")
    want = {name: file.content(name, verify=False) for name in file.table.fields}
    wrong = 0
    for field, *_, seek, size in pages_of(file):
        file.data[seek + size // 2] ^= 0x10
        with contextlib.suppress(ReadError):
            got = file.content(field, verify=False)
            assert [len(part) for part in got][:1] == [len(part) for part in want[field]][:1]
            wrong += got != want[field]
        file.data[seek + size // 2] ^= 0x10
    assert wrong > 50


def test_damaged_offsets_are_detected_without_a_checksum():
    """Lists that overlap, or have more or fewer elements than their cluster."""
    file = File("ntuple_plain")
    detected = 0
    for field, number, _, seek, size in pages_of(file):
        column = file.table.columns[number]
        if not column.is_index or field not in ("Muon_pt", "s"):
            continue
        assert not column.flags.any()
        for at in range(0, size, 8):
            file.data[seek + at + 2] ^= 1  # the end of a list, 65536 elements further
            with pytest.raises(ReadError, match=f"'{field}' is damaged.*lists in a page of offsets"):
                file.reader().offsets(number)
            file.data[seek + at + 2] ^= 1
            detected += 1
    assert detected > 300


def test_a_range_outside_the_layout_is_refused(pages):
    part = pages.chunk.layout.part(70, 140)
    with pytest.raises(InputError, match="has entries 70 to 140, not 0 to 140"):
        Reader(pages.chunk.file, part, 0, 140)


def test_too_many_numbers_for_the_machine(pages, monkeypatch):
    real = np.empty

    def empty(length, dtype):
        if length == 200:
            raise MemoryError
        return real(length, dtype=dtype)

    monkeypatch.setattr("af_kit.data.reading.page_reader.np.empty", empty)
    with pytest.raises(ReadError, match=r"field 'i64' has 200 numbers in entries 0 to 200.*chunk_entries"):
        pages.content("i64")


@pytest.fixture
def muons(tmp_path):
    """A collection of records in one field, as uproot writes it, in two clusters."""
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 4, 100)

    def part():
        names = ("pt", "eta", "phi", "mass")
        return {
            "Muon": ak.zip({name: ak.unflatten(rng.normal(size=counts.sum()).astype("f4"), counts) for name in names}),
            "hits": jagged(rng, counts),
            "run": np.arange(100, dtype="u4"),
        }

    with uproot.recreate(tmp_path / "f.root", compression=CODECS["zstd"]) as file:
        ntuple = file.mkrntuple("Events", part())
        ntuple.extend(part())
    return whole(tmp_path / "f.root")


def stored(chunk, field, *which):
    """Bytes of some columns of a field, with their checksums."""
    numbers = chunk.layout.pages.fields[field].columns
    columns = [chunk.layout.pages.columns[numbers[i]] for i in which]
    return sum(int(c.sizes.sum()) + 8 * int((c.flags >= 128).sum()) for c in columns)


def test_each_member_of_a_collection_is_read_when_it_is_used(muons):
    events, reader = opened(muons)
    assert events.fields == ["Muon", "hits", "run"]
    assert reader.stats.bytes_read == 0
    _ = ak.num(events.Muon).to_list()
    assert reader.stats.bytes_read == stored(muons, "Muon", 0)
    want = uproot.open(muons.file)["Events"].arrays()
    same(events.Muon.eta, want.Muon.eta)
    assert reader.stats.bytes_read == stored(muons, "Muon", 0, 2)
    _ = events.Muon.eta.to_list(), events.Muon[ak.num(events.Muon) > 1].eta.to_list()
    assert reader.stats.bytes_read == stored(muons, "Muon", 0, 2)
    assert reader.stats.branches == {"Muon"}
    assert not reader.stats.fallbacks
    assert ak.parameters(events.Muon.layout.content)["__record__"] == "Momentum4D"
    two = events.Muon[ak.num(events.Muon) >= 2]
    assert len((two[:, 0] + two[:, 1]).mass) > 20


def test_parts_of_one_reader_equal_separate_reads(muons):
    from af_kit.data.reading.events import build

    reader = Reader(muons.file, muons.layout, 50, 170)
    want = uproot.open(muons.file)["Events"].arrays()
    for start, stop in [(50, 100), (100, 101), (101, 101), (101, 170)]:
        part = build(reader, start, stop, {})
        for name in ("Muon", "hits", "run"):
            same(part[name], want[name][start:stop])
            same(read(cut(muons, start, stop))[name], want[name][start:stop])


def test_the_report_counts_the_bytes_of_the_pages(muons):
    result = process(lambda events: {"n": events.Muon.pt}, muons.file)
    assert result.report.bytes_read == stored(muons, "Muon", 0, 1)
    assert not result.report.fallbacks
    unverified = process(lambda events: {"n": events.Muon.pt}, muons.file, verify=False)
    assert any("not verified" in note for note in unverified.report.notes)
    declared = process(lambda events: {"n": events.Muon.pt, "r": events.run}, muons.file, branches=["Muon", "run"])
    assert declared.report.bytes_read == stored(muons, "Muon", 0, 1, 2, 3, 4) + stored(muons, "run", 0)


def test_a_field_that_uproot_reads_is_verified_first(tmp_path):
    """A flipped byte in a variant: uproot alone would read another number."""
    path = tmp_path / "f.root"
    data = (SAMPLES / "ntuple_variant.root").read_bytes()
    path.write_bytes(data)
    chunk = whole(path)
    want = [i if i % 3 else i / 2 for i in range(50)]
    events, reader = opened(chunk)
    assert events["var"].to_list() == want
    assert reader.stats.fallbacks == {"var"}
    numbers = chunk.layout.pages.fields["var"].columns
    once = sum(int(chunk.layout.pages.columns[n].sizes.sum()) for n in numbers)
    assert 2 * once < reader.stats.bytes_read < 3 * once  # verified, with checksums, and read by uproot
    silent = 0
    for number in numbers:
        column = chunk.layout.pages.columns[number]
        for seek, size in zip(column.seeks.tolist(), column.sizes.tolist(), strict=True):
            overwrite(path, seek + size // 2, lambda old: old ^ 1)
            with pytest.raises(ReadError, match="'var' is damaged in entries 0 to 50: the checksum"):
                _ = read(chunk)["var"].to_list()
            with contextlib.suppress(ReadError):
                silent += read(chunk, verify=False)["var"].to_list() != want
            path.write_bytes(data)
    assert silent


def test_damage_is_an_error_of_the_file_in_a_run(tmp_path):
    path = tmp_path / "f.root"
    path.write_bytes((SAMPLES / "ntuple_pages.root").read_bytes())
    column = whole(path).layout.pages.columns[whole(path).layout.pages.fields["f64"].columns[0]]
    overwrite(path, int(column.seeks[-1]), lambda old: old ^ 1)
    with pytest.warns(UserWarning, match="60 of 200 entries were not processed"):
        result = process(lambda events: {"n": ak.count(events.f64)}, str(path), chunk_entries=70, retries=0)
    assert (result["n"], result.report.entries["failed"]) == (140, 60)
    assert "'f64' is damaged in entries 140 to 200" in result.report.failures[0].reason


def test_memory_is_free_when_the_events_are_deleted(muons):
    """Without waiting for the garbage collector: a chunk takes tens of megabytes."""
    gc.collect()
    gc.disable()
    try:
        events, reader = opened(muons)
        ak.materialize(events.Muon.pt)
        kept = weakref.ref(reader._pages)
        del events, reader
        assert kept() is None
    finally:
        gc.enable()


def test_files_without_checksums_are_read():
    for name in File("ntuple_plain").table.fields:
        assert bits(read(whole(SAMPLES / "ntuple_plain.root"))[name]) == bits(
            read(whole(SAMPLES / "ntuple_pages.root"))[name]
        )
