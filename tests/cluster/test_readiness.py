"""Waiting for workers, and the warning about slow allocators."""

from __future__ import annotations

import pytest
from distributed import LocalCluster

from af_kit.cluster import connect
from af_kit.errors import ConnectError


def test_workers_that_do_not_join(running: LocalCluster, capsys: pytest.CaptureFixture[str]):
    address = running.scheduler_address
    with pytest.raises(
        ConnectError, match=rf"{address} answers, but 1 of 3 workers joined within 0\.2 s.*af-kit worker"
    ):
        connect(address, n_workers=3, timeout_s=0.2)
    assert "Connected" not in capsys.readouterr().out


def test_progress_is_printed(
    running: LocalCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("af_kit.cluster.readiness._POLL_S", 0.05)
    with pytest.raises(ConnectError):
        connect(running.scheduler_address, n_workers=3, timeout_s=0.4)
    assert capsys.readouterr().out.splitlines() == ["Waiting for workers: 1 of 3 ..."]


def test_a_cluster_without_workers():
    with LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as empty:
        with pytest.raises(ConnectError, match="0 of 1 workers"):
            connect(empty.scheduler_address, timeout_s=0.1, quiet=True)
        with connect(empty.scheduler_address, n_workers=0, quiet=True) as client:
            assert client.status == "running"
        empty.adapt(minimum=0, maximum=1)
        with connect(empty, quiet=True) as client:  # it starts workers on demand
            assert client.submit(sum, [1, 2]).result(timeout=20) == 3


def test_warns_about_workers_with_a_slow_allocator(running: LocalCluster, monkeypatch: pytest.MonkeyPatch):
    dasks_default = {"MALLOC_TRIM_THRESHOLD_": "65536"}
    monkeypatch.setattr("af_kit.cluster.readiness.initial_environment", lambda: dasks_default)
    wanted = r"1 of 1 workers.*export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=536870912"
    with pytest.warns(UserWarning, match=wanted) as caught:
        connect(running.scheduler_address, quiet=True).close()
    assert [warning.filename for warning in caught] == [__file__]
