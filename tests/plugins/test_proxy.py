from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from certificates import proxy, write
from distributed import Client, LocalCluster, Security
from plugin_tools import local_cluster, look, looks, workers
from waiting import until

from af_kit.credentials import environment_variables
from af_kit.credentials.auth_diagnosis import diagnose_refusal
from af_kit.credentials.x509 import default_proxy, find_proxy
from af_kit.errors import InputError
from af_kit.plugins.proxy import X509ProxyPlugin, send_proxy


def test_every_worker_has_the_proxy(client, source, folder):
    handle = send_proxy(client, source, cert_dir=folder)
    seen = looks(client)
    assert len(seen) == 2
    assert {item["content"] for item in seen} == {source.read_bytes()}
    assert {(item["mode"], item["folder"], item["authorities"]) for item in seen} == {(0o600, 0o700, str(folder))}
    assert len({item["path"] for item in seen}) == 2  # one folder per worker
    assert set(handle.workers.values()) == {item["path"] for item in seen}
    assert set(handle.check().values()) == {"ok"}
    assert handle.info.who == "/DC=ch/DC=test/CN=Users/CN=alice"
    text = repr(handle)
    assert "X.509 proxy of /DC=ch/DC=test/CN=Users/CN=alice" in text
    assert "11 h 59 min left, on 2 workers and every later one, renewed from" in text


def test_a_later_worker_has_the_proxy_in_its_first_task(client, cluster, source, folder):
    send_proxy(client, source, cert_dir=folder, watch=False)
    early = workers(client)
    cluster.scale(3)
    until(lambda: len(workers(client)) == 3, "the third worker")
    (late,) = workers(client) - early
    seen = client.submit(look, workers=[late], pure=False).result(timeout=60)
    assert (seen["content"], seen["mode"]) == (source.read_bytes(), 0o600)


def test_the_successor_of_a_killed_worker_has_the_proxy(client, source, folder):
    send_proxy(client, source, cert_dir=folder, watch=False)
    before = {item["pid"]: item["path"] for item in looks(client)}
    pid, path = next(iter(before.items()))
    os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(client.run(os.getpid, on_error="ignore").values()) - {pid}) == 2, "the next proxy")
    new = [item for item in looks(client) if item["pid"] not in before]
    assert [(item["content"], item["mode"]) for item in new] == [(source.read_bytes(), 0o600)]
    assert new[0]["path"] != path
    until(lambda: not Path(path).exists(), "the nanny removes what the killed worker left")


def test_adaptive_workers_have_the_proxy_in_their_first_task(source, folder, tmp_path):
    with (
        local_cluster(tmp_path, n_workers=0) as cluster,
        Client(cluster) as client,
    ):
        handle = send_proxy(client, source, cert_dir=folder)
        assert dict(handle.workers) == {}
        assert "on every later one" in repr(handle)
        cluster.adapt(minimum=0, maximum=2, interval="50ms")
        seen = client.gather([client.submit(look, pure=False) for _ in range(4)])
        assert {item["content"] for item in seen} == {source.read_bytes()}
        paths = {item["path"] for item in seen}
    assert not any(Path(path).exists() for path in paths)  # removed with the workers


def test_a_proxy_that_has_expired_or_expires_soon_is_not_sent(client, cluster, alice, tmp_path, folder):
    expired = write(tmp_path / "expired", proxy(alice, -60).pem())
    with pytest.raises(InputError, match="expired 1 min ago"):
        send_proxy(client, expired, cert_dir=folder)
    short = write(tmp_path / "short", proxy(alice, 500).pem())
    with pytest.raises(InputError, match="only 8 min left"):
        send_proxy(client, short, cert_dir=folder)
    assert X509ProxyPlugin.name not in cluster.scheduler.worker_plugins
    assert {item["content"] for item in looks(client)} == {None}
    assert send_proxy(client, short, cert_dir=folder, min_lifetime_s=100).info.seconds_left < 500


def test_workers_without_ca_certificates_are_an_error(client, cluster, source):
    with pytest.raises(InputError, match=r"2 of 2 workers find no .*/nowhere.*send_proxy\(client, cert_dir=...\)"):
        send_proxy(client, source, cert_dir="/nowhere")
    assert X509ProxyPlugin.name not in cluster.scheduler.worker_plugins


def test_workers_also_try_the_sessions_ca_folder(client, source, folder, monkeypatch):
    monkeypatch.setenv("X509_CERT_DIR", str(folder))
    send_proxy(client, source, watch=False)
    assert {item["authorities"] for item in looks(client)} == {str(folder)}


def test_a_ca_bundle_without_a_folder_is_warned_about(client, authority, source, folder):
    bundle = next(folder.iterdir())
    with pytest.warns(UserWarning, match=r"one file only .*root://"):
        send_proxy(client, source, cert_dir=bundle, watch=False)


def test_a_proxy_that_others_can_read_is_warned_about(client, alice, tmp_path, folder):
    source = write(tmp_path / "open", proxy(alice).pem(), mode=0o644)
    with pytest.warns(UserWarning, match=f"mode 0644.*chmod 600 {source}"):
        send_proxy(client, source, cert_dir=folder, watch=False)
    assert {item["mode"] for item in looks(client)} == {0o600}


def load_xrootds_gsi() -> None:
    """Do what the first login with a proxy does: XRootD then reads its variables, and never again."""
    import ctypes

    import XRootD

    plugins = [path for place in XRootD.__path__ for path in Path(place).parent.rglob("libXrdSecgsi-*.so")]
    ctypes.CDLL(str(plugins[0]))


@pytest.mark.skipif(default_proxy().exists(), reason="XRootD would use the real proxy of this machine")
def test_a_worker_that_logged_in_before_the_proxy_arrived(client, source, folder):
    client.restart()  # the preload module fixes the paths first
    reserved = client.run(lambda: os.environ["XrdSecGSIUSERPROXY"])  # noqa: SIM112 - its name
    own = client.run(lambda: os.environ["X509_CERT_DIR"])
    assert not any(Path(path).exists() for path in reserved.values())
    prepared, other = workers(client)
    client.run(lambda: os.environ.pop("XrdSecGSIUSERPROXY"), workers=[other])  # like on a worker without that module
    client.run(load_xrootds_gsi)
    with pytest.warns(UserWarning, match=rf"1 of 2 workers tried to log in before.*/tmp/x509up_u.*\['{other}'\]"):
        handle = send_proxy(client, source, cert_dir=folder, watch=False)
    assert {item["path"] for item in looks(client)} == set(reserved.values())
    assert {item["content"] for item in looks(client)} == {source.read_bytes()}
    assert handle.check() == {
        prepared: "ok",
        other: f"XRootD in this process keeps using {default_proxy()}: restart the worker",
    }
    assert client.run(lambda: os.environ["X509_CERT_DIR"])[prepared] == own[prepared]  # the link keeps its path, too
    reasons = client.run(diagnose_refusal)
    assert f"keeps using {default_proxy()}" in reasons[other]
    assert "Valid here" in reasons[prepared]
    client.restart()  # this forgets all tasks, but not the proxy
    assert {item["content"] for item in looks(client)} == {source.read_bytes()}
    assert set(handle.check().values()) == {"ok"}


def test_workers_in_this_process_restore_its_environment(source, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("X509_USER_PROXY", str(source))
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path / "workers"),
        ) as cluster,
        Client(cluster) as client,
    ):
        handle = send_proxy(client, cert_dir=folder)
        assert os.environ["X509_USER_PROXY"] in handle.workers.values()
        assert environment_variables.user_value("X509_USER_PROXY") == str(source)
        assert find_proxy() == source  # not a worker's copy
        cluster.scale(1)
        until(lambda: len(cluster.workers) == 1, "one worker less")
        path = Path(os.environ["X509_USER_PROXY"])
        assert path.read_bytes() == source.read_bytes()
        assert "worker" in str(path)
    assert os.environ["X509_USER_PROXY"] == str(source)
    assert "X509_CERT_DIR" not in os.environ


def test_an_encrypted_connection(source, folder, tmp_path):
    security = Security.temporary()
    with (
        local_cluster(tmp_path / "workers", n_workers=1, protocol="tls", security=security) as cluster,
        Client(cluster, security=security) as client,
    ):
        handle = send_proxy(client, source, cert_dir=folder, watch=False)
        assert {item["content"] for item in looks(client)} == {source.read_bytes()}
        assert "encrypted" not in repr(handle)
