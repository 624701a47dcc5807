"""The cache of decoded columns: never stale, never damaged, never above its limit, shared by processes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import af_kit as af
from af_kit.data.chunks import Chunk
from af_kit.data.reading import column_cache
from af_kit.data.reading.column_cache import CacheSettings, ColumnCache
from af_kit.data.reading.reader import Reader
from af_kit.errors import ReadError

BRANCHES = ("nMuon", "Muon_pt", "Muon_charge")


@pytest.fixture
def cache(tmp_path) -> ColumnCache:
    return ColumnCache(tmp_path / "cache", 1 << 24)


@pytest.fixture
def path(tmp_path) -> str:
    (path,) = af.write_files("dimuon", tmp_path / "samples", 2000, seed=3)
    return str(path)


def chunk_of(path: str) -> Chunk:
    return af.plan({"data": {"files": {path: "Events"}}})[0]


def read(chunk: Chunk, cache: ColumnCache | None, **options: Any) -> tuple[dict[str, np.ndarray], Reader]:
    with Reader(chunk.file, chunk.layout, chunk.entry_start, chunk.entry_stop, cache=cache, **options) as reader:
        return {name: reader.numbers(name) for name in BRANCHES}, reader


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(one[n].dtype == other[n].dtype and one[n].tobytes() == other[n].tobytes() for n in BRANCHES)


def used(folder: Path) -> int:
    """Bytes that the folder takes, in blocks of the disk."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.iterdir() if path.name != "total")


def test_a_second_pass_reads_nothing_from_the_file(path, cache):
    chunk = chunk_of(path)
    plain, _ = read(chunk, None)
    first, reader = read(chunk, cache)
    assert same(first, plain)
    assert reader.stats.bytes_read > 0
    assert reader.stats.bytes_cached == 0
    second, reader = read(chunk, cache)
    assert same(second, plain)
    assert reader.stats.bytes_read == 0
    assert reader.stats.bytes_cached == sum(array.nbytes for array in plain.values())
    assert reader.stats.branches == set(BRANCHES)
    second["Muon_pt"][:] = 0  # arrays are the reader's own
    assert same(read(chunk, cache)[0], plain)


def test_declared_columns_come_from_the_cache(path, cache):
    chunk = chunk_of(path)
    read(chunk, cache)
    with Reader(chunk.file, chunk.layout, 0, len(chunk), cache=cache) as reader:
        reader.prefetch(BRANCHES)
        reader.prefetch(["Muon_eta"])
        assert reader.stats.bytes_read == chunk.layout.stored_bytes(["Muon_eta"])
        reader.numbers("Muon_eta")
        assert reader.stats.bytes_read == chunk.layout.stored_bytes(["Muon_eta"])


def test_columns_that_were_not_verified_are_no_verified_ones(path, cache):
    chunk = chunk_of(path)
    read(chunk, cache, verify=False)
    assert read(chunk, cache)[1].stats.bytes_cached == 0


def test_other_entries_and_trees_are_other_columns(path, cache):
    chunk = chunk_of(path)
    read(chunk, cache)
    with Reader(chunk.file, chunk.layout, 0, 1000, cache=cache) as reader:
        reader.numbers("nMuon")
        assert reader.stats.bytes_cached == 0


def test_a_replaced_file_is_never_answered_from_the_cache(path, cache, tmp_path):
    """With the old plan it is an error, as without a cache; with a new one it is another file."""
    chunk = chunk_of(path)
    old, _ = read(chunk, cache)
    (other,) = af.write_files("dimuon", tmp_path / "other", 2000, seed=4)
    shutil.copy(other, path)
    with pytest.raises(ReadError, match="is not the file that was planned"):
        read(chunk, cache)
    new, reader = read(chunk_of(path), cache)
    assert reader.stats.bytes_cached == 0
    assert not same(new, old)
    assert same(new, read(chunk_of(path), None)[0])
    Path(path).unlink()
    with pytest.raises(ReadError, match=r"does not exist|No such file"):
        read(chunk, cache)


def test_a_file_with_one_changed_byte_is_another_file(path, cache):
    """Its header, and so its identifier, is the same: what is compared is the content."""
    read(chunk_of(path), cache)
    with Path(path).open("r+b") as raw:
        raw.seek(-1, os.SEEK_END)
        last = raw.read(1)[0]
        raw.seek(-1, os.SEEK_END)
        raw.write(bytes([last ^ 1]))
    assert read(chunk_of(path), cache)[1].stats.bytes_cached == 0


def test_a_copy_shares_the_columns(path, cache, tmp_path):
    read(chunk_of(path), cache)
    copy = shutil.copy(path, tmp_path / "copy.root")
    assert read(chunk_of(str(copy)), cache)[1].stats.bytes_read == 0


@pytest.mark.parametrize("at", [0, 17, 40, 200, -1])
def test_a_damaged_column_is_read_again(path, cache, at):
    chunk = chunk_of(path)
    plain, _ = read(chunk, cache)
    for column in cache.folder.glob("*.column"):
        data = bytearray(column.read_bytes())
        data[at] ^= 0x10
        column.write_bytes(data)
    again, reader = read(chunk, cache)
    assert same(again, plain)
    assert reader.stats.bytes_cached == 0
    assert same(read(chunk, cache)[0], plain)
    assert read(chunk, cache)[1].stats.bytes_read == 0


@pytest.mark.parametrize("left", [0, 5, 20, 300])
def test_a_truncated_column_is_read_again(path, cache, left):
    chunk = chunk_of(path)
    plain, _ = read(chunk, cache)
    for column in cache.folder.glob("*.column"):
        os.truncate(column, left)
    again, reader = read(chunk, cache)
    assert same(again, plain)
    assert reader.stats.bytes_cached == 0


def test_a_column_under_the_name_of_another_is_not_used(cache):
    cache.put("a", [np.arange(10)])
    cache.put("b", [np.arange(20)])
    (cache.folder / "a.column").replace(cache.folder / "b.column")
    assert cache.get("b") is None


def test_what_was_used_longest_ago_is_removed(tmp_path):
    cache = ColumnCache(tmp_path / "cache", 10 * 8192)
    content = [np.arange(512, dtype=np.int64)]  # two blocks with the head
    for number in range(10):
        cache.put(f"{number}", content)
        os.utime(cache.folder / f"{number}.column", (number, number))
    assert used(cache.folder) == cache.limit
    assert cache.get("0") is not None
    cache.put("new", content)
    left = {path.stem for path in cache.folder.glob("*.column")}
    assert left == {"0", "3", "4", "5", "6", "7", "8", "9", "new"}
    assert used(cache.folder) <= cache.limit


def test_a_column_that_is_too_large_is_not_kept(tmp_path):
    cache = ColumnCache(tmp_path / "cache", 1 << 16)
    cache.put("large", [np.zeros(1 << 15, dtype=np.uint8)])
    assert not cache.folder.exists()


def _fill(folder: Path, limit: int, seed: int) -> None:
    cache, random = ColumnCache(folder, limit), np.random.default_rng(seed)
    for _ in range(150):
        key = int(random.integers(40))
        found = cache.get(f"{key}")
        expected = np.full(100 * (key + 1), key, dtype=np.int32)
        if found is None:
            cache.put(f"{key}", [expected, expected[:5]])
        elif not (np.array_equal(found[0], expected) and np.array_equal(found[1], expected[:5])):
            raise AssertionError(f"process {seed} got another column")
        with cache._locked():
            total = sum(-(-entry.stat().st_size // 4096) * 4096 for entry in _files(folder))
        if total > limit:
            raise AssertionError(f"{total} bytes, more than {limit}")


def _files(folder: Path) -> list[os.DirEntry[str]]:
    found = []
    for entry in os.scandir(folder):
        try:
            entry.stat()
        except FileNotFoundError:
            continue
        if entry.name != "total":
            found.append(entry)
    return found


def test_processes_share_a_folder_within_its_limit(tmp_path):
    """Each checks every column that it gets, and the size of the folder, while the others write and remove."""
    context = multiprocessing.get_context("fork")
    folder, limit = tmp_path / "cache", 150_000
    processes = [context.Process(target=_fill, args=(folder, limit, seed)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert 0 < used(folder) <= limit
    assert not list(folder.glob("*.part"))


def test_what_a_dead_process_left_is_removed(cache, monkeypatch):
    cache.put("a", [np.arange(10)])
    part = cache.folder / "tmpdead.part"
    part.write_bytes(bytes(1000))
    os.utime(part, (0, 0))
    (cache.folder / "total").unlink()
    cache.put("b", [np.arange(10)])
    assert not part.exists()
    assert {path.stem for path in cache.folder.glob("*.column")} == {"a", "b"}


def test_a_full_disk_is_harmless(path, cache, monkeypatch):
    chunk = chunk_of(path)
    plain, _ = read(chunk, None)

    def full(handle: int, data: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(column_cache, "_write", full)
        assert same(read(chunk, cache)[0], plain)
    assert [path.name for path in cache.folder.iterdir()] == ["total"]
    assert same(read(chunk, cache)[0], plain)  # nothing is written for a while
    assert [path.name for path in cache.folder.iterdir()] == ["total"]
    monkeypatch.setattr(column_cache, "_PAUSE_S", 0)
    read(chunk, cache)
    assert read(chunk, cache)[1].stats.bytes_read == 0


def test_a_folder_that_others_may_write_is_not_used(path, cache):
    chunk = chunk_of(path)
    read(chunk, cache)
    cache.folder.chmod(0o777)
    assert read(chunk, cache)[1].stats.bytes_cached == 0
    cache.folder.chmod(0o700)
    assert read(chunk, cache)[1].stats.bytes_read == 0


def test_a_folder_that_is_a_link_or_cannot_be_made_is_not_used(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "link", tmp_path / "file" / "below"):
        cache = ColumnCache(folder, 1 << 20)
        cache.put("a", [np.arange(10)])
        assert cache.get("a") is None
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_folder_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    assert column_cache.column_cache(CacheSettings(1000, "$SCRATCH/columns")).folder == tmp_path / "columns"
    (tmp_path / "link").symlink_to(tmp_path)
    assert column_cache.column_cache(CacheSettings(1000, f"{tmp_path}/link")).folder == tmp_path
    assert column_cache.column_cache(CacheSettings(1000)).folder.name == f"af-kit-columns-{os.getuid()}"
