"""A real Kubernetes cluster with Dask's operator: clusters of a session outside it, their errors and their ends."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import pytest
import yaml
from certificates import Authority, proxy, write
from distributed import Client
from helm_tools import SITES, rendered, site
from kube_tools import WAIT_S, grant_permissions, log_of_finished, user_pod
from waiting import until

import af_kit as af
from af_kit.analysis import dimuon
from af_kit.errors import ConnectError
from af_kit.simulate import write_files
from services.kubernetes.cluster import Kubernetes
from services.kubernetes.values import DEPENDENCIES, have_dependencies, merged

CHUNK = 1000
# Pods do not have this file, so functions are pickled by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


# ------------------------------------------------------------------------------------------------- the cluster itself


@pytest.fixture(scope="module")
def cluster(kubernetes) -> Iterator[Kubernetes]:
    """The Kubernetes cluster, for a session outside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubernetes.kubeconfig))
        for name in ("JUPYTERHUB_SERVICE_PREFIX", "JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE", "DASK_SCHEDULER_ADDRESS"):
            patch.delenv(name, raising=False)
        yield kubernetes


@pytest.fixture(scope="module")
def operator(cluster, images) -> None:
    cluster.install_operator(images.facility)


@pytest.fixture(scope="module")
def namespace(cluster) -> Iterator[str]:
    """A namespace with the strictest Pod Security level, as in the chart."""
    with cluster.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield name


@pytest.fixture(scope="module")
def settings(images, namespace) -> Iterator[None]:
    """A site's configuration, for a node with two cores."""
    small = {"image": images.kit, "namespace": namespace, "memory": "768 MiB", "cpu_request": 0.1}
    small["scheduler"] = {"cores": 0.1, "memory": "512 MiB"}
    with dask.config.set({"af_kit.cluster.kubernetes": small, "af_kit.cluster.timeout_s": 120}):
        yield


@pytest.fixture
def ready(operator, settings) -> None:
    """An operator, and a configuration."""


@pytest.fixture
def environment(settings, tmp_path) -> Iterator[dict[str, str]]:
    """Variables of another process with this configuration, which must leave no key in its temporary folder."""
    (tmp_path / "site.yaml").write_text(yaml.safe_dump({"af_kit": {"cluster": dask.config.get("af_kit.cluster")}}))
    (tmp_path / "tmp").mkdir()
    yield {**os.environ, "DASK_CONFIG": str(tmp_path / "site.yaml"), "TMPDIR": str(tmp_path / "tmp")}
    assert not [path for path in (tmp_path / "tmp").rglob("tmp*") if path.is_file() and b"KEY" in path.read_bytes()]


@pytest.fixture
def session(environment) -> Callable[[str], subprocess.Popen[str]]:
    """Start another session on this machine."""

    def start(code: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", textwrap.dedent(code)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    return start


def test_a_cluster_without_the_resource_definitions(cluster, settings):
    """The first test in this file, because the next one installs the operator."""
    if "daskclusters" in cluster.kubectl("api-resources", "--api-group=kubernetes.dask.org", "-o=name"):
        cluster.remove_operator()
    with pytest.raises(ConnectError, match="does not know the resource DaskCluster"):
        af.connect("kubernetes", quiet=True)


# ------------------------------------------------------------------------------------------------------------ a run


@pytest.fixture(scope="module")
def client(cluster, operator, settings) -> Iterator[Client]:
    """A cluster with two workers, for a session outside Kubernetes; tests leave it unchanged."""
    with af.connect("kubernetes", n_workers=2, quiet=True) as client:
        client.wait_for_workers(2, timeout=WAIT_S)
        yield client


@pytest.fixture(scope="module")
def sample(client, tmp_path_factory) -> list[str]:
    """The same files here and in every pod, at the same paths: pods and this machine share no file system."""
    folder = tmp_path_factory.mktemp("kube")
    paths = [str(path) for path in write_files("dimuon", folder, 12_000, 3, 5, cluster_entries=CHUNK)]
    copy_to_workers(client, paths)
    return paths


def copy_to_workers(client: Client, paths: list[str]) -> None:
    """Have each worker write the files at the same paths."""
    client.run(_write, {path: Path(path).read_bytes() for path in paths})


def _write(files: dict[str, bytes]) -> None:
    for path, content in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)


def assert_same(result: Any, here: Any) -> None:
    result.report.check()
    assert result["mass"] == here["mass"]
    assert result["multiplicity"] == here["multiplicity"]
    assert result["candidates"].num_rows == here["candidates"].num_rows > 0


def test_the_analysis_has_the_same_result_as_here(client, sample):
    here = dimuon.process(sample, chunk_entries=CHUNK, progress=False)
    assert_same(dimuon.process(sample, client, chunk_entries=CHUNK, progress=False), here)


def test_no_entry_is_lost_with_a_pod_that_is_deleted(cluster, namespace, client, sample):
    here = dimuon.process(sample, chunk_entries=100, progress=False)
    name = client.cluster.name
    (victim, *_) = cluster.pods_of(name, namespace, "worker")
    once = iter([True])

    def deleting(events: Any) -> Any:
        return dimuon.analyse(events)

    def watch() -> None:
        if next(once, False):
            cluster.kubectl("delete", "pod", victim["metadata"]["name"], f"--namespace={namespace}", "--wait=false",
                            "--grace-period=0", "--force")  # fmt: skip

    futures = client.map(lambda i: time.sleep(0.05) or i, range(60), pure=False)
    watch()
    assert sorted(client.gather(futures)) == list(range(60))
    until(lambda: len(client.scheduler_info()["workers"]) == 2, "two workers", WAIT_S)
    copy_to_workers(client, sample)
    assert_same(af.process(deleting, sample, client, chunk_entries=100, progress=False), here)


def test_a_late_worker_has_the_files_that_were_sent(cluster, namespace, client, tmp_path):
    path = tmp_path / "numbers.json"
    path.write_text("[1, 2]")
    af.send_files(client, {"numbers": str(path)})
    client.cluster.scale(3)
    client.wait_for_workers(3, timeout=WAIT_S)
    found = client.run(lambda: Path(af.file("numbers")).read_text())
    assert list(found.values()) == ["[1, 2]"] * 3


def test_scaling_down_loses_nothing(client):
    values = client.scatter(list(range(30)))
    sums = client.map(lambda x: x + 1, values)
    client.gather(sums)
    client.cluster.scale(1)
    until(lambda: len(client.scheduler_info()["workers"]) == 1, "one worker", WAIT_S)
    assert client.gather(sums) == list(range(1, 31))
    assert client.gather(values) == list(range(30))


def test_the_number_of_workers_follows_the_load(client):
    client.cluster.adapt(minimum=1, maximum=2)
    work = client.map(lambda i: time.sleep(0.3) or i, range(100), pure=False)
    until(lambda: len(client.scheduler_info()["workers"]) == 2, "two workers", WAIT_S)
    assert sorted(client.gather(work)) == list(range(100))
    client.cluster.scale(1)


def test_logs_and_dashboard(client):
    logs = client.cluster.get_logs()
    assert any("scheduler" in name for name in logs)
    assert any("worker" in name and "Registered to" in log for name, log in logs.items())
    import urllib.request

    assert urllib.request.urlopen(client.dashboard_link, timeout=20).status == 200


def test_a_group_of_larger_workers(ready):
    groups = {"bigmem": {"memory": "1 GiB", "cores": 2}}
    with af.connect("kubernetes", n_workers=1, groups=groups, quiet=True) as client:
        client.wait_for_workers(2, timeout=WAIT_S)
        tasks = client.map(lambda i: os.environ["DASK_WORKER_NAME"], range(4), resources={"bigmem": 1}, pure=False)
        assert {name.removeprefix(client.cluster.name)[:15] for name in client.gather(tasks)} == {"-bigmem-worker-"}
        limits = sorted(worker["memory_limit"] for worker in client.scheduler_info()["workers"].values())
        assert limits[0] < 768 << 20 < limits[1] < 1 << 30
        client.cluster.scale(0, "bigmem")
        until(lambda: len(client.scheduler_info()["workers"]) == 1, "the end of the group", WAIT_S)


# ---------------------------------------------------------------------------------------------------------- reasons


def refused(match: str, **options: Any) -> None:
    with pytest.raises(ConnectError, match=match):
        af.connect("kubernetes", n_workers=1, quiet=True, **options).close()


def test_problems_of_a_pod(ready, cluster, namespace, monkeypatch):
    refused("has no node to run on: .*Insufficient memory", memory="9 TiB")
    refused(r"image localhost:1/af-kit:none cannot be pulled \((ErrImagePull|ImagePullBackOff)",
            image="localhost:1/af-kit:none")  # fmt: skip
    with dask.config.set({"af_kit.cluster.kubernetes.preload": ["no_such_module"]}):
        refused(r"worker ended with exit code 1(?s:.*)No module named 'no_such_module'")
    monkeypatch.setattr("af_kit.config._LEAST_MEMORY", 1)  # which the kit refuses before it asks Kubernetes
    refused(r"OOMKilled.*memory=", memory="64 MiB")
    refused(r"may not be created: violates PodSecurity", pod={"hostNetwork": True})
    until(lambda: _all_removed(cluster, namespace), "the removal of failed clusters", WAIT_S)


def _all_removed(cluster: Kubernetes, namespace: str) -> bool:
    """Return whether only clusters with pods remain, or such that are being deleted."""
    return all(
        "deletionTimestamp" in one["metadata"] or cluster.pods_of(one["metadata"]["name"], namespace)
        for one in cluster.get("daskclusters", namespace)
    )


def test_a_quota_that_is_too_small(ready, cluster):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "0"}},
    }
    with cluster.namespace() as other:
        cluster.apply([quota], other)
        refused(r"may not be created: exceeded quota: small.*Ask for less", namespace=other)
        assert not cluster.get("pods", other)


def test_an_operator_that_does_nothing(ready, cluster):
    cluster.operator_acts(False)
    try:
        with cluster.namespace() as other:
            refused("Dask's operator has created nothing", namespace=other)
            cluster.operator_acts(True)
    finally:
        cluster.operator_acts(True)


def test_a_user_without_permissions(ready, cluster, namespace, tmp_path, monkeypatch):
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    cluster.apply([account], namespace)
    monkeypatch.setenv("KUBECONFIG", str(cluster.user("nobody", namespace, tmp_path)))
    refused(r"you need permission to .*create daskclusters\.kubernetes\.dask\.org.*Helm chart")


# -------------------------------------------------------------------------------------------------------- lifetimes


def test_an_owned_cluster_ends_with_its_client(ready, cluster, namespace):
    with af.connect("kubernetes", n_workers=1, quiet=True) as client:
        name, guard = client.cluster.name, client.cluster.guard
        assert cluster.pods_of(name, namespace)
        assert guard.poll() is None
    assert not cluster.pods_of(name, namespace)
    assert guard.poll() == 0


KILLED = """
    import signal, time
    import af_kit as af
    client = af.connect("kubernetes", name="killed", n_workers=1, quiet=True)
    print(client.cluster.guard.pid, flush=True)
    signal.pause()
"""


def test_a_cluster_ends_when_its_session_is_killed(ready, cluster, namespace, session):
    with session(KILLED) as process:
        guard = int(process.stdout.readline())
        assert cluster.pods_of("killed", namespace)
        assert "killed" in Path(f"/proc/{guard}/cmdline").read_text()
        process.kill()
    until(lambda: not cluster.pods_of("killed", namespace), "the end of its pods", WAIT_S)
    assert "killed" not in _remaining(cluster, "daskclusters", namespace)


def test_a_guard_leaves_other_clusters_alone(cluster, namespace, client):
    """A later cluster may have the name of one that has ended."""
    name = client.cluster.name
    command = [sys.executable, "-m", "af_kit.cluster.kubernetes.removal", namespace, name, "another-token", ""]
    subprocess.run(command, check=True, timeout=WAIT_S)
    assert name in _remaining(cluster, "daskclusters", namespace)


def _remaining(cluster: Kubernetes, kind: str, namespace: str) -> list[str]:
    """Return the objects that are not being deleted, for which the operator may need a minute."""
    found = [one["metadata"] for one in cluster.get(kind, namespace)]
    return [one["name"] for one in found if "deletionTimestamp" not in one]


def test_a_detached_cluster_is_found_by_its_name(ready, cluster, namespace):
    with af.connect("kubernetes", name="big", detach=True, idle_timeout_s=600, n_workers=1, quiet=True) as client:
        client.publish_dataset(answer=42)
    (found,) = [one for one in cluster.get("daskclusters", namespace) if one["metadata"]["name"] == "big"]
    assert found["spec"]["idleTimeout"] == 600
    with af.connect("kubernetes", name="big", quiet=True) as client:
        assert client.get_dataset("answer") == 42
        client.cluster.shutdown()
    assert not cluster.pods_of("big", namespace)


def test_an_idle_cluster_ends(ready, cluster, namespace):
    af.connect("kubernetes", name="idle", detach=True, idle_timeout_s=20, n_workers=1, quiet=True).close()
    until(lambda: not cluster.pods_of("idle", namespace), "the end of an idle cluster", 3 * WAIT_S)


# ------------------------------------------------------------------------------------------------------------ panel


NEW = """
    import asyncio
    from af_kit.cluster.jupyter.panel import PanelCluster

    async def main():
        cluster = await PanelCluster("kubernetes", n_workers=1, asynchronous=True)
        print("NEW", cluster.scheduler_address, cluster.dashboard_link, flush=True)
        limits = cluster.adapt(minimum=1, maximum=2)
        print("ADAPT", limits.minimum, limits.maximum, flush=True)
        await cluster.close()

    asyncio.run(main())
"""


def test_the_new_button_of_the_panel_starts_a_cluster(ready, cluster, namespace, session):
    with session(NEW) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    assert "NEW tcp://127.0.0.1:" in output
    assert "ADAPT 1 2" in output
    until(lambda: not _remaining(cluster, "daskautoscalers", namespace), "the removal of its autoscaler", WAIT_S)


# -------------------------------------------------------------------------------------------------------- the proxy


def test_the_proxy_in_a_secret(ready, cluster, namespace, tmp_path):
    authority = Authority()
    path = tmp_path / "x509up"
    write(path, proxy(authority.user()).pem())
    with af.connect("kubernetes", name="signed", n_workers=1, proxy_secret=str(path), quiet=True) as client:
        (seen,) = client.run(_read_proxy).values()
        assert seen["content"] == path.read_bytes()
        assert seen["mode"] == 0o600
        write(path, proxy(authority.user()).pem())
        renewed = path.read_bytes()
        (secret,) = [one for one in cluster.get("secrets", namespace) if one["metadata"]["name"].startswith("signed")]
        assert secret["metadata"]["ownerReferences"][0]["kind"] == "DaskCluster"

        def stored() -> bytes:
            (now,) = [one for one in cluster.get("secrets", namespace) if one["metadata"]["name"].startswith("signed")]
            return base64.b64decode(now["data"]["x509up"])

        until(lambda: stored() == renewed, "the renewed Secret", WAIT_S)
        until(lambda: _proxies(client) == [renewed], "the renewed proxy in the pod", 4 * WAIT_S)

    def is_removed() -> bool:
        return not any(one["metadata"]["name"].startswith("signed") for one in cluster.get("secrets", namespace))

    until(is_removed, "the removal of the Secret with the cluster", 2 * WAIT_S)


def _proxies(client: Client) -> list[bytes]:
    return [proxy["content"] for proxy in client.run(_read_proxy).values()]


def _read_proxy() -> dict[str, Any]:
    path = Path(os.environ["X509_USER_PROXY"])
    return {"content": path.read_bytes(), "mode": path.stat().st_mode & 0o777}


# ----------------------------------------------------------------------------------------- the command line, the doctor


def af_kit(environment: dict[str, str], *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("af-kit")), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_line_starts_lists_and_stops(ready, cluster, namespace, client, environment):
    backend = ("--backend", "kubernetes")
    started = af_kit(environment, "cluster", "start", "kubernetes", "--detach", "--name", "shell", "--adapt", "1", "2")
    assert 'connect("kubernetes", name="shell")' in started
    listed = {one["name"]: one for one in json.loads(af_kit(environment, "cluster", "list", *backend, "--json"))}
    assert (listed["shell"]["detached"], listed["shell"]["workers"]) == (True, 1)
    assert listed[client.cluster.name]["detached"] is False
    assert "Registered to" in af_kit(environment, "cluster", "logs", "shell", *backend)
    assert "shell has ended" in af_kit(environment, "cluster", "stop", "shell", *backend)
    until(lambda: not cluster.pods_of("shell", namespace), "the end of its pods", WAIT_S)
    assert "--backend kubernetes" in af_kit(environment, "cluster", "list")  # which does not list them


def test_the_doctor_from_outside(client, cluster, namespace, tmp_path, monkeypatch):
    with dask.config.set({"af_kit.doctor.check_s": 60}):  # a busy machine is slow
        found = af.doctor(client)
        cluster.apply([{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "visitor"}}], namespace)
        monkeypatch.setenv("KUBECONFIG", str(cluster.user("visitor", namespace, tmp_path)))
        refused = af.doctor(client)
    seen = {finding.check: finding.state for finding in found.findings}
    ours = ("Kubernetes", "permissions", "permissions to diagnose", "permissions to add worker groups")
    ours += ("client", "image", "environment", "allocator", "workers' disk", "workers' memory", "dashboard")
    assert {check: seen[check] for check in ours} == dict.fromkeys(ours, "ok"), found
    assert not [one for one in found.problems if one.group in ("the site", "the cluster")], found
    (permissions,) = [one for one in refused.problems if one.check == "permissions"]
    assert "get pods/portforward" in permissions.seen
    assert "create daskclusters.kubernetes.dask.org" in permissions.seen


IN_A_POD = """
    import json, os, subprocess
    import dask
    import af_kit as af

    def shell(*arguments):
        done = subprocess.run(["af-kit", *arguments], capture_output=True, text=True)
        print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)

    os.environ["JUPYTERHUB_SERVICE_PREFIX"] = "/user/alice/"
    with af.connect("kubernetes", n_workers=1, quiet=True) as client:
        with dask.config.set({"af_kit.doctor.check_s": 60}):
            print(af.doctor(client).to_json().replace("\\n", ""), flush=True)
        shell("cluster", "list", "--json")
        client.cluster.close()
    af.connect("kubernetes", n_workers=1, name="stays", detach=True, quiet=True).close()
    shell("cluster", "list", "--json")
    shell("cluster", "stop", "stays")
    shell("cluster", "list", "--json")
"""


def test_the_doctor_and_the_command_line_in_a_users_pod(ready, cluster, namespace, images):
    grant_permissions(cluster, namespace)
    site = dask.config.get("af_kit.cluster")
    own = {name: value for name, value in site["kubernetes"].items() if name not in ("image", "namespace")}
    settings = {**site, "backend": "kubernetes", "kubernetes": own}
    cluster.apply([user_pod("jupyter-alice", images.kit, IN_A_POD, settings)], namespace)
    log = log_of_finished(cluster, namespace, "jupyter-alice").splitlines()
    diagnosis, owned, detached, stopped, none = (json.loads(line) for line in log if line.startswith(("{", "[")))
    seen = {one["check"]: one["state"] for one in diagnosis["findings"]}
    ours = ("egress", "name service", "permissions", "permissions to diagnose", "permissions to add worker groups")
    ours += ("client", "versions", "interpreter", "image", "environment", "allocator", "workers' memory", "dashboard")
    assert {check: seen[check] for check in ours} == dict.fromkeys(ours, "ok"), diagnosis
    groups = ("the site", "the cluster", "this machine")
    assert not [one for one in diagnosis["findings"] if one["group"] in groups and one["state"] == "problem"]
    (one,) = json.loads(owned[1])
    assert (one["backend"], one["detached"], one["workers"]) == ("kubernetes", False, 1)
    (one,) = json.loads(detached[1])
    assert (one["name"], one["detached"], one["workers"]) == ("stays", True, 1)
    assert stopped[:2] == [0, "stays has ended\n"]
    assert json.loads(none[1]) == []


# -------------------------------------------------------------------------------------------------------- the chart


def dry_run(cluster: Kubernetes, namespace: str, objects: list[dict[str, Any]]) -> str:
    """Return what the API server answers to objects that it only checks, with unknown fields as errors."""
    how = ("--dry-run=server", "--validate=strict", f"--namespace={namespace}", "-f", "-")
    return cluster.kubectl("create", *how, given=yaml.safe_dump_all(objects), check=False)


@pytest.mark.parametrize("path", [None, *SITES], ids=lambda path: path.stem if path else "values")
def test_the_api_server_accepts_each_object_of_the_chart(cluster, path):
    values = site(path) if path else {}
    if have_dependencies():
        values = merged(values, {name: {"enabled": True} for name in DEPENDENCIES})
    else:
        values = {name: value for name, value in values.items() if name not in DEPENDENCIES}
    with cluster.namespace() as namespace:
        objects = rendered(values, namespace)
        answer = dry_run(cluster, namespace, objects)
        assert len(objects) >= 10
        assert answer.count("created (server dry run)") == len(answer.splitlines()) == len(objects), answer
        (role,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == ("Role", "af-kit-user")]
        assert 'unknown field "rulez"' in dry_run(cluster, namespace, [{**role, "rulez": []}])  # checks are strict
