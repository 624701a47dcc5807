"""A real Kubernetes cluster: Dask's operator and its clusters, their reasons, and the rights that the chart gives."""

from __future__ import annotations

import base64
import json
import os
import shutil
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
from waiting import until

import af_kit as af
from af_kit.analysis import dimuon
from af_kit.data.simulate import write_files
from af_kit.errors import ConnectError
from services.kubernetes.cluster import Kubernetes, installed

HELM = Path(__file__).parents[2] / "helm"
CHUNK = 1000
NEVER = 60.0
# The pods run elsewhere: what they are to do must not need this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


# ------------------------------------------------------------------------------------------------- the cluster itself


@pytest.fixture(scope="module")
def cluster(require) -> Iterator[Kubernetes]:
    require("kubernetes", ["kubectl"])
    if reasons := installed():
        pytest.skip("; ".join(reasons))
    cluster = Kubernetes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        for name in ("JUPYTERHUB_SERVICE_PREFIX", "JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE", "DASK_SCHEDULER_ADDRESS"):
            patch.delenv(name, raising=False)
        yield cluster
        cluster.remove_operator()
    cluster.stop()


@pytest.fixture(scope="module")
def images(cluster) -> tuple[str, str]:
    """The kit's image and the operator's, in the cluster: those that are named, or built here."""
    named = os.environ.get("AF_KIT_IMAGE"), os.environ.get("AF_KIT_OPERATOR_IMAGE")
    if all(named):
        return named[0] or "", named[1] or ""
    built: tuple[str, str] = cluster.build_images()
    return built


@pytest.fixture(scope="module")
def operator(cluster, images) -> None:
    cluster.install_operator(images[1])


@pytest.fixture(scope="module")
def namespace(cluster) -> Iterator[str]:
    """One as the chart makes it: the strictest Pod Security."""
    with cluster.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield name


@pytest.fixture(scope="module")
def settings(images, namespace) -> Iterator[None]:
    """What a site's configuration would say, for a node of two cores."""
    small = {"image": images[0], "namespace": namespace, "memory": "768 MiB", "cpu_request": 0.1}
    small["scheduler"] = {"cores": 0.1, "memory": "512 MiB"}
    with dask.config.set({"af_kit.cluster.kubernetes": small, "af_kit.cluster.timeout_s": 120}):
        yield


@pytest.fixture
def ready(operator, settings) -> None:
    """An operator, and a configuration."""


def test_without_the_definitions_it_says_so(cluster, settings):
    """First in this file: the next test brings the operator."""
    if "daskclusters" in cluster.kubectl("api-resources", "--api-group=kubernetes.dask.org", "-o=name"):
        cluster.remove_operator()
    with pytest.raises(ConnectError, match="does not know what a DaskCluster is"):
        af.connect("kubernetes", quiet=True)


# ------------------------------------------------------------------------------------------------------------ a run


@pytest.fixture(scope="module")
def client(cluster, operator, settings) -> Iterator[Client]:
    """Two workers, seen from outside the cluster; tests leave them as they are."""
    with af.connect("kubernetes", n_workers=2, quiet=True) as client:
        client.wait_for_workers(2, timeout=NEVER)
        yield client


@pytest.fixture(scope="module")
def sample(client, tmp_path_factory) -> list[str]:
    """The same files here and on every pod, at the same path: pods share no file system with this machine."""
    folder = tmp_path_factory.mktemp("kube")
    paths = [str(path) for path in write_files("dimuon", folder, 12_000, 3, 5, cluster_entries=CHUNK)]
    bring(client, paths)
    return paths


def bring(client: Client, paths: list[str]) -> None:
    """Have each worker write the files where they are here."""
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


def pods(cluster: Kubernetes, namespace: str, name: str, component: str | None = None) -> list[dict[str, Any]]:
    labels = {"dask.org/cluster-name": name} | ({"dask.org/component": component} if component else {})
    found = cluster.get("pods", namespace, **labels)
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def test_the_analysis_gives_what_it_gives_here(client, sample):
    here = dimuon.process(sample, chunk_entries=CHUNK, progress=False)
    assert_same(dimuon.process(sample, client, chunk_entries=CHUNK, progress=False), here)


def test_a_pod_that_is_deleted_in_the_middle_costs_no_entry(cluster, namespace, client, sample):
    here = dimuon.process(sample, chunk_entries=100, progress=False)
    name = client.cluster.name
    (victim, *_) = pods(cluster, namespace, name, "worker")
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
    until(lambda: len(client.scheduler_info()["workers"]) == 2, "two workers", NEVER)
    bring(client, sample)
    assert_same(af.process(deleting, sample, client, chunk_entries=100, progress=False), here)


def test_a_worker_that_comes_late_has_what_was_sent(cluster, namespace, client, tmp_path):
    path = tmp_path / "numbers.json"
    path.write_text("[1, 2]")
    af.send_files(client, {"numbers": str(path)})
    client.cluster.scale(3)
    client.wait_for_workers(3, timeout=NEVER)
    found = client.run(lambda: Path(af.file("numbers")).read_text())
    assert list(found.values()) == ["[1, 2]"] * 3


def test_scaling_down_loses_nothing(client):
    values = client.scatter(list(range(30)))
    sums = client.map(lambda x: x + 1, values)
    client.gather(sums)
    client.cluster.scale(1)
    until(lambda: len(client.scheduler_info()["workers"]) == 1, "one worker", NEVER)
    assert client.gather(sums) == list(range(1, 31))
    assert client.gather(values) == list(range(30))


def test_it_follows_the_load(client):
    client.cluster.adapt(minimum=1, maximum=2)
    work = client.map(lambda i: time.sleep(0.3) or i, range(100), pure=False)
    until(lambda: len(client.scheduler_info()["workers"]) == 2, "two workers", NEVER)
    assert sorted(client.gather(work)) == list(range(100))
    client.cluster.scale(1)


def test_logs_and_dashboard(client):
    logs = client.cluster.get_logs()
    assert any("scheduler" in name for name in logs)
    assert any("worker" in name and "Registered to" in log for name, log in logs.items())
    import urllib.request

    assert urllib.request.urlopen(client.dashboard_link, timeout=20).status == 200


# ---------------------------------------------------------------------------------------------------------- reasons


def refused(match: str, **options: Any) -> None:
    with pytest.raises(ConnectError, match=match):
        af.connect("kubernetes", n_workers=1, quiet=True, **options).close()


def test_reasons_of_a_pod(ready, cluster, namespace):
    refused("has no node to run on: .*Insufficient memory", memory="9 TiB")
    refused(r"image localhost:1/af-kit:none cannot be had \((ErrImagePull|ImagePullBackOff)",
            image="localhost:1/af-kit:none")  # fmt: skip
    with dask.config.set({"af_kit.cluster.kubernetes.preload": ["no_such_module"]}):
        refused(r"worker ended with exit code 1(?s:.*)No module named 'no_such_module'")
    refused(r"OOMKilled.*memory=", memory="64 MiB")
    refused(r"may not be made: violates PodSecurity", pod={"hostNetwork": True})
    until(lambda: _all_go(cluster, namespace), "what failed is removed", NEVER)


def _all_go(cluster: Kubernetes, namespace: str) -> bool:
    """Nothing but what other tests use is left: a cluster that is removed may have its mark for a while."""
    return all(
        "deletionTimestamp" in one["metadata"] or pods(cluster, namespace, one["metadata"]["name"])
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
        refused(r"may not be made: exceeded quota: small.*Ask for less", namespace=other)
        assert not cluster.get("pods", other)


def test_an_operator_that_does_not_act(ready, cluster):
    cluster.operator_acts(False)
    try:
        with cluster.namespace() as other:
            refused("Dask's operator has made nothing", namespace=other)
            cluster.operator_acts(True)
    finally:
        cluster.operator_acts(True)


def test_a_user_without_rights(ready, cluster, namespace, tmp_path, monkeypatch):
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    cluster.apply([account], namespace)
    monkeypatch.setenv("KUBECONFIG", str(cluster.user("nobody", namespace, tmp_path)))
    refused(r"missing are the rights to .*create daskclusters\.kubernetes\.dask\.org.*Helm chart")


# -------------------------------------------------------------------------------------------------------- lifetimes


def test_an_owned_one_ends_with_its_client(ready, cluster, namespace):
    with af.connect("kubernetes", n_workers=1, quiet=True) as client:
        name = client.cluster.name
        assert pods(cluster, namespace, name)
    assert not pods(cluster, namespace, name)


def test_a_detached_one_is_found_by_its_name(ready, cluster, namespace):
    with af.connect("kubernetes", name="big", detach=True, idle_timeout_s=600, n_workers=1, quiet=True) as client:
        client.publish_dataset(answer=42)
    (found,) = [one for one in cluster.get("daskclusters", namespace) if one["metadata"]["name"] == "big"]
    assert found["spec"]["idleTimeout"] == 600
    with af.connect("kubernetes", name="big", quiet=True) as client:
        assert client.get_dataset("answer") == 42
        client.cluster.shutdown()
    assert not pods(cluster, namespace, "big")


def test_one_without_work_ends_by_itself(ready, cluster, namespace):
    af.connect("kubernetes", name="idle", detach=True, idle_timeout_s=20, n_workers=1, quiet=True).close()
    until(lambda: not pods(cluster, namespace, "idle"), "the end of an idle cluster", 3 * NEVER)


# -------------------------------------------------------------------------------------------------------- the proxy


def test_the_proxy_as_a_secret(ready, cluster, namespace, tmp_path):
    authority = Authority()
    path = tmp_path / "x509up"
    write(path, proxy(authority.user()).pem())
    with af.connect("kubernetes", name="signed", n_workers=1, proxy_secret=str(path), quiet=True) as client:
        (seen,) = client.run(_look_at_proxy).values()
        assert seen["content"] == path.read_bytes()
        assert seen["mode"] == 0o600
        write(path, proxy(authority.user()).pem())
        renewed = path.read_bytes()
        (secret,) = [one for one in cluster.get("secrets", namespace) if one["metadata"]["name"].startswith("signed")]
        assert secret["metadata"]["ownerReferences"][0]["kind"] == "DaskCluster"

        def stored() -> bytes:
            (now,) = [one for one in cluster.get("secrets", namespace) if one["metadata"]["name"].startswith("signed")]
            return base64.b64decode(now["data"]["x509up"])

        until(lambda: stored() == renewed, "a renewed Secret", NEVER)
        until(lambda: _seen(client) == [renewed], "the renewed proxy in the pod", 4 * NEVER)

    def gone() -> bool:
        return not any(one["metadata"]["name"].startswith("signed") for one in cluster.get("secrets", namespace))

    until(gone, "the Secret goes with the cluster", 2 * NEVER)


def _seen(client: Client) -> list[bytes]:
    return [look["content"] for look in client.run(_look_at_proxy).values()]


def _look_at_proxy() -> dict[str, Any]:
    path = Path(os.environ["X509_USER_PROXY"])
    return {"content": path.read_bytes(), "mode": path.stat().st_mode & 0o777}


# ---------------------------------------------------------------------------------------------------- what users may


@pytest.fixture(scope="module")
def facility(cluster, operator, images, tmp_path_factory) -> Iterator[str]:
    """A namespace with the chart's own parts in it, as Helm installs them; the charts that it depends on stay away."""
    from helm_python import Config

    own = tmp_path_factory.mktemp("helm") / "af-kit"
    shutil.copytree(HELM, own, ignore=shutil.ignore_patterns("charts"))
    chart = yaml.safe_load((own / "Chart.yaml").read_text())
    del chart["dependencies"]
    (own / "Chart.yaml").write_text(yaml.safe_dump(chart))
    values = yaml.safe_load((HELM / "sites" / "test.yaml").read_text())
    values |= {
        "dask-kubernetes-operator": {"enabled": False},
        "podSecurity": {"level": "restricted", "image": images[0]},
    }
    values["jupyterhub"] = {"enabled": False}
    with cluster.namespace() as name:
        config = Config(kubeconfig_path=cluster.kubeconfig, namespace=name)
        config.install(own, "af", values, namespace=name, timeout=120, wait="watcher")
        try:
            yield name
        finally:
            cluster.kubectl("delete", "pods", "--all", f"--namespace={name}", "--wait=false")
            cluster.kubectl("delete", "daskclusters", "--all", f"--namespace={name}", "--timeout=100s", timeout=120)
            config.uninstall("af", timeout=60)


def test_the_namespace_is_labelled(cluster, facility):
    labels = json.loads(cluster.kubectl("get", "namespace", facility, "-o=json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(
    ("verb", "what"),
    [("get", "secrets"), ("list", "secrets"), ("create", "pods"), ("create", "pods/exec"), ("delete", "pods"),
     ("create", "rolebindings.rbac.authorization.k8s.io"), ("delete", "networkpolicies.networking.k8s.io"),
     ("list", "nodes"), ("create", "deployments.apps")],
)  # fmt: skip
def test_what_a_user_may_not(cluster, facility, verb, what):
    who = f"system:serviceaccount:{facility}:af-kit-user"
    asked = cluster.kubectl("auth", "can-i", verb, what, f"--namespace={facility}", f"--as={who}", check=False)
    assert "no" in asked.split()
    assert "yes" not in asked.split()


INSIDE = """
    import os, time
    import af_kit as af
    from af_kit.cluster import connect
    began = time.monotonic()
    client = af.connect("kubernetes", n_workers=1, quiet=True)
    print("UP", round(time.monotonic() - began, 1), client.cluster.name, client.scheduler.address, flush=True)
    print("SUM", client.submit(sum, [1, 2]).result(), flush=True)
    time.sleep(600)
"""


def test_from_a_users_pod_with_its_own_rights_only(cluster, facility, images):
    """Notebook and workers have the same image, found out by itself; the Dask cluster goes with the pod."""
    pod = user_pod("jupyter-alice", images[0], ["python3", "-c", textwrap.dedent(INSIDE)])
    cluster.apply([pod], facility)
    said = _log_with(cluster, facility, "jupyter-alice", "SUM 3")
    up = next(line for line in said.splitlines() if line.startswith("UP"))
    name = up.split()[2]
    assert up.split()[3] == f"tcp://{name}-scheduler.{facility}:8786"
    (dask_cluster,) = cluster.get("daskclusters", facility)
    assert dask_cluster["metadata"]["ownerReferences"][0]["name"] == "jupyter-alice"
    assert dask_cluster["spec"]["worker"]["spec"]["containers"][0]["image"] == images[0]
    (policy,) = [one for one in cluster.get("networkpolicies", facility) if one["metadata"]["name"] == name]
    assert policy["spec"]["podSelector"]["matchLabels"] == {"dask.org/cluster-name": name}
    cluster.kubectl("delete", "pod", "jupyter-alice", f"--namespace={facility}", "--grace-period=1", timeout=90)
    until(lambda: not pods(cluster, facility, name), "the cluster goes with the pod", 3 * NEVER)


def user_pod(name: str, image: str, command: list[str]) -> dict[str, Any]:
    """A pod as the hub's spawner makes them for users."""
    site = {"af_kit": {"cluster": {"timeout_s": 120, "kubernetes": {"memory": "768 MiB", "cpu_request": 0.1,
            "scheduler": {"cores": 0.1, "memory": "512 MiB"}}}}}  # fmt: skip
    container = {
        "name": "notebook",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [{"name": "DASK_AF_KIT__CLUSTER", "value": repr(site["af_kit"]["cluster"])}],
        "resources": {"requests": {"cpu": "0.1", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    labels = {"component": "singleuser-server", "hub.jupyter.org/username": "alice"}
    security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"serviceAccountName": "af-kit-user", "restartPolicy": "Never", "containers": [container],
            "securityContext": security}  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def _log_with(cluster: Kubernetes, namespace: str, pod: str, words: str) -> str:
    said = [""]

    def has() -> bool:
        said[0] = cluster.kubectl("logs", pod, f"--namespace={namespace}", check=False)
        assert "Traceback" not in said[0], said[0]
        return words in said[0]

    until(has, f"{words!r} in the log of {pod}", 3 * NEVER)
    return said[0]


def dask_cluster(**pod: Any) -> dict[str, Any]:
    container = {"name": "scheduler", "image": "af-kit", "resources": {"limits": {"memory": "1Gi"}}}
    spec = {"containers": [container], **pod}
    service = {"type": "ClusterIP", "selector": {"a": "b"}, "ports": [{"name": "tcp-comm", "port": 8786}]}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "mine"},
        "spec": {"scheduler": {"spec": spec, "service": service},
                 "worker": {"replicas": 0, "spec": {"containers": [{**container, "name": "worker"}]}}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one["spec"]["scheduler"]["spec"].update(serviceAccountName="hub"), "service account"),
        (
            lambda one: one["spec"]["scheduler"]["spec"].update(
                volumes=[{"name": "v", "secret": {"secretName": "hub"}}]
            ),
            "mount no secret",
        ),
        (
            lambda one: one["spec"]["scheduler"]["spec"]["containers"][0].update(
                env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "k"}}}]
            ),
            "variable from a secret",
        ),
        (lambda one: one["metadata"].update(labels={"hub.jupyter.org/username": "bob"}), "hub's labels"),
    ],
    ids=["account", "secret", "variable", "label"],
)
def test_what_a_users_dask_cluster_may_not_be_made_of(cluster, facility, tmp_path, change: Callable, words):
    user = Kubernetes(_as_user(cluster, facility, tmp_path))
    one = dask_cluster()
    change(one)
    assert words in user.kubectl("create", f"--namespace={facility}", "--dry-run=server", "-f", "-",
                                 given=yaml.safe_dump(one), check=False)  # fmt: skip
    user.kubectl(
        "create", f"--namespace={facility}", "--dry-run=server", "-f", "-", given=yaml.safe_dump(dask_cluster())
    )


def test_which_secrets_and_policies_a_user_may_make(cluster, facility, tmp_path):
    user = Kubernetes(_as_user(cluster, facility, tmp_path))

    def create(thing: dict[str, Any]) -> str:
        arguments = ("create", f"--namespace={facility}", "--dry-run=server", "-f", "-")
        return user.kubectl(*arguments, given=yaml.safe_dump(thing), check=False)

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"}, "data": {}}
    assert "X.509 proxies only" in create(secret)
    assert "created" in create({**secret, "metadata": {"name": "mine-x509-proxy"}})
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "open"},
              "spec": {"podSelector": {"matchLabels": {"component": "hub"}}, "ingress": [{}]}}  # fmt: skip
    assert "Dask cluster of the same name" in create(policy)


def _as_user(cluster: Kubernetes, facility: str, folder: Path) -> Path:
    return cluster.user("af-kit-user", facility, folder)


# ---------------------------------------------------------------------------------------------------------- sidebar


def test_the_panels_new_makes_such_a_cluster(ready, cluster, namespace, tmp_path):
    code = """
        import asyncio
        from af_kit.cluster.sidebar import SidebarCluster

        async def main():
            cluster = await SidebarCluster("kubernetes", n_workers=1, asynchronous=True)
            print("NEW", cluster.scheduler_address, cluster.dashboard_link, flush=True)
            limits = cluster.adapt(minimum=1, maximum=2)
            print("ADAPT", limits.minimum, limits.maximum, flush=True)
            await cluster.close()

        asyncio.run(main())
    """
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump({"af_kit": {"cluster": dask.config.get("af_kit.cluster")}}))
    environment = {**os.environ, "DASK_CONFIG": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "NEW tcp://127.0.0.1:" in done.stdout
    assert "ADAPT 1 2" in done.stdout
    until(lambda: not cluster.get("daskautoscalers", namespace), "its autoscaler goes with it", 2 * NEVER)
