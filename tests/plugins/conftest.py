"""Fixtures of the tests of plugins: a cluster of two workers, and credentials to send."""

from __future__ import annotations

import time
from types import SimpleNamespace

import dask
import pytest
from certificates import X509_VARIABLES, proxy, write
from distributed import Client
from plugin_tools import local_cluster, workers
from waiting import until

from af_kit.plugins import files as files_module
from af_kit.plugins.credential_handle import remove_credential
from af_kit.plugins.files import remove_files
from af_kit.plugins.proxy import X509ProxyPlugin


@pytest.fixture(scope="module", autouse=True)
def no_credentials():
    """Hide the credentials of this machine from the tests and the workers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in X509_VARIABLES:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def folder(authority, tmp_path_factory):
    return authority.folder(tmp_path_factory.mktemp("ca") / "certificates")


@pytest.fixture
def source(alice, tmp_path):
    """The user's proxy file."""
    return write(tmp_path / "x509up", proxy(alice).pem())


@pytest.fixture
def quick(monkeypatch):
    """Make the watcher check often."""
    monkeypatch.setattr("af_kit.plugins.credential_watcher._CHECK_S", 0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    # LocalCluster gives up a worker that is killed twice within this time, in the middle of its second start.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        local_cluster(
            tmp_path_factory.mktemp("workers"), n_workers=2, preload=["af_kit.plugins.xrootd_preload"]
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def client(cluster):
    """A client of two workers; whatever a test sends is removed afterwards."""
    with Client(cluster) as client:
        yield client
        remove_credential(client, X509ProxyPlugin.name)
        remove_files(client)
        files_module._sent.clear()
        cluster.scale(2)
        until(lambda: len(cluster.workers) == len(workers(client)) == 2, "the two original workers")


@pytest.fixture
def clock(monkeypatch):
    """The kit's clock, which is ``clock.ahead_s`` ahead."""
    clock = SimpleNamespace(ahead_s=0.0)
    clock.time = lambda: time.time() + clock.ahead_s
    monkeypatch.setattr("af_kit.credentials.credential.time", clock)
    monkeypatch.setattr("af_kit.plugins.lifetime.time", clock)
    return clock
