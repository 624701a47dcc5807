"""The column cache in a run: the same bits, less to read, and the report says so."""

from __future__ import annotations

import shutil
from typing import Any

import dask
import numpy as np
import pytest
from run_tools import bits, everything, write_events

from af_kit import process
from af_kit.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path) -> Any:
    with dask.config.set({"af_kit.run.cache.folder": str(tmp_path / "columns")}):
        yield tmp_path / "columns"


def test_a_second_run_reads_the_columns_from_the_cache(fileset, folder):
    plain = process(everything, fileset)
    assert plain.report.bytes_cached == 0
    assert not folder.exists()
    first = process(everything, fileset, cache="50 MiB")
    second = process(everything, fileset, cache="50 MiB")
    assert bits(first) == bits(second) == bits(plain)
    assert first.report.bytes_read == plain.report.bytes_read
    assert second.report.bytes_read == 0
    assert second.report.bytes_cached > 0
    assert second.report.branches == plain.report.branches
    assert second.report.to_dict()["bytes_cached"] == second.report.bytes_cached
    assert " MB of decoded columns, in place of reading them" in str(second.report)
    with dask.config.set({"af_kit.run.cache.size": "50 MiB"}):
        assert process(everything, fileset).report.bytes_read == 0
        assert process(everything, fileset, cache=0).report.bytes_cached == 0


@pytest.fixture
def one_file(fileset) -> dict[str, Any]:
    """The first file, with 6000 entries."""
    return {"signal": {**fileset["signal"], "files": list(fileset["signal"]["files"])[:1]}}


def test_workers_of_a_machine_share_the_columns(one_file, client):
    """One worker fills the cache, the other one reads from it, and then both."""
    plain = bits(process(everything, one_file))
    reports = []
    for workers in ([worker] for worker in client.nthreads()):
        with dask.annotate(workers=workers):
            result = process(everything, one_file, client, cache="50 MiB")
        assert bits(result) == plain
        reports.append(result.report)
    filling, reading = reports
    assert len(filling.workers) == len(reading.workers) == 1
    assert filling.workers.keys() != reading.workers.keys()
    assert filling.bytes_cached == 0
    assert reading.bytes_read == 0
    both = process(everything, one_file, client, cache="50 MiB")
    assert bits(both) == plain
    assert both.report.bytes_read == 0
    assert both.report.bytes_cached == reading.bytes_cached > 0


def test_two_workers_keep_the_limit(one_file, folder, client):
    """There is no room for all columns, and the workers remove each other's."""
    limit = 100_000
    runs = [process(everything, one_file, client, cache=limit) for _ in range(2)]
    assert bits(runs[0]) == bits(runs[1]) == bits(process(everything, one_file))
    assert runs[1].report.bytes_read > 0
    sizes = [-(-path.stat().st_size // 4096) * 4096 for path in folder.glob("*.column")]
    assert 0 < sum(sizes) <= limit


def test_declared_branches_and_another_function(fileset):
    process(everything, fileset, cache="50 MiB")
    again = process(lambda events: {"n": len(events.Muon.pt)}, fileset, cache="50 MiB", branches=["Muon_pt"])
    assert again.report.bytes_read == 0


@pytest.mark.parametrize("where", ["threads", "workers"])
def test_a_file_that_is_replaced_is_read_again(tmp_path, request, where):
    client = request.getfixturevalue("client") if where == "workers" else None
    path = write_events(tmp_path / "a.root", 1000, 1)
    fileset = {"data": {"files": {str(path): "Events"}}}

    def numbers(events: Any) -> dict[str, Any]:
        return {"event": np.asarray(events.event)}

    old = process(numbers, fileset, client, cache="50 MiB")
    shutil.copy(write_events(tmp_path / "b.root", 1000, 2), path)
    new = process(numbers, fileset, client, cache="50 MiB")
    assert new.report.bytes_cached == 0
    assert new["event"].tolist() == (old["event"] + 100_000).tolist()


@pytest.mark.parametrize("size", ["many", -1, True])
def test_a_size_that_is_none(fileset, size):
    with pytest.raises(InputError, match=r"cache=.* is not a size"):
        process(everything, fileset, cache=size)
