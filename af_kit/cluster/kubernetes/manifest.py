"""The DaskCluster that is asked for: what the operator makes a scheduler, a service and workers of."""

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
# Of a worker's memory, what its nanny and the kernel's buffers take: Dask must act before the kernel does.
_NANNY_BYTES = 160 << 20
_SCHEDULER_API = "distributed.http.scheduler.api"


@dataclass(frozen=True)
class Size:
    """What one pod gets.

    Attributes
    ----------
    cores : float
        Threads of a worker.
    cpu_request : float
        CPUs that are kept for it.
    memory : int
        Bytes: kept for it, and the most that it may take.
    cpu_limit : float or None
        CPUs that it may take at most, if there is a limit: one makes Linux stop the pod for parts of each 0.1 s.
    more : mapping
        Other resources, such as ``{"nvidia.com/gpu": 1}``.
    """

    cores: float
    cpu_request: float
    memory: int
    cpu_limit: float | None = None
    more: Mapping[str, Any] | None = None

    def resources(self) -> dict[str, Any]:
        """In Kubernetes' words."""
        more = {name: str(amount) for name, amount in (self.more or {}).items()}
        limits = {"memory": str(self.memory), **more}
        if self.cpu_limit is not None:
            limits["cpu"] = f"{self.cpu_limit:g}"
        return {"requests": {"cpu": f"{self.cpu_request:g}", "memory": str(self.memory), **more}, "limits": limits}


@dataclass(frozen=True)
class Pods:
    """What all pods of the cluster have in common.

    Attributes
    ----------
    image : str
        Of the scheduler and the workers.
    environment : mapping
        Variables.
    settings : mapping
        The group ``af_kit.cluster.kubernetes``, with the user's arguments in it.
    """

    image: str
    environment: Mapping[str, str]
    settings: Mapping[str, Any]

    def spec(self, container: Mapping[str, Any], more: Mapping[str, str] | None = None) -> dict[str, Any]:
        """A pod around one container, with ``more`` variables."""
        given = self.settings
        environment = {"CONTAINER_IMAGE": self.image, **self.environment, **(more or {})}  # `doctor` compares it
        full: dict[str, Any] = {
            "image": self.image,
            "imagePullPolicy": given["image_pull_policy"],
            "env": [{"name": name, "value": value} for name, value in environment.items()],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": copy.deepcopy(list(given["volume_mounts"])),
            **container,
        }
        pod: dict[str, Any] = {
            "containers": [full],
            "securityContext": self._security(),
            "volumes": copy.deepcopy(list(given["volumes"])),
            # The pods need nothing of the API server: a task must not be able to ask it in the user's name.
            "automountServiceAccountToken": bool(given["service_account"]),
            "enableServiceLinks": False,
        }
        named = {
            "imagePullSecrets": [{"name": name} for name in given["image_pull_secrets"]],
            "nodeSelector": dict(given["node_selector"]),
            "tolerations": copy.deepcopy(list(given["tolerations"])),
            "priorityClassName": given["priority_class"],
            "serviceAccountName": given["service_account"],
        }
        pod |= {name: value for name, value in named.items() if value}
        return _merged(pod, given["pod"])

    def _security(self) -> dict[str, Any]:
        """What the strictest of Kubernetes' Pod Security levels asks for."""
        user = self.settings["run_as_user"]
        if user is None:
            user = os.getuid() or 1000
        return {"runAsNonRoot": True, "runAsUser": int(user), "seccompProfile": {"type": "RuntimeDefault"}}


def dask_cluster(
    name: str,
    pods: Pods,
    *,
    namespace: str,
    scheduler: Size,
    worker: Size,
    n_workers: int,
    labels: Mapping[str, str],
    idle_timeout_s: float,
    owner: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The manifest of a cluster.

    Parameters
    ----------
    name, namespace : str
        The cluster's.
    pods : Pods
        What its pods have in common.
    scheduler, worker : Size
        What each gets.
    n_workers : int
        To start with.
    labels : mapping
        On everything that belongs to the cluster.
    idle_timeout_s : float
        The operator removes the cluster once it has had no work for so long; 0 for never.
    owner : mapping or None
        The object with which Kubernetes removes it.
    """
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": dict(labels)}
    if pods.settings["annotations"]:
        metadata["annotations"] = dict(pods.settings["annotations"])
    if owner:
        metadata["ownerReferences"] = [dict(owner)]
    return {
        "apiVersion": DASK,
        "kind": "DaskCluster",
        "metadata": metadata,
        "spec": {
            "idleTimeout": int(idle_timeout_s),
            "scheduler": _scheduler(name, pods, scheduler),
            "worker": worker_group(name, pods, worker, n_workers, namespace=namespace),
        },
    }


def further_group(
    label: str, spec: Mapping[str, Any], *, cluster: str, namespace: str, labels: Mapping[str, str]
) -> dict[str, Any]:
    """The manifest of a group of workers besides the cluster's own; ``spec`` is a `worker_group`."""
    return {
        "apiVersion": DASK,
        "kind": "DaskWorkerGroup",
        "metadata": {"name": f"{cluster}-{label}", "namespace": namespace, "labels": dict(labels)},
        "spec": {"cluster": cluster, "worker": dict(spec)},
    }


def worker_group(
    cluster: str, pods: Pods, size: Size, n_workers: int, *, namespace: str, group: str = ""
) -> dict[str, Any]:
    """The part of the manifest that tells about workers.

    ``group`` is a resource of Dask's that tasks can ask for; a worker has as many of it as threads.
    """
    preload = list(pods.settings["preload"])
    if pods.settings["proxy_secret"]:
        preload.insert(0, proxy_secret.PRELOAD)  # it comes first: others look whether there is a proxy
    limit = max(size.memory - _NANNY_BYTES, size.memory // 2)
    threads = max(1, int(size.cores))
    command = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", str(threads)]
    command += ["--memory-limit", str(limit), "--no-dashboard"]
    for module in preload:
        command += ["--preload", module]
    for module in pods.settings["preload_nanny"]:
        command += ["--preload-nanny", module]
    if group:
        command += ["--resources", f"{group}={threads}"]
    # Without the cluster's domain, which is not the same everywhere.
    address = {"DASK_SCHEDULER_ADDRESS": f"tcp://{cluster}-scheduler.{namespace}:{SCHEDULER_PORT}"}
    container = {"name": "worker", "command": command, "resources": size.resources()}
    spec = pods.spec(container, address)
    if pods.settings["proxy_secret"]:
        spec = proxy_secret.mounted(spec, cluster)
    return {"replicas": n_workers, "spec": spec}


def _scheduler(cluster: str, pods: Pods, size: Size) -> dict[str, Any]:
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
        # Often, as connect() waits for it; and killed only when it has been silent for minutes, as a busy one may be.
        "readinessProbe": {**health, "periodSeconds": 1, "timeoutSeconds": 5},
        "livenessProbe": {**health, "initialDelaySeconds": 30, "periodSeconds": 20, "timeoutSeconds": 15,
                          "failureThreshold": 6},
    }  # fmt: skip
    service = {
        "type": "ClusterIP",
        # Its routes are there before the scheduler is ready: see `arrival` for what waits without them. Nor does a
        # scheduler that is too busy to answer a probe lose who wants to reach it.
        "publishNotReadyAddresses": True,
        "selector": {"dask.org/cluster-name": cluster, "dask.org/component": "scheduler"},
        "ports": [
            {"name": "tcp-comm", "protocol": "TCP", "port": SCHEDULER_PORT, "targetPort": "tcp-comm"},
            {"name": "http-dashboard", "protocol": "TCP", "port": DASHBOARD_PORT, "targetPort": "http-dashboard"},
        ],
    }
    return {"spec": pods.spec(container, {"DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": _routes()}), "service": service}


def _routes() -> str:
    """The scheduler's pages, with the one by which the operator asks for idle workers when it scales down.

    Without it the operator removes the youngest workers, and what they hold.
    """
    import dask.config
    import distributed  # noqa: F401  its defaults must be read

    routes = [route for route in dask.config.get("distributed.scheduler.http.routes") if route != _SCHEDULER_API]
    return json.dumps([*routes, _SCHEDULER_API])


def _merged(base: Any, over: Any) -> Any:
    """``over`` laid over ``base``: mappings key by key, lists one after the other, the rest replaced."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}
    if isinstance(base, list) and isinstance(over, list):
        return [*base, *copy.deepcopy(over)]
    return copy.deepcopy(over)
