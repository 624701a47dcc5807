"""JupyterHub in the cluster, installed in the facility's image; its users get what the chart's values say."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["NAME", "PUBLIC", "objects"]

NAME = "hub"
PUBLIC = "proxy-public"
"""The service for browsers, port 80, with the name that zero-to-jupyterhub uses."""
_CONFIG = Path(__file__).parent / "facility" / "jupyterhub_config.py"
_FOLDER = "/etc/jupyterhub"
_FILES = "hub-user-files"
_KEYS = "hub-keys"


def objects(image: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the manifests of the hub, for the namespace of its users.

    Parameters
    ----------
    image : str
        An image with JupyterHub, KubeSpawner and the proxy.
    values : mapping
        The chart's values below ``jupyterhub``.
    """
    files = {name: file["stringData"] for name, file in values["singleuser"].get("extraFiles", {}).items()}
    return [
        _named("ServiceAccount", NAME),
        _named("Role", NAME, api="rbac.authorization.k8s.io/v1", rules=_RULES),
        _named(
            "RoleBinding",
            NAME,
            api="rbac.authorization.k8s.io/v1",
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
            subjects=[{"kind": "ServiceAccount", "name": NAME}],
        ),
        _named("Secret", _FILES, stringData=files),
        _named("Secret", _KEYS, stringData={"crypt": secrets.token_hex(32)}),
        _named(
            "ConfigMap", NAME, data={"values.json": json.dumps(values), "jupyterhub_config.py": _CONFIG.read_text()}
        ),
        _service(NAME, {"hub": (8081, 8081)}),
        _service(PUBLIC, {"http": (80, 8000)}),
        _deployment(image),
    ]


_RULES = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create", "delete"]},
    {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "list", "watch", "create", "delete"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "list", "watch"]},
]


def _named(kind: str, name: str, *, api: str = "v1", **content: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": {"component": NAME}}, **content}


def _service(name: str, ports: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    listed = [{"name": key, "port": port, "targetPort": target} for key, (port, target) in ports.items()]
    # The proxy is only ready when it reaches the hub through this service.
    spec = {"selector": {"component": NAME}, "ports": listed, "publishNotReadyAddresses": name == NAME}
    return _named("Service", name, spec=spec)


def _deployment(image: str) -> dict[str, Any]:
    container = {
        "name": "hub",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["jupyterhub", "--config", f"{_FOLDER}/jupyterhub_config.py"],
        "env": [
            {"name": "AF_KIT_HUB_VALUES", "value": f"{_FOLDER}/values.json"},
            {"name": "AF_KIT_HUB_SERVICE", "value": NAME},
            {"name": "AF_KIT_HUB_FILES", "value": _FILES},
            {"name": "JUPYTERHUB_CRYPT_KEY", "valueFrom": {"secretKeyRef": {"name": _KEYS, "key": "crypt"}}},
        ],
        "resources": {"requests": {"cpu": "0.1", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "readinessProbe": {"httpGet": {"path": "/hub/health", "port": 8000}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": _FOLDER}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "serviceAccountName": NAME,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    labels = {"component": NAME}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return _named("Deployment", NAME, api="apps/v1", spec=spec)
