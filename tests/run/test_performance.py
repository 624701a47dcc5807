"""What a stretch of work cost, in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_tools import write_events

import af_kit as af
from af_kit.errors import FunctionError, InputError


def count(events: Any) -> dict[str, int]:
    return {"n": len(events), "last": [int(events.event[-1])]}


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("events")
    return [str(write_events(folder / f"{seed}.root", 1500, seed)) for seed in (1, 2)]


def content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def test_without_a_client_only_the_own_report(sample, tmp_path):
    folder = tmp_path / "new" / "run1"
    with af.performance_report(folder) as block:
        first = af.process(count, sample, progress=False)
        second = af.process(count, sample[:1], progress=False)
    assert block.reports == [first.report, second.report]
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
    written = content(folder)
    assert written["reports"] == [first.report.to_dict(), second.report.to_dict()]
    assert written["totals"]["entries"] == {"planned": 4500, "processed": 4500, "failed": 0}
    assert written["totals"]["bytes_read"] == first.report.bytes_read + second.report.bytes_read > 0
    assert written["dask"] == {"file": "", "problem": "there was no client"}
    assert (written["error"], written["workers"]) == ("", {})
    page = (folder / "report.html").read_text()
    assert "Run 2 of 2" in page
    assert "4,500 of 4,500 entries" in page
    af.process(count, sample[:1], progress=False)
    assert len(block.reports) == 2  # what comes after the block is not its business


def test_with_a_client_both_parts(client, sample, tmp_path):
    with af.performance_report(tmp_path, client) as block:
        result = af.process(count, sample, client, progress=False)
    assert sorted(path.name for path in block.files) == ["dask.html", "report.html", "report.json"]
    written = content(tmp_path)
    assert written["reports"] == [result.report.to_dict()]
    assert written["dask"] == {"file": "dask.html", "problem": ""}
    workers = client.scheduler_info(n_workers=-1)["workers"]
    assert written["workers"].keys() == workers.keys()
    assert all(worker["threads"] == 1 for worker in written["workers"].values())
    dasks = (tmp_path / "dask.html").read_text()
    assert "Task Stream" in dasks
    assert '<script type="text/javascript" src=' not in dasks  # it needs no network
    assert "with af.performance_report(tmp_path, client)" in dasks  # the code that it is about
    assert "href='dask.html'" in (tmp_path / "report.html").read_text()


def test_an_error_is_raised_and_everything_is_written(sample, tmp_path):
    def fail(events: Any) -> Any:
        raise ValueError("<no>")

    with pytest.raises(FunctionError), af.performance_report(tmp_path):
        af.process(fail, sample, progress=False)
    written = content(tmp_path)
    assert written["error"].startswith("FunctionError: ")
    assert written["reports"][0]["complete"] is False
    page = (tmp_path / "report.html").read_text()
    assert "ended in an error" in page
    assert "<no>" not in page


def test_a_retry_has_its_own_report(sample, tmp_path):
    missing = tmp_path / "later.root"
    with af.performance_report(tmp_path / "run") as block:
        with pytest.warns(UserWarning, match="retry"):
            result = af.process(count, [*sample, str(missing)], progress=False)
        write_events(missing, 500, 3)
        result.retry()
    assert [report.complete for report in block.reports] == [False, True]


def test_old_files_are_removed_and_a_closed_client_costs_only_dasks_part(sample, tmp_path):
    (tmp_path / "dask.html").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    client = af.connect("local", n_workers=1, quiet=True)
    with af.performance_report(tmp_path, client):
        af.process(count, sample, client, progress=False)
        client.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "report.html", "report.json"]
    assert content(tmp_path)["dask"]["problem"]
    assert content(tmp_path)["totals"]["entries"]["processed"] == 3000


def test_invalid_arguments(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Name another folder"), af.performance_report(tmp_path / "file"):
        pass
    with pytest.raises(InputError, match="client"):
        af.performance_report(tmp_path, "tcp://127.0.0.1:8786")
