from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from certificates import proxy, write
from distributed import Client
from plugin_tools import looks, workers

from af_kit.errors import InputError
from af_kit.plugins.credential_handle import _unencrypted
from af_kit.plugins.lifetime import lifetimes
from af_kit.plugins.proxy import X509ProxyPlugin, send_proxy


def test_remove_removes_the_credential_everywhere(client, cluster, source, folder):
    handle = send_proxy(client, source, cert_dir=folder)
    paths = list(handle.workers.values())
    handle.remove()
    assert not handle.watching
    assert not any(Path(path).exists() for path in paths)
    assert {item["path"] for item in looks(client)} == {None}
    assert cluster.scheduler.extensions["variables"].variables[X509ProxyPlugin.name]["value"] is None
    assert lifetimes(client) == []
    handle.remove()  # a second call is harmless
    assert set(handle.refresh().workers) == workers(client)


def test_after_a_failed_renewal_the_workers_keep_the_credential(client, alice, source, folder):
    handle = send_proxy(client, source, cert_dir=folder, watch=False)
    good = source.read_bytes()
    write(source, proxy(alice, -60).pem())
    with pytest.raises(InputError, match="expired"):
        handle.refresh()
    assert {item["content"] for item in looks(client)} == {good}
    assert handle.info.seconds_left > 0


def test_two_clients_of_one_scheduler(client, cluster, authority, alice, source, folder, tmp_path):
    first = send_proxy(client, source, cert_dir=folder, watch=False)
    with Client(cluster.scheduler_address) as other, warnings.catch_warnings():
        warnings.simplefilter("error")
        write(source, proxy(alice).pem())
        second = send_proxy(other, source, cert_dir=folder, watch=False)  # the same person: no warning
        assert set(second.check().values()) == {"ok"}
        assert set(first.check().values()) == {"a newer one, sent by another client"}
        assert {item["content"] for item in looks(client)} == {source.read_bytes()}
        bobs = write(tmp_path / "bob", proxy(authority.user("bob")).pem())
        with pytest.warns(UserWarning, match=r"The workers have the X.509 proxy of .*CN=alice; the one of .*CN=bob"):
            send_proxy(other, bobs, cert_dir=folder, watch=False)
    # The credential outlives the client that sent it.
    assert {item["content"] for item in looks(client)} == {bobs.read_bytes()}


def test_anything_but_a_running_client_is_refused(client, cluster, source):
    with pytest.raises(
        InputError, match=r"send_proxy\(\) takes the Dask client that connect\(\) returns, not a NoneType"
    ):
        send_proxy(None, source)
    closed = Client(cluster)
    closed.close()
    with pytest.raises(InputError, match="this client is closed"):
        send_proxy(closed, source)


@pytest.mark.parametrize(
    ("address", "unencrypted"),
    [("tcp://10.0.0.3:8786", True), ("tcp://127.0.0.1:8786", False), ("tls://10.0.0.3:1", False)],
)
def test_an_unencrypted_connection_is_mentioned(address, unencrypted):
    client = SimpleNamespace(scheduler=SimpleNamespace(address=address))
    assert ("NOT encrypted" in _unencrypted(client)) is unencrypted
