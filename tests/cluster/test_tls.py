"""One option turns TLS on between client, scheduler and workers; who has no certificate of this cluster stays out."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from distributed import Client, Security

from af_kit.cluster.connect import connect
from af_kit.errors import ConnectError, InputError


@pytest.fixture(scope="module")
def secured() -> Iterator[Client]:
    with connect("local", n_workers=2, security=True, dashboard=False, quiet=True) as client:
        yield client


def test_all_connections_are_encrypted(secured: Client) -> None:
    assert secured.scheduler.address.startswith("tls://")
    workers = secured.scheduler_info()["workers"]
    assert len(workers) == 2
    assert all(address.startswith("tls://") for address in workers)
    assert secured.submit(sum, [1, 2, 3]).result() == 6


def test_results_pass_from_worker_to_worker(secured: Client) -> None:
    first, second = secured.scheduler_info()["workers"]
    number = secured.submit(pow, 2, 10, workers=[first])
    assert secured.submit(pow, number, 2, workers=[second]).result() == 2**20


def test_a_worker_that_was_killed_comes_back_with_its_certificate(secured: Client) -> None:
    address, pid = next(iter(secured.run(os.getpid).items()))
    os.kill(pid, signal.SIGKILL)
    secured.wait_for_workers(2, timeout=30)
    found = secured.submit(os.getpid, pure=False).result()
    assert found != pid
    assert address.startswith("tls://")


def test_without_a_certificate_nobody_gets_in(secured: Client) -> None:
    port = secured.scheduler.address.rpartition(":")[2]
    with pytest.raises(ConnectError, match="TLS"):
        connect(f"tcp://127.0.0.1:{port}", timeout_s=5, quiet=True)
    with pytest.raises(InputError, match="needs certificates"):
        connect(f"tls://127.0.0.1:{port}", timeout_s=5, quiet=True)


def test_a_certificate_of_another_authority_is_refused(secured: Client) -> None:
    with pytest.raises(ConnectError, match=r"authority|certificate"):
        connect(secured.scheduler.address, security=Security.temporary(), timeout_s=5, quiet=True)


def test_with_the_clusters_own_certificate_a_second_client_is_let_in(secured: Client) -> None:
    with connect(secured.scheduler.address, security=secured.security, timeout_s=20, quiet=True) as second:
        assert second.submit(sum, [4, 5]).result() == 9


def test_the_keys_show_in_no_repr(secured: Client) -> None:
    key = secured.security.tls_client_key
    assert "PRIVATE KEY" in key
    body = key.splitlines()[1]
    shown = f"{secured!r} {secured.cluster!r} {secured.security!r} {secured._repr_html_()} {secured.scheduler_info()}"
    assert body not in shown
