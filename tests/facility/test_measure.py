"""Runs on real workers: one, and the command with its grid."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client

import af_kit as af
from af_kit.cli import main
from af_kit.errors import IncompleteError, InputError
from af_kit.facility.limits import limit_of
from af_kit.facility.measure import measure
from af_kit.simulate import write_files


def count(events: Any) -> dict[str, int]:
    return {"muons": int(sum(events.nMuon))}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    return [str(path) for path in write_files("dimuon", tmp_path_factory.mktemp("events"), 8000, files=2)]


@pytest.fixture(scope="module")
def client():
    with af.connect("local", n_workers=2, memory="1 GiB", quiet=True) as client:
        yield client


def test_a_point_accounts_for_the_time_of_its_run(client, files):
    with dask.config.set({"af_kit.data.chunk_bytes": 1}):  # tasks of 1000 entries
        point = measure(count, files, client, progress=False)
    assert (point.workload, point.events, point.workers, point.threads) == ("count", 8000, 2, 2)
    assert point.notes == ()
    assert point.phases is not None
    assert point.phases.tasks == 8
    phases = point.phases
    whole = phases.planning_s + phases.main_s + phases.final_merge_s + phases.gather_s
    assert whole == pytest.approx(point.wall_s, rel=0.05, abs=0.02)
    assert 0 < point.busy_s < point.threads * point.wall_s
    assert 0 < point.task_cpu_s <= point.worker_cpu_s + 0.1
    assert point.scheduler_cpu_s > 0
    assert point.first_result_s > 0
    assert point.bytes_read > 0
    assert point.worker_memory > 50 << 20
    assert point.sent > 0  # the results
    shares = limit_of(point).shares
    assert sum(shares.values()) == pytest.approx(1, abs=0.35)  # nothing is counted twice, little is left out
    assert 0 <= point.idle < 1


def test_a_run_with_failures_is_no_point(client, files, tmp_path):
    bad = tmp_path / "bad.root"
    bad.write_bytes(b"not a ROOT file" * 10)
    with pytest.raises(IncompleteError):
        measure(count, [*files, str(bad)], client, first_result_s=1.0, warm_up=False, progress=False)


def test_without_a_client_there_is_nothing_to_measure(files):
    with pytest.raises(InputError, match="client"):
        measure(count, files, None)


def test_the_command_measures_a_grid(client, tmp_path: Path, capsys, monkeypatch):
    started: list[tuple[Any, ...]] = []

    def connect(where: str, **options: Any) -> Any:  # the cluster that runs: starting one is tested elsewhere
        started.append((where, options))
        return Client(client.scheduler.address)

    monkeypatch.setattr(importlib.import_module("af_kit.cluster.connect"), "connect", connect)
    arguments = ["--events", "4000", "--processes-by-threads", "2x1,3x2", "--wait", "0", "--memory", "1 GiB"]
    assert main(["bench", "facility", *arguments, "--out", str(tmp_path), "--json"]) == 0
    assert started == [
        ("local", {"n_workers": 2, "cores": 1, "memory": "1 GiB"}),
        ("local", {"n_workers": 3, "cores": 2, "memory": "1 GiB"}),
    ]
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((tmp_path / "bench.json").read_text())
    assert [(point["workers"], point["events"]) for point in content["points"]] == [(2, 4000)] * 2
    assert all(point["limit"]["sentence"] for point in content["points"])
    assert content["points"][0]["notes"] == []
    assert content["points"][1]["notes"] == ["3 workers were asked for, and there were 2"]
    assert content["failed"] == []
    assert "| 2 x 1 | 0:0" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "facility.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["dimuon-4000"]
