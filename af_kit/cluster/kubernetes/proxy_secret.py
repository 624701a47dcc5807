"""The user's X.509 proxy as a Secret that is mounted into the workers, so that it never passes through Dask.

The Secret belongs to the DaskCluster and is removed with it. While the session runs, it replaces the proxy whenever the
user renews it; Kubernetes updates the pods within a minute or two.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes.permissions import Permission
from af_kit.credentials.credential import format_duration
from af_kit.credentials.x509 import proxy_path, seconds_left
from af_kit.errors import ConnectError, InputError

PERMISSIONS = tuple(Permission(verb, "secrets") for verb in ("create", "patch"))
# Where the Secret is mounted, and the preload module that copies the proxy for each worker.
FOLDER, FILE = "/var/run/af-kit/x509-proxy", "x509up"
PRELOAD, VARIABLE = "af_kit.plugins.mounted_proxy_preload", "AF_KIT_MOUNTED_PROXY"


def secret_name(cluster: str) -> str:
    """Return the name of a cluster's Secret. The chart's admission policy requires this suffix."""
    return f"{cluster}-x509-proxy"


def proxy_file(given: str | bool) -> Path:
    """Return the path of the proxy: the given one, or for True the one that grid tools use."""
    if isinstance(given, str):
        return Path(given).expanduser().absolute()
    return proxy_path()


def read_proxy(path: Path) -> bytes:
    """Return the content of a valid proxy.

    Raises
    ------
    InputError
        The file does not exist, is not a proxy, or has expired.
    """
    try:
        content = path.read_bytes()
        left = seconds_left(content)
    except OSError as error:
        raise InputError(
            f"The X.509 proxy {path} cannot be read: {error.strerror}. Create it with voms-proxy-init."
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not an X.509 proxy: {error}.") from None
    if left <= 0:
        raise InputError(f"The X.509 proxy {path} expired {format_duration(-left)} ago: renew it with voms-proxy-init.")
    return content


def mount(pod: dict[str, Any], cluster: str) -> dict[str, Any]:
    """Return a pod's specification with the Secret mounted into its container."""
    volume = {"name": "x509-proxy", "secret": {"secretName": secret_name(cluster), "defaultMode": 0o440}}
    volume_mount = {"name": "x509-proxy", "mountPath": FOLDER, "readOnly": True}
    container = dict(pod["containers"][0])
    container["volumeMounts"] = [*container["volumeMounts"], volume_mount]
    container["env"] = [*container["env"], {"name": VARIABLE, "value": f"{FOLDER}/{FILE}"}]
    security = {"fsGroup": pod["securityContext"]["runAsUser"], **pod["securityContext"]}
    return {**pod, "containers": [container], "volumes": [*pod["volumes"], volume], "securityContext": security}


class ProxySecret:
    """The Secret of one cluster.

    Parameters
    ----------
    path : Path
        The proxy, which must be valid.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sent = b""
        read_proxy(path)

    async def create(self, api: Any, cluster: Mapping[str, Any]) -> None:
        """Create the Secret for a DaskCluster of the API server. Pods wait until the Secret they mount exists."""
        content = read_proxy(self._path)
        name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
        metadata = {
            "name": secret_name(name),
            "namespace": namespace,
            "ownerReferences": [kube.owner_reference(cluster)],
        }
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": _data(content)}
        await kube.request(api, "POST", "secrets", namespace=namespace, body=body)
        self._sent = content

    async def renew(self, api: Any, cluster: str, namespace: str) -> bool:
        """Update the Secret if the user's proxy has changed and is valid, and return whether it was updated."""
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
            return False  # the next call tries again
        self._sent = content
        return True

    def __repr__(self) -> str:
        return f"<ProxySecret from {self._path}>"


def _data(content: bytes) -> dict[str, str]:
    return {FILE: base64.b64encode(content).decode()}
