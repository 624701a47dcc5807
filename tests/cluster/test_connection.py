"""The ways in which ``connect`` gets a client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from distributed import Client, LocalCluster, Security

from af_kit.cluster import connect
from af_kit.cluster.connection import at_close
from af_kit.errors import ConnectError


def test_address_with_tls(secured: LocalCluster, certificates: Security):
    with connect(secured.scheduler_address, security=certificates, quiet=True) as client:
        assert client.submit(sum, [1, 2]).result() == 3


def test_scheduler_file(running: LocalCluster, tmp_path: Path):
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": running.scheduler_address}))
    with connect(str(path), quiet=True) as client:
        assert client.scheduler.address == running.scheduler_address


def test_a_given_cluster_is_used_and_left_running(running: LocalCluster):
    with connect(running, quiet=True) as client:
        assert client.cluster is running
    assert running.status.name == "running"


def test_a_given_client_is_used_as_it_is(running: LocalCluster):
    with Client(running) as mine:
        assert connect(mine, quiet=True) is mine
        with pytest.raises(ConnectError):
            connect(mine, n_workers=5, timeout_s=0.1, quiet=True)
        assert mine.status == "running"  # not ours to close
    with pytest.raises(ConnectError, match="closed"):
        connect(mine)


def test_an_action_at_close_is_called_once(running: LocalCluster):
    """A closed client closes again when it is garbage-collected, perhaps in a thread that starts a loop."""
    called = []
    client = connect(running.scheduler_address, quiet=True)
    at_close(client, lambda: called.append(client.status))
    client.close()
    client.close()
    assert called == ["closed"]
