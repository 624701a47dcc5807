"""Connecting to a running scheduler by its address."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import dask.config
import pytest
from distributed import LocalCluster, Security
from distributed.versions import VersionMismatchWarning

from af_kit.cluster.remote import client_at, from_file, parse
from af_kit.errors import ConnectError, InputError


def silence(line: str) -> None:
    pass


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp://host:8786", "tcp://host:8786"),
        ("host:8786", "tcp://host:8786"),
        ("tls://10.0.0.1:8786", "tls://10.0.0.1:8786"),
        ("tcp://[::1]:8786", "tcp://[::1]:8786"),
    ],
)
def test_addresses(text: str, address: str):
    assert str(parse(text)) == address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://host:8787/status", "dashboard"),
        ("tpc://host:8786", "Did you mean 'tcp'"),
        ("tcp://host", "no port"),
        ("tcp://:8786", "no host"),
        ("tcp://host:99999", "[Pp]ort"),
        ("tcp://host:many", "[Pp]ort"),
        ("inproc://1/2/3", "no protocol"),
    ],
)
def test_invalid_addresses(text: str, problem: str):
    with pytest.raises(InputError, match=problem):
        parse(text)


def test_tls_needs_certificates(secured: LocalCluster):
    with pytest.raises(InputError, match="needs certificates"):
        client_at(parse(secured.scheduler_address), security=None, timeout_s=1, say=silence)


def test_tls_uses_dasks_configuration(secured: LocalCluster, certificates: Security, tmp_path: Path):
    settings = {}
    for role, files in {
        "ca-file": "tls_ca_file",
        "client.cert": "tls_client_cert",
        "client.key": "tls_client_key",
    }.items():
        path = tmp_path / files
        path.write_text(getattr(certificates, files))
        settings[f"distributed.comm.tls.{role}"] = str(path)
    with (
        dask.config.set(settings),
        client_at(parse(secured.scheduler_address), security=None, timeout_s=5, say=silence) as client,
    ):
        assert client.scheduler.address.startswith("tls://")


def test_encryption_required_without_tls(running: LocalCluster, certificates: Security):
    with pytest.raises(InputError, match="give tls://"):
        client_at(parse(running.scheduler_address), security=certificates, timeout_s=1, say=silence)


def test_security_is_not_true(running: LocalCluster):
    with pytest.raises(InputError, match=r"distributed\.Security"):
        client_at(parse(running.scheduler_address), security=True, timeout_s=1, say=silence)


def test_a_workers_address(running: LocalCluster):
    (worker,) = running.scheduler.workers
    with pytest.raises(ConnectError, match="address of a worker"):
        client_at(parse(worker), security=None, timeout_s=1, say=silence)


def test_waiting_is_reported_once_and_ends(closed_port: int):
    lines: list[str] = []
    address = parse(f"tcp://127.0.0.1:{closed_port}")
    with pytest.raises(ConnectError, match=rf"No scheduler at {address}: nothing listens.*waited 0\.3 s.*Is the"):
        client_at(address, security=None, timeout_s=0.3, say=lines.append)
    assert len(lines) == 1
    assert lines[0].startswith(f"Waiting for the scheduler at {address}: nothing listens")


def test_a_scheduler_that_starts_later(closed_port: int):
    address = parse(f"tcp://127.0.0.1:{closed_port}")
    waiting = threading.Event()
    clusters: list[LocalCluster] = []

    def start() -> None:
        waiting.wait(10)
        clusters.append(
            LocalCluster(n_workers=0, processes=False, threads_per_worker=1, protocol="tcp",
                         scheduler_port=closed_port, dashboard_address="127.0.0.1:0")
        )  # fmt: skip

    thread = threading.Thread(target=start)
    thread.start()
    try:
        with client_at(address, security=None, timeout_s=20, say=lambda line: waiting.set()) as client:
            assert client.scheduler.address == str(address)
    finally:
        waiting.set()
        thread.join()
        for cluster in clusters:
            cluster.close()


def test_dasks_version_warning_is_suppressed(running: LocalCluster, recwarn: pytest.WarningsRecorder):
    client_at(parse(running.scheduler_address), security=None, timeout_s=5, say=silence).close()
    assert not [warning for warning in recwarn if issubclass(warning.category, VersionMismatchWarning)]


def test_scheduler_file(tmp_path: Path):
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"type": "Scheduler", "address": "tcp://127.0.0.1:8786"}))
    assert from_file(str(path), timeout_s=1, say=silence) == "tcp://127.0.0.1:8786"


def test_a_scheduler_file_that_is_written_later(tmp_path: Path):
    path = tmp_path / "scheduler.json"
    path.write_text('{"addr')  # half written

    def finish(line: str) -> None:
        assert "cannot be read" in line
        path.write_text('{"address": "tcp://127.0.0.1:8786"}')

    assert from_file(str(path), timeout_s=10, say=finish) == "tcp://127.0.0.1:8786"


@pytest.mark.parametrize(("content", "problem"), [(None, "does not exist"), ("[]", "cannot be read")])
def test_an_unusable_scheduler_file(tmp_path: Path, content: str | None, problem: str):
    path = tmp_path / "scheduler.json"
    if content is not None:
        path.write_text(content)
    began = time.monotonic()
    with pytest.raises(ConnectError, match=f"{path} {problem}.*--scheduler-file"):
        from_file(str(path), timeout_s=0.2, say=silence)
    assert time.monotonic() - began >= 0.2
