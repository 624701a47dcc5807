"""The facility in a real Kubernetes cluster: the chart's objects for users, and a hub with the chart's values."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from hub_session import PATIENCE_S, Kernel, Session, check_dashboard
from kube_tools import WAIT_S, user_pod
from waiting import until

from services.kubernetes import hub as hub_in_a_pod
from services.kubernetes import values
from services.kubernetes.cluster import Kubernetes

NOTEBOOK = "af-kit/notebooks/01-dimuon-exploration.ipynb"

pytestmark = pytest.mark.timeout(900)


# -------------------------------------------------------------------------------------------------- a visitor of a hub


CONNECT = "import af_kit; client = af_kit.connect(n_workers=1, quiet=True); print(client.cluster.name)"


class Visitor(Session):
    """A user who knows the test site's password."""

    def __init__(self, url: str, user: str, password: str) -> None:
        super().__init__(url, user)
        self._password = password

    def log_in(self) -> requests.Response:
        self.http.get(f"{self.url}/hub/login", timeout=60)
        return self._post("hub/login", {"username": self.user, "password": self._password})

    def choose(self, **fields: str) -> None:
        """Start a server through the form for its size and image."""
        form = self.http.get(f"{self.url}/hub/spawn/{self.user}", timeout=60)
        assert form.status_code == 200, form.text
        for name in fields:
            assert f'name="{name}"' in form.text, name
        answer = self._post(f"hub/spawn/{self.user}", fields)
        assert answer.ok, answer.text
        self.wait_for_server()

    def stop_server(self) -> None:
        answer = self.http.delete(
            f"{self.url}/hub/api/users/{self.user}/server", headers={"X-XSRFToken": self._token}, timeout=60
        )
        assert answer.status_code in (202, 204), answer.text

    @property
    def _token(self) -> str:
        (token,) = {cookie.value for cookie in self.http.cookies if (cookie.name, cookie.path) == ("_xsrf", "/hub/")}
        return token

    def _post(self, path: str, form: dict[str, str]) -> requests.Response:
        return self.http.post(f"{self.url}/{path}", data={**form, "_xsrf": self._token}, timeout=PATIENCE_S)


# ----------------------------------------------------------------------------------------------------- the whole chart

# First in this file, because it installs another operator. Skipped on machines without the charts it depends on.
if values.have_dependencies():

    def test_the_whole_chart(kubernetes, images):
        """zero-to-jupyterhub, the operator and the kit's own objects, installed with one `helm install`."""
        from helm_python import Config

        kubernetes.remove_operator()
        name, _, tag = images.facility.rpartition(":")
        image, password = {"name": name, "tag": tag}, secrets.token_hex(16)
        config = {"DummyAuthenticator": {"password": password}}
        hub = {"hub": {"image": image, "config": config}, "proxy": {"chp": {"image": image}}}
        given = values.read("test", {"jupyterhub": hub, "dask-kubernetes-operator": {"image": image}})
        with kubernetes.namespace() as name:
            helm = Config(kubeconfig_path=kubernetes.kubeconfig, namespace=name)
            helm.install(values.CHART, "af", given, namespace=name, timeout=PATIENCE_S, wait="watcher")
            try:
                with kubernetes.forwarded("service/proxy-public", 80, name) as port:
                    alice = Visitor(f"http://127.0.0.1:{port}", "alice", password)
                    alice.log_in()
                    alice.choose(profile="small", **{"profile-option-small--image": "kit"})
                    dask_cluster = Kernel(alice).run(CONNECT).strip()
                    check_dashboard(alice, f"proxy/{dask_cluster}-scheduler.{name}:8787")
                    alice.stop_server()
                until(
                    lambda: not kubernetes.pods_of(dask_cluster, name),
                    "the removal of the cluster with the server",
                    3 * WAIT_S,
                )
            finally:
                helm.uninstall("af", timeout=60)
        kubernetes.remove_operator()


# ---------------------------------------------------------------------------------------------------- what users may


@pytest.fixture(scope="module")
def cluster(kubernetes, images) -> Kubernetes:
    """The Kubernetes cluster, with Dask's operator."""
    kubernetes.install_operator(images.facility)
    return kubernetes


@pytest.fixture(scope="module")
def facility(cluster, images, tmp_path_factory) -> Iterator[str]:
    """A namespace with the chart's own objects, installed by Helm without the charts that it depends on."""
    from helm_python import Config

    own = tmp_path_factory.mktemp("helm") / "af-kit"
    shutil.copytree(values.CHART, own, ignore=shutil.ignore_patterns("charts"))
    chart = yaml.safe_load((own / "Chart.yaml").read_text())
    for dependency in chart.pop("dependencies"):
        assert dependency["condition"] == f"{dependency['name']}.enabled"
    (own / "Chart.yaml").write_text(yaml.safe_dump(chart))
    given = values.read("test", {"podSecurity": {"image": images.kit}, "jupyterhub": {"enabled": False}})
    with cluster.namespace() as name:
        config = Config(kubeconfig_path=cluster.kubeconfig, namespace=name)
        config.install(own, "af", given, namespace=name, timeout=120, wait="watcher")
        try:
            yield name
        finally:
            cluster.kubectl("delete", "pods", "--all", f"--namespace={name}", "--wait=false")
            cluster.kubectl("delete", "daskclusters", "--all", f"--namespace={name}", "--timeout=100s", timeout=120)
            config.uninstall("af", timeout=60)


def test_the_namespace_has_the_pod_security_label(cluster, facility):
    labels = json.loads(cluster.kubectl("get", "namespace", facility, "-o=json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(
    ("verb", "what"),
    [("get", "secrets"), ("list", "secrets"), ("create", "pods"), ("create", "pods/exec"), ("delete", "pods"),
     ("create", "rolebindings.rbac.authorization.k8s.io"), ("delete", "networkpolicies.networking.k8s.io"),
     ("list", "nodes"), ("create", "deployments.apps")],
)  # fmt: skip
def test_what_a_user_may_not_do(cluster, facility, verb, what):
    who = f"system:serviceaccount:{facility}:af-kit-user"
    answer = cluster.kubectl("auth", "can-i", verb, what, f"--namespace={facility}", f"--as={who}", check=False)
    assert "no" in answer.split()
    assert "yes" not in answer.split()


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


def test_a_users_pod_needs_no_other_permissions(cluster, facility, images):
    """Notebook and workers have the same image without configuration; the Dask cluster is removed with the pod."""
    small = {"memory": "768 MiB", "cpu_request": 0.1, "scheduler": {"cores": 0.1, "memory": "512 MiB"}}
    pod = user_pod("jupyter-alice", images.kit, INSIDE, {"timeout_s": 120, "kubernetes": small})
    cluster.apply([pod], facility)
    log = _log_with(cluster, facility, "jupyter-alice", "SUM 3")
    up = next(line for line in log.splitlines() if line.startswith("UP"))
    name = up.split()[2]
    assert up.split()[3] == f"tcp://{name}-scheduler.{facility}:8786"
    (dask_cluster,) = cluster.get("daskclusters", facility)
    assert dask_cluster["metadata"]["ownerReferences"][0]["name"] == "jupyter-alice"
    assert dask_cluster["spec"]["worker"]["spec"]["containers"][0]["image"] == images.kit
    (policy,) = [one for one in cluster.get("networkpolicies", facility) if one["metadata"]["name"] == name]
    assert policy["spec"]["podSelector"]["matchLabels"] == {"dask.org/cluster-name": name}
    cluster.kubectl("delete", "pod", "jupyter-alice", f"--namespace={facility}", "--grace-period=1", timeout=90)
    until(lambda: not cluster.pods_of(name, facility), "the removal of the cluster with the pod", 3 * WAIT_S)


def _log_with(cluster: Kubernetes, namespace: str, pod: str, text: str) -> str:
    log = [""]

    def has() -> bool:
        log[0] = cluster.kubectl("logs", pod, f"--namespace={namespace}", check=False)
        assert "Traceback" not in log[0], log[0]
        return text in log[0]

    until(has, f"{text!r} in the log of {pod}", 3 * WAIT_S)
    return log[0]


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
    ("change", "message"),
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
        (
            lambda one: one["spec"]["scheduler"].update(metadata={"labels": {"hub.jupyter.org/username": "bob"}}),
            "labels",
        ),
        (lambda one: one["spec"]["worker"].update(metadata={"labels": {"hub.jupyter.org/username": "bob"}}), "labels"),
    ],
    ids=["account", "secret", "variable", "label", "scheduler's label", "worker's label"],
)
def test_what_a_users_dask_cluster_may_not_contain(cluster, facility, tmp_path, change: Callable, message):
    user = Kubernetes(_as_user(cluster, facility, tmp_path))
    one = dask_cluster()
    change(one)
    assert message in user.kubectl("create", f"--namespace={facility}", "--dry-run=server", "-f", "-",
                                 given=yaml.safe_dump(one), check=False)  # fmt: skip
    user.kubectl(
        "create", f"--namespace={facility}", "--dry-run=server", "-f", "-", given=yaml.safe_dump(dask_cluster())
    )


def test_which_secrets_and_policies_a_user_may_create(cluster, facility, tmp_path):
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


# -------------------------------------------------------------------------------------------------- a hub with all that


@pytest.fixture(scope="module")
def hub_values() -> dict[str, Any]:
    """The test site's values, with home directories and a password."""
    config = {"DummyAuthenticator": {"password": secrets.token_hex(16)}}
    over = {"hub": {"config": config}, "singleuser": {"storage": {"type": "dynamic"}}}
    found: dict[str, Any] = values.read("test", {"jupyterhub": over})["jupyterhub"]
    return found


@pytest.fixture(scope="module")
def alice(cluster, facility, images, hub_values, tmp_path_factory) -> Iterator[Visitor]:
    """A user of the facility's hub with a server of the smallest size."""
    with home(cluster, facility, tmp_path_factory.mktemp("home")):
        cluster.apply(hub_in_a_pod.objects(images.facility, hub_values), facility)
        wait = ("wait", "deployment/hub", "--for=condition=Available", f"--timeout={PATIENCE_S}s")
        cluster.kubectl(*wait, f"--namespace={facility}", timeout=PATIENCE_S + 10)
        with cluster.forwarded(f"service/{hub_in_a_pod.PUBLIC}", 80, facility) as port:
            password = hub_values["hub"]["config"]["DummyAuthenticator"]["password"]
            visitor = Visitor(f"http://127.0.0.1:{port}", "alice", password)
            visitor.log_in()
            visitor.choose(profile="small", **{"profile-option-small--image": "kit"})
            yield visitor
        cluster.kubectl("delete", "persistentvolumeclaims", "--all", f"--namespace={facility}", "--wait=false")


@contextlib.contextmanager
def home(cluster: Kubernetes, namespace: str, folder: Path) -> Iterator[None]:
    """A home directory for alice in a folder of this machine, if the cluster has no storage class to create one.

    The claim is bound before her pod is created: Kubernetes may take five minutes until it tries again to place a pod
    whose claim was not bound.
    """
    if cluster.kubectl("get", "storageclasses", "-o=name"):
        yield
        return
    folder.chmod(0o777)
    name, storage, mode = f"af-kit-{secrets.token_hex(4)}", {"storage": "10Gi"}, {"accessModes": ["ReadWriteOnce"]}
    spec = {**mode, "capacity": storage, "hostPath": {"path": str(folder)}, "storageClassName": ""}
    claim = {**mode, "resources": {"requests": storage}, "storageClassName": "", "volumeName": name}
    with cluster.existing({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}):
        metadata = {"name": "claim-alice"}
        cluster.apply(
            [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim}], namespace
        )
        wait = ("wait", "persistentvolumeclaim/claim-alice", "--for=jsonpath={.status.phase}=Bound", "--timeout=60s")
        cluster.kubectl(*wait, f"--namespace={namespace}", timeout=90)
        yield


@pytest.fixture
def kernel(alice) -> Iterator[Kernel]:
    kernel = Kernel(alice, str(Path(NOTEBOOK).parent))
    kernel.run("import os; os.environ['AF_KIT_EVENTS'] = '20000'")
    yield kernel
    kernel.stop()


def server_pod(cluster: Kubernetes, facility: str) -> dict[str, Any]:
    (pod,) = cluster.get("pods", facility, component="singleuser-server")
    return pod


def test_a_server_has_the_settings_in_the_values(cluster, facility, alice, kernel, hub_values, images):
    user = hub_values["singleuser"]
    pod = server_pod(cluster, facility)
    (container,) = pod["spec"]["containers"]
    assert container["image"] == images.kit
    assert pod["spec"]["serviceAccountName"] == user["serviceAccountName"]
    assert container["resources"]["limits"]["memory"] == "2147483648"
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert user["extraEnv"].items() <= variables.items()
    (file,) = user["extraFiles"].values()
    assert kernel.run(f"print(open({file['mountPath']!r}).read(), end='')") == file["stringData"]
    assert kernel.run("print(os.environ['JUPYTER_IMAGE_SPEC'])") == f"{images.kit}\n"
    assert kernel.run(f"print(os.path.ismount({user['storage']['homeMountPath']!r}))") == "True\n"


def test_notebook_01_on_connect(cluster, facility, kernel):
    """The notebook's files are in the user's home directory, which workers do not see."""
    output = kernel.run_notebook(NOTEBOOK, within_s=300)
    assert f"-scheduler.{facility}:8787/status" in output
    labels = {"dask.org/component": "worker"}
    until(lambda: not cluster.get("pods", facility, **labels), "the end of the cluster", 3 * WAIT_S)


def test_the_panels_cluster_its_dashboard_and_notebook_01_on_it(cluster, facility, alice, kernel):
    model = alice.ask("PUT", "dask/clusters").json()
    (made,) = cluster.get("daskclusters", facility)
    name = made["metadata"]["name"]
    host = f"{name}-scheduler.{facility}"
    assert model["dashboard_link"] == f"/user/alice/proxy/{host}:8787/status"
    assert made["metadata"]["ownerReferences"][0]["name"] == server_pod(cluster, facility)["metadata"]["name"]
    check_dashboard(alice, f"proxy/{host}:8787")
    output = kernel.run_notebook(NOTEBOOK, within_s=300)
    assert f"The cluster of the Dask panel, tcp://{host}:8786" in output
    assert alice.ask("DELETE", f"dask/clusters/{model['id']}").status_code == 204
    assert not cluster.pods_of(name, facility)
    assert alice.get(f"proxy/{host}:8787/status").status_code == 403  # since it is not her cluster now


def test_addresses_other_than_her_schedulers_stay_refused(cluster, facility, alice, kernel):
    host = f"{kernel.run(CONNECT).strip()}-scheduler.{facility}"
    assert alice.get(f"proxy/{host}:8787/status").status_code == 200
    for target in (f"{host}:8786/", f"hub.{facility}:8081/hub/api", "kubernetes.default:443/", "169.254.169.254:80/"):
        answer = alice.get(f"proxy/{target}")
        assert answer.status_code == 403, target
        assert "is not allowed" in answer.text
    kernel.run("client.close()")


def test_her_clusters_end_with_her_server_and_her_home_stays(cluster, facility, alice, images):
    """Her next server has another image, and its workers have the same."""
    first = Kernel(alice)
    first.run("from pathlib import Path; Path.home().joinpath('mine').write_text('mine')")
    name = first.run(CONNECT).strip()
    assert cluster.pods_of(name, facility)
    alice.stop_server()
    until(lambda: not cluster.get("pods", facility, component="singleuser-server"), "the server's end", WAIT_S)
    until(lambda: not cluster.pods_of(name, facility), "the removal of the cluster with the server", 3 * WAIT_S)

    another = {"profile-option-small--image": "", "profile-option-small--image--unlisted-choice": images.facility}
    alice.choose(profile="small", **another)
    assert server_pod(cluster, facility)["spec"]["containers"][0]["image"] == images.facility
    second = Kernel(alice)
    assert second.run("from pathlib import Path; print(Path.home().joinpath('mine').read_text())") == "mine\n"
    name = second.run(CONNECT).strip()
    assert {pod["spec"]["containers"][0]["image"] for pod in cluster.pods_of(name, facility)} == {images.facility}
    second.run("client.close()")
