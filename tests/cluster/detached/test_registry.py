"""The registry: folders and names of clusters, and the removal of those that were killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.config
import pytest

from af_kit.cluster.detached import certificates, registry
from af_kit.cluster.detached.registry import Entry
from af_kit.cluster.processes import birth
from af_kit.errors import ConnectError, InputError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "af_kit"


def entry(name: str | None = "big", **values: Any) -> Entry:
    """Enter a cluster of this process in the registry."""
    name, job_name, folder, logs = registry.reserve(name, "slurm")
    made = Entry(
        name=name,
        backend="slurm",
        job_name=job_name,
        address="tls://127.0.0.1:1234",
        dashboard="",
        host=socket.gethostname(),
        pid=os.getpid(),
        born=birth(os.getpid()) or 0,
        started=1.0,
        detached=True,
        idle_timeout_s=None,
        folder=str(folder),
        logs=str(logs),
    )
    made = replace(made, **values)
    registry.save(made)
    return made


def test_found_by_name_and_by_address():
    big = entry()
    assert registry.find("big") == big
    assert registry.at("tls://127.0.0.1:1234") == big
    assert registry.at("tls://127.0.0.1:1235") is None
    with pytest.raises(ConnectError, match=r"No cluster named 'bug' runs\. Did you mean 'big'"):
        registry.find("bug")


def test_only_its_owner_can_read_it(folder: Path):
    made = entry()
    paths = certificates.write(True, Path(made.folder), by_default=False)
    assert set(map(os.path.dirname, paths.values())) == {made.folder}
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert certificates.read(paths) is not None
    assert (
        certificates.write(None, folder, by_default=False) == {} == certificates.write(False, folder, by_default=True)
    )
    assert certificates.read({}) is None
    with pytest.raises(InputError, match="security='yes'"):
        certificates.write("yes", folder, by_default=True)


def test_a_name_is_taken_while_its_cluster_runs():
    entry()
    with pytest.raises(InputError, match="named 'big' exists already"):
        registry.reserve("big", "slurm")


def test_a_name_is_free_again_when_its_cluster_was_killed():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        old = entry(pid=process.pid, born=birth(process.pid))
        assert registry.find("big") == old
        process.communicate()
    assert registry.entries() == []
    assert not Path(old.folder).exists()
    new = entry()
    assert new.job_name != old.job_name  # else the guard of the old one would cancel the new one's jobs


def test_another_process_with_its_pid_is_not_it():
    entry(born=1)
    assert registry.entries() == []


def test_a_cluster_on_another_machine_is_checked_by_its_port(closed_port: int):
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = entry(host="elsewhere", address=f"tls://127.0.0.1:{server.getsockname()[1]}", pid=1, born=1)
        assert registry.find("big") == made
    gone = replace(made, address=f"tls://127.0.0.1:{closed_port}")
    registry.save(gone)
    assert registry.entries() == []
    assert Path(gone.folder).exists()  # perhaps only the connection is blocked


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 41, "tcp://x", 5])
def test_invalid_names(name: Any):
    with pytest.raises(InputError, match="give a name of letters"):
        registry.check_name(name)


def test_logs_stay_and_the_oldest_go(folder: Path):
    with dask.config.set({"af_kit.cluster.keep_logs": 2}):
        made = []
        for number in range(4):
            made.append(entry(f"c{number}"))
            os.utime(made[-1].logs, (number, number))
            registry.remove(made[-1])
    assert [Path(one.logs).exists() for one in made] == [False, False, True, True]
    assert registry.log_folder("c3") == Path(made[3].logs)
    with pytest.raises(InputError, match="no logs of a cluster named 'c9'"):
        registry.log_folder("c9")


def test_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    with dask.config.set({"af_kit.cluster.folder": "$SCRATCH/af_kit"}):
        assert registry.base() == tmp_path / "scratch" / "af_kit"
