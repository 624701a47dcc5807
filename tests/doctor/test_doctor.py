"""The doctor, in conditions that are made on the spot."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dask
import pytest
from certificates import Authority, attributes, jwt, pem, proxy, write
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

import af_kit as af
from af_kit.cli import main
from af_kit.doctor.findings import Diagnosis, Finding
from af_kit.errors import InputError

GROUPS = ["configuration", "credentials", "storage", "this machine", "the site"]


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The machine's own settings must not decide these tests."""
    for name in list(os.environ):
        if name.startswith(("X509_", "BEARER_", "XrdSec", "JUPYTERHUB_", "JUPYTER_IMAGE", "KUBERNETES_", "DASK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "no-proxy-here"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no batch systems


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def of(diagnosis: Diagnosis, check: str) -> Finding:
    """The one finding of a check."""
    (finding,) = [finding for finding in diagnosis.findings if finding.check == check]
    return finding


def all_words(diagnosis: Diagnosis) -> str:
    return str(diagnosis) + diagnosis.to_json() + diagnosis._repr_html_()


# ------------------------------------------------------------------------------------------------------- credentials


def test_a_good_proxy(authority, tmp_path, monkeypatch):
    until = datetime.now(UTC) + timedelta(hours=10)
    holder = proxy(authority.user(), voms=attributes("cms", ["/cms/Role=NULL"], until))
    monkeypatch.setenv("X509_USER_PROXY", str(write(tmp_path / "x509", holder.pem())))
    monkeypatch.setenv("X509_CERT_DIR", str(authority.folder(tmp_path / "ca")))
    found = af.doctor()
    assert of(found, "X509_CERT_DIR").state == of(found, "X.509 proxy").state == of(found, "VO").state == "ok"
    assert "CN=alice" in of(found, "X.509 proxy").seen
    assert of(found, "VO").seen == "cms: /cms/Role=NULL"
    assert not [line for line in holder.secret_lines() if line in all_words(found)]


def test_a_proxy_that_has_expired_or_soon_will(authority, tmp_path, monkeypatch):
    monkeypatch.setenv("X509_USER_PROXY", str(write(tmp_path / "x509", proxy(authority.user(), -60).pem())))
    expired = of(af.doctor(), "X.509 proxy")
    assert expired.state == "problem"
    assert "expired" in expired.seen
    assert "voms-proxy-init" in expired.advice
    write(tmp_path / "x509", proxy(authority.user(), 1200).pem())
    assert of(af.doctor(), "X.509 proxy").state == "warning"
    with dask.config.set({"af_kit.doctor.min_lifetime_s": 600}):
        assert of(af.doctor(), "X.509 proxy").state == "ok"


def test_a_proxy_without_vo_that_others_can_read(authority, tmp_path, monkeypatch):
    place = write(tmp_path / "x509", proxy(authority.user()).pem(), mode=0o644)
    monkeypatch.setenv("X509_USER_PROXY", str(place))
    found = af.doctor()
    seen = [(f.check, f.state) for f in found.findings if f.check in ("X.509 proxy", "VO")]
    assert seen == [("X.509 proxy", "ok"), ("X.509 proxy", "warning"), ("VO", "warning")]
    assert f"chmod 600 {place}" in str(found)


def test_a_proxy_that_is_named_and_not_there_and_one_that_is_none(tmp_path, monkeypatch):
    assert of(af.doctor(), "X.509 proxy").state == "problem"
    monkeypatch.setenv("X509_USER_PROXY", str(write(tmp_path / "x509", b"nothing")))
    assert "is not an X.509 proxy" in of(af.doctor(), "X.509 proxy").seen


def test_tokens(tmp_path, monkeypatch):
    assert of(af.doctor(), "bearer token").state == "ok"
    token = jwt(3000)
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(write(tmp_path / "token", token)))
    found = af.doctor()
    assert of(found, "bearer token").state == "ok"
    assert "storage.read:/" in of(found, "bearer token").seen
    assert token.decode() not in all_words(found)
    write(tmp_path / "token", jwt(-10))
    assert of(af.doctor(), "bearer token").state == "problem"


def revocations(authority: Authority, until: datetime) -> bytes:
    begin = until - timedelta(days=30)
    builder = x509.CertificateRevocationListBuilder(authority.name, begin, until)
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_authorities_and_their_revocation_lists(authority, tmp_path, monkeypatch):
    folder = authority.folder(tmp_path / "ca")
    monkeypatch.setenv("X509_CERT_DIR", str(folder))
    now = datetime.now(UTC)
    (folder / "0a1b2c3d.r0").write_bytes(revocations(authority, now + timedelta(days=3)))
    assert of(af.doctor(), "CRLs").state == "ok"
    (folder / "0a1b2c3d.r0").write_bytes(revocations(authority, now - timedelta(days=3)))
    assert of(af.doctor(), "CRLs").state == "warning"
    (folder / "0a1b2c3d.0").write_bytes(pem(authority.user(seconds=-10).certificate))
    assert "all expired" in of(af.doctor(), "X509_CERT_DIR").seen
    (folder / "0a1b2c3d.0").unlink()
    assert of(af.doctor(), "X509_CERT_DIR").state == "problem"


# ----------------------------------------------------------------------------------------------------------- storage


def test_a_file_is_opened(tmp_path):
    assert "none is configured" in of(af.doctor(), "one file opened").seen
    sample = Path(__file__).parents[1] / "samples" / "plain_zlib.root"
    assert "a ROOT file" in of(af.doctor(open=str(sample)), "one file opened").seen
    with dask.config.set({"af_kit.doctor.test_file": str(tmp_path / "nowhere.root")}):
        found = of(af.doctor(), "one file opened")
    assert found.state == "problem"
    assert "nowhere.root" in found.seen


def test_a_server_that_is_silent_hides_nothing(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        dask.config.set({"af_kit.doctor.check_s": 4}),
    ):
        found = af.doctor(open=f"root://127.0.0.1:{server.getsockname()[1]}//file.root")
    assert of(found, "one file opened").state == "problem"
    assert [group for group, _ in found.groups()] == GROUPS
    assert of(found, "home").state in ("ok", "warning")


# ------------------------------------------------------------------------------------------- machine and configuration


def test_a_disk_that_is_nearly_full():
    with dask.config.set({"af_kit.doctor.free_space": "900 PB"}):
        found = af.doctor()
    assert {of(found, check).state for check in ("home", "scratch", "Dask's local directory")} == {"warning"}


def test_memory_that_is_not_there():
    with dask.config.set({"af_kit.cluster.local": {"memory": "1 TB", "n_workers": 8}}):
        assert "8 workers" in of(af.doctor(), "memory").seen


def test_a_key_that_nobody_reads_and_a_value_that_nobody_understands():
    with dask.config.set({"af_kit.clutser": {"kind": "local"}, "af_kit.doctor.free_space": "much"}):
        found = af.doctor()
    assert "Did you mean 'cluster'?" in of(found, "af_kit's keys").seen
    assert "it could not be checked" in of(found, "disk").seen
    assert of(found, "memory").state == "ok"  # and the others go on
    assert [group for group, _ in found.groups()] == GROUPS


# ---------------------------------------------------------------------------------------------------------- the site


def test_a_batch_system_that_is_configured_and_absent():
    assert of(af.doctor(), "batch systems").state == "ok"
    with dask.config.set({"af_kit.cluster.backend": "slurm"}):
        assert "sbatch" in of(af.doctor(), "slurm").seen


def test_a_gateway_that_is_not_there(closed_port):
    with dask.config.set({"gateway.address": f"http://127.0.0.1:{closed_port}"}):
        found = of(af.doctor(), "gateway")
    assert found.state == "problem"
    assert "connection refused" in found.seen


def test_a_hubs_variables(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/alice/")
    found = of(af.doctor(), "JupyterHub")
    assert found.state == "warning"
    assert "JUPYTERHUB_API_TOKEN" in found.seen
    monkeypatch.setenv("JUPYTERHUB_USER", "alice")
    monkeypatch.setenv("JUPYTERHUB_API_URL", "http://hub:8081/hub/api")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "a-secret-of-the-hub")
    found = af.doctor()
    assert of(found, "JupyterHub").state == "ok"
    assert "a-secret-of-the-hub" not in all_words(found)


def test_a_pod_without_egress(monkeypatch, closed_port):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(closed_port))
    found = of(af.doctor(), "egress")
    assert found.state == "warning"  # nobody said that it is needed
    with dask.config.set({"af_kit.cluster.backend": "kubernetes"}):
        found = of(af.doctor(), "egress")
    assert found.state == "problem"
    assert "network policy" in found.advice


def test_kubernetes_that_is_configured_and_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert of(af.doctor(), "Kubernetes").state == "ok"
    with dask.config.set({"af_kit.cluster.backend": "kubernetes"}):
        found = of(af.doctor(), "Kubernetes")
    assert found.state == "problem"
    assert "KUBECONFIG" in found.seen


# ------------------------------------------------------------------------------------------------------- the cluster


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with af.connect("local", n_workers=1, quiet=True) as client:
        yield client


def test_a_good_cluster(client):
    with dask.config.set({"af_kit.doctor.check_s": 60}):  # a busy machine is not what this is about
        found = af.doctor(client)
    ours = {finding.check: finding.state for finding in found.findings if finding.group == "the cluster"}
    assert ours == dict.fromkeys(
        ["client", "versions", "interpreter", "image", "environment", "allocator", "workers' disk", "workers' memory",
         "dashboard", "sent to the workers"], "ok",
    )  # fmt: skip


def test_a_worker_that_somebody_started_in_another_way(client):
    environment = {**os.environ, "JUPYTER_IMAGE_SPEC": "site/old:1", "MALLOC_TRIM_THRESHOLD_": "65536"}
    environment.pop("MALLOC_MMAP_THRESHOLD_", None)
    command = [sys.executable, "-m", "distributed.cli.dask_worker", client.scheduler.address, "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--nthreads", "1", "--no-dashboard", "--no-nanny", "--memory-limit", "0"],
        env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client.wait_for_workers(2, timeout=60)
        with dask.config.set({"af_kit.doctor.check_s": 60}):  # on a busy machine
            found = {f.check: f for f in af.doctor(client).findings if f.group == "the cluster"}
    finally:
        process.terminate()
        process.wait(30)
    assert "site/old:1" in found["image"].seen
    assert "MALLOC_MMAP_THRESHOLD_" in found["environment"].seen
    assert "1 of 2 workers" in found["allocator"].seen
    assert "MALLOC_MMAP_THRESHOLD_=" in found["allocator"].advice
    assert "1 of 2 workers have no limit" in found["workers' memory"].seen
    assert found["versions"].state == "ok"


def test_a_client_that_is_closed_and_something_else():
    client = af.connect("local", n_workers=1, quiet=True, processes=False)
    client.close()
    found = of(af.doctor(client), "client")
    assert found.state == "problem"
    assert "closed" in found.seen
    with pytest.raises(InputError, match="a plain distributed"):
        af.doctor("tcp://127.0.0.1:8786")


# -------------------------------------------------------------------------------------------------- forms and command


def test_the_forms():
    found = af.doctor()
    content = json.loads(found.to_json())
    assert content.keys() == {"format", "af_kit", "time", "state", "counts", "findings"}
    assert content["format"] == 1
    assert sum(content["counts"].values()) == len(content["findings"]) == len(found.findings)
    assert {tuple(finding) for finding in content["findings"]} == {("check", "state", "seen", "advice", "group")}
    assert content["state"] == "problem"  # the proxy that is named is not there
    assert found.problems[0].check == "X.509 proxy"
    assert "1 problem" in str(found)
    html = found._repr_html_()
    assert html.count("<table>") == 1
    assert "no-proxy-here" in html


def test_the_command(monkeypatch, capsys, tmp_path):
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM  X.509 proxy" in out
    assert "-> Create one" in out
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["counts"]["problem"] == 1
    monkeypatch.delenv("X509_USER_PROXY")
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000_000)  # a user without a proxy in /tmp
    assert main(["doctor"]) == 0
    assert main(["doctor", "--open", str(tmp_path / "nowhere.root")]) == 1


def test_the_command_with_a_cluster(client, capsys):
    assert main(["doctor", "--scheduler", client.scheduler.address, "--json"]) == 1
    groups = {finding["group"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert "the cluster" in groups
    assert main(["doctor", "--scheduler", "tcp://127.0.0.1:1"]) == 2
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--jsn"])
    assert end.value.code == 2
