"""``connect``: what it connects to by default, which arguments it refuses, and what it leaves behind."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace
from typing import Any

import dask.config
import distributed
import pytest
from cluster_tools import eventually
from distributed import Client, LocalCluster

import af_kit
from af_kit.cluster import backends, connect
from af_kit.errors import ConnectError, InputError


class Started(Exception):
    """Raised instead of starting a cluster."""


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch):
    """Backends raise ``Started`` with their request."""

    def start(request: Any, *, dashboard: bool | None = None) -> None:
        raise Started(request)

    monkeypatch.setattr(backends, "load", lambda *_: SimpleNamespace(start=start, timeout_key="cluster.timeout_s"))


def test_address(running: LocalCluster, capsys: pytest.CaptureFixture[str]):
    with connect(running.scheduler_address) as client:
        assert type(client) is Client
        assert client.submit(sum, [1, 2]).result() == 3
    assert client.status == "closed"
    assert running.status.name == "running"
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Connected: 1 worker, 1 core, ")
    assert line.endswith(f"dashboard {running.dashboard_link}")


def test_quiet(running: LocalCluster, capsys: pytest.CaptureFixture[str]):
    connect(running.scheduler_address, quiet=True).close()
    assert capsys.readouterr().out == ""


def test_address_in_the_environment(running: LocalCluster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", running.scheduler_address)
    with connect(quiet=True) as client:
        assert client.scheduler.address == running.scheduler_address


def test_address_in_dasks_configuration(running: LocalCluster):
    with dask.config.set({"scheduler-address": running.scheduler_address}), connect(quiet=True) as client:
        assert client.scheduler.address == running.scheduler_address


def test_otherwise_the_configured_backend(nothing_starts: None, monkeypatch: pytest.MonkeyPatch):
    names: list[str] = []
    load = backends.load
    monkeypatch.setattr(backends, "load", lambda name, *more: (names.append(name), load(name, *more))[1])
    with pytest.raises(Started):
        connect()
    with dask.config.set({"af_kit.cluster.backend": "slurm"}), pytest.raises(Started):
        connect()
    assert names == ["local", "slurm"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": "lokal"}, "'lokal' is not a cluster backend. Did you mean 'local'"),
        ({"where": "slurrm"}, "'slurrm' is not a cluster backend. Did you mean 'slurm'"),
        ({"where": 42}, "give an address, a backend"),
        ({"where": "http://127.0.0.1:8787"}, "dashboard"),
        ({"n_workers": -1}, "n_workers=-1"),
        ({"n_workers": 2.5}, "n_workers=2.5"),
        ({"n_workers": True}, "n_workers=True"),
        ({"where": "local", "n_workers": 0}, "needs a worker"),
        ({"cores": 0}, "cores=0"),
        ({"memory": "4 GoB"}, "memory='4 GoB'"),
        ({"memory": 0}, "memory=0"),
        ({"memory": 4}, "memory=4 is 4 bytes.*Did you mean '4 GiB'"),
        ({"memory": [4]}, "memory="),
        ({"adapt": (3, 1)}, r"adapt=\(3, 1\)"),
        ({"adapt": 3}, "adapt=3"),
        ({"adapt": (0, 0)}, "adapt="),
        ({"adapt": (0, 3), "n_workers": 3}, "not both"),
        ({"timeout_s": 0}, "timeout_s=0"),
        ({"timeout_s": "long"}, "timeout_s='long'"),
        ({"walltime": "long"}, "walltime='long': give a time limit such as"),
        ({"walltime": "02:00"}, "walltime='02:00'"),
        ({"walltime": 0}, "walltime=0"),
        ({"name": "my cluster"}, "name='my cluster': give a name of letters"),
        ({"name": ""}, "name=''"),
        ({"detach": 1}, "detach=1"),
        ({"idle_timeout_s": "1h"}, "idle_timeout_s='1h'"),
        ({"where": "tcp://127.0.0.1:1", "detach": True}, "already running.*: detach"),
        ({"where": "local", "processes": False, "name": "mine"}, "processes=False"),
        ({"where": "local", "dashbord": False}, "no option 'dashbord'. Did you mean 'dashboard'"),
        ({"where": "local", "walltime": "1h"}, "no option 'walltime'"),
        ({"where": "tcp://127.0.0.1:1", "memory": "4 GiB"}, "already running.*: memory"),
        ({"where": "tcp://127.0.0.1:1", "adapt": (0, 3)}, "already running.*: adapt"),
        ({"where": "tcp://127.0.0.1:1", "walltime": "1h"}, "already running.*: walltime"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        connect(**arguments)


def test_an_old_address_does_not_take_the_whole_timeout(closed_port: int):
    with (
        dask.config.set({"af_kit.cluster.answer_s": 0.1}),
        pytest.raises(ConnectError, match=r"refused.*waited 0\.1 s"),
    ):
        connect(f"tcp://127.0.0.1:{closed_port}", quiet=True)


def test_failures_leave_no_threads_and_no_log_messages(
    running: LocalCluster, secured: LocalCluster, closed_port: int, caplog: pytest.LogCaptureFixture, capfd: Any
):
    (worker,) = running.scheduler.workers
    before = set(threading.enumerate())
    with caplog.at_level(logging.WARNING):
        for address in (f"tcp://127.0.0.1:{closed_port}", worker, running.scheduler_address):
            with pytest.raises(ConnectError):
                connect(address, n_workers=2, timeout_s=0.2, quiet=True)
        assert eventually(lambda: set(threading.enumerate()) <= before)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError, match="No clients"):
        distributed.default_client()


def test_it_is_public():
    assert af_kit.connect is connect
