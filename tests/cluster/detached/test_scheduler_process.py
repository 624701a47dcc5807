"""Clusters with a scheduler process, here with local workers: their lifetimes, and how they are found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dask.config
import pytest
from cluster_tools import eventually, is_alive
from distributed import Client

from af_kit.cli import main
from af_kit.cluster import connect, logs
from af_kit.cluster.detached import registry
from af_kit.errors import ConnectError, InputError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("DASK_AF_KIT__CLUSTER__LOCAL__PRELOAD", "[]")
    yield tmp_path / "af_kit"
    for entry in registry.entries():
        os.kill(entry.pid, signal.SIGTERM)


def workers(client: Client) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])


def test_it_outlives_its_client_and_is_found_again(capsys: pytest.CaptureFixture[str]):
    with connect("local", n_workers=1, name="big", detach=True, idle_timeout_s=600, quiet=True) as client:
        assert type(client) is Client
        address = client.scheduler.address
        (pid,) = client.run(os.getpid).values()
    assert is_alive(pid)
    for where in ({"where": "big"}, {"name": "big"}, {"where": address}):
        with connect(**where, quiet=True) as client:
            assert client.scheduler.address == address
            assert client.submit(sum, [1, 2]).result() == 3
    with connect("big", quiet=True) as client:
        client.cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        client.cluster.adapt(minimum=1, maximum=1)
        assert eventually(lambda: workers(client) == 1, within_s=60)
        assert client.cluster.dashboard_link == client.dashboard_link
    with pytest.raises(InputError, match=r"big is already running.*: memory"):
        connect("big", memory="1 GiB")
    capsys.readouterr()
    assert main(["cluster", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["workers"], listed["idle_timeout_s"]) == ("big", 1, 600)
    assert main(["cluster", "stop", "big"]) == 0
    assert eventually(lambda: not is_alive(pid))
    assert main(["cluster", "list"]) == 0
    assert "No cluster is running" in capsys.readouterr().out
    assert [path.name for path in logs("big")] == ["scheduler.log"]
    assert main(["cluster", "logs", "big", "--lines", "0"]) == 0
    assert main(["cluster", "stop", "big"]) == 2
    with pytest.raises(ConnectError, match="No cluster named 'big' runs"):
        connect(name="big")


def test_a_worker_that_dask_gives_up_is_replaced():
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}),
        connect("local", n_workers=1, name="big", quiet=True) as client,
    ):
        (pid,) = client.run(os.getpid).values()
        os.kill(pid, signal.SIGKILL)
        assert client.submit(time.sleep, 3).result(timeout=60) is None  # the worker comes, and stays


def test_an_owned_one_ends_with_its_client(folder: Path):
    with connect("local", n_workers=1, name="mine", quiet=True) as client:
        scheduler = client.cluster.entry.pid
        (worker,) = client.run(os.getpid).values()
        with connect("mine", quiet=True) as other:
            assert other.scheduler.address == client.scheduler.address
        assert client.status == "running"
    assert eventually(lambda: not is_alive(scheduler) and not is_alive(worker))
    assert list((folder / "clusters").iterdir()) == []


@pytest.mark.parametrize("victim", ["client", "scheduler"])
def test_nothing_is_left_when_it_is_killed(victim: str, folder: Path):
    script = (
        "import os, signal\nfrom af_kit.cluster import connect\n"
        "client = connect('local', n_workers=1, name='mine', quiet=True, security=True)\n"
        "print(client.cluster.entry.pid, *client.run(os.getpid).values(), flush=True)\nsignal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        scheduler, worker = map(int, process.stdout.readline().split())
        assert (folder / "clusters" / "mine" / "tls_worker_key.pem").exists()
        os.kill(process.pid if victim == "client" else scheduler, signal.SIGKILL)
        assert eventually(lambda: not is_alive(worker), within_s=30)
        assert eventually(lambda: not (folder / "clusters" / "mine").exists(), within_s=30)
        process.kill()


def test_an_idle_one_ends(folder: Path):
    with connect("local", n_workers=1, name="idle", detach=True, idle_timeout_s=2, quiet=True) as client:
        scheduler = client.cluster.entry.pid
    assert eventually(lambda: not is_alive(scheduler), within_s=60)
    assert eventually(lambda: list((folder / "clusters").iterdir()) == [])


def test_the_command_that_runs_until_its_cluster_ends():
    command = [Path(sys.executable).with_name("af-kit"), "cluster", "start", "local", "--name", "fore"]
    with subprocess.Popen([*command, "--n-workers", "1"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("fore: local, tcp://127.0.0.1:")
        with connect("fore", n_workers=1, quiet=True) as client:
            assert client.submit(sum, [1, 2]).result() == 3
        process.terminate()
        assert "fore has ended; its logs: " in process.stdout.read()
    assert process.returncode == 0
    assert registry.entries() == []


def test_a_failed_start_has_a_reason_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DASK_AF_KIT__CLUSTER__LOCAL__MEMORY", "much")
    import dask.config

    with (
        dask.config.set({"af_kit.cluster.local.memory": "much"}),
        pytest.raises(InputError, match=r"cluster\.local\.memory='much' is not a size"),
    ):
        connect("local", n_workers=1, name="never", quiet=True)
    assert eventually(lambda: list((folder / "clusters").iterdir()) == [])


def test_af_kit_worker_without_a_scheduler(closed_port: int, capsys: pytest.CaptureFixture[str]):
    assert main(["worker", f"tcp://127.0.0.1:{closed_port}", "--timeout-s", "0.1"]) == 2
    assert "refused" in capsys.readouterr().err
    assert main(["worker", "nobody"]) == 2
    assert "No cluster named 'nobody' runs" in capsys.readouterr().err
