"""What connect("kubernetes") decides by itself; tests/services/test_kubernetes.py has a real cluster."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from af_kit import config
from af_kit.cluster import request
from af_kit.cluster.kubernetes import api, backend, context, names, permissions, proxy_secret
from af_kit.cluster.kubernetes.cluster import KubernetesCluster
from af_kit.cluster.kubernetes.context import Place
from af_kit.cluster.kubernetes.diagnostics import find_obstacles, is_ready
from af_kit.cluster.kubernetes.manifest import Pods, Size, dask_cluster, worker_group
from af_kit.cluster.kubernetes.status import View
from af_kit.errors import ConnectError, InputError

# ------------------------------------------------------------------------------------------------------------- names


@given(st.text(min_size=1, max_size=80))
def test_any_user_gives_a_name_that_kubernetes_takes(user):
    name = names.escaped(user)
    assert len(name) <= 24
    assert names.cluster_name(name, "") == name


@given(st.sets(st.text(alphabet="ab_@.A-", min_size=1, max_size=40), min_size=2, max_size=20))
def test_two_users_never_share_a_name(users):
    assert len({names.escaped(user) for user in users}) == len(users)


@pytest.mark.parametrize("user", ["Alice", "a_b", "a@b", "alice@cern.ch", "x" * 100, "7", "-"])
def test_a_new_name_has_the_user_and_differs_each_time(monkeypatch, user):
    monkeypatch.setenv("JUPYTERHUB_USER", user)
    one, other = (names.cluster_name(None, "dask-{user}-{uuid}") for _ in range(2))
    assert one != other
    assert names.escaped(user) in one


@pytest.mark.parametrize("name", ["Big", "a_b", "-a", "a-", "x" * 54, "a.b"])
def test_a_name_that_kubernetes_does_not_take(name):
    with pytest.raises(InputError, match=r"For example '[a-z0-9-]+'"):
        names.cluster_name(name, "")


def test_a_template_with_another_word():
    with pytest.raises(InputError, match=r"af_kit.cluster.kubernetes.name is 'dask-\{group\}'"):
        names.cluster_name(None, "dask-{group}")


# ------------------------------------------------------------------------------------------------------------- place

POD = {"metadata": {"name": "jupyter-a", "uid": "7"}, "spec": {"containers": [{"name": "proxy", "image": "sidecar"},
       {"name": "notebook", "image": "kit:1"}]}}  # fmt: skip


def test_the_image_is_the_notebooks_unless_another_was_asked_for(monkeypatch):
    for name in ("JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    inside = Place(inside=True, namespace="u", pod=POD)
    assert context.image_for(inside, None, None) == "kit:1"
    monkeypatch.setenv("JUPYTER_IMAGE", "chosen:2")
    assert context.image_for(inside, None, None) == "chosen:2"
    assert context.image_for(inside, None, "site:3") == "site:3"
    assert context.image_for(inside, "mine:4", "site:3") == "mine:4"


def test_outside_nobody_says_which_image(monkeypatch):
    for name in ("JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="Which image"):
        context.image_for(Place(inside=False, namespace="u"), None, None)


def test_the_own_pod_is_the_owner():
    assert Place(inside=False, namespace="u").owner is None
    assert Place(inside=True, namespace="u", pod=POD).owner == {
        "apiVersion": "v1", "kind": "Pod", "name": "jupyter-a", "uid": "7"
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- manifest


def manifest(**settings) -> dict:
    full = {**config.get("cluster.kubernetes"), **settings}
    return dask_cluster(
        "dask-alice",
        Pods("kit:1", {"A": "1"}, full),
        namespace="u",
        scheduler=Size(1, 0.5, 1 << 30),
        worker=Size(2, 1.5, 4 << 30, None, {"nvidia.com/gpu": 1}),
        n_workers=3,
        labels={"dask.org/user": "alice"},
        idle_timeout_s=60,
        owner=None,
    )


def containers(spec: dict) -> list[dict]:
    return [pod["spec"]["containers"][0] for pod in (spec["spec"]["scheduler"], spec["spec"]["worker"])]


def test_all_pods_satisfy_restricted_pod_security():
    """https://kubernetes.io/docs/concepts/security/pod-security-standards: the service test has the real check."""
    spec = manifest()
    for part in ("scheduler", "worker"):
        pod = spec["spec"][part]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == (os.getuid() or 1000)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
    for container in containers(spec):
        security = container["securityContext"]
        assert security == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_sizes_and_the_memory_that_dask_is_told():
    worker = containers(manifest())[1]
    assert worker["resources"]["requests"] == {"cpu": "1.5", "memory": str(4 << 30), "nvidia.com/gpu": "1"}
    assert worker["resources"]["limits"] == {"memory": str(4 << 30), "nvidia.com/gpu": "1"}
    limit = int(worker["command"][worker["command"].index("--memory-limit") + 1])
    assert 0.9 * (4 << 30) < limit < 4 << 30
    assert worker["command"][worker["command"].index("--nthreads") + 1] == "2"


def test_scale_down_asks_the_scheduler():
    (routes,) = (item["value"] for item in containers(manifest())[0]["env"] if item["name"].endswith("HTTP__ROUTES"))
    assert "distributed.http.scheduler.api" in routes


def test_nobody_waits_for_the_routes_of_a_new_scheduler():
    spec = manifest(preload=["uproot"])
    assert spec["spec"]["scheduler"]["service"]["publishNotReadyAddresses"] is True
    command = containers(spec)[1]["command"]
    assert command[-4:] == ["--preload", "uproot", "--preload-nanny", "af_kit.cluster.workers.connect_preload"]
    assert "--preload-nanny" not in containers(manifest(preload_nanny=[]))[1]["command"]


def test_site_settings_reach_every_pod():
    spec = manifest(
        image_pull_secrets=["registry"],
        node_selector={"pool": "batch"},
        priority_class="low",
        volumes=[{"name": "cvmfs", "persistentVolumeClaim": {"claimName": "cvmfs"}}],
        volume_mounts=[{"name": "cvmfs", "mountPath": "/cvmfs"}],
        pod={"hostAliases": [{"ip": "10.0.0.1"}], "securityContext": {"fsGroup": 100}},
    )
    for part in ("scheduler", "worker"):
        pod = spec["spec"][part]["spec"]
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert (pod["nodeSelector"], pod["priorityClassName"]) == ({"pool": "batch"}, "low")
        assert pod["volumes"][0]["name"] == pod["containers"][0]["volumeMounts"][0]["name"] == "cvmfs"
        assert pod["hostAliases"]
        assert pod["securityContext"]["fsGroup"] == 100
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_only_workers_get_the_proxy():
    scheduler, worker = (manifest(proxy_secret=True)["spec"][part]["spec"] for part in ("scheduler", "worker"))
    assert "x509" not in str(scheduler)
    (volume,) = worker["volumes"]
    assert volume["secret"]["secretName"] == "dask-alice-x509-proxy"
    assert worker["securityContext"]["fsGroup"] == worker["securityContext"]["runAsUser"]
    command = worker["containers"][0]["command"]
    assert command[command.index("--preload") + 1] == "af_kit.plugins.mounted_proxy_preload"
    assert "x509" not in str(manifest()).lower()


def test_a_group_of_its_own():
    pods = Pods("kit:1", {}, config.get("cluster.kubernetes"))
    group = worker_group("dask-alice", pods, Size(1, 1, 1 << 30), 2, namespace="u", group="bigmem")
    command = group["spec"]["containers"][0]["command"]
    assert command[command.index("--resources") + 1] == "bigmem=1"
    assert group["replicas"] == 2


@pytest.fixture
def manifests(monkeypatch) -> Callable[..., list[dict]]:
    """What would be made of the arguments of ``connect``."""

    def make(memory=None, cores=None, **options) -> list[dict]:
        return backend.start(request.check(memory=memory, cores=cores), image="kit:1", **options)

    outside = Place(inside=False, namespace="u")
    monkeypatch.setattr(backend, "KubernetesCluster", lambda **given: given["describe"](outside))
    return make


def test_what_a_group_may_differ_in(manifests):
    gpu = {"cores": 4, "memory": "8 GiB", "resources": {"nvidia.com/gpu": 1}}
    gpu |= {"node_selector": {"pool": "gpu"}, "tolerations": [{"key": "gpu"}]}
    (group,) = manifests(groups={"gpu": gpu})[1:]
    spec = group["spec"]["worker"]["spec"]
    container = spec["containers"][0]
    assert group["metadata"]["name"] == f"{group['spec']['cluster']}-gpu"
    assert container["command"][container["command"].index("--resources") + 1] == "gpu=4"
    assert container["resources"]["limits"] == {"memory": str(8 << 30), "nvidia.com/gpu": "1"}
    assert (spec["nodeSelector"], spec["tolerations"]) == ({"pool": "gpu"}, [{"key": "gpu"}])


def test_a_group_is_as_the_other_workers_where_it_does_not_differ(manifests):
    cluster, group = manifests(memory="3 GiB", cores=2, groups={"more": {}})
    other, theirs = (one["spec"]["worker"]["spec"]["containers"][0] for one in (cluster, group))
    assert theirs["resources"] == other["resources"]
    assert theirs["command"] == [*other["command"], "--resources", "more=2"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"groups": {"Big": {}}}, "name of a group"),
        ({"groups": {"default": {}}}, "name of a group"),
        ({"groups": {"b" * 60: {}}}, r"at most \d+ of"),
        ({"groups": {"big": {"memroy": "1 GiB"}}}, "'memory'"),
        ({"groups": {"big": {"n_workers": "two"}}}, "no number of workers"),
        ({"groups": {"big": {"memory": "much"}}}, "memory='much'"),
        ({"security": True}, "no clusters with TLS"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_made(options, words):
    with pytest.raises(InputError, match=words):
        backend.start(request.check(security=options.pop("security", None)), asynchronous=True, **options)


# --------------------------------------------------------------------------------------------------------- obstacles


def pod(conditions=(), state=None, last=None) -> dict:
    container = {"name": "worker", "image": "kit:1", "state": state or {}, "lastState": last or {}}
    return {"metadata": {"name": "p"}, "status": {"conditions": list(conditions), "containerStatuses": [container]}}


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                 "message": "0/1 nodes are available: 1 Insufficient memory."}  # fmt: skip


@pytest.mark.parametrize(
    ("thing", "words", "lasting"),
    [
        (pod([UNSCHEDULABLE]), "no node to run on: 0/1 nodes are available: 1 Insufficient memory", False),
        (
            pod(state={"waiting": {"reason": "ErrImagePull", "message": "not found"}}),
            "image kit:1 cannot be had",
            False,
        ),
        (pod(state={"waiting": {"reason": "InvalidImageName", "message": "x"}}), "InvalidImageName: x", True),
        (pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}}), "no secret", False),
        (pod(state={"terminated": {"exitCode": 3, "reason": "Error"}}), "ended with exit code 3", True),
        (pod(last={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), "OOMKilled", True),
    ],
)
def test_what_a_pod_says(thing, words, lasting):
    (obstacle,) = find_obstacles("worker", [], [thing])
    assert words in str(obstacle)
    assert obstacle.lasting is lasting
    assert str(obstacle).rstrip().endswith((".", "?"))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1', "Ask for less"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": ...', "allows only pods that give up"),
        ('pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi', "limits what a pod may"),
        ('pods "x" is forbidden: error looking up service account u/x: not found', "service_account="),
    ],
)
def test_a_pod_that_may_not_be_made(message, words):
    deployment = {"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]}}
    (obstacle,) = find_obstacles("worker", [deployment], [])
    assert words in obstacle.advice
    assert message.partition("forbidden: ")[2].rstrip(".") in str(obstacle)


def test_the_gravest_comes_first_and_a_pod_that_goes_says_nothing():
    grave = pod(state={"terminated": {"exitCode": 1}})
    found = find_obstacles("worker", [], [pod([UNSCHEDULABLE]), grave])
    assert [obstacle.lasting for obstacle in found] == [True, False]
    going = {**grave, "metadata": {"name": "p", "deletionTimestamp": "now"}}
    assert not find_obstacles("worker", [], [going])
    assert not is_ready(grave)
    assert is_ready(pod([{"type": "Ready", "status": "True"}]))


# ------------------------------------------------------------------------------------------------------------- proxy


def proxy(path, hours: float) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(days=1))
    certificate = builder.not_valid_after(now + timedelta(hours=hours)).sign(key, hashes.SHA256())
    path.touch(mode=0o600)
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_a_proxy_that_cannot_be_used_is_refused_before_anything_is_made(tmp_path):
    path = tmp_path / "proxy"
    with pytest.raises(InputError, match=r"There is no X\.509 proxy"):
        proxy_secret.ProxySecret(path)
    path.write_text("something else")
    with pytest.raises(InputError, match=r"is no X\.509 proxy"):
        proxy_secret.ProxySecret(path)
    proxy(path, -1)
    with pytest.raises(InputError, match="expired"):
        proxy_secret.ProxySecret(path)
    proxy(path, 12)
    assert "PRIVATE" not in repr(vars(proxy_secret.ProxySecret(path)))


def test_which_proxy(monkeypatch, tmp_path):
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "mine"))
    assert proxy_secret.proxy_file(True) == tmp_path / "mine"
    assert proxy_secret.proxy_file(str(tmp_path / "other")) == tmp_path / "other"
    monkeypatch.delenv("X509_USER_PROXY")
    assert str(proxy_secret.proxy_file(True)) == f"/tmp/x509up_u{os.geteuid()}"


# ------------------------------------------------------------------------------------------------- a kubeconfig's keys


class Auth:
    """As kr8s has logged in with a kubeconfig: each time with new files for what that holds as text."""

    def __init__(self, folder: Path, user: dict[str, str]) -> None:
        self._folder, self._user, self._cluster = folder, user, {"certificate-authority-data": "x"}
        self._log_in()

    def _log_in(self) -> None:
        own = self._user.get("client-key")
        self.client_key_file = own or str(write(self._folder))
        self.client_cert_file, self.server_ca_file = write(self._folder), str(write(self._folder))

    async def reauthenticate(self) -> None:
        self._log_in()

    async def ssl_context(self) -> str:
        return Path(self.client_key_file).read_text()


def write(folder: Path) -> Path:
    path = Path(tempfile.mkstemp(dir=folder)[1])
    path.write_text("key")
    return path


@pytest.mark.parametrize("own", [False, True])
def test_no_file_with_a_key_stays_but_the_users_own(monkeypatch, tmp_path, own):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    user = {"client-key": str(write(tmp_path))} if own else {"client-key-data": "key"}
    auth = Auth(tmp_path, {**user, "client-certificate-data": "x"})

    async def use() -> None:
        await api._keep_no_keys(auth)
        await auth.reauthenticate()
        assert await auth.ssl_context() == "key"

    asyncio.run(use())
    assert [str(path) for path in tmp_path.iterdir()] == ([user["client-key"]] if own else [])


def test_only_a_few_rights_are_asked_for_at_a_time(monkeypatch):
    now, most = 0, 0

    async def request(api, method, path, *, body, **options):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return {"status": {"allowed": body["spec"]["resourceAttributes"]["verb"] != "delete"}}

    monkeypatch.setattr(permissions, "request", request)
    missing = asyncio.run(permissions.missing(None, "af", permissions.NEEDED))
    assert [str(right) for right in missing] == ["delete daskclusters.kubernetes.dask.org"]
    assert most == 4


NEW_QUOTA = 'daskclusters "dask-a" is forbidden: status unknown for quota: af-kit, resources: count/daskclusters'


def test_a_quota_that_is_not_counted_yet_is_waited_for(monkeypatch):
    monkeypatch.setattr("af_kit.cluster.kubernetes.cluster._COUNT_S", 0.01)
    answers = [api.Refused(NEW_QUOTA, 403), api.Refused(NEW_QUOTA, 403), {"metadata": {"uid": "7"}}]

    async def request(*arguments, **options):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(api, "request", request)
    cluster = object.__new__(KubernetesCluster)
    cluster._cluster_info, cluster.namespace, cluster.manifest, seen = {"name": "dask-a"}, "af", {}, []
    asyncio.run(cluster._create(None, seen))
    assert (cluster.manifest, answers, seen) == ({"metadata": {"uid": "7"}}, [], [])

    answers[:] = [api.Refused(NEW_QUOTA, 403)] * 100

    async def not_for_ever() -> None:
        async with asyncio.timeout(0.1):
            await cluster._create(None, seen)

    with pytest.raises(TimeoutError):
        asyncio.run(not_for_ever())
    assert "status unknown for quota: af-kit" in str(seen[0])

    answers[:] = [api.Refused("exceeded quota: af-kit", 403)]
    with pytest.raises(
        ConnectError, match="Kubernetes refuses the Dask cluster dask-a in namespace af: exceeded quota"
    ):
        asyncio.run(cluster._create(None, seen))


class Restarting(View):
    """A cluster whose pod is just started again: its node has removed the container that is asked for."""

    def __init__(self, *texts: str) -> None:
        super().__init__(None, "late", "af")
        self.texts = list(texts)

    async def _log(self, pod: str, params: dict[str, str]) -> str:
        return self.texts.pop(0)


def test_the_last_words_of_a_container_that_its_node_has_removed_are_those_of_the_next(monkeypatch):
    monkeypatch.setattr("af_kit.cluster.kubernetes.status._LOOK_S", 0.01)
    gone = "unable to retrieve container logs for containerd://50fb"
    view = Restarting(gone, "", "Traceback:\n  File x\nNo module named 'a'", "never asked")
    assert asyncio.run(view.last_words("pod")) == "\nThe end of its log:\nTraceback:\nNo module named 'a'"
    assert asyncio.run(Restarting(*[gone] * 8).last_words("pod")) == ""
    assert asyncio.run(Restarting("", "").last_words("pod")) == ""
