"""Clusters for these tests, all on 127.0.0.1: one that the kit starts, and one that is already running."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from distributed import Client, LocalCluster, Security

from af_kit.cluster import connect


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """Keep the machine's settings and its user's clusters out of these tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    for name in ("DASK_SCHEDULER_ADDRESS", "JUPYTERHUB_SERVICE_PREFIX"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """``connect("local", n_workers=2)``; tests do not change it."""
    with connect("local", n_workers=2, quiet=True) as client:
        yield client


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    """A running scheduler with one worker (a thread of this process) and no TLS."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def certificates() -> Security:
    return Security.temporary()


@pytest.fixture(scope="module")
def secured(certificates: Security) -> Iterator[LocalCluster]:
    """The same with TLS."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tls",
        security=certificates,
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield cluster


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], object]], int]]:
    """``serve(answer)`` listens on a free port, calls ``answer`` with each connection, and returns the port."""
    servers: list[socket.socket] = []

    def serve(answer: Callable[[socket.socket], object]) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        connections = []

        def loop() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection)  # keeps it open until ``answer`` closes it
                answer(connection)

        threading.Thread(target=loop, daemon=True).start()
        return server.getsockname()[1]

    yield serve
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
