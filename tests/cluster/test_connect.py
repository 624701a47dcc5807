"""``connect``: what it finds, what it refuses, what it waits for, and what it leaves behind."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.config
import distributed
import pytest
from cluster_tools import eventually
from distributed import Client, LocalCluster, Security

import af_kit
from af_kit.cluster import backends, connect
from af_kit.errors import ConnectError, InputError


class Started(Exception):
    """Raised in place of starting a cluster."""


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch):
    """Kinds raise ``Started`` with their request."""

    def start(request: Any, *, dashboard: bool | None = None) -> None:
        raise Started(request)

    monkeypatch.setattr(backends, "load", lambda *_: SimpleNamespace(start=start))


# what is there


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


def test_address_with_tls(secured: LocalCluster, certificates: Security):
    with connect(secured.scheduler_address, security=certificates, quiet=True) as client:
        assert client.submit(sum, [1, 2]).result() == 3


def test_address_in_the_environment(running: LocalCluster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", running.scheduler_address)
    with connect(quiet=True) as client:
        assert client.scheduler.address == running.scheduler_address


def test_address_in_dasks_configuration(running: LocalCluster):
    with dask.config.set({"scheduler-address": running.scheduler_address}), connect(quiet=True) as client:
        assert client.scheduler.address == running.scheduler_address


def test_scheduler_file(running: LocalCluster, tmp_path: Path):
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": running.scheduler_address}))
    with connect(str(path), quiet=True) as client:
        assert client.scheduler.address == running.scheduler_address


def test_a_cluster_is_taken_and_left_running(running: LocalCluster):
    with connect(running, quiet=True) as client:
        assert client.cluster is running
    assert running.status.name == "running"


def test_a_client_is_taken_as_it_is(running: LocalCluster):
    with Client(running) as mine:
        assert connect(mine, quiet=True) is mine
        with pytest.raises(ConnectError):
            connect(mine, n_workers=5, timeout_s=0.1, quiet=True)
        assert mine.status == "running"  # not ours to close
    with pytest.raises(ConnectError, match="closed"):
        connect(mine)


def test_else_the_configured_kind(nothing_starts: None, monkeypatch: pytest.MonkeyPatch):
    names: list[str] = []
    load = backends.load
    monkeypatch.setattr(backends, "load", lambda name, *more: (names.append(name), load(name, *more))[1])
    with pytest.raises(Started):
        connect()
    with dask.config.set({"af_kit.cluster.backend": "slurm"}), pytest.raises(Started):
        connect()
    assert names == ["local", "slurm"]


def test_the_dashboard_link_of_a_hub(running: LocalCluster, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/alice/")
    with dask.config.set({"distributed.dashboard.link": dask.config.get("distributed.dashboard.link")}):
        connect(running.scheduler_address).close()
        assert f"dashboard /user/alice/proxy/127.0.0.1:{running.scheduler.services['dashboard'].port}/status" in (
            capsys.readouterr().out
        )
    with dask.config.set({"distributed.dashboard.link": "https://mine/{port}"}):
        connect(running.scheduler_address).close()
        assert "dashboard https://mine/" in capsys.readouterr().out
    with dask.config.set({"distributed.dashboard.link": "{NOT_SET_HERE}/{port}"}):
        connect(running.scheduler_address).close()
        assert "dashboard" not in capsys.readouterr().out


# what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": "lokal"}, "no kind of cluster 'lokal'. Did you mean 'local'"),
        ({"where": "slurrm"}, "no kind of cluster 'slurrm'"),
        ({"where": 42}, "give an address, a kind"),
        ({"where": "http://127.0.0.1:8787"}, "dashboard"),
        ({"n_workers": -1}, "n_workers=-1"),
        ({"n_workers": 2.5}, "n_workers=2.5"),
        ({"n_workers": True}, "n_workers=True"),
        ({"where": "local", "n_workers": 0}, "needs a worker"),
        ({"cores": 0}, "cores=0"),
        ({"memory": "4 GoB"}, "memory='4 GoB'"),
        ({"memory": 0}, "memory=0"),
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
        ({"where": "tcp://127.0.0.1:1", "detach": True}, "runs already: detach"),
        ({"where": "local", "processes": False, "name": "mine"}, "processes=False"),
        ({"where": "local", "dashbord": False}, "no option 'dashbord'. Did you mean 'dashboard'"),
        ({"where": "local", "walltime": "1h"}, "no option 'walltime'"),
        ({"where": "tcp://127.0.0.1:1", "memory": "4 GiB"}, "runs already: memory"),
        ({"where": "tcp://127.0.0.1:1", "adapt": (0, 3)}, "runs already: adapt"),
        ({"where": "tcp://127.0.0.1:1", "walltime": "1h"}, "runs already: walltime"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        connect(**arguments)


def test_a_kind_of_another_version_is_not_offered():
    folder = Path(backends.__file__).parent
    absent = [name for name in ("slurm", "htcondor", "gateway", "kubernetes") if not (folder / f"{name}.py").exists()]
    assert set(backends.available()).isdisjoint(absent)
    assert "local" in backends.available()
    for name in absent:
        with pytest.raises(InputError, match=f"cannot start a {name} cluster. There is: local"):
            connect(name)


def test_a_file_of_its_own_makes_a_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    package = pytest.importorskip("af_kit.cluster")
    (tmp_path / "elsewhere.py").write_text("def start(request, *, queue=None): pass\n")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(backends, "_NAMES", ("local", "elsewhere"))
    assert backends.available() == ["local", "elsewhere"]
    assert backends.load("elsewhere", {"queue": "short"}).start
    with pytest.raises(InputError, match="Did you mean 'queue'"):
        backends.load("elsewhere", {"queu": "short"})


# what is waited for


def test_workers_that_do_not_come(running: LocalCluster, capsys: pytest.CaptureFixture[str]):
    address = running.scheduler_address
    with pytest.raises(
        ConnectError, match=rf"{address} answers, but 1 of 3 workers joined within 0\.2 s.*af-kit worker"
    ):
        connect(address, n_workers=3, timeout_s=0.2)
    assert "Connected" not in capsys.readouterr().out


def test_progress_is_said(running: LocalCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("af_kit.cluster.readiness._LOOK_S", 0.05)
    with pytest.raises(ConnectError):
        connect(running.scheduler_address, n_workers=3, timeout_s=0.4)
    assert capsys.readouterr().out.splitlines() == ["Waiting for workers: 1 of 3 ..."]


def test_no_workers_at_all():
    with LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as empty:
        with pytest.raises(ConnectError, match="0 of 1 workers"):
            connect(empty.scheduler_address, timeout_s=0.1, quiet=True)
        with connect(empty.scheduler_address, n_workers=0, quiet=True) as client:
            assert client.status == "running"
        empty.adapt(minimum=0, maximum=1)
        with connect(empty, quiet=True) as client:  # it grows with its load
            assert client.submit(sum, [1, 2]).result(timeout=20) == 3


def test_a_stale_address_does_not_take_the_whole_time(closed_port: int):
    with (
        dask.config.set({"af_kit.cluster.answer_s": 0.1}),
        pytest.raises(ConnectError, match=r"refused.*waited 0\.1 s"),
    ):
        connect(f"tcp://127.0.0.1:{closed_port}", quiet=True)


# what is left behind


def test_failures_leave_no_thread_and_no_noise(
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


def test_warns_of_workers_that_are_slow_at_reading(running: LocalCluster, monkeypatch: pytest.MonkeyPatch):
    as_dask_starts_them = {"MALLOC_TRIM_THRESHOLD_": "65536"}
    monkeypatch.setattr("af_kit.cluster.readiness.initial_environment", lambda: as_dask_starts_them)
    wanted = r"1 of 1 workers.*export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=268435456"
    with pytest.warns(UserWarning, match=wanted) as caught:
        connect(running.scheduler_address, quiet=True).close()
    assert [warning.filename for warning in caught] == [__file__]


def test_it_is_public():
    assert af_kit.connect is connect


def test_what_ends_with_a_client_ends_once(running):
    """A closed client closes again when it is garbage, perhaps in the thread that starts another client's loop."""
    from af_kit.cluster.connect import _at_close

    ended = []
    client = connect(running.scheduler_address, quiet=True)
    _at_close(client, lambda: ended.append(client.status))
    client.close()
    client.close()
    assert ended == ["closed"]
