"""The user's X.509 proxy as a Secret, mounted into the workers: it never passes through Dask.

The Secret belongs to the DaskCluster and goes with it. As long as the session lives, a new proxy takes the old one's
place; Kubernetes brings it to the pods within a minute or two.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes import permissions
from af_kit.credentials.credential import format_duration
from af_kit.credentials.x509 import proxy_path, seconds_left
from af_kit.errors import ConnectError, InputError

RIGHTS = tuple(permissions.Right(verb, "secrets") for verb in ("create", "patch"))
# Where it is mounted, and the preload module that gives each worker its copy
FOLDER, FILE = "/var/run/af-kit/x509-proxy", "x509up"
PRELOAD, VARIABLE = "af_kit.plugins.mounted_proxy_preload", "AF_KIT_MOUNTED_PROXY"


def secret_name(cluster: str) -> str:
    """What a cluster's Secret is called; the chart's admission policy knows the ending."""
    return f"{cluster}-x509-proxy"


def proxy_file(given: str | bool) -> Path:
    """The proxy that is meant: a path, or True for the one that grid tools find."""
    if isinstance(given, str):
        return Path(given).expanduser().absolute()
    return proxy_path()


def read_proxy(path: Path) -> bytes:
    """The content of a proxy that can be used.

    Raises
    ------
    InputError
        There is none, it is something else, or it has expired.
    """
    try:
        content = path.read_bytes()
        left = seconds_left(content)
    except OSError as error:
        raise InputError(f"There is no X.509 proxy {path}: {error.strerror}. voms-proxy-init makes one.") from error
    except ValueError as error:
        raise InputError(f"{path} is no X.509 proxy: {error}.") from None
    if left <= 0:
        raise InputError(
            f"The X.509 proxy {path} expired {format_duration(-left)} ago: voms-proxy-init makes a new one."
        )
    return content


def mounted(pod: dict[str, Any], cluster: str) -> dict[str, Any]:
    """A pod's specification with the Secret mounted into its container."""
    volume = {"name": "x509-proxy", "secret": {"secretName": secret_name(cluster), "defaultMode": 0o440}}
    mount = {"name": "x509-proxy", "mountPath": FOLDER, "readOnly": True}
    container = dict(pod["containers"][0])
    container["volumeMounts"] = [*container["volumeMounts"], mount]
    container["env"] = [*container["env"], {"name": VARIABLE, "value": f"{FOLDER}/{FILE}"}]
    security = {"fsGroup": pod["securityContext"]["runAsUser"], **pod["securityContext"]}
    return {**pod, "containers": [container], "volumes": [*pod["volumes"], volume], "securityContext": security}


class ProxySecret:
    """The Secret of one cluster."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sent = b""
        read_proxy(path)

    async def create(self, api: Any, cluster: Mapping[str, Any]) -> None:
        """Make it for a DaskCluster, as the API server has that; pods wait for what they mount."""
        content = read_proxy(self._path)
        name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
        metadata = {"name": secret_name(name), "namespace": namespace, "ownerReferences": [kube.owner(cluster)]}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": _data(content)}
        await kube.request(api, "POST", "secrets", namespace=namespace, body=body)
        self._sent = content

    async def renew(self, api: Any, cluster: str, namespace: str) -> bool:
        """Bring a new proxy into the Secret; True if there was one. One that cannot be used is left where it is."""
        try:
            content = read_proxy(self._path)
        except InputError:
            return False
        if content == self._sent:
            return False
        path, body = f"secrets/{secret_name(cluster)}", {"data": _data(content)}
        try:
            await kube.request(api, "PATCH", path, namespace=namespace, body=body)
        except ConnectError:
            return False  # tried again at the next look
        self._sent = content
        return True

    def __repr__(self) -> str:
        return f"<ProxySecret from {self._path}>"


def _data(content: bytes) -> dict[str, str]:
    return {FILE: base64.b64encode(content).decode()}
