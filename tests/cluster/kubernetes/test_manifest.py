from __future__ import annotations

import os

import dask

from af_kit import config
from af_kit.cluster.kubernetes.manifest import PodSize, PodTemplate, dask_cluster, worker_group


def manifest(**settings) -> dict:
    full = {**config.get("cluster.kubernetes"), **settings}
    return dask_cluster(
        "dask-alice",
        PodTemplate("kit:1", {"A": "1"}, full),
        namespace="u",
        scheduler=PodSize(1, 0.5, 1 << 30),
        worker=PodSize(2, 1.5, 4 << 30, None, {"nvidia.com/gpu": 1}),
        n_workers=3,
        labels={"dask.org/user": "alice"},
        idle_timeout_s=60,
        owner=None,
    )


def containers(spec: dict) -> list[dict]:
    return [pod["spec"]["containers"][0] for pod in (spec["spec"]["scheduler"], spec["spec"]["worker"])]


def test_all_pods_satisfy_restricted_pod_security():
    """https://kubernetes.io/docs/concepts/security/pod-security-standards; the service test has Kubernetes' check."""
    spec = manifest()
    for component in ("scheduler", "worker"):
        pod = spec["spec"][component]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == (os.getuid() or 1000)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
    for container in containers(spec):
        security = container["securityContext"]
        assert security == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_resources_of_a_worker_and_a_smaller_memory_limit_for_dask():
    worker = containers(manifest())[1]
    assert worker["resources"]["requests"] == {"cpu": "1.5", "memory": str(4 << 30), "nvidia.com/gpu": "1"}
    assert worker["resources"]["limits"] == {"memory": str(4 << 30), "nvidia.com/gpu": "1"}
    limit = int(worker["command"][worker["command"].index("--memory-limit") + 1])
    assert 0.9 * (4 << 30) < limit < 4 << 30
    assert worker["command"][worker["command"].index("--nthreads") + 1] == "2"


def test_the_scheduler_serves_the_route_for_scaling_down():
    (routes,) = (item["value"] for item in containers(manifest())[0]["env"] if item["name"].endswith("HTTP__ROUTES"))
    assert "distributed.http.scheduler.api" in routes


def test_the_scheduler_keeps_few_messages():
    """With a thousand of each worker, those of a long run are larger than its memory."""
    name = "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH"

    def configured():
        return [item["value"] for item in containers(manifest())[0]["env"] if item["name"] == name]

    assert configured() == ["20"]
    with dask.config.set({"distributed.admin.low-level-log-length": 500}):
        assert configured() == ["500"]


def test_workers_connect_to_a_new_scheduler_without_a_delay():
    spec = manifest(preload=["uproot"])
    assert spec["spec"]["scheduler"]["service"]["publishNotReadyAddresses"] is True
    command = containers(spec)[1]["command"]
    assert command[-4:] == ["--preload", "uproot", "--preload-nanny", "af_kit.cluster.workers.connect_preload"]
    assert "--preload-nanny" not in containers(manifest(preload_nanny=[]))[1]["command"]


def test_site_settings_apply_to_every_pod():
    spec = manifest(
        image_pull_secrets=["registry"],
        node_selector={"pool": "batch"},
        priority_class="low",
        volumes=[{"name": "cvmfs", "persistentVolumeClaim": {"claimName": "cvmfs"}}],
        volume_mounts=[{"name": "cvmfs", "mountPath": "/cvmfs"}],
        pod={"hostAliases": [{"ip": "10.0.0.1"}], "securityContext": {"fsGroup": 100}},
    )
    for component in ("scheduler", "worker"):
        pod = spec["spec"][component]["spec"]
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


def test_workers_of_a_further_group_offer_it_as_a_resource():
    template = PodTemplate("kit:1", {}, config.get("cluster.kubernetes"))
    group = worker_group("dask-alice", template, PodSize(1, 1, 1 << 30), 2, namespace="u", group="bigmem")
    command = group["spec"]["containers"][0]["command"]
    assert command[command.index("--resources") + 1] == "bigmem=1"
    assert group["replicas"] == 2
