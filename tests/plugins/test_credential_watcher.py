from __future__ import annotations

import gc
import threading

import pytest
from certificates import proxy, write
from distributed import Client
from plugin_tools import looks
from waiting import until

from af_kit.errors import InputError
from af_kit.plugins.credential_handle import remove_credential
from af_kit.plugins.lifetime import lifetimes
from af_kit.plugins.proxy import X509ProxyPlugin, send_proxy


def test_a_changed_proxy_is_sent(client, alice, source, folder, quick, caplog):
    handle = send_proxy(client, source, cert_dir=folder)
    paths = {item["path"] for item in looks(client)}
    new = proxy(alice).pem()
    write(source, new)
    until(lambda: {item["content"] for item in looks(client)} == {new}, "the new proxy on all workers")
    assert {item["path"] for item in looks(client)} == paths
    # An unusable or missing file is warned about once, and the workers keep the proxy.
    write(source, proxy(alice, -60).pem())
    until(lambda: "expired 1 min ago" in caplog.text, "a warning")
    source.unlink()
    assert {item["content"] for item in looks(client)} == {new}
    # The next usable proxy is sent.
    newer = proxy(alice).pem()
    write(source, newer)
    until(lambda: {item["content"] for item in looks(client)} == {newer}, "the next proxy")
    assert caplog.text.count("keep the credential that they have") == 1
    assert handle.watching
    handle.stop()
    assert not handle.watching


def test_one_warning_before_the_expiry_and_one_after_it(client, alice, tmp_path, folder, quick, caplog, clock):
    send_proxy(client, write(tmp_path / "x509up", proxy(alice, 4000).pem()), cert_dir=folder)

    def warnings_logged() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "af_kit.plugins.credential_watcher"]

    clock.ahead_s = 3500
    until(warnings_logged, "the warning before the expiry")
    clock.ahead_s = 4100
    until(lambda: len(warnings_logged()) == 2, "the warning after the expiry")
    before, after = warnings_logged()
    assert "CN=alice" in before
    assert "expires in 8 min. Make a new one (`voms-proxy-init" in before
    assert "has expired: they can no longer open files" in after
    clock.ahead_s = 5000
    write(tmp_path / "x509up", proxy(alice, 6000).pem())  # no third warning before the renewal
    until(lambda: lifetimes(client)[0].seconds_left > 0, "the renewal")
    assert len(warnings_logged()) == 2


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "af-kit-credentials"]


def test_the_watcher_ends_with_its_client(cluster, source, folder, quick):
    until(lambda: not watchers(), "the end of the watchers of other tests")
    with Client(cluster) as client:
        first = send_proxy(client, source, cert_dir=folder)
        second = send_proxy(client, source, cert_dir=folder)
        assert not first.watching  # one per client
        assert second.watching
        assert len(watchers()) == 1
        remove_credential(client, X509ProxyPlugin.name)
    until(lambda: not watchers(), "the end of the watcher after its client was closed")
    assert not second.watching
    with pytest.raises(InputError, match="is closed: connect again"):
        second.refresh()


def test_the_watcher_keeps_no_client_alive(cluster, source, folder, quick):
    client = Client(cluster)
    send_proxy(client, source, cert_dir=folder)
    remove_credential(client, X509ProxyPlugin.name)
    client.close()
    del client
    gc.collect()
    until(lambda: not watchers(), "the end of the watcher after its client was deleted")
