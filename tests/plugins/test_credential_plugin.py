from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
import threading
from pathlib import Path

import cloudpickle
import pytest
from certificates import Authority, proxy, write
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.protocol import deserialize, serialize
from plugin_tools import look, looks, workers
from waiting import until

from af_kit.credentials.secret import SecretBytes
from af_kit.errors import AfKitError
from af_kit.plugins.credential_plugin import CredentialPlugin, SecretMessage
from af_kit.plugins.proxy import X509ProxyPlugin, send_proxy
from af_kit.plugins.tokens import TokenPlugin


def test_a_secret_message_goes_over_dasks_connections():
    secret = SecretMessage(b"hunter2")
    header, frames = serialize(secret)
    assert header["serializer"] == "dask"
    assert "hunter2" not in repr(header) + repr(secret)
    assert deserialize(header, frames) == secret == SecretBytes(b"hunter2")


def test_a_receiver_has_the_serializer_when_it_loads_the_type():
    header, frames = serialize(SecretMessage(b"hunter2"))
    code = (
        "import pickle, sys; from distributed.protocol import deserialize; "
        "header, frames = pickle.loads(sys.stdin.buffer.read()); print(deserialize(header, frames))"
    )
    content = pickle.dumps((header, [bytes(frame) for frame in frames]))
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (b"<SecretBytes: 7 bytes, not shown>\n", b"")


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps, lambda secret: cloudpickle.dumps(lambda: secret)])
def test_a_secret_message_is_not_pickled(dumps):
    with pytest.raises(TypeError, match="A secret is not pickled"):
        dumps(SecretMessage(b"hunter2"))


def test_a_plugin_contains_no_secret_and_always_pickles_the_same():
    for plugin in (X509ProxyPlugin, TokenPlugin):
        assert pickle.dumps(plugin()) == pickle.dumps(plugin())
        assert plugin.name.startswith("af-secret-")
        assert len(pickle.dumps(plugin())) < 200


def test_checkpoint_keys_leave_out_all_credential_plugins():
    assert all(plugin.name.startswith("af-secret-") for plugin in CredentialPlugin.__subclasses__())


def test_a_worker_with_another_version_of_the_kit_does_not_log_the_secret(tmp_path):
    """Dask writes the pickle of a plugin that a worker cannot load to the worker's log."""
    authority = Authority()
    good = proxy(authority.user())
    source = write(tmp_path / "x509up", good.pem())
    other = tmp_path / "other" / "af_kit" / "plugins"
    other.mkdir(parents=True)
    for path, text in (("../__init__.py", ""), ("__init__.py", ""), ("sizeof.py", "def register(sizeof): pass")):
        (other / path).write_text(text)
    command = f"-m distributed.cli.dask_worker --no-nanny --no-dashboard --host 127.0.0.1 --local-directory {tmp_path}"
    with (
        LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", local_directory=str(tmp_path)
        ) as cluster,
        Client(cluster) as client,
    ):
        send_proxy(client, source, cert_dir=authority.folder(tmp_path / "certificates"))
        worker = subprocess.run(
            [sys.executable, *command.split(), cluster.scheduler_address],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "other")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    output = worker.stdout + worker.stderr
    assert "Failed to deserialize" in output  # the danger is there
    assert not [line for line in good.secret_lines() if line in output]


def test_a_renewal_replaces_the_file_in_one_step_at_the_same_path(client, source, folder, alice):
    handle = send_proxy(client, source, cert_dir=folder, watch=False)
    paths = {item["path"] for item in looks(client)}

    def observe(dask_worker):
        """Start a thread in the worker that reads the file continuously."""
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
        handle.refresh()
        seen = looks(client)
        assert {item["content"] for item in seen} == {source.read_bytes()}
        assert {item["path"] for item in seen} == paths
    # Also if a worker receives the plugin twice, which happens to one that joins during the registration.
    plugin = X509ProxyPlugin()

    async def again(dask_worker):
        await dask_worker.plugin_add(plugin=plugin, name=plugin.name)

    client.run(again)
    assert {item["path"] for item in looks(client)} == paths
    assert {frozenset(seen) for seen in client.run(observed).values()} == {frozenset({(0o600, True)})}


def test_registering_the_plugin_again_does_nothing(client, source, folder):
    handle = send_proxy(client, source, cert_dir=folder, watch=False)
    paths = list(handle.workers.values())
    before = [Path(path).stat().st_ino for path in paths]
    assert client.register_plugin(X509ProxyPlugin()) == {}
    assert [Path(path).stat().st_ino for path in paths] == before
    assert set(handle.check().values()) == {"ok"}


class Witness(WorkerPlugin):
    """Tears down after the plugins that were registered before it, and records what is left then."""

    name = "witness"

    def __init__(self, report: Path) -> None:
        self.report = report

    def teardown(self, worker) -> None:
        folder = Path(worker.local_directory)
        self.report.write_text(f"{folder.exists()} {(folder / 'af-secrets').exists()}")


def test_a_worker_removes_the_file_when_it_ends(client, cluster, source, folder, tmp_path):
    send_proxy(client, source, cert_dir=folder, watch=False)
    report = tmp_path / "report"
    client.register_plugin(Witness(report))
    early = workers(client)
    cluster.scale(3)
    until(lambda: len(workers(client)) == 3, "the third worker")
    (late,) = workers(client) - early
    assert client.run(look, workers=[late])[late]["content"] == source.read_bytes()
    cluster.scale(2)
    # Dask also removes the worker's folder, but later.
    assert until(lambda: report.exists() and report.read_text(), "its end") == "True False"
    cluster.scheduler.worker_plugins.pop(Witness.name)


def test_a_worker_that_cannot_write_the_file_is_an_error(client, source, folder):
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


def test_a_plugin_without_content_logs_an_error(tmp_path, monkeypatch, caplog):
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
