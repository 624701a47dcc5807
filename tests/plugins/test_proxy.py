"""The proxy on real workers: early, late, restarted, adaptive; its file, its path, its renewal, its end."""

from __future__ import annotations

import gc
import os
import signal
import stat
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest
from certificates import Authority, proxy, write
from distributed import Client, LocalCluster, Security
from distributed.diagnostics.plugin import WorkerPlugin
from waiting import until

from af_kit.credentials import environment_variables
from af_kit.credentials.auth_diagnosis import diagnose_refusal
from af_kit.credentials.x509 import default_proxy, find_proxy
from af_kit.errors import AfKitError, InputError
from af_kit.plugins.credential_handle import _unencrypted, remove_credential
from af_kit.plugins.lifetime import lifetimes, shortfall
from af_kit.plugins.proxy import X509ProxyPlugin, send_proxy

VARIABLES = ("X509_USER_PROXY", "X509_CERT_DIR", "X509_CERT_BUNDLE", "XrdSecGSIUSERPROXY", "XrdSecGSICADIR")


@pytest.fixture(scope="module", autouse=True)
def no_credentials():
    """What this machine has must not decide these tests, here or on the workers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def alice(authority):
    return authority.user()


@pytest.fixture(scope="module")
def folder(authority, tmp_path_factory):
    return authority.folder(tmp_path_factory.mktemp("ca") / "certificates")


@pytest.fixture
def source(alice, tmp_path):
    """The user's proxy file."""
    return write(tmp_path / "x509up", proxy(alice).pem())


@pytest.fixture
def quick(monkeypatch):
    """The watcher looks often."""
    monkeypatch.setattr("af_kit.plugins.credential_watcher._CHECK_S", 0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    # A worker that is killed twice within these seconds is given up by LocalCluster, in the midst of its second start.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path_factory.mktemp("workers")),
            preload=["af_kit.plugins.xrootd_preload"],
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def client(cluster):
    """A client of two workers without credentials, and nothing left afterwards."""
    with Client(cluster) as client:
        yield client
        remove_credential(client, X509ProxyPlugin.name)
        cluster.scale(2)
        until(lambda: len(cluster.workers) == len(workers(client)) == 2, "the two workers of the beginning")


def workers(client) -> set[str]:
    """The addresses of the workers of now."""
    return set(client.scheduler_info(n_workers=-1)["workers"])


def look() -> dict:
    """How the proxy stands in the process that runs this."""
    named = os.environ.get("X509_USER_PROXY")
    path = Path(named or "/nowhere")
    if not path.exists():
        return {"path": named, "content": None}
    return {
        "path": named,
        "content": path.read_bytes(),
        "mode": stat.S_IMODE(path.stat().st_mode),
        "folder": stat.S_IMODE(path.parent.stat().st_mode),
        "authorities": os.path.realpath(os.environ["X509_CERT_DIR"]),
        "pid": os.getpid(),
    }


def looks(client) -> list[dict]:
    return list(client.run(look).values())


def test_every_worker_has_it(client, source, folder):
    sent = send_proxy(client, source, cert_dir=folder)
    seen = looks(client)
    assert len(seen) == 2
    assert {item["content"] for item in seen} == {source.read_bytes()}
    assert {(item["mode"], item["folder"], item["authorities"]) for item in seen} == {(0o600, 0o700, str(folder))}
    assert len({item["path"] for item in seen}) == 2  # each in its own folder
    assert set(sent.workers.values()) == {item["path"] for item in seen}
    assert set(sent.check().values()) == {"ok"}
    assert sent.info.who == "/DC=ch/DC=test/CN=Users/CN=alice"
    text = repr(sent)
    assert "X.509 proxy of /DC=ch/DC=test/CN=Users/CN=alice" in text
    assert "11 h 59 min left, on 2 workers and every later one, renewed from" in text


def test_a_worker_that_comes_later_has_it_in_its_first_task(client, cluster, source, folder):
    send_proxy(client, source, cert_dir=folder, watch=False)
    early = workers(client)
    cluster.scale(3)
    until(lambda: len(workers(client)) == 3, "the third worker")
    (late,) = workers(client) - early
    seen = client.submit(look, workers=[late], pure=False).result(timeout=60)
    assert (seen["content"], seen["mode"]) == (source.read_bytes(), 0o600)


def test_a_worker_that_was_killed_has_it_again(client, source, folder):
    send_proxy(client, source, cert_dir=folder, watch=False)
    before = {item["pid"]: item["path"] for item in looks(client)}
    pid, path = next(iter(before.items()))
    os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(client.run(os.getpid, on_error="ignore").values()) - {pid}) == 2, "its successor")
    new = [item for item in looks(client) if item["pid"] not in before]
    assert [(item["content"], item["mode"]) for item in new] == [(source.read_bytes(), 0o600)]
    assert new[0]["path"] != path
    until(lambda: not Path(path).exists(), "its nanny removes what the killed worker left")


def test_adaptive_workers_have_it_in_their_first_task(source, folder, tmp_path):
    with (
        LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path),
        ) as cluster,
        Client(cluster) as client,
    ):
        sent = send_proxy(client, source, cert_dir=folder)
        assert dict(sent.workers) == {}
        assert "on every later one" in repr(sent)
        cluster.adapt(minimum=0, maximum=2, interval="50ms")
        seen = client.gather([client.submit(look, pure=False) for _ in range(4)])
        assert {item["content"] for item in seen} == {source.read_bytes()}
        paths = {item["path"] for item in seen}
    assert not any(Path(path).exists() for path in paths)  # and gone with the workers


def test_a_renewal_replaces_it_at_the_same_path_at_one_stroke(client, source, folder, alice):
    sent = send_proxy(client, source, cert_dir=folder, watch=False)
    paths = {item["path"] for item in looks(client)}

    def observe(dask_worker):
        """A thread in the worker that looks at the file without a pause."""
        dask_worker.af_seen, dask_worker.af_end = set(), threading.Event()
        path = Path(os.environ["X509_USER_PROXY"])

        def run():
            while not dask_worker.af_end.is_set():
                try:
                    with path.open("rb") as file:
                        whole = file.read().count(b"-----END") == 3
                        dask_worker.af_seen.add((stat.S_IMODE(os.fstat(file.fileno()).st_mode), whole))
                except OSError as error:
                    dask_worker.af_seen.add(repr(error))

        threading.Thread(target=run, daemon=True).start()

    def observed(dask_worker):
        dask_worker.af_end.set()
        return dask_worker.af_seen

    client.run(observe)
    for _ in range(5):
        write(source, proxy(alice).pem())
        sent.refresh()
        seen = looks(client)
        assert {item["content"] for item in seen} == {source.read_bytes()}
        assert {item["path"] for item in seen} == paths
    # Also when a worker is given the plugin a second time, as happens to one that joins during the registration.
    plugin = X509ProxyPlugin()

    async def again(dask_worker):
        await dask_worker.plugin_add(plugin=plugin, name=plugin.name)

    client.run(again)
    assert {item["path"] for item in looks(client)} == paths
    assert {frozenset(seen) for seen in client.run(observed).values()} == {frozenset({(0o600, True)})}


def test_registering_the_plugin_again_touches_nothing(client, source, folder):
    sent = send_proxy(client, source, cert_dir=folder, watch=False)
    paths = list(sent.workers.values())
    before = [Path(path).stat().st_ino for path in paths]
    assert client.register_plugin(X509ProxyPlugin()) == {}
    assert [Path(path).stat().st_ino for path in paths] == before
    assert set(sent.check().values()) == {"ok"}


class Witness(WorkerPlugin):
    """Ends after the plugins that were registered before it, and writes down what it sees then."""

    name = "witness"

    def __init__(self, report: Path) -> None:
        self.report = report

    def teardown(self, worker) -> None:
        folder = Path(worker.local_directory)
        self.report.write_text(f"{folder.exists()} {(folder / 'af-secrets').exists()}")


def test_the_worker_removes_it_when_it_ends(client, cluster, source, folder, tmp_path):
    send_proxy(client, source, cert_dir=folder, watch=False)
    report = tmp_path / "report"
    client.register_plugin(Witness(report))
    early = workers(client)
    cluster.scale(3)
    until(lambda: len(workers(client)) == 3, "the third worker")
    (late,) = workers(client) - early
    assert client.run(look, workers=[late])[late]["content"] == source.read_bytes()
    cluster.scale(2)
    # Dask removes the worker's folder, too, but later.
    assert until(lambda: report.exists() and report.read_text(), "its end") == "True False"
    cluster.scheduler.worker_plugins.pop(Witness.name)


def test_remove_takes_it_off_everywhere(client, cluster, source, folder):
    sent = send_proxy(client, source, cert_dir=folder)
    paths = list(sent.workers.values())
    sent.remove()
    assert not sent.watching
    assert not any(Path(path).exists() for path in paths)
    assert {item["path"] for item in looks(client)} == {None}
    assert cluster.scheduler.extensions["variables"].variables[X509ProxyPlugin.name]["value"] is None
    assert lifetimes(client) == []
    sent.remove()  # once more does no harm
    assert set(sent.refresh().workers) == workers(client)


def test_an_expired_or_short_one_is_not_sent(client, cluster, alice, tmp_path, folder):
    expired = write(tmp_path / "expired", proxy(alice, -60).pem())
    with pytest.raises(InputError, match="expired 1 min ago"):
        send_proxy(client, expired, cert_dir=folder)
    short = write(tmp_path / "short", proxy(alice, 500).pem())
    with pytest.raises(InputError, match="only 8 min left"):
        send_proxy(client, short, cert_dir=folder)
    assert X509ProxyPlugin.name not in cluster.scheduler.worker_plugins
    assert {item["content"] for item in looks(client)} == {None}
    assert send_proxy(client, short, cert_dir=folder, min_lifetime_s=100).info.seconds_left < 500


def test_a_bad_renewal_leaves_the_workers_what_they_have(client, alice, source, folder):
    sent = send_proxy(client, source, cert_dir=folder, watch=False)
    good = source.read_bytes()
    write(source, proxy(alice, -60).pem())
    with pytest.raises(InputError, match="expired"):
        sent.refresh()
    assert {item["content"] for item in looks(client)} == {good}
    assert sent.info.seconds_left > 0


def test_the_watcher_sends_what_changes(client, alice, source, folder, quick, caplog):
    sent = send_proxy(client, source, cert_dir=folder)
    paths = {item["path"] for item in looks(client)}
    new = proxy(alice).pem()
    write(source, new)
    until(lambda: {item["content"] for item in looks(client)} == {new}, "the new proxy on all workers")
    assert {item["path"] for item in looks(client)} == paths
    # One that cannot be used, or none, is told once, and the workers keep theirs.
    write(source, proxy(alice, -60).pem())
    until(lambda: "expired 1 min ago" in caplog.text, "a warning")
    source.unlink()
    assert {item["content"] for item in looks(client)} == {new}
    # Its successor comes.
    newer = proxy(alice).pem()
    write(source, newer)
    until(lambda: {item["content"] for item in looks(client)} == {newer}, "its successor")
    assert caplog.text.count("keep the credential that they have") == 1
    assert sent.watching
    sent.stop()
    assert not sent.watching


@pytest.fixture
def clock(monkeypatch):
    """The kit's clock: ``clock.ahead_s`` moves it on."""
    clock = SimpleNamespace(ahead_s=0.0)
    clock.time = lambda: time.time() + clock.ahead_s
    monkeypatch.setattr("af_kit.credentials.credential.time", clock)
    monkeypatch.setattr("af_kit.plugins.lifetime.time", clock)
    return clock


def test_the_end_is_warned_of_once(client, alice, tmp_path, folder, quick, caplog, clock):
    send_proxy(client, write(tmp_path / "x509up", proxy(alice, 4000).pem()), cert_dir=folder)

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "af_kit.plugins.credential_watcher"]

    clock.ahead_s = 3500
    until(told, "the warning before the end")
    clock.ahead_s = 4100
    until(lambda: len(told()) == 2, "that of the end")
    before, after = told()
    assert "CN=alice" in before
    assert "expires in 8 min. Make a new one (`voms-proxy-init" in before
    assert "has expired: they can no longer open files" in after
    clock.ahead_s = 5000
    write(tmp_path / "x509up", proxy(alice, 6000).pem())  # and not again, until there is another one
    until(lambda: lifetimes(client)[0].seconds_left > 0, "the renewal")
    assert len(told()) == 2


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
    until(lambda: not watchers(), "the end of the watcher after its client was let go")


def test_two_clients_of_one_scheduler(client, cluster, authority, alice, source, folder, tmp_path):
    first = send_proxy(client, source, cert_dir=folder, watch=False)
    with Client(cluster.scheduler_address) as other, warnings.catch_warnings():
        warnings.simplefilter("error")
        write(source, proxy(alice).pem())
        second = send_proxy(other, source, cert_dir=folder, watch=False)  # the same person: nothing to be said
        assert set(second.check().values()) == {"ok"}
        assert set(first.check().values()) == {"a newer one, sent by another client"}
        assert {item["content"] for item in looks(client)} == {source.read_bytes()}
        bobs = write(tmp_path / "bob", proxy(authority.user("bob")).pem())
        with pytest.warns(UserWarning, match=r"The workers have the X.509 proxy of .*CN=alice; the one of .*CN=bob"):
            send_proxy(other, bobs, cert_dir=folder, watch=False)
    # What was sent outlives the client that sent it.
    assert {item["content"] for item in looks(client)} == {bobs.read_bytes()}


def test_how_long_it_lasts(client, alice, folder, tmp_path, clock):
    assert shortfall(client, 1e9) is None  # nothing was sent
    source = write(tmp_path / "x509up", proxy(alice, 4000).pem())
    send_proxy(client, source, cert_dir=folder, watch=False)
    (lifetime,) = lifetimes(client)
    assert 3900 < lifetime.seconds_left <= 4000
    assert shortfall(client, 3000) is None
    assert "expires in 1 h 6 min, but this run will take 3 h 0 min" in shortfall(client, 3 * 3600)
    clock.ahead_s = 5000
    assert "expired 16 min ago: they can no longer open files" in shortfall(client)


def test_no_authorities(client, cluster, source):
    with pytest.raises(InputError, match=r"2 of 2 workers find no .*/nowhere.*send_proxy\(client, cert_dir=...\)"):
        send_proxy(client, source, cert_dir="/nowhere")
    assert X509ProxyPlugin.name not in cluster.scheduler.worker_plugins


def test_the_sessions_own_authorities_are_a_hint(client, source, folder, monkeypatch):
    monkeypatch.setenv("X509_CERT_DIR", str(folder))
    send_proxy(client, source, watch=False)
    assert {item["authorities"] for item in looks(client)} == {str(folder)}


def test_only_a_bundle_is_told(client, authority, source, folder):
    bundle = next(folder.iterdir())
    with pytest.warns(UserWarning, match=r"one file only .*root://"):
        send_proxy(client, source, cert_dir=bundle, watch=False)


def test_a_worker_that_cannot_write_it(client, source, folder):
    def spoil(dask_worker):
        folder = Path(dask_worker.local_directory) / "af-secrets"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)

    def mend(dask_worker):
        (Path(dask_worker.local_directory) / "af-secrets").rmdir()

    bad = next(iter(workers(client)))
    client.run(spoil, workers=[bad])
    with pytest.raises(AfKitError, match=f"on 1 of 2 workers; on {bad}: PermissionError.*open to others"):
        send_proxy(client, source, cert_dir=folder, watch=False)
    (log,) = client.get_worker_logs(workers=[bad]).values()
    assert "could not be written" in str(log)
    client.run(mend, workers=[bad])
    assert set(send_proxy(client, source, cert_dir=folder, watch=False).check().values()) == {"ok"}


def test_a_proxy_that_others_can_read_is_told(client, alice, tmp_path, folder):
    source = write(tmp_path / "open", proxy(alice).pem(), mode=0o644)
    with pytest.warns(UserWarning, match=f"mode 0644.*chmod 600 {source}"):
        send_proxy(client, source, cert_dir=folder, watch=False)
    assert {item["mode"] for item in looks(client)} == {0o600}


def load_xrootds_gsi() -> None:
    """What the first login with a proxy does: XRootD reads its variables then, and never again."""
    import ctypes

    import XRootD

    plugins = [path for place in XRootD.__path__ for path in Path(place).parent.rglob("libXrdSecgsi-*.so")]
    ctypes.CDLL(str(plugins[0]))


@pytest.mark.skipif(default_proxy().exists(), reason="a real proxy is there, at which XRootD would look")
def test_a_worker_that_logged_on_before_the_proxy_came(client, source, folder):
    client.restart()  # the preload module settles the path before anything else
    reserved = client.run(lambda: os.environ["XrdSecGSIUSERPROXY"])  # noqa: SIM112 - its name
    own = client.run(lambda: os.environ["X509_CERT_DIR"])
    assert not any(Path(path).exists() for path in reserved.values())
    prepared, other = workers(client)
    client.run(lambda: os.environ.pop("XrdSecGSIUSERPROXY"), workers=[other])  # as on a worker without that module
    client.run(load_xrootds_gsi)
    with pytest.warns(UserWarning, match=rf"1 of 2 workers tried to log in before.*/tmp/x509up_u.*\['{other}'\]"):
        sent = send_proxy(client, source, cert_dir=folder, watch=False)
    assert {item["path"] for item in looks(client)} == set(reserved.values())
    assert {item["content"] for item in looks(client)} == {source.read_bytes()}
    assert sent.check() == {
        prepared: "ok",
        other: f"XRootD in this process keeps using {default_proxy()}: restart the worker",
    }
    assert client.run(lambda: os.environ["X509_CERT_DIR"])[prepared] == own[prepared]  # its name stays, too
    reasons = client.run(diagnose_refusal)
    assert f"keeps using {default_proxy()}" in reasons[other]
    assert "Valid here" in reasons[prepared]
    client.restart()  # which forgets all tasks, but not what was sent
    assert {item["content"] for item in looks(client)} == {source.read_bytes()}
    assert set(sent.check().values()) == {"ok"}


def test_workers_in_this_process_leave_its_environment_as_it_was(source, folder, tmp_path, monkeypatch):
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
        sent = send_proxy(client, cert_dir=folder)
        assert os.environ["X509_USER_PROXY"] in sent.workers.values()
        assert environment_variables.user_value("X509_USER_PROXY") == str(source)
        assert find_proxy() == source  # and not a worker's copy
        cluster.scale(1)
        until(lambda: len(cluster.workers) == 1, "one worker less")
        path = Path(os.environ["X509_USER_PROXY"])
        assert path.read_bytes() == source.read_bytes()
        assert "worker" in str(path)
    assert os.environ["X509_USER_PROXY"] == str(source)
    assert "X509_CERT_DIR" not in os.environ


def test_with_tls_and_what_is_said_without(source, folder, tmp_path):
    security = Security.temporary()
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            host="127.0.0.1",
            protocol="tls",
            security=security,
            dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path / "workers"),
        ) as cluster,
        Client(cluster, security=security) as client,
    ):
        sent = send_proxy(client, source, cert_dir=folder, watch=False)
        assert {item["content"] for item in looks(client)} == {source.read_bytes()}
        assert "encrypted" not in repr(sent)
    for address, clear in (("tcp://10.0.0.3:8786", True), ("tcp://127.0.0.1:8786", False), ("tls://10.0.0.3:1", False)):
        there = SimpleNamespace(scheduler=SimpleNamespace(address=address))
        assert ("NOT encrypted" in _unencrypted(there)) is clear


def test_what_is_not_a_client_of_a_running_cluster(client, cluster, source):
    with pytest.raises(
        InputError, match=r"send_proxy\(\) takes the Dask client that connect\(\) returns, not a NoneType"
    ):
        send_proxy(None, source)
    closed = Client(cluster)
    closed.close()
    with pytest.raises(InputError, match="this client is closed"):
        send_proxy(closed, source)


def test_the_plugin_alone_tells_that_nothing_was_sent(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("af_kit.plugins.credential_plugin._FETCH_TIMEOUT_S", 0.2)
    with (
        LocalCluster(
            n_workers=1, processes=False, dashboard_address="127.0.0.1:0", local_directory=str(tmp_path)
        ) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(X509ProxyPlugin())
        assert "X509_USER_PROXY" not in os.environ
    assert "nothing was sent: call send_proxy(client)" in caplog.text
