"""The manifests of a DaskCluster and its further worker groups, from which the operator creates pods."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from af_kit.cluster.kubernetes import proxy_secret
from af_kit.cluster.kubernetes.api import DASK

SCHEDULER_PORT, DASHBOARD_PORT = 8786, 8787
# Memory for a worker's nanny and the kernel's buffers: Dask must reach its limit before the pod reaches its own.
_NANNY_BYTES = 160 << 20
_SCHEDULER_API = "distributed.http.scheduler.api"


@dataclass(frozen=True)
class PodSize:
    """Resources of one pod.

    Attributes
    ----------
    cores : float
        Threads of a worker.
    cpu_request : float
        CPUs to reserve.
    memory : int
        Bytes to reserve; also the pod's limit.
    cpu_limit : float or None
        Limit of CPUs, if there is one: with a limit, Linux stops the pod for parts of each 0.1 s.
    extended : mapping
        Other resources, such as ``{"nvidia.com/gpu": 1}``.
    """

    cores: float
    cpu_request: float
    memory: int
    cpu_limit: float | None = None
    extended: Mapping[str, Any] | None = None

    def resources(self) -> dict[str, Any]:
        """Return the ``resources`` of the container."""
        extended = {name: str(amount) for name, amount in (self.extended or {}).items()}
        limits = {"memory": str(self.memory), **extended}
        if self.cpu_limit is not None:
            limits["cpu"] = f"{self.cpu_limit:g}"
        return {"requests": {"cpu": f"{self.cpu_request:g}", "memory": str(self.memory), **extended}, "limits": limits}


@dataclass(frozen=True)
class PodTemplate:
    """What all pods of a cluster have in common.

    Attributes
    ----------
    image : str
        Image of scheduler and workers.
    environment : mapping
        Environment variables.
    settings : mapping
        The configuration ``af_kit.cluster.kubernetes``, updated with the user's arguments.
    """

    image: str
    environment: Mapping[str, str]
    settings: Mapping[str, Any]

    def spec(self, container: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
        """Return the specification of a pod with one container and further environment variables."""
        settings = self.settings
        # The doctor compares CONTAINER_IMAGE with the notebook's image.
        environment = {"CONTAINER_IMAGE": self.image, **self.environment, **variables}
        full: dict[str, Any] = {
            "image": self.image,
            "imagePullPolicy": settings["image_pull_policy"],
            "env": [{"name": name, "value": value} for name, value in environment.items()],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": copy.deepcopy(list(settings["volume_mounts"])),
            **container,
        }
        pod: dict[str, Any] = {
            "containers": [full],
            "securityContext": self._security(),
            "volumes": copy.deepcopy(list(settings["volumes"])),
            # No token: the pods do not use the API server, and a task must not act on it in the user's name.
            "automountServiceAccountToken": bool(settings["service_account"]),
            "enableServiceLinks": False,
        }
        optional = {
            "imagePullSecrets": [{"name": name} for name in settings["image_pull_secrets"]],
            "nodeSelector": dict(settings["node_selector"]),
            "tolerations": copy.deepcopy(list(settings["tolerations"])),
            "priorityClassName": settings["priority_class"],
            "serviceAccountName": settings["service_account"],
        }
        pod |= {name: value for name, value in optional.items() if value}
        return _merged(pod, settings["pod"])

    def _security(self) -> dict[str, Any]:
        """Return a security context that satisfies the Pod Security level "restricted"."""
        user = self.settings["run_as_user"]
        if user is None:
            user = os.getuid() or 1000
        return {"runAsNonRoot": True, "runAsUser": int(user), "seccompProfile": {"type": "RuntimeDefault"}}


def dask_cluster(
    name: str,
    template: PodTemplate,
    *,
    namespace: str,
    scheduler: PodSize,
    worker: PodSize,
    n_workers: int,
    labels: Mapping[str, str],
    idle_timeout_s: float,
    owner: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the manifest of a DaskCluster.

    Parameters
    ----------
    name, namespace : str
        Name and namespace of the cluster.
    template : PodTemplate
        What its pods have in common.
    scheduler, worker : PodSize
        Resources of the scheduler's pod and of each worker's.
    n_workers : int
        Initial number of workers.
    labels : mapping
        Labels of all objects of the cluster.
    idle_timeout_s : float
        Seconds without work after which the operator removes the cluster; 0: never.
    owner : mapping or None
        Reference to the object together with which Kubernetes removes the cluster.
    """
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": dict(labels)}
    if template.settings["annotations"]:
        metadata["annotations"] = dict(template.settings["annotations"])
    if owner:
        metadata["ownerReferences"] = [dict(owner)]
    return {
        "apiVersion": DASK,
        "kind": "DaskCluster",
        "metadata": metadata,
        "spec": {
            "idleTimeout": int(idle_timeout_s),
            "scheduler": _scheduler(name, template, scheduler),
            "worker": worker_group(name, template, worker, n_workers, namespace=namespace),
        },
    }


def dask_worker_group(
    group: str, worker: Mapping[str, Any], *, cluster: str, namespace: str, labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return the manifest of a further worker group; ``worker`` is from `worker_group`."""
    return {
        "apiVersion": DASK,
        "kind": "DaskWorkerGroup",
        "metadata": {"name": f"{cluster}-{group}", "namespace": namespace, "labels": dict(labels)},
        "spec": {"cluster": cluster, "worker": dict(worker)},
    }


def worker_group(
    cluster: str, template: PodTemplate, size: PodSize, n_workers: int, *, namespace: str, group: str = ""
) -> dict[str, Any]:
    """Return the part of a manifest that describes workers.

    Each worker of a named ``group`` has as many Dask resources of this name as threads, for tasks to request.
    """
    preload = list(template.settings["preload"])
    if template.settings["proxy_secret"]:
        preload.insert(0, proxy_secret.PRELOAD)  # first, because other modules check whether there is a proxy
    limit = max(size.memory - _NANNY_BYTES, size.memory // 2)
    threads = max(1, int(size.cores))
    command = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", str(threads)]
    command += ["--memory-limit", str(limit), "--no-dashboard"]
    for module in preload:
        command += ["--preload", module]
    for module in template.settings["preload_nanny"]:
        command += ["--preload-nanny", module]
    if group:
        command += ["--resources", f"{group}={threads}"]
    # Without the Kubernetes cluster's domain, which differs between sites.
    address = {"DASK_SCHEDULER_ADDRESS": f"tcp://{cluster}-scheduler.{namespace}:{SCHEDULER_PORT}"}
    container = {"name": "worker", "command": command, "resources": size.resources()}
    spec = template.spec(container, address)
    if template.settings["proxy_secret"]:
        spec = proxy_secret.mount(spec, cluster)
    return {"replicas": n_workers, "spec": spec}


def _scheduler(cluster: str, template: PodTemplate, size: PodSize) -> dict[str, Any]:
    dashboard = ("--dashboard-address", f"0.0.0.0:{DASHBOARD_PORT}")
    health = {"httpGet": {"port": "http-dashboard", "path": "/health"}}
    container = {
        "name": "scheduler",
        "command": ["dask", "scheduler", "--host", "0.0.0.0", "--port", str(SCHEDULER_PORT), *dashboard],
        "resources": size.resources(),
        "ports": [
            {"name": "tcp-comm", "containerPort": SCHEDULER_PORT, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": DASHBOARD_PORT, "protocol": "TCP"},
        ],
        # Probed each second because connect() waits for it. Killed only after minutes, because it may be busy.
        "readinessProbe": {**health, "periodSeconds": 1, "timeoutSeconds": 5},
        "livenessProbe": {**health, "initialDelaySeconds": 30, "periodSeconds": 20, "timeoutSeconds": 15,
                          "failureThreshold": 6},
    }  # fmt: skip
    service = {
        "type": "ClusterIP",
        # Routes exist before the scheduler is ready, so that workers connect without a delay (`connect_preload`), and
        # they stay when it is too busy to answer a probe.
        "publishNotReadyAddresses": True,
        "selector": {"dask.org/cluster-name": cluster, "dask.org/component": "scheduler"},
        "ports": [
            {"name": "tcp-comm", "protocol": "TCP", "port": SCHEDULER_PORT, "targetPort": "tcp-comm"},
            {"name": "http-dashboard", "protocol": "TCP", "port": DASHBOARD_PORT, "targetPort": "http-dashboard"},
        ],
    }
    return {
        "spec": template.spec(container, {"DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": _routes(), **_logs()}),
        "service": service,
    }


def _routes() -> str:
    """Return the scheduler's HTTP routes, including the one that the operator asks for idle workers to scale down.

    Without this route the operator removes the newest workers, and the results on them are lost.
    """
    import dask.config
    import distributed  # noqa: F401 - loads its default configuration

    routes = [route for route in dask.config.get("distributed.scheduler.http.routes") if route != _SCHEDULER_API]
    return json.dumps([*routes, _SCHEDULER_API])


def _logs() -> dict[str, str]:
    """Return variables that limit the scheduler's logs, or hold the user's own limits."""
    import dask.config

    from af_kit.cluster.scheduler_settings import SHORT_LOGS, unless_configured

    values = {key: dask.config.get(key) for key in SHORT_LOGS} | unless_configured(SHORT_LOGS)
    return {f"DASK_{key.replace('.', '__').replace('-', '_').upper()}": str(value) for key, value in values.items()}


def _merged(base: Any, over: Any) -> Any:
    """Return ``base`` updated with ``over``: mappings by key, lists joined, other values replaced."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}
    if isinstance(base, list) and isinstance(over, list):
        return [*base, *copy.deepcopy(over)]
    return copy.deepcopy(over)
