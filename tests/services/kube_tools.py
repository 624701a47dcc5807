"""A user's pod in the real cluster, like those of a hub's spawner, with the permissions from the chart."""

from __future__ import annotations

import textwrap
from typing import Any

from helm_tools import rendered
from waiting import until

from services.kubernetes import values
from services.kubernetes.cluster import Kubernetes

WAIT_S = 60.0
"""Deadline for steps that take a few seconds; tests use multiples of it for longer ones."""


def grant_permissions(cluster: Kubernetes, namespace: str) -> None:
    """Create the chart's service account for users, its Role and their binding."""
    account = values.read()["users"]["serviceAccount"]
    kinds = ("ServiceAccount", "Role", "RoleBinding")
    found = [
        one for one in rendered(namespace=namespace) if one["kind"] in kinds and one["metadata"]["name"] == account
    ]
    assert sorted(one["kind"] for one in found) == sorted(kinds)
    cluster.apply(found, namespace)


def user_pod(name: str, image: str, code: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a pod that runs Python code, with ``settings`` as ``af_kit.cluster``."""
    container = {
        "name": "notebook",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", textwrap.dedent(code)],
        "env": [{"name": "DASK_AF_KIT__CLUSTER", "value": repr(settings)}],
        "resources": {"requests": {"cpu": "0.1", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "serviceAccountName": values.read()["users"]["serviceAccount"],
        "restartPolicy": "Never",
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    labels = {"component": "singleuser-server", "hub.jupyter.org/username": "alice"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def log_of_finished(cluster: Kubernetes, namespace: str, pod: str) -> str:
    """Wait until a pod has succeeded, and return its log."""

    def phase() -> str:
        (found,) = [one for one in cluster.get("pods", namespace) if one["metadata"]["name"] == pod]
        return str(found["status"]["phase"])

    until(lambda: phase() in ("Succeeded", "Failed"), f"the end of {pod}", 3 * WAIT_S)
    log = cluster.kubectl("logs", pod, f"--namespace={namespace}")
    assert phase() == "Succeeded", log
    return log
