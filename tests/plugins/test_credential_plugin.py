from __future__ import annotations

import os
import pickle
import subprocess
import sys

import cloudpickle
import pytest
from certificates import Authority, proxy, write
from distributed import Client, LocalCluster
from distributed.protocol import deserialize, serialize

from af_kit.credentials.secret import SecretBytes
from af_kit.plugins.credential_plugin import CredentialPlugin, SecretMessage
from af_kit.plugins.proxy import X509ProxyPlugin, send_proxy
from af_kit.plugins.tokens import TokenPlugin


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    for name in ("X509_USER_PROXY", "X509_CERT_DIR", "XrdSecGSIUSERPROXY"):
        monkeypatch.delenv(name, raising=False)


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
